"""What tables cannot keep of DataFrames and Arrow is refused by name, and nothing is changed."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kist

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
dateutil = pytest.importorskip("dateutil.tz")  # pandas needs it


@pytest.fixture
def store() -> Iterator[Any]:
    with kist.open(":memory:") as store:
        store["old"] = np.array([(1, 2.5)], "i8,f8")
        yield store


def series(values: Any, dtype: Any = None) -> Any:
    return pd.DataFrame({"good": range(len(values)), "bad": pd.Series(values, dtype=dtype)})


PANDAS: dict[str, tuple[Any, str]] = {
    "mixed objects": (lambda: series(["a", 1]), "row 1, column 'bad': int object 1"),
    "numbers and text": (lambda: series([1, "a"]), "row 0, column 'bad': int object 1"),
    "ints and floats as objects": (lambda: series([1, 2.5], object), "column 'bad'"),
    "lists of lists": (lambda: series([[["a"]], [["b"]]]), "column 'bad': list object .*nested"),
    "lists of bytes": (lambda: series([[b"a"], [b"b"]]), "column 'bad': list object .*nested"),
    "decimals": (lambda: series([decimal.Decimal("1.5")]), "column 'bad'.*decimals"),
    "dicts": (lambda: series([{"a": 1}]), "column 'bad': dict object"),
    "times of day": (lambda: series([datetime.time(1)]), "column 'bad'.*times of day"),
    "datetimes": (
        lambda: series([datetime.datetime(2020, 1, 1)], object),
        r"column 'bad'.*pandas.to_datetime",
    ),
    "categories of intervals": (
        lambda: pd.DataFrame({"bad": pd.cut([1, 5], [0, 3, 6])}),
        "column 'bad' has categories of interval.*rename_categories",
    ),
    "periods": (lambda: series(pd.period_range("2020", periods=2)), "column 'bad' is period"),
    "intervals": (lambda: series(pd.interval_range(0, 2)), "column 'bad' is interval"),
    "sparse": (lambda: series([0, 1], "Sparse[int]"), "column 'bad' is Sparse.*to_dense"),
    "huge integers": (lambda: series([2**70, 1]), "column 'bad'"),
    "missing label in a level of integers": (
        lambda: pd.DataFrame(
            {"v": [1, 2]}, index=pd.MultiIndex([[1], [3]], [[0, -1], [0, 0]], names=["bad", "x"])
        ),
        "row 1, index level 'bad': a missing value",
    ),
    "zone without a name": (
        lambda: pd.DataFrame({"bad": ZONED.tz_convert(dateutil.gettz("Asia/Tokyo"))}),
        "column 'bad': the time zone .*tz_convert",
    ),
    "two columns of one name": (
        lambda: pd.DataFrame([[1, 2]], columns=["bad", "bad"]),
        "two columns are called 'bad'",
    ),
    "names equal as text": (lambda: pd.DataFrame([[1, 2]], columns=[1, "1"]), "called '1'"),
    "labels of periods": (
        lambda: pd.DataFrame([[1, 2]], columns=pd.period_range("2020", periods=2)),
        "column labels",
    ),
    "labels of a strange type": (
        lambda: pd.DataFrame([[1]], columns=[frozenset("a")]),
        "label frozenset.*cannot be kept",
    ),
    "no columns": (lambda: pd.DataFrame(index=range(3)), "no columns"),
    "series": (lambda: pd.Series([1, 2]), "to_frame"),
}


@pytest.mark.parametrize("kind", PANDAS)
def test_pandas(store: Any, kind: str) -> None:
    make, message = PANDAS[kind]
    with pytest.raises(kist.DTypeError, match=message) as caught:
        store["t"] = make()
    assert str(caught.value).startswith("create '/t': ")
    assert list(store) == ["old"]


ARROW: dict[str, tuple[Any, str]] = {
    "nulls in a later batch of a stream": (
        lambda: pa.table({"bad": pa.chunked_array([[1, 2], [3, None]])}).to_reader(),
        "row 3, column 'bad'.*nullable",
    ),
    "nulls in a struct": (lambda: pa.table({"bad": [{"a": 1}, {"a": None}]}), "column 'bad.a'"),
    "a null struct": (lambda: pa.table({"bad": [{"a": 1}, None]}), "row 1, column 'bad'"),
    "lists of bytes": (lambda: pa.table({"bad": [[b"a"], []]}), "column 'bad' is binary.*within"),
    "lists of lists": (lambda: pa.table({"bad": [[[1]], []]}), "column 'bad' is list.*within"),
    "nulls in lists": (lambda: pa.table({"bad": [[1], [2, None]]}), "row 1, column 'bad'.*null"),
    "maps": (
        lambda: pa.table({"bad": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8()))}),
        "column 'bad' is map",
    ),
    "text in a struct": (lambda: pa.table({"bad": [{"a": "x"}]}), "column 'bad.a'.*text"),
    "decimals": (lambda: pa.table({"bad": [decimal.Decimal("1.5")]}), "column 'bad'.*decimals"),
    "times of day": (lambda: pa.table({"bad": [datetime.time(1)]}), "column 'bad' is time64"),
    "no type": (lambda: pa.table({"bad": [None, None]}), "column 'bad' is null"),
    "two columns of one name": (
        lambda: pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["bad", "bad"]),
        "two columns are called 'bad'",
    ),
    "no columns": (lambda: pa.table({}), "no columns"),
    "a chunked array": (lambda: pa.chunked_array([[1]]), "is no table"),
    "an array": (lambda: pa.array([1]), "is no table"),
    "objects of polars": (lambda: pl.DataFrame({"bad": [object()]}), "column 'bad' holds Python"),
    "lazy frame": (lambda: pl.LazyFrame({"bad": [1]}), "collect"),
    "series of polars": (lambda: pl.Series([1]), "to_frame"),
}


@pytest.mark.parametrize("kind", ARROW)
def test_arrow(store: Any, kind: str) -> None:
    make, message = ARROW[kind]
    with pytest.raises(kist.DTypeError, match=message) as caught:
        store["t"] = make()
    assert str(caught.value).startswith("create '/t': ")
    assert list(store) == ["old"]


ZONED = pd.date_range("2020", periods=1, tz="Europe/Berlin")


def frame(**columns: Any) -> Any:
    return pd.DataFrame(columns)


APPENDED: dict[str, tuple[Any, Any, str]] = {
    "missing column": (lambda: frame(a=[1], b=[2]), lambda: frame(a=[1]), "'b' is missing"),
    "further column": (lambda: frame(a=[1]), lambda: frame(a=[1], b=[2]), "no field 'b'"),
    "overflow": (
        lambda: frame(a=np.ones(1, "i1")),
        lambda: frame(a=[5, 300]),
        "row 1, column 'a'",
    ),
    "fraction": (lambda: frame(a=[1]), lambda: frame(a=[5, 6, 1.5]), "row 2, column 'a'"),
    "nan for int": (lambda: frame(a=[1]), lambda: frame(a=[5, np.nan]), "row 1, column 'a'"),
    "null": (lambda: frame(a=[1]), lambda: pa.table({"a": [1, None]}), "row 1, column 'a'"),
    "text for numbers": (lambda: frame(a=[1]), lambda: frame(a=["x"]), "column 'a'"),
    "zone where there is none": (
        lambda: frame(a=ZONED.tz_convert(None)),
        lambda: frame(a=ZONED),
        "zone in the frame, not in the table",
    ),
    "no zone where there is one": (
        lambda: frame(a=ZONED),
        lambda: frame(a=ZONED.tz_convert(None)),
        "zone in the table, not in the frame",
    ),
    "arrow without zone": (
        lambda: frame(a=ZONED),
        lambda: pa.table({"a": ZONED.tz_convert(None).to_numpy()}),
        "zone in the table, not in the data",
    ),
    "index without a column": (
        lambda: frame(a=[1]),
        lambda: pd.DataFrame({"a": [1]}, index=[7]),
        "reset_index",
    ),
    "index of other names": (
        lambda: pd.DataFrame({"a": [1]}, index=pd.Index([7], name="x")),
        lambda: pd.DataFrame({"a": [1]}, index=pd.Index([7], name="y")),
        "index of the table is 'x'",
    ),
    "index of fewer levels": (
        lambda: pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([(1, 2)])),
        lambda: pd.DataFrame({"a": [1]}, index=[1]),
        "index of the table is 'level_0', 'level_1'",
    ),
}


@pytest.mark.parametrize("kind", APPENDED)
def test_append(store: Any, kind: str) -> None:
    first, then, message = APPENDED[kind]
    store["t"] = first()
    table = store["t"]
    before = table[:].tobytes(), table.to_pandas()
    with pytest.raises(kist.DTypeError, match=message) as caught:
        table.append(then())
    assert str(caught.value).startswith("append to '/t': ")
    assert table[:].tobytes() == before[0]
    pd.testing.assert_frame_equal(table.to_pandas(), before[1])


def test_a_frame_among_many_that_does_not_fit_undoes_all(store: Any) -> None:
    frames = [frame(a=np.arange(5000)), frame(a=np.arange(5000)), frame(a=["x"])]
    with pytest.raises(kist.DTypeError, match="'a'"):
        store["t"] = iter(frames)
    assert "t" not in store
    store["t"] = iter(frames[:2])
    with pytest.raises(kist.DTypeError, match="'a'"):
        store["t"].append(iter(frames))
    assert len(store["t"]) == 10_000


def test_a_stream_that_fails_undoes_all(store: Any) -> None:
    def batches() -> Iterator[Any]:
        for at in range(20):
            yield pa.record_batch({"a": np.arange(10_000) + at})
        raise OSError("the network is gone")

    schema = pa.schema([("a", pa.int64())])
    with pytest.raises(OSError, match="network"):
        store["t"] = pa.RecordBatchReader.from_batches(schema, batches())
    assert "t" not in store


OUT: dict[str, tuple[Any, str]] = {
    "complex": ("c16", "column 'x' is complex128: Arrow has no complex"),
    "long double": ("g", "column 'x'.*no type"),
    "picoseconds": ("M8[ps]", "column 'x'.*no such unit"),
    "months of duration": ("m8[M]", "column 'x'.*no such unit"),
    "void of no bytes": ("V0", "column 'x'.*no type"),
}


@pytest.mark.parametrize("kind", OUT)
def test_what_arrow_lacks(store: Any, kind: str) -> None:
    dtype, message = OUT[kind]
    store["t"] = np.zeros(3, [("x", dtype), ("y", "i4")])
    for ask in (store["t"].to_arrow, store["t"].to_polars, store["t"].__arrow_c_stream__):
        with pytest.raises(kist.DTypeError, match=message):
            ask()
    assert store["t"].to_arrow(columns=["y"]).column_names == ["y"]


def test_dates_beyond_those_of_arrow_and_pandas(store: Any) -> None:
    store["t"] = np.array([5, np.iinfo(np.int64).min, 10**15]).view([("d", "M8[D]")])
    with pytest.raises(kist.DTypeError, match=r"'d'.*range"):
        store["t"].to_arrow()
    with pytest.raises(kist.DTypeError, match="'d'"):
        store["t"].to_pandas()


@pytest.mark.parametrize("way", ["to_pandas", "to_arrow", "to_polars"])
def test_columns_that_are_not_there(store: Any, way: str) -> None:
    with pytest.raises(kist.ColumnNotFoundError, match="'zz'"):
        getattr(store["old"], way)(["f0", "zz"])
    with pytest.raises(kist.SelectionError, match="list of names"):
        getattr(store["old"], way)("f0")
    with pytest.raises(kist.SelectionError, match="one column"):
        getattr(store["old"]["f0"], way)(["f0"])
    with pytest.raises(kist.SelectionError, match="'f1'"):
        getattr(store["old"][["f0"]], way)(["f1"])
