"""What columns and selections of one column offer as numbers: sums, extremes, quantiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kist.model.tables import query

if TYPE_CHECKING:
    from kist.model.tables.query.aggregates import Values

__all__ = ["Reductions"]

Array = np.ndarray[Any, Any]
T = TypeVar("T")


class Reductions:
    """Mixin of what has the values of one column.

    Every method reads the rows of one moment, page by page. Missing strings are skipped. NaN and
    NaT are values, as in NumPy: a sum with one of them is NaN; ``skipna=True`` leaves them out.
    `axis`, `dtype` and `out` are there for NumPy's functions, which pass them on.
    """

    __slots__ = ()

    def _reduce(
        self, work: Callable[[Values], T], *, skipna: bool = False, by_place: bool = False
    ) -> T:
        """Return what a function makes of the values, read from one state of the table.

        With `by_place` these are places among ordered categories, where the column has such.
        """
        raise TypeError(f"{type(self).__name__} has no values")

    def _number(
        self,
        work: Callable[[Values], Any],
        skipna: bool,
        axis: object,
        dtype: object = None,
        out: object = None,
        by_place: bool = False,
    ) -> Any:
        if axis is not None or dtype is not None or out is not None:
            raise TypeError("this takes no axis, dtype or out; read the column into an array first")
        return self._reduce(work, skipna=skipna, by_place=by_place)

    def sum(
        self, axis: None = None, dtype: None = None, out: None = None, *, skipna: bool = False
    ) -> Any:
        """Return the sum of the column, of NumPy's dtype for it; 0 when there is no row."""
        return self._number(query.aggregates.total, skipna, axis, dtype, out)

    def mean(
        self, axis: None = None, dtype: None = None, out: None = None, *, skipna: bool = False
    ) -> Any:
        """Return the mean of the column; nan when there is no row."""
        return self._number(query.aggregates.mean, skipna, axis, dtype, out)

    def min(self, axis: None = None, out: None = None, *, skipna: bool = False) -> Any:
        """Return the smallest value; raises `ValueError` when there is no row.

        Pages of which all rows count are answered by their statistics, without being read.
        """
        work = partial(query.aggregates.extreme, largest=False)
        return self._number(work, skipna, axis, None, out, by_place=True)

    def max(self, axis: None = None, out: None = None, *, skipna: bool = False) -> Any:
        """Return the largest value; otherwise like `min`."""
        work = partial(query.aggregates.extreme, largest=True)
        return self._number(work, skipna, axis, None, out, by_place=True)

    def var(
        self,
        axis: None = None,
        dtype: None = None,
        out: None = None,
        ddof: float = 0,
        *,
        skipna: bool = False,
    ) -> Any:
        """Return the variance: squared differences from the mean, divided by n - `ddof`.

        nan when there are not enough rows. `ddof` is 0 as in NumPy; pandas takes 1.
        """
        work = partial(query.aggregates.variance, ddof=ddof, root=False)
        return self._number(work, skipna, axis, dtype, out)

    def std(
        self,
        axis: None = None,
        dtype: None = None,
        out: None = None,
        ddof: float = 0,
        *,
        skipna: bool = False,
    ) -> Any:
        """Return the standard deviation, the square root of `var`."""
        work = partial(query.aggregates.variance, ddof=ddof, root=True)
        return self._number(work, skipna, axis, dtype, out)

    def any(self, axis: None = None, out: None = None) -> Any:
        """Return whether any value is true; reads no further than the first one."""
        return self._number(partial(query.aggregates.every, any_of=True), False, axis, None, out)

    def all(self, axis: None = None, out: None = None) -> Any:
        """Return whether all values are true; reads no further than the first that is not."""
        return self._number(partial(query.aggregates.every, any_of=False), False, axis, None, out)

    def argmin(self, axis: None = None, out: None = None, *, skipna: bool = False) -> Any:
        """Return the place of the first smallest value among the rows, as `numpy.argmin`."""
        work = partial(query.aggregates.argument, largest=False)
        return self._number(work, skipna, axis, None, out, by_place=True)

    def argmax(self, axis: None = None, out: None = None, *, skipna: bool = False) -> Any:
        """Return the place of the first largest value among the rows, as `numpy.argmax`."""
        work = partial(query.aggregates.argument, largest=True)
        return self._number(work, skipna, axis, None, out, by_place=True)

    def nunique(self) -> int:
        """Return the number of distinct values; nulls and NaN do not count.

        Notes
        -----
        Exact, but for texts of more than 15 bytes, which are told apart by 120 bits of a hash with
        a key that is drawn anew (BLAKE2b): of a billion, two are taken for one in one of 10**18
        cases.
        """
        return self._reduce(query.collected.count_distinct, skipna=True)

    def quantile(self, q: Any, *, skipna: bool = False) -> Any:
        """Return the values below which the parts `q` of all values lie, exactly.

        Parameters
        ----------
        q : float or sequence of float
            Between 0 and 1; 0.5 is the median.

        Returns
        -------
        float, datetime64 or timedelta64, or ndarray of the shape of `q`
            Linear between two values, as `numpy.quantile`, times cut to their unit; nan or NaT
            when there is no row, or one among the values.

        Notes
        -----
        Memory stays within `kist.options.max_memory`: the values are read a second time when a
        quarter of it does not hold them.
        """
        return self._reduce(partial(query.quantiles.quantiles, q=q), skipna=skipna)

    def median(self, *, skipna: bool = False) -> Any:
        """Return the median: ``quantile(0.5)``."""
        return self.quantile(0.5, skipna=skipna)

    def histogram(
        self, bins: int | Sequence[Any] | Array = 10, range: tuple[Any, Any] | None = None
    ) -> tuple[Array, Array]:
        """Return how many values lie in each bin, and the edges of the bins.

        Parameters
        ----------
        bins : int or sequence of numbers or times
            How many bins of equal width, or their edges; of times they are cut to the unit.
        range : (low, high), optional
            From where to where `bins` of equal width reach; from the smallest to the largest
            value by default.

        Returns
        -------
        counts : ndarray of int64
        edges : ndarray
            Both as `numpy.histogram` gives them, which bins times between given edges only.
        """
        return self._reduce(partial(query.aggregates.histogram, bins=bins, span=range))
