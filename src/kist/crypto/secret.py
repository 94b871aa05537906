"""What users give to open a field: raw keys, passphrases, key services."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, NamedTuple, NoReturn

from kist._kernels.callers import user_level
from kist.crypto.derive import (
    DEFAULT_WORK,
    SALT_BYTES,
    Work,
    expand,
    extract,
    pass_bytes,
    stretch,
)
from kist.crypto.hidden import Hidden
from kist.errors import SecretError, WeakSecretWarning

__all__ = ["MAX_NOTE", "WORK_SALT_BYTES", "Secret", "SecretKind", "Terms"]

KEY_BYTES: Final = 32
WORK_SALT_BYTES: Final = 16
MAX_NOTE: Final = 1024
"""Most bytes of the note of a key service."""

_SLOT: Final = b"kist 1 slot"
_GOOD_LENGTH: Final = 12
_GOOD_VARIETY: Final = 6
_NO_KEY: Final = f"a key service gives keys of {KEY_BYTES} bytes; this one did not"

Service = Callable[[bytes | None], Any]


class SecretKind(IntEnum):
    """Kinds of secrets, by their numbers in the file."""

    RAW = 1
    SCRYPT = 2
    SERVICE = 4


class Terms(NamedTuple):
    """What a slot says in clear about how its key follows from a secret.

    Attributes
    ----------
    kind : int
        A `SecretKind`.
    salt : bytes
        32 random bytes of this slot.
    work : Work
        Of passphrases; zeros otherwise.
    work_salt : bytes
        Salt of scrypt, 16 bytes.
    note : bytes
        Of a key service.
    """

    kind: int
    salt: bytes
    work: Work = Work(0, 0, 0)
    work_salt: bytes = bytes(WORK_SALT_BYTES)
    note: bytes = b""


class Secret:
    """A secret as users give it.

    Parameters
    ----------
    given : bytes, str or callable
        A raw key of 32 bytes, a passphrase, or a key service: called with None it returns a key
        of 32 bytes and a note that leads to it again; called with that note, the key.

    Raises
    ------
    SecretError
        It is none of these.

    Examples
    --------
    >>> Secret("correct horse battery staple")
    <secret: a passphrase>
    """

    __slots__ = ("_key", "_lock", "_service", "_stretched", "_work_salt", "kind")

    def __init__(self, given: object) -> None:
        self._key = Hidden(b"")
        self._service: Service | None = None
        self._stretched: dict[tuple[Work, bytes], Hidden] = {}
        self._lock = threading.Lock()
        # One for all slots that this object makes: scrypt is dear, and the salt of the slot keeps
        # their keys apart.
        self._work_salt = os.urandom(WORK_SALT_BYTES)
        if isinstance(given, str):
            if not given:
                raise SecretError("an empty passphrase protects nothing")
            self.kind = SecretKind.SCRYPT
            self._key = pass_bytes(given)
        elif isinstance(given, bytes | bytearray | memoryview):
            if len(given) != KEY_BYTES:
                n, given = len(given), None  # perhaps a passphrase: not into a traceback
                raise SecretError(
                    f"a raw key has {KEY_BYTES} bytes, not {n}; a passphrase is a str"
                )
            self.kind = SecretKind.RAW
            self._key = Hidden(bytes(given))
        elif callable(given):
            self.kind = SecretKind.SERVICE
            self._service = given
        else:
            kind, given = type(given).__name__, None
            raise SecretError(f"a secret is 32 bytes, a passphrase or a callable, not {kind}")

    def __repr__(self) -> str:
        names: dict[int | None, str] = {
            SecretKind.RAW: "a raw key",
            SecretKind.SCRYPT: "a passphrase",
            SecretKind.SERVICE: "a key service",
        }
        # A traceback may show an object that was never finished.
        return f"<secret: {names.get(getattr(self, 'kind', None), 'none')}>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError(
            "a secret is not pickled or copied: give it to the other process yourself"
        )

    def begin(self, work: Work = DEFAULT_WORK) -> tuple[Terms, Hidden]:
        """Return the terms of a new slot, and the key that goes with them.

        Warns
        -----
        WeakSecretWarning
            The passphrase is short, or of few different characters.
        """
        salt = os.urandom(SALT_BYTES)
        if self._service is not None:
            key, note = _made(self._service(None))
            return Terms(self.kind, salt, note=note), _slot_key(key, salt)
        if self.kind == SecretKind.RAW:
            terms = Terms(self.kind, salt)
        else:
            self._warn_if_weak()
            terms = Terms(self.kind, salt, work, self._work_salt)
        key_of = self.key(terms)
        assert key_of is not None
        return terms, key_of

    def key(self, terms: Terms) -> Hidden | None:
        """Return the key of a slot, None when the slot is for another kind of secret.

        Raises
        ------
        CorruptDataError
            The slot asks for more work than allowed.
        SecretError
            The service gives something that is no key.
        """
        if terms.kind != self.kind:
            return None
        if self._service is not None:
            key = _as_key(self._service(terms.note))
            if key is None:
                raise SecretError(_NO_KEY)
            return _slot_key(key, terms.salt)
        if self.kind == SecretKind.RAW:
            return _slot_key(self._key, terms.salt)
        return _slot_key(self._stretch(terms.work, terms.work_salt), terms.salt)

    def _stretch(self, work: Work, salt: bytes) -> Hidden:
        with self._lock:  # two threads at once would take twice the memory
            found = self._stretched.get((work, salt))
            if found is None:
                found = self._stretched[work, salt] = stretch(self._key, work, salt)
            return found

    def _warn_if_weak(self) -> None:
        if len(self._key) < _GOOD_LENGTH or len(set(self._key.reveal())) < _GOOD_VARIETY:
            warnings.warn(
                "this passphrase can be guessed: take four random words, or a raw key of 32 bytes"
                " (os.urandom(32))",
                WeakSecretWarning,
                stacklevel=user_level(),
            )


def _slot_key(key: Hidden, salt: bytes) -> Hidden:
    return expand(extract(key, salt), _SLOT)


def _made(answer: object) -> tuple[Hidden, bytes]:
    # Here and below: what may be a key is let go before an error can take it into a traceback.
    if not isinstance(answer, tuple) or len(answer) != 2:
        answer = None
        raise SecretError("a key service, called with None, returns a key and a note")
    given, note = answer
    answer = None
    key, given = _as_key(given), None
    if key is None:
        raise SecretError(_NO_KEY)
    if not isinstance(note, bytes) or len(note) > MAX_NOTE:
        raise SecretError(f"the note of a key service is at most {MAX_NOTE:,} bytes")
    return key, note


def _as_key(answer: object) -> Hidden | None:
    if not isinstance(answer, bytes | bytearray) or len(answer) != KEY_BYTES:
        return None
    return Hidden(bytes(answer))
