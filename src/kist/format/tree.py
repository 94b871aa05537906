"""Pages of the tree: sorted keys with values (leaves) or with pointers to children.

A page states where each key and value begins, not how long it is: one key is found among packed
bytes by bisecting, at a fiftieth of what unpacking the page costs.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from operator import lt, sub

from kist.errors import CorruptDataError
from kist.format.layout import MAX_TREE_DEPTH, MAX_TREE_PAGE, POINTER, TREE_PAGE

_HEAD = TREE_PAGE.struct
_PLACE = 4  # bytes of a position

PAGE_BYTES = _HEAD.size + _PLACE
"""Bytes of a page without entries and prefix."""

ENTRY_BYTES = 2 * _PLACE
"""Bytes that an entry takes beside its key and value."""


def pack_tree_page(level: int, keys: Sequence[bytes], values: Sequence[bytes]) -> bytes:
    """Body of a tree page.

    Parameters
    ----------
    level : int
        0 for a leaf.
    keys : sequence of bytes
        Ascending. In an inner page: the first key of each child, or any key that is not above
        it and above all keys of the child before.
    values : sequence of bytes
        Values, or packed pointers to the children.
    """
    prefix = _common_prefix(keys[0], keys[-1]) if keys else b""
    n, cut = len(keys), len(prefix)
    parts = [k[cut:] for k in keys] if cut else list(keys)
    parts += values
    start = PAGE_BYTES + ENTRY_BYTES * n + cut
    places = accumulate(map(len, parts), initial=start)
    return b"".join(
        (_HEAD.pack(level, 0, cut, n), struct.pack(f"<{2 * n + 1}I", *places), prefix, *parts)
    )


def _common_prefix(first: bytes, last: bytes) -> bytes:
    low, high = 0, min(len(first), len(last))
    while low < high:
        middle = (low + high + 1) >> 1
        if first[:middle] == last[:middle]:
            low = middle
        else:
            high = middle - 1
    return first[:low]


def tree_page_size(keys: Sequence[bytes], values: Sequence[bytes]) -> int:
    """Upper bound of the bytes of a page with these entries."""
    return PAGE_BYTES + ENTRY_BYTES * len(keys) + sum(map(len, keys)) + sum(map(len, values))


def _head_of(data: bytes) -> tuple[int, int, int]:
    """(level, bytes of the prefix, entries) of a page whose positions lie within it."""
    if len(data) < PAGE_BYTES:
        raise CorruptDataError(f"tree page of {len(data)} bytes is cut off")
    level, flags, cut, n = _HEAD.unpack_from(data)
    # Keys are counted with their prefix: a small page must not become a large one.
    large = PAGE_BYTES + ENTRY_BYTES * n + cut > len(data) or n * cut + len(data) > MAX_TREE_PAGE
    if flags or level > MAX_TREE_DEPTH or large:
        raise CorruptDataError(f"tree page: level {level}, flags {flags}, {n} entries")
    return level, cut, n


def unpack_tree_page(data: bytes) -> tuple[int, list[bytes], list[bytes]]:
    """(level, keys, values) of a page body.

    Raises
    ------
    CorruptDataError
        Positions do not fit the page, or keys do not ascend.
    """
    level, cut, n = _head_of(data)
    places = list(struct.unpack_from(f"<{2 * n + 1}I", data, _HEAD.size))
    start = PAGE_BYTES + ENTRY_BYTES * n
    # From end to end and ascending: then nothing lies outside, and nothing is there twice.
    if places[0] != start + cut or places[-1] != len(data) or places != sorted(places):
        raise CorruptDataError(f"tree page of {len(data)} bytes: its positions do not fit")
    prefix = data[start : start + cut]
    keys = [prefix + data[a:b] for a, b in pairwise(places[: n + 1])]
    values = [data[a:b] for a, b in pairwise(places[n:])]
    if keys != sorted(keys) or len(set(keys)) != n:
        raise CorruptDataError("tree page: keys do not ascend")
    if level and set(map(len, values)) - {POINTER.size}:
        raise CorruptDataError("tree page: a value of an inner page is no pointer")
    return level, keys, values


class PackedPage:
    """A page as it is stored, to look single keys up.

    Parameters
    ----------
    data : bytes
        Verified body of a page.

    Attributes
    ----------
    level : int
        0 of a leaf.
    uses : int
        How often whoever keeps the page has looked into it.

    Raises
    ------
    CorruptDataError
        Its positions do not begin and end where they must.
    """

    __slots__ = ("_count", "_data", "_places", "_prefix", "level", "uses")

    def __init__(self, data: bytes) -> None:
        level, cut, n = _head_of(data)
        start = PAGE_BYTES + ENTRY_BYTES * n
        places: memoryview[int] | array[int]
        places = memoryview(data)[_HEAD.size : start].cast("I")
        if sys.byteorder == "big":
            places = array("I", places)
            places.byteswap()
        ends = places[0], places[2 * n]
        if ends != (start + cut, len(data)) or places[n] > len(data):
            raise self._misfit(data)
        self.level = level
        self.uses = 0
        self._data = data
        self._places = places
        self._prefix = data[start : start + cut]
        self._count = n

    @property
    def size(self) -> int:
        """Bytes of memory that it keeps."""
        return len(self._data)

    @property
    def bound(self) -> int:
        """Bytes that it would have with other keys: `tree_page_size` of its entries."""
        return len(self._data) + len(self._prefix) * (self._count - 1)

    def get(self, key: bytes) -> bytes | None:
        """Value of a key of a leaf, or None.

        Raises
        ------
        CorruptDataError
            A position that was looked at does not fit. Those that were not are not checked: a
            damaged page fails its sum, and a hostile one may leave a key out anyway.
        """
        if not key.startswith(self._prefix):
            return None
        rest = key[len(self._prefix) :]
        # In C: a tenth of the time of a search that steps through Python.
        places, n = self._places, self._count
        begin = self._data.find(rest, places[0], places[n])
        if begin < 0:
            return None
        at = bisect_left(places, begin, 0, n)
        if at < n and places[at] == begin and places[at + 1] == begin + len(rest):
            return self._value(at)
        at, found = self._last_upto(rest)  # what was found is a part of other keys
        return self._value(at) if at >= 0 and found == rest else None

    def child(self, key: bytes) -> bytes | None:
        """Packed pointer to the child of an inner page that a key may lie under, or None.

        Raises
        ------
        CorruptDataError
            As `get`; or the value is no pointer.
        """
        prefix = self._prefix
        if key.startswith(prefix):
            at, _ = self._last_upto(key[len(prefix) :])
        else:  # all keys of the page are above this one, or none
            at = self._count - 1 if key > prefix else -1
        if at < 0:
            return None
        value = self._value(at)
        if len(value) != POINTER.size:
            raise CorruptDataError("tree page: a value of an inner page is no pointer")
        return value

    def _last_upto(self, rest: bytes) -> tuple[int, bytes]:
        """The last key that is not above `rest`, both behind the prefix; -1 where there is none."""
        data, places = self._data, self._places  # the loop is what a look-up costs
        low, high, stop, found = 0, self._count, places[self._count], b""
        while low < high:
            middle = (low + high) >> 1
            first, last = places[middle], places[middle + 1]
            if first > last or last > stop:
                raise self._misfit(data)
            key = data[first:last]
            if key < rest:
                low, found = middle + 1, key
            elif key == rest:
                return middle, key
            else:
                high = middle
        return low - 1, found

    def _value(self, at: int) -> bytes:
        places, n = self._places, self._count
        first, last = places[n + at], places[n + at + 1]
        if not places[n] <= first <= last <= len(self._data):
            raise self._misfit(self._data)
        return self._data[first:last]

    def edited(self, keys: Sequence[bytes], values: Sequence[bytes | None]) -> bytes | None:
        """Body of this leaf with a few puts (value) and deletes (None) applied.

        Bytes between the changes are copied as they lie: a third of what unpacking, merging and
        packing costs.

        Parameters
        ----------
        keys, values : sequences of bytes, of bytes or None
            Ascending keys, each once, and what becomes of them.

        Returns
        -------
        bytes or None
            None where a key does not begin with the prefix of the page, or nothing is left.

        Raises
        ------
        CorruptDataError
            Positions do not fit the page.
        """
        data, n, cut = self._data, self._count, len(self._prefix)
        places = self._places.tolist()
        if places != sorted(places):
            raise self._misfit(data)
        of_keys: list[_Splice] = []
        of_values: list[_Splice] = []
        more = 0
        for key, value in zip(keys, values, strict=True):
            if not key.startswith(self._prefix):
                return None
            rest = key[cut:]
            at, found = self._last_upto(rest)
            if at >= 0 and found == rest:
                of_values.append((at, 1, value))
                if value is None:
                    of_keys.append((at, 1, None))
                    more -= 1
            elif value is not None:
                of_keys.append((at + 1, 0, rest))
                of_values.append((at + 1, 0, value))
                more += 1
        if not n + more:
            return None
        grown = ENTRY_BYTES * more
        head = _HEAD.pack(self.level, 0, cut, n + more)
        starts, key_parts, grown = _spliced(data, places[: n + 1], of_keys, grown)
        starts.pop()  # where keys end the first value begins
        of_values_at, value_parts, _ = _spliced(data, places[n:], of_values, grown)
        starts += of_values_at
        table = struct.pack(f"<{len(starts)}I", *starts)
        return b"".join((head, table, self._prefix, *key_parts, *value_parts))

    @staticmethod
    def _misfit(data: bytes) -> CorruptDataError:
        return CorruptDataError(f"tree page of {len(data)} bytes: its positions do not fit")

    def unpack(self) -> tuple[int, list[bytes], list[bytes]]:
        """The whole page, as `unpack_tree_page` gives it."""
        return unpack_tree_page(self._data)

    def ends(self) -> tuple[bytes, bytes] | None:
        """First and last key; None of a page without entries."""
        n = self._count
        return (self._key(0), self._key(n - 1)) if n else None

    def _key(self, at: int) -> bytes:
        return self._prefix + self._data[self._places[at] : self._places[at + 1]]

    def texts(self, skip: int) -> tuple[list[str], set[int]] | None:
        """Keys behind their first `skip` bytes as text, and which lengths values have.

        At a third of what unpacking the page costs: values are not cut out, and keys at once.

        Returns
        -------
        (list of str, set of int) or None
            None where a key is not ASCII, or does not begin with the same bytes as the others.

        Raises
        ------
        CorruptDataError
            Positions do not fit the page, or keys do not ascend.
        """
        data, n = self._data, self._count
        places = self._places.tolist()
        if places != sorted(places):
            raise CorruptDataError(f"tree page of {len(data)} bytes: its positions do not fit")
        head, body = self._prefix[skip:], data[: places[n]]
        if len(self._prefix) < skip or not (head + body[places[0] :]).isascii():
            return None
        text, first = body.decode("latin-1"), head.decode("ascii")
        found = [first + text[a:b] for a, b in pairwise(places[: n + 1])]
        if not all(map(lt, found, found[1:])):
            raise CorruptDataError("tree page: keys do not ascend")
        return found, set(map(sub, places[n + 1 :], places[n:]))


_Splice = tuple[int, int, bytes | None]  # at which entry, how many go, what comes instead


def _spliced(
    data: bytes, places: list[int], splices: Iterable[_Splice], grown: int
) -> tuple[list[int], list[bytes], int]:
    """Keys or values of a page with some of them replaced.

    Parameters
    ----------
    places : list of int
        Where each begins in `data`, and where the last one ends.
    grown : int
        By how much what stands before them became longer.

    Returns
    -------
    (list of int, list of bytes, int)
        Where each begins then, and where the last one ends; their bytes; and by how much the page
        became longer up to there.
    """
    starts: list[int] = []
    parts: list[bytes] = []
    done = 0
    for at, gone, new in splices:
        starts += [place + grown for place in places[done:at]]
        parts.append(data[places[done] : places[at]])
        done = at + gone
        if new is not None:
            starts.append(places[at] + grown)
            parts.append(new)
            grown += len(new)
        grown -= places[done] - places[at]
    starts += [place + grown for place in places[done:]]
    parts.append(data[places[done] : places[-1]])
    return starts, parts, grown
