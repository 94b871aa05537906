"""Rows of texts as lines: aligned and cut for a terminal, with tabs for other programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from kist.model.text import pad, shorten, width

__all__ = ["ANY", "aligned", "json_list"]

Columns = Sequence[Sequence[str]]

ANY: Final = 1 << 30
"""Width of a line of an output that cuts nothing."""


def aligned(
    names: Sequence[str],
    blocks: Iterable[Columns],
    right: Sequence[bool],
    most: int | None,
    cell: int = 40,
) -> Iterator[str]:
    """Yield lines of columns.

    Parameters
    ----------
    names : sequence of str
        What stands above the columns; no such line when all are empty.
    blocks : iterable of columns
        Each a list of texts for each column, all of one length.
    right : sequence of bool
        For each column, whether its texts stand right.
    most : int or None
        Characters of a line in a terminal; longer ones are cut. None: values with tabs between.
    cell : int
        Characters of one value in a terminal.
    """
    heads = [list(names)] if any(names) else []
    if most is None:
        yield from ("\t".join(head) + "\n" for head in heads)
        for columns in blocks:
            yield from ("\t".join(row) + "\n" for row in zip(*columns, strict=True))
        return
    cell = most if len(names) == 1 else cell
    widths = [width(shorten(name, cell)) for name in names]
    for columns in blocks:
        cells = [[shorten(text, cell) for text in column] for column in columns]
        widths = [
            max([known, *map(width, column)]) for known, column in zip(widths, cells, strict=True)
        ]
        rows: list[Sequence[str]] = [*heads, *zip(*cells, strict=True)]
        heads = []
        yield from (_line(row, widths, right, most) for row in rows)
    yield from (_line(head, widths, right, most) for head in heads)


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool], most: int) -> str:
    parts = []
    used = 0
    for at, text in enumerate(row):
        parts.append(pad(shorten(text, widths[at]), widths[at], left=not right[at]))
        used += widths[at] + 2
        if used > most + 2:
            break
    return shorten("  ".join(parts).rstrip(), most) + "\n"


def json_list(items: Iterable[str]) -> Iterator[str]:
    """Yield a JSON list of JSON texts, each on its line."""
    before = "[\n"
    for item in items:
        yield before + item
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"
