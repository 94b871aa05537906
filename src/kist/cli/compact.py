"""``kist compact``: unused space back to the file system."""

from __future__ import annotations

import click

from kist.cli.common import examples, file_argument, open_to_write, progress_shown

__all__ = ["compact"]


@click.command(epilog=examples("kist compact lab.kist"))
@file_argument
def compact(file: str) -> None:
    """Give unused space of FILE back to the file system, in place, and say how much.

    Works by ordinary commits: an interrupt loses nothing, others may read meanwhile. What tags and
    readers need stays. 'kist backup --compact' and 'kist repack' write a new, smallest file.
    """
    import os

    with open_to_write(file) as store, progress_shown("compact") as progress:
        given_back = store.compact(progress)
    size = os.path.getsize(file)
    click.echo(f"{file}: {given_back:,} bytes given back, {size:,} left")
