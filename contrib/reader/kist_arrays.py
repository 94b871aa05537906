"""Arrays: schema, bounds, and the segments of chunks."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from kist_pages import Page, form_of, from_little
from kist_strings import as_array, read_block, read_page
from kist_types import Array, Cursor, Damage, Described, Unknown, read_dtype

Shape = tuple[int, ...]
MAX_CHUNK = 1 << 30


@dataclass(frozen=True)
class ArraySchema:
    """The `S` record of an array."""

    described: Described
    chunk: Shape
    block: Shape
    fill: Any
    sealed: bool

    @property
    def is_string(self) -> bool:
        """Whether the values are StringDType."""
        return self.described.dtype.char == "T"


def read_array_schema(data: bytes, fill_value: bytes | None = None) -> ArraySchema:
    """The schema of an array; of a sealed one that was opened with its fill value."""
    cursor = Cursor(data, "array schema")
    version, flags, ndim, _ = cursor.all("BBB5s")
    if version != 1 or flags > 1:
        raise Unknown(f"array schema of version {version} with flags {flags}")
    if ndim > 64:
        raise Damage("array schema: axes")
    chunk, block = cursor.all(f"{ndim}Q"), cursor.all(f"{ndim}Q")
    described = read_dtype(cursor.blob())
    fill = cursor.blob()
    cursor.text()
    cursor.end()
    dtype = described.dtype
    if dtype.subdtype is not None:
        raise Damage("array schema: dtype")
    if any(not 1 <= b <= c for b, c in zip(block, chunk, strict=True)):
        raise Damage("array schema: blocks")
    if math.prod(chunk) * (16 if dtype.char == "T" else dtype.itemsize or 1) > MAX_CHUNK:
        raise Damage("array schema: chunks")
    value: Any
    if flags:
        if fill:
            raise Damage("array schema: fill value in clear")
        if fill_value is None:
            return ArraySchema(described, chunk, block, None, True)
        fill = fill_value
    if dtype.char == "T":
        inner = Cursor(fill, "fill value")
        text = inner.text() if inner.get("B") else None
        inner.end()
        value = as_array([text], described.leaves[0])[0, 0]
    elif len(fill) != dtype.itemsize:
        raise Damage("array schema: fill value")
    else:
        value = np.ndarray((), dtype, fill)[()]
    return ArraySchema(described, chunk, block, value, bool(flags))


def read_array(
    store: Any, schema: ArraySchema, bounds: bytes, records: Mapping[bytes, Any]
) -> Array:
    """All elements of an array; *records* are its `C` records by the rest of their keys.

    Of a sealed array they were opened, and *store* gives the bodies that they lead to.
    """
    ndim = len(schema.chunk)
    if len(bounds) != 8 * ndim:
        raise Damage("array: bounds")
    shape = struct.unpack(f"<{ndim}Q", bounds)
    dtype = schema.described.dtype
    if not dtype.itemsize:
        return np.ndarray(shape, dtype, b"")
    result = np.empty(shape, dtype)
    result[...] = schema.fill
    # In order of the keys, so that of overlapping segments the highest start counts.
    for key, entry in sorted(records.items()):
        if len(key) != 8 * ndim + 4:
            raise Damage("array: key of a segment")
        *index, start = struct.unpack(f">{ndim}QI", key)
        values = read_segment(store, schema, start, entry)
        corner = [k * c for k, c in zip(index, schema.chunk, strict=True)]
        if ndim:
            corner[0] += start
        place = tuple(slice(a, a + n) for a, n in zip(corner, values.shape, strict=True))
        if any(s.stop > n for s, n in zip(place, shape, strict=True)):
            raise Damage("array: a segment beyond the shape")
        result[place] = values
    return result


def read_segment(store: Any, schema: ArraySchema, start: int, entry: Any) -> Array:
    """The valid elements of one segment."""
    ndim = len(schema.chunk)
    cursor = Cursor(entry.payload, "segment")
    form, flags, recipe, _ = cursor.all("BBHf")
    if form > 1 or flags > 1:
        raise Unknown(f"segment of form {form} with flags {flags}")
    stored = cursor.all(f"{ndim}I")
    valid = cursor.all(f"{ndim}I") if flags else stored
    cursor.take(recipe)
    if any(not 0 < v <= s for v, s in zip(valid, stored, strict=True)):
        raise Damage("segment: valid shape")
    ends = (start + stored[0], *stored[1:]) if ndim else (start + 1,)
    if any(a > b for a, b in zip(ends, schema.chunk if ndim else (1,), strict=True)):
        raise Damage("segment: beyond its chunk")
    if len(entry.pointers) != form:
        raise Damage("segment: pointers")
    if form == 0:
        values = inline(schema, cursor.rest(), math.prod(stored)).reshape(stored)
    else:
        cursor.end()
        pointer = entry.pointers[0]
        values = unblocked(schema, Page(store.body(pointer), pointer.head), stored)
    return values[tuple(map(slice, valid))]


def inline(schema: ArraySchema, data: bytes, count: int) -> Array:
    """Values that stand in a record."""
    if schema.is_string:
        return as_array(read_block(data, count), schema.described.leaves[0])[:, 0]
    if len(data) != count * schema.described.dtype.itemsize:
        raise Damage("segment: bytes of the values")
    return typed(schema, data)


def typed(schema: ArraySchema, data: bytes) -> Array:
    """Little-endian items as values; items of a structured dtype are opaque."""
    dtype = schema.described.dtype
    if dtype.names is not None:
        return np.frombuffer(data, dtype)
    leaf = schema.described.leaves[0]
    return from_little(np.frombuffer(data, form_of(leaf)), leaf)


def page_values(schema: ArraySchema, page: Page) -> Array:
    """The values of a page in their order."""
    dtype = schema.described.dtype
    if schema.is_string:
        return read_page(page, schema.described.leaves[0])[:, 0]
    if dtype.names is not None:
        return typed(schema, page.decode(np.dtype(f"V{dtype.itemsize}")).tobytes())
    leaf = schema.described.leaves[0]
    return from_little(page.decode(form_of(leaf)), leaf)


def unblocked(schema: ArraySchema, page: Page, stored: Shape) -> Array:
    """The values of a page in their places."""
    block = tuple(map(min, schema.block, stored))
    first = next((k for k, b in enumerate(block) if b > 1), 0)
    if block[first + 1 :] == stored[first + 1 :]:
        if page.n_values != math.prod(stored):
            raise Damage("segment: values of the page")
        return page_values(schema, page).reshape(stored)
    counts = tuple(-(-n // b) for n, b in zip(stored, block, strict=True))
    block = tuple(-(-n // m) for n, m in zip(stored, counts, strict=True))
    if page.n_values != math.prod(counts) * math.prod(block):
        raise Damage("segment: values of the page")
    values = page_values(schema, page).reshape(-1, *block)
    result = np.empty([m * b for m, b in zip(counts, block, strict=True)], values.dtype)
    for number, corner in enumerate(itertools.product(*map(range, counts))):
        place = tuple(slice(g * b, g * b + b) for g, b in zip(corner, block, strict=True))
        result[place] = values[number]
    return result[tuple(map(slice, stored))]
