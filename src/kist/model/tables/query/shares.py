"""Rows dealt out to shares that fit into memory: through a temporary file, where they are many.

A number that rows have in common which belong together says which share is theirs, by six of
its bits. So every row is written once and read once, whatever the order of the rows is, and
what belongs together is together in one share. A share that is still too large is dealt out
again, by the next six bits (Kitsuregawa, Tanaka and Moto-oka, "Application of hash to data base
machine and its architecture", New Generation Computing 1, 1983).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from kist import options
from kist.model.tables.query.spill import Extent, Spill

__all__ = ["BITS", "Rows", "Share", "Shares"]

Array = np.ndarray[Any, Any]
Rows = list[Array]
"""Columns of some rows."""

BITS: Final = 6
_SHARES: Final = 1 << BITS
_DEEPEST: Final = 64 // BITS - 1
"""So often shares are dealt out again; numbers have no more bits."""

_FEW: Final = 1 << 18
"""So few rows are one share."""
_STEP: Final = 1 << 18
"""Rows of a temporary file that are dealt out at a time."""


class Share:
    """Some of the rows.

    Attributes
    ----------
    n : int
        How many.
    depth : int
        The lowest ``BITS * depth`` bits of their numbers are the same.
    lowest : int
        These bits.
    """

    def __init__(self, depth: int, lowest: int) -> None:
        self.n = 0
        self.depth, self.lowest = depth, lowest
        self._spill: Spill | None = None
        self._extents: list[Extent] = []
        self._held: list[Rows] = []

    def hold(self, rows: Rows) -> None:
        """Add rows, in memory."""
        if len(rows[0]):
            self._held.append(rows)
            self.n += len(rows[0])

    def put_aside(self, spill: Spill) -> None:
        """Write rows that are held to a temporary file."""
        if self._held:
            self._spill = spill
            self._extents.append(spill.put(_joined(self._held)))
            self._held = []

    def batches(self) -> Iterator[Rows]:
        """Yield the rows, some at a time."""
        if self._spill is not None:
            for extent in self._extents:
                rows = self._spill.get(extent)
                for at in range(0, extent.n, _STEP):
                    yield [column[at : at + _STEP] for column in rows]
        yield from self._held

    def rows(self) -> Rows:
        """Return all rows."""
        return _joined(list(self.batches()))


class Shares:
    """Rows in shares; a context manager.

    Parameters
    ----------
    dtypes : sequence of dtype
        Of the columns.
    number : callable
        Gives the numbers of some rows, uint64.
    why : str
        What for, for messages.
    thin : callable, optional
        Called with rows before they go to the file; gives those among them that are needed.
    of : Share, optional
        The share that they are, where they are dealt out again.

    Attributes
    ----------
    part : int
        A quarter of `kist.options.max_memory`, divided by so much, is held.
    """

    def __init__(
        self,
        dtypes: Sequence[np.dtype[Any]],
        number: Callable[[Rows], Array],
        why: str,
        *,
        thin: Callable[[Rows], Rows] | None = None,
        of: Share | None = None,
    ) -> None:
        self._dtypes, self._number, self._why, self._thin = list(dtypes), number, why, thin
        self._of = Share(0, 0) if of is None else of
        self.part = 1
        self._held: list[Rows] = []
        self._held_bytes = 0
        self._spill: Spill | None = None
        self._shares: list[Share] = []

    def __enter__(self) -> Shares:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._spill is not None:
            self._spill.__exit__(*exc)

    def put(self, rows: Rows) -> None:
        """Add rows."""
        self._held.append(rows)
        self._held_bytes += sum(column.nbytes for column in rows)
        if 4 * self.part * self._held_bytes > options.max_memory:
            self._put_aside()

    def _put_aside(self) -> None:
        if self._thin is not None:
            rows = self._thin(_joined(self._held))
            self._held = [rows]
            self._held_bytes = sum(column.nbytes for column in rows)
            if 8 * self.part * self._held_bytes <= options.max_memory:
                return
        if self._spill is None:
            self._spill = Spill(self._dtypes, self._why)
        self._deal()
        for share in self._shares:
            share.put_aside(self._spill)

    def _deal(self) -> None:
        """Deal out what is held."""
        if not self._shares:
            depth, lowest = self._of.depth, self._of.lowest
            self._shares = [
                Share(depth + 1, lowest | number << BITS * depth) for number in range(_SHARES)
            ]
        parts, self._held, self._held_bytes = self._held[::-1], [], 0
        while parts:
            rows = parts.pop()  # not twice in memory
            for at in range(0, len(rows[0]), _STEP):
                self._deal_some([column[at : at + _STEP] for column in rows])

    def _deal_some(self, rows: Rows) -> None:
        shift = np.uint64(BITS * self._of.depth)
        which = ((self._number(rows) >> shift) & np.uint64(_SHARES - 1)).astype(np.uint8)
        order = which.argsort(kind="stable")  # of one byte each NumPy sorts by counting
        ends = np.bincount(which, minlength=_SHARES).cumsum().tolist()
        dealt = [column[order] for column in rows]
        for share, (low, high) in zip(self._shares, pairwise([0, *ends]), strict=True):
            share.hold([column[low:high] for column in dealt])

    def shares(self, fits: Callable[[Share], bool]) -> Iterator[Share]:
        """Yield all shares that have rows; ones that do not fit are dealt out again before.

        Few rows, and those whose numbers are all the same, are one share though it may not fit.
        """
        if not self._shares:
            whole = Share(self._of.depth, self._of.lowest)
            for rows in self._held:
                whole.hold(rows)
            if whole.n <= _FEW or fits(whole):
                if whole.n:
                    yield whole
                return
        self._deal()
        for share in self._shares:
            if not share.n:
                continue
            if share.depth > _DEEPEST or fits(share):
                yield share
                continue
            kinds = self._dtypes, self._number, self._why
            with Shares(*kinds, thin=self._thin, of=share) as again:
                for rows in share.batches():
                    again.put(rows)
                yield from again.shares(fits)


def _joined(parts: list[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    # NumPy would turn big-endian values round.
    return [np.concatenate(columns, dtype=columns[0].dtype) for columns in zip(*parts, strict=True)]
