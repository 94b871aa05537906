"""Keys that follow from other keys and from passphrases.

HKDF-SHA256 (RFC 5869) and scrypt (RFC 7914), both of Python's standard library. Labels keep uses
apart: no key is used for two things.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from typing import Final, NamedTuple

from kist.crypto.hidden import Hidden
from kist.errors import CorruptDataError

__all__ = [
    "DEFAULT_WORK",
    "SALT_BYTES",
    "Work",
    "expand",
    "extract",
    "info",
    "pass_bytes",
    "stretch",
]

SALT_BYTES: Final = 32
"""Bytes of salts: random ones of 256 bits do not meet again."""

_MIN_LOG_N, _MAX_LOG_N = 14, 20
_MAX_R, _MAX_P = 16, 4
_MAX_MEMORY = 256 << 20
_MAX_STEPS = 1 << 22


class Work(NamedTuple):
    """How dear it is to try a passphrase: the parameters of scrypt.

    Attributes
    ----------
    log_n : int
        Binary logarithm of the cost n.
    r, p : int
        Size of a block, and how often all is done.
    """

    log_n: int
    r: int
    p: int

    def check(self) -> None:
        """Refuse numbers that no writer uses, before they cost anything.

        Raises
        ------
        CorruptDataError
            They are too cheap to protect, or so dear that a file could stop the process.
        """
        usual = (
            _MIN_LOG_N <= self.log_n <= _MAX_LOG_N
            and 1 <= self.r <= _MAX_R
            and 1 <= self.p <= _MAX_P
        )
        # Only now: 2**255 is a number that nobody wants to compute with.
        if not usual or self.memory > _MAX_MEMORY or self.steps > _MAX_STEPS:
            raise CorruptDataError(
                f"a key slot asks for scrypt with n = 2**{self.log_n}, r = {self.r}, p = {self.p};"
                f" n = 2**{_MIN_LOG_N} to 2**{_MAX_LOG_N} and {_MAX_MEMORY >> 20} MiB are allowed"
            )

    @property
    def memory(self) -> int:
        """Bytes of memory it takes."""
        return 128 * self.r << self.log_n

    @property
    def steps(self) -> int:
        """What its time grows with."""
        return self.r * self.p << self.log_n


DEFAULT_WORK: Final = Work(17, 8, 1)
"""128 MiB and some tenths of a second."""


def extract(secret: Hidden, salt: bytes) -> Hidden:
    """Return a uniform key of secret bytes (HKDF-Extract)."""
    return Hidden(hmac.digest(salt, secret.reveal(), "sha256"))


def expand(key: Hidden, label: bytes, salt: bytes = b"") -> Hidden:
    """Return the key of a label and a salt (HKDF-Expand, 32 bytes, info = label + salt)."""
    return Hidden(key.mac(info(label, salt)))


def info(label: bytes, salt: bytes = b"") -> bytes:
    """Return what is hashed for a label and a salt, for who needs many keys."""
    return label + salt + b"\x01"


def stretch(passphrase: Hidden, work: Work, salt: bytes) -> Hidden:
    """Return the key of a passphrase (scrypt).

    Parameters
    ----------
    passphrase : Hidden
        UTF-8, as `pass_bytes` gives it.

    Raises
    ------
    CorruptDataError
        The parameters are out of bounds.
    """
    work.check()
    return Hidden(
        hashlib.scrypt(
            passphrase.reveal(),
            salt=salt,
            n=1 << work.log_n,
            r=work.r,
            p=work.p,
            maxmem=2 * _MAX_MEMORY,  # OpenSSL counts a little more than the rows
            dklen=32,
        )
    )


def pass_bytes(passphrase: str) -> Hidden:
    """Return a passphrase as bytes that do not depend on the system it was typed on."""
    return Hidden(unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass"))
