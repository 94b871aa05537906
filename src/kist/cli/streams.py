"""Files and pipes that `pack` and `unpack` read and write, and their reports."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from kist.cli.common import progress_shown
from kist.errors import StorageError, StoreNotFoundError

if TYPE_CHECKING:
    from kist.model.packing import PackReport, Readable, Writable

__all__ = ["SUFFIX", "told", "working"]

SUFFIX: Final = ".kpk"


@contextmanager
def working(
    verb: str, source: str, output: str, overwrite: bool
) -> Iterator[tuple[Readable, Writable, Callable[[int], None] | None]]:
    """Give (source, target, progress). A file is complete, or as it was."""
    with ExitStack() as stack:
        stream: Any = sys.stdin.buffer
        total = 0
        if source != "-":
            stream = stack.enter_context(_opened(source))
            total = os.fstat(stream.fileno()).st_size
        target: Any = sys.stdout.buffer
        if output == "-" and sys.stdout.isatty():
            raise click.UsageError("these bytes are not for a terminal: name a file with -o")
        if output != "-":
            from kist.bridges.convert import beside

            part = stack.enter_context(beside(output, overwrite=overwrite))
            target = stack.enter_context(open(part, "wb", buffering=0))
        tell = stack.enter_context(progress_shown(verb))
        yield stream, _Whole(target, output), _progress(tell, total)
        target.flush()


def _opened(source: str) -> Any:
    try:
        return open(source, "rb", buffering=0)
    except FileNotFoundError as error:
        missing = StoreNotFoundError(f"{source}: there is no such file")
        missing.errno, missing.filename = error.errno, source
        raise missing from None
    except IsADirectoryError as error:
        refused = StorageError(f"{source}: is a folder; 'tar c {source} | kist pack -' packs one")
        refused.errno, refused.filename = error.errno, source
        raise refused from None


def _progress(tell: Callable[[int, int], None] | None, total: int) -> Callable[[int], None] | None:
    if tell is None or not total:
        return None  # of a pipe nobody knows how much is to come
    return lambda done: tell(done, total)


class _Whole:
    """A target that takes all of what it is given: a file without a buffer may take less."""

    def __init__(self, target: Any, name: str) -> None:
        self._target, self._name = target, name

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left:
                left = left[self._target.write(left) :]
        except OSError as error:
            if self._name != "-":
                error.filename = self._name  # a write knows no name
            raise
        return size


def told(source: str, report: PackReport, quiet: bool, as_json: bool) -> None:
    """Print what was done to standard error: standard output may hold the data."""
    if quiet:
        return
    if as_json:
        import json

        facts = {name: getattr(report, name) for name in report.__slots__}
        click.echo(json.dumps(facts | {"ratio": report.ratio}), err=True)
        return
    click.echo(f"{source}: {report}", err=True)
