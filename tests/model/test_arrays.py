"""Arrays: making, growing, shrinking, mapping, copying them; and what is refused."""

from __future__ import annotations

import gc
import math
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.format import keys
from kist.format.array import SegmentRecord
from kist.format.values import pack_record, unpack_record
from kist.model.arrays import grid as array_grid
from kist.model.arrays import write as array_write
from kist.model.arrays.grid import BlockGrid, choose_blocks, choose_chunks
from kist.model.arrays.segment import in_blocks

Array = np.ndarray[Any, Any]
SHAPES = st.lists(st.integers(1, 9), min_size=0, max_size=4).map(tuple)


@pytest.fixture
def store() -> Any:
    with kist.open(":memory:") as store:
        yield store


def ramp(*shape: int, dtype: Any = "f8") -> Array:
    return np.arange(math.prod(shape)).reshape(shape).astype(dtype)


# Shapes of chunks and blocks


@given(
    st.lists(st.integers(0, 3000), min_size=0, max_size=6).map(tuple),
    st.sampled_from([1, 4, 8, 24]),
)
def test_automatic_chunks_have_one_megabyte_or_one_to_eight_and_blocks_fit_into_them(
    shape: tuple[int, ...], width: int
) -> None:
    chunks = choose_chunks(shape, width)
    assert len(chunks) == len(shape) and all(n >= 1 for n in chunks)
    assert all(c <= n or not n for c, n in zip(chunks[1:], shape[1:], strict=True))
    large = math.prod(shape) * width >= array_grid.LARGE_BYTES
    most = array_grid.LARGE_CHUNK_BYTES if large else array_grid.CHUNK_BYTES
    assert math.prod(chunks) * width <= most * (2 if large else 1)
    assert not shape or 4 * math.prod(chunks) * width >= most
    blocks = choose_blocks(chunks, width)
    assert all(1 <= b <= c for b, c in zip(blocks, chunks, strict=True))
    assert math.prod(blocks) * width <= 2 * array_grid.BLOCK_BYTES


def test_chunks_and_blocks_of_a_volume_are_cubes() -> None:
    assert choose_chunks((256, 256, 128), 4) == (64, 64, 64)
    assert choose_chunks((512, 512, 512), 4) == (128, 128, 128)
    assert choose_chunks((512, 512, 512), 8) == (64, 64, 64)
    assert choose_chunks((20_000, 20_000), 8) == (1024, 1024)
    assert choose_chunks((100_000, 64, 64), 4) == (256, 64, 64)
    assert choose_blocks((64, 64, 64), 4) == choose_blocks((128, 128, 128), 4) == (16, 16, 16)
    assert choose_chunks((0, 512, 512), 2) == (64, 64, 128)
    assert choose_chunks((10,), 8) == (131_072,)


@pytest.mark.parametrize(
    ("shape", "width", "chunks"),
    [
        ((0, 1024, 1024), 2, (16, 128, 256)),
        ((0, 721, 1440), 4, (8, 128, 256)),
        ((0, 2048, 2048), 2, (4, 256, 512)),
        ((0, 4096, 4096), 2, (1, 512, 1024)),
        ((0, 5, 1_000_000_000), 1, (1, 5, 131_072)),
        ((0, 50), 8, (2048, 50)),
        ((0, 0, 7), 8, (128, 128, 7)),
    ],
)
def test_chunks_of_arrays_that_grow_by_large_frames_hold_few(
    shape: tuple[int, ...], width: int, chunks: tuple[int, ...]
) -> None:
    assert choose_chunks(shape, width) == chunks


@given(SHAPES, st.data())
def test_no_more_than_a_row_of_values_is_padded_along_an_axis(
    shape: tuple[int, ...], data: st.DataObject
) -> None:
    blocks = tuple(data.draw(st.integers(1, 9)) for _ in shape)
    grid = BlockGrid(shape, blocks)
    values = np.arange(math.prod(shape)).reshape(shape)
    flat = in_blocks(values, grid)
    assert len(flat) == grid.n_values
    assert set(flat.tolist()) == set(range(values.size))
    if grid.is_runs:
        assert np.array_equal(flat, values.reshape(-1))
    else:
        for n, m, b in zip(shape, grid.counts, grid.block, strict=True):
            assert n <= m * b < n + m


