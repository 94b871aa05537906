"""Out of a store and in again, by every format: what comes back is the same, or the report says.

A matrix of dtypes, shapes, names and attributes; each entry is a store of its own, so that a note
about one of them excuses no other. What a format refuses it refuses with an error of kist, and
leaves no file.
"""

from __future__ import annotations

import datetime
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.model.comparing import compare

Make = Callable[[Any], Any]

LIBRARIES = {
    "h5": "h5py", "pytables.h5": "tables", "nc": "netCDF4", "zarr": "zarr", "csv": "pyarrow",
    "jsonl": "pyarrow", "parquet": "pyarrow", "arrow": "pyarrow", "b2z": "pyarrow",
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {"pytables.h5": {"flavour": "pytables"}}
TREES = ["h5", "pytables.h5", "nc", "zarr", "b2z", "npz", "sqlite", "kist"]
SINGLE = ["npy", "b2nd", "parquet", "arrow", "csv", "jsonl"]
UNTYPED = ("csv", "jsonl", "sqlite")
"""Formats that tell no widths of numbers and text: docs/bridges.md says so once for all."""
KEPT_FOR_THE_WAY_BACK = {"HDF5", "SQLITE", "ARROW", "ZARR", "NETCDF", "BLOSC2"}

TEXT = np.dtypes.StringDType()
MAYBE = np.dtypes.StringDType(na_object=None)
SCALARS = [
    "?", "i1", "<u2", ">i4", "<i8", ">u8", "<f2", ">f4", "<f8", "<c8", ">c16", "S5", "U4", ">U3",
    "M8[s]", "M8[D]", "M8[h]", ">M8[ms]", "m8[s]", "m8[D]", ">m8[us]", "V3",
]  # fmt: skip
ROWS: list[Any] = [
    [("a", "<i4"), ("b", ">f8")],
    [("n", [("x", "f4"), ("y", "i2")]), ("v", "f4", (2,))],
]


def values(dtype: Any, n: int) -> np.ndarray[Any, Any]:
    """Values with all that is odd in front: extremes, NaN, NaT, -0.0, letters of other tongues."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(7)
    if dtype.names is not None:
        found = np.zeros(n, dtype)
        for name in dtype.names:
            base, shape = dtype[name].subdtype or (dtype[name], ())
            found[name] = values(base, n * int(np.prod(shape))).reshape((n, *shape))
        return found
    kind, native = dtype.kind, dtype.newbyteorder("=")
    if kind in "SU":
        words: list[Any] = ["", "a", "é☃x", "zz z", "b"] if kind == "U" else [b"", b"a", b"\xff\0b"]
        return np.array((words * n)[:n], dtype)
    if kind == "b":
        return rng.integers(0, 2, n).astype(dtype)
    if kind in "iu":
        ends = np.iinfo(native)
        found = rng.integers(ends.min, ends.max, n, native, endpoint=True)
        found[:2] = [ends.max, ends.min][:n]
        return found.astype(dtype)
    if kind in "fc":
        found = rng.normal(size=n).astype(dtype)
        found[:3] = [np.nan, np.inf, -0.0][:n]
        return found
    if kind in "Mm":
        found = rng.integers(-9_999, 9_999, n).astype("i8").astype(native)
        found[:1] = "NaT"
        return found.astype(dtype)
    return np.frombuffer(rng.bytes(n * dtype.itemsize), dtype).copy()


def table_of(column: Any, dtype: Any = None, name: str = "c") -> Make:
    def make(store: Any) -> None:
        rows = {"i": np.arange(len(column)), name: column}
        if dtype is None:
            store.create_table("x", rows)
        else:
            store.create_table("x", dtype={"i": "i8", name: dtype}).append(rows)

    return make


PLAIN: list[Any] = [
    None, True, 2**70, 1 + 2j, "é☃", "", "a\0b", b"\xff\0a", b"", [1, 2.5, "x", None], [], (1, "a"),
    {"a": 1, "b": [1, 2]}, {}, {"x": {"y": (1, [2])}}, {1, 2}, datetime.date(2020, 1, 2),
    datetime.datetime(2020, 1, 2, 3, 4, 5, 6), datetime.timedelta(days=1, microseconds=3),
    np.int16(3), np.float32(1.5), np.datetime64("2020-01-01T00:00:00"), np.timedelta64(5, "s"),
    "x" * 70_000, np.arange(6.0).reshape(2, 3), np.zeros(0, "i4"), np.array(["a", ""], TEXT),
    np.array(["a", None], MAYBE), values(">M8[ms]", 3), values("S5", 3), values("U4", 3),
]  # fmt: skip


def matrix() -> Iterator[tuple[str, Make]]:
    for dtype in [*SCALARS, *ROWS]:
        shapes: list[Any] = [(3, 4), ()]
        shapes += [(0,), (5,), (0, 3)] if dtype in ("<f8", "S5", "M8[s]") else []
        for shape in shapes if type(dtype) is str else [(3, 4)]:
            data = values(dtype, int(np.prod(shape))).reshape(shape)
            yield f"array {dtype} {shape}", lambda s, d=data: s.create_array("x", d)
    for dtype in SCALARS:
        for n in (0, 6) if dtype in (">f4", "U4", "m8[s]") else (6,):
            yield f"column {dtype} {n}", table_of(values(dtype, n))
        masked = np.ma.MaskedArray(values(dtype, 4), [False, True, False, True])
        yield f"nullable {dtype}", table_of(masked, kist.nullable(dtype))
    for dtype in ROWS:
        yield f"rows {dtype}", lambda s, d=dtype: s.create_table("x", values(d, 5))
    texts = ["a", "", "é☃", "x" * 300, "a\tb\nc", '"q",\'', "null", "NA", "1"]
    yield "text", table_of(np.array(texts, TEXT))
    yield "text missing", table_of(np.array(["a", None, "", "b"], MAYBE))
    for item in ("i2", "f8", "?", "S3", "c8"):
        rows = [list(values(item, 2)), [], list(values(item, 3))]
        yield f"ragged {item}", table_of(rows, kist.ragged(item))
    lists = [["a", "", "x" * 300], [], ["é☃", 'q",\n']]
    yield "lists of text", table_of(lists, kist.ragged(str))
    yield "no lists of text", table_of([*lists[:2], None], kist.nullable(kist.ragged(TEXT)))
    yield "lists of no text", table_of([["a", None], [], [None]], kist.ragged(MAYBE))
    yield "bytes", table_of([b"ab\0", b"", b"\xff"], kist.ragged(bytes))
    yield "no bytes", table_of([b"a", None, b""], kist.nullable(kist.ragged(bytes)))
    for base, found in ((str, ["a", "b", "a"]), ("i8", [3, 1, 3]), ("f8", [1.5, 2.5, 1.5])):
        yield f"categories {base}", table_of(found, kist.categorical(base))
    for name in ("a b", "a.b", "é", "1a", 'a"b', "select", " x", "%", "a[0]"):
        yield f"column {name!r}", table_of(np.arange(3), None, name)
        yield f"node {name!r}", lambda s, k=name: s.create_array(k, np.arange(3))
        yield (
            f"attribute {name!r}",
            lambda s, k=name: s.create_array("x", [1]).attrs.update({k: "v"}),
        )
    yield "empty group", lambda s: s.create_group("g/h")
    yield "deep", lambda s: s.create_array("a/b/c/d/x", np.arange(3))
    yield "key store", lambda s: s.create_keystore("x").update({"a": np.arange(3), "b": np.eye(2)})
    for at, value in enumerate(PLAIN):
        if at % 3 == 0:
            yield f"array's {at}", lambda s, v=value: put(s.create_array("x", [1]), v)
        elif at % 3 == 1:
            yield f"root's {at}", lambda s, v=value: put(s, v) or table_of([1])(s)
        yield f"table's {at}", lambda s, v=value: table_of([1])(s) or put(s["x"], v)
        if at % 4 == 0:
            yield f"column's {at}", lambda s, v=value: table_of([1])(s) or put(s["x"]["c"], v)


def put(node: Any, value: Any) -> None:
    node.attrs["columns"] = value  # a name that kist uses beside tables of Arrow


MATRIX = list(matrix())


def untold(folder: Path, ending: str, make: Make) -> str:
    """Return what differs after a round trip of which no report tells; nothing if all is well."""
    first, there, back = folder / "a.kist", folder / f"b.{ending}", folder / "c.kist"
    with kist.open(first, "w") as store:
        make(store)
        (name, *_) = store
    at = f":{name}" if ending in SINGLE else ""
    try:
        out = kist.convert(f"{first}{at}", there, **OPTIONS.get(ending, {}))
    except kist.KistError as error:
        left = sorted(set(os.listdir(folder)) - {"a.kist"})
        return f"left {left} after {error!r}" if left else ""
    try:
        into = kist.convert(there, f"{back}{at}")
    except kist.KistError as error:
        return "" if out.notes else f"written, and not read: {error!r}"
    with kist.open(first) as one, kist.open(back) as two:
        found = [d for d in compare(one, two) if not (ending in SINGLE and d.path == "/")]
    found = [d for d in found if not is_as_documented(d, ending)]
    return "" if out.notes or into.notes else "; ".join(map(str, found))


def is_as_documented(difference: Any, ending: str) -> bool:
    """Tell whether a difference is one of those that docs/bridges.md says are not noted."""
    what, detail = difference.what, difference.detail
    if what == "attribute":
        if any(f"'{name}' only in B" in detail for name in KEPT_FOR_THE_WAY_BACK):
            return True
        one, _, other = detail.partition(": ")[2].partition(" != ")
        return one == other  # a number of Python is one of NumPy
    texts = "StringDType() != StringDType(na_object=None)" in detail
    one, _, other = detail.partition(" != ")
    texts |= "('text', 'u1'" in one and one.rpartition(": ")[2] == other.replace(
        "(('missing', 'text'), ", "('text', "
    )
    one, _, other = detail.rpartition(": ")[2].partition(" != ")
    # The byte order of Zarr 3 and of NetCDF; PyTables has no text of a width without values.
    order = ending in ("zarr", "nc") and one[:1] == ">"
    empty = ending == "pytables.h5" and (one, other) == ("|S5", "|S1")
    fields = ending == "nc" and one.replace(">", "<") == other
    return what == "dtype" and (texts or order or empty or fields or ending in UNTYPED)


@pytest.mark.parametrize("ending", [*TREES, *SINGLE])
def test_what_does_not_come_back_is_told(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # thousands of files, none to keep
    if ending in LIBRARIES:
        pytest.importorskip(LIBRARIES[ending])
    bad = {}
    for what, make in MATRIX:
        if ending in SINGLE and what.startswith("array") is not (ending in ("npy", "b2nd")):
            continue  # mostly refused
        folder = tmp_path / "it"
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if found := untold(folder, ending, make):
                bad[what] = found
        shutil.rmtree(folder)
    assert bad == {}
