"""Sealed fields of tables: the chapter "Sealed tables" of the format page.

`Fields` opens those for which a secret is given, and holds their records against their manifests.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from kist_sealed import Tampered, WrongSecret, expand, open_field, open_lock, unseal
from kist_store import Entry, Pointer, Store, sum128
from kist_strings import read_rows
from kist_types import Cursor, Damage, Leaf, Schema

Records = Callable[[str], Mapping[bytes, Entry]]
PLAIN = struct.Struct("<16sQIQ32s")
EXTENT = struct.Struct("<QI16s32s")


class Fields:
    """The sealed fields of a table: data keys by field, of those that open."""

    def __init__(
        self,
        store: Store,
        node: int,
        schema: Schema,
        records: Records,
        secrets: Sequence[bytes | str],
    ) -> None:
        """Open what the secrets open; `records` gives those of a kind by the rest of their keys."""
        self.store = store
        self.schema = schema
        self.node = node
        self.keys: dict[int, dict[bytes, bytes]] = {}
        self._field_keys: dict[int, bytes] = {}
        self._index_manifests: dict[int, bytes] = {}
        found = records("E")
        wanted = set(schema.fields.values())
        if {int.from_bytes(rest[:4], "big") for rest in found} != wanted:
            raise Tampered("the schema names other fields than have keys")
        for field in sorted(wanted):
            place = field.to_bytes(4, "big")
            lock, manifest = found.get(place + b"L"), found.get(place + b"M")
            if lock is None or manifest is None:
                raise Tampered(f"field {field} lacks its lock or its manifest")
            packed = store.payload(lock, "lock")
            for secret in secrets:
                try:
                    self.keys[field] = open_lock(packed, secret)
                except WrongSecret:
                    continue
                key = open_field(packed, secret)
                items = self._items(field, records)
                if self._verify(field, key, manifest.payload, items):
                    raise Damage("manifest: another size")
                self._field_keys[field] = key
                if (of_indexes := found.get(place + b"I")) is not None:
                    self._index_manifests[field] = of_indexes.payload
                break

    def _items(self, field: int, records: Records) -> Iterator[bytes]:
        mine = {leaf for leaf, own in self.schema.fields.items() if own == field}
        for kind in "GUXSPY":
            for rest, entry in records(kind).items():
                if kind in "PY" and int.from_bytes(rest[:4], "big") not in mine:
                    continue
                digest = hashlib.sha256(entry.payload)
                for pointer in entry.pointers if kind in "XS" else ():
                    digest.update(self.store.whole(pointer))
                yield kind.encode() + rest + digest.digest()

    def _verify(
        self, field: int, key: bytes, manifest: bytes, items: Iterable[bytes], use: bytes = b""
    ) -> bytes:
        """Hold items against a manifest; returns what else is sealed with it."""
        plain = unseal(manifest, {bytes(16): expand(key, b"kist 1 manifest" + use)})
        if len(plain) < PLAIN.size:
            raise Damage("manifest: another size")
        digest, count = 0, 0
        for item in items:
            one = hmac.digest(expand(key, b"kist 1 digest" + use), item, "sha256")
            digest ^= int.from_bytes(one, "big")
            count += 1
        found = (self.store.super.uuid, self.node, field, count, digest.to_bytes(32, "big"))
        if PLAIN.unpack_from(plain) != found:
            raise Tampered(f"field {field}: the records are not those that were sealed")
        return plain[PLAIN.size :]

    def holds(
        self, field: int, entries: Mapping[bytes, Entry], own: set[bytes], stamp: bytes
    ) -> bool:
        """Whether the I records of a field's indexes, whose numbers are `own`, count."""
        if field not in self._field_keys or field not in self._index_manifests:
            return False
        key, use = self._field_keys[field], b" of indexes"
        manifest = self._index_manifests[field]
        plain = unseal(manifest, {bytes(16): expand(key, b"kist 1 manifest" + use)})
        if plain[PLAIN.size :] != stamp:
            return False
        items = (
            b"I" + rest + hashlib.sha256(entry.payload).digest()
            for rest, entry in entries.items()
            if rest[:4] in own
        )
        self._verify(field, key, manifest, items, use)
        return True

    def shows(self, leaf: Leaf) -> bool:
        """Whether a leaf is open, or was opened."""
        field = self.schema.fields.get(leaf.id, 0)
        return not field or field in self.keys

    def keys_of(self, leaf: Leaf) -> dict[bytes, bytes] | None:
        """The data keys of a leaf, None for an open one."""
        field = self.schema.fields.get(leaf.id, 0)
        return self.keys[field] if field else None

    def page(self, entry: Entry, keys: dict[bytes, bytes]) -> tuple[bytes, int, bytes]:
        """Of a sealed P record: the body of the page, the bytes of its head, the payload."""
        pages, payload = self.record(entry, keys)
        if len(pages) != 1:
            raise Tampered("a sealed page with another number of extents")
        return *pages[0], payload

    def categories(self, entry: Entry, field: int) -> bytes:
        """Of a sealed Y record: the plain value."""
        extents, payload = self.record(entry, self.keys[field])
        if len(extents) > 1 or (extents and payload):
            raise Tampered("categories in several pieces")
        cursor = Cursor(extents[0][0] if extents else payload, "categories")
        return cursor.take(cursor.get("Q"))

    def record(
        self, entry: Entry, keys: dict[bytes, bytes]
    ) -> tuple[list[tuple[bytes, int]], bytes]:
        """Of a sealed record: bodies of its extents, each with the bytes of its head; payload."""
        pointers: list[Pointer] = list(entry.pointers)
        if len(entry.payload) == 32:
            body = self._body(pointers.pop(), entry.payload)
            cursor = Cursor(unseal(body, keys), "sealed record")
        else:
            cursor = Cursor(unseal(entry.payload, keys), "sealed record")
        if cursor.get("B") != len(pointers):
            raise Tampered("a sealed record with another number of extents")
        found = []
        for pointer in pointers:
            size, head, total, salt = cursor.all("QI16s32s")
            page = unseal(self._body(pointer, salt), keys)
            if len(page) != size or sum128(page[:head]) != total:
                raise Tampered("another page than its record names")
            found.append((page, head))
        return found, cursor.rest()

    def _body(self, pointer: Pointer, salt: bytes) -> bytes:
        body = self.store.body(pointer)
        if body[32:64] != salt:
            raise Tampered("another sealed body than its record names")
        return body

    def rows(self, data: bytes, leaves: Sequence[Leaf], n: int) -> dict[int, Any]:
        """The leaves of a piece that are shown."""
        parts: dict[int, bytes] = {}
        cursor = Cursor(data, "piece of several parts")
        while cursor.left:
            field, size = cursor.all("II")
            if parts and field <= max(parts):
                raise Damage("piece: parts do not ascend")
            parts[field] = cursor.take(size)
        found: dict[int, Any] = {}
        for field in [0, *sorted(self.keys)]:
            mine = [leaf for leaf in leaves if self.schema.fields.get(leaf.id, 0) == field]
            if field not in parts:
                if mine:
                    raise Damage("piece: a part is missing")
                continue
            part = unseal(parts[field], self.keys[field]) if field else parts[field]
            arrays = read_rows(part, mine, n)
            found |= {leaf.id: array for leaf, array in zip(mine, arrays, strict=True)}
        return found

    def outside(self, data: bytes, noted: bytes) -> bytes:
        """What stands in the extent of a piece or a patch, compared with the record."""
        if hashlib.sha256(data).digest() != noted:
            raise Tampered("another extent than its record names")
        return data
