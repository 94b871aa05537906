"""The categories of a sealed column: one sealed record, in the manifest of the field.

Who watches many copies of a file shall not see whether a row brought a new category or had one
that was there. So the list is one record, whose key says nothing, padded, and sealed anew with
each change of rows as long as that is cheap. docs/format.md, "Sealed tables".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from kist.engine import Frame
from kist.engine.sealedrecords import MAX_SEALED, open_record, seal_record
from kist.errors import CorruptDataError, TamperedDataError
from kist.format import keys
from kist.format.layout import FRAME_BLOB
from kist.format.values import pack_record, unpack_record
from kist.model.tables.stored.schema import schema_from
from kist.model.tables.stored.sealing import field_keys

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.engine.fieldkeys import FieldKeys
    from kist.format.columns import ColumnSpec

__all__ = ["CHEAP_BYTES", "keys_of_list", "put_sealed_list", "reseal_list", "unseal_list"]

CHEAP_BYTES: Final = 1 << 16
"""A longer list is sealed anew only when it has changed."""

_LENGTH: Final = struct.Struct("<Q")
_LEAST: Final = 256
_SPARE: Final = 1 << 5  # binary: sizes differ in so much of their highest bit


def keys_of_list(view: View, node: int, column: ColumnSpec) -> FieldKeys:
    """Return the keys of the field of a column, which the caller has opened under its path."""
    from kist.model.tables.stored.state import read_schema

    path = f"table {node}"
    return field_keys(view, node, path, schema_from(read_schema(view, node, path)), column.field)


def put_sealed_list(
    txn: Transaction, node: int, leaf: int, packed: bytes, opened: FieldKeys
) -> None:
    """Put packed categories as the sealed record of a leaf of codes.

    The caller makes the manifests anew.
    """
    payload = _padded(packed)
    frames = []
    if len(payload) >= MAX_SEALED:
        frames.append(Frame(FRAME_BLOB, node, 0, 0, payload))
        payload = b""
    payload, frames = seal_record(opened.current, payload, frames)
    pointers = tuple(txn.write(frames)) if frames else ()
    txn.put(keys.category_run(node, leaf, 1), pack_record(payload, pointers))


def unseal_list(view: View, value: bytes, opened: FieldKeys) -> bytes:
    """Return what `put_sealed_list` packed.

    Raises
    ------
    TamperedDataError
        It was not sealed under these keys.
    CorruptDataError
        It is damaged.
    """
    pointers, payload = unpack_record(value)
    sealed, plain = open_record(view, pointers, payload, opened.data)
    if len(sealed) > 1 or (sealed and plain):
        raise TamperedDataError("categories stand in several pieces: do not trust the file")
    data = bytes(sealed[0].whole(view.reader)) if sealed else plain
    if len(data) < _LENGTH.size:
        raise CorruptDataError(f"sealed categories of {len(data)} bytes are cut off")
    (length,) = _LENGTH.unpack_from(data)
    if length > len(data) - _LENGTH.size:
        raise CorruptDataError(f"sealed categories of {len(data)} bytes say {length}")
    return data[_LENGTH.size : _LENGTH.size + length]


def reseal_list(
    txn: Transaction, node: int, leaf: int, before: FieldKeys, after: FieldKeys
) -> None:
    """Seal the categories of a leaf of codes under another data key, if there are some."""
    value = txn.get(keys.category_run(node, leaf, 1))
    if value is not None:
        put_sealed_list(txn, node, leaf, unseal_list(txn, value, before), after)


def _padded(packed: bytes) -> bytes:
    """Return categories behind their length, and zeros: the exact length is in no size."""
    n = _LENGTH.size + len(packed)
    step = max(_LEAST, (1 << n.bit_length()) // _SPARE)
    return _LENGTH.pack(len(packed)) + packed + bytes(-n % step)
