"""``kist link``: a node that leads to another one."""

from __future__ import annotations

import click

from kist.cli.common import examples, open_to_write, place_argument, version_of

__all__ = ["link"]


@click.command(
    epilog=examples(
        "kist link lab.kist:newest runs/17",
        "kist link lab.kist:offsets /offsets --file cal.kist --at june",
    )
)
@place_argument
@click.argument("target", metavar="TARGET")
@click.option("--file", "other", help="Another kist file, relative to the folder of FILE.")
@click.option("--at", help="Tag or commit of that file; without it the newest.")
@click.option("--overwrite", is_flag=True, help="Replace a link of that name.")
def link(
    file: tuple[str, str], target: str, other: str | None, at: str | None, overwrite: bool
) -> None:
    """Make a link at PATH, which leads to TARGET.

    TARGET is relative to the group of the link, or begins with / at the root; it need not be
    there. Looking up the link gives what it leads to; 'kist rm', 'mv' and 'copy' mean the link.
    """
    from kist.cli.places import said
    from kist.errors import NodeError

    if not file[1].strip("/"):
        raise NodeError(f"{file[0]!r}: name the link, as in lab.kist:newest")
    with open_to_write(file[0]) as store:
        store.create_link(file[1], target, file=other, version=version_of(at), overwrite=overwrite)
        click.echo(f"{said(store, file[1])} made")
