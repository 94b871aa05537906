"""Bytes that must not be shown by accident."""

from __future__ import annotations

import hmac
import os
from typing import Any, NoReturn

from kist.errors import SecretError

__all__ = ["Hidden"]


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
    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    @classmethod
    def random(cls) -> Hidden:
        """Return a key of 256 random bits of the system."""
        # Not a generator of this process: a fork would copy it.
        return cls(os.urandom(32))

    def reveal(self) -> bytes:
        """Return the bytes; for the argument of a call, not for a variable."""
        return self._value

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
