"""First and last rows as a table of texts: what reprs of tables, columns and selections show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from kist.model import html
from kist.model.text import pad, shorten, width

__all__ = ["SHOWN_COLUMNS", "SHOWN_ROWS", "Preview", "ends"]

SHOWN_ROWS: Final = 5
"""Rows of a repr from each end."""
SHOWN_COLUMNS: Final = 20
"""Columns of a repr; the values of more are not even read."""
SHOWN_BYTES: Final = 4 << 20
"""Bytes that a repr reads at most; of larger rows it shows fewer."""
_LINE: Final = 80
_NOTE: Final = 20


def ends(n: int, row_nbytes: int) -> list[int]:
    """Return the positions of the rows that a repr shows, the first and the last of `n`.

    >>> ends(3, 8), ends(100, 8), ends(100, 1 << 30)
    ([0, 1, 2], [0, 1, 2, 3, 4, 95, 96, 97, 98, 99], [])
    """
    each = min(SHOWN_ROWS, SHOWN_BYTES // max(1, row_nbytes) // 2)
    if n <= 2 * each:
        return list(range(n))
    return [*range(each), *range(n - each, n)]


@dataclass
class Preview:
    """Some rows of a table, as texts.

    Attributes
    ----------
    names : list of str
        Of the columns shown.
    n_columns : int
        Of all columns.
    notes : list of (str, list of str)
        What stands below the names: label, then a text for each column.
    rows : list of int
        Positions of the rows shown; where they jump, a line says so.
    cells : list of list of str
        A list for each row.
    more : bool
        Whether rows follow the last one shown.
    """

    names: list[str]
    n_columns: int
    notes: list[tuple[str, list[str]]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    cells: list[list[str]] = field(default_factory=list)
    more: bool = False

    def _lines(self) -> list[list[str] | None]:
        """Return a line for each row, its position first; None where rows are left out."""
        lines: list[list[str] | None] = []
        before = -1
        for row, cells in zip(self.rows, self.cells, strict=True):
            if row != before + 1:
                lines.append(None)
            lines.append([f"{row:,}", *cells])
            before = row
        if self.more:
            lines.append(None)
        return lines

    def text(self) -> str:
        """Return lines of at most 80 characters, as far as a column of numbers allows."""
        lines = self._lines()
        columns = range(1, len(self.names) + 1)
        room = [max([_NOTE, *(width(line[at]) for line in lines if line)]) for at in columns]
        head = [["", *self.names]]
        for label, notes in self.notes:
            head.append([label, *(shorten(n, most) for n, most in zip(notes, room, strict=True))])
        every = head + [line for line in lines if line is not None]
        widths = [max(width(line[at]) for line in every) for at in range(len(self.names) + 1)]
        fits, used = 1, widths[0]
        while fits < len(widths) and (used + 2 + widths[fits] <= _LINE - 5 or fits == 1):
            used += 2 + widths[fits]
            fits += 1
        cut = fits < len(widths) or self.n_columns > len(self.names)

        def draw(line: Sequence[str], end: str) -> str:
            texts = [pad(line[0], widths[0], left=not line[0].isdigit())]
            texts += [pad(line[at], widths[at]) for at in range(1, fits)]
            return "  ".join([*texts, *([end] if cut else [])]).rstrip()

        out = [draw(line, "..." if at == 0 else "") for at, line in enumerate(head)]
        out += ["...".rjust(widths[0]) if line is None else draw(line, "") for line in lines]
        left = self.n_columns - fits + 1
        if left:
            out.append(f"({left:,} more column{'' if left == 1 else 's'})")
        return "\n".join(out)

    def html(self) -> str:
        """Return the same as HTML."""
        left = self.n_columns - len(self.names)
        more = [f"{left:,} more"] if left else []
        head = [["", *self.names, *more]]
        head += [[label, *notes, *([""] if left else [])] for label, notes in self.notes]
        lines = [
            line if line is None else line + ["…"] * (1 if left else 0) for line in self._lines()
        ]
        return html.table(head, lines, len(self.names) + len(more))
