"""The secrets of a store that is sealed as a whole: who opens it, and what it is sealed under."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kist.crypto.hidden import Held
from kist.engine import fieldkeys
from kist.engine.keyring import Keyring
from kist.engine.sealedstore import StoreSealing
from kist.errors import SecretError
from kist.model.tables.input.encrypt import labelled
from kist.model.transactions import Turn

if TYPE_CHECKING:
    from kist.crypto.secret import Secret
    from kist.model.session import Session

__all__ = ["Held", "add_secret", "for_new_store", "remove_secret", "rotate"]


def for_new_store(given: Any, keyring: Keyring | None) -> tuple[Mapping[str, Secret], Keyring]:
    """Return the secrets of a store that may be made, and a keyring that opens it.

    Raises
    ------
    SecretError
        Something is no secret.
    """
    try:
        secrets = labelled(given)
    finally:
        given = None  # a traceback would show it
    if keyring is None:
        keyring = Keyring()
    keyring.add_store_secrets(tuple(secrets.values()))
    return secrets, keyring


def add_secret(session: Session, held: Held, label: str | None) -> str:
    """Let one more secret open the store; return its label."""
    given: Any = None
    try:
        given = {label: held.given} if label is not None else held.given
        sealing = session.engine.reader.sealing
        taken = () if sealing is None else [slot.label for slot in sealing.lock.slots]
        new = labelled(given, taken)
    finally:
        given = None  # a traceback would show it
    if len(new) > 1:
        raise SecretError(f"{len(new)} secrets: add_secret takes them one by one")
    ((name, own),) = new.items()

    def more(now: StoreSealing, commit: int) -> StoreSealing:
        lock = fieldkeys.add_secret(now.lock, now.keys, name, own)
        return StoreSealing(lock, now.keys, now.path)

    _relock(session, "add_secret", more)
    return name


def remove_secret(session: Session, label: str) -> None:
    """Let a secret no longer open the store."""

    def fewer(now: StoreSealing, commit: int) -> StoreSealing:
        return StoreSealing(fieldkeys.remove_secret(now.lock, label), now.keys, now.path)

    _relock(session, "remove_secret", fewer)


def rotate(session: Session, held: Held, now: bool) -> None:
    """Draw a new data key for what is written from now on."""
    own = None if held.given is None else labelled(held.given)

    def turned(before: StoreSealing, commit: int) -> StoreSealing:
        lock, keys = fieldkeys.rotate(before.lock, before.keys, own, first_commit=commit)
        return StoreSealing(lock, keys, before.path)

    _relock(session, "rotate", turned)
    keyring = session.engine.reader.keyring
    if own is not None and keyring is not None:
        keyring.add_store_secrets(tuple(own.values()))
    if now:
        with Turn(session, "rotate"):
            session.engine.reseal()


def _relock(session: Session, what: str, make: Callable[[StoreSealing, int], StoreSealing]) -> None:
    with Turn(session, what):
        engine = session.engine
        if engine.reader.sealing is None:
            raise SecretError(
                f"{engine.path}: {what}: the store is not sealed. What is in clear stays in the"
                " file: make a new one with kist.open(path, 'x', encrypt=) and copy what is in this"
                " one"
            )
        engine.relock(make)
