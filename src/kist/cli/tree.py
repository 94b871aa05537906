"""``kist tree``: what a store holds, as a drawing."""

from __future__ import annotations

import click

from kist.cli.colour import painted, wanted
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

__all__ = ["tree"]

_GUIDES = "│├└─ "


@click.command(
    epilog=examples(
        "kist tree lab.kist",
        "kist tree lab.kist:raw --depth 1",
        "kist tree lab.kist --json",
    )
)
@place_argument
@node_argument
@click.option("-d", "--depth", type=click.IntRange(min=0), help="Levels to show.")
@click.option("--all", "everything", is_flag=True, help="More than 1,000 lines, if there are.")
@json_option
@at_option
def tree(
    file: tuple[str, str],
    node: str | None,
    depth: int | None,
    everything: bool,
    as_json: bool,
    at: str | None,
) -> None:
    """Draw what stands below the group at PATH, by default the root.

    With --json it is all there, however much: nodes with "children".
    """
    from kist.model.text import shorten, shown
    from kist.model.tree import Tree

    with open_at(file[0], at) as store:
        group = store[joined(file, node)]
        if group.kind != "group":
            raise NodeError(
                f"{group.name!r} is {article(group.kind)}; 'kist info' and 'kist cat' show it"
            )
        drawing = Tree(group, depth, None if everything or as_json else 1000)
        if as_json:
            print_json(drawing.to_dict())
            return
        width = terminal_width()
        lines = str(drawing).split("\n")
        shortened = (line if width is None else shorten(line, width) for line in lines)
        if not wanted():
            write(line + "\n" for line in shortened)
            return
        for line in map(shown, shortened):
            name = line.lstrip(_GUIDES)
            click.echo(painted(line[: len(line) - len(name)], dim=True) + name)
