"""``kist schema``: which columns, dtypes and shapes there are."""

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

__all__ = ["schema"]

_NAMES = ["path", "column", "dtype", "shape", "codec", "title"]


@click.command(
    epilog=examples(
        "kist schema lab.kist",
        "kist schema lab.kist:market/trades",
        "kist schema lab.kist --json",
    )
)
@place_argument
@node_argument
@style_options
@at_option
def schema(
    file: tuple[str, str], node: str | None, style: Any, width: int | None, at: str | None
) -> None:
    """Print the columns of tables and the dtypes of arrays at PATH and below.

    One line for each column or array. Key stores have no dtype, but a line too.
    """
    from kist.cli.records import record_lines

    with open_at(file[0], at) as store:
        found = _records(store[joined(file, node)])
        write(record_lines(_NAMES, found, style, width))


def _records(node: Any) -> Iterator[dict[str, Any]]:
    if node.kind == "group":
        for below in node.values():
            yield from _records(below)
        return
    if node.kind == "link":
        return  # what it leads to is listed where it stands
    facts = node.info
    record = dict.fromkeys(_NAMES) | {"path": node.name, "codec": facts.get("codec")}
    if node.kind == "table":
        for name, column in facts["columns"].items():
            about = {"column": name, "dtype": column["dtype"], "codec": column.get("codec")}
            yield record | about | {"shape": [len(node)], "title": node[name].title}
        return
    record["title"] = node.title
    if node.kind == "array":
        record |= {"dtype": str(node.dtype), "shape": list(node.shape)}
        record |= {name: facts[name] for name in ("chunks", "fill_value") if name in facts}
    else:
        record |= {"dtype": "key store", "shape": [len(node)]}
    yield record
