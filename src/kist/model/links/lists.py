"""The categories of a linked table: those that the link says, and those of sealed columns.

Of a sealed column the link says none, for it is in clear. Its list is that of all parts, which are
opened for it when it is first asked for, with the secret, and merged as a union does it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kist.model.tables.stored.schema import facts_of
from kist.model.unions.categories import MergedLists

if TYPE_CHECKING:
    from kist.model.links.parts import Parts
    from kist.model.tables.stored.categories import Categories

__all__ = ["Lists", "Recoding"]

Array = np.ndarray[Any, Any]


class _Merged(NamedTuple):
    """One column of all parts."""

    known: Categories
    codes: list[Array | None]  # of the whole by those of a part; None where they are the same


class Lists(Mapping[int, "Categories"]):
    """The categories of the whole, by the leaf of codes.

    Parameters
    ----------
    parts : Parts
        Whose they are.
    said : dict of int to Categories
        Those of the link.
    """

    def __init__(self, parts: Parts, said: dict[int, Categories]) -> None:
        columns = facts_of(parts.schema).categorical
        self._parts = parts
        self._said = said
        self.sealed = {column.first_leaf for column in columns if column.field}
        self._merged: dict[int, _Merged] = {}
        self._lock = threading.RLock()

    def __getitem__(self, leaf: int) -> Categories:
        return self._of_parts(leaf).known if leaf in self.sealed else self._said[leaf]

    def __iter__(self) -> Iterator[int]:
        return iter((*self._said, *self.sealed))

    def __contains__(self, leaf: object) -> bool:
        return leaf in self._said or leaf in self.sealed  # without asking for a secret

    def __len__(self) -> int:
        return len(self._said) + len(self.sealed)

    def recoding(self, leaf: int, place: int) -> Array | None:
        """Return what the codes of a sealed column of a part are; None where they are the same."""
        return self._of_parts(leaf).codes[place]

    def _of_parts(self, leaf: int) -> _Merged:
        found = self._merged.get(leaf)
        if found is None:
            with self._lock:
                parts = self._parts
                lists = MergedLists(parts.schema, {leaf})
                for place, file in enumerate(parts.files):
                    lists.add(f"{parts.table_path!r} of {file!r}", parts.state(place))
                codes = [one.get(leaf) for one in lists.recodings()]
                found = self._merged[leaf] = _Merged(lists.lists()[leaf], codes)
        return found


class Recoding(Mapping[int, Array]):
    """What the codes of a part are in the whole, by the leaf of codes.

    Parameters
    ----------
    lists : Lists
        Of the whole.
    place : int
        Of the part.
    known : dict of int to ndarray
        What the link says: of the columns that are not sealed.
    """

    def __init__(self, lists: Lists, place: int, known: dict[int, Array]) -> None:
        self._lists = lists
        self._place = place
        self._known = known

    def __getitem__(self, leaf: int) -> Array:
        if leaf not in self._lists.sealed:
            return self._known[leaf]
        found = self._lists.recoding(leaf, self._place)
        if found is None:
            raise KeyError(leaf)
        return found

    def __iter__(self) -> Iterator[int]:
        return iter((*self._known, *self._lists.sealed))

    def __len__(self) -> int:
        return len(self._known) + len(self._lists.sealed)
