"""Holding the records of an array against each other."""

from __future__ import annotations

from collections.abc import Iterator

from kist.engine.pages import page_head
from kist.engine.sealedrecords import SealedPointer
from kist.errors import CorruptDataError, FormatError
from kist.format import keys
from kist.format.dtypes import is_string_dtype
from kist.model.arrays.grid import block_grid
from kist.model.arrays.segment import inline_values
from kist.model.arrays.state import ArrayState, Segment

__all__ = ["check_records"]


def check_records(state: ArrayState) -> Iterator[str]:
    """Yield a message for everything in the records of an array that does not fit.

    Reads all records, and the heads of pages; their sectors are verified with all other bytes of
    the file.
    """
    if not state.is_open:
        return
    before: tuple[tuple[int, ...], int] | None = None
    for key, value in state.view.scan(*keys.segments(state.node)):
        try:
            index, segment = state.segment_of(key, value)
        except FormatError as error:
            yield str(error)
            continue
        if before is not None and before[0] == index and segment.start < before[1]:
            yield f"chunk {index}: the segments before and at row {segment.start} overlap"
        before = index, segment.stop
        try:
            _check_values(state, segment)
        except FormatError as error:
            yield f"chunk {index}, row {segment.start}: {error}"


def _check_values(state: ArrayState, segment: Segment) -> None:
    if segment.pointer is None:
        inline_values(segment, state.dtype)
        return
    grid = block_grid(segment.record.stored, state.schema.blocks)
    if isinstance(segment.pointer, SealedPointer):
        segment.pointer.whole(state.view.reader)  # every tag
    head = page_head(state.view, segment.pointer)
    if head.n_values != grid.n_values:
        raise CorruptDataError(
            f"a page of {head.n_values} values, expected {grid.n_values} for shape "
            f"{segment.record.stored}"
        )
    # Blocks of long strings hold fewer.
    if head.block_values != grid.block_values and not is_string_dtype(state.dtype):
        raise CorruptDataError(
            f"a page with blocks of {head.block_values} values, expected {grid.block_values}"
        )