# Making arrays


@pytest.mark.parametrize(
    "data",
    [
        5,
        2.5,
        True,
        "text",
        [1, 2, 3],
        [[1.5, 2], [3, 4]],
        ["a", "bc"],
        np.float32(1.5),
        np.datetime64("2024-01-01", "D"),
        ramp(3, 4)[::-1, ::2],
        np.asfortranarray(ramp(7, 5)),
        np.zeros((0, 4), "i2"),
        np.zeros((3, 0)),
        ramp(4, dtype=">c16"),
        ramp(3, dtype=np.longdouble),
        np.array([b"a\0b", b""], "S5"),
        np.array([["grün", ""]], ">U4"),
        np.array(["", "text " * 500], np.dtypes.StringDType()),
        np.array([[None, "x"], ["", None]], object),
        np.zeros((2, 3), [("a", ">i4"), ("b", [("c", "f4", 2)])]),
        np.zeros((), [("a", "i4")]),
        np.array([b"12", b"34"], "V2"),
    ],
    ids=lambda data: f"{type(data).__name__}-{getattr(data, 'dtype', '')}",
)
def test_what_is_put_under_a_name_comes_back(path: Path, data: Any) -> None:
    expected = np.asarray(data)
    with kist.open(path, "w") as store:
        store["x"] = data
    with kist.open(path) as store:
        array = store["x"]
        found = array[...]
        assert isinstance(array, kist.Array)
        assert array.shape == found.shape == expected.shape
        if expected.dtype.kind != "O":
            assert array.dtype == found.dtype == expected.dtype
            assert array.dtype.str == expected.dtype.str
        np.testing.assert_array_equal(np.asarray(found, expected.dtype), expected)
        assert store.check().ok


def test_one_dimensional_records_become_a_table_and_others_an_array(store: Any) -> None:
    rows = np.zeros(4, "i4,f8")
    store["t"], store["a"] = rows, rows.reshape(2, 2)
    assert (store["t"].kind, store["a"].kind) == ("table", "array")
    with pytest.raises(kist.NodeExistsError, match="is a table"):
        store["t"] = ramp(3)
    with pytest.raises(kist.NodeExistsError, match="is an array"):
        store["a"] = rows


def test_replacing_an_array_drops_attributes_and_makes_handles_stale(store: Any) -> None:
    old = store.create_array("a", ramp(3), attrs={"x": 1})
    store["a"] = ramp(5)
    assert store["a"].shape == (5,) and not store["a"].attrs
    with pytest.raises(kist.StaleHandleError):
        old[0]


def test_what_was_never_written_takes_no_space(path: Path) -> None:
    with kist.open(path, "w") as store:
        big = store.create_array("big", shape=(10**6, 10**6), dtype="f4", fill_value=np.nan)
        big[10**6 - 1, 5] = 1.5
        assert np.isnan(big[123, 456]) and big[-1, 5] == 1.5
        assert big.info.n_segments == 1 and big.nbytes_stored < 1_000_000
        big[-1, 5] = np.nan
        assert big.info.n_segments == 0
        big.resize((10**12, 10**6))
        assert np.isnan(big[10**12 - 1, 3:6]).all()


def test_arrays_may_have_64_axes_but_not_65(store: Any) -> None:
    x = np.ones((1,) * 62 + (3, 2))
    x[...] = ramp(3, 2)
    store["x"] = x
    np.testing.assert_array_equal(store["x"][...], x)
    store["x"][(0,) * 62 + (slice(1, 3),)] = 7
    assert (store["x"][(0,) * 62] == [[0, 1], [7, 7], [7, 7]]).all()
    with pytest.raises(kist.ShapeError, match="64"):
        store.create_array("y", shape=(1,) * 65)


class Sliceable:
    """An array that is read by slices, as those of other libraries."""

    def __init__(self, values: Array) -> None:
        self._values = values
        self.shape, self.dtype = values.shape, values.dtype
        self.largest = 0

    def __getitem__(self, key: Any) -> Array:
        part = self._values[key]
        self.largest = max(self.largest, part.nbytes)
        return part


