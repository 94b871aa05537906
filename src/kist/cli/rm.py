"""``kist rm``: nodes, with everything below them."""

from __future__ import annotations

import sys

import click

from kist.cli.common import examples, open_to_write, place_type
from kist.cli.places import said
from kist.errors import NodeError

__all__ = ["rm"]


@click.command(
    epilog=examples("kist rm lab.kist:raw/old", "kist rm --yes lab.kist:tmp lab.kist:raw/test")
)
@click.argument("places", nargs=-1, required=True, type=place_type, metavar="FILE:PATH...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def rm(places: tuple[tuple[str, str], ...], yes: bool) -> None:
    """Remove the nodes at PATH, of groups everything in them, and say what was removed.

    Asks first on a terminal; elsewhere --yes is needed. What stands in one file is one commit,
    all or nothing. Tags and kept versions still hold the nodes; 'kist compact' gives the space
    back.
    """
    for file, path in places:
        if not path.strip("/"):
            raise NodeError(
                f"{file!r}: name a node, as in {file}:raw; for all of it, delete the file"
            )
    for file in dict.fromkeys(file for file, _ in places):
        paths = list(dict.fromkeys(path.strip("/") for name, path in places if name == file))
        with open_to_write(file) as store:
            words = [said(store, path) for path in paths]
            if not yes:
                _ask(file, words)  # before others have to wait for this
            with store.transaction("kist rm"):
                for path in paths:
                    if not _gone_with(path, paths):
                        del store[path]
        for word in words:
            click.echo(f"{word} removed")


def _gone_with(path: str, paths: list[str]) -> bool:
    """Tell whether a node goes with a group above it."""
    return any(path.startswith(f"{other}/") for other in paths)


def _ask(file: str, words: list[str]) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("nobody can be asked here; --yes removes without asking")
    for word in words:
        click.echo(f"{file}: {word}", err=True)
    if not click.confirm("Remove?", err=True):
        click.echo("nothing removed", err=True)
        raise click.exceptions.Exit(1)
