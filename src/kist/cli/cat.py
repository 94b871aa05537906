"""``kist cat``: the rows, elements or values of a dataset."""

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
    style_options,
    write,
)
from kist.cli.pick import parse_axes, split_index
from kist.errors import NodeError, NodeNotFoundError, SelectionError
from kist.format.node import article

__all__ = ["cat", "find", "rows_of"]


@click.command(
    epilog=examples(
        "kist cat lab.kist:market/trades",
        "kist cat lab.kist:market/trades[10:20]",
        "kist cat lab.kist:market/trades -c time,price --where 'price > 101' --csv",
        "kist cat lab.kist:raw/images --range 0,100:110,:5",
        "kist cat lab.kist:runs --key run-17 --json",
    )
)
@place_argument
@node_argument
@click.option("-c", "--columns", help="Only these columns of a table, separated by commas.")
@click.option("--rows", metavar="RANGE", help="Rows of a table: 10:20, -5:, 5 or 1,7,3.")
@click.option("--where", metavar="EXPR", help="Rows of a table where this holds.")
@click.option("--range", "box", metavar="RANGES", help="Part of an array: a range for each axis.")
@click.option("-k", "--key", help="Key of a key store whose value to print.")
@style_options
@at_option
def cat(
    file: tuple[str, str],
    node: str | None,
    columns: str | None,
    rows: str | None,
    where: str | None,
    box: str | None,
    key: str | None,
    style: Any,
    width: int | None,
    at: str | None,
) -> None:
    """Print a table, an array or the keys of a key store.

    A terminal shows columns cut to its width; other programs get all of each value, with tabs
    between. A table as JSON is a list of objects, an array nested lists: NaN, NaT and missing
    values are null, infinities "Infinity", complex numbers [real, imaginary], times ISO text.
    PATH[...] is short for --rows, --range
    and --key.
    """
    with open_at(file[0], at) as store:
        dataset, index = find(store, joined(file, node))
        given = {"columns": columns, "rows": rows, "where": where, "range": box, "key": key}
        if dataset.kind == "table":
            _refuse(dataset, given, "columns", "rows", "where")
            write(rows_of(dataset, columns, _one(rows, index), where, style, width))
            return
        if dataset.kind == "array":
            from kist.cli.cat_array import array_lines

            _refuse(dataset, given, "range")
            wanted = _one(box, index)
            picked = None if wanted is None else parse_axes(wanted)
            write(array_lines(dataset, picked, style, width))
            return
        if dataset.kind == "key store":
            from kist.cli.cat_keystore import key_lines, value_lines

            _refuse(dataset, given, "key")
            wanted = _one(key, index)
            write(
                key_lines(dataset, style) if wanted is None else value_lines(dataset, wanted, style)
            )
            return
        raise NodeError(
            f"{dataset.name!r} is {article(dataset.kind)}; 'kist ls' and 'kist tree' show what is "
            "in it"
        )


def find(store: Any, path: str) -> tuple[Any, str | None]:
    """Return the node of a path, and the index that is written behind it."""
    try:
        return store[path], None
    except NodeNotFoundError:
        short, index = split_index(path)
        if index is None or short not in store:
            raise
        return store[short], index


def _one(option: str | None, index: str | None) -> str | None:
    if option is not None and index is not None:
        raise SelectionError(f"[{index}] and {option} both say what to take; give one")
    return index if option is None else option


def _refuse(dataset: Any, given: dict[str, str | None], *fits: str) -> None:
    """Raise for an option that means nothing for this kind of dataset."""
    for option, value in given.items():
        if value is not None and option not in fits:
            can = ", ".join(f"--{name}" for name in fits)
            raise NodeError(
                f"{dataset.name!r} is {article(dataset.kind)}, for which there is no --{option}; "
                f"it takes {can}"
            )


def rows_of(
    table: Any,
    columns: str | None,
    rows: str | None,
    where: str | None,
    style: Any,
    width: int | None,
) -> Iterator[str]:
    """Yield rows of a table as text; `columns` and `rows` as they stand behind their options."""
    from kist.cli.cat_table import row_blocks, table_lines

    names = None if columns is None else [name.strip() for name in columns.split(",")]
    picked = None if rows is None else parse_axes(rows)
    return table_lines(row_blocks(table, names, picked, where), style, width)
