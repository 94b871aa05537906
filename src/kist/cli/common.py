"""Arguments that several verbs take, opening what they name, and printing."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from kist.bridges.places import split_place
from kist.cli import secrets
from kist.cli.colour import painted
from kist.errors import SelectionError, StorageError

if TYPE_CHECKING:
    import kist

__all__ = [
    "at_option",
    "examples",
    "file_argument",
    "given_place",
    "joined",
    "json_option",
    "node_argument",
    "open_at",
    "open_to_write",
    "painted",
    "place_argument",
    "place_type",
    "print_json",
    "progress_shown",
    "split_place",
    "style_options",
    "terminal_width",
    "version_of",
    "write",
]

F = TypeVar("F", bound=Callable[..., Any])

_PARTS: Final = 1000
_WIDE: Final = 1 << 30
_FEW_BYTES: Final = 10_000_000
"""Below, progress shows tenths of megabytes."""

file_argument: Callable[[F], F] = click.argument("file", type=click.Path())
json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
at_option: Callable[[F], F] = click.option(
    "--at", metavar="VERSION", help="A tag or commit number to read instead of the newest commit."
)


class _Place(click.ParamType):  # type: ignore[type-arg]
    """``FILE`` or ``FILE:PATH``, as (file, path)."""

    name = "place"

    def convert(
        self, value: Any, parameter: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        return value if isinstance(value, tuple) else split_place(value)

    def shell_complete(
        self, ctx: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[Any]:
        from kist.cli.completion import places

        return places(incomplete)


class _GivenPlace(_Place):
    """The same as the text that was given."""

    def convert(self, value: Any, parameter: Any, ctx: Any) -> Any:
        return value


place_type: Final = _Place()
given_place: Final = _GivenPlace()
place_argument: Callable[[F], F] = click.argument("file", type=place_type, metavar="FILE[:PATH]")
node_argument: Callable[[F], F] = click.argument("node", required=False, metavar="[PATH]")


def examples(*lines: str) -> str:
    """Return the end of a help text."""
    return "\b\nExamples:\n" + "\n".join("  " + line for line in lines)


def open_at(file: str, at: str | None = None) -> kist.Store:
    """Open a store for reading, at a tag or commit if one is given."""
    return _opened(file, version=version_of(at))


def version_of(at: str | None) -> int | str | None:
    """Return what `kist.open` takes as ``version`` for what stands behind ``--at``."""
    return int(at) if at is not None and at.isdigit() else at


def open_to_write(file: str) -> kist.Store:
    """Open a store that exists, to change it."""
    return _opened(file, mode="r+")


def _opened(file: str, **how: Any) -> kist.Store:
    """Open a store that exists."""
    import kist

    try:
        return kist.open(file, **how, secrets=secrets.given())
    except kist.StoreNotFoundError as error:
        if error.filename is None:  # not on this machine: who serves it has said what is wrong
            raise
        # What `kist.open` says names a mode that would make the file; verbs have no modes. The
        # name is as it was given.
        found = kist.StoreNotFoundError(f"{file!r}: no such file")
        found.errno, found.filename = error.errno, error.filename
        raise found from None


def style_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--csv``, ``--json`` and ``--table``.

    The verb gets `style`, which is "plain", "csv" or "json", and `width`, the characters of a
    line; None for values with tabs between.
    """

    @functools.wraps(function)
    def styled(*args: Any, as_csv: bool, as_json: bool, as_table: bool, **more: Any) -> Any:
        if as_csv + as_json + as_table > 1:
            raise SelectionError("--csv, --json and --table are three ways to print; take one")
        style = "csv" if as_csv else "json" if as_json else "plain"
        width = terminal_width()
        if as_table and width is None:
            width = _WIDE
        return function(*args, style=style, width=width, **more)

    for name, help_ in (
        ("--table", "Print columns side by side, also where the output is no terminal."),
        ("--json", "Print JSON."),
        ("--csv", "Print CSV with a header."),
    ):
        styled = click.option(name, f"as_{name[2:]}", is_flag=True, help=help_)(styled)
    return styled


def joined(place: tuple[str, str], node: str | None) -> str:
    """Return the path of the node that ``FILE:PATH PATH`` names."""
    path = place[1] or "/"
    if node is None:
        return path
    return node if node.startswith("/") or path == "/" else f"{path.rstrip('/')}/{node}"


def terminal_width() -> int | None:
    """Return the characters of a line of the terminal, None when the output is none."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return shutil.get_terminal_size().columns


def write(parts: Iterable[str]) -> None:
    """Print texts one after the other, many with one call of the system."""
    several = iter(parts)
    if sys.stdout.isatty():
        # Where it would be obeyed: a file may hold sequences that rename the window, or worse.
        from kist.model.text import shown

        several = map(shown, several)
    while some := list(islice(several, _PARTS)):
        try:
            sys.stdout.write("".join(some))
        except BrokenPipeError:
            raise
        except OSError as error:
            full = StorageError(f"standard output: {error.strerror}")
            full.errno = error.errno
            raise full from error


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    import json

    write([json.dumps(value, indent=2, ensure_ascii=False), "\n"])


@contextlib.contextmanager
def progress_shown(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Give something that shows progress on a terminal, from half a second on; else None."""
    if not sys.stderr.isatty():
        yield None
        return
    told = time.monotonic() + 0.3
    shown = False

    def tell(done: int, total: int) -> None:
        nonlocal told, shown
        if time.monotonic() - told > 0.2:
            told, shown = time.monotonic(), True
            size = f"{total / 1e6:,.{1 if total < _FEW_BYTES else 0}f} MB"
            # Nobody knows how much there is in all, or it is done.
            known = f"{100 * done // total} % of " if done < total else ""
            click.echo(f"\r{what}: {known}{size}", err=True, nl=False)

    try:
        yield tell
    finally:
        if shown:
            click.echo("\r" + " " * 40 + "\r", err=True, nl=False)
