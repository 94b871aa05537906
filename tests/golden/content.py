"""What a store holds, as JSON: the form of the pages beside the golden files.

README.md in this folder says what each entry means.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from kist.format.ragged import is_nullable_ragged, is_ragged

MOST_VALUES = 40
"""Columns up to so many rows are listed whole; of longer ones, the first and the last `ENDS`."""

ENDS = 3

MOST_ITEMS = 16
"""Longer cells of ragged columns are listed up to here."""

Array = np.ndarray[Any, Any]
Json = dict[str, Any]


# Content, as whoever makes a file says that it should be


@dataclass
class Table:
    """Rows and attributes."""

    rows: Array
    attrs: Mapping[str, Any] = field(default_factory=dict)
    column_attrs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    strings: Mapping[str, Any] = field(default_factory=dict)
    """The dtypes of columns of strings, which are object fields of `rows`."""
    computed: Mapping[str, tuple[str, bool, Any]] = field(default_factory=dict)
    """Expression, whether it is virtual, and dtype. Virtual columns are not in `rows`."""
    categories: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """What the codes of a column stand for, which are fields `code` of `rows`."""
    indexes: Mapping[str, tuple[Sequence[str], bool]] = field(default_factory=dict)
    """Columns of each index, and whether it is unique."""
    ragged: Mapping[str, Any] = field(default_factory=dict)
    """The dtypes of ragged columns, which are object fields of `rows`."""


@dataclass
class KeyStore:
    """Keys and values in order, and attributes."""

    items: Sequence[tuple[Any, Any]]
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class NdArray:
    """Elements, shape of the chunks, fill value (0-d, of the dtype), and attributes."""

    values: Array
    chunks: tuple[int, ...]
    fill: Array
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Link:
    """Where it leads: the form and its fields."""

    leads_to: Mapping[str, Any]
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Group:
    """Names of what stands below, and attributes."""

    children: Mapping[str, Group | Table | KeyStore | NdArray | Link] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)


def content_of(group: Any) -> Group:
    """Return what an open store, or a group of it, holds."""
    children: dict[str, Group | Table | KeyStore | NdArray | Link] = {}
    for name, node in group.items():
        if node.kind == "group":
            children[name] = content_of(node)
        elif node.kind == "key store":
            children[name] = KeyStore(list(node.items()), dict(node.attrs))
        elif node.kind == "link":
            record = node._record()
            children[name] = Link({"form": int(record.form), **record.said}, dict(node.attrs))
        elif node.kind == "array":
            fill = np.empty((), node.dtype)
            fill[()] = node.fill_value
            children[name] = NdArray(node[...], node.chunks, fill, dict(node.attrs))
        else:
            columns = {column: dict(node[column].attrs) for column in node.columns}
            columns = {column: attrs for column, attrs in columns.items() if attrs}
            coded = categories_of(node)
            strings = {
                c: node[c].dtype
                for c in node.columns
                if node[c].dtype.kind == "T" and c not in coded
            }
            computed = {c: node[c] for c in node.columns if node[c].expression is not None}
            texts = {
                c: (repr(one.expression), one.is_virtual, one.dtype) for c, one in computed.items()
            }
            stored = [c for c in node.columns if c not in texts or not texts[c][1]]
            rows = node[:] if len(stored) == len(node.columns) else node[stored][:]
            if coded:
                rows = with_codes(node, rows)
            indexes = {index.name: (index.columns, index.unique) for index in node.indexes}
            ragged = {c: node[c].dtype for c in node.columns if is_ragged(node[c].dtype)}
            attrs = dict(node.attrs)
            children[name] = Table(rows, attrs, columns, strings, texts, coded, indexes, ragged)
    return Group(children, dict(group.attrs))


def categories_of(table: Any) -> dict[str, list[Any]]:
    """Return the categories of the columns that have some."""
    found = {}
    for name, about in table.info["columns"].items():
        if "n_categories" in about:
            found[name] = table[name].categories.tolist()
    return found


def with_codes(table: Any, rows: Array) -> Array:
    """Return rows with what is stored of categorical columns, as the schema describes it."""
    columns = {column.name: column.dtype for column in table._state().schema.columns}
    out = np.zeros(len(rows), [(name, columns[name]) for name in rows.dtype.names])
    for name in rows.dtype.names:
        if columns[name].names == ("code",):
            out[name]["code"] = table[name].codes[:] + 1
        else:
            out[name] = rows[name]
    return out


# As JSON


def describe(node: Group | Table | KeyStore | NdArray | Link) -> Json:
    """Return a node and everything below it as JSON."""
    attributes = {name: describe_value(node.attrs[name]) for name in sorted(node.attrs)}
    if isinstance(node, Group):
        children = {name: describe(node.children[name]) for name in sorted(node.children)}
        return {"kind": "group", "attributes": attributes, "children": children}
    if isinstance(node, KeyStore):
        items = [[describe_value(key), describe_value(value)] for key, value in node.items]
        return {"kind": "key store", "attributes": attributes, "items": items}
    if isinstance(node, Link):
        said = {name: describe_value(value) for name, value in sorted(node.leads_to.items())}
        return {"kind": "link", "attributes": attributes, "leads_to": said}
    if isinstance(node, NdArray):
        return _described_nd(node, attributes)
    found: Json = {
        "kind": "table",
        "attributes": attributes,
        "n_rows": len(node.rows),
        "dtype": describe_dtype(node.rows.dtype),
        "leaves": [
            describe_cells(*leaf) if leaf[0][0] in node.ragged else describe_leaf(*leaf)
            for leaf in leaves_of(node.rows)
        ],
    }
    if node.ragged:
        found["ragged"] = {name: describe_ragged(dtype) for name, dtype in node.ragged.items()}
        for part in found["dtype"]["fields"]:
            if part["name"] in node.ragged:
                part["dtype"] = "ragged"
    if node.strings:
        found["strings"] = {name: describe_strings(dtype) for name, dtype in node.strings.items()}
    if node.computed:
        found["computed"] = {
            name: {"expression": text, "virtual": virtual, "dtype": describe_dtype(dtype)}
            for name, (text, virtual, dtype) in node.computed.items()
        }
    if node.categories:
        found["categories"] = {
            name: [describe_value(value) for value in values]
            for name, values in node.categories.items()
        }
    if node.indexes:
        found["indexes"] = {
            name: {"columns": list(columns), "unique": unique}
            for name, (columns, unique) in node.indexes.items()
        }
    if node.column_attrs:
        found["column_attributes"] = {
            column: {name: describe_value(attrs[name]) for name in sorted(attrs)}
            for column, attrs in sorted(node.column_attrs.items())
        }
    return found


def _described_nd(node: NdArray, attributes: Json) -> Json:
    dtype = node.values.dtype
    text = dtype.kind == "T"
    values, fill = (
        part.reshape(-1).astype("O") if text else part.reshape(-1)
        for part in (node.values, node.fill)
    )
    found: Json = {
        "kind": "array",
        "attributes": attributes,
        "shape": list(node.values.shape),
        "chunks": list(node.chunks),
        "dtype": "StringDType" if text else describe_dtype(dtype),
        "fill_value": [describe_leaf(*leaf) for leaf in leaves_of(fill)],
        "leaves": [describe_leaf(*leaf) for leaf in leaves_of(values)],
    }
    if text:
        found["strings"] = describe_strings(dtype)
    return found


def describe_dtype(dtype: np.dtype[Any]) -> Any:
    """Return a dtype: text, or a sub-array, or fields."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return {"base": describe_dtype(base), "shape": list(shape)}
    if dtype.kind == "O":
        return "StringDType"
    if dtype.names is None:
        return dtype.str
    fields = []
    for name in dtype.names:
        inner, offset, *title = dtype.fields[name]  # type: ignore[index]
        fields.append({"name": name, "dtype": describe_dtype(inner), "offset": offset})
        if title:
            fields[-1]["title"] = title[0]
    found: Json = {"fields": fields, "itemsize": dtype.itemsize}
    if dtype.isalignedstruct:
        found["aligned"] = True
    if dtype.type is np.record:
        found["record"] = True
    return found


