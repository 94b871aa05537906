"""Stage 3, dictionary: few distinct items, and for each place the number of its item."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist._kernels.lookup import distinct, keys_of, number
from kist._kernels.sets import members
from kist.codecs.fields import FieldReader
from kist.codecs.stage import Options, Shape, Span
from kist.codecs.values import as_words
from kist.errors import CodecError

_HEAD = struct.Struct("<I")

MAX_ITEMS = 4096
MAX_BYTES = 16384
"""Writers stop here: reading one row reads all parameters of its page."""

_SAMPLE = 2048
_FIRST_SAMPLE = 256
"""Tells when there are very few items, and takes a fifth of the time."""
_ROUNDS = 3


class Dictionary:
    """Parameters: count u32; the items, distinct. Numbers are u8 up to 256 items, else u16."""

    id = 3
    name = "dictionary"

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, NDArray[Any]] | None:
        """None when there are too many distinct items, or none that are worth it."""
        size = values.itemsize
        if size < 2:
            return None
        found = find_items(values, min(MAX_ITEMS, MAX_BYTES // size))
        # Unlike the keys, the numbers must not be wider than the items were.
        if found is None or found[1].itemsize >= size:
            return None
        items, numbers = found
        return _HEAD.pack(items.size) + items.tobytes(), numbers

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> LoadedDictionary:
        """The items; their number tells the width of the numbers."""
        reader = FieldReader(params, self.name)
        (count,) = reader.read(_HEAD)
        numbers = np.dtype("<u1" if count <= 256 else "<u2")
        if not 0 < count <= 1 << 16 or form.itemsize <= numbers.itemsize:
            raise CodecError(f"dictionary: {count} items of {form} do not make one")
        items = reader.array(form, count)
        reader.end()
        return LoadedDictionary(numbers, items)

    def describe(self, options: Options) -> str:
        """Its name."""
        return self.name


class LoadedDictionary(NamedTuple):
    """The items of a page."""

    form: np.dtype[Any]
    items: NDArray[Any]

    def decode(self, source: NDArray[Any], target: NDArray[Any], span: Span) -> None:
        """Take the item of each number."""
        highest = source.max()
        if highest >= self.items.size:
            raise CodecError(f"dictionary: number {highest} where {self.items.size} items are")
        words = as_words(self.items)
        if words is not None:
            # Not "raise": that would write to a buffer first.
            words.take(source, out=target.view(words.dtype), mode="clip")
        else:
            target[...] = self.items[source]


def find_items(
    values: NDArray[Any], limit: int
) -> tuple[NDArray[Any], NDArray[np.uint8 | np.uint16]] | None:
    """Return the distinct items of `values`, in any order, and the number of each value.

    Parameters
    ----------
    values : ndarray, 1-d, C-contiguous
        At least one item of at least one byte.
    limit : int
        Most items.

    Returns
    -------
    (items, numbers) or None
        None when there are more items, or keys of theirs collide.
    """
    keys = keys_of(values)
    for size_of_sample in (_FIRST_SAMPLE, _SAMPLE):
        stride = max(1, values.size // size_of_sample)
        items, known = distinct(values[::stride], keys[::stride])
        if known.size <= _FIRST_SAMPLE // 8:
            break
    for _ in range(_ROUNDS):
        if not 0 < known.size <= limit:
            return None
        numbers = number(keys, known)
        if numbers is None:
            return None
        wrong = _differ(items.take(numbers), values)
        if wrong is None:
            return items, numbers
        # Items that the sample missed. If they share a key with a known one, give up.
        more = np.flatnonzero(wrong)
        if more.size > limit:
            stride = max(1, more.size // _SAMPLE)
            more = more[::stride]
        new_items, new_keys = distinct(values[more], keys[more])
        if members(new_keys, known).any():
            return None
        known = np.concatenate((known, new_keys))
        order = np.argsort(known)
        known, items = known[order], np.concatenate((items, new_items))[order]
    return None


def _differ(found: NDArray[Any], values: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where two arrays of one form differ, or None where they do not."""
    left, right = as_words(found), as_words(values)
    if left is None or right is None:
        shape = (values.size, values.itemsize)
        rows = found.view(np.uint8).reshape(shape) != values.view(np.uint8).reshape(shape)
        wrong: NDArray[np.bool_] = rows.any(axis=1)
    else:
        wrong = left != right
    return wrong if wrong.any() else None
