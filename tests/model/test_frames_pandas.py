"""DataFrames in and out of tables: what went in comes back equal."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kist
from kist.format import keys
from kist.format.plain import pack_value
from kist.format.values import pack_record

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")


@pytest.fixture
def store() -> Iterator[Any]:
    with kist.open(":memory:") as store:
        yield store


NUMBERS = {
    code: np.array([0, 1, 1, 0, 1], code)
    for code in (
        "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16",
        "M8[s]", "M8[ms]", "M8[us]", "M8[ns]", "m8[s]", "m8[ms]", "m8[us]", "m8[ns]", ">i4", ">f8",
    )
}  # fmt: skip


def test_numbers_and_times_come_back_equal(path: Path) -> None:
    frame = pd.DataFrame(NUMBERS)
    frame.loc[2, "M8[us]"] = pd.NaT
    twice = pd.DataFrame({name: np.tile(frame[name].to_numpy(), 2) for name in frame})
    with kist.open(path, "a") as store:
        store["t"] = frame
        assert store["t"].append(frame) == 5
    with kist.open(path) as store:
        pd.testing.assert_frame_equal(store["t"].to_pandas(), twice)


INDEXES = {
    "default": lambda: pd.RangeIndex(5),
    "range with steps": lambda: pd.RangeIndex(10, 20, 2, name="n"),
    "integers": lambda: pd.Index([5, 3, 9, 1, 1]),
    "named floats": lambda: pd.Index([5.0, 3.5, np.nan, 1, 1], name="x"),
    "dates": lambda: pd.date_range("2020-03-01", periods=5, freq="D", name="when"),
    "hours in a zone": lambda: pd.date_range("2020-03-29", periods=5, freq="h", tz="Europe/Berlin"),
    "fixed offset": lambda: pd.date_range("2020-03-29", periods=5, tz="+05:30"),
    "durations": lambda: pd.timedelta_range("1h", periods=5, freq="h"),
    "two levels": lambda: pd.MultiIndex.from_product([[1, 2, 3], [0.5, 1.5]], names=["a", None])[
        :5
    ],
    "level called as a column": lambda: pd.Index([5, 3, 9, 1, 1], name="v"),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_the_index_comes_back(store: Any, kind: str) -> None:
    frame = pd.DataFrame({"v": np.arange(5.0), "w": np.arange(5)}, index=INDEXES[kind]())
    store["t"] = frame
    pd.testing.assert_frame_equal(store["t"].to_pandas(), frame)
    pd.testing.assert_frame_equal(store["t"].to_pandas(["w"]), frame[["w"]])
    pd.testing.assert_series_equal(store["t"]["v"].to_pandas(), frame["v"])
    hits = store["t"].where("(w == 1) | (w == 4)")
    pd.testing.assert_frame_equal(
        hits.to_pandas(), frame[frame["w"].isin([1, 4])], check_freq=False
    )
    store["t"].append(frame)
    twice = pd.concat([frame, frame], ignore_index=kind == "default")
    if kind == "range with steps":
        twice.index = pd.RangeIndex(10, 30, 2, name="n")
    pd.testing.assert_frame_equal(store["t"].to_pandas(), twice)


LABELS = {
    "text": lambda: ["a", "b b", "ü"],
    "numbers": lambda: [5, 7, 6],
    "a range": lambda: pd.RangeIndex(3),
    "a range with steps and a name": lambda: pd.RangeIndex(4, 10, 2, name="n"),
    "floats": lambda: [0.5, -1.5, 2.0],
    "mixed": lambda: pd.Index(["a", 1, None], dtype=object),
    "named": lambda: pd.Index(["a", "b", "c"], name="field"),
    "objects of text": lambda: pd.Index(["a", "b", "c"], dtype=object),
    "dates": lambda: pd.DatetimeIndex(["2020-01-01", "2021-01-01", "2022-05-05"], name="day"),
    "levels": lambda: pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["x", None]),
    "empty": lambda: ["", "a", "b"],
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_columns_come_back(store: Any, kind: str) -> None:
    frame = pd.DataFrame([[1, 2.5, 3], [4, 5.5, 6]], columns=LABELS[kind]())
    store["t"] = frame
    pd.testing.assert_frame_equal(store["t"].to_pandas(), frame)
    store["t"].append(frame)
    pd.testing.assert_frame_equal(store["t"].to_pandas(), pd.concat([frame] * 2, ignore_index=True))
    name = store["t"].columns[2]
    pd.testing.assert_series_equal(store["t"][name].to_pandas()[:2], frame.iloc[:, 2])


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns", "+05:30", "-11:00"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_zones_come_back(store: Any, zone: str, unit: str) -> None:
    times = pd.Series(pd.date_range("2020-03-28", periods=9, freq="7h", tz=zone)).dt.as_unit(unit)
    times[4] = pd.NaT
    frame = pd.DataFrame({"t": times, "n": range(9)}, index=pd.Index(times[::-1], name="i"))
    store["t"] = frame
    assert store["t"].dtype["t"] == np.dtype(f"M8[{unit}]")
    pd.testing.assert_frame_equal(store["t"].to_pandas(), frame)
    store["t"].append(frame)
    pd.testing.assert_frame_equal(store["t"].to_pandas(), pd.concat([frame, frame]))


STRINGS = ["a", "", "b\0c", "é" * 300, "nan", "None", "日本", "a"]
SERIES: dict[str, Any] = {
    "Int8": lambda: pd.Series([1, 2, -3], dtype="Int8"),
    "UInt64": lambda: pd.Series([1, 2**64 - 1], dtype="UInt64"),
    "Float32": lambda: pd.Series([1.5, 2.5], dtype="Float32"),
    "boolean": lambda: pd.Series([True, False], dtype="boolean"),
    "dates": lambda: pd.Series([datetime.date(2020, 1, 2), None, datetime.date(1, 1, 1)]),
    "bytes": lambda: pd.Series([b"abc", b"", b"\0x"]),
    "objects of int": lambda: pd.Series([1, 2], dtype=object),
    "objects of float": lambda: pd.Series([1.5, np.nan], dtype=object),
    "objects of bool": lambda: pd.Series([True, False], dtype=object),
    "float16": lambda: pd.Series([0.5, 1.5], dtype="f2"),
    "arrow ints": lambda: pd.Series([1, 2], dtype="int16[pyarrow]"),
    "arrow times": lambda: pd.Series([0, 10**9], dtype="timestamp[us, tz=Asia/Tokyo][pyarrow]"),
    "text": lambda: pd.Series(STRINGS),
    "text with nan": lambda: pd.Series([*STRINGS, None]),
    "text of python": lambda: pd.Series(STRINGS, dtype=pd.StringDtype("python", na_value=np.nan)),
    "string": lambda: pd.Series([*STRINGS, pd.NA], dtype="string"),
    "string of python": lambda: pd.Series([*STRINGS, pd.NA], dtype="string[python]"),
    "objects of text": lambda: pd.Series(STRINGS, dtype=object),
    "objects of text and None": lambda: pd.Series([None, *STRINGS], dtype=object),
    "objects of text and nan": lambda: pd.Series([*STRINGS, np.nan], dtype=object),
    "objects of text and NA": lambda: pd.Series([*STRINGS, pd.NA], dtype=object),
    "objects of None": lambda: pd.Series([None, None], dtype=object),
    "no objects": lambda: pd.Series([], dtype=object),
    "no text": lambda: pd.Series([], dtype="str"),
    "arrow text": lambda: pd.Series([*STRINGS, None], dtype=pd.ArrowDtype(pa.string())),
    "arrow large text": lambda: pd.Series(STRINGS, dtype=pd.ArrowDtype(pa.large_string())),
}


@pytest.mark.parametrize("kind", SERIES)
def test_dtypes_of_pandas_come_back(path: Path, kind: str) -> None:
    series = SERIES[kind]()
    frame = pd.DataFrame({"v": series, "n": np.arange(len(series))})
    if kind != "float16":
        frame.index = pd.Index(series.array, dtype=series.dtype, name="i")
    twice = frame.iloc[[*range(len(series))] * 2]
    if kind == "float16":
        twice = twice.reset_index(drop=True)
    with kist.open(path, "a") as store:
        store["t"] = frame
        pd.testing.assert_frame_equal(store["t"].to_pandas(), frame)
        store["t"].append(frame)
    with kist.open(path) as store:
        pd.testing.assert_frame_equal(store["t"].to_pandas(), twice)
        pd.testing.assert_series_equal(store["t"]["v"].to_pandas(), twice["v"])
        back = store["t"].to_pandas()
        assert [type(a) for a in back["v"]] == [type(a) for a in twice["v"]]


def test_appends_are_matched_by_name(store: Any) -> None:
    index = pd.MultiIndex.from_tuples([(1, 2.5), (2, 3.5)], names=["k", "x"])
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}, index=index)
    store["t"] = frame
    table = store["t"]
    assert table.columns == ("k", "x", "a", "b")
    table.append(frame[["b", "a"]])
    table.append(frame.swaplevel())
    table.append(frame.reset_index())
    table.append({"a": [1, 2], "b": [0.5, 1.5], "k": [1, 2], "x": [2.5, 3.5]})
    table.append(pa.table({"a": [1, 2], "b": [0.5, 1.5], "k": [1, 2], "x": [2.5, 3.5]}))
    with table.appender() as add:
        add(frame)
    assert table.append(frame.reset_index()[:0]) == 0
    pd.testing.assert_frame_equal(table.to_pandas(), pd.concat([frame] * 7))
    store["u"] = np.zeros(0, [("x", "f8"), ("b", "f8"), ("a", "i4")])
    store["u"].append(frame.droplevel("k"))
    assert store["u"][:].tolist() == [(2.5, 0.5, 1), (3.5, 1.5, 2)]
    store["u"][:] = frame.droplevel("k").iloc[::-1]
    assert store["u"][:].tolist() == [(3.5, 1.5, 2), (2.5, 0.5, 1)]


def test_a_dtype_says_what_a_frame_becomes(store: Any) -> None:
    frame = pd.DataFrame({"a": [1, 2], "s": ["x", "yy"]})
    table = store.create_table("t", frame, dtype=[("s", "U3"), ("a", "i2")])
    assert table[:].tolist() == [("x", 1), ("yy", 2)]
    with pytest.raises(kist.DTypeError, match="'s'"):
        store.create_table("u", frame, dtype=[("s", "U1"), ("a", "i2")])


def test_chunks_become_one_table(store: Any) -> None:
    frame = pd.DataFrame({"a": range(10), "s": list("abcdefghij")})
    store["t"] = iter([frame[:3], frame[3:4], frame[4:]])
    pd.testing.assert_frame_equal(store["t"].to_pandas(), frame)
    store["t"].append(iter([frame[:3], frame[3:]]))
    assert len(store["t"]) == 20
    store["csv"] = pd.read_csv(io.StringIO(frame.to_csv(index=False)), chunksize=4)
    pd.testing.assert_frame_equal(store["csv"].to_pandas(), frame)


def test_copies_and_versions_keep_what_gives_the_frame_back(path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="k"))
    with kist.open(path, "a") as store, kist.open(":memory:") as other:
        store["t"] = frame
        store.tag("first")
        store.copy("t", "u")
        other.copy(store["t"], "v")
        store["t"] = frame.reset_index()
        pd.testing.assert_frame_equal(store["u"].to_pandas(), frame)
        pd.testing.assert_frame_equal(other["v"].to_pandas(), frame)
        pd.testing.assert_frame_equal(store["t"].to_pandas(), frame.reset_index())
    with kist.open(path, version="first") as store:
        pd.testing.assert_frame_equal(store["t"].to_pandas(), frame)


def test_many_columns_need_a_note_of_their_own_extent(path: Path) -> None:
    frame = pd.DataFrame(np.zeros((2, 900)), columns=np.arange(900) * 3.5)
    with kist.open(path, "a") as store:
        store["t"] = frame
        store.copy("t", "u")
        assert store.check()
    with kist.open(path) as store:
        pd.testing.assert_frame_equal(store["u"].to_pandas(), frame)


def test_tables_that_never_were_frames_become_some(store: Any) -> None:
    inner = [("x", "i2"), ("y", "m8[h]")]
    first = [("a", ">i4"), ("s", "S3"), ("u", "U3"), ("d", "M8[D]"), ("m", "f4", (2,))]
    rows = np.zeros(3, [*first, ("n", inner), ("c", "c8"), ("v", "V2")])
    rows["a"], rows["s"], rows["u"], rows["d"] = [1, 2, 3], b"ab", "xyz", "2020-01-01"
    store["t"] = rows
    frame = store["t"].to_pandas()
    assert list(frame) == ["a", "s", "u", "d", "m", "n.x", "n.y", "c", "v"]
    assert frame["a"].sum() == 6
    assert frame["a"].dtype == np.dtype("i4")
    assert frame["s"].tolist() == [b"ab"] * 3
    assert frame["u"].tolist() == ["xyz"] * 3
    assert frame["u"].dtype == pd.Series(["a"]).dtype
    assert frame["d"].dtype == np.dtype("M8[s]")
    assert frame["m"][1].tolist() == [0, 0]
    assert list(store["t"]["n"].to_pandas()) == ["x", "y"]
    assert isinstance(frame.index, pd.RangeIndex)
    pd.testing.assert_frame_equal(store["t"].to_pandas(["n.x", "c"]), frame[["n.x", "c"]])


def test_frames_do_not_share_memory_with_what_is_kept(store: Any) -> None:
    store["t"] = pd.DataFrame({"a": [1, 2, 3], "b": [1.5, 2.5, 3.5]})
    frame = store["t"].to_pandas()
    frame.loc[0, "a"] = 99
    frame["b"] += 1
    assert store["t"][:].tolist() == [(1, 1.5), (2, 2.5), (3, 3.5)]


@pytest.mark.parametrize(
    "note",
    [
        7,
        {"index": 7, "columns": [], "dtypes": "x"},
        {"index": {"levels": ["zz"], "names": []}},
        {"index": {"levels": [[]], "names": 5}},
        {"index": {"range": (0, 0), "names": [None, None]}},
        {"index": {"range": ("a", None)}, "columns": {"names": [1, 2, 3], "labels": {5: 5}}},
        {"index": {"levels": ["a"], "names": ["x"], "freq": "nonsense"}},
        {"columns": {"range": 5, "dtype": "M8[ns]", "levels": [1]}},
        {"dtypes": {"a": {"dtype": 5}, "b": 7}},
    ],
)
def test_a_note_that_does_not_fit_is_left_out(store: Any, note: Any) -> None:
    store["t"] = pd.DataFrame({"a": [1, 2], "b": [2.5, 3.5]})
    with store._write() as txn:
        txn.put(keys.note(store["t"]._id, "pandas"), pack_record(pack_value(note)))
    frame = store["t"].to_pandas()
    assert frame["b"].tolist() == [2.5, 3.5]
    assert store.check()


COLUMNS = st.sampled_from(
    [*(np.dtype(code) for code in NUMBERS if code[0] != ">"), "str", "object", "string", "zone"]
)


@st.composite
def frames(draw: st.DrawFn) -> Any:
    """Draw a DataFrame with an index."""
    n = draw(st.integers(0, 20))
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)

    def column(dtype: Any) -> Any:
        if isinstance(dtype, np.dtype):
            values = draw(hnp.arrays(dtype, n, elements=hnp.from_dtype(dtype)))
            return pd.Series(values)
        if dtype == "zone":
            # Years that fit all units.
            seconds = draw(st.lists(st.integers(-(2**32), 2**32), min_size=n, max_size=n))
            times = pd.Series(np.array(seconds, "M8[s]"))
            return times.dt.tz_localize("UTC").dt.tz_convert(draw(st.sampled_from(ZONES)))
        missing = {"str": np.nan, "object": None, "string": pd.NA}[dtype]
        values = draw(st.lists(text | st.just(missing), min_size=n, max_size=n))
        return pd.Series(values, dtype=dtype)

    names = draw(st.lists(text, min_size=1, max_size=5, unique=True))
    names = [name for name in names if not name.startswith(("level_", "index", "column_"))] or ["a"]
    frame = pd.DataFrame({name: column(draw(COLUMNS)) for name in names}, columns=names)
    frame.index = pd.RangeIndex(n)
    depth = draw(st.integers(0, 2))
    levels = [column(draw(st.sampled_from([np.dtype("i8"), "str", "zone"]))) for _ in range(depth)]
    if depth == 1:
        frame.index = pd.Index(levels[0], name=draw(st.sampled_from([None, "k", names[0]])))
    elif depth == 2:
        frame.index = pd.MultiIndex.from_arrays(levels, names=draw(st.sampled_from(NAMES)))
    return frame


ZONES = ["UTC", "Europe/Berlin", "+05:30"]
NAMES = [["a", "b"], [None, None], ["a", None]]


@given(frames(), st.integers(0, 20))
def test_any_frame_comes_back_equal_in_one_piece_and_in_two(frame: Any, cut: int) -> None:
    with kist.open(":memory:") as store:
        store["t"] = frame
        pd.testing.assert_frame_equal(store["t"].to_pandas(), frame)
        store["u"] = frame.iloc[:cut]
        store["u"].append(frame.iloc[cut:])
        pd.testing.assert_frame_equal(store["u"].to_pandas(), frame)


def test_bird_strikes_come_back_equal(shared_data: Path, path: Path) -> None:
    frame = pd.read_csv(shared_data / "birdstrikes.csv", keep_default_na=True)
    half = len(frame) // 2
    with kist.open(path, "a") as store:
        store["strikes"] = frame[:half]
        store["strikes"].append(frame[half:])
    with kist.open(path) as store:
        table = store["strikes"]
        pd.testing.assert_frame_equal(table.to_pandas(), frame)
        assert table.to_arrow().num_rows == len(frame)
        columns = ["Wildlife Species", "Cost Total $"]
        pd.testing.assert_frame_equal(table.to_pandas(columns), frame[columns])
        assert table.nbytes_stored < (shared_data / "birdstrikes.csv").stat().st_size / 4
