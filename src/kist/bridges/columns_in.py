"""Arrow's record batches into a table: with the types that all of their values fit."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

import kist
from kist.bridges.arrow_kinds import is_bytes, is_list
from kist.bridges.base import BLOCK_ROWS, PART_BYTES, TEXT, Job
from kist.bridges.categories import enum_dtype
from kist.bridges.columns import NOTE, Columns, Digits, Widen
from kist.bridges.columns_dtypes import dtypes_again
from kist.bridges.nulls import is_nullable
from kist.bridges.plain import from_json
from kist.errors import KistError
from kist.extras import need

__all__ = ["own_attributes", "read_table", "whole_groups"]

_GROUPS_BYTES = 2 * PART_BYTES


def read_table(
    job: Job,
    place: str,
    path: str,
    open_batches: Callable[[], tuple[Any, Iterable[Any]]],
    *,
    how: dict[str, str] | None = None,
    alone: Callable[[str], Iterable[Any]] | None = None,
    dtypes: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
    keep_schema: bool = True,
    widen: Callable[[Exception], bool] | None = None,
    facts: Mapping[str, Any] | None = None,
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
    alone : callable, optional
        Returns batches of one column, for those whose categories have an order.
    dtypes : mapping, optional
        Column -> dtype that the caller wants.
    keep_schema : bool
        Whether the schema is kept for the way back.
    widen : callable, optional
        Is given an error of the library; true when it made ready for another try.
    facts : mapping, optional
        What kist wrote beside the data, where it does not stand in the metadata of the schema.
    """
    pa = need("pyarrow", "arrow", f"convert {place}")
    # Of this table: a source may have several, with columns of the same names.
    known: dict[str, str] = job.steps.memory.setdefault(f"how {path}", dict(how or {}))
    before = job.report.n_tables, job.report.n_rows, job.report.nbytes
    changed: list[str] = job.steps.memory.setdefault("changed by others", [])
    while True:
        try:
            with job.steps.attempt(path):
                _fill(
                    job, pa, place, path, open_batches, known, alone, dtypes, attrs, keep_schema,
                    facts, path not in changed,
                )  # fmt: skip
            return
        except Widen as found:
            if known.get(found.name) in (found.how, "json"):
                raise kist.DTypeError(
                    f"{place}: column {found.name!r} cannot be kept as {found.how}"
                ) from found
            known[found.name] = found.how
        except (pa.ArrowInvalid, Digits) as error:
            if widen is None or not widen(error):
                raise
        except kist.DTypeError:
            # Perhaps nothing but damage: of what a library hands on unseen, this says so.
            for batch in open_batches()[1]:
                batch.validate(full=True)
            if path in changed:
                raise
            changed.append(path)  # what it had when kist wrote it does not hold it any more
        job.report.n_tables, job.report.n_rows, job.report.nbytes = before


def _fill(
    job: Job,
    pa: Any,
    place: str,
    path: str,
    open_batches: Callable[[], tuple[Any, Iterable[Any]]],
    known: dict[str, str],
    alone: Callable[[str], Iterable[Any]] | None,
    dtypes: Mapping[str, Any] | None,
    attrs: Mapping[str, Any] | None,
    keep_schema: bool,
    facts: Mapping[str, Any] | None,
    as_before: bool,
) -> None:
    schema, batches = open_batches()
    own, known_of = own_attributes(schema)
    own |= attrs or {}
    known_of |= facts or {}
    by_column, enums = known_of.get("columns", {}), known_of.get("enums", {})
    again = {
        name: dtype
        for name, dtype in dtypes_again(known_of.get("dtypes"), schema).items()
        if as_before and name not in (dtypes or ())
    }
    columns = Columns(pa, schema, known, _lists(known_of.get("lists")))
    columns.nulls_stay = {name for name, dtype in again.items() if is_nullable(dtype)}
    unknown = set(dtypes or ()) - set(schema.names)
    if unknown:
        raise kist.ColumnNotFoundError(f"{place}: there is no column {min(unknown)!r}")
    if dtypes:
        columns.drop_zones()
        columns.take_bytes({n for n, dtype in dtypes.items() if np.dtype(dtype) == "S"})
    blocks = (columns.convert(batch) for batch in whole_groups(pa, batches))
    first = next(blocks, None)
    like = _empty(pa, columns, first, alone)

    def prepare(made: Any) -> None:
        _restore_enums(pa, made, like.schema, enums)
        for name, dtype in again.items():
            made.cast_column(name, dtype)

    table = job.table(
        path,
        _chosen(pa, like, dtypes) if dtypes else None,
        blocks if first is None else itertools.chain((first,), blocks),
        like=None if dtypes else pa.RecordBatchReader.from_batches(like.schema, [like]),
        nullable=lambda batch: _with_nulls(pa, batch, dtypes or {}),
        prepare=prepare,
    )
    columns.note(job, place)
    if keep_schema:
        arrow = columns.facts() | _metadata(schema)
        own |= {NOTE: arrow} if arrow else {}
    if own:
        table.attrs.update(own)
    for name, values in by_column.items():
        if name in table.columns:
            table[name].attrs.update(values)


