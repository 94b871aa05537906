"""Bytes of a fuzzer as numbers and pieces; zeros when they run out."""

from __future__ import annotations


class Feed:
    """Takes one thing after the other from some bytes, and never fails."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, n: int) -> bytes:
        """The next `n` bytes, padded with zeros."""
        found = self._data[self._at : self._at + n]
        self._at += n
        return found.ljust(n, b"\0")

    def number(self, n_bytes: int = 1) -> int:
        """An unsigned number of so many bytes."""
        return int.from_bytes(self.take(n_bytes), "little")

    def below(self, limit: int) -> int:
        """A number below `limit`, of one or two bytes."""
        return self.number(1 if limit <= 256 else 2) % limit

    def blob(self) -> bytes:
        """Some bytes behind their length, fewer when there are no more."""
        found = self._data[self._at + 2 : self._at + 2 + self.number(2)]
        self._at += len(found)
        return found

    def rest(self) -> bytes:
        """All bytes that are left."""
        found = self._data[self._at :]
        self._at = len(self._data)
        return found


def packed(*parts: int | bytes) -> bytes:
    """The counterpart: ints as one byte, bytes behind their length."""
    out = []
    for part in parts:
        if isinstance(part, int):
            out.append(bytes((part,)))
        else:
            out += [len(part).to_bytes(2, "little"), part]
    return b"".join(out)
