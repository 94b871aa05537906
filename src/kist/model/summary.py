"""Numbers about values that are read once, block by block: how many, least, greatest, mean."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

__all__ = ["Summary", "is_missing", "summarize"]

Array = np.ndarray[Any, Any]

_ORDERED: Final = "biufMmSUT"


class Summary:
    """What is known about the values of one column or array so far.

    Parameters
    ----------
    dtype : dtype
        Of the values.

    Attributes
    ----------
    count, n_missing : int
        Values, and those among them that are NaN, NaT or null, of which nothing else counts.
    min, max : NumPy scalar or None
        Of what has an order. None without values.
    mean, std : float, complex or None
        Of numbers, in float64; `std` with ``ddof=0``, as NumPy's.

    Examples
    --------
    >>> summary = Summary(np.dtype("f8"))
    >>> summary.add(np.array([1.0, np.nan]))
    >>> summary.add(np.array([3.0]))
    >>> summary.count, summary.n_missing, summary.mean, summary.std
    (3, 1, 2.0, 1.0)
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.count = 0
        self.n_missing = 0
        self.min: Any = None
        self.max: Any = None
        self._n = 0  # of the mean
        self._mean: complex = 0.0
        self._squares = 0.0  # sum of squared distances from the mean

    def add(self, values: Array) -> None:
        """Take a block into account."""
        values = values.reshape(-1)
        self.count += values.size
        missing = is_missing(values)
        if missing is not None:
            self.n_missing += int(np.count_nonzero(missing))
            values = values[~missing] if missing.any() else values
        if not values.size:
            return
        if self.dtype.kind in _ORDERED:
            self._add_ends(values)
        if self.dtype.kind in "biufc":
            self._add_moments(values)

    def _add_ends(self, values: Array) -> None:
        if values.dtype.kind in "SUT":  # NumPy has no minimum of them
            values = np.sort(values)
            low, high = values[0], values[-1]
        else:
            low, high = values.min(), values.max()
        self.min = low if self.min is None or low < self.min else self.min
        self.max = high if self.max is None or high > self.max else self.max

    def _add_moments(self, values: Array) -> None:
        # Chan's way to join the moments of two parts loses no digits where the mean is large.
        wide = np.complex128 if values.dtype.kind == "c" else np.float64
        with np.errstate(all="ignore"):  # infinities are values too
            mean = values.mean(dtype=wide)
            squares = float(values.size * np.var(values.astype(wide, copy=False)))
            n = self._n + values.size
            delta = mean - self._mean
            self._mean = complex(self._mean + delta * (values.size / n))
            self._squares += squares + abs(delta) ** 2 * self._n * values.size / n
        self._n = n

    @property
    def mean(self) -> float | complex | None:
        """Mean of the values that are not missing."""
        if not self._n:
            return None
        return self._mean if self.dtype.kind == "c" else complex(self._mean).real

    @property
    def std(self) -> float | None:
        """Their standard deviation."""
        return math.sqrt(self._squares / self._n) if self._n else None

    def to_dict(self) -> dict[str, Any]:
        """All of it by name."""
        names = ("count", "n_missing", "min", "max", "mean", "std")
        return {name: getattr(self, name) for name in names}


def is_missing(values: Array) -> Array | None:
    """Return which values are NaN, NaT or null; None for dtypes that have nothing of the kind."""
    kind = values.dtype.kind
    if kind in "fc":
        return np.isnan(values)
    if kind in "Mm":
        return np.isnat(values)
    if kind == "T" and hasattr(values.dtype, "na_object"):
        # Only where missing strings are a kind of NaN does NumPy tell them.
        nan_like = np.dtypes.StringDType(na_object=math.nan)
        return np.asarray(np.isnan(values.astype(nan_like)))
    return None


def summarize(blocks: Iterable[Array], dtype: np.dtype[Any]) -> Summary:
    """Return the summary of values that come in blocks."""
    summary = Summary(dtype)
    for block in blocks:
        summary.add(block)
    return summary
