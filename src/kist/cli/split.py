"""``kist split``: one dataset into files of its own."""

from __future__ import annotations

import os

import click

from kist.cli.common import at_option, examples, open_at, place_argument, progress_shown
from kist.cli.secrets import encrypt_option, given_to_seal

__all__ = ["split"]


@click.command(
    epilog=examples(
        "kist split lab.kist:market/trades --rows 1000000",
        "kist split lab.kist:market/trades --parts 8 --out parts",
        "kist split lab.kist:market/trades --by symbol --out 'trades-{}.kist'",
        "kist split lab.kist:runs --cut m --cut t",
    )
)
@place_argument
@click.option("--rows", type=int, help="Rows of each part, or keys.")
@click.option("--parts", type=int, help="Number of parts of about one length.")
@click.option("--cut", "cuts", multiple=True, metavar="ROW|KEY", help="Where to cut; repeat it.")
@click.option("--by", metavar="COLUMN", help="One part for each value of a column.")
@click.option("-o", "--out", metavar="FOLDER|NAME", help="A folder, or a name with {} in it.")
@at_option
@encrypt_option
@click.option("--overwrite", is_flag=True, help="Replace files.")
def split(
    file: tuple[str, str],
    rows: int | None,
    parts: int | None,
    cuts: tuple[str, ...],
    by: str | None,
    out: str | None,
    at: str | None,
    encrypt: bool,
    overwrite: bool,
) -> None:
    """Split the dataset at PATH into files, and print their names.

    Nothing is decoded but what a cut goes through. Attributes and indexes go along. The files
    appear when all are complete.
    """
    import kist

    with open_at(file[0], at) as store, progress_shown("split") as progress:
        where: list[int | str] | None = list(cuts) if cuts else None
        if where and not (file[1] and isinstance(store[file[1]], kist.KeyStore)):
            where = [int(cut) if cut.isdigit() else cut for cut in cuts]
        names = kist.split(
            store,
            file[1] or None,
            rows=rows,
            parts=parts,
            at=where,
            by=by,
            out=out,
            overwrite=overwrite,
            progress=progress,
            encrypt=given_to_seal(encrypt),
        )
    for name in names:
        click.echo(os.path.relpath(name))
