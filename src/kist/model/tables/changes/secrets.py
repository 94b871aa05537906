"""The secrets of sealed fields: made with a table, added, removed, rotated.

Nothing here is written in clear: a lock holds keys under keys, and what is written anew is sealed
before it is handed to the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kist.engine import Frame, fieldkeys
from kist.engine.keyring import keyring_of
from kist.engine.sealedrecords import open_record, seal_record
from kist.errors import DTypeError, SecretError
from kist.format import keys
from kist.format.layout import FRAME_PAGE, FRAME_ROWS
from kist.format.sealed import Lock
from kist.format.values import pack_record, unpack_record
from kist.model.tables import indexes
from kist.model.tables.changes.manifests import put_manifests
from kist.model.tables.changes.write import put_blob, put_tail
from kist.model.tables.indexes.keep import rebuild
from kist.model.tables.input.encrypt import labelled
from kist.model.tables.stored.records import (
    OUTSIDE,
    PAGES,
    PATCH_HEAD,
    TAIL_ROW,
    GroupRecord,
    new_stamp,
    pack_patch,
    unpack_patch,
)
from kist.model.tables.stored.schema import schema_from
from kist.model.tables.stored.sealedlists import reseal_list
from kist.model.tables.stored.sealing import (
    digest_of,
    leaves_of,
    pack_parts,
    read_lock,
    seal_part,
    unpack_parts,
    unseal_part,
)
from kist.model.tables.stored.state import read_schema, state_of

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.engine.fieldkeys import FieldKeys
    from kist.format.columns import ColumnSpec
    from kist.format.schema import Schema
    from kist.model.tables.input.encrypt import Encrypt
    from kist.model.tables.stored.state import TableState
    from kist.model.tables.table import Table

__all__ = [
    "add_secret",
    "hand_over",
    "labels",
    "new_locks",
    "opened_by",
    "remove_secret",
    "reseal_page",
    "rotate",
    "vouch",
]


def new_locks(
    table: Table, schema: Schema, encrypt: Encrypt, what: str
) -> tuple[Schema, dict[int, Lock]]:
    """Return the schema of a new table with its sealed fields, and what opens them."""
    schema, secrets = encrypt.seal(schema, what)
    ring = keyring_of(table._store._session.engine.reader)
    locks = {}
    for field, own in secrets.items():
        lock, opened = fieldkeys.make_lock(own)
        ring.remember(lock.pack(), opened)
        locks[field] = lock
    return schema, locks


def opened_by(txn: Transaction, locks: Mapping[int, Lock], column: ColumnSpec) -> FieldKeys | None:
    """Return the keys of the field of a column of a new table, None if it is not sealed."""
    return keyring_of(txn.reader).opened(locks[column.field].pack()) if column.field else None


def labels(state: TableState) -> dict[str, tuple[str, ...]]:
    """Return the sealed columns of a table, and the labels of the secrets of each."""
    found = {}
    for field, columns in state.schema.sealed.items():
        packed = read_lock(state.view, state.node, field)
        slots = () if packed is None else Lock.unpack(packed).slots
        for column in columns:
            found[column.name] = tuple(slot.label for slot in slots)
    return {c.name: found[c.name] for c in state.schema.columns if c.name in found}


def add_secret(table: Table, column: str, secret: Any, label: str | None) -> str:
    """Let one more secret open the field of a column; return its label."""
    try:
        given = {label: secret} if label is not None else secret
        with table._write() as txn:
            state = table._state(txn)
            field, lock, opened = _opened(state, column, "add a secret for")
            new = labelled(given, [slot.label for slot in lock.slots])
            if len(new) > 1:
                raise SecretError(f"{len(new)} secrets: add_secret takes them one by one")
            ((name, own),) = new.items()
            _put_lock(txn, state, field, fieldkeys.add_secret(lock, opened, name, own), opened)
            return name
    finally:
        secret = given = None  # a traceback would show it


def remove_secret(table: Table, column: str, label: str) -> None:
    """Let a secret no longer open the field of a column."""
    with table._write() as txn:
        state = table._state(txn)
        field, lock, opened = _opened(state, column, "remove a secret of")
        _put_lock(txn, state, field, fieldkeys.remove_secret(lock, label), opened)


def rotate(table: Table, column: str | None, secrets: Any, now: bool) -> None:
    """Draw a new data key for the field of a column, or for all fields."""
    try:
        own = None if secrets is None else labelled(secrets)
    finally:
        secrets = None  # a traceback would show it
    with table._write() as txn:
        state = table._state(txn)
        state.check_writable()
        fields = state.schema.sealed
        names = [column] if column is not None else [own[0].name for own in fields.values()]
        if not names:
            raise DTypeError(f"{table._path!r} has no sealed column whose keys could be rotated")
        changed = {column.field for column in state.schema.columns if column.name in names}
        indexes.sealed.forget_runs(txn, state.node, state.schema, changed)
        for name in names:
            field, lock, before = _opened(state, name, "rotate the keys of")
            lock, after = fieldkeys.rotate(lock, before, own, forget=now)
            _put_lock(txn, state, field, lock, after)
            if now:
                _reseal(txn, state, field, before, after)
        # What was read under the old stamp was read with the old keys.
        tail = state.tail._replace(stamp=new_stamp())
        if put_tail(txn, state.node, state.schema, tail, state.tail):
            rebuild(txn, state.node, state.path)


def hand_over(source: View, node: int, txn: Transaction, path: str) -> list[int]:
    """Give the keys of a table's sealed fields to whoever writes a copy of it.

    Returns the fields whose indexes are not to be believed.

    Raises
    ------
    SecretError
        A secret is missing: the copy needs manifests of its own.
    """
    state = state_of(source, node, path)
    state.check_writable()
    ring = keyring_of(txn.reader)
    for field in state.schema.sealed:
        packed = read_lock(source, node, field)
        assert packed is not None
        ring.remember(packed, state.sealing.keys(field))
    return [field for field in state.schema.sealed if not indexes.sealed.usable_keys(state, field)]


def vouch(txn: Transaction, node: int, path: str, stale: Iterable[int] = ()) -> None:
    """Make the manifests of a table whose records were just copied from another one.

    Parameters
    ----------
    stale : iterable of int
        As `hand_over` returned it.
    """
    schema = schema_from(read_schema(txn, node, path))
    put_manifests(txn, node, schema, afresh=True)
    indexes.sealed.forget_runs(txn, node, schema, stale)
    state = state_of(txn, node, path)
    indexes.sealed.vouch(txn, node, schema, state.tail.stamp)


def _opened(state: TableState, name: str, what: str) -> tuple[int, Lock, FieldKeys]:
    what = f"{what} column {name!r} of {state.path!r}"
    column = state.schema.columns[state.schema.index(name)]
    if not column.field:
        raise DTypeError(
            f"{what}: it is not sealed. What is in clear stays in older versions and backups: make "
            "a new table with create_table(..., encrypt=) and copy the rows",
            column=name,
        )
    opened = state.sealing.keys(column.field)
    packed = read_lock(state.view, state.node, column.field)
    assert packed is not None
    return column.field, Lock.unpack(packed), opened


def _put_lock(
    txn: Transaction, state: TableState, field: int, lock: Lock, opened: FieldKeys
) -> None:
    packed = lock.pack()
    keyring_of(txn.reader).remember(packed, opened)
    put_blob(txn, state.node, keys.lock(state.node, field), packed)


def _reseal(
    txn: Transaction, state: TableState, field: int, before: FieldKeys, after: FieldKeys
) -> None:
    """Seal all that is stored of a field again, under another data key; nothing is decoded."""
    node = state.node
    for leaf in leaves_of(state.schema, field):
        for key, value in list(txn.scan(*keys.pages(node, leaf))):
            payload, frames = reseal_page(txn, value, key, before, after)
            txn.put(key, pack_record(payload, txn.write(frames)))

    for column in state.facts.categorical:
        if column.field == field:
            reseal_list(txn, node, column.first_leaf, before, after)

    def again(part: bytes) -> bytes:
        return seal_part(after, unseal_part(before, part))

    for key, value in list(txn.scan(*keys.groups(node))):
        if keys.row_of(key) == TAIL_ROW:
            continue
        pointers, payload = unpack_record(value)
        record = GroupRecord.unpack(payload)
        if record.kind == PAGES:
            continue
        # What gets another digest must be what the old one names.
        data = state.vouched(txn.read(pointers[0]), record.data) if pointers else record.data
        parts = unpack_parts(data)
        parts[field] = again(parts[field])
        data = pack_parts(list(parts.items()))
        if pointers:
            head = record._replace(kind=OUTSIDE, data=digest_of(data)).pack()
        else:
            head = record._replace(data=b"").pack()
        _put_rows(txn, key, head, data, outside=bool(pointers))
    sealed = state.facts.sealed
    for key, value in list(txn.scan(*keys.patches(node))):
        pointers, payload = unpack_record(value)
        data = payload[PATCH_HEAD:]
        if pointers:
            data = state.vouched(txn.read(pointers[0]), data)
        parts_of = unpack_patch(data)
        if not any(sealed.get(part.leaves[0]) == field for part in parts_of):
            continue
        data = pack_patch(
            [
                part._replace(data=again(part.data))
                if sealed.get(part.leaves[0]) == field
                else part
                for part in parts_of
            ]
        )
        head = payload[:PATCH_HEAD] + (digest_of(data) if pointers else b"")
        _put_rows(txn, key, head, data, outside=bool(pointers))


def reseal_page(
    view: View, value: bytes, key: bytes, before: FieldKeys, after: FieldKeys
) -> tuple[bytes, list[Frame]]:
    """Return the payload of a page's record and its extents, sealed under another data key.

    Parameters
    ----------
    value : bytes
        The record in `view`.
    key : bytes
        Of the record that it becomes.

    Raises
    ------
    TamperedDataError, CorruptDataError
        It is not what was sealed, or damaged.
    """
    opened, payload = open_record(view, *unpack_record(value), before.data)
    place = keys.node_of(key), keys.leaf_of(key), keys.row_of(key)
    frames = []
    for pointer in opened:
        plain = pointer.whole(view.reader)
        head, rest = bytes(plain[: pointer.head]), plain[pointer.head :]
        frames.append(Frame(FRAME_PAGE, *place, head, (rest,)))
    return seal_record(after.current, payload, frames)


def _put_rows(txn: Transaction, key: bytes, head: bytes, data: bytes, *, outside: bool) -> None:
    """Put a piece or a patch again; it is as long as before, and so stands where it stood."""
    if outside:
        frame = Frame(FRAME_ROWS, keys.node_of(key), 0, keys.row_of(key), data)
        txn.put(key, pack_record(head, txn.write([frame])))
    else:
        txn.put(key, pack_record(head + data))
