"""The categories of columns of several tables as those of one, and what each code becomes in it.

The lists of the tables are merged in their order: what a later one has that no earlier one has
stands behind. Codes of a table whose list is that of the whole are what they were; those of others
are looked up in an array when they are read, which also finds codes beyond the list of their table.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import CorruptDataError, DTypeError
from kist.format.categorical import MAX_CATEGORIES, Sort, as_categories
from kist.model.parts.unequal import unequal
from kist.model.tables.stored.categories import Categories, hashable
from kist.model.tables.stored.schema import facts_of

if TYPE_CHECKING:
    from kist.format.schema import ColumnSpec, Schema
    from kist.model.tables.stored.state import TableState

__all__ = ["MergedLists", "pack_list", "recoding_of", "unpack_list"]

Array = np.ndarray[Any, Any]

_SHOWN = 8
"""Categories that a message shows of a list whose order is another one."""


class MergedLists:
    """The lists of all categorical columns of tables that are read as one.

    Parameters
    ----------
    schema : Schema
        Of the whole.
    leaves : container of int, optional
        Leaves of codes of the columns that count; by default all.
    """

    def __init__(self, schema: Schema, leaves: Container[int] | None = None) -> None:
        self._merging = {
            column.first_leaf: _Merging(column)
            for column in facts_of(schema).categorical
            if leaves is None or column.first_leaf in leaves
        }
        self._added: list[dict[int, tuple[Array | None, int]]] = []

    def add(self, where: str, state: TableState) -> dict[int, Array]:
        """Take the lists of the next table.

        Parameters
        ----------
        where : str
            What messages call it.

        Returns
        -------
        dict of int to ndarray
            By the leaf of codes of the whole, what codes of the table are there; without those
            columns whose codes stay the same, whatever comes behind them.

        Raises
        ------
        DTypeError
            An enumeration has other names, or ordered categories another order; shows the
            difference.
        """
        taken = {}
        for leaf, merging in self._merging.items():
            known = state.categories(state.schema.columns[state.schema.index(merging.name)])
            taken[leaf] = merging.add(where, known), len(known)
        self._added.append(taken)
        return {leaf: codes for leaf, (codes, _) in taken.items() if codes is not None}

    def lists(self) -> dict[int, Categories]:
        """Return the lists of the whole, by the leaf of codes."""
        return {leaf: merging.whole() for leaf, merging in self._merging.items()}

    def recodings(self) -> list[dict[int, Array]]:
        """Return for each table what its codes are in the list of the whole, by the leaf of codes.

        Without those columns that have all categories of the whole, in its order.
        """
        sizes = {leaf: len(known) for leaf, known in self.lists().items()}
        same = lru_cache(maxsize=None)(_same)
        return [
            {
                leaf: same(n) if codes is None else codes
                for leaf, (codes, n) in taken.items()
                if codes is not None or n < sizes[leaf]
            }
            for taken in self._added
        ]


class _Merging:
    """One column of `MergedLists`."""

    def __init__(self, column: ColumnSpec) -> None:
        self.name = column.name
        self._first = ""
        self._known: Categories | None = None
        self._index: dict[Any, int] = {}
        self._new: list[Array] = []

    def add(self, where: str, theirs: Categories) -> Array | None:
        """Take the list of the next table; returns the codes of the whole, by its codes."""
        if self._known is None:
            self._first, self._known = where, theirs
            self._index = dict(theirs.index)
            self._index.pop(None, None)
            return None
        if theirs is self._known:
            return None
        keys = hashable(theirs.values)
        if theirs.sort.fixed:
            self._check_names(where, theirs, keys)
        if theirs.sort.ordered:
            self._check_order(where, theirs, keys)
        known = self._index
        new = [at for at, key in enumerate(keys) if key not in known]
        if len(known) + len(new) > MAX_CATEGORIES:
            raise DTypeError(
                f"table {where}: column {self.name!r} brings the union to "
                f"{len(known) + len(new):,} categories; at most {MAX_CATEGORIES:,} are possible",
                column=self.name,
            )
        for at in new:
            known[keys[at]] = len(known) + 1
        if new:
            self._new.append(theirs.values[new])
        return _codes(known, keys)

    def whole(self) -> Categories:
        """Return the list of all tables."""
        first = self._known
        assert first is not None
        if self._new:
            values = np.concatenate([first.values, *self._new])
            values.flags.writeable = False
            self._known, self._new = Categories(first.sort, values), []
        return self._known or first

    def _check_names(self, where: str, theirs: Categories, keys: list[Any]) -> None:
        """Refuse an enumeration that has other names, or other numbers for them."""
        first = self._known
        assert first is not None
        mine, new = (
            dict(zip(c.values.tolist(), _numbers(c), strict=True)) for c in (first, theirs)
        )
        lines = [f"- {_said(name, n)}" for name, n in mine.items() if name not in new]
        lines += [f"+ {_said(name, n)}" for name, n in new.items() if name not in mine]
        lines += [
            f"~ {_said(name, n)} -> {_said(name, new[name])}"
            for name, n in mine.items()
            if name in new and new[name] != n
        ]
        if lines:
            raise self._unequal(where, "the names of the enumeration", lines)

    def _check_order(self, where: str, theirs: Categories, keys: list[Any]) -> None:
        """Refuse ordered categories of which neither list is the beginning of the other."""
        first = self.whole()
        mine, new = first.values.tolist(), theirs.values.tolist()
        n = min(len(mine), len(new))
        if hashable(first.values)[:n] != keys[:n]:
            shown = (
                ", ".join(map(repr, some[:_SHOWN])) + ", ..." * (len(some) > _SHOWN)
                for some in (mine, new)
            )
            raise self._unequal(where, "the order of the categories", [f"~ {' -> '.join(shown)}"])

    def _unequal(self, where: str, what: str, lines: list[str]) -> DTypeError:
        found = unequal(
            f"table {where}: column {self.name!r}",
            lines,
            self._first,
            "cast_column() makes text of the column",
            what,
        )
        found.column = self.name
        return found


def _numbers(known: Categories) -> Sequence[int | None]:
    return [None] * len(known) if known.numbers is None else list(known.numbers.values())


def _said(name: object, number: int | None) -> str:
    return repr(name) if number is None else f"{name!r} = {number}"


def _codes(known: Mapping[Any, int], keys: list[Any]) -> Array | None:
    """Return the codes of some values by their places; None where those are the same."""
    codes = np.zeros(1 + len(keys), np.uint32)
    codes[1:] = np.fromiter(map(known.__getitem__, keys), np.uint32, len(keys))
    return None if np.array_equal(codes, _same(len(keys))) else codes


def _same(n: int) -> Array:
    return np.arange(n + 1, dtype=np.uint32)


def recoding_of(theirs: Categories, whole: Categories) -> Array | None:
    """Return what the codes of a table are in the list of the whole; None of the same list.

    Raises
    ------
    KeyError
        The whole lacks a category of the table.
    """
    codes = _codes(whole.index, hashable(theirs.values))
    return _same(len(theirs)) if codes is None and len(theirs) < len(whole) else codes


def pack_list(known: Categories) -> Any:
    """Return a list as a plain value, as it stands in ``Y`` records."""
    if known.numbers is not None:
        return dict(known.numbers)
    return known.values.tolist() if known.values.dtype.kind == "T" else np.array(known.values)


def unpack_list(packed: Any, sort: Sort, where: str) -> Categories:
    """Return the list of a plain value.

    Raises
    ------
    CorruptDataError
        It is none of such categories.
    """
    numbers = packed if isinstance(packed, dict) else None
    items = list(packed) if numbers is not None else packed
    if not isinstance(items, list | np.ndarray):
        raise CorruptDataError(f"{where}: categories are no list but {type(packed).__name__}")
    try:
        values = as_categories(items, sort.base, where)
    except (DTypeError, TypeError) as error:
        raise CorruptDataError(str(error)) from error
    if numbers is not None and not all(type(number) is int for number in numbers.values()):
        raise CorruptDataError(f"{where}: numbers of categories that are no integers")
    values.flags.writeable = False
    return Categories(sort, values, numbers)
