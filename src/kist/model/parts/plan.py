"""Where to cut: from what users say to positions."""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, Final

from kist.errors import SelectionError, TooLargeError

__all__ = ["MAX_PARTS", "positions"]

MAX_PARTS: Final = 10_000
"""Each part is a file."""


def positions(
    what: str,
    n: int,
    edges: Sequence[int] | None,
    *,
    rows: Any = None,
    parts: Any = None,
    at: Iterable[Any] | None = None,
) -> list[tuple[int, int]]:
    """Return (start, stop) of each part of a dataset.

    Parameters
    ----------
    what : str
        The dataset, for messages.
    n : int
        Rows, or keys.
    edges : sequence of int, optional
        Ascending positions where a cut goes through nothing: `parts` are cut there.
    rows, parts, at
        One of them: rows of each part, number of parts, or positions of the cuts.

    Raises
    ------
    SelectionError
        A cut beyond the end, more parts than rows, or cuts that do not ascend.
    TooLargeError
        More than `MAX_PARTS` files.
    """
    if at is not None:
        cuts = [_count(cut, "a cut", 0) for cut in at]
        if cuts != sorted(set(cuts)):
            raise SelectionError(f"{what}: cuts ascend, each once; not {cuts[:10]}")
        if cuts and (cuts[-1] >= n or not cuts[0]):
            wrong = cuts[0] if not cuts[0] else cuts[-1]
            raise SelectionError(
                f"{what} has {n:,} rows: a cut at {wrong:,} leaves nothing on one side; cuts stand "
                f"between 1 and {max(n - 1, 1):,}"
            )
    elif parts is not None:
        wanted = _count(parts, "parts", 1)
        if wanted > max(n, 1):
            raise SelectionError(f"{what} has {n:,} rows, which make no {wanted:,} parts")
        _check_number(what, wanted)
        cuts = _even(n, wanted, edges)
    else:
        size = _count(rows, "rows", 1)
        _check_number(what, -(-n // size))
        cuts = list(range(size, n, size))
    _check_number(what, len(cuts) + 1)
    return list(zip([0, *cuts], [*cuts, n], strict=True))


def _check_number(what: str, n: int) -> None:
    if n > MAX_PARTS:
        raise TooLargeError(f"{what}: {n:,} parts would be as many files, at most {MAX_PARTS:,}")


def _count(value: Any, what: str, least: int) -> int:
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        raise SelectionError(f"{what} is a whole number, not {value!r}") from None
    if number < least:
        raise SelectionError(f"{what} is a whole number from {least} on, not {value!r}")
    return number


def _even(n: int, parts: int, edges: Sequence[int] | None) -> list[int]:
    """Return cuts into parts of about one length, at edges where one is near."""
    cuts: list[int] = []
    for number in range(1, parts):
        cut = number * n // parts
        if edges is not None:
            place = bisect_left(edges, cut)
            near = [int(edge) for edge in edges[max(place - 1, 0) : place + 1]]
            # Each part keeps at least half of its length.
            near = [edge for edge in near if 0 < edge < n and abs(edge - cut) * 4 * parts <= n]
            cut = min(near, key=lambda edge: abs(edge - cut), default=cut)
        cuts.append(cut)
    return cuts
