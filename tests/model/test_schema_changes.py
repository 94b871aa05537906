"""Columns that come, go and change: what it costs, what is refused, what others see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import (
    ColumnNotFoundError,
    DTypeError,
    NodeNameError,
    QueryError,
    ShapeError,
    TooLargeError,
)
from kist.format import keys
from kist.model.tables.changes import rewrite

ROWS = np.array(
    [(i, i / 2, f"s{i}".encode()) for i in range(70_000)], [("a", "i4"), ("b", "f8"), ("s", "S6")]
)


@pytest.fixture
def store() -> Any:
    with kist.open(":memory:") as opened:
        yield opened


def table_of(store: kist.Store) -> Any:
    store["t"] = ROWS
    store["t"].append(ROWS[:9])
    return store["t"]


def records(table: Any) -> dict[bytes, bytes]:
    with table.store._session.engine.snapshot() as view:
        return dict(view.scan(*keys.whole_node(table._id)))


CHEAP: dict[str, Callable[[Any], Any]] = {
    "constant": lambda t: t.add_column("x", 5),
    "virtual": lambda t: t.add_column("x", "a + b", virtual=True),
    "rename": lambda t: t.rename_column("a", "x"),
    "reorder": lambda t: t.reorder(["s", "a", "b"]),
    "default": lambda t: setattr(t["a"], "fill_value", 3),
}


@pytest.mark.parametrize("name", CHEAP)
def test_changes_of_the_schema_alone_write_one_record(store: Any, name: str) -> None:
    table = table_of(store)
    before = records(table)
    CHEAP[name](table)
    after = records(table)
    assert {k for k in before | after if before.get(k) != after.get(k)} == {keys.schema(table._id)}


def test_dropping_a_column_deletes_its_pages_and_attributes_only(store: Any) -> None:
    table = table_of(store)
    table["b"].attrs["unit"] = "V"
    before = records(table)
    table.drop_column("b")
    after = records(table)
    gone = before.keys() - after.keys()
    assert {keys.kind_of(key) for key in gone} == {b"P", b"A"}
    assert after.items() - before.items() == {
        (keys.schema(table._id), after[keys.schema(table._id)])
    }


def test_constants_prune_and_count_as_values_do(store: Any) -> None:
    table = table_of(store)
    table.add_column("n", np.nan)
    table.add_column("k", 5)
    assert table.where("k > 4").count() == len(table)
    assert table.where("k > 5").count() == table.where("n > 0").count() == 0
    assert np.isnan(table["n"][:]).all()
    assert table["k"].sum() == 5 * len(table)
    table["k"][7] = 6
    assert table.where("k > 5").indices().tolist() == [7]


def test_pages_that_came_later_count_in_older_row_groups(store: Any) -> None:
    table = table_of(store)
    table.add_column("k", 5)
    table["k"][100:60_000] = 8  # the first row group gets a page, the second needs none
    expected = np.full(len(table), 5)
    expected[100:60_000] = 8
    for dtype in ("i8", "f8"):
        table.cast_column("k", dtype)
        assert (table["k"][:] == expected).all()
        assert table.where("k == 8").count() == 59_900
    assert store.check().ok


BAD: dict[str, tuple[type[Exception], str, Callable[[Any], Any]]] = {
    "exists": (DTypeError, "already a column 'a'", lambda t: t.add_column("a", 1)),
    "no name": (NodeNameError, "1 to 255 bytes", lambda t: t.add_column("", 1)),
    "other form": (DTypeError, "two Unicode", lambda t: t.add_column("e\u0301", 1)),
    "field": (DTypeError, "only whole columns", lambda t: t.add_column("n.z", 1)),
    "drop field": (DTypeError, "only whole columns", lambda t: t.drop_column("n.x")),
    "rename field": (DTypeError, "only whole", lambda t: t.rename_column("n.x", "y")),
    "unknown": (ColumnNotFoundError, "did you mean 'flag'", lambda t: t.drop_column("flga")),
    "used": (DTypeError, "'sum' is computed", lambda t: t.drop_column("a")),
    "taken": (DTypeError, "already", lambda t: t.rename_column("a", "b")),
    "lossy": (DTypeError, "unsafe=True", lambda t: t.cast_column("b", "i4")),
    "text": (DTypeError, "which would fail", lambda t: t.cast_column("a", "U9")),
    "too narrow": (DTypeError, "does not hold every", lambda t: t.cast_column("sum", "i1")),
    "few": (ShapeError, "3 values for 10 rows", lambda t: t.add_column("x", [1, 2, 3])),
    "many": (ShapeError, "more than 10", lambda t: t.add_column("x", iter([np.zeros(11)]), "f4")),
    "late": (ShapeError, "4 values", lambda t: t.add_column("x", iter([np.zeros(4)]), "f4")),
    "overflow": (DTypeError, "row 9", lambda t: t.add_column("x", np.arange(247, 257), "u1")),
    "no value": (DTypeError, "10 rows that are there", lambda t: t.add_column("x", "f8")),
    "no dtype": (DTypeError, "give dtype= too", lambda t: t.add_column("x", "AAPL")),
    "nothing": (DTypeError, "give values", lambda t: t.add_column("x")),
    "name": (QueryError, "unknown column 'z'", lambda t: t.add_column("x", "z + 1", virtual=True)),
    "itself": (QueryError, "unknown", lambda t: t.add_column("x", "x + 1", virtual=True)),
    "constant": (QueryError, "no column", lambda t: t.add_column("x", kist.expr("1 + 2"))),
    "value": (QueryError, "from an expression", lambda t: t.add_column("x", 5, virtual=True)),
    "default": (DTypeError, "no fill_value",
                lambda t: t.add_column("x", kist.expr("a"), fill_value=1)),
    "position": (DTypeError, "position 99", lambda t: t.add_column("x", 1, position=99)),
    "codec": (kist.errors.CodecError, "add column", lambda t: t.add_column("x", 1, codec="zip")),
    "half-way": (DTypeError, "row 9", lambda t: t.add_column("x", kist.expr("a * 15"), "i1")),
    "missing": (DTypeError, "is missing", lambda t: t.reorder(["a", "b"])),
    "twice": (DTypeError, "twice", lambda t: t.reorder([*t.columns, "a"])),
    "give": (DTypeError, "leave it out", lambda t: t.append({"a": 1, "b": 2.0, "sum": 3.0})),
    "assign": (DTypeError, "cannot be given", lambda t: t["sum"].__setitem__(0, 1)),
    "update": (DTypeError, "cannot be given", lambda t: t.update({"deep": 1})),
    "key": (DTypeError, "cannot be given", lambda t: t.upsert([(1, 2.0)], on="sum")),
    "keep": (DTypeError, "it has none", lambda t: t["a"].__delattr__("expression")),
    "virtual": (DTypeError, "no values of its own", lambda t: t["sum"].__delattr__("expression")),
    "fill": (DTypeError, "outside 0", lambda t: setattr(t["flag"], "fill_value", 300)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_and_changes_nothing(store: Any, name: str) -> None:
    table: Any = store.create_table("t", ROWS[["a", "b"]][:10])
    table.add_column("flag", 0, "u1")
    table.add_column("n", (1, 2.0), [("x", "i4"), ("y", "f8")])
    table.add_column("sum", "a + b", virtual=True)
    table.add_column("deep", kist.expr("sum * 2"))
    table.add_column("\u00e9", 1)
    error, text, change = BAD[name]
    before, rows = records(table), table[:]
    with pytest.raises(error, match=text):
        change(table)
    with pytest.raises(error, match=text), store.transaction():
        change(table)
    assert records(table) == before
    assert (table[:] == rows).all()


def test_the_last_column_stays(store: Any) -> None:
    table = store.create_table("t", dtype=[("a", "i4")])
    with pytest.raises(DTypeError, match="the only column"):
        table.drop_column("a")


def test_wide_columns_of_long_row_groups_are_refused(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(store)
    monkeypatch.setattr(rewrite, "MAX_PAGE_BYTES", 1 << 20)
    with pytest.raises(TooLargeError, match="row groups"):
        table.add_column("x", np.zeros((len(table), 3)))


def test_tags_and_other_handles_show_what_they_pinned(path: Path) -> None:
    with kist.open(path, "w") as store:
        table = table_of(store)
        store.tag("first")
        with kist.open(path) as reader:
            table.drop_column("b")
            table.add_column("b", b"other", "S5")
            table.cast_column("a", "i8")
            table.append([(1, b"x", b"y")])
            assert (reader["t"][:5] == ROWS[:5]).all() and len(reader["t"]) == 70_009
            reader.refresh()
            assert reader["t"].columns == ("a", "s", "b")
            assert reader["t"]["b"][-2:].tolist() == [b"other", b"y"]
    with kist.open(path, version="first") as old:
        assert (old["t"][:70_000] == ROWS).all()
        assert old.check().ok


def test_rows_that_wait_in_an_appender_follow_the_columns(store: Any) -> None:
    table = store.create_table("t", dtype=[("a", "i4"), ("b", "f8")])
    with table.appender(rows=100) as add:
        add((1, 2.0))
        table.add_column("c", 7, position=0)
        table.add_column("d", "a + b", virtual=True)
        add({"a": 2, "b": 3.0})
        table.reorder(["b", "d", "a", "c"])
    assert table[:].tolist() == [(2.0, 3.0, 1, 7), (3.0, 5.0, 2, 7)]


def test_stored_columns_follow_every_change(store: Any) -> None:
    table: Any = store.create_table("t", ROWS[["a", "b"]][:9000])
    table.add_column("v", "a * 2", virtual=True)
    table.add_column("w", kist.expr("v + b"), "f8")
    table.update({"a": kist.expr("a + 1")})
    table.where("a < 20").update({"b": 0.0})
    table.insert(3, [(100, 1.0)])
    table.upsert([(100, 4.0), (-1, 1.0)], on="a")
    for row in table.where("a == 50"):
        row["b"] = 9.0
        row.update()
    table.cast_column("b", "f4", unsafe=True)
    rows = table[:]
    assert (rows["w"] == rows["a"] * 2 + rows["b"]).all()
    assert (rows["v"] == rows["a"] * 2).all()
    del table["w"].expression
    table["w"][0] = -1.0
    assert table["w"][0] == -1.0 and table["w"].expression is None


def test_frames_and_listings_have_the_new_columns(store: Any) -> None:
    pd, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    times = pd.date_range("2026-01-01", periods=4, tz="Europe/Berlin")
    frame = pd.DataFrame({"time": times, "x": [1.0, 2.0, 3.0, 4.0]})
    store["t"] = frame
    table = store["t"]
    table.rename_column("time", "when")
    table.add_column("y", "x * 2", virtual=True)
    table.add_column("text", "one", np.dtypes.StringDType())
    expected = frame.rename(columns={"time": "when"}).assign(y=frame["x"] * 2)
    assert table[["when", "x", "y"]].to_pandas().equals(expected)
    assert table.where("y > 4").to_pandas()["y"].tolist() == [6.0, 8.0]
    arrow = table.to_arrow()
    assert arrow.column_names == ["when", "x", "y", "text"]
    assert arrow["y"].to_pylist() == [2.0, 4.0, 6.0, 8.0]
    assert pa.types.is_timestamp(arrow.schema.field("when").type)
    assert "virtual" in repr(table) and "x * 2" in repr(table.info)
    table.append(frame.rename(columns={"time": "when"}).assign(text="two"))
    assert table["y"][-1] == 8.0 and table["text"][-1] == "two"
    table.drop_column("when")
    table.add_column("when", np.datetime64("2026-01-01", "ns"))
    assert table.to_arrow().schema.field("when").type.tz is None


def test_fields_of_structured_columns_serve_expressions_and_follow_renames(store: Any) -> None:
    table: Any = store.create_table("t", dtype=[("n", [("x", "i4"), ("y", "f4")]), ("k", "i4")])
    table.append([((1, 0.5), 2), ((3, 1.5), 4)])
    table.add_column("sum", kist.expr("n.x + k"), "i8")
    table.rename_column("n", "my column")
    assert repr(table["sum"].expression) == "col('my column.x') + k"
    table["my column.x"] = [10, 20]
    assert table["sum"][:].tolist() == [12, 24]
    table.cast_column("my column", [("y", "f8"), ("x", "i8")])
    assert table["my column"][:].tolist() == [(0.5, 10), (1.5, 20)]
    assert table["sum"][:].tolist() == [12, 24]


def test_salvage_and_backup_keep_columns_that_came_later(path: Path, tmp_path: Path) -> None:
    with kist.open(path, "w") as store:
        table = table_of(store)
        table.add_column("k", 5)
        table.drop_column("s")
        table.add_column("v", "a + k", virtual=True)
        table.append([(1, 2.0, 3)])
        rows = table[:]
        store.backup(tmp_path / "b.kist", compact=True)
    report = kist.salvage(path, tmp_path / "s.kist")
    assert not report.losses if hasattr(report, "losses") else report
    for name in ("b.kist", "s.kist"):
        with kist.open(tmp_path / name) as copy:
            assert (copy["t"][:] == rows).all() and copy.check().ok
