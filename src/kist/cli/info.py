"""``kist info``: what is known about a store or a node."""

from __future__ import annotations

import click

from kist.cli.common import at_option, file_argument, json_option, open_at, print_json

__all__ = ["info"]


@click.command()
@file_argument
@click.argument("node", required=False)
@at_option
@json_option
def info(file: str, node: str | None, at: str | None, as_json: bool) -> None:
    """Show what is known about FILE, or about NODE in it.

    With --json the keys are those of `.info` in Python.
    """
    with open_at(file, at) as store:
        found = store.info if node is None else store[node].info
        if as_json:
            print_json(found.to_dict())
        else:
            click.echo(repr(found))
            attrs = store.attrs if node is None else store[node].attrs
            if len(attrs):
                click.echo("Attributes")
                for name in attrs:
                    click.echo(f"    {name}: {_short(attrs[name])}")


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else text[:96] + " ..."
