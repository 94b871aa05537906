"""``kist head``: the first rows of a table, elements of an array, keys of a key store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from kist.cli.common import (
    at_option,
    examples,
    joined,
    node_argument,
    open_at,
    place_argument,
    terminal_width,
    write,
)
from kist.cli.lines import ANY
from kist.errors import NodeError
from kist.format.node import article

__all__ = ["head"]


@click.command(
    epilog=examples("kist head lab.kist:market/trades", "kist head -n 3 lab.kist:raw/images")
)
@place_argument
@node_argument
@click.option("-n", "--rows", default=10, show_default=True, help="How many rows.")
@click.option("-c", "--columns", help="Only these columns, separated by commas.")
@at_option
def head(
    file: tuple[str, str], node: str | None, rows: int, columns: str | None, at: str | None
) -> None:
    """Show the first rows of the table at PATH, with their numbers.

    Of an array the first elements along axis 0, of a key store the first keys. 'kist cat' prints
    all of it, ranges, or the rows of a condition.
    """
    with open_at(file[0], at) as store:
        dataset = store[joined(file, node)]
        n = max(0, rows)
        if dataset.kind == "table":
            write(_table(dataset, n, columns))
        elif dataset.kind == "array":
            write(_array(dataset, n))
        elif dataset.kind == "key store":
            from kist.cli.cat_keystore import key_lines

            write(key_lines(dataset, "plain", n))
            write(_left(len(dataset) - n, "keys"))
        else:
            raise NodeError(f"{dataset.name!r} is {article(dataset.kind)}; 'kist ls' lists it")


def _table(table: Any, n: int, columns: str | None) -> Iterator[str]:
    from kist.cli.cat_table import row_blocks
    from kist.cli.cells import flat, is_number, texts
    from kist.cli.lines import aligned

    names = None if columns is None else [name.strip() for name in columns.split(",")]
    _, first = next(row_blocks(table, names, [slice(0, 0)], None))
    shown = list(flat(first))
    blocks = (
        [list(map(str, rows)), *(texts(column, "plain") for _, column in flat(block))]
        for rows, block in row_blocks(table, names, [slice(0, n)], None)
    )
    right = [True, *(is_number(column.dtype) and column.ndim == 1 for _, column in shown)]
    yield from aligned(["", *(name for name, _ in shown)], blocks, right, terminal_width() or ANY)
    yield from _left(len(table) - n, "rows")


def _array(array: Any, n: int) -> Iterator[str]:
    from kist.cli.cat_array import array_lines

    axes: list[Any] = [slice(0, n)] if array.shape else []
    yield from array_lines(array, axes, "plain", terminal_width())
    if array.shape:
        yield from _left(array.shape[0] - n, "along axis 0")


def _left(n: int, what: str) -> Iterator[str]:
    if n > 0:
        yield f"... and {n:,} more {what}\n"
