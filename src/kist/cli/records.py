"""Short lists of facts as a table, CSV or JSON: what `schema`, `stats` and the like print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kist.cli.lines import ANY, aligned, json_list

if TYPE_CHECKING:
    from kist.cli.cells import Style

__all__ = ["record_lines"]

Record = Mapping[str, Any]


def record_lines(
    names: Sequence[str], records: Iterable[Record], style: Style, width: int | None
) -> Iterator[str]:
    """Yield records as text.

    Parameters
    ----------
    names : sequence of str
        Which entries stand beside each other, in order. JSON has all entries.
    records : iterable of mapping
        Values are what JSON can hold, or NumPy scalars; those that are missing are None.
    style : {"plain", "csv", "json"}
        As for rows of tables.
    """
    from kist.cli.cells import csv_row, value_json

    if style == "json":
        yield from json_list(value_json(record) for record in records)
        return
    if style == "csv":
        yield csv_row(names)
        for record in records:
            yield csv_row([_text(record.get(name), "") for name in names])
        return
    rows = list(records)
    columns = [[_shown(row.get(name)) for row in rows] for name in names]
    right = [any(_is_number(row.get(name)) for row in rows) for name in names]
    yield from aligned(names, [columns], right, width or ANY)


def _text(value: Any, missing: str) -> str:
    if value is None:
        return missing
    if isinstance(value, list | tuple):
        return ", ".join(_text(item, missing) for item in value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


def _shown(value: Any) -> str:
    from kist.model.text import visible

    if isinstance(value, float):
        return f"{value:.8g}"
    return visible(_text(value, "-"))


def _is_number(value: Any) -> bool:
    import numbers

    return isinstance(value, numbers.Number) and not isinstance(value, bool)
