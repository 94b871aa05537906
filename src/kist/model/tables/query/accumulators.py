"""What is known of each group: counts, sums, extremes and the like, added to block by block.

Each accumulator does its work in two steps. `local` looks at some rows, whose groups are numbered
among themselves, on any thread. `merge` adds what it found to the groups of the whole table.

Numerics: floats are added up as float64 in runs of at most 8,192 rows, and the sums of the blocks
with Neumaier's compensation ("Rundungsfehleranalyse einiger Verfahren zur Summation endlicher
Summen", ZAMM 54, 1974). Integers are added exactly modulo 2**64, like NumPy's. Variances of blocks
are combined as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
computing sample variances" (1979).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

import numpy as np

from kist._kernels.ordering import sortable, stable_order
from kist._kernels.strings import missing_of
from kist.errors import DTypeError
from kist.format.nullable import nullable, pairs

__all__ = [
    "Accumulator",
    "Chosen",
    "Count",
    "Edge",
    "Extreme",
    "Mean",
    "Sum",
    "Truth",
    "Variance",
    "sum_dtype",
]

Array = np.ndarray[Any, Any]
Partial = tuple[Array, ...]
"""One array for each thing that is known, with an item for each local group."""

_RUN: Final = 8_192


def sum_dtype(dtype: np.dtype[Any], label: str, what: str) -> np.dtype[Any]:
    """Return the dtype of NumPy's sum.

    Raises
    ------
    DTypeError
        There is none.
    """
    if dtype.names is None and dtype.kind in "biufcm":
        result: np.dtype[Any] = np.zeros(0, dtype).sum().dtype
        return result
    raise DTypeError(f"{label} has no {what}: it holds {dtype}")


def is_missing(values: Array, *, skipna: bool) -> Array | None:
    """Return which values are left out: missing strings, and with `skipna` NaN and NaT."""
    if values.dtype.names is not None:  # of a nullable column
        null: Array = ~values["valid"]
        missing = is_missing(values["value"], skipna=skipna)
        return null if missing is None else null | missing
    if values.dtype.kind == "T":
        return missing_of(values)
    if skipna and values.dtype.kind in "fcmM":
        found: Array = values != values
        return found
    return None


def grown(array: Array, n: int, fill: Any = 0) -> Array:
    """Return an array of at least `n` items; the new ones are `fill`."""
    if len(array) >= n:
        return array
    larger = np.full(max(n, 2 * len(array), 16), fill, array.dtype)
    larger[: len(array)] = array
    return larger


class Accumulator(ABC):
    """Something that is known of each group.

    Attributes
    ----------
    arrays : list of ndarray
        What is known, with an item for each group.
    """

    ordered = False
    """Whether the order of rows matters."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        if dtype.kind in "biufcmMSU":
            # By its text: NumPy's fast loops take its own dtypes only, not copies of them.
            self.dtype = np.dtype(dtype.newbyteorder("=").str)
        self.arrays: list[Array] = []

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(array.nbytes for array in self.arrays)

    def grow(self, n: int) -> None:
        """Make room for `n` groups."""
        self.arrays = [grown(array, n) for array in self.arrays]

    @abstractmethod
    def local(self, values: Array, codes: Array, counts: Array) -> Partial:
        """Look at some rows.

        Parameters
        ----------
        values : ndarray, shape (n_rows,), of `dtype`
            None of them missing.
        codes : ndarray of int64, shape (n_rows,)
            Groups of the rows.
        counts : ndarray of int64
            How many of these rows each group has.
        """

    @abstractmethod
    def merge(self, part: Partial, at: Array) -> None:
        """Add what `local` returned to the groups `at`, which all differ."""

    @abstractmethod
    def finish(self, at: Array) -> Array:
        """Return the result for the groups `at`."""


class Count(Accumulator):
    """Number of rows."""

    def __init__(self) -> None:
        super().__init__(np.dtype("i8"))
        self.arrays = [np.zeros(0, np.int64)]

    def local(self, values: Array, codes: Array, counts: Array) -> Partial:
        return (counts,)

    def merge(self, part: Partial, at: Array) -> None:
        self.arrays[0][at] += part[0]

    def finish(self, at: Array) -> Array:
        found: Array = self.arrays[0][at]
        return found


