"""Files of fsspec: whatever file system a program has opened them with."""

from __future__ import annotations

import errno
from typing import Any

from kist.errors import StorageError
from kist.storage.transport import (
    BUSY,
    REFUSED,
    Changed,
    Missing,
    Transient,
    Transport,
    Version,
    passes,
)

__all__ = ["FsspecTransport", "is_fsspec"]

_ETAGS = ("ETag", "etag", "md5", "checksum", "content_md5")
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")


def is_fsspec(file: object) -> bool:
    """Tell whether something is a file of fsspec, open or not."""
    system = getattr(file, "fs", None)
    return hasattr(system, "cat_file") and isinstance(getattr(file, "path", None), str)


class FsspecTransport(Transport):
    """A file of fsspec, read by ranges past its own buffer.

    Parameters
    ----------
    file : fsspec.core.OpenFile or fsspec.spec.AbstractBufferedFile
        From ``fsspec.open(...)`` or ``fs.open(...)``; may be closed.

    Notes
    -----
    fsspec has no conditional requests: `confirm` asks for the file's facts once more.
    """

    def __init__(self, file: Any) -> None:
        self._system = file.fs
        self._path: str = file.path
        protocol = self._system.protocol
        self._protocol = protocol if isinstance(protocol, str) else protocol[0]
        path = self._path.split("?")[0]
        self.name = path if "://" in path else f"{self._protocol}://{path}"

    def get(self, start: int, stop: int, version: Version | None) -> tuple[bytes, Version]:
        found = version or self._version()
        stop = min(stop, found.size)
        if start >= stop:
            return b"", found
        return self._call(self._system.cat_file, start=start, end=stop), found

    def confirm(self, version: Version) -> None:
        if difference := version.difference(self._version()):
            raise Changed(difference)

    def _version(self) -> Version:
        self._system.invalidate_cache()
        info = self._call(self._system.info)
        size = info.get("size")
        if size is None:
            raise StorageError(f"{self.name!r}: fsspec does not know how long the file is")
        etag = next((str(info[key]) for key in _ETAGS if info.get(key)), "")
        modified = next((str(info[key]) for key in _TIMES if info.get(key)), "")
        return Version(int(size), etag, modified)

    def _call(self, function: Any, **keywords: Any) -> Any:
        try:
            return function(self._path, **keywords)
        except FileNotFoundError:
            raise Missing from None
        except PermissionError as error:
            raise self._refused(error) from None
        except Exception as error:
            # Each file system of fsspec has errors of its own, of any class; those of the web
            # have a status, and those for want of credentials say so in their name.
            reason = f"{type(error).__name__}: {error}"
            status = getattr(error, "status", None)
            status = status if isinstance(status, int) else 0
            if status in REFUSED or "Credential" in type(error).__name__:
                raise self._refused(error) from None
            if not passes(status):
                raise StorageError(
                    f"{self.name!r}: the server refused the request ({reason}); is the address "
                    "right?"
                ) from None
            raise Transient(reason, is_busy=status in BUSY) from error

    def _refused(self, error: Exception) -> StorageError:
        found = StorageError(
            f"{self.name!r}: access was refused ({type(error).__name__}: {error}); credentials "
            "are given to fsspec, where the file is opened"
        )
        found.errno, found.filename = errno.EACCES, self.name
        return found
