"""Indexes on nullable columns: nulls are in no range, equal to nothing, and last in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

# An index that says something impossible is left, with a warning.
pytestmark = pytest.mark.filterwarnings("error")

N = 140_000


def _rows(n: int = N, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    floats = rng.integers(-40, 40, n) / 4
    floats[rng.random(n) < 0.1] = np.nan
    return {
        "id": np.arange(n),
        "x": np.ma.MaskedArray(rng.integers(-5_000, 5_000, n), rng.random(n) < 0.2),
        "f": np.ma.MaskedArray(floats, rng.random(n) < 0.2),
        "s": np.ma.MaskedArray(rng.integers(0, 900, n).astype("S4"), rng.random(n) < 0.2),
        "none": np.ma.MaskedArray(np.zeros(n, "i4"), np.ones(n, bool)),
    }


@pytest.fixture
def twins() -> Iterator[tuple[kist.Table, kist.Table]]:
    """The same rows without indexes and with them."""
    with kist.open(":memory:") as store:
        for name in ("plain", "indexed"):
            store.create_table(name, _rows())
        for name in ("x", "f", "s", "none"):
            store["indexed"].create_index(name)
        yield store["plain"], store["indexed"]


def _change(table: kist.Table) -> None:
    table.where("id % 7 == 3").delete()
    table.where("(id > 100) & (id < 260)").update({"x": None, "f": 0.25, "none": 7})
    table.where("isnull(s) & (id < 9000)").update({"s": b"new", "x": 12})
    more = _rows(500, 2)
    more["id"] = more["id"] + 1_000_000
    table.append(more)


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("name", ["x", "f", "s", "none"])
def test_rows_come_in_the_order_that_they_have_without_an_index(
    twins: Any, name: str, changed: bool
) -> None:
    plain, table = twins
    if changed:
        _change(plain)
        _change(table)
    for descending in (False, True):
        right = plain.sort_by(name, descending=descending).indices()
        found = table.sort_by(name, descending=descending)
        assert f"sorted by index {name!r}" in str(found.explain())
        assert np.array_equal(found.indices(), right)
        assert np.array_equal(found.limit(50)["id"][:], plain["id"][:][right[:50]])
        assert np.array_equal(found[-3:]["id"], plain["id"][:][right[-3:]])


@pytest.mark.parametrize("changed", [False, True])
def test_conditions_and_extremes_agree_with_a_scan(twins: Any, changed: bool) -> None:
    plain, table = twins
    if changed:
        _change(plain)
        _change(table)
    for text in ["x == 12", "x == 0", "(x > 4990) | isnull(x)", "f == 2.5", "f > 9.5", "s == b'7'"]:
        right = plain.where(text).indices()
        assert np.array_equal(table.where(text).indices(), right), text
    for text in ["x == 12", "x == 0", "s == b'7'", "isin(x, [4, 9, 11])", "startswith(s, b'89')"]:
        assert table.where(text).explain().index == text.partition("(")[2][:1] or text[0]
    for name in "xs":
        assert table[name].min() == plain[name].min()
        assert table[name].max() == plain[name].max()
    assert np.isnan(table["f"].max())
    assert table["f"].max(skipna=True) == plain["f"].max(skipna=True) == 9.75


def test_few_nulls_are_found_by_the_index() -> None:
    with kist.open(":memory:") as store:
        null = np.zeros(N, bool)
        null[[5, 40_000]] = True
        store.create_table("t", {"x": np.ma.MaskedArray(np.arange(N), null), "y": np.arange(N)})
        t = store["t"]
        t.create_index("x")
        found = t.where("isnull(x)")
        assert found.explain().index == "x"
        assert found["y"][:].tolist() == [5, 40_000]
        assert t.where("isnull(x) | (x == 9)")["y"][:].tolist() == [5, 9, 40_000]
        assert t.where("isnull(x) & (x == 9)").count() == 0
        assert t.where("x == 0")["y"][:].tolist() == [0]


def test_a_column_of_nulls_alone_has_no_extreme(twins: Any) -> None:
    plain, table = twins
    for one in (plain, table):
        with pytest.raises(ValueError, match="no row"):
            one["none"].min()


def test_unique_lets_many_nulls_be_and_names_what_is_twice() -> None:
    with kist.open(":memory:") as store:
        store.create_table(
            "t",
            {"id": np.arange(6), "x": np.ma.MaskedArray([0, 1, 2, 0, 0, 5], [1, 0, 0, 1, 1, 0])},
        )
        t = store["t"]
        t.create_index("x", unique=True)
        t.append([(6, None), (7, None), (8, 0)])
        t[0] = (0, None)
        for change in (lambda: t.append((9, 0)), lambda: t.where("id == 3").update({"x": 5})):
            with pytest.raises(kist.ConstraintError, match="column 'x' would hold one key"):
                change()
        assert t.where("isnull(x)").count() == 5
        assert t.where("x == 0")["id"][:].tolist() == [8]
        with pytest.raises(kist.ConstraintError, match="rows 5 and 9 have 5"):
            t.append([(9, 5)])


def test_unique_of_several_columns_leaves_out_rows_with_a_null_among_them() -> None:
    with kist.open(":memory:") as store:
        null = [False, True, True, False]
        store.create_table(
            "t", {"a": np.array([1, 1, 1, 2]), "x": np.ma.MaskedArray([7, 7, 7, 7], null)}
        )
        t = store["t"]
        t.create_index("a", "x", unique=True)
        t.append((1, None))
        with pytest.raises(kist.ConstraintError, match="rows 0 and 5 have 1, 7"):
            t.append((1, 7))
        assert t.where("(a == 1) & (x == 7)").indices().tolist() == [0]
        assert t.sort_by("a", "x").indices().tolist() == [0, 1, 2, 4, 3]


def test_duplicates_refuse_a_unique_index_that_nulls_would_not() -> None:
    with kist.open(":memory:") as store:
        x = np.ma.MaskedArray(np.arange(N), np.arange(N) % 2 == 0)
        store.create_table("t", {"x": x})
        store["t"].create_index("x", unique=True)
        x[31_000] = 31_001
        store.create_table("u", {"x": x})
        with pytest.raises(kist.ConstraintError, match=r"rows 31000 and 31001 have 31001"):
            store["u"].create_index("x", unique=True)
        assert store["u"].indexes == ()


def test_the_index_goes_with_its_column(tmp_path: Path) -> None:
    path = tmp_path / "t.kist"
    with kist.open(path, "w") as store:
        store.create_table("t", _rows(9_000))
        t = store["t"]
        t.create_index("x")
        assert t.indexes[0].columns == ("x",)
        t.rename_column("x", "z")
        assert t.indexes[0].columns == ("z",)
        assert t.where("z == 12").explain().index == "x"
        store.copy("t", "u")
        assert store["u"].where("z == 12").explain().index == "x"
        store.compact()
        assert store.check().ok
    with kist.open(path, "r+") as store:
        t = store["t"]
        assert t.where("z == 12").explain().index == "x"
        t.drop_index("z")
        assert t.indexes == ()
        t.create_index("s", "z", name="both")
        t.drop_column("z")
        assert t.indexes == ()


def test_both_of_its_leaves_can_still_be_indexed_by_themselves() -> None:
    with kist.open(":memory:") as store:
        store.create_table("t", _rows(9_000))
        t = store["t"]
        t.create_index("x.value")
        t.create_index("x.valid")
        t.create_index("x")
        assert [index.columns for index in t.indexes] == [("x.value",), ("x.valid",), ("x",)]
        assert t.where("x == 12").explain().index == "x"
        assert t.where("x.value == 12").explain().index == "x.value"


def test_nulls_inside_of_other_columns_are_refused() -> None:
    with kist.open(":memory:") as store:
        inner = np.dtype([("a", kist.nullable("i4"))])
        t = store.create_table("t", dtype=[("o", inner)])
        with pytest.raises(kist.DTypeError, match=r"'o\.a'"):
            t.create_index("o.a")
