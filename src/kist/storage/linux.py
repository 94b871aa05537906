"""What of locks and syncs is particular to Linux."""

from __future__ import annotations

import fcntl
import os
import struct
import sys

__all__ = [
    "GETLK",
    "SETLK",
    "TESTED",
    "link_of",
    "pack_lock",
    "start_writing",
    "sync",
    "unpack_lock",
]

TESTED = True
SETLK: int | None = getattr(fcntl, "F_OFD_SETLK", None)
GETLK: int | None = getattr(fcntl, "F_OFD_GETLK", None)
if sys.maxsize <= 1 << 32:
    SETLK = GETLK = None  # off_t may have 32 bits: there is no room for our bytes

# struct flock where off_t has 64 bits: type, whence, start, length, pid (0 for OFD locks).
_FLOCK = struct.Struct("hhqqi4x")

sync = getattr(os, "fdatasync", os.fsync)
"""Return when the bytes, and the length that is needed to read them, are on the device."""


_WRITE = 2  # SYNC_FILE_RANGE_WRITE


def start_writing(fd: int) -> None:
    """Have the kernel begin to write what is new in a file; a hint that never fails.

    Without it the kernel waits for the sync, or half a minute, and the device idles meanwhile.
    An error of the device is kept for the next sync, which reports it.
    """
    import ctypes

    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call(fd, ctypes.c_int64(0), ctypes.c_int64(0), _WRITE)


def link_of(fd: int) -> str:
    """Return the path under which the kernel knows an open file; "" where it does not tell.

    Unlike ``stat`` this does not ask for the times of the file. From Linux 6.13 on, a write after
    that question notes a time of its own, and its sync takes longer: together 15 us of a commit.
    """
    try:
        return os.readlink(f"{_descriptors}{fd}")
    except OSError:  # no /proc
        return ""


def _descriptors_of_this_process() -> str:
    """Return the folder of its open files, by its number: by way of ``self`` takes 5 us more."""
    try:
        own = os.readlink("/proc/self")
    except OSError:
        own = ""
    # A /proc of other processes, as a container may have, counts them otherwise.
    return f"/proc/{own if own == str(os.getpid()) else 'self'}/fd/"


_descriptors = _descriptors_of_this_process()


def _after_fork_in_child() -> None:
    global _descriptors
    _descriptors = _descriptors_of_this_process()


os.register_at_fork(after_in_child=_after_fork_in_child)


def pack_lock(kind: int, start: int, length: int) -> bytes:
    """Return a ``struct flock``."""
    return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)


def unpack_lock(answer: bytes) -> tuple[int, int, int]:
    """Return (type, first byte, length) of a ``struct flock``."""
    kind, _, start, length, _ = _FLOCK.unpack(answer)
    return kind, start, length
