"""Sealed bodies: any bytes under a data key, in units that open alone.

The one place where `kist.crypto` and the format meet, with `kist.engine.fieldkeys`, which gives the
keys. Bodies do not know their place, so they are copied as bytes; what binds them is said in
docs/design/0013-sealed-columns.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from kist.crypto.aead import ALONE, TAG_BYTES, Units, cipher_of, seal_first, unseal_first
from kist.crypto.batch import COMMON_BYTES, batch_cipher, next_body
from kist.crypto.derive import info
from kist.crypto.hidden import Hidden
from kist.errors import CorruptDataError, TamperedDataError
from kist.format.checksum import Buffer, sum64
from kist.format.sealed import (
    MAX_BODY,
    MAX_UNIT,
    MIN_UNIT,
    SEALED_HEAD,
    SEALED_MAGIC,
    SEALED_VERSIONS,
    SealedHead,
    pack_sums,
    unpack_sealed_head,
)

__all__ = [
    "UNIT",
    "DataKey",
    "SealedBody",
    "WholeBody",
    "open_head",
    "seal_body",
    "unseal_body",
    "unseal_small",
    "verify_body",
    "whole_body",
]

UNIT: Final = 15
"""Units of 32 KiB: a row opens two of them, and larger ones are hardly faster."""

_BODY: Final = b"kist 1 body"
_ALONE, _IN_BATCH = SEALED_VERSIONS
_ONE: Final = SEALED_HEAD.size + 8 + TAG_BYTES
"""What a body of one unit has beside its plaintext."""
_SMALL: Final = 1 << MIN_UNIT
"""A body of no more bytes has one unit, however long units are."""
_JOINED: Final = 3 << 16
"""Most bytes that are copied before the first of them are sealed."""
_PIECE: Final = 1 << 17
"""Of more, so many at a time: they stay in the caches until they are sealed. Whole units."""


class DataKey(NamedTuple):
    """What the keys of bodies follow from.

    Attributes
    ----------
    name : bytes
        16 random bytes by which bodies name it.
    key : Hidden
        Never a key of a cipher.
    """

    name: bytes
    key: Hidden


def seal_body(key: DataKey, parts: Sequence[Buffer], unit: int = UNIT) -> tuple[bytes, memoryview]:
    """Seal bytes as a body of a frame.

    Parameters
    ----------
    key : DataKey
        The key to seal under.
    parts : sequence of bytes
        The plaintext, one part behind the other.
    unit : int
        Binary logarithm of the bytes of a unit.

    Returns
    -------
    head, units : bytes, memoryview
        The verified head of the frame, and what follows it.

    Raises
    ------
    ValueError
        More than 64 GiB.
    """
    # Written out, and copied first: it is done twice for each page, beside an encoder that leaves
    # nothing of Python in the caches; a step for each block takes longer than its bytes.
    pieces: Iterable[Buffer]
    if sum(map(len, parts)) <= max(_JOINED, 1 << unit):
        pieces = (plain,) = (b"".join(parts),)
        length = len(plain)
    else:
        views = [memoryview(part).cast("B") for part in parts]
        pieces, length = _pieces(views, max(_PIECE, 1 << unit)), sum(map(len, views))
    if length >= MAX_BODY:
        raise ValueError(f"a sealed body of {length:,} bytes; at most {MAX_BODY - 1:,}")
    cipher, salt = next_body(key.key, length)
    own = salt[COMMON_BYTES:]
    fixed = SEALED_HEAD.struct.pack(SEALED_MAGIC, _IN_BATCH, unit, length, key.name, salt)
    if length <= 1 << unit:
        sealed = seal_first(cipher, own, plain, fixed)
        return fixed + pack_sums([sealed]), memoryview(sealed)
    n_units = -(-length >> unit)
    out = np.empty(length + TAG_BYTES * n_units, np.uint8).data  # not zeroed first
    units = Units(cipher, fixed, own)
    sums, done = b"", 0
    for piece in pieces:
        sealed_units = units.seal(1 << unit, memoryview(piece), out, done)
        sums += pack_sums(sealed_units)
        done += len(sealed_units)
    return fixed + sums, out


def _pieces(parts: Sequence[memoryview], size: int) -> Iterator[bytes]:
    """Yield a plaintext in pieces of a size."""
    begun: list[memoryview] = []
    missing = size
    for part in parts:
        at = 0
        while len(part) - at >= missing:
            yield b"".join([*begun, part[at : at + missing]])
            at += missing
            begun, missing = [], size
        begun.append(part[at:])
        missing -= len(part) - at
    if missing < size:
        yield b"".join(begun)


def _opener(key: Hidden, version: int, salt: bytes) -> tuple[Any, bytes]:
    """Return the cipher that opens a body, and the part of its nonces that is its own."""
    if version == _ALONE:
        return cipher_of(key, info(_BODY, salt)), ALONE
    common = salt[:COMMON_BYTES]
    cipher = None if key.batches is None else key.batches.ciphers.get(common)
    return cipher or batch_cipher(key, common), salt[COMMON_BYTES:]


class SealedBody:
    """A body whose head is verified: gives plaintext for sealed bytes.

    Parameters
    ----------
    head : SealedHead
        Its fixed part.
    sums : tuple of int
        Of its units.
    key : Hidden
        The data key that `head` names.
    offset : int, optional
        Where it stands, for messages.
    """

    __slots__ = ("_sums", "_units", "head", "n_units", "offset")

    def __init__(
        self, head: SealedHead, sums: tuple[int, ...], key: Hidden, offset: int | None = None
    ) -> None:
        self.head = head
        self.offset = offset
        self.n_units = len(sums)
        self._sums = sums
        cipher, own = _opener(key, head.version, head.salt)
        self._units = Units(cipher, head.pack(), own)

    def units_of(self, start: int, length: int) -> tuple[int, int]:
        """Return the first and the last unit with some bytes of the plaintext, at least one."""
        return start >> self.head.unit, max(start, start + length - 1) >> self.head.unit

    def unseal(
        self, first: int, last: int, sealed: Buffer, out: memoryview | None = None
    ) -> memoryview:
        """Return the plaintext of neighbouring units.

        Parameters
        ----------
        sealed : bytes
            These units, as they stand in the file.
        out : memoryview, optional
            Where it goes: exactly as many bytes. Anything may stand there after an error.

        Raises
        ------
        CorruptDataError
            The sum of a unit fails: damage.
        TamperedDataError
            The sum holds and the tag does not: somebody without the key wrote this.
        """
        head = self.head
        step = 1 << head.unit
        data = memoryview(sealed)
        start, stop = head.span(first, last)
        if len(data) != stop - start:
            raise CorruptDataError(f"{self._where()} ends within a unit", offset=self.offset)
        if out is None:
            out = memoryview(bytearray(len(data) - TAG_BYTES * (last - first + 1)))
        failed = self._units.unseal(step, first, data, out)
        if failed is None:
            return out
        # The tag says more than the sum does, so the sum is asked only to tell one from the other.
        begin, end = head.span(failed, failed)
        which = f"{self._where()}: unit {failed} of {head.n_units}"
        if sum64(data[begin - start : end - start]) != self._sums[failed]:
            raise CorruptDataError(
                f"{which} fails its checksum; 'kist check' lists all damage", offset=self.offset
            )
        raise TamperedDataError(
            f"{which} is not what was sealed, and its checksum holds, so this is no accident: do"
            " not trust the file"
        )

    def whole(self, data: Buffer, out: memoryview | None = None) -> memoryview:
        """Return all of the plaintext of a body, given with its head; raises as `unseal`."""
        n_units = self.n_units
        size = SEALED_HEAD.size + 8 * n_units
        if n_units == 1 and out is None:
            # What records hold: one call of the cipher, and nothing around it. It fails for bytes
            # that are too few or too many, too; what is wrong is said below.
            plain = self._units.unseal_first(memoryview(data)[size:])
            if plain is not None:
                return memoryview(plain)
        return self.unseal(0, n_units - 1, memoryview(data)[size:], out)

    def _where(self) -> str:
        return "a sealed body" if self.offset is None else f"the sealed body at byte {self.offset}"


def open_head(
    data: Buffer, total: int, keys: Mapping[bytes, Hidden], offset: int | None = None
) -> SealedBody:
    """Return a body from its head.

    Parameters
    ----------
    data : bytes
        The head, verified against its pointer.
    total : int
        Bytes of the whole body.
    keys : dict
        Name -> data key.

    Raises
    ------
    CorruptDataError
        It is no head, or not of so many bytes.
    TamperedDataError
        It names a key that the field does not have: it comes from another one.
    """
    head, sums = unpack_sealed_head(data, total)
    key = keys.get(head.key)
    if key is None:
        where = "" if offset is None else f" at byte {offset}"
        raise TamperedDataError(
            f"the sealed body{where} is under the key {head.key.hex()}, which this field does not"
            " have: it belongs to another field or file"
        )
    return SealedBody(head, sums, key, offset)


class WholeBody(NamedTuple):
    """A body of which all is wanted and at hand: verified by its tags alone, and not kept.

    Attributes
    ----------
    units : Units
        Opens its units.
    step : int
        Plaintext bytes of each but the last.
    sealed : memoryview
        All of them.
    """

    units: Units
    step: int
    sealed: memoryview

    def unseal(self, out: memoryview) -> bool:
        """Write the plaintext to `out`, which has its length; tell whether all tags fit."""
        return self.units.unseal(self.step, 0, self.sealed, out) is None


def whole_body(
    data: memoryview, salt: bytes, length: int, keys: Mapping[bytes, Hidden]
) -> WholeBody | None:
    """Return the body of a salt and a length, all of whose bytes are at hand.

    None where it is another one, or not as usual: `open_head` says what is wrong. Sums are not
    looked at: units are bound to the head, and tags say more than sums do.
    """
    if len(data) < _ONE:
        return None
    magic, version, unit, stored, name, found = SEALED_HEAD.struct.unpack_from(data)
    if (magic, stored, found) != (SEALED_MAGIC, length, salt) or version not in SEALED_VERSIONS:
        return None
    if not MIN_UNIT <= unit <= MAX_UNIT or name not in keys:
        return None
    n_units = -(-length >> unit) or 1
    begin = SEALED_HEAD.size + 8 * n_units
    if len(data) != begin + length + TAG_BYTES * n_units:
        return None
    cipher, own = _opener(keys[name], version, salt)
    return WholeBody(Units(cipher, bytes(data[: SEALED_HEAD.size]), own), 1 << unit, data[begin:])


def unseal_body(data: Buffer, keys: Mapping[bytes, Hidden]) -> memoryview:
    """Return the plaintext of a whole body; see `open_head` and `SealedBody.unseal`."""
    plain = unseal_small(data, keys)
    if plain is not None:
        return memoryview(plain)
    body = open_head(data, len(data), keys)
    return body.whole(data)


def unseal_small(data: Buffer, keys: Mapping[bytes, Hidden]) -> bytes | None:
    """Return the plaintext of a small body of one unit, as records are: nothing is made around it.

    None where anything is not as usual: who looks at all of it says what.
    """
    view = memoryview(data)
    if not _ONE <= len(view) <= _SMALL:
        return None
    magic, version, unit, length, name, salt = SEALED_HEAD.struct.unpack_from(view)
    usual = magic == SEALED_MAGIC and version in SEALED_VERSIONS and MIN_UNIT <= unit <= MAX_UNIT
    if not usual or len(view) != _ONE + length or name not in keys:
        return None
    sealed, head = view[SEALED_HEAD.size + 8 :], view[: SEALED_HEAD.size]
    cipher, own = _opener(keys[name], version, salt)
    return unseal_first(cipher, own, sealed, head)


def verify_body(data: Buffer) -> SealedHead:
    """Compare all units of a body with their sums; needs no key.

    Raises
    ------
    CorruptDataError
        One fails, or the head is none.
    """
    head, sums = unpack_sealed_head(data, len(data))
    view = memoryview(data)
    for number, expected in enumerate(sums):
        start, stop = head.span(number, number)
        if sum64(view[start:stop]) != expected:
            raise CorruptDataError(f"unit {number} of {head.n_units} fails its checksum")
    return head