def _added(codes: Array, values: Array, n: int) -> Array:
    """Return sums of floats by group."""
    out = np.zeros(n)
    # Few groups: short runs cost nothing and keep errors small.
    run = _RUN if n * 4 <= _RUN else max(len(codes), 1)
    for at in range(0, len(codes), run):
        out += np.bincount(codes[at : at + run], values[at : at + run], minlength=n)
    return out


def _added_integers(codes: Array, values: Array, n: int) -> Array:
    """Return sums of up to 2**20 integers by group, modulo 2**64; all steps are exact."""
    if values.dtype.itemsize <= 4:
        return np.bincount(codes, values, minlength=n).astype(np.int64)
    low = np.bincount(codes, values & values.dtype.type(0xFFFF_FFFF), minlength=n)
    high = np.bincount(codes, values >> values.dtype.type(32), minlength=n)
    whole: Array = (high.astype(np.int64) << 32) + low.astype(np.int64)
    return whole


class Sum(Accumulator):
    """Sum, of NumPy's dtype for it."""

    def __init__(self, dtype: np.dtype[Any], label: str, what: str = "sum") -> None:
        super().__init__(dtype)
        self.result = sum_dtype(dtype, label, what)
        self._exact = dtype.kind in "bium"
        self._wide = dtype.kind in "fc" and dtype.itemsize > (16 if dtype.kind == "c" else 8)
        if self._exact:
            self.arrays = [np.zeros(0, np.int64), np.zeros(0, bool)]  # sum, has NaT
        elif self._wide:
            self.arrays = [np.zeros(0, self.dtype)]
        else:
            n_parts = 4 if dtype.kind == "c" else 2
            self.arrays = [np.zeros(0) for _ in range(n_parts)]  # sum and compensation, by part

    def local(self, values: Array, codes: Array, counts: Array) -> Partial:
        kind, n = values.dtype.kind, len(counts)
        if kind == "m":
            nat = np.isnat(values)
            has = np.zeros(n, bool)
            has[codes[nat]] = True
            return _added_integers(codes, values.view(np.int64), n), has
        if self._exact:
            return _added_integers(codes, values, n), np.zeros(n, bool)
        if self._wide:
            out = np.zeros(n, self.dtype)
            np.add.at(out, codes, values)
            return (out,)
        parts = [values.real, values.imag] if kind == "c" else [values]
        return tuple(_added(codes, part, n) for part in parts)

    def merge(self, part: Partial, at: Array) -> None:
        if self._exact:
            self.arrays[0][at] += part[0]
            self.arrays[1][at] |= part[1]
        elif self._wide:
            self.arrays[0][at] += part[0]
        else:
            for number, value in enumerate(part):
                sums, rests = self.arrays[2 * number], self.arrays[2 * number + 1]
                self._compensate(sums, rests, value, at)

    @staticmethod
    def _compensate(sums: Array, rests: Array, value: Array, at: Array) -> None:
        """Add one value to each sum, and what rounding loses to its rest."""
        before = sums[at]
        with np.errstate(invalid="ignore", over="ignore"):
            after = before + value
            larger = np.abs(before) >= np.abs(value)
            lost = np.where(larger, (before - after) + value, (value - after) + before)
        sums[at] = after
        rests[at] += np.where(np.isfinite(after), lost, 0.0)

    def total(self, at: Array) -> Array:
        """Return the sums as they were added up, not yet of the dtype of the result."""
        if self._exact:
            found = self.arrays[0][at]
            if self.dtype.kind == "m":
                found[self.arrays[1][at]] = np.iinfo(np.int64).min
            return found.view(self.result)
        if self._wide:
            return self.arrays[0][at]
        sums = [a[at] + b[at] for a, b in zip(self.arrays[::2], self.arrays[1::2], strict=True)]
        return sums[0] if len(sums) == 1 else sums[0] + 1j * sums[1]

    def finish(self, at: Array) -> Array:
        with np.errstate(over="ignore"):
            return self.total(at).astype(self.result)


