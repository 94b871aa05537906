"""``kist merge``: datasets of several files into one file."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

import click

from kist.cli.common import examples, open_at, progress_shown, split_place
from kist.cli.secrets import encrypt_option, given, given_to_seal

__all__ = ["merge"]


@click.command(
    epilog=examples(
        "kist merge part-*.kist --out whole.kist",
        "kist merge monday.kist tuesday.kist -o week.kist --path trades --cast",
        "kist merge lab.kist:runs/1/hits lab.kist:runs/2/hits -o hits.kist --path hits",
    )
)
@click.argument("files", nargs=-1, required=True, metavar="FILE[:PATH]...")
@click.option("-o", "--out", required=True, type=click.Path(), help="The new file.")
@click.option("--path", metavar="PATH", help="Merge this one only; or its new name.")
@click.option("--cast", is_flag=True, help="Cast other dtypes to those of the first.")
@encrypt_option
@click.option("--overwrite", is_flag=True, help="Replace the file.")
def merge(
    files: tuple[str, ...],
    out: str,
    path: str | None,
    cast: bool,
    encrypt: bool,
    overwrite: bool,
) -> None:
    """Merge the datasets of FILEs into a new file, in the order of the files.

    With :PATH it is that dataset of a file, or what is in that group. Tables and arrays of one
    path follow each other, key stores are joined. Nothing is decoded that need not be. The new
    file appears when it is complete.
    """
    import kist

    with ExitStack() as held, progress_shown("merge") as progress:
        sources: list[Any] = []
        for name in files:
            file, inner = split_place(name)
            sources.append(held.enter_context(open_at(file, None))[inner] if inner else file)
        kist.merge(
            sources,
            out,
            path,
            cast=cast,
            overwrite=overwrite,
            progress=progress,
            secrets=given(),
            encrypt=given_to_seal(encrypt),
        )
    of = f"{len(files):,} file{'' if len(files) == 1 else 's'}"
    click.echo(f"{out}: {os.path.getsize(out):,} bytes of {of}")
