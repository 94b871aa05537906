"""Key stores that are sealed as a whole: hashed keys in the map, keys and values in sealed records.

The order of the map says nothing here, so who goes over the keys opens and sorts them all. The
digest of the entries is kept in parts, by their hashes: looking up a key verifies the part that it
belongs to (docs/design/0018-sealed-datasets.md).
"""

from __future__ import annotations

import hmac
import struct
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Final

from kist.crypto.hidden import Hidden
from kist.engine import Frame
from kist.engine.keyring import keyring_of
from kist.engine.manifest import bound_items, kept_digest, new_digest
from kist.errors import CorruptDataError, TamperedDataError
from kist.format import keys
from kist.format.keystore import unpack_key
from kist.format.layout import FRAME_BUNDLE
from kist.format.values import pack_record, unpack_record
from kist.model.sealing.field import SealedField, is_verified

if TYPE_CHECKING:
    from kist.crypto.digest import SetDigest
    from kist.engine import Transaction, View
    from kist.engine.fieldkeys import FieldKeys
    from kist.engine.sealedrecords import SealedPointer
    from kist.format.keys import Range

__all__ = ["ENTRY_HEAD", "SealedEntry", "SealedKeys", "seal_anew", "stored_size"]

N_PARTS: Final = 64
"""Parts of the digest: a look-up verifies one, and the manifest holds up to 40 bytes of each."""

_HASH_BYTES: Final = 16
_STR: Final = 0x50
_KEY: Final = 9  # where the hash begins in a key of the map
_HEAD: Final = struct.Struct("<32sQQ")  # name key, bytes of the values, which parts follow
_PART: Final = struct.Struct("<Q32s")  # entries, digest

ENTRY_HEAD: Final = struct.Struct("<H")
"""Bytes of the packed key, which stands before the payload that an open entry has."""


class SealedEntry:
    """An opened entry.

    Attributes
    ----------
    packed : bytes
        Its key.
    payload : bytes
        As that of an open entry.
    pointer : SealedPointer or None
        To its bundle.
    """

    __slots__ = ("packed", "payload", "pointer")

    def __init__(self, packed: bytes, payload: bytes, pointer: SealedPointer | None) -> None:
        self.packed = packed
        self.payload = payload
        self.pointer = pointer

    @property
    def nbytes(self) -> int:
        """Bytes of the value before it is compressed."""
        if self.pointer is None:
            return len(self.payload) - 1
        return int.from_bytes(self.payload[1:9], "little")

    @property
    def found(self) -> bytes | SealedPointer:
        """What readers of values take: the record of a small one, or where its bundle is."""
        return b"\0" + self.payload if self.pointer is None else self.pointer


