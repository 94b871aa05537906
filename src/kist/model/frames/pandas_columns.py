"""One column of pandas as NumPy arrays: which dtype it has in a table, and what is refused.

Dtypes of pandas that hold no missing value are taken as their NumPy equals. What a table cannot
keep is refused by name, with what to do instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kist._kernels.cells import item_of
from kist.codecs.utf8 import STRINGS
from kist.errors import DTypeError
from kist.format.categorical import categorical, first_categories, sort_of
from kist.format.nullable import nullable, pairs
from kist.format.ragged import is_nullable_ragged, is_ragged, ragged
from kist.model.cast_ragged import as_cells, common_dtype, have_width
from kist.model.tables.stored.categories import Categories

__all__ = ["Taken", "take_column"]

Array = np.ndarray[Any, Any]

# What pandas' infer_dtype calls columns of objects that are all of one kind that NumPy has.
_ALIKE = {"boolean", "integer", "floating", "complex"}

_REFUSED = {
    "PeriodDtype": "periods cannot be kept yet; use .dt.to_timestamp()",
    "IntervalDtype": "intervals cannot be kept yet; store .left and .right as two columns",
    "SparseDtype": "sparse columns cannot be kept; use .sparse.to_dense()",
}
_MIXED = {
    "decimal": "decimals cannot be kept yet; use .astype(float), or integers of the smallest unit",
    "datetime": "objects of datetime; use pandas.to_datetime(column)",
    "datetime64": "objects of datetime64; use pandas.to_datetime(column)",
    "timedelta": "objects of timedelta; use pandas.to_timedelta(column)",
    "timedelta64": "objects of timedelta64; use pandas.to_timedelta(column)",
    "time": "times of day cannot be kept yet; use .astype(str), or a timedelta since midnight",
    "period": _REFUSED["PeriodDtype"],
    "interval": _REFUSED["IntervalDtype"],
}


@dataclass
class Taken:
    """A column that can be stored.

    Attributes
    ----------
    dtype : dtype
        Of the column of the table.
    part : callable
        (start, stop) -> the values of these rows, as an array of about that dtype.
    note : dict
        What gives its dtype back, empty when NumPy's says it all.
    zone : str or None
        Time zone of values that are stored in UTC.
    """

    dtype: np.dtype[Any]
    part: Callable[[int, int], Array]
    note: dict[str, Any] = field(default_factory=dict)
    zone: str | None = None


def take_column(values: Any, name: str, what: str) -> Taken:
    """Return a Series or Index as a column of a table.

    Raises
    ------
    DTypeError
        It holds what a table cannot keep.
    """
    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        array = values.to_numpy()
        if dtype.kind == "O":
            return _take_objects(array, name, what)
        note = {"dtype": dtype.str} if not dtype.isnative else {}
        return Taken(dtype, lambda start, stop: array[start:stop], note)
    kind = type(dtype).__name__
    array = values.array
    if kind == "DatetimeTZDtype":
        utc = np.asarray(array.tz_convert(None))
        return Taken(
            utc.dtype, lambda start, stop: utc[start:stop], zone=_zone_name(dtype, name, what)
        )
    if kind == "StringDtype":
        return _take_strings(array, dtype)
    if kind == "CategoricalDtype":
        return _take_categorical(array, dtype, name, what)
    if kind == "ArrowDtype":
        return _take_arrow(array, dtype, name, what)
    plain = getattr(dtype, "numpy_dtype", None)
    if isinstance(plain, np.dtype) and plain.kind in "biuf" and hasattr(array, "isna"):
        return _take_nullable(array, plain, {"dtype": str(dtype)})
    why = _REFUSED.get(kind, "tables have no such dtype; convert it, as by .astype(str)")
    raise DTypeError(f"{what}: column {name!r} is {dtype}: {why}", column=name)


def _take_categorical(array: Any, dtype: Any, name: str, what: str) -> Taken:
    """Take codes and categories of pandas; a code of -1 is a missing value."""
    index = dtype.categories
    items: Any = index.to_numpy()
    if items.dtype.kind == "O" and all(isinstance(item, str) for item in items):
        base: Any = np.dtypes.StringDType()
    elif isinstance(index.dtype, np.dtype) and items.dtype.kind in "biufmM":
        base = items.dtype
    else:
        raise DTypeError(
            f"{what}: column {name!r} has categories of {index.dtype}, which cannot be kept; use "
            ".cat.rename_categories(str)",
            column=name,
        )
    kept = categorical(base, items, ordered=bool(dtype.ordered))
    sort, (listed, _) = sort_of(kept), first_categories(kept)
    assert sort is not None and listed is not None
    known = Categories(sort, listed)
    note = {"dtype": "category", "categories": str(index.dtype)}
    codes = array.codes

    def part(start: int, stop: int) -> Array:
        places = codes[start:stop].astype(np.int64) + 1
        return known.decoded(places)

    return Taken(kept, part, note)


def _take_nullable(array: Any, plain: np.dtype[Any], note: dict[str, Any]) -> Taken:
    """Take an array of pandas that may have missing values beside all values of a dtype."""
    dtype = nullable(plain)

    def part(start: int, stop: int) -> Array:
        some = array[start:stop]
        return pairs(some.to_numpy(dtype=plain, na_value=plain.type(0)), ~some.isna(), dtype)

    return Taken(dtype, part, note)


def _refuse_missing(missing: Any, name: str, dtype: str, what: str) -> None:
    if bool(missing.any()):
        row = int(np.argmax(missing))
        raise DTypeError(
            f"{what}: row {row}, column {name!r} ({dtype}): a missing value; only columns of "
            "strings hold those yet: use .fillna(...), or .astype(float) for NaN",
            row=row,
            column=name,
        )


def _zone_name(dtype: Any, name: str, what: str) -> str:
    """Return the name of a time zone that leads back to it."""
    import pandas

    zone = str(dtype.tz)
    if zone.startswith("UTC") and zone[3:4] in ("+", "-"):
        zone = zone[3:]  # as Arrow writes fixed offsets
    try:
        same = pandas.DatetimeTZDtype(dtype.unit, zone) == dtype
    except (ValueError, TypeError, KeyError, OSError):
        same = False
    if not same:
        raise DTypeError(
            f"{what}: column {name!r}: the time zone {dtype.tz!r} has no name to keep; convert it, "
            'as by .dt.tz_convert("UTC")',
            column=name,
        )
    return zone


def _strings_of(array: Any, dtype: Any, missing: Any) -> Array:
    """Return objects, all of them str but the missing ones, as an array of a StringDType."""
    objects = np.array(array, dtype=object)
    # NumPy would make the text 'nan' or 'None' of a missing value that is not its own.
    objects[np.asarray(missing)] = getattr(dtype, "na_object", None)
    return np.asarray(objects.astype(dtype))


def _take_strings(array: Any, dtype: Any) -> Taken:
    is_nan = isinstance(dtype.na_value, float)
    strings: Any = np.dtypes.StringDType(na_object=np.nan if is_nan else None)
    note = {"dtype": "string", "storage": dtype.storage, "na": "nan" if is_nan else "NA"}

    def part(start: int, stop: int) -> Array:
        some = array[start:stop]
        return _strings_of(some, strings, some.isna())

    return Taken(strings, part, note)


def _take_arrow(array: Any, dtype: Any, name: str, what: str) -> Taken:
    """Take a column that pandas keeps as Arrow."""
    import pyarrow

    from kist.model.frames.arrow_in import column_values, field_dtype

    column = array.__arrow_array__()
    if not isinstance(column, pyarrow.ChunkedArray):
        column = pyarrow.chunked_array([column])
    found = field_dtype(pyarrow.field(name, column.type), what)
    if column.null_count and (found.kind in "biuf" or is_ragged(found)):
        found = nullable(found)
    zone = getattr(column.type, "tz", None)

    def part(start: int, stop: int) -> Array:
        chunk = column.slice(start, stop - start).combine_chunks()
        return column_values(chunk, name, what, start)

    return Taken(found, part, {"dtype": str(dtype)}, zone)


def _take_objects(array: Array, name: str, what: str) -> Taken:
    """Take a column of Python objects that are all of one kind."""
    pandas = sys.modules["pandas"]
    kind = pandas.api.types.infer_dtype(array, skipna=True)
    missing = pandas.isna(array)
    note = {"dtype": "object"}
    if kind in ("string", "empty"):
        first = array[int(np.argmax(missing))] if missing.any() else None
        na = np.nan if isinstance(first, float) else None
        if first is not None and na is None:
            note["na"] = "NA"
        strings: Any = np.dtypes.StringDType(na_object=na)
        return Taken(
            strings,
            lambda start, stop: _strings_of(array[start:stop], strings, missing[start:stop]),
            note,
        )
    if kind == "date":
        days = np.dtype("M8[D]")
        dates = np.array(array)
        dates[missing] = None  # NaT
        return Taken(days, lambda start, stop: dates[start:stop].astype(days), {"dtype": "date"})
    if kind in _ALIKE:
        # A NaN among floats is one of them; None is not.
        valid = ~(missing & np.array([not isinstance(v, float) for v in array], bool))
        alike = np.array(array[valid].tolist())
        if alike.dtype.kind in "biufc" and alike.ndim == 1:
            if not valid.all():
                whole = np.zeros(len(array), nullable(alike.dtype))
                whole["value"][valid], whole["valid"] = alike, valid
                alike = whole
            return Taken(alike.dtype, lambda start, stop: alike[start:stop], note)
    if kind == "bytes":
        if missing.any():
            return _take_cells(array, nullable(ragged(bytes)), name, what)
        if not have_width(array.tolist()):
            return _take_cells(array, ragged(bytes), name, what)
        texts = array.astype(np.bytes_)
        return Taken(texts.dtype, lambda start, stop: texts[start:stop], note)
    if len(array) and {type(v) for v in array[~missing].tolist()} <= {list, np.ndarray}:
        try:
            dtype = common_dtype(array.tolist())
        except (DTypeError, TypeError, ValueError):
            dtype = None  # lists of other objects
        if dtype is not None:
            dtype = _of_any_length(dtype)
        if dtype is not None and item_of(dtype)[0].kind not in "SU":
            return _take_cells(array, dtype, name, what)
    raise _mixed(array, missing, kind, name, what)


def _of_any_length(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a ragged dtype with text of any length, some of it missing, for text of a width."""
    base, shape = item_of(dtype)
    if base.kind not in "UT" or shape:
        return dtype
    texts = ragged(STRINGS)
    return nullable(texts) if is_nullable_ragged(dtype) else texts


