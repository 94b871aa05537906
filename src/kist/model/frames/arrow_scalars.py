"""Single values and Arrow: the types, and arrays of them over the memory of NumPy's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kist.errors import DTypeError
from kist.format.schema import Leaf
from kist.model.frames.notes import names_a_file

__all__ = ["Scalars", "arrow_unit"]

Array = np.ndarray[Any, Any]

_NUMBERS = {
    "?": "bool_", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64", "u1": "uint8",
    "u2": "uint16", "u4": "uint32", "u8": "uint64", "f2": "float16", "f4": "float32",
    "f8": "float64",
}  # fmt: skip
_UNITS = ("s", "ms", "us", "ns")
_NAT = np.iinfo(np.int64).min


class Scalars:
    """Makes Arrow arrays of values without fields.

    Parameters
    ----------
    pa : module
        pyarrow.
    zones : mapping of str to str
        Time zones of columns by their names.
    """

    def __init__(self, pa: Any, zones: Mapping[str, str]) -> None:
        self.pa = pa
        self.zones = zones

    def scalar(self, dtype: np.dtype[Any], leaf: Leaf) -> Any:
        """Return the Arrow type of single values."""
        pa = self.pa
        code = dtype.str[1:]
        if dtype.kind == "b":
            return pa.bool_()
        if code in _NUMBERS:
            return getattr(pa, _NUMBERS[code])()
        if dtype.kind in "Mm":
            return self._time(dtype, leaf)
        if dtype.kind == "S":
            return pa.binary()
        if dtype.kind == "T":
            return pa.large_string()
        if dtype.kind == "U":
            return pa.string()
        if dtype.kind == "V" and dtype.itemsize:
            return pa.binary(dtype.itemsize)
        if dtype.kind == "c":
            why = "Arrow has no complex numbers; leave it out by columns=, or store real and imag"
        else:
            why = "Arrow has no type for it; leave it out by columns="
        raise _refused(leaf, dtype, why)

    def _time(self, dtype: np.dtype[Any], leaf: Leaf) -> Any:
        pa = self.pa
        unit = arrow_unit(dtype)
        if unit is None:
            raise _refused(leaf, dtype, "Arrow has no such unit; read it as an array")
        if dtype.kind == "m":
            return pa.duration(unit)
        if unit == "D":
            return pa.date32()
        zone = self.zones.get(".".join(leaf.path))
        if zone is not None and names_a_file(zone):
            raise DTypeError(f"column {'.'.join(leaf.path)!r}: no time zone {zone!r}")
        return pa.timestamp(unit, zone)

    def array(self, values: Array, kind: Any, leaf: Leaf) -> Any:
        """Return single values as an Arrow array of a type that `scalar` gave."""
        pa = self.pa
        code, n = values.dtype.kind, len(values)
        if code == "S":
            return _binary(pa, kind, values)
        if code == "U":
            return _binary(pa, kind, _encoded(values, leaf))
        if code == "T":
            return pa.array(values, type=kind)
        if not values.dtype.isnative:
            values = values.astype(values.dtype.newbyteorder("="))
        valid = None
        if code == "b":
            values = np.packbits(values, bitorder="little")
        elif code in "Mm":
            values, missing = _ticks(values, leaf)
            if missing.any():
                valid = pa.py_buffer(np.packbits(~missing, bitorder="little"))
        return pa.Array.from_buffers(kind, n, [valid, pa.py_buffer(values)])


def _refused(leaf: Leaf, dtype: np.dtype[Any], why: str) -> DTypeError:
    name = ".".join(leaf.path)
    return DTypeError(f"to Arrow: column {name!r} is {dtype}: {why}", column=name)


def arrow_unit(dtype: np.dtype[Any]) -> str | None:
    """Return the unit that Arrow keeps times of a dtype in, ``"D"`` for days; None without one."""
    unit, count = np.datetime_data(dtype)
    if unit in _UNITS:
        return unit
    if dtype.kind == "M":
        return "D" if unit == "D" and count == 1 else "s" if unit in "YMWDhm" else None
    return "s" if unit in "WDhm" else None


def _ticks(values: Array, leaf: Leaf) -> tuple[Array, Array]:
    """Return times as Arrow counts them, and which are missing."""
    unit = arrow_unit(values.dtype)
    missing = np.isnat(values)
    ticks = values.astype(f"{values.dtype.kind}8[{unit}]", copy=False)
    if ticks.dtype != values.dtype and bool((ticks.astype(values.dtype) != values)[~missing].any()):
        raise _refused(leaf, values.dtype, "a value is out of the range of Arrow's seconds")
    counts = ticks.view(np.int64)
    if unit != "D":
        return counts, missing
    days = counts.astype(np.int32)
    if bool((days != counts)[~missing].any()):
        raise _refused(leaf, values.dtype, "a day is out of the range of Arrow's dates")
    return days, missing


def _encoded(values: Array, leaf: Leaf) -> Array:
    """Return text of fixed width as UTF-8."""
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if not values.size or not values.dtype.itemsize:
        return np.zeros(len(values), "S1")
    codes = np.ascontiguousarray(values).view(np.uint32)
    if codes.max() < 128:
        return codes.astype(np.uint8).view(f"S{values.dtype.itemsize // 4}")
    try:
        return np.strings.encode(values, "utf-8")
    except UnicodeEncodeError as error:
        raise _refused(leaf, values.dtype, f"{error.object!r} is no text in UTF-8") from error


def _binary(pa: Any, kind: Any, values: Array) -> Any:
    """Return an Arrow array of bytes without the zeros that fill them up."""
    n, width = len(values), values.dtype.itemsize
    lengths = np.strings.str_len(values) if width else np.zeros(n, np.int64)
    ends = np.zeros(n + 1, np.int32)
    np.cumsum(lengths, out=ends[1:])
    if width and n:
        raw = np.ascontiguousarray(values).view(np.uint8).reshape(n, width)
        data = raw[np.arange(width) < lengths[:, None]]
    else:
        data = np.empty(0, np.uint8)
    return pa.Array.from_buffers(kind, n, [None, pa.py_buffer(ends), pa.py_buffer(data)])
