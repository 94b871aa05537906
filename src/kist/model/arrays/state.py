"""One array in one view: its schema, its bounds, and the segments that hold its values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist.errors import CorruptDataError, SecretError, StaleHandleError
from kist.format import keys
from kist.format.array import ArraySchema, SegmentRecord, pack_bounds, unpack_bounds
from kist.format.layout import FRAME_BLOB, MAX_INLINE
from kist.format.values import Pointer, pack_record, unpack_record
from kist.model.later import settle

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.model.sealing.field import SealedField

__all__ = ["ArrayState", "Chunks", "Segment", "array_state", "new_array", "put_bounds"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

_KEPT_SEGMENTS: Final = 4096
"""Records of segments that are kept unpacked: up to about 2 KiB each."""

_KEPT_BOXES: Final = 256
_FEW_SEGMENTS: Final = 16
"""Snapshots keep the chunks of so many boxes, of so many segments each: cubes cut out anywhere."""

_KEPT_NODES: Final = 16_384
"""Snapshots keep schema and shape of so many nodes: a walk over more begins anew."""

SCAN_COST: Final = 30
"""Looking for the first record of a range costs about as much as reading 30 that follow it."""


class Segment(NamedTuple):
    """A stored slab of a chunk.

    Attributes
    ----------
    start : int
        Row of the chunk (along axis 0) at which it begins; 0 without axes.
    record : SegmentRecord
        Its shapes and what it was encoded with.
    pointer : Pointer or None
        Of its page; None where the values stand in the record.
    """

    start: int
    record: SegmentRecord
    pointer: Pointer | None

    @property
    def rows(self) -> int:
        """Rows that count."""
        return self.record.valid[0] if self.record.valid else 1

    @property
    def stop(self) -> int:
        """First row of the chunk behind it."""
        return self.start + self.rows

    @property
    def nbytes_stored(self) -> int:
        """Bytes of its page, or of the values in the record."""
        if self.pointer is not None:
            return self.pointer.length
        return len(self.record.data or b"")


Chunks = dict[Shape, list[Segment]]
Found = dict[tuple[Shape, Shape], Chunks]


class Known(NamedTuple):
    """What a snapshot keeps of an array that is not sealed.

    Attributes
    ----------
    schema : ArraySchema
    shape : tuple of int
    found : dict
        Chunks of boxes that were read, by lowest and highest chunk index.
    """

    schema: ArraySchema
    shape: Shape
    found: Found


class ArrayState:
    """An array as one view shows it.

    Attributes
    ----------
    view : View
        Snapshot or transaction.
    node : int
        Node id.
    path : str
        Path of the array, for messages.
    schema : ArraySchema
        What does not change; of a sealed array that is open with its fill value.
    shape : tuple of int
        The bounds.
    """

    __slots__ = ("_field", "_found", "node", "path", "schema", "shape", "view")

    def __init__(
        self,
        view: View,
        node: int,
        path: str,
        schema: ArraySchema,
        shape: Shape,
        field: SealedField | SecretError | None = None,
        found: Found | None = None,
    ) -> None:
        self.view = view
        self.node = node
        self.path = path
        self.schema = schema
        self.shape = shape
        self._field = field  # or why it does not open
        self._found = found

    def grown(self, view: View, shape: Shape) -> ArrayState:
        """Return the array with other bounds."""
        return ArrayState(view, self.node, self.path, self.schema, shape, self._field)

    @property
    def is_open(self) -> bool:
        """Whether its values can be read: it is not sealed, or the secret was given."""
        return not isinstance(self._field, SecretError)

    @property
    def field(self) -> SealedField:
        """Keys and digest of a sealed array.

        Raises
        ------
        SecretError
            The right secret was not given.
        """
        if isinstance(self._field, SecretError):
            raise type(self._field)(str(self._field))
        assert self._field is not None
        return self._field

    def check_open(self) -> None:
        """Raise where the values cannot be read, as `field` does."""
        if self._field is not None:
            assert self.field

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self.schema.dtype

    @property
    def grid(self) -> Shape:
        """Chunks along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.schema.chunks, strict=True))

    def region(self, index: Sequence[int]) -> Shape:
        """Shape of a chunk within the bounds."""
        return tuple(
            min(c, n - k * c) for k, c, n in zip(index, self.schema.chunks, self.shape, strict=True)
        )

    def segments(self, index: Sequence[int]) -> list[Segment]:
        """Segments of one chunk, in order of their rows."""
        found = self.view.scan(*keys.segments(self.node, index))
        return [self.segment_of(key, value)[1] for key, value in found]

    def segments_before(self, index: Sequence[int], first: int, stop: int) -> Iterator[Segment]:
        """Yield the segments of one chunk that begin at rows ``first .. stop``, backwards."""
        low, high = (keys.segment(self.node, index, row) for row in (first, stop))
        for key, value in self.view.scan(low, high, reverse=True):
            yield self.segment_of(key, value)[1]

    def all_segments(self, first: int = 0) -> Iterator[tuple[Shape, Segment]]:
        """Yield (chunk index, segment) of all chunks from one along axis 0 on."""
        start, stop = keys.segments(self.node)
        if first:
            start = keys.chunk(self.node, (first,))
        for key, value in self.view.scan(start, stop):
            yield self.segment_of(key, value)

    def segment_of(self, key: bytes, value: bytes) -> tuple[Shape, Segment]:
        """Return (chunk index, segment) of a record.

        Raises
        ------
        CorruptDataError
            The record is none, or leads beyond its chunk or the bounds.
        """
        try:
            if self.schema.sealed:
                where = f"{self.path!r} chunk {keys.chunk_place(key)}"
                found = _segment(key[9:], *self.field.open(value, where), self.schema.chunks)
            else:
                found = _unpack(key[9:], value, self.schema.chunks)
        except CorruptDataError as error:
            place = keys.chunk_place(key)
            raise CorruptDataError(
                f"{self.path!r} chunk {place}: {error}", offset=error.offset, node=self.path
            ) from None
        index, segment = found
        at = segment.start  # counts along axis 0 only
        for k, c, n, size in zip(
            index, self.schema.chunks, segment.record.valid, self.shape, strict=True
        ):
            if k * c + at + n > size:
                raise CorruptDataError(
                    f"{self.path!r} chunk {index}: a segment of shape {segment.record.valid} at "
                    f"row {segment.start} leads beyond the shape {self.shape}",
                    node=self.path,
                )
            at = 0
        return found

    def chunks_within(self, low: Shape, high: Shape) -> Chunks:
        """Return the chunks with an index from `low` to `high` (inclusive) that are stored.

        Notes
        -----
        The map is read range by range, or once from first to last where that costs less, and for
        a box of the same chunks in the same snapshot not again: nobody may change what comes back.
        """
        found = self._found
        if found is None:
            return self._chunks_within(low, high)
        chunks = found.get((low, high))
        if chunks is None:
            chunks = self._chunks_within(low, high)
            if sum(map(len, chunks.values())) <= _FEW_SEGMENTS:
                if len(found) >= _KEPT_BOXES:
                    found.clear()
                found[low, high] = chunks
        return chunks

    def _chunks_within(self, low: Shape, high: Shape) -> Chunks:
        if low == high:
            values = zip(*self.view.entries(*keys.segments(self.node, low)), strict=True)
            found = [self.segment_of(key, value)[1] for key, value in values]
            return {low: found} if found else {}
        out: Chunks = {}
        for start, stop in self._ranges(low, high):
            values = zip(*self.view.entries(start, stop), strict=True)
            for key, value in values:
                index = keys.chunk_of(key[9:], self.schema.ndim)[0]
                if all(a <= k <= b for a, k, b in zip(low, index, high, strict=True)):
                    out.setdefault(index, []).append(self.segment_of(key, value)[1])
        return out

    def _ranges(self, low: Shape, high: Shape) -> Iterator[keys.Range]:
        grid = self.grid
        # Chunks whose index differs only in the axes from `cut` on are neighbours in the map.
        cut = len(grid)
        while cut and low[cut - 1] == 0 and high[cut - 1] == grid[cut - 1] - 1:
            cut -= 1
        cut = max(cut - 1, 0)
        n_ranges = math.prod(b - a + 1 for a, b in zip(low[:cut], high[:cut], strict=True))
        wanted = math.prod(b - a + 1 for a, b in zip(low, high, strict=True))
        strides = [math.prod(grid[k + 1 :]) for k in range(len(grid))]
        between = sum((b - a) * s for a, b, s in zip(low, high, strides, strict=True)) + 1
        if n_ranges == 1 or between - wanted < SCAN_COST * n_ranges:
            yield (
                keys.chunk(self.node, low),
                keys.segments(self.node, high)[1],
            )
            return
        for index in product(
            *(range(a, b + 1) for a, b in zip(low[:cut], high[:cut], strict=True))
        ):
            yield (
                keys.chunk(self.node, (*index, low[cut])),
                keys.segments(self.node, (*index, high[cut]))[1],
            )


