"""Rows that are put aside in a temporary file, in parts and joined."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from kist.model.tables.query import spill
from kist.model.tables.query.spill import Spill, joined

COLUMNS = [
    np.arange(1_000.0)[::-1],
    np.arange(1_000).astype("M8[ms]"),
    np.arange(1_000).astype(">i4"),
    np.arange(1_000).astype("S5"),
    np.arange(3_000, dtype="f4").reshape(-1, 3),
    np.zeros(1_000, "i4,f8"),
    np.array([f"text {n}" for n in range(1_000)], np.dtypes.StringDType()),
]


def _parts(columns: list[Any]) -> list[list[Any]]:
    edges = [0, 1, 400, 401, 1_000]
    spread = [np.repeat(column, 2, axis=0)[::2] for column in columns]  # do not stand together
    return [[column[a:b] for column in spread] for a, b in pairwise(edges)]


@pytest.mark.parametrize("columns", [COLUMNS[:1], COLUMNS[:5], COLUMNS[:6], COLUMNS])
@pytest.mark.parametrize("how", ["whole", "short", "none", "few"])
def test_parts_are_put_aside_as_if_they_were_joined(
    columns: list[Any], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "short":  # a system call may write less than it is given
        writev = getattr(os, "writev", None)
        if writev is None:
            pytest.skip("no writev here")
        monkeypatch.setattr(os, "writev", lambda fd, parts: writev(fd, parts[:2]))
    if how == "none":
        monkeypatch.delattr(os, "writev", raising=False)
    if how == "few":
        monkeypatch.setattr(spill, "_MOST_PARTS", 3)
    parts = _parts(columns)
    with Spill([column.dtype for column in columns], "a test") as found:
        first = found.put([column[:7] for column in columns])
        extents = [found.put_joined(parts), found.put_joined(parts[:1]), first]
        assert [extent.n for extent in extents] == [1_000, 1, 7]
        expected = joined([columns, parts[0], [column[:7] for column in columns]])
        for mine, theirs in zip(found.get_joined(extents), expected, strict=True):
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine.reshape(theirs.shape), theirs)
        for mine, theirs in zip(found.get(extents[0]), columns, strict=True):
            assert np.array_equal(mine.reshape(theirs.shape), theirs)
