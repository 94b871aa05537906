"""Nullable columns: what is missing stays missing, whatever is done with the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist

pd = pytest.importorskip("pandas")

ROW = [("id", "i8"), ("x", kist.nullable("i4")), ("y", kist.nullable("f8"))]


@pytest.fixture
def store() -> Iterator[kist.Store]:
    with kist.open(":memory:") as opened:
        yield opened


def filled(store: kist.Store, rows: Any) -> kist.Table:
    table = store.create_table("t", dtype=ROW)
    table.append(rows)
    return table


def values(array: Any) -> list[Any]:
    """Return the values of a masked array, None for what is masked."""
    assert isinstance(array, np.ma.MaskedArray)
    return list(array.tolist())


# The dtype


@pytest.mark.parametrize("dtype", ["i1", ">i4", "u8", "f4", "c16", "?", "M8[D]", "S3", "U2", "V2"])
def test_every_dtype_of_fixed_width_comes_back_with_its_nulls(store: Any, dtype: str) -> None:
    given_values = np.ma.MaskedArray(np.zeros(3, dtype), mask=[False, True, False])
    t = store.create_table("t", {"v": given_values})
    back = t["v"][:]
    assert back.dtype == np.dtype(dtype)
    assert back.mask.tolist() == [False, True, False]
    assert back.compressed().tobytes() == given_values.compressed().tobytes()


@pytest.mark.parametrize("dtype", [np.dtypes.StringDType(), "i4,f8", ("i4", (2,)), "O", "nonsense"])
def test_other_dtypes_are_refused(dtype: Any) -> None:
    with pytest.raises(kist.DTypeError, match="nullable"):
        kist.nullable(dtype)


def test_nullable_twice_is_nullable() -> None:
    assert kist.nullable(kist.nullable("i4")) == kist.nullable("i4")


def test_a_structured_column_with_the_same_names_is_not_nullable(store: Any) -> None:
    t = store.create_table("t", dtype=[("x", [("value", "i4"), ("valid", "?")])])
    t.append({"x": np.zeros(2, t.dtype["x"])})
    assert not isinstance(t["x"][:], np.ma.MaskedArray)


# In


@pytest.mark.parametrize(
    "column",
    [
        [1, None, 3],
        [1, pd.NA, 3],
        [1, np.ma.masked, 3],
        np.ma.MaskedArray([1, 2, 3], [False, True, False]),
        np.array([1, None, 3], object),
        pd.array([1, None, 3], dtype="Int64"),
        [(1, True), (2, False), (3, True)],
    ],
    ids=["None", "NA", "masked", "masked array", "objects", "pandas", "pairs"],
)
def test_what_is_missing_is_null(store: Any, column: Any) -> None:
    t = filled(store, {"id": [1, 2, 3], "x": column, "y": [None, 2.5, None]})
    assert values(t["x"][:]) == [1, None, 3]
    assert values(t["y"][:]) == [None, 2.5, None]
    assert t[:]["x"]["value"].tolist() == [1, 0, 3]


def test_nan_is_a_value_and_no_null(store: Any) -> None:
    t = filled(store, [(1, None, float("nan")), (2, None, None)])
    assert t["y"][:].mask.tolist() == [False, True]
    assert t.where("isnull(y)")["id"][:].tolist() == [2]


def test_rows_dicts_and_the_table_s_own_rows_are_appended(store: Any) -> None:
    t = filled(store, (1, None, 0.5))
    t.append({"id": 2, "x": None, "y": None})
    t.append(t[:])
    t.append(t[0])
    with t.appender() as add:
        add((9, None, None))
    assert values(t["x"][:]) == [None] * 6
    assert values(t["y"][:]) == [0.5, None, 0.5, None, 0.5, None]


def test_values_that_do_not_fit_raise_and_name_the_row(store: Any) -> None:
    t = filled(store, [(1, 1, None)])
    with pytest.raises(kist.DTypeError, match="row 2, column 'x'") as caught:
        t.append({"id": [1, 2, 3], "x": [None, 5, 2**40], "y": [None] * 3})
    assert caught.value.row == 2
    with pytest.raises(kist.DTypeError, match=r"row 1, column 'id'.*kist\.nullable"):
        t.append({"id": [1, None], "x": [1, 2], "y": [1, 2]})
    assert len(t) == 1


def test_masked_values_are_not_dropped_where_there_are_no_nulls(store: Any) -> None:
    store["p"] = np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")])
    rows = np.ma.MaskedArray(store["p"][:], mask=[(True, False)])
    with pytest.raises(kist.DTypeError, match=r"column 'a'.*missing"):
        store["p"].append(rows)
    store["q"] = rows
    assert values(store["q"]["a"][:]) == [None]
    assert store["q"].dtype["b"] == np.dtype("f8")


def test_columns_of_numbers_with_none_become_nullable(store: Any) -> None:
    t = store.create_table("t", {"a": [1, None], "b": [None, True], "c": [1.5, None]})
    kinds = {name: t.dtype[name] for name in t.columns}
    assert kinds == {
        "a": kist.nullable("i8"),
        "b": kist.nullable("?"),
        "c": kist.nullable("f8"),
    }


# Out


def test_a_column_is_a_masked_array_and_rows_hold_pairs(store: Any) -> None:
    t = filled(store, [(1, 10, None), (2, None, 2.5)])
    assert t["x"][0] == 10
    assert t["x"][1] is np.ma.masked
    assert values(t["x"][[1, 0, 1]]) == [None, 10, None]
    assert values(t["x"].to_numpy()) == [10, None]
    assert values(next(t["x"].blocks())) == [10, None]
    assert values(t.where("id > 0")["x"][:]) == [10, None]
    assert values(t.sort_by("id", descending=True)["x"][:]) == [None, 10]
    assert t[1]["x"].item() == (0, False)
    assert [row["x"] for row in t] == [10, None]
    assert next(iter(t))[:] == (1, 10, None)
    assert values(t["x"].read(errors="mask")) == [10, None]


def test_an_array_that_cannot_show_nulls_is_refused(store: Any) -> None:
    t = filled(store, [(1, 10, None), (2, 20, 2.5)])
    assert np.asarray(t["x"]).tolist() == [10, 20]
    with pytest.raises(kist.DTypeError, match="has nulls"):
        np.asarray(t["y"])
    with pytest.raises(kist.QueryError):
        kist.evaluate("y + 1", y=t["y"])


def test_reprs_and_listings_say_nullable(store: Any) -> None:
    t = filled(store, [(1, 10, None)])
    assert "nullable int32" in repr(t)
    assert "null" in repr(t).splitlines()[-1]
    assert "nullable int32" in repr(t["x"])
    assert "nullable int32" in str(t.info)
    assert "nullable int32" in str(t["x"].info)


# Questions


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("x > 15", [2]),
        ("not (x > 15)", [1, 4]),
        ("x == 0", [4]),
        ("x != 0", [1, 2]),
        ("isnull(x)", [3]),
        ("notnull(x) and y > 0", [1]),
        ("x > 15 or id == 3", [2, 3]),
        ("not (x > 15 or y > 0)", [4]),
        ("x + y > 0", [1]),
        ("x.value == 0", [3, 4]),
        ("x in (10, 20)", [1, 2]),
    ],
)
def test_conditions_follow_three_valued_logic(
    store: Any, condition: str, expected: list[int]
) -> None:
    t = filled(store, [(1, 10, 0.5), (2, 20, None), (3, None, None), (4, 0, -1.0)])
    assert t.where(condition)["id"][:].tolist() == expected
    # Also where rows are looked at one by one, in another order.
    assert sorted(t.sort_by("id").limit(4).where(condition)["id"][:]) == expected


def test_statistics_of_pages_know_of_nulls(store: Any) -> None:
    t = store.create_table("t", dtype=ROW)
    n = 6_000
    number = np.arange(n)
    t.append({"id": number, "x": np.full(n, 7), "y": np.full(n, 0.5)})
    t.append(
        {"id": number + n, "x": np.ma.MaskedArray(np.full(n, 7), number % 2 == 0), "y": [None] * n}
    )
    t.append({"id": number + 2 * n, "x": [None] * n, "y": np.full(n, 2.5)})
    assert t.where("x == 7").count() == n + n // 2
    assert t.where("not (x == 7)").count() == 0
    assert t.where("x < 7").count() == 0
    assert t.where("isnull(x)").count() == n + n // 2
    assert t.where("notnull(x)").count() == n + n // 2
    assert t.where("isnull(y)").count() == n
    assert (t["x"].min(), t["x"].max(), t["x"].count()) == (7, 7, n + n // 2)
    assert (t["y"].min(), t["y"].max(), t["y"].sum()) == (0.5, 2.5, 3.0 * n)
    t["x"][0] = None
    t["x"][2 * n] = 9
    assert t.where("isnull(x)").count() == n + n // 2
    assert t.where("x == 9")["id"][:].tolist() == [2 * n]
    assert t["x"].max() == 9


def test_an_index_never_brings_in_nulls(store: Any) -> None:
    t = filled(store, [(i, None if i % 3 else i, None) for i in range(9_000)])
    t.create_index("x.value")
    t.create_index("x")
    assert t.where("x == 0")["id"][:].tolist() == [0]
    assert t.sort_by("x").limit(2)["id"][:].tolist() == [0, 3]
    assert t["x"].min() == 0


def test_groups_of_nulls(store: Any) -> None:
    t = filled(store, [(1, 10, 0.5), (2, None, None), (3, 10, None), (4, None, 1.5), (5, 0, None)])
    found = t.group_by("x").agg("count", total=("y", "sum"), low=("y", "min"), first=("y", "first"))
    assert found["x"].tolist() == [(0, True), (10, True), (0, False)]
    assert found["count"].tolist() == [1, 2, 2]
    assert found["total"].tolist() == [0.0, 0.5, 1.5]
    assert found["low"].tolist() == [(0.0, False), (0.5, True), (1.5, True)]
    assert found["first"].tolist() == [(0.0, False), (0.5, True), (1.5, True)]
    by_parity = t.group_by(p=kist.expr("x % 20")).agg("count")
    assert by_parity["p"].tolist() == [(0, True), (10, True), (0, False)]


def test_sorting_through_a_file_puts_nulls_last(store: Any, monkeypatch: Any) -> None:
    n = 30_000
    random = np.random.default_rng(3)
    x = np.ma.MaskedArray(random.integers(-50, 50, n), random.random(n) < 0.3)
    t = filled(store, {"id": np.arange(n), "x": x, "y": np.zeros(n)})
    series = pd.Series(pd.array(x.filled(0), dtype="Int64"))
    series[np.ma.getmaskarray(x)] = pd.NA
    monkeypatch.setattr(kist.options, "max_memory", 1 << 20)
    for descending in (False, True):
        expected = series.sort_values(ascending=not descending, kind="stable").index
        assert t.sort_by("x", descending=descending)["id"][:].tolist() == expected.tolist()


def test_what_stands_under_a_null_is_never_looked_at(store: Any) -> None:
    t = store.create_table("t", dtype=ROW)
    t.append(
        np.array([(1, (9, False), (1, 1)), (2, (5, True), (1, 1)), (3, (3, False), (1, 1))], ROW)
    )
    assert t.where("x >= 3")["id"][:].tolist() == [2]
    assert t.sort_by("x")["id"][:].tolist() == [2, 1, 3]
    assert t.sort_by("x", descending=True)["id"][:].tolist() == [2, 1, 3]
    assert t.group_by("x").agg("count")["count"].tolist() == [1, 2]
    assert (t["x"].min(), t["x"].max(), t["x"].sum()) == (5, 5, 5)


# Changes


def test_values_are_assigned_and_updated(store: Any) -> None:
    t = filled(store, [(1, 10, 0.5), (2, None, None), (3, 30, 1.5)])
    t["x"][0] = None
    t["x"][1:] = [5, None]
    assert values(t["x"][:]) == [None, 5, None]
    t.where("id >= 2").update({"x": kist.expr("x * 2"), "y": None})
    assert values(t["x"][:]) == [None, 10, None]
    assert values(t["y"][:]) == [0.5, None, None]
    for row in t.where("isnull(x)"):
        row["x"] = 7
        row.update()
    assert values(t["x"][:]) == [7, 10, 7]
    with pytest.raises(kist.DTypeError, match="missing"):
        t.where("id >= 2").update({"id": kist.expr("id + y")})
    t.upsert([(2, None, 9.5), (4, None, None)], on="id")
    assert values(t["x"][:]) == [7, None, 7, None]
    with pytest.raises(kist.KistError):
        t.upsert([(5, 1, None)], on="x")


def test_columns_come_and_change(store: Any) -> None:
    t = filled(store, [(1, 10, 0.5), (2, None, None)])
    t.add_column("n", None, dtype=kist.nullable("i2"), fill_value=None)
    t.add_column("m", np.ma.MaskedArray([5, 6], [True, False]))
    t.add_column("c", t["x"])
    t.append({"id": 3, "x": 1, "y": None, "m": 2, "c": None})
    assert values(t["n"][:]) == [None] * 3
    assert values(t["m"][:]) == [None, 6, 2]
    assert values(t["c"][:]) == [10, None, None]
    t.rename_column("x", "z")
    assert t.where("z > 5")["id"][:].tolist() == [1]
    t.cast_column("z", kist.nullable("f4"))
    assert values(t["z"][:]) == [10.0, None, 1.0]
    with pytest.raises(kist.DTypeError, match=r"row 1, column 'z'.*missing"):
        t.cast_column("z", "i4")
    t.cast_column("z", "f8", unsafe=True)
    np.testing.assert_array_equal(t["z"][:], [10, np.nan, 1])
    t.cast_column("id", kist.nullable("i4"))
    assert values(t["id"][:]) == [1, 2, 3]
    t.drop_column("m")
    with pytest.raises(kist.QueryError, match="say what becomes of nulls"):
        t.add_column("d", kist.expr("n + 1"))
    t.add_column("d", kist.expr("where(n.valid, n.value, -1)"))
    assert t["d"][:].tolist() == [-1, -1, -1]


# Against pandas

MAYBE = st.one_of(st.none(), st.integers(-3, 3))
ROWS = st.lists(st.tuples(MAYBE, MAYBE), max_size=12)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), ROWS),
        st.tuples(st.just("delete"), st.integers(-3, 3)),
        st.tuples(st.just("update"), st.integers(-3, 3), MAYBE),
        st.tuples(st.just("add"), st.integers(-3, 3)),
        st.tuples(st.just("large"), st.integers(0, 99)),
        st.tuples(st.just("reopen")),
    ),
    max_size=6,
)


def frame_of(rows: list[Any]) -> Any:
    columns = {"x": [row[0] for row in rows], "y": [row[1] for row in rows]}
    return pd.DataFrame({name: pd.array(c, dtype="Int64") for name, c in columns.items()})


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, steps=STEPS)
def test_programs_agree_with_pandas(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], steps: list[Any]
) -> None:
    path = Path(tmp_path_factory.mktemp("nulls")) / "s.kist"
    model = frame_of(rows)
    store = kist.open(path, "w", durability="none")
    try:
        t = store.create_table("t", model)
        for step in steps:
            match step:
                case ("append", more):
                    t.append(frame_of(more))
                    model = pd.concat([model, frame_of(more)], ignore_index=True)
                case ("large", seed):
                    random = np.random.default_rng(seed)
                    x = np.ma.MaskedArray(random.integers(-3, 4, 4_500), random.random(4_500) < 0.4)
                    y = np.ma.MaskedArray(np.full(4_500, seed % 5), np.full(4_500, seed % 2 == 0))
                    t.append({"x": x, "y": y})
                    both = {"x": x.tolist(), "y": y.tolist()}
                    more = pd.DataFrame({k: pd.array(v, dtype="Int64") for k, v in both.items()})
                    model = pd.concat([model, more], ignore_index=True)
                case ("delete", k):
                    t.where("x > k", k=k).delete()
                    model = model[~(model["x"] > k).fillna(False)].reset_index(drop=True)
                case ("update", k, value):
                    t.where("y <= k", k=k).update({"x": value})
                    model.loc[(model["y"] <= k).fillna(False), "x"] = (
                        pd.NA if value is None else value
                    )
                case ("add", k):
                    t.where("x != k", k=k).update({"y": kist.expr("x + y")})
                    chosen = (model["x"] != k).fillna(False)
                    model.loc[chosen, "y"] = (model["x"] + model["y"])[chosen]
                case ("reopen",):
                    store.close()
                    store = kist.open(path, "r+", durability="none")
                    t = store["t"]
        check(t, model)
    finally:
        store.close()


def check(t: Any, model: Any) -> None:
    pd.testing.assert_frame_equal(t.to_pandas(), model)
    for name, condition in {
        "x > 0": model["x"] > 0,
        "not (x > 0)": ~(model["x"] > 0),
        "x > 0 or y == 1": (model["x"] > 0) | (model["y"] == 1),
        "x > 0 and not (y == 1)": (model["x"] > 0) & ~(model["y"] == 1),
        "x + y >= 1": model["x"] + model["y"] >= 1,
        "isnull(x) and notnull(y)": model["x"].isna() & model["y"].notna(),
    }.items():
        wanted = np.flatnonzero(condition.fillna(False))
        assert t.where(name).indices().tolist() == wanted.tolist(), name
    for name in ("x", "y"):
        column = model[name]
        assert t[name].count() == column.count()
        assert t[name].sum() == column.sum()
        assert t[name].nunique() == column.nunique()
        if column.count():
            assert t[name].min() == column.min()
            assert t[name].max() == column.max()
            assert t[name].argmax() == column.to_numpy(float, na_value=-99).argmax()
            assert t[name].mean() == pytest.approx(column.mean())
            assert t[name].median() == column.median()
        for descending in (False, True):
            order = column.sort_values(ascending=not descending, kind="stable").index
            assert t.sort_by(name, descending=descending).indices().tolist() == order.tolist()
            few = t.sort_by(name, descending=descending).limit(3).indices()
            assert few.tolist() == order[:3].tolist()
    if len(model):
        groups = model.groupby("x", dropna=False)["y"]
        found = t.group_by("x").agg(n=("y", "count"), total=("y", "sum"), low=("y", "min"))
        keys = [value if valid else None for value, valid in found["x"].tolist()]
        assert keys == [None if key is pd.NA else key for key in groups.count().index]
        assert found["n"].tolist() == groups.count().tolist()
        assert found["total"].tolist() == groups.sum().tolist()
        low = [value if valid else None for value, valid in found["low"].tolist()]
        assert low == [None if value is pd.NA else value for value in groups.min()]
