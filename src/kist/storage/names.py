"""Names of files that are whole: given without replacing what came in between, and made durable."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from kist.errors import StorageError, StoreExistsError

__all__ = ["give_name", "is_still", "refused", "remove", "sync_folder"]

# Where a file system has no second names for files.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)


def give_name(part: str, target: str, *, overwrite: bool) -> None:
    """Give a file that is complete its name.

    Raises
    ------
    OSError
        `target` is there already, without `overwrite`, or cannot be given.
    """
    if overwrite:
        os.replace(part, target)
        return
    try:
        os.link(part, target)  # unlike a rename, it never replaces what came in between
    except OSError as error:
        if error.errno not in _NO_LINKS or os.path.lexists(target):
            raise
        os.rename(part, target)
        return
    os.unlink(part)


def is_still(target: str, made: os.stat_result) -> bool:
    """Tell whether a name is that of a file that was made, and of none that came in its place.

    Raises
    ------
    OSError
        Nothing has this name.
    """
    found = os.lstat(target)
    # The number of a file that is gone may be given to the next one.
    return os.path.samestat(found, made) and found.st_mtime_ns == made.st_mtime_ns


def remove(part: str) -> None:
    """Remove a file that may have its name by now, or never have been there.

    Raises
    ------
    OSError
        It is there and cannot be removed. A read-only file system would refuse even what is not.
    """
    if os.path.lexists(part):
        with suppress(FileNotFoundError):
            os.unlink(part)


def sync_folder(folder: str) -> None:
    """Return when the names in a folder are on the device.

    Raises
    ------
    OSError
        They may not be.
    """
    if os.name == "nt":  # folders have no descriptors there, and names need no sync
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def refused(path: str, what: str, error: OSError) -> StorageError:
    """Return the error of kist for what the system refuses to do with a name."""
    kind = StoreExistsError if error.errno == errno.EEXIST else StorageError
    found = kind(f"{path!r}: {what}: {error.strerror}")
    found.errno, found.filename = error.errno, path
    return found
