"""Arguments that several verbs take, and opening what they name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import kist

__all__ = ["at_option", "file_argument", "json_option", "node_argument", "open_at", "print_json"]

F = TypeVar("F", bound=Callable[..., Any])

file_argument: Callable[[F], F] = click.argument("file", type=click.Path())
node_argument: Callable[[F], F] = click.argument("node", default="/")
json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
at_option: Callable[[F], F] = click.option(
    "--at", metavar="VERSION", help="A tag or commit number to read instead of the newest commit."
)


def open_at(file: str, at: str | None = None) -> kist.Store:
    """Open a store for reading, at a tag or commit if one is given."""
    import kist

    if at is None:
        return kist.open(file)
    return kist.open(file, version=int(at) if at.isdigit() else at)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
