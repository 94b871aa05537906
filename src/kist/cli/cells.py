"""Values as text: for people, for CSV and as JSON, a whole array at a time.

One rule for all verbs. JSON: NaN, NaT and missing values are null, infinities "Infinity" and
"-Infinity", complex numbers [real, imaginary], times ISO text, bytes the text that they hold
(bytes that are none as ``\\xNN``), void values hexadecimal digits. Floats have as many digits as it
takes to read the same value of their dtype again.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, Literal

import numpy as np

from kist.model.text import said, visible

__all__ = ["Style", "csv_row", "flat", "is_number", "texts", "value_json", "value_text"]

Array = np.ndarray[Any, Any]
Style = Literal["plain", "csv", "json"]


def texts(values: Array, style: Style) -> list[str]:
    """Return a text for each item along the first axis.

    Parameters
    ----------
    values : ndarray
        At least one-dimensional; of any dtype.
    style : {"plain", "csv", "json"}
        Structured items and items with axes of their own are JSON in CSV.
    """
    if values.ndim > 1:
        inner = texts(values.reshape(-1), "json" if style == "csv" else style)
        for at in range(values.ndim - 1, 0, -1):
            n = values.shape[at]
            count = math.prod(values.shape[:at])
            inner = [f"[{', '.join(inner[i * n : i * n + n])}]" for i in range(count)]
        return inner
    if values.dtype.names is not None:
        return _records(values, style)
    return _scalars(values, style)


def _records(values: Array, style: Style) -> list[str]:
    names = values.dtype.names or ()
    inner: Style = "json" if style == "csv" else style
    columns = [texts(values[name], inner) for name in names]
    if not columns:
        return ["()" if inner == "plain" else "{}"] * len(values)
    rows = zip(*columns, strict=True)
    if inner == "plain":
        return [f"({', '.join(row)})" for row in rows]
    labels = [json.dumps(name, ensure_ascii=False) + ": " for name in names]
    return [
        "{" + ", ".join([label + text for label, text in zip(labels, row, strict=True)]) + "}"
        for row in rows
    ]


def _scalars(values: Array, style: Style) -> list[str]:
    kind = values.dtype.kind
    if kind in "iu":
        return list(map(str, values.tolist()))
    if kind == "b":
        yes, no = ("true", "false") if style == "json" else ("True", "False")
        return [yes if value else no for value in values.tolist()]
    if kind == "f":
        return _floats(values, style)
    if kind == "c":
        if style != "json":
            return list(map(str, values))
        parts = zip(_floats(values.real, style), _floats(values.imag, style), strict=True)
        return [f"[{real}, {imaginary}]" for real, imaginary in parts]
    if kind in "Mm":
        return _times(values, style)
    if kind == "V":
        return [_quoted(bytes(value).hex(), style) for value in values]
    if kind == "S":
        return [_quoted(_decoded(value), style) for value in values.tolist()]
    return [_object(value, style) for value in values.tolist()]


def _floats(values: Array, style: Style) -> list[str]:
    if values.dtype.itemsize == 8:
        found = list(map(repr, values.tolist()))
    else:
        found = list(map(str, values))  # the digits that this dtype needs
    if style == "json" and not bool(np.isfinite(values).all()):
        for at in np.flatnonzero(~np.isfinite(values)).tolist():
            found[at] = {"nan": "null", "inf": '"Infinity"', "-inf": '"-Infinity"'}[found[at]]
    return found


def _times(values: Array, style: Style) -> list[str]:
    values = values.astype(values.dtype.newbyteorder("="))
    found = list(map(str, values))
    if style != "json":
        return found
    return ["null" if text == "NaT" else f'"{text}"' for text in found]


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _quoted(text: str, style: Style) -> str:
    if style == "json":
        return json.dumps(text, ensure_ascii=False)
    return visible(text) if style == "plain" else text


def _object(value: Any, style: Style) -> str:
    """Return a str or a cell of a ragged column, or what stands for a missing one."""
    if isinstance(value, str):
        return _quoted(value, style)
    if isinstance(value, bytes) and style != "plain":
        return _quoted(_decoded(value), style)
    if isinstance(value, np.ndarray):  # on one line, and texts told apart
        return texts(
            value[None], "plain" if style == "plain" and value.dtype.kind != "T" else "json"
        )[0]
    return {"json": "null", "csv": "", "plain": str(value)}[style]


def is_number(dtype: np.dtype[Any]) -> bool:
    """Tell whether values of a dtype stand right in a column."""
    return dtype.kind in "biufcmM" and dtype.subdtype is None


def flat(rows: Array, before: str = "") -> Iterator[tuple[str, Array]]:
    """Yield the columns of structured rows, fields of fields with dots in their names."""
    for name in rows.dtype.names or ():
        column = rows[name]
        if column.dtype.names is not None and column.ndim == 1:
            yield from flat(column, f"{before}{name}.")
        else:
            yield before + name, column


# Plain values, as attributes and key stores hold them


def value_json(value: Any) -> str:
    """Return any storable value as JSON; sets in the order of their texts."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, np.generic):
        return texts(np.array([value]), "json")[0]
    if isinstance(value, np.ndarray):
        return texts(value[None], "json")[0]
    if isinstance(value, int):
        try:
            return str(value)
        except ValueError:  # more digits than Python writes
            return f'"{value:#x}"'
    if isinstance(value, float | complex):
        return texts(np.array([value]), "json")[0]
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bytes | bytearray):
        return json.dumps(_decoded(bytes(value)), ensure_ascii=False)
    if isinstance(value, Mapping):
        pairs = [f"{_name(name)}: {value_json(below)}" for name, below in value.items()]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, set | frozenset):
        return f"[{', '.join(sorted(map(value_json, value)))}]"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_json, value))}]"
    if isinstance(value, datetime | date | time):
        return json.dumps(value.isoformat())
    return json.dumps(str(value), ensure_ascii=False)


def _name(name: Any) -> str:
    return value_json(name) if isinstance(name, str) else json.dumps(value_json(name))


def csv_row(cells: Sequence[str]) -> str:
    """Return a line of CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def value_text(value: Any) -> str:
    """Return any storable value for people: text as it is, anything else as Python writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray):
        return np.array2string(value, separator=", ", threshold=1000)
    return said(value)
