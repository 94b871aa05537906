"""``kist backup``: a copy of a store that may be in use."""

from __future__ import annotations

import click

from kist.cli.common import at_option, examples, file_argument, open_at

__all__ = ["backup"]


@click.command(epilog=examples("kist backup lab.kist lab-monday.kist", "kist backup -c lab.kist x"))
@file_argument
@click.argument("target", type=click.Path())
@at_option
@click.option("-c", "--compact", is_flag=True, help="The smallest file, without older versions.")
@click.option("--overwrite", is_flag=True, help="Replace a file at TARGET.")
def backup(file: str, target: str, at: str | None, compact: bool, overwrite: bool) -> None:
    """Copy the newest commit of FILE to TARGET, while others write to FILE.

    TARGET appears when it is complete, synced and verified.
    """
    with open_at(file, at) as store:
        size = store.backup(target, compact=compact, overwrite=overwrite)
    click.echo(f"{target}: {size:,} bytes, verified")
