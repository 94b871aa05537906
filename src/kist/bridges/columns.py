"""Arrow's columns as those of tables: what a table cannot hold becomes what it can, by name.

Whether a column has nulls may come out in its last block: integers and booleans become nullable
where they stand. For what takes another type `Widen` is raised, and the caller begins again with
it; nothing is left of the first try.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

import kist
from kist.bridges.base import BLOCK_ROWS, Job
from kist.bridges.plain import from_json, to_json
from kist.bridges.report import Loss
from kist.extras import need

__all__ = ["LOSSES", "Columns", "Widen", "outgoing", "read_table"]

LOSSES: Final = {
    "arrow.nan": Loss("changed", "nulls among floats", "NaN"),
    "arrow.categories": Loss("changed", "categories (dictionary)", "their values"),
    "arrow.decimal": Loss("changed", "decimal numbers", "float64"),
    "arrow.time": Loss("changed", "times of day", "durations since midnight"),
    "arrow.nested": Loss("changed", "lists, maps and nested values", "JSON text"),
    "arrow.bytes": Loss("changed", "bytes of any length", "bytes as wide as the longest (S)"),
    "arrow.zone": Loss(
        "changed", "time zone, in a table with bytes or with chosen dtypes", "times in UTC"
    ),
    "arrow.null_bytes": Loss("changed", "nulls among bytes", "empty bytes; S wide as the longest"),
    "arrow.untyped": Loss("changed", "column of nothing but nulls", "text, all missing"),
    "arrow.extension": Loss("changed", "extension type", "the type that it is stored as"),
    "arrow.dtype": Loss("not kept", "column of a dtype that Arrow lacks", "nothing"),
}
"""What the bridges that go through Arrow may note."""

_NOTE: Final = "ARROW"


class Widen(Exception):
    """A column needs a wider type than its beginning showed."""

    def __init__(self, name: str, how: str) -> None:
        super().__init__(name)
        self.name, self.how = name, how


class Columns:
    """The columns of an Arrow schema on their way into a table.

    Parameters
    ----------
    schema : pyarrow.Schema
    how : dict of str to str
        Column -> ``"json"``, where that is known; grows.
    """

    def __init__(self, pa: Any, schema: Any, how: dict[str, str]) -> None:
        self.pa = pa
        self.schema = schema
        self.how = how
        self.losses: dict[str, str] = {}
        self.fields = [self._field(field) for field in schema]

    def _field(self, field: Any) -> Any:
        """Return the field of what is stored, noting what changes."""
        pa, types = self.pa, self.pa.types
        kind, name = field.type, field.name
        if isinstance(kind, pa.BaseExtensionType):
            self.losses[name] = "arrow.extension"
            kind = kind.storage_type
        if types.is_dictionary(kind):
            self.losses[name] = "arrow.categories"
            kind = kind.value_type
        if types.is_run_end_encoded(kind):
            kind = kind.value_type
        how = self.how.get(name)
        if how == "json" or not _is_flat(pa, kind):
            self.how[name] = "json"
            self.losses[name] = "arrow.nested"
            kind = pa.large_string()
        elif types.is_decimal(kind):
            self.losses[name] = "arrow.decimal"
            kind = pa.float64()
        elif types.is_time(kind):
            self.losses[name] = "arrow.time"
            kind = pa.duration(kind.unit)
        elif types.is_null(kind):
            self.losses[name] = "arrow.untyped"
            kind = pa.large_string()
        elif types.is_binary(kind) or types.is_large_binary(kind) or str(kind) == "binary_view":
            self.losses[name] = "arrow.bytes"
            kind = pa.large_binary()
        return pa.field(name, kind)

    def drop_zones(self) -> None:
        """Store times in UTC: the table is not made from Arrow's schema, which tells of zones."""
        for at, field in enumerate(self.fields):
            if getattr(field.type, "tz", None):
                self.fields[at] = field.with_type(self.pa.timestamp(field.type.unit))
                self.losses[field.name] = "arrow.zone"

    def convert(self, batch: Any) -> Any:
        """Return a batch of the fields.

        Raises
        ------
        Widen
            A column does not fit its field.
        """
        arrays = [
            self._values(array, field)
            for array, field in zip(batch.columns, self.fields, strict=True)
        ]
        return self.pa.record_batch(arrays, schema=self.pa.schema(self.fields))

    def _values(self, array: Any, field: Any) -> Any:
        pa, types = self.pa, self.pa.types
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if types.is_run_end_encoded(array.type):
            array = need("pyarrow.compute", "arrow", "").run_end_decode(array)
        if self.how.get(field.name) == "json":
            found = [None if v is None else _json(v) for v in array.to_pylist()]
            return pa.array(found, field.type)
        if types.is_time(array.type):
            width = pa.int32() if types.is_time32(array.type) else pa.int64()
            array = array.cast(width).cast(pa.int64())
        if types.is_timestamp(array.type) and array.type != field.type:
            array = array.cast(pa.int64())
        if array.type != field.type:
            array = array.cast(field.type, safe=not types.is_decimal(array.type))
        if array.null_count:
            if types.is_floating(field.type):
                self.losses.setdefault(field.name, "arrow.nan")
                nan = pa.scalar(math.nan, pa.float64()).cast(field.type)
                array = array.fill_null(nan)
            if types.is_large_binary(field.type):
                self.losses[field.name] = "arrow.null_bytes"
                array = array.fill_null(b"")
        if _has_inner_nulls(types, array):
            raise Widen(field.name, "json")
        return array

    def note(self, job: Job, place: str) -> None:
        """Tell the report what changes."""
        for name, code in self.losses.items():
            job.note(code, f"{place}.{name}")

    def facts(self) -> dict[str, Any]:
        """Return what the way back needs: for the attribute ``ARROW``."""
        return {
            "schema": self.schema.serialize().to_pybytes(),
            "json": [name for name, how in self.how.items() if how == "json"],
            "nan": [name for name, code in self.losses.items() if code == "arrow.nan"],
        }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_flat(pa: Any, kind: Any) -> bool:
    """Tell whether a column of a table can hold the type, or one of those that stand for it."""
    types = pa.types
    if types.is_fixed_size_list(kind):
        return _is_number(types, kind.value_type) or (
            types.is_fixed_size_list(kind.value_type) and _is_flat(pa, kind.value_type)
        )
    if types.is_struct(kind):
        fields = [kind.field(at) for at in range(kind.num_fields)]
        names = {field.name for field in fields}
        return 0 < len(names) == len(fields) and all(_is_number(types, f.type) for f in fields)
    return not (types.is_nested(kind) or types.is_union(kind) or types.is_interval(kind))


