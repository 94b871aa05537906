"""Sums, means, extremes and the like of one column, page by page, with NumPy's result dtypes.

Each page gives a partial result, on several threads; these are put together in the order of the
rows. What the statistics of pages say already is not read again: minimum and maximum of pages of
which all rows count.

Numerics: NumPy adds up the floats of a page pairwise, as float64 (so a long column of float32 is
summed more exactly than by NumPy); the sums of pages are added exactly and rounded once
(`math.fsum`; Shewchuk, "Adaptive precision floating-point arithmetic", 1997). Integers are
added modulo 2**64, like NumPy's. Means and squared differences of pages are combined as in
Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances" (1979).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from kist._kernels.lookup import counts_of
from kist._kernels.strings import is_text_missing
from kist.engine.parallel import run
from kist.errors import DTypeError, QueryError
from kist.format.schema import Leaf
from kist.model.tables.indexes.order import first_of_column
from kist.model.tables.query.accumulators import is_missing, sum_dtype
from kist.model.tables.query.bounds import known_nulls
from kist.model.tables.query.find import Found
from kist.model.tables.query.grouping import Numbered, keyed
from kist.model.tables.query.rowset import Ordered, RowSet, read_at, read_spans_of
from kist.model.tables.query.texts import TextKey
from kist.model.tables.stored.categories import Categories
from kist.model.tables.stored.fields import Fields
from kist.model.tables.stored.read import Span
from kist.model.tables.stored.state import TableState

__all__ = [
    "Places",
    "Values",
    "argument",
    "count",
    "every",
    "extreme",
    "histogram",
    "mean",
    "total",
    "values_of",
    "variance",
]

Array = np.ndarray[Any, Any]
T = TypeVar("T")

_AT_ONCE = 16


@dataclass(frozen=True)
class Values:
    """The values of one column in some rows.

    Attributes
    ----------
    rows : RowSet
        Which rows.
    leaf : Leaf
        The column.
    label : str
        What messages call it.
    skipna : bool
        Leave out NaN and NaT. Nulls and missing strings are left out always.
    valid : Leaf or None
        What says which values are there, of a nullable column.
    """

    rows: RowSet
    leaf: Leaf
    label: str
    skipna: bool = False
    valid: Leaf | None = None

    @property
    def leaves(self) -> list[Leaf]:
        """What is read."""
        return [self.leaf] if self.valid is None else [self.leaf, self.valid]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values."""
        return self.leaf.dtype

    def map(self, work: Callable[[Array], T], *, ordered: bool = False) -> Iterator[T]:
        """Yield what a function makes of the values of some rows, of at least one value."""
        found = self.rows.map(self.leaves, partial(self._of, work), ordered=ordered)
        return (one for one in found if one is not None)

    def _of(self, work: Callable[[Array], T], columns: Sequence[Array], n: int) -> T | None:
        values = self.kept(*columns)
        return work(values) if len(values) else None

    def kept(self, values: Array, valid: Array | None = None) -> Array:
        """Return the values without those that are left out."""
        missing = self.missing(values)
        if valid is not None and not valid.all():
            return values[valid if missing is None else valid & ~missing]
        return values if missing is None or not missing.any() else values[~missing]

    def missing(self, values: Array, valid: Array | None = None) -> Array | None:
        """Return which values are left out, None for none."""
        missing = is_missing(values, skipna=self.skipna)
        if valid is None or valid.all():
            return missing
        return ~valid if missing is None else ~valid | missing


@dataclass(frozen=True)
class Places(Values):
    """The places of the values of a column among its ordered categories; 0 is that of none.

    Attributes
    ----------
    known : Categories
        The categories.
    """

    known: Categories | None = None

    def missing(self, values: Array, valid: Array | None = None) -> Array | None:
        """Return which rows have no value."""
        found: Array = values == 0
        return found

    def value_at(self, place: Any) -> Any:
        """Return the category at a place."""
        assert self.known is not None
        return self.known.values[int(place) - 1]


