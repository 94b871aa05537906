"""``kist where``: the rows of a table for which a condition holds."""

from __future__ import annotations

from typing import Any

import click

from kist.cli.common import at_option, examples, open_at, place_argument, style_options, write
from kist.errors import NodeError
from kist.format.node import article

__all__ = ["where"]


@click.command(
    epilog=examples(
        "kist where lab.kist:market/trades 'price > 101.5'",
        "kist where lab.kist:market/trades \"symbol == 'ABC' and size >= 300\" -c time,size",
        "kist where lab.kist:market/trades 'size > 500' --count",
        "kist where lab.kist:market/trades 'size > 500' --rows :10 --csv",
    )
)
@place_argument
@click.argument("expression", metavar="EXPR")
@click.option("-c", "--columns", help="Only these columns, separated by commas.")
@click.option("--rows", metavar="RANGE", help="Only these of the rows found: :10, 5 or 100:200:10.")
@click.option("--count", is_flag=True, help="Print only how many rows there are.")
@style_options
@at_option
def where(
    file: tuple[str, str],
    expression: str,
    columns: str | None,
    rows: str | None,
    count: bool,
    style: Any,
    width: int | None,
    at: str | None,
) -> None:
    """Print the rows of the table at PATH for which EXPR holds, in the order of the table.

    EXPR names columns, as in Python: 'price > 100 and symbol == "ABC"'. Pages whose statistics
    exclude a hit are not read.
    """
    with open_at(file[0], at) as store:
        table = store[file[1] or "/"]
        if table.kind != "table":
            raise NodeError(
                f"{table.name!r} is {article(table.kind)}; only tables have rows{_tables(table)}"
            )
        if count:
            write([f"{table.where(expression).count()}\n"])
            return
        from kist.cli.cat import rows_of

        write(rows_of(table, columns, rows, expression, style, width))


def _tables(node: Any) -> str:
    """Return how the first tables below a group are named here; nothing of what is no group."""
    found: list[str] = []

    def look(path: str, below: Any) -> bool | None:
        if below.kind == "table":
            found.append(below.name)
        return len(found) == 3 or None

    if node.kind in ("store", "group"):
        node.visititems(look)
    return ": " + ", ".join(f"FILE:{name.strip('/')}" for name in found) if found else ""
