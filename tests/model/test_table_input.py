"""What becomes rows: arrays, tuples, dicts, frames, iterators; what is refused, and how."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kist
from kist.model.tables.changes import write as table_write


def label(value: object) -> str:
    """Name a parameter, the same in every process: without addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


Array = np.ndarray[Any, Any]
DTYPE = np.dtype([("a", "i4"), ("b", "f8"), ("s", "S3")])
ROWS = np.array([(1, 2.5, b"x"), (2, 3.5, b"yy"), (3, 4.5, b"zzz")], DTYPE)


@pytest.fixture
def store() -> Iterator[Any]:
    with kist.open(":memory:") as store:
        yield store


GIVEN: dict[str, Any] = {
    "array": lambda: ROWS,
    "other order of fields": lambda: ROWS[["s", "b", "a"]],
    "wider dtypes": lambda: ROWS.astype([("a", "i8"), ("b", "f8"), ("s", "S9")]),
    "strided": lambda: np.repeat(ROWS, 2)[::2],
    "record array": lambda: ROWS.view(np.recarray),
    "tuples": lambda: [tuple(row) for row in ROWS],
    "records": lambda: list(ROWS),
    "dicts": lambda: [dict(zip("abs", row, strict=True)) for row in ROWS.tolist()],
    "columns": lambda: {"s": [b"x", b"yy", b"zzz"], "a": [1, 2, 3], "b": [2.5, 3.5, 4.5]},
    "generator of tuples": lambda: (tuple(row) for row in ROWS),
    "generator of arrays": lambda: iter([ROWS[:1], ROWS[1:1], ROWS[1:]]),
    "generator of dicts": lambda: (dict(zip("abs", row, strict=True)) for row in ROWS.tolist()),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_rows_are_appended_from(store: Any, kind: str) -> None:
    table = store.create_table("t", dtype=DTYPE)
    assert table.append(GIVEN[kind]()) == 3
    assert table[:].tobytes() == ROWS.tobytes()


@pytest.mark.parametrize("kind", GIVEN)
def test_a_table_is_created_with_a_dtype_from(store: Any, kind: str) -> None:
    table = store.create_table("t", GIVEN[kind](), dtype=DTYPE)
    assert table.dtype == DTYPE
    assert table[:].tobytes() == ROWS.tobytes()


ONE: list[Any] = [
    (9, 1.5, b"w"),
    {"a": 9, "b": 1.5, "s": b"w"},
    np.array((9, 1.5, b"w"), DTYPE)[()],
]


@pytest.mark.parametrize("row", ONE, ids=lambda row: type(row).__name__)
def test_one_row_is_appended(store: Any, row: Any) -> None:
    table = store.create_table("t", ROWS)
    assert table.append(row) == 1
    assert table[3].tolist() == (9, 1.5, b"w")


def test_nothing_is_appended_from_nothing(store: Any) -> None:
    table = store.create_table("t", ROWS)
    for nothing in (ROWS[:0], [], iter([]), {"a": [], "b": [], "s": []}):
        assert table.append(nothing) == 0
    assert len(table) == 3


def test_a_table_or_a_selection_is_appended_in_blocks(store: Any) -> None:
    table = store.create_table("t", ROWS)
    other = store.create_table("u", table)
    assert other[:].tobytes() == ROWS.tobytes()
    assert other.append(table.where("a > 1")) == 2
    assert other.append(table) == 3
    assert table.append(table) == 3  # of the state before
    assert len(table) == 6


def test_many_rows_come_from_an_iterator_a_row_group_at_a_time(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, given = 150_000, 0
    seen: list[int] = []
    write_pages = table_write.write_pages

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal given
        for given in range(1, n + 1):
            yield given, given / 4, b"x"

    def writing(*args: Any, **options: Any) -> None:
        seen.append(given)
        write_pages(*args, **options)

    monkeypatch.setattr(table_write, "write_pages", writing)
    table = store.create_table("t", rows(), dtype=DTYPE)
    assert seen == [65_536, 131_072, n]
    assert np.array_equal(table["a"][:], np.arange(1, n + 1))
    assert table.info["row_groups"] == 3


def test_missing_fields_take_their_fill_value(store: Any) -> None:
    table = store.create_table("t", dtype=DTYPE, fill_value={"b": np.nan, "s": b"?"})
    table.append({"a": [1, 2]})
    table.append({"a": 3, "s": b"k"})
    assert table["a"][:].tolist() == [1, 2, 3]
    assert np.isnan(table["b"][:]).all()
    assert table["s"][:].tolist() == [b"?", b"?", b"k"]
    with pytest.raises(kist.DTypeError, match="'a' is missing"):
        table.append({"b": 1.0})


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ((1, 2.0), kist.DTypeError, "2 values, the table 3 fields"),
        ((1, 2.0, b"toolong"), kist.DTypeError, "column 's'"),
        ((2**40, 2.0, b"x"), kist.DTypeError, "column 'a'"),
        ((1.5, 2.0, b"x"), kist.DTypeError, "column 'a'"),
        ({"a": 1, "b": 2.0, "s": b"x", "q": 5}, kist.DTypeError, "no field 'q'"),
        ({"a": 1, "b": 2.0}, kist.DTypeError, "'s' is missing"),
        ({"a": [1, 2], "b": [2.0], "s": [b"x"]}, kist.ShapeError, "rows"),
        (np.zeros(3), kist.DTypeError, "no fields"),
        (ROWS.reshape(3, 1), kist.ShapeError, "one-dimensional"),
        (7, kist.DTypeError, "holds no rows"),
        ("text", kist.DTypeError, "holds no rows"),
        (None, kist.DTypeError, "holds no rows"),
        ([1, 2], kist.DTypeError, "row 0"),
        ((1, None, b"x"), kist.DTypeError, "column 'b'|missing"),
    ],
    ids=label,
)
def test_rows_that_do_not_fit_are_refused_and_nothing_is_appended(
    store: Any, data: Any, error: type[Exception], message: str
) -> None:
    table = store.create_table("t", ROWS)
    with pytest.raises(error, match=message):
        table.append(data)
    with store.transaction():
        with pytest.raises(error, match=message):
            table.append(data)
        table.append(ROWS[:1])
    assert len(table) == 4


