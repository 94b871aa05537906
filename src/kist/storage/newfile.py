"""A new file beside a name, which it gets when all of it is written."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from kist.errors import StorageError, call_by_name
from kist.storage import FileBackend
from kist.storage.names import give_name, refused, remove

__all__ = ["new_file"]


@contextmanager
def new_file(
    target: str, *, overwrite: bool, sync: bool, shared: bool = True
) -> Iterator[FileBackend]:
    """Give a new file to write to, which gets its name when the block is done, or is gone.

    Parameters
    ----------
    target : str
        Absolute path of the name.
    overwrite : bool
        Replace what has the name.
    sync : bool
        Wait until the file is on the device before it gets its name, and then for the name: of
        what was there and this, one is there after a crash.
    shared : bool
        As for `FileBackend`. Where nobody else ever knows the file under the name that it has
        till then, only the rename counts.

    Raises
    ------
    StorageError
        The file cannot be written or be given its name; what was there is as it was.
    """
    if os.path.isdir(target):
        raise StorageError(f"{target!r} is a folder; name a file in it")
    part = f"{target}.{secrets.token_hex(4)}.part"
    try:
        file = FileBackend(part, writable=True, exclusive=True, shared=shared)
        try:
            yield file
            if sync:
                file.sync()  # before it gets its name: until then it is nobody's store
            try:
                give_name(part, target, overwrite=overwrite)
            except OSError as error:
                raise refused(target, "the copy cannot be given this name", error) from error
            if sync:
                file.sync_directory()
        finally:
            file.close()
    except BaseException as error:
        remove(part)
        call_by_name(error, part, target)
        raise
