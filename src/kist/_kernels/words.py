"""A matrix of 64-bit words, one row per column of a table, in few bytes and back.

Each column is made small on its own: kept, or replaced by the differences of neighbours; with
signs folded into the lowest bit where some are negative; and cut to the bytes that any of its
words needs. The bytes are then put plane by plane: the lowest byte of every column, then the
second of those that have one, and so on, so that alike bytes stand together.

Matrices have the shape (n_columns, n_rows). Few rows are kept in Fortran order, many in C order:
either way NumPy's inner loops are long. The result is the same for both.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["DELTA", "FEW_ROWS", "WIDTH_MASK", "ZIGZAG", "expand", "squeeze", "squeeze_few"]

Words = NDArray[np.int64]
Bytes = NDArray[np.uint8]

WIDTH_MASK: Final = 0x0F
"""Bits of a mode that give the number of bytes of a word, 0 to 8."""
DELTA: Final = 0x10
"""The words are differences to the word before; the first stands apart."""
ZIGZAG: Final = 0x20
"""The sign is the lowest bit: 0, -1, 1, -2 are stored as 0, 1, 2, 3."""

FEW_ROWS: Final = 64
"""Below, the cost is that of the NumPy calls, and matrices stand in Fortran order."""

_LIMITS: Final = np.array([1 << 8 * byte for byte in range(8)], np.uint64)
_BYTE: Final = np.arange(8, dtype=np.uint8)[:, None]
_0: Final = np.int64(0)
_1: Final = np.int64(1)
_63: Final = np.int64(63)


def squeeze(words: Words) -> tuple[Bytes, Words, Bytes]:
    """Return modes, first words and byte planes of a matrix in C order.

    Parameters
    ----------
    words : ndarray of int64, shape (n_columns, n_rows)
        Unsigned 64-bit words come as the signed ones of the same bits.

    Returns
    -------
    modes : ndarray of uint8, shape (n_columns,)
        Width, `DELTA` and `ZIGZAG` of each column.
    firsts : ndarray of int64, shape (number of columns with DELTA,)
    planes : ndarray of uint8, shape (sum of the widths, n_rows)
    """
    n_columns, n_rows = words.shape
    if n_rows < 2 or not n_columns:
        return _squeeze_plain(words)
    out = np.empty_like(words)
    out[:, 0] = 0
    np.subtract(words[:, 1:], words[:, :-1], out=out[:, 1:])
    signed, bits = _bits(words)
    step_signed, step_bits = _bits(out)
    # Differences of random values have one bit more, and a first word beside them: only a
    # clear gain counts.
    delta = step_bits < bits >> np.uint64(1)
    plain = ~delta
    out[plain] = words[plain]
    signed[delta] = step_signed[delta]
    bits[delta] = step_bits[delta]
    firsts = words[:, 0][delta]
    modes = np.searchsorted(_LIMITS, bits, "right").astype(np.uint8)
    modes += delta.view(np.uint8) * np.uint8(DELTA) + signed.view(np.uint8) * np.uint8(ZIGZAG)
    if signed.any():
        _fold(out, signed)
    used = (modes & WIDTH_MASK) > _BYTE
    planes = out.view(np.uint8).reshape(n_columns, n_rows, 8).transpose(2, 0, 1)[used]
    return modes, firsts, planes


def squeeze_few(words: Words, deltas: slice) -> tuple[Bytes, Words, Bytes]:
    """Return the same of a matrix of few rows in Fortran order, which is overwritten.

    All words keep their 8 bytes: where calls count and not bytes, runs of zeros are better left
    to the codec. Which columns get `DELTA` and `ZIGZAG` is said beforehand.

    Parameters
    ----------
    words : ndarray of int64, shape (n_columns, n_rows), Fortran-ordered
    deltas : slice of columns
    """
    n_columns, n_rows = words.shape
    rows = words.T
    start, stop, _ = deltas.indices(n_columns)
    if n_rows < 2 or stop <= start:
        start = stop = 0
    part = rows[:, start:stop]
    firsts = part[:1].flatten()  # a copy: the row is cleared below
    if stop:
        steps = part[1:] - part[:-1]
        signs = steps >> _63
        np.add(steps, steps, out=steps)
        np.bitwise_xor(steps, signs, out=part[1:])
        part[0] = _0
    planes = np.ascontiguousarray(
        rows.view(np.uint8).reshape(n_rows, n_columns, 8).transpose(2, 1, 0)
    )
    return _wide_modes(n_columns, start, stop), firsts, planes.reshape(8 * n_columns, n_rows)


@lru_cache(maxsize=64)
def _wide_modes(n_columns: int, start: int, stop: int) -> Bytes:
    modes = np.full(n_columns, 8, np.uint8)
    modes[start:stop] |= np.uint8(DELTA | ZIGZAG)
    modes.setflags(write=False)
    return modes


def _squeeze_plain(words: Words) -> tuple[Bytes, Words, Bytes]:
    n_columns, n_rows = words.shape
    bits = np.bitwise_or.reduce(words, axis=1).view(np.uint64)
    widths = _LIMITS.searchsorted(bits, "right").astype(np.uint8)
    raw = np.ascontiguousarray(words).view(np.uint8).reshape(n_columns, n_rows, 8)
    return widths, words[:0, :1].ravel(), raw.transpose(2, 0, 1)[widths > _BYTE]


def _bits(words: Words) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
    """Return for each row whether it has negative words, and its largest word once folded."""
    low, high = words.min(axis=1), words.max(axis=1)
    signed = low < 0
    folded = (np.maximum(high, ~low) << 1) | 1
    return signed, np.where(signed, folded, high).view(np.uint64)


def _fold(words: Words, which: NDArray[np.bool_]) -> None:
    """Zigzag some rows in place."""
    part = words[which]
    signs = part >> _63
    part += part
    part ^= signs
    words[which] = part


def expand(
    modes: Bytes, firsts: Words, planes: Bytes, which: NDArray[np.intp] | None = None
) -> Words:
    """Return the words that were squeezed, of all columns or of some.

    Parameters
    ----------
    modes, firsts, planes : ndarray
        As `squeeze` returned them; the caller has checked that widths, numbers of first words
        and planes agree.
    which : ndarray of intp, optional
        Positions of the wanted columns.

    Returns
    -------
    ndarray of int64, shape (n_columns or ``len(which)``, n_rows)
        In Fortran order below `FEW_ROWS` rows, else in C order.
    """
    wide = which is None and len(planes) == 8 * len(modes)  # as `squeeze_few` leaves them
    used = _BYTE if wide else (modes & WIDTH_MASK) > _BYTE
    if which is not None:
        places = np.cumsum(used).reshape(used.shape) - 1
        first_places = np.cumsum(modes & DELTA != 0) - 1
        modes, used = modes[which], used[:, which]
        planes = planes[places[:, which][used]]
        firsts = firsts[first_places[which][modes & DELTA != 0]]
    n_columns, n_rows = len(modes), planes.shape[1]
    if n_rows < FEW_ROWS:
        rows = np.empty((n_rows, n_columns), np.int64)
        raw = rows.view(np.uint8).reshape(n_rows, n_columns, 8).transpose(2, 1, 0)
        words = rows.T
    else:
        words = np.empty((n_columns, n_rows), np.int64)
        raw = words.view(np.uint8).reshape(n_columns, n_rows, 8).transpose(2, 0, 1)
    if wide:
        raw[...] = planes.reshape(8, n_columns, n_rows)
    else:
        words[...] = 0
        raw[used] = planes
    marks = modes.tobytes()
    _unfold(words, _selection(marks, ZIGZAG))
    if len(firsts) and n_rows:
        _sum(words, firsts, _selection(marks, DELTA))
    return words


_HAS: Final = {mark: bytes(bool(mode & mark) for mode in range(256)) for mark in (DELTA, ZIGZAG)}


def _selection(marks: bytes, mark: int) -> Any:
    """Return the columns with a mark: as a slice, which needs no copy, or else as positions."""
    has = marks.translate(_HAS[mark])
    start, stop = has.find(1), has.rfind(1) + 1
    if has.count(1) == stop - max(start, 0):
        return slice(max(start, 0), stop)
    return np.frombuffer(has, np.bool_).nonzero()[0]


def _unfold(words: Words, which: Any) -> None:
    part = words[which]
    if not part.size:
        return
    signs = part & _1
    np.negative(signs, out=signs)
    folded = part.view(np.uint64)
    folded >>= np.uint64(1)
    part ^= signs
    if not isinstance(which, slice):
        words[which] = part


def _sum(words: Words, firsts: Words, which: Any) -> None:
    part = words[which]
    part[:, 0] = firsts
    np.add.accumulate(part, axis=1, out=part)
    if not isinstance(which, slice):
        words[which] = part
