"""A copy of one commit in a file of its own, while writers go on.

There are two ways. *In place*: everything but free space is copied to where it stood, and the
log is folded into the tree: the fastest, with all kept versions in it. *Laid out anew*: the
extents of one commit are copied one behind the other in the order of the map, which is the order
of reading, and a new tree is written behind them: the smallest, without older versions.

The copy has the uuid of the store. It stands under another name until it is complete, synced
and verified.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from kist.engine import history
from kist.engine.overlay import Overlay
from kist.engine.recovery import Chain
from kist.engine.rootcommit import slots_of_tree
from kist.engine.space import Space, space_of
from kist.engine.view import Reader, Snapshot, State, View
from kist.errors import (
    CorruptDataError,
    SnapshotExpiredError,
    StoreExistsError,
)
from kist.format import keys, layout
from kist.format.frame import unpack_frame
from kist.format.layout import DATA_OFFSET, FRAME
from kist.format.superblock import Slot
from kist.format.values import Pointer, pack_record, unpack_record
from kist.storage.base import StorageBackend
from kist.storage.newfile import new_file

if TYPE_CHECKING:
    from kist.engine.engine import Engine

Progress = Callable[[int, int], None]  # bytes done, bytes in all

_PIECE = 4 << 20  # read and written at once
_ATTEMPTS = 100


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
    target = os.path.abspath(target)
    _check_target(engine, target, overwrite)
    with new_file(target, overwrite=overwrite, sync=sync) as copy:
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


def _check_target(engine: Engine, target: str, overwrite: bool) -> None:
    if not os.path.lexists(target):
        return
    same = False
    with suppress(OSError):  # a store in memory has no file, a link may lead nowhere
        same = os.path.samefile(target, engine.path)
    if same:
        raise StoreExistsError(f"{target!r} is the store itself; a backup is another file")
    if not overwrite and not os.path.isdir(target):
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
    reader, ring = Reader(copy), engine.ring
    reader.sealing = engine.reader.sealing
    return slots_of_tree(reader, state, space, engine.uuid, last, (ring.start, ring.half))


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