def leaves_of(rows: Array, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Array]]:
    """Yield path and values of each innermost field; shape (rows, *shape of the sub-arrays)."""
    if rows.dtype.names is None:
        yield path, rows
        return
    for name in rows.dtype.names:
        yield from leaves_of(rows[name], (*path, name))


def describe_leaf(path: tuple[str, ...], values: Array) -> Json:
    """Return one leaf of a table."""
    n = len(values)
    name = "StringDType" if values.dtype.kind == "O" else values.dtype.str
    found: Json = {"path": list(path), "dtype": name, "shape": list(values.shape[1:])}
    found["sha256"] = hashlib.sha256(raw(values)).hexdigest()
    if n <= MOST_VALUES:
        found["values"] = [describe_item(value) for value in values]
    else:
        found["first"] = [describe_item(value) for value in values[:ENDS]]
        found["last"] = [describe_item(value) for value in values[-ENDS:]]
    return found


def describe_strings(dtype: Any) -> Json:
    """Return what a StringDType is beside that."""
    missing: Any = False
    if hasattr(dtype, "na_object"):
        missing = dtype.na_object if isinstance(dtype.na_object, str) else repr(dtype.na_object)
    return {"missing": missing, "coerce": dtype.coerce}


def describe_ragged(dtype: np.dtype[Any]) -> Json:
    """Return the items of a ragged dtype."""
    name = (dtype.names or ())[2]
    base, shape = dtype[2].base, dtype[2].shape[1:]
    items = "StringDType" if name == "text" else describe_dtype(base)
    found: Json = {"items": items, "shape": list(shape), "bytes": name == "bytes"}
    if name == "text":
        missing = "missing" in (dtype.fields or {})
        found["strings"] = {"missing": "None" if missing else False, "coerce": True}
    return found | ({"nullable": True} if is_nullable_ragged(dtype) else {})


