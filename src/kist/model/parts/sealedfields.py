"""Sealed columns of tables that are split and merged: keys go along, nothing is decoded.

A new table gets the locks of the first one that it is made of, byte for byte: the same secrets open
it. Bodies under data keys that it has are copied as they are. Those of other tables are sealed
anew. To take their data keys along instead would open more to who has the secrets of the new table:
whatever else is, and will be, sealed under them in the file where they come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kist.errors import SecretError, TamperedDataError
from kist.format import keys
from kist.model.tables.changes.secrets import hand_over
from kist.model.tables.changes.write import put_blob
from kist.model.tables.stored.computed import sealed_sources
from kist.model.tables.stored.schema import facts_of
from kist.model.tables.stored.sealing import field_keys, read_lock
from kist.model.tables.stored.state import state_of

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.engine.fieldkeys import FieldKeys
    from kist.format.schema import Schema
    from kist.model.tables.stored.state import TableState

__all__ = ["Turned", "refuse_names", "take_locks", "turned"]


class Turned(NamedTuple):
    """A field whose bodies are sealed anew.

    Attributes
    ----------
    before, after : FieldKeys
        Keys of the table that is taken, and of the one that is made.
    """

    before: FieldKeys
    after: FieldKeys


def take_locks(view: View, node: int, path: str, txn: Transaction, new: int) -> None:
    """Give the locks of a table's sealed fields to a new one.

    Raises
    ------
    SecretError
        A secret is missing: who makes the new table vouches for what is in it.
    TamperedDataError
        The records of the table are not those that were written.
    """
    _open_all(state_of(view, node, path))
    hand_over(view, node, txn, path)
    for key, _ in view.scan(*keys.sealed_fields(node)):
        field = keys.leaf_of(key)
        if key == keys.lock(node, field):
            packed = read_lock(view, node, field)
            assert packed is not None
            put_blob(txn, new, keys.lock(new, field), packed)


def turned(state: TableState, txn: Transaction, node: int, schema: Schema) -> dict[int, Turned]:
    """Return how sealed leaves of a table get into a new one, but for those that are copied.

    Parameters
    ----------
    txn : Transaction
        Of the new table.
    node, schema : int, Schema
        It, with columns of the same names in the same fields.

    Returns
    -------
    dict of int to Turned
        By the ids of leaves in the new table.

    Raises
    ------
    SecretError, TamperedDataError
        As `take_locks`.
    """
    _open_all(state)
    found = {}
    for field in schema.sealed:
        before = state.sealing.keys(field)
        after = field_keys(txn, node, state.path, schema, field)
        if any(after.data.get(name) != key for name, key in before.data.items()):
            found[field] = Turned(before, after)
    fields = {leaf.id: schema.columns[leaf.column].field for leaf in schema.stored}
    return {leaf: found[field] for leaf, field in fields.items() if field in found}


def _open_all(state: TableState) -> None:
    for field in state.schema.sealed:
        try:
            state.sealing.keys(field)
        except TamperedDataError:
            raise
        except SecretError as error:
            raise type(error)(
                f"{error}. A table is split and merged with all of its secrets, secrets=: what is"
                " made of it must be vouched for under each of them"
            ) from None


def refuse_names(schema: Schema, name: str, path: str) -> None:
    """Raise where files would be named after the values of a sealed column."""
    column = name.partition(".")[0].partition("[")[0]
    own = schema.leaves_of(column) if any(one.name == column for one in schema.columns) else []
    if sealed_sources(facts_of(schema), own):
        raise SecretError(
            f"{path!r}: by={name!r} would name files after the values of a sealed column; give"
            " rows=, parts= or at="
        )
