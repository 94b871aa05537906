"""Datasets that are sealed as a whole: the chapters "Sealed arrays" and "Sealed key stores".

`Field` opens one with a secret, holds its records against the manifest, and opens its records.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kist_sealed import Tampered, WrongSecret, expand, open_field, open_lock, unseal
from kist_store import Entry, Store, sum128
from kist_types import Cursor, Damage

Records = Callable[[str], Mapping[bytes, Entry]]
PLAIN = struct.Struct("<16sQIQ32s")
NUMBER = (1).to_bytes(4, "big")


@dataclass(frozen=True)
class Opened:
    """An extent in clear, in the place of the pointer to it."""

    data: bytes
    head: int


@dataclass(frozen=True)
class OpenEntry:
    """A record as the open one would be."""

    pointers: tuple[Opened, ...]
    payload: bytes


class InMemory:
    """Stands for the store: what pointers lead to is there."""

    @staticmethod
    def body(pointer: Opened) -> bytes:
        """The body of an extent."""
        return pointer.data


class Field:
    """The field of a dataset, opened."""

    def __init__(
        self, store: Store, node: int, records: Records, secrets: Sequence[bytes | str]
    ) -> None:
        """Open it; `records` gives those of a kind by the rest of their keys."""
        self.store = store
        found = records("E")
        if set(found) != {NUMBER + b"L", NUMBER + b"M"}:
            raise Tampered("a sealed dataset has a lock and a manifest")
        packed = store.payload(found[NUMBER + b"L"], "lock")
        for secret in secrets:
            try:
                self.keys = open_lock(packed, secret)
                key = open_field(packed, secret)
                break
            except WrongSecret:
                continue
        else:
            raise WrongSecret("no secret opens this dataset")
        plain = unseal(found[NUMBER + b"M"].payload, {bytes(16): expand(key, b"kist 1 manifest")})
        if len(plain) < PLAIN.size:
            raise Damage("manifest: cut off")
        uuid, named, field, count, digest = PLAIN.unpack_from(plain)
        if (uuid, named, field) != (store.super.uuid, node, 1):
            raise Tampered("the manifest is that of another dataset")
        self._key = expand(key, b"kist 1 digest")
        self.count, self.digest = count, digest
        self.more = plain[PLAIN.size :]

    def digest_of(self, kind: str, found: Mapping[bytes, Entry]) -> tuple[int, int]:
        """Items and digest of records of a kind; those of `S` with their extents."""
        digest = 0
        for rest, entry in found.items():
            inner = hashlib.sha256(entry.payload)
            for pointer in entry.pointers if kind == "S" else ():
                inner.update(self.store.whole(pointer))
            item = kind.encode() + rest + inner.digest()
            digest ^= int.from_bytes(hmac.digest(self._key, item, "sha256"), "big")
        return len(found), digest

    def verify(self, records: Records, kinds: str) -> None:
        """Hold all records of some kinds against the manifest."""
        count, digest = 0, 0
        for kind in kinds:
            n, part = self.digest_of(kind, records(kind))
            count, digest = count + n, digest ^ part
        if (count, digest.to_bytes(32, "big")) != (self.count, self.digest):
            raise Tampered("the records are not those that were sealed")

    def open(self, entry: Entry) -> OpenEntry:
        """A record as the open one would be, with its extents."""
        pointers = list(entry.pointers)
        if len(entry.payload) == 32:
            if not pointers:
                raise Damage("a sealed record without its content")
            cursor = Cursor(self._body(pointers.pop(), entry.payload), "sealed record")
        else:
            cursor = Cursor(unseal(entry.payload, self.keys), "sealed record")
        if cursor.get("B") != len(pointers):
            raise Tampered("a sealed record with another number of extents")
        opened = []
        for pointer in pointers:
            size, head, total, salt = cursor.all("QI16s32s")
            data = self._body(pointer, salt)
            if len(data) != size or sum128(data[:head]) != total:
                raise Tampered("another extent than the record names")
            opened.append(Opened(data, head))
        return OpenEntry(tuple(opened), cursor.rest())

    def _body(self, pointer: object, salt: bytes) -> bytes:
        body = self.store.body(pointer)  # type: ignore[arg-type]  # a Pointer of the store
        if body[32:64] != salt:
            raise Tampered("another sealed body than its record names")
        return unseal(body, self.keys)

    def entries(self, found: Mapping[bytes, Entry]) -> Iterator[tuple[bytes, OpenEntry]]:
        """The packed keys of a key store in order, each with the record that it would have."""
        cursor = Cursor(self.more, "manifest of a key store")
        name, _, mask = cursor.all("32sQQ")
        parts: dict[int, dict[bytes, Entry]] = {}
        for rest, entry in found.items():
            parts.setdefault(rest[0] >> 2, {})[rest] = entry
        for number in range(64):
            wanted = cursor.all("Q32s") if mask >> number & 1 else (0, bytes(32))
            count, digest = self.digest_of("K", parts.get(number, {}))
            if (count, digest.to_bytes(32, "big")) != wanted:
                raise Tampered("the entries are not those that were sealed")
        cursor.end()
        opened = []
        for rest, entry in found.items():
            record = self.open(entry)
            inner = Cursor(record.payload, "sealed entry")
            packed = inner.take(inner.get("H"))
            form = packed
            if packed[:1] == b"\x50":
                form = b"\x50" + unicodedata.normalize("NFC", packed[1:].decode()).encode()
            if hmac.digest(name, form, "sha256")[:16] != rest:
                raise Damage("an entry at the place of another one")
            opened.append((packed, OpenEntry(record.pointers, inner.rest())))
        yield from sorted(opened, key=lambda one: one[0])
