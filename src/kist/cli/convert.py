"""``kist convert``: any format into a store, and back."""

from __future__ import annotations

from typing import Any, Final

import click

from kist.cli.common import examples, given_place, print_json, progress_shown
from kist.cli.secrets import given

__all__ = ["convert"]

_LISTS: Final = {"columns", "names", "null_values"}
_WORDS: Final = {"true": True, "false": False, "none": None}


def _options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of a format: ``name=value``; numbers, words and lists as they read."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="--set")
        if name in _LISTS:
            found[name] = value.split(",")
        elif value.lower() in _WORDS:
            found[name] = _WORDS[value.lower()]
        else:
            found[name] = int(value) if value.lstrip("-").isdigit() else value
    return found


def _types(pairs: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, dtype = pair.rpartition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not COLUMN=DTYPE", param_hint="--dtype")
        found[name] = dtype
    return found


@click.command(
    epilog=examples(
        "kist convert run.h5 lab.kist:runs/monday",
        "kist convert trades.parquet lab.kist:trades",
        "kist convert prices.csv.gz lab.kist:prices --dtype 'code=U8'",
        "curl ... | kist convert - lab.kist:prices --format csv",
        "kist convert lab.kist:trades - --format csv",
        "kist convert results lab.kist",
        "kist convert *.csv lab.kist:prices",
        "kist convert lab.kist:runs runs.h5 --flavour pytables",
        "kist convert survey.h5 survey.kist --resume",
    )
)
@click.argument("source", nargs=-1, required=True, type=given_place)
@click.argument("target", type=given_place)
@click.option("-f", "--format", "format_", help="The other format; by default what the file is.")
@click.option("--strict", is_flag=True, help="Refuse what would change or be left behind.")
@click.option("--overwrite", is_flag=True, help="Replace the file, or datasets of these names.")
@click.option("--resume", is_flag=True, help="Commit in steps, and go on after a kill.")
@click.option("--codec", default="auto", show_default=True, help="Of what is put into the store.")
@click.option("--at", metavar="VERSION", help="A tag or commit number of the store to read.")
@click.option("--flavour", type=click.Choice(["h5py", "pytables"]), help="Of an HDF5 file.")
@click.option("--dtype", "dtypes", multiple=True, metavar="COLUMN=DTYPE", help="Of a text column.")
@click.option("--allow-pickle", is_flag=True, help="Run what a pickle, joblib or shelf brings.")
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE", help="Other format options.")
@click.option("--decrypt", is_flag=True, help="Let sealed columns stand in clear in TARGET.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print no report.")
def convert(
    source: tuple[str, ...],
    target: str,
    format_: str | None,
    strict: bool,
    overwrite: bool,
    resume: bool,
    codec: str,
    at: str | None,
    flavour: str | None,
    dtypes: tuple[str, ...],
    allow_pickle: bool,
    sets: tuple[str, ...],
    decrypt: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Bring SOURCE into a store, or a store or a node of it into another format.

    Several files may come into a store at once, each as a node of its name. One of SOURCE and
    TARGET is a store; FILE.kist:PATH names a node in it, and - is standard input or
    output. What was changed or could not be kept is listed. TARGET is complete or as it was; with
    --resume a store keeps what came over, and the same command goes on with it.
    """
    import kist

    options = _options(sets)
    if flavour is not None:
        options["flavour"] = flavour
    if allow_pickle:
        options["allow_pickle"] = True
    if dtypes:
        options["dtypes"] = _types(dtypes)
    version: int | str | None = int(at) if at is not None and at.isdigit() else at
    with progress_shown("convert") as progress:
        try:
            report = kist.convert(
                list(source), target, format=format_, strict=strict, overwrite=overwrite,
                codec=codec, version=version, secrets=given(), decrypt=decrypt, resume=resume,
                progress=progress, **options,
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            if isinstance(error, kist.KistError):
                raise
            raise click.UsageError(str(error)) from error
    if as_json:
        print_json(report.to_dict())
    elif not quiet:
        click.echo(str(report), err=target == "-")
