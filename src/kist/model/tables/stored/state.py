"""One table in one view: its schema and layout, its pages, pieces, patches and deleted rows.

What is learnt about a table is kept with the view it was learnt from and goes with it, except
for what does not depend on the view: layouts (by stamp), schemas (by their bytes) and decoded
pieces (by the piece).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from kist.errors import CorruptDataError, StaleHandleError, TamperedDataError
from kist.format import keys
from kist.format.schema import Leaf, Schema
from kist.format.values import Pointer, unpack_record
from kist.model.tables.stored.batch import Batch, Rows, freeze
from kist.model.tables.stored.joined import FILE_BITS, JoinedView
from kist.model.tables.stored.layout import (
    RECENT,
    Body,
    Group,
    Layout,
    Patch,
    layout_of,
    read_layout,
    read_tail,
)
from kist.model.tables.stored.records import OUTSIDE, PageRecord, Tail, unpack_dead, unpack_patch
from kist.model.tables.stored.schema import SchemaFacts, facts_of, schema_from

if TYPE_CHECKING:
    from kist.engine import View
    from kist.engine.fieldkeys import FieldKeys
    from kist.format.columns import ColumnSpec
    from kist.indexes.statistics import Bounds
    from kist.model.tables.stored.categories import Categories
    from kist.model.tables.stored.sealing import Sealing
    from kist.query import Bound

__all__ = ["Known", "TableState", "in_its_file", "keep_piece", "located", "state_of"]

Array = np.ndarray[Any, Any]
T = TypeVar("T")
Page = tuple[Pointer, PageRecord]

_BYTE: Final = re.compile(r"\bbyte (\d+)")
_SINGLE: Final = 4
"""Pages of a leaf are looked up one by one until one in `_SINGLE` of its groups was; then all are
listed. A look-up takes as long as listing two to three, and a query may want one or all."""


class Known:
    """What was learnt about a table from a view."""

    __slots__ = (
        "asked",
        "bounds",
        "kept",
        "layout",
        "listed",
        "opened",
        "pages",
        "schema",
        "schema_value",
        "tail",
    )

    def __init__(self, schema_value: bytes, tail: Tail) -> None:
        self.schema_value = schema_value
        self.schema = schema_from(schema_value)
        self.tail = tail
        self.pages: dict[tuple[int, int], Page] = {}  # (leaf, first row) -> page
        self.listed: set[int] = set()  # leaves all of whose pages are in `pages`
        self.asked: dict[int, int] = {}  # leaf -> pages that were looked up one by one
        self.bounds: dict[tuple[int, bool], Bounds] = {}  # leaf, with nulls -> of all groups
        self.kept: dict[str, Any] = {}  # what others keep, see `TableState.once`
        self.opened: dict[int, FieldKeys] = {}  # sealed fields, their records held to be whole
        self.layout: Layout | None = None  # of a sealed table, see `TableState.layout`


def read_schema(view: View, node: int, path: str) -> bytes:
    """Return the value of the ``S`` record of a table, following it into its extent.

    Raises
    ------
    StaleHandleError
        There is no such table any more.
    """
    value = view.get(keys.schema(node))
    if value is None:
        raise StaleHandleError(
            f"the table {path!r} was deleted or replaced; open it again by its name"
        )
    pointers, _ = unpack_record(value)
    # A schema of a few hundred columns does not fit into a record.
    return b"\0" + bytes(view.read(pointers[0])) if pointers else value


def state_of(view: View, node: int, path: str = "") -> TableState:
    """Return a table as a view shows it.

    Notes
    -----
    Two look-ups in the map; none the second time with the same snapshot, and with a transaction
    that has changed nothing of the table in between the same two and nothing else.
    """
    if isinstance(view, JoinedView):
        return view.table
    known: Known | None = view.by_node.get(node)
    if known is not None and not view.is_transaction:
        return TableState(view, node, path, known)
    schema_value = read_schema(view, node, path)
    tail = read_tail(view, node)
    if known is None or known.tail.stamp != tail.stamp or known.schema_value != schema_value:
        known = Known(schema_value, tail)
        if view.reader.keyring is not None:
            from kist.model.tables.stored.sealing import check_promises

            check_promises(view, node, path, known.schema)
        view.by_node[node] = known
    return TableState(view, node, path, known)


def _page_name(path: str, leaf: Leaf, first: int) -> str:
    return f"{path!r} column {'.'.join(leaf.path)!r}, page of row id {first}"


def located(error: CorruptDataError, state: TableState, column: str, row: int) -> CorruptDataError:
    """Return the error with the place in the table added to it."""
    text, offset = in_its_file(error, state)
    where = f"{state.path!r} column {column!r}, page of row id {row}"
    return CorruptDataError(f"{where}: {text}", offset=offset, node=state.path)


def in_its_file(error: CorruptDataError, state: TableState) -> tuple[str, int | None]:
    """Return text and offset of an error, both as they are in the file: also of a part of many."""

    def own(byte: int) -> int:
        return byte & ((1 << FILE_BITS) - 1)

    def said(found: re.Match[str]) -> str:
        byte = int(found[1])
        file = state.file_name(byte >> FILE_BITS)
        return f"byte {own(byte)} of {file!r}" if file else found[0]

    offset = error.offset
    return _BYTE.sub(said, str(error)), None if offset is None else own(offset)


def keep_piece(group: Group, dtype: np.dtype[Any], rows: Rows) -> None:
    """Keep the rows of a piece that was just made, as `TableState.piece` gives them."""
    # A copy: the rows may be the user's own, who may change them.
    if isinstance(rows, Batch) or not dtype.itemsize:
        kept = freeze(rows.copy())
    else:
        kept = np.frombuffer(rows.tobytes(), dtype)
    RECENT.put(group.body, "rows", kept, kept.nbytes + 200)


class TableState:
    """A table as one view shows it.

    Attributes
    ----------
    view : View
        Snapshot or transaction.
    node : int
        Node id.
    path : str
        Path of the table, for messages.
    """

    __slots__ = ("_known", "_layout", "node", "path", "view")

    def __init__(self, view: View, node: int, path: str, known: Known) -> None:
        self.view = view
        self.node = node
        self.path = path
        self._known = known
        self._layout: Layout | None = None

    @property
    def schema(self) -> Schema:
        """The columns."""
        return self._known.schema

    @property
    def facts(self) -> SchemaFacts:
        """What is derived from the schema."""
        return facts_of(self._known.schema)

    @property
    def sealing(self) -> Sealing:
        """The sealed fields of a table that has some."""
        from kist.model.tables.stored.sealing import Sealing

        known = self._known
        return Sealing(self.view, self.node, self.path, known.schema, known.opened)

    def check_writable(self) -> None:
        """Raise where a secret is missing of some sealed field: no change could be vouched for."""
        if self.facts.sealed:
            self.sealing.all_keys()

    def file_name(self, number: int) -> str:
        """Return the name of one of the files that it stands in; "" where it is in one alone."""
        return ""

    @property
    def added(self) -> frozenset[int]:
        """Ids of leaves that some groups may lack, which then have an initial value."""
        return self.facts.added

    @property
    def n_parts(self) -> int:
        """How many tables it is made of; 0 where its pages are its own."""
        return 0

    def part(self, place: int) -> tuple[TableState, Mapping[int, Leaf]]:
        """Return one of the tables that it is made of, and its leaves by the ids of the whole."""
        raise IndexError(f"{self.path!r} is made of no parts, asked for {place}")

    def last_of(self, leaf: Leaf) -> tuple[TableState, Leaf]:
        """Return in which table the last pages of a leaf stand, and what leaf they are of there."""
        return self, leaf

    @property
    def tail(self) -> Tail:
        """Number of rows, next row id, stamp."""
        return self._known.tail

    @property
    def n_rows(self) -> int:
        """Rows of the table; needs no layout."""
        return self._known.tail.n_live

    @property
    def layout(self) -> Layout:
        """The groups; read when first asked for."""
        if self._layout is None:
            known = self._known
            if not known.schema.sealed:
                self._layout = layout_of(self.view, self.node, known.tail)
            elif known.layout is None or self.view.is_transaction:
                # Of these records and no others: a stamp is in clear, so that an edited file, or
                # another one, may show other groups under it.
                self._layout = known.layout = read_layout(self.view, self.node, known.tail)
            else:
                self._layout = known.layout
        return self._layout

    @property
    def known(self) -> object:
        """What ends with the stamp of the table: the owner of what is kept of its rows."""
        return self._known

    def once(self, what: str, make: Callable[[], T]) -> T:
        """Return what a function makes of the table; made once for a snapshot."""
        if self.view.is_transaction:
            return make()  # may change without a new stamp
        kept = self._known.kept
        if what not in kept:
            kept[what] = make()
        found: T = kept[what]
        return found

    def page(self, leaf: Leaf, group: Group) -> Page:
        """Return pointer and record of one page.

        Raises
        ------
        CorruptDataError
            There is none.
        """
        found = self.find_page(leaf, group)
        if found is None:
            raise CorruptDataError(
                f"{self.path!r} column {'.'.join(leaf.path)!r} lacks the page of row id "
                f"{group.first}; 'kist check' lists all damage",
                node=self.path,
            )
        return found

    def constant(self, leaf: Leaf, group: Group) -> Array | None:
        """Return the values of every row of a group that has no page of a leaf, and needs none.

        Returns
        -------
        ndarray, shape (leaf.n_values,), or None
            None for a piece that holds the leaf, and for a group that has its page, or should.
        """
        values = self.facts.initial(leaf, group.record.version)
        if values is None or (group.is_pages and self.find_page(leaf, group) is not None):
            return None
        return values

    def find_page(self, leaf: Leaf, group: Group) -> Page | None:
        """Return pointer and record of one page, None when there is none."""
        known = self._known
        # Asked before the page is: another thread may be listing them in between.
        listed = leaf.id in known.listed
        found = known.pages.get((leaf.id, group.first))
        if found is None and not listed:
            asked = known.asked[leaf.id] = known.asked.get(leaf.id, 0) + 1
            if asked * _SINGLE > self.layout.n_groups:
                found = self.list_pages(leaf).get((leaf.id, group.first))
            else:
                value = self.view.get(keys.page(self.node, leaf.id, group.first))
                if value is not None:
                    page = self._unpack_page(leaf, group.first, value)
                    found = known.pages[leaf.id, group.first] = page
        return found

    def list_pages(self, leaf: Leaf) -> Mapping[tuple[int, int], Page]:
        """Return the pages under (leaf id, first row id), those of one leaf all there."""
        known = self._known
        if leaf.id not in known.listed:
            for key, value in self.view.scan(*keys.pages(self.node, leaf.id)):
                first = keys.row_of(key)
                if (leaf.id, first) not in known.pages:  # some were asked for one by one
                    known.pages[leaf.id, first] = self._unpack_page(leaf, first, value)
            known.listed.add(leaf.id)
        return known.pages

    def may_match(self, parts: Sequence[Bound], names: Mapping[str, Leaf]) -> Array:
        """Return which groups a condition must look at, by what is known before any record is read.

        Here all of them; a table whose parts stand in many files knows better.
        """
        return np.ones(self.layout.n_groups, bool)

    def _unpack_page(self, leaf: Leaf, first: int, value: bytes) -> Page:
        pointers, payload = unpack_record(value)
        field = self.facts.sealed.get(leaf.id)
        if field is not None:
            from kist.engine.sealedrecords import open_record

            opened = self._known.opened.get(field) or self.sealing.keys(field)
            try:
                sealed, payload = open_record(self.view, pointers, payload, opened.data)
            except (TamperedDataError, CorruptDataError):
                with self.naming(leaf, first):
                    raise
            where = self.path, ".".join(leaf.path), first, ""
            for pointer in sealed:
                pointer.where = where
            pointers = sealed
        if len(pointers) != 1:
            raise CorruptDataError(f"a page record with {len(pointers)} pointers")
        return pointers[0], PageRecord.unpack(payload)

    @contextmanager
    def naming(self, leaf: Leaf, first: int) -> Iterator[None]:
        """Say in errors of what is sealed which column and page they are about."""
        try:
            yield
        except TamperedDataError as error:
            raise TamperedDataError(f"{_page_name(self.path, leaf, first)}: {error}") from None
        except CorruptDataError as error:
            raise located(error, self, ".".join(leaf.path), first) from error

    def bounds(self, leaf: Leaf) -> Bounds:
        """Return the statistics of a leaf, one entry per group of the layout.

        Nothing is known of pieces, nor of virtual columns. Values in patches count beside those
        of the page, and so do those that stand under nulls.
        """
        return self._bounds(leaf, with_nulls=True)

    def bounds_of_valid(self, leaf: Leaf) -> Bounds:
        """Return the same of the values of a nullable column that are there."""
        return self._bounds(leaf, with_nulls=leaf.id not in self.facts.valid_of)

    def _bounds(self, leaf: Leaf, *, with_nulls: bool) -> Bounds:
        known = self._known
        found = known.bounds.get((leaf.id, with_nulls))
        if found is None:
            from kist.model.tables.stored.statistics import bounds_of_groups

            found = bounds_of_groups(self, leaf, with_nulls=with_nulls)
            known.bounds[leaf.id, with_nulls] = found
        return found

    def piece(self, group: Group, leaf: Leaf | None = None) -> Any:
        """Return all rows of a piece, deleted ones too, patches not applied.

        Parameters
        ----------
        leaf : Leaf, optional
            Of a sealed field, whose leaves are wanted; else those that are not sealed.

        Returns
        -------
        structured ndarray, shape (n_rows,), dtype ``facts.rows_at(version).dtype``, or Batch
            Shared and read-only. Leaves that came later are not in it, see `constant`.
        """
        body = group.body
        assert body is not None
        facts = self.facts
        if facts.sealed:
            return self._part_of_piece(group, body, leaf)

        def make() -> tuple[Any, int]:
            try:
                packed = facts.rows_at(group.record.version)
                rows = packed.decode(self._piece_data(group, body), group.n_rows)
            except CorruptDataError as error:
                raise located(error, self, "*", group.first) from error
            return freeze(rows), rows.nbytes + 200

        return RECENT.get(body, "rows", make)

    def _part_of_piece(self, group: Group, body: Body, leaf: Leaf | None) -> Any:
        from kist.model.tables.stored.sealing import unpack_parts, unseal_part

        field = 0 if leaf is None else self.facts.sealed.get(leaf.id, 0)
        # Asked for the keys before what was decoded with them: another handle may have done that.
        opened = self.sealing.keys(field) if field else None

        def make() -> tuple[Any, int]:
            try:
                packed = self.facts.parts_at(group.record.version)[field]
                data = unpack_parts(self._piece_data(group, body)).get(field, b"")
                if opened is not None:
                    data = unseal_part(opened, data)
                rows = packed.decode(data, group.n_rows)
            except CorruptDataError as error:
                raise located(error, self, "*", group.first) from error
            return freeze(rows), rows.nbytes + 200

        return RECENT.get(body, ("rows", field), make)

    def _piece_data(self, group: Group, body: Body) -> bytes:
        if group.record.kind != OUTSIDE:
            return body.data
        pointer = self.pointer(keys.group(self.node, group.first))
        return self.vouched(self.view.read(pointer), body.data)

    def vouched(self, data: bytes, digest: bytes) -> bytes:
        """Return what stands in the extent of a piece or a patch, held against its record."""
        if self.facts.sealed:
            from kist.model.tables.stored.sealing import digest_of

            if digest_of(data) != digest:
                raise TamperedDataError(
                    f"{self.path!r}: an extent of rows is another one than its record names: do "
                    "not trust the file"
                )
        return bytes(data)

    def dead(self, group: Group) -> Array | None:
        """Return which rows of a group are deleted, bool of shape (n_rows,), None for no row."""
        if group.n_live == group.n_rows:
            return None

        def make() -> tuple[Array, int]:
            pointers, payload = unpack_record(self._value(keys.deletion(self.node, group.first)))
            data = bytes(self.view.read(pointers[0])) if pointers else payload
            dead = unpack_dead(data, group.n_rows)
            if group.n_rows - int(np.count_nonzero(dead)) != group.n_live:
                raise CorruptDataError(
                    f"{self.path!r}: deleted rows of the group at row id {group.first} do not "
                    f"leave {group.n_live} rows; 'kist check' lists all damage"
                )
            dead.flags.writeable = False
            return dead, dead.nbytes + 200

        return RECENT.get(group, "dead", make)

    def live(self, group: Group) -> Array | None:
        """Return the ordinals of the rows that are not deleted, None for all rows."""
        dead = self.dead(group)
        return None if dead is None else np.flatnonzero(~dead)

    def patches(self, group: Group, leaf: Leaf) -> list[tuple[Array, Array]]:
        """Return (ordinals, values) of all patches of a leaf, later ones last.

        `values` has shape ``(len(ordinals), leaf.n_values)``.
        """
        found: list[tuple[Array, Array]] = []
        field = self.facts.sealed.get(leaf.id, 0)
        for patch in group.patches:
            found += self._patch(group, patch, field).get(leaf.id, ())
        return found

    def categories(self, column: ColumnSpec) -> Categories:
        """Return what the codes of a column of the table stand for."""
        from kist.model.tables.stored.categories import read_categories

        opened = self.sealing.keys(column.field) if column.field else None
        return read_categories(self.view, self.node, column, opened)

    def recoding(self, leaf: Leaf, group: Group) -> Array | None:
        """Return the code of each code that stands in a group; None where it is the same.

        Here always None: a table has one list of categories, and a table made of others several.
        """
        return None

    def rewrites(self, leaf: Leaf, group: Group) -> bool:
        """Tell whether values of a leaf are others than those that its page holds."""
        return bool(group.patches) and leaf.id in self.patched_leaves(group)

    def patched_leaves(self, group: Group) -> set[int]:
        """Return the leaf ids that the patches of a group change."""
        if self.facts.sealed:
            every = (unpack_patch(self._patch_data(group, patch)) for patch in group.patches)
            return {leaf for parts in every for part in parts for leaf in part.leaves}
        return {leaf for patch in group.patches for leaf in self._patch(group, patch)}

    def _patch_data(self, group: Group, patch: Patch) -> bytes:
        if patch.inline is not None:
            return patch.inline
        pointer = self.pointer(keys.patch(self.node, group.first, patch.seq))
        return self.vouched(self.view.read(pointer), patch.digest)

    def _patch(
        self, group: Group, patch: Patch, field: int = 0
    ) -> Mapping[int, list[tuple[Array, Array]]]:
        sealed = self.facts.sealed
        opened = self.sealing.keys(field) if field else None

        def make() -> tuple[Mapping[int, list[tuple[Array, Array]]], int]:
            from kist.model.tables.stored.rows import PackedRows

            data = self._patch_data(group, patch)
            by_id = self.facts.by_id
            changes: dict[int, list[tuple[Array, Array]]] = {}
            for leaf_ids, ordinals, encoded in unpack_patch(data):
                if sealed:
                    from kist.model.tables.stored.sealing import fields_of, unseal_part

                    fields = fields_of(leaf_ids, sealed)
                    if fields != {field}:
                        if len(fields) > 1:
                            raise CorruptDataError(f"{self.path!r}: a patch of two fields")
                        continue
                    if opened is not None:
                        encoded = unseal_part(opened, encoded)
                ascending = all(a < b for a, b in pairwise(leaf_ids))
                if (
                    int(ordinals[-1]) >= group.n_rows
                    or not by_id.keys() >= set(leaf_ids)
                    or not ascending
                ):
                    raise CorruptDataError(
                        f"{self.path!r}: a patch of the group at row id {group.first} does not "
                        "fit it; 'kist check' lists all damage"
                    )
                leaves = [by_id[number] for number in leaf_ids]
                rows = PackedRows(leaves).decode(encoded, len(ordinals))
                for leaf in leaves:
                    values = rows[f"f{leaf.id}"].reshape(len(ordinals), leaf.n_values)
                    changes.setdefault(leaf.id, []).append((ordinals, values))
            return changes, len(data) * 4 + 500

        return RECENT.get(patch, ("parts", field), make)

    def pointers(self, key: bytes) -> tuple[Pointer, ...]:
        """Return the pointers of a record that must be there."""
        return unpack_record(self._value(key))[0]

    def pointer(self, key: bytes) -> Pointer:
        """Return the pointer of a record that must be there and have one."""
        found = self.pointers(key)
        if len(found) != 1:
            raise CorruptDataError(
                f"{self.path!r}: a record of kind {keys.kind_of(key).decode()} has "
                f"{len(found)} extents, 1 expected; 'kist check' lists all damage",
                node=self.path,
            )
        return found[0]

    def _value(self, key: bytes) -> bytes:
        value = self.view.get(key)
        if value is None:
            raise CorruptDataError(
                f"{self.path!r} lacks a record of kind {keys.kind_of(key).decode()}; "
                "'kist check' lists all damage",
                node=self.path,
            )
        return value
