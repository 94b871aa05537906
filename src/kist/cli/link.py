"""``kist link``: a node that leads to another one, or is made of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kist.cli.common import (
    examples,
    given_place,
    open_to_write,
    place_argument,
    progress_shown,
    version_of,
)

if TYPE_CHECKING:
    import kist

__all__ = ["link"]


@click.command(
    epilog=examples(
        "kist link lab.kist:newest runs/17",
        "kist link lab.kist:offsets /offsets --file cal.kist --at june",
        "kist link lab.kist:trades 'day/*' --union",
        "kist link all.kist:trades trades --files 'parts/*.kist'",
        "kist link lab.kist:frames frames.npy --array",
        "kist link lab.kist:raw raw.bin --array --dtype '<i2' --shape 600,800",
        "kist link all.kist:trades --renew",
    )
)
@place_argument
@click.argument("targets", metavar="[TARGET]...", nargs=-1, type=given_place)
@click.option("--file", "other", help="Another kist file, relative to the folder of FILE.")
@click.option("--union", is_flag=True, help="TARGETs are datasets or patterns, read as one.")
@click.option(
    "--files",
    multiple=True,
    metavar="PATTERN",
    help="TARGET is a table or array in each of these files, read as one.",
)
@click.option("--at", help="Tag or commit of other kist files; without it the newest.")
@click.option("--array", is_flag=True, help="TARGET is an NPY, HDF5 or other file of an array.")
@click.option("--dataset", metavar="NAME", help="Dataset of an HDF5 file.")
@click.option("--dtype", help="NumPy dtype of the bytes of another file.")
@click.option("--shape", metavar="N,N,...", help="Their shape.")
@click.option("--offset", type=int, default=0, help="The byte with which they begin.")
@click.option("--order", type=click.Choice(["C", "F"]), default="C", help="Their order.")
@click.option("--no-sums", is_flag=True, help="Keep no sums of them: do not read them now.")
@click.option("--renew", is_flag=True, help="Link the files of a link as they are now.")
@click.option("--overwrite", is_flag=True, help="Replace a link of that name.")
def link(
    file: tuple[str, str],
    targets: tuple[str, ...],
    other: str | None,
    union: bool,
    files: tuple[str, ...],
    at: str | None,
    array: bool,
    dataset: str | None,
    dtype: str | None,
    shape: str | None,
    offset: int,
    order: str,
    no_sums: bool,
    renew: bool,
    overwrite: bool,
) -> None:
    """Make a link at PATH, which leads to TARGET or is made of TARGETs.

    TARGET is relative to the group of the link, or begins with / at the root; it need not be
    there. Looking up the link gives what it leads to; 'kist rm', 'mv' and 'copy' mean the link.
    Names of files are relative to the folder of FILE.
    """
    from kist.cli.places import said
    from kist.errors import NodeError

    if not file[1].strip("/"):
        raise NodeError(f"{file[0]!r}: name the link, as in lab.kist:newest")
    described = (dataset, dtype, shape) != (None, None, None) or offset or order != "C" or no_sums
    ways = [bool(other), union, bool(files), array, renew]
    if sum(ways) > 1:
        raise click.UsageError("use one of --file, --union, --files, --array and --renew")
    if at is not None and not (other or files):
        raise click.UsageError("--at is for other kist files: --file or --files")
    if described and not array:
        raise click.UsageError("--dataset, --dtype, --shape and the like are for --array")
    if renew == bool(targets) or (len(targets) > 1 and not union):
        raise click.UsageError("--renew takes no TARGET, --union one or more, all others one")
    version = version_of(at)
    with open_to_write(file[0]) as store, progress_shown("link") as progress:
        if renew:
            store.open_link(file[1]).renew(progress)
        elif union or files:
            store.create_union(
                file[1],
                *targets,
                files=files or None,
                version=version,
                overwrite=overwrite,
                progress=progress,
            )
        elif array:
            bytes_of = (dataset, dtype, _shape(shape), offset, order)
            _link_array(store, file[1], targets[0], bytes_of, not no_sums, overwrite, progress)
        else:
            store.create_link(file[1], targets[0], file=other, version=version, overwrite=overwrite)
        click.echo(f"{said(store, file[1])} {'renewed' if renew else 'made'}")


def _link_array(
    store: kist.Store,
    path: str,
    file: str,
    bytes_of: tuple[Any, ...],
    sums: bool,
    overwrite: bool,
    progress: Any,
) -> None:
    dataset, dtype, shape, offset, order = bytes_of
    store.create_array_link(
        path,
        file,
        dataset,
        dtype=dtype,
        shape=shape,
        offset=offset,
        order=order,
        sums=sums,
        overwrite=overwrite,
        progress=progress,
    )


def _shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise click.UsageError(f"--shape is lengths with commas between, not {text!r}") from None
