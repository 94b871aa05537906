"""`salvage`: from a broken file to a new one that holds what is whole of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from kist.engine.keyring import Keyring
from kist.engine.salvage import find_remains
from kist.engine.sealedstore import refuse_clear
from kist.errors import (
    KistError,
    NodeExistsError,
    SecretError,
    SnapshotError,
    StorageError,
    StoreNotFoundError,
    TransactionError,
)
from kist.format import keys
from kist.format.layout import BLOCK, HEAD_BYTES, SLOT_OFFSETS
from kist.format.node import NodeKind, a_kind
from kist.format.sealedstore import unpack_slot_seal
from kist.model import directory
from kist.model.paths import is_plain, join
from kist.model.salvage import sealed
from kist.model.salvage.arrays import rescue_array
from kist.model.salvage.keystores import rescue_keystore
from kist.model.salvage.nodes import Place, places
from kist.model.salvage.orphans import group_for_state, put_frames, put_records
from kist.model.salvage.report import SalvageReport
from kist.model.salvage.rescue import Rescue, Writer, put_note
from kist.model.salvage.tables import rescue_table
from kist.model.salvage.target import new_file
from kist.model.sources import without_modes
from kist.model.store import open as open_store
from kist.storage import FileBackend
from kist.storage.objectstore import shown

if TYPE_CHECKING:
    from kist.engine import Transaction

__all__ = ["salvage"]

Progress = Callable[[int, int], None]

_OF_THE_DEVICE = (StorageError, TransactionError, SnapshotError)

_SAVED_BY = {
    NodeKind.TABLE: rescue_table,
    NodeKind.ARRAY: rescue_array,
    NodeKind.KEYSTORE: rescue_keystore,
}


def salvage(
    broken: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    secrets: object = None,
    progress: Progress | None = None,
) -> SalvageReport:
    """Save what is whole of a broken store into a new one, and say what is missing.

    Parameters
    ----------
    broken : str or path object
        The broken file; it is only read.
    out : str or path object
        The new file, which must not exist. It appears when all is in it, or not at all.
    secrets : optional
        What opens what is sealed, as for `open`. It is sealed in the new file as well, and opens
        with the same secrets; what they do not open is left out, and named.
    progress : callable, optional
        Is told bytes done and bytes in all.

    Returns
    -------
    SalvageReport
        What is missing, by rows; true when nothing is.

    Raises
    ------
    StoreNotFoundError, StoreExistsError
        There is no broken file, or `out` is there.
    StorageError
        One of them is an address, not a file of this machine.
    NotAStoreError
        Nothing in the file is part of a store.
    UnsupportedVersionError
        A newer kist has written it.
    SecretError, WrongSecretError
        The whole file is sealed, and no secret was given that opens it.
    TamperedDataError
        It is not what holders of its secret wrote.

    Notes
    -----
    The newest commit that can be read is saved, without history and tags. A page that is lost
    leaves zeros in its rows of its column (in an array the fill value), so that rows keep their
    places; the report, and the attribute ``SALVAGE`` of the dataset, say which. What no record of
    that commit confirms is put into the group ``lost+found``, never into a dataset: it may be
    data that were deleted or rolled back.

    Examples
    --------
    >>> import kist, os, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> broken, out = os.path.join(folder, "lab.kist"), os.path.join(folder, "saved.kist")
    >>> with kist.open(broken, "x") as store:
    ...     store["a"] = [1, 2, 3]
    >>> with open(broken, "r+b") as file:
    ...     _ = file.write(bytes(12_288))  # header and both commit slots are gone
    >>> report = kist.salvage(broken, out)
    >>> with kist.open(out) as store:
    ...     report.ok, store["a"][:]
    (True, array([1, 2, 3]))
    """
    if not (is_plain(broken) and is_plain(out)):
        raise StorageError(
            f"salvage reads every byte of a file of this machine, and writes one: download "
            f"{shown(str(broken))!r}, and salvage the copy"
        )
    source, target = os.path.abspath(os.fspath(broken)), os.path.abspath(os.fspath(out))
    try:
        ring = None if secrets is None else Keyring(secrets)
    finally:
        secrets = None  # a traceback would show it
    report = SalvageReport(source, target)
    try:
        backend = FileBackend(source)
    except StoreNotFoundError as error:
        raise without_modes(error) from None
    try:
        is_sealed = _is_sealed(backend, ring)
        with new_file(target) as work:
            if is_sealed:
                from kist.engine.survivingsealed import find_sealed_remains, make_like

                assert ring is not None
                remains = find_sealed_remains(backend, source, ring)
                store = open_store(
                    work, "r+", durability="none", secrets=make_like(remains.reader, work)
                )
            else:
                remains = find_remains(backend, source, progress)
                remains.reader.keyring = ring
                store = open_store(work, "x", durability="none")
            report.commit, report.confirmed = remains.commit, remains.confirmed
            report.notes += remains.notes
            with store:
                rescue = Rescue(remains, store, report, progress)
                paths = _save_nodes(rescue)
                put_frames(rescue, paths)
                if remains.dropped:
                    report.notes.append(
                        f"{remains.dropped:,} frames of data that were dropped are left out"
                    )
    finally:
        backend.close()
    return report


def _is_sealed(backend: FileBackend, ring: Keyring | None) -> bool:
    """Tell whether a file is sealed as a whole.

    Raises
    ------
    SecretError
        It is, and no secret was given.
    TamperedDataError
        It is not, and a secret was given for the whole of it by name.
    """
    head = backend.read(0, HEAD_BYTES)
    if not any(unpack_slot_seal(head[at : at + BLOCK]) is not None for at in SLOT_OFFSETS):
        if ring is not None and ring.promises_store:
            refuse_clear(head, ring, backend.name)
        return False
    if ring is None:
        raise SecretError(
            f"{backend.name}: the whole file is sealed, and nothing of it is saved without its"
            " secret: pass secrets= to kist.salvage, or KIST_SECRET or --secret-file on the"
            " command line"
        )
    return True


def _save_nodes(rescue: Rescue) -> dict[int, str]:
    """Save all nodes; returns where each of them is."""
    store, view = rescue.store, rescue.view
    _note_tags(rescue)
    root_id, base = keys.ROOT, "/"
    if not rescue.remains.confirmed:
        group = group_for_state(rescue)
        root_id, base = group._id, group.name
    with store._write() as txn:
        writer = Writer(rescue, txn, root_id)
        writer.copy_small(base, keys.ROOT)
        writer.flush()
    found: dict[int, tuple[int, str]] = {keys.ROOT: (root_id, base)}  # node -> new node, its path
    _look_for_gaps(rescue, keys.ROOT, base)
    for place in places(view):
        if place.parent == 0 and 0 not in found:
            group = rescue.lost_and_found()
            found[0] = group._id, group.name
        parent = found.get(place.parent)
        if parent is None:  # what holds it could not be saved
            group = rescue.lost_and_found()
            parent = group._id, group.name
        try:
            found[place.node] = _save_node(rescue, place, *parent)
        except _OF_THE_DEVICE:
            raise
        except KistError as error:  # made on purpose rather than damaged: the others go on
            path = join(parent[1], place.name)
            rescue.lose(path, f"it could not be saved: {error}")
    return {node: path for node, (_, path) in found.items()}


def _look_for_gaps(rescue: Rescue, group: int, path: str) -> None:
    if rescue.remains.is_lost(keys.children(group)):
        rescue.lose(path, "nodes in it may be missing: part of their list is lost")


def _save_node(rescue: Rescue, place: Place, parent: int, base: str) -> tuple[int, str]:
    name, path = place.name, join(base, place.name)
    kind = a_kind(place.kind).split(" ", 1)[1]
    with rescue.store._write() as txn:
        sealed.check_kept_promises(rescue, place)
        try:
            new = directory.add(txn, parent, name, place.kind, base)
        except KistError as error:
            if not isinstance(error, NodeExistsError):
                rescue.lose(path, f"it keeps no name: {error}")
            name = f"{name[:60]}-node-{place.node}"
            path = join(base, name)
            new = directory.add(txn, parent, name, place.kind, base)
        before = len(rescue.report.losses)
        writer = Writer(rescue, txn, new)
        inside = directory.is_marked(rescue.view, place.node)
        closed = sealed.stands_sealed(rescue, writer, place, parent) if inside else ""
        if not closed:
            _keep_features(txn, new, place)
        why = _save_records(rescue, writer, place, path, closed)
        if not why:
            if closed:
                rescue.lose(path, f"it was in a sealed group, and its attributes are {closed}")
            else:
                writer.copy_small(path, place.node)
            writer.flush()
            if inside and not closed:
                sealed.vouch_for_place(rescue, txn, place.node, new, path)
            losses = rescue.report.losses[before:]
            if losses and inside and not closed:
                sealed.put_note(rescue, path, losses)
            elif losses:
                put_note(txn, new, losses)
        else:
            child = directory.child(txn, parent, name)
            assert child is not None
            directory.remove(txn, parent, child)
    if why:
        why = f"the {kind} {why}"
        put_records(rescue, place.node, path, why)
        rescue.lose(path, f"{why}; its records are in lost+found")
    else:
        rescue.report.n_nodes += 1
    return new, path


def _save_records(rescue: Rescue, writer: Writer, place: Place, path: str, closed: str) -> str:
    """Save what a node holds; returns why it cannot be, or nothing.

    Parameters
    ----------
    closed : str
        Why it is not saved as part of a sealed group in which it stands; empty of others.
    """
    new = directory.record(writer.txn, writer.new)
    in_seal = new is not None and directory.is_marked(writer.txn, new.parent)
    if closed and (in_seal or place.kind != NodeKind.GROUP):  # nothing in clear in a sealed group
        return f"is in a sealed group, and {closed}"
    if place.kind == NodeKind.GROUP:
        _look_for_gaps(rescue, place.node, path)
        return ""
    if sealed.is_sealed(rescue, place):
        return sealed.rescue_sealed(rescue, writer, place, path)
    save = _SAVED_BY.get(NodeKind(place.kind)) if place.kind in set(NodeKind) else None
    if save is not None and not _is_newer(place):
        return save(rescue, writer, place.node, path)
    _copy_all(rescue, writer, place.node, path)
    return ""


def _is_newer(place: Place) -> bool:
    """Whether only a newer kist can read a node: its records are then copied as they are."""
    record = place.record
    return record is not None and bool(record.unknown_features)


def _keep_features(txn: Transaction, new: int, place: Place) -> None:
    """Give a node the feature masks that it had: what must be understood stays so."""
    record = directory.record(txn, new)
    if place.record is None or record is None:
        return
    old = place.record
    txn.put(
        keys.node(new),
        record._replace(
            features_read=old.features_read,
            features_write=old.features_write,
            features_ignorable=old.features_ignorable,
        ).pack(),
    )


def _copy_all(rescue: Rescue, writer: Writer, node: int, path: str) -> None:
    """Copy the records of a node of a kind that only a newer kist knows."""
    for key, value in rescue.scan(keys.whole_node(node)):
        if keys.kind_of(key) not in (b"N", b"D", b"A", b"M"):
            wrong = writer.copy(key, value)
            if wrong:
                rescue.lose(path, f"record {key[8:].hex()} is missing: {wrong}")
    if rescue.remains.is_lost(keys.whole_node(node)):
        rescue.lose(path, "records may be missing: part of their list is lost")


def _note_tags(rescue: Rescue) -> None:
    names = [keys.tag_of(key) for key, _ in rescue.scan(keys.TAGS)]
    if names:
        shown = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
        rescue.report.notes.append(f"history and tags are not saved; there were {shown}")
