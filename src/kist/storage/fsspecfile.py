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
_GONE = frozenset({404, 410})
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
        except FileNotFoundError as error:
            if not _is_missing(error.__cause__):
                # The web's file system of fsspec says so of whatever went wrong.
                raise Transient(f"{type(error.__cause__).__name__}: {error.__cause__}") from error
            raise Missing from None
        except PermissionError as error:
            raise self._refused(error) from None
        except Exception as error:
            # Each file system of fsspec has errors of its own, of any class; those of the web
            # have a status, and those for want of credentials say so in their name.
            reason = f"{type(error).__name__}: {error}"
            status = getattr(error, "status", None)
            status = status if isinstance(status, int) else 0
            if status == 416:
                raise Changed("it is shorter now") from None
            if status in REFUSED or "Credential" in type(error).__name__:
                raise self._refused(error) from None
            if not passes(status):
                raise StorageError(
                    f"{self.name!r}: the server refused the request ({reason}); is the address "
                    "right?"
                ) from None
            raise Transient(reason, is_busy=status in BUSY) from error

    @property
    def key(self) -> str:
        """What tells the file from all others, also from those of one name on other machines."""
        options = getattr(self._system, "storage_options", None)
        return f"{self._protocol} {options!r} {self._path}"

    def _refused(self, error: Exception) -> StorageError:
        found = StorageError(
            f"{self.name!r}: access was refused ({type(error).__name__}: {error}); credentials "
            "are given to fsspec, where the file is opened"
        )
        found.errno, found.filename = errno.EACCES, self.name
        return found


def _is_missing(cause: BaseException | None) -> bool:
    """Tell whether what made fsspec say that there is no file means that."""
    status = getattr(cause, "status", None)
    if isinstance(status, int):
        return status in _GONE
    if isinstance(cause, OSError):
        return isinstance(cause, FileNotFoundError)
    return not any(base.__module__.startswith("aiohttp") for base in type(cause).__mro__)
