"""Zarr of format 2 and 3 into a store and back."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import ConversionError, CorruptDataError, StoreExistsError

zarr: Any = pytest.importorskip("zarr")

pytestmark = pytest.mark.filterwarnings("ignore")

TEXT: Any = np.dtypes.StringDType(na_object=None)
DTYPES = ["?", "i1", ">i4", "u8", "f2", "f8", "c8", "S5", "U4", "V3", "M8[us]", "m8[D]", "i4,f8"]
SHAPES: list[tuple[int, ...]] = [(), (0,), (7,), (3, 4), (2, 3, 2)]


PICKLE = {"id": "pickle", "protocol": 5}


class Spy:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def sample(dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    n = int(np.prod(shape, dtype=int))
    found = np.dtype(dtype)
    if found.kind in "SU":
        return np.array([f"t{k}" for k in range(n)], found).reshape(shape)
    if found.kind == "V" and found.names is None:
        return np.arange(n * 3, dtype="u1").view(found).reshape(shape)
    return np.arange(n).astype(found).reshape(shape)


@pytest.mark.parametrize("name", ["a.zarr", "a.zarr.zip"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_arrays_go_out_and_come_back(tmp_path: Path, name: str, zarr_format: int) -> None:
    attrs = {
        "n": None,
        "f": 1.5,
        "l": [1, "a"],
        "d": {"x": [1]},
        "s": np.float32(2),
        "a": np.eye(2),
    }
    arrays = {f"g/a{k}_{len(s)}_{np.prod(s):g}": sample(d, s)
              for k, d in enumerate(DTYPES) for s in SHAPES}  # fmt: skip
    with kist.open(tmp_path / "a.kist", "w") as store:
        for path, values in arrays.items():
            fill: Any = 3 if values.dtype.kind in "iuf" else 0
            store.create_array(path, values, fill_value=fill, attrs=attrs)
        store["text"] = np.array([["é", "b"]], TEXT)
        store.attrs.update(attrs)
    assert kist.convert(tmp_path / "a.kist", tmp_path / name, zarr_format=zarr_format).ok
    assert kist.convert(tmp_path / name, tmp_path / "b.kist").ok
    with kist.open(tmp_path / "b.kist") as back:
        for path, values in arrays.items():
            found = back[path]
            # Format 3 keeps the order of bytes with the codecs, not with the dtype.
            assert found.dtype.newbyteorder("=") == values.dtype.newbyteorder("=")
            assert found.shape == values.shape
            np.testing.assert_array_equal(found[...], values)
            assert found.fill_value == (3 if values.dtype.kind in "iuf" else found.fill_value)
            assert repr({k: found.attrs[k] for k in attrs}) == repr(attrs)
        assert back["text"][...].tolist() == [["é", "b"]]
        assert repr({k: back.attrs[k] for k in attrs}) == repr(attrs)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_reads_what_comes_out_and_layouts_stay(tmp_path: Path, zarr_format: int) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=zarr_format)
    options: dict[str, Any] = {"shards": (4, 6)} if zarr_format == 3 else {"order": "F"}
    names = ["x", "y"]
    if zarr_format == 3:
        options["dimension_names"] = names
    array = group.create_array("deep/x", shape=(8, 6), chunks=(2, 3), dtype="i4", fill_value=-1,
                               attributes={"units": "m"}, **options)  # fmt: skip
    if zarr_format == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = names
    array[:4] = np.arange(24).reshape(4, 6)
    group.create_array("untouched", shape=(5,), chunks=(5,), dtype="f4", fill_value=np.nan)
    kist.convert(tmp_path / "a.zarr", tmp_path / "a.kist", strict=True)
    with kist.open(tmp_path / "a.kist") as store:
        assert store["deep/x"].attrs["_DIMS"] == names
        assert store["deep/x"].fill_value == -1 and np.isnan(store["untouched"][:]).all()
        np.testing.assert_array_equal(store["deep/x"][...], array[...])
    kist.convert(tmp_path / "a.kist", tmp_path / "b.zarr", zarr_format=zarr_format)
    back = zarr.open_group(tmp_path / "b.zarr", mode="r")["deep/x"]
    assert back.metadata.to_dict() == array.metadata.to_dict()
    np.testing.assert_array_equal(back[...], array[...])


def test_tables_are_compounds_or_groups_of_columns(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["plain"] = np.array([(1, 2.5), (3, 4.5)], "i4,f8")
        store["plain"]["f0"].attrs["unit"] = "m"
        rows = {"i": np.arange(3), "s": np.array(["a", None, "c"], TEXT), "v": np.zeros((3, 2))}
        store.create_table("text", rows, attrs={"k": 1})
        store["text"]["i"].attrs["unit"] = "s"
        store.create_keystore("keys").update({"a": np.arange(3), 5: {"x": 1}})
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.zarr")
    assert {n.code for n in report.notes} == {"zarr.columns", "zarr.missing", "zarr.keystore"}
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group["text/i"][:].tolist() == [0, 1, 2]
    assert group["plain"][:]["f1"].tolist() == [2.5, 4.5]
    assert group["keys/a"][:].tolist() == [0, 1, 2] and group["keys"].attrs["5"] == {"x": 1}
    kist.convert(tmp_path / "a.zarr", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as back:
        assert back["plain"].kind == "table" and back["plain"]["f0"].attrs["unit"] == "m"
        assert list(back["text"].columns) == ["i", "s", "v"]
        assert back["text"]["s"][:].tolist() == ["a", "", "c"] and back["text"].attrs["k"] == 1
        assert back["text"]["v"].shape == (3, 2) and back["text"]["i"].attrs["unit"] == "s"


def test_an_array_alone_gets_the_name_of_its_folder(tmp_path: Path) -> None:
    zarr.save_array(tmp_path / "x.zarr", np.arange(5))
    (tmp_path / "x.zarr").rename(tmp_path / "field")
    assert kist.convert(tmp_path / "field", tmp_path / "a.kist").format == "zarr"
    with kist.open(tmp_path / "a.kist") as store:
        assert store["field"][:].tolist() == [0, 1, 2, 3, 4]
    kist.convert(f"{tmp_path / 'a.kist'}:field", tmp_path / "y.zarr")
    assert zarr.open_array(tmp_path / "y.zarr", mode="r")[:].tolist() == [0, 1, 2, 3, 4]


def test_what_is_no_node_is_told(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w").create_group("g")
    (tmp_path / "a.zarr" / "notes.txt").write_text("by hand")
    with pytest.raises(ConversionError, match="notes"):
        kist.convert(tmp_path / "a.zarr", tmp_path / "a.kist", strict=True)
    assert not (tmp_path / "a.kist").exists()
    (note,) = kist.convert(tmp_path / "a.zarr", tmp_path / "a.kist").notes
    assert note.code == "zarr.other"


def test_damaged_and_dangerous_sources_are_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
        group.create_array("x", shape=(100,), chunks=(50,), dtype="f8")[:] = np.arange(100)
    (chunk,) = [p for p in (tmp_path / "a.zarr" / "x").iterdir() if p.name == "1"]
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptDataError, match="/x"):
        kist.convert(tmp_path / "a.zarr", tmp_path / "a.kist")
    chunk.write_bytes(whole)
    meta = tmp_path / "a.zarr" / "x" / ".zarray"
    described = json.loads(meta.read_text())
    chunk.write_bytes(pickle.dumps(Spy(tmp_path / "trace")))
    meta.write_text(json.dumps({**described, "filters": [PICKLE]}))
    with pytest.raises(CorruptDataError, match="pickle"):  # zarr has no such dtype
        kist.convert(tmp_path / "a.zarr", tmp_path / "a.kist")
    group.create_array("text", shape=(2,), chunks=(2,), dtype=str)[:] = "a"
    hidden = tmp_path / "a.zarr" / "text" / ".zarray"
    hidden.write_text(json.dumps({**json.loads(hidden.read_text()), "compressor": PICKLE}))
    (hidden.parent / "0").write_bytes(chunk.read_bytes())
    chunk.write_bytes(whole)
    meta.write_text(json.dumps(described))
    with pytest.raises(ConversionError, match="does not unpickle"):
        kist.convert(tmp_path / "a.zarr", tmp_path / "a.kist")
    assert not (tmp_path / "trace").exists()
    meta.write_text("{")
    with pytest.raises(CorruptDataError, match="/x"):
        kist.convert(tmp_path / "a.zarr", tmp_path / "a.kist")
    assert not (tmp_path / "a.kist").exists()


def test_a_folder_that_stands_there_is_left_or_replaced_whole(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = np.arange(3)
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "mine").write_text("")
    with pytest.raises(StoreExistsError):
        kist.convert(tmp_path / "a.kist", tmp_path / "a.zarr")
    assert [p.name for p in (tmp_path / "a.zarr").iterdir()] == ["mine"]
    kist.convert(tmp_path / "a.kist", tmp_path / "a.zarr", overwrite=True)
    assert not (tmp_path / "a.zarr" / "mine").exists()
    with pytest.raises(ValueError, match="neither 2 nor 3"):
        kist.convert(tmp_path / "a.kist", tmp_path / "b.zarr", zarr_format=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.kist", "a.zarr"]
