"""Saving what is sealed, with its secrets: under the locks that it had, so the same ones open it.

Bodies are copied as bytes. What vouches for them is made anew, and only where the records are those
that the old one names: of which records are lost, nobody can tell what else was done to them, and
nothing of it is saved. An extent that fails its sums is damage, and is left out like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kist.engine.keyring import keyring_of
from kist.errors import FormatError, SecretError, TamperedDataError, WrongSecretError
from kist.format import keys
from kist.format.array import ArraySchema, unpack_bounds
from kist.format.keystore import Counts
from kist.format.node import NodeKind, kind_label
from kist.model import directory
from kist.model.arrays.state import ArrayState
from kist.model.keystores.sealed import SealedKeys, stored_size
from kist.model.salvage.arrays import chunk_region, rows_of, words_of
from kist.model.salvage.rescue import NO_SCHEMA, NOTE, Rescue, Writer, notes_of
from kist.model.sealing import borders, groups
from kist.model.sealing.copies import copied_field, vouch_for_copy
from kist.model.sealing.field import FIELD, check_promises, read_lock

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.model.salvage.nodes import Place
    from kist.model.salvage.report import Loss
    from kist.model.sealing.field import SealedField

__all__ = [
    "check_kept_promises",
    "copy_lock",
    "is_sealed",
    "put_note",
    "rescue_sealed",
    "stands_sealed",
    "vouch_for_place",
    "why_closed",
]

WITH_SECRET: Final = "only saved with its secret: secrets= or --secret-file"


def is_sealed(rescue: Rescue, place: Place) -> bool:
    """Whether a dataset is sealed as a whole; of tables columns are."""
    if place.kind not in (NodeKind.ARRAY, NodeKind.KEYSTORE):
        return False
    return next(rescue.scan(keys.sealed_fields(place.node)), None) is not None


def why_closed(error: SecretError | FormatError) -> str:
    """Return why something that is sealed is not saved."""
    if isinstance(error, TamperedDataError | FormatError):
        return f"not saved, for nothing vouches for what is left of it: {error}"
    return f"not saved: {error}" if isinstance(error, WrongSecretError) else WITH_SECRET


def check_kept_promises(rescue: Rescue, place: Place) -> None:
    """Raise where what is in clear ought to be sealed, as `kist.open` with these secrets does.

    Raises
    ------
    TamperedDataError
        A secret was given for it by name, or its own records say that it was.
    """
    from kist.model.handles import make_handle

    view = rescue.view
    if view.reader.keyring is None or place.record is None or place.record.unknown_features:
        return
    origin = rescue.origin(place.node)
    make_handle(rescue.store, view, place.node, origin)
    if place.kind in (NodeKind.ARRAY, NodeKind.KEYSTORE) and not is_sealed(rescue, place):
        check_promises(view, place.node, origin, kind_label(place.kind))


def copy_lock(rescue: Rescue, writer: Writer, node: int, number: int) -> None:
    """Copy the lock of a field, which was opened, for the same secrets; and keep what it led to."""
    key = keys.lock(node, number)
    value, packed = rescue.view.get(key), read_lock(rescue.view, node, number)
    assert value is not None and packed is not None
    writer.copy(key, value)
    writer.flush()
    opened = keyring_of(rescue.view.reader).opened(packed)
    if opened is not None:
        keyring_of(writer.txn.reader).remember(packed, opened)


# Arrays and key stores


def rescue_sealed(rescue: Rescue, writer: Writer, place: Place, path: str) -> str:
    """Copy what is whole of a sealed array or key store; returns why nothing is, or nothing."""
    node = place.node
    try:
        field = copied_field(rescue.view, node, place.kind, rescue.origin(node))
    except (SecretError, FormatError) as error:
        return f"is sealed, and {why_closed(error)}"
    copy_lock(rescue, writer, node, FIELD)
    if isinstance(field, SealedKeys):
        why = _copy_entries(rescue, writer, field, path)
    else:
        why = _copy_array(rescue, writer, field, path)
    if not why:
        writer.flush()
        vouch_for_copy(field, writer.txn, writer.new, path)
    return why


def _copy_array(rescue: Rescue, writer: Writer, field: SealedField, path: str) -> str:
    node, view = field.node, rescue.view
    schema, bounds = rescue.payload(keys.schema(node)), rescue.payload(keys.bounds(node))
    if schema is None or bounds is None:
        return NO_SCHEMA
    for key in (keys.schema(node), keys.bounds(node)):
        value = view.get(key)
        assert value is not None
        writer.copy(key, value)
    shown = ArraySchema.unpack(schema)
    state = ArrayState(view, node, path, shown, unpack_bounds(bounds, shown.ndim), field)
    for key, value in rescue.scan(keys.segments(node)):
        wrong = writer.copy(key, value)
        if wrong:
            region = chunk_region(state, key)
            rescue.lose(
                path,
                f"{words_of(region)}: the fill value stands for what is lost: {wrong}",
                region=region,
                rows=rows_of(region),
            )
    return ""


def _copy_entries(rescue: Rescue, writer: Writer, field: SealedKeys, path: str) -> str:
    counts = Counts.unpack(rescue.view.get(keys.bounds(field.node)))
    n_keys = nbytes = stored = lost = 0
    for key, value in rescue.scan(keys.items(field.node)):
        wrong = writer.copy(key, value)
        if wrong:  # of which key is not said: reports end in logs
            rescue.lose(path, f"one of its keys is missing: {wrong}")
            lost += 1
            continue
        n_keys, stored = n_keys + 1, stored + stored_size(key, value)
        nbytes += field.entry(value).nbytes
    if lost:
        counts = Counts(n_keys, 0, stored, counts.codec)
        field.nbytes = nbytes
    writer.txn.put(keys.bounds(writer.new), counts.pack())
    return ""


# Sealed groups


def stands_sealed(rescue: Rescue, writer: Writer, place: Place, parent: int) -> str:
    """Return why a node of a sealed group cannot be saved as one, or nothing.

    The group itself gets its lock here.
    """
    view, node = rescue.view, place.node
    try:
        group = groups.group_of(view, node)
        groups.place_for(view, node)
    except (SecretError, FormatError) as error:
        return why_closed(error)
    if group != node and not directory.is_marked(writer.txn, parent):
        return "not saved, for its group was not"
    if group == node:
        copy_lock(rescue, writer, node, keys.PLACE)
    return ""


def vouch_for_place(rescue: Rescue, txn: Transaction, node: int, new: int, path: str) -> None:
    """Make the place of a node whose attributes were copied."""
    borders.vouch_for_copy(rescue.view, node, txn, new, path)


def put_note(rescue: Rescue, path: str, losses: list[Loss]) -> None:
    """Say in an attribute of a node in a sealed group what is missing in it."""
    rescue.store[path].attrs[NOTE] = notes_of(losses)
