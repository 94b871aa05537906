"""Bytes that must not be shown by accident."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from kist.errors import SecretError

__all__ = ["Held", "Hidden"]

# Fills a key up to a block of SHA-256, as HMAC does (RFC 2104).
_BLOCK: Final = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


class Held:
    """What a user gave, on its way through calls: a local variable in a frame does not show it.

    Attributes
    ----------
    given : object
        For the argument of a call, not for a variable.
    """

    __slots__ = ("given",)

    def __init__(self, given: object) -> None:
        self.given = given

    def __repr__(self) -> str:
        return "<given>"


class Hidden:
    """Secret bytes, which neither `repr` nor tracebacks, formatting, copies or pickles show.

    Parameters
    ----------
    value : bytes
        What is hidden.

    Examples
    --------
    >>> Hidden(bytes(32))
    <32 hidden bytes>
    """

    # No __dict__: vars() would show it.
    __slots__ = ("_begun", "_value", "batches")

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)
        self._begun: tuple[Any, Any] | None = None
        self.batches: Any = None  # ciphers that were made of it, `kist.crypto.batch`

    @classmethod
    def random(cls) -> Hidden:
        """Return a key of 256 random bits of the system."""
        # Not a generator of this process: a fork would copy it.
        return cls(os.urandom(32))

    def reveal(self) -> bytes:
        """Return the bytes; for the argument of a call, not for a variable."""
        return self._value

    def mac(self, message: bytes) -> bytes:
        """Return the HMAC-SHA256 of a message under these bytes.

        What depends on the key alone is hashed once: with a few bytes of message that makes it
        five times as fast as `hmac.digest`, and it is done for each sealed body and record.
        """
        begun = self._begun or self._begin()
        inner, outer = begun[0].copy(), begun[1].copy()
        inner.update(message)
        outer.update(inner.digest())
        digest: bytes = outer.digest()
        return digest

    def xor_of_macs(self, messages: Iterable[bytes]) -> tuple[int, int]:
        """Return the XOR of what `mac` gives for many messages, little-endian, and their number."""
        begun_inner, begun_outer = self._begun or self._begin()
        found = n = 0
        for message in messages:
            inner, outer = begun_inner.copy(), begun_outer.copy()
            inner.update(message)
            outer.update(inner.digest())
            found ^= int.from_bytes(outer.digest(), "little")
            n += 1
        return found, n

    def _begin(self) -> tuple[Any, Any]:
        begun = self._begun = self._padded(_INNER), self._padded(_OUTER)
        return begun

    def _padded(self, pad: bytes) -> Any:
        if len(self._value) > _BLOCK:
            return Hidden(hashlib.sha256(self._value).digest())._padded(pad)
        return hashlib.sha256(self._value.ljust(_BLOCK, b"\0").translate(pad))

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return f"<{len(self._value)} hidden bytes>"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hidden):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("a key is not pickled or copied: give the secret to the other process")
