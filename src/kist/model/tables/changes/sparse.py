"""Groups that have lost many of their rows: which, and how what is left is stored.

Rows keep their ids, so a group goes on covering those of deleted rows. Written anew it begins with
its first live row and ends with its last, and row ids between them repeat the live row before:
as runs of equal values, which take little more than one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.format.schema import Leaf
from kist.model.tables.changes.pages import Recipes
from kist.model.tables.stored.batch import bytes_of
from kist.model.tables.stored.schema import FULL_TIER

if TYPE_CHECKING:
    from kist.model.tables.stored.layout import Group

__all__ = ["SPARSE_TIER", "Afresh", "is_sparse", "sparse_tier", "spread", "tier_of"]

Array = np.ndarray[Any, Any]

SPARSE_TIER: Final = 128
"""A group of tier `SPARSE_TIER` + n was written when one in 2**n of its rows was live."""


class Afresh(Recipes):
    """Recipes chosen anew: repeats of neighbours want another one than values do."""

    def last(self, leaf: Leaf) -> None:
        """Return that no page was before."""


def sparse_tier(n_rows: int, n_live: int) -> int:
    """Return the tier of a group that is written because so few rows are live."""
    return SPARSE_TIER + (n_rows // n_live).bit_length() - 1


def is_sparse(group: Group) -> bool:
    """Tell whether half the rows are gone that were there when the group was written."""
    tier = group.record.tier
    known = tier if SPARSE_TIER < tier < FULL_TIER else SPARSE_TIER
    return group.is_pages and sparse_tier(group.n_rows, group.n_live) > known


def tier_of(group: Group) -> int:
    """Return the tier of a group among those that are folded."""
    tier = group.record.tier
    return tier if tier < SPARSE_TIER else 1


def spread(leaf: Leaf, column: Array, alive: Array) -> Array:
    """Return a column with a value for each row id, given those of the live rows.

    Parameters
    ----------
    alive : ndarray of bool
        Which row ids are those of live rows.
    """
    places = np.maximum(np.cumsum(alive) - 1, 0)
    if leaf.is_loose:
        # A long string may not be repeated.
        places[~alive] = bytes_of(column).argmin()
    n_live = int(np.count_nonzero(alive))  # not -1: a value may have no items
    found: Array = column.reshape(n_live, leaf.n_values)[places].ravel()
    return found
