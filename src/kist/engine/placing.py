"""Places in the file that a transaction takes, and what it writes there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from kist.engine.interrupts import hold_interrupts
from kist.engine.view import Reader, State, View
from kist.errors import CorruptDataError
from kist.format.checksum import Buffer, sum128, sum128_of
from kist.format.frame import pack_header, unpack_frame
from kist.format.layout import FRAME, UNSYNCED_RELAXED
from kist.format.log import Verify
from kist.format.values import Pointer, extent_length

if TYPE_CHECKING:
    from kist.engine.lane import Lane
    from kist.engine.space import Space
    from kist.engine.transaction import Transaction

T = TypeVar("T")


class Frame(NamedTuple):
    """A frame to be written: body = head + parts; the pointer's sum covers the head.

    A blob has everything in `head`; a column page has the sums of its sectors there.
    """

    type: bytes
    node: int
    column: int
    row: int
    head: Buffer
    parts: Sequence[Buffer] = ()


class Owner(Protocol):
    """What a transaction needs of its engine."""

    reader: Reader
    uuid: bytes
    retain: int

    @property
    def durability(self) -> str:
        """Which of "full", "relaxed" and "none"."""

    def writer_space(self) -> Space:
        """Free and waiting space, for the holder of the writer's lock."""

    def finish(self, transaction: Transaction, message: str) -> int:
        """Commit, and release the writer's lock."""

    def abandon(self, transaction: Transaction) -> None:
        """Give space back, and release the writer's lock."""


