"""Making a store, and finding the right one to open."""

from __future__ import annotations

import os
import time

from kist.errors import KistError, StoreExistsError
from kist.format import layout, superblock
from kist.format.superblock import Slot, Super
from kist.storage import FileBackend
from kist.storage.base import StorageBackend

MODES = ("r", "r+", "a", "w", "x")


def create(backend: StorageBackend) -> None:
    """Write an empty store, durable with its name when this returns.

    The headers come last: until one is there the file is "not a finished store", which a later
    writer may begin again, over whatever the first attempt left.
    """
    super_ = Super(os.urandom(16), time.time_ns())
    slots = [
        Slot(number, 0, 0, position, layout.DATA_OFFSET, 2, None, bytes(16)).pack(super_.uuid)
        for number, position in (
            (2, layout.RING_OFFSET),
            (1, layout.RING_OFFSET + layout.RING_HALF),
        )
    ]
    ring = bytes(2 * layout.RING_HALF)
    backend.write(layout.SLOT_OFFSETS[0], slots)
    backend.write(layout.RING_OFFSET, [ring])
    backend.sync()
    backend.write(layout.SUPER_OFFSET, [super_.pack()])
    backend.write(layout.SUPER_COPY_OFFSET, [super_.pack()])
    backend.sync()
    backend.sync_directory()


def is_unfinished(backend: StorageBackend) -> bool:
    """Whether the backend holds nothing, or a store whose creation was cut off."""
    if backend.size() == 0:
        return True
    if backend.size() > layout.DATA_OFFSET or backend.read(0, 8).strip(b"\0"):
        return False
    # Nothing but zeros and slots: anything else may be somebody's data that begins with zeros.
    data = bytearray(backend.read(0, layout.DATA_OFFSET))
    for offset in layout.SLOT_OFFSETS:
        if data[offset : offset + 4] == layout.SLOT_MAGIC:
            data[offset : offset + layout.SLOT.size] = bytes(layout.SLOT.size)
    return not data.strip(b"\0")


def create_if_unfinished(backend: StorageBackend, timeout: float | None) -> None:
    """Write an empty store unless a finished one is there."""
    if is_unfinished(backend):
        backend.locks.acquire_writer(timeout)
        try:
            if is_unfinished(backend):  # nobody else did it while we waited
                create(backend)
        finally:
            backend.locks.release_writer()


def open_path(
    path: str | os.PathLike[str], mode: str, timeout: float | None, overwrite: bool
) -> tuple[StorageBackend, bool]:
    """Backend for a path and mode, and whether the first commit must empty the store.

    Raises
    ------
    ValueError
        The mode is not known.
    StoreNotFoundError, StoreExistsError, NotAStoreError
        As `kist.open`.
    """
    if mode not in MODES:
        raise ValueError(f"mode is one of {', '.join(MODES)}, not {mode!r}")
    if path == ":memory:":
        from kist.storage.memory import MemoryBackend

        memory = MemoryBackend()
        create(memory)
        return memory, False
    writable = mode != "r"
    backend = FileBackend(path, writable=writable, create=mode in ("a", "w"), exclusive=mode == "x")
    try:
        if not writable:
            return backend, False
        if mode == "x" and not is_unfinished(backend):
            raise StoreExistsError(f"{backend.name}: there is already a file")
        if mode == "r+":
            return backend, False
        empty_first = False
        if mode == "w" and not is_unfinished(backend):
            empty_first = _is_store(backend, overwrite)
            if not empty_first:
                _empty(backend, timeout)
        create_if_unfinished(backend, timeout)
        return backend, empty_first
    except BaseException:
        backend.close()
        raise


def _empty(backend: StorageBackend, timeout: float | None) -> None:
    """Cut a file that is no store to nothing, unless somebody has made a store of it."""
    backend.locks.acquire_writer(timeout)
    try:
        if not _is_store(backend, True):
            backend.resize(0)
    finally:
        backend.locks.release_writer()


def _is_store(backend: StorageBackend, overwrite: bool) -> bool:
    """Whether an existing file is a kist store; raises unless it may be overwritten."""
    try:
        superblock.unpack_super(backend.read(0, layout.HEAD_BYTES), backend.name)
    except KistError as error:
        if overwrite:
            return False
        # A store of a newer kist, or a damaged one, stays what it is.
        raise type(error)(
            f"{error}; mode 'w' replaces such a file only with overwrite=True"
        ) from error
    return True
