"""What of locks and syncs is particular to macOS. Untested: it has never run on one.

The kernel has had locks of open file descriptions for years, with the numbers that stand here;
Python's ``fcntl`` does not always name them. Where the kernel refuses them the lock call
fails, and with it every attempt to write: there is no other kind of lock to fall back on.
"""

from __future__ import annotations

import fcntl
import os
import struct

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

TESTED = False
SETLK: int | None = getattr(fcntl, "F_OFD_SETLK", 90)
GETLK: int | None = getattr(fcntl, "F_OFD_GETLK", 92)
_FULLFSYNC: int = getattr(fcntl, "F_FULLFSYNC", 51)

# struct flock of macOS: start, length, pid, type, whence.
_FLOCK = struct.Struct("qqihh")


def sync(fd: int) -> None:
    """Return when bytes and length are on the medium.

    ``fsync`` of macOS leaves them in the cache of the drive, so that a failure of this call must
    not end in one: where a file system refuses it, writing fails.
    """
    fcntl.fcntl(fd, _FULLFSYNC)


def start_writing(fd: int) -> None:
    """Do nothing: no call of macOS begins to write without waiting for it."""


def link_of(fd: int) -> str:
    """Return "": nothing tells the path of an open file for less than ``stat`` takes."""
    return ""


def pack_lock(kind: int, start: int, length: int) -> bytes:
    """Return a ``struct flock``."""
    return _FLOCK.pack(start, length, 0, kind, os.SEEK_SET)


def unpack_lock(answer: bytes) -> tuple[int, int, int]:
    """Return (type, first byte, length) of a ``struct flock``."""
    start, length, _, kind, _ = _FLOCK.unpack(answer)
    return kind, start, length