def test_data_that_are_sliceable_are_read_part_by_part(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kist.model.arrays.create.SLAB_BYTES", 4096)
    monkeypatch.setattr("kist.model.arrays.create.slabs_of.__defaults__", (4096,))
    x = ramp(50, 40, 3)
    source = Sliceable(x)
    store.create_array("x", source, chunks=(7, 9, 2))
    np.testing.assert_array_equal(store["x"][...], x)
    assert source.largest <= 4096
    source = Sliceable(x)
    assert store["x"].append(source) == 50
    np.testing.assert_array_equal(store["x"][...], np.concatenate([x, x]))


@pytest.mark.parametrize("shape", [(1 << 50, 0), (1 << 50, 3, 0), (0, 3), (0, 0)])
def test_arrays_without_values_are_read_in_one_block_at_most(shape: tuple[int, ...]) -> None:
    with kist.open(":memory:") as store:
        array = store.create_array("a", shape=shape, dtype="f8")
        assert [block.shape for block in array.blocks()] == [shape] * bool(shape[0])


def test_writing_and_reading_in_blocks_needs_little_memory(path: Path) -> None:
    limit = 100 << 20
    with kist.open(path, "w", durability="none") as store:
        array = store.create_array("x", shape=(2048, 128, 128), dtype="f8", codec="none")
        big = store.create_array("big", shape=(4096, 64, 64), dtype="f8", chunks=(4096, 64, 64))
        block = ramp(64, 128, 128)
        tracemalloc.start()
        try:
            for at in range(0, 1024, 64):
                array[at : at + 64] = block + at
            total = sum(float(part[0, 0, 0]) for part in array.blocks(64))
            big[5] = 1.0
            big[4000:4001, 3] = 2.0
            assert big[3999:4002, 3, 3].tolist() == [0.0, 2.0, 0.0]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert total == sum(range(0, 1024, 64))
        assert array.nbytes + big.nbytes > 3 * limit
        assert peak < limit


# Growing and shrinking


@settings(max_examples=25)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=40), st.integers(1, 300))
def test_appends_of_any_size_leave_few_segments(sizes: list[int], chunk: int) -> None:
    with kist.open(":memory:") as store:
        array = store.create_array("x", shape=(0, 2), dtype="i4", chunks=(chunk, 2))
        done = 0
        for size in sizes:
            assert array.append(ramp(size, 2) + 2 * done + 1) == size
            done += size
        np.testing.assert_array_equal(array[...], ramp(done, 2) + 1)
        full = done // chunk
        assert array.info.n_segments <= full + 15 * 3
        assert store.check().ok


def test_an_array_that_grows_by_single_rows_is_in_few_segments(path: Path) -> None:
    with kist.open(path, "w", durability="none") as store:
        array = store.create_array("x", shape=(0,), dtype="f8")
        with store.transaction():
            for number in range(3000):
                array.append(number + 1.0)
            array.resize(2990)
            array.append(np.arange(2990.0, 3000.0) + 1)
        assert array.info.n_segments < 50
    with kist.open(path) as store:
        np.testing.assert_array_equal(store["x"][:], np.arange(1.0, 3001.0))
        assert store["x"].nbytes_stored < 40_000


def test_an_array_that_grew_by_many_appends_is_in_few_pages(store: Any) -> None:
    array = store.create_array("x", shape=(0,), dtype="f8", chunks=(1 << 17,))
    values = np.random.default_rng(1).random(121_500)
    with store.transaction():
        for at in range(0, len(values), 300):
            array.append(values[at : at + 300])
    rows = [segment.rows for _, segment in array._state().all_segments()]
    assert sum(rows) == len(values)
    assert len(rows) <= 3 * 5  # of 256, 1,024, 4,096, 16,384 and 65,536 rows and more
    np.testing.assert_array_equal(array[:], values)


def test_overwriting_uses_the_space_again(path: Path) -> None:
    rng = np.random.default_rng(0)
    values = [rng.normal(size=131_072) for _ in range(2)]
    with kist.open(path, "w", durability="none") as store:
        array = store.create_array("x", values[0])
        for number in range(60):
            array[...] = values[number % 2]
    assert path.stat().st_size < 5_000_000


