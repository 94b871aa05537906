"""What a newcomer types next to the examples: answers name the way on, reprs fit a terminal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kist


@pytest.fixture
def store() -> Any:
    with kist.open(":memory:") as store:
        yield store


def test_views_of_groups_and_key_stores_show_names(store: kist.Store) -> None:
    assert repr(store.keys()) == "<keys of '/': none>"
    store["b"], store["a"] = 1, 2
    assert repr(store.keys()) == "<keys of '/': 'a', 'b'>"
    assert repr(store.values()) == "<values of '/': 'a', 'b'>"
    assert repr(store.items()) == "<items of '/': 'a', 'b'>"
    runs = store.create_keystore("runs")
    runs.update((number, number) for number in range(1234))
    shown = ", ".join(map(str, range(10)))
    assert repr(runs.keys()) == f"<keys of '/runs': {shown}, ... (1,234 in all)>"
    assert repr(runs.values()).startswith("<values of '/runs': 0, 1, ")
    assert repr(runs.items()).startswith("<items of '/runs': 0, 1, ")


def test_a_repr_of_a_view_never_raises(store: kist.Store) -> None:
    keys = store.create_group("g").keys()
    del store["g"]
    assert repr(keys).startswith("<keys of '/g': ")
    assert "none" not in repr(keys)


def test_columns_of_times_are_shown_whole_and_within_80_columns(store: kist.Store) -> None:
    times = np.datetime64("2026-01-05T09:00:00.000000001") + np.arange(20)
    store["t"] = rows_at(times)
    assert "2026-01-05T09:00:00.000000020" in repr(store["t"])
    lines = repr(store["t"]["time"]).splitlines()
    assert max(map(len, lines[1:])) <= 80
    assert " ".join(lines[1:]).count("2026-01-05T09:00:00.0000000") == 10


def rows_at(times: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    rows = np.zeros(len(times), [("time", times.dtype), ("a", "i4")])
    rows["time"] = times
    return rows


def test_text_columns_are_shown_with_a_dtype_that_is_not_cut(store: kist.Store) -> None:
    texts = np.array(["a", "b"], np.dtypes.StringDType(na_object=None))
    store.create_table("t", {"name": texts})
    assert "StringDType\n" in repr(store["t"])
    assert "na_object" in repr(store["t"].info)


def test_assigning_to_a_column_that_is_not_there_names_add_column(store: kist.Store) -> None:
    store["t"] = np.zeros(3, "i4,f4")
    for values in (np.arange(3), kist.expr("f0 + 1")):
        with pytest.raises(kist.ColumnNotFoundError, match=r"add_column\('new', values\)"):
            store["t"]["new"] = values
    assert store["t"].columns == ("f0", "f1")


def test_a_variable_in_a_condition_is_asked_for_by_name(store: kist.Store) -> None:
    store["t"] = np.zeros(3, "i4,f4")
    limit = 5
    with pytest.raises(kist.QueryError, match="given by name: limit=limit"):
        store["t"].where("f0 > limit")
    assert store["t"].where("f0 > limit", limit=limit).count() == 0
    store["u"] = np.zeros(3, [("price", "f8"), ("n", "i4")])
    with pytest.raises(kist.QueryError, match="did you mean 'price'") as caught:
        store["u"].where("prise > 1")
    assert "by name" not in str(caught.value)


def test_an_append_of_another_shape_is_told_the_shape_that_was_given(store: kist.Store) -> None:
    store["a"] = np.zeros((2, 3, 4))
    with pytest.raises(kist.ShapeError, match=r"\(n, 3, 4\), not \(1, 3\)"):
        store["a"].append(np.zeros((1, 3)))
    assert store["a"].append(np.zeros((3, 4))) == 1


def test_a_long_key_that_is_missing_is_not_printed_whole(store: kist.Store) -> None:
    runs = store.create_keystore("runs")
    with pytest.raises(kist.KeyNotFoundError) as caught:
        runs["x" * 5000]
    assert len(str(caught.value)) < 300
