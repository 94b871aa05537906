"""Making a store, and finding the right one to open."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kist.errors import KistError, NotAStoreError, SecretError, StoreExistsError
from kist.format import layout, superblock
from kist.format.keys import FIRST_NODE
from kist.format.superblock import Slot, Super
from kist.storage import FileBackend
from kist.storage.base import StorageBackend

if TYPE_CHECKING:
    from kist.crypto.secret import Secret
    from kist.engine.sealedstore import StoreSealing

MODES = ("r", "r+", "a", "w", "x")


def create(
    backend: StorageBackend,
    encrypt: Mapping[str, Secret] | None = None,
    *,
    sealing: StoreSealing | None = None,
) -> None:
    """Write an empty store, durable with its name when this returns.

    Sealed with `encrypt`, or with a `sealing` that is there.

    The headers come last: until one is there the file is "not a finished store", which a later
    writer may begin again, over whatever the first attempt left.
    """
    super_ = Super(os.urandom(16), time.time_ns())
    if encrypt is not None:
        from kist.engine.sealedstore import make_sealing

        sealing = make_sealing(encrypt, backend.name)
    if sealing is not None:
        super_ = super_._replace(features_read=layout.FEATURE_SEALED)
    slots = empty_slots(super_.uuid)
    if sealing is not None:
        slots = list(map(sealing.sign, slots))
    ring = bytes(2 * layout.RING_HALF)
    backend.write(layout.SLOT_OFFSETS[0], slots)
    backend.write(layout.RING_OFFSET, [ring])
    backend.sync()
    backend.write(layout.SUPER_OFFSET, [super_.pack()])
    backend.write(layout.SUPER_COPY_OFFSET, [super_.pack()])
    backend.sync()
    backend.sync_directory()


def empty_slots(uuid: bytes) -> list[bytes]:
    """Both slots of a store with nothing in it, as they stand in its file."""
    return [
        Slot(number, 0, 0, position, layout.DATA_OFFSET, FIRST_NODE, None, bytes(16)).pack(uuid)
        for number, position in (
            (2, layout.RING_OFFSET),
            (1, layout.RING_OFFSET + layout.RING_HALF),
        )
    ]


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
        seal = offset + layout.SLOT_SEAL_OFFSET
        if data[seal : seal + 4] == layout.SLOT_SEAL_MAGIC:
            data[seal : offset + layout.BLOCK] = bytes(layout.BLOCK - layout.SLOT_SEAL_OFFSET)
    return not data.strip(b"\0")


def create_if_unfinished(
    backend: StorageBackend, timeout: float | None, encrypt: Mapping[str, Secret] | None = None
) -> None:
    """Write an empty store unless a finished one is there."""
    if is_unfinished(backend):
        backend.locks.acquire_writer(timeout)
        try:
            if is_unfinished(backend):  # nobody else did it while we waited
                create(backend, encrypt)
        finally:
            backend.locks.release_writer()


def open_path(
    path: str | os.PathLike[str],
    mode: str,
    timeout: float | None,
    overwrite: bool,
    encrypt: Mapping[str, Secret] | None = None,
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
        create(memory, encrypt)
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
            empty_first = _is_store(backend, overwrite, anew=encrypt is not None)
            if not empty_first:
                _empty(backend, timeout, anew=encrypt is not None)
        create_if_unfinished(backend, timeout, encrypt)
        return backend, empty_first
    except BaseException:
        backend.close()
        raise


def refuse_to_make(path: str | os.PathLike[str], mode: str) -> None:
    """Refuse to make a store in clear, of which the caller says that it is sealed.

    Raises
    ------
    SecretError
        Mode `mode` would make one.
    """
    if mode in ("r", "r+"):
        return
    there = os.fspath(path) != ":memory:" and os.path.exists(path)
    if there:
        backend = FileBackend(path)
        try:
            superblock.unpack_super(backend.read(0, layout.HEAD_BYTES), backend.name)
        except NotAStoreError:
            there = False
        finally:
            backend.close()
    if not there:
        raise SecretError(
            f"{os.fspath(path)}: there is no store, and a secret was given for '/', which says that"
            " a sealed one is: encrypt= makes one"
        )


def _empty(backend: StorageBackend, timeout: float | None, *, anew: bool = False) -> None:
    """Cut a file to nothing; one that is no store only if nobody has made a store of it."""
    backend.locks.acquire_writer(timeout)
    try:
        if anew or not _is_store(backend, True):
            backend.resize(0)
    finally:
        backend.locks.release_writer()


def _is_store(backend: StorageBackend, overwrite: bool, *, anew: bool = False) -> bool:
    """Whether an existing file is a kist store that stays; raises unless it may be overwritten.

    With `anew` none stays: it shall be sealed, and what an emptied store held is still in its file.
    """
    try:
        superblock.unpack_super(backend.read(0, layout.HEAD_BYTES), backend.name)
    except KistError as error:
        if overwrite:
            return False
        # A store of a newer kist, or a damaged one, stays what it is.
        raise type(error)(
            f"{error}; mode 'w' replaces such a file only with overwrite=True"
        ) from error
    if anew and not overwrite:
        raise StoreExistsError(
            f"{backend.name}: there is a store. Mode 'w' empties one, and in the file would stay"
            " what it held and who opens it: overwrite=True puts a new sealed store in its place"
        )
    return not anew
