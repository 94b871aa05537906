"""Contents of a file as JSON, in the form of the golden files."""

from __future__ import annotations

import datetime
import hashlib
import os
import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from kist_types import BYTES, RAGGED, Array, KistError, Leaf

if TYPE_CHECKING:
    from kist_arrays import ArraySchema
from kist_reader import Reader, View

FEW = 40
ITEMS = 16
SHORT = 256


def dtype_json(dtype: np.dtype[Any]) -> Any:
    """A dtype."""
    if dtype.kind in "TO":
        return "StringDType"
    if dtype.subdtype is not None:
        return {"base": dtype_json(dtype.base), "shape": list(dtype.shape)}
    if dtype.names is None or dtype.fields is None:
        return dtype.str
    fields = []
    for name in dtype.names:
        inner, offset, *title = dtype.fields[name]
        field = {"name": name, "dtype": dtype_json(inner), "offset": offset}
        if title:
            field["title"] = title[0]
        fields.append(field)
    result: dict[str, Any] = {"fields": fields, "itemsize": dtype.itemsize}
    if dtype.isalignedstruct:
        result["aligned"] = True
    if dtype.type is np.record:
        result["record"] = True
    return result


def bytes_json(data: bytes, full: bool) -> dict[str, Any]:
    """Bytes, or only their sum where they are many."""
    result = {}
    if full or len(data) <= SHORT:
        result["hex"] = data.hex()
    if full or len(data) > SHORT:
        result["sha256"] = hashlib.sha256(data).hexdigest()
    return result


def zone_json(zone: datetime.tzinfo | None) -> Any:
    """A time zone."""
    if zone is None:
        return None
    if isinstance(zone, datetime.timezone):
        offset = zone.utcoffset(None)
        result = {"seconds": offset.days * 86400 + offset.seconds}
        if offset.microseconds:
            result["microseconds"] = offset.microseconds
        return result
    return {"name": str(zone)}


def value_json(value: Any, full: bool = False) -> dict[str, Any]:
    """An attribute's value."""
    name = type(value).__name__
    if isinstance(value, np.ndarray) and value.dtype.kind == "T":
        items = [item if isinstance(item, str) else None for item in value.reshape(-1).tolist()]
        return {
            "type": "array",
            "dtype": "StringDType",
            "shape": list(value.shape),
            "items": items,
        }
    if isinstance(value, np.ndarray | np.generic):
        return {
            "type": "array" if isinstance(value, np.ndarray) else "scalar",
            "dtype": dtype_json(value.dtype),
            "shape": list(value.shape),
            **bytes_json(value.tobytes() if value.dtype.itemsize else b"", full),
        }
    match value:
        case None:
            return {"type": name}
        case bool() | str():
            return {"type": name, "value": value}
        case int() | Decimal():
            return {"type": name, "value": str(value)}
        case float():
            return {"type": name, "value": repr(value), "bits": struct.pack(">d", value).hex()}
        case complex():
            bits = struct.pack(">dd", value.real, value.imag).hex()
            return {"type": name, "value": repr(value), "bits": bits}
        case bytes() | bytearray():
            return {"type": name, "hex": value.hex()}
        case datetime.datetime() | datetime.time():
            return {
                "type": name,
                "value": value.replace(tzinfo=None).isoformat(),
                "fold": value.fold,
                "zone": zone_json(value.tzinfo),
            }
        case datetime.date():
            return {"type": name, "value": value.isoformat()}
        case datetime.timedelta():
            return {
                "type": name,
                "days": value.days,
                "seconds": value.seconds,
                "microseconds": value.microseconds,
            }
        case dict():
            pairs = [[value_json(k, full), value_json(v, full)] for k, v in value.items()]
            return {"type": name, "items": pairs}
        case list() | tuple():
            return {"type": name, "items": [value_json(item, full) for item in value]}
        case set() | frozenset():
            return {"type": name, "items": sorted((value_json(i, full) for i in value), key=str)}
    raise KistError(f"{name} has no form in JSON")


def _item(item: Any, kind: str) -> Any:
    """One value of a leaf."""
    if isinstance(item, list):
        return [_item(part, kind) for part in item]
    if kind in "mM":
        return "NaT" if item == -(1 << 63) else item
    if kind in "SV":
        return bytes(item).hex()
    if isinstance(item, complex):
        return [_item(item.real, "f"), _item(item.imag, "f")]
    if isinstance(item, float) and not np.isfinite(item):
        return repr(item)
    return item


