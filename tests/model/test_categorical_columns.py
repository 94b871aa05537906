"""Categorical columns: codes of a list that grows, enumerations, and what is asked of both."""

from __future__ import annotations

import enum
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas
import pytest
from hypothesis import given, settings

import kist
from kist.format import keys
from kist.format.categorical import sort_of
from kist.format.plain import pack_value
from kist.format.values import pack_record

SIZES = ["small", "medium", "large"]


@pytest.fixture
def store() -> Any:
    with kist.open(":memory:") as found:
        yield found


def make(store: Any, rows: Any = (), **dtypes: Any) -> Any:
    table = store.create_table("t", dtype={"id": "i4", **dtypes})
    if len(rows):
        table.append(rows)
    return table


def with_sizes(store: Any) -> Any:
    rows = [(1, "large"), (2, None), (3, "small"), (4, "medium"), (5, "large")]
    return make(store, rows, s=kist.categorical("str", SIZES, ordered=True))


# What the dtype says


def test_a_dtype_says_of_what_the_categories_are() -> None:
    assert str(sort_of(kist.categorical())) == "categorical str"
    assert str(sort_of(kist.categorical("<M8[s]", ordered=True))) == (
        "ordered categorical datetime64[s]"
    )
    assert str(sort_of(kist.enum(["a"]))) == "enum str"
    assert sort_of(np.dtype([("code", "<u4")])) is None
    assert kist.categorical() != kist.categorical("i4") != kist.categorical("i4", ordered=True)


@pytest.mark.parametrize(
    "make_dtype",
    [
        lambda: kist.categorical([("a", "i4")]),
        lambda: kist.categorical(("i4", (2,))),
        lambda: kist.categorical("c16"),
        lambda: kist.categorical("i4", [1, 1]),
        lambda: kist.categorical("i1", [1000]),
        lambda: kist.categorical("f8", [np.nan]),
        lambda: kist.categorical("str", [1]),
        lambda: kist.enum([]),
        lambda: kist.enum("abc"),
        lambda: kist.enum(["a", "a"]),
        lambda: kist.enum({"a": 1, "b": 1}),
        lambda: kist.enum({"a": 1.5}),
    ],
)
def test_what_cannot_be_a_category_is_refused(make_dtype: Any) -> None:
    with pytest.raises(kist.DTypeError):
        make_dtype()


def test_an_enumeration_keeps_the_numbers_of_its_names(store: Any) -> None:
    class Color(enum.IntEnum):
        RED = 7
        BLUE = -1

    table = make(store, [(1, "RED"), (2, "BLUE")], c=kist.enum(Color))
    assert table["c"].numbers == {"BLUE": -1, "RED": 7}
    assert table["c"].categories.tolist() == ["BLUE", "RED"]
    assert table.where("c > 'BLUE'")["id"][:].tolist() == [1]


def test_an_enumeration_takes_nothing_else_and_changes_nothing(store: Any) -> None:
    rows = [(1, "lo", "first")]
    table = make(store, rows, e=kist.enum(["lo", "hi"]), c=kist.categorical())
    with pytest.raises(kist.DTypeError, match=r"row 1.*'mid' is no category; they are 'lo', 'hi'"):
        table.append([(2, "hi", "new"), (3, "mid", "newer")])
    with pytest.raises(kist.DTypeError, match="'mid' is no category"):
        table["e"][0] = "mid"
    with pytest.raises(kist.DTypeError, match="never grows"):
        table["e"].add_categories(["mid"])
    assert len(table) == 1 and table["c"].categories.tolist() == ["first"]


# Codes are stable, lists grow


def test_codes_stay_what_they_were_while_the_list_grows(path: Path) -> None:
    with kist.open(path, "x") as store:
        table = make(store, c=kist.categorical())
        for number in range(200):
            table.append([(number, f"c{number % 150}")])
        table.where("id >= 100").delete()
    with kist.open(path) as store:
        column = store["t"]["c"]
        assert column.categories.tolist() == [f"c{number}" for number in range(150)]
        assert column.codes[:].tolist() == list(range(100))
        assert store.check().ok


