"""Sorting rows by several keys: each key becomes unsigned words, and words are sorted.

`sortable` turns the values of a key into one or more arrays of uint64 whose order, first word
first, is that of the values: NaN, NaT and missing strings last, in descending order too. Whatever
follows knows nothing of dtypes.

NumPy sorts 64-bit words in about 15 ns each, but takes 200 ns for the *positions* of a stable
sort. So `stable_order` puts the position into the low bits of the word and sorts that: rows that
are equal in the high bits stay in order, and only where the word has more bits than there is room
for are such runs looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kist._kernels.strings import matrix_of, sizes

__all__ = ["ranges_of", "smallest", "sortable", "stable_order"]

Array = NDArray[Any]
Words = NDArray[np.uint64]

_SIGN: Final = np.uint64(1 << 63)
_LAST: Final = np.uint64(2**64 - 1)
_CELL_BITS: Final = 12
_UNSURE: Final = 255
_SHORT: Final = 32
"""Bytes of strings that are sorted by their bytes: four words, a pass each."""


def sortable(values: Array, *, descending: bool = False) -> list[Words]:
    """Return words that sort like the values, the most significant first.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Numbers, times, bool, `S`, `U`, `V` or `StringDType`; or nullable values, the fields
        `value`, zero where there is none, and `valid`. Their nulls come last.
    descending : bool
        Turn the order round; what is missing stays last.

    Returns
    -------
    list of ndarray of uint64, shape (n,)
        Words of strings of any length (`StringDType`), and how many there are, can be compared
        within one call only.
    """
    if values.dtype.names is not None:
        # Values of a nullable dtype: always a word more, so that several calls can be compared.
        several = sortable(np.ascontiguousarray(values["value"]), descending=descending)
        return [(~values["valid"]).astype(np.uint64), *several]
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    kind = values.dtype.kind
    if kind == "T":
        return _of_strings(values, descending)
    if kind == "f" and values.itemsize > 8:
        return _of_longdouble(values, descending)
    if kind == "f":
        return [_of_floats(values, descending)]
    if kind == "c":
        return _of_complex(values, descending)
    if kind in "mM":
        # NaT is the smallest integer: one step down, it is the largest word.
        words = values.view(np.uint64) + np.uint64((1 << 63) - 1)
        if descending:
            words = np.where(words == _LAST, _LAST, (_LAST - np.uint64(1)) - words)
        return [words]
    if kind == "i":
        words = values.astype(np.int64).view(np.uint64) ^ _SIGN
    elif kind in "bu":
        words = values.astype(np.uint64)
    else:
        return [~word if descending else word for word in _of_text(values)]
    return [~words if descending else words]


def _of_floats(values: Array, descending: bool) -> Words:
    wide = values.astype(np.float64)
    wide += 0.0  # -0.0 equals 0.0
    bits = wide.view(np.int64)
    words = (bits ^ ((bits >> 63) | np.int64(-(1 << 63)))).view(np.uint64)
    if descending:
        words = ~words
    missing = np.isnan(wide)
    if missing.any():
        words[missing] = _LAST
    return words


def _of_longdouble(values: Array, descending: bool) -> list[Words]:
    with np.errstate(all="ignore"):
        high = values.astype(np.float64)
        # What rounding took away, and so the order of values that round to the same.
        low = (values - high).astype(np.float64)
    low[~np.isfinite(low)] = 0
    words = [_of_floats(high, descending), _of_floats(low, descending)]
    words[1][np.isnan(high)] = 0
    return words


def _of_complex(values: Array, descending: bool) -> list[Words]:
    parts = [*sortable(values.real, descending=descending)]
    parts += sortable(values.imag, descending=descending)
    missing = np.isnan(values)
    for part in parts:
        part[missing] = _LAST
    return parts


def _of_text(values: Array) -> list[Words]:
    """Return words of fixed-width text: 8 bytes or 2 characters each."""
    n, width = len(values), values.dtype.itemsize
    if width == 0:
        return [np.zeros(n, np.uint64)]
    n_words = -(-width // 8)
    padded = np.zeros((n, n_words * 8), np.uint8)
    padded[:, :width] = np.ascontiguousarray(values).view(np.uint8).reshape(n, width)
    if values.dtype.kind == "U":
        pairs = padded.view(np.uint32).reshape(n, n_words, 2).astype(np.uint64)
        words = (pairs[:, :, 0] << np.uint64(32)) | pairs[:, :, 1]
    else:
        words = padded.view(">u8").astype(np.uint64)
    return [np.ascontiguousarray(words[:, at]) for at in range(n_words)]


def _of_strings(values: Array, descending: bool) -> list[Words]:
    lengths, missing = sizes(values)
    matrix = matrix_of(values, lengths) if lengths.max(initial=0) <= _SHORT else None
    if matrix is None and lengths.any():
        return [_ranks(values, missing, descending)]
    words: list[Words] = []
    if matrix is not None:
        # UTF-8 sorts like its characters.
        words = _of_text(matrix.reshape(-1).view(f"V{matrix.shape[1]}"))
        if np.count_nonzero(matrix) != int(lengths.sum()):
            words.append(lengths.view(np.uint64))  # strings with NULs, also at the end
    words = [~word if descending else word for word in words]
    # Every word is one of some string: what is missing needs a word of its own.
    return words if missing is None and words else [_missing_word(missing, len(values)), *words]


def _missing_word(missing: NDArray[np.bool_] | None, n: int) -> Words:
    return np.zeros(n, np.uint64) if missing is None else missing.astype(np.uint64)


def _ranks(values: Array, missing: NDArray[np.bool_] | None, descending: bool) -> Words:
    ranks = np.full(len(values), _LAST)
    there = slice(None) if missing is None else ~missing
    found, inverse = np.unique(values[there], return_inverse=True)
    numbers = inverse.astype(np.uint64)
    ranks[there] = np.uint64(max(len(found) - 1, 0)) - numbers if descending else numbers
    return ranks


def stable_order(words: Sequence[Words]) -> NDArray[np.int64]:
    """Return the positions of the rows in ascending order; equal rows stay as they are.

    Parameters
    ----------
    words : sequence of ndarray of uint64, shape (n,)
        The most significant first; at least one.
    """
    n = len(words[0])
    order: NDArray[np.int64] | None = None
    for word in reversed(_packed(words, n)):
        step = _order(word if order is None else word[order])
        order = step if order is None else order[step]
    return np.arange(n, dtype=np.int64) if order is None else order


def _packed(words: Sequence[Words], n: int) -> list[Words]:
    """Return as few words as hold all that differs; those that are all the same are left out."""
    packed: list[Words] = []
    room = 0
    for word in reversed(words):
        if not n:
            break
        low, high = word.min(), word.max()
        if low == high:
            continue
        bits = int(high - low).bit_length()
        if bits <= room:
            packed[-1] = packed[-1] | ((word - low) << np.uint64(64 - _spare(n) - room))
            room -= bits
        else:
            packed.append(word - low)
            room = 64 - _spare(n) - bits
    return packed[::-1]


def _spare(n: int) -> int:
    """Return the bits that a position takes."""
    return max(n - 1, 1).bit_length()


def _order(word: Words) -> NDArray[np.int64]:
    """Return the stable order of one word of any range."""
    n = len(word)
    spare = _spare(n)
    excess = max(0, int(word.max()).bit_length() + spare - 64)
    mask = np.uint64((1 << spare) - 1)
    keyed = (word >> np.uint64(excess)) << np.uint64(spare)
    keyed |= np.arange(n, dtype=np.uint64)
    keyed.sort()
    order = (keyed & mask).view(np.int64)
    if excess:
        _settle(word, keyed >> np.uint64(spare), order)
    return order


def _settle(word: Words, prefix: Words, order: NDArray[np.int64]) -> None:
    """Sort the rows that are equal in the bits looked at by all their bits, in place."""
    same = prefix[1:] == prefix[:-1]
    if not same.any():
        return
    # Most of them are equal in all bits, and in order: decimals that come many times.
    words = word[order]
    wrong = same & (words[1:] < words[:-1])
    if not wrong.any():
        return
    runs = np.zeros(len(order), np.int64)
    np.cumsum(~same, out=runs[1:])
    bad = np.zeros(int(runs[-1]) + 1, bool)
    bad[runs[1:][wrong]] = True
    places = np.flatnonzero(bad[runs])
    rows = order[places]
    # Rows of a run stand in the order of their positions, so a stable sort keeps that.
    order[places] = rows[np.lexsort((word[rows], runs[places]))]


def ranges_of(words: Sequence[Words], n_splitters: int) -> NDArray[np.uint8]:
    """Return in which range between splitters each row lies.

    Parameters
    ----------
    words : sequence of ndarray of uint64, shape (n_splitters + n,)
        As `stable_order` has them; of up to 255 splitters in their order first, then of the rows.

    Returns
    -------
    ndarray of uint8, shape (n,)
        How many splitters are not above the row.
    """
    first, *others = _packed(words, len(words[0])) or [words[0]]
    heads, rows = first[:n_splitters], first[n_splitters:]
    numbers, unsure = _told_by_cells(heads, rows)
    some = rows[unsure]
    above = heads.searchsorted(some, "right")
    numbers[unsure] = above
    if others:  # these decide where the first word is that of a splitter
        same = unsure[heads.searchsorted(some, "left") != above]
        some = np.concatenate([np.arange(n_splitters), same + n_splitters])
        order = stable_order([word[some] for word in (first, *others)])
        is_row = order >= n_splitters
        numbers[same[order[is_row] - n_splitters]] = np.cumsum(~is_row)[is_row]
    return numbers


def _told_by_cells(heads: Words, rows: Words) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return how many heads, which ascend, are not above each row, and which rows must be searched.

    These stand in a cell with a head: of all others the highest bits tell, which takes less than
    half the time of a search.
    """
    highest = max(int(rows.max(initial=0)), int(heads.max(initial=0)))
    shift = np.uint64(max(0, highest.bit_length() - _CELL_BITS))
    starts = np.arange((highest >> int(shift)) + 1, dtype=np.uint64) << shift
    table = heads.searchsorted(starts, "right").astype(np.uint8)
    table[(heads >> shift).view(np.int64)] = _UNSURE
    numbers = table.take((rows >> shift).view(np.int64))
    return numbers, np.flatnonzero(numbers == _UNSURE)


def smallest(words: Sequence[Words], k: int) -> NDArray[np.int64]:
    """Return the positions of the `k` first rows in ascending order, as `stable_order` has them.

    Notes
    -----
    Rows that the first word rules out are not sorted: 7 ns a row where `k` is small.
    """
    first = words[0]
    if k <= 0:
        return np.zeros(0, np.int64)
    if k * 4 >= len(first):
        return stable_order(words)[:k]
    bound = np.partition(first, k - 1)[k - 1]
    kept = np.flatnonzero(first <= bound)
    return kept[stable_order([word[kept] for word in words])[:k]]
