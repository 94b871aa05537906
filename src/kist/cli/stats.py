"""``kist stats``: numbers about the values of columns and arrays."""

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
from kist.errors import NodeError
from kist.format.node import article
from kist.format.nullable import dtype_text

__all__ = ["stats"]

_NAMES = ["column", "dtype", "count", "missing", "min", "max", "mean", "std", "ratio"]


@click.command(
    epilog=examples(
        "kist stats lab.kist:market/trades",
        "kist stats lab.kist:market/trades -c price,size --json",
        "kist stats lab.kist:market/trades --where \"symbol == 'ABC'\"",
        "kist stats lab.kist:raw/images",
        "kist stats lab.kist --csv",
    )
)
@place_argument
@node_argument
@click.option("-c", "--columns", help="Only these columns of a table, separated by commas.")
@click.option("--where", metavar="EXPR", help="Rows of a table where this holds.")
@style_options
@at_option
def stats(
    file: tuple[str, str],
    node: str | None,
    columns: str | None,
    where: str | None,
    style: Any,
    width: int | None,
    at: str | None,
) -> None:
    """Print count, least, greatest, mean and standard deviation of an array or of columns.

    NaN, NaT and nulls are counted as missing, and count for nothing else. All values are read
    once, block by block. "ratio" is bytes in memory over bytes in the file. Of a group, or of a
    whole store, each array and each column of a table in it has its line; of key stores there are
    the keys alone.
    """
    from kist.cli.records import record_lines

    with open_at(file[0], at) as store:
        dataset = store[joined(file, node)]
        names = _NAMES
        if (columns is not None or where is not None) and dataset.kind != "table":
            raise NodeError(
                f"{dataset.name!r} is {article(dataset.kind)}; --columns and --where are for tables"
            )
        if dataset.kind == "table":
            found = _columns(dataset, columns, where)
        elif dataset.kind == "array":
            found = _array(dataset)
        elif dataset.kind in ("group", "store"):
            names, found = ["node", *_NAMES], _group(dataset)
        else:
            raise NodeError(
                f"{dataset.name!r} is {article(dataset.kind)}, whose values may be anything"
            )
        write(record_lines(names, found, style, width))


def _group(group: Any) -> Iterator[dict[str, Any]]:
    """Yield what there is to say of all that is in a group, by path; links are not followed."""
    found: list[Any] = []
    group.visititems(lambda name, node: found.append((name, node)))
    for name, node in found:
        if node.kind == "table":
            records = _columns(node, None, None)
        elif node.kind == "array":
            records = _array(node)
        elif node.kind == "key store":
            records = iter([{"column": None, "dtype": "key store", "count": len(node)}])
        else:
            continue
        yield from ({"node": name, **record} for record in records)


def _columns(table: Any, columns: str | None, where: str | None) -> Iterator[dict[str, Any]]:
    import numpy as np

    from kist.cli.cat_table import row_blocks
    from kist.model.summary import Summary

    names = None if columns is None else [name.strip() for name in columns.split(",")]
    summaries: dict[str, Summary] = {}
    for _, rows in row_blocks(table, names, None, where):
        for name, column in _without_pairs(table, rows):
            dtype = column.dtype
            if dtype.kind == "O":  # text of any length is that in rows, and lists are
                dtype = table[name].dtype
            summary = summaries.setdefault(name, Summary(dtype))
            if isinstance(column, np.ma.MaskedArray):
                summary.add(column.compressed())
                n_null = len(column) - column.count()
                summary.count += n_null
                summary.n_missing += n_null
            elif column.dtype.kind != "O" or dtype.kind == "T":
                summary.add(column.astype(dtype, copy=False))
            else:  # lists have no order
                summary.count += len(column)
                summary.n_missing += sum(value is None for value in column.tolist())
    for name, summary in summaries.items():
        ratio = None if where is not None else table[name].ratio
        yield _record(name, summary, ratio)


def _without_pairs(table: Any, rows: Any) -> Iterator[tuple[str, Any]]:
    """Yield the columns of rows, nullable ones as masked arrays and not as value and valid."""
    import numpy as np

    from kist.bridges.nulls import is_nullable
    from kist.cli.cells import flat

    pairs = [name for name in rows.dtype.names if is_nullable(table[name].dtype)]
    for name in rows.dtype.names:
        if name in pairs:
            yield name, np.ma.array(rows[name]["value"], mask=~rows[name]["valid"])
        else:
            yield from flat(rows[[name]])


def _array(array: Any) -> Iterator[dict[str, Any]]:
    import numpy as np

    from kist.cli.cells import flat
    from kist.model.summary import summarize

    blocks = array.blocks() if array.ndim else iter([np.atleast_1d(array[()])])
    if array.dtype.names is None:
        yield _record(None, summarize(blocks, array.dtype), getattr(array, "ratio", None))
        return
    summaries: dict[str, Any] = {}
    for block in blocks:
        for name, field in flat(block.reshape(-1)):
            found = summaries.get(name)
            summaries[name] = summarize([field], field.dtype) if found is None else found
            if found is not None:
                found.add(field)
    for name, summary in summaries.items():
        yield _record(name, summary, None)


def _record(name: str | None, summary: Any, ratio: float | None) -> dict[str, Any]:
    facts = summary.to_dict()
    facts["missing"] = facts.pop("n_missing")
    ratio = None if ratio is None else round(float(ratio), 2)
    return {"column": name, "dtype": dtype_text(summary.dtype), **facts, "ratio": ratio}
