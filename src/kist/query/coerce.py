"""Constants fitted to the dtype that they are compared with.

A comparison with a constant must neither convert the column nor mean something else than the
values say, so the constant is converted, and where it has no counterpart in the dtype the
comparison is changed instead: `u1 > 300` is false, `seconds > '2020-01-01T00:00:00.5'` is
`seconds > '2020-01-01T00:00:00'`. Floats are rounded to the column as NumPy does it.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, TypeAlias

import numpy as np

from kist._kernels.bits import limits_of
from kist.errors import QueryError

__all__ = ["Fit", "as_time", "fit_comparison", "fit_text", "kind_name"]

#: What a comparison becomes: its outcome for all rows, or a sign and the constant to compare with.
Fit: TypeAlias = "bool | tuple[str, Any]"

_BELOW = frozenset(["<", "<=", "!="])  # what holds between a value and something above all values
_ABOVE = frozenset([">", ">=", "!="])

_KINDS = {
    "b": "bool",
    "i": "integer",
    "u": "integer",
    "f": "float",
    "c": "complex",
    "S": "bytes",
    "U": "text",
    "T": "text",
    "V": "opaque bytes",
    "M": "datetime",
    "m": "timedelta",
}


def kind_name(dtype: np.dtype[Any]) -> str:
    """Return what messages call a dtype."""
    return f"{_KINDS.get(dtype.kind, 'object')} ({dtype.str if dtype.kind in 'USV' else dtype})"


def fit_comparison(op: str, dtype: np.dtype[Any], value: Any) -> Fit:
    """Return what the comparison of values of a dtype with a constant becomes.

    Parameters
    ----------
    op : str
        Sign of the comparison; the constant stands on its right.
    dtype : numpy.dtype
        Dtype of the left side.
    value : plain value or NumPy scalar
        The constant.

    Raises
    ------
    QueryError
        The two cannot be compared.
    """
    kind = dtype.kind
    if kind in "biufc":
        if isinstance(value, (np.datetime64, np.timedelta64)):
            raise _mismatch(dtype, value)
        if isinstance(value, (int, float, complex, np.number)):
            return _fit_number(op, dtype, value)
    elif kind in "SUTV":
        if isinstance(value, (str, bytes)):
            return _fit_string(op, dtype, value)
    elif kind == "M":
        time = as_time(value) if isinstance(value, str) else value
        if isinstance(time, np.datetime64):
            return _fit_time(op, dtype, time)
    elif kind == "m" and isinstance(value, np.timedelta64):
        return _fit_time(op, dtype, value)
    raise _mismatch(dtype, value)


def _mismatch(dtype: np.dtype[Any], value: Any) -> QueryError:
    hint = ""
    if dtype.kind == "m":
        hint = "; write timedelta64(5, 's')"
    elif dtype.kind == "M":
        hint = "; write it as '2020-01-31T12:00' or pass a datetime"
    kind = getattr(value, "dtype", None)
    name = kind_name(kind) if kind is not None else type(value).__name__
    return QueryError(f"{kind_name(dtype)} cannot be compared with {name} {value!r}{hint}")


def _fit_number(op: str, dtype: np.dtype[Any], value: Any) -> Fit:
    kind = dtype.kind
    if kind == "c" or isinstance(value, (complex, np.complexfloating)):
        if op not in ("==", "!="):
            raise QueryError("complex numbers have no order; compare abs(x), or use == and !=")
        return op, value
    if isinstance(value, (int, np.integer)):
        value = int(value)
        if kind in "biu":
            return _fit_integer(op, dtype, value)
        try:
            fitted = _fit_float(dtype, value)
        except OverflowError:
            raise QueryError("the integer is too large to be compared with floats") from None
        return op, fitted
    if kind == "f":
        if isinstance(value, np.floating):
            # A NumPy scalar keeps its dtype, as in NumPy; where it has the same value in the
            # dtype of the column, the column need not be converted.
            with np.errstate(all="ignore"):
                exact = dtype.type(value)
            return op, exact if exact == value else value
        return op, _fit_float(dtype, value)
    # Integers against floats: NumPy compares as float64, which is exact up to 32 bits.
    if dtype.itemsize <= 4 and value == value and abs(value) < 2**63 and int(value) == value:
        return _fit_integer(op, dtype, int(value))
    return op, value if isinstance(value, np.floating) else np.float64(value)


def _fit_float(dtype: np.dtype[Any], value: float) -> Any:
    """Return a Python number in a float dtype, or as float64 where it would become infinite."""
    with np.errstate(over="ignore"):
        fitted = dtype.type(value)
    if np.isinf(fitted) and not np.isinf(np.float64(value)):
        return np.float64(value)
    return fitted


def _fit_integer(op: str, dtype: np.dtype[Any], value: int) -> Fit:
    if dtype.kind == "b":
        low, high = 0, 1
    else:
        low, high = limits_of(dtype)
    if value > high:
        return op in _BELOW
    if value < low:
        return op in _ABOVE
    return op, dtype.type(value)


def _fit_string(op: str, dtype: np.dtype[Any], value: str | bytes) -> Fit:
    fitted = fit_text(dtype, value)
    if fitted is None:
        if op in ("==", "!="):
            return op == "!="
        raise QueryError(f"{value!r} has no order among {kind_name(dtype)}: it cannot be encoded")
    if dtype.kind == "T":
        # As a str the constant would lose NULs at its end.
        return op, np.array(fitted, dtype=np.dtypes.StringDType())
    if op in ("==", "!="):
        width = dtype.itemsize // (4 if dtype.kind == "U" else 1)
        if len(fitted) > width:
            return op == "!="
    return op, fitted


def fit_text(dtype: np.dtype[Any], value: str | bytes) -> str | bytes | None:
    """Return text as the kind that a dtype holds, UTF-8 between str and bytes.

    None when there is none; NULs at the end are dropped where the dtype does not have them.
    """
    try:
        if dtype.kind in "SV":
            raw = value.encode() if isinstance(value, str) else value
            return raw.rstrip(b"\0")
        text = value.decode() if isinstance(value, bytes) else value
        if dtype.kind == "T":
            text.encode()
            return text
        return text.rstrip("\0")
    except UnicodeError:
        return None


def as_time(text: str) -> np.datetime64:
    """Return the time that ISO text stands for, in UTC where it names a zone.

    Raises
    ------
    QueryError
        It is no ISO date or time.
    """
    clean = text.strip()
    if not clean or (clean != "NaT" and not clean.lstrip("+-")[:1].isdigit()):
        raise QueryError(f"{text!r} is no date or time; write it as '2020-01-31T12:00'")
    try:
        day, sep, clock = clean.replace(" ", "T", 1).partition("T")
        if sep and (clock[-1:] in "zZ" or "+" in clock or "-" in clock):
            return _zoned(day, clock)
        return np.datetime64(clean)
    except ValueError as error:
        raise QueryError(f"{text!r} is no date or time: {error}") from None


def _zoned(day: str, clock: str) -> np.datetime64:
    if clock[-1:] in "zZ":
        return np.datetime64(f"{day}T{clock[:-1]}")
    at = max(clock.rfind("+"), clock.rfind("-"))
    offset = dt.datetime.strptime(clock[at:], "%z").utcoffset() or dt.timedelta()
    return np.datetime64(f"{day}T{clock[:at]}") - np.timedelta64(offset)


# Lengths of units in attoseconds; months and years have none.
_LENGTHS = {
    "as": 1,
    "fs": 10**3,
    "ps": 10**6,
    "ns": 10**9,
    "us": 10**12,
    "ms": 10**15,
    "s": 10**18,
    "m": 60 * 10**18,
    "h": 3600 * 10**18,
    "D": 86400 * 10**18,
    "W": 7 * 86400 * 10**18,
}
_MONTHS = {"M": 1, "Y": 12}
_DAY = _LENGTHS["D"]
_MAX_TICK = 2**63 - 1
_MIN_TICK = -_MAX_TICK  # one less is NaT


def _fit_time(op: str, dtype: np.dtype[Any], value: Any) -> Fit:
    # In Python integers: NumPy wraps around where a unit cannot hold a time.
    native = dtype.newbyteorder("=")

    def tick(count: int) -> Any:
        return np.array(count, dtype=np.int64).view(native)[()]

    if np.isnat(value):
        return op, tick(_MIN_TICK - 1)
    unit, value_unit = np.datetime_data(native), np.datetime_data(value.dtype)
    count = int(value.view(np.int64))
    if "generic" in (unit[0], value_unit[0]):
        return op, tick(count)
    floor, inexact = _to_ticks(count, value_unit, unit, dtype)
    if op in ("==", "!=") and (inexact or not _MIN_TICK <= floor <= _MAX_TICK):
        return op == "!="
    if floor > _MAX_TICK:  # later than all, which NaT is not
        return ("<=", tick(_MAX_TICK)) if op in _BELOW else False
    if floor < _MIN_TICK:
        return (">=", tick(_MIN_TICK)) if op in _ABOVE else False
    if inexact:
        op = "<=" if op in _BELOW else ">"
    return op, tick(floor)


def _to_ticks(
    count: int, source: tuple[str, int], target: tuple[str, int], dtype: np.dtype[Any]
) -> tuple[int, bool]:
    """Return the tick of the target unit at or before a time, and whether it is before."""
    (from_unit, from_step), (to_unit, to_step) = source, target
    if from_unit in _MONTHS and to_unit in _MONTHS:
        floor, rest = divmod(count * from_step * _MONTHS[from_unit], to_step * _MONTHS[to_unit])
    elif from_unit in _LENGTHS and to_unit in _LENGTHS:
        floor, rest = divmod(count * from_step * _LENGTHS[from_unit], to_step * _LENGTHS[to_unit])
    elif dtype.kind == "m":
        raise QueryError(f"months have no length in days: {kind_name(dtype)}, unit {from_unit}")
    elif from_unit in _MONTHS:
        days = _first_day(count * from_step * _MONTHS[from_unit])
        floor, rest = divmod(days * _DAY, to_step * _LENGTHS[to_unit])
    else:
        days, in_day = divmod(count * from_step * _LENGTHS[from_unit], _DAY)
        months = _month_of(days)
        floor, rest = divmod(months, to_step * _MONTHS[to_unit])
        rest = rest or in_day or days - _first_day(months)
    return floor, rest != 0


def _first_day(months: int) -> int:
    """Return the days since 1970 of the first day of a month, counted in months since 1970."""
    # Years begin in March here, so that the leap day is the last one.
    year, month = divmod(months + 1970 * 12 - 2, 12)
    era, of_era = divmod(year, 400)
    days = of_era * 365 + of_era // 4 - of_era // 100 + (153 * month + 2) // 5
    return era * 146097 + days - 719468


def _month_of(days: int) -> int:
    """Return the month, counted since 1970, that a day falls into."""
    months = days * 4800 // 146097  # mean length; right or one off
    while _first_day(months) > days:
        months -= 1
    while _first_day(months + 1) <= days:
        months += 1
    return months
