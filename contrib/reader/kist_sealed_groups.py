"""Sealed groups: the chapter "Sealed groups".

`Places` knows which nodes stand in which sealed group, opens the groups with the secrets, holds the
place of each node against its records, and opens attributes.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from kist_sealed import Tampered, WrongSecret, expand, open_field, open_lock
from kist_sealed_datasets import PLAIN, Field, InMemory
from kist_store import Entry, Store
from kist_types import Cursor, Damage, decode_text, read_value

ROOT = 1
STANDS = struct.Struct("<BQ")
Records = Mapping[tuple[int, str], Mapping[bytes, Entry]]


class _Opened(Field):
    """The field 0 of a node: its place and its attributes."""

    def __init__(
        self, store: Store, node: int, field: bytes, data: dict[bytes, bytes], entry: Entry
    ) -> None:
        """Open the manifest of a node under the field key of its group."""
        from kist_sealed import unseal

        self.store, self.keys = store, data
        plain = unseal(entry.payload, {bytes(16): expand(field, b"kist 1 manifest")})
        if len(plain) < PLAIN.size + STANDS.size:
            raise Damage("manifest of a place: cut off")
        uuid, named, number, count, digest = PLAIN.unpack_from(plain)
        if (uuid, named, number) != (store.super.uuid, node, 0):
            raise Tampered("the manifest is that of another node")
        self._key = expand(field, b"kist 1 digest")
        self.count, self.digest = count, digest
        self.more = plain[PLAIN.size :]


class Places:
    """What stands in sealed groups."""

    def __init__(
        self,
        store: Store,
        records: Records,
        places: Mapping[int, Mapping[bytes, Entry]],
        secrets: Sequence[bytes | str],
    ) -> None:
        """Open what the secrets open; `places` has the records of field 0 by node."""
        self.store, self.records, self.places = store, records, places
        self.groups = {node for node, found in places.items() if b"L" in found}
        self.fields: dict[int, tuple[bytes, dict[bytes, bytes]]] = {}
        for group in self.groups:
            packed = store.payload(places[group][b"L"], "lock")
            for secret in secrets:
                try:
                    self.fields[group] = open_field(packed, secret), open_lock(packed, secret)
                    break
                except WrongSecret:
                    continue
        self._opened: dict[int, _Opened] = {}
        for node, kind in records:
            if kind == "N":
                self._place(node)

    def group_of(self, node: int) -> int | None:
        """The sealed group that a node is or stands in."""
        at, marked = node, node in self.places
        while at not in self.groups:
            above = ROOT if at == ROOT else self._stands(at)[1]
            inside = at != ROOT and above in self.places
            if marked != inside:
                raise Tampered(f"node {node} and the groups above it say different things")
            if not inside:
                return None
            at = above
        return at

    def _stands(self, node: int) -> tuple[int, int, bytes]:
        cursor = Cursor(self.records[node, "N"][b""].payload, "node record")
        kind, *_, parent = cursor.all("B7sQQQqQ")
        return kind, parent, cursor.rest()

    def _place(self, node: int) -> None:
        group = self.group_of(node)
        if group is None or group not in self.fields:
            return
        entry = self.places[node].get(b"M")
        if entry is None:
            raise Tampered(f"node {node} has no place in its group")
        place = _Opened(self.store, node, *self.fields[group], entry)
        place.verify(lambda kind: self.records.get((node, kind), {}), "A")
        kind, parent, name = self._stands(node)
        if place.more != STANDS.pack(kind, parent) + name:
            raise Tampered(f"node {node} stands elsewhere than where it was sealed")
        self._opened[node] = place

    def secrets_of(self, node: int, secrets: Sequence[bytes | str]) -> Sequence[bytes | str]:
        """What opens a dataset: in a sealed group a key that follows from that of the group."""
        group = self.group_of(node)
        if group is None:
            return secrets
        if group not in self.fields:
            return []
        return [expand(self.fields[group][0], b"kist 1 group")]

    def attributes(self, node: int, found: Mapping[bytes, Entry]) -> dict[str, Any] | None:
        """The attributes of a node or column in a sealed group, None of one that is in none."""
        group = self.group_of(node)
        if group is None:
            return None
        if group not in self.fields:
            raise WrongSecret("no secret opens this group")
        names = expand(self.fields[group][0], b"kist 1 attribute names")
        result = {}
        for rest, entry in found.items():
            opened = self._opened[node].open(entry)
            cursor = Cursor(opened.payload, "sealed attribute")
            raw = cursor.take(cursor.get("B"))
            name = decode_text(raw, "name")
            if hmac.digest(names, raw, hashlib.sha256)[:16].hex().encode() != rest[4:]:
                raise Tampered(f"an attribute stands in the place of {name!r}")
            value = cursor.rest()
            if opened.pointers:
                if value or len(opened.pointers) > 1:
                    raise Damage("sealed attribute: pointers")
                value = InMemory.body(opened.pointers[0])
            result[name] = read_value(value)
        return dict(sorted(result.items()))
