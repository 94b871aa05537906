"""Extents that are read by one thread and written by another: splits, merges and copies."""

from __future__ import annotations

import gc
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.engine.placing import Placing
from kist.engine.transaction import Transaction
from kist.errors import CorruptDataError, StorageError
from kist.format import keys
from kist.format.layout import FRAME_PAGE
from kist.format.sealedstore import SealedExtent
from kist.format.values import unpack_record
from kist.model import extents
from kist.model.parts import merge

N = 5000
RUN = 100_000

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True, params=[1, 2], ids=["one thread", "two threads"])
def _short_runs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extents, "RUN_BYTES", RUN)
    monkeypatch.setattr(extents, "_KEPT_BYTES", 2 * RUN)
    monkeypatch.setattr(kist.options, "n_threads", request.param)


def noise(seed: int, n: int = N) -> Array:
    return np.random.default_rng(seed).normal(size=n)


def put(store: kist.Store, kind: str, seed: int, secret: bytes | None) -> None:
    values = noise(seed)
    if kind == "table":
        rows = np.zeros(N, [("x", "f8"), ("y", "f8")])
        rows["x"], rows["y"] = values, noise(seed + 1000)
        store.create_table("d", rows, encrypt=secret)
    elif kind == "array":
        store.create_array("d", values, chunks=(N // 5,), encrypt=secret)
    else:
        store.create_keystore("d", encrypt=secret)
        store["d"].update({f"{seed:03} {i}": values[i::7] for i in range(7)})


def found(store: kist.Store, kind: str) -> Array:
    node = store["d"]
    if kind == "table":
        return np.concatenate([node["x"][:], node["y"][:]])
    if kind == "array":
        return np.asarray(node[...])
    return np.concatenate([node[key] for key in node])


def expected(kind: str, seeds: range) -> Array:
    if kind == "table":
        return np.concatenate([noise(s + more) for more in (0, 1000) for s in seeds])
    if kind == "array":
        return np.concatenate([noise(s) for s in seeds])
    return np.concatenate([noise(s)[i::7] for s in seeds for i in range(7)])


@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
@pytest.mark.parametrize("kind", ["table", "array", "keystore"])
def test_more_sources_than_are_held_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, sealed: bool
) -> None:
    """What waits of a source is read before the source is closed for another one."""
    monkeypatch.setattr(merge, "_OPEN", 2)
    secret = os.urandom(32) if sealed else None
    names = [tmp_path / f"{at}.kist" for at in range(7)]
    for at, name in enumerate(names):
        with kist.open(name, "w", durability="none") as store:
            put(store, kind, at, secret)
    for run in (RUN, 100 * RUN):
        monkeypatch.setattr(extents, "RUN_BYTES", run)
        kist.merge(names, tmp_path / "all.kist", secrets=secret, overwrite=True)
        with kist.open(tmp_path / "all.kist", secrets=secret) as store:
            assert store.check().ok
            np.testing.assert_array_equal(found(store, kind), expected(kind, range(7)))


def large(store: kist.Store, n_runs: int = 8) -> Array:
    """Make a table of more runs than memory is kept for."""
    rows = np.zeros(n_runs * RUN // 16, [("x", "f8"), ("y", "f8")])
    rows["x"], rows["y"] = noise(1, len(rows)), noise(2, len(rows))
    table = store.create_table("t", rows[:0])
    for start in range(0, len(rows), N):
        table.append(rows[start : start + N])
    store.compact()
    return rows


def test_many_that_are_filled_in_turn(tmp_path: Path) -> None:
    """Parts of a split by values wait at once; each gets its own rows."""
    with kist.open(tmp_path / "a.kist", "w", durability="none") as store:
        rows = np.zeros(N, [("k", "i4"), ("x", "f8"), ("y", "f8")])
        table = store.create_table("t", rows[:0])
        for turn in range(24):
            rows["k"] = turn % 6
            rows["x"], rows["y"] = noise(turn), noise(100 + turn)
            table.append(rows)
        store.compact()
        names = kist.split(table, by="k", out=tmp_path / "parts")
    assert len(names) == 6
    for key, name in enumerate(names):
        with kist.open(name) as store:
            assert store.check().ok
            assert set(store["t"]["k"][:].tolist()) == {key}
            wanted = [noise(turn) for turn in range(key, 24, 6)]
            np.testing.assert_array_equal(store["t"]["x"][:], np.concatenate(wanted))


def test_one_extent_larger_than_what_is_kept(tmp_path: Path) -> None:
    values = noise(3, 60_000)
    with kist.open(tmp_path / "a.kist", "w", durability="none") as store:
        store["small"] = noise(4, N)
        store.create_array("large", values, chunks=values.shape, codec="none")
        store.create_keystore("k").update(
            {str(at): noise(at, 100 if at % 2 else 40_000) for at in range(8)}
        )
        with kist.open(tmp_path / "b.kist", "w", durability="none") as other:
            for name in ("small", "large", "k"):
                other.copy(store[name], name)
            np.testing.assert_array_equal(other["large"][...], values)
            np.testing.assert_array_equal(other["small"][...], noise(4, N))
            for at in range(8):
                wanted = noise(at, 100 if at % 2 else 40_000)
                np.testing.assert_array_equal(other["k"][str(at)], wanted)
            assert other.check().ok


def test_memory_comes_back_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that failed holds no memory that the next copy of this thread needs."""
    key = os.urandom(32)
    with kist.open(tmp_path / "a.kist", "w", durability="none", encrypt=key) as store:
        rows = large(store)
        original, turns = Transaction.write, []

        def failing(self: Transaction, frames: Any) -> Any:
            turns.append(len(frames))
            if len(turns) == 4:
                raise StorageError("no space left on device")
            return original(self, frames)

        monkeypatch.setattr(Transaction, "write", failing)
        for _ in range(3):
            turns.clear()
            with pytest.raises(StorageError, match="no space"):
                kist.split(store["t"], parts=1, out=tmp_path / "part/{}", encrypt=key)
            assert not list(tmp_path.glob("part/*"))
        gc.collect()
        monkeypatch.setattr(Transaction, "write", original)
        asked = []
        lend = extents._rooms.lend

        def counted(n: int, reading: Any) -> Any:
            asked.append(lend(n, reading))
            return asked[-1]

        monkeypatch.setattr(extents._rooms, "lend", counted)
        (name,) = kist.split(store["t"], parts=1, out=tmp_path / "part/{}", encrypt=key)
        assert len(asked) > 4 and all(room is not None for room in asked)
        with kist.open(name, secrets=key) as part:
            assert part["t"][:].tobytes() == rows.tobytes()


@pytest.mark.parametrize("place", [0, 3, 5])
def test_a_run_that_cannot_be_written_has_no_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """Of a copy that fails nothing is left, and the transaction around it goes on."""
    with kist.open(tmp_path / "a.kist", "w", durability="none") as store:
        rows = large(store)
        original, turns = Placing.fill_places, itertools.count()

        def failing(self: Placing, pointers: Any, frames: Any) -> Any:
            if len(frames) and frames[0].type == FRAME_PAGE and next(turns) == place:
                raise StorageError("no space left on device")
            return original(self, pointers, frames)

        with kist.open(tmp_path / "b.kist", "w", durability="none") as other:
            with other.transaction():
                other["x"] = noise(5)
                monkeypatch.setattr(Placing, "fill_places", failing)
                with pytest.raises(StorageError, match="no space"):
                    other.copy(store["t"], "t")
                monkeypatch.setattr(Placing, "fill_places", original)
                assert list(other) == ["x"]
                other.copy(store["t"], "u")
            assert list(other) == ["u", "x"]
            assert other["u"][:].tobytes() == rows.tobytes()
            np.testing.assert_array_equal(other["x"][:], noise(5))
            assert other.check().ok


def test_a_pointer_without_a_sum_gets_one(tmp_path: Path) -> None:
    """One that is marked as a sealed store marks its own has random bytes there."""
    with kist.open(tmp_path / "a.kist", "w", durability="none") as store:
        large(store)
        other = kist.open(tmp_path / "b.kist", "w", durability="none")
        with other, store["t"]._hold() as view, other._write() as txn:
            records = view.scan(*keys.whole_node(store["t"]._id))
            key, value = next(pair for pair in records if keys.kind_of(pair[0]) == b"P")
            (pointer,), payload = unpack_record(value)
            copies = extents.Extents(txn)
            copies.add(view, key, payload, [SealedExtent(*pointer._replace(sum=bytes(16)))])
            copies.flush()
            (copied,), _ = unpack_record(txn.get(key) or b"")
            assert copied.sum == pointer.sum
            txn.delete(key)


def test_small_extents_far_from_each_other_take_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies between two that are read with one call is read too, up to 16 KiB each time."""
    monkeypatch.setattr(extents, "RUN_BYTES", 3 << 20)
    monkeypatch.setattr(extents, "_KEPT_BYTES", 6 << 20)
    monkeypatch.setattr(extents, "_MOST_EXTENTS", 16)
    with kist.open(tmp_path / "a.kist", "w", durability="none") as store:
        few = store.create_array("few", shape=(0,), dtype="f8", chunks=(500,), codec="none")
        many = store.create_array("many", shape=(0,), dtype="f8", chunks=(1500,), codec="none")
        for at in range(60):
            few.append(noise(at, 500))
            many.append(noise(at, 1500))
        asked = []
        scratch = extents.scratch

        def counted(slot: str, n: int, dtype: Any) -> Any:
            asked.append(n)
            return scratch(slot, n, dtype)

        monkeypatch.setattr(extents, "scratch", counted)
        with kist.open(tmp_path / "b.kist", "w", durability="none") as other:
            other.copy(few, "few")
            np.testing.assert_array_equal(other["few"][:], few[:])
            assert other.check().ok
    assert 4 <= len(asked) <= 6
    assert max(asked) < 17 * (16 << 10)


def test_damage_is_named_whoever_reads_it(tmp_path: Path) -> None:
    """A thread that finds damage cannot ask the transaction: who waits for it says where."""
    name = tmp_path / "a.kist"
    with kist.open(name, "w", durability="none") as store:
        large(store)
        before = store["t"].nbytes_stored
    data = bytearray(name.read_bytes())
    at = data.index(noise(2, 8 * RUN // 16)[-4000:-3990].tobytes())
    data[at] ^= 1
    name.write_bytes(data)
    assert before > 4 * RUN
    with pytest.raises(CorruptDataError, match=r"of '/t'.*checksum of a sector") as caught:
        kist.split(name, "t", parts=2, out=tmp_path / "part")
    assert caught.value.node == "/t" and caught.value.offset is not None
    assert str(name) in str(caught.value)
    assert not list(tmp_path.glob("part/*"))
