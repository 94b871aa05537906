"""Columns put aside in a temporary file while they are more than fits into memory.

The file has no name, so it goes with the process however that ends. Values stand in it as they
are in memory, cells as lengths and items; strings in blocks, as pages have them. In a process that
has been given secrets all of it is sealed, under a key that is kept nowhere: whether a value comes
from a sealed column is not asked, so it cannot be forgotten.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from kist._kernels.cells import Cells, item_of
from kist.codecs.strings import content_of, fill, open_block, pack_block
from kist.errors import StorageError
from kist.format.ragged import is_nullable_ragged, is_ragged

__all__ = ["Extent", "Spill"]

Array = np.ndarray[Any, Any]

_STRINGS: Final = 8_192
"""Strings of a block."""


class Extent(NamedTuple):
    """Where some rows stand.

    Attributes
    ----------
    n : int
        Number of rows.
    parts : tuple of tuple of (int, int)
        Offset and bytes of each block, for each column.
    """

    n: int
    parts: tuple[tuple[tuple[int, int], ...], ...]


class _Cover:
    """Seals what is put aside, under a key of its own."""

    __slots__ = ("_key",)

    def __init__(self) -> None:
        from kist.crypto.hidden import Hidden
        from kist.engine.sealed import DataKey

        self._key = DataKey(bytes(16), Hidden.random())

    def seal(self, data: memoryview) -> memoryview:
        from kist.engine.sealed import seal_body

        return memoryview(b"".join(seal_body(self._key, [data])))

    def unseal(self, data: bytearray) -> bytearray:
        from kist.engine.sealed import open_head

        body = open_head(data, len(data), {self._key.name: self._key.key})
        plain = bytearray(body.head.length)
        body.whole(data, memoryview(plain))
        return plain


class Spill:
    """A temporary file of rows; a context manager.

    Parameters
    ----------
    dtypes : sequence of dtype
        Of the columns.
    why : str
        What for, for messages.
    """

    def __init__(self, dtypes: Sequence[np.dtype[Any]], why: str) -> None:
        self._dtypes = list(dtypes)
        self._why = why
        self._size = 0
        self._cover = _Cover() if "kist.engine.keyring" in sys.modules else None
        try:
            self._file = tempfile.TemporaryFile(prefix="kist-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def __del__(self) -> None:
        # Of values that were collected and never asked for.
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def put(self, columns: Sequence[Array]) -> Extent:
        """Write rows behind those that are there.

        Parameters
        ----------
        columns : sequence of ndarray
            One a dtype, their first axis the rows.

        Raises
        ------
        StorageError
            There is no room for them.
        """
        parts = tuple(self._put(column) for column in columns)
        return Extent(len(columns[0]), parts)

    def _put(self, column: Array) -> tuple[tuple[int, int], ...]:
        if isinstance(column, Cells):
            lengths, items = column.gather()
            if column.missing is not None:
                lengths = np.where(column.missing.ravel(), -1, lengths)
            return self._write(memoryview(lengths.tobytes())), *self._put(items)
        if column.dtype.kind != "T":
            return (self._write(memoryview(np.ascontiguousarray(column).tobytes())),)
        return tuple(
            self._write(memoryview(pack_block(content_of(column[at : at + _STRINGS]), 0)))
            for at in range(0, len(column), _STRINGS)
        )

    def _write(self, data: memoryview) -> tuple[int, int]:
        if self._cover is not None:
            data = self._cover.seal(data)
        offset, size = self._size, len(data)
        try:
            self._file.seek(offset)
            while len(data):
                data = data[self._file.write(data) :]
        except OSError as error:
            raise self._failed(error) from error
        self._size += size
        return offset, size

    def get(self, extent: Extent) -> list[Array]:
        """Return rows that were written, flat."""
        try:
            return [
                self._get(dtype, extent.n, parts)
                for dtype, parts in zip(self._dtypes, extent.parts, strict=True)
            ]
        except OSError as error:
            raise self._failed(error) from error

    def _get(self, dtype: np.dtype[Any], n: int, parts: tuple[tuple[int, int], ...]) -> Array:
        if is_ragged(dtype):
            base, shape = item_of(dtype)
            stored = np.frombuffer(self._read(*parts[0]), np.int64)
            lengths = np.maximum(stored, 0)
            n_items = int(lengths.sum())
            items = self._get(base, n_items * math.prod(shape), parts[1:])
            missing = stored < 0 if is_nullable_ragged(dtype) else None
            return Cells.of(lengths, items.reshape(n_items, *shape), dtype, missing)
        if dtype.kind != "T":
            raw = self._read(*parts[0])
            # Not frombuffer, which knows no items without bytes.
            return np.ndarray(len(raw) // max(dtype.itemsize, 1) or n, dtype, raw)
        out = np.empty(n, dtype)
        for number, (offset, size) in enumerate(parts):
            some = out[number * _STRINGS : (number + 1) * _STRINGS]
            fill(open_block(memoryview(self._read(offset, size)), len(some)), some)
        return out

    def _read(self, offset: int, size: int) -> bytearray:
        data = bytearray(size)
        self._file.seek(offset)
        left = memoryview(data)
        while len(left):
            n = self._file.readinto(left)
            if not n:
                raise OSError("the temporary file ends too early")
            left = left[n:]
        return data if self._cover is None else self._cover.unseal(data)

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self._why} takes more than kist.options.max_memory and goes through a temporary "
            f"file in {tempfile.gettempdir()!r}, of {self._size:,} bytes so far: {error}; raise "
            "the option, or set TMPDIR to where there is room"
        )
