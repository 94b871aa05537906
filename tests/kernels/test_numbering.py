"""Numbers for keys: the same for equal ones, however large the table grows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kist._kernels.numbering import Numbering, TupleNumbering

Array = np.ndarray[Any, Any]


def _is_dense(keys: Array, codes: Array, n: int) -> None:
    """Equal keys have equal numbers, others have others, and these are below `n`."""
    _, first, where = np.unique(keys, return_index=True, return_inverse=True)
    assert (codes[first][where] == codes).all()
    assert len(np.unique(codes[first])) == len(first)
    assert codes.dtype == np.int64 and codes.max() < n


def test_a_large_table_gives_the_numbers_that_it_gave_when_it_was_small() -> None:
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 2**63, 700_000, dtype=np.uint64)
    table = Numbering()
    parts = [table.number(keys[at : at + 50_000]) for at in range(0, len(keys), 50_000)]
    codes = np.concatenate(parts)
    _is_dense(keys, codes, table.count)
    assert (table.number(keys) == codes).all()
    assert (table.keys[codes] == keys).all()
    # Three arrays: keys by slot with half of the slots free, their numbers, keys by number.
    assert table.nbytes <= (2 << 20) * 12 + (1 << 20) * 8


@pytest.mark.parametrize("n_words", [1, 2])
def test_what_a_table_takes_is_said_before_it_grows(n_words: int) -> None:
    said: list[int] = []
    table = TupleNumbering(n_words, said.append)
    words = [np.arange(part, part + 300_000, dtype=np.uint64) for part in range(n_words)]
    before = table.nbytes
    for at in range(0, 300_000, 10_000):
        table.number([word[at : at + 10_000] for word in words])
    keys = (2 * n_words - 1) * ((1 << 19) - (1 << 9)) * 8  # by number, not asked about
    assert said and min(said) > 0 and before + sum(said) + keys == table.nbytes


def test_a_table_that_may_not_grow_is_as_it_was() -> None:
    def refuse(more: int) -> None:
        raise MemoryError(more)

    table = Numbering(refuse)
    few = np.arange(1, 400, dtype=np.uint64)
    codes = table.number(few)
    before = table.nbytes
    with pytest.raises(MemoryError):
        table.number(np.arange(10_000, 20_000, dtype=np.uint64))
    assert table.nbytes == before and table.count == 400
    assert (table.number(few) == codes).all()