def items_json(values: Array) -> list[Any]:
    """The values of a leaf, one item a row."""
    kind = values.dtype.kind
    if values.dtype.itemsize == 0:
        return [_item("" if kind == "U" else b"", kind)] * len(values)
    if kind in "mM":
        values = np.ascontiguousarray(values).view(f"{values.dtype.str[0]}i8")
    elif values.dtype.itemsize > 8 * (1 + (kind == "c")) and kind in "fc":
        return [_item(item.tobytes(), "V") for item in values.reshape(-1)]
    return [_item(item, kind) for item in values.tolist()]


def leaf_json(values: Array, path: tuple[str, ...], full: bool) -> dict[str, Any]:
    """One leaf of a table."""
    if values.dtype.kind == "O":
        return strings_json(values, path, full)
    result: dict[str, Any] = {
        "path": list(path),
        "dtype": values.dtype.str,
        "shape": list(values.shape[1:]),
        "sha256": hashlib.sha256(values.tobytes() if values.dtype.itemsize else b"").hexdigest(),
    }
    few = len(values) <= FEW
    if full or few:
        result["values"] = items_json(values)
    if full or not few:
        result["first"] = items_json(values[:3])
        result["last"] = items_json(values[-3:])
    return result


def strings_json(values: Array, path: tuple[str, ...], full: bool) -> dict[str, Any]:
    """A leaf of strings of any length; null is a missing one."""
    items = [item if isinstance(item, str) else None for item in values.tolist()]
    digest = hashlib.sha256()
    for item in items:
        raw = b"" if item is None else item.encode()
        digest.update(struct.pack("<BI", item is not None, len(raw)) + raw)
    result: dict[str, Any] = {
        "path": list(path), "dtype": "StringDType", "shape": [], "sha256": digest.hexdigest()
    }  # fmt: skip
    few = len(values) <= FEW
    if full or few:
        result["values"] = items
    if full or not few:
        result["first"], result["last"] = items[:3], items[-3:]
    return result


def cells_json(values: Array, leaf: Leaf, full: bool) -> dict[str, Any]:
    """A leaf of cells: arrays of any length, or bytes."""
    digest = hashlib.sha256()
    for cell in values.tolist():
        if cell is None:
            digest.update(b"\xff" * 4)
            continue
        raw = cell if isinstance(cell, bytes) else cell_bytes(cell)
        digest.update(struct.pack("<I", len(raw)) + raw)
    result: dict[str, Any] = {
        "path": list(leaf.path), "dtype": "ragged", "shape": [], "sha256": digest.hexdigest()
    }  # fmt: skip
    few = len(values) <= FEW
    if full or few:
        result["values"] = [cell_json(cell) for cell in values]
    if full or not few:
        result["first"] = [cell_json(cell) for cell in values[:3]]
        result["last"] = [cell_json(cell) for cell in values[-3:]]
    return result


def cell_bytes(cell: Array) -> bytes:
    """The items of a cell; a text as it stands in the sum of a leaf of strings."""
    if cell.dtype.kind != "T":
        return cell.tobytes()
    texts = [None if item is None else item.encode() for item in cell.tolist()]
    heads = [struct.pack("<BI", text is not None, len(text or b"")) for text in texts]
    return b"".join(head + (text or b"") for head, text in zip(heads, texts, strict=True))


def cell_json(cell: Any) -> Any:
    """One cell, or the beginning of a long one."""
    if cell is None:
        return None
    cell = cell[:ITEMS]
    if isinstance(cell, bytes):
        return cell.hex()
    if cell.dtype.names is not None:
        return [item.tobytes().hex() for item in cell]
    return cell.tolist() if cell.dtype.kind == "T" else items_json(cell)


def missing_json(dtype: Any) -> Any:
    """The missing value of a StringDType."""
    if not hasattr(dtype, "na_object"):
        return {"missing": False, "coerce": dtype.coerce}
    value = dtype.na_object if isinstance(dtype.na_object, str) else repr(dtype.na_object)
    return {"missing": value, "coerce": dtype.coerce}


