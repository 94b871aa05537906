"""``kist tail``: the last rows of a table, elements of an array, keys of a key store."""

from __future__ import annotations

from typing import Any

import click

from kist.cli.common import (
    at_option,
    examples,
    joined,
    node_argument,
    open_at,
    place_argument,
    style_options,
    write,
)

__all__ = ["tail"]


@click.command(
    epilog=examples(
        "kist tail lab.kist:market/trades", "kist tail -n 1 lab.kist:market/trades --json"
    )
)
@place_argument
@node_argument
@click.option("-n", "--rows", default=10, show_default=True, help="How many rows.")
@click.option("-c", "--columns", help="Only these columns, separated by commas.")
@style_options
@at_option
def tail(
    file: tuple[str, str],
    node: str | None,
    rows: int,
    columns: str | None,
    style: Any,
    width: int | None,
    at: str | None,
) -> None:
    """Show the last rows of the table at PATH, with their numbers.

    Of an array the last elements along axis 0, of a key store the last keys. 'kist cat' prints
    all of it, ranges, or the rows of a condition.
    """
    from kist.cli.ends import end_lines

    with open_at(file[0], at) as store:
        dataset = store[joined(file, node)]
        write(end_lines(dataset, rows, columns, style, width, last=True))
