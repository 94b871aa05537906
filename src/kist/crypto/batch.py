"""Batches: bodies that one process seals one after the other, under one key.

A key of its own for each body costs an HMAC and a cipher that is made anew, for the record of each
page and for the page: more than to open what most records hold. So bodies share a key, and what
is new to each is its own part of the nonce. That part is a count, which nobody can repeat: it is in
no file and goes on in no other process. Beside the count stand random bits, for the one case in
which memory itself is copied: a machine that was suspended, and is resumed twice. Why this holds:
docs/design/0022-one-key-for-many-bodies.md.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Final

from kist.crypto.aead import cipher_of
from kist.crypto.derive import info
from kist.crypto.hidden import Hidden

__all__ = ["COMMON_BYTES", "MAX_BODIES", "OWN_BYTES", "batch_cipher", "next_body"]

COMMON_BYTES: Final = 24
"""Of a salt, that all bodies of a batch have in common; random, so no two batches have the same."""
OWN_BYTES: Final = 8
"""Of a salt, that no other body of its batch has."""

MAX_BODIES: Final = 1 << 16
_MAX_BYTES: Final = 1 << 36  # as one body may have: what a cipher tells grows with the square

_BATCH: Final = b"kist 1 batch"
_KEPT: Final = 64
_COUNT: Final = 2

_lock = threading.Lock()
_forks = 0


class _Batch:
    __slots__ = ("cipher", "common", "left", "n_bodies", "owner")

    def __init__(self, cipher: Any, common: bytes) -> None:
        self.cipher = cipher
        self.common = common
        self.left = _MAX_BYTES
        self.n_bodies = 0
        self.owner = os.getpid(), _forks

    def takes(self, length: int) -> bool:
        """Tell whether a body of so many bytes may be one of this batch."""
        mine = self.owner == (os.getpid(), _forks)  # a forked child would count on as its parent
        return mine and self.n_bodies < MAX_BODIES and length <= self.left


class _Batches:
    """Of one key: those that were met, and the one to seal under."""

    __slots__ = ("ciphers", "current")

    def __init__(self) -> None:
        self.ciphers: dict[bytes, Any] = {}
        self.current: _Batch | None = None


def batch_cipher(base: Hidden, common: bytes) -> Any:
    """Return the cipher of a batch; the last 64 are kept with the key that they follow from.

    Parameters
    ----------
    base : Hidden
        The data key.
    common : bytes
        What the salts of its bodies begin with.
    """
    batches = base.batches or _of(base)
    found = batches.ciphers.get(common)
    if found is None:
        found = cipher_of(base, info(_BATCH, common))
        while len(batches.ciphers) >= _KEPT:
            try:
                batches.ciphers.pop(next(iter(batches.ciphers)), None)
            except (StopIteration, RuntimeError):  # another thread was faster
                break
        batches.ciphers[common] = found
    return found


def next_body(base: Hidden, length: int) -> tuple[Any, bytes]:
    """Return a cipher, and a salt that no other body has: of the batch, or of a new one.

    Parameters
    ----------
    base : Hidden
        The data key.
    length : int
        Bytes of the plaintext.
    """
    # Of the system, also what is random in each body: a generator of this process is copied by a
    # fork, and by a machine that is resumed twice.
    random = os.urandom(OWN_BYTES - _COUNT)
    with _lock:
        batches = base.batches or _of(base)
        batch = batches.current
        if batch is None or not batch.takes(length):
            common = os.urandom(COMMON_BYTES)
            batch = batches.current = _Batch(batch_cipher(base, common), common)
        number = batch.n_bodies
        batch.n_bodies += 1
        batch.left -= length
        return batch.cipher, batch.common + number.to_bytes(_COUNT, "little") + random


def _of(base: Hidden) -> _Batches:
    found: _Batches | None = base.batches
    if found is None:
        found = base.batches = _Batches()
    return found


def _after_fork_in_child() -> None:
    global _forks, _lock
    _forks += 1
    _lock = threading.Lock()  # its holder does not exist here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
