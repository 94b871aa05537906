"""``kist mv``: another name or place for a node."""

from __future__ import annotations

import click

from kist.cli.common import examples, given_place, open_to_write, place_argument
from kist.cli.places import named_target, said
from kist.errors import NodeError

__all__ = ["mv"]


@click.command(
    epilog=examples(
        "kist mv lab.kist:raw/images :raw/images-2026",
        "kist mv lab.kist:raw lab.kist:archive/raw",
    )
)
@place_argument
@click.argument("target", type=given_place, metavar=":PATH|FILE:PATH")
def mv(file: tuple[str, str], target: str) -> None:
    """Give the node at PATH another name or place in its file, and say what was done.

    Groups on the way are made; nothing is copied. What stands at the target is not replaced.
    """
    to_file, to_path = named_target(target, file[0])
    path = file[1].strip("/")
    if not path or not to_path:
        raise NodeError("the root stays where it is: name two nodes, as in lab.kist:raw :old")
    with open_to_write(file[0]) as store:
        if to_file != file[0]:
            raise NodeError(
                f"{to_file!r} is another file; 'kist copy' copies into it, 'kist rm' removes here"
            )
        before = said(store, path)
        store.move(path, to_path)
    click.echo(f"{before} moved to /{to_path}")
