"""Changing rows in place: assignments as patches or new pages, deletions as sets of rows.

Few rows of a group are changed by a *patch*: their ordinals and the new values of the touched
leaves, in one record. From one row in `PATCH_SHARE` on, the touched pages (or the piece) are
written anew with all patches applied. Deleted rows stay where they are and are named by the
group's ``X`` record; a group without live rows goes with everything that belongs to it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist._kernels.cells import empty_values
from kist.engine import Frame
from kist.format import keys
from kist.format.layout import FRAME_BLOB, FRAME_ROWS, MAX_INLINE
from kist.format.schema import Leaf
from kist.format.values import pack_record
from kist.model.later import note_patch
from kist.model.page_build import Chosen
from kist.model.tables import changes
from kist.model.tables.changes.pages import Recipes, write_pages
from kist.model.tables.changes.write import put_piece, put_tail
from kist.model.tables.stored.categories import Vocabularies
from kist.model.tables.stored.computed import with_computed
from kist.model.tables.stored.layout import Group, Patch, pack_patch_head, remember
from kist.model.tables.stored.read import Span, as_ordinals, plan, read_leaves
from kist.model.tables.stored.records import (
    INLINE,
    OUTSIDE,
    PAGES,
    PatchPart,
    new_stamp,
    pack_dead,
    pack_patch,
)
from kist.model.tables.stored.rows import PackedRows
from kist.model.tables.stored.state import TableState, state_of

if TYPE_CHECKING:
    from kist.engine import Transaction

__all__ = [
    "Changes",
    "assign_rows",
    "delete_rows",
    "drop_group",
    "in_order",
    "patch_parts",
    "put_dead",
    "put_patch",
    "rewrite_leaves",
]

Array = np.ndarray[Any, Any]

PATCH_SHARE: Final = 16
"""Writing a page again costs about as much as reading 16 patches of a sixteenth of its rows."""

MOST_PATCHED: Final = 4
"""A page is read twice as slowly when patches hold a fourth of its rows."""

PLAIN_PATCH: Final = 64 << 10
"""Patches up to this size are kept as they are: encoding takes longer than writing, and both
reading and folding come soon."""

FEW_ROWS: Final = 256
"""Up to one row in so many, changes are patches however many there are."""


Columns = tuple[list[Leaf], list[Array]]
Change = tuple[range | Array, Sequence[Leaf], Sequence[Array]]


class Prepared(NamedTuple):
    """New values of some rows of a group, ready to be put.

    Attributes
    ----------
    new : list of PatchPart, or (leaves, columns)
        A patch, or all rows of the leaves that get new pages (of all leaves of a piece).
    """

    group: Group
    new: list[PatchPart] | Columns


class Changes:
    """Changes within the groups of a table: each group once, and `finish` at the end.

    Parameters
    ----------
    state : TableState
        The table as `txn` shows it. What is read while groups are changed is of this state.
    """

    def __init__(self, txn: Transaction, state: TableState) -> None:
        state.check_writable()
        self._txn = txn
        self._state = state
        self._recipes = Recipes(txn, state.node, state.schema, state.tail.stamp)
        self._vocabularies = Vocabularies(
            txn, state.node, state.schema, f"assign to rows of {state.path!r}"
        )
        self._changed: dict[int, Group | None] = {}
        self._assigned: list[tuple[Group, range | Array, Sequence[int]]] = []
        self._n_deleted = 0

    def assign(
        self,
        group: Group,
        ordinals: range | Array,
        leaves: Sequence[Leaf],
        values: Sequence[Array],
    ) -> None:
        """Give some leaves of some rows of a group new values.

        Parameters
        ----------
        leaves : sequence of Leaf
            Ascending by id.
        values : sequence of ndarray
            One array per leaf, shape ``(len(ordinals), *leaf.shape)``.
        """
        self.put(self.prepare(group, ordinals, leaves, values))

    def prepare(
        self,
        group: Group,
        ordinals: range | Array,
        leaves: Sequence[Leaf],
        values: Sequence[Array],
    ) -> Prepared:
        """Return an assignment as `put` takes it; changes nothing, so threads may do it."""
        n = len(ordinals)
        leaves, values = with_computed(self._state, group, ordinals, leaves, values)
        leaves, values = self._vocabularies.encoded(leaves, values)
        # Few rows leave it to folding to apply patches; many at a time would outrun it.
        many = n * FEW_ROWS >= group.n_rows and any(
            (n + self._n_patched(group, leaf)) * MOST_PATCHED >= group.n_rows for leaf in leaves
        )
        if n * PATCH_SHARE < group.n_rows and not many:
            parts = patch_parts(self._state, leaves, as_ordinals(ordinals), values, PLAIN_PATCH)
            return Prepared(group, parts)
        return Prepared(group, changed_leaves(self._state, group, (ordinals, leaves, values)))

    def _n_patched(self, group: Group, leaf: Leaf) -> int:
        return sum(len(rows) for rows, _ in self._state.patches(group, leaf))

    def put(self, prepared: Prepared) -> None:
        """Put an assignment."""
        group, new = prepared
        self._vocabularies.put()
        if isinstance(new, list):
            touched = [leaf for part in new for leaf in part.leaves]
            self._assigned.append((group, new[0].ordinals, touched))
            patch = put_patch(self._txn, self._state, group, 0, new)
            note_patch(self._txn, self._state.node)
            after = group.with_patches((*group.patches, patch))
        else:
            self._assigned.append((group, range(group.n_rows), [leaf.id for leaf in new[0]]))
            after = put_leaves(self._txn, self._state, group, self._recipes, *new)
        self._changed[group.first] = after

    def delete(self, group: Group, ordinals: range | Array) -> None:
        """Delete live rows of a group, at least one."""
        txn, state = self._txn, self._state
        n_live = group.n_live - len(ordinals)
        self._n_deleted += len(ordinals)
        if n_live == 0:
            drop_group(txn, state, group)
            self._changed[group.first] = None
            return
        before = state.dead(group)
        dead = np.zeros(group.n_rows, bool) if before is None else before.copy()
        dead[_where(ordinals)] = True
        put_dead(txn, state.node, group.first, dead)
        self._changed[group.first] = put_live(txn, state, group, n_live)

    def finish(self) -> int:
        """Put the tail, and remember the new layout; return the number of rows deleted."""
        changed, state = self._changed, self._state
        if changed:
            n_live = state.tail.n_live - self._n_deleted
            tail = state.tail._replace(n_live=n_live, stamp=new_stamp())
            indexed = put_tail(self._txn, state.node, state.schema, tail, state.tail)
            groups = state.layout.groups
            start = bisect_left(groups, min(changed), key=attrgetter("first"))
            stop = bisect_right(groups, max(changed), key=attrgetter("first"))
            after = [changed.get(group.first, group) for group in groups[start:stop]]
            kept = [group for group in after if group is not None]
            remember(state.node, state.layout.replaced(tail, start, stop, kept))
            if indexed and self._assigned:
                from kist.model.tables.indexes.keep import after_change

                after_change(self._txn, state.node, state.path, self._assigned)
        return self._n_deleted


def assign_rows(
    txn: Transaction,
    node: int,
    path: str,
    rows: range | Array,
    leaves: Sequence[Leaf],
    columns: Sequence[Array],
) -> None:
    """Give some leaves of some rows new values.

    Parameters
    ----------
    rows : range or ndarray of int64
        Positions, strictly ascending.
    leaves : sequence of Leaf
        Which leaves.
    columns : sequence of ndarray
        Their values, one array per leaf, shape ``(len(rows), *leaf.shape)``.
    """
    if not len(rows) or not leaves:
        return
    state = state_of(txn, node, path)
    changes = Changes(txn, state)
    order = in_order(leaves)
    leaves, columns = [leaves[i] for i in order], [columns[i] for i in order]
    for span in plan(state, rows):
        values = [column[span.at : span.at + span.n] for column in columns]
        changes.assign(span.group, span.ordinals, leaves, values)
    changes.finish()


def in_order(leaves: Sequence[Leaf]) -> list[int]:
    """Return the places of leaves by ascending id, as patches name them."""
    return sorted(range(len(leaves)), key=lambda i: leaves[i].id)


def delete_rows(txn: Transaction, node: int, path: str, rows: range | Array) -> int:
    """Delete rows; return their number.

    Parameters
    ----------
    rows : range or ndarray of int64
        Positions, strictly ascending.
    """
    if not len(rows):
        return 0
    state = state_of(txn, node, path)
    changes = Changes(txn, state)
    for span in plan(state, rows):
        changes.delete(span.group, span.ordinals)
    return changes.finish()


def patch_parts(
    state: TableState,
    leaves: Sequence[Leaf],
    ordinals: Array,
    values: Sequence[Array],
    room: int = 0,
) -> list[PatchPart]:
    """Return new values of some rows as parts of a patch: one for each field, sealed as it is."""
    by_field: dict[int, list[int]] = {}
    for place, leaf in enumerate(leaves):
        by_field.setdefault(state.facts.sealed.get(leaf.id, 0), []).append(place)
    parts = []
    for field, places in by_field.items():
        chosen = [leaves[place] for place in places]
        packed = PackedRows(chosen)
        rows = packed.of_columns([values[place] for place in places], len(ordinals))
        data = packed.encode(rows, room)
        if field:
            from kist.model.tables.stored.sealing import seal_part

            data = seal_part(state.sealing.keys(field), data)
        parts.append(PatchPart(tuple(leaf.id for leaf in chosen), ordinals, data))
    return parts


def put_patch(
    txn: Transaction, state: TableState, group: Group, tier: int, parts: Sequence[PatchPart]
) -> Patch:
    """Put a patch behind the patches of a group; return it."""
    node = state.node
    seq = group.patches[-1].seq + 1 if group.patches else 0
    n_rows = sum(len(part.ordinals) for part in parts)
    head = pack_patch_head(tier, n_rows)
    data = pack_patch(parts)
    key = keys.patch(node, group.first, seq)
    if len(head) + len(data) <= MAX_INLINE:
        txn.put(key, pack_record(head + data))
        return Patch(seq, tier, n_rows, data)
    (pointer,) = txn.write([Frame(FRAME_ROWS, node, 0, group.first, data)])
    digest = changes.manifests.digest_of(data) if state.facts.sealed else b""
    txn.put(key, pack_record(head + digest, (pointer,)))
    return Patch(seq, tier, n_rows, None, digest)


def _where(ordinals: range | Array) -> slice | Array:
    return slice(ordinals.start, ordinals.stop) if isinstance(ordinals, range) else ordinals


def rewrite_leaves(txn: Transaction, state: TableState, group: Group, recipes: Recipes) -> Group:
    """Write the patched leaves of a group anew; return it without patches."""
    return put_leaves(txn, state, group, recipes, *changed_leaves(state, group))


def changed_leaves(state: TableState, group: Group, change: Change | None = None) -> Columns:
    """Return the leaves of a group that patches or a change touch, and all rows of them.

    Parameters
    ----------
    change : (ordinals, leaves, values), optional
        New values, applied over all patches.

    Returns
    -------
    (leaves, columns)
        Of a piece all leaves.
    """
    ordinals, changed, values = (range(0), (), ()) if change is None else change
    touched = state.patched_leaves(group) | {leaf.id for leaf in changed}
    # Statistics of values leave nulls out: they are stored anew with what says which are nulls.
    touched |= {value for value, valid in state.facts.valid_of.items() if valid.id in touched}
    every = state.schema.packed
    leaves = [leaf for leaf in every if leaf.id in touched] if group.is_pages else list(every)
    columns = [empty_values(group.n_rows * leaf.n_values, leaf.dtype) for leaf in leaves]
    # What is overwritten whole need not be read.
    whole = len(ordinals) == group.n_rows
    new = {leaf.id for leaf in changed} if whole else set()
    kept = [i for i, leaf in enumerate(leaves) if leaf.id not in new]
    every_row = Span(group, range(group.n_rows), 0)
    read_leaves(state, [every_row], [leaves[i] for i in kept], [columns[i] for i in kept])
    where = _where(ordinals)
    target = {leaf.id: column for leaf, column in zip(leaves, columns, strict=True)}
    for leaf, column in zip(changed, values, strict=True):
        target[leaf.id].reshape(group.n_rows, *leaf.shape)[where] = column
    return leaves, columns


def put_leaves(
    txn: Transaction,
    state: TableState,
    group: Group,
    recipes: Recipes,
    leaves: Sequence[Leaf],
    columns: Sequence[Array],
) -> Group:
    """Put new pages of some leaves, or a piece of all; return the group without patches."""
    drop_patches(txn, state.node, group)
    if group.is_pages:
        for leaf in leaves:
            page = state.find_page(leaf, group)
            chosen = None if page is None else Chosen.of(page[1].recipe, page[1].bits)
            if chosen is not None:
                recipes.use(leaf, chosen)  # what was good for the page may be so again
        write_pages(txn, state.node, group.first, leaves, columns, recipes)
        return group.with_patches(())
    rows = state.facts.rows.of_columns(columns, group.n_rows)
    tier = group.record.tier
    return put_piece(txn, state.node, group.first, state.schema, rows, tier, group.n_live)


def put_dead(txn: Transaction, node: int, first: int, dead: Array) -> None:
    """Put the set of deleted rows of a group."""
    payload = pack_dead(dead)
    if len(payload) > MAX_INLINE:
        (pointer,) = txn.write([Frame(FRAME_BLOB, node, 0, first, payload)])
        txn.put(keys.deletion(node, first), pack_record(b"", (pointer,)))
    else:
        txn.put(keys.deletion(node, first), pack_record(payload))


def put_live(txn: Transaction, state: TableState, group: Group, n_live: int) -> Group:
    """Put the record of a group with another count of live rows; return the group."""
    after = group.with_live(n_live)
    key = keys.group(state.node, group.first)
    kind = group.record.kind
    if kind in (PAGES, INLINE):
        txn.put(key, pack_record(after.record.pack()))
    else:
        assert kind == OUTSIDE
        pointers = state.pointers(key)
        txn.put(key, pack_record(after.record.pack(), pointers))
    return after


def drop_patches(txn: Transaction, node: int, group: Group) -> None:
    """Delete the patches of a group."""
    for patch in group.patches:
        txn.delete(keys.patch(node, group.first, patch.seq))


def drop_group(txn: Transaction, state: TableState, group: Group) -> None:
    """Delete a group and everything that belongs to it; the engine frees its extents."""
    node, first = state.node, group.first
    txn.delete(keys.group(node, first))
    if group.is_pages:
        for leaf in state.schema.stored:
            txn.delete(keys.page(node, leaf.id, first))
    if group.n_live < group.n_rows:
        txn.delete(keys.deletion(node, first))
    drop_patches(txn, node, group)
