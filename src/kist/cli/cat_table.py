"""Rows of a table as text, in blocks: what `cat` and `head` print of one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.cli.cells import Style, flat, is_number, texts
from kist.cli.lines import aligned, json_list
from kist.cli.pick import Axis, as_slice
from kist.errors import SelectionError

if TYPE_CHECKING:
    import kist

__all__ = ["csv_lines", "row_blocks", "table_lines"]

Array = np.ndarray[Any, Any]
Block = tuple[range | list[int], Array]

_ROWS: Final = 8192
_BYTES: Final = 8 << 20


def row_blocks(
    table: kist.Table, columns: list[str] | None, picked: list[Axis] | None, where: str | None
) -> Iterator[Block]:
    """Yield (positions, structured rows), the first even when there is no row.

    Parameters
    ----------
    columns : list of str or None
        Names of the columns, None for all.
    picked : list of int or slice, or None
        One slice, or rows by number; of a condition among its hits.
    where : str or None
        A condition.
    """
    names = list(table.columns) if columns is None else columns
    source = table[names]
    size = max(1, min(_ROWS, _BYTES // max(1, source.dtype.itemsize)))
    if where is not None:
        yield from _hits(table.where(where)[names], picked, size)
        return
    rows: range | list[int] = range(len(table))
    if picked is not None and len(picked) == 1 and isinstance(picked[0], slice):
        rows = rows[picked[0]]
    elif picked is not None:
        rows = _numbers(picked)
    for at in range(0, max(1, len(rows)), size):
        some = rows[at : at + size]
        yield some, source[as_slice(some) if isinstance(some, range) else some]


def _numbers(picked: list[Axis]) -> list[int]:
    numbers = [part for part in picked if not isinstance(part, slice)]
    if len(numbers) < len(picked):
        raise SelectionError("rows are one range as in 10:20, or numbers as in 5,1,7")
    return numbers


def _hits(hits: kist.Selection, picked: list[Axis] | None, size: int) -> Iterator[Block]:
    wanted: Axis = slice(None)
    if picked is not None:
        if len(picked) > 1:
            raise SelectionError("of a condition take one range of hits, as in --rows 10:20")
        (wanted,) = picked
    if not isinstance(wanted, slice):
        wanted = slice(wanted, wanted + 1 or None)
        if not len(range(hits.count())[wanted]):
            raise SelectionError(f"there is no hit {wanted.start}")
    if wanted.step is not None and wanted.step < 0:
        raise SelectionError("hits are found in the order of the table; use a step above 0")
    from_end = any(part is not None and part < 0 for part in (wanted.start, wanted.stop))
    start, stop, step = wanted.indices(hits.count() if from_end else 2**62)
    yield range(0), np.empty(0, hits.dtype)
    before = 0
    for block in hits.blocks(size) if start < stop else ():
        first = max(start, before + (start - before) % step)
        last = min(stop, before + len(block))
        if first < last:
            yield range(first, last, step), block[first - before : last - before : step]
        before += len(block)
        if before >= stop:
            return


def table_lines(blocks: Iterable[Block], style: Style, width: int | None) -> Iterator[str]:
    """Yield the rows as text.

    Parameters
    ----------
    style : {"plain", "csv", "json"}
        ``json`` is a list of objects, ``csv`` has a header.
    width : int or None
        Characters of a line of the terminal, for ``plain``; None for no terminal.
    """
    if style == "json":
        return json_list(text for _, rows in blocks for text in texts(rows, "json"))
    several = iter(blocks)
    first = next(several)
    names, right = [], []
    for name, column in flat(first[1]):
        names.append(name)
        right.append(is_number(column.dtype) and column.ndim == 1)
    columns = (
        [texts(column, style) for _, column in flat(rows)] for _, rows in chain([first], several)
    )
    if style == "csv":
        return csv_lines(names, columns)
    return aligned(names, columns, right, width)


def csv_lines(names: list[str], blocks: Iterable[list[list[str]]]) -> Iterator[str]:
    """Yield lines of CSV: the names if there are any, then rows."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if names:
        writer.writerow(names)
    for columns in blocks:
        writer.writerows(zip(*columns, strict=True))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
