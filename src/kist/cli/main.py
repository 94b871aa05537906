"""``kist``: finds the verb, and says in one line what went wrong."""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from typing import Any, Final

import click

from kist.cli import ending
from kist.cli.colour import WHEN, choose, painted
from kist.cli.secrets import secret_option
from kist.errors import (
    CorruptDataError,
    KistError,
    StorageError,
    TamperedDataError,
)

__all__ = ["cli", "exit_code", "main"]

_IN_PYTHON: Final = "kist.open(..., secrets=[...])"

DAMAGE: Final = 1
USAGE: Final = 2

# Verb -> what it does. The words stand here so that `kist --help` imports no verb.
VERBS: Final = {
    "attrs": "Print the attributes of a node or column.",
    "backup": "Copy a store that may be in use.",
    "bench": "Time reads of a store on this machine.",
    "cat": "Print a table, an array or the keys of a key store.",
    "check": "Verify every byte of a store.",
    "compact": "Give unused space back to the file system.",
    "completion": "Print what a shell needs to complete verbs and paths.",
    "convert": "Bring a file of another format into a store, or out of one.",
    "copy": "Copy a node, into the same store or another.",
    "demo": "Make a small store and name five things to try.",
    "diff": "Tell what differs between two stores or two versions.",
    "head": "Show the first rows, elements or keys of a dataset.",
    "history": "List the commits that can still be opened.",
    "index": "List, make or drop the indexes of a table.",
    "info": "Show what is known about a store or a node.",
    "link": "Make a node that leads to another one.",
    "ls": "List the nodes of a group.",
    "merge": "Merge the datasets of several stores into a new one.",
    "mv": "Give a node another name or place.",
    "pack": "Pack a file or stream, smaller and with checksums.",
    "repack": "Write a store anew, smallest, with another codec if wanted.",
    "rm": "Remove nodes, with everything below them.",
    "salvage": "Save what is whole of a broken store into a new one.",
    "schema": "Print the columns of tables and the dtypes of arrays.",
    "slice": "Print part of an array or of a table.",
    "split": "Split a dataset into files of its own.",
    "stats": "Print count, least, greatest, mean of columns and arrays.",
    "tail": "Show the last rows, elements or keys of a dataset.",
    "tree": "Draw what a store holds.",
    "unpack": "Unpack what was packed.",
    "where": "Print the rows of a table for which a condition holds.",
}


def exit_code(error: BaseException) -> int:
    """Return the exit code for an error."""
    if isinstance(error, CorruptDataError | TamperedDataError):
        return DAMAGE
    if isinstance(error, StorageError) or (
        isinstance(error, OSError) and not isinstance(error, KistError)
    ):
        return ending.UNREADABLE
    return USAGE


class _Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = getattr(importlib.import_module(f"kist.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(sorted(VERBS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except (KistError, OSError, ImportError) as error:
                if ending.is_closed_pipe(error):
                    raise BrokenPipeError from error
                mark = painted("kist:", err=True, fg="red", bold=True)
                click.echo(f"{mark} {_for_the_command_line(error)}", err=True)
                ctx.exit(exit_code(error))


def _for_the_command_line(error: object) -> str:
    if isinstance(error, OSError) and not isinstance(error, KistError) and error.strerror:
        where = error.filename if error.filename is not None else "input or output"
        error = f"{where}: {error.strerror}"  # not its number
    # How secrets are given is said for Python; here nobody writes that.
    return _one_line(error).replace(
        _IN_PYTHON, "--secret-file FILE before the verb, or KIST_SECRET"
    )


def _one_line(error: object) -> str:
    from kist.model.text import visible

    return visible(" ".join(str(error).split()))


def _show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    mark = painted("kist: warning:", err=True, fg="yellow")
    click.echo(f"{mark} {_one_line(message)}", err=True)


def _print_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import kist

        click.echo(f"kist {kist.__version__}")
        ctx.exit()


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 all is well, 1 damage or a difference found, 2 wrong usage or not a "
    "store, 3 cannot be read or is locked.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.option(
    "--color",
    type=click.Choice(WHEN),
    default="auto",
    is_eager=True,
    expose_value=False,
    callback=choose,
    help="Colours: auto is on a terminal, unless NO_COLOR is set.",
)
@secret_option
def cli() -> None:
    """Look into kist files: NumPy tables in one file, as fast as Blosc, as safe as SQLite."""


def main() -> None:
    """Run the command line."""
    ending.on_signals()
    ending.streams_there()
    # An output that cannot show a letter of a name gets its number, not a traceback.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    code, output = None, sys.stdout
    try:
        try:
            code = cli.main(prog_name="kist", standalone_mode=False)
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        finally:
            if sys.stdout is not output:  # what click does where nobody reads it
                raise BrokenPipeError
            output.flush()
    except (click.Abort, KeyboardInterrupt):
        number, said = ending.interrupted()
        with contextlib.suppress(OSError):  # the terminal may be gone
            click.echo(f"kist: {said}", err=True)
        ending.by_signal(number)
    except OSError as error:
        code = ending.without_output(error)
    sys.exit(code if isinstance(code, int) else 0)