def values_of(
    rows: RowSet, state: TableState, fields: Fields, label: str, skipna: bool, by_place: bool
) -> Values:
    """Return the values of one column in some rows.

    Parameters
    ----------
    by_place : bool
        Their order is asked for: of ordered categories that of the list.
    """
    leaf = fields.only_leaf(label)
    if by_place and fields.sort is not None and fields.sort.ordered:
        assert leaf.codes is not None
        column = state.schema.columns[leaf.column]
        known = state.categories(column)
        return Places(rows, state.facts.by_id[leaf.codes], label, known=known)
    return Values(rows, leaf, label, skipna, fields.validity)


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the dtype to add up in, where it is not the one that NumPy takes by itself."""
    if dtype.kind == "f" and dtype.itemsize < 8:
        return np.dtype("f8")
    return np.dtype("c16") if dtype.kind == "c" and dtype.itemsize < 16 else None


def _cast(value: Any, dtype: np.dtype[Any]) -> Any:
    with np.errstate(over="ignore"):  # a sum of float16 overflows to inf, as in NumPy
        return np.asarray(value).astype(dtype)[()]


def count(values: Values) -> int:
    """Return the number of values that are not null; reads only columns that can have nulls.

    Of whole pages their statistics tell; of others what says which values are there is read.
    """
    leaf, valid, rows = values.leaf, values.valid, values.rows.unordered()
    if values.skipna:
        return sum(values.map(len))
    if leaf.codes is not None:
        said = rows.state.facts.by_id[leaf.codes]
    elif valid is not None or leaf.dtype.kind == "T":
        said = leaf if valid is None else valid
    else:
        return rows.count(keep=False) * leaf.n_values

    def present(columns: Sequence[Array]) -> int:
        """Return how many there are, told by codes, bools or texts."""
        (found,) = columns
        return len(values.kept(found)) if said is leaf else int(np.count_nonzero(found))

    if not isinstance(rows, Ordered):
        return sum(rows.map([said], lambda columns, _: present(columns), ordered=False))
    n_null = known_nulls(rows.state, leaf, valid)
    layout = rows.state.layout
    if (
        rows.is_whole
        and (n_null >= 0).all()
        and layout.n_live == (layout.ends - layout.firsts).sum()
    ):
        return layout.n_live - int(n_null.sum())

    def one(hit: Found) -> int:
        n = len(hit.ordinals)
        if n == hit.group.n_rows and n_null[hit.place] >= 0:
            return n - int(n_null[hit.place])
        columns, _ = read_spans_of(rows.state, [said], [Span(hit.group, hit.ordinals, 0)], n)
        return present(columns)

    return sum(rows.map_found(one, [said]))


def total(values: Values) -> Any:
    """Return the sum of all values; 0 of the right dtype when there is none."""
    result = sum_dtype(values.dtype, values.label, "sum")
    return _cast(_added(_addends(values))[0], result)


def _addends(values: Values) -> Values:
    """Return the values with what stands under nulls, where that is zero and adds nothing."""
    if values.valid is None:
        return values
    known = known_nulls(values.rows.state, values.leaf, values.valid)
    return replace(values, valid=None) if (known >= 0).all() else values


def _added(values: Values, dtype: np.dtype[Any] | None = None) -> tuple[Any, int]:
    """Return the sum, perhaps of values of another dtype, and how many there are."""
    wide = _wide(values.dtype) if dtype is None else dtype
    pairs = list(values.map(lambda block: (block.sum(dtype=wide), block.size)))
    n = sum(size for _, size in pairs)
    if not pairs:
        return np.zeros(0, values.dtype).sum(dtype=wide), 0
    return _sum([part for part, _ in pairs]), n


def _sum(parts: Sequence[Any]) -> Any:
    """Return the sum of some sums."""
    array = np.array(parts)
    if array.dtype.kind == "f" and array.dtype.itemsize == 8 and np.isfinite(array).all():
        try:
            return np.float64(math.fsum(parts))
        except OverflowError:
            return array.sum()
    if array.dtype.kind == "c" and array.dtype.itemsize == 16 and np.isfinite(array).all():
        return np.complex128(complex(math.fsum(array.real), math.fsum(array.imag)))
    with np.errstate(invalid="ignore"):
        return array.sum()


def mean(values: Values) -> Any:
    """Return the mean of all values; nan, or NaT for times, when there is none."""
    sum_dtype(values.dtype, values.label, "mean")
    as_float = values.dtype.kind in "biu"
    added, n = _added(values, np.dtype("f8") if as_float else None)
    result = np.dtype("f8") if as_float else values.dtype.newbyteorder("=")
    if n == 0:
        return np.array("NaT" if values.dtype.kind == "m" else np.nan).astype(result)[()]
    return _cast(added / n, result)


def variance(values: Values, ddof: float, *, root: bool) -> Any:
    """Return the variance, or its square root; nan when there are not enough values."""
    dtype = values.dtype
    what = "standard deviation" if root else "variance"
    if dtype.kind not in "biufc":
        raise DTypeError(f"{values.label} has no {what}: it holds {dtype}")
    n, middle, squares = 0, 0.0, 0.0
    with np.errstate(all="ignore"):
        for size, part_mean, part_squares in values.map(_moments):
            apart = part_mean - middle
            both = n + size
            squares += part_squares + (abs(apart) ** 2) * (n * size / both)
            middle = middle + apart * (size / both)
            n = both
        found = np.float64(squares) / np.float64(max(n - ddof, 0))
        found = np.sqrt(found) if root else found
    if dtype.kind in "biu":
        return found
    return _cast(found, np.zeros(0, dtype).real.dtype.newbyteorder("="))


def _moments(block: Array) -> tuple[int, Any, Any]:
    """Return number, mean and sum of squared differences from it."""
    with np.errstate(all="ignore"):  # that of the caller is not that of its threads
        wide = block.astype(np.result_type(block.dtype, np.float64), copy=False)
        middle = wide.mean()
        apart = wide - middle
        if wide.dtype.kind == "c":
            return block.size, middle, (apart.real**2 + apart.imag**2).sum()
        # What rounding of the mean leaves is taken out again (the two-pass formula, corrected).
        return block.size, middle, (apart * apart).sum() - apart.sum() ** 2 / block.size


def every(values: Values, *, any_of: bool) -> Any:
    """Return whether all values are true, or any of them; looks no further than it must."""
    if values.dtype.kind not in "biufcm":
        raise DTypeError(f"{values.label} is neither true nor false: it holds {values.dtype}")
    for found in values.map(np.any if any_of else np.all):
        if bool(found) is any_of:
            return np.bool_(any_of)
    return np.bool_(not any_of)


# Extremes


def extreme(values: Values, *, largest: bool) -> Any:
    """Return the smallest or largest value; NaN and NaT win, as in NumPy.

    Raises
    ------
    ValueError
        There is no value.
    """
    what = "maximum" if largest else "minimum"
    dtype = values.dtype
    if dtype.names is not None or dtype.kind not in "biufcmMSUT":
        raise DTypeError(f"{values.label} has no {what}: it holds {dtype}")
    pick = partial(_extreme_of, largest=largest)
    rows = values.rows.unordered()
    by_place = isinstance(values, Places)
    if isinstance(rows, Ordered) and values.leaf.n_values == 1 and not by_place:
        parts = _with_statistics(values, rows, pick, largest=largest)
    else:
        parts = list(values.map(pick))
    if not parts:
        raise ValueError(f"{values.label}: no row, so no {what}")
    value = pick(np.array(parts, dtype if dtype.kind == "T" else None))
    if isinstance(values, Places):
        return values.value_at(value)
    if dtype.kind == "T":
        return value
    return np.asarray(value).astype(dtype.newbyteorder("="))[()]


def _extreme_of(block: Array, *, largest: bool) -> Any:
    flat = block.ravel()
    if flat.dtype.kind in "SU":
        # Not every NumPy has minimum and maximum of text; all have the place of the smallest.
        return flat[flat.argmax() if largest else flat.argmin()]
    return (np.maximum if largest else np.minimum).reduce(flat)


def _with_statistics(
    values: Values, rows: Ordered, pick: Callable[[Array], Any], *, largest: bool
) -> list[Any]:
    """Return extremes of parts of the rows; pages whose statistics say enough are not read."""
    state, leaf = rows.state, values.leaf
    hits = [hit for some in rows.all_found() for hit in some]
    parts: list[Any] = []
    if rows.is_whole and (found := _indexed(values, rows, largest)) is not None:
        ends, covered = found
        parts += [pick(ends)] if len(ends) else []
        hits = [hit for hit in hits if not covered[hit.place]]
    if hits and leaf.dtype.kind in "biufmM":
        bounds = state.bounds(leaf) if values.valid is None else state.bounds_of_valid(leaf)
        ends = bounds.hi if largest else bounds.lo
        exact = bounds.hi_exact if largest else bounds.lo_exact
        places = np.array([hit.place for hit in hits])
        whole = np.array([_is_whole(hit) for hit in hits])
        # NaN is an answer of its own; with `skipna` it is nothing.
        plain = bounds.known.copy()
        if not values.skipna:
            plain &= bounds.n_nan == 0
        told = whole & (exact & plain & ~bounds.empty)[places]
        if told.any():
            best = pick(ends[places[told]])
            parts.append(best)
            # What remains is read only where it may hold something better.
            better = ends[places] > best if largest else ends[places] < best
            needed = ~told & (better | ~plain[places])
            hits = [hit for hit, read in zip(hits, needed.tolist(), strict=True) if read]

    def one(hit: Found) -> Any:
        n = len(hit.ordinals)
        if leaf.is_string and (found := _text_extreme(values, hit, largest=largest)) is not None:
            return found[1]
        span = Span(hit.group, hit.ordinals, 0)
        block = values.kept(*read_spans_of(state, values.leaves, [span], n)[0])
        return pick(block) if len(block) else None

    for at in range(0, len(hits), _AT_ONCE):
        parts += run([partial(one, hit) for hit in hits[at : at + _AT_ONCE]])
    return [part for part in parts if part is not None]


def _text_extreme(values: Values, hit: Found, *, largest: bool) -> tuple[int | None, Any] | None:
    """Return the first row of a page with the smallest or largest text, and that; None for none.

    Of a dictionary each item is looked at once; other texts are told apart by their bytes. None
    where texts must be made.
    """
    if values.valid is not None or is_text_missing(values.dtype):
        return None
    key = keyed(values.rows.state, values.leaf, hit)
    if isinstance(key, Numbered):
        there = counts_of(key.numbers, len(key.items)).nonzero()[0]
        items = key.items[there]
        place = TextKey.of(items).extreme(largest=largest)
        if place < 0:
            return None, None
        return int((key.numbers == there[place]).argmax()), items[place]
    if key is None:
        return None
    place = key.extreme(largest=largest)
    return (None, None) if place < 0 else (place, key[place : place + 1].array()[0])


def _indexed(values: Values, rows: Ordered, largest: bool) -> tuple[Array, Array] | None:
    """Return values of an index among which the extreme is, and the groups that it covers."""
    state, leaf, valid = rows.state, values.leaf, values.valid
    found = first_of_column(state, leaf, valid, 1, descending=largest)
    if found is None:
        return None
    positions, covered = found
    if leaf.dtype.kind in "fmM" and not values.skipna:
        # Missing values stand at the end of both orders, and here one of them decides.
        bounds = state.bounds(leaf) if valid is None else state.bounds_of_valid(leaf)
        if not (bounds.known & (bounds.n_nan == 0))[covered].all():
            return None
    return values.kept(*read_at(state, values.leaves, positions)[0]), covered


def _is_whole(hit: Found) -> bool:
    """Tell whether statistics of a page are those of the rows: all of them, as first written."""
    return len(hit.ordinals) == hit.group.n_rows and not hit.group.patches


def argument(values: Values, *, largest: bool) -> np.int64:
    """Return the rank of the first smallest or largest value, as `np.argmin` has it.

    Raises
    ------
    ValueError
        There is no value.
    """
    what = "maximum" if largest else "minimum"
    dtype = values.dtype
    if dtype.kind not in "biufcmMSUT" or values.leaf.n_values != 1:
        raise DTypeError(f"{values.label} has no {what}: it holds {dtype}")
    at, best = 0, None
    rows = values.rows
    if isinstance(rows, Ordered) and values.leaf.is_string and not isinstance(values, Places):
        found = rows.map_found(partial(_text_argument, values, largest=largest), values.leaves)
    else:
        work = partial(_argument_of, values, largest=largest)
        found = rows.map(values.leaves, work, ordered=True)
    for n, place, value in found:
        if place is not None and (best is None or _is_better(value, best[1], largest=largest)):
            best = at + place, value
        at += n
    if best is None:
        raise ValueError(f"{values.label}: no row, so no {what}")
    return np.int64(best[0])


def _text_argument(values: Values, hit: Found, *, largest: bool) -> tuple[int, int | None, Any]:
    """Return what `_argument_of` does, for the texts of a page."""
    n = len(hit.ordinals)
    found = _text_extreme(values, hit, largest=largest)
    if found is not None:
        return n, *found
    span = Span(hit.group, hit.ordinals, 0)
    columns, _ = read_spans_of(values.rows.state, values.leaves, [span], n)
    return _argument_of(values, columns, n, largest=largest)


def _argument_of(
    values: Values, columns: Sequence[Array], n: int, *, largest: bool
) -> tuple[int, int | None, Any]:
    column = columns[0]
    missing = values.missing(*columns)
    rows = None if missing is None or not missing.any() else np.flatnonzero(~missing)
    kept = column if rows is None else column[rows]
    if not len(kept):
        return n, None, None
    if kept.dtype.kind == "T":
        place = int(np.flatnonzero(kept == _extreme_of(kept, largest=largest))[0])
    else:
        place = int(kept.argmax() if largest else kept.argmin())
    return n, place if rows is None else int(rows[place]), kept[place]


def _is_better(value: Any, best: Any, *, largest: bool) -> bool:
    if best != best:  # NaN and NaT win, the first of them
        return False
    if value != value:
        return True
    return bool(value > best if largest else value < best)


def histogram(
    values: Values, bins: int | Sequence[Any] | Array, span: tuple[Any, Any] | None
) -> tuple[Array, Array]:
    """Return how many values lie in each bin, and the edges of the bins, as NumPy has them."""
    dtype = values.dtype
    if dtype.kind not in "biufmM":
        raise DTypeError(f"{values.label} has no histogram: it holds {dtype}")
    is_count = np.ndim(bins) == 0
    sample = np.zeros(0, dtype)
    if is_count and span is None and count(values):
        ends = [extreme(values, largest=last) for last in (False, True)]
        sample = np.array(ends, dtype)
    if dtype.kind == "b":  # of which NumPy warns, and does the same
        sample = sample.view(np.uint8)
    try:
        if dtype.kind in "mM":
            bins = edges = _edges_of_times(sample, bins, span, dtype.newbyteorder("="))
            span = None
        else:
            edges = np.histogram_bin_edges(sample, bins, span)
            if is_count:
                span = float(edges[0]), float(edges[-1])
            else:
                bins = edges
        parts = list(values.map(partial(_counted, bins=bins, span=span)))
    except (TypeError, ValueError) as error:
        raise QueryError(f"histogram of {values.label}: {error}") from error
    return sum(parts, np.zeros(len(edges) - 1, np.int64)), edges


def _counted(block: Array, bins: Any, span: Any) -> Array:
    block = block.view(np.uint8) if block.dtype.kind == "b" else block
    counts: Array = np.histogram(block, bins, span)[0]
    return counts


def _edges_of_times(sample: Array, bins: Any, span: Any, dtype: np.dtype[Any]) -> Array:
    """Return the edges of bins of times; a number of bins are cut to the unit of the values."""
    kind = f"{dtype.kind}8"
    if np.ndim(bins):
        return np.asarray(bins, None if np.asarray(bins).dtype.kind == dtype.kind else kind)
    n = operator.index(bins)
    if n < 1:
        raise ValueError(f"{n} bins; there must be one at least")
    ends = (sample if span is None else np.asarray(span, kind)).astype(dtype)
    if not len(ends):
        ends = np.array([0, n], dtype)
    if np.isnat(ends).any():
        raise ValueError("NaT is among the values, or the ends: give edges, or range=")
    low, high = ends.view(np.int64).tolist()
    if low > high:
        raise ValueError(f"range={span!r} ends before it begins")
    if low == high:
        high += 1  # as NumPy, which makes such a bin one unit wide
    # Integers of any size: between two times may be more than 64 bits.
    edges = [low + (high - low) * at // n for at in range(n + 1)]
    return np.array(edges, np.int64).view(dtype)
