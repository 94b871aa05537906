"""Changes since the root of the tree: a dictionary, and ranges that were deleted whole."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from itertools import repeat

from kist.format.keys import after_prefix, node_of
from kist.format.layout import OP_DELETE, OP_PUT
from kist.format.log import Op

Ranges = tuple[list[bytes], list[bytes]]


class Missing:
    """Type of MISSING."""


MISSING = Missing()  # the overlay says nothing of a key; the tree decides


class Overlay:
    """Puts (value), deletes (None) and deleted ranges, later ones over earlier ones.

    Attributes
    ----------
    values : dict of bytes to (bytes or None)
        What single keys were set to.
    ranges : (list of bytes, list of bytes)
        Starts and stops of deleted ranges: ascending, apart from each other. Replaced, never
        changed, so that it can be kept and put back.
    ordered : list of bytes or None
        The keys of `values` in order, once somebody has asked for a range of them.
    """

    __slots__ = ("ordered", "ranges", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes | None] = {}
        self.ranges: Ranges = ([], [])
        self.ordered: list[bytes] | None = None

    def copy(self) -> Overlay:
        """An independent copy."""
        new = Overlay.__new__(Overlay)
        new.values, new.ranges, new.ordered = self.values.copy(), self.ranges, None
        return new

    def __bool__(self) -> bool:
        return bool(self.values or self.ranges[0])

    def get(self, key: bytes) -> bytes | Missing | None:
        """Value, None when deleted, MISSING when the tree decides."""
        value = self.values.get(key, MISSING)
        if value is MISSING and self.ranges[0]:
            starts, stops = self.ranges
            at = bisect_right(starts, key) - 1
            if at >= 0 and key < stops[at]:
                return None
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | Missing | None]:
        """The same for each of some keys."""
        if self.ranges[0]:
            return list(map(self.get, keys))
        return list(map(self.values.get, keys, repeat(MISSING)))

    def covered(self, key: bytes) -> bool:
        """Whether the tree's entry of this key no longer counts."""
        return self.get(key) is not MISSING

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set a value, or None to delete."""
        self.values_for(key)[key] = value

    def put_many(self, new: dict[bytes, bytes]) -> None:
        """Set many values."""
        if self.ordered is not None and new:
            found, ordered = sorted(new), self.ordered
            at = bisect_left(ordered, found[0])
            if at == len(ordered) or ordered[at] > found[-1]:
                ordered[at:at] = found  # nothing stands between them, so that none is there yet
            else:
                ordered += [key for key in found if key not in self.values]
                ordered.sort()  # of two runs: a merge
        self.values.update(new)

    def values_for(self, key: bytes) -> dict[bytes, bytes | None]:
        """Where a key is about to be set: a key that is noted and not set does no harm."""
        if self.ordered is not None and key not in self.values:
            insort(self.ordered, key)
        return self.values

    def delete_range(self, start: bytes, stop: bytes) -> None:
        """Delete all keys of a range."""
        if start >= stop:
            return
        for key in self.keys_in(start, stop):
            del self.values[key]
        if self.ordered is not None:
            del self.ordered[bisect_left(self.ordered, start) : bisect_left(self.ordered, stop)]
        starts, stops = self.ranges
        first, last = bisect_left(stops, start), bisect_right(starts, stop)  # those that touch it
        if first < last:
            start, stop = min(start, starts[first]), max(stop, stops[last - 1])
        self.ranges = (
            [*starts[:first], start, *starts[last:]],
            [*stops[:first], stop, *stops[last:]],
        )

    def clear(self) -> None:
        """Forget everything."""
        self.values, self.ranges, self.ordered = {}, ([], []), None

    def keys_changed(self) -> None:
        """Take notice that `values` was changed from outside."""
        self.ordered = None

    def apply(self, ops: Iterable[Op]) -> None:
        """Apply the operations of a log record."""
        for op, key, value in ops:
            if op == OP_PUT:
                self.put(key, value)
            elif op == OP_DELETE:
                self.put(key, None)
            else:
                self.delete_range(key, value)

    def in_order(self) -> list[bytes]:
        """Keys put or deleted one by one, ascending. Not to be changed."""
        if self.ordered is None:
            self.ordered = sorted(self.values)
        return self.ordered

    def keys_in(self, start: bytes, stop: bytes) -> list[bytes]:
        """Those of a range."""
        keys = self.in_order()
        return keys[bisect_left(keys, start) : bisect_left(keys, stop)]

    def nodes(self) -> frozenset[int]:
        """Node ids of keys put or deleted one by one."""
        # Of perhaps a million keys few differ in their node.
        ordered, at = self.in_order(), 0
        found: list[int] = []
        while at < len(ordered):
            key = ordered[at]
            found.append(node_of(key))
            at = bisect_left(ordered, after_prefix(key[:8]), at + 1)
        return frozenset(found)
