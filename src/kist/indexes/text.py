"""Smallest and largest text of a page, as the first bytes that a bound keeps.

Text is compared as bytes: `S` and `V` as they are, `U` and `StringDType` as UTF-8, which sorts
like its code points. NULs at the end count only where NumPy counts them, in `StringDType`.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from kist.codecs.utf8 import Utf8

__all__ = ["TEXT_BOUND", "End", "round_up", "text_ends"]

#: Bytes of text that a bound keeps.
TEXT_BOUND = 16

_UTF32 = f"utf-32-{sys.byteorder[0]}e"


class End(NamedTuple):
    """First bytes of the smallest or largest text of a page; `exact` when they are all of it."""

    head: bytes
    exact: bool


def round_up(text: bytes) -> bytes | None:
    """Return the first bytes that sort behind everything that begins with `text`.

    None where there are none, because `text` is empty or all 0xFF.
    """
    head = text.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else None


def text_ends(values: np.ndarray[Any, Any] | Utf8) -> tuple[End, End] | None:
    """Return the first bytes of the smallest and of the largest text of a page.

    Parameters
    ----------
    values : ndarray of kind S, V, U or T, or Utf8, shape (n,), n > 0
        In native byte order, without nulls.

    Returns
    -------
    tuple of two End, or None
        None when there are characters beyond U+10FFFF, which are no text.
    """
    if isinstance(values, Utf8):
        found = _utf8_ends(values)
        if found is not None:
            return found
        values = values.array()
    kind = values.dtype.kind
    if kind in "SV":
        lo, hi = (End(head.rstrip(b"\0"), exact) for head, exact in _bytes_ends(values, 0))
        return lo, hi
    if kind == "U":  # NumPy has no min and max for these
        rows = np.array([values.argmin(), values.argmax()])
        points = values[rows].view(np.uint32)
        if points.max() > 0x10FFFF:
            return None
        raw = [half.tobytes() for half in points.reshape(2, -1)]
        pair = [text.decode(_UTF32, "surrogatepass").rstrip("\0") for text in raw]
    else:
        pair = [str(values.min()), str(values.max())]
    # surrogatepass keeps code point order also for what is no text at all.
    texts = [text.encode("utf-8", "surrogatepass") for text in pair]
    if kind == "T":
        # NumPy compares StringDType up to the first NUL and then by length. Cut there, the bounds
        # hold in that order: what follows counts like what follows the 16th byte.
        heads = [text.partition(b"\0")[0][:TEXT_BOUND] for text in texts]
    else:
        heads = [text[:TEXT_BOUND] for text in texts]
    lo, hi = (End(head, head == text) for head, text in zip(heads, texts, strict=True))
    return lo._replace(head=lo.head.rstrip(b"\0")), hi


def _utf8_ends(values: Utf8) -> tuple[End, End] | None:
    """Return the ends of strings without a look at each; None where one holds a NUL."""
    text = values.joined
    if len(text) and not int(text.min()):
        return None
    # One byte of each leaves few whose eight are compared, and takes a tenth of the time of eight.
    heads = values.heads()
    found = []
    for pick in (np.min, np.max):
        rows = np.flatnonzero(heads == pick(heads))
        words: list[Any] = []
        for offset in range(0, TEXT_BOUND, 8):
            next_words = values.words(rows, offset)
            words.append(pick(next_words))
            rows = rows[next_words == words[-1]]
        # Of those that begin alike the shortest is the smallest.
        exact = bool(pick(values.lengths[rows]) <= TEXT_BOUND)
        found.append(End(np.array(words, ">u8").tobytes().rstrip(b"\0"), exact))
    return found[0], found[1]


def _bytes_ends(values: np.ndarray[Any, Any], offset: int) -> tuple[End, End]:
    """Return the ends of fixed-width bytes, from `offset` on.

    Compares eight bytes at a time as integers, each step only among the rows that are equal so
    far: argmin and argmax of `S` compare byte by byte and take three times as long.
    """
    width = values.dtype.itemsize
    stop = min(width, TEXT_BOUND)
    if offset == stop:
        end = End(b"", not _field(values, f"({width - stop},)u1", stop).any())
        return end, end
    size = next(n for n in (8, 4, 2, 1) if offset + n <= stop)
    words = _field(values, f">u{size}", offset)
    extremes = words.min(), words.max()
    heads = [int(word).to_bytes(size, "big") for word in extremes]
    offset += size
    if offset == width:
        tails = (End(b"", True), End(b"", True))
    elif extremes[0] == extremes[1]:
        tails = _bytes_ends(values, offset)
    else:
        lo, hi = (_bytes_ends(values[words == word], offset) for word in extremes)
        tails = lo[0], hi[1]
    low, high = (End(head + tail.head, tail.exact) for head, tail in zip(heads, tails, strict=True))
    return low, high


def _field(values: np.ndarray[Any, Any], kind: str, offset: int) -> np.ndarray[Any, Any]:
    """Return some bytes of every fixed-width value as another dtype, without a copy."""
    layout = {"names": ["x"], "formats": [kind], "offsets": [offset]}
    return values.view(np.dtype({**layout, "itemsize": values.dtype.itemsize}))["x"]  # type: ignore[call-overload]
