"""Quantiles of all values of a column, exactly, in bounded memory.

What fits is held, and partitioned. Of more values than that, two passes are enough: the first sorts
them run by run and keeps every 256th, which bounds where each rank wanted lies; the second counts
what is below these bounds and keeps what is between (Munro and Paterson, "Selection and sorting
with limited storage", Theoretical Computer Science 12, 1980). Nothing is assumed of the values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np

from kist import options
from kist.errors import DTypeError, QueryError
from kist.model.tables.query.aggregates import Values

__all__ = [
    "check_quantiles",
    "interpolated",
    "missing_of",
    "quantiles",
    "quantiles_of",
    "result_of",
]

Array = np.ndarray[Any, Any]
T = TypeVar("T")

_RUN: Final = 1 << 18
"""Values that are sorted at a time."""
_STEP: Final = 256
"""One value of a run in so many is kept."""


def quantiles(values: Values, q: Any) -> Any:
    """Return the quantiles `q` of all values, in the shape of `q`; nan when there is no value."""
    result = result_of(values.dtype, values.label)
    flat = check_quantiles(q)
    found = quantiles_of(values, flat)
    if found is None:
        found = np.full(len(flat), missing_of(result))
    return found.astype(result).reshape(np.shape(q))[()]


def result_of(dtype: np.dtype[Any], label: str) -> np.dtype[Any]:
    """Return the dtype of quantiles of values; raise `DTypeError` where there are none."""
    if dtype.kind not in "biufmM":
        raise DTypeError(f"{label} has no quantiles: it holds {dtype}")
    return dtype.newbyteorder("=") if dtype.kind in "fmM" else np.dtype("f8")


def missing_of(dtype: np.dtype[Any]) -> Any:
    """Return NaN, or NaT of a dtype of times."""
    return np.array("NaT" if dtype.kind in "mM" else np.nan, dtype)[()]


class Source(Protocol):
    """Values that can be read more than once, some at a time."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values."""

    def map(self, work: Callable[[Array], T]) -> Iterator[T]:
        """Yield what a function makes of some values, of at least one."""


def quantiles_of(values: Source, q: Array) -> Array | None:
    """Return quantiles, None where there is no value or a NaN or NaT among them."""
    held: list[Array] = []
    sample = _Sample()
    for one in _runs(values):
        n_bytes = (sum(map(len, held)) + len(one)) * one.itemsize
        if not sample.n and 4 * n_bytes <= options.max_memory:
            held.append(one)
            continue
        for some in [*held, one]:
            some.sort()
            if some[-1] != some[-1]:  # NaN and NaT sort last
                return None
            sample.add(some)
        held = []
    n = sample.n + sum(map(len, held))
    if not n:
        return None
    place = q * (n - 1)
    low = np.floor(place).astype(np.int64)
    wanted, back = np.unique([low, np.minimum(low + 1, n - 1)], return_inverse=True)
    if sample.n:
        found = _at_ranks(values, wanted.tolist(), sample)
    else:
        whole = np.concatenate(held)
        del held  # not twice in memory
        whole.partition(np.append(wanted, n - 1))
        if whole[-1] != whole[-1]:
            return None
        found = whole[wanted]
    first, second = found[back.reshape(2, -1)]
    return interpolated(first, second, place - low)


def _runs(values: Source) -> Iterator[Array]:
    """Yield all values, some at a time, as new arrays of the machine's byte order."""
    dtype = values.dtype.newbyteorder("=")
    held: list[Array] = []
    n = 0
    for block in values.map(np.ravel):
        for start in range(0, len(block), _RUN):
            held.append(block[start : start + _RUN])
            n += len(held[-1])
            if n >= _RUN:
                yield np.concatenate(held, dtype=dtype)
                held, n = [], 0
    if held:
        yield np.concatenate(held, dtype=dtype)


class _Ends(NamedTuple):
    """Values between which that of a rank lies, or which it is."""

    low: Any
    high: Any