def describe_cells(path: tuple[str, ...], values: Array) -> Json:
    """Return a leaf of cells; `sha256` is over a u32 with the bytes of each, and these.

    A null is the u32 2**32 - 1.
    """
    digest = hashlib.sha256()
    for cell in values.tolist():
        if cell is None:
            digest.update(b"\xff" * 4)
            continue
        data = cell if isinstance(cell, bytes) else raw(as_objects(cell))
        digest.update(struct.pack("<I", len(data)) + data)
    found: Json = {"path": list(path), "dtype": "ragged", "shape": []}
    found["sha256"] = digest.hexdigest()
    if len(values) <= MOST_VALUES:
        found["values"] = [describe_cell(cell) for cell in values]
    else:
        found["first"] = [describe_cell(cell) for cell in values[:ENDS]]
        found["last"] = [describe_cell(cell) for cell in values[-ENDS:]]
    return found


def describe_cell(cell: Any) -> Any:
    """Return one cell, `MOST_ITEMS` of it; hex digits for bytes, and for each structured item."""
    if cell is None:
        return None
    cell = cell[:MOST_ITEMS]
    if isinstance(cell, bytes):
        return cell.hex()
    if cell.dtype.names is not None:
        return [item.tobytes().hex() for item in cell]
    return [describe_item(item) for item in cell]


def as_objects(cell: Array) -> Array:
    """Return text of any length as objects, other arrays as they are."""
    return cell.astype(object) if cell.dtype.kind == "T" else cell


def raw(values: Array) -> bytes:
    """Return the values in the byte order of their dtype; padding of long doubles as zeros.

    A string is a u8 1, a u32 with its bytes, and its UTF-8; a missing one is five zeros.
    """
    if values.dtype.kind == "O":
        texts = [item.encode() if isinstance(item, str) else None for item in values.tolist()]
        heads = [struct.pack("<BI", text is not None, len(text or b"")) for text in texts]
        return b"".join(head + (text or b"") for head, text in zip(heads, texts, strict=True))
    if not values.dtype.itemsize:  # NumPy would make S1 of S0
        return b""
    values = np.ascontiguousarray(values)
    if values.dtype.kind in "fc" and values.dtype.char in "gG":
        item = values.dtype.itemsize // (2 if values.dtype.kind == "c" else 1)
        parts = np.frombuffer(values.tobytes(), np.uint8).reshape(-1, item).copy()
        if values.dtype.byteorder == ">":
            parts[:, : item - 10] = 0
        else:
            parts[:, 10:] = 0
        return parts.tobytes()
    return values.tobytes()


