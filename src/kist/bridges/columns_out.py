"""Columns of tables as Arrow's; types that they had before they came into a store come back."""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import numpy as np

from kist import errors
from kist.bridges.arrow_kinds import is_bytes, is_list, is_text, is_view
from kist.bridges.base import Job
from kist.bridges.categories import sort_of
from kist.bridges.columns import NOTE, Columns
from kist.bridges.columns_dtypes import dtypes_beside, holds_nat
from kist.bridges.plain import to_json
from kist.extras import need

__all__ = ["outgoing"]

_BATCH_BYTES: Final = 1 << 30
"""Bytes of a batch that is not cut: offsets within a batch have 32 bits, as most readers expect."""


class _Before:
    """What the columns of a table were before they came into the store.

    Attributes
    ----------
    fields : dict of str to pyarrow.Field
    json, nan : set of str
        Columns that are text of JSON; columns whose NaN were nulls.
    valid : dict of str to str
        Column -> the one that tells which of its values were there.
    metadata : dict of bytes to bytes
        Of the schema, as far as it holds.
    """

    def __init__(self, pa: Any, table: Any) -> None:
        facts = table.attrs.get(NOTE)
        if not isinstance(facts, dict):
            facts = {}
        self.metadata = _metadata(facts.get("metadata"), table)
        if not isinstance(facts.get("schema"), bytes):
            facts = {}
        schema = pa.ipc.read_schema(pa.py_buffer(facts["schema"])) if facts else ()
        self.fields = {field.name: field for field in schema}
        self.json, self.nan = set(facts.get("json", ())), set(facts.get("nan", ()))
        self.valid: dict[str, str] = {
            name: valid
            for name, valid in dict(facts.get("valid", {})).items()
            if name in self.fields and {name, valid} <= set(table.columns)
            and table[valid].dtype == "?"
        }  # fmt: skip

    def field(self, pa: Any, table: Any, field: Any) -> Any:
        """Return the field that a column of a table had, or else has."""
        found = self.fields.get(field.name)
        if found is None or not self._could_be(pa, found, field.type):
            self.json.discard(field.name)
            self.nan.discard(field.name)
            return field.with_type(_short(pa, field.type))
        if not found.nullable and _has_nulls(table[field.name]):
            found = found.with_nullable(True)
        if pa.types.is_dictionary(found.type) and pa.types.is_dictionary(field.type):
            n_codes = 1 << (found.type.index_type.bit_width - 1)
            if len(table[field.name].categories) > n_codes:
                return field  # it has grown since
        return found

    def _could_be(self, pa: Any, found: Any, now: Any) -> bool:
        """Tell whether a column still has values of the type that it had: it may have been cast."""
        if found.name in self.json:
            return _is_revived(pa, found.type) and is_text(pa.types, now)
        hows: tuple[dict[str, str], ...] = ({}, {found.name: "values"}, {found.name: "bytes"})
        stored = [Columns(pa, pa.schema([found]), how).fields[0].type for how in hows]
        return any(_is_alike(pa, kind, now) for kind in (found.type, *stored))


def _is_alike(pa: Any, was: Any, now: Any) -> bool:
    """Tell whether all values of a type can be those of another, which came in as it."""
    types = pa.types
    if types.is_dictionary(was) and types.is_dictionary(now):
        return _is_alike(pa, was.value_type, now.value_type)
    groups: tuple[Any, ...] = (
        partial(is_text, types), lambda kind: types.is_timestamp(kind) or types.is_date(kind),
        lambda kind: is_bytes(types, kind) or types.is_fixed_size_binary(kind),
    )  # fmt: skip
    if any(check(was) and check(now) for check in groups) or _short(pa, was) == _short(pa, now):
        return True
    numbers = (types.is_integer, types.is_floating, types.is_boolean)
    if any(check(was) for check in numbers) and any(check(now) for check in numbers):
        return bool(np.can_cast(now.to_pandas_dtype(), was.to_pandas_dtype()))
    return False