def array_json(values: Array, schema: ArraySchema, full: bool) -> dict[str, Any]:
    """The elements of an array, its shapes and its fill value."""
    leaves = schema.described.leaves
    flat = values.reshape(-1)
    fill = np.empty(1, values.dtype)
    fill[0] = schema.fill

    def described(items: Array) -> list[dict[str, Any]]:
        out = []
        for leaf in leaves:
            part: Any = items
            for name in leaf.path:
                part = part[name]
            part = np.asarray(part)
            out.append(leaf_json(part.astype("O") if leaf.kind == 11 else part, leaf.path, full))
        return out

    result = {
        "shape": list(values.shape),
        "chunks": list(schema.chunk),
        "dtype": "StringDType" if schema.is_string else dtype_json(values.dtype),
        "fill_value": described(fill),
        "leaves": described(flat),
    }
    if schema.is_string:
        result["strings"] = missing_json(values.dtype)
    return result


def node_json(view: View, path: str, full: bool) -> dict[str, Any]:
    """A node and everything below it."""
    node = view.nodes[path]
    attributes = {name: value_json(v, full) for name, v in view.attributes(path).items()}
    result: dict[str, Any] = {"kind": node.kind, "attributes": attributes}
    if node.kind == "group":
        above = path.rstrip("/") + "/"
        names = [p[len(above) :] for p in view.nodes if p != "/" and p.startswith(above)]
        children = sorted(name for name in names if "/" not in name)
        result["children"] = {name: node_json(view, above + name, full) for name in children}
    if node.kind == "key store":
        result["items"] = [
            [value_json(key, full), value_json(value, full)] for key, value in view.keystore(path)
        ]
    if node.kind == "link":
        result["leads_to"] = {
            name: value_json(value, full) for name, value in view.link(path).items()
        }
    if node.kind == "array":
        result |= array_json(view.array(path), view.array_schema(path), full)
    if node.kind == "table":
        rows = view.table(path)
        result["n_rows"] = len(rows)
        result["dtype"] = dtype_json(rows.dtype)
        result["leaves"] = []
        for leaf in view.schema(path).leaves.values():
            values: Any = rows
            for name in leaf.path:
                values = values[name]
            if leaf.kind == RAGGED:
                result["leaves"].append(cells_json(np.asarray(values), leaf, full))
            else:
                result["leaves"].append(leaf_json(np.asarray(values), leaf.path, full))
        ragged = {
            leaf.path[0]: {
                "items": "StringDType" if leaf.item.kind == 11 else dtype_json(leaf.item.dtype),
                "shape": list(leaf.item.shape),
                "bytes": leaf.dtype.names == BYTES,
            }
            | ({"nullable": True} if "nullable" in leaf.dtype.fields else {})
            | ({"strings": missing_json(leaf.item.dtype)} if leaf.item.kind == 11 else {})
            for leaf in view.schema(path).leaves.values()
            if leaf.kind == RAGGED
        }
        if ragged:
            result["ragged"] = ragged
            for part in result["dtype"]["fields"]:
                if part["name"] in ragged:
                    part["dtype"] = "ragged"
        strings = {
            leaf.path[0]: missing_json(leaf.dtype)
            for leaf in view.schema(path).leaves.values()
            if leaf.kind == 11
        }
        if strings:
            result["strings"] = strings
        computed = {
            column.name: {
                "expression": column.expression,
                "virtual": column.virtual,
                "dtype": dtype_json(column.described.dtype),
            }
            for column in view.schema(path).columns
            if column.expression is not None
        }
        if computed:
            result["computed"] = computed
        indexes = {
            index.name: {"columns": index.columns, "unique": index.unique}
            for index in view.indexes(path)
        }
        if indexes:
            result["indexes"] = indexes
        categories = {
            name: [value_json(value) for value in values]
            for name, values in view.categories(path).items()
        }
        if categories:
            result["categories"] = categories
        columns = view.column_attributes(path)
        if columns:
            result["column_attributes"] = {
                column: {name: value_json(v, full) for name, v in found.items()}
                for column, found in columns.items()
            }
    return result


def describe(reader: Reader, path: str, full: bool = False) -> dict[str, Any]:
    """A whole file; *full* gives bytes and sums, and all values, whatever their number."""
    with open(path, "rb") as file:
        content = file.read()
    return {
        "file": os.path.basename(path),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "format_version": 1,
        "uuid": reader.store.super.uuid.hex(),
        "newest_record": reader.store.commit,
        "commit": reader.shown,
        "tags": {
            name: {"commit": shown, "root": node_json(reader.at(name), "/", full)}
            for name, (_, shown) in reader.tags.items()
        },
        "root": node_json(reader, "/", full),
    }
