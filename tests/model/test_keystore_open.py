"""`KeyStore.open`: arrays that read what is sliced; damage in key stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import kist
from kist.format import keys
from kist.format.keystore import Counts
from kist.format.values import unpack_record
from kist.model.keystores.check import check_keystore
from kist.storage.file import FileBackend

ENDS = st.none() | st.integers(-9, 9)
ITEM = st.one_of(
    st.integers(-12, 12),
    st.builds(slice, ENDS, ENDS, st.sampled_from([None, 1, 2, -1, 7])),
    st.sampled_from([None, Ellipsis]),
    st.lists(st.integers(-3, 2), max_size=4),
    st.sampled_from([np.array([True, False] * 50)[:n] for n in (3, 5, 100)]),
)
SHAPES = [(), (7,), (100,), (30_000,), (3, 5), (40, 7, 100), (5, 20_000), (3, 3, 3, 300)]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Any:
    rng = np.random.default_rng(5)
    arrays = [np.asarray(rng.integers(0, 100, shape)) for shape in SHAPES]
    path = tmp_path_factory.mktemp("open") / "t.kist"
    with kist.open(path, "w") as store:
        store.create_keystore("runs")["a"] = arrays
        yield list(zip(arrays, store["runs"].open("a"), strict=True))


@given(st.integers(0, len(SHAPES) - 1), st.lists(ITEM, max_size=4).map(tuple), st.data())
def test_slices_are_those_of_numpy(opened: Any, at: int, key: Any, data: st.DataObject) -> None:
    array, handle = opened[at]
    if len(key) == 1 and data.draw(st.booleans()):
        key = key[0]
    try:
        expected = array[key]
    except IndexError:
        with pytest.raises(kist.SelectionError):
            handle[key]
        return
    found = handle[key]
    assert type(found) is type(expected) and np.asarray(found).dtype == array.dtype
    assert np.shape(found) == np.shape(expected) and np.array_equal(found, expected)


@given(st.integers(0, 29_999), st.integers(0, 29_999), st.integers(-9000, 9000).filter(bool))
def test_long_steps_and_far_points_are_those_of_numpy(opened: Any, a: int, b: int, c: int) -> None:
    for at in (3, 6):
        array, handle = opened[at]
        flat = (..., slice(a % array.shape[-1], b, c))
        assert np.array_equal(handle[flat], array[flat])
        points = np.array([a, b, abs(c), 0]) % array.shape[0]
        assert np.array_equal(handle[points], array[points])
        both = (points, ..., slice(None, None, -1)) if array.ndim > 1 else (points,)
        assert np.array_equal(handle[both], array[both])


def test_a_handle_has_the_manners_of_an_array(opened: Any) -> None:
    for array, handle in opened:
        assert (handle.shape, handle.dtype, handle.nbytes) == (
            array.shape,
            array.dtype,
            array.nbytes,
        )
        assert (handle.ndim, handle.size) == (array.ndim, array.size)
        assert np.array_equal(np.asarray(handle), array)
        assert np.asarray(handle, "f4").dtype == np.float32
        with pytest.raises(ValueError, match="copying"):
            np.asarray(handle, copy=False)
        with pytest.raises(TypeError):
            handle[...] = 1
        if array.ndim:
            assert len(handle) == len(array)
            assert np.array_equal(list(handle)[-1], array[-1])
            with pytest.raises(ValueError, match="ambiguous"):
                bool(handle)
        else:
            with pytest.raises(TypeError):
                len(handle)
            assert bool(handle) == bool(array)
        found = handle[...]
        found[...] = 0
        assert np.array_equal(handle[...], array)
    kist.options.max_load = 1000
    try:
        with pytest.raises(kist.TooLargeError, match="slice"):
            np.asarray(opened[3][1])
    finally:
        kist.options.reset()


def test_containers_stay_and_other_values_are_loaded() -> None:
    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs")
        long = "x" * 10_000
        runs["a"] = {"x": (np.arange(9000), [np.arange(3), long]), "n": 3, "b": bytes(5000)}
        found = runs.open("a")
        (x, (small, text)) = found["x"]
        assert type(x) is type(small) and x.shape == (9000,) and "runs" in repr(x)
        assert text == long and found["n"] == 3 and found["b"] == bytes(5000)
        assert list(small[1:]) == [1, 2]
        runs["s"] = 5
        assert runs.open("s") == 5
        with pytest.raises(kist.KeyNotFoundError):
            runs.open("none")


def test_a_handle_keeps_its_state_and_ends_with_its_transaction(path: Path) -> None:
    with kist.open(path, "w") as store:
        runs = store.create_keystore("runs")
        runs["a"] = np.arange(50_000)
        handle = runs.open("a")
        for at in range(40):
            runs["a"] = np.full(50_000, at)
        store.compact()
        assert np.array_equal(handle[...], np.arange(50_000))
        with store.transaction():
            runs["a"] = np.zeros(50_000)
            own = runs.open("a")
            assert not own[...].any()
        with pytest.raises(kist.TransactionClosedError):
            _ = own[0]
    with pytest.raises(kist.StoreClosedError):
        _ = handle[0]


def test_a_slice_reads_a_part_of_the_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kist.open(path, "w") as store:
        runs = store.create_keystore("runs", codec="none")
        runs["a"] = (np.arange(4_000_000), np.zeros(10))
        handle = runs.open("a")[0]
        read: list[int] = []
        plain = FileBackend.read
        monkeypatch.setattr(
            FileBackend, "read", lambda self, at, n: read.append(n) or plain(self, at, n)
        )
        assert handle[2_000_000:2_000_003].tolist() == [2_000_000, 2_000_001, 2_000_002]
        assert handle[::1_000_000].tolist() == [0, 1_000_000, 2_000_000, 3_000_000]
        assert sum(read) < 2_000_000


def test_a_flipped_bit_is_named_by_path_and_key_and_harms_nothing_else(path: Path) -> None:
    with kist.open(path, "w") as store:
        runs = store.create_keystore("g/runs", codec="none")
        runs.update({key: (np.arange(60_000) + at, key) for at, key in enumerate("abc")})
        view = store._view()
        pointer = unpack_record(view.get(keys.item(runs._id, b"\x50b")))[0][0]
    for at, slices in ((pointer.length - 5, True), (40, False)):
        data = bytearray(path.read_bytes())
        data[pointer.offset + 128 + at] ^= 1
        path.write_bytes(data)
        with kist.open(path) as store:
            runs = store["g/runs"]
            assert runs["a"][0][5] == 5 and runs["c"][1] == "c"
            where = r"g/runs.*key 'b'"
            with pytest.raises(kist.CorruptDataError, match=where):
                _ = runs["b"]
            with pytest.raises(kist.CorruptDataError, match=where):
                runs.get_many("abc")
            with pytest.raises(kist.CorruptDataError, match=where):
                list(runs.values())
            if slices:
                handle = runs.open("b")[0]
                assert handle[5] == 6
                with pytest.raises(kist.CorruptDataError, match="key 'b'"):
                    _ = handle[-1]
            report = store.check()
            assert not report.ok
            assert all("key 'b'" in str(problem) for problem in report.problems)
            assert len(runs) == 3 and list(runs) == ["a", "b", "c"]
        with kist.open(path, "r+") as store:
            with pytest.raises(kist.CorruptDataError):
                store.copy("g/runs", "copy")
            assert "copy" not in store
        data[pointer.offset + 128 + at] ^= 1
        path.write_bytes(data)
    with kist.open(path) as store:
        assert store.check().ok


def test_check_holds_counts_and_notes_against_the_keys(path: Path) -> None:
    with kist.open(path, "w") as store:
        runs = store.create_keystore("runs")
        runs.update({"a": 1, "e\u0301": 2})
        node = runs._id
        assert store.check().ok
        for key, value in (
            (keys.bounds(node), Counts(7, 7, 7, "fast").pack()),
            (keys.bounds(node), b"\0"),
            (keys.other_form(node, "x"), b"\0y"),
            (keys.other_form(node, "\u00e9"), None),
            (keys.item(node, b"\x50" + "\u00e9".encode()), b"\0\0\0"),
            (keys.item(node, b"\x21"), b"\0\0\0"),
            (keys.item(node, b"\x21\1"), b"\0\0\xff"),
        ):
            with store.transaction() as block:
                with runs._write() as txn:
                    point = txn.savepoint()
                    if value is None:
                        txn.delete(key)
                    else:
                        txn.put(key, value)
                    assert list(check_keystore(runs, txn)), key
                    txn.rollback_to(point)
                assert block.id is None
        assert store.check().ok


def test_a_value_above_max_load_is_opened_not_loaded() -> None:
    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs")
        runs["x"] = np.zeros(100_000)  # takes next to nothing in the file
        kist.options.max_load = 700_000
        try:
            with pytest.raises(kist.TooLargeError, match="open"):
                runs["x"]
            assert (runs.open("x")[5:8] == 0).all()
            assert store.check().ok
        finally:
            kist.options.reset()
        assert runs["x"].shape == (100_000,)


def test_pages_of_any_length_follow_each_other() -> None:
    values = np.random.default_rng(0).integers(0, 1000, 1_300_000) * 7  # three pages, none round
    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs")
        runs["a"] = (values, values[::-1])
        for found, expected in zip(runs["a"], (values, values[::-1]), strict=True):
            assert np.array_equal(found, expected)
