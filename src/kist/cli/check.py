"""``kist check``: is every byte what it should be?"""

from __future__ import annotations

import sys

import click

from kist.cli import secrets
from kist.cli.common import (
    examples,
    file_argument,
    json_option,
    painted,
    print_json,
    progress_shown,
)

__all__ = ["check"]


@click.command(epilog=examples("kist check lab.kist", "kist check lab.kist --json"))
@file_argument
@json_option
def check(file: str, as_json: bool) -> None:
    """Verify every byte that the newest commit of FILE uses.

    Lists all damage. Of a sealed store checksums are verified without a secret too. Ends with exit
    code 0 when there is none, 1 when there is any, 2 when FILE is no store, 3 when it cannot be
    read.
    """
    import kist

    with progress_shown("check") as progress:
        report = kist.check(file, secrets=secrets.given(), progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        first, *others = repr(report).split("\n")
        click.echo("\n".join([painted(first, fg="green" if report.ok else "red"), *others]))
    if not report.ok:
        sys.exit(1)
