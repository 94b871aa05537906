"""The first or last rows, elements or keys of a dataset: the verbs `head` and `tail`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from kist.cli.common import (
    at_option,
    joined,
    node_argument,
    open_at,
    place_argument,
    style_options,
    write,
)
from kist.cli.lines import ANY
from kist.errors import NodeError
from kist.format.node import article

if TYPE_CHECKING:
    from kist.cli.cells import Style

__all__ = ["end_lines", "end_verb"]


def end_verb(name: str, end: str, epilog: str) -> click.Command:
    """Return the verb for one end of a dataset, ``first`` or ``last``."""

    @click.command(
        name,
        epilog=epilog,
        help=f"""Show the {end} rows of the table at PATH, with their numbers.

        Of an array the {end} elements along axis 0, of a key store the {end} keys. 'kist cat'
        prints all of it, ranges, or the rows of a condition.
        """,
    )
    @place_argument
    @node_argument
    @click.option("-n", "--rows", default=10, show_default=True, help="How many rows.")
    @click.option("-c", "--columns", help="Only these columns, separated by commas.")
    @style_options
    @at_option
    def verb(
        file: tuple[str, str],
        node: str | None,
        rows: int,
        columns: str | None,
        style: Any,
        width: int | None,
        at: str | None,
    ) -> None:
        with open_at(file[0], at) as store:
            dataset = store[joined(file, node)]
            write(end_lines(dataset, rows, columns, style, width, last=end == "last"))

    return verb


def end_lines(
    dataset: Any, n: int, columns: str | None, style: Style, width: int | None, *, last: bool
) -> Iterator[str]:
    """Yield the text of `n` rows, elements along axis 0 or keys from one end.

    Parameters
    ----------
    columns : str or None
        Names of columns of a table, between commas.
    style : {"plain", "csv", "json"}
        Only ``plain`` numbers the rows and tells how many there are beside them.
    last : bool
        Those at the end, in their order.

    Raises
    ------
    NodeError
        It is a group, or columns are asked of what has none.
    """
    n = max(0, n)
    if columns is not None and dataset.kind != "table":
        raise NodeError(f"{dataset.name!r} is {article(dataset.kind)}; only tables have columns")
    if dataset.kind == "table":
        return _table(dataset, n, columns, style, width, last)
    if dataset.kind == "array":
        return _array(dataset, n, style, width, last)
    if dataset.kind == "key store":
        return _keys(dataset, n, style, last)
    raise NodeError(f"{dataset.name!r} is {article(dataset.kind)}; 'kist ls' lists it")


def _part(length: int, n: int, last: bool) -> slice:
    return slice(max(0, length - n), length) if last else slice(0, n)


def _table(
    table: Any, n: int, columns: str | None, style: Style, width: int | None, last: bool
) -> Iterator[str]:
    from kist.cli.cat_table import row_blocks, table_lines
    from kist.cli.cells import flat, is_number, texts
    from kist.cli.lines import aligned

    names = None if columns is None else [name.strip() for name in columns.split(",")]
    length = len(table)
    blocks = row_blocks(table, names, [_part(length, n, last)], None)
    if style != "plain":
        yield from table_lines(blocks, style, width)
        return
    _, empty = next(row_blocks(table, names, [slice(0, 0)], None))
    shown = list(flat(empty))
    cells = (
        [list(map(str, rows)), *(texts(column, "plain") for _, column in flat(block))]
        for rows, block in blocks
    )
    right = [True, *(is_number(column.dtype) and column.ndim == 1 for _, column in shown)]
    lines = aligned(["", *(name for name, _ in shown)], cells, right, width or ANY)
    yield from _beside(lines, length - n, "rows", last)


def _array(array: Any, n: int, style: Style, width: int | None, last: bool) -> Iterator[str]:
    from kist.cli.cat_array import array_lines

    axes: list[Any] = [_part(array.shape[0], n, last)] if array.shape else []
    lines = array_lines(array, axes, style, width)
    left = array.shape[0] - n if array.shape and style == "plain" else 0
    return _beside(lines, left, "along axis 0", last)


def _keys(store: Any, n: int, style: Style, last: bool) -> Iterator[str]:
    from itertools import islice

    from kist.cli.cat_keystore import key_lines

    left = len(store) - n if style == "plain" else 0
    keys: Any = store
    if last:
        keys = deque(islice(reversed(store), n))
        keys.reverse()
    return _beside(key_lines(keys, style, n), left, "keys", last)


def _beside(lines: Iterator[str], left: int, what: str, before: bool) -> Iterator[str]:
    """Yield lines, and on the side where more stands how much of it."""
    if left > 0 and before:
        yield f"... {left:,} {what} before\n"
    yield from lines
    if left > 0 and not before:
        yield f"... and {left:,} more {what}\n"
