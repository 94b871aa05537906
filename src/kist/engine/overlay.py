"""Changes since the root of the tree: a dictionary, and ranges that were deleted whole."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from kist.format.layout import OP_DELETE, OP_PUT
from kist.format.log import Op


class Missing:
    """Type of MISSING."""


MISSING = Missing()  # the overlay says nothing of a key; the tree decides


class Overlay:
    """Puts (value), deletes (None) and deleted ranges, later ones over earlier ones."""

    __slots__ = ("_sorted", "ranges", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes | None] = {}
        self.ranges: list[tuple[bytes, bytes]] = []
        self._sorted: list[bytes] | None = None

    def copy(self) -> Overlay:
        """An independent copy."""
        new = Overlay()
        new.values = self.values.copy()
        new.ranges = self.ranges.copy()
        return new

    def __bool__(self) -> bool:
        return bool(self.values or self.ranges)

    def get(self, key: bytes) -> bytes | Missing | None:
        """Value, None when deleted, MISSING when the tree decides."""
        value = self.values.get(key, MISSING)
        if value is MISSING and self.ranges:
            for start, stop in self.ranges:
                if start <= key < stop:
                    return None
        return value

    def covered(self, key: bytes) -> bool:
        """Whether the tree's entry of this key no longer counts."""
        return self.get(key) is not MISSING

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set a value, or None to delete."""
        if self._sorted is not None and key not in self.values:
            insort(self._sorted, key)
        self.values[key] = value

    def delete_range(self, start: bytes, stop: bytes) -> None:
        """Delete all keys of a range."""
        for key in self.keys_in(start, stop):
            del self.values[key]
        self._sorted = None
        self.ranges.append((start, stop))

    def keys_changed(self) -> None:
        """Take notice that `values` was changed from outside."""
        self._sorted = None

    def apply(self, ops: Iterable[Op]) -> None:
        """Apply the operations of a log record."""
        for op, key, value in ops:
            if op == OP_PUT:
                self.put(key, value)
            elif op == OP_DELETE:
                self.put(key, None)
            else:
                self.delete_range(key, value)

    def keys_in(self, start: bytes, stop: bytes) -> list[bytes]:
        """Keys put or deleted one by one within a range, ascending."""
        if self._sorted is None:
            self._sorted = sorted(self.values)
        keys = self._sorted
        return keys[bisect_left(keys, start) : bisect_left(keys, stop)]
