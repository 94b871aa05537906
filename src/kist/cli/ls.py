"""``kist ls``: the nodes of a group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from kist.cli.common import (
    at_option,
    examples,
    joined,
    json_option,
    node_argument,
    open_at,
    place_argument,
    print_json,
    terminal_width,
    write,
)
from kist.errors import NodeError
from kist.format.node import article

__all__ = ["ls"]


@click.command(
    epilog=examples(
        "kist ls lab.kist",
        "kist ls -l lab.kist:raw",
        "kist ls -r lab.kist --json",
    )
)
@place_argument
@node_argument
@click.option("-l", "--long", is_flag=True, help="Also kind, size and title.")
@click.option("-r", "--recursive", is_flag=True, help="Also everything below.")
@json_option
@at_option
def ls(
    file: tuple[str, str],
    node: str | None,
    long: bool,
    recursive: bool,
    as_json: bool,
    at: str | None,
) -> None:
    """List the nodes of the group at PATH, by default of the root."""
    with open_at(file[0], at) as store:
        group = store[joined(file, node)]
        if group.kind != "group":
            raise NodeError(
                f"{group.name!r} is {article(group.kind)}; 'kist info' and 'kist cat' show it"
            )
        if not long and not as_json:
            names: list[str] = []
            if recursive:
                group.visit(names.append)
            else:
                names = list(group)
            from kist.model.text import visible

            write(visible(name) + "\n" for name in names)
            return
        from kist.model.tree import Tree

        drawn = Tree(group, None if recursive else 1, None).to_dict()
        nodes = list(_flat(drawn, ""))
        if as_json:
            print_json(nodes)
            return
        from kist.cli.lines import ANY, aligned

        columns = list(zip(*map(_line, nodes), strict=True))
        right = [False, True, False, False]
        width = terminal_width()
        lines = aligned([""] * 4, [columns] if columns else [], right, width or ANY, ANY)
        write(lines)


def _flat(drawn: dict[str, Any], before: str) -> Iterator[dict[str, Any]]:
    for node in drawn.get("children", ()):
        path = before + node["name"]
        yield {**{name: value for name, value in node.items() if name != "children"}, "name": path}
        yield from _flat(node, path + "/")


def _line(node: dict[str, Any]) -> tuple[str, str, str, str]:
    from kist.model.text import shorten, visible

    size = ""
    if "error" in node:
        size = "cannot be read"
    elif "rows" in node:
        size = f"{node['rows']:,} x {node['columns']:,}"
    elif "shape" in node:
        size = " x ".join(f"{n:,}" for n in node["shape"]) or "one"
        size += " " + shorten(node["dtype"], 24)
    elif "leads_to" in node:
        size = f"-> {visible(node['leads_to'])}" + (" (dangling)" if node["dangling"] else "")
    elif "keys" in node:
        size = f"{node['keys']:,} keys"
    return node["kind"], size, visible(node["name"]), node["title"] or ""
