"""Ragged columns and DataFrames: lists and bytes of pandas, polars and Arrow, there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kist
from kist import ragged

pa = pytest.importorskip("pyarrow")

COLUMNS: dict[str, Any] = {
    "list": [[1.5], [], [2.5, 3.5]],
    "large": pa.array([[1], [2], [3, 4]], pa.large_list(pa.int16())),
    "bytes": pa.array([b"a\0", b"", b"xyz"]),
    "times": pa.array([[1], [], [2, 3]], pa.list_(pa.timestamp("ms"))),
    "shaped": pa.array([[[1, 2]], [], [[3, 4], [5, 6]]], pa.list_(pa.list_(pa.int32(), 2))),
    "structs": pa.array(
        [[{"a": 1, "b": 2.0}], [], []], pa.list_(pa.struct([("a", "i1"), ("b", "f4")]))
    ),
    "bools": [[True, False], [], [True]],
}


@pytest.mark.parametrize("kind", ["table", "slice", "stream", "append"])
def test_arrow_lists_come_back(kind: str) -> None:
    table = pa.table(COLUMNS)
    with kist.open(":memory:") as store:
        if kind == "slice":
            table = pa.concat_tables([table, table]).slice(1, 4)
        made = store.create_table("t", table.to_reader() if kind == "stream" else table)
        if kind == "append":
            made.append(table)
            table = pa.concat_tables([table, table])
        assert made.to_arrow().to_pylist() == table.to_pylist()
        assert pa.table(made).to_pylist() == table.to_pylist()
        assert made["shaped"].dtype == ragged("i4", 2) and made["bytes"].dtype == ragged(bytes)
        assert pa.array(made["large"][1:]).to_pylist() == table["large"].to_pylist()[1:]


def test_frames_of_pandas_come_back() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {"a": [[1, 2], [3]], "b": [np.array([1.5]), np.zeros(0)], "c": [b"x", b"y\0"]}
    )
    frame["d"] = pd.Series([[1], [2, 3]], dtype=pd.ArrowDtype(pa.list_(pa.int64())))
    with kist.open(":memory:") as store:
        store["t"] = frame
        store["t"].append(frame)
        found = store["t"].to_pandas()
        assert found.dtypes.equals(frame.dtypes)
        assert [list(map(list, found[name])) for name in "abcd"] == [
            list(map(list, frame[name])) * 2 for name in "abcd"
        ]


def test_frames_of_polars_come_back() -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": [[1, 2], [3]], "b": [b"x", b"y\0"]})
    with kist.open(":memory:") as store:
        store["t"] = frame
        assert store["t"].to_polars().equals(frame)


def test_views_of_lists_are_lists_also_empty_and_null_ones() -> None:
    lists = [[9], [1, 2], None, [], [4], []]
    for kind in (pa.list_view(pa.int32()), pa.large_list_view(pa.int32())):
        with kist.open(":memory:") as store:
            table = store.create_table("t", pa.table({"a": pa.array(lists, kind)[1:]}))
            assert table["a"][:].to_list() == lists[1:]
