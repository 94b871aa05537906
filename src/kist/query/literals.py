"""Constants of expressions: which values may be one, and how each is written.

Every constant has a text that reads back as the same value, so that `repr` of an expression is
an expression. Python numbers stay what they are, as they take the dtype of the column beside
them; NumPy scalars keep their dtype, as in NumPy, and are written like calls: `float32(1.5)`.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kist.errors import QueryError

__all__ = [
    "CASTS",
    "CONSTRUCTORS",
    "array_value",
    "construct_array",
    "literal_value",
    "render_literal",
]

#: Integers with more bits than this are written in hexadecimal, which Python reads at any length.
_MAX_DECIMAL_BITS = 4096

_PLAIN = (bool, int, float, complex, str, bytes)


def literal_value(value: Any) -> Any:
    """Return a value as a constant: a plain Python one, or a NumPy number or time.

    Raises
    ------
    QueryError
        It is an array, a list, None, or of a type that no column holds.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if hasattr(value, "to_datetime64"):  # pandas keeps nanoseconds that datetime would lose
        value = value.to_datetime64()
    elif hasattr(value, "to_timedelta64"):
        value = value.to_timedelta64()
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
        if type(value) in _PLAIN:
            return value
    if isinstance(value, np.generic):
        return _numpy_value(value)
    for plain in (int, float, complex):  # enumerations and other subclasses
        if isinstance(value, plain):
            return plain(value)  # type: ignore[arg-type]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(dt.UTC).replace(tzinfo=None)
        return np.datetime64(value, "us")
    if isinstance(value, dt.date):
        return np.datetime64(value, "D")
    if isinstance(value, dt.timedelta):
        return np.timedelta64(value, "us")
    if isinstance(value, (np.ndarray, list, tuple, set, frozenset, range)):
        raise QueryError(
            f"{type(value).__name__} as a constant: only isin(x, values) takes several values"
        )
    if value is None:
        raise QueryError(
            "None is no constant; isnull(x) finds missing values, isnan(x) NaN and NaT"
        )
    raise QueryError(f"a {type(value).__name__} cannot be a constant of an expression")


def _numpy_value(value: np.generic) -> Any:
    kind = value.dtype.kind
    if kind == "b" or kind in "SU":
        return value.item()
    if kind == "V" and value.dtype.names is None:
        return value.tobytes()
    if kind in "iufcmM" and value.dtype.char != "G":  # no text reads back as clongdouble
        return value
    raise QueryError(f"a NumPy value of dtype {value.dtype} cannot be a constant")


def array_value(values: Any) -> np.ndarray[Any, Any] | tuple[Any, ...]:
    """Return several values as constants: one array where it has a plain dtype, else a tuple.

    Raises
    ------
    QueryError
        Not one-dimensional, or with a value that cannot be a constant.
    """
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise QueryError(f"values of isin have {values.ndim} dimensions, expected 1")
        kind = values.dtype.kind
        if kind in "biufcmMSU" and not (kind in "fc" and values.dtype.char in "gG"):
            copy = values.astype(values.dtype.newbyteorder("="), copy=True)
            for part in {"f": [copy], "c": [copy.real, copy.imag]}.get(kind, []):
                part[np.isnan(part)] = np.nan  # without sign and payload, which no text has
            copy.flags.writeable = False
            return copy
    return tuple(literal_value(value) for value in values)


def render_literal(value: Any) -> str:
    """Return the text of a constant."""
    if isinstance(value, np.ndarray):
        return _render_array(value)
    if isinstance(value, np.generic):
        return _render_numpy(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if isinstance(value, complex):
        return f"complex('{value}')"
    if type(value) is int and value.bit_length() > _MAX_DECIMAL_BITS:
        return hex(value)
    return repr(value)


def _render_numpy(value: np.generic) -> str:
    kind, name = value.dtype.kind, value.dtype.name
    if kind in "mM":
        return _render_time(value)
    text = str(value)
    if kind == "f" and value.dtype.itemsize > 8:
        return f"longdouble('{text}')"
    if kind == "c" or (kind == "f" and not np.isfinite(value)):
        return f"{name}('{text}')"
    if kind == "f" and value.dtype.type(float(text)) != value:
        text = repr(float(value))  # rounded twice, the short digits would miss the value
    return f"{name}({text})"


def _render_time(value: Any) -> str:
    name = value.dtype.type.__name__
    unit, step = np.datetime_data(value.dtype)
    text = str(value)
    ticks = int(value.view("i8"))
    # ISO text reads well and is exact, but for years that need more than four digits.
    year = text.partition("-")[0]
    iso = value.dtype.kind == "M" and year.isdigit() and len(year) == 4
    shown = f"'{text}'" if iso or np.isnat(value) else str(ticks)
    if unit == "generic":
        return f"{name}({shown})"
    return f"{name}({shown}, '{unit if step == 1 else f'{step}{unit}'}')"


def _render_array(values: np.ndarray[Any, Any]) -> str:
    dtype = values.dtype
    plain = values.view(np.int64) if dtype.kind in "mM" else values
    return f"array([{', '.join(map(render_literal, plain.tolist()))}], '{dtype.str}')"


def construct_array(values: list[Any], dtype: str) -> np.ndarray[Any, Any]:
    """Return the array that `array([...], dtype)` in an expression stands for."""
    wanted = np.dtype(dtype)
    if wanted.kind not in "biufcmMSU" or (wanted.itemsize == 0 and values):
        raise QueryError(f"an array of dtype {dtype} cannot be a constant")
    array = np.array(values, dtype=np.int64 if wanted.kind in "mM" else wanted)
    array = array.view(wanted) if wanted.kind in "mM" else array
    array.flags.writeable = False
    return array


def _of(name: str) -> Callable[..., Any]:
    dtype = np.dtype(name)

    def make(value: Any) -> Any:
        if dtype.kind == "c":
            value = complex(value)
        return dtype.type(value)

    return make


#: Dtypes of numbers that columns can be converted to: `int64(a)`.
CASTS = (
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)

#: Names that make a constant in the text of an expression: `float32(1.5)`, `datetime64('2020')`.
CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "float": float,
    "complex": complex,
    "datetime64": np.datetime64,
    "timedelta64": np.timedelta64,
    "longdouble": np.longdouble,
    **{name: _of(name) for name in CASTS},
}