def test_appending_takes_a_row_a_scalar_or_rows(store: Any) -> None:
    line = store.create_array("line", shape=(0,), dtype="i4")
    assert line.append(3) == 1 and line.append([4, 5]) == 2
    assert line[:].tolist() == [3, 4, 5]
    plane = store.create_array("plane", shape=(0, 2), dtype="i4")
    assert plane.append([1, 2]) == 1 and plane.append([[3, 4], [5, 6]]) == 2
    assert plane.append([[7], [8], [9]], axis=-1) == 1
    assert plane[:].tolist() == [[1, 2, 7], [3, 4, 8], [5, 6, 9]]
    for wrong in ([1], [[1, 2]], [[[1, 2, 3]]], np.zeros((2, 4))):
        with pytest.raises(kist.ShapeError, match=r"\(n, 3\)"):
            plane.append(wrong)
    with pytest.raises(kist.ShapeError, match="axis 2"):
        plane.append([[1, 2, 3]], axis=2)
    store["scalar"] = 1
    with pytest.raises(kist.ShapeError, match="0-d"):
        store["scalar"].append(1)
    assert plane.shape == (3, 3)


def test_an_array_may_be_appended_to_itself(store: Any) -> None:
    store["x"] = ramp(5, 3)
    assert store["x"].append(store["x"]) == 5
    np.testing.assert_array_equal(store["x"][:], np.concatenate([ramp(5, 3)] * 2))


def test_what_is_cut_off_does_not_come_back(store: Any) -> None:
    array = store.create_array("x", ramp(20, 30), chunks=(8, 8), fill_value=-1)
    array.resize((11, 30))
    array.resize(13, axis=1)
    array.shape = (20, 30)
    expected = np.full((20, 30), -1.0)
    expected[:11, :13] = ramp(20, 30)[:11, :13]
    np.testing.assert_array_equal(array[...], expected)
    array.resize((0, 30))
    assert array.info.n_segments == 0
    array.resize((20, 30))
    assert (array[...] == -1).all()


@pytest.mark.parametrize("shape", [(3,), (3, 4, 5), (-1, 4), (3.5, 4), "x", (2**63, 4)])
def test_a_shape_that_cannot_be_is_refused(store: Any, shape: Any) -> None:
    array = store.create_array("x", ramp(5, 4))
    before = store.commit_id
    with pytest.raises(kist.ShapeError):
        array.resize(shape)
    assert array.shape == (5, 4) and store.commit_id == before


# What is refused


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"shape": (-1, 2)}, kist.ShapeError, "-1"),
        ({"shape": (3, 4), "chunks": (3,)}, kist.ShapeError, "2 axes"),
        ({"shape": (3, 4), "chunks": (0, 4)}, kist.ShapeError, "at least 1"),
        ({"shape": (3, 4), "chunks": "big"}, kist.ShapeError, "auto"),
        ({"shape": (3, 4), "chunks": (1 << 20, 1 << 10)}, kist.TooLargeError, "1 GiB"),
        ({"shape": (3,), "dtype": "V2000000000"}, kist.TooLargeError, "1 GiB"),
        ({"shape": (3,), "dtype": object}, kist.DTypeError, "StringDType"),
        ({"shape": (3,), "dtype": "nonsense"}, kist.DTypeError, "nonsense"),
        ({"shape": (3,), "codec": "gzip"}, kist.CodecError, "zstd"),
        ({"shape": (3,), "codec": {"a": "zstd"}}, kist.CodecError, "str"),
        ({"shape": (3,), "dtype": "i2", "fill_value": 70_000}, kist.DTypeError, "70000"),
        ({"shape": (3,), "fill_value": [1, 2]}, kist.ShapeError, "one value"),
        ({}, kist.ShapeError, "give data"),
        ({"data": [[1, 2], [3]]}, kist.ShapeError, "lengths"),
        ({"data": [1, 2], "shape": (3,)}, kist.ShapeError, "3"),
        ({"data": [1.5], "dtype": "i4"}, kist.DTypeError, "fraction"),
        ({"data": np.array([{}], object)}, kist.DTypeError, "dict"),
        ({"data": np.ma.masked_equal([1, 2], 2)}, kist.DTypeError, "filled"),
    ],
)
def test_an_array_that_cannot_be_is_refused_and_nothing_is_made(
    store: Any, options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        store.create_array("g/x", **options)
    assert list(store) == [] and store.commit_id == 0


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        (np.s_[...], np.zeros((3, 5)), kist.ShapeError),
        (np.s_[0], [1, 2, 3], kist.ShapeError),
        (np.s_[0], [1, [2]], kist.ShapeError),
        (np.s_[0, 0], 70_000, kist.DTypeError),
        (np.s_[0, 0], 1.5, kist.DTypeError),
        (np.s_[0, 0], "1", kist.DTypeError),
        (np.s_[0, 0], None, kist.DTypeError),
        (np.s_[0, 0], float("nan"), kist.DTypeError),
        (np.s_[9], 1, kist.SelectionError),
        ("field", 1, kist.SelectionError),
    ],
)
def test_a_bad_assignment_changes_nothing(
    store: Any, key: Any, value: Any, error: type[Exception]
) -> None:
    array = store.create_array("x", ramp(3, 4, dtype="i2"))
    before = store.commit_id
    with pytest.raises(error):
        array[key] = value
    np.testing.assert_array_equal(array[...], ramp(3, 4, dtype="i2"))
    assert store.commit_id == before


