"""Small batches of rows as bytes and back, all columns together: pieces and patches."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist._kernels.cells import Cells, empty_values
from kist.codecs.rawrows import HEAD, are_kept, pack_rows, raw_rows
from kist.errors import CodecError, CorruptDataError
from kist.format.schema import Leaf
from kist.model.tables.stored.batch import Batch, Rows

if TYPE_CHECKING:
    from kist.codecs.rows import RowsCodec

__all__ = ["PackedRows"]

Array = np.ndarray[Any, Any]

_LENGTH: Final = struct.Struct("<I")


class PackedRows:
    """Rows of some leaves, packed one after the other.

    Parameters
    ----------
    leaves : sequence of Leaf
        Which leaves, in the order of the packed row.

    Attributes
    ----------
    dtype : structured dtype
        One field ``f<leaf id>`` per leaf of fixed width, without gaps.
    loose : tuple of Leaf
        The others, strings and cells. With them rows are a `Batch`, its names those of `dtype`.
    """

    __slots__ = ("_codec", "_stored", "dtype", "leaves", "loose")

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self.leaves = tuple(leaves)
        self.loose = tuple(leaf for leaf in leaves if leaf.is_loose)
        leaves = [leaf for leaf in leaves if not leaf.is_loose]
        self.dtype: np.dtype[Any] = np.dtype(
            # A shape of () is not the same as none where an item has no width.
            [(f"f{leaf.id}", leaf.dtype, leaf.shape)[: 3 if leaf.shape else 2] for leaf in leaves]
        )
        # Nothing is stored of values without width; there may be no others.
        self._stored = [leaf for leaf in leaves if leaf.nbytes]
        self._codec: RowsCodec | None = None

    def encode(self, rows: Rows, room: int = 0) -> bytes:
        """Return rows of `dtype` as bytes; up to `room` of them cost next to nothing to store."""
        if not isinstance(rows, Batch):
            return self._encode(rows, room)
        from kist.codecs.strings import content_of, pack_block

        fixed = self._encode(rows.fixed)
        parts = [_LENGTH.pack(len(fixed)), fixed]
        for leaf in self.loose:
            values = rows[f"f{leaf.id}"]
            if isinstance(values, Cells):
                from kist.codecs.raggedpages import pack_cells

                block = pack_cells(values)
            else:
                block = pack_block(content_of(values))
            parts += [_LENGTH.pack(len(block)), block]
        return b"".join(parts)

    def _encode(self, rows: Array, room: int = 0) -> bytes:
        if not self._stored:
            return b""
        if are_kept(rows.nbytes, room) and rows.dtype.itemsize == self.dtype.itemsize:
            return pack_rows(len(rows), rows.tobytes())
        return self.codec.encode(rows, room)

    @property
    def codec(self) -> RowsCodec:
        """What encodes rows that are not kept as they are; loaded with the first of them."""
        if self._codec is None:
            from kist.codecs.rows import rows_codec

            stored = self._stored
            self._codec = rows_codec(
                tuple(leaf.dtype for leaf in stored), tuple(leaf.n_values for leaf in stored)
            )
        return self._codec

    def decode(self, data: bytes, n_rows: int) -> Any:
        """Return so many rows, a new array of `dtype` or a `Batch`.

        Raises
        ------
        CorruptDataError
            The bytes hold something else.
        """
        try:
            if not self.loose:
                return self._decode(data, n_rows)
            from kist.codecs.strings import fill, open_block

            fixed, *blocks = _cut(data, 1 + len(self.loose))
            rows = self._decode(fixed, n_rows)
            loose = {}
            for leaf, block in zip(self.loose, blocks, strict=True):
                values = loose[f"f{leaf.id}"] = empty_values(n_rows, leaf.dtype)
                if isinstance(values, Cells):
                    from kist.codecs.raggedpages import open_cells

                    values.place(slice(None), *open_cells(block, n_rows, leaf.dtype))
                else:
                    fill(open_block(block, n_rows), values)
            return Batch(rows, loose)
        except CodecError as error:
            raise CorruptDataError(f"rows that do not decode: {error}") from error

    def _decode(self, data: bytes, n_rows: int) -> Array:
        if not self._stored:
            return np.empty(n_rows, self.dtype)
        found = raw_rows(data, self.dtype.itemsize)
        n_found = self.codec.n_rows(data) if found is None else found
        if n_found != n_rows:
            raise CorruptDataError(f"{n_found} rows where {n_rows} were announced")
        if found is None:
            return self.codec.decode_records(data, self.dtype)
        return np.ndarray((n_rows,), self.dtype, buffer=data, offset=HEAD.size).copy()

    def of_columns(self, columns: Sequence[Array], n_rows: int) -> Any:
        """Return packed rows made of one array per leaf."""
        rows = np.empty(n_rows, self.dtype)
        loose = {}
        for leaf, column in zip(self.leaves, columns, strict=True):
            if leaf.is_loose:
                loose[f"f{leaf.id}"] = column.reshape(n_rows)
            else:
                rows[f"f{leaf.id}"] = column.reshape(n_rows, *leaf.shape)
        return Batch(rows, loose) if self.loose else rows


def _cut(data: bytes, n_parts: int) -> list[bytes]:
    """Return the parts of the rows, each behind its length."""
    parts = []
    at = 0
    for _ in range(n_parts):
        if at + _LENGTH.size > len(data):
            raise CodecError(f"rows of several parts of {len(data)} bytes are cut off")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        parts.append(data[at : at + length])
        at += length
    if at != len(data):
        raise CodecError(f"rows of several parts of {len(data)} bytes have parts of {at}")
    return parts
