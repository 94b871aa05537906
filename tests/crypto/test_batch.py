"""Bodies under one key: none has the salt of another, whoever seals them, and when."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("cryptography")

from kist.crypto import batch
from kist.crypto.batch import COMMON_BYTES, OWN_BYTES, batch_cipher, next_body
from kist.crypto.hidden import Hidden


def salt_of(key: Hidden, length: int = 10) -> bytes:
    return next_body(key, length)[1]


def test_salts_differ_by_their_counts_where_nothing_is_random(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "urandom", bytes)  # as when a machine is resumed, and worse
    key = Hidden(bytes(32))
    with ThreadPoolExecutor(4) as pool:
        salts = list(pool.map(lambda _: salt_of(key), range(4000)))
    assert len(set(salts)) == len(salts) == 4000
    assert {len(salt) for salt in salts} == {COMMON_BYTES + OWN_BYTES}


def test_bodies_of_one_count_differ_by_what_is_random() -> None:
    # Two machines resumed from one image of memory: the same batch, the same count.
    key, salts = Hidden(bytes(32)), set()
    salt_of(key)
    for _ in range(50):
        key.batches.current.n_bodies = 1
        salts.add(salt_of(key))
    assert len(salts) == 50
    assert len({salt[: COMMON_BYTES + 2] for salt in salts}) == 1


def test_a_batch_ends_with_its_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MAX_BODIES", 3)
    key = Hidden(bytes(32))
    salts = [salt_of(key) for _ in range(7)]
    assert len({salt[:COMMON_BYTES] for salt in salts}) == 3
    assert len(set(salts)) == 7


def test_a_batch_ends_with_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_MAX_BYTES", 100)
    key = Hidden(bytes(32))
    commons = [salt_of(key, length)[:COMMON_BYTES] for length in (60, 40, 1, 200, 0)]
    assert commons[0] == commons[1]
    # One that is larger than all of a batch is alone in its own, as bodies are bounded anyway.
    assert len(set(commons)) == 4


def test_counts_are_wide_enough_for_a_batch() -> None:
    key = Hidden(bytes(32))
    salt_of(key)
    key.batches.current.n_bodies = batch.MAX_BODIES - 1
    last, first = salt_of(key), salt_of(key)
    assert last[COMMON_BYTES : COMMON_BYTES + 2] == b"\xff\xff"
    assert first[COMMON_BYTES : COMMON_BYTES + 2] == b"\0\0"
    assert last[:COMMON_BYTES] != first[:COMMON_BYTES]


@pytest.mark.parametrize("told", [True, False], ids=["python forks", "a library forks"])
def test_a_forked_child_begins_a_batch_of_its_own(
    told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    key = Hidden(bytes(32))
    before = salt_of(key)
    if not told:  # nothing is called in the child then: the number of the process tells it
        monkeypatch.setattr(batch, "_after_fork_in_child", None)
        monkeypatch.setattr(key.batches.current, "owner", (os.getpid(), -1))
        monkeypatch.setattr(batch, "_forks", -1)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        if not told:
            batch._forks = -1
        os.write(writer, salt_of(key))
        os._exit(0)
    os.close(writer)
    other = os.read(reader, 4096)
    os.close(reader)
    os.waitpid(child, 0)
    after = salt_of(key)
    assert other[:COMMON_BYTES] != before[:COMMON_BYTES] == after[:COMMON_BYTES]


def test_ciphers_of_few_batches_are_kept() -> None:
    key = Hidden(bytes(32))
    made: list[Any] = [batch_cipher(key, bytes((n,)) * COMMON_BYTES) for n in range(100)]
    assert batch_cipher(key, bytes((99,)) * COMMON_BYTES) is made[99]
    assert batch_cipher(key, bytes(COMMON_BYTES)) is not made[0]
    assert len(key.batches.ciphers) <= 64


def test_a_process_that_was_forked_begins_a_batch_though_it_has_the_number_of_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = Hidden.random()
    before = salt_of(key)[:COMMON_BYTES]
    assert salt_of(key)[:COMMON_BYTES] == before
    monkeypatch.setattr(batch, "_forks", batch._forks)
    batch._after_fork_in_child()
    assert salt_of(key)[:COMMON_BYTES] != before
