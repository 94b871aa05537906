"""``kist slice``: part of an array or of a table."""

from __future__ import annotations

from typing import Any

import click

from kist.cli.common import at_option, examples, open_at, place_argument, style_options, write
from kist.cli.pick import parse_axes
from kist.errors import NodeError
from kist.format.node import article

__all__ = ["slice"]


@click.command(
    epilog=examples(
        "kist slice lab.kist:raw/images 0,100:110,:5",
        "kist slice lab.kist:raw/images ::100,0,0 --csv",
        "kist slice lab.kist:market/trades 10:20 -c time,price",
        "kist slice lab.kist:market/trades -- -5:",
    )
)
@place_argument
@click.argument("ranges")
@click.option("-c", "--columns", help="Only these columns of a table, separated by commas.")
@style_options
@at_option
def slice(
    file: tuple[str, str],
    ranges: str,
    columns: str | None,
    style: Any,
    width: int | None,
    at: str | None,
) -> None:
    """Print part of the array or table at PATH: RANGES as in NumPy, one for each axis.

    Of a table these are rows: 10:20, 5 or 1,7,3. What begins with a minus stands behind --.
    """
    with open_at(file[0], at) as store:
        dataset = store[file[1] or "/"]
        if dataset.kind == "table":
            from kist.cli.cat import rows_of

            write(rows_of(dataset, columns, ranges, None, style, width))
        elif dataset.kind == "array":
            from kist.cli.cat_array import array_lines

            if columns is not None:
                raise NodeError(f"{dataset.name!r} is an array; only tables have columns")
            write(array_lines(dataset, parse_axes(ranges), style, width))
        else:
            raise NodeError(
                f"{dataset.name!r} is {article(dataset.kind)}, which has no ranges; 'kist cat "
                "--key' prints the value of a key"
            )
