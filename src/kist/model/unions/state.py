"""A table made of others as one view shows it: each row group is one of a member.

All that reads and asks goes through a `TableState`; this one has the row groups of its members one
after the other, and hands each question about a group to the member that has it. So conditions,
sorting, grouping and conversions work as on any table, and statistics rule out row groups of all
members at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kist.errors import CorruptDataError
from kist.format.columns import ColumnSpec
from kist.format.schema import Leaf, Schema
from kist.format.values import Pointer, pack_record
from kist.indexes.statistics import Bounds
from kist.model.parts.unequal import Fit
from kist.model.tables.stored.categories import Categories, recode
from kist.model.tables.stored.joined import FILE_BITS, JoinedView
from kist.model.tables.stored.layout import Group, Layout
from kist.model.tables.stored.records import Tail, new_stamp
from kist.model.tables.stored.state import Known, TableState, state_of
from kist.model.tables.stored.statistics import recoded
from kist.model.unions.backend import FilesBackend, of_file
from kist.model.unions.categories import MergedLists

if TYPE_CHECKING:
    from kist.model.tables.stored.state import Page

__all__ = ["Joined", "JoinedGroup", "JoinedState", "Member"]

Array = np.ndarray[Any, Any]


class Member(NamedTuple):
    """One of the tables.

    Attributes
    ----------
    node : int
        Its id.
    path : str
        Its path.
    fit : Fit
        Its leaves.
    tag : int
        Number of its file, which stands before the offsets of its pages.
    """

    node: int
    path: str
    fit: Fit
    tag: int = 0


class JoinedGroup(Group):
    """A row group of a member, under a row id of the whole."""

    __slots__ = ("own", "place")

    def __init__(self, first: int, own: Group, place: int) -> None:
        super().__init__(first, own.record, own.body, own.patches)
        self.own = own
        self.place = place  # of the member


class Joined:
    """What is the same for all who read the whole from one view; holds nothing of the view.

    Parameters
    ----------
    schema : Schema
        Of the whole.
    members : sequence of (Member, TableState)
        In order.
    lists : MergedLists
        Of the categories of all members.
    """

    __slots__ = ("added", "known", "layout", "lists", "members", "recodings")

    def __init__(
        self,
        schema: Schema,
        members: Sequence[tuple[Member, TableState]],
        lists: MergedLists,
    ) -> None:
        groups: list[Group] = []
        next_row = 0
        for place, (_, state) in enumerate(members):
            for group in state.layout.groups:
                groups.append(JoinedGroup(next_row, group, place))
                next_row += group.n_rows
        n_live = sum(state.n_rows for _, state in members)
        tail = Tail(next_row, n_live, 0, new_stamp())
        self.members = [member for member, _ in members]
        self.lists: Mapping[int, Categories] = lists.lists()
        self.recodings: Sequence[Mapping[int, Array]] = lists.recodings()
        self.added = frozenset(
            new
            for member, state in members
            for new, old in member.fit.leaves.items()
            if old.id in state.added
        )
        self.known = Known(pack_record(schema.pack()), tail)
        self.layout = Layout(tail, groups)


class JoinedState(TableState):
    """A table made of others.

    Parameters
    ----------
    view : JoinedView
        What it is read through.
    path : str
        What messages call it.
    joined : Joined
        What is known of it.
    """

    __slots__ = ("_added", "_joined", "_members", "_states")

    view: JoinedView

    def __init__(self, view: JoinedView, path: str, joined: Joined) -> None:
        super().__init__(view, 0, path, joined.known)
        self._joined = joined
        self._members = joined.members
        self._states: list[TableState | None] = [None] * len(joined.members)
        self._layout = joined.layout
        self._added = joined.added

    @property
    def added(self) -> frozenset[int]:
        """Ids of leaves that some groups of some members may lack."""
        return self._added

    def file_name(self, number: int) -> str:
        """Return the name of one of the files that it stands in; "" where it is in one alone."""
        backend = self.view.reader.backend
        return backend.file_name(number) if isinstance(backend, FilesBackend) else ""

    def _member(self, place: int) -> TableState:
        found = self._states[place]
        if found is None:
            member = self._members[place]
            found = self._states[place] = state_of(self.view.bases[place], member.node, member.path)
        return found

    @property
    def n_parts(self) -> int:
        """How many tables it is made of."""
        return len(self._members)

    def part(self, place: int) -> tuple[TableState, Mapping[int, Leaf]]:
        """Return one of the tables that it is made of, and its leaves by the ids of the whole."""
        return self._member(place), self._fit(place)[0].leaves

    def last_of(self, leaf: Leaf) -> tuple[TableState, Leaf]:
        """Return in which table the last pages of a leaf stand, and what leaf they are of there."""
        groups = [group for group in self.layout.groups if isinstance(group, JoinedGroup)]
        last = next((group for group in reversed(groups) if group.is_pages), None)
        state, leaves = self.part((last or groups[-1]).place if groups else 0)
        return state, leaves[leaf.id]

    def _of(self, group: Group) -> tuple[TableState, Group, Fit]:
        """Return whose group it is, the group as it stands there, and the leaves of that table."""
        if not isinstance(group, JoinedGroup):
            raise TypeError("a row group of another table")
        return self._member(group.place), group.own, self._fit(group.place)[0]

    def _fit(self, place: int) -> tuple[Fit, int]:
        """Return the leaves of a member, and the number of its file."""
        member = self._members[place]
        return member.fit, member.tag

    def categories(self, column: ColumnSpec) -> Categories:
        """Return what the codes of a column of the whole stand for."""
        return self._joined.lists[column.first_leaf]

    def _recodings(self, place: int) -> Mapping[int, Array]:
        """Return what codes of a member are in the whole, by the leaf of codes."""
        return self._joined.recodings[place]

    def recoding(self, leaf: Leaf, group: Group) -> Array | None:
        """Return the code of each code that stands in a group; None where it is the same."""
        if leaf.id not in self._joined.lists or not isinstance(group, JoinedGroup):
            return None
        return self._recodings(group.place).get(leaf.id)

    def rewrites(self, leaf: Leaf, group: Group) -> bool:
        """Tell whether values of a leaf are others than those that its page holds."""
        return self.recoding(leaf, group) is not None or super().rewrites(leaf, group)

    # Each question about a group is one to its member

    def find_page(self, leaf: Leaf, group: Group) -> Page | None:
        """Return pointer and record of one page, None when there is none."""
        state, own, fit = self._of(group)
        try:
            found = state.find_page(fit.leaves[leaf.id], own)
        except CorruptDataError as error:
            raise self._of_file(error, group) from None
        tag = self._fit(group.place)[1] if isinstance(group, JoinedGroup) else 0
        if found is None:
            return None
        pointer, record = found
        if pointer.offset >> FILE_BITS and isinstance(self.view.reader.backend, FilesBackend):
            # Would be taken for the number of another file.
            damage = CorruptDataError(f"impossible pointer {pointer}", offset=pointer.offset)
            raise self._of_file(damage, group)
        # What is sealed knows what errors call it.
        file = "" if pointer.__class__ is Pointer else self.file_name(tag)
        return (_tagged(pointer, tag << FILE_BITS, file), record) if tag or file else found

    def list_pages(self, leaf: Leaf) -> Mapping[tuple[int, int], Page]:
        """Return the pages of one leaf under (leaf id, first row id of the whole)."""
        found = {}
        for group in self.layout.groups:
            page = self.find_page(leaf, group) if group.is_pages else None
            if page is not None:
                found[leaf.id, group.first] = page
        return found

    def constant(self, leaf: Leaf, group: Group) -> Array | None:
        """Return the values of every row of a group that has no page of a leaf, and needs none."""
        state, own, fit = self._of(group)
        values = state.constant(fit.leaves[leaf.id], own)
        codes = self.recoding(leaf, group)
        return values if codes is None or values is None else recode(values, codes, self.path, leaf)

    def _bounds(self, leaf: Leaf, *, with_nulls: bool) -> Bounds:
        known = self._known
        found = known.bounds.get((leaf.id, with_nulls))
        if found is None:
            parts = [
                self._bounds_of(place, leaf, with_nulls) for place in range(len(self._members))
            ]
            found = known.bounds[leaf.id, with_nulls] = Bounds.joined(parts, leaf.dtype)
        return found

    def _bounds_of(self, place: int, leaf: Leaf, with_nulls: bool) -> Bounds:
        """Return the statistics of the groups of one member."""
        own = self._fit(place)[0].leaves[leaf.id]
        found = self._member(place)._bounds(own, with_nulls=with_nulls)
        codes = self._recodings(place).get(leaf.id)
        return found if codes is None else recoded(found, codes)

    def piece(self, group: Group, leaf: Leaf | None = None) -> Any:
        """Return all rows of a piece, deleted ones too, patches not applied."""
        state, own, fit = self._of(group)
        try:
            rows = state.piece(own, None if leaf is None else fit.leaves[leaf.id])
        except CorruptDataError as error:
            raise self._of_file(error, group) from None
        place = group.place if isinstance(group, JoinedGroup) else 0
        codes = self._recodings(place)
        return rows if fit.is_same and not codes else _Translated(rows, fit, codes, self.path)

    def _of_file(self, error: CorruptDataError, group: Group) -> CorruptDataError:
        """Return the error of a member with the file that it stands in, of several."""
        number = self._fit(group.place)[1] if isinstance(group, JoinedGroup) else 0
        return of_file(error, self.file_name(number))

    def dead(self, group: Group) -> Array | None:
        """Return which rows of a group are deleted, None for no row."""
        state, own, _ = self._of(group)
        return state.dead(own)

    def patches(self, group: Group, leaf: Leaf) -> list[tuple[Array, Array]]:
        """Return (ordinals, values) of all patches of a leaf, later ones last."""
        state, own, fit = self._of(group)
        found = state.patches(own, fit.leaves[leaf.id])
        codes = self.recoding(leaf, group)
        if codes is None:
            return found
        return [(rows, recode(values, codes, self.path, leaf)) for rows, values in found]

    def patched_leaves(self, group: Group) -> set[int]:
        """Return the leaf ids that the patches of a group change."""
        state, own, fit = self._of(group)
        changed = state.patched_leaves(own)
        return {new for new, old in fit.leaves.items() if old.id in changed}


def _tagged(pointer: Pointer, bits: int, file: str = "") -> Pointer:
    """Return a pointer with bits above its offset, that of what is sealed too."""
    moved = pointer._replace(offset=pointer.offset | bits)
    if pointer.__class__ is not Pointer:
        from kist.engine.sealedrecords import SealedPointer

        if isinstance(pointer, SealedPointer) and isinstance(moved, SealedPointer):
            moved.stored = _tagged(pointer.stored, bits)
            moved.salt, moved.keys, moved.where = pointer.salt, pointer.keys, pointer.where
            if isinstance(moved.where, tuple):
                moved.where = (*moved.where[:3], file)
    return moved


class _Translated:
    """Rows of a piece under the leaf ids of the whole, with its codes."""

    __slots__ = ("_codes", "_leaves", "_path", "_rows")

    def __init__(self, rows: Any, fit: Fit, codes: Mapping[int, Array], path: str) -> None:
        self._rows, self._codes, self._path = rows, codes, path
        self._leaves = {f"f{new}": (new, old) for new, old in fit.leaves.items()}

    def __getitem__(self, name: str) -> Any:
        new, old = self._leaves[name]
        values = self._rows[f"f{old.id}"]
        codes = self._codes.get(new)
        return values if codes is None else recode(values, codes, self._path, old)

    def __len__(self) -> int:
        return len(self._rows)