def test_a_value_that_does_not_fit_is_named_by_its_place(store: Any) -> None:
    array = store.create_array("x", ramp(3, 4, dtype="i2"))
    with pytest.raises(kist.DTypeError, match=r"\[1, 2\].*'/x'.*70000"):
        array[1:] = [[0, 1, 2, 3], [4, 5, 70_000, 7]]


def test_an_array_is_no_number(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store["x"], store["one"] = ramp(3), [5]
    array = store["x"]
    with pytest.raises(ValueError, match="ambiguous"):
        bool(array)
    assert bool(store["one"]) and len(array) == 3
    for compared in (array == 1, array < 1, array <= 1, array != 1):
        with pytest.raises(kist.QueryError, match="neither true nor false"):
            bool(compared)
    assert array == store["x"] and hash(array) == hash(store["x"]) and array != store["one"]
    np.testing.assert_array_equal(np.asarray(array), ramp(3))
    assert np.asarray(array, "f4").dtype == "f4" and float(np.sum(array)) == 3
    with pytest.raises(ValueError, match="copy"):
        np.asarray(array, copy=False)
    monkeypatch.setattr(kist.options, "max_load", 10)
    with pytest.raises(kist.TooLargeError, match="blocks"):
        np.asarray(array)
    store["scalar"] = 1
    with pytest.raises(TypeError):
        len(store["scalar"])
    with pytest.raises(TypeError):
        iter(store["scalar"])


def test_iterating_gives_rows_of_one_state(store: Any) -> None:
    x = ramp(50, 3)
    array = store.create_array("x", x, chunks=(8, 3))
    rows = iter(array)
    first = next(rows)
    array[...] = 0
    np.testing.assert_array_equal(np.stack([first, *rows]), x)
    assert [len(block) for block in array.blocks(20)] == [20, 20, 10]


def test_require_array_opens_what_fits_and_says_what_does_not(store: Any) -> None:
    made = store.require_array("x", (3, 4), "i4")
    assert store.require_array("x", [3, 4], "i2") == made == store.open_array("x")
    with pytest.raises(kist.DTypeError):
        store.require_array("x", (3, 4), "i2", exact=True)
    with pytest.raises(kist.DTypeError):
        store.require_array("x", (3, 4), "f8")
    with pytest.raises(kist.ShapeError):
        store.require_array("x", (3, 5), "i4")
    store["t"] = np.zeros(2, "i4,f8")
    with pytest.raises(kist.NodeExistsError):
        store.require_array("t", (2,), "i4")
    with pytest.raises(kist.NodeNotFoundError, match="table"):
        store.open_array("t")


# Between stores and processes


def test_copies_are_equal_also_in_another_store(path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 2**31, (40, 50)).astype("i4")
    with kist.open(path, "w") as store, kist.open(":memory:") as other:
        store.create_array("x", x, chunks=(30, 30), attrs={"unit": "m"})
        store["x"].resize((40, 45))
        store.copy("x", "y")
        other.copy(store["x"], "z")
        store["x"][...] = 0
        for copy in (store["y"], other["z"]):
            np.testing.assert_array_equal(copy[...], x[:, :45])
            assert copy.attrs["unit"] == "m" and copy.chunks == (30, 30)
        del store["x"]
        assert store.check().ok and other.check().ok
        before = store.info.live_bytes
        del store["y"]
        assert store.info.live_bytes < before


def test_a_pickled_handle_reads_its_own_commit(path: Path) -> None:
    with kist.open(path, "w", retain=10) as store:
        store["x"] = ramp(5)
        packed = pickle.dumps(store["x"])
        store["x"][...] = 0
        np.testing.assert_array_equal(pickle.loads(packed)[:], ramp(5))


def test_a_transaction_sees_its_changes_and_undoes_them(store: Any) -> None:
    array = store.create_array("x", ramp(30, 3), chunks=(8, 3))
    with pytest.raises(RuntimeError), store.transaction():
        array[3] = 0
        array.append([1, 1, 1])
        array.resize(20, axis=0)
        assert array.shape == (20, 3) and (array[3] == 0).all()
        raise RuntimeError
    np.testing.assert_array_equal(array[...], ramp(30, 3))


# Mapping


def test_a_map_is_the_file_itself_aligned_and_read_only(path: Path) -> None:
    x = ramp(40, 30, 17, dtype="f4")
    with kist.open(path, "w") as store:
        store.create_array("x", x, codec="none")
        found = store["x"].mmap()
        np.testing.assert_array_equal(found, x)
        assert found.dtype == x.dtype and found.flags.aligned and found.flags.c_contiguous
        assert found.__array_interface__["data"][0] % 64 == 0
        with pytest.raises(ValueError, match="read-only"):
            found[0] = 1
        base = found
        while isinstance(base, np.ndarray):
            base = base.base
        import mmap

        assert isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)


