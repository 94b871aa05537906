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


def link_of(fd: int) -> str:
    """Return the path under which the kernel knows an open file; "" where it does not tell.

    Unlike ``stat`` this does not ask for the times of the file. From Linux 6.13 on, a write after
    that question notes a time of its own, and its sync takes longer: together 15 us of a commit.
    """
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # no /proc
        return ""


def pack_lock(kind: int, start: int, length: int) -> bytes:
    """Return a ``struct flock``."""
    return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)


def unpack_lock(answer: bytes) -> tuple[int, int, int]:
    """Return (type, first byte, length) of a ``struct flock``."""
    kind, _, start, length, _ = _FLOCK.unpack(answer)
    return kind, start, length
