"""Where a dataset is cut: parts cover it, one behind the other, and cuts prefer cheap places."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import kist
from kist.errors import (
    ConstraintError,
    NodeError,
    SelectionError,
    StoreExistsError,
    TooLargeError,
)
from kist.model.parts import plan
from kist.model.parts.files import NewFiles
from kist.model.parts.origin import Origin, check_overlap
from kist.model.parts.plan import positions


def covers(found: list[tuple[int, int]], n: int) -> bool:
    flat = [edge for part in found for edge in part]
    return flat[0] == 0 and flat[-1] == n and flat[1:-1:2] == flat[2::2]


@hypothesis.given(st.integers(1, 300), st.data())
def test_parts_are_about_one_length(n: int, data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, n))
    edges = sorted(data.draw(st.sets(st.integers(0, n), max_size=20)))
    plain, near = positions("x", n, None, parts=parts), positions("x", n, edges, parts=parts)
    for found in (plain, near):
        assert covers(found, n) and len(found) == parts
        assert all(stop > start for start, stop in found)
    assert max(b - a for a, b in plain) - min(b - a for a, b in plain) <= 1
    for (_, cut), (_, moved) in zip(plain[:-1], near[:-1], strict=True):
        # The nearest edge, where one is near enough that each part keeps half of its length.
        good = [e for e in edges if 0 < e < n and abs(e - cut) * 4 * parts <= n]
        assert moved == min(good, key=lambda e: abs(e - cut), default=cut)


@hypothesis.given(st.integers(0, 300), st.integers(1, 400))
def test_rows_are_counted_from_the_first(n: int, rows: int) -> None:
    found = positions("x", n, None, rows=rows)
    assert covers(found, n) and all(stop - start == rows for start, stop in found[:-1])
    assert len(found) == max(1, -(-n // rows))


def test_an_edge_at_the_very_beginning_is_found() -> None:
    assert positions("x", 100, [49, 90], parts=2) == [(0, 49), (49, 100)]
    assert positions("x", 100, [10, 51], parts=2) == [(0, 51), (51, 100)]


@pytest.mark.parametrize(
    ("n", "how", "said"),
    [
        (10, {"at": [0, 3]}, "a cut at 0 leaves"), (10, {"at": [3, 10]}, "a cut at 10 leaves"),
        (10, {"at": [3, 3]}, "ascend"), (10, {"at": [4, 3]}, "ascend"),
        (1, {"parts": 2}, "make no 2"), (0, {"parts": 2}, "make no 2"),
        (10, {"parts": 0}, "from 1 on"), (10, {"rows": 0}, "from 1 on"),
        (10, {"rows": True}, "from 1 on"), (10, {"rows": 2.5}, "whole number, not 2.5"),
    ],
)  # fmt: skip
def test_cuts_that_cannot_be_are_refused(n: int, how: dict[str, object], said: str) -> None:
    with pytest.raises(SelectionError, match=said):
        positions("'/t'", n, None, **how)  # type: ignore[arg-type]


def test_as_many_files_as_are_allowed_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MAX_PARTS", 4)
    for how in ({"at": [1, 2, 3]}, {"parts": 4}, {"rows": 3}):
        assert len(positions("x", 12, None, **how)) == 4
    for how in ({"at": [1, 2, 3, 4]}, {"parts": 5}, {"rows": 2}):
        with pytest.raises(TooLargeError, match="at most 4"):
            positions("x", 12, None, **how)
    assert positions("x", 0, None, parts=1) == [(0, 0)] == positions("x", 0, None, rows=7)


def test_what_cannot_be_made_is_refused_before_anything_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["t"] = np.zeros(4, "i4,f8")
        for name in ("p-0002.kist", "p-0.kist"):
            (tmp_path / name).write_bytes(b"mine")
        monkeypatch.setattr(NewFiles, "create", lambda *a: pytest.fail("a file was made"))
        for how in ({"parts": 2}, {"by": "f0"}):
            with pytest.raises(StoreExistsError):
                kist.split(store, "t", out=tmp_path / "p-{}.kist", **how)


def test_a_store_in_memory_has_no_place_beside_it() -> None:
    with kist.open(":memory:") as store:
        store["t"] = np.zeros(4, "i4,f8")
        with pytest.raises(NodeError, match="say out="):
            kist.split(store, "t", parts=2)


def test_row_ids_begin_at_zero_in_each_new_table(tmp_path: Path) -> None:
    rows = np.zeros(10_000, "i4,f8")
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["t"] = rows
        store["t"].delete(slice(0, 7_000))
        store["t"].append(rows)
        names = kist.split(store, "t", rows=9_000, out=tmp_path / "p-{}.kist")
    kist.merge(names, tmp_path / "whole.kist")
    for name in (*names, tmp_path / "whole.kist"):
        with kist.open(name) as store:
            assert store["t"]._state().layout.group(0).first == 0


@pytest.mark.parametrize(("start", "wrong"), [(8, True), (9, True), (10, False), (11, False)])
def test_parts_overlap_from_one_position_on(start: int, wrong: bool) -> None:
    parts = [
        ("b", Origin(b"store", 7, 2, start, 20)),
        ("a", Origin(b"store", 7, 2, 0, 10)),
        ("of another node", Origin(b"store", 7, 3, 0, 20)),
        ("of another commit", Origin(b"store", 8, 2, 0, 20)),
    ]
    if wrong:
        with pytest.raises(ConstraintError, match=f"a holds 0 to 10 and b {start} to 20"):
            check_overlap("/t", parts)
    else:
        check_overlap("/t", parts)
