"""Text with one row a line: CSV, and JSON lines; plain or compressed, from and to pipes too."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final

import numpy as np

import kist
from kist.bridges.base import Bridge, Job
from kist.bridges.columns import LOSSES as ARROW_LOSSES
from kist.bridges.columns import Digits
from kist.bridges.columns_in import read_table
from kist.bridges.columns_out import outgoing
from kist.bridges.compressed import open_plain, plain_sink, readable
from kist.bridges.csv_pieces import batches_of
from kist.bridges.nulls import value_of
from kist.bridges.report import Loss
from kist.bridges.text_values import MISSING, Missing, needs_text, with_all_digits
from kist.errors import ConversionError
from kist.extras import need

__all__ = ["Csv", "JsonLines"]

LOSSES: Final = {
    **ARROW_LOSSES,
    "text.attributes": Loss("not kept", "attributes", "nothing"),
    "text.empty": Loss(
        "changed", "text that CSV has no other word for (empty, NA, null, ...)", "missing text"
    ),
    "text.nan": Loss("changed", "NaN in a column with nulls", "null"),
    "text.no_rows": Loss("not kept", "columns of a table without rows, in JSON lines", "nothing"),
    "text.as_text": Loss("changed", "value that the format has no word for", "text"),
}

_BLOCK: Final = 8 << 20
"""Bytes of text that are parsed at once; the first so many decide the types of columns."""
_LINES: Final = 16_384
_ASCII: Final = ("utf8", "ascii", "usascii")
_WIDER: Final = {"int64": "double"}
_COLUMN: Final = re.compile(r"In CSV column #(\d+): CSV conversion error to ([\w\[\]]+): (.*)")


class Csv(Bridge):
    """CSV, compressed too. Options: ``delimiter``, ``dtypes``, ``header``, ``names``,
    ``null_values``, ``encoding``, ``block_size``."""

    name: ClassVar[str] = "csv"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    through_pipes: ClassVar[bool] = True

    def read(self, job: Job, source: str) -> None:
        pa = need("pyarrow", "arrow", f"convert {source}")
        csv: Any = need("pyarrow.csv", "arrow", f"convert {source}")
        dtypes = job.option("dtypes") or {}
        header, names = job.option("header", True), job.option("names")
        delimiter = job.option("delimiter", "\t" if ".tsv" in source.lower() else ",")
        encoding = job.option("encoding", "utf8")
        missing = job.option("null_values", list(MISSING))
        wider: dict[str, str] = job.steps.memory.setdefault("wider", {})
        settled: list[str] = job.steps.memory.setdefault("settled", list(dtypes))
        types: dict[str, Any] = {
            **{name: pa.type_for_alias(found) for name, found in wider.items()},
            **{name: pa.large_string() for name, dtype in dtypes.items() if _is_text(dtype)},
        }
        size = job.option("block_size", _BLOCK)
        parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        seen: list[str] = []

        with job.reading(source), readable(source) as file:

            def opened(types: Any = types) -> tuple[Any, Iterable[Any]]:
                stream = open_plain(pa, file, job if source != "-" else None)
                convert = csv.ConvertOptions(
                    column_types=types, null_values=missing, strings_can_be_null=True
                )
                generate = names is None and not header
                if encoding.lower().replace("-", "") in _ASCII:
                    # Tables look at text themselves. What they refuse is read once more, to say
                    # in which column and row it is.
                    schema, batches = batches_of(
                        pa, csv, stream, size, names, generate, parse, convert,
                        check_utf8=bool(seen or dtypes),
                    )  # fmt: skip
                else:
                    options = csv.ReadOptions(
                        block_size=size, column_names=names, encoding=encoding,
                        autogenerate_column_names=generate,
                    )  # fmt: skip
                    batches = csv.open_csv(stream, options, parse, convert)
                    schema = batches.schema
                seen[:] = schema.names
                return schema, with_all_digits(pa, _checked(batches, schema), settled)

            def widen(error: Exception) -> bool:
                if isinstance(error, Digits):
                    wider[error.name], types[error.name] = "uint64", pa.uint64()
                    return True
                found = _COLUMN.search(str(error))
                if found is None:
                    return False
                name = seen[int(found[1])] if seen else None
                if name is None or types.get(name) == pa.large_string():
                    return False
                wider[name] = _WIDER.get(found[2], "large_string")
                if found[2] == "uint64":  # which was tried in place of double
                    settled.append(name)
                    _, batches = opened(dict.fromkeys(seen, pa.large_string()))
                    wider[name] = "large_string" if needs_text(batches, name) else "double"
                types[name] = pa.type_for_alias(wider[name])
                return True

            try:
                _fill(job, source, opened, dtypes, widen)
            except pa.ArrowInvalid as error:
                found = _COLUMN.search(str(error))
                if found is None:
                    raise
                at = int(found[1])
                name = repr(seen[at]) if seen else at + 1
                hint = "; encoding= names another, such as 'latin1'" if "UTF8" in found[3] else ""
                raise ValueError(f"column {name}: {found[3]}{hint}") from error

    def write(self, job: Job, node: Any, target: str) -> None:
        pa = need("pyarrow", "arrow", f"convert {node.name}")
        csv: Any = need("pyarrow.csv", "arrow", f"convert {node.name}")
        schema, batches = _rows_of(job, pa, node)
        flat = pa.schema([_printed(job, pa, node, field) for field in schema])
        options = csv.WriteOptions(delimiter=job.option("delimiter", _delimiter(job)))
        missing = Missing(job, pa, node)
        with (
            job.writing(),
            plain_sink(pa, target, job.report.target) as file,
            csv.CSVWriter(file, flat, write_options=options) as writer,
        ):
            for batch in batches:
                columns = [
                    _as_text(pa, array) if field.type != array.type else array
                    for array, field in zip(batch.columns, flat, strict=True)
                ]
                missing.look(flat.names, columns)
                writer.write_batch(pa.record_batch(columns, schema=flat))


class JsonLines(Bridge):
    """JSON lines, compressed too. Option: ``dtypes``."""

    name: ClassVar[str] = "jsonl"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    through_pipes: ClassVar[bool] = True

    def read(self, job: Job, source: str) -> None:
        pa = need("pyarrow", "arrow", f"convert {source}")
        dtypes = job.option("dtypes") or {}
        with job.reading(source), readable(source) as file:
            how: dict[str, str] = {}
            schema = _schema_of(pa, file, source, how)

            def batches() -> Iterator[Any]:
                for rows in _objects(pa, file, job if source != "-" else None):
                    yield pa.record_batch(
                        [_column(pa, rows, field, how) for field in schema], schema=schema
                    )

            _fill(job, source, lambda: (schema, batches()), dtypes, None)

    def write(self, job: Job, node: Any, target: str) -> None:
        pa = need("pyarrow", "arrow", f"convert {node.name}")
        schema, batches = _rows_of(job, pa, node)
        if not len(node):
            job.note("text.no_rows", node.name)
        missing = Missing(job, pa, node)
        for field in schema:
            if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
                job.note("text.as_text", f"{node.name}.{field.name}")
        encode = json.JSONEncoder(ensure_ascii=False, default=_json_value).encode
        with job.writing(), plain_sink(pa, target, job.report.target) as file:
            for batch in batches:
                missing.look_at_numbers(schema.names, batch.columns)
                columns = [_json_column(pa, array) for array in batch.columns]
                rows = (dict(zip(schema.names, row, strict=True)) for row in zip(*columns))  # noqa: B905
                text = "\n".join(map(encode, rows))
                if text:
                    file.write(text.encode() + b"\n")


# Shared by both


def _fill(job: Job, source: str, opened: Any, dtypes: Mapping[str, Any], widen: Any) -> None:
    read_table(
        job, source, job.base, opened, dtypes=dtypes, widen=widen, keep_schema=False,
    )  # fmt: skip


def _rows_of(job: Job, pa: Any, node: Any) -> tuple[Any, Iterator[Any]]:
    if node.kind != "table":
        raise ConversionError(
            f"{node.name!r} ({node.kind}): {job.bridge.name} files hold one table each"
        )
    if len(node.attrs) or any(len(node[name].attrs) for name in node.columns):
        job.note("text.attributes", node.name)
    return outgoing(job, pa, node)


def _is_text(dtype: Any) -> bool:
    """Tell whether values of a dtype are text, those of categories too."""
    with kist.open(":memory:") as probe:
        column = probe.create_table("t", dtype={"c": np.dtype(dtype)})["c"]
        return value_of(column.dtype).kind in "SUT" or column.dtype == kist.ragged(bytes)


# CSV


def _checked(batches: Iterable[Any], schema: Any) -> Iterator[Any]:
    for name in schema.names:
        if schema.names.count(name) > 1:
            raise ConversionError(f"two columns are called {name!r}; give names=")
    yield from batches


def _delimiter(job: Job) -> str:
    return "\t" if ".tsv" in job.report.target.lower() else ","


def _printed(job: Job, pa: Any, node: Any, field: Any) -> Any:
    """Return the field of what is printed: text for what CSV has no word for."""
    types, kind = pa.types, field.type
    plain = (
        types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
        or types.is_string(kind) or types.is_large_string(kind) or types.is_timestamp(kind)
        or types.is_date(kind) or types.is_time(kind) or types.is_decimal(kind)
    )  # fmt: skip
    if plain and not types.is_float16(kind):
        return field
    if types.is_dictionary(kind):
        return pa.field(field.name, kind.value_type)
    if not types.is_float16(kind):
        job.note("text.as_text", f"{node.name}.{field.name}")
    return pa.field(field.name, pa.large_string())


def _as_text(pa: Any, array: Any) -> Any:
    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode()
    found = [
        None if v is None else v if isinstance(v, str) else _text(v) for v in array.to_pylist()
    ]
    return pa.array(found, pa.large_string())


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=_json_value)
    return str(value)


# JSON lines


def _objects(pa: Any, file: str, job: Any = None) -> Iterator[list[dict[str, Any]]]:
    """Yield the objects of some thousand lines at a time, parsed with one call."""
    done = 0
    with _text_lines(open_plain(pa, file, job)) as lines:
        while some := _some_lines(lines):
            full = [line for line in some if not line.isspace()]
            try:
                rows = json.loads("[" + ",".join(full) + "]")
            except json.JSONDecodeError:
                at = next(k for k, line in enumerate(some) if not _is_json(line))
                raise ValueError(f"line {done + at + 1} is no JSON: {some[at][:60]!r}") from None
            if len(rows) != len(full) or any(type(row) is not dict for row in rows):
                raise ValueError(f"lines {done + 1} to {done + len(some)}: a line is no object")
            done += len(some)
            yield rows


@contextlib.contextmanager
def _text_lines(stream: Any) -> Iterator[Iterator[str]]:
    import io

    with io.TextIOWrapper(io.BufferedReader(stream, 1 << 20), encoding="utf-8") as text:
        yield iter(text)


def _some_lines(lines: Iterator[str]) -> list[str]:
    """Return the next lines: so many, or so many bytes."""
    found, size = [], 0
    for line in itertools.islice(lines, _LINES):
        found.append(line)
        size += len(line)
        if size >= _BLOCK:
            break
    return found


def _is_json(line: str) -> bool:
    try:
        json.loads(line or "0") if not line.isspace() else None
    except json.JSONDecodeError:
        return False
    return True


def _schema_of(pa: Any, file: str, source: str, how: dict[str, str]) -> Any:
    """Return the schema that fits all lines; columns of several kinds become JSON text."""
    found: dict[str, Any] = {}
    for rows in _objects(pa, file):
        for name in dict.fromkeys(key for row in rows for key in row):
            if how.get(name) == "json":
                continue
            try:
                kind = _kind_of(pa, [row.get(name) for row in rows])
                before = pa.schema([(name, found.get(name, kind))])
                both = [before, pa.schema([(name, kind)])]
                found[name] = pa.unify_schemas(both, promote_options="permissive").field(0).type
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                how[name] = "json"
                found[name] = pa.large_string()
    if not found:
        raise ConversionError(f"{source}: there are no objects in it")
    return pa.schema(list(found.items()))


def _kind_of(pa: Any, values: list[Any]) -> Any:
    """Return the type of values; integers of 64 bits without a sign are not what Arrow tries."""
    try:
        return pa.array(values).type
    except OverflowError as error:
        if all(type(v) is int and 0 <= v < 2**64 for v in values if v is not None):
            return pa.uint64()
        raise pa.ArrowInvalid(str(error)) from error


def _column(pa: Any, rows: list[dict[str, Any]], field: Any, how: dict[str, str]) -> Any:
    values = [row.get(field.name) for row in rows]
    if how.get(field.name) == "json":
        values = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values]
    return pa.array(values, field.type)


def _json_column(pa: Any, array: Any) -> list[Any]:
    """Return values of a column as JSON has them: no NaN, no infinity, times as text."""
    types, kind = pa.types, array.type
    if types.is_floating(kind):
        values = array.to_pylist()
        return [v if v is None or math.isfinite(v) else _not_finite(v) for v in values]
    if types.is_temporal(kind) and not types.is_duration(kind):
        return list(array.cast(pa.large_string()).to_pylist())
    if types.is_duration(kind):
        return list(array.cast(pa.int64()).to_pylist())
    return list(array.to_pylist())


def _not_finite(value: float) -> str | None:
    return None if value != value else "Infinity" if value > 0 else "-Infinity"


def _json_value(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
