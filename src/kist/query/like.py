"""Patterns of SQL's LIKE: ``%`` stands for any text, ``_`` for one character.

A pattern without ``_`` is a few pieces to be found one behind the other, which NumPy does. With
``_`` all rows go through one automaton at once, a character at a time: the bits of an integer a
row say how much of the pattern may have been read (Shift-And, Baeza-Yates and Gonnet 1992).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kist.errors import QueryError
from kist.query.nodes import Array

__all__ = ["Pattern", "match", "parse_pattern"]

MAX_TOKENS: Final = 62
"""Characters of a pattern with ``_``: one bit each, and one for the end."""

_BYTES: Final = 16 << 20
"""Strings are looked at in parts of about so many bytes, as arrays of fixed width."""


@dataclass(frozen=True)
class Pattern:
    """A pattern, cut at each ``%``.

    Attributes
    ----------
    pieces : tuple
        What stands between the ``%``, each a tuple of characters; None is ``_``.
    binary : bool
        It is for bytes.
    """

    pieces: tuple[tuple[str | None, ...], ...]
    binary: bool

    @property
    def is_plain(self) -> bool:
        """Whether there is no ``_``."""
        return all(None not in piece for piece in self.pieces)

    @property
    def prefix(self) -> str | bytes:
        """Text that all that fits begins with."""
        piece = self.pieces[0]
        return self.text(piece[: piece.index(None)] if None in piece else piece)

    def text(self, piece: tuple[str | None, ...]) -> str | bytes:
        """Return a piece without ``_`` as text of the right kind."""
        text = "".join(char for char in piece if char is not None)
        return text.encode("latin-1") if self.binary else text

    def as_test(self) -> tuple[str, str | bytes] | None:
        """Return the simpler test that does the same, if there is one."""
        if not self.is_plain:
            return None
        texts = [self.text(piece) for piece in self.pieces]
        if len(texts) == 1:
            return "==", texts[0]
        if any(texts[1:-1]):
            return ("contains", texts[1]) if len(texts) == 3 and not texts[0] + texts[2] else None  # type: ignore[operator]
        if not texts[-1]:
            return "startswith", texts[0]
        return None if texts[0] else ("endswith", texts[-1])


def parse_pattern(text: str | bytes) -> Pattern:
    r"""Return the pattern that a text stands for; ``\%``, ``\_`` and ``\\`` mean the sign itself.

    Raises
    ------
    QueryError
        It ends in a single backslash, or is too long.
    """
    binary = isinstance(text, bytes)
    chars = text.decode("latin-1") if isinstance(text, bytes) else text
    pieces: list[list[str | None]] = [[]]
    at = 0
    while at < len(chars):
        char = chars[at]
        if char == "\\":
            at += 1
            if at == len(chars):
                raise QueryError("the pattern ends in a single backslash; write two for one")
            pieces[-1].append(chars[at])
        elif char == "%":
            pieces.append([])
        else:
            pieces[-1].append(None if char == "_" else char)
        at += 1
    # Several % are one.
    kept = [pieces[0], *(p for p in pieces[1:-1] if p), *pieces[1:][-1:]]
    pattern = Pattern(tuple(map(tuple, kept)), binary)
    if not pattern.is_plain and sum(map(len, pattern.pieces)) > MAX_TOKENS:
        raise QueryError(f"a pattern with _ has at most {MAX_TOKENS} characters besides %")
    return pattern


def match(values: Array, pattern: Pattern) -> Array:
    """Return which text fits a pattern.

    Parameters
    ----------
    values : ndarray of kind S, U or T, shape (n,)
        Without nulls.
    """
    if not len(values):
        return np.zeros(0, bool)
    if pattern.is_plain:
        return _find_pieces(values, pattern)
    if values.dtype.kind != "T":
        return _run(values, pattern)
    found = np.zeros(len(values), bool)
    lengths = np.strings.str_len(values)
    start = 0
    while start < len(values):
        width = np.maximum.accumulate(lengths[start:])
        stop = start + max(
            1, int(np.count_nonzero(width * np.arange(4, 4 * len(width) + 4, 4) < _BYTES))
        )
        fixed = values[start:stop].astype(f"U{max(1, int(width[stop - start - 1]))}")
        found[start:stop] = _run(fixed, pattern, lengths[start:stop])
        start = stop
    return found


def _find_pieces(values: Array, pattern: Pattern) -> Array:
    first, *middle, last = (_constant(values, pattern.text(piece)) for piece in pattern.pieces)
    lengths = np.strings.str_len(values)
    found = np.strings.startswith(values, first[0])
    at = np.full(len(values), first[1], np.int64)
    for text, length in middle:
        place = np.strings.find(values, text, at)
        found &= place >= 0
        at = place + length
    end = lengths - last[1]
    found &= (end >= at) & np.strings.endswith(values, last[0])
    return found


def _constant(values: Array, text: str | bytes) -> tuple[Any, int]:
    dtype = np.dtypes.StringDType() if values.dtype.kind == "T" else None
    return np.array(text, dtype=dtype), len(text)


def _run(values: Array, pattern: Pattern, lengths: Array | None = None) -> Array:
    """Return which text of fixed width fits, by the automaton."""
    tokens = [char for piece in pattern.pieces for char in piece]
    one = np.uint64(1)
    # Bit i: the first i tokens are read. `stay`: a % stands behind them.
    stay = 0
    n = 0
    for piece in pattern.pieces[:-1]:
        n += len(piece)
        stay |= 1 << n
    wild = sum(1 << i for i, token in enumerate(tokens) if token is None)
    # Character -> where in the pattern it may stand; the last entry is for all that are not in it.
    last = 1 + max([ord(token) for token in tokens if token is not None], default=0)
    allowed = np.full(last + 1, wild, np.uint64)
    for i, token in enumerate(tokens):
        if token is not None:
            allowed[ord(token)] |= np.uint64(1 << i)
    if lengths is None:
        lengths = np.strings.str_len(values)
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    width = 1 if values.dtype.kind == "S" else 4
    chars = values.view(f"u{width}").reshape(len(values), values.itemsize // width)
    state = np.full(len(values), 1, np.uint64)
    for place in range(int(lengths.max(initial=0))):
        masks = allowed[np.minimum(chars[:, place], last)]
        following = ((state & masks) << one) | (state & np.uint64(stay))
        state = np.where(place < lengths, following, state)
    return (state >> np.uint64(len(tokens)) & one).astype(bool)
