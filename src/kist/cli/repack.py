"""``kist repack``: a store written anew."""

from __future__ import annotations

import os
import time

import click

from kist.cli.common import at_option, examples, file_argument, open_at

__all__ = ["repack"]


@click.command(
    epilog=examples(
        "kist repack lab.kist small.kist --codec small",
        "kist repack lab.kist fresh.kist",
        "kist repack lab.kist monday.kist --at day-1",
    )
)
@file_argument
@click.argument("target", type=click.Path())
@click.option("--codec", help="Encode everything anew: a preset or a codec.")
@at_option
@click.option("--overwrite", is_flag=True, help="Replace a file at TARGET.")
def repack(file: str, target: str, codec: str | None, at: str | None, overwrite: bool) -> None:
    """Write all nodes of FILE into a new store TARGET, without history and unused space.

    With --codec all is encoded anew: fast, balanced and small choose for each column; lz4, zstd,
    pcodec and none are taken as they are. Without it nothing is decoded, but all is verified.
    TARGET is another store, with an identity of its own; it appears when it is complete.
    """
    import kist
    from kist.bridges.convert import beside
    from kist.model.repacking import repack as written_anew

    begun = time.monotonic()
    with (
        open_at(file, at) as source,
        beside(target, overwrite=overwrite) as part,
        kist.open(part, "x", durability="none") as store,
    ):
        written_anew(source, store, codec)
        store.compact()
    before, after = os.path.getsize(file), os.path.getsize(target)
    seconds = time.monotonic() - begun
    click.echo(f"{target}: {after:,} bytes, {file} has {before:,}; {seconds:.1f} s")
