"""Parts of datetimes: year, month, weekday, hour and so on, counted as pandas does it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kist.query.nodes import Array

__all__ = ["limits_of", "part_of"]

_PER_DAY: Final = {
    "h": 24,
    "m": 1440,
    "s": 86_400,
    "ms": 86_400 * 10**3,
    "us": 86_400 * 10**6,
    "ns": 86_400 * 10**9,
}
"""Ticks of a day, of the units shorter than one."""

_FINER: Final = {"ps": 10**3, "fs": 10**6, "as": 10**9}
"""Ticks of a nanosecond. NumPy does not convert these units to days."""

_CLOCK: Final = {
    "hour": (24, 24),
    "minute": (1440, 60),
    "second": (86_400, 60),
    "microsecond": (86_400 * 10**6, 10**6),
    "nanosecond": (86_400 * 10**9, 1000),
}
"""Part -> how many of it a day has, and after how many it begins again."""


def part_of(part: str, values: Array) -> Array:
    """Return a part of datetimes as int64; any number for NaT.

    Parameters
    ----------
    part : str
        One of `kist.query.functions.PARTS`. Weekdays count from Monday = 0, days of the year from
        1; microseconds are those since the second, nanoseconds since the microsecond.
    values : ndarray of datetime64
        Of any unit.
    """
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    unit, step = np.datetime_data(values.dtype)
    if unit in _FINER:
        values = (values.view(np.int64) * step // _FINER[unit]).view("M8[ns]")
    if part in _CLOCK:
        return _clock(part, values)
    if part == "year":
        return _months(values) // 12 + 1970
    if part == "month":
        return _months(values) % 12 + 1
    if part == "quarter":
        return _months(values) % 12 // 3 + 1
    days = values.astype("M8[D]")
    number = days.view(np.int64)
    if part == "weekday":
        return (number + 3) % 7  # 1970 began on a Thursday
    first = days.astype("M8[M]" if part == "day" else "M8[Y]").astype("M8[D]")
    return number - first.view(np.int64) + 1


def _months(values: Array) -> Array:
    return values.astype("M8[M]").view(np.int64)


def _clock(part: str, values: Array) -> Array:
    unit, step = np.datetime_data(values.dtype)
    wanted, turn = _CLOCK[part]
    per_day = _PER_DAY.get(unit)
    if per_day is None:  # whole days: all their clocks show zero
        return np.zeros(len(values), np.int64)
    ticks: Array = values.view(np.int64) * step
    if per_day < wanted:  # a coarser unit
        return ticks % per_day * (wanted // per_day) % turn
    return ticks // (per_day // wanted) % turn


def limits_of(part: str) -> tuple[int, int] | None:
    """Return between which limits a part lies."""
    return _LIMITS.get(part)


_LIMITS: Final[dict[str, Any]] = {
    "quarter": (1, 4),
    "month": (1, 12),
    "day": (1, 31),
    "dayofyear": (1, 366),
    "weekday": (0, 6),
    **{part: (0, turn - 1) for part, (_, turn) in _CLOCK.items()},
}
