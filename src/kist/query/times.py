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
    unit, step = np.datetime_data(values.dtype)
    if unit in ("Y", "M") and part in ("year", "quarter", "month"):
        months: Array = values.view(np.int64) * (12 * step if unit == "Y" else step)
        if part == "year":
            return months // 12 + 1970
        months = _modulo(months, 12)
        return months // 3 + 1 if part == "quarter" else months + 1
    days = _days(values, unit, step)
    if part == "weekday":
        return _modulo(days + 3, 7)  # 1970 began on a Thursday
    year, of_year = _civil(days)
    if part in ("year", "dayofyear"):
        year += of_year >= _JANUARY
        if part == "year":
            return year
        before = year - 1
        days -= 365 * before + before // 4 - before // 100 + before // 400
        return days + 719_163
    month = (5 * of_year + 2) // 153
    if part == "day":
        found: Array = of_year - (153 * month + 2) // 5 + 1
        return found
    month += 3 - 12 * (month >= 10)
    return month if part == "month" else (month + 2) // 3


def _modulo(x: Array, n: int) -> Array:
    found: Array = x - x // n * n  # a tenth of the time of %, which NumPy does one by one
    return found


def _days(values: Array, unit: str, step: int) -> Array:
    """Return the days since 1970."""
    if unit in ("Y", "M"):
        return values.astype("M8[D]").view(np.int64)
    ticks: Array = values.view(np.int64) * (7 * step if unit == "W" else step)
    if unit in _PER_DAY:
        ticks //= _PER_DAY[unit]
    return ticks


_JANUARY: Final = 306
"""Days from March to January."""


def _civil(days: Array) -> tuple[Array, Array]:
    """Return the year and the day in it of days since 1970; NumPy takes five times as long.

    Years of the Gregorian calendar that begin in March, so that the leap day is the last one.
    """
    since = days + 719_468
    era = since // 146_097
    of_era = since - era * 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    year += era * 400
    return year, of_year


def _clock(part: str, values: Array) -> Array:
    unit, step = np.datetime_data(values.dtype)
    wanted, turn = _CLOCK[part]
    per_day = _PER_DAY.get(unit)
    if per_day is None:  # whole days: all their clocks show zero
        return np.zeros(len(values), np.int64)
    ticks: Array = values.view(np.int64) * step
    if per_day < wanted:  # a coarser unit
        return _modulo(_modulo(ticks, per_day) * (wanted // per_day), turn)
    return _modulo(ticks // (per_day // wanted), turn)


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
