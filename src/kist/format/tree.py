"""Pages of the tree: sorted keys with values (leaves) or with pointers to children."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise

from kist.errors import CorruptDataError
from kist.format.layout import MAX_TREE_DEPTH, MAX_TREE_PAGE, POINTER, TREE_PAGE

_HEAD = TREE_PAGE.struct


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
    return b"".join(
        (
            _HEAD.pack(level, 0, cut, n),
            struct.pack(f"<{n}H", *[len(k) - cut for k in keys]),
            struct.pack(f"<{n}I", *[len(v) for v in values]),
            prefix,
            *[k[cut:] for k in keys],
            *values,
        )
    )


def _common_prefix(first: bytes, last: bytes) -> bytes:
    for i, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return first[:i]
    return first[: len(last)]


def tree_page_size(keys: Sequence[bytes], values: Sequence[bytes]) -> int:
    """Upper bound of the bytes of a page with these entries."""
    return _HEAD.size + 6 * len(keys) + sum(map(len, keys)) + sum(map(len, values))


def unpack_tree_page(data: bytes) -> tuple[int, list[bytes], list[bytes]]:
    """(level, keys, values) of a page body.

    Raises
    ------
    CorruptDataError
        Lengths do not add up, or keys do not ascend.
    """
    try:
        level, flags, cut, n = _HEAD.unpack_from(data)
        # Keys are counted with their prefix: a small page must not become a large one.
        large = 6 * n > len(data) or n * cut + len(data) > MAX_TREE_PAGE
        if flags or level > MAX_TREE_DEPTH or large:
            raise CorruptDataError(f"tree page: level {level}, flags {flags}, {n} entries")
        at = _HEAD.size
        key_lengths = struct.unpack_from(f"<{n}H", data, at)
        at += 2 * n
        value_lengths = struct.unpack_from(f"<{n}I", data, at)
        at += 4 * n
    except struct.error as error:
        raise CorruptDataError(f"tree page of {len(data)} bytes is cut off: {error}") from error
    prefix = data[at : at + cut]
    ends = list(accumulate(key_lengths, initial=at + cut))
    keys = [prefix + data[a:b] for a, b in pairwise(ends)]
    ends = list(accumulate(value_lengths, initial=ends[-1]))
    if ends[-1] != len(data):
        raise CorruptDataError(f"tree page of {len(data)} bytes: its entries take {ends[-1]} bytes")
    values = [data[a:b] for a, b in pairwise(ends)]
    if keys != sorted(keys) or len(set(keys)) != n:
        raise CorruptDataError("tree page: keys do not ascend")
    if level and not all(length == POINTER.size for length in value_lengths):
        raise CorruptDataError("tree page: a value of an inner page is no pointer")
    return level, keys, values
