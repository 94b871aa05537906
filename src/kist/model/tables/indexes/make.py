"""Indexes of a table made, dropped and listed: what `Table` offers, and what that does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kist.errors import DTypeError, NodeExistsError, NodeNotFoundError
from kist.format import keys
from kist.format.index import MAX_KEY_WORDS, IndexRecord, IndexState
from kist.format.nullable import dtype_text
from kist.format.schema import Leaf, Schema
from kist.format.values import pack_record
from kist.indexes.keys import can_be_key, n_words
from kist.model.tables import indexes
from kist.model.tables.indexes.index import read_indexes, read_state
from kist.model.tables.indexes.keep import drop_runs, grow, put_state, vouch
from kist.model.tables.indexes.unique import check_all
from kist.model.tables.query.operands import nearest
from kist.model.tables.stored.fields import field_at, parse_path

if TYPE_CHECKING:
    from kist.model.tables.table import Table

__all__ = ["TableIndex", "create_index", "drop_index", "list_indexes"]


@dataclass(frozen=True)
class TableIndex:
    """What is known about an index of a table.

    Attributes
    ----------
    name : str
        How it is called: its columns with commas between them, unless it was given another name.
    columns : tuple of str
        What it is of, the most significant first.
    unique : bool
        Whether no two rows have one key.
    n_indexed : int
        Rows that it knows. The others, the newest and some that were changed, are scanned until a
        checkpoint brings them in.
    n_runs : int
        Sorted runs that it consists of.
    nbytes_stored : int
        Bytes that it takes in the file.
    """

    name: str
    columns: tuple[str, ...]
    unique: bool
    n_indexed: int
    n_runs: int
    nbytes_stored: int

    def __str__(self) -> str:
        unique = "unique, " if self.unique else ""
        return (
            f"{self.name}: {', '.join(self.columns)} ({unique}{self.n_indexed:,} rows in "
            f"{self.n_runs} run{'s' * (self.n_runs != 1)}, {self.nbytes_stored:,} bytes)"
        )


def create_index(
    table: Table, columns: tuple[Any, ...], name: str | None, unique: bool
) -> TableIndex:
    """Make an index on a column, or on several together."""
    if len(columns) == 1 and isinstance(columns[0], list | tuple):
        columns = tuple(columns[0])
    what = f"create an index on {table._path!r}"
    with table._write() as txn:
        state = table._state(txn)
        leaves = _leaves_of(state.schema, columns, what)
        field = _field_of(state, leaves, what)
        name = ",".join(columns) if name is None else name
        if not isinstance(name, str) or not 1 <= len(name.encode()) <= 255:
            raise TypeError(f"{what}: a name is a str of 1 to 255 bytes, not {name!r}")
        if any(index.record.name == name for index in read_indexes(state)):
            raise NodeExistsError(f"{what}: there is an index {name!r}; drop_index({name!r})")
        common = read_state(txn, table._id) or IndexState(state.tail.stamp, 1)
        number = common.next_id
        described = tuple((leaf.id, n_words(leaf.dtype), leaf.dtype) for leaf in leaves)
        record = IndexRecord(name, described, unique)
        if field:
            indexes.sealed.drop_doubtful(txn, state)
        txn.put(keys.index(table._id, number), pack_record(record.pack()))
        if common.stamp != state.tail.stamp:
            # A writer that knows no indexes came between; the next checkpoint makes the runs
            # of the others again.
            drop_runs(txn, table._id)
        put_state(txn, table._id, IndexState(state.tail.stamp, number + 1))
        if field:
            indexes.sealed.vouch(txn, table._id, state.schema, state.tail.stamp)
        while grow(txn, state, number, whole=True):
            pass
        (index,) = (index for index in read_indexes(state) if index.number == number)
        if unique:
            check_all(state, index, what)
    return _described(index)


def drop_index(table: Table, columns: tuple[Any, ...]) -> None:
    """Remove an index by its columns or its name."""
    if len(columns) == 1 and isinstance(columns[0], list | tuple):
        columns = tuple(columns[0])
    with table._write() as txn:
        state = table._state(txn)
        known = read_indexes(state)
        found = [one for one in known if (one.record.name,) == columns]
        found = found or [one for one in known if one.columns == columns]
        if not found:
            wanted = ",".join(map(str, columns))
            hint = nearest(wanted, [one.record.name for one in known])
            raise NodeNotFoundError(f"{table._path!r} has no index {wanted!r}{hint}")
        for one in found:
            if one.field:
                state.check_writable()
                indexes.sealed.drop_doubtful(txn, state)
            txn.delete_range(*keys.index_records(table._id, one.number))
            vouch(txn, state, one)


def list_indexes(table: Table) -> tuple[TableIndex, ...]:
    """Return what is known about each index, in the order in which they were made."""
    return tuple(_described(index) for index in read_indexes(table._state()))


def _described(index: Any) -> TableIndex:
    n = sum(run.n for run in index.runs)
    soiled = sum(high - low for run in index.runs for low, high in run.dirty_ranges())
    return TableIndex(
        index.record.name,
        index.columns,
        index.record.unique,
        max(0, n - soiled),
        len(index.runs),
        index.nbytes_stored,
    )


def _field_of(state: Any, leaves: list[Leaf], what: str) -> int:
    """Return the sealed field of the columns of an index, 0 of open ones."""
    sealed = state.facts.sealed
    fields: set[int] = {sealed.get(leaf.id, 0) for leaf in leaves}
    if len(fields) > 1:
        name = next(leaf.path[0] for leaf in leaves if leaf.id in sealed)
        raise DTypeError(
            f"{what}: column {name!r} is sealed, and the others are open or have other secrets: an "
            "index is of columns of one field, encrypt={('a', 'b'): secret}",
            column=name,
        )
    (field,) = fields
    if field:
        state.check_writable()
    return field


def _leaves_of(schema: Schema, columns: tuple[Any, ...], what: str) -> list[Leaf]:
    if not columns:
        raise DTypeError(f"{what}: name at least one column")
    leaves: list[Leaf] = []
    for name in columns:
        if not isinstance(name, str):
            raise DTypeError(f"{what}: name columns as str, not {name!r}")
        path = parse_path(schema, name)
        fields = field_at(schema, path)
        nullable = fields.is_nullable and len(path) == 1
        several = fields.is_structured or fields.item_shape or len(fields.leaves) != 1
        if several and fields.sort is None and not nullable:
            raise DTypeError(
                f"{what}: column {name!r} has several values a row; an index is on single values",
                column=name,
            )
        stored = fields.stored if fields.sort is None else schema.stored_of(name)
        leaf, *valid = stored
        if leaf.is_virtual:
            raise DTypeError(
                f"{what}: column {name!r} is virtual; cast or add it as a stored one first",
                column=name,
            )
        if not can_be_key(leaf.dtype):
            raise DTypeError(
                f"{what}: values of column {name!r}, {dtype_text(leaf.dtype)}, have no order",
                column=name,
            )
        if leaf in leaves:
            raise DTypeError(f"{what}: column {name!r} is named twice", column=name)
        leaves += [*valid, leaf]
    total = sum(n_words(leaf.dtype) for leaf in leaves)
    if total > MAX_KEY_WORDS:
        raise DTypeError(
            f"{what}: keys of {8 * total} bytes, at most {8 * MAX_KEY_WORDS} are possible; leave "
            "out a column"
        )
    return leaves
