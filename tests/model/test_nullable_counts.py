"""Counting rows of conditions on nullable columns, without looking where the nulls are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.model.tables.query import sieve

PARTS = [
    "~(x > 3)",
    "~((3 <= x) & (x < 7))",
    "x < 2",
    "x != 5",
    "(x < 1) | (x > 8)",
    "isnull(x)",
    "~isnull(x)",
    "isnull(x) | (x == 2)",
    "x >= 0",
    "isin(x, [0, 4])",
    "~isin(x, [1, 4])",
    "y < 1",
    "y != 3",
    "z > 2",
    "isnull(s) | (s == 'b')",
    "~(s == 'b')",
    "s < 'c'",
]

N = 3 * 65_536
"""Rows of three row groups."""


@pytest.fixture(scope="module")
def case() -> Any:
    rng = np.random.default_rng(4)
    with kist.open(":memory:") as store:
        x, y, z = (rng.integers(0, 10, N) for _ in range(3))
        no_x, no_y = rng.random(N) < 0.1, rng.random(N) < 0.3
        no_x[: N // 3] = False
        dtype = [("x", kist.nullable("i4")), ("y", kist.nullable("i2")), ("z", "i8")]
        columns = {"x": np.ma.MaskedArray(x, no_x), "y": np.ma.MaskedArray(y, no_y), "z": z}
        dtype.append(("s", kist.nullable("S2")))  # its pages have dictionaries
        words = np.array([b"", b"a", b"b", b"c"])[y % 4]
        columns["s"] = np.ma.MaskedArray(words, no_x | no_y)
        whole = store.create_table("whole", columns, dtype=dtype)
        deleted = store.create_table("deleted", columns, dtype=dtype)
        deleted.where("z == 7").delete()
        changed = store.create_table("changed", columns, dtype=dtype)
        changed.where("(z == 6) & (y > 5)").update({"x": 0})
        changed.where("(z == 5) & (y > 7)").update({"x": None})
        yield {"whole": whole, "deleted": deleted, "changed": changed}


@pytest.mark.parametrize("which", ["whole", "deleted", "changed"])
@pytest.mark.parametrize("part", PARTS)
def test_a_count_is_the_number_of_rows_that_are_found(
    case: dict[str, Any], which: str, part: str
) -> None:
    hits = case[which].where(part)
    assert hits.count() == len(hits.indices())


@settings(max_examples=30, deadline=None)
@given(
    which=st.sampled_from(["whole", "deleted", "changed"]),
    parts=st.lists(st.sampled_from(PARTS), min_size=2, max_size=3),
)
def test_a_count_of_several_conditions_is_the_number_of_rows(
    case: dict[str, Any], which: str, parts: list[str]
) -> None:
    hits = case[which].where(" & ".join(f"({part})" for part in parts))
    assert hits.count() == len(hits.indices())


def test_counting_does_not_read_where_nulls_are(
    case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("read")

    table = case["whole"]
    n = len(table.where("~((3 <= x) & (x < 7))").indices())
    monkeypatch.setattr(sieve, "_read", refused)
    assert table.where("~((3 <= x) & (x < 7))").count() == n
