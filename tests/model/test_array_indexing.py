"""Whole arrays in a store, read and written by arbitrary keys, with a NumPy array beside them."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

import kist
from kist.errors import SelectionError, ShapeError
from kist.model.arrays import grid as array_grid
from kist.model.arrays import read as array_read
from kist.model.arrays import segment as array_segment
from kist.model.arrays import state as array_state
from kist.model.arrays import write as array_write
from kist.testing.keys import random_key

Shape = tuple[int, ...]
SEEDS = st.integers(0, 2**32)
DTYPES = ["i4", "u1", ">f8", "?", "M8[s]", "U3", "c8", "f2", [("a", "i4"), ("b", ">f4", 2)]]


def values(rng: np.random.Generator, dtype: np.dtype[Any], shape: Shape) -> np.ndarray:
    """Return random values of a dtype, none of them NaN or NaT."""
    if dtype.names is not None:
        array = np.zeros(shape, dtype)
        for name in dtype.names:
            array[name] = values(rng, dtype[name].base, shape + dtype[name].shape)
        return array
    small = np.asarray(rng.integers(0, 100, shape))
    if rng.random() < 0.3:
        small = np.asarray(small // 30)  # runs, and the fill value
    return small.astype("i8" if dtype.kind == "M" else dtype).astype(dtype)


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    if isinstance(found, np.ndarray):
        assert found.flags.writeable


@contextlib.contextmanager
def small_pages() -> Iterator[None]:
    """Blocks and slabs of some values, so that small arrays have all that large ones have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_grid, "CHUNK_BYTES", 1024)
        patch.setattr(array_grid, "BLOCK_BYTES", 64)
        patch.setattr(array_grid, "RUN_BYTES", 64)
        patch.setattr(array_read, "THREAD_BYTES", 512)
        patch.setattr(array_read, "TASK_BYTES", 128)
        patch.setattr(array_read, "FEW_MISSING", 2)
        patch.setattr(array_read, "POINT_VALUES", 3)
        patch.setattr(array_read, "SCAN_COST", 1)
        patch.setattr(array_state, "SCAN_COST", 1)
        patch.setattr(array_write, "INLINE_BYTES", 16)
        patch.setattr(array_write, "SLAB_BYTES", 600)
        patch.setattr(array_write, "BATCH_BYTES", 2000)
        patch.setattr(array_segment, "_WIDE", 3)
        _forget_grids()
        yield
    _forget_grids()


def _forget_grids() -> None:
    """Shapes of chunks and blocks are kept, whatever the limits were."""
    grid = array_grid
    for kept in (grid.choose_chunks, grid.choose_blocks, grid.choose_runs, grid.block_grid):
        kept.cache_clear()


