"""Extents on their way to another place: read in runs, verified, written in runs, never decoded.

Two threads each read, verify and write a run, which stays in the caches of its core meanwhile; one
of them is this one, when it has put the records of a run before and collected those of the next.
Where one of the stores is sealed as a whole, another thread reads and opens, and this one seals and
writes.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from kist._kernels.scratch import scratch
from kist.engine import Frame
from kist.engine.interrupts import hold_interrupts
from kist.engine.parallel import begin
from kist.errors import CorruptDataError, KistError, SecretError
from kist.format import keys
from kist.format.bundle import bundle_damage
from kist.format.checksum import sum64
from kist.format.layout import FRAME, FRAME_BLOB, FRAME_BUNDLE, FRAME_PAGE, FRAME_ROWS, FRAME_SEALED
from kist.format.page import unpack_page_head
from kist.format.sealed import SEALED_MAGIC
from kist.format.values import Pointer, pack_record
from kist.model import directory

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.engine.view import Reader
    from kist.format.log import Verify

__all__ = ["Extents", "frame_of", "refuse_clear"]

_FRAME_TYPES: Final = {
    b"K": FRAME_BUNDLE,
    b"P": FRAME_PAGE,
    b"C": FRAME_PAGE,
    b"I": FRAME_PAGE,
    b"G": FRAME_ROWS,
    b"U": FRAME_ROWS,
}

RUN_BYTES: Final = 1 << 20
"""Extents wait until they are so many bytes, to be written with one call. More would leave the
caches of a core between being read, summed and written: a fifth more of the processor's time."""

_MOST_EXTENTS: Final = 1024
"""So many are written however small they are: what lies between them takes memory too, and more of
them are written with more than one call to the system anyway."""

_AHEAD: Final = 2
"""Runs that other threads copy: one for each, so that no thread waits while records are put."""

_MAX_LENT: Final = 2
_KEPT_BYTES: Final = 6 << 20
"""What has more, with an extent larger than a run, is read when it is to be written."""

_BYTES: Final = np.dtype(np.uint8)

_OFFSET: Final = attrgetter("offset")

_READ_RUN: Final = 2 << 20
_READ_GAP: Final = 16 << 10
"""Extents this near to each other are read with one call, what lies between them too."""


_Waiting = tuple["View", bytes, bytes, Sequence[Pointer]]
"""A record whose extents are to be copied: where they stand, its key, payload and pointers."""


_Run = tuple["View", list[Pointer]]
"""Extents of a view that stand near to each other, in order."""


class _Reading:
    """Records whose extents are being read.

    Attributes
    ----------
    waiting : list of _Waiting
        The records.
    size : int
        Bytes of their extents.
    written : callable
        Waits until they are read, verified and written, and returns where they stand then.
    looked_at : list
        Whose frame is being made, once all are read.
    """

    __slots__ = ("__weakref__", "looked_at", "size", "waiting", "written")

    def __init__(self, waiting: list[_Waiting], size: int) -> None:
        self.waiting = waiting
        self.size = size
        self.written: Callable[[], Sequence[Pointer]]
        self.looked_at: list[tuple[View, bytes, Pointer]] = []


class _Rooms(threading.local):
    """Two pieces of memory of a thread, for what is read and what is written, lent by turns.

    They are used again and again: touching fresh memory takes longer than reading from the file
    system's cache into it.
    """

    def __init__(self) -> None:
        self._lent: list[tuple[npt.NDArray[np.uint8], Callable[[], object]]] = []

    def lend(self, n: int, reading: _Reading) -> memoryview | None:
        """Return memory until `reading` is gone; None where both pieces are lent, or for more."""
        lent = self._lent
        if n > _KEPT_BYTES:
            return None
        free = next((at for at, (_, holder) in enumerate(lent) if holder() is None), len(lent))
        if free == _MAX_LENT:
            return None
        room = lent.pop(free)[0] if free < len(lent) else np.empty(0, np.uint8)
        if len(room) < n:
            room = np.empty(n, np.uint8)
        lent.append((room, weakref.ref(reading)))
        return room[:n].data


_rooms = _Rooms()


