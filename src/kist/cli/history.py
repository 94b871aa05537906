"""``kist history``: the commits that can still be opened."""

from __future__ import annotations

from typing import Any

import click

from kist.cli.common import examples, file_argument, open_at, style_options, write

__all__ = ["history"]

_NAMES = ["commit", "time", "tags", "message"]


@click.command(
    epilog=examples(
        "kist history lab.kist", "kist history lab.kist -n 5 --json", "kist ls lab.kist --at 3"
    )
)
@file_argument
@click.option("-n", "--commits", type=click.IntRange(min=1), help="Only so many, newest first.")
@style_options
def history(file: str, commits: int | None, style: Any, width: int | None) -> None:
    """List the commits of FILE that can still be opened, newest first; times are UTC.

    Every verb with --at takes these numbers and tags.
    """
    from kist.cli.records import record_lines

    with open_at(file) as store:
        found = [
            {
                "commit": commit.id,
                "time": commit.time.isoformat(sep=" ", timespec="seconds")[:19],
                "tags": list(commit.tags),
                "message": commit.message,
            }
            for commit in store.history()[:commits]
        ]
    write(record_lines(_NAMES, found, style, width))