def test_a_new_category_does_not_write_the_others_again(path: Path) -> None:
    many = [f"category number {number:06}" for number in range(20_000)]
    with kist.open(path, "x") as store:
        table = make(store, c=kist.categorical("str", many))
        node, leaf = table._id, 1
        whole = dict(table._view().scan(*keys.categories(node, leaf)))
        for number in range(50):
            table.append((number, f"new {number}"))
        found = dict(table._view().scan(*keys.categories(node, leaf)))
    first = keys.category_run(node, leaf, 1)
    assert found[first] == whole[first]
    assert sum(map(len, found.values())) < 4_000
    assert len(found) < 10


def test_versions_and_rollback_have_their_own_lists(path: Path) -> None:
    with kist.open(path, "x") as store:
        table = make(store, [(1, "a")], c=kist.categorical())
        store.tag("before")
        with pytest.raises(RuntimeError), store.transaction():
            table.append((2, "lost"))
            raise RuntimeError
        table.append((2, "b"))
        table["c"].rename_categories({"a": "A"})
        store.copy("t", "copy")
        store["copy"].append((3, "c"))
        assert table["c"][:].tolist() == ["A", "b"]
        assert table["c"].categories.tolist() == ["A", "b"]
        assert store["copy"]["c"][:].tolist() == ["A", "b", "c"]
    with kist.open(path, version="before") as store:
        assert store["t"]["c"][:].tolist() == ["a"]
        assert store["t"]["c"].categories.tolist() == ["a"]


def test_two_writers_in_turn_give_no_code_twice(path: Path) -> None:
    with kist.open(path, "x") as store:
        make(store, c=kist.categorical())
    with kist.open(path, "r+") as one, kist.open(path, "r+") as other:
        for number in range(6):
            (one, other)[number % 2]["t"].append((number, f"c{number}"))
        assert one["t"]["c"][:].tolist() == [f"c{number}" for number in range(6)]
        assert one["t"]["c"].codes[:].tolist() == list(range(6))


def test_ordered_categories_are_added_by_name_only(store: Any) -> None:
    table = with_sizes(store)
    with pytest.raises(kist.DTypeError, match="add_categories"):
        table.append((6, "huge"))
    table["s"].add_categories(["huge"])
    table.append((6, "huge"))
    assert table["s"].max() == "huge"
    with pytest.raises(kist.DTypeError, match="occurs twice"):
        table["s"].add_categories(["small"])


def test_renaming_wants_a_category_that_is_there_and_a_name_that_is_free(store: Any) -> None:
    table = with_sizes(store)
    table["s"].rename_categories({"small": "large", "large": "small"})  # swapped in one step
    assert table["s"][:].tolist() == ["small", None, "large", "medium", "small"]
    with pytest.raises(kist.DTypeError, match="no category 'tiny'"):
        table["s"].rename_categories({"tiny": "x"})
    with pytest.raises(kist.DTypeError, match="'medium' occurs twice"):
        table["s"].rename_categories({"small": "medium"})


# What is asked


def test_ordered_categories_compare_sort_and_group_by_their_places(store: Any) -> None:
    table = with_sizes(store)
    assert table.where("s > 'small'")["id"][:].tolist() == [1, 4, 5]
    assert table.where("not (s > 'small')")["id"][:].tolist() == [3]
    assert table.where("(s <= 'medium') | (id == 2)")["id"][:].tolist() == [2, 3, 4]
    assert table.where("not ((s > 'small') | (id == 1))")["id"][:].tolist() == [3]
    assert table.sort_by("s")["id"][:].tolist() == [3, 4, 1, 5, 2]
    assert table.sort_by("s", descending=True)["id"][:].tolist() == [1, 5, 4, 3, 2]
    assert table.sort_by("s").limit(2)["id"][:].tolist() == [3, 4]
    assert (table["s"].min(), table["s"].max()) == ("small", "large")
    assert (table["s"].argmin(), table.where("id < 5")["s"].argmax()) == (2, 0)
    groups = table.group_by("s").agg("count", low=("s", "min"))
    assert groups.tolist() == [
        ("small", 1, "small"), ("medium", 1, "medium"), ("large", 2, "large"), (None, 1, None),
    ]  # fmt: skip


