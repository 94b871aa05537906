"""``kist salvage``: what can be saved of a broken store?"""

from __future__ import annotations

import sys

import click

from kist.cli import secrets
from kist.cli.common import examples, json_option, print_json, progress_shown, write

__all__ = ["salvage"]


@click.command(epilog=examples("kist salvage lab.kist saved.kist"))
@click.argument("broken", type=click.Path())
@click.argument("out", type=click.Path())
@json_option
def salvage(broken: str, out: str, as_json: bool) -> None:
    """Save what is whole of BROKEN into a new store OUT, and list what is missing.

    BROKEN is only read. What is sealed is saved with its secrets, and sealed again under them;
    without them it is left out and named. Ends with exit code 1 when anything was missing.
    """
    import kist

    with progress_shown("salvage") as progress:
        report = kist.salvage(broken, out, secrets=secrets.given(), progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        write([repr(report), "\n"])
    if not report.ok:
        sys.exit(1)