def _metadata(schema: Any) -> dict[str, Any]:
    """Return what others wrote into the metadata of a schema, as pandas of its index."""
    found = dict(schema.metadata or {})
    found.pop(b"kist", None)
    return {"metadata": [list(pair) for pair in found.items()]} if found else {}


def _with_nulls(pa: Any, batch: Any, dtypes: Mapping[str, Any]) -> list[str]:
    """Return the columns with nulls in a batch that need a nullable column for them."""
    types = pa.types
    kinds = (types.is_integer, types.is_boolean, partial(is_list, types), partial(is_bytes, types))
    return [
        field.name
        for array, field in zip(batch.columns, batch.schema, strict=True)
        if array.null_count
        and any(check(field.type) for check in kinds)
        and (
            np.dtype(dtypes.get(field.name, "i8")).kind in "iub"
            or np.dtype(dtypes[field.name]) == "S"
        )
    ]


def whole_groups(pa: Any, batches: Iterable[Any]) -> Iterator[Any]:
    """Yield batches of whole row groups, fewer rows where those have many bytes."""
    waiting: list[Any] = []
    n_rows = n_bytes = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            room = max(1, (_GROUPS_BYTES - n_bytes) * batch.num_rows // max(1, batch.nbytes))
            part = batch.slice(start, min(2 * BLOCK_ROWS - n_rows, room))
            start += part.num_rows
            waiting.append(part)
            n_rows, n_bytes = n_rows + part.num_rows, n_bytes + part.nbytes
            # Dictionaries may differ from batch to batch: these are not joined.
            if n_rows >= 2 * BLOCK_ROWS or n_bytes >= _GROUPS_BYTES or _has_dictionary(pa, part):
                yield _joined(pa, waiting)
                waiting, n_rows, n_bytes = [], 0, 0
    if waiting:
        yield _joined(pa, waiting)


def _joined(pa: Any, batches: list[Any]) -> Any:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _has_dictionary(pa: Any, batch: Any) -> bool:
    return any("dictionary<" in str(kind) for kind in batch.schema.types)


def _empty(pa: Any, columns: Columns, first: Any, alone: Any) -> Any:
    """Return a batch without rows that has the categories of the first one.

    Ordered categories must all be known before the first row: a place among them is not given
    later.
    """
    arrays = []
    for at, field in enumerate(columns.fields):
        kind = field.type
        array = _nothing(pa, kind) if first is None else first.column(at).slice(0, 0)
        if pa.types.is_dictionary(kind) and field.name in columns.coded:
            values = columns.coded[field.name][0]
            text = values.dtype.char == "T"
            values = values.tolist() if text else values.astype(values.dtype.newbyteorder("="))
            array = _nothing(pa, kind, pa.array(values).cast(kind.value_type))
        elif pa.types.is_dictionary(kind) and kind.ordered and first is not None:
            batches = [first.select([at])] if alone is None else alone(field.name)
            listed = _in_order(pa, kind.value_type, (batch.column(0) for batch in batches))
            if listed is None:
                raise Widen(field.name, "unordered")
            array = _nothing(pa, kind, listed)
        arrays.append(array)
    return pa.record_batch(arrays, schema=pa.schema(columns.fields))


def _nothing(pa: Any, kind: Any, listed: Any = None) -> Any:
    """Return an array without values; of a dictionary one with these categories."""
    if not pa.types.is_dictionary(kind):
        return pa.array([], kind)
    listed = pa.array([], kind.value_type) if listed is None else listed
    places = pa.array([], kind.index_type)
    return pa.DictionaryArray.from_arrays(places, listed, ordered=kind.ordered)


def _in_order(pa: Any, kind: Any, arrays: Iterable[Any]) -> Any:
    """Return the categories of several dictionaries in the order of all; None if there is none."""
    known: dict[Any, None] = {}
    last = None
    for array in arrays:
        dictionary = array.dictionary
        if last is not None and (dictionary is last or dictionary.equals(last)):
            continue
        last = dictionary
        listed = [value for value in dictionary.to_pylist() if value is not None]
        known.update(dict.fromkeys(listed))
        place = {value: at for at, value in enumerate(known)}
        places = [place[value] for value in listed]
        if places != sorted(places):
            return None
    return pa.array(list(known), kind)


def _chosen(pa: Any, like: Any, dtypes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dtypes of all columns, where the caller chose those of some."""
    found: dict[str, Any] = {}
    with kist.open(":memory:") as probe:
        for array, field in zip(like.columns, like.schema, strict=True):
            if field.name in dtypes:
                wanted = np.dtype(dtypes[field.name])
                # Text and bytes without a width are as long as they are.
                loose = {"U": TEXT, "S": kist.ragged(bytes)} if not wanted.itemsize else {}
                found[field.name] = loose.get(wanted.kind, wanted)
                continue
            batch = pa.record_batch([array], schema=pa.schema([field]))
            empty = pa.RecordBatchReader.from_batches(batch.schema, [batch])
            column = probe.create_table("t", empty, overwrite=True)[field.name]
            dtype = column.dtype
            if pa.types.is_dictionary(field.type):
                base = str if dtype.char == "T" else dtype["value"]
                listed = column.categories
                dtype = kist.categorical(base, listed, ordered=field.type.ordered)
            shape = column.shape[1:]
            found[field.name] = np.dtype((dtype, shape)) if shape else dtype
    return found


def _lists(entries: Any) -> dict[str, tuple[Any, bool]]:
    """Return (categories, ordered) of columns of which a file tells; it may tell anything."""
    found = {}
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        with contextlib.suppress(KistError, TypeError, KeyError, AttributeError):
            values, ordered = entry["values"], bool(entry["ordered"])
            kist.categorical(str if values.dtype.char == "T" else values.dtype, values)
            found[name] = values, ordered
    return found


def _restore_enums(pa: Any, table: Any, schema: Any, enums: Any) -> None:
    """Make enumerations of categories that were such when kist wrote them."""
    for field in schema:
        if pa.types.is_dictionary(field.type) and field.name in enums:
            dtype = enum_dtype(enums[field.name], ordered=field.type.ordered)
            listed = table[field.name].categories.tolist()
            if dtype is not None and set(listed) <= set(enums[field.name]):
                table.cast_column(field.name, dtype)


def own_attributes(schema: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return attributes that kist wrote into the metadata of a schema, and what else it knew."""
    text = (schema.metadata or {}).get(b"kist")
    if text is None:
        return {}, {}
    found = from_json(text.decode())
    own = dict(found) if isinstance(found, dict) else {}
    facts = own.pop("KIST", None)
    if not isinstance(facts, dict):  # of a file that an earlier kist wrote
        facts = {what: own.pop(what) for what in ("columns", "enums", "lists") if what in own}
    return own, {what: found for what, found in facts.items() if isinstance(found, dict)}
