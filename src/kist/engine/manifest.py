"""The manifest of a sealed field: which records there are, sealed under the key of the field.

Sealed bodies and records do not know their place. The manifest does: it names store, node and
field, and holds the keyed digest of all records that make up the field. So a record that was moved,
put back, dropped or added changes the digest, and whoever has no key can make neither the digest
nor a manifest. docs/design/0013-sealed-columns.md has the argument.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from kist.crypto.digest import SetDigest
from kist.engine.fieldkeys import FieldKeys
from kist.engine.sealed import DataKey, seal_body, unseal_body
from kist.engine.view import View
from kist.errors import CorruptDataError, TamperedDataError
from kist.format.keys import Range
from kist.format.layout import POINTER
from kist.format.sealed import NAME_BYTES
from kist.format.values import payload_of, unpack_record

__all__ = [
    "Place",
    "bound_items",
    "check_manifest",
    "item_of",
    "kept_digest",
    "make_manifest",
    "new_digest",
    "open_manifest",
    "token_of",
]

_PLAIN: Final = struct.Struct("<16sQIQ32s")  # store, node, field, items, digest
_TOKEN: Final = struct.Struct("<QI")  # node, field
_NAME: Final = bytes(NAME_BYTES)
_DIGEST: Final = b"kist 1 digest"
_MANIFEST: Final = b"kist 1 manifest"


class Place(NamedTuple):
    """What a manifest is of.

    Attributes
    ----------
    uuid : bytes
        The store.
    node, field : int
        The node, and which of its fields.
    """

    uuid: bytes
    node: int
    field: int


def token_of(place: Place, payload: bytes) -> bytes:
    """Return what a keyring notes a manifest under: of another place it proves nothing."""
    return _TOKEN.pack(place.node, place.field) + payload


def item_of(view: View, key: bytes, value: bytes, *, deep: bool = False) -> bytes:
    """Return a record as an item of the digest.

    Parameters
    ----------
    key, value : bytes
        Of the map. The node id is left out, so that a copy has the same items.
    deep : bool
        Whether the extents count too: of records that are not sealed, nothing else binds them.

    Raises
    ------
    TamperedDataError
        Of `deep`: it stands in several pieces, as nobody writes it.

    Notes
    -----
    Pointers are left out: compaction changes them. A sealed payload holds the salts of its extents.
    """
    digest = hashlib.sha256(payload_of(value))
    if deep:
        pointers, payload = unpack_record(value)
        if pointers and (payload or len(pointers) > 1):
            # Where one piece ends is in no item, and readers look at one of them alone.
            raise TamperedDataError(
                "what is bound to a sealed field in clear stands in several pieces: do not trust"
                " the file"
            )
        for pointer in pointers:
            digest.update(view.reader.read(pointer))  # small: schemas, sets of deleted rows
    return key[8:] + digest.digest()


def bound_items(view: View, ranges: Iterable[tuple[Range, bool]]) -> Iterator[bytes]:
    """Yield the items of all records in ranges of keys.

    Parameters
    ----------
    ranges : iterable of ((start, stop), deep)
        Apart from each other; `deep` as for `item_of`.
    """
    for (start, stop), deep in ranges:
        records = view.scan(start, stop)
        if deep:
            for key, value in records:
                yield item_of(view, key, value, deep=True)
        else:  # as `item_of` does it: there are two for each page
            sha256 = hashlib.sha256
            for key, value in records:
                end = 1 + value[0] * POINTER.size if value else 1
                payload = value[end:] if end <= len(value) else payload_of(value)
                yield key[8:] + sha256(payload).digest()


def new_digest(keys: FieldKeys, use: bytes = b"") -> SetDigest:
    """Return the digest of no records; of a manifest for another `use` under another key."""
    return SetDigest(keys.key_of(_DIGEST + use))


def kept_digest(keys: FieldKeys, value: bytes, count: int) -> SetDigest:
    """Return a digest that was kept sealed."""
    return SetDigest(keys.key_of(_DIGEST), value, count)


def make_manifest(
    place: Place, keys: FieldKeys, digest: SetDigest, more: bytes = b"", use: bytes = b""
) -> bytes:
    """Return the payload of a manifest.

    Parameters
    ----------
    digest : SetDigest
        From `new_digest`, of all records of the field.
    more : bytes
        What else shall be sealed with it.
    use : bytes
        Keeps manifests of one field apart: under another key.
    """
    plain = _PLAIN.pack(*place, digest.count, digest.hidden().reveal())
    head, units = seal_body(DataKey(_NAME, keys.key_of(_MANIFEST + use)), [plain, more])
    return head + units


def open_manifest(
    payload: bytes, place: Place, keys: FieldKeys, use: bytes = b""
) -> tuple[SetDigest, bytes]:
    """Return the digest that a manifest vouches for, to be changed or held against the records.

    Raises
    ------
    TamperedDataError
        It is of another store, node or field, or was not made with the key of this one.
    CorruptDataError
        It is damaged.
    """
    plain = bytes(unseal_body(payload, {_NAME: keys.key_of(_MANIFEST + use)}))
    if len(plain) < _PLAIN.size:
        raise CorruptDataError(f"a manifest of {len(plain)} bytes is cut off")
    uuid, node, field, count, value = _PLAIN.unpack_from(plain)
    if (uuid, node, field) != tuple(place):
        raise TamperedDataError(
            f"the manifest of a sealed field is that of field {field} of node {node}"
            f"{'' if uuid == place.uuid else ' of another store'}: do not trust the file"
        )
    return SetDigest(keys.key_of(_DIGEST + use), value, count), plain[_PLAIN.size :]


def check_manifest(
    view: View,
    payload: bytes | None,
    place: Place,
    keys: FieldKeys,
    ranges: Iterable[tuple[Range, bool]],
) -> tuple[SetDigest, bytes]:
    """Hold the records of a field against its manifest; return what `open_manifest` does.

    Raises
    ------
    TamperedDataError
        There is none, it is that of another place, or the records are not those it was made for.
    """
    if payload is None:
        raise TamperedDataError(
            f"field {place.field} of node {place.node} is sealed and has no manifest: do not trust"
            " the file"
        )
    wanted, more = open_manifest(payload, place, keys)
    found = new_digest(keys)
    found.add(bound_items(view, ranges))
    if found != wanted:
        raise TamperedDataError(
            f"the records of field {place.field} of node {place.node} are not those that were"
            f" sealed: {found.count} are there, {wanted.count} were written; one was moved, put"
            " back, added or taken away: do not trust the file"
        )
    return wanted, more
