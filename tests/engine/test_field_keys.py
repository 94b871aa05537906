"""Locks of sealed fields: secrets that open them, come, go and are replaced; the vectors."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickle
import traceback
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

from kist.crypto.hidden import Hidden
from kist.crypto.secret import Secret
from kist.engine.fieldkeys import add_secret, make_lock, open_lock, remove_secret, rotate
from kist.engine.sealed import seal_body, unseal_body
from kist.errors import (
    CorruptDataError,
    SecretError,
    TamperedDataError,
    UnsupportedVersionError,
    WrongSecretError,
)
from kist.format.sealed import MAX_SLOTS, Lock

FOLDER = Path(__file__).parents[1] / "golden" / "sealed"
VECTORS = sorted(FOLDER.glob("*.json"))
FAILURES = {
    "damage": CorruptDataError,
    "unsupported": UnsupportedVersionError,
    "tampered": TamperedDataError,
    "wrong secret": WrongSecretError,
}
A, B, C = (Secret(bytes((number,)) * 32) for number in (1, 2, 3))


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_a_vector_opens_or_fails_as_it_says(path: Path) -> None:
    vector: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    expect = vector["expect"]
    keys = {bytes.fromhex(n): Hidden(bytes.fromhex(k)) for n, k in vector.get("keys", {}).items()}

    def run() -> object:
        if "body" in vector:
            return hashlib.sha256(unseal_body(b64decode(vector["body"]), keys)).hexdigest()
        given = vector["secret"]
        secret = Secret(bytes.fromhex(given["raw"]) if "raw" in given else given["passphrase"])
        return open_lock(Lock.unpack(b64decode(vector["lock"])), [secret]).data

    if expect in FAILURES:
        with pytest.raises(FAILURES[expect]):
            run()
    else:
        assert run() == (vector["sha256"] if expect == "plain" else keys)


def test_the_vectors_are_those_that_would_be_made_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("make_sealed", FOLDER / "make.py")
    assert spec is not None and spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    monkeypatch.setattr(make, "FOLDER", tmp_path)
    make.make()
    made = {path.name: path.read_text() for path in tmp_path.glob("*.json")}
    assert made == {path.name: path.read_text() for path in VECTORS}


def test_any_secret_of_several_opens_the_field() -> None:
    lock, keys = make_lock({"a": A, "b": B})
    lock = Lock.unpack(lock.pack())
    assert open_lock(lock, [C, B]).data == keys.data == open_lock(lock, [A]).data
    with pytest.raises(WrongSecretError, match=r"it has secrets 'a' \(raw key\), 'b'"):
        open_lock(lock, [C])
    with pytest.raises(WrongSecretError):
        open_lock(lock, [])


def test_adding_and_removing_a_secret_leaves_bodies_readable() -> None:
    lock, keys = make_lock({"a": A})
    head, units = seal_body(keys.current, [b"some rows"])
    both = add_secret(lock, keys, "b", B)
    only = remove_secret(both, "a")
    assert bytes(unseal_body(head + units, open_lock(only, [B]).data)) == b"some rows"
    with pytest.raises(WrongSecretError):
        open_lock(only, [A])
    assert len(lock.slots) == 1  # as it was


def test_a_rotation_seals_anew_and_still_reads_the_old() -> None:
    lock, keys = make_lock({"a": A, "b": B})
    old = b"".join(seal_body(keys.current, [b"old"]))
    turned, _ = rotate(lock, keys)
    for secret in (A, B):  # also those that did not turn it
        opened = open_lock(turned, [secret])
        assert opened.current.name != keys.current.name
        assert bytes(unseal_body(old, opened.data)) == b"old"
        new = b"".join(seal_body(opened.current, [b"new"]))
        with pytest.raises(TamperedDataError, match="does not have"):
            unseal_body(new, keys.data)


def test_a_rotation_with_secrets_locks_out_who_kept_the_field_key() -> None:
    lock, keys = make_lock({"a": A, "b": B})
    turned, _ = rotate(remove_secret(lock, "b"), keys)
    # B had opened the field before, so what it kept opens the ring of a plain rotation.
    kept = turned._replace(slots=lock.slots)
    assert len(open_lock(kept, [B]).data) == 2
    turned, _ = rotate(remove_secret(lock, "b"), keys, {"a": A})
    assert len(open_lock(turned, [A]).data) == 2
    with pytest.raises(TamperedDataError, match="not those of the field"):
        open_lock(turned._replace(slots=lock.slots), [B])


def test_a_slot_that_is_damaged_does_not_keep_its_neighbour_from_opening() -> None:
    lock, keys = make_lock({"a": A, "b": B})
    data = bytearray(lock.pack())
    data[60] ^= 1
    damaged = Lock.unpack(bytes(data))
    assert damaged.damaged == 1 and open_lock(damaged, [B]).data == keys.data
    with pytest.raises(CorruptDataError, match="1 key slots fail their checksum"):
        open_lock(damaged, [A])


def test_the_ring_of_one_field_is_not_taken_for_that_of_another() -> None:
    (one, _), (other, _) = make_lock({"a": A}), make_lock({"a": A})
    mixed = one._replace(names=other.names, salt=other.salt, ring=other.ring)
    with pytest.raises(TamperedDataError, match="do not trust"):
        open_lock(mixed, [A])


def test_secrets_are_bounded_and_labels_their_own() -> None:
    with pytest.raises(SecretError, match="1 to 16 secrets"):
        make_lock({})
    lock, keys = make_lock({str(i): A for i in range(MAX_SLOTS)})
    with pytest.raises(SecretError, match="at most 16"):
        add_secret(lock, keys, "more", B)
    with pytest.raises(SecretError, match="already"):
        add_secret(lock, keys, "3", B)
    with pytest.raises(SecretError, match="no secret 'nobody'"):
        remove_secret(lock, "nobody")
    with pytest.raises(SecretError, match="only secret"):
        remove_secret(make_lock({"a": A})[0], "a")
    with pytest.raises(SecretError, match="label has at most"):
        make_lock({"l" * 256: A})


def test_keys_do_not_show_in_a_repr_a_traceback_or_a_pickle() -> None:
    raw = bytes(range(64, 96))
    lock, keys = make_lock({"a": Secret(raw)})
    hidden = [raw, keys.current.key.reveal(), keys._field.reveal()]

    def shows(text: str) -> bool:
        return any(repr(key)[2:-1] in text or key.hex() in text for key in hidden)

    assert not shows(repr(keys)) and not shows(repr(keys.current)) and not shows(repr(lock))
    with pytest.raises(SecretError, match="not pickled"):
        pickle.dumps(keys)
    broken = lock._replace(ring=bytes(len(lock.ring)))
    with pytest.raises(TamperedDataError) as caught:
        open_lock(broken, [Secret(raw)])
    inner = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    del inner.stack[0]
    assert not shows("".join(inner.format()))