class SealedKeys(SealedField):
    """The field of a key store, and what its manifest has beside the digest of the counts.

    Attributes
    ----------
    nbytes : int
        Bytes of all values before they are compressed, to be changed before `vouch`.
    """

    kind: ClassVar[str] = "key store"

    __slots__ = ("_data", "_mask", "_name", "_parts", "_touched", "nbytes")

    def __init__(
        self,
        view: View,
        node: int,
        path: str,
        opened: FieldKeys,
        digest: SetDigest,
        more: Hidden,
    ) -> None:
        super().__init__(view, node, path, opened, digest, more)
        data = more.reveal()
        if len(data) < _HEAD.size:
            raise CorruptDataError(f"{path!r}: the manifest of a key store is cut off", node=path)
        name, nbytes, mask = _HEAD.unpack_from(data)
        self.nbytes: int = nbytes
        self._mask: int = mask
        if len(data) != _HEAD.size + self._mask.bit_count() * _PART.size:
            raise CorruptDataError(f"{path!r}: the manifest of a key store is cut off", node=path)
        self._name = Hidden(name)
        self._data = Hidden(data[_HEAD.size :])
        self._parts: dict[int, SetDigest] = {}  # those that were asked for
        self._touched: set[int] = set()

    @staticmethod
    def new_more() -> bytes:
        """Return what the manifest of an empty key store holds beside the digest."""
        return _HEAD.pack(Hidden.random().reveal(), 0, 0)

    @classmethod
    def ranges(cls, node: int) -> list[tuple[Range, bool]]:
        """Return those of the counts; entries are in the digests of the parts."""
        return [(keys.prefix_range(keys.bounds(node)), False)]

    def _more(self) -> bytes:
        mask, packed = 0, []
        if all(part.count and self._mask >> number & 1 for number, part in self._parts.items()):
            # Other digests in the same places, as when one key of many is put.
            data = bytearray(self._data.reveal())
            for number, part in self._parts.items():
                _PART.pack_into(data, self._place_of(number), part.count, part.hidden().reveal())
            return _HEAD.pack(self._name.reveal(), self.nbytes, self._mask) + data
        for number in range(N_PARTS):
            own = self._parts.get(number)
            if own is None and self._mask >> number & 1:
                at = self._place_of(number)
                packed.append(self._data.reveal()[at : at + _PART.size])
                mask |= 1 << number
            elif own is not None and own.count:
                packed.append(_PART.pack(own.count, own.hidden().reveal()))
                mask |= 1 << number
        return b"".join([_HEAD.pack(self._name.reveal(), self.nbytes, mask), *packed])

    def fresh_more(self, *, renewed: bool = False) -> bytes:
        """Return the same without parts; renewed with another name key."""
        name = Hidden.random() if renewed else self._name
        return _HEAD.pack(name.reveal(), self.nbytes, 0)

    # Parts

    def _place_of(self, number: int) -> int:
        return (self._mask & ((1 << number) - 1)).bit_count() * _PART.size

    def _part(self, number: int) -> SetDigest:
        found = self._parts.get(number)
        if found is None:
            count, value = 0, bytes(32)
            if self._mask >> number & 1:
                count, value = _PART.unpack_from(self._data.reveal(), self._place_of(number))
            found = self._parts[number] = kept_digest(self.keys, value, count)
        return found

    def _digest_of(self, key: bytes) -> SetDigest:
        if keys.kind_of(key) != b"K":
            return self._own()
        number = _part_of(key)
        self._touched.add(number)
        return self._part(number)

    def _token(self, number: int) -> bytes:
        own = self._part(number)
        place = b"part" + self.node.to_bytes(8, "big") + bytes((number,))
        return place + own.count.to_bytes(8, "big") + own.hidden().reveal()

    def verify_part(self, key: bytes) -> None:
        """Hold the part of a key of the map against its digest, unless that was done before.

        Raises
        ------
        TamperedDataError
            The entries are not those that were written.
        """
        number = _part_of(key)
        if is_verified(self.view, self._token(number)):
            return
        step = 256 // N_PARTS
        start, stop = keys.items(self.node)
        if number:
            start = keys.item(self.node, bytes((number * step,)))
        if number < N_PARTS - 1:
            stop = keys.item(self.node, bytes((number * step + step,)))
        self._compare(number, bound_items(self.view, [((start, stop), False)]))

    def verify_all(self) -> None:
        """Hold all entries against their digests that were not yet."""
        if all(is_verified(self.view, self._token(number)) for number in range(N_PARTS)):
            return
        found: dict[int, list[bytes]] = {number: [] for number in range(N_PARTS)}
        for item in bound_items(self.view, [(keys.items(self.node), False)]):
            found[item[1] * N_PARTS >> 8].append(item)
        for number, items in found.items():
            self._compare(number, items)

    def _compare(self, number: int, items: Iterable[bytes]) -> None:
        found = new_digest(self.keys)
        found.add(items)
        if found != self._part(number):
            raise TamperedDataError(
                f"{self.path!r}: the entries of this key store are not those that were sealed: one "
                "was moved, put back, added or taken away: do not trust the file"
            )
        keyring_of(self.view.reader).verify(self._token(number), self.view.commit_id)

    def bind_all(self, txn: Transaction) -> None:
        """Bind the field to all records that are there, which the caller has verified."""
        super().bind_all(txn)
        for item in bound_items(txn, [(keys.items(self.node), False)]):
            self._part(item[1] * N_PARTS >> 8).add([item])

    def vouch(self, txn: Transaction) -> None:
        """Put the manifest of what is there now: the end of each change."""
        super().vouch(txn)
        for number in self._touched:  # they were verified before they were changed
            keyring_of(txn.reader).vouch(self._token(number), txn.commit_id + 1)

    # Entries

    def place(self, packed: bytes) -> bytes:
        """Return the key of the map of a key: of all Unicode forms of a text the same."""
        if packed[0] == _STR and not packed.isascii():
            text = str(unpack_key(packed))
            packed = packed[:1] + unicodedata.normalize("NFC", text).encode()
        hashed = hmac.digest(self._name.reveal(), packed, "sha256")
        return keys.item(self.node, hashed[:_HASH_BYTES])

    def look_up(self, packed: bytes, where: str) -> SealedEntry | None:
        """Return the entry of a key, None where there is none."""
        key = self.place(packed)
        self.verify_part(key)
        value = self.view.get(key)
        found = None if value is None else self.entry(value, where)
        # Another Unicode form of the same text.
        return found if found is not None and found.packed == packed else None

    def entry(self, value: bytes, where: str = "") -> SealedEntry:
        """Return an entry, opened.

        Raises
        ------
        TamperedDataError
            It was not sealed under the keys of this key store.
        CorruptDataError
            It is damaged.
        """
        pointers, plain = self.open(value, where or f"a value of {self.path!r}")
        (n,) = ENTRY_HEAD.unpack_from(plain) if len(plain) > ENTRY_HEAD.size else (0,)
        packed, payload = plain[ENTRY_HEAD.size :][:n], plain[ENTRY_HEAD.size + n :]
        small = payload[:1] == b"\0"
        size = len(payload) if small else 9
        if not n or len(pointers) != (not small) or len(payload) != size:
            raise CorruptDataError(f"{self.path!r}: a sealed entry of {len(plain)} bytes")
        return SealedEntry(packed, payload, pointers[0] if pointers else None)

    def ordered(self) -> tuple[list[bytes], list[bytes]]:
        """Return all packed keys in order, and the key of the map of each.

        All entries are opened; the last list is kept until the key store changes.
        """
        self.verify_all()
        ring, place = keyring_of(self.view.reader), b"keys" + self.node.to_bytes(8, "big")
        kept = ring.content(place)
        if kept is None or kept[0] != self.token:
            found = sorted(
                (self.entry(value).packed, key)
                for key, value in self.view.scan(*keys.items(self.node))
            )
            kept = self.token, [packed for packed, _ in found], [key for _, key in found]
            ring.keep_content(place, kept)
        return kept[1], kept[2]

    def clear(self, txn: Transaction) -> None:
        """Delete all entries."""
        txn.delete_range(*keys.items(self.node))
        self._data, self._mask, self._parts, self.nbytes = Hidden(b""), 0, {}, 0
        self._touched.clear()


def _part_of(key: bytes) -> int:
    return key[_KEY] * N_PARTS >> 8


def stored_size(key: bytes, value: bytes) -> int:
    """Return the bytes that a sealed entry takes in the file."""
    pointers, _ = unpack_record(value)
    return len(key) + len(value) + sum(pointer.length for pointer in pointers)


def seal_anew(txn: Transaction, before: SealedKeys, after: SealedKeys) -> None:
    """Seal all entries under the keys of another field, at the places that these give."""
    old = list(txn.scan(*keys.items(before.node)))
    puts = []
    for _, value in old:
        entry = before.entry(value)
        frames = []
        if entry.pointer is not None:
            plain = entry.pointer.whole(txn.reader)
            head, rest = bytes(plain[: entry.pointer.head]), plain[entry.pointer.head :]
            frames.append(Frame(FRAME_BUNDLE, before.node, 0, 0, head, (rest,)))
        payload = ENTRY_HEAD.pack(len(entry.packed)) + entry.packed + entry.payload
        sealed, written = after.seal(payload, frames)
        puts.append((after.place(entry.packed), pack_record(sealed, txn.write(written))))
    txn.delete_range(*keys.items(before.node))
    txn.put_many(puts)