def test_what_has_no_place_in_the_order_is_no_answer(store: Any) -> None:
    table = with_sizes(store)
    with pytest.raises(kist.QueryError, match="'tiny' has no place"):
        table.where("s > 'tiny'").count()
    with pytest.raises(kist.QueryError, match="compared with one of them"):
        table.where("s > s").count()
    assert table.where("s == 'tiny'").count() == 0


def test_an_index_is_one_on_codes_and_gives_the_same_rows(store: Any) -> None:
    rng = np.random.default_rng(1)
    texts = np.array([f"k{number}" for number in range(300)])[rng.integers(0, 300, 20_000)]
    table = make(store, {"id": np.arange(20_000), "c": texts}, c=kist.categorical())
    expected = table.where("c == 'k7'").indices()
    assert expected.tolist() == np.flatnonzero(texts == "k7").tolist()
    index = table.create_index("c")
    assert index.columns == ("c",)
    assert "index 'c'" in str(table.where("c == 'k7'").explain())
    assert table.where("c == 'k7'").indices().tolist() == expected.tolist()
    table.append((1, "k7"))
    n = int(np.char.startswith(texts, "k7").sum())
    assert table.where("startswith(c, 'k7')").count() == n + 1
    with pytest.raises(kist.ConstraintError, match="have 'k"):
        table.create_index("c", unique=True, name="only")


def test_a_unique_index_on_categories_names_them_and_lets_missing_ones_be(store: Any) -> None:
    texts = [f"key {n}" for n in range(5_000)] + [None, None]
    table = make(store, {"id": np.arange(5_002), "c": texts}, c=kist.categorical())
    table.create_index("c", unique=True)
    table.append((7, None))
    table.append((8, "key 5000"))
    with pytest.raises(kist.ConstraintError, match="'key 17'"):
        table.append((9, "key 17"))
    with pytest.raises(kist.ConstraintError, match="'key 5000'"):
        table.where("c == 'key 3'").update({"c": "key 5000"})
    assert len(table) == 5_004
    assert table.where("c == 'key 17'").indices().tolist() == [17]
    assert store.check().ok


def test_statistics_of_codes_prune_pages(store: Any) -> None:
    texts = np.repeat(["a", "b", "c"], 70_000)
    table = make(store, {"id": np.arange(210_000), "c": texts}, c=kist.categorical())
    told = table.where("c == 'c'").explain()
    assert told.n_pruned >= 1
    assert table.where("c == 'c'").count() == 70_000


# Hostile and damaged


def put(store: Any, table: Any, first: int, value: Any) -> None:
    with table._write() as txn:
        txn.put(keys.category_run(table._id, 1, first), pack_record(pack_value(value)))


@pytest.mark.parametrize(
    ("first", "value", "told"),
    [
        (1, ["a"], "stands for|code 2"),
        (3, ["c", "a"], "occurs twice"),
        (4, ["c"], "a run begins at 4"),
        (3, [b"c"], "is text"),
        (3, 5, "is no list"),
    ],
)
def test_lists_that_do_not_fit_are_damage_and_found_by_check(
    store: Any, first: int, value: Any, told: str
) -> None:
    table = make(store, [(1, "a"), (2, "b")], c=kist.categorical("str", ["a", "b"]))
    put(store, table, first, value)
    with pytest.raises(kist.CorruptDataError, match=told):
        table["c"][:]
    assert not store.check().ok


def test_salvage_leaves_codes_where_the_list_is_lost(path: Path, tmp_path: Path) -> None:
    with kist.open(path, "x") as store:
        table = make(store, [(1, "a"), (2, None)], c=kist.categorical())
        put(store, table, 1, ["a", "a"])
    report = kist.salvage(path, tmp_path / "out.kist")
    assert "categories are lost" in str(report)
    with kist.open(tmp_path / "out.kist") as store:
        assert store["t"]["c"][:]["code"].tolist() == [1, 0]
        assert store.check().ok


