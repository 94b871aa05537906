"""The keys of a sealed field: made, opened with a secret, given to further secrets, rotated.

    secret --(slot)--> field key --(ring)--> data keys

`FieldKeys` is an opened field, `kist.format.sealed.Lock` the record that opens it. Every function
here gives a new record and leaves the old one alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from kist.crypto.aead import seal_once, unseal_once
from kist.crypto.derive import SALT_BYTES, Work, expand
from kist.crypto.hidden import Hidden
from kist.crypto.secret import Secret, Terms
from kist.engine.sealed import DataKey
from kist.errors import CorruptDataError, SecretError, TamperedDataError, WrongSecretError
from kist.format.sealed import (
    MAX_KEYS,
    MAX_LABEL,
    MAX_SLOTS,
    NAME_BYTES,
    Lock,
    SlotRecord,
)

__all__ = ["FieldKeys", "add_secret", "make_lock", "open_lock", "remove_secret", "rotate"]

_RING: Final = b"kist 1 ring"


class FieldKeys:
    """An opened field.

    Attributes
    ----------
    data : dict of bytes to Hidden
        Its data keys by their names.
    current : DataKey
        The one to seal under.
    """

    __slots__ = ("_field", "current", "data")

    def __init__(self, field: Hidden, data: dict[bytes, Hidden]) -> None:
        self._field = field
        self.data = data
        name = next(reversed(data))
        self.current = DataKey(name, data[name])

    def __repr__(self) -> str:
        return f"<opened field, {len(self.data)} data keys>"

    def key_of(self, label: bytes) -> Hidden:
        """Return the key of the field for another use, by its label."""
        return expand(self._field, label)


def make_lock(
    secrets: Mapping[str, Secret], first_commit: int | None = None
) -> tuple[Lock, FieldKeys]:
    """Return the lock of a new field, and the field opened.

    Parameters
    ----------
    secrets : dict of str to Secret
        Label -> secret, at least one. Labels stand in clear.
    first_commit : int, optional
        Of a store: the first commit that is sealed under its data key.

    Raises
    ------
    SecretError
        No secret, too many, or a label that is too long.
    """
    keys = FieldKeys(Hidden.random(), _new_key({}, first_commit))
    return _locked(keys, _slots(keys, secrets)), keys


def open_lock(lock: Lock, secrets: Iterable[Secret]) -> FieldKeys:
    """Return the field that a lock closes, with the first secret that opens it.

    Raises
    ------
    WrongSecretError
        None does.
    CorruptDataError
        None does, and slots are damaged or ask for too much work.
    TamperedDataError
        A secret opens its slot, but the data keys are not those of the field.
    """
    refused = f"{lock.damaged} key slots fail their checksum" if lock.damaged else ""
    for secret in secrets:
        for slot in lock.slots:
            try:
                key = secret.key(_terms(slot))
            except CorruptDataError as error:
                refused = str(error)  # the slots beside it may open all the same
                continue
            field = None if key is None else unseal_once(key, slot.wrapped, slot.terms())
            if field is not None:
                return FieldKeys(field, _open_ring(lock, field))
    if refused:
        raise CorruptDataError(f"no secret opens this field, and {refused}")
    raise WrongSecretError(f"no secret opens this field; it has {_labels(lock)}")


def add_secret(lock: Lock, keys: FieldKeys, label: str, secret: Secret) -> Lock:
    """Return a lock that one more secret opens; the data stay as they are.

    Raises
    ------
    SecretError
        There are 16 already, or one of that label.
    """
    if any(slot.label == label for slot in lock.slots):
        raise SecretError(f"there is a secret {label!r} already; it has {_labels(lock)}")
    slots = (*lock.slots, *_slots(keys, {label: secret}))
    if len(slots) > MAX_SLOTS:
        raise SecretError(f"a field has at most {MAX_SLOTS} secrets; it has {_labels(lock)}")
    return lock._replace(slots=slots, damaged=0)


def remove_secret(lock: Lock, label: str) -> Lock:
    """Return a lock that a secret does not open any more.

    Who had the secret may have kept the field key: `rotate` with the other secrets locks them out.

    Raises
    ------
    SecretError
        There is none of that label, or no other one.
    """
    slots = tuple(slot for slot in lock.slots if slot.label != label)
    if len(slots) == len(lock.slots):
        raise SecretError(f"there is no secret {label!r}; it has {_labels(lock)}")
    if not slots:
        raise SecretError(f"{label!r} is the only secret: without it nobody could read the field")
    return lock._replace(slots=slots, damaged=0)


def rotate(
    lock: Lock,
    keys: FieldKeys,
    secrets: Mapping[str, Secret] | None = None,
    *,
    forget: bool = False,
    first_commit: int | None = None,
) -> tuple[Lock, FieldKeys]:
    """Return a lock with a new data key for what is written from now on.

    Parameters
    ----------
    secrets : dict of str to Secret, optional
        All secrets that shall open the field. Given, the field key is new too, so that whoever
        had another secret cannot open what is sealed from now on. Else all secrets stay.
    forget : bool
        Leave out the data keys that were there: all is sealed anew.
    first_commit : int, optional
        Of a store: the first commit that is sealed under the new data key.

    Raises
    ------
    SecretError
        The field has 1,024 data keys: rewrite it, and drop those that nothing needs.
    """
    before = {} if forget else keys.data
    if len(before) >= MAX_KEYS:
        raise SecretError(f"the field has {MAX_KEYS:,} data keys: rewrite what is under old ones")
    if secrets is None:
        after = FieldKeys(keys._field, _new_key(before, first_commit))
        return _locked(after, lock.slots), after
    after = FieldKeys(Hidden.random(), _new_key(before, first_commit))
    return _locked(after, _slots(after, secrets)), after


def _new_key(data: Mapping[bytes, Hidden], first_commit: int | None) -> dict[bytes, Hidden]:
    name = os.urandom(NAME_BYTES)
    if first_commit is not None:
        name = name[:8] + first_commit.to_bytes(8, "little")
    return {**data, name: Hidden.random()}


def _locked(keys: FieldKeys, slots: Sequence[SlotRecord]) -> Lock:
    names = tuple(keys.data)
    salt = os.urandom(SALT_BYTES)
    ring = Hidden(b"".join(key.reveal() for key in keys.data.values()))
    sealed = seal_once(expand(keys._field, _RING, salt), ring, b"".join(names))
    return Lock(tuple(slots), names, salt, sealed)


def _open_ring(lock: Lock, field: Hidden) -> dict[bytes, Hidden]:
    ring = unseal_once(expand(field, _RING, lock.salt), lock.ring, b"".join(lock.names))
    if ring is None:
        raise TamperedDataError(
            "a secret opens its slot, but the data keys beside it are not those of the field:"
            " do not trust the file"
        )
    return {
        name: Hidden(ring.reveal()[at * 32 : at * 32 + 32]) for at, name in enumerate(lock.names)
    }


def _slots(keys: FieldKeys, secrets: Mapping[str, Secret]) -> list[SlotRecord]:
    if not 0 < len(secrets) <= MAX_SLOTS:
        raise SecretError(f"a field has 1 to {MAX_SLOTS} secrets, not {len(secrets)}")
    slots = []
    for label, secret in secrets.items():
        if len(label.encode()) > MAX_LABEL:
            raise SecretError(f"a label has at most {MAX_LABEL} bytes: {label[:40]!r}...")
        terms, key = secret.begin()
        slot = SlotRecord(terms.kind, *terms.work, terms.work_salt, terms.salt, label, terms.note)
        slots.append(slot._replace(wrapped=seal_once(key, keys._field, slot.terms())))
    return slots


def _terms(slot: SlotRecord) -> Terms:
    work = Work(slot.log_n, slot.r, slot.p)
    return Terms(slot.kind, slot.salt, work, slot.work_salt, slot.note)


def _labels(lock: Lock) -> str:
    kinds = {1: "raw key", 2: "passphrase", 4: "key service"}
    shown = [f"{slot.label!r} ({kinds.get(slot.kind, 'unknown')})" for slot in lock.slots]
    return "secrets " + ", ".join(shown) if shown else "no whole key slot"