@lru_cache(maxsize=_KEPT_SEGMENTS)
def _unpack(rest: bytes, value: bytes, chunks: Shape) -> tuple[Shape, Segment]:
    """Return (chunk index, segment) from what follows kind ``C`` in a key, and the value.

    Those that an array which grows by single rows ends in are looked at again and again.
    """
    return _segment(rest, *unpack_record(value), chunks)


def _segment(
    rest: bytes, pointers: Sequence[Pointer], payload: bytes, chunks: Shape
) -> tuple[Shape, Segment]:
    index, start = keys.chunk_of(rest, len(chunks))
    record = SegmentRecord.unpack(payload, len(chunks))
    if len(pointers) != (record.data is None):
        raise CorruptDataError(f"a segment with {len(pointers)} pages")
    stored = record.stored
    if start and not chunks:
        raise CorruptDataError(f"a segment at row {start} of a single value")
    if chunks and (start + stored[0] > chunks[0] or any(map(int.__gt__, stored[1:], chunks[1:]))):
        raise CorruptDataError(
            f"a segment of shape {stored} at row {start} of a chunk of shape {chunks}"
        )
    return index, Segment(start, record, pointers[0] if pointers else None)


def array_state(view: View, node: int, path: str, *, settled: bool = False) -> ArrayState:
    """Return an array as a view shows it.

    Two look-ups in the map; none the second time with the same snapshot, unless it is sealed.

    Parameters
    ----------
    settled : bool
        Whether it may be shown without the writes that a transaction has put off.
    """
    if view.is_transaction and not settled:
        settle(view, node)
    known: Known | None = view.by_node.get(node)
    if known is not None and not view.is_transaction and view.reader.keyring is None:
        return ArrayState(view, node, path, known.schema, known.shape, None, known.found)
    value = view.get(keys.schema(node))
    bounds = view.get(keys.bounds(node))
    if value is None or bounds is None:
        raise StaleHandleError(
            f"the array {path!r} was deleted or replaced; open it again by its name"
        )
    pointers, payload = unpack_record(value)
    if pointers:
        payload = bytes(view.read(pointers[0]))
    schema = ArraySchema.unpack(payload)
    shape = unpack_bounds(unpack_record(bounds)[1], schema.ndim)
    if not schema.sealed and view.reader.keyring is None:
        if view.is_transaction:
            return ArrayState(view, node, path, schema, shape)
        if len(view.by_node) >= _KEPT_NODES:
            view.by_node.clear()
        known = view.by_node[node] = Known(schema, shape, {})
        return ArrayState(view, node, path, schema, shape, None, known.found)
    from kist.model.arrays.sealed import find_field

    field = find_field(view, node, path, schema.sealed)
    if field is not None and not isinstance(field, SecretError):
        schema = schema._replace(fill=field.more.reveal())
        schema.fill_value()  # raises for what is none
    return ArrayState(view, node, path, schema, shape, field)


