"""Which rows or elements a verb was asked for: ``10:20``, ``5``, ``1,7,3``, ``0:10,5,::2``."""

from __future__ import annotations

import re

from kist.errors import SelectionError

__all__ = ["Axis", "as_slice", "parse_axes", "split_index"]

Axis = int | slice

_PART = re.compile(r"\s*(?:(-?\d+)|(-?\d*)\s*:\s*(-?\d*)\s*(?::\s*(-?\d*)\s*)?)\s*")


def split_index(path: str) -> tuple[str, str | None]:
    """Return (path, index) of ``path[index]``; the index is None when there is none."""
    if path.endswith("]") and "[" in path:
        path, _, index = path[:-1].rpartition("[")
        return path, index
    return path, None


def parse_axes(text: str) -> list[Axis]:
    """Return the parts between commas as NumPy's index would have them.

    Raises
    ------
    SelectionError
        A part is neither a whole number nor a slice.
    """
    axes: list[Axis] = []
    for part in text.split(","):
        match = _PART.fullmatch(part)
        step = match.group(4) if match else None
        if match is None or (step and int(step) == 0):
            raise SelectionError(
                f"{part.strip()!r} is no range: write 5, 10:20, 10:, :20 or 0:100:2"
            )
        if match.group(1) is not None:
            axes.append(int(match.group(1)))
        else:
            axes.append(slice(*(int(n) if n else None for n in match.groups()[1:])))
    return axes


def as_slice(rows: range) -> slice:
    """Return the slice that picks the numbers of a range."""
    stop: int | None = rows.stop
    if rows.step < 0 and rows.stop < 0:
        stop = None
    return slice(rows.start, stop, rows.step) if len(rows) else slice(0, 0)