def _is_revived(pa: Any, kind: Any) -> bool:
    """Tell whether values of a type can be made of JSON text again: those of a union cannot."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_union(kind):
        return False
    return all(_is_revived(pa, kind.field(at).type) for at in range(kind.num_fields))


def _has_nulls(column: Any) -> bool:
    return bool(column.dtype.kind != "f" and column.count() < len(column))


def _metadata(pairs: Any, table: Any) -> dict[bytes, bytes]:
    """Return metadata of a schema that came in; an attribute may hold anything."""
    found: dict[bytes, bytes] = {}
    for pair in pairs if isinstance(pairs, list) else ():
        if isinstance(pair, list) and [type(part) for part in pair] == [bytes, bytes]:
            found[pair[0]] = pair[1]
    try:
        known = json.loads(found.get(b"pandas", b"{}"))
        names = {column["field_name"] for column in known.get("columns", ())}
        holds = names <= set(table.columns)
    except (ValueError, TypeError, KeyError, AttributeError):
        holds = False
    if not holds:  # pandas looks for all the columns that it names
        del found[b"pandas"]
    return found


def outgoing(job: Job, pa: Any, table: Any) -> tuple[Any, Iterator[Any]]:
    """Return the schema and the record batches of a table; types that it had before come back."""
    names = [name for name in table.columns if _has_arrow_type(table[name])]
    for name in table.columns:
        if name not in names:
            job.note("arrow.dtype", f"{table.name}.{name}")
    for name in names:
        if holds_nat(table[name]):
            job.note("arrow.nat", f"{table.name}.{name}")
    reader = pa.RecordBatchReader.from_stream(
        table if len(names) == len(table.columns) else table[names]
    )
    before = _Before(pa, table)
    masks = set(before.valid.values())
    fields = [before.field(pa, table, f) for f in reader.schema if f.name not in masks]
    own = {name: value for name, value in table.attrs.items() if name != NOTE}
    by_column = {name: dict(table[name].attrs) for name in names}
    facts = _categories(table, names)
    if any(by_column.values()):
        facts["columns"] = {name: found for name, found in by_column.items() if found}
    if dtypes := dtypes_beside(table, names, before.fields):
        facts["dtypes"] = dtypes
    if own or facts:
        own["KIST"] = facts
    schema = pa.schema(fields, before.metadata | ({b"kist": to_json(own).encode()} if own else {}))

    def batches() -> Iterator[Any]:
        for batch in _read(pa, reader):
            for part in _parts(batch):
                arrays = [_restored(pa, part, field, before) for field in fields]
                yield pa.record_batch(arrays, schema=schema)
            job.report.n_rows += batch.num_rows
            job.advance(batch.nbytes)
        job.report.n_tables += 1

    return schema, batches()


def _read(pa: Any, reader: Any) -> Iterator[Any]:
    """Yield the batches of a stream; what kist raised within it is raised again."""
    try:
        yield from reader
    except pa.ArrowException as error:
        # A stream hands over words alone: those of a traceback, which end with the error.
        kind, _, text = str(error).strip().rpartition("\n")[2].partition(": ")
        if kind == "KeyboardInterrupt":
            raise KeyboardInterrupt from None
        found = getattr(errors, kind.removeprefix("kist.errors."), None)
        if not kind.startswith("kist.errors.") or found is None:
            raise
        raise found(text) from None


def _categories(table: Any, names: list[str]) -> dict[str, Any]:
    """Return what dictionaries do not tell of categories: Parquet has those of text alone, and
    none without rows."""
    sorts = {name: sort for name in names if (sort := sort_of(table[name]))}
    enums = {n: s.numbers or s.values.tolist() for n, s in sorts.items() if s.fixed}
    lists = {
        name: {"values": sort.values, "ordered": sort.ordered}
        for name, sort in sorts.items()
        if not sort.fixed and (not sort.is_text or not len(table))
    }
    return {what: found for what, found in (("enums", enums), ("lists", lists)) if found}


def _parts(batch: Any) -> Iterator[Any]:
    """Yield a batch in parts whose offsets have 32 bits."""
    if batch.nbytes <= _BATCH_BYTES or batch.num_rows < 2:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _parts(batch.slice(0, half))
    yield from _parts(batch.slice(half))


# Types


def _has_arrow_type(column: Any) -> bool:
    return all(kind not in "cG" for kind in _kinds(column.dtype))


def _kinds(dtype: Any) -> Iterator[str]:
    if dtype.subdtype is not None:
        yield from _kinds(dtype.base)
    elif dtype.names is not None:
        for name in dtype.names:
            yield from _kinds(dtype[name])
    else:
        yield "G" if dtype.kind == "f" and dtype.itemsize > 8 else dtype.kind


def _short(pa: Any, kind: Any) -> Any:
    """Return a type with offsets of 32 bits in place of 64, which fewer readers know."""
    types = pa.types
    if types.is_large_string(kind):
        return pa.string()
    if types.is_large_binary(kind):
        return pa.binary()
    if types.is_large_list(kind):
        item = kind.value_field
        return pa.list_(item.with_type(_short(pa, item.type)))
    if types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _short(pa, kind.value_type), kind.ordered)
    return kind


# Values


def _restored(pa: Any, batch: Any, field: Any, before: _Before) -> Any:
    """Return values of a column in the type that it had before it came into the store."""
    types, kind = pa.types, field.type
    array = batch.column(field.name)
    if field.name in before.json and field.name in before.fields:
        texts = array.to_pylist()
        found = [None if t is None else _revived(pa, json.loads(t), kind) for t in texts]
        return pa.array(found, kind)
    if field.name in before.valid:
        array = _with_nulls(pa, array, batch.column(before.valid[field.name]))
    if array.type == kind and field.name not in before.nan:
        return array
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, array.cast(kind.storage_type))
    compute: Any = need("pyarrow.compute", "arrow", "")
    is_nan = field.name in before.nan or not types.is_floating(kind)
    if is_nan and types.is_floating(array.type) and not types.is_dictionary(kind):
        array = compute.if_else(compute.is_nan(array), pa.scalar(None, array.type), array)
    if types.is_time(kind):
        array = array.cast(pa.int64())
        array = array.cast(pa.int32()) if types.is_time32(kind) else array
    if types.is_dictionary(kind):
        return _coded(pa, array, kind)
    if types.is_null(kind):
        return pa.nulls(len(array))
    if types.is_run_end_encoded(kind):
        encoded = compute.run_end_encode(array.cast(kind.value_type), kind.run_end_type)
        return encoded.cast(kind) if encoded.type != kind else encoded
    if is_view(kind):
        return _views(pa, array, kind)
    if types.is_fixed_size_binary(kind) and is_bytes(types, array.type):
        return array.cast(pa.binary()).cast(kind)
    if types.is_timestamp(kind):
        return array.cast(pa.int64()).cast(kind)
    return array.cast(kind)


def _views(pa: Any, lists: Any, kind: Any) -> Any:
    """Return lists as views of lists, for which pyarrow has no cast."""
    size = pa.int64() if "large" in str(kind)[:5] else pa.int32()
    compute: Any = need("pyarrow.compute", "arrow", "")
    lengths = compute.fill_null(compute.list_value_length(lists), 0).cast(size)
    starts, items = lists.offsets[:-1].cast(size), lists.values.cast(kind.value_type)
    maker = pa.LargeListViewArray if size == pa.int64() else pa.ListViewArray
    return maker.from_arrays(starts, lengths, items, kind, mask=lists.is_null())


def _coded(pa: Any, array: Any, kind: Any) -> Any:
    """Return an array as a dictionary of a type."""
    if not pa.types.is_dictionary(array.type):
        array = array.cast(kind.value_type).dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        array.indices.cast(kind.index_type), array.dictionary.cast(kind.value_type),
        ordered=kind.ordered,
    )  # fmt: skip


def _with_nulls(pa: Any, array: Any, valid: Any) -> Any:
    """Return an array of lists or bytes that is null where there was no value."""
    absent = pa.compute.invert(valid)
    if is_bytes(pa.types, array.type):
        return pa.compute.if_else(valid, array, pa.scalar(None, array.type))
    return pa.LargeListArray.from_arrays(array.offsets, array.values, mask=absent)


def _revived(pa: Any, value: Any, kind: Any) -> Any:
    """Return what JSON text held as the values from which Arrow makes a type."""
    types = pa.types
    if value is None:
        return None
    if types.is_map(kind):
        return [(_revived(pa, k, kind.key_type), _revived(pa, v, kind.item_type)) for k, v in value]
    if is_list(types, kind) or types.is_fixed_size_list(kind):
        return [_revived(pa, item, kind.value_type) for item in value]
    if types.is_struct(kind):
        fields = (kind.field(at) for at in range(kind.num_fields))
        return {f.name: _revived(pa, value.get(f.name), f.type) for f in fields}
    if types.is_decimal(kind):
        return decimal.Decimal(value)
    if is_bytes(types, kind) or types.is_fixed_size_binary(kind):
        return bytes.fromhex(value)
    if types.is_interval(kind):
        return pa.MonthDayNano(value)
    if types.is_duration(kind):
        return datetime.timedelta(seconds=value)
    if types.is_time(kind):
        return datetime.time.fromisoformat(value)
    if types.is_temporal(kind):
        return pa.scalar(value).cast(kind).as_py()
    return value
