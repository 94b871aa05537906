"""A unique index on rows of which many have one key: refused by a few of them, in little memory."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest

import kist
from kist.model.tables.indexes import unique

TEXT: Any = np.dtypes.StringDType(na_object=None)
N = 120_000


def _refused(table: Any, *columns: str) -> str:
    with pytest.raises(kist.ConstraintError) as found:
        table.create_index(*columns, unique=True)
    return str(found.value)


def _columns() -> dict[str, Any]:
    rng = np.random.default_rng(2)
    numbers = rng.permutation(N)
    return {
        "n": numbers.astype("i4"),
        "few": np.array([b"a", b"b", b"c", b"d", b"e"])[rng.integers(0, 5, N)],
        "f": np.where(numbers % 2 == 0, np.nan, numbers.astype(float)),
        "long": np.array([f"https://example.org/{k}" for k in numbers.tolist()], TEXT),
        "text": np.array([f"w{k % 7}" for k in numbers.tolist()], TEXT),
        "gone": np.array([None if k % 3 else f"{k}" for k in numbers.tolist()], TEXT),
    }


@pytest.fixture(scope="module")
def made() -> Any:
    columns = _columns()
    with kist.open(":memory:") as store:
        yield store.create_table("t", columns), columns


@pytest.mark.parametrize("column", ["few", "text"])
def test_a_few_rows_of_each_key_are_named(made: Any, column: str) -> None:
    table, columns = made
    message = _refused(table, column)
    found = re.findall(r"rows ([\d, and]+) and others have b?'(\w+)'", message)
    assert len(found) == 3
    for rows, key in found:
        for row in re.findall(r"\d+", rows):
            value = columns[column][int(row)]
            assert (value.decode() if column == "few" else value) == key
    assert f"and {2 if column == 'few' else 4} more keys" in message


def test_many_rows_without_a_value_are_no_duplicates(made: Any) -> None:
    table, _ = made
    for column in ("n", "f", "gone", "long"):
        assert table.create_index(column, unique=True).n_indexed == N
        table.drop_index(column)
    assert table.create_index("f", "n", unique=True).n_indexed == N
    table.drop_index("f", "n")


def test_one_pair_among_many_that_begin_alike_is_found() -> None:
    columns = _columns()
    columns["long"][N - 7] = columns["long"][11]
    columns["n"][N - 7] = columns["n"][11]
    with kist.open(":memory:") as store:
        table = store.create_table("t", columns)
        for column in ("long", "n"):
            message = _refused(table, column)
            assert f"rows 11 and {N - 7} have" in message and "more keys" not in message
            assert "others" not in message


def test_keys_are_found_in_portions(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table, _ = made
    monkeypatch.setattr(unique, "_MANY", 2)
    monkeypatch.setattr(unique, "_STEP", 1_000)
    assert "have b'a'" in _refused(table, "few")
    assert "and perhaps others" in _refused(table, "text")
    assert table.create_index("long", unique=True).n_indexed == N
    table.drop_index("long")


def test_refusing_takes_no_memory_for_all_rows(made: Any) -> None:
    table, _ = made
    table.create_index("few")  # the runs themselves
    table.drop_index("few")
    tracemalloc.start()
    table.create_index("few")
    _, plain = tracemalloc.get_traced_memory()
    table.drop_index("few")
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    _refused(table, "few")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < plain + 24 * N
