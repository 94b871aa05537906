"""New stores that get their names together, once all of them are complete, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING

from kist.errors import StorageError, StoreExistsError

if TYPE_CHECKING:
    from kist.model.store import Store

__all__ = ["NewFiles"]

# Where a file system has no second names for files.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)


class NewFiles:
    """A context manager: files made within get their names at its end, or go if it fails.

    Parameters
    ----------
    overwrite : bool
        Whether they may replace files.
    """

    def __init__(self, *, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._parts: dict[str, str] = {}  # target -> name until it is complete
        self._folders: list[str] = []

    def folder(self, path: str) -> None:
        """Make a folder if it is missing; it goes again if nothing comes of the files."""
        missing = []
        while path and not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        try:
            for one in reversed(missing):
                os.mkdir(one)
                self._folders.append(one)
        except OSError as error:
            raise _refused(missing[0], "the folder cannot be made", error) from error

    def check(self, target: str) -> None:
        """Raise `StoreExistsError` when a file may not be made."""
        if target in self._parts:
            raise StoreExistsError(f"{target!r}: two parts would have this name")
        if os.path.isdir(target):
            raise StorageError(f"{target!r} is a folder; name a file")
        if not self._overwrite and os.path.lexists(target):
            raise StoreExistsError(f"{target!r} exists already; overwrite=True replaces it")

    @contextmanager
    def create(self, target: str) -> Iterator[Store]:
        """Give a new store, which is whole and durable at the end of the block."""
        from kist.model.store import open

        target = os.path.abspath(target)
        self.check(target)
        part = f"{target}.{secrets.token_hex(4)}.part"
        self._parts[target] = part
        # Nobody reads it before it has its name: one sync at its end is enough.
        with open(part, "x", durability="none") as store:
            # Folding is for tables that grow; here it would decode what is copied as bytes.
            store._session.engine.maintain = None
            yield store
            store.sync()

    def __enter__(self) -> NewFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        named: list[str] = []
        try:
            if kind is None:
                for target, part in self._parts.items():
                    _give_name(part, target, self._overwrite)
                    named.append(target)
                for folder in {os.path.dirname(target) for target in named}:
                    _sync_folder(folder)
                return
        except BaseException:
            if not self._overwrite:  # what was replaced could not be brought back
                for target in named:
                    with suppress(OSError):
                        os.unlink(target)
            kind = StorageError
            raise
        finally:
            if kind is not None:
                for part in self._parts.values():
                    with suppress(OSError):
                        os.unlink(part)
                for folder in reversed(self._folders):
                    with suppress(OSError):
                        os.rmdir(folder)


def _give_name(part: str, target: str, overwrite: bool) -> None:
    try:
        if overwrite:
            os.replace(part, target)
            return
        try:
            os.link(part, target)  # unlike a rename, it never replaces what came in between
        except OSError as error:
            if error.errno not in _NO_LINKS or os.path.lexists(target):
                raise
            os.rename(part, target)
            return
        os.unlink(part)
    except OSError as error:
        raise _refused(target, "the file cannot be given this name", error) from error


def _refused(path: str, what: str, error: OSError) -> StorageError:
    kind = StoreExistsError if error.errno == errno.EEXIST else StorageError
    found = kind(f"{path!r}: {what}: {error.strerror}")
    found.errno, found.filename = error.errno, path
    return found


def _sync_folder(folder: str) -> None:
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if os.name == "nt":  # folders have no descriptors there, and names need no sync
            return
        raise _refused(folder, "the folder cannot be synced", error) from error
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
