"""Small boxes of arrays are what NumPy says, however many chunks and blocks they touch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.codecs.pipeline import decode_alone
from kist.model.arrays.read import read
from kist.model.indexing import Box

Array = np.ndarray[Any, Any]

LAYOUTS: dict[str, tuple[tuple[int, ...], tuple[int, ...], str]] = {
    # Shape, chunks, dtype: blocks divide the chunks, or not; chunks at the edge are cut.
    "plane": ((200, 300), (128, 128), "<f8"),
    "cube": ((70, 96, 80), (32, 32, 32), "<f4"),
    "odd chunks": ((40, 50, 50), (20, 25, 50), "<i4"),
    "one chunk": ((40, 50, 30), (40, 50, 30), "<f4"),
    "four axes": ((16, 24, 20, 20), (16, 16, 16, 16), "<i2"),
    "big-endian": ((64, 96), (32, 64), ">f8"),
    "bools": ((64, 128, 96), (32, 64, 64), "|b1"),
    "times": ((128, 256), (64, 64), "<M8[ns]"),
    "wide items": ((40, 80), (32, 32), "S200"),
}
CODECS = ["lz4+shuffle", "zstd+bitshuffle", "none", "auto"]


def _values(shape: tuple[int, ...], dtype: str) -> Array:
    rng = np.random.default_rng(7)
    walk = np.cumsum(rng.integers(0, 9, shape), axis=-1)
    walk[: shape[0] // 3] = 0  # blocks of zeros are chunks without bytes
    noise = rng.integers(0, 256, (*shape, 8)).astype("u1").view("<i8")[..., 0]
    walk[-shape[0] // 3 :, ..., : shape[-1] // 2] = noise[-shape[0] // 3 :, ..., : shape[-1] // 2]
    if dtype.startswith("S"):
        return (walk % 1000).astype(dtype)
    return (walk % 2 == 1) if dtype == "|b1" else walk.astype(dtype)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Each layout with each codec, and its values."""
    path = tmp_path_factory.mktemp("cubes") / "cubes.kist"
    values = {name: _values(shape, dtype) for name, (shape, _, dtype) in LAYOUTS.items()}
    with kist.open(path, "w") as store, store.transaction():
        for name, (_, chunks, _) in LAYOUTS.items():
            for codec in CODECS:
                store.create_array(f"{codec}/{name}", values[name], chunks=chunks, codec=codec)
    with kist.open(path) as store:
        yield store, values


@settings(max_examples=100)
@given(st.sampled_from(sorted(LAYOUTS)), st.sampled_from(CODECS), st.data())
def test_boxes_are_what_numpy_says(arrays: Any, name: str, codec: str, data: st.DataObject) -> None:
    store, values = arrays
    expected = values[name]
    key: list[slice | int] = []
    for n in expected.shape:
        start = data.draw(st.integers(0, n - 1))
        stop = data.draw(st.integers(start, min(n, start + 40)))
        key.append(slice(start, stop) if data.draw(st.integers(0, 5)) else start)
    found = store[f"{codec}/{name}"][tuple(key)]
    assert np.array_equal(found, expected[tuple(key)])
    assert found.dtype == expected[tuple(key)].dtype


