"""Indexes on sealed columns: their runs are sealed, and a record of each field vouches for them.

A run that leaves something out hides rows, and an old one may say what is not true any more. So the
runs of a field's indexes count only while the field's `E` record for them holds: sealed under the
field key, it names table and field, the stamp of the tail, and the digest of the indexes' records.
The tail is bound by the manifest of the field. Without that record, or with that of an earlier
stamp, runs are not believed and rows are scanned; where it says something else than the records
do, somebody without the secret has changed them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from kist.engine.manifest import (
    item_of,
    make_manifest,
    new_digest,
    open_manifest,
)
from kist.engine.sealedrecords import SealedPointer, open_record, renew_record, seal_record
from kist.errors import TamperedDataError
from kist.format import keys
from kist.format.index import IndexRecord, RunRecord
from kist.format.values import pack_record, unpack_record
from kist.indexes.runs import Run
from kist.model.tables.stored.schema import facts_of
from kist.model.tables.stored.sealing import field_keys, place_of

if TYPE_CHECKING:
    from kist.engine import Frame, Transaction, View
    from kist.engine.fieldkeys import FieldKeys
    from kist.format.schema import Schema
    from kist.model.tables.stored.state import TableState

__all__ = [
    "carry_on",
    "drop_doubtful",
    "forget_runs",
    "opened_run",
    "put_sealed_run",
    "put_soiled_run",
    "usable_keys",
    "vouch",
]

_USE: Final = b" of indexes"


def field_of(record: IndexRecord, sealed: Mapping[int, int]) -> int:
    """Return the sealed field that an index is of, 0 for an index on open columns."""
    return next((sealed[leaf] for leaf, _, _ in record.leaves if leaf in sealed), 0)


def _numbers(view: View, node: int, sealed: Mapping[int, int]) -> dict[int, list[int]]:
    """Return the indexes of each sealed field that has some."""
    found: dict[int, list[int]] = {}
    for key, value in view.scan(*keys.indexes(node)):
        number = keys.leaf_of(key)
        if number and len(key) == len(keys.index_state(node)):
            field = field_of(IndexRecord.unpack(unpack_record(value)[1]), sealed)
            if field:
                found.setdefault(field, []).append(number)
    return found


def _items(view: View, node: int, numbers: Iterable[int]) -> Iterable[bytes]:
    for number in numbers:
        for key, value in view.scan(*keys.index_records(node, number)):
            yield item_of(view, key, value)


def _holds(
    view: View, node: int, field: int, opened: FieldKeys, numbers: Iterable[int], stamp: bytes
) -> bool:
    """Tell whether what vouches for the indexes of a field is there, and of this stamp.

    Raises
    ------
    TamperedDataError
        It is, and the records are other ones.
    """
    value = view.get(keys.index_manifest(node, field))
    if value is None:
        return False
    payload = unpack_record(value)[1]
    wanted, of = open_manifest(payload, place_of(node, field, view), opened, _USE)
    if of != stamp:
        return False
    found = new_digest(opened, _USE)
    found.add(_items(view, node, numbers))
    if found != wanted:
        raise TamperedDataError(
            f"the indexes of field {field} of node {node} are not those that were sealed:"
            f" {found.count} records are there, {wanted.count} were written; do not trust the file"
        )
    return True


def usable_keys(state: TableState, field: int) -> FieldKeys | None:
    """Return the keys of a field whose indexes may be believed, None for others.

    Raises
    ------
    TamperedDataError
        Records of its indexes are not those that were written.
    """
    if not state.sealing.opens(field):
        return None
    opened = state.sealing.keys(field)
    numbers = _numbers(state.view, state.node, state.facts.sealed).get(field, [])
    holds = _holds(state.view, state.node, field, opened, numbers, state.tail.stamp)
    return opened if holds else None


def vouch(txn: Transaction, node: int, schema: Schema, stamp: bytes) -> None:
    """Vouch for the indexes of sealed fields as they are now: whoever changes them ends with this.

    What was there before must have been believed, or be gone.
    """
    numbers = _numbers(txn, node, facts_of(schema).sealed)
    for field in schema.sealed:
        key = keys.index_manifest(node, field)
        if field not in numbers:
            if txn.get(key) is not None:
                txn.delete(key)
            continue
        opened = field_keys(txn, node, f"table {node}", schema, field)
        digest = new_digest(opened, _USE)
        digest.add(_items(txn, node, numbers[field]))
        place = place_of(node, field, txn)
        txn.put(key, pack_record(make_manifest(place, opened, digest, stamp, _USE)))


def carry_on(txn: Transaction, node: int, schema: Schema, before: bytes, stamp: bytes) -> None:
    """Vouch for the indexes of sealed fields under the stamp of the next tail.

    Runs that are not believed under the stamp before are dropped.
    """
    is_old = before != stamp
    for field, numbers in _numbers(txn, node, facts_of(schema).sealed).items():
        opened = field_keys(txn, node, f"table {node}", schema, field)
        if not _holds(txn, node, field, opened, numbers, before):
            _drop(txn, node, numbers)
            is_old = True
    if is_old:
        vouch(txn, node, schema, stamp)


def drop_doubtful(txn: Transaction, state: TableState) -> None:
    """Drop the runs on sealed columns that are not believed, before others are written."""
    if state.facts.sealed and state.sealing.can_write():
        stamp = state.tail.stamp
        carry_on(txn, state.node, state.schema, stamp, stamp)


def forget_runs(txn: Transaction, node: int, schema: Schema, fields: Iterable[int]) -> None:
    """Drop the runs of the indexes of some fields, whose keys are about to change."""
    numbers = _numbers(txn, node, facts_of(schema).sealed)
    for field in fields:
        _drop(txn, node, numbers.get(field, []))
        if txn.get(keys.index_manifest(node, field)) is not None:
            txn.delete(keys.index_manifest(node, field))


def _drop(txn: Transaction, node: int, numbers: Iterable[int]) -> None:
    for number in numbers:
        txn.delete_range(*keys.index_runs(node, number))


# Runs


def opened_run(view: View, first: int, value: bytes, n_words: int, opened: FieldKeys) -> Run:
    """Return the run of a sealed record; `kist.indexes.runs.run_of` does it for an open one."""
    pointers, payload = open_record(view, *unpack_record(value), opened.data)
    return Run(first, RunRecord.unpack(payload, first), pointers, n_words)


def put_sealed_run(
    txn: Transaction, key: bytes, payload: bytes, frames: list[Frame], opened: FieldKeys
) -> None:
    """Put the record of a run with its pages, all sealed."""
    payload, frames = seal_record(opened.current, payload, frames)
    txn.put(key, pack_record(payload, txn.write(frames) if frames else ()))


def put_soiled_run(
    txn: Transaction, key: bytes, payload: bytes, found: Run, opened: FieldKeys
) -> None:
    """Put the record of a run anew beside the pages that it has."""
    pointers = [pointer for pointer in found.pointers if isinstance(pointer, SealedPointer)]
    payload, frames = renew_record(opened.current, pointers, payload)
    stored = [pointer.stored for pointer in pointers]
    txn.put(key, pack_record(payload, [*stored, *(txn.write(frames) if frames else ())]))
