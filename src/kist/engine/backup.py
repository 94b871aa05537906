"""A copy of one commit in a file of its own, while writers go on.

There are two ways. *In place*: everything but free space is copied to where it stood, and the
log is folded into the tree: the fastest, with all kept versions in it. *Laid out anew*: the
extents of one commit are copied one behind the other in the order of the map, which is the order
of reading, and a new tree is written behind them: the smallest, without older versions. A store in
memory that one transaction made needs neither: it is written as it stands.

The copy has the uuid of the store. It stands under another name until it is complete, synced
and verified.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from kist.engine import history
from kist.engine.overlay import Overlay
from kist.engine.recovery import Chain
from kist.engine.rootcommit import write_tree
from kist.engine.space import Space, space_of
from kist.engine.view import Reader, Snapshot, State, View
from kist.errors import (
    CorruptDataError,
    SnapshotExpiredError,
    StorageError,
    StoreExistsError,
    call_by_name,
)
from kist.format import keys, layout
from kist.format.frame import unpack_frame
from kist.format.layout import DATA_OFFSET, FRAME
from kist.format.superblock import Slot
from kist.format.values import Pointer, pack_record, unpack_record
from kist.storage import FileBackend
from kist.storage.base import StorageBackend
from kist.storage.names import give_name, refused, remove

if TYPE_CHECKING:
    from kist.engine.engine import Engine

Progress = Callable[[int, int], None]  # bytes done, bytes in all

_PIECE = 4 << 20  # read and written at once
_ATTEMPTS = 100
_PAGE = bytes(4096)


def backup(
    engine: Engine,
    target: str,
    *,
    snapshot: View | None = None,
    compact: bool = False,
    overwrite: bool = False,
    sync: bool = True,
    progress: Progress | None = None,
) -> int:
    """Copy one commit to a file of its own; returns its bytes.

    Parameters
    ----------
    target : str
        Path of the copy.
    snapshot : View, optional
        The commit to copy, laid out anew; by default the newest one.
    compact : bool
        Lay it out anew.
    overwrite : bool
        Replace what stands at the target, when the copy is complete.
    sync : bool
        Wait until the copy and its name are on the device.
    progress : callable, optional
        Called with bytes done and bytes in all.

    Raises
    ------
    StoreExistsError
        The target exists, and `overwrite` is false; or it is this store itself.
    CorruptDataError
        Something in the copy, and so in the store, is damaged. No copy is left.
    StorageError
        The target cannot be written. No copy is left.
    """
    with _copy_for(engine, target, overwrite=overwrite, sync=sync) as copy:
        with ExitStack() as held:
            if snapshot is None and not compact:
                frozen, chain = _frozen(engine, held)
                slots = _copy_in_place(engine, frozen, chain, copy, progress)
            else:
                if snapshot is None:
                    snapshot = held.enter_context(engine.snapshot())
                slots = _lay_out_anew(engine, snapshot, copy, progress)
            _finish(engine, copy, slots)
        _verify(engine, copy.path)
        return copy.size()


def write_whole(engine: Engine, target: str, *, sync: bool) -> None:
    """Write a store in memory, as it stands, to a file of its own, in place of what is there.

    Nothing is laid out anew nor read back: what stands in memory is a store after every commit,
    and the file gets its name when all of it is written. So of what was there and this, one is
    there after a crash; with `sync` it is this one.

    Raises
    ------
    StorageError
        The target cannot be written, and is as it was.
    """
    # Nobody else knows the file, so where it lies only the rename counts.
    with _copy_for(engine, target, overwrite=True, sync=sync, shared=False) as copy:
        size = engine.backend.size()
        # The log is zeros but for its first record: a hole, which takes no room.
        for start, data in _filled(engine.backend.read(0, DATA_OFFSET)):
            copy.write(start, [data])
        if size > DATA_OFFSET:
            copy.write(DATA_OFFSET, [engine.backend.read(DATA_OFFSET, size - DATA_OFFSET)])
        copy.resize(size)


@contextmanager
def _copy_for(
    engine: Engine, target: str, *, overwrite: bool, sync: bool, shared: bool = True
) -> Iterator[FileBackend]:
    """Give a new file beside a target, which gets its name when the block is done, or is gone."""
    target = os.path.abspath(target)
    _check_target(engine, target, overwrite)
    part = f"{target}.{secrets.token_hex(4)}.part"
    try:
        copy = FileBackend(part, writable=True, exclusive=True, shared=shared)
        try:
            yield copy
            if sync:
                copy.sync()  # before it gets its name: until then it is nobody's store
            _move(part, target, overwrite)
            if sync:
                copy.sync_directory()
        finally:
            copy.close()
    except BaseException as error:
        remove(part)
        call_by_name(error, part, target)
        raise


def _filled(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give (start, bytes) of the runs of pages that are not all zeros."""
    size, start = len(_PAGE), None
    for at in range(0, len(data) + 1, size):
        page = data[at : at + size]
        if page and page != _PAGE:
            start = at if start is None else start
        elif start is not None:
            yield start, data[start:at]
            start = None