def test_salvage_keeps_whole_lists(path: Path, tmp_path: Path) -> None:
    with kist.open(path, "x") as store:
        with_sizes(store)
    kist.salvage(path, tmp_path / "out.kist")
    with kist.open(tmp_path / "out.kist") as store:
        assert store["t"].where("s > 'small'")["id"][:].tolist() == [1, 4, 5]


# Schema


def test_casts_to_another_list_give_codes_anew(store: Any) -> None:
    texts = ["b", "a", "b", "c"] * 2_000
    table = make(store, {"id": np.arange(8_000), "c": texts}, c=kist.categorical("U1"))
    table.cast_column("c", kist.categorical("U1"))  # says nothing of a list: nothing changes
    assert table["c"].categories.tolist() == ["b", "a", "c"]
    table.cast_column("c", kist.categorical("U1", ["x", "c"]))
    assert table["c"].categories.tolist() == ["x", "c", "b", "a"]
    table.cast_column("c", kist.categorical("U1", ["c", "b", "a"], ordered=True))
    assert table["c"].codes[:4].tolist() == [1, 2, 1, 0]
    with pytest.raises(kist.DTypeError, match="is no category"):
        table.cast_column("c", kist.categorical("U1", ["a", "b"], ordered=True))
    assert table["c"].categories.tolist() == ["c", "b", "a"]
    assert table["c"][:].tolist() == texts
    assert store.check().ok


def test_columns_are_cast_to_categories_and_back(store: Any) -> None:
    texts = ["b", "a", "b", "c"] * 2_000
    table = make(store, {"id": np.arange(8_000), "c": texts}, c="U3")
    table.cast_column("c", kist.categorical())
    assert table["c"].categories.tolist() == ["b", "a", "c"]
    assert table["c"][:].tolist() == texts
    with pytest.raises(kist.DTypeError, match="is no category"):
        table.cast_column("c", kist.enum(["a", "b"]))
    table.cast_column("c", kist.enum(["c", "b", "a"]))
    assert table["c"].codes[:4].tolist() == [1, 2, 1, 0]
    table.cast_column("c", "U1")
    assert table["c"][:].tolist() == texts
    node = table._id
    assert not list(table._view().scan(*keys.prefix_range(keys.node(node)[:8] + b"Y")))
    assert store.check().ok


def test_columns_come_with_a_constant_values_and_a_default(store: Any) -> None:
    table = make(store, {"id": np.arange(5_000)})
    table.add_column("c", "same", dtype=kist.categorical())
    table.add_column("d", ["x", None] * 2_500, dtype=kist.categorical(), fill_value="new")
    table.append({"id": [1]})
    assert table[-1].tolist() == (1, "same", "new")
    assert table["c"].codes[:3].tolist() == [0, 0, 0]
    assert table["d"].categories.tolist() == ["x", "new"]
    table.rename_column("c", "cc")
    table.reorder(["d", "cc", "id"])
    table["cc"][0] = "other"
    assert table["cc"][:2].tolist() == ["other", "same"]
    table.drop_column("d")
    assert table.columns == ("cc", "id") and store.check().ok
    with pytest.raises(kist.DTypeError, match="no categories"):
        table.add_column("e", kist.expr("id + 1"), dtype=kist.categorical("i8"))


def test_a_computed_column_follows_the_values_of_categories(store: Any) -> None:
    table = make(store, [(1, "ab"), (2, "b")], c=kist.categorical())
    table.add_column("has", kist.expr("startswith(c, 'a')"))
    table.add_column("now", "contains(c, 'b')", virtual=True)
    table.append((3, "xy"))
    table["c"][1] = "a"
    assert table["has"][:].tolist() == [True, True, False]
    assert table["now"][:].tolist() == [True, False, False]