class Mean(Accumulator):
    """Mean; NaN where there is no value."""

    def __init__(self, dtype: np.dtype[Any], label: str) -> None:
        super().__init__(dtype)
        sum_dtype(dtype, label, "mean")
        self._as_float = dtype.kind in "biu"
        self.result = np.dtype("f8") if self._as_float else self.dtype
        self._sum = Sum(self.result, label)
        self._count = Count()

    @property
    def nbytes(self) -> int:
        return self._sum.nbytes + self._count.nbytes

    def grow(self, n: int) -> None:
        self._sum.grow(n)
        self._count.grow(n)

    def local(self, values: Array, codes: Array, counts: Array) -> Partial:
        if self._as_float:
            values = values.astype(np.float64)
        return counts, *self._sum.local(values, codes, counts)

    def merge(self, part: Partial, at: Array) -> None:
        self._count.merge(part[:1], at)
        self._sum.merge(part[1:], at)

    def finish(self, at: Array) -> Array:
        with np.errstate(all="ignore"):
            found: Array = (self._sum.total(at) / self._count.finish(at)).astype(self.result)
        return found


class Variance(Accumulator):
    """Variance or standard deviation; NaN where there are not enough values."""

    def __init__(self, dtype: np.dtype[Any], label: str, ddof: float, *, root: bool) -> None:
        super().__init__(dtype)
        if dtype.kind not in "biufc":
            what = "standard deviation" if root else "variance"
            raise DTypeError(f"{label} has no {what} by group: it holds {dtype}")
        self.result = np.zeros(0, self.dtype).real.dtype if dtype.kind in "fc" else np.dtype("f8")
        self._ddof, self._root = ddof, root
        # Count, mean, sum of squared differences; of complex numbers those of both parts.
        self.arrays = [np.zeros(0) for _ in range(6 if dtype.kind == "c" else 3)]

    def local(self, values: Array, codes: Array, counts: Array) -> Partial:
        if self.dtype.kind == "c":
            parts = self._local(values.real, codes, counts), self._local(values.imag, codes, counts)
            return *parts[0], *parts[1]
        return self._local(values, codes, counts)

    @staticmethod
    def _local(values: Array, codes: Array, counts: Array) -> Partial:
        values, n = values.astype(np.float64), len(counts)
        with np.errstate(all="ignore"):
            mean = _added(codes, values, n) / counts
            apart = values - mean[codes]
            # What rounding of the mean leaves is taken out again (the two-pass formula, corrected).
            rest = _added(codes, apart, n)
            squares = _added(codes, apart * apart, n) - rest * rest / counts
        return counts, mean, squares

    def merge(self, part: Partial, at: Array) -> None:
        for start in range(0, len(part), 3):
            self._merge(self.arrays[start : start + 3], part[start : start + 3], at)

    @staticmethod
    def _merge(arrays: list[Array], part: Partial, at: Array) -> None:
        count, mean, squares = part
        some = count > 0
        at, n, mean, squares = at[some], count[some], mean[some], squares[some]
        before, old, rest = (array[at] for array in arrays)
        with np.errstate(all="ignore"):
            total = before + n
            apart = np.where(before > 0, mean - old, 0.0)
            arrays[0][at] = total
            arrays[1][at] = np.where(before > 0, old + apart * (n / total), mean)
            arrays[2][at] = rest + squares + apart * apart * (before * n / total)

    def finish(self, at: Array) -> Array:
        count = self.arrays[0][at]
        squares = sum((array[at] for array in self.arrays[2::3]), np.zeros(len(at)))
        with np.errstate(all="ignore"):
            # The distance of complex numbers: squares of both parts, as NumPy has them.
            found = np.maximum(squares, 0.0) / np.maximum(count - self._ddof, 0)
            return (np.sqrt(found) if self._root else found).astype(self.result)


class Truth(Accumulator):
    """Whether any or all of the values are true; of no value none is, and all are."""

    def __init__(self, dtype: np.dtype[Any], label: str, *, any_of: bool) -> None:
        super().__init__(dtype)
        if dtype.kind not in "biufcm":
            raise DTypeError(f"{label} is neither true nor false: it holds {dtype}")
        self._any = any_of
        self.arrays = [np.zeros(0, bool)]  # whether something was met that decides

    def local(self, values: Array, codes: Array, counts: Array) -> Partial:
        decided = np.zeros(len(counts), bool)
        true = values.astype(bool)
        decided[codes[true if self._any else ~true]] = True
        return (decided,)

    def merge(self, part: Partial, at: Array) -> None:
        self.arrays[0][at] |= part[0]

    def finish(self, at: Array) -> Array:
        found: Array = self.arrays[0][at]
        return found if self._any else ~found