def test_a_map_keeps_its_commit_until_the_last_view_dies(path: Path) -> None:
    x = ramp(300_000)
    with kist.open(path, "w", durability="none") as store:
        store.create_array("x", x, codec="none")
        pinned = store.commit_id
        view = store["x"].mmap()[1000:]
    with kist.open(path, "r+", durability="none") as store:
        for number in range(12):
            store["x"][...] = number + 0.5
            store.compact()
        np.testing.assert_array_equal(view, x[1000:])
        assert pinned in {pin["commit"] for pin in store.info.pins}
        del view
        gc.collect()
        assert pinned not in {pin["commit"] for pin in store.info.pins}
        assert (store["x"][:] == 11.5).all()


def test_what_cannot_be_mapped_says_why_and_what_to_do(store: Any) -> None:
    x = ramp(300, 40)
    for options, error in [
        ({"codec": "zstd"}, kist.CodecError),
        ({"codec": "none", "chunks": (100, 40)}, kist.ShapeError),
    ]:
        array = store.create_array("x", x, overwrite=True, **options)
        with pytest.raises(error, match="codec='none'"):
            array.mmap()
    with pytest.raises(kist.DTypeError, match=">f8"):
        store.create_array("y", x.astype(">f8"), codec="none").mmap()
    with pytest.raises(kist.DTypeError, match="StringDType"):
        store.create_array("s", ["a"], dtype=np.dtypes.StringDType(), codec="none").mmap()
    good = store.create_array("z", x, codec="none")
    with pytest.raises(kist.TransactionError), store.transaction():
        good.mmap()
    good.append(x[:3])
    with pytest.raises(kist.ShapeError, match="parts"):
        good.mmap()


@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (1, 1, 5)])
def test_small_and_empty_arrays_can_be_mapped(path: Path, shape: tuple[int, ...]) -> None:
    with kist.open(path, "w") as store:
        array = store.create_array("x", ramp(*shape) + 1, codec="none")
        np.testing.assert_array_equal(array.mmap(), ramp(*shape) + 1)
        absent = store.create_array("y", shape=shape, codec="none", fill_value=2)
        assert absent.mmap().shape == shape and (absent.mmap() == 2).all()
        assert not array.mmap().flags.writeable and not absent.mmap().flags.writeable