def test_an_iterator_that_fails_leaves_nothing(store: Any) -> None:
    table = store.create_table("t", ROWS)

    def rows() -> Iterator[Any]:
        yield np.zeros(100_000, DTYPE)
        raise ZeroDivisionError

    def bad() -> Iterator[Any]:
        yield np.zeros(100_000, DTYPE)
        yield (1, 2.0, b"much too long")

    for given, error in ((rows(), ZeroDivisionError), (bad(), kist.DTypeError)):
        with pytest.raises(error):
            table.append(given)
    with pytest.raises(kist.DTypeError, match="row 100000"):
        table.append(bad())
    with store.transaction():
        table.append(ROWS)
        with pytest.raises(ZeroDivisionError):
            table.append(rows())
    assert len(table) == 6
    assert list(table._check_records(table._view())) == []


CREATED: dict[str, tuple[Any, list[Any]]] = {
    "columns": (
        {"x": np.arange(3), "y": ["a", "bcd", ""], "z": [1.5, 2, 3]},
        [("x", "i8"), ("y", "U3"), ("z", "f8")],
    ),
    "objects that are text": (
        {"y": np.array(["a", "bc"], object), "b": np.array([b"a", b"bc"], object)},
        [("y", "O"), ("b", "S2")],
    ),
    "sub-arrays": ({"v": np.zeros((4, 2, 3), "f4")}, [("v", "f4", (2, 3))]),
    "one row": ({"x": 1, "y": "ab"}, [("x", "i8"), ("y", "U2")]),
    "dicts": ([{"x": 1, "y": 2.5}, {"x": 2, "y": 3.5}], [("x", "i8"), ("y", "f8")]),
    "records": (list(ROWS), DTYPE.descr),
    "times": ({"t": np.array(["2020-01-01"], "M8[D]")}, [("t", "M8[D]")]),
}


