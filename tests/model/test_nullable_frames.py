"""Nulls of pandas, Arrow and polars on their way into tables and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kist

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

MASK = [False, True, False]


@pytest.fixture
def store() -> Iterator[kist.Store]:
    with kist.open(":memory:") as opened:
        yield opened


@pytest.mark.parametrize(
    "dtype",
    ["Int8", "UInt64", "Float32", "Float64", "boolean", "int64[pyarrow]", "bool[pyarrow]"],
)
def test_series_come_back_equal(store: Any, dtype: str) -> None:
    frame = pd.DataFrame({"id": [1, 2, 3], "v": pd.Series([1, None, 0], dtype=dtype)})
    store["t"] = frame
    t = store["t"]
    assert t["v"][:].mask.tolist() == MASK
    pd.testing.assert_frame_equal(t.to_pandas(), frame)
    pd.testing.assert_series_equal(t["v"].to_pandas(), frame["v"])
    t.append(frame)
    twice = pd.concat([frame, frame], ignore_index=True)
    pd.testing.assert_frame_equal(t.to_pandas(), twice)
    pd.testing.assert_frame_equal(t.where("id > 1").to_pandas(), twice[twice["id"] > 1])


def test_a_column_that_pandas_calls_nullable_takes_nulls_later(store: Any) -> None:
    store["t"] = pd.DataFrame({"v": pd.array([1, 2], dtype="Int64")})
    store["t"].append(pd.DataFrame({"v": pd.array([None], dtype="Int64")}))
    assert store["t"]["v"][:].tolist() == [1, 2, None]


def test_objects_of_numbers_with_none_come_back(store: Any) -> None:
    frame = pd.DataFrame({"v": pd.Series([True, None, False], dtype=object)})
    store["t"] = frame
    pd.testing.assert_frame_equal(store["t"].to_pandas(), frame)


def test_an_index_with_nulls_comes_back(store: Any) -> None:
    index = pd.Index(pd.array([5, None, 7], dtype="Int64"), name="key")
    frame = pd.DataFrame({"v": [1.5, 2.5, 3.5]}, index=index)
    store["t"] = frame
    pd.testing.assert_frame_equal(store["t"].to_pandas(), frame)
    pd.testing.assert_series_equal(store["t"]["v"].to_pandas(), frame["v"])


def test_masked_times_and_text_become_what_pandas_has(store: Any) -> None:
    days = np.array(["2020-01-01", "2021-01-01", "2022-01-01"], "M8[s]")
    columns = {"d": days, "u": np.array(["a", "b", "c"]), "s": np.array([b"a", b"b", b"c"])}
    masked = {name: np.ma.MaskedArray(values, MASK) for name, values in columns.items()}
    t = store.create_table("t", masked)
    frame = t.to_pandas()
    assert frame.isna().to_numpy().tolist() == [[one] * 3 for one in MASK]
    assert frame["d"].dtype == "datetime64[s]"
    assert frame["s"].tolist() == [b"a", None, b"c"]


def arrow() -> Any:
    return pa.table(
        {
            "i": pa.array([1, None, 3], pa.int16()),
            "b": pa.array([True, None, False]),
            "f": pa.array([1.5, None, float("nan")]),
            "s": pa.array([b"ab", None, b"c"]),
            "v": pa.array([b"ab", None, b"cd"], pa.binary(2)),
            "n": pa.array([1, 2, 3]),
            "t": pa.array([1, None, 3], pa.timestamp("us")),
        }
    )


def test_arrow_tables_come_back_with_their_nulls(store: Any) -> None:
    table = arrow()
    store["t"] = table
    t = store["t"]
    assert t.dtype["n"] == np.dtype("i8")
    assert t.dtype["t"] == np.dtype("M8[us]")
    assert t["f"][:].mask.tolist() == MASK
    back = t.to_arrow()
    assert back.schema == table.schema
    assert str(back) == str(table)  # NaN equals nothing
    t.append(table.slice(1, 1))
    assert t.to_arrow().column("i").null_count == 2
    assert t["i"].to_arrow().to_pylist() == [1, None, 3, None]
    assert t.where("i > 1").to_arrow().column("b").to_pylist() == [False]
    assert pa.table(t).column("i").null_count == 2


def test_a_stream_whose_first_batch_has_nulls_is_kept(store: Any) -> None:
    parts = [pa.record_batch({"x": pa.array(part, pa.int32())}) for part in ([None, 1], [2, None])]
    store["t"] = pa.RecordBatchReader.from_batches(parts[0].schema, iter(parts))
    assert store["t"]["x"][:].tolist() == [None, 1, 2, None]


def test_batches_with_and_without_nulls_are_appended_to_rows(store: Any) -> None:
    t = store.create_table("t", dtype=[("x", kist.nullable("i4"))])
    with t.appender() as add:
        add(pa.table({"x": pa.chunked_array([[1, 2], [None]], pa.int64())}))
    assert t["x"][:].tolist() == [1, 2, None]


def test_polars_frames_come_back(store: Any) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"x": [1, None, 3], "y": [1.5, None, 2.0], "z": ["a", None, "b"]})
    store["t"] = frame
    assert store["t"].to_polars().equals(frame)
    store["t"].append({"x": [None], "y": [0.5], "z": [None]})
    assert store["t"]["x"].to_polars().to_list() == [1, None, 3, None]
