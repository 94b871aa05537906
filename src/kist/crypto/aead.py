"""AES-256-GCM: a key under a key, a small text under a key, a body in units.

Each key here seals once, or the units of one body, whose nonces are their numbers, or the bodies of
one batch, each of which has its own part of the nonce (`kist.crypto.batch`). What may be used twice
otherwise (secrets, data keys) is the input of `derive.expand` with a fresh salt, never a key here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from kist.crypto.hidden import Hidden
from kist.extras import need

__all__ = [
    "ALONE",
    "TAG_BYTES",
    "Units",
    "cipher_of",
    "seal_first",
    "seal_once",
    "unseal_first",
    "unseal_once",
]

TAG_BYTES: Final = 16
ALONE: Final = bytes(8)
"""The own part of the nonces of a body that has its key for itself."""

_COUNTS: Final = tuple(number.to_bytes(4, "little") for number in range(64))
"""Of the first units, which most bodies have no more than."""
_FIRST: Final = _COUNTS[0]
_ONCE: Final = _FIRST + ALONE

Buffer = bytes | bytearray | memoryview


class _Library(NamedTuple):
    cipher: Any
    wrong_tag: type[Exception]


@cache
def _library() -> _Library:
    aead = need("cryptography.hazmat.primitives.ciphers.aead", "crypto", "sealed data")
    from cryptography.exceptions import InvalidTag

    return _Library(aead.AESGCM, InvalidTag)


def cipher_of(key: Hidden, message: bytes) -> Any:
    """Return the cipher of the key that follows from another and a message.

    The key itself is in no variable, which a traceback would show.
    """
    return _library().cipher(key.mac(message))


def _cipher(key: Hidden) -> Any:
    return _library().cipher(key.reveal())


def _counts(stop: int, start: int = 0) -> Sequence[bytes]:
    """Return the numbers of units as nonces have them."""
    if stop <= len(_COUNTS):
        return _COUNTS[start:stop]
    return [number.to_bytes(4, "little") for number in range(start, stop)]


def seal_once(key: Hidden, plain: Hidden, associated: bytes) -> bytes:
    """Seal a few bytes under a key that seals nothing else; 16 bytes longer."""
    sealed: bytes = _cipher(key).encrypt(_ONCE, plain.reveal(), associated)
    return sealed


def unseal_once(key: Hidden, sealed: bytes, associated: bytes) -> Hidden | None:
    """Return what `seal_once` sealed, None where the tag does not fit."""
    cipher = _cipher(key)
    if len(sealed) < TAG_BYTES:
        return None
    try:
        return Hidden(cipher.decrypt(_ONCE, sealed, associated))
    except _library().wrong_tag:
        return None


def seal_first(cipher: Any, own: bytes, plain: Buffer, associated: bytes) -> bytes:
    """Seal the one unit of a body: what `unseal_first` opens."""
    sealed: bytes = cipher.encrypt(_FIRST + own, plain, associated)
    return sealed


def unseal_first(cipher: Any, own: bytes, sealed: Buffer, associated: Buffer) -> bytes | None:
    """Return the plaintext of the one unit of a body, None where its tag does not fit.

    Parameters
    ----------
    cipher : object
        From `cipher_of`.
    own : bytes
        The part of the nonce that is the body's own, 8 bytes.
    """
    try:
        plain: bytes = cipher.decrypt(_FIRST + own, sealed, associated)
    except _library().wrong_tag:
        return None
    return plain


class Units:
    """Seals and unseals the units of one body; their nonces are their numbers and what is its own.

    Parameters
    ----------
    cipher : object
        From `cipher_of`.
    associated : bytes
        What each unit is bound to.
    own : bytes
        The part of the nonce that no other body under this key has, 8 bytes.
    """

    __slots__ = ("_associated", "_cipher", "_own")

    def __init__(self, cipher: Any, associated: bytes, own: bytes = ALONE) -> None:
        self._cipher = cipher
        self._associated = associated
        self._own = own

    @classmethod
    def under(cls, key: Hidden, associated: bytes) -> Units:
        """Return those of a body that has its key for itself."""
        return cls(_cipher(key), associated)

    def __repr__(self) -> str:
        return "<units of a sealed body>"

    def seal(
        self, step: int, plain: memoryview, out: memoryview, first: int = 0
    ) -> list[memoryview]:
        """Write neighbouring units of a plaintext to their places.

        Parameters
        ----------
        step : int
            Plaintext bytes of each unit but the last of the body.
        plain : memoryview
            Of the units from number `first` on.
        out : memoryview
            Where all units of the body go.

        Returns
        -------
        list of memoryview
            These units in `out`.
        """
        seal, associated, own = self._cipher.encrypt_into, self._associated, self._own
        sealed = []
        begin, at = first * (step + TAG_BYTES), 0
        for count in _counts(first + (-(-len(plain) // step) or 1), first):
            unit = out[begin : begin + step + TAG_BYTES]
            seal(count + own, plain[at : at + step], associated, unit)
            sealed.append(unit)
            begin += step + TAG_BYTES
            at += step
        return sealed

    def unseal_first(self, sealed: Buffer) -> bytes | None:
        """Return the plaintext of the first unit, None where its tag does not fit."""
        return unseal_first(self._cipher, self._own, sealed, self._associated)

    def unseal(self, step: int, first: int, sealed: memoryview, out: memoryview) -> int | None:
        """Write the plaintext of neighbouring units to `out`.

        Parameters
        ----------
        step : int
            Plaintext bytes of each unit but the last of the body.
        first : int
            Number of the first of them.
        sealed, out : memoryview
            Where they stand, and as many bytes as they open to.

        Returns
        -------
        int or None
            The first unit whose tag does not fit; nothing of `out` may be used then.
        """
        unseal, associated, own = self._cipher.decrypt_into, self._associated, self._own
        sealed_step = step + TAG_BYTES
        begin = at = 0
        number = first
        try:
            for count in _counts(first + -(-len(sealed) // sealed_step), first):
                unit = sealed[begin : begin + sealed_step]
                unseal(count + own, unit, associated, out[at : at + step])
                begin += sealed_step
                at += step
                number += 1
        except _library().wrong_tag:
            return number
        return None
