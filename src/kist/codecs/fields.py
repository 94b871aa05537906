"""Parameters of stages: little-endian field tables, read with every bound checked."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kist.errors import CodecError


class FieldReader:
    """Reads one stage's parameters from front to back.

    Every method raises `CodecError` when the bytes do not suffice; `end` raises when some
    are left.
    """

    __slots__ = ("_at", "_data", "_stage")

    def __init__(self, data: bytes, stage: str) -> None:
        self._data = data
        self._stage = stage
        self._at = 0

    def read(self, table: struct.Struct) -> tuple[Any, ...]:
        """The fields of one table."""
        start = self._at
        self._at = start + table.size
        if self._at > len(self._data):
            raise self._cut_off()
        return table.unpack_from(self._data, start)

    def array(self, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        """`count` items, as a read-only view of the parameters."""
        start = self._at
        self._at = start + count * dtype.itemsize
        if self._at > len(self._data):
            raise self._cut_off()
        return np.frombuffer(self._data, dtype, count, start)

    def end(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._data):
            raise CodecError(
                f"parameters of {self._stage}: {len(self._data)} bytes, {self._at} expected"
            )

    def _cut_off(self) -> CodecError:
        return CodecError(
            f"parameters of {self._stage} are cut off: {len(self._data)} bytes, {self._at} expected"
        )
