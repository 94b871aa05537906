"""Saving an array: what is missing shows the fill value.

Segments that are whole are copied, and of others the blocks that are.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from kist.errors import FormatError
from kist.format import keys
from kist.format.array import ArraySchema, pack_bounds, unpack_bounds
from kist.format.values import pack_record
from kist.model.arrays.state import ArrayState, Segment
from kist.model.arrays.write import Job, write_jobs
from kist.model.salvage.boxes import Box, read_whole_blocks
from kist.model.salvage.rescue import NO_SCHEMA, Rescue, Writer

if TYPE_CHECKING:
    from kist.engine import Transaction

__all__ = ["chunk_region", "rescue_array", "rows_of", "words_of"]

Shape = tuple[int, ...]


def rescue_array(rescue: Rescue, writer: Writer, node: int, path: str) -> str:
    """Copy what is whole of an array; returns why there is none, or nothing."""
    packed = rescue.payload(keys.schema(node))
    if packed is None:
        return NO_SCHEMA
    try:
        schema = ArraySchema.unpack(packed)
    except FormatError:
        return NO_SCHEMA
    value = rescue.view.get(keys.schema(node))
    assert value is not None
    writer.copy(keys.schema(node), value)
    shape = _bounds(rescue, node, schema)
    if shape is None:
        shape = _reach(rescue, node, schema)
        rescue.lose(path, f"its shape is lost; {shape} is as far as what is left of it reaches")
    writer.txn.put(keys.bounds(writer.new), pack_record(pack_bounds(shape)))
    state = ArrayState(rescue.view, node, path, schema, shape)
    made = ArrayState(writer.txn, writer.new, path, schema, shape)
    for key, value in rescue.scan(keys.segments(node)):
        try:
            index, segment = state.segment_of(key, value)
        except FormatError as error:
            region = chunk_region(state, key)
            rescue.lose(path, f"{words_of(region)}: {error}", region=region, rows=rows_of(region))
            continue
        wrong = writer.copy(key, value)
        if not wrong:
            continue
        lost = _copy_blocks(made, state, index, segment)
        for region in [_region(state, index, segment)] if lost is None else lost:
            rescue.lose(
                path,
                f"{words_of(region)}: the fill value stands for what is lost: {wrong}",
                region=region,
                rows=rows_of(region),
            )
    _lost_ranges(rescue, state)
    return ""


def _copy_blocks(
    made: ArrayState, state: ArrayState, index: Shape, segment: Segment
) -> list[Box] | None:
    """Make a segment of those blocks of a damaged one that are whole; returns what is lost.

    None where no block is whole, and then no segment is made.
    """
    found = read_whole_blocks(state, segment)
    if found is None:
        return None
    values, lost = found
    write_jobs(
        cast("Transaction", made.view),
        made,
        [Job(index, segment.start, values.shape, lambda: values, ())],
    )
    corner = [low for low, _ in _region(state, index, segment)]
    return [tuple((at + a, at + b) for at, (a, b) in zip(corner, box, strict=True)) for box in lost]


def _bounds(rescue: Rescue, node: int, schema: ArraySchema) -> Shape | None:
    payload = rescue.payload(keys.bounds(node))
    if payload is not None:
        with suppress(FormatError):
            return unpack_bounds(payload, schema.ndim)
    return None


def _reach(rescue: Rescue, node: int, schema: ArraySchema) -> Shape:
    """How far the segments of an array reach."""
    shape = [0] * schema.ndim
    limitless = ArrayState(rescue.view, node, "", schema, ((1 << 63) - 1,) * schema.ndim)
    for key, value in rescue.scan(keys.segments(node)):
        with suppress(FormatError):
            index, segment = limitless.segment_of(key, value)
            region = _region(limitless, index, segment)
            shape = [max(n, stop) for n, (_, stop) in zip(shape, region, strict=True)]
    return tuple(shape)


def _region(state: ArrayState, index: Shape, segment: Segment) -> tuple[tuple[int, int], ...]:
    """Positions that a segment holds, along all axes."""
    at = segment.start
    out = []
    sizes = zip(index, state.schema.chunks, segment.record.valid, strict=True)
    for number, chunk, n in sizes:
        out.append((number * chunk + at, number * chunk + at + n))
        at = 0  # segments are slabs along the first axis
    return tuple(out)


def chunk_region(state: ArrayState, key: bytes) -> tuple[tuple[int, int], ...]:
    """Positions of the chunk that a key names; all where it names none."""
    try:
        index, _ = keys.chunk_of(key[9:], state.schema.ndim)
    except FormatError:
        return tuple((0, n) for n in state.shape)
    spans = zip(index, state.schema.chunks, state.shape, strict=True)
    return tuple((min(k * c, n), min((k + 1) * c, n)) for k, c, n in spans)


def _lost_ranges(rescue: Rescue, state: ArrayState) -> None:
    """Say which positions have chunks whose records may be lost."""
    start, stop = keys.segments(state.node)
    for low, high in rescue.remains.reader.tree.lost:
        low, high = max(low, start), min(high, stop)
        if low >= high or 0 in state.shape:
            continue
        region = tuple((0, n) for n in state.shape)
        if state.shape:
            chunk, n = state.schema.chunks[0], state.shape[0]
            first = _first_index(low) * chunk
            last = n if high == stop else min(n, (_first_index(high) + 1) * chunk)
            if first >= last:
                continue
            region = ((first, last), *region[1:])
        rescue.lose(
            state.path,
            f"{words_of(region)}: values may be missing, and show the fill value: the records of"
            " these chunks are lost",
            region=region,
            rows=rows_of(region),
        )


def _first_index(key: bytes) -> int:
    """Index along the first axis in a key that may be cut off."""
    number: int = struct.unpack(">Q", key[9:17].ljust(8, b"\0"))[0]
    return number


def rows_of(region: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    return region[0] if region else (0, 1)


def words_of(region: tuple[tuple[int, int], ...]) -> str:
    return "[" + ", ".join(f"{a}:{b}" for a, b in region) + "]"
