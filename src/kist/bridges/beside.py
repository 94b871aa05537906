"""Files and folders under a name beside their own, which they get once they are on the device."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from itertools import islice
from secrets import token_hex
from typing import Final

from kist.bridges.sources import files_of
from kist.errors import StorageError, StoreExistsError, StoreNotFoundError, call_by_name

__all__ = ["beside"]

_MANY: Final = 256
"""So many files and folders are synced by one call, with whatever else their file system has."""

_SYNCED_WHOLE: Final = ("ext3", "ext4", "xfs", "f2fs")
"""File systems whose sync is that of each file. What a server keeps, or a process, may be told of a
file that is synced, and not of a sync of all."""


@contextlib.contextmanager
def beside(target: str, *, overwrite: bool, sync: bool = True) -> Iterator[str]:
    """Give a name beside the target for what is being written; it becomes the target, or goes.

    With `sync` it is on the device before it gets its name. Errors of the block that name it
    name the target instead.

    Raises
    ------
    StoreExistsError
        There is something at the target.
    StoreNotFoundError
        The folder is missing in which it would be.
    """
    if not overwrite and os.path.lexists(target):
        raise StoreExistsError(f"{target}: exists; overwrite=True (--overwrite) replaces it")
    folder, name = os.path.split(os.path.abspath(target))
    if not os.path.isdir(folder):
        missing = StoreNotFoundError(f"{target}: there is no folder {folder!r}; make it first")
        missing.errno, missing.filename = errno.ENOENT, target
        raise missing
    part = os.path.join(folder, f".{name}.{token_hex(4)}.part")
    try:
        try:
            yield part
        except Exception as error:
            call_by_name(error, part, target)
            raise
        try:
            if sync:
                _sync_all(part)
            if os.path.isdir(target) and not os.path.islink(target):
                shutil.rmtree(target)
            os.replace(part, target)
            if sync:
                _sync(folder)
        except OSError as error:
            raise StorageError(f"{target}: cannot be written: {error}") from error
    finally:
        if os.path.isdir(part):
            shutil.rmtree(part)
        elif os.path.lexists(part):
            os.unlink(part)


def _sync_all(part: str) -> None:
    """Make a file, or a folder and all that is in it, durable.

    400,000 files and folders, of 100,000 arrays of Zarr, take minutes one by one.
    """
    first = sum(1 for _ in islice(files_of(part), _MANY))
    if first < _MANY or not _sync_file_system(part):
        for path in files_of(part):
            _sync(path)


def _sync_file_system(path: str) -> bool:
    """Make all of the file system durable in which a path is; False where that is not certain."""
    if sys.platform != "linux" or not _tells_errors() or _kind_of(path) not in _SYNCED_WHOLE:
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is None:
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        if call(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(handle)
    return True


def _tells_errors() -> bool:
    """Tell whether this Linux says that data were not written: before 5.8 it did not."""
    found = platform.release().split(".")[:2]
    return all(part.isdigit() for part in found) and tuple(map(int, found)) >= (5, 8)


def _kind_of(path: str) -> str | None:
    """Return the kind of the file system in which a path is, as Linux calls it."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError), open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if before.split()[2] == number:
                return after.split()[0]
    return None


def _sync(path: str) -> None:
    """Make a file, or the names in a folder, durable."""
    is_folder = os.path.isdir(path)
    if is_folder and os.name == "nt":  # folders have no descriptors there
        return
    # Some systems sync only what may be written to, and none opens a folder for that.
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