class Chosen(Accumulator):
    """One of the values of each group."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        super().__init__(dtype)
        self.result = self.dtype
        self.arrays = [np.zeros(0, self.dtype), np.zeros(0, bool)]  # value, whether there is one

    def grow(self, n: int) -> None:
        values, known = self.arrays
        if len(known) < n:
            known = grown(known, n, False)
            larger = np.zeros(len(known), self.dtype)
            larger[: len(values)] = values
            self.arrays = [larger, known]

    def _rows(self, values: Array, rows: Array, codes: Array, n: int) -> Partial:
        """Return values of some rows, one for each of some groups."""
        chosen, there = np.zeros(n, self.dtype), np.zeros(n, bool)
        chosen[codes] = values[rows]
        there[codes] = True
        return chosen, there

    def finish_nullable(self, at: Array) -> Array:
        """Return the values, of a nullable dtype: null where there is none."""
        values, known = (array[at] for array in self.arrays)
        return pairs(values, known, nullable(self.dtype))

    def finish(self, at: Array) -> Array:
        """Return the values; where there is none NaN, NaT, what is missing, or zero."""
        values, known = (array[at] for array in self.arrays)
        none = ~known
        if none.any():
            dtype: Any = self.dtype
            if dtype.kind in "fc":
                values[none] = np.nan
            elif dtype.kind in "mM":
                values[none] = np.array("NaT", dtype)
            elif hasattr(dtype, "na_object"):
                values[none] = dtype.na_object
        return values


def _least_of(dtype: np.dtype[Any], *, largest: bool) -> Any:
    """Return a value that no other is beyond, None where there is none."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).min if largest else np.iinfo(dtype).max
    if dtype.kind == "f":
        return -np.inf if largest else np.inf
    return None


class Extreme(Chosen):
    """Smallest or largest value; NaN and NaT win, as in NumPy."""

    def __init__(self, dtype: np.dtype[Any], label: str, *, largest: bool) -> None:
        super().__init__(dtype)
        if dtype.kind not in "biufcmMSUT":
            what = "maximum" if largest else "minimum"
            raise DTypeError(f"{label} has no {what}: it holds {dtype}")
        self._largest = largest
        self._ufunc = np.maximum if largest else np.minimum
        self._by_order = dtype.kind in "SUT"
        self._least = _least_of(self.dtype, largest=largest)

    def local(self, values: Array, codes: Array, counts: Array) -> Partial:
        n = len(counts)
        if not self._by_order:
            least = self._least
            out = np.zeros(n, self.dtype) if least is None else np.full(n, least, self.dtype)
            if least is None:
                out[codes] = values
            with np.errstate(invalid="ignore"):  # NaN is an answer
                self._ufunc.at(out, codes, values)
            return out, counts > 0
        words = sortable(values, descending=self._largest)
        order = stable_order([codes.view(np.uint64), *words])
        ordered = codes[order]
        first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
        return self._rows(values, order[first], ordered[first], n)

    def merge(self, part: Partial, at: Array) -> None:
        values, there = part
        at, values = at[there], values[there]
        old, known = self.arrays[0][at], self.arrays[1][at]
        if self._by_order:
            better = (values > old if self._largest else values < old) | ~known
            self.arrays[0][at[better]] = values[better]
        else:
            self.arrays[0][at] = np.where(known, self._ufunc(old, values), values)
        self.arrays[1][at] = True


class Edge(Chosen):
    """First or last value; nulls are values here."""

    ordered = True

    def __init__(self, dtype: np.dtype[Any], *, last: bool) -> None:
        super().__init__(dtype)
        self._last = last

    def local(self, values: Array, codes: Array, counts: Array) -> Partial:
        n = len(counts)
        rows = np.full(n, -1, np.int64)
        if self._last:
            rows[codes] = np.arange(len(codes))
        else:
            rows[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
        groups = np.flatnonzero(rows >= 0)
        return self._rows(values, rows[groups], groups, n)

    def merge(self, part: Partial, at: Array) -> None:
        values, there = part
        if not self._last:
            there = there & ~self.arrays[1][at]
        self.arrays[0][at[there]] = values[there]
        self.arrays[1][at[there]] = True
