"""Nodes of a store as Zarr."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kist.bridges.base import BLOCK_ROWS, Job
from kist.bridges.nodes import full_text, plain_columns, split_keystore
from kist.bridges.nulls import free_name, is_nullable, split_nulls, value_of
from kist.bridges.plain import to_json
from kist.bridges.zarr.opening import DIMENSIONS, opened, quiet
from kist.errors import ConversionError
from kist.extras import need

__all__ = ["write"]


def write(job: Job, node: Any, target: str) -> None:
    """Write a node as a new Zarr store; a group as its root."""
    zarr = need("zarr", "zarr", f"convert to {job.report.target}")
    zarr_format = job.option("zarr_format", 3)
    if zarr_format not in (2, 3):
        raise ValueError(f"zarr_format {zarr_format!r} is neither 2 nor 3")
    packed = job.report.target.lower().endswith(".zip")
    with job.writing(), quiet(), opened(zarr, target, "w", packed) as store:
        try:
            _Writer(job, zarr, store, zarr_format).write(node)
        except BaseException:
            _settle()
            raise


def _settle() -> None:
    """Wait for chunks that Zarr still writes after one has failed: they would make files again."""
    with contextlib.suppress(ImportError, RuntimeError):
        from zarr.core.sync import sync

        async def others() -> None:
            here = asyncio.current_task()
            left = [task for task in asyncio.all_tasks() if task is not here]
            await asyncio.gather(*left, return_exceptions=True)

        sync(others())


class _Writer:
    """A Zarr store that is being written."""

    def __init__(self, job: Job, zarr: Any, store: Any, zarr_format: int) -> None:
        self.job = job
        self.zarr = zarr
        self.store = store
        self.zarr_format = zarr_format

    def write(self, top: Any) -> None:
        """Write a node and all below it, as the root of the store."""
        waiting = [(top, "")]
        while waiting:
            node, path = waiting.pop()
            if node.kind == "group":
                self.job.report.n_groups += 1
                self.group(path, self.attributes(node.attrs, node.name))
                waiting += [(child, f"{path}/{name}") for name, child in node.items()]
            elif node.kind == "table":
                self.table(node, path)
            elif node.kind == "array":
                self.array(node, path)
            elif node.kind == "link":
                self.job.note("zarr.link", node.name)
            else:
                self.keystore(node, path)
        if top.kind != "group":
            return
        facts = top.attrs.get("ZARR")
        was = isinstance(facts, Mapping) and facts.get("consolidated") is True
        if self.zarr_format == 2 or was:  # as readers of 2 expect
            self.zarr.consolidate_metadata(self.store, zarr_format=self.zarr_format)

    def group(self, path: str, attrs: dict[str, Any]) -> None:
        """Make a group."""
        self.zarr.create_group(
            self.store, path=path.strip("/"), attributes=attrs, zarr_format=self.zarr_format
        )

    def array(self, array: Any, path: str) -> None:
        """Write an array, part by part."""
        known = {"kind": "array"} if array.dtype.names is not None and array.ndim == 1 else {}
        stored = self.stored(array.dtype, known)
        attrs = self.attributes(array.attrs, array.name, known)
        made = self.create(path, array, array.shape, stored, array.chunks, attrs)
        if made is None:
            self.job.note("zarr.dtype", f"{array.name} ({array.dtype})")
            return
        for where, values in self.job.array_parts(array, _cut(made, array)):
            values = full_text(self.job, "zarr.missing", values, array.name)
            made[where] = _put(values, stored)

    def stored(self, dtype: Any, known: dict[str, Any]) -> Any:
        """Return the dtype that is written; what is known restores the one that it is.

        The library writes compounds of format 3 in the byte order that they have, and reads them
        as little-endian; of rows of values in them it writes the first.
        """
        if dtype.names is None or self.zarr_format == 2:
            return dtype
        found = _as_bytes(dtype.newbyteorder("<"))
        if found == dtype:
            return dtype
        known["dtype"] = dtype.descr
        return found

    def create(
        self, path: str, node: Any, shape: Any, dtype: Any, chunks: Any, attrs: dict[str, Any]
    ) -> Any:
        """Make an array laid out as it was in Zarr; None for a dtype that Zarr lacks."""
        if self.zarr_format == 2 and any(dtype[n].names for n in dtype.names or ()):
            return None  # zarr writes compounds in compounds, and cannot read them
        if dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16):
            return None
        facts = node.attrs.get("ZARR", {})
        facts = facts if isinstance(facts, Mapping) else {}
        dims = node.attrs.get("_DIMS")
        named = isinstance(dims, list) and len(dims) == len(shape)
        options: dict[str, Any] = {}
        if facts.get("zarr_format") == self.zarr_format:
            options |= _keys(facts)
            if self.zarr_format == 2:
                options |= {"order": facts.get("order", "C")} | _codecs(facts, dtype)
            else:
                options |= _codecs_3(facts)
        if named and self.zarr_format == 2:
            attrs[DIMENSIONS] = dims
        elif named:
            options["dimension_names"] = dims
        elif self.zarr_format == 3 and _are_names(facts.get("dimension_names"), shape):
            options["dimension_names"] = facts["dimension_names"]
        if "chunks" in facts and len(facts["chunks"]) == len(shape):
            chunks = facts["chunks"]
            if self.zarr_format == 3 and "shards" in facts:
                options["shards"] = tuple(facts["shards"])
        if dtype.char == "T":
            dtype = str
            options.pop("filters", None) if self.zarr_format == 2 else None
        try:
            return self.zarr.create_array(
                self.store,
                name=path.strip("/") or None,
                shape=shape,
                dtype=dtype,
                chunks=tuple(max(1, c) for c in chunks),
                fill_value=_fill(node, dtype, facts),
                attributes=attrs,
                zarr_format=self.zarr_format,
                **options,
            )
        except (TypeError, self.zarr.errors.BaseZarrError) as error:
            if dtype is not str and (dtype.names is not None or dtype.kind == "V"):
                return None
            raise ConversionError(f"{node.name}: {error}") from error

    def table(self, table: Any, path: str) -> None:
        """Write a table: an array of compounds where Zarr has them, else an array each column."""
        plain_columns(self.job, "zarr.categories", table, "Zarr")
        columns = [table[name] for name in table.columns]
        if any(
            c.dtype.char == "T" or c.shape[1:] or c.dtype.subdtype or is_nullable(c.dtype)
            for c in columns
        ):
            self.columns(table, path)
            return
        found = {name: dict(table[name].attrs) for name in table.columns}
        known: dict[str, Any] = {}
        if given := {name: values for name, values in found.items() if values}:
            known["attrs"] = given
        stored = self.stored(table.dtype, known)
        attrs = self.attributes(table.attrs, table.name, known)
        made = self.create(path, table, (len(table),), stored, (BLOCK_ROWS,), attrs)
        if made is None:
            self.job.note("zarr.dtype", f"{table.name} ({table.dtype})")
            return
        step = made.chunks[0] if made.shards is None else made.shards[0]
        done = 0
        for block in self.job.table_blocks(table, max(step, BLOCK_ROWS // step * step)):
            made[done : done + len(block)] = _put(block, stored)
            done += len(block)

    def columns(self, table: Any, path: str) -> None:
        """Write a table as a group with an array for each column."""
        self.job.note("zarr.columns", table.name)
        known = {"kind": "table", "columns": list(table.columns)}
        self.group(path, self.attributes(table.attrs, table.name, known))
        for name in table.columns:
            column = table[name]
            where = f"{table.name}.{name}"
            nullable = is_nullable(column.dtype)
            of_column = {"valid": free_name(name, table.columns)} if nullable else {}
            attrs = self.attributes(column.attrs, where, of_column)
            rows = max(1, min(BLOCK_ROWS, len(table)))
            below, chunks = f"{path}/{name}", (rows, *column.shape[1:])
            dtype = value_of(column.dtype)
            made = self.create(below, column, column.shape, dtype, chunks, attrs)
            if made is None:
                self.job.note("zarr.dtype", where)
                continue
            if nullable:
                flags = self.zarr.create_array(
                    self.store, name=f"{path}/{of_column['valid']}".strip("/"),
                    shape=column.shape, dtype="?", chunks=chunks, zarr_format=self.zarr_format,
                )  # fmt: skip
            done = 0
            for values in column.blocks(BLOCK_ROWS):
                if nullable:
                    values, flags[done : done + len(values)] = split_nulls(values)
                made[done : done + len(values)] = full_text(self.job, "zarr.missing", values, where)
                done += len(values)
                self.job.advance(values.nbytes)
        self.job.report.n_tables += 1
        self.job.report.n_rows += len(table)

    def keystore(self, store: Any, path: str) -> None:
        """Write a key store as a group."""
        self.job.note("zarr.keystore", store.name)
        arrays, attrs = split_keystore(store)
        self.group(path, self.attributes(attrs, store.name))
        for name, value in arrays.items():
            self.zarr.create_array(
                self.store, name=f"{path}/{name}".strip("/"), data=value,
                zarr_format=self.zarr_format,
            )  # fmt: skip
            self.job.advance(value.nbytes)
        self.job.report.count_keystore(store)

    def attributes(
        self, attrs: Mapping[str, Any], place: str, known: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return attributes as JSON has them; what restores their types in ``KIST``."""
        found: dict[str, Any] = {}
        types: dict[str, str] = {}
        for name, value in attrs.items():
            if name == "ZARR" or (name == "_DIMS" and isinstance(value, list)):
                continue  # told in Zarr's own way
            plain = _as_json(value)
            if plain is None and value is not None:
                self.job.note("zarr.value", f"{place}@{name}")
                found[name] = types[name] = to_json(value)
                continue
            found[name] = plain
            if isinstance(value, np.ndarray | np.generic):
                types[name] = to_json(value)
        known = {**(known or {}), **({"types": types} if types else {})}
        return {**found, "KIST": known} if known else found