@pytest.mark.parametrize("kind", CREATED)
def test_the_dtype_of_a_table_comes_from(store: Any, kind: str) -> None:
    data, dtype = CREATED[kind]
    table = store.create_table("t", data)
    assert table.dtype == np.dtype(dtype)
    assert len(table) > 0


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([(1, 2)], kist.DTypeError, "give dtype="),
        (np.zeros(3), kist.DTypeError, "no fields"),
        ({}, kist.DTypeError, "no columns"),
        ({"x": np.array([1, object()], object)}, kist.DTypeError, "'x', row 0|int"),
        ({"x": np.array(["a", 5], object)}, kist.DTypeError, "'x', row 1: int objects"),
        ({"x": ["a", 1]}, kist.DTypeError, "mixes text and numbers"),
        ({"x": [1], "y": [1, 2]}, kist.ShapeError, "'y' has 2 rows"),
        ({1: [1]}, kist.DTypeError, "is a str"),
        (iter([(1, 2)]), kist.DTypeError, "give dtype="),
        (5, kist.DTypeError, "give dtype="),
    ],
    ids=label,
)
def test_data_that_make_no_table_are_refused(
    store: Any, data: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        store.create_table("t", data)
    assert "t" not in store


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, kist.DTypeError, "give data"),
        ({"dtype": "f8"}, kist.DTypeError, "named fields"),
        ({"dtype": [("a", "O")]}, kist.DTypeError, "a"),
        ({"dtype": "i4,f8", "codec": "gzip"}, kist.CodecError, "no codec 'gzip'"),
        ({"dtype": "i4,f8", "codec": {"zz": "fast"}}, kist.ColumnNotFoundError, "'zz'"),
        ({"dtype": "i4,f8", "fill_value": {"zz": 1}}, kist.ColumnNotFoundError, "'zz'"),
        ({"dtype": "i4,f8", "fill_value": {"f0": 1.5}}, kist.DTypeError, "f0"),
    ],
    ids=label,
)
def test_bad_options_make_no_table(
    store: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        store.create_table("t", **options)
    assert "t" not in store


@pytest.mark.parametrize("codec", ["auto", "fast", "balanced", "small", "none", "lz4", "pcodec"])
def test_codecs_are_shown_and_change_nothing_else(store: Any, codec: str) -> None:
    rng = np.random.default_rng(0)
    rows = np.zeros(9_000, DTYPE)
    rows["a"] = np.arange(9_000)
    rows["b"] = rng.integers(0, 100, 9_000) / 100
    table = store.create_table("t", rows, codec={"a": codec, "b": codec})
    assert table[:].tobytes() == rows.tobytes()
    info = table.info["columns"]
    assert info["a"]["codec"] == codec
    assert info["s"]["codec"] == "auto"
    assert info["a"]["encoding"]


def test_a_codec_is_chosen_again_when_the_data_drift(store: Any) -> None:
    n = 20_000
    rng = np.random.default_rng(0)
    table = store.create_table("t", dtype=[("x", "f8")])
    table.append(np.ones(n, [("x", "f8")]))
    first = table.info["columns"]["x"]["encoding"]
    rows = np.zeros(n, [("x", "f8")])
    rows["x"] = np.round(np.cumsum(rng.normal(size=n)), 2)
    table.append(rows)
    second = table.info["columns"]["x"]["encoding"]
    assert first != second
    assert table.nbytes_stored < n * 8 / 3
    assert np.array_equal(table["x"][n:], rows["x"])


def test_frames_become_tables(store: Any) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x": [1, 2], "y": ["a", "bc"], "z": [0.5, 1.5]})
    store["t"] = frame
    assert store["t"].dtype == np.dtype([("x", "i8"), ("y", "O"), ("z", "f8")])
    assert store["t"]["y"].dtype == np.dtypes.StringDType(na_object=np.nan)
    store["t"].append(frame)
    assert store["t"]["y"][:].tolist() == ["a", "bc"] * 2


def test_arrow_tables_become_tables(store: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    store["t"] = pa.table({"x": [1, 2], "y": ["a", "bc"]})
    assert store["t"].dtype == np.dtype([("x", "i8"), ("y", "O")])
    assert store["t"]["y"].dtype == np.dtypes.StringDType(na_object=None)
    store["u"] = pa.table({"x": [1, None]})
    assert store["u"]["x"][:].tolist() == [1, None]
