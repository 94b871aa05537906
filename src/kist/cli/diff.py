"""``kist diff``: what differs between two stores, two nodes or two versions?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import click

from kist.cli.common import (
    examples,
    open_at,
    painted,
    place_argument,
    place_type,
    style_options,
    write,
)

__all__ = ["diff"]

_NAMES = ["path", "what", "detail"]
_COLOURS = {"only in A": "red", "only in B": "green"}


@click.command(
    epilog=examples(
        "kist diff lab.kist backup.kist",
        "kist diff lab.kist:raw other.kist:raw/monday",
        "kist diff lab.kist --at day-1",
        "kist diff lab.kist:market --at day-1 --at 7 --json",
    )
)
@place_argument
@click.argument("other", type=place_type, required=False, metavar="[FILE[:PATH]]")
@click.option(
    "--at",
    "versions",
    multiple=True,
    metavar="VERSION",
    help="A tag or commit number: the first is that of A, a second that of B.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing, stop at the first difference.")
@style_options
def diff(
    file: tuple[str, str],
    other: tuple[str, str] | None,
    versions: tuple[str, ...],
    quiet: bool,
    style: Any,
    width: int | None,
) -> None:
    """Tell what differs between A and B: names, kinds, dtypes, shapes, attributes and values.

    Without a second file, two versions of one are compared; one --at is compared with the newest
    commit. Codecs and chunks are no difference, NaN equals NaN. Ends with exit code 0 when nothing
    differs, 1 when something does.
    """
    from kist.model.comparing import compare

    if len(versions) > 2:
        raise click.UsageError("--at is given at most twice: for A, and for B")
    if other is None and not versions:
        raise click.UsageError("with what? Give a second FILE, or --at VERSION")
    one, two = [*versions, None, None][:2]
    with ExitStack() as stack:
        a = stack.enter_context(open_at(file[0], one))
        b = stack.enter_context(open_at((other or file)[0], two))
        mine, others = a[file[1] or "/"], b[(other or file)[1] or "/"]
        found = compare(mine, others)
        if quiet:
            click.get_current_context().exit(0 if next(found, None) is None else 1)
        counted = _Counted(found)
        if style == "plain" and (width is None or sys.stdout.isatty()):
            for difference in counted:
                _print(difference)
        else:
            from kist.cli.records import record_lines

            records = ({name: getattr(d, name) for name in _NAMES} for d in counted)
            write(record_lines(_NAMES, records, style, width))
    click.get_current_context().exit(1 if counted.n else 0)


class _Counted:
    """Differences on their way to the output, counted."""

    def __init__(self, found: Iterator[Any]) -> None:
        self._found = found
        self.n = 0

    def __iter__(self) -> Iterator[Any]:
        for difference in self._found:
            self.n += 1
            yield difference


def _print(difference: Any) -> None:
    from kist.model.text import visible

    words = painted(difference.what, fg=_COLOURS.get(difference.what, "yellow"))
    path, detail = visible(difference.path), visible(difference.detail)
    click.echo(f"{path}: {words}: {detail}")
