"""What Arrow's types are to a table: what it holds as it is, and what not.

Functions take `pyarrow` itself: it is imported where a file is opened.
"""

from __future__ import annotations

from typing import Any

__all__ = ["has_inner_nulls", "is_bytes", "is_category", "is_flat", "is_list", "is_text", "is_view"]


def is_list(types: Any, kind: Any) -> bool:
    """Tell whether a type is that of lists of any length, for which views stand too."""
    return types.is_list(kind) or types.is_large_list(kind) or is_view(kind)


def is_view(kind: Any) -> bool:
    """Tell whether a type is that of views of lists, which older pyarrow does not know."""
    return "list_view<" in str(kind)[:16]


def is_bytes(types: Any, kind: Any) -> bool:
    """Tell whether a type is that of bytes of any length."""
    return types.is_binary(kind) or types.is_large_binary(kind) or str(kind) == "binary_view"


def is_text(types: Any, kind: Any) -> bool:
    """Tell whether a type is that of text."""
    return types.is_string(kind) or types.is_large_string(kind) or str(kind) == "string_view"


def is_category(types: Any, kind: Any) -> bool:
    """Tell whether values of a type can be the categories of a column."""
    if types.is_timestamp(kind):
        return kind.tz is None
    return is_text(types, kind) or _is_number(types, kind) or bool(types.is_date(kind))


def is_flat(pa: Any, kind: Any) -> bool:
    """Tell whether a column of a table can hold the type, or one of those that stand for it."""
    types = pa.types
    if is_list(types, kind):
        return _is_item(pa, kind.value_type)
    if types.is_fixed_size_list(kind):
        return _is_number(types, kind.value_type) or (
            types.is_fixed_size_list(kind.value_type) and is_flat(pa, kind.value_type)
        )
    if types.is_struct(kind):
        fields = [kind.field(at) for at in range(kind.num_fields)]
        names = {field.name for field in fields}
        return 0 < len(names) == len(fields) and all(_is_number(types, f.type) for f in fields)
    return not (types.is_nested(kind) or types.is_union(kind) or types.is_interval(kind))


def _is_item(pa: Any, kind: Any) -> bool:
    """Tell whether a ragged column can hold items of the type."""
    types = pa.types
    if types.is_fixed_size_binary(kind):
        return bool(kind.byte_width)
    if types.is_struct(kind):
        # Zones are kept by column, not by field of an item.
        inner = [kind.field(at).type for at in range(kind.num_fields)]
        return is_flat(pa, kind) and not any(getattr(found, "tz", None) for found in inner)
    if types.is_fixed_size_list(kind):
        return _is_number(types, kind.value_type) and not getattr(kind.value_type, "tz", None)
    if types.is_dictionary(kind):
        return is_text(types, kind.value_type)
    return _is_number(types, kind) or bool(types.is_date(kind)) or is_text(types, kind)


def _is_number(types: Any, kind: Any) -> bool:
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_timestamp(kind)
        or types.is_duration(kind)
    )


def has_inner_nulls(types: Any, array: Any) -> bool:
    """Tell whether there are nulls within the values of rows."""
    kind = array.type
    if types.is_struct(kind):
        return bool(array.null_count) or any(
            part.null_count or has_inner_nulls(types, part) for part in array.flatten()
        )
    if types.is_fixed_size_list(kind):
        return bool(array.null_count or array.flatten().null_count)
    if is_list(types, kind):
        if is_text(types, kind.value_type) or types.is_dictionary(kind.value_type):
            return False  # text has nulls of its own
        items = array.flatten()  # without those that stand below nulls
        return bool(items.null_count) or has_inner_nulls(types, items)
    return bool(types.is_fixed_size_binary(kind) and array.null_count)