def _as_json(value: Any) -> Any:
    """Return a value as JSON has it, None where it has no such thing."""
    if isinstance(value, np.ndarray | np.generic) and np.asarray(value).dtype.kind in "biufUT":
        return _as_json(value.tolist())
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        found = [_as_json(item) for item in value]
        fits = all(f is not None or v is None for f, v in zip(found, value, strict=True))
        return found if fits else None
    if type(value) is dict and all(type(key) is str for key in value):
        items = {key: _as_json(item) for key, item in value.items()}
        return items if all(items[k] is not None or value[k] is None for k in value) else None
    return None


def _as_bytes(dtype: Any) -> Any:
    """Return a compound with bytes in place of fields of several values."""
    if dtype.names is None:
        return np.dtype(f"V{dtype.itemsize}") if dtype.subdtype is not None else dtype
    return np.dtype(
        {
            "names": list(dtype.names),
            "formats": [_as_bytes(dtype[name]) for name in dtype.names],
            "offsets": [dtype.fields[name][1] for name in dtype.names],
            "itemsize": dtype.itemsize,
        }
    )


def _put(values: Any, stored: Any) -> Any:
    """Return values of a compound as they are written."""
    if values.dtype == stored or stored.names is None:
        return values
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return little.view(stored).reshape(values.shape)