def new_array(
    txn: Transaction,
    node: int,
    path: str,
    schema: ArraySchema,
    shape: Shape,
    field: SealedField | None = None,
) -> ArrayState:
    """Put schema and bounds of an array without values."""
    packed = schema.pack()
    if len(packed) > MAX_INLINE:  # a structured dtype of many fields
        from kist.engine import Frame

        (pointer,) = txn.write([Frame(FRAME_BLOB, node, 0, 0, packed)])
        record = pack_record(b"", (pointer,))
    else:
        record = pack_record(packed)
    for key, value in (
        (keys.schema(node), record),
        (keys.bounds(node), pack_record(pack_bounds(shape))),
    ):
        if field is None:
            txn.put(key, value, old=None)
        else:
            field.put(txn, key, value)
    return ArrayState(txn, node, path, schema, shape, field)


def put_bounds(txn: Transaction, node: int, shape: Shape, field: SealedField | None = None) -> None:
    """Put the shape of an array."""
    value = pack_record(pack_bounds(shape))
    if field is None:
        txn.put(keys.bounds(node), value)
    else:
        field.put(txn, keys.bounds(node), value)


def located(error: CorruptDataError, path: str, index: Sequence[int]) -> CorruptDataError:
    """Return the error with the chunk that it belongs to."""
    shown = tuple(index)
    return CorruptDataError(f"{path!r} chunk {shown}: {error}", offset=error.offset, node=path)
