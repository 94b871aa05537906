"""Rows of a table as Arrow record batches, block by block.

Numbers and times are handed over in the memory into which they were decoded. NaT, and the missing
strings of a `StringDType`, become nulls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kist._kernels.cells import Cells
from kist.extras import need
from kist.format.nullable import is_nullable
from kist.format.ragged import is_ragged
from kist.format.schema import Leaf
from kist.model.frames.arrow_ragged import arrow_cells, arrow_type
from kist.model.frames.arrow_scalars import Scalars
from kist.model.frames.exports import Exports, Outgoing, by_codes, shaped
from kist.model.tables.stored.categories import Categories
from kist.model.tables.stored.fields import Fields, block_rows

if TYPE_CHECKING:
    from kist.engine import View
    from kist.model.session import Held

__all__ = ["record_batches", "to_reader"]

Array = np.ndarray[Any, Any]


def to_reader(source: Exports, held: Held) -> Any:
    """Return a RecordBatchReader over the rows; it keeps the snapshot until it is read or dropped.

    Parameters
    ----------
    source : table, selection, columns or column
    held : Held
        What is read; released at the end.
    """
    pa = need("pyarrow", "arrow", "Arrow data")
    out = source._outgoing(held.view, None)
    builder = _Builder(pa, out)
    return pa.RecordBatchReader.from_batches(
        builder.schema, _held_batches(builder, source, held, block_rows(out.state.schema, None))
    )


def record_batches(
    source: Exports, view: View, columns: Sequence[str] | None
) -> tuple[Any, list[Any]]:
    """Return the Arrow schema and all rows as record batches."""
    pa = need("pyarrow", "arrow", "to_arrow")
    out = source._outgoing(view, columns)
    builder = _Builder(pa, out)
    size = block_rows(out.state.schema, None)
    return builder.schema, list(_batches(builder, source, size))


def _held_batches(builder: _Builder, source: Exports, held: Held, size: int) -> Iterator[Any]:
    with held:
        yield from _batches(builder, source, size)


def _batches(builder: _Builder, source: Exports, size: int) -> Iterator[Any]:
    out = builder.out
    for columns, n_rows in source._column_blocks(out.state, out.fields, size):
        yield builder.batch(shaped(columns, out.fields, n_rows), n_rows)


class _Builder(Scalars):
    """Makes record batches of one schema."""

    def __init__(self, pa: Any, out: Outgoing) -> None:
        super().__init__(pa, out.zones)
        self.out = out = by_codes(out)
        self.leaves: dict[tuple[str, ...], int] = {
            leaf.path: at for at, leaf in enumerate(out.fields.leaves)
        }
        self.columns = list(_columns(out.fields))
        self.schema = pa.schema(
            [(name, self.type_of(dtype, path)) for name, dtype, path in self.columns]
        )

    def batch(self, arrays: list[Array], n_rows: int) -> Any:
        """Return a record batch of one array per leaf."""
        flat = [array.reshape(-1) for array in arrays]
        columns = [self.array_of(flat, dtype, path, n_rows) for _, dtype, path in self.columns]
        return self.pa.RecordBatch.from_arrays(columns, schema=self.schema)

    # Types

    def type_of(self, dtype: np.dtype[Any], path: tuple[str, ...]) -> Any:
        pa = self.pa
        known = self.categories(path)
        if known is not None:
            return pa.dictionary(pa.int32(), self.dictionary(known, path).type, known.sort.ordered)
        if dtype.subdtype is not None:
            base, shape = dtype.subdtype
            kind = self.type_of(base, path)
            for size in reversed(shape):
                kind = pa.list_(kind, size)
            return kind
        if is_nullable(dtype):
            return self.type_of(dtype["value"], (*path, "value"))
        if dtype.names is not None and not is_ragged(dtype):
            return pa.struct(
                [(name, self.type_of(dtype[name], (*path, name))) for name in dtype.names]
            )
        leaf = self.leaf(path)
        if leaf.is_string:
            return pa.large_string()
        if leaf.is_ragged:
            return arrow_type(self, leaf)
        return self.scalar(leaf.dtype, leaf)

    def categories(self, path: tuple[str, ...]) -> Categories | None:
        """Return the categories of a whole column, None of others."""
        at = self.leaves.get(path)
        if at is None or not self.out.categories:
            return None
        return self.out.categories.get(self.out.fields.stored[at].path[0])

    def dictionary(self, known: Categories, path: tuple[str, ...]) -> Any:
        """Return categories as an Arrow array."""
        pa = self.pa
        values, leaf = known.values, self.leaf(path)
        if values.dtype.kind == "T":
            return pa.array(values.tolist(), type=pa.large_string())
        return self.array(values, self.scalar(values.dtype, leaf), leaf)

    def leaf(self, path: tuple[str, ...]) -> Leaf:
        return self.out.fields.stored[self.leaves[path]]

    # Values

    def array_of(
        self, flat: list[Array], dtype: np.dtype[Any], path: tuple[str, ...], n_items: int
    ) -> Any:
        """Return the Arrow array of one field; `n_items` counts its items in the block."""
        pa = self.pa
        known = self.categories(path)
        if known is not None:
            codes = flat[self.leaves[path]]
            known.check(codes)
            # NumPy's masks are true where there is nothing.
            places = pa.array(codes.astype(np.int64) - 1, type=pa.int32(), mask=codes == 0)
            return pa.DictionaryArray.from_arrays(
                places, self.dictionary(known, path), ordered=known.sort.ordered
            )
        if dtype.subdtype is not None:
            base, shape = dtype.subdtype
            counts = [n_items]
            for size in shape:
                counts.append(counts[-1] * size)
            array = self.array_of(flat, base, path, counts[-1])
            for count, size in zip(reversed(counts[:-1]), reversed(shape), strict=True):
                kind = pa.list_(array.type, size)
                array = pa.Array.from_buffers(kind, count, [None], children=[array])
            return array
        if is_nullable(dtype):
            values = self.array_of(flat, dtype["value"], (*path, "value"), n_items)
            return self._with_nulls(values, flat[self.leaves[*path, "valid"]])
        if dtype.names is not None and not is_ragged(dtype):
            children = [
                self.array_of(flat, dtype[name], (*path, name), n_items) for name in dtype.names
            ]
            kind = pa.struct(
                [(name, child.type) for name, child in zip(dtype.names, children, strict=True)]
            )
            return pa.Array.from_buffers(kind, n_items, [None], children=children)
        leaf = self.leaf(path)
        values = flat[self.leaves[path]]
        if leaf.is_string:
            return pa.array(values, type=pa.large_string())
        if isinstance(values, Cells):
            return arrow_cells(self, values, leaf)
        return self.array(values, self.scalar(leaf.dtype, leaf), leaf)

    def _with_nulls(self, array: Any, valid: Array) -> Any:
        """Return an Arrow array that is null also where there is no value."""
        if valid.all():
            return array
        if array.null_count:  # NaT
            valid = valid & array.is_valid().to_numpy(zero_copy_only=False)
        bits = self.pa.py_buffer(np.packbits(valid, bitorder="little"))
        return self.pa.Array.from_buffers(array.type, len(array), [bits, *array.buffers()[1:]])


def _columns(fields: Fields) -> Iterator[tuple[str, np.dtype[Any], tuple[str, ...]]]:
    """Yield (name, dtype, path) of each Arrow column."""
    if fields.is_structured and not fields.item_shape and not fields.is_nullable:
        for name in fields.dtype.names or ():
            yield name, fields.dtype[name], (name,)
    else:
        depth = len(fields.stored[0].path) - len(fields.leaves[0].path)
        dtype = np.dtype((fields.dtype, fields.item_shape)) if fields.item_shape else fields.dtype
        yield ".".join(fields.stored[0].path[:depth]), dtype, ()
