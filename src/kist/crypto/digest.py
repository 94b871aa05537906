"""The digest of a set of items, changed item by item, without a list of them.

XOR of keyed hashes (XOR-MAC of Bellare, Guerin and Rogaway). It holds for *distinct* items and
against whoever does not see it: so it is kept sealed, beside the number of items.
"""

from __future__ import annotations

from collections.abc import Iterable

from kist.crypto.hidden import Hidden

__all__ = ["SetDigest"]


class SetDigest:
    """A set, by its keyed digest and its size.

    Parameters
    ----------
    key : Hidden
        For this set alone.
    value : bytes
        Digest so far, 32 bytes.
    count : int
        Items so far.

    Examples
    --------
    >>> one, other = SetDigest(Hidden(bytes(32))), SetDigest(Hidden(bytes(32)))
    >>> one.add([b"a", b"b"]); other.add([b"b", b"c", b"a"]); other.remove([b"c"])
    >>> one == other
    True
    """

    __slots__ = ("_key", "_value", "count")
    __hash__ = None  # type: ignore[assignment]  # it changes

    def __init__(self, key: Hidden, value: bytes = bytes(32), count: int = 0) -> None:
        self._key = key
        self._value = int.from_bytes(value, "little")
        self.count = count

    def copy(self) -> SetDigest:
        """Return the same set, to be changed by itself."""
        return SetDigest(self._key, self._value.to_bytes(32, "little"), self.count)

    def add(self, items: Iterable[bytes]) -> None:
        """Add items that are not in the set."""
        self.count += self._turn(items)

    def remove(self, items: Iterable[bytes]) -> None:
        """Take items out that are in the set."""
        self.count -= self._turn(items)

    def _turn(self, items: Iterable[bytes]) -> int:
        turned, n = self._key.xor_of_macs(items)
        self._value ^= turned
        return n

    def hidden(self) -> Hidden:
        """Return the digest, 32 bytes."""
        return Hidden(self._value.to_bytes(32, "little"))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SetDigest):
            return NotImplemented
        return self.count == other.count and self.hidden() == other.hidden()

    def __repr__(self) -> str:
        return f"<digest of {self.count:,} items>"
