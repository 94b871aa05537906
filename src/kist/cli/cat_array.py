"""Elements of an array as text, in pieces of bounded size: what `cat` and `head` print of one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from kist.cli.cat_table import csv_lines
from kist.cli.cells import Style, csv_row, is_number, texts
from kist.cli.lines import aligned
from kist.cli.pick import Axis, as_slice
from kist.errors import SelectionError, ShapeError

__all__ = ["array_lines"]

Array = np.ndarray[Any, Any]

_BYTES: Final = 4 << 20
"""Bytes that are read, and made text, at once."""


class _Part:
    """A rectangle of an array, not read yet.

    Attributes
    ----------
    shape : tuple of int
        Of what is meant; axes where one number was given are gone.
    """

    def __init__(self, array: Any, axes: list[int | range]) -> None:
        self._array = array
        self._axes = axes
        self.dtype: np.dtype[Any] = array.dtype
        self.shape = tuple(len(axis) for axis in axes if isinstance(axis, range))

    @property
    def nbytes(self) -> int:
        """Bytes in memory, those that strings of any length point to not counted."""
        return math.prod(self.shape) * max(1, self.dtype.itemsize)

    def read(self) -> Array:
        """Return the values, of at least one dimension."""
        index = tuple(as_slice(a) if isinstance(a, range) else a for a in self._axes)
        return np.atleast_1d(np.asarray(self._array[index]))

    def cut(self, wanted: slice | int, axis: int = 0) -> _Part:
        """Return a part along one of the axes that are left."""
        at = [i for i, a in enumerate(self._axes) if isinstance(a, range)][axis]
        along: Any = self._axes[at]
        return _Part(self._array, [*self._axes[:at], along[wanted], *self._axes[at + 1 :]])

    def pieces(self) -> Iterator[tuple[int, _Part]]:
        """Yield (place, part) of slabs along the first axis, as few as memory allows."""
        n = self.shape[0]
        step = max(1, _BYTES * n // max(1, self.nbytes)) if n else 1
        for at in range(0, n, step):
            yield at, self.cut(slice(at, at + step))


def array_lines(
    array: Any, picked: list[Axis] | None, style: Style, width: int | None
) -> Iterator[str]:
    """Yield elements as text.

    Parameters
    ----------
    array : Array
        Has ``shape``, ``dtype`` and NumPy's indexing.
    picked : list of int or slice, or None
        For the first axes; the others come whole.
    style : {"plain", "csv", "json"}
        ``json`` is nested lists. ``csv`` has no header, and needs at most two axes.
    width : int or None
        Characters of a line of the terminal, for ``plain``; None for no terminal.

    Raises
    ------
    SelectionError
        There are not so many axes or elements.
    ShapeError
        CSV of more than two axes.
    """
    part = _Part(array, _axes(array.shape, picked or []))
    if style == "json":
        return _json(part)
    if len(part.shape) > 2:
        if style == "csv":
            raise ShapeError(
                f"CSV has rows and columns, and this has shape {part.shape}; take part of it, as "
                f'in --range "{", ".join(["0"] * (len(part.shape) - 2) + [":", ":"])}"'
            )
        return _planes(part, width, "")
    return _rows(part, style, width)


def _axes(shape: tuple[int, ...], picked: list[Axis]) -> list[int | range]:
    if len(picked) > len(shape):
        raise SelectionError(f"{len(picked)} ranges for an array of shape {shape}")
    axes: list[int | range] = []
    for at, n in enumerate(shape):
        wanted: Axis = picked[at] if at < len(picked) else slice(None)
        try:
            axes.append(range(n)[wanted])
        except IndexError:
            raise SelectionError(f"{wanted} is out of range on axis {at}, which has {n}") from None
    return axes


def _json(part: _Part) -> Iterator[str]:
    yield from _nested(part)
    yield "\n"


def _nested(part: _Part) -> Iterator[str]:
    if not part.shape:
        yield texts(part.read(), "json")[0]
        return
    if part.nbytes <= _BYTES or len(part.shape) == 1:
        yield "["
        for at, piece in part.pieces():
            yield (", " if at else "") + ", ".join(texts(piece.read(), "json"))
        yield "]"
        return
    yield "["
    for at in range(part.shape[0]):
        yield ",\n" if at else ""
        yield from _nested(part.cut(at))
    yield "]"


def _planes(part: _Part, width: int | None, where: str) -> Iterator[str]:
    """Yield tables of the last two axes, each below the numbers of the others."""
    if len(part.shape) > 2:
        for at in range(part.shape[0]):
            yield from _planes(part.cut(at), width, f"{where}{at}, ")
        return
    yield f"[{where}:, :]\n"
    yield from _rows(part, "plain", width)


def _rows(part: _Part, style: Style, width: int | None) -> Iterator[str]:
    if len(part.shape) == 2 and not part.shape[1]:
        return iter(["\n"] * part.shape[0])
    if width is not None and len(part.shape) == 2 and part.shape[1] > width:
        part = part.cut(slice(width), 1)  # more would be cut off
    if len(part.shape) == 2 and part.nbytes > _BYTES * part.shape[0]:
        return _long_rows(part, style)
    pieces = (piece.read() for _, piece in part.pieces()) if part.shape else iter([part.read()])
    blocks = ([texts(column, style) for column in _columns(block)] for block in pieces)
    if style == "csv":
        return csv_lines([], blocks)
    n = part.shape[1] if len(part.shape) == 2 else 1
    return aligned([""] * n, blocks, [is_number(part.dtype)] * n, width)


def _columns(block: Array) -> list[Array]:
    return [block] if block.ndim == 1 else [block[:, at] for at in range(block.shape[1])]


def _long_rows(part: _Part, style: Style) -> Iterator[str]:
    """Yield rows that are too long to be read whole."""
    between = "," if style == "csv" else "\t"
    for row in range(part.shape[0]):
        for at, piece in part.cut(row).pieces():
            values = texts(piece.read(), style)
            if style == "csv":
                yield (between if at else "") + csv_row(values)[:-1]
            else:
                yield (between if at else "") + between.join(values)
        yield "\n"
