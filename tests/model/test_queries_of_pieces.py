"""Queries of tables that grow by small commits: their pieces are asked together, as NumPy would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import kist
from kist import Table, options
from kist.model.tables.query import find, sieve

Array = np.ndarray[Any, Any]
DTYPE = np.dtype([("t", "i8"), ("x", "f8"), ("s", "S4"), ("pair", "i2", 2)])


def rows(n: int, first: int) -> Array:
    out = np.zeros(n, DTYPE)
    out["t"] = np.arange(first, first + n)
    out["x"] = np.round(np.random.default_rng(first).normal(size=n), 2)
    out["s"] = np.array([b"ab", b"cd", b"e"])[out["t"] % 3]
    out["pair"] = out["t"][:, None] % [5, 7]
    return out


@pytest.fixture
def pieces() -> Iterator[tuple[Table, Array]]:
    with kist.open(":memory:", "a") as store:
        table = store.create_table("t", dtype=DTYPE)
        made: list[Array] = []
        while len(made) < 60 or table.info.pieces < 20:
            made.append(rows(50, 50 * len(made)))
            table.append(made[-1])
        yield table, np.concatenate(made)


@pytest.mark.parametrize("ask", [lambda hits: hits[:], lambda hits: hits.count()])
def test_what_is_asked_reads_all_pieces_together(
    pieces: tuple[Table, Array], ask: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, _ = pieces
    n_pieces = table.info.pieces
    calls = []
    for module in (find, sieve):

        def counted(*given: Any, own: Any = module.read_leaves) -> None:
            calls.append(len(given[1]))
            own(*given)

        monkeypatch.setattr(module, "read_leaves", counted)
    ask(table.where("(t > 1500) & (x < 0.5)"))
    batches = -(-n_pieces // (find.GROUPS_AT_ONCE * options.n_threads))
    assert n_pieces >= 20
    assert len(calls) <= 2 * batches  # one for each condition, not one for each piece
    assert max(calls) > 1


@pytest.mark.parametrize("is_changed", [False, True])
def test_pieces_give_what_numpy_gives(pieces: tuple[Table, Array], is_changed: bool) -> None:
    table, all_rows = pieces
    expected = all_rows.copy()
    if is_changed:
        gone = np.flatnonzero((expected["t"] % 11 == 0) | (expected["t"] // 50 == 57))
        table.delete(gone)
        expected = np.delete(expected, gone)
        expected["x"][expected["t"] % 13 == 0] = 9.0
        table.where("t % 13 == 0").update({"x": 9.0})
        table.append(rows(50, 9000))
        expected = np.concatenate([expected, rows(50, 9000)])
    t, x, s = expected["t"], expected["x"], expected["s"]
    for text, mask in [
        ("t > 3390", t > 3390),
        ("(t > 1500) & (x < 0.5)", (t > 1500) & (x < 0.5)),
        ("(s == 'cd') & (x > 0) & (t < 3490)", (s == b"cd") & (x > 0) & (t < 3490)),
        ("(t % 7 == 0) | (x > 2)", (t % 7 == 0) | (x > 2)),
        ("x > 100", x > 100),
        ("t >= 0", t >= 0),
        ("sqrt(abs(x)) > 1.2", np.sqrt(np.abs(x)) > 1.2),
    ]:
        hits = table.where(text)
        np.testing.assert_array_equal(hits[:], expected[mask], err_msg=text)
        assert hits.count() == mask.sum(), text
        np.testing.assert_array_equal(hits.indices(), np.flatnonzero(mask), err_msg=text)
    first = table.where("x > 1").limit(3)[:]
    np.testing.assert_array_equal(first, expected[x > 1][:3])
