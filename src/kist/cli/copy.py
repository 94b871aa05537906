"""``kist copy``: a node, into the same store or another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from kist.cli import secrets
from kist.cli.common import (
    at_option,
    examples,
    given_place,
    open_at,
    open_to_write,
    place_argument,
    progress_shown,
)
from kist.cli.places import itself, named_target, said

if TYPE_CHECKING:
    import kist

__all__ = ["copy"]


@click.command(
    epilog=examples(
        "kist copy lab.kist:market/trades other.kist:trades",
        "kist copy lab.kist:market/trades :market/trades-old",
        "kist copy lab.kist:raw new.kist",
        "kist copy lab.kist --at day-1 new.kist",
    )
)
@place_argument
@click.argument("target", type=given_place, metavar="FILE[:PATH]|:PATH")
@at_option
@click.option("--overwrite", is_flag=True, help="Replace what stands at the target.")
def copy(file: tuple[str, str], target: str, at: str | None, overwrite: bool) -> None:
    """Copy the node at PATH, with its attributes and everything below it, without decoding it.

    :PATH is a place in the same file. A FILE without a PATH gets the node under its own name; the
    root of a store is copied node by node. A file NAME.kist that does not exist is made. All of
    it is one commit, or nothing.
    """
    to_file, to_path = named_target(target, file[0])
    path = file[1].strip("/")
    if to_file == file[0] and at is None:
        with (
            progress_shown("copy") as progress,
            open_to_write(to_file) as store,
            store.transaction(f"kist copy {path}"),
        ):
            done = _copy(store, store, path, to_path, overwrite, progress)
        click.echo(done, nl=False)
        return
    with (
        progress_shown("copy") as progress,
        open_at(file[0], at) as source,
        _target(to_file) as store,
        store.transaction(f"kist copy {path}"),
    ):
        done = _copy(source, store, path, to_path, overwrite, progress)
    click.echo(done, nl=False)


@contextmanager
def _target(file: str) -> Iterator[kist.Store]:
    """Give a store that is there, or one that is made, which goes again when the block fails."""
    import kist

    made = not os.path.lexists(file)
    with kist.open(file, "x" if made else "a", secrets=secrets.given()) as store:
        try:
            yield store
        except BaseException:
            if made:
                os.unlink(file)
            raise


def _copy(
    source: kist.Store,
    store: kist.Store,
    path: str,
    to_path: str,
    overwrite: bool,
    progress: Callable[[int, int], None] | None,
) -> str:
    """Copy, and return what to say of it once it is committed."""
    from kist.errors import NodeError

    done = []

    if path:
        pairs = [(path, to_path or path.rpartition("/")[2])]
    elif to_path and source is store:
        raise NodeError("the root cannot be copied into itself; name a node: FILE:PATH")
    else:
        pairs = [(name, f"{to_path}/{name}".lstrip("/")) for name in source]
    for start, stop in pairs:
        node = itself(source, start)
        if overwrite and stop in store:
            if source is store and store[stop].is_same(node):
                raise NodeError(f"{start!r} and {stop!r} are the same node")
            if source is store and f"{node.name}/".startswith(f"{store[stop].name}/"):
                raise NodeError(f"{start!r} stands in {stop!r}, which it would replace")
            del store[stop]
        store.copy(node, stop, progress=progress)
        done.append(f"{said(source, start)} copied to {said(store, stop)}\n")
    if not path:
        store.attrs.update(source.attrs)
    return "".join(done)
