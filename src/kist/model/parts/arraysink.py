"""A new array that is filled along its first axis: segments as bytes, the rest decoded.

A segment is a slab of a chunk. It is copied wherever it fits into a chunk of the new array: always
where parts meet at the edges of chunks, and for the small segments of arrays that grew by appends.
Else the rows of the chunk are decoded, a box of values at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import TYPE_CHECKING, Final

from kist.errors import DTypeError, ShapeError, StaleHandleError
from kist.format import keys
from kist.format.array import ArraySchema, item_bytes
from kist.format.node import NodeKind
from kist.format.values import unpack_record
from kist.model.arrays.input import cast_array
from kist.model.arrays.read import read
from kist.model.arrays.state import ArrayState, array_state, new_array, put_bounds
from kist.model.arrays.write import write
from kist.model.extents import Extents
from kist.model.indexing import Box

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.model.parts.sealedwhole import Moving
    from kist.model.sealing.field import SealedField

__all__ = ["ArraySink"]

Shape = tuple[int, ...]

_BOX_BYTES: Final = 8 << 20
"""Values that are decoded at once."""

_RECORDS: Final = 20_000
"""Records of a commit, about a kilobyte of memory each."""


class ArraySink:
    """A new array on its way; parameters as of `TableSink`, and the shape of the first part.

    One that is sealed has an open field, and takes sealed arrays only. With `cast` it takes arrays
    of other dtypes, whose values are cast and checked.
    """

    def __init__(
        self,
        txn: Transaction,
        node: int,
        schema: ArraySchema,
        shape: Shape,
        step: Callable[[], Transaction],
        told: Callable[[int], None] | None = None,
        field: SealedField | None = None,
        *,
        cast: bool = False,
    ) -> None:
        self._step = step
        self._cast = cast
        self._told = told
        self._node = node
        self._field = field
        self._moving: Moving | None = None  # what brings the records of a sealed part
        self._schema = schema
        self._rest = shape[1:]
        self._n = 0
        if not shape:
            raise ShapeError("an array without axes has no first axis to cut or to join along")
        self._go_on(txn)
        new_array(txn, node, "the new array", schema, (0, *self._rest), field)

    def _go_on(self, txn: Transaction) -> None:
        self._txn = txn
        self._extents = Extents(txn, self._told)
        self._n_records = 0

    def add_part(self, view: View, node: int, path: str, start: int, stop: int) -> None:
        """Take the rows start .. stop of an array.

        Raises
        ------
        DTypeError, ShapeError
            It has another dtype, or another shape beyond the first axis.
        """
        state = array_state(view, node, path)
        if state.dtype != self._schema.dtype and not self._cast:
            raise DTypeError(
                f"{path!r} of {state.dtype} cannot follow an array of {self._schema.dtype}; "
                "cast=True (--cast) casts its values"
            )
        if state.shape[1:] != self._rest or not state.shape:
            raise ShapeError(
                f"{path!r} has shape {state.shape}, and the first part (n, "
                f"{', '.join(map(str, self._rest))}): only the first axes may differ"
            )
        if self._field is not None:
            from kist.model.parts.sealedwhole import Moving

            self._moving = Moving(view, node, NodeKind.ARRAY, path, self._told)
        same = state.schema._replace(codec="") == self._schema._replace(codec="")
        at = start
        while at < stop:
            # Rows of one chunk of the old array.
            end = min(stop, (at // state.schema.chunks[0] + 1) * state.schema.chunks[0])
            before = self._n_records
            if not (same and self._copied(state, at, end)):
                self._extents.flush()
                self._decode(state, at, end, same)
            at = end
            if self._n_records == before and at < stop:  # nothing is stored of them
                empty = _empty_rows(state, at, stop)
                self._n += empty
                at += empty
            if self._n_records > _RECORDS:
                self.finish()
                self._go_on(self._step())
                if self._field is not None:
                    self._field = type(self._field).find(self._txn, self._node, path)

    def _copied(self, state: ArrayState, start: int, stop: int) -> bool:
        """Copy what is stored of some rows of one chunk, if all of it fits as it is."""
        rows = self._schema.chunks[0]
        number = start // rows
        low = keys.chunk(state.node, (number,))
        found = []
        for key, value in state.view.scan(low, keys.chunk(state.node, (number + 1,))):
            index, segment = state.segment_of(key, value)
            first = number * rows + segment.start
            if first + segment.rows <= start or first >= stop:
                continue
            place, inside = divmod(self._n + first - start, rows)
            if (
                first < start
                or first + segment.rows > stop
                or inside + segment.record.stored[0] > rows
            ):
                return False
            found.append((keys.segment(self._node, (place, *index[1:]), inside), value))
        for key, value in found:
            if self._moving is not None and self._field is not None:
                self._moving.add(self._txn, self._field, self._extents, key, value)
                continue
            pointers, payload = unpack_record(value)
            self._extents.add(state.view, key, payload, pointers)
        self._n_records += len(found)
        self._n += stop - start
        return True

    def _decode(self, state: ArrayState, start: int, stop: int, same: bool) -> None:
        """Write rows of one chunk anew; where the fill value is the same, only what is stored."""
        shape = (self._n + stop - start, *self._rest)
        put_bounds(self._txn, self._node, shape, self._field)
        schema = self._schema
        made = ArrayState(self._txn, self._node, state.path, schema, shape, self._field)
        whole = (0,) * len(shape), (stop - start, *self._rest)
        for corner, size in _stored_boxes(state, start, *whole) if same else _boxes(*whole, schema):
            steps = (1,) * len(size)
            values = read(state, Box((start + corner[0], *corner[1:]), size, steps))
            if values.dtype != schema.dtype:
                values = cast_array(values, schema.dtype, state.path, "merge")
            write(self._txn, made, Box((self._n + corner[0], *corner[1:]), size, steps), values)
            self._n_records += 1
        self._n += stop - start

    def settle(self) -> None:
        """Write what still waits to be read: the stores where it stands are closed next."""
        self._extents.flush()

    def finish(self) -> None:
        """Write all that waits, the shape, and the manifest of a sealed array."""
        self._extents.flush()
        put_bounds(self._txn, self._node, (self._n, *self._rest), self._field)
        if self._field is not None:
            self._field.vouch(self._txn)

    def resume(self) -> None:
        """Nobody else adds rows."""
        raise StaleHandleError("rows were added to an array that is being made")


def _empty_rows(state: ArrayState, start: int, stop: int) -> int:
    """Return how many rows from one on lie in chunks of which nothing is stored.

    An array may be far longer than what is stored of it: who goes from chunk to chunk does not end.
    """
    rows = state.schema.chunks[0]
    low, high = keys.chunk(state.node, (start // rows,)), keys.segments(state.node)[1]
    for key, _ in state.view.scan(low, high):
        stored = keys.chunk_of(key[9:], state.schema.ndim)[0][0] * rows
        return max(0, min(stop, stored) - start)
    return stop - start


def _stored_boxes(
    state: ArrayState, start: int, corner: Shape, shape: Shape
) -> Iterator[tuple[Shape, Shape]]:
    """Yield the boxes that hold all that is stored of the rows of one chunk from `start` on."""
    lengths, schema = state.schema.chunks, state.schema
    n_boxes = math.prod(-(-n // k) for n, k in zip(shape, _box_size(shape, schema), strict=True))
    number = start // lengths[0]
    stored: dict[Shape, None] = {}
    for key, _ in state.view.scan(
        keys.chunk(state.node, (number,)), keys.chunk(state.node, (number + 1,))
    ):
        stored[keys.chunk_of(key[9:], schema.ndim)[0][1:]] = None
        if len(stored) >= n_boxes:
            yield from _boxes(corner, shape, schema)
            return
    for index in stored:
        at = (corner[0], *(k * c for k, c in zip(index, lengths[1:], strict=True)))
        size = [min(c, n - a) for c, n, a in zip(lengths[1:], shape[1:], at[1:], strict=True)]
        if all(n > 0 for n in size):
            yield at, (shape[0], *size)


def _boxes(first: Shape, shape: Shape, schema: ArraySchema) -> Iterator[tuple[Shape, Shape]]:
    """Yield (corner, size) of boxes that together are a shape, along the chunks."""
    size = _box_size(shape, schema)
    for corner in product(*(range(0, n, s) for n, s in zip(shape, size, strict=True))):
        yield (
            tuple(a + c for a, c in zip(first, corner, strict=True)),
            tuple(min(s, n - c) for c, s, n in zip(corner, size, shape, strict=True)),
        )


def _box_size(shape: Shape, schema: ArraySchema) -> list[int]:
    limit = max(1, _BOX_BYTES // item_bytes(schema.dtype))
    size = [max(1, n) for n in shape]
    for axis, chunk in enumerate(schema.chunks):
        over = math.prod(size) / limit
        if over > 1:
            fewer = max(1, int(size[axis] / over))
            size[axis] = min(size[axis], max(1, fewer // chunk) * chunk)
    return size
