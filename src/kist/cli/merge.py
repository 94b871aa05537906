"""``kist merge``: datasets of several files into one file."""

from __future__ import annotations

import os

import click

from kist.cli.common import examples, progress_shown
from kist.cli.secrets import encrypt_option, given, given_to_seal

__all__ = ["merge"]


@click.command(
    epilog=examples(
        "kist merge part-*.kist --out whole.kist",
        "kist merge monday.kist tuesday.kist -o week.kist --path trades --cast",
    )
)
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--out", required=True, type=click.Path(), help="The new file.")
@click.option("--path", metavar="PATH", help="Merge this dataset only.")
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
    """Merge the datasets of FILES into a new file, in the order of the files.

    Tables and arrays of one path follow each other, key stores are joined. Nothing is decoded
    that need not be. The new file appears when it is complete.
    """
    import kist

    with progress_shown("merge") as progress:
        kist.merge(
            list(files),
            out,
            path,
            cast=cast,
            overwrite=overwrite,
            progress=progress,
            secrets=given(),
            encrypt=given_to_seal(encrypt),
        )
    click.echo(f"{out}: {os.path.getsize(out):,} bytes of {len(files)} files")
