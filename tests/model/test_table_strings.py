"""Tables with columns of strings of any length, beside lists of dicts that do the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.format.schema import Schema
from kist.model import casts
from kist.model.tables.changes import change as table_change
from kist.model.tables.changes import fold as table_fold
from kist.model.tables.changes import write as table_write
from kist.model.tables.stored import read as table_read
from kist.model.tables.stored import schema as table_schema
from kist.model.tables.stored.layout import forget
from kist.model.tables.stored.rows import PackedRows

PLAIN: Any = np.dtypes.StringDType()
NONE: Any = np.dtypes.StringDType(na_object=None)
NAN: Any = np.dtypes.StringDType(na_object=np.nan)
TEXT: Any = np.dtypes.StringDType(na_object="?")

DTYPE = {"a": "i4", "s": PLAIN, "m": NONE, "n": NAN, "b": "f8"}

WORDS = ["", "a", "ab", "ä", "日本語", "x" * 15, "y" * 40, "q\0r", "end\0", "zebra", "Apfel"]
words = st.one_of(st.sampled_from(WORDS), st.text(st.characters(codec="utf-8"), max_size=6))


@st.composite
def rows(draw: st.DrawFn, most: int = 6) -> list[dict[str, Any]]:
    n = draw(st.integers(0, most)) if draw(st.booleans()) else draw(st.sampled_from([20, 70, 150]))
    seed = draw(st.lists(words, min_size=1, max_size=8))
    base = draw(st.integers(-5, 1000))
    return [
        {
            "a": base + i,
            "s": seed[i % len(seed)] + ("" if i % 3 else str(i)),
            "m": None if (base + i) % 4 == 0 else seed[(3 * i) % len(seed)],
            "n": float("nan") if (base + i) % 5 == 0 else seed[(7 * i) % len(seed)],
            "b": i / 2,
        }
        for i in range(n)
    ]


def shown(value: Any) -> Any:
    return "missing" if value is None or value != value else value


def as_lists(records: Any) -> list[list[Any]]:
    return [[shown(value) for value in row] for row in records.tolist()]


def expected(model: list[dict[str, Any]]) -> list[list[Any]]:
    return [[shown(value) for value in row.values()] for row in model]


def check(table: Any, model: list[dict[str, Any]]) -> None:
    assert len(table) == len(model)
    assert as_lists(table[:]) == expected(model)
    for name, dtype in (("s", PLAIN), ("m", NONE), ("n", NAN)):
        column = table[name][:]
        assert column.dtype == dtype == table[name].dtype
        assert [shown(x) for x in column.tolist()] == [shown(row[name]) for row in model]
    if model:
        assert tuple(map(shown, table[-1].tolist())) == tuple(expected(model[-1:])[0])
        some = list(range(0, len(model), 3))[::-1]
        assert as_lists(table[some]) == expected([model[i] for i in some])
    assert list(table._check_records(table._view())) == []


@pytest.fixture(autouse=True, scope="module")
def small_groups() -> Any:
    """Row groups of 64 rows, and little that they may hold."""
    table_schema._facts.clear()
    with pytest.MonkeyPatch.context() as patch:
        for module in (table_schema, table_read):
            patch.setattr(module, "GROUP_ROWS", 64)
            patch.setattr(module, "BLOCK_ROWS", 8)
        for module in (table_schema, table_fold):
            patch.setattr(module, "PIECE_ROWS", 16)
        for module in (table_write, table_fold):
            patch.setattr(module, "TEXT_BYTES", 1500)
        patch.setattr(casts, "FIRST_ROWS", 3)
        patch.setattr(casts, "BLOCK_BYTES", 2000)
        patch.setattr(table_fold, "FAN_IN", 3)
        patch.setattr(table_fold, "LOOSE_PATCHES", 2)
        patch.setattr(table_change, "PATCH_SHARE", 8)
        patch.setattr(table_write, "MAX_LOOSE", 6)
        yield
    table_schema._facts.clear()


def test_programs_agree_with_a_list_of_dicts(tmp_path_factory: Any) -> None:
    @settings(max_examples=40)
    @given(st.data())
    def programs(data: st.DataObject) -> None:
        path = tmp_path_factory.mktemp("t") / "t.kist"
        store = kist.open(path, "w")
        try:
            table = store.create_table("t", dtype=DTYPE, fill_value={"s": "default"})
            model: list[dict[str, Any]] = []
            for _ in range(data.draw(st.integers(1, 8))):
                step = data.draw(st.sampled_from(STEPS))
                step(data, table, model)
                assert len(table) == len(model)
                if data.draw(st.integers(0, 3)) == 0:
                    store.close()
                    forget()
                    store = kist.open(path, "r+")
                    table = store["t"]
            check(table, model)
            store.close()
            forget()
            store = kist.open(path)
            check(store["t"], model)
            assert store.check().ok
        finally:
            store.close()

    programs()


def append(data: Any, table: Any, model: list[dict[str, Any]]) -> None:
    new = data.draw(rows())
    way = data.draw(
        st.sampled_from(["dicts", "tuples", "columns", "arrays", "iterator", "records"])
    )
    if way == "dicts":
        table.append(new)
    elif way == "tuples":
        table.append([tuple(row.values()) for row in new])
    elif way == "iterator":
        table.append(iter(new))
    elif way == "records":
        records = np.empty(len(new), [(name, table.dtype[name]) for name in DTYPE])
        records[:] = [tuple(row.values()) for row in new]
        table.append(records)
    else:
        columns: dict[str, Any] = {name: [row[name] for row in new] for name in DTYPE}
        if way == "arrays":
            columns |= {name: np.array(columns[name], DTYPE[name]) for name in "smn"}
            columns["m"] = np.array(columns["m"], object)
        table.append(columns)
    model += new


def assign(data: Any, table: Any, model: list[dict[str, Any]]) -> None:
    if not model:
        return
    start = data.draw(st.integers(0, len(model) - 1))
    stop = data.draw(st.integers(start, len(model)))
    where: Any = slice(start, stop, data.draw(st.sampled_from([1, 2, 5])))
    places = list(range(len(model)))[where]
    name = data.draw(st.sampled_from(["s", "m", "n", "rows", "one"]))
    if name == "rows":
        new = [dict(model[0], s=str(i), m=None) for i in range(len(places))]
        if new:
            table[where] = new
        for place, row in zip(places, new, strict=True):
            model[place] = row
    elif name == "one":
        word = data.draw(words)
        table["m"][where] = word
        for place in places:
            model[place] = {**model[place], "m": word}
    else:
        values = [data.draw(words) if i < 3 else f"v{i}" for i in range(len(places))]
        if name != "s" and values:
            values[-1] = None
        if values:
            table[name][places] = values
        for place, value in zip(places, values, strict=True):
            model[place] = {**model[place], name: value}


def delete(data: Any, table: Any, model: list[dict[str, Any]]) -> None:
    gone = sorted({data.draw(st.integers(0, len(model) - 1)) for _ in range(3)}) if model else []
    if data.draw(st.booleans()):
        gone = list(range(len(model) // 4, len(model) // 2))
    if gone:
        table.delete(gone)
    for place in reversed(gone):
        del model[place]


def update(data: Any, table: Any, model: list[dict[str, Any]]) -> None:
    word, new = data.draw(words), data.draw(words)
    n = table.where("m == word", word=word).update({"s": new, "n": "u"})
    hits = [row for row in model if row["m"] == word]
    assert n == len(hits)
    for row in hits:
        row |= {"s": new, "n": "u"}


def where(data: Any, table: Any, model: list[dict[str, Any]]) -> None:
    name = data.draw(st.sampled_from("smn"))
    op = data.draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
    word = data.draw(st.sampled_from([w for w in WORDS if "\0" not in w]))
    found = table.where(f"({name} {op} word) & (a > 3)", word=word)
    test = {"==": str.__eq__, "!=": str.__ne__, "<": str.__lt__, "<=": str.__le__,
            ">": str.__gt__, ">=": str.__ge__}[op]  # fmt: skip
    clean = [row for row in model if not (isinstance(row[name], str) and "\0" in row[name])]
    hits = [
        row
        for row in clean
        if isinstance(row[name], str) and test(row[name], word) and row["a"] > 3
    ]
    # NumPy compares strings with NULs in a way of its own.
    got = [row for row in as_lists(found[:]) if "\0" not in row["asmnb".index(name)]]
    assert got == expected(hits)
    heads = table.where(f"startswith({name}, 'y')").count()
    assert heads == sum(isinstance(r[name], str) and r[name].startswith("y") for r in model)


def add_rows(data: Any, table: Any, model: list[dict[str, Any]]) -> None:
    new = data.draw(rows(most=4))
    with table.appender(rows=7) as add:
        for row in new:
            add({k: v for k, v in row.items() if k != "s"})
    model += [{**row, "s": "default"} for row in new]


STEPS = [append, append, append, assign, delete, update, where, add_rows]


@pytest.fixture
def store() -> Any:
    with kist.open(":memory:") as found:
        yield found


def test_a_table_of_strings_only_is_a_table(store: Any) -> None:
    table = store.create_table("t", dtype={"s": PLAIN, "m": NONE})
    table.append([("a", None), ("b", "c")])
    table.append({"s": [f"s{i}" for i in range(200)], "m": [None] * 200})
    assert table[:3].tolist() == [("a", None), ("b", "c"), ("s0", None)]
    assert table["m"][:].tolist() == [None, "c", *[None] * 200]
    assert store.check().ok


@pytest.mark.parametrize("na_object", [None, np.nan, "?"])
@pytest.mark.parametrize("coerce", [True, False])
def test_the_dtype_of_a_column_comes_back_equal(
    tmp_path: Path, na_object: Any, coerce: bool
) -> None:
    dtype: Any = np.dtypes.StringDType(na_object=na_object, coerce=coerce)
    values = np.array(["a", na_object, "", "?"] * 40, dtype)
    with kist.open(tmp_path / "t.kist", "w") as store:
        store.create_table("t", {"s": values[:5]})
        store["t"].append({"s": values[5:]})
    with kist.open(tmp_path / "t.kist") as store:
        found = store["t"]["s"][:]
        assert found.dtype == dtype
        assert found.dtype.coerce == coerce
        assert list(map(repr, found.tolist())) == list(map(repr, values.tolist()))


def test_arrays_of_strings_may_change_after_they_were_appended(store: Any) -> None:
    table = store.create_table("t", dtype={"s": PLAIN})
    values = np.array(["before"] * 10, PLAIN)
    table.append({"s": values})
    values[:] = "after"
    assert set(table["s"][:].tolist()) == {"before"}
    table["s"][:][0] = "mine"
    assert table["s"][0] == "before"


CREATED: dict[str, tuple[Any, dict[str, Any]]] = {
    "StringDType": ({"s": np.array(["a"], NAN)}, {"s": NAN}),
    "objects": ({"s": np.array(["a", "b"], object)}, {"s": PLAIN}),
    "objects and None": ({"s": ["a", None]}, {"s": NONE}),
    "objects and NaN": ({"s": ["a", float("nan")], "i": [1, 2]}, {"s": NAN, "i": np.dtype("i8")}),
    "records": (
        np.array([(1, "x", None), (2, "y", "z")], [("i", "i2"), ("s", "O"), ("m", "O")]),
        {"i": np.dtype("i2"), "s": PLAIN, "m": NONE},
    ),
    "dicts": ([{"s": "a", "i": 1}, {"s": None, "i": 2}], {"s": NONE, "i": np.dtype("i8")}),
}


@pytest.mark.parametrize("kind", CREATED)
def test_objects_that_are_text_become_strings(store: Any, kind: str) -> None:
    data, dtypes = CREATED[kind]
    table = store.create_table("t", data)
    assert {name: table[name].dtype for name in table.columns} == dtypes
    again = store.create_table("again", table)
    assert {name: again[name].dtype for name in again.columns} == dtypes
    assert again[:].tolist() == table[:].tolist() or "NaN" in kind


@pytest.mark.parametrize(
    "dtype",
    [
        {"a": "i4", "s": PLAIN},
        [("a", "i4"), ("s", PLAIN)],
        [("a", "i4"), ("s", np.dtypes.StringDType)],
        [("a", "i4"), ("s", "T")],
        {"names": ["a", "s"], "formats": ["i4", PLAIN]},
    ],
)
def test_a_dtype_with_strings_is_a_dict_or_pairs(store: Any, dtype: Any) -> None:
    table = store.create_table("t", dtype=dtype)
    assert table.dtype == np.dtype([("a", "i4"), ("s", "O")])
    assert table["s"].dtype == PLAIN
    assert store.require_table("t", dtype=dtype).is_same(table)
    for other in ({"a": "i4", "s": NONE}, [("a", "i4"), ("s", "U5")]):
        with pytest.raises(kist.DTypeError):
            store.require_table("t", dtype=other)


def test_a_dict_of_dtypes_needs_no_strings(store: Any) -> None:
    table = store.create_table("t", dtype={"a": "i4", "b": ("f8", (3,))})
    assert table.dtype == np.dtype([("a", "i4"), ("b", "f8", (3,))])


@pytest.mark.parametrize(
    ("dtype", "says"),
    [
        ([("n", [("a", "i4"), ("s", PLAIN)])], "a column of their own"),
        ([("s", PLAIN, (3,))], "a column of their own"),
        ({"s": np.dtype((PLAIN, (3,)))}, "a column of their own"),
        ({"s": object}, "Python objects"),
        ({}, "at least one column"),
        ({"s": "no such"}, "is no dtype"),
        ([("s", PLAIN), "x"], "pairs"),
    ],
)
def test_dtypes_that_no_table_has_are_refused(store: Any, dtype: Any, says: str) -> None:
    with pytest.raises(kist.DTypeError, match=says):
        store.create_table("t", dtype=dtype)
    assert "t" not in store


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(1, "a", None), (2, None, None)], "row 1, column 's'.*missing"),
        ([(1, "a", None), (2, 5, None)], "row 1, column 's'.*5 is no str"),
        ([(1, "a", None), (2, "b", b"c")], "row 1, column 'm'.*no str"),
        ([(1, "a", "x"), (2, "\ud800", "x")], "row 1, column 's'.*UTF-8"),
        ({"a": [1], "s": np.array(["\ud800"], object), "m": ["a"]}, "row 0, column 's'.*UTF-8"),
        ({"a": [1], "s": np.array([None], NONE), "m": ["a"]}, "row 0, column 's'.*missing"),
        ({"a": [1], "s": np.array([1]), "m": ["a"]}, "'s'.*text and numbers"),
        ({"a": [1], "s": [["a"]], "m": ["a"]}, "'s'.*no str"),
        ({"a": [1], "s": np.array([b"\xff"]), "m": ["a"]}, "'s'.*UTF-8"),
        ({"a": [1], "m": ["a"]}, "'s' is missing"),
    ],
)
def test_what_is_no_text_is_refused_and_nothing_appended(store: Any, rows: Any, says: str) -> None:
    table = store.create_table("t", dtype={"a": "i4", "s": PLAIN, "m": NONE})
    table.append((0, "here", None))
    with pytest.raises(kist.DTypeError, match=says):
        table.append(rows)
    assert table[:].tolist() == [(0, "here", None)]


def test_bad_values_are_not_assigned(store: Any) -> None:
    table = store.create_table("t", {"s": np.array(["a", "b"], PLAIN), "i": [1, 2]})
    for wrong in (None, 5, ["x", None]):
        with pytest.raises(kist.DTypeError):
            table["s"][:] = wrong
    with pytest.raises(kist.DTypeError):
        table[0] = (None, 1)
    with pytest.raises(kist.DTypeError):
        table.where("i == 1").update({"s": 5})
    with pytest.raises(kist.DTypeError):
        table["i"][:] = np.array(["1", "2"], PLAIN)
    assert table[:].tolist() == [("a", 1), ("b", 2)]


def test_strings_go_into_columns_of_fixed_width_and_back(store: Any) -> None:
    table = store.create_table("t", dtype={"u": "U3", "s": NONE})
    table.append({"u": np.array(["abc", "ä"], NONE), "s": np.array(["abc", "ä"])})
    assert table[:].tolist() == [("abc", "abc"), ("ä", "ä")]
    with pytest.raises(kist.DTypeError, match="cut"):
        table.append({"u": np.array(["abcd"], PLAIN), "s": ["x"]})
    with pytest.raises(kist.DTypeError, match="missing"):
        table["u"][:] = np.array([None, "x"], NONE)


def test_extremes_leave_missing_strings_out(store: Any) -> None:
    table = store.create_table("t", {"s": np.array(["b", None, "a", "c"], NONE)})
    assert (table["s"].min(), table["s"].max()) == ("a", "c")
    assert table.where("s > 'a'")["s"].min() == "b"
    with pytest.raises(kist.DTypeError):
        table["s"].sum()
    table[:] = (None,)
    with pytest.raises(ValueError, match="no row"):
        table["s"].max()


def test_long_strings_make_short_row_groups(store: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(table_schema, "PIECE_BYTES", 1000)
    table = store.create_table("t", dtype={"s": PLAIN})
    table.append({"s": ["x" * 400] * 60})
    groups = table._state().layout.groups
    assert all(group.n_rows * 400 <= 1500 for group in groups)
    with store.transaction():
        for i in range(30):
            table.append((f"{i}" * 300,))
    assert table["s"][:].tolist() == ["x" * 400] * 60 + [f"{i}" * 300 for i in range(30)]
    sizes = [sum(map(len, block["s"])) for block in table.blocks()]
    assert max(sizes) <= 2 * 1500 < sum(sizes)
    assert [len(block) for block in table.blocks(50)] == [50, 40]
    hits = table.where("s != 'x'")
    assert max(sum(map(len, block["s"])) for block in hits.blocks()) <= 2 * 1500
    assert [len(block) for block in hits.blocks(50)] == [50, 40]
    assert store.check().ok


def test_pages_are_skipped_by_the_bounds_of_their_strings(store: Any, monkeypatch: Any) -> None:
    table = store.create_table("t", {"s": np.array([f"{i:04}" for i in range(640)], PLAIN)})
    from kist.model.tables.query import find as table_query

    read = []
    search = table_query._search
    monkeypatch.setattr(table_query, "_search", lambda *a: read.append(a[2]) or search(*a))
    assert len(table.where("s == '0100'")[:]) == 1
    assert len(read) == 1


@settings(max_examples=150)
@given(st.integers(0, 10**6), st.integers(0, 255), st.integers(-3, 3))
def test_damaged_rows_with_strings_raise_or_give_rows(at: int, byte: int, more: int) -> None:
    schema = Schema.from_columns([("a", np.dtype("i4")), ("s", PLAIN), ("m", NONE)])
    packed = PackedRows(schema.leaves)
    columns = [np.arange(3), np.array(["a", "ä", ""], PLAIN), np.array([None, "x", "y"], NONE)]
    data = packed.encode(packed.of_columns(columns, 3))
    assert packed.decode(data, 3)["f2"].tolist() == [None, "x", "y"]
    for wrong in (data[:more] if more < 0 else data + bytes(more), data):
        if wrong != data:
            with pytest.raises(kist.CorruptDataError):
                packed.decode(wrong, 3)
    with pytest.raises(kist.CorruptDataError):
        packed.decode(data, 4)
    damaged = bytearray(data)
    damaged[at % len(data)] = byte
    try:
        rows = packed.decode(bytes(damaged), 3)
    except kist.CorruptDataError:
        return
    assert len(rows) == len(rows["f1"].tolist()) == 3
