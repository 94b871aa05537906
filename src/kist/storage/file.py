"""A store in a file: pread, pwritev, fdatasync, and errors that say where.

Never stdio and never ``ndarray.tofile``: both swallow the failure of their last block.
Interrupted calls are taken up again by Python itself (PEP 475); short counts are looped over
here; ``close`` is never repeated, because its descriptor is gone either way.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from kist.errors import (
    MountWarning,
    NotAStoreError,
    ReadOnlyError,
    StaleHandleError,
    StorageError,
    StoreClosedError,
    StoreExistsError,
    StoreNotFoundError,
)
from kist.storage import mounts
from kist.storage.base import StorageBackend, bytes_of, view_of
from kist.storage.names import sync_folder
from kist.storage.ofd import HAVE_OFD, FileLocks, system

if TYPE_CHECKING:
    from kist.storage.base import Look, Readable, Writable

__all__ = ["FileBackend"]

IOV_MAX = os.sysconf("SC_IOV_MAX") if "SC_IOV_MAX" in os.sysconf_names else 1024
if IOV_MAX <= 0:  # "no limit"
    IOV_MAX = 1024
_fdatasync = system.sync  # a name of its own, to make it fail in tests
# Reads above this are first compared with what the file holds: a hostile length must not
# make pread allocate it.
_LARGE_READ = 1 << 24
# So many bytes wait for the sync at most: the device works while the next ones are compressed.
EARLY_BYTES = 1 << 22


class FileBackend(StorageBackend):
    """A file.

    Parameters
    ----------
    path : str or path-like
        Relative ones hold for the current directory of this moment.
    writable : bool
        Open for reading and writing.
    create : bool
        Make the file when there is none; `created` tells whether that happened.
    exclusive : bool
        Make the file, and raise when there is one.
    shared : bool
        Whether others may open it: if not, it does not matter what its mount is for several.

    Raises
    ------
    StoreNotFoundError, StoreExistsError
        There is no file, or `exclusive` and there is one.
    NotAStoreError
        The path leads to a directory, a device or a pipe.
    ReadOnlyError
        `writable`, and the file or its file system does not allow it.
    StorageError
        Anything else; ``errno`` and ``filename`` are set. Also when `writable` on a system
        without OFD locks, where nothing could keep two writers apart.

    Notes
    -----
    In a forked child the descriptors are closed at once, and with the first read the file is
    opened again, for reading; writing raises `ReadOnlyError` there.
    """

    takes_threads = True
    locks: FileLocks
    # `__del__` looks at them, also where Ctrl-C came before anything was set.
    _fd = -1
    _closed = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        writable: bool = False,
        create: bool = False,
        exclusive: bool = False,
        shared: bool = True,
    ) -> None:
        self.path = self.name = os.path.abspath(os.fspath(path))
        try:
            if b"\0" in os.fsencode(self.path):
                raise ValueError("there is a zero byte in it")
        except ValueError as error:  # also of text that no name of a file has
            raise StorageError(f"{self.path!r} is no path: {error}") from None
        if writable and not HAVE_OFD:
            raise StorageError(
                f"{self.path!r}: writing needs open file description locks (Linux 3.15 or "
                "later, 64 bits), which this system does not have; reading works"
            )
        rule = mounts.allow_writing(self.path) if writable and shared else None
        if writable and not system.TESTED:
            from kist._kernels.callers import user_level

            warnings.warn(
                f"{self.path!r}: kist has never been tested on {sys.platform}: keep backups",
                MountWarning,
                stacklevel=user_level(),
            )
        if (create or exclusive) and not writable:
            raise ValueError("a file that is created must be writable")
        self.writable = writable
        self._reopening = threading.Lock()
        self._unstarted = 0  # bytes that the device may not have begun with
        self._fd, self.created = self._open(create, exclusive)
        try:
            try:
                found = os.fstat(self._fd)
            except OSError as error:
                raise self._failed("stat", error) from None
            if not stat.S_ISREG(found.st_mode):
                raise _not_a_file(self.path, found.st_mode)
        except BaseException:
            fd, self._fd = self._fd, -1
            with suppress(OSError):  # the first error says more
                os.close(fd)
            raise
        self._inode = (found.st_dev, found.st_ino)
        self._link = ""  # what the kernel calls the file where that is enough to know it again
        self.append_only = rule is not None and rule.network
        self.locks = FileLocks(self.path, self._fd, writable, self.append_only)
        super().__init__()

    def _open(self, create: bool, exclusive: bool) -> tuple[int, bool]:
        # Without O_NONBLOCK a pipe would keep the open waiting for its other end.
        flags = os.O_CLOEXEC | os.O_NONBLOCK | (os.O_RDWR if self.writable else os.O_RDONLY)
        try:
            if create and not exclusive:
                # Who creates has to know it, to give the name back if the rest fails.
                try:
                    return os.open(self.path, flags), False
                except FileNotFoundError:
                    try:
                        return os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o666), True
                    except FileExistsError:
                        # Somebody was quicker, or the path is a link to nowhere.
                        return os.open(self.path, flags | os.O_CREAT, 0o666), False
            if exclusive:
                return os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o666), True
            return os.open(self.path, flags), False
        except OSError as error:
            raise self._not_opened(error, create or exclusive) from None

    def _not_opened(self, error: OSError, creating: bool) -> Exception:
        if error.errno == errno.EISDIR:
            return _not_a_file(self.path, stat.S_IFDIR)
        if error.errno in (errno.ENXIO, errno.ENODEV):
            return _not_a_file(self.path, stat.S_IFSOCK)
        found: StorageError
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            folder = os.path.dirname(self.path)
            missing = f"no folder {folder!r}" if creating else "no such file; mode 'a' makes one"
            found = StoreNotFoundError(f"{self.path!r}: {missing}")
        elif error.errno == errno.EEXIST:
            found = StoreExistsError(f"{self.path!r} exists already")
        elif self.writable and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            found = ReadOnlyError(f"{self.path!r} cannot be written to: {error.strerror}")
        else:
            return self._failed("open", error)
        found.errno = error.errno
        found.filename = self.path
        return found

    def _failed(self, operation: str, error: OSError) -> StorageError:
        found = StorageError(f"{self.path!r}: {operation}: {error.strerror}")
        found.errno = error.errno
        found.filename = self.path
        return found

    # Reading

    def size(self) -> int:
        try:
            return os.fstat(self._fd).st_size
        except OSError as error:
            self._again_or_raise("size", error)
            return self.size()

    def read(self, offset: int, n: int) -> bytes:
        if n > _LARGE_READ:
            n = max(0, min(n, self.size() - offset))
        try:
            data = os.pread(self._fd, n, offset)
            if len(data) != n and data:
                data += self._read_rest(offset + len(data), n - len(data))
        except OSError as error:
            self._again_or_raise(f"read {n} bytes at {offset}", error)
            return self.read(offset, n)
        stats = self.stats
        stats.reads += 1
        stats.read_bytes += len(data)
        return data

    def _read_rest(self, offset: int, n: int) -> bytes:
        """Read on behind a short count, until the file ends."""
        pieces = []
        while n and (data := os.pread(self._fd, n, offset)):
            pieces.append(data)
            offset += len(data)
            n -= len(data)
        return b"".join(pieces)

    def read_into(self, offset: int, buffer: Writable) -> int:
        if offset < 0:
            _check_offset(offset)
        view = memoryview(buffer)  # type: ignore[arg-type]
        n = view.nbytes
        try:
            got = os.preadv(self._fd, (view,), offset)
            if 0 < got < n:
                rest = bytes_of(view)
                while got < n and (more := os.preadv(self._fd, (rest[got:],), offset + got)):
                    got += more
        except OSError as error:
            self._again_or_raise(f"read {n} bytes at {offset}", error)
            return self.read_into(offset, buffer)
        self.stats.reads += 1
        self.stats.read_bytes += got
        return got

    def map(self, offset: int, n: int, commit: int) -> tuple[Readable, int]:
        _check_offset(offset)
        skip = offset % mmap.ALLOCATIONGRANULARITY
        try:
            fd = self.locks.pinned(commit)
            try:
                n = max(0, min(n, os.fstat(fd).st_size - offset))
                # The map keeps a duplicate of the descriptor, and so the pin, until it goes.
                found = mmap.mmap(fd, n + skip, access=mmap.ACCESS_READ, offset=offset - skip)
            finally:
                os.close(fd)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and not isinstance(error, StorageError):
                raise self._failed(f"map {n} bytes at {offset}", error) from None
            raise
        return found, skip

    def _again_or_raise(self, operation: str, error: OSError) -> None:
        """Open the file again if that is all that is wrong, which happens after a fork."""
        if error.errno != errno.EBADF or self._fd >= 0:
            raise self._failed(operation, error) from None
        if self._closed:
            raise StoreClosedError(f"{self.path!r} is closed") from None
        with self._reopening:
            if self._fd >= 0:
                return  # another thread did it
            fd, _ = self._open(False, False)
            found = os.fstat(fd)
            if (found.st_dev, found.st_ino) != self._inode:
                os.close(fd)
                raise StaleHandleError(
                    f"{self.path!r} was replaced by another file since this process was forked: "
                    "open it again"
                ) from None
            self._fd = fd
            self.locks.reopened(fd)

    # Writing

    def _check_writable(self) -> None:
        if self._closed:
            raise StoreClosedError(f"{self.path!r} is closed")
        if not self.writable:
            why = (
                "before a fork: open it again in this process"
                if self.forked
                else ("for reading only")
            )
            raise ReadOnlyError(f"{self.path!r} was opened {why}")

    def write(self, offset: int, buffers: Sequence[Readable]) -> None:
        if self._closed or not self.writable:
            self._check_writable()
        if offset < 0:
            _check_offset(offset)
        count = len(buffers)
        if count == 1 and buffers[0].__class__ is bytes:  # as most commits write
            n = len(buffers[0])
        elif count <= IOV_MAX:
            n = _bytes_in(buffers)
        else:
            for first in range(0, count, IOV_MAX):
                part = buffers[first : first + IOV_MAX]
                self.write(offset, part)
                offset += _bytes_in(part)
            return
        stats = self.stats
        stats.writes += 1
        try:
            done = os.pwritev(self._fd, buffers, offset)  # type: ignore[arg-type]
            if done != n:
                self._write_rest(offset, buffers, done)
        except OSError as error:
            raise self._failed(f"write at {offset}", error) from None
        stats.write_bytes += n
        self._unstarted = unstarted = self._unstarted + n
        if unstarted >= EARLY_BYTES and self.eager:
            self._unstarted = 0
            system.start_writing(self._fd)

    def _write_rest(self, offset: int, buffers: Sequence[Readable], done: int) -> None:
        """Write what a short count has left over of `buffers`."""
        at = offset
        for buffer in buffers:
            view = view_of(buffer)
            if at + view.nbytes > offset + done:
                data = bytes_of(view)
                skip = max(0, offset + done - at)
                while skip < len(data):
                    more = os.pwrite(self._fd, data[skip:], at + skip)
                    if more == 0:
                        raise OSError(errno.EIO, "the device takes no more bytes")
                    skip += more
            at += view.nbytes

    def resize(self, n: int) -> None:
        self._check_writable()
        try:
            os.ftruncate(self._fd, n)
        except OSError as error:
            raise self._failed(f"resize to {n} bytes", error) from None

    def sync(self) -> None:
        if self._closed or not self.writable:
            self._check_writable()
        if not self.lasts:
            return
        self.stats.syncs += 1
        self._unstarted = 0
        try:
            _fdatasync(self._fd)
        except OSError as error:
            raise self._failed("sync", error) from None

    def sync_directory(self) -> None:
        self._check_writable()
        if not self.lasts:
            return
        self.stats.directory_syncs += 1
        path = self.path  # links on the way to the folder lead to it whoever asks
        folder = os.path.dirname(os.path.realpath(path) if os.path.islink(path) else path)
        try:
            sync_folder(folder)
        except OSError as error:
            raise self._failed(f"sync folder {folder!r}", error) from None

    def same_file(self) -> bool:
        link = system.link_of(self._fd)
        if link and link == self._link:
            return True  # neither moved nor deleted since its path was seen to lead to it
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._failed("stat", error) from None
        same = (found.st_dev, found.st_ino) == self._inode
        # A path with symbolic links in it may lead elsewhere next time, and on a network mount
        # another machine may put a file in its place: those are asked each time.
        straight = same and link == self.path and not self.append_only
        self._link = link if straight else ""
        return same

    def take_turn(self, first: tuple[int, int], second: tuple[int, int]) -> Look | None:
        locks, fd, look = self.locks, self._fd, None
        if not locks.take_writer():
            return None
        try:
            link = system.link_of(fd)
            if (link and link == self._link) or self.same_file():
                one = os.pread(fd, first[1], first[0])
                two = os.pread(fd, second[1], second[0])
                if len(one) == first[1] and len(two) == second[1]:
                    look = one, two
                    self.stats.reads += 2
                    self.stats.read_bytes += len(one) + len(two)
        except OSError as error:
            raise self._failed("look at the log and the slots", error) from None
        finally:
            if look is None:
                locks.release_writer()
        return look

    # Life

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        fd, self._fd = self._fd, -1
        try:
            self.locks.close()
        finally:
            if fd >= 0:
                try:
                    os.close(fd)
                except OSError as error:
                    raise self._failed("close", error) from None

    def __del__(self) -> None:
        if self._fd >= 0 and not self._closed:
            warnings.warn(f"{self.path!r} was not closed", ResourceWarning, 2, source=self)
            self.close()

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        fd, self._fd = self._fd, -1
        self.writable = False
        self._reopening = threading.Lock()
        self._unstarted = 0  # bytes that the device may not have begun with
        self.locks.after_fork_in_child()
        if fd >= 0:
            os.close(fd)


def _bytes_in(buffers: Sequence[Readable]) -> int:
    return sum([len(b) if b.__class__ is bytes else view_of(b).nbytes for b in buffers])


def _check_offset(offset: int) -> None:
    # To preadv and pwritev of Linux -1 means "where the descriptor stands".
    if offset < 0:
        raise ValueError(f"there is no byte {offset}")


def _not_a_file(path: str, mode: int) -> NotAStoreError:
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    kind = next((text for test, text in kinds if test(mode)), "not a regular file")
    return NotAStoreError(f"{path!r} is {kind}; a store is a regular file")
