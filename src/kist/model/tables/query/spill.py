"""Columns put aside in a temporary file while they are more than fits into memory.

The file has no name, so it goes with the process however that ends. Values stand in it as they
are in memory, cells as lengths and items; strings in blocks, as pages have them. In a process that
has been given secrets all of it is sealed, under a key that is kept nowhere: whether a value comes
from a sealed column is not asked, so it cannot be forgotten.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from kist._kernels.cells import Cells, item_of
from kist.codecs.strings import content_of, fill, open_block, pack_block
from kist.errors import StorageError
from kist.format.ragged import is_nullable_ragged, is_ragged

__all__ = ["Extent", "Spill", "joined"]

Array = np.ndarray[Any, Any]

_STRINGS: Final = 8_192
"""Strings of a block."""
_MOST_PARTS: Final = 1_024
"""More than that no system takes in one call (IOV_MAX)."""


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

    def put_joined(self, parts: Sequence[Sequence[Array]]) -> Extent:
        """Write rows that stand in several parts as `put` would write them joined."""
        if len(parts) == 1 or self._cover is not None or not self._is_plain(parts[0]):
            return self.put(joined(parts))
        columns = []
        for several in zip(*parts, strict=True):
            offset = self._size
            self._write_all([_bytes_of(part) for part in several])
            columns.append(((offset, self._size - offset),))
        return Extent(sum(len(part[0]) for part in parts), tuple(columns))

    def _is_plain(self, columns: Sequence[Array]) -> bool:
        """Tell whether the bytes of columns are written as they stand in memory."""
        return all(type(one) is np.ndarray and one.dtype.kind != "T" for one in columns)

    def _put(self, column: Array) -> tuple[tuple[int, int], ...]:
        if isinstance(column, Cells):
            lengths, items = column.gather()
            if column.missing is not None:
                lengths = np.where(column.missing.ravel(), -1, lengths)
            return self._write(memoryview(lengths.tobytes())), *self._put(items)
        if column.dtype.kind != "T":
            return (self._write(_bytes_of(column)),)
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

    def _write_all(self, parts: Sequence[memoryview]) -> None:
        """Write parts one behind the other by one call, without a copy of all of them."""
        total = sum(map(len, parts))
        written = 0
        if hasattr(os, "writev") and len(parts) <= _MOST_PARTS:
            try:
                self._file.seek(self._size)
                written = os.writev(self._file.fileno(), parts)
            except OSError as error:
                raise self._failed(error) from error
        if written == total:
            self._size += total
            return
        for part in parts:  # what was written already, once more
            self._write(part)

    def get(self, extent: Extent) -> list[Array]:
        """Return rows that were written, flat."""
        try:
            return [
                self._get(dtype, extent.n, parts)
                for dtype, parts in zip(self._dtypes, extent.parts, strict=True)
            ]
        except OSError as error:
            raise self._failed(error) from error

    def get_joined(self, extents: Sequence[Extent]) -> list[Array]:
        """Return the rows of several extents one behind the other, flat."""
        if len(extents) == 1 or self._cover is not None or any(map(_is_loose, self._dtypes)):
            return joined([self.get(extent) for extent in extents])
        found = []
        try:
            for place, dtype in enumerate(self._dtypes):
                places = [extent.parts[place][0] for extent in extents]
                raw = np.empty(sum(size for _, size in places), np.uint8).data
                at = 0
                for offset, size in places:
                    self._read_into(offset, raw[at : at + size])
                    at += size
                n = sum(extent.n for extent in extents)
                found.append(np.ndarray(len(raw) // max(dtype.itemsize, 1) or n, dtype, raw))
        except OSError as error:
            raise self._failed(error) from error
        return found

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

    def _read(self, offset: int, size: int) -> Any:
        # Not a bytearray, which is zeroed first; what covers it wants one.
        data: Any = np.empty(size, np.uint8).data if self._cover is None else bytearray(size)
        self._read_into(offset, memoryview(data))
        return data if self._cover is None else self._cover.unseal(data)

    def _read_into(self, offset: int, left: memoryview) -> None:
        self._file.seek(offset)
        while len(left):
            n = self._file.readinto(left)
            if not n:
                raise OSError("the temporary file ends too early")
            left = left[n:]

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self._why} takes more than kist.options.max_memory and goes through a temporary "
            f"file in {tempfile.gettempdir()!r}, of {self._size:,} bytes so far: {error}; raise "
            "the option, or set TMPDIR to where there is room"
        )


def joined(parts: Sequence[Sequence[Array]]) -> list[Array]:
    """Return the columns of several parts of rows, one behind the other."""
    if len(parts) == 1:
        return list(parts[0])
    # NumPy would turn big-endian values round.
    return [np.concatenate(columns, dtype=columns[0].dtype) for columns in zip(*parts, strict=True)]


def _bytes_of(column: Array) -> memoryview:
    """Return the bytes of a column in the order of its items, copied if they do not stand so."""
    column = np.ascontiguousarray(column)
    return column.reshape(-1).view(np.uint8).data if column.nbytes else memoryview(b"")


def _is_loose(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "T" or is_ragged(dtype)
