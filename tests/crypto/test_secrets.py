"""Secrets, hidden bytes, key derivation and the digest of a set."""

from __future__ import annotations

import copy
import pickle
import traceback
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.crypto.derive import Work, expand, extract, pass_bytes, stretch
from kist.crypto.digest import SetDigest
from kist.crypto.hidden import Hidden
from kist.crypto.secret import MAX_NOTE, Secret
from kist.errors import CorruptDataError, SecretError, WeakSecretWarning

PASSPHRASE = "four quite random words"
KEY = bytes(range(200, 232))


def shown(thing: object) -> str:
    return f"{thing!r} {thing!s} {thing} {thing:>9}" if isinstance(thing, Hidden) else f"{thing!r}"


@pytest.mark.parametrize("thing", [Hidden(KEY), Secret(KEY), Secret(PASSPHRASE)], ids=repr)
def test_a_key_is_not_shown_pickled_or_copied(thing: object) -> None:
    for secret in (repr(KEY)[2:-1], KEY.hex(), PASSPHRASE):
        assert secret not in shown(thing)
    assert not hasattr(thing, "__dict__")
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecretError, match="not pickled or copied"):
            way(thing)


@pytest.mark.parametrize(
    "wrong",
    [b"too short, perhaps a passphrase", 12345678, ["the", "words"], "", None],
    ids=["bytes", "int", "list", "empty", "none"],
)
def test_what_is_no_secret_is_refused_and_not_repeated(wrong: object) -> None:
    with pytest.raises(SecretError) as caught:
        Secret(wrong)
    # The frame of the caller has it in a variable of its own; those of kist do not.
    inner = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    del inner.stack[0]
    assert not wrong or repr(wrong) not in "".join(inner.format())


@pytest.mark.parametrize(
    "answer",
    [b"x" * 31, (b"x" * 31, b"note"), (KEY, b"n" * (MAX_NOTE + 1)), (KEY, "text"), None],
    ids=["no-note", "short", "long-note", "text-note", "none"],
)
def test_a_key_service_that_gives_no_key_is_refused_without_showing_what_it_gave(
    answer: object,
) -> None:
    with pytest.raises(SecretError) as caught:
        Secret(lambda note: answer).begin()
    inner = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    del inner.stack[0]
    text = "".join(inner.format())
    assert repr(KEY)[2:-1] not in text and "x" * 31 not in text


def test_a_key_service_is_given_its_note_again() -> None:
    kept: dict[bytes, bytes] = {}

    def service(note: bytes | None) -> object:
        if note is None:
            kept[b"key 7"] = KEY
            return KEY, b"key 7"
        return kept[note]

    secret = Secret(service)
    terms, key = secret.begin()
    assert terms.note == b"key 7"
    assert secret.key(terms) == key == Secret(service).key(terms)
    kept[b"key 7"] = bytes(32)
    assert secret.key(terms) != key


def test_an_error_of_a_key_service_comes_through() -> None:
    def service(note: bytes | None) -> object:
        raise ConnectionError("no route")

    with pytest.raises(ConnectionError, match="no route"):
        Secret(service).begin()


def test_slots_of_one_secret_have_keys_of_their_own() -> None:
    secret = Secret(KEY)
    (one, key), (other, other_key) = secret.begin(), secret.begin()
    assert one.salt != other.salt and key != other_key
    assert Secret(KEY).key(one) == key and Secret(bytes(32)).key(one) != key


def test_a_passphrase_is_stretched_once_for_many_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    from kist.crypto import secret as module

    calls = []

    def counted(*args: object) -> Hidden:
        calls.append(args)
        return Hidden(bytes(32))

    monkeypatch.setattr(module, "stretch", counted)
    given = Secret(PASSPHRASE)
    keys = {given.begin()[1] for _ in range(5)}
    assert len(calls) == 1 and len(keys) == 5


@pytest.mark.parametrize(("text", "weak"), [("short", True), ("aaaaaaaaaaaaaaaa", True)])
def test_a_passphrase_that_can_be_guessed_warns_when_it_is_taken(text: str, weak: bool) -> None:
    with pytest.warns(WeakSecretWarning, match="guessed") as caught:
        terms, _ = Secret(text).begin(Work(14, 1, 1))
    assert text not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Secret(text).key(terms)  # opening what is there
        Secret(PASSPHRASE).begin(Work(14, 1, 1))


def test_a_passphrase_is_the_same_however_its_letters_were_typed() -> None:
    assert pass_bytes("cafe\u0301") == pass_bytes("caf\u00e9")


@pytest.mark.parametrize(
    "work",
    [
        Work(40, 8, 1),
        Work(255, 255, 255),
        Work(13, 8, 1),
        Work(0, 0, 0),
        Work(17, 0, 1),
        Work(17, 8, 0),
        Work(17, 17, 1),
        Work(17, 8, 5),
        Work(20, 8, 1),
    ],
    ids=str,
)
def test_work_out_of_bounds_is_refused_before_it_is_done(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    def never(*args: object, **more: object) -> bytes:
        raise AssertionError("scrypt was called")

    monkeypatch.setattr(hashlib, "scrypt", never)
    with pytest.raises(CorruptDataError, match="scrypt with n = 2"):
        stretch(pass_bytes("x"), work, bytes(16))


def test_derivation_is_hkdf_of_rfc_5869() -> None:
    hashes = pytest.importorskip("cryptography.hazmat.primitives.hashes")
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    wanted = HKDF(hashes.SHA256(), 32, b"salt", b"label and salt").derive(KEY)
    found = expand(extract(Hidden(KEY), b"salt"), b"label ", b"and salt")
    assert found.reveal() == wanted


Items = st.sets(st.binary(max_size=6), max_size=12)


@given(Items, Items, st.randoms())
def test_a_digest_depends_on_the_set_and_not_on_the_way_to_it(
    kept: set[bytes], other: set[bytes], random: object
) -> None:
    key = Hidden(KEY)
    one = SetDigest(key)
    one.add(kept)
    way = SetDigest(key)
    way.add(kept | other)
    way.remove(other - kept)
    again = SetDigest(key, way.hidden().reveal(), way.count)
    assert one == way == again and one.count == len(kept)
    if kept != other:
        different = SetDigest(key)
        different.add(other)
        assert different != one
        assert different.hidden() != one.hidden()


def test_digests_of_two_keys_have_nothing_in_common() -> None:
    one, other = SetDigest(Hidden(KEY)), SetDigest(Hidden(bytes(32)))
    one.add([b"a"])
    other.add([b"a"])
    assert one != other and "1 item" in repr(one)