def _fill(node: Any, dtype: Any, facts: Mapping[str, Any]) -> Any:
    if "fill_value" in facts and facts["zarr_format"] == 2:
        return None
    if dtype is str:
        fill = getattr(node, "fill_value", "")
        return fill if isinstance(fill, str) else ""
    if getattr(node, "kind", "column") == "table":
        fill = np.zeros((), dtype)
        for name in node.columns:
            value = node[name].fill_value
            if value is not None:
                fill[name] = value
        return fill[()]
    found = getattr(node, "fill_value", None)
    return np.zeros((), dtype)[()] if found is None else np.asarray(found, dtype)[()]


def _keys(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the chunks of an array were named, as far as it is a way of Zarr."""
    if facts.get("separator") in (".", "/"):
        return {"chunk_key_encoding": {"name": "v2", "separator": facts["separator"]}}
    keys: Any = facts.get("chunk_keys")
    found = keys.get("configuration") if isinstance(keys, Mapping) else None
    separator = found.get("separator") if isinstance(found, Mapping) else None
    if separator in (".", "/") and keys.get("name") in ("v2", "default"):
        return {"chunk_key_encoding": {"name": keys["name"], "separator": separator}}
    return {}


def _codecs(facts: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """Return filters and the compressor that an array of format 2 had, as zarr takes them.

    Filters that may take digits away would do so again, with bounds set for other values: an array
    that had one gets none.
    """
    numcodecs: Any = need("numcodecs", "zarr", "")
    lossless = {"shuffle", *(("delta",) if dtype.kind in "iu" else ())}
    found: dict[str, Any] = {}
    try:
        filters, compressors = facts.get("filters", []), facts.get("compressors", [])
        if filters and all(f["id"] in lossless for f in filters):
            found["filters"] = [numcodecs.get_codec(dict(f)) for f in filters]
        if not any(f["id"] == "pickle" for f in compressors):
            made = [numcodecs.get_codec(dict(f)) for f in compressors]
            found["compressors"] = made[0] if made else None
    except (KeyError, TypeError, ValueError):  # a store may say anything
        return {}
    return found


def _codecs_3(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return filters and compressors that an array of format 3 had, as in `_codecs`."""
    found = {"compressors": facts["compressors"]} if "compressors" in facts else {}
    filters = facts.get("filters")
    if isinstance(filters, list) and all(
        isinstance(f, Mapping) and f.get("name") in ("transpose", "numcodecs.shuffle")
        for f in filters
    ):
        found["filters"] = filters
    return found


def _are_names(names: Any, shape: Any) -> bool:
    return (
        isinstance(names, list)
        and len(names) == len(shape)
        and all(name is None or type(name) is str for name in names)
    )


def _cut(made: Any, array: Any) -> tuple[int, ...]:
    """Return chunks for reading, so that no chunk that is written is written twice."""
    whole = made.chunks if made.shards is None else made.shards
    if not array.shape or math.prod(whole) * max(1, array.dtype.itemsize) > 64 << 20:
        return tuple(whole)
    # Whole chunks of both sides where they divide each other.
    return tuple(c if c % w == 0 else w for c, w in zip(array.chunks, whole, strict=True))
