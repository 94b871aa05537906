"""Holding the records of a table against each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kist.engine.sealedrecords import SealedPointer
from kist.errors import FormatError, SecretError, TamperedDataError
from kist.format import keys
from kist.format.schema import Leaf
from kist.format.values import unpack_record
from kist.model.tables.indexes.index import read_indexes
from kist.model.tables.stored.layout import Group
from kist.model.tables.stored.read import Span, read_leaves
from kist.model.tables.stored.records import PageRecord
from kist.model.tables.stored.state import TableState

__all__ = ["check_records", "unchecked"]


def check_records(state: TableState) -> Iterator[str]:
    """Yield a message for everything in the records of a table that does not fit.

    Reads all records, pieces, patches and sets of deleted rows, and of pages those of codes. What
    is sealed is opened, every byte of it, where the secret was given.
    """
    try:
        opened = {field for field in state.schema.sealed if state.sealing.opens(field)}
    except (FormatError, SecretError) as error:
        yield str(error)
        return
    try:
        groups = state.layout.groups
    except FormatError as error:
        yield str(error)
        return
    paged = {group.first: group for group in groups if group.is_pages}
    known = {group.first: group for group in groups}
    facts = state.facts
    for leaf in state.schema.stored:
        name = ".".join(leaf.path)
        missing = set(paged) if leaf.is_stored else set()
        if leaf.id in facts.added:
            needed = (f for f in missing if facts.initial(leaf, paged[f].record.version) is None)
            missing = set(needed)
        for key, value in state.view.scan(*keys.pages(state.node, leaf.id)):
            first = keys.row_of(key)
            missing.discard(first)
            if first not in paged:
                yield f"column {name!r}: a page at row id {first}, where no row group begins"
                continue
            sealed = facts.sealed.get(leaf.id, 0)
            if sealed and sealed not in opened:
                continue
            try:
                record = _sealed_page(state, leaf, paged[first]) if sealed else _record(value)
            except (FormatError, SecretError) as error:
                yield f"column {name!r}, page of row id {first}: {error}"
                continue
            expected = paged[first].n_rows * leaf.n_values
            if record.n_values != expected:
                yield (
                    f"column {name!r}, page of row id {first}: {record.n_values} values, "
                    f"expected {expected}"
                )
        for first in sorted(missing):
            yield f"column {name!r} lacks the page of row id {first}"
    for start, stop, what in (
        (*keys.patches(state.node), "a patch"),
        (*keys.deletions(state.node), "deleted rows"),
    ):
        for key, _ in state.view.scan(start, stop):
            if keys.row_of(key) not in known:
                yield f"{what} at row id {keys.row_of(key)}, where no row group begins"
    yield from _check_indexes(state)
    yield from _check_categories(state)
    for group in groups:
        try:
            state.dead(group)
            if not group.is_pages:
                state.piece(group)
            for leaf in state.schema.stored:
                field = facts.sealed.get(leaf.id, 0)
                if field and field not in opened:
                    continue
                if field and not group.is_pages:
                    state.piece(group, leaf)
                state.patches(group, leaf)
        except (FormatError, SecretError) as error:
            yield f"row group at row id {group.first}: {error}"


def _record(value: bytes) -> PageRecord:
    return PageRecord.unpack(unpack_record(value)[1])


def _sealed_page(state: TableState, leaf: Leaf, group: Group) -> PageRecord:
    """Return the record of a page of which every byte is what was sealed."""
    pointer, record = state.page(leaf, group)
    assert isinstance(pointer, SealedPointer)
    pointer.whole(state.view.reader)
    return record


def unchecked(state: TableState) -> Iterator[str]:
    """Yield a note for each sealed field that cannot be looked into."""
    for field, columns in state.schema.sealed.items():
        if not state.sealing.opens(field):
            names = ", ".join(repr(column.name) for column in columns)
            yield f"{names} sealed: checksums hold or are named above, tags were not checked"


def _check_categories(state: TableState) -> Iterator[str]:
    """Yield what is wrong with categories, and with codes that stand for none."""
    facts = state.facts
    for column in facts.categorical:
        if column.field and not state.sealing.opens(column.field):
            continue  # `unchecked` says so
        leaf = facts.by_id[column.first_leaf]
        try:
            known = state.categories(column)
            for group in state.layout.groups:
                codes = np.empty(group.n_rows, leaf.dtype)
                read_leaves(state, [Span(group, range(group.n_rows), 0)], [leaf], [codes])
                known.check(codes)
        except FormatError as error:
            yield f"column {column.name!r}: {error}"


def _check_indexes(state: TableState) -> Iterator[str]:
    """Yield what is wrong with the runs of the indexes; only pages of sealed ones are read."""
    try:
        indexes = read_indexes(state)
    except (FormatError, TamperedDataError) as error:
        yield f"an index: {error}"
        return
    for index in indexes:
        end = 0
        for run in index.runs:
            if run.first < end or run.stop > state.tail.next_row:
                yield f"index {index.record.name!r}: a run of row ids {run.first} to {run.stop}"
            end = run.stop
            for pointer in run.pointers if index.field else ():
                try:
                    state.view.reader.read_part(pointer, 0, pointer.length)  # its tags
                except (FormatError, TamperedDataError) as error:
                    yield f"index {index.record.name!r}, run of row id {run.first}: {error}"