def _count(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []

    def counted(*arguments: Any) -> None:
        calls.append(1)
        decode_alone(*arguments)

    monkeypatch.setattr("kist.engine.blocks.decode_alone", counted)
    return calls


@pytest.mark.parametrize("corner", [(1, 2, 3), (20, 20, 20), (31, 1, 63), (32, 32, 32)])
def test_a_cube_is_decoded_by_one_call(
    arrays: Any, monkeypatch: pytest.MonkeyPatch, corner: tuple[int, ...]
) -> None:
    store, values = arrays
    calls = _count(monkeypatch)
    key = tuple(slice(a, a + 15) for a in corner)
    found = store["lz4+shuffle/cube"][key]
    assert np.array_equal(found, values["cube"][key])
    assert len(calls) == (max(corner) < 63)  # there chunks are cut at the edge of the array


def test_a_box_goes_into_memory_of_any_strides(arrays: Any) -> None:
    store, values = arrays
    box = Box((10, 5, 3), (40, 36, 36), (1, 1, 1))
    out = np.zeros((36, 40, 72), "<f4").transpose(1, 0, 2)[:, :, ::-2]
    found = read(store["lz4+shuffle/cube"]._state(), box, out)
    assert found is out
    assert np.array_equal(out, values["cube"][10:50, 5:41, 3:39])


def test_absent_and_changed_chunks_are_read_chunk_by_chunk(tmp_path: Path) -> None:
    expected = np.full((64, 64, 64), 5, "<f4")
    with kist.open(tmp_path / "a.kist", "w") as store:
        array = store.create_array(
            "a", shape=expected.shape, dtype="<f4", chunks=32, codec="lz4", fill_value=5
        )
        rng = np.random.default_rng(1)
        for corner in ((0, 0, 0), (32, 0, 32)):
            key = tuple(slice(a, a + 32) for a in corner)
            array[key] = expected[key] = rng.normal(size=(32, 32, 32))
        assert np.array_equal(array[20:50, 10:40, 20:50], expected[20:50, 10:40, 20:50])
        array[30:40, 3, 30:40] = expected[30:40, 3, 30:40] = 1
        with store.transaction():
            array[0:2, 0:2, 0:2] = expected[0:2, 0:2, 0:2] = 2
            assert np.array_equal(array[:40, :20, :40], expected[:40, :20, :40])
        array.append(rng.normal(size=(3, 64, 64)).astype("<f4"))
        assert np.array_equal(array[30:64, :20, :40], expected[30:64, :20, :40])


def test_damage_names_the_chunk(tmp_path: Path) -> None:
    values = _values((64, 64, 64), "<f4")
    path = tmp_path / "a.kist"
    with kist.open(path, "w") as store:
        store.create_array("a", values, chunks=32, codec="lz4+shuffle")
    raw = bytearray(path.read_bytes())
    with kist.open(path) as store:
        state = store["a"]._state()
        (segment,) = state.segments((1, 0, 1))
        at = segment.pointer.offset + segment.pointer.length // 2
    raw[at] ^= 1
    path.write_bytes(raw)
    with kist.open(path) as store:
        with pytest.raises(kist.CorruptDataError, match=r"chunk \(1, 0, 1\)"):
            store["a"][20:50, 0:30, 20:50]
        assert np.array_equal(store["a"][0:32, 0:30, 20:50], values[0:32, 0:30, 20:50])


def test_boxes_that_were_read_before_are_those_of_their_snapshot(tmp_path: Path) -> None:
    values = _values((48, 48, 48), "<f4")
    box = np.s_[10:30, 12:40, 20:44]
    with kist.open(tmp_path / "boxes.kist", "w") as store:
        array = store.create_array("a", values, chunks=(32, 32, 32), codec="lz4+shuffle")
        with kist.open(tmp_path / "boxes.kist") as reader:
            old = reader["a"]
            for changed in (values + 1, values * 2):
                assert np.array_equal(array[box], values[box])
                assert np.array_equal(old[box], values[box])
                with store.transaction():
                    array[...] = changed
                    assert np.array_equal(array[box], changed[box])
                    array[11, 13] = 5
                    assert (array[box][1, 1] == 5).all()
                    array[11, 13] = changed[11, 13]
                assert np.array_equal(array[box], changed[box])
                assert np.array_equal(old[box], values[box])
                reader.refresh()
                assert np.array_equal(old[box], changed[box])
                values = changed
            array.resize((20, 48, 48))
            assert np.array_equal(array[box], values[:20][box])
            assert np.array_equal(old[box], values[box])


def test_more_boxes_than_a_snapshot_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kist.model.arrays.state._KEPT_BOXES", 2)
    values = _values((40, 40), "<i4")
    with kist.open(tmp_path / "boxes.kist", "w") as store:
        array = store.create_array("a", values, chunks=(8, 8), codec="lz4")
        for at in (0, 8, 16, 24, 0, 32):
            box = np.s_[at : at + 8, 3:12]
            assert np.array_equal(array[box], values[box])
        known = store._session.view().by_node[array._id]
        assert 0 < len(known.found) <= 2
