"""``kist pack``: any file or stream, smaller and with checksums."""

from __future__ import annotations

import click

from kist.cli.common import examples, json_option
from kist.cli.streams import SUFFIX, told, working

__all__ = ["pack"]


@click.command(
    epilog=examples(
        "kist pack data.npy",
        "kist pack data.npy -o data.packed --codec small",
        "tar c raw | kist pack - > raw.tar.kpk",
        "kist pack samples.bin --dtype '<f4'",
    )
)
@click.argument("source", type=click.Path(allow_dash=True))
@click.option("-o", "--output", help=f"By default SOURCE{SUFFIX}; - is standard output.")
@click.option("--codec", default="fast", show_default=True, help="A preset or a codec.")
@click.option("--dtype", help="Into which values the bytes are divided; NPY files say it.")
@click.option("--overwrite", is_flag=True, help="Replace a file of that name.")
@click.option("-q", "--quiet", is_flag=True, help="Print no report.")
@json_option
def pack(
    source: str,
    output: str | None,
    codec: str,
    dtype: str | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Pack a file or a stream; - is standard input. 'kist unpack' gives it back, bit by bit.

    Takes a few megabytes of memory for each thread. The report, on standard error, tells sizes
    and speed. Presets are fast, balanced and small; codecs are lz4, zstd, pcodec and none.
    """
    from kist.model.packing import pack_stream

    if output is None:
        output = "-" if source == "-" else source + SUFFIX
    with working("pack", source, output, overwrite) as (stream, target, progress):
        report = pack_stream(stream, target, codec, dtype, progress)
    told(source, report, quiet, as_json)
