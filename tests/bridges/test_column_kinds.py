"""Columns of every kind through the formats that hold them: dtypes, lengths and attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

ITEMS: list[Any] = [
    "?", "i1", "u8", ">i4", "f2", "f4", ">f8", "M8[us]", "M8[D]", "m8[s]", ("f4", (2,)),
    [("a", "i2"), ("b", "f8")], bytes,
]  # fmt: skip
NOT_ARROW: list[Any] = ["c16", "U3", "V4", "g", "S5", [("a", "M8[s]"), ("t", "S3")]]
NOT_PYTABLES: list[Any] = [[("a", "i2"), ("b", "f8")]]
LISTS: list[Any] = [
    ("str", ["é", "b", "unused"]), ("i2", [5, -7, 0]), ("f8", [1.5, -0.25]), (">u4", [1, 2]),
    ("M8[D]", np.array(["2020-01-01", "1969-01-01"], "M8[D]")),
]  # fmt: skip
SIZES = [0, 1, 300]


def cells(dtype: Any, n: int, rng: Any) -> Any:
    """Return ragged values with something in every bit that counts."""
    lengths = rng.integers(0, 4, n)
    base, shape = (np.dtype("u1"), ()) if dtype is bytes else (np.dtype(dtype).base, ())
    shape = () if dtype is bytes else np.dtype(dtype).shape
    count = int(lengths.sum())
    if base.kind in "biu?mM" or base.names:
        items = np.zeros((count, *shape), base)
        for name in base.names or [None]:
            part = items if name is None else items[name]
            part[...] = rng.integers(0, 2 if part.dtype == "?" else 100, part.shape)
    elif base.kind == "U":
        items = rng.choice(np.array(["é", "abc", ""], base), count)
    else:
        items = rng.integers(1, 99, (count, *shape)).astype("S5" if base.kind in "SV" else base)
        items = items.astype(base) if base.kind != "V" else items.astype("S4").view(base)
    ends = np.append(0, np.cumsum(lengths))
    return kist.Ragged(items.tobytes() if dtype is bytes else items, ends)


def fill(store: Any, n: int, items: list[Any], lists: list[Any]) -> None:
    rng = np.random.default_rng(n)
    dtype: dict[str, Any] = {"id": "i4"}
    values: dict[str, Any] = {"id": np.arange(n, dtype="i4")}
    for at, item in enumerate(items):
        values[f"r{at}"] = cells(item, n, rng)
        dtype[f"r{at}"] = values[f"r{at}"].dtype
    for at, (base, listed) in enumerate(lists):
        choices = np.array([*np.asarray(listed).tolist(), None], object)
        for ordered in (False, True):
            name = f"c{at}{'o' * ordered}"
            dtype[name] = kist.categorical(base, listed, ordered=ordered)
            values[name] = rng.choice(choices, n).tolist()
    for name, spec in (("e", {"p": -300, "q": 4}), ("f", ["k", "l"])):
        dtype[name] = kist.enum(spec, ordered=name == "e")
        values[name] = rng.choice(np.array([*spec, None], object), n).tolist()
    table = store.create_table("t", dtype=dtype, attrs={"unit": "K", "list": [1, (2,)]})
    if n:
        table.append(values)
    table["r0"].attrs["long"] = "name"


def hold(a: Any, b: Any, skip: Any = ()) -> None:
    """Hold two tables against each other; `skip` are columns whose kind is another one."""
    assert a.columns == b.columns and len(a) == len(b)
    for name in a.columns:
        x, y = a[name], b[name]
        if name not in skip:
            assert x.info["dtype"] == y.info["dtype"], name
        if isinstance(x[:], kist.Ragged):
            np.testing.assert_array_equal(x[:].values, y[:].values, name)
            np.testing.assert_array_equal(x[:].lengths, y[:].lengths, name)
            continue
        if name in skip:
            continue
        assert x[:].tolist() == y[:].tolist(), name
        if name[0] in "cef":
            assert x.categories.tolist() == y.categories.tolist() and x.numbers == y.numbers, name
    assert dict(a["r0"].attrs) == {"long": "name"} and a.attrs["unit"] == "K"


@pytest.mark.parametrize("n", SIZES)
def test_hdf5_of_h5py_keeps_every_kind_of_column(tmp_path: Path, n: int) -> None:
    pytest.importorskip("h5py")
    with kist.open(tmp_path / "a.kist", "w") as store:
        fill(store, n, ITEMS + NOT_ARROW, LISTS)
    out = kist.convert(tmp_path / "a.kist", tmp_path / "a.h5")
    assert {note.code for note in out.notes} <= {"hdf5.items", "hdf5.value"}
    kist.convert(tmp_path / "a.h5", tmp_path / "b.kist")
    with kist.open(tmp_path / "a.kist") as a, kist.open(tmp_path / "b.kist") as b:
        hold(b["t"], a["t"])


@pytest.mark.parametrize("n", SIZES)
def test_hdf5_of_pytables_keeps_what_it_has_types_for(tmp_path: Path, n: int) -> None:
    pytest.importorskip("tables")
    with kist.open(tmp_path / "a.kist", "w") as store:
        fill(store, n, [item for item in ITEMS if item not in NOT_PYTABLES], LISTS)
    kist.convert(tmp_path / "a.kist", tmp_path / "a.h5", flavour="pytables")
    kist.convert(tmp_path / "a.h5", tmp_path / "b.kist")
    times = {"c4", "c4o"}  # integers in PyTables, which is told
    with kist.open(tmp_path / "a.kist") as a, kist.open(tmp_path / "b.kist") as b:
        hold(b["t"], a["t"], times)
        assert len(b["t"]["c4"]) == n


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize("n", SIZES)
def test_parquet_and_arrow_keep_lists_and_categories(tmp_path: Path, n: int, suffix: str) -> None:
    pytest.importorskip("pyarrow")
    with kist.open(tmp_path / "a.kist", "w") as store:
        fill(store, n, ITEMS, LISTS)
    out = kist.convert(f"{tmp_path / 'a.kist'}:t", tmp_path / f"t.{suffix}")
    back = kist.convert(tmp_path / f"t.{suffix}", tmp_path / "b.kist")
    assert out.ok and back.ok, (out, back)
    swapped = {f"r{at}" for at, item in enumerate(ITEMS) if str(item)[0] == ">"} | {"c3", "c3o"}
    with kist.open(tmp_path / "a.kist") as a, kist.open(tmp_path / "b.kist") as b:
        hold(b["t"], a["t"], swapped)  # Arrow is little-endian
        assert b["t"].attrs["list"] == [1, (2,)]
