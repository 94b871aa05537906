"""Types of Arrow that Blosc2's tables lack: what stands there instead, and the way back."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

__all__ = ["as_before", "schema_text", "stored_schema"]


def stored_schema(pa: Any, schema: Any) -> Any:
    """Return a schema of which Blosc2's tables have every type, and to which batches are cast."""
    fields = [f.with_type(_stored(pa, f.type)) for f in schema]
    return pa.schema(fields, metadata=schema.metadata)


def schema_text(schema: Any) -> str:
    """Return a schema as text, for `as_before`."""
    return base64.b64encode(schema.remove_metadata().serialize()).decode()


def as_before(pa: Any, text: Any, schema: Any, batches: Iterable[Any]) -> tuple[Any, Iterable[Any]]:
    """Return what was read with the types that it had when kist wrote it.

    A column that is another one by now stays what it is.

    Parameters
    ----------
    text : str or None
        Of `schema_text`.
    """
    before = _schema_of(pa, text)
    fields = []
    for field in schema:
        was = before.get(field.name)
        if was is not None and _alike(pa, _stored(pa, was.type), field.type):
            fields.append(field.with_type(was.type))
        else:
            fields.append(field)
    wanted = pa.schema(fields)
    if wanted.equals(schema):
        return schema, batches
    return wanted, (batch.cast(wanted) for batch in batches)


def _schema_of(pa: Any, text: Any) -> dict[str, Any]:
    """Return the fields that stand in a text and are stored otherwise; none if it is no schema."""
    if not isinstance(text, str):
        return {}
    try:
        found = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
    except (ValueError, pa.ArrowException, OSError):
        return {}
    return {
        field.name: field
        for field in found
        if _stored(pa, field.type) != field.type and not pa.types.is_dictionary(field.type)
    }


def _stored(pa: Any, kind: Any) -> Any:
    types = pa.types
    if types.is_dictionary(kind) and not types.is_string(kind.value_type):
        return _stored(pa, kind.value_type)
    if types.is_duration(kind) or types.is_time64(kind):
        return pa.int64()
    if types.is_time32(kind):
        return pa.int32()
    if types.is_date32(kind):
        return pa.timestamp("s")
    if types.is_float16(kind):
        return pa.float32()
    if types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_stored(pa, kind.value_type)))
    if types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_stored(pa, kind.value_type)))
    if types.is_fixed_size_list(kind):
        item = kind.value_field.with_type(_stored(pa, kind.value_type))
        return pa.list_(item, kind.list_size)
    return kind


def _alike(pa: Any, one: Any, other: Any) -> bool:
    """Tell whether two types differ in the width of their offsets alone."""
    types = pa.types
    for large, small in (
        (types.is_large_binary, types.is_binary), (types.is_large_string, types.is_string),
    ):  # fmt: skip
        if all(large(kind) or small(kind) for kind in (one, other)):
            return True
    lists = (types.is_list, types.is_large_list)
    if all(any(is_one(kind) for is_one in lists) for kind in (one, other)):
        return _alike(pa, one.value_type, other.value_type)
    return bool(one == other)