class Extents:
    """Records of new nodes, put together with the extents that they own in another place.

    Parameters
    ----------
    txn : Transaction
        Where they are written.
    told : callable, optional
        Called with the number of bytes of each run.
    """

    def __init__(self, txn: Transaction, told: Callable[[int], None] | None = None) -> None:
        self._txn = txn
        self._told = told
        self._waiting: list[_Waiting] = []
        self._size = self._n_extents = 0
        self._readings: deque[_Reading] = deque()

    def add(self, view: View, key: bytes, payload: bytes, pointers: Sequence[Pointer]) -> None:
        """Put a record of a new node, with copies of the extents that stand in a view.

        Parameters
        ----------
        view : View
            Whose store stays open until `flush`.
        key : bytes
            In the new node, which has no such record yet.

        Raises
        ------
        CorruptDataError
            An extent, of this record or one that waits, does not match its sums.
        """
        if not pointers:
            self._txn.put(key, pack_record(payload))
            return
        self._waiting.append((view, key, payload, pointers))
        for pointer in pointers:
            self._size += pointer.length
        self._n_extents += len(pointers)
        if self._size >= RUN_BYTES or self._n_extents >= _MOST_EXTENTS:
            self._read_on()

    def flush(self) -> None:
        """Write what waits."""
        self._read_on()
        self._finish(0)

    def _read_on(self) -> None:
        """Begin to read what waits, and write what was read before."""
        if not self._waiting:
            return
        reading = _Reading(self._waiting, self._size)
        self._waiting, self._size, self._n_extents = [], 0, 0
        views = {id(entry[0]): entry[0] for entry in reading.waiting}.values()
        runs = [(view, run) for view in views for run in _runs(view, reading.waiting)]
        readers = [self._txn.reader, *(view.reader for view in views)]
        is_plain = all(reader.sealing is None for reader in readers)
        for view, key, _, pointers in reading.waiting:
            for pointer in pointers:
                if pointer.length > RUN_BYTES:
                    self._check_there(view, key, pointer)
                if pointer.__class__ is not Pointer:
                    is_plain = False
        if is_plain:
            self._write_on(reading, runs)
            return
        frames: Callable[[], list[Frame]]
        total = sum(_length(run) for _, run in runs)
        room = _rooms.lend(total, reading)
        if room is None:  # untouched until then: not one for each of many
            self._finish(0)
            room = np.empty(total, np.uint8).data
            frames = partial(_frames, reading.waiting, runs, room, reading.looked_at)
        else:
            frames = begin(partial(_frames, reading.waiting, runs, room, reading.looked_at))
            try:
                self._finish(0)
            except BaseException:
                # Nothing is read any more when stores are closed; what it says comes second.
                with suppress(KistError, OSError, MemoryError):
                    frames()
                raise
        reading.written = lambda: self._txn.write(frames())
        self._readings.append(reading)

    def _write_on(self, reading: _Reading, runs: Sequence[_Run]) -> None:
        """Begin to copy a run to places that are taken now; put the records of one before."""
        old = [pointer for entry in reading.waiting for pointer in entry[3]]
        _, lengths, heads, _, sums = zip(*old, strict=True)
        txn = self._txn
        with hold_interrupts():  # once for all that hold them
            new = txn.take_places(lengths, heads, sums)
            done = txn.begin(partial(_copied, txn, reading.waiting, runs, new, reading.looked_at))

        def written() -> Sequence[Pointer]:
            txn.verify += done()
            return new

        reading.written = written
        self._readings.append(reading)
        self._finish(_AHEAD)

    def _finish(self, n: int) -> None:
        """Put the records of what was read first, until but `n` runs are being read."""
        try:
            while len(self._readings) > n:
                self._put(self._readings.popleft())
        except BaseException:
            self._txn.settle()  # nothing is read any more when stores are closed
            raise

    def _put(self, reading: _Reading) -> None:
        """Put the records of what is being read, once it is written."""
        try:
            written = iter(reading.written())
        except CorruptDataError as error:
            if not reading.looked_at:
                raise
            raise self._damaged(*reading.looked_at[0], error) from error
        self._txn.put_new(
            [
                (key, pack_record(payload, [next(written) for _ in pointers]))
                for _, key, payload, pointers in reading.waiting
            ]
        )
        if self._told is not None:
            self._told(reading.size)

    def _check_there(self, view: View, key: bytes, pointer: Pointer) -> None:
        """Refuse an extent beyond the end of the file, before there is memory for it."""
        if pointer.offset + FRAME.size + pointer.nbytes > view.reader.backend.size():
            words = f"the file ends within a frame of {pointer.nbytes} bytes"
            raise self._damaged(view, key, pointer, CorruptDataError(words))

    def _damaged(
        self, view: View, key: bytes, pointer: Pointer, error: CorruptDataError
    ) -> CorruptDataError:
        """Return the error of an extent with its file, and the dataset that it was for."""
        path = directory.path_of(self._txn, keys.node_of(key)) or "a dataset"
        offset = pointer.offset if error.offset is None else error.offset
        text = str(error).split("; 'kist check'")[0].removeprefix(f"byte {offset}: ")
        return CorruptDataError(
            f"{view.reader.backend.name!r}, byte {offset}, of {path!r}: {text}; 'kist check' lists"
            " all damage, 'kist salvage' rescues what is whole",
            offset=offset,
            node=path,
        )


def refuse_clear(source: Reader, target: Reader) -> None:
    """Refuse to write in clear what stands in a store that is sealed as a whole.

    Raises
    ------
    SecretError
        The target is not sealed.
    """
    if source.sealing is not None and target.sealing is None:
        raise SecretError(
            f"{source.backend.name} is sealed as a whole, and in {target.backend.name} a copy"
            " would stand in clear: copy into a store that is"
            " made with kist.open(path, 'x', encrypt=), split and merge it with encrypt=, or read"
            " the values and write them yourself"
        )


