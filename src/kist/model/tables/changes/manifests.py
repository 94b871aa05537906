"""Keeping the manifests of a table's sealed fields true, and sealing its pieces.

A manifest holds the digest of all records that make up a field. What a transaction changes is
taken out of the digest and put into it, record by record, counted from the commit that it began
with: so nothing is believed that was not verified, however many steps the transaction has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kist.engine.keyring import keyring_of
from kist.engine.manifest import (
    bound_items,
    item_of,
    make_manifest,
    new_digest,
    open_manifest,
    token_of,
)
from kist.engine.view import View
from kist.format import keys
from kist.format.values import pack_record, unpack_record
from kist.model.tables.stored.schema import facts_of, schema_from
from kist.model.tables.stored.sealing import (
    bound_ranges,
    coded_leaves,
    digest_of,
    field_keys,
    leaves_of,
    pack_parts,
    place_of,
    seal_part,
    verify,
)
from kist.model.tables.stored.state import read_schema

if TYPE_CHECKING:
    from kist.crypto.digest import SetDigest
    from kist.engine import Transaction
    from kist.engine.fieldkeys import FieldKeys
    from kist.format.schema import Schema
    from kist.model.tables.stored.batch import Rows

__all__ = ["digest_of", "put_manifests", "sealed_piece"]


def put_manifests(txn: Transaction, node: int, schema: Schema, *, afresh: bool = False) -> None:
    """Put the manifests of all sealed fields of a table, as its records are now.

    Parameters
    ----------
    afresh : bool
        Believe the records: they are those of a new table, copied from one that was verified.

    Raises
    ------
    SecretError
        A secret is missing: the change cannot be vouched for.
    """
    base = None if afresh else View(txn.reader, txn.state)
    for field in schema.sealed:
        opened = field_keys(txn, node, f"table {node}", schema, field)
        digest = _digest(txn, base, node, schema, field, opened)
        place = place_of(node, field, txn)
        payload = make_manifest(place, opened, digest)
        txn.put(keys.manifest(node, field), pack_record(payload))
        keyring_of(txn.reader).vouch(token_of(place, payload), txn.commit_id + 1)


def _digest(
    txn: Transaction, base: View | None, node: int, schema: Schema, field: int, opened: FieldKeys
) -> SetDigest:
    """Return the digest of the records of a field."""
    before = None if base is None else base.get(keys.manifest(node, field))
    if base is not None and before is not None:
        was = schema_from(read_schema(base, node, f"table {node}"))
        same_key = base.get(keys.lock(node, field)) == txn.get(keys.lock(node, field))
        opened_then = opened
        if not same_key:
            opened_then = field_keys(base, node, f"table {node}", was, field)
        # What is counted on must have been true.
        verify(base, node, f"table {node}", was, field, opened_then)
        changed = txn.changed_keys(keys.whole_node(node))
        if same_key and changed is not None and leaves_of(was, field) == leaves_of(schema, field):
            # Taken away meanwhile: what is interrupted half way is not gone on with.
            turned: _Turned | None = txn.by_node.pop((node, field), None)
            if turned is None:
                payload = unpack_record(before)[1]
                turned = _Turned(open_manifest(payload, place_of(node, field, txn), opened)[0])
            digest = turned.by(base, txn, _bound(changed, schema, field))
            txn.by_node[node, field] = turned
            return digest
    digest = new_digest(opened)
    digest.add(bound_items(txn, bound_ranges(node, schema, field)))
    return digest


def _bound(changed: Sequence[bytes], schema: Schema, field: int) -> list[bytes]:
    """Return the keys of those records that a manifest binds."""
    leaves = {
        b"P": frozenset(leaves_of(schema, field)),
        b"Y": frozenset(coded_leaves(schema, field)),
    }
    return [
        key
        for key in changed
        if key[8:9] in b"GUXS" or keys.leaf_of(key) in leaves.get(key[8:9], ())
    ]


class _Turned:
    """The digest of a field while a transaction changes its records.

    It knows how it counts each of them, so that a step pays for what it changes itself: another
    value, or after a rollback the former one.
    """

    def __init__(self, digest: SetDigest) -> None:
        self._digest = digest  # what the manifest vouches for of the commit that it began with
        self._counted: dict[bytes, tuple[bytes | None, bytes]] = {}  # key -> value, its item

    def by(self, base: View, txn: Transaction, changed: Sequence[bytes]) -> SetDigest:
        """Return the digest of the records as they are now.

        Parameters
        ----------
        base : View
            The commit that the transaction began with.
        changed : sequence of bytes
            Keys of all records that may be others than there.
        """
        digest, counted = self._digest, self._counted
        for key in dict.fromkeys((*counted, *changed)):
            new = txn.get(key)
            known = counted.get(key)
            old = base.get(key) if known is None else known[0]
            if old == new:
                continue
            deep = key[8:9] in b"XS"
            if old is not None:
                item = item_of(base, key, old, deep=deep) if known is None else known[1]
                digest.remove([item])
            item = b"" if new is None else item_of(txn, key, new, deep=deep)
            if item:
                digest.add([item])
            counted[key] = new, item
        return digest.copy()


def sealed_piece(txn: Transaction, node: int, schema: Schema, rows: Rows) -> bytes:
    """Return rows as a piece: the open leaves, then those of each sealed field."""
    from kist.model.tables.stored.batch import Batch

    facts = facts_of(schema)
    packed_rows: Any = rows if isinstance(rows, Batch) else rows.view(facts.rows.dtype)
    parts = []
    for field, packed in facts.parts_at(schema.version).items():
        columns = [packed_rows[f"f{leaf.id}"] for leaf in packed.leaves]
        data = packed.encode(packed.of_columns(columns, len(rows)))
        if field:
            data = seal_part(field_keys(txn, node, f"table {node}", schema, field), data)
        parts.append((field, data))
    return pack_parts(parts)