def describe_item(value: Any) -> Any:
    """Return one value of a leaf, for people; `sha256` is what is exact."""
    if isinstance(value, np.ndarray) and value.ndim:
        return [describe_item(item) for item in value]
    if value is None or (type(value) is float and value != value):  # a missing string
        return None
    value = np.asarray(value)
    kind = value.dtype.kind
    if kind == "b":
        return bool(value)
    if kind in "iu":
        return int(value)
    if kind in "mM":
        number = int(value.astype(value.dtype.newbyteorder("=")).view("i8"))
        return "NaT" if number == -(2**63) else number
    if kind == "S":
        return bytes(value.item()).hex()
    if value.dtype.char in "gG" or kind == "V":
        return raw(value).hex()
    if kind == "f":
        return _number(float(value))
    if kind == "c":
        return [_number(float(value.real)), _number(float(value.imag))]
    return str(value)


def _number(value: float) -> float | str:
    # JSON knows neither of them.
    return value if abs(value) < float("inf") else repr(value)


def describe_value(value: Any) -> Json:
    """Return the value of an attribute, with its exact type."""
    kind = type(value)
    if kind in (list, tuple):
        return {"type": kind.__name__, "items": [describe_value(item) for item in value]}
    if kind in (set, frozenset):
        items = sorted((describe_value(item) for item in value), key=json.dumps)
        return {"type": kind.__name__, "items": items}
    if kind is dict:
        items = [[describe_value(k), describe_value(v)] for k, v in value.items()]
        return {"type": "dict", "items": items}
    if isinstance(value, np.generic | np.ndarray):
        return _described_array(value)
    return {"type": kind.__name__, **_plain(value)}


def _plain(value: Any) -> Json:
    if value is None:
        return {}
    if isinstance(value, bool | str):
        return {"value": value}
    if isinstance(value, int | Decimal):
        return {"value": str(value)}
    if isinstance(value, float):
        return {"value": repr(value), "bits": struct.pack(">d", value).hex()}
    if isinstance(value, complex):
        return {"value": repr(value), "bits": struct.pack(">dd", value.real, value.imag).hex()}
    if isinstance(value, bytes | bytearray):
        return {"hex": value.hex()}
    if isinstance(value, dt.timedelta):
        whole = {"days": value.days, "seconds": value.seconds}
        return {**whole, "microseconds": value.microseconds}
    if isinstance(value, dt.datetime | dt.time):
        naive = value.replace(tzinfo=None, fold=0).isoformat()
        return {"value": naive, "fold": value.fold, "zone": _zone(value.tzinfo)}
    if isinstance(value, dt.date):
        return {"value": value.isoformat()}
    raise TypeError(f"no form for {type(value)}")


def _zone(zone: dt.tzinfo | None) -> Any:
    if zone is None:
        return None
    if isinstance(zone, dt.timezone):
        offset = zone.utcoffset(None)
        return {"seconds": offset.days * 86_400 + offset.seconds}
    return {"name": getattr(zone, "key", None)}


def _described_array(value: Any) -> Json:
    array = np.asarray(value)
    found: Json = {"type": "array" if isinstance(value, np.ndarray) else "scalar"}
    if array.dtype.char == "T":
        return {
            **found,
            "dtype": "StringDType",
            "shape": list(array.shape),
            "items": array.tolist(),
        }
    found |= {"dtype": describe_dtype(array.dtype), "shape": list(array.shape)}
    data = raw(array)
    if len(data) > 256:
        return {**found, "sha256": hashlib.sha256(data).hexdigest()}
    return {**found, "hex": data.hex()}


def dumps(found: Json) -> str:
    """Return JSON text: short lists on one line, so that people can read it."""
    return _dumps(found, 0) + "\n"


def _dumps(value: Any, depth: int) -> str:
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, dict | list) or len(line) + depth <= 98:
        return line
    pad, end = " " * (depth + 2), " " * depth
    if isinstance(value, dict):
        inner = [
            f"{json.dumps(name, ensure_ascii=False)}: {_dumps(below, depth + 2)}"
            for name, below in value.items()
        ]
        return "{\n" + ",\n".join(pad + part for part in inner) + f"\n{end}}}"
    return "[\n" + ",\n".join(pad + _dumps(part, depth + 2) for part in value) + f"\n{end}]"


def describe_versions(versions: Sequence[tuple[str, int, Group]]) -> Json:
    """Return the tags of a store, and what each of them keeps."""
    return {name: {"commit": at, "root": describe(group)} for name, at, group in versions}