def _is_number(types: Any, kind: Any) -> bool:
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_timestamp(kind)
        or types.is_duration(kind)
    )


def _has_inner_nulls(types: Any, array: Any) -> bool:
    if types.is_struct(array.type):
        return bool(array.null_count) or any(
            part.null_count or _has_inner_nulls(types, part) for part in array.flatten()
        )
    if types.is_fixed_size_list(array.type):
        return bool(array.null_count or array.flatten().null_count)
    return bool(types.is_fixed_size_binary(array.type) and array.null_count)


# Into a store


def read_table(
    job: Job,
    place: str,
    path: str,
    open_batches: Callable[[], tuple[Any, Iterable[Any]]],
    *,
    how: dict[str, str] | None = None,
    widths: Callable[[str], int] | None = None,
    dtypes: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
    keep_schema: bool = True,
    widen: Callable[[Exception], bool] | None = None,
) -> None:
    """Read record batches into a table, again with wider types where those of the first are narrow.

    Parameters
    ----------
    place, path : str
        Of the source for notes, and of the table.
    open_batches : callable
        Returns (schema, batches), from the beginning each time.
    how : dict, optional
        What is known of columns before they are read.
    widths : callable, optional
        Returns the most bytes of a value of a column of bytes.
    dtypes : mapping, optional
        Column -> dtype that the caller wants.
    keep_schema : bool
        Whether the schema is kept for the way back.
    widen : callable, optional
        Is given an error of the library; true when it made ready for another try.
    """
    pa = need("pyarrow", "arrow", f"convert {place}")
    known: dict[str, str] = job.steps.memory.setdefault("how", dict(how or {}))
    while True:
        try:
            with job.steps.attempt(path):
                _fill(job, pa, place, path, open_batches, known, widths, dtypes, attrs, keep_schema)
            return
        except Widen as found:
            if known.get(found.name) == found.how:
                raise kist.DTypeError(
                    f"{place}: column {found.name!r} cannot be kept as {found.how}"
                ) from found
            known[found.name] = found.how
        except pa.ArrowInvalid as error:
            if widen is None or not widen(error):
                raise
        job.report.n_tables, job.report.n_rows, job.report.nbytes = 0, 0, 0


def _fill(
    job: Job,
    pa: Any,
    place: str,
    path: str,
    open_batches: Callable[[], tuple[Any, Iterable[Any]]],
    known: dict[str, str],
    widths: Callable[[str], int] | None,
    dtypes: Mapping[str, Any] | None,
    attrs: Mapping[str, Any] | None,
    keep_schema: bool,
) -> None:
    schema, batches = open_batches()
    columns = Columns(pa, schema, known)
    stored = pa.schema(columns.fields)
    own = {**_own_attributes(schema), **(attrs or {})}
    by_column = own.pop("columns", {})
    unknown = set(dtypes or ()) - set(stored.names)
    if unknown:
        raise kist.ColumnNotFoundError(f"{place}: there is no column {min(unknown)!r}")
    fields = _fields(pa, stored, widths, dtypes)
    if fields is not None:
        columns.drop_zones()
    blocks = (columns.convert(batch) for batch in _cut(batches))
    table = job.table(
        path,
        fields,
        blocks,
        like=None if fields else stored.empty_table(),
        nullable=lambda batch: _with_nulls(pa, batch),
    )
    columns.note(job, place)
    if keep_schema and columns.losses:
        own[_NOTE] = columns.facts()
    if own:
        table.attrs.update(own)
    for name, values in by_column.items():
        if name in table.columns:
            table[name].attrs.update(values)


