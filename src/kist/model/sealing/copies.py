"""Copies of sealed datasets: bodies go over as bytes, locks too; the manifest is made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.engine import Frame
from kist.engine.keyring import keyring_of
from kist.format import keys
from kist.format.layout import FRAME_BUNDLE, FRAME_PAGE
from kist.format.node import NodeKind
from kist.format.values import pack_record
from kist.model.sealing.field import SealedField, read_lock

if TYPE_CHECKING:
    from kist.engine import Transaction, View

__all__ = ["copied_field", "put_anew", "vouch_for_copy"]


def _class_of(kind: int) -> type[SealedField]:
    if kind == NodeKind.KEYSTORE:
        from kist.model.keystores.sealed import SealedKeys

        return SealedKeys
    from kist.model.arrays.sealed import SealedArray

    return SealedArray


def copied_field(source: View, node: int, kind: int, path: str) -> SealedField:
    """Return the open field of a dataset that is to be copied, all its records verified.

    Raises
    ------
    SecretError
        The secret is missing: the copy needs a manifest of its own.
    """
    found = _class_of(kind).find(source, node, path)
    found.verify_all()
    return found


def vouch_for_copy(field: SealedField, txn: Transaction, node: int, path: str) -> None:
    """Make the manifest of a dataset whose records were just copied from that of a field."""
    packed = read_lock(txn, node)
    assert packed is not None
    keyring_of(txn.reader).remember(packed, field.keys)
    copy = type(field).begin(txn, node, path, field.keys, field.fresh_more())
    copy.bind_all(txn)
    copy.vouch(txn)


def put_anew(
    txn: Transaction, before: SealedField, after: SealedField, key: bytes, value: bytes
) -> bytes:
    """Put a record of one dataset under the keys of another one, not decoded; return it."""
    place = keys.chunk_place(key) if keys.kind_of(key) == b"C" else "an entry"
    opened, payload = before.open(value, f"{before.path!r} {place}")
    kind = FRAME_BUNDLE if keys.kind_of(key) == b"K" else FRAME_PAGE
    frames = []
    for pointer in opened:
        plain = pointer.whole(before.view.reader)
        head, rest = bytes(plain[: pointer.head]), plain[pointer.head :]
        frames.append(Frame(kind, after.node, 0, 0, head, (rest,)))
    sealed, written = after.seal(payload, frames)
    new = pack_record(sealed, txn.write(written))
    after.put(txn, key, new)
    return new
