"""The secrets of a sealed group: added, removed, rotated with all that stands below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kist.engine import fieldkeys
from kist.errors import SecretError
from kist.format.node import NodeKind
from kist.model import directory
from kist.model.sealing import attributes
from kist.model.sealing.groups import (
    INHERITED,
    SealedPlace,
    lock_of,
    put_group_lock,
    secret_of,
)
from kist.model.tables.input.encrypt import labelled

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.model.store import Store

__all__ = ["add_secret", "remove_secret", "rotate"]


def add_secret(txn: Transaction, group: int, secret: Any, label: str | None) -> str:
    """Let one more secret open a group; return its label."""
    try:
        lock, place = lock_of(txn, group)
        given = {label: secret} if label is not None else secret
        new = labelled(given, [slot.label for slot in lock.slots])
        if len(new) > 1:
            raise SecretError(f"{len(new)} secrets: add_secret takes them one by one")
        ((name, own),) = new.items()
        put_group_lock(txn, group, fieldkeys.add_secret(lock, place.keys, name, own), place.keys)
        return name
    finally:
        secret = given = None  # a traceback would show it


def remove_secret(txn: Transaction, group: int, label: str) -> None:
    """Let a secret no longer open a group."""
    lock, place = lock_of(txn, group)
    put_group_lock(txn, group, fieldkeys.remove_secret(lock, label), place.keys)


def rotate(store: Store, txn: Transaction, group: int, secrets: Any, *, now: bool) -> None:
    """Give a group, and all datasets below it, new keys.

    Parameters
    ----------
    secrets : secret, list, or dict of labels and secrets, optional
        All that shall open the group; those of now by default.
    now : bool
        Seal the datasets again too. Attributes are sealed again in any case, so the lock of a
        group has one data key.
    """
    from kist.model.handles import make_handle

    try:
        own = None if secrets is None else labelled(secrets)
    finally:
        secrets = None  # a traceback would show it
    lock, place = lock_of(txn, group)
    below = list(directory.walk(txn, group, place.path))
    # All of them as they were before anything is another: what is sealed anew is vouched for.
    places = [place, *(SealedPlace.find(txn, entry.node, path) for path, entry in below)]
    lock, after = fieldkeys.rotate(lock, place.keys, own, forget=True)
    inherited = {INHERITED: secret_of(after)}
    for path, entry in below:
        if entry.kind == NodeKind.GROUP:
            continue
        dataset: Any = make_handle(store, txn, entry.node, path)
        if entry.kind == NodeKind.TABLE:
            from kist.model.tables.changes.secrets import rotate as rotate_table

            rotate_table(dataset, None, inherited, now)
        else:
            dataset._rotate(txn, inherited, now)
    put_group_lock(txn, group, lock, after)
    for before in places:
        new = SealedPlace.begin(txn, before.node, before.path, after, before.more.reveal())
        attributes.reseal(txn, before, new)
        new.vouch(txn)
