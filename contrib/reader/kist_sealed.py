"""Sealed bodies and locks: the chapter "Sealed bodies" of the format page.

    secret --(slot)--> field key --(ring)--> data keys --(salt)--> body keys

`open_lock` gives the data keys for a secret, `unseal` the plaintext of a body for data keys. Needs
the package `cryptography`. `kist_sealed_tables` leads here, and so do the vectors in
`tests/golden/sealed/`.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import unicodedata

import xxhash
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from kist_types import Damage, KistError, Unknown

HEAD = struct.Struct("<2sBB4xQ16s32s")
LOCK = struct.Struct("<BBH32s")
SLOT = struct.Struct("<BBBB16s32sBH")
TAG = 16
NONE = bytes(12)


class Tampered(KistError):
    """Somebody without the key has changed this."""


class WrongSecret(KistError):
    """The secret opens no slot."""


def expand(key: bytes, info: bytes) -> bytes:
    return hmac.digest(key, info + b"\x01", "sha256")


def sum64(data: bytes) -> int:
    return int(xxhash.xxh3_64_intdigest(data))


def unseal(body: bytes, keys: dict[bytes, bytes]) -> bytes:
    """The plaintext of a sealed body, given data keys by their names."""
    if len(body) < HEAD.size:
        raise Damage("shorter than a sealed head")
    magic, version, unit, length, name, salt = HEAD.unpack_from(body)
    if magic != b"KS":
        raise Damage("not a sealed body")
    if version not in (1, 2):
        raise Unknown(f"sealed body of version {version}")
    if not 12 <= unit <= 20 or length >= 1 << 36:
        raise Damage("numbers out of bounds")
    step = 1 << unit
    n = max(1, -(-length // step))
    if len(body) != HEAD.size + 8 * n + length + TAG * n:
        raise Damage("another size than the head calls for")
    sums = struct.unpack_from(f"<{n}Q", body, HEAD.size)
    units = body[HEAD.size + 8 * n :]
    parts = [units[i * (step + TAG) : (i + 1) * (step + TAG)] for i in range(n)]
    for number, part in enumerate(parts):
        if sum64(part) != sums[number]:
            raise Damage(f"the sum of unit {number} fails")
    if name not in keys:
        raise Tampered("under a key that is not of this field")
    if version == 1:
        cipher, own = AESGCM(expand(keys[name], b"kist 1 body" + salt)), bytes(8)
    else:
        cipher, own = AESGCM(expand(keys[name], b"kist 1 batch" + salt[:24])), salt[24:]
    bound = HEAD.pack(magic, version, unit, length, name, salt)
    nonces = [i.to_bytes(4, "little") + own for i in range(n)]
    try:
        plain = [cipher.decrypt(*pair, bound) for pair in zip(nonces, parts, strict=True)]
    except InvalidTag:
        raise Tampered("a tag fails") from None
    return b"".join(plain)


def open_lock(lock: bytes, secret: bytes | str) -> dict[bytes, bytes]:
    """The data keys of a field, by their names, in order."""
    return _open(lock, secret)[1]


def open_field(lock: bytes, secret: bytes | str) -> bytes:
    """The field key."""
    return _open(lock, secret)[0]


def _open(lock: bytes, secret: bytes | str) -> tuple[bytes, dict[bytes, bytes]]:
    place = 0

    def take(n: int) -> bytes:
        nonlocal place
        if place + n > len(lock):
            raise Damage("the lock is cut off")
        place += n
        return lock[place - n : place]

    version, n_slots, n_keys, salt = LOCK.unpack(take(LOCK.size))
    if version != 1:
        raise Unknown(f"lock of version {version}")
    if not 1 <= n_slots <= 16 or not 1 <= n_keys <= 1024:
        raise Damage("so many slots or keys are not written")
    slots = [take(struct.unpack("<H", take(2))[0]) for _ in range(n_slots)]
    names = [take(16) for _ in range(n_keys)]
    ring = take(32 * n_keys + TAG)
    if place != len(lock) or len(set(names)) != n_keys:
        raise Damage("the lock does not end here, or a name occurs twice")
    damaged = None
    for slot in slots:
        try:
            field = open_slot(slot, secret)
        except Damage as error:
            damaged = error
            continue
        if field is None:
            continue
        try:
            keys = AESGCM(expand(field, b"kist 1 ring" + salt)).decrypt(NONE, ring, b"".join(names))
        except InvalidTag:
            raise Tampered("the ring is not of this field key") from None
        return field, {name: keys[32 * i : 32 * i + 32] for i, name in enumerate(names)}
    if damaged is not None:
        raise damaged
    raise WrongSecret("no slot opens")


def open_slot(slot: bytes, secret: bytes | str) -> bytes | None:
    """The field key, None where the slot is for another secret."""
    if len(slot) < 8 or sum64(slot[:-8]) != struct.unpack("<Q", slot[-8:])[0]:
        raise Damage("the sum of a slot fails")
    body = slot[:-8]
    if len(body) < SLOT.size + 48:
        raise Damage("a slot is cut off")
    kind, log_n, r, p, work_salt, salt, n_label, n_note = SLOT.unpack_from(body)
    if n_note > 1024 or len(body) != SLOT.size + n_label + n_note + 48:
        raise Damage("the parts of a slot do not add up")
    if kind == 1 and isinstance(secret, bytes):
        x = secret
    elif kind == 2 and isinstance(secret, str):
        bounded = 14 <= log_n <= 20 and 1 <= r <= 16 and 1 <= p <= 4
        if not bounded or 128 * r << log_n > 1 << 28 or r * p << log_n > 1 << 22:
            raise Damage("more work than is allowed, or too little")
        text = unicodedata.normalize("NFC", secret).encode()
        x = hashlib.scrypt(text, salt=work_salt, n=1 << log_n, r=r, p=p, maxmem=1 << 29, dklen=32)
    else:
        return None
    key = expand(hmac.digest(salt, x, "sha256"), b"kist 1 slot")
    try:
        return AESGCM(key).decrypt(NONE, body[-48:], body[:-48])
    except InvalidTag:
        return None