def _check_target(engine: Engine, target: str, overwrite: bool) -> None:
    if not os.path.lexists(target):
        return
    same = False
    with suppress(OSError):  # a store in memory has no file, a link may lead nowhere
        same = os.path.samefile(target, engine.path)
    if same:
        raise StoreExistsError(f"{target!r} is the store itself; a backup is another file")
    if os.path.isdir(target):
        raise StorageError(f"{target!r} is a folder; name a file in it")
    if not overwrite:
        raise StoreExistsError(f"{target!r} exists already; overwrite=True replaces it")


def _frozen(engine: Engine, held: ExitStack) -> tuple[Snapshot, Chain]:
    """The newest commit and how it was reached, pinned with every version that it keeps."""
    for _ in range(_ATTEMPTS):
        with ExitStack() as attempt:
            snapshot, chain = engine.frozen()
            attempt.enter_context(snapshot)
            try:
                for version in history.versions(snapshot):
                    attempt.callback(engine.hold_kept(version.commit))
            except SnapshotExpiredError:
                continue  # a tag went in between
            held.enter_context(attempt.pop_all())
            return snapshot, chain
    raise SnapshotExpiredError(f"{engine.path}: tags come and go faster than they can be held")


# In place


def _copy_in_place(
    engine: Engine,
    snapshot: Snapshot,
    chain: Chain,
    copy: StorageBackend,
    progress: Progress | None,
) -> tuple[Slot, Slot]:
    space = space_of(engine.reader, chain)
    # Nothing needs the older slot's commits or the readers' in the copy: only kept versions wait.
    kept = sorted({v.commit for v in history.versions(snapshot)})
    space.release(snapshot.commit, [(c, c) for c in kept])
    ranges = list(_used(space))
    total, done = sum(n for _, n in ranges), 0
    for offset, length in ranges:
        for at in range(offset, offset + length, _PIECE):
            n = min(_PIECE, offset + length - at)
            data = engine.backend.read(at, n)
            if len(data) != n:
                raise CorruptDataError(
                    f"{engine.path}: the file ends at byte {at + len(data)}, within what commit "
                    f"{snapshot.commit} uses: 'kist check' lists all damage",
                    offset=at,
                )
            copy.write(at, [data])
            done += n
            if progress is not None:
                progress(done, total)
    state = replace(snapshot.state, overlay=snapshot.state.overlay.copy())
    return _write_root(engine, copy, state, space, chain.last)


def _used(space: Space) -> Iterator[tuple[int, int]]:
    """Ranges of the file that are not free."""
    at = DATA_OFFSET
    for offset, length in space.free_extents():
        if offset > at:
            yield at, offset - at
        at = offset + length
    if space.end > at:
        yield at, space.end - at


