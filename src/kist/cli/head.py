"""``kist head``: the first rows of a table."""

from __future__ import annotations

from typing import Any

import click

from kist.cli.common import at_option, file_argument, open_at
from kist.errors import NodeError

__all__ = ["head"]

_WIDEST = 40


@click.command()
@file_argument
@click.argument("node")
@click.option("-n", "--rows", default=10, show_default=True, help="How many rows.")
@click.option("-c", "--columns", help="Only these columns, separated by commas.")
@at_option
def head(file: str, node: str, rows: int, columns: str | None, at: str | None) -> None:
    """Show the first rows of the table NODE of FILE."""
    with open_at(file, at) as store:
        table = store[node]
        if table.kind != "table":
            raise NodeError(f"{node!r} is a {table.kind}; 'kist ls' lists it")
        names = list(table.dtype.names) if columns is None else columns.split(",")
        n = max(0, rows)
        data = table[names][:n]
        lines = [["", *names]]
        lines += [[str(at), *(_cell(row[name]) for name in names)] for at, row in enumerate(data)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(names) + 1)]
        for line in lines:
            click.echo("  ".join(f"{cell:>{w}}" for cell, w in zip(line, widths, strict=True)))
        left = len(table) - len(data)
        if left > 0:
            click.echo(f"... and {left:,} more rows")


def _cell(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."