def test_nothing_else_is_taken_for_a_category(store: Any) -> None:
    plain = np.array([((3,),)], [("c", [("code", "<u4")])])
    store["plain"] = plain
    assert store["plain"]["c"][:]["code"].tolist() == [3]
    with pytest.raises(kist.DTypeError, match="no categories"):
        _ = store["plain"]["c"].categories
    with pytest.raises(kist.DTypeError):
        store.create_table("n", dtype=[("a", [("b", kist.categorical())])])
    with pytest.raises(kist.DTypeError, match="part of a category"):
        make(store, [(1, 5)], n=kist.categorical("i4"))["n.value"][0] = 7


# Frames


def frame() -> Any:
    days = pandas.to_datetime(["2020-01-01", "2021-01-01", "2020-01-01", None])
    return pandas.DataFrame(
        {
            "a": pandas.Categorical(["x", "y", None, "x"], categories=["y", "x", "unused"]),
            "o": pandas.Categorical(["lo", "hi", "hi", None], ["lo", "mid", "hi"], ordered=True),
            "i": pandas.Categorical([3, 1, None, 3]),
            "d": pandas.Categorical(days),
        }
    )


def test_pandas_gets_back_its_categoricals(store: Any) -> None:
    store["t"] = frame()
    table = store["t"]
    pandas.testing.assert_frame_equal(table.to_pandas(), frame())
    pandas.testing.assert_series_equal(table["o"].to_pandas(), frame()["o"])
    table.append(frame()[::-1])
    both = pandas.concat([frame(), frame()[::-1]], ignore_index=True)
    pandas.testing.assert_frame_equal(table.to_pandas(), both)
    store["u"] = frame().set_index("a")
    pandas.testing.assert_frame_equal(store["u"].to_pandas(), frame().set_index("a"))
    some = table.where("o == 'hi'").to_pandas()
    assert some["o"].tolist() == ["hi", "hi", "hi", "hi"]


def test_arrow_dictionaries_come_and_go(store: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    store["t"] = frame()
    found = store["t"].to_arrow()
    assert found.schema.field("o").type.ordered and pa.types.is_dictionary(found["a"].type)
    store["u"] = found
    assert store["u"].to_arrow().equals(found)
    assert store["u"]["a"].categories.tolist() == ["y", "x", "unused"]
    nulls = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["v", None]))
    store["v"] = pa.table({"c": nulls})
    assert store["v"]["c"][:].tolist() == ["v", None, None]


def test_polars_categoricals_and_enums_come_and_go(store: Any) -> None:
    pl = pytest.importorskip("polars")
    found = pl.DataFrame(
        {
            "c": pl.Series(["b", "a", None], dtype=pl.Categorical),
            "e": pl.Series(["q", "r", None], dtype=pl.Enum(["r", "q", "z"])),
        }
    )
    store["t"] = found
    assert store["t"]["e"].categories.tolist() == ["r", "q", "z"]
    back = store["t"].to_polars()
    assert back.equals(found) and back.schema == found.schema
    assert store["t"]["e"].to_polars().dtype == found.schema["e"]


def test_rows_of_another_table_bring_their_categories(store: Any) -> None:
    table = with_sizes(store)
    store["u"] = table.where("id > 2")
    assert store["u"]["s"].categories.tolist() == SIZES
    assert store["u"].where("s > 'small'")["id"][:].tolist() == [4, 5]
    store.create_table("w", dtype={"id": "i4", "s": kist.categorical("str", ["large"])})
    store["w"].append(table[:])
    assert store["w"]["s"][:].tolist() == table["s"][:].tolist()


# Programs, against pandas

VALUES = st.sampled_from(["a", "b", "c", "", "dät", None])


@st.composite
def programs(draw: st.DrawFn) -> list[Any]:
    step = st.one_of(
        st.tuples(st.just("append"), st.lists(VALUES, max_size=8)),
        st.tuples(st.just("many"), st.integers(1, 3)),
        st.tuples(st.just("set"), st.integers(0, 60), VALUES),
        st.tuples(st.just("update"), VALUES, VALUES),
        st.tuples(st.just("delete"), VALUES),
        st.just(("reopen",)),
        st.just(("rollback",)),
        st.just(("tag",)),
        st.just(("cast",)),
        st.tuples(st.just("rename"), st.sampled_from("ab")),
    )
    return draw(st.lists(step, min_size=1, max_size=9))


