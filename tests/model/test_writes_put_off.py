"""Arrays changed again and again in a transaction: as in memory, whatever comes between."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.engine import Transaction
from kist.model import session
from kist.model.arrays import later, write
from kist.model.later import put_off_by

SHAPE, CHUNKS = (12, 9), (5, 4)
NUMBERS = st.integers(0, 11)


class Undone(Exception):
    """Raised to leave a block."""


def _steps(depth: int = 2) -> st.SearchStrategy[Any]:
    simple = st.one_of(
        st.tuples(st.just("set"), st.sampled_from("xy"), NUMBERS, NUMBERS, st.integers(1, 4)),
        st.tuples(st.just("row"), st.sampled_from("xy"), NUMBERS),
        st.tuples(st.just("points"), st.sampled_from("xy"), NUMBERS, NUMBERS),
        st.tuples(st.just("mask"), st.sampled_from("xy"), NUMBERS),
        st.tuples(st.just("bad"), st.sampled_from("xy"), NUMBERS),
        st.tuples(st.just("broken"), st.sampled_from("xy")),
        st.tuples(st.just("other"), st.sampled_from("xy")),
        st.tuples(st.just("read"), st.sampled_from("xy"), NUMBERS),
        st.tuples(st.just("whole"), st.sampled_from("xy")),
        st.tuples(st.just("append"), st.sampled_from("xy"), st.integers(1, 3)),
        st.tuples(st.just("resize"), st.sampled_from("xy"), st.integers(1, 14)),
        st.tuples(st.just("copy"), st.sampled_from("xy")),
        st.tuples(st.just("replace"), st.sampled_from("xy")),
        st.tuples(st.just("rows"), st.sampled_from("xy")),
        st.tuples(st.just("key"), st.integers(0, 3)),
        st.tuples(st.just("attr"), st.sampled_from("xy")),
        st.tuples(st.just("info"), st.sampled_from("xy")),
    )
    if not depth:
        return simple
    block = st.tuples(st.sampled_from(["block", "undone"]), st.lists(_steps(depth - 1), max_size=6))
    return st.one_of(simple, *[block] * 6)  # among 18 kinds of simple ones


class Program:
    """A store and what it should hold."""

    def __init__(self, store: kist.Store) -> None:
        self.store, self.count = store, 0.0
        self.arrays = {name: np.zeros(SHAPE) for name in "xy"}
        self.keys: dict[int, float] = {}
        self.rows: list[float] = []
        for name in "xy":
            store.create_array(name, shape=SHAPE, dtype="f8", chunks=CHUNKS)
        store.create_keystore("runs")
        store.create_table("t", dtype=[("a", "f8")])

    def value(self) -> float:
        self.count += 1
        return self.count

    def check(self) -> None:
        for name, expected in self.arrays.items():
            assert np.array_equal(self.store[name][...], expected), name
        assert dict(self.store["runs"]) == self.keys
        assert self.store["t"]["a"][:].tolist() == self.rows

    def run(self, steps: list[Any]) -> None:
        for kind, *said in steps:
            if kind in ("block", "undone"):
                before = {name: values.copy() for name, values in self.arrays.items()}
                keys, rows = dict(self.keys), list(self.rows)
                try:
                    with self.store.transaction():
                        self.run(said[0])
                        if kind == "undone":
                            raise Undone
                except Undone:
                    self.arrays, self.keys, self.rows = before, keys, rows
            else:
                getattr(self, "do_" + kind)(*said)

    def do_set(self, name: str, i: int, j: int, step: int) -> None:
        where = (slice(i, i + 6, step), slice(j, j + 3))
        self.arrays[name][where] = value = self.value()
        self.store[name][where] = value

    def do_row(self, name: str, i: int) -> None:
        i = i % len(self.arrays[name]) if i < 6 else -1  # the last one, which may wait
        self.arrays[name][i] = values = np.arange(SHAPE[1]) + self.value()
        self.store[name][i] = values

    def do_points(self, name: str, i: int, j: int) -> None:
        n = len(self.arrays[name])
        where = ([i % n, 0, (i + j) % n], [j % 9, 1, 2])
        self.arrays[name][where] = value = self.value()
        self.store[name][where] = value

    def do_mask(self, name: str, i: int) -> None:
        mask = self.arrays[name] > i
        self.arrays[name][mask] = value = self.value()
        self.store[name][mask] = value

    def do_bad(self, name: str, i: int) -> None:
        with pytest.raises(kist.KistError):
            self.store[name][i % len(self.arrays[name])] = "no number"

    def do_broken(self, name: str) -> None:
        """A step that reads the other array, so that what was put off is written, and fails."""
        other = "yx"["xy".index(name)]
        with pytest.raises(kist.ShapeError):
            self.store[name][:1, :3] = self.store[other]

    def do_other(self, name: str) -> None:
        """A step that reads the other array."""
        other = "yx"["xy".index(name)]
        n = min(len(self.arrays[name]), len(self.arrays[other]))
        self.arrays[name][:n] = self.arrays[other][:n]
        self.store[name][:n] = self.store[other][:n]

    def do_read(self, name: str, i: int) -> None:
        i %= len(self.arrays[name])
        assert np.array_equal(self.store[name][i], self.arrays[name][i])

    def do_whole(self, name: str) -> None:
        self.arrays[name][:5, :4] = value = self.value()
        self.store[name][:5, :4] = value

    def do_append(self, name: str, n: int) -> None:
        rows = np.full((n, SHAPE[1]), 0.0)
        for _ in range(n if len(self.arrays[name]) < 30 else 0):
            rows[...] = self.value()  # the same memory again
            self.arrays[name] = np.concatenate([self.arrays[name], rows])
            assert self.store[name].append(rows) == n

    def do_resize(self, name: str, n: int) -> None:
        new = np.zeros((n, SHAPE[1]))
        old = self.arrays[name][:n]
        new[: len(old)] = old
        self.arrays[name] = new
        self.store[name].resize(new.shape)

    def do_copy(self, name: str) -> None:
        if "copy" in self.store:
            del self.store["copy"]
        self.store.copy(name, "copy")
        assert np.array_equal(self.store["copy"][...], self.arrays[name])

    def do_replace(self, name: str) -> None:
        self.arrays[name] = np.full(SHAPE, self.value())
        del self.store[name]
        self.store.create_array(name, self.arrays[name], chunks=CHUNKS)

    def do_rows(self, name: str) -> None:
        value = float(self.arrays[name][0, 0])
        self.rows.append(value)
        self.store["t"].append([(float(self.store[name][0, 0]),)])

    def do_key(self, key: int) -> None:
        self.keys[key] = value = self.value()
        self.store["runs"][key] = value

    def do_attr(self, name: str) -> None:
        self.store[name].attrs["n"] = self.value()

    def do_info(self, name: str) -> None:
        assert self.store[name].info and repr(self.store[name])


@settings(max_examples=200)
@given(st.lists(_steps(), max_size=14), st.sampled_from([0, 5000, 1 << 30]), st.booleans())
def test_programs_in_transactions_agree_with_numpy(
    steps: list[Any], most: int, by_hand: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch, kist.open(":memory:") as store:
        program = Program(store)
        # 0: nothing is kept; 5000: a few patches, so that writes happen at any time, and what
        # changes three chunks is written at once.
        patch.setattr(later, "MOST_BYTES", most)
        if by_hand:
            store.begin()
            program.run(steps)
            program.check()
            store.commit()
        else:
            with store.transaction():
                program.run(steps)
        program.check()
        assert store.check().ok


def test_a_loop_over_rows_writes_each_chunk_once(tmp_path: Path) -> None:
    path = tmp_path / "a.kist"
    values = np.random.default_rng(5).random((300, 2000))
    with kist.open(path, "w") as store:
        x = store.create_array("x", shape=values.shape, dtype="f8")
        y = store.create_array("y", shape=300, dtype="f8")
        with store.transaction():
            for i, row in enumerate(values):
                x[i] = row
                y[i] = row[0]
                store["x"].attrs["n"] = i
        assert np.array_equal(x[...], values) and np.array_equal(y[...], values[:, 0])
    assert os.path.getsize(path) < 1.3 * values.nbytes


def test_a_loop_of_appends_writes_each_chunk_once(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).integers(0, 9, (40, 64, 64)).astype("u2")
    path = tmp_path / "a.kist"
    with kist.open(path, "w") as store:
        stack = store.create_array("stack", shape=(0, 64, 64), dtype="u2", chunks=(16, 64, 64))
        before = path.stat().st_size
        with store.transaction():
            for number, frame in enumerate(frames):
                assert stack.append(frame) == 1
                if number == 20:
                    assert stack.shape == (21, 64, 64)  # whoever looks sees all of them
                    stack[3] = frames[3]
        assert np.array_equal(stack[:], frames)
        assert sum(1 for _ in stack._state().all_segments()) <= 4
        assert path.stat().st_size - before < frames.nbytes / 2


def test_appends_that_do_not_fit_leave_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later, "MOST_BYTES", 4096)
    with kist.open(":memory:") as store:
        x = store.create_array("x", shape=(2, 3), dtype="i4")
        with store.transaction():
            assert x.append([1, 2, 3]) == 1
            with pytest.raises(kist.ShapeError, match=r"\(n, 3\), not \(1, 4\)"):
                x.append([[1, 2, 3, 4]])
            with pytest.raises(kist.DTypeError):
                x.append([[0.5, 1, 2]])
            assert x.append(np.zeros((0, 3), "i4")) == 0
            assert x.append(np.ones((500, 3), "i4")) == 500  # more than is kept
            assert x.append([[4, 5, 6]]) == 1
        assert x.shape == (504, 3)
        assert x[2].tolist() == [1, 2, 3] and x[503].tolist() == [4, 5, 6]


def test_columns_are_appended_behind_rows_that_wait() -> None:
    with kist.open(":memory:") as store:
        x = store.create_array("x", shape=(1, 2), dtype="i4")
        with store.transaction():
            x.append([[1, 2]])
            x.append([[8], [9]], axis=1)
            x.append([[3, 4, 5]])
        assert x[:].tolist() == [[0, 0, 8], [1, 2, 9], [3, 4, 5]]


def test_appends_are_undone_with_their_block() -> None:
    with kist.open(":memory:") as store:
        x = store.create_array("x", shape=(0,), dtype=">f8")
        with store.transaction():
            x.append([1.0])
            with pytest.raises(Undone), store.transaction():
                x.append([2.0])
                assert x.shape == (2,)
                x.append([3.0])
                raise Undone
            x.append([4.0])
        assert x[:].tolist() == [1.0, 4.0]


def test_rows_written_by_an_assignment_are_not_appended_again_when_a_later_step_fails() -> None:
    with kist.open(":memory:") as store:
        x = store.create_array("x", shape=(3, 2), dtype="i4")
        with store.transaction():
            x.append([[1, 2]])
            x[0] = [5, 6]  # the row is written first, this waits
            with pytest.raises(kist.ShapeError):
                x.resize((4, 3, 2))
            assert x.shape == (4, 2)
        assert x[:].tolist() == [[5, 6], [0, 0], [0, 0], [1, 2]]


def test_ctrl_c_in_an_append_that_is_put_off_appends_nothing() -> None:
    with kist.open(":memory:") as store:
        x = store.create_array("x", shape=(0,), dtype="f8")
        with store.transaction():
            x.append([1.0])
            kept = x._store._session.own_writer().use().by_node["later"]._kept[x._id]

            class Rows(list[Any]):
                def append(self, row: Any) -> None:
                    super().append(row)
                    os.kill(os.getpid(), signal.SIGINT)

            kept.rows = Rows(kept.rows)
            with pytest.raises(KeyboardInterrupt):
                x.append([2.0])
            kept.rows = list(kept.rows)
            x.append([3.0])
        assert x[:].tolist() == [1.0, 3.0]


def test_what_is_put_off_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later, "MOST_BYTES", 1 << 20)
    kept: list[int] = []
    with kist.open(":memory:") as store:
        x = store.create_array("x", shape=(64, 1 << 14), dtype="f8", chunks=(4, 1 << 14))
        with store.transaction():
            for i in range(64):
                x[i] = i
                view = x._view()
                kept.append(sum(k.nbytes for k in view.by_node[later.LATER]._kept.values()))
        assert x[:, 0].tolist() == list(range(64))
    assert 0 < max(kept) <= (1 << 20) + (4 << 17)


def test_a_disk_that_is_full_takes_nothing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with kist.open(":memory:") as store:
        x = store.create_array("x", shape=(8, 8), dtype="f8", chunks=(4, 4))
        with store.transaction():
            x[1] = 1.0
            real = write._write_batch

            def full(*_: Any) -> None:
                raise kist.StorageError("no space left on the device")

            monkeypatch.setattr(write, "_write_batch", full)
            with pytest.raises(kist.StorageError):
                x[2]
            x[3] = 3.0
            monkeypatch.setattr(write, "_write_batch", real)
            assert x[:, 0].tolist() == [0, 1, 0, 3, 0, 0, 0, 0]
        assert x[:, 0].tolist() == [0, 1, 0, 3, 0, 0, 0, 0]
        with pytest.raises(kist.StorageError), store.transaction():
            x[1] = 5.0
            monkeypatch.setattr(write, "_write_batch", full)
        monkeypatch.setattr(write, "_write_batch", real)
        assert x[1, 0] == 1.0
        x[1] = 6.0
        assert x[1, 0] == 6.0


def test_other_readers_see_nothing_before_the_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.kist"
    with kist.open(path, "w") as store:
        x = store.create_array("x", shape=(8, 8), dtype="f8", chunks=(4, 4))
        with kist.open(path) as reader:
            with store.transaction():
                x[1] = 1.0
                assert x[1, 0] == 1.0 and reader["x"][1, 0] == 0.0
            reader.refresh()
            assert reader["x"][1, 0] == 1.0
        with pytest.raises(Undone), store.transaction():
            x[1] = 2.0
            raise Undone
        assert x[1, 0] == 1.0


def test_a_loop_outside_of_a_transaction_is_told_what_it_costs() -> None:
    with kist.open(":memory:") as store:
        x = store.create_array("x", shape=(1000, 4096), dtype="f8")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            x[:] = 1.0
            with store.transaction():
                for i in range(100):
                    x[i] = 2.0
            for i in range(4):
                x[i] = 3.0
        with pytest.warns(kist.PerformanceWarning, match=r"store\.transaction") as told:
            for i in range(100):
                x[i] = 4.0
        assert len(told) == 1 and told[0].filename == __file__


def test_a_loop_that_assigns_what_it_writes_is_told_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "_MUCH_ANEW", 1 << 16)
    with kist.open(":memory:") as store, warnings.catch_warnings():
        warnings.simplefilter("error")
        x = store.create_array("x", shape=(64, 1024), dtype="f8", chunks=(8, 1024))
        for i in range(64):
            x[i] = 3.0  # chunks of 8 rows: eight times what is given, and 16 are told


@pytest.mark.parametrize("dtype", ["V0", "S0", "U0", "T"])
def test_values_of_no_bytes_and_of_unknown_many_do_not_wait(dtype: str) -> None:
    with kist.open(":memory:") as store:
        x: Any = store.create_array("x", shape=(5, 4), dtype=np.dtype(dtype), chunks=(2, 4))
        with store.transaction():
            x[0, 1:3] = values = np.zeros((2,), x.dtype)
            waiting: Any = put_off_by(x._view())
            assert waiting is None or not waiting._kept
            x[3] = x[2]
            x.append(np.zeros((1, 4), x.dtype))
            assert waiting is None or not waiting._kept
        assert x.shape == (6, 4) and np.array_equal(x[0, 1:3], values)
        assert store.check().ok


def test_what_an_array_takes_is_told_with_what_waits() -> None:
    with kist.open(":memory:") as store:
        x = store.create_array("x", shape=(64, 64), dtype="f8")
        with store.transaction():
            x[3] = np.random.default_rng(0).random(64)
            assert "in memory" not in repr(x) and x.info.stored_bytes > 500


def test_a_loop_may_fill_the_same_memory_again() -> None:
    with kist.open(":memory:") as store:
        x = store.create_array("x", shape=(8, 8), dtype="f8", chunks=(4, 4))
        row = np.zeros(8)
        with store.transaction():
            for i in range(8):
                row[:] = i
                x[i] = row
        assert x[:, 5].tolist() == list(range(8))


def test_a_block_that_fails_takes_only_its_own_back() -> None:
    with kist.open(":memory:") as store:
        x = store.create_array("x", shape=(8, 8), dtype="f8", chunks=(4, 4))
        with store.transaction():
            x[1] = 1.0
            with pytest.raises(Undone), store.transaction():
                x[1] = 2.0
                x[2] = 2.0
                raise Undone
            with store.transaction():
                x[3] = 3.0
        assert x[:, 0].tolist() == [0, 1, 0, 3, 0, 0, 0, 0]


def test_copies_into_other_stores_hold_it() -> None:
    with kist.open(":memory:") as store, kist.open(":memory:") as other:
        x = store.create_array("x", shape=(8, 8), dtype="f8", chunks=(4, 4))
        with store.transaction():
            x[1] = 1.0
            other.copy(x, "x")
        assert other["x"][1, 0] == 1.0


@pytest.fixture
def pair() -> Iterator[tuple[kist.Store, kist.Array]]:
    """A store with two arrays, and the first of them."""
    with kist.open(":memory:") as store:
        x = store.create_array("x", shape=(8, 8), dtype="f8", chunks=(4, 4))
        store.create_array("y", shape=(8, 8), dtype="f8", chunks=(4, 4))
        yield store, x


def interrupting(original: Any) -> Any:
    """A function that gets Ctrl-C when it has done its work."""

    def call(*arguments: Any) -> Any:
        found = original(*arguments)
        signal.raise_signal(signal.SIGINT)
        return found

    return call


def test_ctrl_c_while_a_step_is_taken_back(
    pair: tuple[kist.Store, kist.Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, x = pair
    with store.transaction():
        x[1] = 1.0
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Transaction, "rollback_to", interrupting(Transaction.rollback_to))
            store["y"][:1, :3] = x  # reads it, so that what was put off is written, and fails
        x[2] = 2.0
    assert x[:, 0].tolist() == [0, 1, 2, 0, 0, 0, 0, 0]


def test_ctrl_c_while_a_block_is_taken_back(
    pair: tuple[kist.Store, kist.Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, x = pair
    with store.transaction():
        x[1] = 1.0
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Transaction, "rollback_to", interrupting(Transaction.rollback_to))
            with store.transaction():
                x[2] = 2.0
                raise Undone
    assert x[:, 0].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]


class Reading:
    """Values that are read while they are assigned."""

    def __init__(self, array: kist.Array) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array[:1]


@pytest.mark.parametrize("often", [1, 2, 3])
def test_ctrl_c_when_a_step_has_read_and_changed_the_same_array(
    pair: tuple[kist.Store, kist.Array], monkeypatch: pytest.MonkeyPatch, often: int
) -> None:
    store, x = pair
    with store.transaction():
        x[0] = 1.0
        for row in range(3, 3 + often):
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(later.Later, "take", interrupting(later.Later.take))
                x[row] = Reading(x)
        x[7] = 7.0
    assert x[:3, 0].tolist() == [1, 0, 0] and x[7, 5] == 7.0
    assert set(x[3 : 3 + often].ravel()) <= {0.0, 1.0}


def test_memory_that_runs_out_keeps_all_of_an_assignment_or_nothing(
    pair: tuple[kist.Store, kist.Array],
) -> None:
    class Scarce(dict[Any, Any]):
        left = 2

        def setdefault(self, *arguments: Any) -> Any:
            self.left -= 1
            if not self.left:
                super().setdefault(*arguments)
                raise MemoryError
            return super().setdefault(*arguments)

    store, x = pair
    with store.transaction():
        x[1, :2] = 1.0
        (kept,) = x._view().by_node[later.LATER]._kept.values()
        kept.patches = Scarce(kept.patches)
        with pytest.raises(MemoryError):
            x[2:6, 1:7] = 5.0
        assert list(kept.patches) == [(0, 0)]
        x[3] = 3.0
    expected = np.zeros((8, 8))
    expected[1, :2], expected[3] = 1.0, 3.0
    assert np.array_equal(x[...], expected)


def kept_of(array: kist.Array) -> dict[Any, Any]:
    """Patches that wait, by chunk."""
    found = array._view().by_node[later.LATER]._kept
    return {index: patches for kept in found.values() for index, patches in kept.patches.items()}


def test_chunks_that_a_step_leads_over_are_not_written(
    pair: tuple[kist.Store, kist.Array],
) -> None:
    store, _ = pair
    z = store.create_array("z", shape=(40,), dtype="f8", chunks=(4,))
    with store.transaction():
        z[1::13] = 1.0
        assert sorted(kept_of(z)) == [(0,), (3,), (6,)]
    assert np.flatnonzero(z[:]).tolist() == [1, 14, 27]


def test_large_chunks_and_large_writes_are_written_at_once_behind_what_waits(
    pair: tuple[kist.Store, kist.Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, x = pair
    with store.transaction():
        x[1] = 1.0
        assert kept_of(x)
        with monkeypatch.context() as patch:
            patch.setattr(later, "MOST_BYTES", 8 * later.PATCH_BYTES)
            x[:3] = 2.0
            x.attrs["n"] = 1  # not of the group: its steps write all that waits
            assert not kept_of(x)
        x[1] = 3.0
        with monkeypatch.context() as patch:
            patch.setattr(later, "SLAB_BYTES", 100)
            x[0] = 4.0
            x[1, 2] = 5.0
            assert not kept_of(x)
        x[2, 0] = 6.0
        with monkeypatch.context() as patch:
            patch.setattr(later, "SLAB_BYTES", 100)
            x[2] = 7.0
    expected = np.zeros((8, 8))
    expected[:3], expected[1], expected[0], expected[1, 2], expected[2] = 2.0, 3.0, 4.0, 5.0, 7.0
    assert np.array_equal(x[...], expected)


def test_points_are_written_behind_what_waits(pair: tuple[kist.Store, kist.Array]) -> None:
    store, x = pair
    with store.transaction():
        x[1] = 1.0
        x[[1, 5], [2, 3]] = 5.0
    assert x[1, :4].tolist() == [1, 1, 5, 1] and x[5, 3] == 5.0


def test_what_was_written_and_taken_back_comes_before_what_came_later(
    pair: tuple[kist.Store, kist.Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, x = pair
    with store.transaction():
        x[0] = 1.0
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(later.Later, "take", interrupting(later.Later.take))
            x[0, :3] = Doubled(x)
        x[:4, 4:] = 7.0  # a whole chunk, of which only what came before has a part
    assert x[0].tolist() == [2.0] * 3 + [1.0] + [7.0] * 4


class Doubled(Reading):
    """Twice the first three values, read while they are assigned."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return 2 * self.array[0, :3]
