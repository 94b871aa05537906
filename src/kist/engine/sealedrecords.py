"""Sealed records: the payload and the extents of a record of the map, under the keys of a field.

A sealed record owns its extents as every record does, so the engine frees, moves and checks them
without a key. Its payload is a sealed body with what the open record would have: for each extent
its length, head and sum as of the plaintext and the salt by which it is known; then the payload.
docs/format.md, "Sealed records".
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from kist.crypto.derive import SALT_BYTES
from kist.crypto.hidden import Hidden
from kist.engine.pages import Request, read_body, read_page
from kist.engine.parallel import run
from kist.engine.sealed import DataKey, SealedBody, open_head, seal_body, unseal_body
from kist.engine.transaction import Frame
from kist.engine.view import Reader, View
from kist.errors import CorruptDataError, TamperedDataError
from kist.format.checksum import sum128
from kist.format.cursor import Cursor
from kist.format.layout import FRAME_SEALED, MAX_INLINE
from kist.format.page import MAX_HEAD
from kist.format.sealed import SEALED_HEAD, TAG_BYTES
from kist.format.values import Pointer

__all__ = [
    "MAX_SEALED",
    "SealedPointer",
    "open_record",
    "read_sealed_pages",
    "seal_record",
]

_EXTENT: Final = struct.Struct("<QI16s32s")  # length, head, sum of the plaintext; salt
_SMALL: Final = 12

MAX_SEALED: Final = MAX_INLINE - SEALED_HEAD.size - 8 - TAG_BYTES
"""Most bytes of a payload with its extents that stand in a record; more goes to an extent."""

_KEPT: Final = 1024
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
    where : str
        What errors call it.
    """

    where: str = ""
    stored: Pointer
    salt: bytes
    keys: Mapping[bytes, Hidden]

    @classmethod
    def of(
        cls,
        stored: Pointer,
        plain: tuple[int, int, bytes],
        salt: bytes,
        keys: Mapping[bytes, Hidden],
    ) -> SealedPointer:
        """Return the pointer of an extent, given length, head and sum of its plaintext."""
        length, head, checksum = plain
        pointer = cls(stored.offset, length, head, stored.birth, checksum)
        pointer.stored, pointer.salt, pointer.keys = stored, salt, keys
        return pointer

    def read_part(self, reader: Reader, start: int, length: int) -> bytes:
        """Return bytes of the plaintext, which its tags vouch for; `Reader.read_part` comes here.

        Raises
        ------
        TamperedDataError
            Somebody without the keys wrote what stands there.
        CorruptDataError
            It is damaged, or has fewer bytes.
        """
        with self._naming():
            body = self._body(reader)
        if start + length > body.head.length:
            raise CorruptDataError(
                f"byte {self.offset}: bytes {start} to {start + length} of a sealed body of"
                f" {body.head.length}",
                offset=self.offset,
            )
        if not length:
            return b""
        first, last = body.units_of(start, length)
        begin, end = body.head.span(first, last)
        sealed = reader.read_part(self.stored, begin, end - begin)
        at = start - (first << body.head.unit)
        with self._naming():
            return bytes(body.unseal(first, last, sealed)[at : at + length])

    def whole(self, reader: Reader) -> memoryview:
        """Return the plaintext, read with one call; raises as `read_part`."""
        stored = self.stored
        if stored.head > MAX_HEAD:
            raise CorruptDataError(f"sealed head of {stored.head} bytes", offset=stored.offset)
        data = memoryview(reader.read_part(stored, 0, stored.length))
        reader.verify(stored, data[: stored.head])
        with self._naming():
            body = open_head(data, stored.length, self.keys, stored.offset)
            _compare(body, self, self.salt)
            return body.unseal(0, body.head.n_units - 1, data[body.head.size :])

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except TamperedDataError as error:
            if not self.where:
                raise
            raise TamperedDataError(f"{self.where}: {error}") from None

    def _body(self, reader: Reader) -> SealedBody:
        # The sum of the head stands for the sums of the units; the salt is known to holders only.
        known = (self.salt, self.stored.sum)
        body = _bodies.get(known)
        if body is None:
            body = _load(reader, self.stored, self.keys)
            _compare(body, self, self.salt)
            _bodies[known] = body
            while len(_bodies) > _KEPT:
                try:
                    _bodies.popitem(last=False)
                except KeyError:  # another thread was faster
                    break
        body.offset = self.offset  # compaction moves extents
        return body


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
    parts = [bytes((len(frames),))]
    sealed = []
    for frame in frames:
        head, units = seal_body(key, [frame.head, *frame.parts])
        length = len(frame.head) + sum(len(memoryview(part).cast("B")) for part in frame.parts)
        parts.append(_EXTENT.pack(length, len(frame.head), sum128(frame.head), _salt_of(head)))
        sealed.append(Frame(FRAME_SEALED, frame.node, frame.column, frame.row, head, (units,)))
    parts.append(payload)
    small = sum(map(len, parts)) <= MAX_SEALED
    head, units = seal_body(key, parts, _SMALL) if small else seal_body(key, parts)
    if small:
        return head + units, sealed
    node, column, row = frames[0][1:4] if frames else (0, 0, 0)
    return _salt_of(head), [*sealed, Frame(FRAME_SEALED, node, column, row, head, (units,))]


def _salt_of(head: bytes) -> bytes:
    return head[SEALED_HEAD.offset("salt") : SEALED_HEAD.size]


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
        plain = bytes(unseal_body(payload, keys))
    elif pointers:
        *pointers, last = pointers
        plain = _whole(view.reader, last, payload, keys)
    else:
        raise CorruptDataError("a sealed record without its content")
    cursor = Cursor(plain, "sealed record")
    count = cursor.u8()
    if count != len(pointers):
        raise TamperedDataError(
            f"a sealed record of {count} extents names {len(pointers)}: do not trust the file"
        )
    opened = []
    for stored in pointers:
        length, head, checksum, salt = _EXTENT.unpack(cursor.take(_EXTENT.size))
        opened.append(SealedPointer.of(stored, (length, head, checksum), salt, keys))
    return tuple(opened), cursor.take(cursor.left)


def _whole(reader: Reader, pointer: Pointer, salt: bytes, keys: Mapping[bytes, Hidden]) -> bytes:
    body = _load(reader, pointer, keys)
    _compare(body, pointer, salt)
    if body.head.length > MAX_HEAD:  # a payload: nothing is written that comes near it
        raise CorruptDataError(f"a payload of {body.head.length} bytes", offset=pointer.offset)
    rest = reader.read_part(pointer, pointer.head, pointer.length - pointer.head)
    return bytes(body.unseal(0, body.head.n_units - 1, rest))


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


def read_sealed_pages(view: View, requests: Sequence[Request]) -> None:
    """Fill arrays from many sealed pages, on threads; `read_pages` does it for open ones."""

    def one(request: Request) -> None:
        pointer, out, _, n_values = request
        if len(out) == n_values and isinstance(pointer, SealedPointer):
            read_body(view, pointer, pointer.whole(view.reader), out)
        else:
            read_page(view, *request)

    run([partial(one, request) for request in requests])
