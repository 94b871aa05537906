"""A new table that is filled with rows of others: row groups as bytes, the rest decoded.

Row groups of pages that are wanted whole are copied with their pages, patches and deleted rows.
Pieces, which are small, and what is left of a group that a cut goes through are decoded; they wait
until they make a row group, or until a whole one follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist._kernels.cells import empty_values
from kist.errors import DTypeError, UnsupportedVersionError
from kist.format import keys
from kist.format.schema import Leaf, Schema
from kist.format.values import pack_record, unpack_record
from kist.model.extents import Extents
from kist.model.parts.unequal import Fit, fit_of
from kist.model.tables.changes.pages import Recipes, write_pages
from kist.model.tables.changes.write import put_new_table, put_pages_group, put_piece
from kist.model.tables.stored.batch import Batch, bytes_of
from kist.model.tables.stored.categories import (
    Categories,
    put_categories,
    recode,
)
from kist.model.tables.stored.layout import Group, read_tail
from kist.model.tables.stored.read import Span, group_spans, plan, read_leaves
from kist.model.tables.stored.records import PAGES, TAIL_ROW, GroupRecord, Tail, new_stamp
from kist.model.tables.stored.schema import FULL_TIER, TEXT_BYTES, facts_of
from kist.model.tables.stored.state import TableState, state_of

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.model.parts.sealedfields import Turned

__all__ = ["TableSink", "check_records", "read_columns"]

Array = np.ndarray[Any, Any]

_GROUPS: Final = 32
"""Row groups whose records of pages are looked up together."""

_RECORDS: Final = 20_000
"""Records of a commit, about a kilobyte of memory each."""

_HANDLED: Final = (b"A", b"E", b"G", b"I", b"M", b"N", b"P", b"S", b"U", b"X", b"Y")


class TableSink:
    """A new table on its way.

    Parameters
    ----------
    txn : Transaction
        Of a store that nobody else reads.
    node : int
        A new node without records but its own, and the locks of sealed fields.
    schema : Schema
        Of the table.
    step : callable
        Commits, and returns the next transaction: one of a million records would not fit into the
        memory that is promised.
    told : callable, optional
        Called with the number of bytes copied.
    """

    def __init__(
        self,
        txn: Transaction,
        node: int,
        schema: Schema,
        step: Callable[[], Transaction],
        told: Callable[[int], None] | None = None,
    ) -> None:
        put_new_table(txn, node, schema)
        self._step = step
        self._node = node
        self._schema = schema
        self._facts = facts_of(schema)
        self._leaves = schema.packed
        self._told = told
        self._next_row = 0
        self._n_live = 0
        self._categories: dict[int, Categories] = {}
        # Of the part that is taken: by the leaf of codes, what each of them is here.
        self._recoded: dict[int, Array] = {}
        # Its sealed leaves whose bodies are not copied.
        self._turned: dict[int, Turned] = {}
        self._waiting: list[list[Array]] = []
        self._n_waiting = self._n_bytes = 0
        self._go_on(txn)

    def _go_on(self, txn: Transaction) -> None:
        self._txn = txn
        self._extents = Extents(txn, self._told)
        self._recipes = Recipes(txn, self._node, self._schema, b"")
        self._n_records = 0

    def add_part(self, view: View, node: int, path: str, start: int, stop: int) -> None:
        """Take the rows at positions start .. stop of a table with the same columns."""
        state = state_of(view, node, path)
        check_records(view, node, path)
        self._turned = {}
        if self._schema.sealed:
            from kist.model.parts.sealedfields import turned

            self._turned = turned(state, self._txn, self._node, self._schema)
        self.take_categories(state)
        if start < stop:
            self._add_rows(state, fit_of(state.schema, self._schema), start, stop)

    def take_categories(self, state: TableState) -> None:
        """Take what the codes of a table stand for, whose rows follow.

        New categories go behind those of the parts before. Where the same codes stand for other
        categories, those of the rows that follow are given anew.

        Raises
        ------
        DTypeError
            The order of the categories means something, and is another one.
        """
        self._recoded = {}
        for column in self._facts.categorical:
            theirs = state.schema.columns[state.schema.index(column.name)]
            new = state.categories(theirs)
            mine = self._categories.get(column.id)
            first = new if mine is None else mine
            longer, shorter = (new, first) if len(new) > len(first) else (first, new)
            same = len(longer) == len(shorter) and longer.numbers == shorter.numbers
            agree = longer.values[: len(shorter)].tolist() == shorter.values.tolist()
            if (new.sort.fixed and not same) or (new.sort.ordered and not agree):
                raise DTypeError(
                    f"{state.path!r}: column {column.name!r} has other categories than the parts "
                    "before it, or in another order, and this order means something; "
                    "cast_column() makes text of one or the other",
                    column=column.name,
                )
            if not agree:
                assert mine is not None
                longer, self._recoded[column.first_leaf] = mine.joined(new)
            if longer is not mine:
                self._categories[column.id] = longer
                put_categories(self._txn, self._node, column, longer)

    def _read(
        self, state: TableState, fit: Fit, spans: Sequence[Span], leaves: Sequence[Leaf]
    ) -> list[Array]:
        """Return the values of leaves, one flat array for each, codes as they are here."""
        columns = read_columns(state, fit, spans, leaves)
        for at, leaf in enumerate(leaves):
            codes = self._recoded.get(leaf.id)
            if codes is not None:
                columns[at] = recode(columns[at], codes, state.path, leaf)
        return columns

    def _add_rows(self, state: TableState, fit: Fit, start: int, stop: int) -> None:
        layout = state.layout
        first, last = layout.locate(start)[0], layout.locate(stop - 1)[0]
        edges = layout.starts
        low = first + (start > int(edges[first]))
        high = last + (stop >= int(edges[last + 1]))
        if low >= high:  # within one group, or the ends of two
            self._decode(state, fit, plan(state, range(start, stop)))
            return
        if low > first:
            self._decode(state, fit, plan(state, range(start, int(edges[low]))))
        for at in range(low, high, _GROUPS):
            self._add_groups(state, fit, layout.groups[at : min(at + _GROUPS, high)])
        if high <= last:
            self._decode(state, fit, plan(state, range(int(edges[high]), stop)))

    def add_group(self, state: TableState, fit: Fit, group: Group) -> None:
        """Take all live rows of a group."""
        self._add_groups(state, fit, [group])

    def add_columns(self, columns: Sequence[Array], n: int) -> None:
        """Take rows as one flat array for each of the packed leaves, which are copied."""
        self._wait([column.copy() for column in columns], n)

    def _add_groups(self, state: TableState, fit: Fit, groups: Sequence[Group]) -> None:
        pages: dict[bytes, bytes] = {}
        for leaf in self._schema.stored if any(group.is_pages for group in groups) else ():
            old = fit.leaves[leaf.id].id
            first, last = (keys.page(state.node, old, g.first) for g in (groups[0], groups[-1]))
            pages.update(zip(*state.view.entries(first, last + b"\0"), strict=True))
        for group in groups:
            if not group.is_pages:
                self._decode(state, fit, [group_spans(state, group)])
                continue
            self._flush_rows()
            self._copy_group(state, fit, group, pages)
            if self._n_records > _RECORDS:
                self.finish()
                self._go_on(self._step())

    def _copy_group(
        self, state: TableState, fit: Fit, group: Group, pages: dict[bytes, bytes]
    ) -> None:
        view, first = state.view, self._next_row
        decoded = []
        is_same = fit.is_same and not self._recoded and not self._turned
        patched = set() if is_same or not group.patches else state.patched_leaves(group)
        for leaf in self._schema.stored:
            old = fit.leaves[leaf.id]
            value = pages.get(keys.page(state.node, old.id, group.first))
            if value is not None and old.id not in patched and leaf.id not in self._recoded:
                key = keys.page(self._node, leaf.id, first)
                if leaf.id in self._turned:
                    self._reseal(view, key, value, self._turned[leaf.id])
                    continue
                pointers, payload = unpack_record(value)
                self._extents.add(view, key, payload, pointers)
            elif leaf.is_stored and not (is_same and state.constant(old, group) is not None):
                decoded.append(leaf)
        if decoded:
            # Of a table whose columns came in another order: what stands in patches and nowhere.
            span = Span(group, range(group.n_rows), 0)
            columns = self._read(state, fit, [span], decoded)
            write_pages(self._txn, self._node, first, decoded, columns, self._recipes, is_new=True)
        record = group.record
        if not is_same:
            record = record._replace(version=self._schema.version)
        kept = GroupRecord(PAGES, record.tier, record.version, record.n_rows, record.n_live)
        self._txn.put(keys.group(self._node, first), pack_record(kept.pack()))
        if group.n_live < group.n_rows:
            value = view.get(keys.deletion(state.node, group.first)) or b"\0"
            pointers, payload = unpack_record(value)
            self._extents.add(view, keys.deletion(self._node, first), payload, pointers)
        if group.patches and is_same:
            for key, value in view.scan(*keys.patches(state.node, group.first)):
                pointers, payload = unpack_record(value)
                new = keys.patch(self._node, first, keys.patch_of(key)[1])
                self._extents.add(view, new, payload, pointers)
        self._next_row += group.n_rows
        self._n_live += group.n_live
        self._n_records += len(self._schema.stored) + 2

    def _reseal(self, view: View, key: bytes, value: bytes, turned: Turned) -> None:
        """Put a page that another table has sealed under keys of its own."""
        from kist.model.tables.changes.secrets import reseal_page

        payload, frames = reseal_page(view, value, key, *turned)
        pointers = self._txn.write(frames)
        self._txn.put(key, pack_record(payload, pointers))
        if self._told is not None:
            self._told(sum(pointer.length for pointer in pointers))

    # Rows that are decoded

    def _decode(self, state: TableState, fit: Fit, spans: Sequence[Span]) -> None:
        for span in spans:
            columns = self._read(state, fit, [span._replace(at=0)], self._leaves)
            self._wait(columns, span.n)

    def _wait(self, columns: list[Array], n: int) -> None:
        size = self._facts.group_rows
        at = 0
        while at < n:
            some = min(n - at, size - self._n_waiting)
            self._waiting.append(
                [
                    column[at * leaf.n_values : (at + some) * leaf.n_values]
                    for leaf, column in zip(self._leaves, columns, strict=True)
                ]
            )
            self._n_waiting += some
            at += some
            if self._n_waiting == size:
                self._flush_rows()
        loose = [c for leaf, c in zip(self._leaves, columns, strict=True) if leaf.is_loose]
        self._n_bytes += sum(int(bytes_of(column).sum()) for column in loose)
        if self._n_bytes > TEXT_BYTES:
            self._flush_rows()

    @property
    def nbytes_waiting(self) -> int:
        """About how much memory the rows take that wait."""
        return self._n_waiting * self._facts.row_nbytes + self._n_bytes

    def flush(self) -> None:
        """Write the rows that wait, also where they make no whole row group."""
        self._flush_rows()

    def _flush_rows(self) -> None:
        waiting, n = self._waiting, self._n_waiting
        self._waiting, self._n_waiting, self._n_bytes = [], 0, 0
        if len(waiting) == 1:
            self._put(waiting[0], n)
        elif n:
            self._put([np.concatenate(parts) for parts in zip(*waiting, strict=True)], n)

    def _put(self, columns: list[Array], n: int) -> None:
        loose = {
            str(leaf.id): column
            for leaf, column in zip(self._leaves, columns, strict=True)
            if leaf.is_loose
        }
        cuts = [(0, n, False)]
        if loose:
            cuts = list(Batch(np.zeros(n, np.dtype([])), loose).cuts(n, TEXT_BYTES))
        for start, stop, cut in cuts:
            part = [
                column[start * leaf.n_values : stop * leaf.n_values]
                for leaf, column in zip(self._leaves, columns, strict=True)
            ]
            self._put_group(part, stop - start, FULL_TIER if cut else 0)

    def _put_group(self, columns: list[Array], n: int, tier: int) -> None:
        txn, node, first, schema = self._txn, self._node, self._next_row, self._schema
        rows = self._facts.rows.of_columns(columns, n) if self._facts.are_piece(n) else None
        n_bytes = int(rows.sizes.sum()) if isinstance(rows, Batch) else 0
        if rows is not None and self._facts.are_piece(n, n_bytes):
            put_piece(txn, node, first, schema, rows, min(tier, 1), n)
        else:
            write_pages(txn, node, first, self._leaves, columns, self._recipes, is_new=True)
            put_pages_group(txn, node, first, schema, n, n, tier)
            self._n_records += len(self._leaves)
        self._next_row += n
        self._n_live += n

    def settle(self) -> None:
        """Write what still waits to be read: the stores where it stands are closed next."""
        self._extents.flush()

    def finish(self) -> None:
        """Write all that waits, and the tail; more may follow in another transaction."""
        self._flush_rows()
        self._extents.flush()
        tail = Tail(self._next_row, self._n_live, 0, new_stamp())
        self._txn.put(keys.group(self._node, TAIL_ROW), pack_record(tail.pack()))
        if self._schema.sealed:
            from kist.model.tables.changes.manifests import put_manifests

            put_manifests(self._txn, self._node, self._schema)

    def resume(self) -> None:
        """Go on behind rows that others have appended since."""
        tail = read_tail(self._txn, self._node)
        self._next_row, self._n_live = tail.next_row, tail.n_live


def read_columns(
    state: TableState, fit: Fit, spans: Sequence[Span], leaves: Sequence[Leaf]
) -> list[Array]:
    """Return the values of leaves of the new table, one flat array for each."""
    n = sum(span.n for span in spans)
    columns = [empty_values(n * leaf.n_values, leaf.dtype) for leaf in leaves]
    read_leaves(state, spans, [fit.leaves[leaf.id] for leaf in leaves], columns)
    return columns


def check_records(view: View, node: int, path: str) -> None:
    """Raise when a table has records that would be left behind.

    Raises
    ------
    UnsupportedVersionError
        It has some of a kind that is not known here.
    """
    at, stop = keys.whole_node(node)
    while True:
        key = next((key for key, _ in view.scan(at, stop)), None)
        if key is None:
            return
        kind = keys.kind_of(key)
        if kind not in _HANDLED:
            raise UnsupportedVersionError(
                f"{path!r} has records of kind {kind.decode('latin-1')!r}, which cannot be carried "
                "into parts; copy() takes the whole table"
            )
        at = keys.after_prefix(key[:9])
