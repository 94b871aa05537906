"""kist's dtypes as those of NetCDF, and values for them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from kist.bridges.base import as_dtype

__all__ = ["Stored", "joined", "stored_as"]

Array = np.ndarray[Any, Any]

_UNITS: Final = {
    "D": "days", "h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds",
    "us": "microseconds", "ns": "nanoseconds",
}  # fmt: skip


class Stored(NamedTuple):
    """How a dtype is written.

    Attributes
    ----------
    dtype
        Of the variable; `str` for text of any length.
    width : int
        Characters of each value, in a dimension of their own; 0 where there is none.
    units : str
        CF units of times, empty for all else.
    is_restored : bool
        Whether kist must be told the dtype to have it back.
    """

    dtype: Any
    width: int = 0
    units: str = ""
    is_restored: bool = False

    def values(self, values: Any) -> Array:
        """Return values of kist as the variable takes them."""
        found = np.asarray(values)
        if self.dtype is str:
            return found.astype(object)
        if self.width:
            flat = np.ascontiguousarray(found)
            return np.asarray(flat.view("S1").reshape(*found.shape, self.width))
        native = found.astype(found.dtype.newbyteorder("="), copy=False)
        if native.dtype.kind == "f" or native.dtype == self.dtype:
            return np.asarray(native.astype(self.dtype, copy=False))
        if native.dtype.names is not None and native.dtype.itemsize != self.dtype.itemsize:
            out = np.zeros(native.shape, self.dtype)
            for name in native.dtype.names:
                out[name] = native[name]
            return out
        return np.asarray(np.ascontiguousarray(native).view(self.dtype).reshape(found.shape))


def stored_as(dtype: Any) -> Stored | None:
    """Return how a dtype is written, None when NetCDF has nothing for it."""
    kind, size = dtype.kind, dtype.itemsize
    if dtype.char == "T":
        return Stored(str)
    native = dtype.newbyteorder("=")
    if kind == "U":
        return Stored(str, is_restored=True)
    if dtype.names is not None:
        found = _compound(dtype)
        return None if found is None else Stored(found)
    if kind in "iu" or (kind == "f" and size in (4, 8)) or dtype == "S1":
        return Stored(native)
    if kind == "S" and size:
        return Stored(np.dtype("S1"), width=size, is_restored=True)
    if kind == "b":
        return Stored(np.dtype("i1"), is_restored=True)
    if kind == "f" and size == 2:
        return Stored(np.dtype("f4"), is_restored=True)
    if kind == "c" and size in (8, 16):
        part = f"f{size // 2}"
        return Stored(np.dtype([("r", part), ("i", part)]), is_restored=True)
    if kind in "Mm":
        name = _UNITS.get(np.datetime_data(dtype)[0]) if np.datetime_data(dtype)[1] == 1 else None
        since = " since 1970-01-01" if kind == "M" else ""
        return Stored(np.dtype("i8"), 0, f"{name}{since}" if name else "", is_restored=True)
    return None


def _compound(dtype: Any) -> Any:
    """Return a compound of integers, floats, bytes and compounds; None where that cannot be."""
    fields: list[Any] = []
    for name in dtype.names:
        field, shape = dtype[name].base, dtype[name].shape
        if field.names is not None:
            found = _compound(field)
        elif field.kind in "iu" or (field.kind == "f" and field.itemsize in (4, 8)):
            found = field.newbyteorder("=")
        elif field.kind == "S" and field.itemsize:
            found = field
        elif field.kind in "bMm":
            found = np.dtype(f"i{field.itemsize}")
        else:
            return None
        if found is None:
            return None
        fields.append((name, found, shape))
    return as_dtype(fields)


def joined(dtype: Any) -> Any:
    """Return a dtype in which the arrays of characters of compounds are bytes."""
    if dtype.names is None:
        return dtype
    formats = []
    for name in dtype.names:
        field = dtype[name]
        if field.subdtype is not None and field.base.char == "S":
            *outer, width = field.shape
            field = as_dtype((f"S{width}", tuple(outer))) if outer else as_dtype(f"S{width}")
        elif field.subdtype is not None:
            field = as_dtype((joined(field.base), field.shape))
        formats.append(joined(field))
    offsets = [dtype.fields[name][1] for name in dtype.names]
    spec: Any = {
        "names": list(dtype.names), "formats": formats, "offsets": offsets,
        "itemsize": dtype.itemsize,
    }  # fmt: skip
    return as_dtype(spec)