def _runs(view: View, waiting: list[_Waiting]) -> list[list[Pointer]]:
    """Return the extents of a view that wait, neighbours together."""
    pointers = [pointer for entry in waiting if entry[0] is view for pointer in entry[3]]
    pointers.sort(key=_OFFSET)
    check, header, is_plain = view.reader.check_range, FRAME.size, view.reader.sealing is None
    runs: list[list[Pointer]] = []
    run: list[Pointer] = []
    begin = end = 0
    for pointer in pointers:
        check(pointer)
        offset = pointer.offset
        stop = offset + header + (pointer.length if is_plain else pointer.nbytes)
        if run and offset - end <= _READ_GAP and stop - begin <= _READ_RUN:
            run.append(pointer)
        else:
            run, begin = [pointer], offset
            runs.append(run)
        end = stop
    return runs


def _length(run: list[Pointer]) -> int:
    return run[-1].offset + FRAME.size + run[-1].nbytes - run[0].offset


def _copied(
    txn: Transaction,
    waiting: Sequence[_Waiting],
    runs: Sequence[_Run],
    pointers: Sequence[Pointer],
    looked_at: list[tuple[View, bytes, Pointer]],
) -> list[Verify]:
    """Copy the extents of records to the places that were taken for them."""
    total = sum(_length(run) for _, run in runs)
    room = scratch("extents", total, _BYTES).data
    return txn.fill_places(pointers, _frames(waiting, runs, room, looked_at))


def _frames(
    waiting: Sequence[_Waiting],
    runs: Sequence[_Run],
    room: memoryview,
    looked_at: list[tuple[View, bytes, Pointer]],
) -> list[Frame]:
    """Return the extents of records as frames for another place, read into `room`."""
    bodies: dict[tuple[int, int], memoryview] = {}
    for view, run in runs:
        length = _length(run)
        bodies |= _read(view, run, room[:length])
        room = room[length:]
    frames = []
    for view, key, _, pointers in waiting:
        for pointer in pointers:
            looked_at[:] = [(view, key, pointer)]  # for who says what is damaged
            frames.append(frame_of(view, key, pointer, bodies[id(view), pointer.offset]))
    return frames


def _read(view: View, run: list[Pointer], room: memoryview) -> dict[tuple[int, int], memoryview]:
    """Return the bodies of neighbouring extents, read into `room`."""
    begin = run[0].offset
    reader, header = view.reader, FRAME.size
    n = reader.backend.read_into(begin, room)
    is_plain, number = reader.sealing is None, id(view)
    bodies = {}
    for pointer in run:
        at = pointer.offset + header - begin
        end = at + (pointer.length if is_plain else pointer.nbytes)
        if end > n:
            raise CorruptDataError(
                f"byte {pointer.offset}: the file ends within a frame of {pointer.length} "
                "bytes; 'kist check' lists all damage",
                offset=pointer.offset,
            )
        body = room[at:end]
        bodies[number, pointer.offset] = body if is_plain else reader.body(pointer, body)
    return bodies


def frame_of(view: View, key: bytes, pointer: Pointer, body: memoryview) -> Frame:
    """Return the extent of a record as a frame for another place; every byte of it is verified.

    Parameters
    ----------
    view : View
        Where the extent stands.
    key : bytes
        Of the record in its new node.
    body : memoryview
        Of the extent, as it was read.

    Raises
    ------
    CorruptDataError
        A checksum does not match.
    """
    kind = key[8:9]
    if kind == b"P":
        node, kind, column, row = keys.place_of(key)
    else:
        node, column = keys.node_of(key), keys.leaf_of(key) if kind == b"A" else 0
        row = keys.row_of(key) if kind in (b"G", b"U", b"I") and len(key) >= 17 else 0
    frame_type = _FRAME_TYPES.get(kind, FRAME_BLOB)
    n_head = pointer.head
    head, rest = body[:n_head], body[n_head:]
    view.reader.verify(pointer, head)
    # An attribute in clear is all head, and may begin with anything.
    if (kind in (b"P", b"I", b"C", b"K") or (kind == b"A" and rest)) and (
        bytes(head[:2]) == SEALED_MAGIC
    ):
        from kist.engine.sealed import verify_body

        verify_body(body)
        return Frame(FRAME_SEALED, node, column, row, head, (rest,))
    if not rest:
        return Frame(frame_type, node, column, row, head)
    if frame_type == FRAME_BUNDLE:
        damage = bundle_damage(body, n_head)
        if damage:
            raise CorruptDataError(f"byte {pointer.offset}: {damage}", offset=pointer.offset)
        return Frame(frame_type, node, column, row, head, (rest,))
    # A damaged sector must not get a place in a second dataset: verified here as for reading.
    page = unpack_page_head(bytes(head), pointer.length)
    start = 0
    for stop, expected in zip(page.sector_ends, page.sums, strict=True):
        if sum64(rest[start:stop]) != expected:
            at = pointer.offset + page.size + start
            raise CorruptDataError(f"byte {at}: the checksum of a sector does not match", offset=at)
        start = stop
    return Frame(frame_type, node, column, row, head, (rest,))
