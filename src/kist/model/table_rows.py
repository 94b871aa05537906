"""Small batches of rows as bytes and back, all columns together: pieces and patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kist.codecs.rows import RowsCodec, rows_codec
from kist.errors import CodecError, CorruptDataError
from kist.format.schema import Leaf

__all__ = ["PackedRows"]

Array = np.ndarray[Any, Any]


class PackedRows:
    """Rows of some leaves, packed one after the other.

    Parameters
    ----------
    leaves : sequence of Leaf
        Which leaves, in the order of the packed row.

    Attributes
    ----------
    dtype : structured dtype
        One field ``f<leaf id>`` per leaf, without gaps.
    """

    __slots__ = ("_codec", "dtype", "leaves")

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self.leaves = tuple(leaves)
        self.dtype: np.dtype[Any] = np.dtype(
            # A shape of () is not the same as none where an item has no width.
            [(f"f{leaf.id}", leaf.dtype, leaf.shape)[: 3 if leaf.shape else 2] for leaf in leaves]
        )
        stored = [leaf for leaf in leaves if leaf.nbytes]
        # Nothing is stored of values without width; there may be no others.
        self._codec: RowsCodec | None = None
        if stored:
            self._codec = rows_codec(
                tuple(leaf.dtype for leaf in stored), tuple(leaf.n_values for leaf in stored)
            )

    def encode(self, rows: Array) -> bytes:
        """Return rows of `dtype` as bytes."""
        return b"" if self._codec is None else self._codec.encode(rows)

    def decode(self, data: bytes, n_rows: int) -> Array:
        """Return so many rows, a new array of `dtype`.

        Raises
        ------
        CorruptDataError
            The bytes hold something else.
        """
        codec = self._codec
        if codec is None:
            return np.empty(n_rows, self.dtype)
        try:
            if codec.n_rows(data) == n_rows:
                return codec.decode_records(data, self.dtype)
        except CodecError as error:
            raise CorruptDataError(f"rows that do not decode: {error}") from error
        raise CorruptDataError(f"{codec.n_rows(data)} rows where {n_rows} were announced")

    def of_columns(self, columns: Sequence[Array], n_rows: int) -> Array:
        """Return packed rows made of one array per leaf."""
        rows = np.empty(n_rows, self.dtype)
        for leaf, column in zip(self.leaves, columns, strict=True):
            rows[f"f{leaf.id}"] = column.reshape(n_rows, *leaf.shape)
        return rows
