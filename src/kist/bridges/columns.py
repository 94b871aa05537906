"""Arrow's columns as those of tables: what a table cannot hold becomes what it can, by name.

Lists and bytes of any length are ragged columns, dictionaries are categorical ones. Whether a
column has nulls may come out in its last block: integers, booleans, lists and bytes become nullable
where they stand. For what takes another type `Widen` is raised, and the caller begins again with
it; nothing is left of the first try. `columns_in` is that caller, `columns_out` the way back.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

from kist.bridges.arrow_kinds import (
    has_inner_nulls,
    is_bytes,
    is_category,
    is_flat,
    is_list,
    is_text,
    is_view,
)
from kist.bridges.base import Job
from kist.bridges.report import Loss
from kist.extras import need

__all__ = ["LOSSES", "NOTE", "Columns", "Widen"]

LOSSES: Final = {
    "arrow.nat": Loss("changed", "NaT in a column of times with nulls", "null"),
    "arrow.nan": Loss("changed", "nulls among floats", "NaN"),
    "arrow.categories": Loss(
        "changed", "categories (dictionary) of bytes, zoned or nested values, or with NaN",
        "their values",
    ),
    "arrow.order": Loss(
        "changed", "ordered categories of which parts of a file have different orders",
        "categories without order",
    ),
    "arrow.decimal": Loss("changed", "decimal numbers", "float64"),
    "arrow.time": Loss("changed", "times of day", "durations since midnight"),
    "arrow.nested": Loss(
        "changed", "maps, lists of lists or with nulls inside but for text, nested values",
        "JSON text",
    ),
    "arrow.zone": Loss(
        "changed", "time zone within lists, or in a table with chosen dtypes", "times in UTC"
    ),
    "arrow.untyped": Loss("changed", "column of nothing but nulls", "text, all missing"),
    "arrow.extension": Loss("changed", "extension type", "the type that it is stored as"),
    "arrow.dtype": Loss("not kept", "column of a dtype that Arrow lacks", "nothing"),
}  # fmt: skip
"""What the bridges that go through Arrow may note."""

NOTE: Final = "ARROW"
"""The attribute that holds what the way back needs."""


class Widen(Exception):
    """A column needs a wider type than its beginning showed."""

    def __init__(self, name: str, how: str) -> None:
        super().__init__(name)
        self.name, self.how = name, how


class Digits(ValueError):
    """A column of floating point numbers may have been integers of more digits.

    Attributes
    ----------
    name : str
        Of the column.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"column {name!r}: integers of many digits")
        self.name = name


