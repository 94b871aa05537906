"""AES-256-GCM: a key under a key, a small text under a key, a body in units.

Each key here seals once, or seals units that count their nonces. What may be used twice (secrets,
data keys) is the input of `derive.expand` with a fresh salt, never a key of this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final, NamedTuple

from kist.crypto.hidden import Hidden
from kist.extras import need

__all__ = ["TAG_BYTES", "Units", "seal_alone", "seal_once", "unseal_alone", "unseal_once"]

TAG_BYTES: Final = 16
_NONCES: Final = tuple(number.to_bytes(12, "little") for number in range(64))
"""Of the first units, which most bodies have no more than."""

Buffer = bytes | bytearray | memoryview


class _Library(NamedTuple):
    cipher: Any
    wrong_tag: type[Exception]


@cache
def _library() -> _Library:
    aead = need("cryptography.hazmat.primitives.ciphers.aead", "crypto", "sealed data")
    from cryptography.exceptions import InvalidTag

    return _Library(aead.AESGCM, InvalidTag)


def _cipher(key: Hidden) -> Any:
    return _library().cipher(key.reveal())


def _nonce(number: int) -> bytes:
    return _NONCES[number] if number < len(_NONCES) else number.to_bytes(12, "little")


def seal_once(key: Hidden, plain: Hidden, associated: bytes) -> bytes:
    """Seal a few bytes under a key that seals nothing else; 16 bytes longer."""
    sealed: bytes = _cipher(key).encrypt(_NONCES[0], plain.reveal(), associated)
    return sealed


def unseal_once(key: Hidden, sealed: bytes, associated: bytes) -> Hidden | None:
    """Return what `seal_once` sealed, None where the tag does not fit."""
    cipher = _cipher(key)
    if len(sealed) < TAG_BYTES:
        return None
    try:
        return Hidden(cipher.decrypt(_NONCES[0], sealed, associated))
    except _library().wrong_tag:
        return None


def seal_alone(base: Hidden, info: bytes, plain: Buffer, associated: bytes) -> bytes:
    """Seal the one unit of a body: what `unseal_alone` opens."""
    sealed: bytes = _library().cipher(base.mac(info)).encrypt(_NONCES[0], plain, associated)
    return sealed


def unseal_alone(base: Hidden, info: bytes, sealed: Buffer, associated: Buffer) -> bytes | None:
    """Return the plaintext of the one unit of a body, None where its tag does not fit.

    Parameters
    ----------
    base, info : Hidden, bytes
        What the key of the body follows from: `kist.crypto.derive.info`.
    """
    found = _library()
    try:  # the key is in no variable, which a traceback would show
        plain: bytes = found.cipher(base.mac(info)).decrypt(_NONCES[0], sealed, associated)
    except found.wrong_tag:
        return None
    return plain


class Units:
    """Seals and unseals the units of one body; their nonces are their numbers.

    Parameters
    ----------
    key : Hidden
        Of this body alone.
    associated : bytes
        What each unit is bound to.
    """

    __slots__ = ("_associated", "_cipher")

    def __init__(self, key: Hidden, associated: bytes) -> None:
        self._cipher = _cipher(key)
        self._associated = associated

    @classmethod
    def following(cls, base: Hidden, info: bytes, associated: bytes) -> Units:
        """Return those of the body whose key follows from another: `kist.crypto.derive.info`."""
        units = cls.__new__(cls)
        units._cipher = _library().cipher(base.mac(info))
        units._associated = associated
        return units

    def __repr__(self) -> str:
        return "<units of a sealed body>"

    def seal(self, step: int, plain: memoryview, out: memoryview) -> None:
        """Write all units of a plaintext, cut every `step` bytes, to `out`."""
        n_units = max(1, -(-len(plain) // step))
        self.seal_units([plain[i * step : (i + 1) * step] for i in range(n_units)], out)

    def seal_units(self, units: Iterable[memoryview], out: memoryview) -> None:
        """Write all units of a plaintext to `out`."""
        seal, associated = self._cipher.encrypt_into, self._associated
        at = 0
        for number, unit in enumerate(units):
            end = at + len(unit) + TAG_BYTES
            seal(_nonce(number), unit, associated, out[at:end])
            at = end

    def unseal_first(self, sealed: Buffer) -> bytes | None:
        """Return the plaintext of the first unit, None where its tag does not fit."""
        try:
            plain: bytes = self._cipher.decrypt(_NONCES[0], sealed, self._associated)
        except _library().wrong_tag:
            return None
        return plain

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
        unseal, associated = self._cipher.decrypt_into, self._associated
        at = begin = 0
        number = first
        try:
            while begin < len(sealed):
                stop = min(at + step, len(out))
                end = begin + stop - at + TAG_BYTES
                unseal(_nonce(number), sealed[begin:end], associated, out[at:stop])
                at, begin, number = stop, end, number + 1
        except _library().wrong_tag:
            return number
        return None
