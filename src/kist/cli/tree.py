"""``kist tree``: what a store holds, as a drawing."""

from __future__ import annotations

import click

from kist.cli.common import at_option, file_argument, node_argument, open_at
from kist.errors import NodeError

__all__ = ["tree"]


@click.command()
@file_argument
@node_argument
@click.option("-d", "--depth", type=click.IntRange(min=0), help="Levels to show.")
@at_option
def tree(file: str, node: str, depth: int | None, at: str | None) -> None:
    """Draw what stands below the group NODE of FILE, by default the root."""
    with open_at(file, at) as store:
        group = store[node]
        if group.kind != "group":
            raise NodeError(f"{node!r} is a {group.kind}; 'kist info' shows it")
        click.echo(str(group.tree(depth)))