class Columns:
    """The columns of an Arrow schema on their way into a table.

    Parameters
    ----------
    schema : pyarrow.Schema
    how : dict of str to str
        Column -> ``"json"`` (text), ``"values"`` (of categories), ``"unordered"`` or ``"bytes"``
        (of any length), where that is known; grows.
    coded : mapping of str to (ndarray, bool)
        Categories, and whether they are ordered, of columns whose type does not say so.
    """

    def __init__(
        self,
        pa: Any,
        schema: Any,
        how: dict[str, str],
        coded: Mapping[str, tuple[Any, bool]] = MappingProxyType({}),
    ) -> None:
        self.pa = pa
        self.coded = coded
        self.schema = schema
        self.how = how
        self.losses: dict[str, list[str]] = {}
        self.nulls_stay: set[str] = set()  # floats of a nullable column
        self.fields = [self._field(field) for field in schema]

    def _field(self, field: Any) -> Any:
        """Return the field of what is stored, noting what changes."""
        pa, types = self.pa, self.pa.types
        kind, name = field.type, field.name
        if isinstance(kind, pa.BaseExtensionType):
            self._lose(name, "arrow.extension")
            kind = kind.storage_type
        how = self.how.get(name)
        if name in self.coded and is_category(types, kind):
            kind = pa.dictionary(pa.int32(), kind, self.coded[name][1])
        if types.is_dictionary(kind):
            if how != "values" and is_category(types, kind.value_type):
                if how == "unordered":
                    self._lose(name, "arrow.order")
                    kind = pa.dictionary(kind.index_type, kind.value_type)
                return pa.field(name, kind)
            self._lose(name, "arrow.categories")
            kind = kind.value_type
        if types.is_run_end_encoded(kind):
            kind = kind.value_type
        if types.is_fixed_size_binary(kind) and (how == "bytes" or not kind.byte_width):
            kind = pa.large_binary()
        elif how == "json" or not is_flat(pa, kind):
            self.how[name] = "json"
            self._lose(name, "arrow.nested")
            kind = pa.large_string()
        elif types.is_decimal(kind):
            self._lose(name, "arrow.decimal")
            kind = pa.float64()
        elif types.is_time(kind):
            self._lose(name, "arrow.time")
            kind = pa.duration(kind.unit)
        elif types.is_null(kind):
            self._lose(name, "arrow.untyped")
            kind = pa.large_string()
        elif is_list(types, kind):
            inner = kind.value_type
            if getattr(inner, "tz", None):
                self._lose(name, "arrow.zone")
                inner = pa.timestamp(inner.unit)
            if types.is_dictionary(inner):
                self._lose(name, "arrow.categories")
                inner = inner.value_type
            kind = pa.large_list(pa.large_string() if is_text(types, inner) else inner)
        elif is_bytes(types, kind):
            kind = pa.large_binary()
        return pa.field(name, kind)

    def drop_zones(self) -> None:
        """Store times in UTC: the table is not made from Arrow's schema, which tells of zones."""
        for at, field in enumerate(self.fields):
            if getattr(field.type, "tz", None):
                self.fields[at] = field.with_type(self.pa.timestamp(field.type.unit))
                self._lose(field.name, "arrow.zone")

    def take_bytes(self, names: Collection[str]) -> None:
        """Store text of some columns as bytes of any length."""
        for at, field in enumerate(self.fields):
            if field.name in names and is_text(self.pa.types, field.type):
                self.fields[at] = field.with_type(self.pa.large_binary())

    def convert(self, batch: Any) -> Any:
        """Return a batch of the fields.

        Raises
        ------
        Widen
            A column does not fit its field.
        """
        found = list(zip(batch.columns, self.fields, strict=False))
        arrays = [self._values(array, field) for array, field in found]
        return self.pa.record_batch(arrays, schema=self.pa.schema(self.fields))

    def _values(self, array: Any, field: Any) -> Any:
        pa, types = self.pa, self.pa.types
        compute: Any = need("pyarrow.compute", "arrow", "")
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if types.is_dictionary(field.type) and not types.is_dictionary(array.type):
            array = array.dictionary_encode()
        if types.is_dictionary(array.type):
            if types.is_dictionary(field.type):
                return self._coded(array, field)
            array = array.dictionary_decode()
        if types.is_run_end_encoded(array.type):
            array = compute.run_end_decode(array)
        if self.how.get(field.name) == "json":
            found = [None if v is None else _json(v) for v in array.to_pylist()]
            return pa.array(found, field.type)
        if types.is_fixed_size_binary(array.type) and is_bytes(types, field.type):
            return array.cast(pa.binary()).cast(field.type)
        if has_inner_nulls(types, array):
            raise Widen(field.name, "bytes" if types.is_fixed_size_binary(array.type) else "json")
        if is_text(types, array.type) and is_bytes(types, field.type):
            array = array.cast(field.type)
        if is_view(array.type):
            array = _seen_lists(pa, compute, array)
        if is_list(types, field.type) or is_bytes(types, field.type):
            return array if array.type == field.type else array.cast(field.type)
        if types.is_time(array.type):
            width = pa.int32() if types.is_time32(array.type) else pa.int64()
            array = array.cast(width).cast(pa.int64())
        if types.is_timestamp(array.type) and array.type != field.type:
            array = array.cast(pa.int64())
        if array.type != field.type:
            array = array.cast(field.type, safe=not types.is_decimal(array.type))
        stay = field.name in self.nulls_stay
        if array.null_count and types.is_floating(field.type) and not stay:
            if not self.losses.get(field.name):
                self._lose(field.name, "arrow.nan")
            nan = pa.scalar(math.nan, pa.float64()).cast(field.type)
            array = array.fill_null(nan)
        return array

    def _coded(self, array: Any, field: Any) -> Any:
        """Return a dictionary array of the type of its field."""
        kind = field.type
        if self.pa.types.is_floating(kind.value_type):
            compute: Any = need("pyarrow.compute", "arrow", "")
            if compute.any(compute.is_nan(array.dictionary)).as_py():
                raise Widen(field.name, "values")
        if array.type == kind:
            return array
        return self.pa.DictionaryArray.from_arrays(
            array.indices, array.dictionary, ordered=kind.ordered
        )

    def _lose(self, name: str, code: str) -> None:
        codes = self.losses.setdefault(name, [])
        if code not in codes:
            codes.append(code)

    def note(self, job: Job, place: str) -> None:
        """Tell the report what changes."""
        for name, codes in self.losses.items():
            for code in codes:
                job.note(code, f"{place}.{name}")

    def facts(self) -> dict[str, Any]:
        """Return what the way back needs: for the attribute ``ARROW``."""
        if not self.losses and all(_is_usual(self.pa, field) for field in self.schema):
            return {}
        return {
            "schema": self.schema.serialize().to_pybytes(),
            "json": [name for name, how in self.how.items() if how == "json"],
            "nan": [name for name, codes in self.losses.items() if "arrow.nan" in codes],
        }


def _seen_lists(pa: Any, compute: Any, views: Any) -> Any:
    """Return views of lists as lists; the cast of pyarrow 26 gives empty ones wrong ends."""
    lengths = compute.fill_null(compute.list_value_length(views), 0).cast(pa.int64())
    ends = pa.concat_arrays([pa.array([0], pa.int64()), compute.cumulative_sum(lengths)])
    return pa.LargeListArray.from_arrays(ends, views.flatten(), mask=views.is_null())


def _is_usual(pa: Any, field: Any) -> bool:
    """Tell whether a column of a table goes out as the very field that it came from."""
    types, kind = pa.types, field.type
    if not field.nullable or field.metadata:
        return False
    if types.is_list(kind) or types.is_fixed_size_list(kind):
        item = kind.value_field  # whose name in Parquet is "element"
        return item.name in ("item", "element") and _is_usual(pa, item)
    if types.is_struct(kind):
        return all(_is_usual(pa, kind.field(at)) for at in range(kind.num_fields))
    if types.is_dictionary(kind):
        return kind.index_type == pa.int32() and _is_usual(pa, pa.field("", kind.value_type))
    return not isinstance(kind, pa.BaseExtensionType) and (
        types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
        or types.is_timestamp(kind) or types.is_duration(kind) or types.is_date32(kind)
        or kind in (pa.string(), pa.binary())
    )  # fmt: skip


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    return value.hex() if isinstance(value, bytes) else str(value)
