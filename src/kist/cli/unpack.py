"""``kist unpack``: what `kist pack` packed."""

from __future__ import annotations

import click

from kist.cli.common import examples, json_option
from kist.cli.streams import SUFFIX, told, working
from kist.errors import FormatError

__all__ = ["unpack"]


@click.command(
    epilog=examples(
        "kist unpack data.npy.kpk",
        "kist unpack data.packed -o data.npy",
        "kist unpack raw.tar.kpk -o - | tar x",
    )
)
@click.argument("source", type=click.Path(allow_dash=True))
@click.option("-o", "--output", help=f"By default SOURCE without {SUFFIX}; - is standard output.")
@click.option("--overwrite", is_flag=True, help="Replace a file of that name.")
@click.option("-q", "--quiet", is_flag=True, help="Print no report.")
@json_option
def unpack(source: str, output: str | None, overwrite: bool, quiet: bool, as_json: bool) -> None:
    """Unpack a packed file or stream; - is standard input.

    All of it is verified. A file appears when it is complete; standard output is whole only when
    the exit code is 0, and 1 tells of damage.
    """
    from kist.model.packing import unpack_stream

    if output is None:
        output = "-" if source == "-" else source.removesuffix(SUFFIX)
        if output == source != "-":
            raise click.UsageError(
                f"{source!r} does not end with {SUFFIX}: name the output with -o"
            )
    with working("unpack", source, output, overwrite) as (stream, target, progress):
        try:
            report = unpack_stream(stream, target, progress)
        except FormatError as error:
            name = "standard input" if source == "-" else source
            error.args = (f"{name}: {error}", *error.args[1:])
            raise
    told(source, report, quiet, as_json)
