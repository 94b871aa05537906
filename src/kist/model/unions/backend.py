"""Several files read as one: the number of the file stands before the offset in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from kist.engine.view import Reader
from kist.errors import CorruptDataError, ReadOnlyError
from kist.model.tables.stored.joined import FILE_BITS
from kist.storage.base import StorageBackend

if TYPE_CHECKING:
    from kist.format.sealedstore import SealedExtent
    from kist.format.values import Pointer
    from kist.storage.base import Readable, Writable

__all__ = ["MAX_FILES", "FilesBackend", "FilesReader", "of_file"]

MAX_FILES: Final = 1 << 16
_OFFSET: Final = (1 << FILE_BITS) - 1


def of_file(error: CorruptDataError, name: str) -> CorruptDataError:
    """Return an error of one of many files with the name of that file, where it has one."""
    if not name:
        return error
    return CorruptDataError(f"{name!r}: {error}", offset=error.offset, node=error.node)


class FilesBackend(StorageBackend):
    """Reads the files of several stores, which stay those of their stores.

    Parameters
    ----------
    files : sequence of StorageBackend
        At most `MAX_FILES`.
    """

    writable = False

    def __init__(self, files: Sequence[StorageBackend]) -> None:
        super().__init__()
        self._files = tuple(files)
        self.name = f"{len(self._files)} files"
        self.remote = any(file.remote for file in files)

    def file_name(self, number: int) -> str:
        """Return the name of a file."""
        return self._files[number].name

    def size(self) -> int:
        """Return the length of all files together."""
        return sum(file.size() for file in self._files)

    def read(self, offset: int, n: int) -> bytes:
        """Return bytes of the file that the offset names."""
        return self._files[offset >> FILE_BITS].read(offset & _OFFSET, n)

    def read_into(self, offset: int, buffer: Writable) -> int:
        """Fill a buffer from the file that the offset names."""
        return self._files[offset >> FILE_BITS].read_into(offset & _OFFSET, buffer)

    def map(self, offset: int, n: int, commit: int) -> tuple[Readable, int]:
        """Return memory that shows bytes of the file that the offset names."""
        return self._files[offset >> FILE_BITS].map(offset & _OFFSET, n, commit)

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Bring ranges near, those of each file in one round trip."""
        by_file: dict[int, list[tuple[int, int]]] = {}
        for start, stop in ranges:
            number = start >> FILE_BITS
            own = (start & _OFFSET, stop - (number << FILE_BITS))
            by_file.setdefault(number, []).append(own)
        for number, own_ranges in by_file.items():
            self._files[number].prefetch(own_ranges)

    def is_near(self, start: int, stop: int) -> bool:
        """Tell whether a range is read without waiting for a network."""
        number = start >> FILE_BITS
        return self._files[number].is_near(start & _OFFSET, stop - (number << FILE_BITS))

    def distrust(self) -> None:
        """Forget what was kept of the files."""
        for file in self._files:
            file.distrust()

    def write(self, offset: int, buffers: Sequence[Readable]) -> None:
        """Refuse: each file is written through its own store."""
        raise ReadOnlyError("files that are read as one are written through their stores")

    def resize(self, n: int) -> None:
        """Refuse: each file is written through its own store."""
        raise ReadOnlyError("files that are read as one are written through their stores")

    def sync(self) -> None:
        """Nothing was written."""

    def sync_directory(self) -> None:
        """Nothing was named."""

    def close(self) -> None:
        """The files are closed with their stores."""


class FilesReader(Reader):
    """Reads the files of a union; what is sealed as a whole is opened by the reader of its file.

    Parameters
    ----------
    backend : FilesBackend
        The files.
    readers : sequence of Reader
        Of the files, by their number.
    """

    def __init__(self, backend: FilesBackend, readers: Any) -> None:
        super().__init__(backend)
        self._readers = readers

    def unsealed(self, pointer: SealedExtent, start: int, length: int) -> bytes:
        """Bytes of the plaintext of an extent of a sealed store."""
        number, own = _member(pointer)
        found: bytes = self._readers[number].unsealed(own, start, length)
        return found

    def body(self, pointer: Pointer, raw: memoryview) -> memoryview:
        """Body of a frame as readers want it, given its bytes in the file."""
        if not pointer.is_vouched:
            return raw
        number, own = _member(pointer)
        found: memoryview = self._readers[number].body(own, raw)
        return found


def _member(pointer: Pointer) -> tuple[int, Any]:
    """Return the number of a file, and a pointer as it stands there."""
    return pointer.offset >> FILE_BITS, pointer._replace(offset=pointer.offset & _OFFSET)