def test_damage_is_found_when_a_map_is_made(path: Path) -> None:
    with kist.open(path, "w") as store:
        store.create_array("g/x", ramp(50_000), codec="none")
    data = bytearray(path.read_bytes())
    data[data.rindex(ramp(50_000)[40_000:40_002].tobytes())] ^= 1
    path.write_bytes(data)
    with kist.open(path) as store:
        with pytest.raises(kist.CorruptDataError, match=r"'/g/x' chunk \(0,\)"):
            store["g/x"].mmap()
        np.testing.assert_array_equal(store["g/x"][:30_000], ramp(30_000))
        with pytest.raises(kist.CorruptDataError, match=r"'/g/x' chunk \(0,\)"):
            store["g/x"][:]
        report = store.check()
        assert not report.ok and "'/g/x, chunk (0,)'" in str(report)


# Records that cannot be


def segment_of(store: Any, path: str) -> tuple[bytes, tuple[Any, ...], SegmentRecord]:
    array = store[path]
    view = array._view()
    key, value = next(view.scan(*keys.segments(array._id)))
    pointers, payload = unpack_record(value)
    return key, pointers, SegmentRecord.unpack(payload, array.ndim)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record._replace(stored=(30, 21), valid=(30, 21)),
        lambda record: record._replace(stored=(29, 20), valid=(29, 20)),
        lambda record: record._replace(stored=(31, 20), valid=(31, 20)),
        lambda record: record._replace(stored=(30, 20), valid=(30, 0)),
        lambda record: record._replace(stored=(2**31, 2**31), valid=(1, 1)),
        lambda record: record._replace(data=b"12345678"),
    ],
)
def test_a_segment_that_cannot_be_is_damage_that_names_its_chunk(store: Any, change: Any) -> None:
    store.create_array("x", np.random.default_rng(0).normal(size=(30, 20)), chunks=(40, 20))
    key, pointers, record = segment_of(store, "x")
    changed = change(record)
    owned = () if changed.data is not None else pointers
    with store.transaction(), store._write() as txn:
        txn.put(key, pack_record(changed.pack(), owned))
    with pytest.raises(kist.CorruptDataError, match=r"'/x' chunk \(0, 0\)"):
        store["x"][...]
    report = store.check()
    assert not report.ok and "'/x'" in str(report)


def test_segments_that_overlap_are_named_and_the_later_counts(store: Any) -> None:
    array = store.create_array("x", ramp(6), chunks=(8,))
    with store.transaction(), store._write() as txn:
        record = SegmentRecord((2,), (2,), data=np.array([70.0, 80.0]).tobytes())
        txn.put(keys.segment(array._id, (0,), 3), pack_record(record.pack()))
    assert array[:].tolist() == [0, 1, 2, 70, 80, 5]
    assert array[[3, 5, 0]].tolist() == [70, 5, 0]
    assert "overlap" in str(store.check())


def test_a_large_chunk_is_written_slab_by_slab(monkeypatch: pytest.MonkeyPatch, store: Any) -> None:
    monkeypatch.setattr(array_write, "SLAB_BYTES", 4096)
    x = np.random.default_rng(1).integers(0, 1 << 40, (100, 64))
    array = store.create_array("x", x, chunks=(100, 64))
    assert array.info.n_segments == 13
    array[17, 3] = x[17, 3] = 5
    array[[99, 2], [1, 2]] = x[[99, 2], [1, 2]] = 6
    np.testing.assert_array_equal(array[...], x)
    monkeypatch.undo()
    whole = store.create_array("y", x, chunks=(100, 64), codec="none")
    assert whole.info.n_segments == 1
    monkeypatch.setattr(array_write, "SLAB_BYTES", 4096)
    whole[50] = x[50] = 7
    np.testing.assert_array_equal(whole[...], x)
    assert whole.info.n_segments == 13
    assert store.check().ok
