"""Rows that come one by one as tuples of plain Python values, packed by one call of C each."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from kist.model.tables.stored.schema import SchemaFacts

__all__ = ["RowPacker", "packer_of"]

Array = np.ndarray[Any, Any]

_CODES = {
    "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I",
    "u8": "Q", "f4": "f", "f8": "d",
}  # fmt: skip
_PYTHON: dict[str, type] = {"b": bool, "i": int, "u": int, "f": float, "S": bytes}


class RowPacker:
    """Packs rows that are tuples of exactly what the columns hold, and tells which are not.

    One call of `struct` checks ranges and packs a row: 1 us instead of the 50 that making an array
    of one row takes, which tells as well what is wrong with it.
    """

    __slots__ = ("_known", "_pack", "_types", "_widths", "dtype")

    def __init__(self, dtype: np.dtype[Any], codes: list[str]) -> None:
        names = dtype.names or ()
        fields = [dtype[name] for name in names]
        self.dtype = np.dtype(
            [(name, f.newbyteorder("<")) for name, f in zip(names, fields, strict=True)]
        )
        self._pack = struct.Struct("<" + "".join(codes)).pack
        # Scalars of the same dtype too: what a loop over arrays gives.
        self._types = [{_PYTHON[f.kind], f.type} for f in fields]
        self._widths = [(at, f.itemsize) for at, f in enumerate(fields) if f.kind == "S"]
        self._known: set[tuple[type, ...]] = set()

    def pack(self, row: tuple[Any, ...]) -> bytes | None:
        """Return the packed row, None where it is to be looked at more closely."""
        types = tuple(map(type, row))
        if types not in self._known and not self._learn(types):
            return None
        for at, width in self._widths:
            text = row[at]
            if len(text) > width or text[-1:] == b"\0":
                return None
        try:
            return self._pack(*row)
        except (struct.error, OverflowError):
            return None

    def _learn(self, types: tuple[type, ...]) -> bool:
        if len(types) != len(self._types) or any(
            one not in known for one, known in zip(types, self._types, strict=True)
        ):
            return False
        if len(self._known) < 64:
            self._known.add(types)
        return True

    def rows(self, packed: list[bytes]) -> Array:
        """Return packed rows as records."""
        return np.frombuffer(b"".join(packed), self.dtype)


def packer_of(facts: SchemaFacts) -> RowPacker | None:
    """Return what packs rows of a table, None where a column is more than numbers and bytes."""
    dtype = facts.schema.dtype
    if facts.loose or facts.categorical or facts.nullable or not dtype.names:
        return None
    codes = []
    for name in dtype.names:
        field = dtype[name]
        code = f"{field.itemsize}s" if field.kind == "S" else _CODES.get(field.str[1:])
        if code is None or not field.itemsize:
            return None
        codes.append(code)
    return RowPacker(dtype, codes)
