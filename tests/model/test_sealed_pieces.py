"""Records in clear that a manifest binds are one piece: nothing says where a piece ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
from kist.engine import Engine, Frame, locked
from kist.errors import TamperedDataError
from kist.format import keys
from kist.format.layout import FRAME_BLOB
from kist.format.sealedstore import SealedExtent
from kist.format.values import pack_record, unpack_record

KEY = bytes(range(32))


def edit(path: Path, prefix: Any, pieces: Any) -> None:
    """Without the secret, put what stands in one record there in pieces, with every sum right."""
    engine = Engine.open(path, "r+")
    try:
        txn = engine.begin()
        ((key, value),) = txn.scan(*prefix)
        pointers, payload = unpack_record(value)
        data = bytes(txn.read(pointers[0])) if pointers else payload
        kept, outside = pieces(data)
        frames = [Frame(FRAME_BLOB, keys.node_of(key), 0, 0, part) for part in outside]
        txn.put(key, pack_record(kept, txn.write(frames)))
        txn.commit()
    finally:
        engine.close()


PIECES = {
    "two extents": lambda data: (b"", [data[: len(data) // 2], data[len(data) // 2 :]]),
    "payload and extent": lambda data: (data[:1], [data[1:]]),
    "an extent that nobody reads": lambda data: (b"", [data, b""]),
}


@pytest.mark.parametrize("how", PIECES)
def test_deleted_rows_in_pieces_are_refused(path: Path, how: str) -> None:
    rows = np.zeros(3000, [("a", "i4"), ("b", "f8")])
    with kist.open(path, "x") as store:
        store.create_table("t", rows, encrypt={"b": KEY}).delete(slice(5, 900, 7))
        node = store["t"]._id
    edit(path, keys.deletions(node), PIECES[how])
    # Of halves the reader says that they do not decode, before it looks at the manifest.
    wanted = TamperedDataError if how.startswith("an extent") else kist.KistError
    with kist.open(path, secrets=KEY) as store, pytest.raises(wanted):
        store["t"]["b"][:]


@pytest.mark.parametrize("how", PIECES)
def test_the_schema_of_a_sealed_array_in_pieces_is_refused(path: Path, how: str) -> None:
    with kist.open(path, "x") as store:
        node = store.create_array("x", np.arange(9), encrypt=KEY)._id
    edit(path, keys.prefix_range(keys.schema(node)), PIECES[how])
    wanted = TamperedDataError if how.startswith("an extent") else kist.KistError
    with kist.open(path, secrets=KEY) as store, pytest.raises(wanted):
        store["x"][:]


def test_the_same_record_in_an_extent_is_no_tampering(path: Path) -> None:
    rows = np.arange(3000, dtype="i4").view([("a", "i4")])
    with kist.open(path, "x") as store:
        store.create_table("t", rows, encrypt={"a": KEY}).delete(slice(5, 900, 7))
        node = store["t"]._id
    edit(path, keys.deletions(node), lambda data: (b"", [data]))
    with kist.open(path, secrets=KEY) as store:
        assert store["t"]["a"][:].tolist() == np.delete(rows["a"], slice(5, 900, 7)).tolist()


def test_a_check_without_the_secret_reads_no_more_than_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kist.open(path, "x", encrypt=KEY) as store:
        store["x"] = np.random.default_rng(1).integers(0, 256, 300_000, "u1")
        store._session.engine.checkpoint()
    size = path.stat().st_size
    read = 0
    real = locked.verify_frame

    def overlapping(data: bytes, pointer: SealedExtent, uuid: bytes) -> list[bytes]:
        nonlocal read
        read += len(data)
        found = real(data, pointer, uuid) if not read else []
        # Whoever makes a file can have every frame lie within another one.
        length = size // 3
        found += [SealedExtent(64 * n, length, 0, 1, bytes([n] * 16)).pack() for n in range(1, 250)]
        return found

    monkeypatch.setattr(locked, "verify_frame", overlapping)
    problems = kist.check(path).problems
    assert any("more space is named" in str(problem) for problem in problems)
    assert read <= size