class _Sample:
    """Every 256th value of sorted runs.

    Attributes
    ----------
    n : int
        Values of all runs.
    most_between : int
        About how many values lie between the ends of a rank, at most.
    """

    def __init__(self) -> None:
        self.n = self._n_runs = 0
        self._kept: list[Array] = []
        self._sorted: Array | None = None

    @property
    def most_between(self) -> int:
        return 2 * self._n_runs * _STEP

    def add(self, run: Array) -> None:
        """Add a run."""
        self.n += len(run)
        self._n_runs += 1
        self._kept.append(run[_STEP - 1 :: _STEP].copy())

    def ends_of(self, rank: int) -> _Ends:
        """Return what is known of the value of a rank.

        Each sample stands for itself and the values of its run behind the sample before. So at
        least ``(i + 1) * _STEP`` values are no larger than sample `i` of all; and no more than
        ``i * _STEP`` are smaller, but for fewer than `_STEP` of each run.
        """
        if self._sorted is None:
            self._sorted = np.sort(np.concatenate(self._kept))
            self._kept = []
        kept = self._sorted
        below = (rank - self._n_runs * (_STEP - 1)) // _STEP
        above = -(-(rank + 1) // _STEP) - 1
        least, most = _limits(kept.dtype)
        return _Ends(
            kept[min(below, len(kept) - 1)] if below >= 0 and len(kept) else least,
            kept[above] if above < len(kept) else most,
        )


def _limits(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the smallest and largest value of a dtype."""
    if dtype.kind == "f":
        return dtype.type(-np.inf), dtype.type(np.inf)
    if dtype.kind == "b":
        return np.False_, np.True_
    if dtype.kind in "mM":
        info = np.iinfo(np.int64)
        least, most = np.array([info.min + 1, info.max]).view(dtype)  # the one below is NaT
        return least, most
    info = np.iinfo(dtype)
    return dtype.type(info.min), dtype.type(info.max)


class _Between:
    """The values between two ends, and how many are smaller or equal to the lower one."""

    def __init__(self) -> None:
        self.n_below = self.n_low = 0
        self.parts: list[Array] = []

    def at(self, rank: int, ends: _Ends) -> Any:
        """Return the value of a rank."""
        place = rank - self.n_below
        if place < self.n_low:
            return ends.low
        between = np.concatenate(self.parts)
        place -= self.n_low
        return np.partition(between, place)[place] if place < len(between) else ends.high


def _at_ranks(values: Source, ranks: list[int], sample: _Sample) -> Array:
    """Return the values of some ranks; the table is read again, once for some hundred of them."""
    ends = {rank: sample.ends_of(rank) for rank in ranks}
    dtype = values.dtype.newbyteorder("=")
    every = list(dict.fromkeys(ends.values()))
    at_once = max(1, options.max_memory // (4 * dtype.itemsize * sample.most_between))
    found: dict[_Ends, _Between] = {}
    for start in range(0, len(every), at_once):
        some = every[start : start + at_once]
        found |= zip(some, _read_between(values, some, dtype), strict=True)
    return np.array([found[one].at(rank, one) for rank, one in ends.items()], dtype)


def _read_between(values: Source, some: list[_Ends], dtype: np.dtype[Any]) -> list[_Between]:
    """Read all values, and keep those between some ends."""
    lows, highs = (np.array(column, dtype) for column in zip(*some, strict=True))

    def look(block: Array) -> tuple[Array, Array, list[Array]]:
        block = np.sort(block, axis=None).astype(dtype, copy=False)
        below, first = block.searchsorted(lows), block.searchsorted(lows, "right")
        edges = zip(first.tolist(), block.searchsorted(highs).tolist(), strict=True)
        return below, first - below, [block[start:stop].copy() for start, stop in edges]

    out = [_Between() for _ in some]
    for below, equal, kept in values.map(look):
        both = zip(out, below.tolist(), equal.tolist(), kept, strict=True)
        for one, n_below, n_equal, part in both:
            one.n_below += n_below
            one.n_low += n_equal
            one.parts.append(part)
    return out


def interpolated(low: Array, high: Array, part: Array) -> Array:
    """Return what lies between two values, as NumPy's linear method has it."""
    if low.dtype.kind in "mM":
        return _between_times(low, high, part)
    with np.errstate(invalid="ignore", over="ignore"):
        low, high = low.astype(np.float64, copy=False), high.astype(np.float64, copy=False)
        apart = high - low
        found = np.where(part < 0.5, low + apart * part, high - apart * (1 - part))
        # Between a number and infinity lies infinity, which the formula above makes NaN.
        infinite = np.where(part == 0, low, low * (1 - part) + high * part)
        found = np.where(np.isfinite(apart), found, infinite)
    return np.where(low == high, low, found)


def _between_times(low: Array, high: Array, part: Array) -> Array:
    """Return what lies between two times: what is added to one of them is cut to its unit."""
    first, last = low.view(np.uint64), high.view(np.uint64)
    # Modulo 2**64, so that times may be further apart than the longest timedelta.
    apart = (last - first).astype(np.float64)
    with np.errstate(invalid="ignore"):  # NaT is taken care of by who has it
        added = first + (apart * part).astype(np.uint64)
        taken = last - (apart * (1 - part)).astype(np.uint64)
    return np.where(part < 0.5, added, taken).view(low.dtype)


def check_quantiles(q: Any) -> Array:
    """Return quantiles as a flat array of floats.

    Raises
    ------
    QueryError
        One is not between 0 and 1.
    """
    try:
        values = np.asarray(q, np.float64).ravel()
    except (TypeError, ValueError):
        raise QueryError(f"{q!r} is no quantile: numbers between 0 and 1 are") from None
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise QueryError(f"{q!r}: quantiles lie between 0 and 1")
    return values