# Laid out anew


def _lay_out_anew(
    engine: Engine, snapshot: View, copy: StorageBackend, progress: Progress | None
) -> tuple[Slot, Slot]:
    end, total = DATA_OFFSET, snapshot.state.end
    buffers: list[bytes] = []
    start = end
    overlay = Overlay()
    for key, value in snapshot.scan(keys.whole_node(keys.ROOT)[0], b"\xff" * (layout.MAX_KEY + 1)):
        old_pointers, payload = unpack_record(value)
        pointers = []
        for old in old_pointers:
            new = old._replace(offset=end)
            pointers.append(new)
            buffers.append(_moved(engine.reader, old, end))
            end += new.extent[1]
            if end - start >= _PIECE:
                copy.write(start, buffers)
                start, buffers = end, []
                if progress is not None:
                    progress(end, total)
        overlay.values[key] = pack_record(payload, pointers) if pointers else value
    if buffers:
        copy.write(start, buffers)
    state = replace(snapshot.state, root=None, overlay=overlay, end=end)
    return _write_root(engine, copy, state, Space(end), bytes(16))


def _moved(reader: Reader, pointer: Pointer, place: int) -> bytes:
    """An extent with its padding, as it has to stand at a place."""
    reader.check_range(pointer)
    size = FRAME.size + pointer.nbytes
    data = reader.backend.read(pointer.offset, size)
    header = unpack_frame(data)
    if header is None or len(data) != size:
        raise CorruptDataError(
            f"byte {pointer.offset}: this frame is damaged; 'kist check' lists all damage",
            offset=pointer.offset,
        )
    whole = header._replace(offset=place).pack() + data[FRAME.size :]
    return whole.ljust(pointer.extent[1], b"\0")


# Both


def _write_root(
    engine: Engine, copy: StorageBackend, state: State, space: Space, last: bytes
) -> tuple[Slot, Slot]:
    """Fold what stood in the log into the tree, as a checkpoint does; returns the slots."""
    commit = state.commit + 1
    reader = Reader(copy)
    reader.sealing = engine.reader.sealing
    root, spare = write_tree(reader, state, space, engine.uuid, commit)
    end = space.end
    if sum(spare) == end:
        end, spare = spare[0], (0, 0)
    ring = engine.ring
    newer, older = (
        Slot(number, commit, state.time_ns, place, end, state.next_node, root, last, spare)
        for number, place in ((2, ring.start), (1, ring.start + ring.half))
    )
    return newer, older


def _finish(engine: Engine, copy: StorageBackend, slots: tuple[Slot, Slot]) -> None:
    """Write slots and supers. The log is empty: a hole, which takes no room and reads as zeros."""
    super_ = engine.ring.super
    blocks, sealing = [slot.pack(engine.uuid) for slot in slots], engine.reader.sealing
    copy.write(
        layout.SLOT_OFFSETS[0], blocks if sealing is None else list(map(sealing.sign, blocks))
    )
    copy.resize(max(slots[0].end, super_.data_offset))
    copy.write(layout.SUPER_OFFSET, [super_.pack()])
    copy.write(layout.SUPER_COPY_OFFSET, [super_.pack()])


def _verify(engine: Engine, path: str) -> None:
    copy = engine.open(path, "r", keyring=engine.reader.keyring)
    try:
        problems = copy.check()
    finally:
        copy.close()
    if problems:
        first = problems[0]
        raise CorruptDataError(
            f"{engine.path}: damage was found in the copy, which is not kept: {first.message} "
            f"({len(problems)} problems; 'kist check' lists those of the store, 'kist salvage' "
            "rescues what is whole)",
            offset=first.offset,
        )


def _move(part: str, target: str, overwrite: bool) -> None:
    """Give the copy its name."""
    try:
        give_name(part, target, overwrite=overwrite)
    except OSError as error:
        raise refused(target, "the copy cannot be given this name", error) from error