def _with_nulls(pa: Any, batch: Any) -> list[str]:
    """Return the columns of integers and booleans that have nulls in a batch."""
    types = pa.types
    return [
        field.name
        for array, field in zip(batch.columns, batch.schema, strict=True)
        if array.null_count and (types.is_integer(field.type) or types.is_boolean(field.type))
    ]


def _cut(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield batches of whole row groups at most."""
    for batch in batches:
        for start in range(0, batch.num_rows, 2 * BLOCK_ROWS):
            yield batch.slice(start, 2 * BLOCK_ROWS)


def _fields(
    pa: Any, stored: Any, widths: Callable[[str], int] | None, dtypes: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Return the dtypes of a table with columns that Arrow's schema alone does not describe."""
    fixed = {name: np.dtype(dtype) for name, dtype in (dtypes or {}).items()}
    for field in stored:
        if pa.types.is_large_binary(field.type) and field.name not in fixed:
            fixed[field.name] = np.dtype(f"S{max(1, widths(field.name) if widths else 1)}")
    if not fixed:
        return None
    found: dict[str, Any] = {}
    with kist.open(":memory:") as probe:
        for field in stored:
            if field.name in fixed:
                found[field.name] = fixed[field.name]
                continue
            made = probe.create_table("t", pa.schema([field]).empty_table(), overwrite=True)
            column = made[field.name]
            shape = column.shape[1:]
            found[field.name] = np.dtype((column.dtype, shape)) if shape else column.dtype
    return found


def _own_attributes(schema: Any) -> dict[str, Any]:
    """Return attributes that kist wrote into the metadata of a schema."""
    text = (schema.metadata or {}).get(b"kist")
    if text is None:
        return {}
    found = from_json(text.decode())
    return dict(found) if isinstance(found, dict) else {}


# Out of a store


def outgoing(job: Job, pa: Any, table: Any) -> tuple[Any, Iterator[Any]]:
    """Return the schema and the record batches of a table; types that it had before come back."""
    names = [name for name in table.columns if _has_arrow_type(table[name])]
    for name in table.columns:
        if name not in names:
            job.note("arrow.dtype", f"{table.name}.{name}")
    reader = pa.RecordBatchReader.from_stream(table if len(names) == len(table.columns)
                                              else table[names])  # fmt: skip
    facts = table.attrs.get(_NOTE)
    before, as_json, as_nan = {}, set(), set()
    if isinstance(facts, dict) and isinstance(facts.get("schema"), bytes):
        before = {f.name: f for f in pa.ipc.read_schema(pa.py_buffer(facts["schema"]))}
        as_json, as_nan = set(facts.get("json", ())), set(facts.get("nan", ()))
    fields = [before.get(field.name, field) for field in reader.schema]
    own = {name: value for name, value in table.attrs.items() if name != _NOTE}
    by_column = {name: dict(table[name].attrs) for name in names}
    if any(by_column.values()):
        own["columns"] = {name: found for name, found in by_column.items() if found}
    schema = pa.schema(fields, {"kist": to_json(own)} if own else None)

    def batches() -> Iterator[Any]:
        for batch in reader:
            arrays = [
                _restored(pa, array, field, field.name in as_json, field.name in as_nan)
                for array, field in zip(batch.columns, fields, strict=True)
            ]
            yield pa.record_batch(arrays, schema=schema)
            job.report.n_rows += batch.num_rows
            job.advance(batch.nbytes)
        job.report.n_tables += 1

    return schema, batches()


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


def _restored(pa: Any, array: Any, field: Any, as_json: bool, as_nan: bool) -> Any:
    """Return values of a column in the type that it had before it came into the store."""
    kind = field.type
    if array.type == kind and not as_nan:
        return array
    if as_json:
        return pa.array([None if t is None else json.loads(t) for t in array.to_pylist()], kind)
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, array.cast(kind.storage_type))
    compute: Any = need("pyarrow.compute", "arrow", "")
    if pa.types.is_floating(array.type):
        array = compute.if_else(compute.is_nan(array), pa.scalar(None, array.type), array)
    if pa.types.is_time(kind):
        array = array.cast(pa.int64())
        array = array.cast(pa.int32()) if pa.types.is_time32(kind) else array
    if pa.types.is_dictionary(kind):
        return array.cast(kind.value_type).dictionary_encode().cast(kind)
    if pa.types.is_null(kind):
        return pa.nulls(len(array))
    if pa.types.is_timestamp(kind):
        return array.cast(pa.int64()).cast(kind)
    return array.cast(kind)
