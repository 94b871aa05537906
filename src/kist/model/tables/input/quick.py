"""Rows that come one by one as tuples or dicts of plain values, packed by one call of C each."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, Final

import numpy as np

from kist.model.tables.stored.schema import SchemaFacts

__all__ = ["FEW", "RowPacker", "packer_for", "packer_of"]

Array = np.ndarray[Any, Any]

_CODES = {
    "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I",
    "u8": "Q", "f4": "f", "f8": "d",
}  # fmt: skip
_PYTHON: dict[str, type] = {
    "b": bool, "i": int, "u": int, "f": float, "S": bytes, "U": str, "M": np.datetime64,
    "m": np.timedelta64,
}  # fmt: skip
_TEXTS: Final = frozenset("SU")
_TIMES: Final = frozenset("Mm")
FEW: Final = 64
"""Longest list whose rows are tried one by one: of more than that a few may differ."""


class RowPacker:
    """Packs rows that are tuples of exactly what the columns hold, and tells which are not.

    One call of `struct` checks ranges and packs a row: 1 us instead of the 50 that making an array
    of one row takes, which tells as well what is wrong with it.
    """

    __slots__ = ("_known", "_names", "_pack", "_times", "_types", "_utf32", "_widths", "dtype")

    def __init__(self, dtype: np.dtype[Any], codes: list[str]) -> None:
        self._names = names = dtype.names or ()
        fields = [dtype[name] for name in names]
        self.dtype = np.dtype(
            [(name, f.newbyteorder("<")) for name, f in zip(names, fields, strict=True)]
        )
        self._pack = struct.Struct("<" + "".join(codes)).pack
        # Scalars of the same dtype too: what a loop over arrays gives.
        self._types = [{_PYTHON[f.kind], f.type} for f in fields]
        self._widths = [(at, f.itemsize) for at, f in enumerate(fields) if f.kind == "S"]
        self._utf32 = [(at, f.itemsize // 4) for at, f in enumerate(fields) if f.kind == "U"]
        self._times = [(at, f.newbyteorder("=")) for at, f in enumerate(fields) if f.kind in _TIMES]
        self._known: set[tuple[type, ...]] = set()

    def records(self, data: Any) -> Array | None:
        """Return what was given for one row or a few as records.

        None where it is to be looked at more closely, as anything but a tuple, a dict of all
        fields, or a short list of them.
        """
        kind = type(data)
        if kind is list:
            if not 0 < len(data) <= FEW:
                return None
            packed = []
            for row in data:
                one = self._given(row)
                if one is None:
                    return None
                packed.append(one)
            return self.rows(packed)
        one = self._given(data)
        return None if one is None else np.frombuffer(one, self.dtype)

    def _given(self, row: Any) -> bytes | None:
        if type(row) is dict and len(row) == len(self._names):
            row = tuple(map(row.get, self._names))
        return self.pack(row) if type(row) is tuple else None

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
            if self._utf32 or self._times:
                row = self._as_stored(row)
            return self._pack(*row)
        except (struct.error, OverflowError, UnicodeEncodeError):
            return None

    def _as_stored(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the row with text as UTF-32 and times as integers; shorter where it cannot be."""
        values = list(row)
        for at, length in self._utf32:
            text = values[at]
            if len(text) > length or text[-1:] == "\0":
                return ()
            values[at] = text.encode("utf-32-le")
        for at, dtype in self._times:
            time = values[at]
            if time.dtype != dtype:
                return ()
            values[at] = time.view(np.int64)
        return tuple(values)

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


@lru_cache(maxsize=64)
def packer_of(facts: SchemaFacts) -> RowPacker | None:
    """Return what packs rows of a table; None where a column is more than a number or bytes."""
    if facts.loose or facts.categorical or facts.nullable:
        return None
    return packer_for(facts.schema.dtype)


def packer_for(dtype: np.dtype[Any]) -> RowPacker | None:
    """Return what packs rows of a structured dtype, or None."""
    codes = []
    for name in dtype.names or ():
        field = dtype[name]
        if field.kind in _TEXTS:
            code: str | None = f"{field.itemsize}s"
        else:
            code = "q" if field.kind in _TIMES else _CODES.get(field.str[1:])
        if code is None or not field.itemsize:
            return None
        codes.append(code)
    return RowPacker(dtype, codes) if codes else None