class Placing(View):
    """What of a transaction takes free space, and writes to it.

    Attributes
    ----------
    used : list of (int, int)
        Offset and length of what was taken.
    verify : list of Verify
        What was written, for who replays a record that was not synced with it.
    unsynced : int
        Bytes that were written.
    """

    def __init__(self, owner: Owner, reader: Reader, state: State) -> None:
        super().__init__(reader, state)
        self._owner = owner
        self.used: list[tuple[int, int]] = []
        self.verify: list[Verify] = []
        self.unsynced = 0
        self._written: list[Pointer] = []
        self._lane: Lane | None = None  # once another thread writes for it

    def write(self, frames: Sequence[Frame]) -> list[Pointer]:
        """Write frames to free space, as one run, and return their pointers.

        Raises
        ------
        StorageError
            The device refused; the transaction can only be rolled back or go on without them.
        """
        self._check_open()
        if not frames:
            return []
        if self.reader.sealing is not None:
            from kist.engine.sealedstore import write_sealed

            return write_sealed(self, self.reader.sealing, frames)
        lengths = [len(f.head) + sum(map(len, f.parts)) for f in frames]
        sums = [sum128(f.head) for f in frames]
        pointers = self.take_places(lengths, [len(f.head) for f in frames], sums)
        self.settle()
        self.verify += self.fill_places(pointers, frames)
        return pointers

    def take_places(
        self, lengths: Sequence[int], heads: Sequence[int], sums: Sequence[bytes]
    ) -> list[Pointer]:
        """Take free space for frames, as one run, which `fill_places` writes.

        Parameters
        ----------
        lengths, heads, sums
            Of each frame: bytes of the body, bytes of its head, XXH3-128 of the head.
        """
        birth = self.state.commit + 1
        ends = list(accumulate(map(extent_length, lengths)))
        with hold_interrupts():  # what is taken but not noted would be lost
            start = self.allocate(ends[-1])
            places = [start, *[start + end for end in ends[:-1]]]
            pointers = list(
                map(Pointer._make, zip(places, lengths, heads, repeat(birth), sums, strict=False))
            )
            self._written += pointers
        self.unsynced += ends[-1]
        return pointers

    def fill_places(self, pointers: Sequence[Pointer], frames: Sequence[Frame]) -> list[Verify]:
        """Write frames to the places that were taken for them; also in a task of `begin`.

        Returns
        -------
        list of Verify
            For `verify`, in the order in which the places were taken.
        """
        uuid = self._owner.uuid
        buffers: list[Buffer] = []
        for (kind, node, column, row, head, parts), pointer in zip(frames, pointers, strict=True):
            offset, length, n_head, birth, found = pointer
            header = pack_header(
                kind, offset, uuid, node, column, row, birth, length, n_head, found
            )
            buffers += [header, head, *parts]
            padding = -(FRAME.size + length) & 63
            if padding:
                buffers.append(bytes(padding))
        return self._write(pointers[0].offset, buffers)

    def begin(self, task: Callable[[], T]) -> Callable[[], T]:
        """Let another thread write to places that were taken, while this one goes on.

        What is written otherwise waits for all such tasks, and so does the end of the transaction.

        Returns
        -------
        callable
            Waits until the task is done, and gives its result; only then may a record name what it
            wrote. Where there are no threads, the task is done when it is called.
        """
        from kist.engine.lane import Lane

        with hold_interrupts():  # one that nobody knows of would write after the end
            self._check_open()
            if self._lane is None:
                self._lane = Lane(shared=self.reader.backend.takes_threads)
            return self._lane.begin(task)

    def settle(self) -> None:
        """Wait until no other thread writes for this transaction."""
        if self._lane is not None:
            self._lane.settle()

    def stop(self) -> None:
        """Let no other thread write for this transaction any more: it is rolled back."""
        if self._lane is not None:
            self._lane.settle(cancel=True)

    @property
    def uuid(self) -> bytes:
        """Identity of the store."""
        return self._owner.uuid

    def note_written(self, pointers: Sequence[Pointer]) -> None:
        """Note extents that are written: those that no record names in the end are freed."""
        self._written += pointers

    def move_down(self, old: Pointer) -> Pointer | None:
        """Copy an extent, byte for byte, to the lowest free place before it, if there is one.

        Raises
        ------
        CorruptDataError
            Its header or its head is damaged.
        """
        if self.reader.sealing is not None:
            from kist.engine.sealedstore import move_down

            return move_down(self, self.reader.sealing, old)
        data = self.reader.backend.read(old.offset, FRAME.size + old.length)
        header = unpack_frame(data)
        body = memoryview(data)[FRAME.size :]
        self.reader.verify(old, body[: old.head])
        if header is None or len(body) != old.length:
            raise CorruptDataError(
                f"byte {old.offset}: the frame's header is damaged; 'kist check' lists all damage",
                offset=old.offset,
            )
        birth = self.state.commit + 1
        self.settle()
        with hold_interrupts():
            place = self.allocate_below(old)
            if place is None:
                return None
            new = old._replace(offset=place, birth=birth)
            self._written.append(new)
        buffers: list[Buffer] = [header._replace(offset=place, birth=birth).pack(), body]
        padding = old.extent[1] - FRAME.size - old.length
        self.write_run(place, [*buffers, bytes(padding)])
        return new

    def write_run(self, start: int, buffers: Sequence[Buffer]) -> None:
        """Write buffers one behind the other to space that was taken for this transaction."""
        self.unsynced += sum(map(len, buffers))
        self.verify += self._write(start, buffers)

    def _write(self, start: int, buffers: Sequence[Buffer]) -> list[Verify]:
        self.reader.backend.write(start, buffers)
        if self.unsynced > UNSYNCED_RELAXED:  # the data are synced before the record
            return []
        return [Verify(start, sum(map(len, buffers)), sum128_of(buffers))]

    def allocate(self, length: int) -> int:
        """Offset of free space for this transaction."""
        with hold_interrupts():
            offset = self._owner.writer_space().allocate(length)
            self._note_used(offset, length)
        return offset

    def allocate_below(self, old: Pointer) -> int | None:
        """Lowest free place before an extent that is long enough for it."""
        place = self._owner.writer_space().allocate_below(old.extent[1], old.offset)
        if place is not None:
            self._note_used(place, old.extent[1])
        return place

    def _note_used(self, offset: int, length: int) -> None:
        if self.used and sum(self.used[-1]) == offset:
            self.used[-1] = (self.used[-1][0], self.used[-1][1] + length)
        else:
            self.used.append((offset, length))
