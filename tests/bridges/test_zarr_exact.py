"""Zarr there and back: values, attributes and metadata of arrays are the same, or it is told."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

zarr: Any = pytest.importorskip("zarr")
numcodecs: Any = pytest.importorskip("numcodecs")

DTYPES = ["i1", ">i4", "u8", "f2", ">f8", "c8", "?", "M8[ns]", "m8[s]", "S5", "U3", "V4", "i4,f8"]
FILLS: list[tuple[Any, Any]] = [
    ("f4", np.nan), ("i4", 7), ("f8", -np.inf), ("c16", 1 + 2j), ("M8[s]", np.datetime64("NaT")),
    ("S3", b"ab"), ("i4,f8", np.array((1, 2.0), "i4,f8")[()]),
]  # fmt: skip


def arrays(zarr_format: int) -> dict[str, dict[str, Any]]:
    """Return how to make arrays, by their names."""
    found: dict[str, dict[str, Any]] = {
        f"of {dtype}": {"data": (np.arange(12) % 5).astype("i1").astype(dtype).reshape(4, 3)
                        if np.dtype(dtype).kind not in "SUV" else np.zeros((4, 3), dtype),
                        "chunks": (2, 3)}
        for dtype in DTYPES
    }  # fmt: skip
    found |= {
        f"fill {dtype} {n}": {"shape": (4,) * n, "dtype": dtype, "fill_value": value,
                              "chunks": (2,) * n}
        for dtype, value in FILLS for n in (1, 2)
    }  # fmt: skip
    found |= {
        "text": {"data": np.array(["a", "é"], np.dtypes.StringDType())},
        "single": {"data": np.array(5.5)},
        "none": {"shape": (0, 3), "dtype": "i4", "chunks": (1, 3)},
        "not compressed": {"data": np.arange(12), "compressors": None},
        "attributes": {"data": np.arange(3), "attributes": {"units": "m", "x": [1, {"a": None}]}},
        "chunk keys": {
            "data": np.arange(4),
            "chunk_key_encoding": {"name": "v2", "separator": "/" if zarr_format == 2 else "."},
        },
    }
    if zarr_format == 2:
        return found | {
            "columns first": {"data": np.arange(12).reshape(3, 4), "order": "F"},
            "filters": {
                "data": np.arange(12), "compressors": numcodecs.Zlib(3),
                "filters": [numcodecs.Delta("i8"), numcodecs.Shuffle(8)],
            },
            "no fill": {"shape": (3,), "dtype": "i4", "fill_value": None},
        }  # fmt: skip
    codecs: Any = zarr.codecs
    return found | {
        "names": {"data": np.zeros((2, 3)), "dimension_names": ["x", "y"]},
        "some names": {"data": np.zeros((2, 3)), "dimension_names": ["x", None]},
        "shards": {"data": np.arange(64), "chunks": (4,), "shards": (16,)},
        "transposed": {
            "data": np.zeros((3, 4)), "filters": [codecs.TransposeCodec(order=(1, 0))],
        },
        "sums": {
            "data": np.arange(12),
            "compressors": [codecs.GzipCodec(level=3), codecs.Crc32cCodec()],
        },
    }  # fmt: skip


def plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
def test_nothing_changes_without_a_word(
    tmp_path: Path, zarr_format: int, consolidated: bool
) -> None:
    path = str(tmp_path / "a.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        top = zarr.open_group(
            path, mode="w", zarr_format=zarr_format,
            attributes={"title": "x", "n": None, "l": [1, {"a": 2}], "large": 2**70},
        )  # fmt: skip
        for name, how in arrays(zarr_format).items():
            top.create_array(name, **how)
        top.create_group("g/deep", attributes={"a": 1})
        if consolidated:
            zarr.consolidate_metadata(path, zarr_format=zarr_format)
    there = kist.convert(path, tmp_path / "s.kist")
    back = kist.convert(tmp_path / "s.kist", tmp_path / "b.zarr", zarr_format=zarr_format)
    assert {note.code for note in there.notes} == ({"zarr.no_fill"} if zarr_format == 2 else set())
    assert back.ok
    a, b = zarr.open_group(path, mode="r"), zarr.open_group(tmp_path / "b.zarr", mode="r")
    is_there = b.metadata.consolidated_metadata is not None
    assert is_there == (consolidated or zarr_format == 2)
    assert plain(dict(a.attrs)) == plain(dict(b.attrs))
    assert {name for name, _ in a.members(None)} == {name for name, _ in b.members(None)}
    for name, x in a.members(None):
        y = b[name]
        assert plain(dict(x.attrs)) == plain(dict(y.attrs)), name
        if isinstance(x, zarr.Array):
            before, after = x.metadata.to_dict(), y.metadata.to_dict()
            changed = {key for key in before if plain(before[key]) != plain(after.get(key))}
            # The byte order of format 3 is that of this machine.
            assert changed <= ({"codecs"} if ">" in name else set()), name
            assert repr(x[...].tolist()) == repr(y[...].tolist()), name


def test_a_filter_that_took_digits_takes_no_more(tmp_path: Path) -> None:
    top = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    values = np.random.default_rng(0).normal(size=100)
    top.create_array("x", data=values, filters=[numcodecs.Quantize(1, "f8")])
    kist.convert(tmp_path / "a.zarr", tmp_path / "s.kist")
    with kist.open(tmp_path / "s.kist", "r+") as store:
        store["x"][:] = values
    kist.convert(tmp_path / "s.kist", tmp_path / "b.zarr", zarr_format=2)
    assert zarr.open_group(str(tmp_path / "b.zarr"), mode="r")["x"][:].tolist() == values.tolist()


@pytest.mark.parametrize(
    "facts",
    [
        5, {"zarr_format": 2, "filters": [5], "compressors": 7, "separator": "x"},
        {"zarr_format": 3, "filters": 5, "chunk_keys": {"name": "x", "configuration": 5}},
    ],
)  # fmt: skip
def test_what_a_store_says_of_zarr_may_be_anything(tmp_path: Path, facts: Any) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = np.arange(5)
        store["x"].attrs["ZARR"] = store.attrs["ZARR"] = facts
    for zarr_format in (2, 3):
        target = tmp_path / f"{zarr_format}.zarr"
        kist.convert(tmp_path / "a.kist", target, zarr_format=zarr_format)
        assert zarr.open_group(str(target), mode="r")["x"][:].tolist() == list(range(5))
