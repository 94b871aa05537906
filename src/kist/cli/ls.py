"""``kist ls``: the nodes of a group."""

from __future__ import annotations

from typing import Any

import click

from kist.cli.common import (
    at_option,
    file_argument,
    json_option,
    node_argument,
    open_at,
    print_json,
)
from kist.errors import FormatError, NodeError

__all__ = ["ls"]


@click.command()
@file_argument
@node_argument
@click.option("-l", "--long", is_flag=True, help="Also kind, rows, columns and title.")
@click.option("-r", "--recursive", is_flag=True, help="Also everything below.")
@at_option
@json_option
def ls(file: str, node: str, long: bool, recursive: bool, at: str | None, as_json: bool) -> None:
    """List the nodes of the group NODE of FILE, by default of the root."""
    with open_at(file, at) as store:
        group = store[node]
        if group.kind != "group":
            raise NodeError(f"{node!r} is a {group.kind}; 'kist info' and 'kist head' show it")
        names: list[str] = []
        if recursive:
            group.visit(names.append)
        else:
            names = list(group)
        if not long and not as_json:
            for name in names:
                click.echo(name)
            return
        rows = [_facts(group, name) for name in names]
        if as_json:
            print_json(rows)
            return
        widths = [
            max((len(_cell(row[column])) for row in rows), default=0)
            for column in ("kind", "rows", "columns", "name")
        ]
        for row in rows:
            click.echo(
                f"{_cell(row['kind']):<{widths[0]}}  {_cell(row['rows']):>{widths[1]}}  "
                f"{_cell(row['columns']):>{widths[2]}}  {_cell(row['name']):<{widths[3]}}  "
                f"{row['title'] or ''}".rstrip()
            )


def _facts(group: Any, name: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": name,
        "kind": "unreadable",
        "rows": None,
        "columns": None,
        "title": None,
    }
    try:
        node = group[name]
        facts["kind"] = node.kind
        facts["title"] = node.title
        if node.kind == "table":
            facts["rows"] = len(node)
            facts["columns"] = len(node.dtype.names)
    except FormatError as error:  # one damaged node must not hide the others
        click.echo(f"kist: {error}", err=True)
    return facts


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value)
