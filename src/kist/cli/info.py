"""``kist info``: what is known about a store or a node."""

from __future__ import annotations

import os

import click

from kist.cli import secrets
from kist.cli.common import (
    at_option,
    examples,
    joined,
    json_option,
    node_argument,
    open_at,
    place_argument,
    print_json,
    write,
)

__all__ = ["info"]


@click.command(
    epilog=examples(
        "kist info lab.kist", "kist info lab.kist:raw/images", "kist info lab.kist --json"
    )
)
@place_argument
@node_argument
@json_option
@at_option
def info(file: tuple[str, str], node: str | None, as_json: bool, at: str | None) -> None:
    """Show what is known about a store, or about the node at PATH, and its attributes.

    With --json the keys are those of `.info` in Python.
    """
    from kist.errors import SecretError
    from kist.model.attributes import glance
    from kist.model.text import visible

    if not secrets.given() and node is None and not file[1]:
        from kist.model.sealedfile import sealed_info

        said = sealed_info(file[0]) if os.path.isfile(file[0]) else None
        if said is not None:
            if as_json:
                print_json(said.to_dict())
            else:
                write([repr(said), "\n"])
            return
    with open_at(file[0], at) as store:
        found = store[joined(file, node)]
        facts = found.info
        if as_json:
            print_json(facts.to_dict())
            return
        write([repr(facts), "\n"])
        try:
            shown = glance(found.attrs) if found.attrs else {}
        except SecretError:
            shown = {"sealed": "their secret was not given"}
        if shown:
            write(
                [
                    "Attributes\n",
                    *(f"    {visible(name)}: {text}\n" for name, text in shown.items()),
                ]
            )
