"""Sealed records: the payload and the extents of a record of the map, under the keys of a field.

A sealed record owns its extents as every record does, so the engine frees, moves and checks them
without a key. Its payload is a sealed body with what the open record would have: for each extent
its length, head and sum as of the plaintext and the salt by which it is known; then the payload.
docs/format.md, "Sealed records".
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from kist._kernels.scratch import KEPT_BYTES, scratch
from kist.crypto.derive import SALT_BYTES
from kist.crypto.hidden import Hidden
from kist.engine.placing import Frame
from kist.engine.sealed import (
    DataKey,
    SealedBody,
    open_head,
    seal_body,
    unseal_body,
    unseal_small,
)
from kist.engine.view import Reader, View
from kist.errors import CorruptDataError, TamperedDataError
from kist.format.checksum import sum128
from kist.format.layout import FRAME_SEALED, MAX_INLINE
from kist.format.page import MAX_HEAD
from kist.format.sealed import SEALED_HEAD, TAG_BYTES
from kist.format.values import Pointer

__all__ = [
    "MAX_SEALED",
    "SealedPointer",
    "open_record",
    "opened_pointer",
    "renew_record",
    "seal_record",
]

_EXTENT: Final = struct.Struct("<QI16s32s")  # length, head, sum of the plaintext; salt
_SMALL: Final = 12
_LENGTH: Final = SEALED_HEAD.offset("length")
_SALT: Final = SEALED_HEAD.offset("salt")
_BYTES: Final = np.dtype(np.uint8)

MAX_SEALED: Final = MAX_INLINE - SEALED_HEAD.size - 8 - TAG_BYTES
"""Most bytes of a payload with its extents that stand in a record; more goes to an extent."""

_KEPT, _KEPT_UNITS = 1024, 512
_bodies: OrderedDict[tuple[bytes, bytes], SealedBody] = OrderedDict()


class SealedPointer(Pointer):
    """A pointer as of the plaintext of a sealed extent, which readers take for an open one.

    Attributes
    ----------
    stored : Pointer
        To the extent as it stands in the file.
    salt : bytes
        Of the body that must stand there.
    keys : mapping of bytes to Hidden
        Data keys of the field.
    where : str or (str, str, int, str)
        What errors call it; of a page, of which there are many, table, column, row id, and the file
        if it is one of several.
    """

    where: str | tuple[str, str, int, str] = ""
    stored: Pointer
    salt: bytes
    keys: Mapping[bytes, Hidden]

    @property
    def extent(self) -> tuple[int, int]:
        """(offset, bytes) of the space that the sealed body takes in the file."""
        return self.stored.extent

    @property
    def body(self) -> tuple[int, int]:
        """First byte of the sealed body in the file, and its end."""
        return self.stored.body

    @classmethod
    def of(
        cls,
        stored: Pointer,
        plain: tuple[int, int, bytes],
        salt: bytes,
        keys: Mapping[bytes, Hidden],
    ) -> SealedPointer:
        """Return the pointer of an extent, given length, head and sum of its plaintext."""
        pointer = cls(stored.offset, plain[0], plain[1], stored.birth, plain[2])
        pointer.stored, pointer.salt, pointer.keys = stored, salt, keys
        return pointer

    def within(self, at: int, length: int, head: int, checksum: bytes) -> Pointer:
        """Pointer to a part of the plaintext, as if it had a frame of its own."""
        part = _Part(self.offset + at, length, head, self.birth, checksum)
        part.of, part.at = self, at
        return part

    def read_part(self, reader: Reader, start: int, length: int) -> bytes:
        """Return bytes of the plaintext, which its tags vouch for; `Reader.read_part` comes here.

        Raises
        ------
        TamperedDataError
            Somebody without the keys wrote what stands there.
        CorruptDataError
            It is damaged, or has fewer bytes.
        """
        return bytes(self._part(reader, start, length))

    def read_into(self, reader: Reader, start: int, out: memoryview) -> None:
        """Fill `out` with the plaintext from byte `start` on; raises as `read_part`."""
        out[:] = self._part(reader, start, len(out))

    def _part(self, reader: Reader, start: int, length: int) -> memoryview:
        """Return bytes of the plaintext: memory of this thread, valid until its next call."""
        try:
            body = self._body(reader)
            head = body.head
            if start + length > head.length:
                raise CorruptDataError(
                    f"byte {self.offset}: bytes {start} to {start + length} of a sealed body of"
                    f" {head.length}",
                    offset=self.offset,
                )
            if not length:
                return memoryview(b"")
            first, last = body.units_of(start, length)
            begin, end = head.span(first, last)
            if end - begin > KEPT_BYTES:  # which may be more than the file has
                sealed = memoryview(reader.read_part(self.stored, begin, end - begin))
            else:
                sealed = scratch("sealed", end - begin, _BYTES).data
                reader.read_spans(self.stored, 0, [(begin, end)], sealed)
            plain = scratch("opened", end - begin - (last - first + 1) * TAG_BYTES, _BYTES).data
            at = start - (first << head.unit)
            return body.unseal(first, last, sealed, plain)[at : at + length]
        except CorruptDataError:
            reader.backend.distrust()
            raise
        except TamperedDataError as error:
            raise self.named(error) from None

    def whole(self, reader: Reader) -> memoryview:
        """Return the plaintext, read with one call; raises as `read_part`."""
        stored = self.stored
        data = memoryview(reader.read_part(stored, 0, stored.length))
        try:
            return self.opened(reader, data).whole(data)
        except CorruptDataError:
            reader.backend.distrust()
            raise
        except TamperedDataError as error:
            raise self.named(error) from None

    def opened(self, reader: Reader, data: memoryview) -> SealedBody:
        """Return the body, whose bytes are at hand, its head verified; raises as `read_part`.

        The head of one that is kept is not looked at again: its units are bound to that.
        """
        body = self._kept()
        if body is None:
            stored = self.stored
            if stored.head > MAX_HEAD:
                raise CorruptDataError(f"sealed head of {stored.head} bytes", offset=stored.offset)
            reader.verify(stored, data[: stored.head])
            body = self._keep(open_head(data, stored.length, self.keys, stored.offset))
        return body

    def named(self, error: TamperedDataError) -> TamperedDataError:
        """Return an error with the column and the page that it is about."""
        where = self.where
        if isinstance(where, tuple):
            path, column, first, file = where
            where = f"{path!r} column {column!r}, page of row id {first}"
            where = f"{file!r}: {where}" if file else where
        return TamperedDataError(f"{where}: {error}") if where else error

    def _body(self, reader: Reader) -> SealedBody:
        return self._kept() or self._keep(_load(reader, self.stored, self.keys))

    def _kept(self) -> SealedBody | None:
        # The sum of the head stands for the sums of the units; the salt is known to holders only.
        body = _bodies.get((self.salt, self.stored.sum))
        if body is not None:
            _compare(body, self, self.salt)
            body.offset = self.offset  # compaction moves extents
        return body

    def _keep(self, body: SealedBody) -> SealedBody:
        _compare(body, self, self.salt)
        if body.n_units <= _KEPT_UNITS:
            _bodies[self.salt, self.stored.sum] = body
            while len(_bodies) > _KEPT:
                try:
                    _bodies.popitem(last=False)
                except KeyError:  # another thread was faster
                    break
        return body


class _Opened(Pointer):
    """A pointer whose plaintext is in memory."""

    plain: memoryview

    def read_part(self, reader: Reader, start: int, length: int) -> bytes:
        """Return bytes of it."""
        part = self.plain[start : start + length]
        if len(part) != length:
            raise CorruptDataError(
                f"bytes {start} to {start + length} of a sealed body of {len(self.plain)}",
                offset=self.offset,
            )
        return bytes(part)

    def read_into(self, reader: Reader, start: int, out: memoryview) -> None:
        """Fill `out` with bytes of it from byte `start` on."""
        out[:] = self.read_part(reader, start, len(out))


def opened_pointer(view: View, pointer: Pointer) -> Pointer:
    """Return a pointer to the same extent, read and opened with one call, if it is sealed.

    For most of a page: read in parts, a unit that two of them share is opened twice.
    """
    if not isinstance(pointer, SealedPointer):
        return pointer
    opened = _Opened(*pointer)
    opened.plain = pointer.whole(view.reader)
    return opened


class _Part(Pointer):
    """A pointer to a part of the plaintext of a sealed extent, as a page of a bundle is."""

    of: SealedPointer
    at: int

    def read_part(self, reader: Reader, start: int, length: int) -> bytes:
        """Return bytes of the part; raises as that of the whole."""
        return self.of.read_part(reader, self.at + start, length)

    def read_into(self, reader: Reader, start: int, out: memoryview) -> None:
        """Fill `out` with bytes of the part from byte `start` on."""
        self.of.read_into(reader, self.at + start, out)


def seal_record(
    key: DataKey, payload: bytes, frames: Sequence[Frame] = ()
) -> tuple[bytes, list[Frame]]:
    """Seal what a record would hold.

    Parameters
    ----------
    key : DataKey
        The key to seal under.
    payload : bytes
        Of the open record.
    frames : sequence of Frame
        Its extents.

    Returns
    -------
    payload, frames : bytes, list of Frame
        Of the sealed record. A payload that is too large for a record stands in a further frame,
        the last, and the record has the salt of that.
    """
    extents = []
    sealed = []
    for frame in frames:
        head, units = seal_body(key, [frame.head, *frame.parts])
        length = int.from_bytes(head[_LENGTH : _LENGTH + 8], "little")
        extents.append(_EXTENT.pack(length, len(frame.head), sum128(frame.head), _salt_of(head)))
        sealed.append(Frame(FRAME_SEALED, frame.node, frame.column, frame.row, head, (units,)))
    place = frames[0][1:4] if frames else (0, 0, 0)
    payload, outside = _seal_payload(key, extents, payload, *place)
    return payload, [*sealed, *outside]


def renew_record(
    key: DataKey, pointers: Sequence[SealedPointer], payload: bytes
) -> tuple[bytes, list[Frame]]:
    """Seal another payload for extents that stay as they are.

    Returns
    -------
    payload, frames : bytes, list of Frame
        Of the sealed record; the frame that a large payload takes stands behind its extents.
    """
    extents = [
        _EXTENT.pack(pointer.length, pointer.head, pointer.sum, pointer.salt)
        for pointer in pointers
    ]
    return _seal_payload(key, extents, payload, 0, 0, 0)


def _seal_payload(
    key: DataKey, extents: Sequence[bytes], payload: bytes, node: int, column: int, row: int
) -> tuple[bytes, list[Frame]]:
    parts = [bytes((len(extents),)), *extents, payload]
    if sum(map(len, parts)) <= MAX_SEALED:
        head, units = seal_body(key, parts, _SMALL)
        return head + units, []
    head, units = seal_body(key, parts)
    return _salt_of(head), [Frame(FRAME_SEALED, node, column, row, head, (units,))]


def _salt_of(head: bytes) -> bytes:
    return head[_SALT : SEALED_HEAD.size]


def open_record(
    view: View, pointers: Sequence[Pointer], payload: bytes, keys: Mapping[bytes, Hidden]
) -> tuple[tuple[SealedPointer, ...], bytes]:
    """Return pointers and payload as the open record would have them.

    Raises
    ------
    TamperedDataError
        It was not sealed under these keys, or does not fit its extents.
    CorruptDataError
        It is damaged.
    """
    if len(payload) != SALT_BYTES:
        found = unseal_small(payload, keys)
        plain = unseal_body(payload, keys).tobytes() if found is None else found
    elif pointers:
        *pointers, last = pointers
        plain = _whole(view.reader, last, payload, keys)
    else:
        raise CorruptDataError("a sealed record without its content")
    if len(pointers) == 1 and len(plain) > _EXTENT.size and plain[0] == 1:  # as pages have it
        length, head, checksum, salt = _EXTENT.unpack_from(plain, 1)
        one = SealedPointer.of(pointers[0], (length, head, checksum), salt, keys)
        return (one,), plain[1 + _EXTENT.size :]
    end = 1 + len(pointers) * _EXTENT.size
    if not plain or plain[0] != len(pointers):
        raise TamperedDataError(
            f"a sealed record of {plain[0] if plain else 'no'} extents names {len(pointers)}: do"
            " not trust the file"
        )
    if len(plain) < end:
        raise CorruptDataError(f"a sealed record of {len(plain)} bytes is cut off")
    opened = []
    for stored, at in zip(pointers, range(1, end, _EXTENT.size), strict=True):
        length, head, checksum, salt = _EXTENT.unpack_from(plain, at)
        opened.append(SealedPointer.of(stored, (length, head, checksum), salt, keys))
    return tuple(opened), plain[end:]


def _whole(reader: Reader, pointer: Pointer, salt: bytes, keys: Mapping[bytes, Hidden]) -> bytes:
    body = _load(reader, pointer, keys)
    _compare(body, pointer, salt)
    if body.head.length > MAX_HEAD:  # a payload: nothing is written that comes near it
        raise CorruptDataError(f"a payload of {body.head.length} bytes", offset=pointer.offset)
    rest = reader.read_part(pointer, pointer.head, pointer.length - pointer.head)
    try:
        return bytes(body.unseal(0, body.head.n_units - 1, rest))
    except CorruptDataError:
        reader.backend.distrust()
        raise


def _compare(body: SealedBody, pointer: Pointer, salt: bytes) -> None:
    # The length of a sealed pointer is that of the plaintext, as the record has it sealed.
    sealed = isinstance(pointer, SealedPointer)
    if body.head.salt != salt or (sealed and body.head.length != pointer.length):
        raise TamperedDataError(
            f"the sealed body at byte {pointer.offset} is another one than its record names: do"
            " not trust the file"
        )


def _load(reader: Reader, pointer: Pointer, keys: Mapping[bytes, Hidden]) -> SealedBody:
    if pointer.head > MAX_HEAD:
        raise CorruptDataError(f"sealed head of {pointer.head} bytes", offset=pointer.offset)
    data = reader.read_part(pointer, 0, pointer.head)
    reader.verify(pointer, data)
    return open_head(data, pointer.length, keys, pointer.offset)
