"""Where the columns of a row batch stand as words and as bytes; made once per schema.

Every value is taken apart into *words*: a bool, an integer, a date or a float is one, a complex
number two, a long double two or three, a `U` string one per character. Words of all columns are
the rows of one matrix, sorted by group: 64-bit floats, 64-bit integers, 32-bit floats, then
narrower ones. Inside a group the columns keep their order. What has no numeric structure (`S`,
`V`), and leaves of more than `MAX_WORDS` words a row, are kept as *bytes*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from kist.errors import CodecError

__all__ = ["MAX_WORDS", "BytesLeaf", "Group", "RowPlan", "Run", "WordLeaf", "row_plan"]

MAX_WORDS: Final = 64
"""Leaves with more words a row are bytes: a matrix row costs a few bytes of its own."""

GATHER_BYTES: Final = 65_536
"""Longest row whose bytes are gathered by index, which takes 8 bytes per byte."""

GROUPS: Final = ("f8", "i8", "f4", "i4", "u4", "i2", "u2", "i1", "u1")
"""Word types in the order of the matrix. 64-bit words and 32-bit floats come first, so that the
columns whose neighbours are alike stand together."""


class Group(NamedTuple):
    """All words of one type: rows ``start`` to ``stop`` of the matrix."""

    dtype: np.dtype[Any]
    start: int
    stop: int
    gathered: int
    """Byte at which the group begins in a gathered row."""
    float_start: int
    """Number of float columns before it, -1 for integers."""


class WordLeaf(NamedTuple):
    """A leaf kept as words: rows ``start`` to ``stop`` of the matrix, in group ``group``."""

    number: int
    offset: int
    group: int
    start: int
    stop: int


class BytesLeaf(NamedTuple):
    """A leaf kept as bytes: ``n_items`` items of ``width`` bytes a row, in planes of bytes."""

    number: int
    offset: int
    width: int
    n_items: int
    gathered: int

    @property
    def nbytes(self) -> int:
        """Bytes of one table row."""
        return self.width * self.n_items


class Run(NamedTuple):
    """Neighbouring words of a packed row that are neighbours in the matrix as well."""

    dtype: np.dtype[Any]
    offset: int
    group: int
    start: int
    stop: int


class RowPlan(NamedTuple):
    """The plan of one list of leaves.

    Attributes
    ----------
    groups : tuple of Group
        Not empty ones, in the order of the matrix.
    leaves : tuple of WordLeaf or BytesLeaf
        In the order of the packed row.
    n_words : int
        Rows of the matrix.
    n_floats : int
        Columns of floats among them; the 64-bit ones come first.
    bytes_leaves : tuple of BytesLeaf
        Those of `leaves`.
    bytes_size : int
        Their bytes of one row.
    itemsize : int
        Bytes of a packed row.
    runs : tuple of Run
        What is copied between a packed row and the matrix at once.
    gather : ndarray of intp or None
        Byte of the packed row for each byte of the words of a gathered row, in which the groups
        stand one after the other, little-endian and aligned. None for very long rows.
    scatter : ndarray of intp or None
        The inverse: byte of the gathered row for each byte of the packed row.
    gathered : int
        Bytes of a gathered row, words and then bytes, a multiple of 8.
    """

    groups: tuple[Group, ...]
    leaves: tuple[WordLeaf | BytesLeaf, ...]
    n_words: int
    n_floats: int
    bytes_leaves: tuple[BytesLeaf, ...]
    bytes_size: int
    itemsize: int
    runs: tuple[Run, ...]
    gather: np.ndarray[Any, np.dtype[np.intp]] | None
    scatter: np.ndarray[Any, np.dtype[np.intp]] | None
    gathered: int


def _is_swapped(dtype: np.dtype[Any]) -> bool:
    return dtype.str[0] == ">"


def word_type(dtype: np.dtype[Any]) -> tuple[str, int] | None:
    """Return the type and number of the words of one value, None for bytes."""
    kind, size = dtype.kind, dtype.itemsize
    if kind == "U":
        return "u4", size // 4
    if kind in "bu":
        return ("i8" if size == 8 else f"u{size}"), 1
    if kind in "iMm":
        return f"i{size}", 1
    if kind in "fc":
        size, n = (size // 2, 2) if kind == "c" else (size, 1)
        if size in (4, 8):
            return f"f{size}", n
        if size == 2:
            return "u2", n
        if not _is_swapped(dtype):  # the words of a swapped long double are swapped too
            return ("i8", n * size // 8) if size % 8 == 0 else ("u4", n * size // 4)
    return None


def row_plan(dtypes: Sequence[np.dtype[Any]], counts: Sequence[int]) -> RowPlan:
    """Return the plan of a packed row of leaves: dtype and values per row of each.

    Raises
    ------
    CodecError
        A dtype without a fixed width.
    """
    for index, dtype in enumerate(dtypes):
        if dtype.kind not in "biufcMmSUV" or dtype.names is not None or dtype.subdtype is not None:
            raise CodecError(f"column {index}: {dtype} is no leaf of fixed width")
    words = [word_type(dtype) for dtype in dtypes]
    n_words_of = [
        word[1] * count if word and 0 < word[1] * count <= MAX_WORDS else 0
        for word, count in zip(words, counts, strict=True)
    ]
    start_of: dict[int, tuple[int, int]] = {}
    spans: list[tuple[np.dtype[Any], int, int]] = []
    n_words = 0
    for name in GROUPS:
        start = n_words
        for index, word in enumerate(words):
            if word is not None and word[0] == name and n_words_of[index]:
                start_of[index] = len(spans), n_words
                n_words += n_words_of[index]
        if n_words > start:
            spans.append((np.dtype(f"<{name}"), start, n_words))
    groups, words_end = _place_groups(spans)
    leaves: list[WordLeaf | BytesLeaf] = []
    offset, gathered = 0, words_end
    for index, (dtype, count) in enumerate(zip(dtypes, counts, strict=True)):
        if index in start_of:
            group, start = start_of[index]
            leaves.append(WordLeaf(index, offset, group, start, start + n_words_of[index]))
        else:
            word = words[index]
            width = dtype.itemsize // word[1] if word and word[1] else 1
            leaf = BytesLeaf(index, offset, width, dtype.itemsize * count // width, gathered)
            gathered += leaf.nbytes
            leaves.append(leaf)
        offset += dtype.itemsize * count
    plan = RowPlan(
        groups=groups,
        leaves=tuple(leaves),
        n_words=n_words,
        n_floats=sum(g.stop - g.start for g in groups if g.float_start >= 0),
        bytes_leaves=tuple(leaf for leaf in leaves if isinstance(leaf, BytesLeaf)),
        bytes_size=gathered - words_end,
        itemsize=offset,
        runs=_runs(dtypes, groups, leaves),
        gather=None,
        scatter=None,
        gathered=-(-gathered // 8) * 8,
    )
    return _with_gather(plan, dtypes, words_end) if plan.itemsize <= GATHER_BYTES else plan


def _place_groups(
    spans: Sequence[tuple[np.dtype[Any], int, int]],
) -> tuple[tuple[Group, ...], int]:
    """Give each group its place in a gathered row: widest words first, so that all align."""
    places = {}
    at = 0
    for dtype, start, stop in sorted(spans, key=lambda span: -span[0].itemsize):
        places[dtype] = at
        at += dtype.itemsize * (stop - start)
    groups = []
    n_floats = 0
    for dtype, a, b in spans:
        is_float = dtype.kind == "f"
        groups.append(Group(dtype, a, b, places[dtype], n_floats if is_float else -1))
        n_floats += (b - a) * is_float
    return tuple(groups), at


def _runs(
    dtypes: Sequence[np.dtype[Any]],
    groups: Sequence[Group],
    leaves: Sequence[WordLeaf | BytesLeaf],
) -> tuple[Run, ...]:
    """Cut a packed row into pieces that are copied to or from the matrix at once."""
    runs: list[Run] = []
    for leaf in leaves:
        if isinstance(leaf, BytesLeaf):
            continue
        swapped = _is_swapped(dtypes[leaf.number])
        dtype = groups[leaf.group].dtype.newbyteorder(">" if swapped else "<")
        run = Run(dtype, leaf.offset, leaf.group, leaf.start, leaf.stop)
        if runs:
            last = runs[-1]
            end = last.offset + dtype.itemsize * (last.stop - last.start)
            if (last.dtype, last.stop, end) == (dtype, run.start, run.offset):
                runs[-1] = Run(dtype, last.offset, last.group, last.start, run.stop)
                continue
        runs.append(run)
    return tuple(runs)


def _with_gather(plan: RowPlan, dtypes: Sequence[np.dtype[Any]], words_end: int) -> RowPlan:
    places = np.zeros(plan.gathered, np.intp)
    scatter = np.zeros(plan.itemsize, np.intp)
    for leaf, dtype in zip(plan.leaves, dtypes, strict=True):
        if isinstance(leaf, BytesLeaf):
            at, size = leaf.gathered, leaf.nbytes
            source = np.arange(leaf.offset, leaf.offset + size)
        else:
            group = plan.groups[leaf.group]
            width = group.dtype.itemsize
            at = group.gathered + (leaf.start - group.start) * width
            size = (leaf.stop - leaf.start) * width
            source = np.arange(leaf.offset, leaf.offset + size)
            if _is_swapped(dtype):
                source = source.reshape(-1, width)[:, ::-1].ravel()
        places[at : at + size] = source
        scatter[source] = np.arange(at, at + size)
    gather = places[: -(-words_end // 8) * 8].copy()
    return plan._replace(gather=gather, scatter=scatter)