def agrees(table: Any, expected: Any) -> None:
    values = expected.tolist()
    assert table["c"][:].tolist() == [None if value is np.nan else value for value in values]
    assert table["id"][:].tolist() == list(range(len(values)))
    known = table["c"].categories.tolist()
    codes = table["c"].codes[:].tolist()
    assert [None if code < 0 else known[code] for code in codes] == table["c"][:].tolist()
    for value in ["a", "", "dät", "zz"]:
        assert table.where("c == v", v=value).count() == values.count(value)
        there = sum(isinstance(one, str) and one != value for one in values)
        assert table.where("c != v", v=value).count() == there
        assert table.where("not (c == v)", v=value).count() == there
    assert table.where("isnull(c)").count() == sum(not isinstance(one, str) for one in values)
    late = [one for one in values if isinstance(one, str) and one > "a"]
    assert table.where("c > 'a'").count() == len(late)
    some = sorted(one for one in values if isinstance(one, str))
    assert [one for one in table.sort_by("c")["c"][:].tolist() if one is not None] == some
    groups = {row[0]: row[1] for row in table.group_by("c").agg("count").tolist()}
    assert groups == {
        key: sum((one if isinstance(one, str) else None) == key for one in values)
        for key in {one if isinstance(one, str) else None for one in values}
    }


