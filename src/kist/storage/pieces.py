"""Ranges of bytes of a file far away that are at hand, bounded in bytes."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict

__all__ = ["Pieces", "Range"]

Range = tuple[int, int]  # first byte and end


class Pieces:
    """Pieces of a file that do not overlap; those used least recently go first.

    Parameters
    ----------
    limit : int
        Bytes to keep, beside those that are kept for good.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._starts: list[int] = []
        self._data: dict[int, bytes] = {}
        self._order: OrderedDict[int, None] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, start: int, stop: int) -> bytes | None:
        """Return the bytes of a range, None unless all of them are at hand."""
        with self._lock:
            found = self._within(start, stop)
            at = start
            parts: list[bytes] = []
            for begin in found:
                data = self._data[begin]
                if begin > at:
                    return None
                parts.append(data[at - begin : stop - begin])
                at = begin + len(data)
            if at < stop:
                return None
            for begin in found:
                if begin in self._order:
                    self._order.move_to_end(begin)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def missing(self, start: int, stop: int) -> list[Range]:
        """Return the parts of a range that are not at hand, ascending."""
        with self._lock:
            return self._missing(start, stop)

    def put(self, start: int, data: bytes, *, for_good: bool = False) -> None:
        """Keep what is not at hand yet."""
        with self._lock:
            for a, b in self._missing(start, start + len(data)):
                whole = b - a == len(data)
                insort(self._starts, a)
                self._data[a] = data if whole else data[a - start : b - start]
                if not for_good:
                    self._order[a] = None
                    self._bytes += b - a
            while self._bytes > self.limit:
                self._drop(next(iter(self._order)))

    def clear(self) -> None:
        """Forget all, also what was to be kept for good."""
        with self._lock:
            self._starts.clear()
            self._data.clear()
            self._order.clear()
            self._bytes = 0

    def after_fork_in_child(self) -> None:
        """The thread that held the lock does not exist here."""
        self._lock = threading.Lock()

    def _within(self, start: int, stop: int) -> list[int]:
        """Starts of the pieces that have something of a range."""
        starts = self._starts
        first = bisect_right(starts, start) - 1
        if first < 0 or starts[first] + len(self._data[starts[first]]) <= start:
            first += 1
        return starts[first : bisect_left(starts, stop)]

    def _missing(self, start: int, stop: int) -> list[Range]:
        gaps = []
        at = start
        for begin in self._within(start, stop):
            if begin > at:
                gaps.append((at, begin))
            at = begin + len(self._data[begin])
        if at < stop:
            gaps.append((at, stop))
        return gaps

    def _drop(self, start: int) -> None:
        del self._order[start]
        self._bytes -= len(self._data.pop(start))
        del self._starts[bisect_left(self._starts, start)]