def _take_cells(array: Array, dtype: np.dtype[Any], name: str, what: str) -> Taken:
    """Take objects that are arrays, lists or bytes."""

    def part(start: int, stop: int) -> Array:
        return as_cells(array[start:stop], dtype, column=name, first_row=start, what=what)

    return Taken(dtype, part, {"dtype": "object"})


def _mixed(array: Array, missing: Any, kind: str, name: str, what: str) -> DTypeError:
    """Return the error for objects that cannot be kept, naming the first."""
    row = 0
    wanted = str if any(isinstance(value, str) for value in array[:1000]) else None
    for row, value in enumerate(array):
        if not missing[row] and not (wanted and isinstance(value, wanted)):
            break
    shown = f"{type(array[row]).__name__} object {_short(array[row])}"
    nested = isinstance(array[row], list | tuple | dict | set | np.ndarray)
    why = _MIXED.get(kind)
    if why is None and nested:
        why = "nested columns are not there yet; store the parts in a table of their own"
    if why is None:
        why = "only objects that are all str become strings; convert the column, as by .astype(str)"
    return DTypeError(f"{what}: row {row}, column {name!r}: {shown}: {why}", row=row, column=name)


def _short(value: Any) -> str:
    text = repr(value).splitlines()[0]
    return text if len(text) <= 40 else text[:36] + " ..."
