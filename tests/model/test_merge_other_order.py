"""Tables whose columns came in another order: pages are copied, patches and initial values kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kist

DTYPE = [("a", "i8"), ("b", "f8"), ("c", "i4")]
N = 6_000


def first_table(store: kist.Store) -> None:
    store["t"] = np.zeros(10, DTYPE)


def other_table(store: kist.Store, added: bool) -> np.ndarray:
    """A table with the same columns under other ids, rows of which were changed in place."""
    names = ["c", "a"] if added else ["c", "b", "a"]
    rows = np.zeros(N, [(name, dict(DTYPE)[name]) for name in names])
    for at, name in enumerate(names):
        rows[name] = np.arange(N) * (at + 1)
    table = store.create_table("t", rows)
    if added:
        table.add_column("b", "f8", fill_value=2.5)
    table.where("a % 1000 == 0").update({"c": -1, "b": -2.0})
    table.delete(slice(3, 7))
    expected = np.zeros(N, DTYPE)
    for name in names:
        expected[name] = rows[name]
    if added:
        expected["b"] = 2.5
    changed = expected["a"] % 1000 == 0
    expected["c"][changed], expected["b"][changed] = -1, -2.0
    return np.delete(expected, np.s_[3:7])


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("patched_first", [False, True])
def test_what_was_changed_in_place_is_merged(
    tmp_path: Path, added: bool, patched_first: bool
) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        first_table(store)
    with kist.open(tmp_path / "b.kist", "w") as store:
        expected = other_table(store, added)
        assert store["t"]._state().layout.group(0).patches
    files = [tmp_path / "a.kist", tmp_path / "b.kist"]
    whole = [np.zeros(10, DTYPE), expected]
    if patched_first:
        files.reverse()
        whole.reverse()
    kist.merge(files, tmp_path / "whole.kist")
    with kist.open(tmp_path / "whole.kist") as store:
        table = store["t"]
        for name, _ in DTYPE:
            assert np.array_equal(table[name][:], np.concatenate(whole)[name]), name
        assert table.where("b == -2").count() == np.count_nonzero(expected["b"] == -2)
        assert len(table) == N - 4 + 10 and store.check().ok
    (part, rest) = kist.split(tmp_path / "whole.kist", "t", rows=5_000, out=tmp_path / "p-{}.kist")
    kist.merge([part, rest], tmp_path / "again.kist")
    with kist.open(tmp_path / "again.kist") as store:
        assert np.array_equal(store["t"]["b"][:], np.concatenate(whole)["b"])
