"""Copies of sealed datasets: bodies go over as bytes, locks too; the manifest is made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.engine.keyring import keyring_of
from kist.errors import SecretError
from kist.format import keys
from kist.format.node import NodeKind
from kist.model.sealing.field import SealedField, read_lock

if TYPE_CHECKING:
    from kist.engine import Transaction, View

__all__ = ["copied_field", "refuse_parts", "vouch_for_copy"]


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


def refuse_parts(view: View, node: int, path: str) -> None:
    """Raise for a dataset that is sealed as a whole, whose manifest would have to be made anew."""
    if next(view.scan(*keys.sealed_fields(node)), None) is not None:
        raise SecretError(
            f"{path!r} is sealed, and sealed datasets are not split or merged; copy() takes the "
            "whole of it"
        )
