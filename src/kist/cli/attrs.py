"""``kist attrs``: the attributes of a node or column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from kist.cli.common import (
    at_option,
    examples,
    joined,
    json_option,
    open_at,
    place_argument,
    terminal_width,
    write,
)
from kist.cli.lines import ANY, aligned
from kist.errors import NodeError
from kist.format.node import article
from kist.model.text import visible

__all__ = ["attrs"]


@click.command(
    epilog=examples(
        "kist attrs lab.kist",
        "kist attrs lab.kist:raw/images",
        "kist attrs lab.kist:raw/images camera",
        "kist attrs lab.kist:market/trades --column price --json",
    )
)
@place_argument
@click.argument("name", required=False)
@click.option("-c", "--column", help="The attributes of this column of a table.")
@json_option
@at_option
def attrs(
    file: tuple[str, str], name: str | None, column: str | None, as_json: bool, at: str | None
) -> None:
    """Print the attributes of the node at PATH, by default of the root, or only NAME.

    NAME alone prints the value: text as it is, arrays and other values as Python writes them.
    As JSON, arrays are nested lists, times ISO text, tuples and sets lists, complex numbers
    [real, imaginary].
    """
    from kist.cli.cells import value_json, value_text

    with open_at(file[0], at) as store:
        node = store[joined(file, None)]
        if column is not None:
            if node.kind != "table":
                raise NodeError(
                    f"{node.name!r} is {article(node.kind)}, and only tables have columns"
                )
            node = node[column]
        if name is not None:
            value = node.attrs[name]
            write([value_json(value) if as_json else value_text(value), "\n"])
        elif as_json:
            pairs = (f"  {value_json(n)}: {value_json(value)}" for n, value in node.attrs.items())
            write(["{\n" if len(node.attrs) else "{", ",\n".join(pairs)])
            write(["\n}\n" if len(node.attrs) else "}\n"])
        else:
            write(_listing(node, terminal_width()))


def _listing(node: Any, width: int | None) -> Iterator[str]:
    from kist.model.attributes import glance

    shown = glance(node.attrs)
    names = [visible(name) for name in shown]
    yield from aligned(["", ""], [[names, list(shown.values())]], [False, False], width, ANY)
    if getattr(node, "kind", "") == "table":
        counts = {name: len(node[name].attrs) for name in node.columns}
        some = [f"{visible(name)} ({n})" for name, n in counts.items() if n]
        if some:
            yield f"Columns with attributes: {', '.join(some)}; --column shows them\n"
