"""``kist index``: the indexes of a table."""

from __future__ import annotations

import time
from typing import Any

import click

from kist.cli.common import examples, joined, open_at, open_to_write, place_argument, print_json
from kist.errors import NodeError
from kist.format.node import article
from kist.model.text import visible

__all__ = ["index"]


@click.command(
    epilog=examples(
        "kist index lab.kist:trades",
        "kist index lab.kist:trades sym",
        "kist index lab.kist:trades sym time --name by_symbol",
        "kist index --unique lab.kist:runs id",
        "kist index --drop lab.kist:trades sym",
    )
)
@place_argument
@click.argument("columns", nargs=-1, metavar="[COLUMN...]")
@click.option("--name", help="Name of the index; by default its columns.")
@click.option("--unique", is_flag=True, help="Refuse rows with a key that another row has.")
@click.option("--drop", is_flag=True, help="Drop the index on the columns, or of that name.")
@click.option("--json", "as_json", is_flag=True, help="List as JSON.")
def index(
    file: tuple[str, str],
    columns: tuple[str, ...],
    name: str | None,
    unique: bool,
    drop: bool,
    as_json: bool,
) -> None:
    """Make an index on the columns of the table at PATH; without columns list its indexes.

    Several columns make one index, the most significant first. It is kept current from then on.
    """
    if not columns:
        if name or unique or drop:
            raise click.UsageError("name the columns")
        _list(file, as_json)
        return
    if drop and (name or unique):
        raise click.UsageError("--drop takes the columns or the name, and no other option")
    with open_to_write(file[0]) as store:
        table = _table(store, file)
        if drop:
            table.drop_index(*columns)
            click.echo(f"{visible(table.name)}: index on {visible(', '.join(columns))} dropped")
            return
        start = time.perf_counter()
        made = table.create_index(*columns, name=name, unique=unique)
        click.echo(f"{visible(str(made))} in {time.perf_counter() - start:.2f} s")


def _table(store: Any, file: tuple[str, str]) -> Any:
    node = store[joined(file, None)]
    if node.kind != "table":
        raise NodeError(f"{node.name!r} is {article(node.kind)}, and only tables have indexes")
    return node


def _list(file: tuple[str, str], as_json: bool) -> None:
    with open_at(file[0]) as store:
        found = _table(store, file).indexes
    if as_json:
        print_json([vars(one) | {"columns": list(one.columns)} for one in found])
    elif not found:
        click.echo("no indexes")
    for one in () if as_json else found:
        click.echo(visible(str(one)))