@settings(max_examples=25)
@given(programs())
def test_random_programs_agree_with_a_categorical_of_pandas(program: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.kist"
        store = kist.open(path, "x")
        table = make(store, c=kist.categorical())
        expected = pandas.Series([], dtype=object)
        tagged = None
        for name, *args in program:
            if name in ("append", "many"):
                new = args[0] if name == "append" else ["a", None, "b", "m"] * 1_100 * args[0]
                table.append({"id": np.arange(len(new)) + len(table), "c": new} if new else [])
                expected = pandas.Series([*expected, *new], dtype=object)
            elif name == "set" and args[0] < len(table):
                table["c"][args[0]] = args[1]
                expected[args[0]] = args[1]
            elif name in ("update", "delete"):
                asked = table.where("isnull(c)" if args[0] is None else f"c == {args[0]!r}")
                hit = expected.isna() if args[0] is None else expected == args[0]
                if name == "update":
                    asked.update({"c": args[1]})
                    expected = expected.where(~hit, args[1])
                else:
                    asked.delete()
                    expected = expected[~hit].reset_index(drop=True)
                    table["id"][:] = np.arange(len(table))
            elif name == "reopen":
                store.close()
                store = kist.open(path, "r+")
                table = store["t"]
            elif name == "rollback":
                with pytest.raises(RuntimeError), store.transaction():
                    table.append({"id": [0], "c": ["never"]})
                    table["c"][0] = "never either"
                    raise RuntimeError
            elif name == "tag" and tagged is None:
                store.tag("then")
                tagged = expected.copy()
            elif name == "cast":
                table.cast_column("c", np.dtypes.StringDType(na_object=None))
                table.cast_column("c", kist.categorical())
            elif name == "rename" and args[0] in table["c"].categories.tolist():
                names = table["c"].categories.tolist()
                if args[0] + "!" not in names:
                    table["c"].rename_categories({args[0]: args[0] + "!"})
                    expected = expected.where(expected != args[0], args[0] + "!")
            agrees(table, expected)
        assert store.check().ok
        store.close()
        if tagged is not None:
            with kist.open(path, version="then") as old:
                assert old["t"]["c"][:].tolist() == [
                    one if isinstance(one, str) else None for one in tagged.tolist()
                ]


# Parts


@pytest.mark.parametrize("order", [[0], [0, 1], [1, 0], [0, 0]])
def test_parts_without_a_category_are_merged_and_split(tmp_path: Path, order: list[int]) -> None:
    rows = [[], [(1, "fig"), (2, None)]]
    names = [tmp_path / "0.kist", tmp_path / "1.kist"]
    for name, some in zip(names, rows, strict=True):
        with kist.open(name, "w") as part:
            make(part, some, c=kist.categorical("str"))
    kist.merge([names[number] for number in order], tmp_path / "whole.kist")
    with kist.open(tmp_path / "whole.kist") as whole:
        assert whole["t"]["c"][:].tolist() == ["fig", None] * (1 in order)
        assert whole.check().ok
    kist.split(names[0], "t", parts=1, out=tmp_path / "part-{}.kist")


def test_parts_keep_their_categories_and_only_like_ones_are_merged(tmp_path: Path) -> None:
    texts = np.array(["b", "a", "c", "d"])[np.arange(10_000) % 4]
    with kist.open(tmp_path / "t.kist", "x") as store:
        make(
            store,
            {"id": np.arange(10_000), "c": texts, "e": ["x"] * 10_000},
            c=kist.categorical(),
            e=kist.enum(["x", "y"]),
        )
    parts = kist.split(tmp_path / "t.kist", "t", parts=3)
    with kist.open(parts[0], "r+") as store:
        assert store["t"]["c"].categories.tolist() == ["b", "a", "c", "d"]
    with kist.open(parts[1], "r+") as store:
        store["t"].append((1, "new", "y"))
    kist.merge(parts, tmp_path / "whole.kist")
    with kist.open(tmp_path / "whole.kist") as store:
        assert store["t"].where("c == 'a'").count() == 2_500
        assert store["t"].where("c == 'new'")["e"][:].tolist() == ["y"]
        assert store.check().ok


@pytest.mark.parametrize("few", [False, True])
def test_parts_with_other_lists_are_merged_by_value(tmp_path: Path, few: bool) -> None:
    n = 50 if few else 70_000
    rng = np.random.default_rng(n)
    paths, expected = [], []
    for part, words in enumerate((["b", "a"], ["c", "a", "b"], ["a", "d"], ["a", "b"])):
        texts = [words[at] if at < len(words) else None for at in rng.integers(0, 4, n)]
        paths.append(tmp_path / f"{part}.kist")
        with kist.open(paths[-1], "x") as store:
            table = make(store, {"id": np.arange(n), "c": texts}, c=kist.categorical())
            table.where("id == 3").update({"c": "z"})  # a patch, and one more category
            texts[3] = "z"
            table.where("id == 5").delete()
            del texts[5]
        expected += texts
    kist.merge(paths, tmp_path / "whole.kist")
    with kist.open(tmp_path / "whole.kist") as store:
        table = store["t"]
        assert table["c"][:].tolist() == expected
        assert sorted(table["c"].categories.tolist()) == ["a", "b", "c", "d", "z"]
        for word in "abcdz":
            right = [at for at, text in enumerate(expected) if text == word]
            assert table.where(f"c == '{word}'").indices().tolist() == right
        assert store.check().ok


def test_lists_whose_order_means_something_are_not_mixed(tmp_path: Path) -> None:
    paths = [tmp_path / "a.kist", tmp_path / "b.kist"]
    for path, words in zip(paths, (["low", "high"], ["high", "low"]), strict=True):
        with kist.open(path, "x") as store:
            dtype = kist.categorical(str, categories=words, ordered=True)
            make(store, {"id": np.arange(2), "c": ["low", "high"]}, c=dtype)
    with pytest.raises(kist.DTypeError, match="this order means something"):
        kist.merge(paths, tmp_path / "no.kist")


@pytest.mark.parametrize("names", [["lo", "hi"], ("lo",), enum.Enum("Level", "lo hi")])
def test_names_in_place_of_a_dtype_are_told_what_has_them(names: Any) -> None:
    with pytest.raises(kist.DTypeError, match=r"kist\.enum\("):
        kist.categorical(names)
