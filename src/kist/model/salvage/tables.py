"""Saving a table: row groups keep their place, and what is missing in them becomes zeros.

A row group whose record is there keeps all its rows, so that positions mean what they meant. Of
its pages, those that are whole are copied, and of others the sectors that are. Where it is not
known which of its rows were deleted, or which were given other values later, none of what its
pages hold can be shown in the table: they go to ``lost+found``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist._kernels.cells import Cells, empty_values
from kist.engine import Frame
from kist.engine.pages import read_page
from kist.errors import FormatError, SecretError, TooLargeError
from kist.format import keys
from kist.format.columns import ColumnSpec
from kist.format.index import IndexRecord, IndexState
from kist.format.layout import FRAME_ROWS, MAX_INLINE
from kist.format.schema import Leaf, Schema, layout_for
from kist.format.values import pack_record, unpack_record
from kist.model.salvage.rescue import NO_SCHEMA, Rescue, Writer
from kist.model.salvage.sealed import copy_lock, why_closed
from kist.model.salvage.sectors import read_whole_sectors
from kist.model.tables.changes.manifests import put_manifests
from kist.model.tables.changes.pages import Recipes, write_pages
from kist.model.tables.changes.write import put_schema
from kist.model.tables.indexes.keep import put_state, rebuild
from kist.model.tables.stored.categories import read_categories
from kist.model.tables.stored.computed import sealed_sources
from kist.model.tables.stored.records import (
    GROUP_RECORD_BYTES,
    INLINE,
    OUTSIDE,
    PAGES,
    PATCH_HEAD,
    TAIL_ROW,
    GroupRecord,
    Tail,
    new_stamp,
    pack_patch,
    unpack_dead,
    unpack_patch,
)
from kist.model.tables.stored.schema import facts_of, schema_from
from kist.model.tables.stored.sealing import (
    Sealing,
    check_promises,
    digest_of,
    pack_parts,
    unpack_parts,
)

if TYPE_CHECKING:
    from kist.model.group import Group
    from kist.model.tables.stored.rows import PackedRows

__all__ = ["rescue_table"]

Array = np.ndarray[Any, Any]

_MOST_BYTES: Final = 1 << 30  # of a page; no store that kist has written comes near


def rescue_table(rescue: Rescue, writer: Writer, node: int, path: str) -> str:
    """Copy what is whole of a table; returns why there is none, or nothing."""
    packed = rescue.payload(keys.schema(node))
    if packed is None:
        return NO_SCHEMA
    try:
        schema = schema_from(b"\0" + packed)
    except FormatError:
        return NO_SCHEMA
    kept = open_part(rescue, node, path, schema)
    if not kept.columns:
        return "has sealed columns only"
    _Table(rescue, writer, node, path, kept, schema).copy()
    return ""


def open_part(rescue: Rescue, node: int, path: str, schema: Schema) -> Schema:
    """Return the schema without those sealed columns that nobody could vouch for any more."""
    if rescue.view.reader.keyring is not None:
        check_promises(rescue.view, node, rescue.origin(node), schema)
    closed = set()
    sealing = Sealing(rescue.view, node, rescue.origin(node), schema, {})
    for field, columns in schema.sealed.items():
        try:
            sealing.keys(field)
        except (SecretError, FormatError) as error:
            why = why_closed(error)
            closed.add(field)
            for column in columns:
                name = column.name
                rescue.lose(path, f"column {name!r} is sealed, and {why}", column=name)
    if not closed:
        return schema
    facts, gone = facts_of(schema), set()
    hidden = {c.name for c in schema.columns if c.field in closed}
    for column in schema.columns:
        if column.is_virtual and hidden & {*sealed_sources(facts, schema.leaves_of(column.name))}:
            gone.add(column.name)
            message = f"column {column.name!r} is computed from sealed ones, which are not saved"
            rescue.lose(path, message, column=column.name)
    columns = tuple(c for c in schema.columns if c.field not in closed and c.name not in gone)
    return replace(schema, columns=columns, layout=layout_for(schema.layout, columns))


class _Table:
    """One table on its way."""

    def __init__(
        self,
        rescue: Rescue,
        writer: Writer,
        node: int,
        path: str,
        schema: Schema,
        whole: Schema,
    ) -> None:
        self.rescue = rescue
        self.view = rescue.view
        self.writer = writer
        self.node = node
        self.path = path
        self.schema = schema
        sealed, kept = facts_of(whole).sealed, facts_of(schema).sealed
        self.in_parts = bool(sealed)
        self.closed = sealed.keys() - kept.keys()  # leaves of which nothing is saved
        self.sealed = kept
        self.leaves = [leaf for leaf in schema.packed if leaf.is_stored]
        self.row = 0  # position in the new table
        self.end = 0  # row id behind the last group

    def copy(self) -> None:
        """Copy schema, groups and tail."""
        writer = self.writer
        for field in self.schema.sealed:
            copy_lock(self.rescue, writer, self.node, field)
        self._copy_schema()
        gaps: list[tuple[int, int, int]] = []  # row ids, and where in the table they would be
        for first, record, value in self._groups():
            gaps.append((self.end, first, self.row))
            self._copy_group(first, record, value)
            self.end = first + record.n_rows
            self.row += record.n_live
        gaps.append((self.end, TAIL_ROW, self.row))
        tail = self._tail()
        if tail is None or tail.n_live != self.row:
            self._lost_groups(gaps, tail)
        next_row = max(self.end, tail.next_row if tail is not None else 0)
        loose = tail.n_loose if tail is not None else 0
        new = Tail(next_row, self.row, loose, new_stamp())
        writer.flush()
        writer.txn.put(keys.group(writer.new, TAIL_ROW), pack_record(new.pack()))
        put_manifests(writer.txn, writer.new, self.schema, afresh=True)
        self._make_indexes(new.stamp)

    def _copy_schema(self) -> None:
        """Copy the schema, and categories; codes without these are left as numbers."""
        node, schema = self.node, self.schema
        columns = []
        for column in schema.columns:
            wrong = self._copy_categories(column) if column.is_categorical else ""
            if wrong:
                self.rescue.lose(
                    self.path,
                    f"column {column.name!r}: its categories are lost, and it holds their codes, "
                    f"0 for no value: {wrong}",
                    column=column.name,
                )
                codes = np.dtype([("code", column.dtype["code"])])
                column = replace(column, dtype=codes, default=None)
            columns.append(column)
        if self.closed or tuple(columns) != schema.columns:
            self.schema = replace(schema, columns=tuple(columns))
            self.leaves = [leaf for leaf in self.schema.packed if leaf.is_stored]
            put_schema(self.writer.txn, self.writer.new, self.schema)
            return
        value = self.view.get(keys.schema(node))
        assert value is not None
        self.writer.copy(keys.schema(node), value)

    def _copy_categories(self, column: ColumnSpec) -> str:
        """Copy the categories of a column; returns what is wrong with them, or nothing."""
        span = keys.categories(self.node, column.first_leaf)
        if self.rescue.remains.is_lost(span):
            return "records of them are missing"
        try:
            read_categories(self.view, self.node, column)
        except FormatError as error:
            return str(error)
        for key, value in self.rescue.scan(span):
            self.writer.copy(key, value)
        return ""

    def _make_indexes(self, stamp: bytes) -> None:
        """Make the indexes again of which the definition is whole: rows may be others now."""
        txn, new = self.writer.txn, self.writer.new
        numbers = []
        for key, value in self.rescue.scan(keys.indexes(self.node)):
            number = keys.leaf_of(key)
            if key != keys.index(self.node, number) or not number:
                continue
            try:
                IndexRecord.unpack(unpack_record(value)[1])
            except FormatError as error:
                self.rescue.lose(self.path, f"an index is missing: {error}")
                continue
            if not self.writer.copy(key, value):
                numbers.append(number)
        if numbers:
            put_state(txn, new, IndexState(stamp, max(numbers) + 1))
            rebuild(txn, new, self.path)

    def _tail(self) -> Tail | None:
        payload = self.rescue.payload(keys.group(self.node, TAIL_ROW))
        if payload is not None:
            with suppress(FormatError):
                return Tail.unpack(payload)
        return None

    def _groups(self) -> Iterator[tuple[int, GroupRecord, bytes]]:
        for key, value in self.rescue.scan(keys.groups(self.node)):
            try:
                first = keys.row_of(key)
                if first == TAIL_ROW:
                    continue
                record = GroupRecord.unpack(unpack_record(value)[1])
            except FormatError as error:
                self.rescue.lose(self.path, f"a row group is missing: {error}")
                continue
            if first < self.end:
                self.rescue.lose(self.path, f"a row group at row id {first} overlaps another")
                continue
            yield first, record, value

    def _lost_groups(self, gaps: list[tuple[int, int, int]], tail: Tail | None) -> None:
        n = f"{tail.n_live - self.row:,}" if tail is not None else "an unknown number of"
        places = []
        for start, stop, row in gaps:
            stop = min(stop, tail.next_row) if tail is not None and stop == TAIL_ROW else stop
            span = keys.group(self.node, start), keys.group(self.node, stop)
            if start < stop and self.rescue.remains.is_lost(span):
                place = f"before row {row:,}" if row < self.row else f"behind row {row - 1:,}"
                places.append(f"{place} (row ids {start:,} to {stop - 1:,})")
        where = ": " + ", ".join(places) if places else ""
        self.rescue.lose(self.path, f"{n} rows are missing{where}; later rows have moved up")

    # One group

    def _copy_group(self, first: int, record: GroupRecord, value: bytes) -> None:
        patches = list(self.rescue.scan(keys.patches(self.node, first)))
        wrong = self._unsure(first, record, patches)
        if wrong:
            self._put_aside(first, record, value, wrong)
            what = "what is open of it is" if self.sealed else "its pages are"
            self._put_zeros(first, record, f"{wrong}; {what} in lost+found")
            return
        if record.kind != PAGES:
            wrong = self._copy_piece(first, record, value)
            if wrong:
                self._put_zeros(first, record, wrong)
                return
        else:
            self._copy_pages(first, record)
            self.writer.copy(keys.group(self.node, first), value)
        dead = keys.deletion(self.node, first)
        found = self.view.get(dead)
        if found is not None:
            patches.append((dead, found))
        for key, patch in patches:
            if self.closed and keys.kind_of(key) == b"U":
                self._copy_open_patch(key, patch)
            else:
                self.writer.copy(key, patch)

    def _copy_piece(self, first: int, record: GroupRecord, value: bytes) -> str:
        """Copy a piece, without the parts of which nothing is saved; says what is wrong."""
        if not self.closed:
            return self.writer.copy(keys.group(self.node, first), value)
        try:
            parts = unpack_parts(self._rows_of(value, record.data))
            self._rows_at(record.version).decode(parts.get(0, b""), record.n_rows)
        except FormatError as error:
            return str(error)
        data = parts.get(0, b"")
        if self.sealed:
            kept = {0, *self.schema.sealed}
            data = pack_parts([(field, part) for field, part in parts.items() if field in kept])
        # What stands first in a piece of several parts is a piece of the open leaves.
        kind = INLINE if len(data) + GROUP_RECORD_BYTES <= MAX_INLINE else OUTSIDE
        digest = digest_of(data) if self.sealed and kind == OUTSIDE else b""
        head = record._replace(kind=kind, data=digest).pack()
        self._put_rows(keys.group(self.node, first), head, data, outside=kind == OUTSIDE)
        return ""

    def _rows_at(self, version: int) -> PackedRows:
        """Return how a piece has the open leaves."""
        facts = facts_of(self.schema)
        return facts.parts_at(version)[0] if self.sealed else facts.rows_at(version)

    def _copy_open_patch(self, key: bytes, value: bytes) -> None:
        """Copy those parts of a patch of which something is saved; `_unsure` has read it."""
        payload = unpack_record(value)[1]
        parts = unpack_patch(self._rows_of(value, payload[PATCH_HEAD:]))
        kept = [part for part in parts if not self.closed & set(part.leaves)]
        if kept:
            data = pack_patch(kept)
            outside = PATCH_HEAD + len(data) > MAX_INLINE
            digest = digest_of(data) if self.sealed and outside else b""
            self._put_rows(key, payload[:PATCH_HEAD] + digest, data, outside=outside)

    def _put_rows(self, key: bytes, head: bytes, data: bytes, *, outside: bool) -> None:
        txn, new = self.writer.txn, self.writer.new
        place = keys.node(new)[:8] + key[8:]
        if not outside:
            txn.put(place, pack_record(head + data))
        else:
            frame = Frame(FRAME_ROWS, new, 0, keys.row_of(key), data)
            txn.put(place, pack_record(head, txn.write([frame])))

    def _rows_of(self, value: bytes, inline: bytes) -> bytes:
        pointers, _ = unpack_record(value)
        return bytes(self.view.read(pointers[0])) if pointers else inline

    def _unsure(self, first: int, record: GroupRecord, patches: list[tuple[bytes, bytes]]) -> str:
        """Say why it is not known which rows of a group count, or which values."""
        remains = self.rescue.remains
        if remains.is_lost(keys.patches(self.node, first)):
            return "later values of these rows may be lost"
        try:
            for _, value in patches:
                pointers, payload = unpack_record(value)
                unpack_patch(bytes(self.view.read(pointers[0])) if pointers else payload[5:])
        except FormatError as error:
            return f"later values of these rows are lost: {error}"
        if record.n_live == record.n_rows:
            return ""
        payload_ = self.rescue.payload(keys.deletion(self.node, first))
        if payload_ is None:
            return "which of these rows were deleted is lost"
        try:
            dead = unpack_dead(payload_, record.n_rows)
        except FormatError as error:
            return f"which of these rows were deleted is lost: {error}"
        if record.n_rows - int(np.count_nonzero(dead)) != record.n_live:
            return "which of these rows were deleted is not known"
        return ""

    def _copy_pages(self, first: int, record: GroupRecord) -> None:
        for leaf in self.leaves:
            key = keys.page(self.node, leaf.id, first)
            value = self.view.get(key)
            if value is None and self._is_initial(leaf, first, record):
                continue
            wrong = "its record is lost" if value is None else self.writer.copy(key, value)
            if wrong and (
                value is None or not self._copy_sectors(leaf, first, record, value, wrong)
            ):
                self._zero_page(leaf, first, record.n_rows)
                self._lose(leaf, 0, record.n_live, wrong)

    def _copy_sectors(
        self, leaf: Leaf, first: int, record: GroupRecord, value: bytes, wrong: str
    ) -> bool:
        """Make a page of those sectors of a damaged one that are whole; tells whether any is."""
        n, per = record.n_rows, leaf.n_values
        if leaf.is_ragged or leaf.id in self.sealed or n * leaf.nbytes > _MOST_BYTES:
            return False
        values: Array = np.zeros(n * per, leaf.dtype)
        try:
            (pointer,) = unpack_record(value)[0]
            lost = read_whole_sectors(self.view, pointer, values)
        except (FormatError, ValueError):
            return False
        if lost is None:
            return False
        live = np.cumsum(~self._dead(first, record))  # rows up to each that count
        for start, stop in lost:
            a, b = start // per, -(-stop // per)
            values[a * per : b * per] = np.zeros((b - a) * per, leaf.dtype)
            before, upto = int(live[a - 1]) if a else 0, int(live[b - 1])
            if upto > before:
                self._lose(leaf, before, upto, wrong)
        txn, new = self.writer.txn, self.writer.new
        write_pages(txn, new, first, [leaf], [values], Recipes(txn, new, self.schema, b""))
        return True

    def _dead(self, first: int, record: GroupRecord) -> Array:
        """Return which rows of a group were deleted; `_unsure` has seen that this is known."""
        payload = self.rescue.payload(keys.deletion(self.node, first))
        if record.n_live == record.n_rows or payload is None:
            return np.zeros(record.n_rows, bool)
        return unpack_dead(payload, record.n_rows)

    def _is_initial(self, leaf: Leaf, first: int, record: GroupRecord) -> bool:
        """Tell whether a group lacks a page because its column came later."""
        if facts_of(self.schema).initial(leaf, record.version) is None:
            return False
        key = keys.page(self.node, leaf.id, first)
        return not self.rescue.remains.is_lost((key, key + b"\0"))

    def _put_zeros(self, first: int, record: GroupRecord, wrong: str) -> None:
        """Put a group in which every live row is zeros."""
        n = record.n_live
        for leaf in self.leaves:
            self._zero_page(leaf, first, n)
        group = GroupRecord(PAGES, record.tier, self.schema.version, n, n)
        key = keys.group(self.writer.new, first)
        self.writer.txn.put(key, pack_record(group.pack()))
        self._lose(None, 0, n, wrong)

    def _zero_page(self, leaf: Leaf, first: int, n_rows: int) -> None:
        if n_rows * leaf.nbytes > _MOST_BYTES:
            raise TooLargeError(f"a page of {n_rows:,} rows of {leaf.nbytes:,} bytes")
        txn, new = self.writer.txn, self.writer.new
        nothing = np.zeros if not leaf.is_ragged else Cells.empty
        zeros: Array = nothing(n_rows * leaf.n_values, leaf.dtype)
        write_pages(txn, new, first, [leaf], [zeros], Recipes(txn, new, self.schema, b""))

    def _lose(self, leaf: Leaf | None, start: int, stop: int, wrong: str) -> None:
        rows = self.row + start, self.row + stop
        what = "all columns" if leaf is None else f"column {'.'.join(leaf.path)!r}"
        self.rescue.lose(
            self.path,
            f"{what}, rows {rows[0]:,} to {rows[1] - 1:,}: zeros stand for what is lost: {wrong}",
            column=None if leaf is None else ".".join(leaf.path),
            rows=rows,
        )

    # Beside the table

    def _put_aside(self, first: int, record: GroupRecord, value: bytes, wrong: str) -> None:
        """Put what the pages of a group hold into lost+found, each column an array."""
        group = self.rescue.lost_and_found()
        name = f"{self.path.strip('/').replace('/', '-')[:100]}-node-{self.node}"
        table = group.require_group(name).create_group(f"row-id-{first}")
        table.attrs.update(
            {"table": self.path, "row_id": first, "rows": record.n_rows, "why": wrong}
        )
        table.attrs["position"] = [self.row, self.row + record.n_live]
        if record.kind == PAGES:
            for leaf in self.leaves:
                if leaf.id not in self.sealed:  # nothing is put there in clear that was sealed
                    self._page_aside(table, leaf, first, record.n_rows)
        else:
            with suppress(FormatError):
                pointers, _ = unpack_record(value)
                data = bytes(self.view.read(pointers[0])) if pointers else record.data
                if self.in_parts:
                    data = unpack_parts(data).get(0, b"")
                packed = self._rows_at(record.version)
                rows = packed.decode(data, record.n_rows)
                for leaf in packed.leaves:
                    values = rows[f"f{leaf.id}"]
                    _put_array(table, leaf, values.reshape(record.n_rows, *leaf.shape))
        self.rescue.found(table.name)

    def _page_aside(self, table: Group, leaf: Leaf, first: int, n_rows: int) -> None:
        value = self.view.get(keys.page(self.node, leaf.id, first))
        if value is None or n_rows * leaf.nbytes > _MOST_BYTES:
            return
        values = empty_values(n_rows * leaf.n_values, leaf.dtype)
        try:
            (pointer,) = unpack_record(value)[0]
            read_page(self.view, pointer, values, 0, len(values))
        except (FormatError, ValueError):
            return  # not whole either: the report says so of the rows in the table
        _put_array(table, leaf, values.reshape(n_rows, *leaf.shape))


def _put_array(table: Group, leaf: Leaf, values: Array) -> None:
    name = ".".join(leaf.path).replace("/", "-")[:200] or "column"
    if isinstance(values, Cells):
        table.create_table(f"{leaf.id}-{name}", {"cells": values}, dtype={"cells": leaf.dtype})
    else:
        table.create_array(f"{leaf.id}-{name}", values)
