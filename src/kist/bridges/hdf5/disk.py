"""A file that takes what HDF5 writes, and keeps the first error until HDF5 is done."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Final

__all__ = ["Enduring"]

_MOST: Final = 1 << 30  # a call of the system takes less than 2 GiB


class Enduring:
    """A new file for h5py's driver of Python objects, which never fails while HDF5 uses it.

    A library that cannot write what it has cached crashes when it closes the file. So it is told
    that all went well, and leaving the ``with`` block raises what went wrong first.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
        )
        self._at = 0
        self._end = 0
        self._error: OSError | None = None

    def __enter__(self) -> Enduring:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to an offset."""
        self._at = offset + (0, self._at, self._end)[whence]
        return self._at

    def tell(self) -> int:
        """Return the offset."""
        return self._at

    def write(self, data: Any) -> int:
        """Write all of some bytes."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            while self._error is None and done < len(view):
                os.lseek(self._file, self._at + done, os.SEEK_SET)
                done += os.write(self._file, view[done : done + _MOST])
        except OSError as error:
            self._error = error
        self._at += len(view)
        self._end = max(self._end, self._at)
        return len(view)

    def read(self, size: int = -1) -> bytes:
        """Return bytes from here on."""
        left = max(0, self._end - self._at)
        found = bytearray(left if size < 0 else min(size, left))
        self.readinto(found)
        return bytes(found)

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as the buffer has; zeros where nothing was written."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view):
            os.lseek(self._file, self._at + done, os.SEEK_SET)
            part = os.read(self._file, min(_MOST, len(view) - done))
            if not part:
                view[done:] = bytes(len(view) - done)
                break
            view[done : done + len(part)] = part
            done += len(part)
        self._at += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Give the file a length."""
        self._end = self._at if size is None else size
        try:
            if self._error is None:
                os.ftruncate(self._file, self._end)
        except OSError as error:
            self._error = error
        return self._end

    def flush(self) -> None:
        """Do nothing: nothing is kept here."""