class Twin:
    """An array of a store and the NumPy array that it must equal."""

    def __init__(self, store: kist.Store, rng: np.random.Generator, **options: Any) -> None:
        self.rng = rng
        self.dtype = np.dtype(options.pop("dtype"))
        shape: Shape = options.pop("shape")
        fills = values(rng, self.dtype, (1,)) if rng.random() < 0.5 else np.zeros(1, self.dtype)
        self.fill = fills[0]
        if rng.random() < 0.5:
            self.numpy = np.asarray(values(rng, self.dtype, shape))
            self.kist = store.create_array("a", self.numpy, fill_value=self.fill, **options)
        else:
            self.numpy = np.full(shape, self.fill, self.dtype)
            self.kist = store.create_array(
                "a", shape=shape, dtype=self.dtype, fill_value=self.fill, **options
            )

    def compare(self) -> None:
        assert self.kist.shape == self.numpy.shape
        assert_same(self.kist[...], self.numpy)

    def read(self) -> None:
        key = random_key(self.rng, self.numpy.shape)
        note(f"read {key!r}")
        try:
            expected = self.numpy[key]
        except IndexError:
            with pytest.raises(SelectionError):
                self.kist[key]
            return
        try:
            found = self.kist[key]
        except SelectionError:
            assert expected.size == 0  # see tests/model/test_indexing.py on what NumPy lets pass
            return
        assert_same(found, expected)

    def write(self) -> None:
        key = random_key(self.rng, self.numpy.shape)
        note(f"write {key!r}")
        try:
            number = np.arange(self.numpy.size).reshape(self.numpy.shape)[key]
        except IndexError:
            with pytest.raises(SelectionError):
                self.kist[key] = self.fill
            return
        shape = number.shape
        if self.rng.random() < 0.5:
            shape = shape[self.rng.integers(0, len(shape) + 1) :]
            shape = tuple(n if self.rng.random() < 0.7 else 1 for n in shape)
        new = values(self.rng, self.dtype, shape)
        if self.rng.random() < 0.1 and number.size:
            with pytest.raises(ShapeError):
                self.kist[key] = np.zeros((2, *number.shape), self.dtype)
        try:
            self.kist[key] = new
        except SelectionError:
            assert number.size == 0
            return
        if np.unique(number).size == number.size:
            self.numpy[key] = new
        else:  # the last counts
            flat = self.numpy.reshape(-1)
            for i, value in zip(number.flat, np.broadcast_to(new, number.shape).flat, strict=True):
                flat[i] = value
            self.numpy = flat.reshape(self.numpy.shape)

    def append(self) -> None:
        shape = self.numpy.shape
        if not shape:
            return
        axis = 0 if self.rng.random() < 0.7 else int(self.rng.integers(len(shape)))
        length = int(self.rng.integers(0, 4))
        note(f"append {length} along {axis}")
        new = values(self.rng, self.dtype, (*shape[:axis], length, *shape[axis + 1 :]))
        self.kist.append(new, axis=axis)
        self.numpy = np.concatenate([self.numpy, new], axis=axis).astype(self.dtype)

    def resize(self) -> None:
        shape = tuple(
            max(n + int(self.rng.integers(-3, 4)), 0) if self.rng.random() < 0.5 else n
            for n in self.numpy.shape
        )
        note(f"resize to {shape}")
        self.kist.resize(shape)
        grown = np.full(shape, self.fill, self.dtype)
        common = tuple(slice(min(pair)) for pair in zip(shape, self.numpy.shape, strict=True))
        grown[common] = self.numpy[common]
        self.numpy = grown

    def step(self) -> None:
        steps = [self.read, self.read, self.write, self.write, self.append, self.resize]
        steps[self.rng.integers(len(steps))]()


def random_options(rng: np.random.Generator, *, scale: int = 1) -> dict[str, Any]:
    ndim = int(rng.integers(0, 5))
    longest = [10, 60, 25, 14, 10][ndim] if scale > 1 else 10
    shape = tuple(int(n) for n in rng.integers(0, longest, ndim))
    kinds = DTYPES if len(shape) != 1 else DTYPES[:-1]  # rows of fields are a table
    options: dict[str, Any] = {"shape": shape, "dtype": kinds[rng.integers(len(kinds))]}
    if rng.random() < 0.7:
        options["chunks"] = tuple(int(n) for n in rng.integers(1, 6 * scale, len(shape)))
    options["codec"] = ["auto", "auto", "fast", "none"][rng.integers(4)]
    note(str(options))
    return options


@settings(max_examples=40)
@given(SEEDS)
def test_programs_of_reads_and_writes_equal_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    with kist.open(":memory:") as store:
        twin = Twin(store, rng, **random_options(rng))
        twin.compare()
        for _ in range(12):
            twin.step()
        twin.compare()


@settings(max_examples=40)
@given(SEEDS)
def test_programs_on_chunks_of_many_blocks_equal_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    options = random_options(rng, scale=3)
    with small_pages(), kist.open(":memory:") as store:
        twin = Twin(store, rng, **options)
        twin.compare()
        for _ in range(12):
            twin.step()
        twin.compare()
        assert store.check().ok


@settings(max_examples=15)
@given(SEEDS)
def test_programs_go_on_after_reopening(seed: int) -> None:
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.kist"
        with kist.open(path, "w", durability="none") as store:
            twin = Twin(store, rng, **random_options(rng))
            for _ in range(5):
                twin.step()
        for _ in range(2):
            with kist.open(path, "r") as store:
                twin.kist = store["a"]
                twin.compare()
                twin.read()
                assert store.check().ok
            with kist.open(path, "a", durability="none") as store:
                twin.kist = store["a"]
                for _ in range(5):
                    twin.step()
                twin.compare()


