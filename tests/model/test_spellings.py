"""Names that other libraries have for what tables do are answered with how it is done here."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.model.tables import spellings

ROWS = np.array([(1, 2.5), (2, 3.5), (3, 4.5)], [("a", "i4"), ("price", "f8")])


@pytest.fixture
def table(tmp_path: Path) -> Any:
    with kist.open(tmp_path / "t.kist", "w") as store:
        store["t"] = ROWS
        yield store["t"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("query", "t.where("),
        ("loc", "t[3:2000]"),
        ("groupby", "t.group_by("),
        ("sort_values", "t.sort_by("),
        ("nlargest", ".limit(10)"),
        ("merge", "t.to_pandas()"),
        ("read_where", "t.where("),
        ("drop", "t.drop_column("),
        ("price", "columns are reached by t['price']"),
        ("wher", "did you mean 'where'?"),
    ],
)
def test_other_spellings_are_answered_with_what_is_meant(table: Any, name: str, hint: str) -> None:
    for one in (table, table.where("a > 1"), table[["a", "price"]]):
        with pytest.raises(AttributeError) as found:
            getattr(one, name)
        assert str(found.value).startswith(f"'{type(one).__name__}' object has no attribute")
        assert hint in str(found.value)
        assert not hasattr(one, name)


def test_no_name_with_a_hint_is_there(table: Any) -> None:
    assert not [name for name in spellings._HINTS if hasattr(type(table), name)]


def test_what_a_hint_says_can_be_done(table: Any) -> None:
    t = table
    assert t.where("(a > low) & (price < 4)", low=1)[:].tolist() == [(2, 3.5)]
    assert t.group_by("a").agg(total=("price", "sum"))["total"].tolist() == [2.5, 3.5, 4.5]
    assert t.sort_by("a", descending=True).limit(10)["a"][:].tolist() == [3, 2, 1]
    assert t.distinct("a").count() == 3
    t.add_column("c", kist.expr("a * 2"))
    t.cast_column("a", "f8")
    t.rename_column("c", "b")
    t.where("a > 1").update({"price": 0})
    t.where("a > 2").delete()
    with t.appender() as add:
        add((4, 1.0))
    t.drop_column("b")
    assert [row["a"] for row in t] == [1, 2, 4]
    assert t.where("a > 1").explain() is not None


def test_names_that_python_asks_for_cost_nothing_and_are_not_guessed(table: Any) -> None:
    several = (table, table.where("a > 1"), table["a"])
    table.store.close()
    for one in several:
        for name in ("__array_interface__", "_repr_latex_", "price", "nonsense"):
            with pytest.raises(AttributeError, match="has no attribute"):
                getattr(one, name)


def test_handles_are_still_pickled_and_copied(table: Any) -> None:
    path, column = table.store.filename, table["a"]
    assert copy.copy(column)[:].tolist() == [1, 2, 3]
    with kist.open(path) as store:
        assert pickle.loads(pickle.dumps(store["t"]))[:].tolist() == ROWS.tolist()
