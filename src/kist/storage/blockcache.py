"""Blocks of files far away in a folder of this machine: bounded, verified, shared by processes.

::

    <folder>/<32 hex digits: address and version>/<number of the block>.block

Each file holds the sum of its block and the block. Nothing else is written down: to look a
block up is to open its file, to write one is to write it under another name and rename it, and so
any number of processes may do so at the same time. A version that nobody reads any more goes when
room is needed, like every block that was not used for long.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import xxhash

from kist.errors import StorageError
from kist.storage.pieces import Range
from kist.storage.transport import Version

__all__ = ["BLOCK_BYTES", "BlockCache"]

BLOCK_BYTES: Final = 64 * 1024
_SUM_BYTES: Final = 16
_FOLDER: Final = re.compile("[0-9a-f]{32}")
_FILE: Final = re.compile(r"[0-9a-f]{8,}\.block(\.[0-9a-f]{8}\.part)?")
_COUNTS: Final = 16
"""Times that the folder is counted while as much is written as it may hold."""
_SLACK: Final = 0.9  # of the limit: what is left when room was made


class BlockCache:
    """The blocks of one version of one file.

    Parameters
    ----------
    folder : path
        Made when it is missing; may serve any number of files.
    name : str
        Address of the file, with all that leads to its content.
    version : Version
        Of the file.
    limit : int
        Bytes of all files in the folder.

    Raises
    ------
    StorageError
        The folder cannot be made or written to.
    """

    def __init__(
        self, folder: str | os.PathLike[str], name: str, version: Version, limit: int
    ) -> None:
        self.root = os.path.abspath(os.path.expanduser(os.fspath(folder)))
        self.size = version.size
        self.limit = limit
        facts = "\0".join((name, str(version.size), version.etag, version.modified))
        self.folder = os.path.join(self.root, hashlib.sha256(facts.encode()).hexdigest()[:32])
        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cache {self.root!r} cannot be used: {error.strerror}") from error
        self._lock = threading.Lock()
        self._left = self._part_of(self._room())  # to be written before somebody counts

    def blocks_of(self, start: int, stop: int) -> range:
        """Return the numbers of the blocks of a range."""
        return range(start // BLOCK_BYTES, -(-stop // BLOCK_BYTES))

    def range_of(self, number: int) -> Range:
        """Return the bytes of a block."""
        return number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, self.size)

    def get(self, number: int) -> bytes | None:
        """Return a block, None unless it is there and whole."""
        path = self._path(number)
        try:
            with open(path, "rb") as file:
                data = file.read()
            os.utime(path)  # used: it is among the last to go
        except OSError:
            return None  # never there, or just taken away by another process
        start, stop = self.range_of(number)
        body = data[_SUM_BYTES:]
        if len(body) == stop - start and _sum(self.folder, number, body) == data[:_SUM_BYTES]:
            return body
        with suppress(OSError):  # another process was faster
            os.unlink(path)
        return None

    def put(self, number: int, body: bytes) -> None:
        """Keep a block; a full disk only means that it is not kept."""
        with self._lock:
            self._left -= len(body)
            crowded = self._left < 0
        if crowded:
            self._make_room()
        path = self._path(number)
        part = f"{path}.{secrets.token_hex(4)}.part"
        try:
            # Empty folders go when room is made, also by processes that know nothing of this one.
            os.makedirs(self.folder, exist_ok=True)
            with open(part, "wb") as file:
                file.write(_sum(self.folder, number, body) + body)
            os.replace(part, path)
        except OSError:
            with suppress(OSError):
                os.unlink(part)

    def clear(self) -> None:
        """Forget every block of this version."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # then `put` keeps nothing
            os.makedirs(self.folder, exist_ok=True)

    def _path(self, number: int) -> str:
        return os.path.join(self.folder, f"{number:08x}.block")

    def _folders(self) -> Iterator[str]:
        """Yield the folders of all versions; what else stands beside them is not ours."""
        for name in os.listdir(self.root):
            if _FOLDER.fullmatch(name):
                yield os.path.join(self.root, name)

    def _files(self) -> Iterator[tuple[int, int, str]]:
        """Yield (time of use, bytes, path) of every file of the whole folder."""
        for folder in self._folders():
            names: list[str] = []
            with suppress(OSError):  # gone by now, or no folder
                names = os.listdir(folder)
            for name in filter(_FILE.fullmatch, names):
                path = os.path.join(folder, name)
                with suppress(OSError):
                    found = os.stat(path)
                    yield found.st_mtime_ns, found.st_size, path

    def _room(self) -> int:
        return self.limit - sum(size for _, size, _ in self._files())

    def _part_of(self, room: int) -> int:
        # Others write as well, and each knows only what it has written itself.
        return min(room, self.limit // _COUNTS)

    def _make_room(self) -> None:
        with self._lock:
            files = sorted(self._files())
            total = sum(size for _, size, _ in files)
            goal = int(self.limit * _SLACK) - BLOCK_BYTES
            for _, size, path in files:
                if total <= goal:
                    break
                with suppress(OSError):
                    os.unlink(path)
                total -= size
            self._left = self._part_of(self.limit - total - BLOCK_BYTES)
        for other in self._folders():
            if other != self.folder:
                with suppress(OSError):  # not empty
                    os.rmdir(other)


def _sum(folder: str, number: int, body: bytes) -> bytes:
    """Return the sum of a block, which holds for its file and place alone."""
    found = xxhash.xxh3_128(os.path.basename(folder).encode() + number.to_bytes(8, "little"))
    found.update(body)
    return found.digest()
