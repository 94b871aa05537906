"""Sealed bodies: what comes back, what is noticed, what is never the same twice."""

from __future__ import annotations

import os
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cryptography")

from kist.crypto.hidden import Hidden
from kist.engine.sealed import (
    DataKey,
    open_head,
    seal_body,
    unseal_body,
    verify_body,
    whole_body,
)
from kist.errors import CorruptDataError, KistError, TamperedDataError
from kist.format.checksum import sum64
from kist.format.sealed import SEALED_HEAD, SealedHead, unpack_sealed_head

KEY = DataKey(bytes(16), Hidden(bytes(range(32))))
KEYS = {KEY.name: KEY.key}


def sealed(*parts: bytes, unit: int = 12) -> bytes:
    head, units = seal_body(KEY, parts, unit)
    return head + units


@pytest.mark.parametrize("n", [0, 1, 4095, 4096, 4097, 8192, 20_000])
def test_a_body_comes_back_and_verifies_without_a_key(n: int) -> None:
    plain = os.urandom(n)
    body = sealed(plain)
    assert bytes(unseal_body(body, KEYS)) == plain
    assert verify_body(body).length == n
    assert len(body) == 64 + (8 + 16) * max(1, -(-n // 4096)) + n


def test_parts_are_sealed_as_one() -> None:
    assert bytes(unseal_body(sealed(b"ab", memoryview(b"cd"), b""), KEYS)) == b"abcd"


def test_nothing_of_the_plaintext_can_be_found_in_a_body() -> None:
    word = b"a word that is looked for"
    assert word not in sealed(word * 400)


def test_the_same_bytes_are_never_sealed_alike() -> None:
    bodies = [sealed(b"the same" * 1000) for _ in range(50)]
    for at in (SEALED_HEAD.offset("salt"), SEALED_HEAD.size + 24):
        assert len({body[at : at + 32] for body in bodies}) == 50


def test_salts_come_from_the_system_also_after_a_fork() -> None:
    before = sealed(b"x")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        os.write(writer, sealed(b"x"))
        os._exit(0)
    os.close(writer)
    other = os.read(reader, 4096)
    os.close(reader)
    os.waitpid(child, 0)
    bodies = [before, other, sealed(b"x")]
    assert len({unpack_sealed_head(body, len(body))[0].salt for body in bodies}) == 3


@given(start=st.integers(0, 9_999), length=st.integers(1, 9_000))
@settings(max_examples=60, deadline=None)
def test_any_range_opens_from_its_units_alone(start: int, length: int) -> None:
    length = min(length, 10_000 - start)
    found = open_head(BODY, len(BODY), KEYS)
    first, last = found.units_of(start, length)
    a, b = found.head.span(first, last)
    plain = found.unseal(first, last, BODY[a:b])
    begin = start - (first << found.head.unit)
    assert bytes(plain[begin : begin + length]) == PLAIN[start : start + length]


PLAIN = os.urandom(10_000)
BODY = sealed(PLAIN)


@given(at=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7), resum=st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_flipped_bit_is_noticed(at: int, bit: int, resum: bool) -> None:
    changed = bytearray(BODY)
    changed[at] ^= 1 << bit
    if SEALED_HEAD.offset("reserved0") <= at < SEALED_HEAD.offset("length"):
        assert bytes(unseal_body(changed, KEYS)) == PLAIN  # reserved: written as zeros, ignored
        return
    if resum:
        head, _ = unpack_sealed_head(BODY, len(BODY))
        spans = [head.span(i, i) for i in range(head.n_units)]
        struct.pack_into("<3Q", changed, 64, *[sum64(changed[a:b]) for a, b in spans])
    if 64 <= at < 88:
        assert bytes(unseal_body(changed, KEYS)) == PLAIN  # tags say more than sums
        return
    with pytest.raises(KistError):
        unseal_body(changed, KEYS)


def test_damage_is_told_from_tampering() -> None:
    changed = bytearray(BODY)
    changed[-1] ^= 1
    with pytest.raises(CorruptDataError, match="unit 2 of 3 fails its checksum"):
        unseal_body(changed, KEYS)
    with pytest.raises(CorruptDataError, match="unit 2 of 3"):
        verify_body(changed)
    head, _ = unpack_sealed_head(BODY, len(BODY))
    a, b = head.span(2, 2)
    struct.pack_into("<Q", changed, 64 + 16, sum64(changed[a:b]))
    verify_body(changed)  # who has no key sees no damage
    with pytest.raises(TamperedDataError, match="this is no accident"):
        unseal_body(changed, KEYS)


def test_a_body_of_another_field_names_a_key_that_is_not_there() -> None:
    with pytest.raises(TamperedDataError, match="belongs to another field"):
        unseal_body(BODY, {bytes(15) + b"\1": KEY.key})


@given(
    unit=st.integers(0, 255),
    length=st.integers(0, 2**64 - 1),
    total=st.integers(0, 2**40),
)
def test_a_head_of_any_numbers_is_held_against_the_size_first(
    unit: int, length: int, total: int
) -> None:
    fields: dict[str, Any] = {"magic": b"KS", "version": 1, "key": bytes(16), "salt": bytes(32)}
    data = SEALED_HEAD.pack(unit=unit, length=length, **fields)
    try:
        head, sums = unpack_sealed_head(data + bytes(800), total)
    except CorruptDataError:
        return
    assert 12 <= unit <= 20 and len(sums) <= 100 and head.total == total


def test_units_and_sizes_of_a_head_agree() -> None:
    head = SealedHead(12, 10_000, bytes(16), bytes(32))
    assert head.n_units == 3
    assert head.span(0, 2) == (head.size, head.total)
    assert head.span(1, 1)[1] - head.span(1, 1)[0] == 4096 + 16


@pytest.mark.parametrize("unit", [12, 15])
@pytest.mark.parametrize(
    "lengths", [[0], [1], [4096], [4097], [100, 0, 32_700], [70_000, 3], [65_536] * 2, [70_001] * 3]
)
def test_a_whole_body_opens_by_its_tags_alone_or_not_at_all(unit: int, lengths: list[int]) -> None:
    parts = [os.urandom(n) for n in lengths]
    plain = b"".join(parts)
    head, units = seal_body(KEY, parts, unit)
    body = bytearray(head + units)
    salt = bytes(body[SEALED_HEAD.offset("salt") : SEALED_HEAD.size])

    def opened(data: bytes, salt: bytes = salt, length: int = len(plain)) -> bytes | None:
        whole = whole_body(memoryview(data), salt, length, KEYS)
        out = bytearray(length)
        return bytes(out) if whole is not None and whole.unseal(memoryview(out)) else None

    assert opened(body) == plain == bytes(unseal_body(body, KEYS))
    assert opened(body, bytes(32)) is None and opened(body, length=len(plain) + 1) is None
    assert opened(body + b"x") is None and opened(body[:-1]) is None and opened(body[:50]) is None
    n_units = max(1, -(-len(plain) >> unit))
    sums = range(64, 64 + 8 * n_units)
    for at in {0, 2, 3, 5, 8, 20, 40, 64, sums.stop, len(body) // 2, len(body) - 1}:
        changed = bytearray(body)
        changed[at] ^= 1
        assert opened(changed) == (plain if at in sums else None), at
    if n_units > 1:  # two units exchanged
        step = (1 << unit) + 16
        begin = sums.stop
        first, second = body[begin : begin + step], body[begin + step : begin + 2 * step]
        if len(second) == step:
            assert opened(body[:begin] + second + first + body[begin + 2 * step :]) is None


@pytest.mark.parametrize("n", [0, 5000])
def test_a_whole_body_is_the_one_that_was_asked_for(n: int) -> None:
    body, other = sealed(bytes(n)), sealed(bytes(n))
    salt = unpack_sealed_head(body, len(body))[0].salt

    def found(data: bytes, length: int = n, keys: Any = KEYS) -> Any:
        return whole_body(memoryview(data), salt, length, keys)

    whole, out = found(body), bytearray(n)
    assert whole is not None
    assert whole.unseal(memoryview(out))
    assert out == bytes(n)
    assert found(other) is None  # it stands in another place, with tags that fit
    assert found(body, n + 1) is None
    assert found(body[:-1]) is None
    assert found(body + b"\0") is None
    assert found(body[:40]) is None
    assert found(body, keys={}) is None
    at = SEALED_HEAD.offset("unit")
    for unit in (0, 11, 21, 255):
        assert found(body[:at] + bytes((unit,)) + body[at + 1 :]) is None


@pytest.mark.parametrize("n", [0, 1, 15, 100])
def test_bytes_too_few_or_too_many_are_no_body(n: int) -> None:
    body = sealed(b"some bytes")
    opened = open_head(body, len(body), KEYS)
    assert bytes(opened.whole(body)) == b"some bytes"
    with pytest.raises(CorruptDataError):
        opened.whole(body + bytes(n + 1))
    with pytest.raises(CorruptDataError):
        opened.whole(body[: -n - 1])
