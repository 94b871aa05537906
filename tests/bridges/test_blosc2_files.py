"""Blosc2's arrays and frames into a store and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest

import kist
from kist.errors import ConversionError, CorruptDataError, StorageError

TEXT: Any = np.dtypes.StringDType(na_object=None)
DTYPES = ["?", "i1", ">i4", "u8", "f2", "f8", "c8", "S5", "U4", "V3", "M8[us]", "m8[D]", "i4,f8"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_go_out_and_come_back(tmp_path: Path, dtype: str) -> None:
    attrs = {"units": "m", "n": 3, "l": [1, None], "a": np.eye(2), "t": (1, "x")}
    shapes: list[tuple[int, ...]] = [(), (0,), (7,), (3, 4), (2, 3, 2)]
    for shape in shapes:
        n = int(np.prod(shape, dtype=int))
        found = np.dtype(dtype)
        raw = np.arange(n * found.itemsize, dtype="u1") % 2 + (0 if dtype == "?" else 65)
        values = raw.view(found).reshape(shape) if found.kind != "U" else np.full(shape, "é", found)
        with kist.open(tmp_path / "a.kist", "w") as store:
            store.create_array("x", values, attrs=attrs)
        kist.convert(f"{tmp_path / 'a.kist'}:x", tmp_path / "x.b2nd", overwrite=True, strict=True)
        np.testing.assert_array_equal(blosc2.open(str(tmp_path / "x.b2nd"))[...], values)
        report = kist.convert(tmp_path / "x.b2nd", f"{tmp_path / 'b.kist'}:y", overwrite=True)
        assert report.ok and report.format == "blosc2"
        with kist.open(tmp_path / "b.kist") as back:
            node = back["y"]
            assert (node.kind, node.dtype, node.shape) == ("array", found, shape)
            np.testing.assert_array_equal(node[...], values)
            assert repr({k: node.attrs[k] for k in attrs}) == repr(attrs)


def test_arrays_of_several_parts_keep_chunks_and_metadata(tmp_path: Path) -> None:
    values = np.arange(4_000_000.0).reshape(2000, 2000)
    made = blosc2.asarray(values, urlpath=str(tmp_path / "x.b2nd"), chunks=(500, 1000), mode="w")
    made.schunk.vlmeta["who"] = {"name": "me"}
    kist.convert(tmp_path / "x.b2nd", tmp_path / "a.kist", strict=True)
    with kist.open(tmp_path / "a.kist") as store:
        assert store["x"].chunks == (500, 1000) and store["x"].attrs["who"] == {"name": "me"}
        np.testing.assert_array_equal(store["x"][...], values)


def test_frames_are_bytes_or_of_a_dtype(tmp_path: Path) -> None:
    values = np.arange(300_000, dtype="i4")
    blosc2.SChunk(chunksize=400_000, data=values, urlpath=str(tmp_path / "x.b2frame"), mode="w",
                  cparams={"typesize": 4}, contiguous=True)  # fmt: skip
    kist.convert(tmp_path / "x.b2frame", f"{tmp_path / 'a.kist'}:raw", strict=True)
    kist.convert(tmp_path / "x.b2frame", f"{tmp_path / 'a.kist'}:x", dtype="i4")
    with pytest.raises(ConversionError, match="4 bytes"):
        kist.convert(tmp_path / "x.b2frame", f"{tmp_path / 'a.kist'}:y", dtype="f8")
    with kist.open(tmp_path / "a.kist") as store:
        assert store["raw"].dtype == "V4" and store["raw"][...].tobytes() == values.tobytes()
        np.testing.assert_array_equal(store["x"][:], values)
    kist.convert(f"{tmp_path / 'a.kist'}:x", tmp_path / "y.b2frame", strict=True)
    back = blosc2.open(str(tmp_path / "y.b2frame"))
    assert isinstance(back, blosc2.SChunk) and back[:] == values.tobytes()


def test_tables_are_records(tmp_path: Path) -> None:
    rows = np.zeros(100_000, "i4,f8")
    rows["f0"] = np.arange(100_000)
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["t"] = rows
        store["t"]["f1"].attrs["unit"] = "m"
        store.create_table("text", {"s": np.array(["a"], TEXT)})
        store["words"] = np.array(["é", "bc"], TEXT)
    kist.convert(f"{tmp_path / 'a.kist'}:t", tmp_path / "t.b2nd", strict=True)
    kist.convert(tmp_path / "t.b2nd", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as back:
        assert back["t"].kind == "table" and back["t"]["f1"].attrs["unit"] == "m"
        np.testing.assert_array_equal(back["t"][:], rows)
    (note,) = kist.convert(f"{tmp_path / 'a.kist'}:words", tmp_path / "w.b2nd").notes
    assert note.code == "blosc2.text"
    for node, match in [("text", "no text"), ("", "one array")]:
        with pytest.raises(ConversionError, match=match):
            kist.convert(f"{tmp_path / 'a.kist'}:{node}", tmp_path / "no.b2nd")
    assert not (tmp_path / "no.b2nd").exists()


def test_what_would_run_code_or_is_cut_is_refused(tmp_path: Path) -> None:
    a = blosc2.asarray(np.arange(10), urlpath=str(tmp_path / "a.b2nd"), mode="w")
    (a + 1).save(urlpath=str(tmp_path / "lazy.b2nd"))
    with pytest.raises(ConversionError, match="run code"):
        kist.convert(tmp_path / "lazy.b2nd", tmp_path / "a.kist")
    blosc2.asarray(
        np.random.default_rng(0).random(10_000), urlpath=str(tmp_path / "x.b2nd"), mode="w"
    )
    whole = (tmp_path / "x.b2nd").read_bytes()
    for share in (0.05, 0.5, 0.99):
        (tmp_path / "x.b2nd").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises((CorruptDataError, ConversionError)):
            kist.convert(tmp_path / "x.b2nd", tmp_path / "a.kist")
    assert not (tmp_path / "a.kist").exists()


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, limited: Any) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = np.random.default_rng(0).random(100_000)
    here = repr(str(tmp_path) + "/")
    limited(StorageError, f"kist.convert({here} + 'a.kist:x', {here} + 'y.b2nd')")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.kist"]
