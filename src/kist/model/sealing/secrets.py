"""The secrets of a dataset that is sealed as a whole: made with it, added, removed, rotated.

Nothing here is written in clear: a lock holds keys under keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kist.engine import fieldkeys
from kist.engine.keyring import keyring_of
from kist.errors import DTypeError, SecretError
from kist.format.sealed import Lock
from kist.model.sealing.field import put_lock, read_lock
from kist.model.tables.input.encrypt import labelled

if TYPE_CHECKING:
    from kist.crypto.secret import Secret
    from kist.engine import Transaction, View
    from kist.engine.fieldkeys import FieldKeys
    from kist.model.sealing.field import SealedField

__all__ = [
    "Encryption",
    "add_secret",
    "labels",
    "new_lock",
    "of_its_group",
    "remove_secret",
    "rotated",
]


class Encryption:
    """What was given as ``encrypt=``, its secrets out of sight at once.

    Parameters
    ----------
    given : secret, list of secrets, or dict of labels and secrets
        All of them open the dataset.

    Raises
    ------
    SecretError
        Something is no secret, or there is none.
    """

    __slots__ = ("secrets",)

    def __init__(self, given: Any) -> None:
        try:
            self.secrets: Mapping[str, Secret] = labelled(given)
        finally:
            given = None  # a traceback would show it

    def __repr__(self) -> str:
        return f"<encrypt with {len(self.secrets)} secrets>"


def new_lock(txn: Transaction, node: int, encrypt: Encryption) -> FieldKeys:
    """Put the lock of a new dataset; return its keys."""
    lock, opened = fieldkeys.make_lock(encrypt.secrets)
    _put(txn, node, lock, opened)
    return opened


def labels(view: View, node: int) -> tuple[str, ...]:
    """Return the labels of the secrets that open a dataset; needs none."""
    packed = read_lock(view, node)
    return () if packed is None else tuple(slot.label for slot in Lock.unpack(packed).slots)


def add_secret(txn: Transaction, field: SealedField, secret: Any, label: str | None) -> str:
    """Let one more secret open a dataset; return its label."""
    try:
        lock = _lock(field)
        given = {label: secret} if label is not None else secret
        new = labelled(given, [slot.label for slot in lock.slots])
        if len(new) > 1:
            raise SecretError(f"{len(new)} secrets: add_secret takes them one by one")
        ((name, own),) = new.items()
        _put(txn, field.node, fieldkeys.add_secret(lock, field.keys, name, own), field.keys)
        return name
    finally:
        secret = given = None  # a traceback would show it


def remove_secret(txn: Transaction, field: SealedField, label: str) -> None:
    """Let a secret no longer open a dataset."""
    _put(txn, field.node, fieldkeys.remove_secret(_lock(field), label), field.keys)


def rotated(txn: Transaction, field: SealedField, secrets: Any, *, forget: bool) -> FieldKeys:
    """Put a lock with a new data key; return the keys that it opens.

    Parameters
    ----------
    secrets : secret, list, or dict of labels and secrets, optional
        All that shall open the dataset; those of now by default.
    forget : bool
        Leave out the old data keys: all is sealed anew.
    """
    try:
        own = None if secrets is None else labelled(secrets)
    finally:
        secrets = None  # a traceback would show it
    lock, after = fieldkeys.rotate(_lock(field), field.keys, own, forget=forget)
    _put(txn, field.node, lock, after)
    return after


def not_sealed(kind: str, path: str, what: str) -> DTypeError:
    """Return the error of a dataset that has no secrets to change."""
    return DTypeError(
        f"{what} {path!r}: the {kind} is not sealed. What is in clear stays in older versions and "
        f"backups: make a new one with encrypt= and copy the values"
    )


def of_its_group(kind: str, path: str, what: str) -> SecretError:
    """Return the error of a dataset whose secrets are those of the group that it stands in."""
    return SecretError(
        f"{what} {path!r}: the {kind} stands in a sealed group, whose secrets open it: change those"
    )


def _lock(field: SealedField) -> Lock:
    packed = read_lock(field.view, field.node)
    assert packed is not None
    return Lock.unpack(packed)


def _put(txn: Transaction, node: int, lock: Lock, opened: FieldKeys) -> None:
    packed = lock.pack()
    keyring_of(txn.reader).remember(packed, opened)
    put_lock(txn, node, packed)