@settings(max_examples=15)
@given(SEEDS)
def test_a_transaction_that_is_rolled_back_leaves_no_trace(seed: int) -> None:
    rng = np.random.default_rng(seed)
    with kist.open(":memory:") as store:
        twin = Twin(store, rng, **random_options(rng))
        twin.step()
        before = twin.numpy.copy()
        with pytest.raises(KeyboardInterrupt), store.transaction():
            for _ in range(4):
                twin.step()
            twin.compare()
            raise KeyboardInterrupt
        twin.numpy = before
        twin.compare()


@settings(max_examples=15)
@given(SEEDS)
def test_pages_of_many_blocks_are_read_and_written_in_part(seed: int) -> None:
    """Chunks of a megabyte have blocks, which small ones have not."""
    rng = np.random.default_rng(seed)
    ndim = int(rng.integers(1, 4))
    shape = {1: (300_000,), 2: (500, 430), 3: (70, 61, 53)}[ndim]
    with kist.open(":memory:") as store:
        twin = Twin(store, rng, shape=shape, dtype=["i4", "f8"][rng.integers(2)])
        for _ in range(4):
            twin.read()
            twin.write()
        twin.append()
        twin.compare()
        for axis in range(ndim):
            key = [slice(None)] * ndim
            key[axis] = slice(int(rng.integers(shape[axis])), None, int(rng.integers(1, 40)))
            assert_same(twin.kist[tuple(key)], twin.numpy[tuple(key)])


@pytest.mark.parametrize("n_bytes", [32 << 10, (32 << 10) + 1, 40_000, 64 << 10, (64 << 10) + 1])
@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_chunks_of_about_one_block_are_made(n_bytes: int, ndim: int) -> None:
    side = max(2, round(n_bytes ** (1 / ndim)))
    for chunks in ((side,) * ndim, (1,) * (ndim - 1) + (n_bytes,)):
        blocks = array_grid.choose_blocks(chunks, 1)
        assert all(1 <= block <= chunk for block, chunk in zip(blocks, chunks, strict=True))
        assert math.prod(blocks) <= 64 << 10


@pytest.mark.parametrize("key", [False, (..., False), (True, False), (None, False)])
def test_an_empty_mask_writes_nothing_to_an_array_without_axes(key: Any) -> None:
    with kist.open(":memory:") as store:
        array = store.create_array("a", 5)
        array[key] = 7
        assert array[()] == 5
        assert array[key].shape == np.array(5)[key].shape


def test_a_write_that_is_refused_changes_nothing() -> None:
    before = np.arange(60).reshape(5, 12)
    with kist.open(":memory:") as store:
        array = store.create_array("a", before, chunks=(2, 5))
        for key, new in (
            ((slice(None), 12), 0),
            ([0, 5], 0),
            (np.ones(4, bool), 0),
            ("name", 0),
            (1.5, 0),
            ((0, 0, 0), 0),
        ):
            with pytest.raises(SelectionError):
                array[key] = new
        for key, new in ((..., np.zeros((5, 11))), ([0, 1], np.zeros((3, 12))), (0, [1, 2])):
            with pytest.raises(ShapeError):
                array[key] = new
        for new in (1.5, 2**63, "a", math.nan):
            with pytest.raises(TypeError):
                array[1:3] = new
        np.testing.assert_array_equal(array[...], before)


def test_what_is_read_is_a_copy_of_its_own() -> None:
    before = np.arange(60).reshape(5, 12)
    with kist.open(":memory:") as store:
        for name, codec in (("a", "auto"), ("b", "none")):
            array = store.create_array(name, before, codec=codec)
            for key in (..., (slice(None), 3), [1, 0], (2, slice(None, None, -1)), before > 9):
                found = array[key]
                found[...] = -1
            np.testing.assert_array_equal(array[...], before)


def test_an_array_indexes_another() -> None:
    data = np.arange(100) * 3
    with kist.open(":memory:") as store:
        array = store.create_array("a", data)
        order = store.create_array("order", np.array([5, 2, 2, 99]))
        np.testing.assert_array_equal(array[order], data[[5, 2, 2, 99]])
