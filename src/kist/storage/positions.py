"""Reading at a place of a file, on systems with and without a call for that."""

from __future__ import annotations

import os
import threading

__all__ = ["OPEN_FLAGS", "read_at", "read_by_seeking"]

OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""To open what should be a file: a pipe does not keep the call waiting."""

_MOST = 1 << 30  # a call of the system takes less than 2 GiB
_turn = threading.Lock()


def read_by_seeking(fd: int, buffer: memoryview, offset: int) -> int:
    """Read into a buffer from a place on; returns how many bytes, 0 at the end of the file."""
    with _turn:  # a descriptor has one position
        os.lseek(fd, offset, os.SEEK_SET)
        data = os.read(fd, min(len(buffer), 1 << 24))
    buffer[: len(data)] = data
    return len(data)


if hasattr(os, "preadv"):

    def read_at(fd: int, buffer: memoryview, offset: int) -> int:
        """Read into a buffer from a place on; returns how many bytes, 0 at the end of the file."""
        return os.preadv(fd, [buffer[:_MOST]], offset)

else:
    read_at = read_by_seeking
