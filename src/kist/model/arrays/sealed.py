"""Arrays that are sealed as a whole: their segments as sealed records, their fill value.

`ArrayState.field` is the open field; everything here needs one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from kist.engine import Frame
from kist.engine.parallel import run
from kist.engine.sealedrecords import SealedPointer, renew_record
from kist.errors import SecretError
from kist.format import keys
from kist.format.array import SegmentRecord
from kist.format.layout import FRAME_PAGE
from kist.format.values import pack_record, unpack_record
from kist.model.sealing.field import SealedField, check_promises

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.format.keys import Range
    from kist.model.arrays.state import ArrayState, Segment
    from kist.model.arrays.write import Job, Made

__all__ = [
    "SealedArray",
    "cut_segments",
    "find_field",
    "put_segments",
    "seal_anew",
    "stored_length",
]


class SealedArray(SealedField):
    """The field of an array; what its manifest has beside the digest is the fill value."""

    kind: ClassVar[str] = "array"

    __slots__ = ()

    @classmethod
    def ranges(cls, node: int) -> list[tuple[Range, bool]]:
        """Schema, bounds, segments."""
        return [
            (keys.prefix_range(keys.schema(node)), True),
            (keys.prefix_range(keys.bounds(node)), False),
            (keys.segments(node), False),
        ]


def find_field(view: View, node: int, path: str, sealed: bool) -> SealedField | SecretError | None:
    """Return the field of an array, or why it does not open; None of one that is not sealed.

    Raises
    ------
    TamperedDataError
        The records are not those that were written, or the array is not sealed and ought to be.
    """
    if not sealed:
        check_promises(view, node, path, SealedArray.kind)
        return None
    return SealedArray.try_find(view, node, path)


def put_segments(
    txn: Transaction, state: ArrayState, jobs: Sequence[Job], made: Sequence[Made]
) -> None:
    """Seal segments and put them, in the place of what their jobs drop."""
    field = state.field
    sealed = run([partial(_seal, field, state.node, *one) for one in zip(jobs, made, strict=True)])
    found = [one for one in sealed if one is not None]
    pointers = iter(txn.write([frame for _, frames in found for frame in frames]))
    puts = []
    for job, one in zip(jobs, sealed, strict=True):
        for start in job.drop:
            if one is None or start != job.start:
                field.delete(txn, keys.segment(state.node, job.index, start))
        if one is not None:
            payload, frames = one
            value = pack_record(payload, [next(pointers) for _ in frames])
            puts.append((keys.segment(state.node, job.index, job.start), value))
    field.put_all(txn, puts)


def _seal(field: SealedField, node: int, job: Job, made: Made) -> tuple[bytes, list[Frame]] | None:
    if made.page is not None:
        chosen = made.page.chosen
        record = SegmentRecord(job.shape, job.shape, chosen.packed, chosen.bits)
        frame = Frame(FRAME_PAGE, node, 0, 0, made.page.head, made.page.parts)
        return field.seal(record.pack(), [frame])
    if made.data is None:
        return None
    return field.seal(SegmentRecord(job.shape, job.shape, data=made.data).pack())


def cut_segments(
    txn: Transaction,
    state: ArrayState,
    changes: Sequence[tuple[bytes, Segment | None]],
    outside: Range | None,
) -> None:
    """Put segments of which less counts than before, their pages staying; delete others.

    Parameters
    ----------
    changes : sequence of (bytes, Segment or None)
        Keys, and what stays of each.
    outside : range of keys, optional
        Deleted as a whole.
    """
    field = state.field
    for key, kept in changes:
        if kept is None:
            field.delete(txn, key)
            continue
        opened = [kept.pointer] if isinstance(kept.pointer, SealedPointer) else []
        payload, frames = renew_record(field.keys.current, opened, kept.record.pack())
        pointers = [*(pointer.stored for pointer in opened), *txn.write(frames)]
        field.put(txn, key, pack_record(payload, pointers))
    if outside is not None:
        field.delete_range(txn, *outside)


def seal_anew(txn: Transaction, before: SealedField, after: SealedField) -> None:
    """Seal all segments under the keys of another field; nothing is decoded."""
    for key, value in list(txn.scan(*keys.segments(before.node))):
        opened, payload = before.open(value, f"{before.path!r} chunk {keys.chunk_place(key)}")
        frames = []
        for pointer in opened:
            plain = pointer.whole(txn.reader)
            head, rest = bytes(plain[: pointer.head]), plain[pointer.head :]
            frames.append(Frame(FRAME_PAGE, before.node, 0, 0, head, (rest,)))
        sealed, written = after.seal(payload, frames)
        txn.put(key, pack_record(sealed, txn.write(written)))


def stored_length(value: bytes) -> int:
    """Return the bytes that a sealed segment takes, which needs no secret."""
    pointers, payload = unpack_record(value)
    return sum(pointer.length for pointer in pointers) + len(payload)
