"""Groups of rows with equal keys, and what is computed of each: ``group_by(...).agg(...)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist import options
from kist._kernels.ordering import sortable, stable_order
from kist.errors import QueryError, SelectionError
from kist.format.nullable import nullable, pairs
from kist.format.schema import Leaf
from kist.model.tables.base import read_only
from kist.model.tables.query.accumulators import (
    Accumulator,
    Chosen,
    Count,
    Edge,
    Extreme,
    Mean,
    Sum,
    Truth,
    Variance,
    is_missing,
)
from kist.model.tables.query.collected import Again, Collected, Quantile, distinct_by_group
from kist.model.tables.query.find import GROUPS_AT_ONCE, Found
from kist.model.tables.query.grouping import (
    Groups,
    Keys,
    Local,
    Numbered,
    groups_of,
    keyed,
    local_groups,
    numbered_pages,
)
from kist.model.tables.query.operands import (
    Coded,
    Filled,
    IsNull,
    Operand,
    all_leaves,
    by_place,
    coded,
    nearest,
)
from kist.model.tables.query.rowset import Ordered, RowSet, read_spans_of
from kist.model.tables.query.texts import TextKey
from kist.model.tables.stored.read import Span, all_true
from kist.model.tables.stored.state import TableState

if TYPE_CHECKING:
    from kist.format.schema import Schema
    from kist.model.tables.selection import Selection

__all__ = ["GroupBy", "first_ranks"]

Array = np.ndarray[Any, Any]

_ROWS: Final = 65_536
"""Rows that are grouped at a time."""

_MANY: Final = 1 << 18
"""With more groups than this, what is known of those of some rows is large."""

Make = Callable[..., Accumulator]

_FUNCTIONS: dict[str, Make] = {
    "count": lambda dtype, label, ddof: Count(),
    "sum": lambda dtype, label, ddof: Sum(dtype, label),
    "mean": lambda dtype, label, ddof: Mean(dtype, label),
    "min": lambda dtype, label, ddof: Extreme(dtype, label, largest=False),
    "max": lambda dtype, label, ddof: Extreme(dtype, label, largest=True),
    "std": lambda dtype, label, ddof: Variance(dtype, label, ddof, root=True),
    "any": lambda dtype, label, ddof: Truth(dtype, label, any_of=True),
    "all": lambda dtype, label, ddof: Truth(dtype, label, any_of=False),
    "var": lambda dtype, label, ddof: Variance(dtype, label, ddof, root=False),
    "first": lambda dtype, label, ddof: Edge(dtype, last=False),
    "last": lambda dtype, label, ddof: Edge(dtype, last=True),
    "nunique": lambda dtype, label, ddof: distinct_by_group(dtype, label),
    "median": lambda dtype, label, ddof: Quantile(dtype, label, 0.5),
    "quantile": lambda dtype, label, ddof, q: Quantile(dtype, label, q),
}
_WITH_NULLS: Final = ("first", "last")
_BY_PLACE: Final = ("min", "max")
"""Functions for which ordered categories are their places."""


@dataclass(frozen=True)
class _Wanted:
    """One column of the result."""

    name: str
    func: str
    what: Any = None  # column or expression; None to count rows
    args: tuple[Any, ...] = ()


class GroupBy:
    """Rows of a table in groups of equal keys; `agg` computes something of each group.

    Comes from ``group_by`` of tables and selections.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     rows = [("b", 1.5), ("a", 2.0), ("b", 2.5)]
    ...     store["t"] = np.array(rows, [("s", "S1"), ("x", "f8")])
    ...     store["t"].group_by("s").agg("count", mean=("x", "mean"))
    array([(b'a', 1, 2.), (b'b', 2, 2.)],
          dtype=[('s', 'S1'), ('count', '<i8'), ('mean', '<f8')])
    """

    def __init__(
        self,
        selection: Selection,
        keys: Sequence[tuple[str, Any]],
        *,
        ddof: float = 0,
        skipna: bool = False,
    ) -> None:
        self._selection = selection
        self._keys = tuple(keys)
        self._ddof, self._skipna = ddof, skipna
        if not keys:
            raise SelectionError("group_by needs at least one column")
        names = [name for name, _ in keys]
        if len(set(names)) < len(names):
            raise SelectionError(f"group_by: keys are named twice in {names!r}")
        self._operands(selection._state().schema)  # errors come now

    def _operands(self, schema: Schema) -> list[Operand]:
        """Return the keys; a nullable one as two, whether it is null and its value."""
        found: list[Operand] = []
        for _, what in self._keys:
            key = self._selection._operand(schema, what)
            codes = coded(schema, key)
            if codes is not None:
                found.append(_CodedKey(codes.name, codes.dtype, codes.leaves))
                continue
            found += [IsNull.of_operand(key), Filled.of_operand(key)] if key.may_be_null else [key]
        return found

    def __repr__(self) -> str:
        keys = ", ".join(name for name, _ in self._keys)
        return f"<kist.GroupBy {keys} of {self._selection._label()}>"

    def agg(self, *specs: Any, **named: Any) -> Array:
        """Compute something of each group.

        Parameters
        ----------
        *specs : "count", or mapping of str to str or list of str
            ``"count"`` counts rows. ``{"price": "mean"}`` gives a field ``price``, and
            ``{"price": ["mean", "max"]}`` the fields ``price_mean`` and ``price_max``.
        **named : tuple of (column, function), or "count"
            ``mean_price=("price", "mean")``; the column may be an expression from `kist.expr`, and
            ``("price", "quantile", 0.9)`` passes an argument.

        Returns
        -------
        structured ndarray, shape (n_groups,)
            Read-only: the keys, then the results, sorted by the keys; NaN, NaT and missing keys
            are one group, the last. Results have NumPy's dtypes. ``pandas.DataFrame(result)``
            makes a frame of it, and ``store["summary"] = result`` a table.

        Raises
        ------
        QueryError
            There is no such function; says which there are.
        ColumnNotFoundError
            There is no such column.
        DTypeError
            The column has no such result.
        TooLargeError
            The groups take more than `kist.options.max_memory`.

        Notes
        -----
        The functions are ``count`` (values that are not null), ``sum``, ``mean``, ``min``,
        ``max``, ``std``, ``var``, ``any``, ``all``, ``first``, ``last``, ``nunique``, ``median``
        and ``quantile``. Nulls are skipped, except by ``first`` and ``last``. NaN and NaT are
        values, as in NumPy: one of them makes a sum NaN, unless ``group_by(..., skipna=True)``
        says to skip them.
        ``std`` and ``var`` divide by n; ``group_by(..., ddof=1)`` divides by n - 1, as pandas does.

        The table is read once, page by page. Groups stay in memory. Values for quantiles and
        ``nunique`` go through a temporary file when they are too many.
        """
        wanted = _wanted(specs, named)
        names = [name for name, _ in self._keys] + [one.name for one in wanted]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise SelectionError(f"agg: two fields of the result are named {double[0]!r}")
        with self._selection.table._hold() as view:
            state = self._selection._state(view)
            keys = self._operands(state.schema)
            columns = [
                _Column(self._selection, state.schema, one, self._ddof, self._skipna)
                for one in wanted
            ]
            _collected_once(wanted, columns)
            rows = self._selection._rows(state)
            groups = _Run(rows, keys, columns, f"group_by of {self._selection._label()}").run()
            at, values = groups.keys()
            words = [
                word
                for key, column in zip(keys, values, strict=True)
                for word in sortable(key.sorted_by(state, column))
            ]
            order = stable_order(words)
            found = _rejoined(state, keys, [column[order] for column in values])
            found += [column.finish(state, at[order]) for column in columns]
        return _structured(names, found)

    def count(self) -> Array:
        """Return the number of rows of each group; short for ``agg("count")``."""
        return self.agg("count")


class _CodedKey(Operand):
    """A categorical column as a key: groups are made of codes, 0 for no value among them."""

    def decoded(self, state: TableState, codes: Array) -> Array:
        """Return the values that codes stand for."""
        return _decoded(state, self.leaves[0], codes)

    def sorted_by(self, state: TableState, codes: Array) -> Array:
        """Return what the groups are sorted by: values, or places among ordered categories."""
        if self.name in state.facts.ordered:
            return pairs(codes, codes != 0, nullable(codes.dtype))
        return self.decoded(state, codes)


def _decoded(state: TableState, leaf: Leaf, codes: Array) -> Array:
    column = state.schema.columns[leaf.column]
    known = state.categories(column)
    known.check(codes)
    return known.decoded(codes)


def _rejoined(state: TableState, keys: Sequence[Operand], columns: Sequence[Array]) -> list[Array]:
    """Return the keys of the groups, those of nullable columns of a nullable dtype."""
    found: list[Array] = []
    for key, column in zip(keys, columns, strict=True):
        if isinstance(key, Filled):
            there = ~found[-1]
            plain = key.is_seldom_null and bool(there.all())
            found[-1] = column if plain else pairs(column, there, nullable(key.dtype))
        elif isinstance(key, _CodedKey):
            found.append(key.decoded(state, column))
        else:
            found.append(column)
    return found


def _structured(names: Sequence[str], columns: Sequence[Array]) -> Array:
    dtypes = ["O" if column.dtype.kind == "T" else column.dtype for column in columns]
    out = np.empty(len(columns[0]), list(zip(names, dtypes, strict=True)))
    for name, column in zip(names, columns, strict=True):
        out[name] = column
    return read_only(out)


def _wanted(specs: Sequence[Any], named: Mapping[str, Any]) -> list[_Wanted]:
    wanted: list[_Wanted] = []
    for spec in specs:
        if isinstance(spec, str) and spec == "count":
            wanted.append(_Wanted("count", "count"))
        elif isinstance(spec, Mapping):
            for column, funcs in spec.items():
                if isinstance(funcs, str):
                    wanted.append(_checked(str(column), column, funcs))
                else:
                    wanted += [_checked(f"{column}_{func}", column, func) for func in funcs]
        else:
            raise QueryError(
                f"agg: {spec!r} does not say of which column; write "
                'agg("count"), agg({"price": ["mean", "max"]}) or agg(mean=("price", "mean"))'
            )
    for name, spec in named.items():
        if isinstance(spec, str) and spec == "count":
            wanted.append(_Wanted(name, "count"))
        elif isinstance(spec, tuple) and len(spec) >= 2:
            wanted.append(_checked(name, *spec))
        else:
            raise QueryError(
                f'agg: {name}={spec!r} is neither "count" nor (column, function), '
                'as in mean=("price", "mean")'
            )
    if not wanted:
        raise QueryError('agg needs something to compute, as in agg("count")')
    return wanted


def _checked(name: str, what: Any, func: Any, *args: Any) -> _Wanted:
    if not isinstance(func, str) or func not in _FUNCTIONS:
        hint = nearest(func, _FUNCTIONS) if isinstance(func, str) else ""
        raise QueryError(f"agg: no function {func!r}{hint}; there are {', '.join(_FUNCTIONS)}")
    if len(args) != (func == "quantile"):
        more = "takes one argument, as in" if func == "quantile" else "takes no argument;"
        raise QueryError(f'agg: {func} {more} {name}=("price", "quantile", 0.9)')
    return _Wanted(name, func, what, args)


class _Column:
    """One column of the result, while it is computed."""

    def __init__(
        self, selection: Selection, schema: Schema, wanted: _Wanted, ddof: float, skipna: bool
    ) -> None:
        self.operand = None if wanted.what is None else selection._operand(schema, wanted.what)
        self._codes: Leaf | None = None
        if self.operand is not None and wanted.func in _BY_PLACE:
            self.operand = by_place(schema, self.operand)
            self._codes = self.operand.leaves[0] if isinstance(self.operand, Coded) else None
        dtype = np.dtype("i8") if self.operand is None else self.operand.dtype
        label = "" if self.operand is None else f"column {self.operand.name!r}"
        self.accumulator = _FUNCTIONS[wanted.func](dtype, label, ddof, *wanted.args)
        self._is_nullable = self.operand is not None and self.operand.may_be_null
        self._keeps_nulls = wanted.func in _WITH_NULLS
        self._skipna = skipna or wanted.func == "nunique"

    def local(self, columns: Mapping[int, Array], groups: Local) -> Any:
        """Look at some rows, on any thread."""
        if isinstance(self.accumulator, Again):
            return ()
        codes, counts, n = groups.codes, groups.counts, len(groups.codes)
        values, valid = (codes, None) if self.operand is None else self.operand.parts(columns, n)
        if self.operand is not None and (
            self._is_nullable or not self._keeps_nulls or self._skipna
        ):
            missing = is_missing(values, skipna=self._skipna)
            if valid is not None:
                missing = ~valid if missing is None else ~valid | missing
            if missing is not None and missing.any():
                values, codes = values[~missing], codes[~missing]
                counts = np.bincount(codes, minlength=len(counts))
        if not values.dtype.isnative:
            values = values.astype(values.dtype.newbyteorder("="))
        return self.accumulator.local(values, codes, counts)

    def finish(self, state: TableState, at: Array) -> Array:
        """Return the results for the groups `at`; nullable where a group may have no value."""
        if self._is_nullable and isinstance(self.accumulator, Chosen):
            found = self.accumulator.finish_nullable(at)
            if self.operand is not None and self.operand.is_seldom_null and found["valid"].all():
                return np.ascontiguousarray(found["value"])
            if self._codes is None:
                return found
            return _decoded(state, self._codes, np.where(found["valid"], found["value"], 0))
        return self.accumulator.finish(at)

    def merge(self, part: Any, groups: Local, at: Array) -> None:
        """Add what `local` found; `at` are the groups of the whole for those present."""
        self.accumulator.grow(int(at.max(initial=-1)) + 1)
        if isinstance(self.accumulator, Collected):
            codes, counts = part[:2]
            there = np.zeros(len(groups.counts), np.int64)
            there[groups.present] = at
            self.accumulator.put(part, there[codes], at, counts[groups.present])
        else:
            self.accumulator.merge(tuple(array[groups.present] for array in part), at)


def _collected_once(wanted: Sequence[_Wanted], columns: Sequence[_Column]) -> None:
    """See that several quantiles of the same values collect them once."""
    known: dict[Any, Quantile] = {}
    for one, column in zip(wanted, columns, strict=True):
        found = column.accumulator
        if isinstance(found, Quantile):
            # Expressions are compared by identity: == of them is an expression.
            key = one.what if isinstance(one.what, str) else id(one.what)
            first = known.setdefault(key, found)
            if first is not found:
                column.accumulator = first.again(found.q)
    collected = [one.accumulator for one in columns if isinstance(one.accumulator, Collected)]
    for accumulator in collected:
        accumulator.part = len(collected)


_Part = tuple[list[Array | TextKey], Local, list[Any]]
"""Keys of the groups among some rows, the groups, and what each column makes of them."""


class _Run:
    """One pass over the rows."""

    def __init__(
        self, rows: RowSet, keys: Sequence[Operand], columns: Sequence[_Column], what: str
    ) -> None:
        self._rows, self._keys, self._columns, self._what = rows, keys, columns, what

    def run(self) -> Groups:
        """Return the groups; the accumulators of the columns know them."""
        columns = self._columns
        groups = Groups([key.dtype for key in self._keys], self._what)
        ordered = any(one.accumulator.ordered for one in columns)
        rows = self._rows if ordered else self._rows.unordered()
        room = 0
        if isinstance(rows, Ordered):
            # What is found of many groups is large, and threads then save little.
            few, every = 2 * options.n_threads, GROUPS_AT_ONCE * options.n_threads
            found = rows.map_tasks(
                partial(self._tasks, rows.state), lambda: few if room > _MANY else every
            )
        else:
            leaves = all_leaves([*self._keys, *self._operands])
            found = rows.map(leaves, partial(self._of_rows, leaves))
        for parts in found:
            for keys, local, results in parts:
                at, _ = groups.number(keys)
                highest = int(at.max(initial=-1)) + 1
                if highest > room:  # before it is taken
                    more = max(highest, 2 * room)
                    groups.check(self._nbytes * more // max(room, 1))
                    room = more
                for column, part in zip(columns, results, strict=True):
                    column.merge(part, local, at)
                groups.check(self._nbytes)
        return groups

    @property
    def _nbytes(self) -> int:
        """Bytes of what is known of the groups."""
        return sum(one.accumulator.nbytes for one in self._columns)

    @property
    def _operands(self) -> list[Operand]:
        return [one.operand for one in self._columns if one.operand is not None]

    def _tasks(self, state: TableState, hits: Sequence[Found]) -> list[Callable[[], list[_Part]]]:
        """Return what groups the rows of some row groups; keys in dictionaries are not made."""
        known: dict[int, dict[int, Numbered | TextKey]] = {}
        for place, key in enumerate(self._keys):
            leaf = None if isinstance(key, IsNull) else key.column
            if leaf is not None:
                for index, one in numbered_pages(state, leaf, hits).items():
                    known.setdefault(index, {})[place] = one
        return [partial(self._of_found, state, hit, known.get(hit.place, {})) for hit in hits]

    def _of_found(
        self, state: TableState, hit: Found, known: dict[int, Numbered | TextKey]
    ) -> list[_Part]:
        """Group the rows of one row group; keys in dictionaries, and strings, are not even made.

        Some of them may be known already.
        """
        for place, key in enumerate(self._keys):
            leaf = None if isinstance(key, IsNull) or place in known else key.column
            one = None if leaf is None else keyed(state, leaf, hit)
            if one is not None:
                known[place] = one
            said = key.leaves[0] if isinstance(key, IsNull) and key.column is not None else None
            if said is not None and all_true(state, said, hit.group):
                known[place] = Numbered(np.zeros(1, bool), np.zeros(len(hit.ordinals), np.uint8))
        span = Span(hit.group, hit.ordinals, 0)
        rest = [key for place, key in enumerate(self._keys) if place not in known]
        leaves = all_leaves([*rest, *self._operands])
        n = len(hit.ordinals)
        arrays, _ = read_spans_of(state, leaves, [span], n)
        some = {leaf.id: array for leaf, array in zip(leaves, arrays, strict=True)}
        for place, one in known.items():
            key = self._keys[place]
            # The key before it says where there are nulls.
            if isinstance(key, Filled) and isinstance(one, Numbered) and place - 1 not in known:
                known[place] = one.filled(some[self._keys[place - 1].leaves[0].id])
        return [self._grouped(some, n, known)]

    def _of_rows(self, leaves: Sequence[Leaf], arrays: list[Array], n: int) -> list[_Part]:
        found = []
        for start in range(0, n, _ROWS):
            size = min(_ROWS, n - start)
            some = {
                leaf.id: array[start * leaf.n_values : (start + size) * leaf.n_values]
                for leaf, array in zip(leaves, arrays, strict=True)
            }
            found.append(self._grouped(some, size, {}))
        return found

    def _grouped(
        self, some: Mapping[int, Array], n: int, known: Mapping[int, Numbered | TextKey]
    ) -> _Part:
        keys: list[Keys] = [
            known[place] if place in known else key.of(some, n)
            for place, key in enumerate(self._keys)
        ]
        found: list[Array | TextKey]
        only = keys[0] if len(keys) == 1 else None
        if len(keys) == 2 and isinstance(self._keys[1], Filled) and isinstance(keys[1], Numbered):
            local, values = groups_of(keys[1])
            found = [keys[1].is_null[local.present], values]
        elif isinstance(only, Numbered):
            local, values = groups_of(only)
            found = [values]
        else:
            local = local_groups(keys, n)
            first = local.first
            found = [values[first] for values in keys]
        parts = [column.local(some, local) for column in self._columns]
        # Those of some groups wait for each other: without what has a number for each row.
        kept = local._replace(codes=np.zeros(0, np.int64))
        return found, kept, parts


def first_ranks(rows: RowSet, leaves: Sequence[Leaf], what: str) -> Array:
    """Return the ranks of the rows that are the first with their values, ascending."""
    groups: Groups | None = None
    found: list[Array] = []
    start = 0
    if isinstance(rows, Ordered):
        parts = rows.map_found(partial(_distinct_found, rows.state, leaves), leaves)
    else:
        parts = rows.map(leaves, partial(_distinct, leaves))
    for n, local, keys in parts:
        if groups is None:
            groups = Groups([values.dtype for values in keys], what)
        _, new = groups.number(keys)
        found.append(np.sort(local.first[new]) + start)
        start += n
        groups.check(sum(array.nbytes for array in found))
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _distinct_found(
    state: TableState, leaves: Sequence[Leaf], hit: Found
) -> tuple[int, Local, list[Array | TextKey]]:
    """Number the rows of one row group; values in dictionaries, and strings, are not even made."""
    known = [keyed(state, leaf, hit) for leaf in leaves]
    rest = [leaf for leaf, one in zip(leaves, known, strict=True) if one is None]
    n = len(hit.ordinals)
    arrays, _ = read_spans_of(state, rest, [Span(hit.group, hit.ordinals, 0)], n)
    left = iter(zip(rest, arrays, strict=True))
    keys = [
        key for one in known for key in ([one] if one is not None else _flat_keys(*next(left), n))
    ]
    local = local_groups(keys, n)
    first = local.first
    return n, local, [values[first] for values in keys]


def _flat_keys(leaf: Leaf, array: Array, n: int) -> list[Array]:
    """Return the values of a leaf as columns of one value a row."""
    if leaf.n_values == 1:
        return [array]
    return [np.ascontiguousarray(column) for column in array.reshape(n, leaf.n_values).T]


def _distinct(
    leaves: Sequence[Leaf], arrays: list[Array], n: int
) -> tuple[int, Local, list[Array | TextKey]]:
    keys = [
        key
        for leaf, array in zip(leaves, arrays, strict=True)
        for key in _flat_keys(leaf, array, n)
    ]
    local = local_groups(keys, n)
    first = local.first
    return n, local, [values[first] for values in keys]
