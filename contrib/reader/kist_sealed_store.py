"""Sealed stores: the chapter of that name of the format page.

`Sealing` is the lock of a store, opened: it vouches for slots, opens records of the log, and the
bodies that marked pointers lead to. Needs the package `cryptography`.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence

import xxhash
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from kist_sealed import HEAD, TAG, Tampered, WrongSecret, expand, open_field, open_lock
from kist_types import Damage, KistError

SEAL = struct.Struct("<4sIQ32s16s")
UNIT = 15


def seal_of(block: bytes) -> tuple[bytes, bytes] | None:
    """Tag and lock in the block of a slot; None where there is no whole seal of this slot."""
    magic, length, checkpoint, tag, total = SEAL.unpack_from(block, 512)
    lock = block[512 + SEAL.size : 512 + SEAL.size + length]
    if magic != b"LOCK" or len(lock) != length:
        return None
    if checkpoint != int.from_bytes(block[24:32], "little"):
        return None
    return (tag, lock) if xxhash.xxh3_128_digest(block[512:560] + lock)[::-1] == total else None


class Sealing:
    """The lock of a store, opened from the block of a slot with the first secret that does."""

    def __init__(self, block: bytes, secrets: Sequence[bytes | str]) -> None:
        found = seal_of(block)
        if found is None:
            raise Tampered("a sealed store with a slot without a lock")
        tag, lock = found
        if not secrets:
            raise KistError("the store is sealed: give a secret")
        for secret in secrets:
            try:
                field, keys = open_field(lock, secret), open_lock(lock, secret)
                break
            except WrongSecret:
                continue
        else:
            raise WrongSecret("no secret opens the store")
        key = expand(field, b"kist 1 slots")
        if hmac.digest(key, block[:148] + lock, "sha256") != tag:
            raise Tampered("the slot is not of a holder of the secret")
        self.keys = [(int.from_bytes(name[8:], "little"), name, keys[name]) for name in keys]

    def key(self, commit: int) -> tuple[bytes, bytes]:
        """Name and data key of what a commit wrote."""
        return [(name, key) for first, name, key in self.keys if first <= commit][-1]

    def record(self, header: bytes, payload: bytes, clear: int, commit: int) -> bytes:
        """The plaintext of a record, of whose payload `clear` bytes stand in clear."""
        body = payload[clear:]
        if len(body) < HEAD.size:
            raise Tampered("a record that is not sealed")
        _, _, unit, length, name, salt = HEAD.unpack_from(body)
        if not 12 <= unit <= 20 or name != self.key(commit)[0]:
            raise Tampered("a record under another key")
        fixed = HEAD.pack(b"KS", 1, unit, length, name, salt)
        n, step = max(1, -(-length >> unit)), (1 << unit) + TAG
        units = body[HEAD.size + 8 * n :]
        parts = [units[at : at + step] for at in range(0, len(units), step)]
        sums = b"".join(xxhash.xxh3_64_intdigest(part).to_bytes(8, "little") for part in parts)
        if body[: HEAD.size + 8 * n] != fixed + sums:
            raise Tampered("bytes of a record that no tag is of")
        bound = fixed + header[:112] + payload[:clear]
        return self._open(self.key(commit)[1], salt, unit, length, bound, body)

    def body(self, data: bytes, birth: int, length: int, head: int, random: bytes) -> bytes:
        """The plaintext of an extent, given its sealed body and what the pointer says."""
        name, key = self.key(birth)
        salt = random + struct.pack("<QII", birth, head, 0)
        bound = HEAD.pack(b"KS", 1, UNIT, length, name, salt)
        return self._open(key, salt, UNIT, length, bound, data)

    def _open(
        self, key: bytes, salt: bytes, unit: int, length: int, bound: bytes, body: bytes
    ) -> bytes:
        n, step = max(1, -(-length >> unit)), (1 << unit) + TAG
        if len(body) != HEAD.size + 8 * n + length + TAG * n:
            raise Damage("a sealed body of another size")
        cipher = AESGCM(expand(key, b"kist 1 body" + salt))
        units = body[HEAD.size + 8 * n :]
        try:
            return b"".join(
                cipher.decrypt(i.to_bytes(12, "little"), units[i * step : (i + 1) * step], bound)
                for i in range(n)
            )
        except InvalidTag:
            raise Tampered("a tag fails") from None


def stored(length: int) -> int:
    """Bytes of the sealed body of so many bytes."""
    n = max(1, -(-length >> UNIT))
    return HEAD.size + 8 * n + length + TAG * n
