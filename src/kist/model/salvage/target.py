"""A file that appears under its name when all is in it, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator

from kist.errors import StoreExistsError, call_by_name
from kist.storage import FileBackend
from kist.storage.names import give_name, refused, remove

__all__ = ["new_file"]


@contextlib.contextmanager
def new_file(out: str) -> Iterator[str]:
    """Give a path beside `out` to write a store to; it gets its name when the block ends well.

    Raises
    ------
    StoreExistsError
        Something stands under that name, before or after.
    """
    if os.path.lexists(out):
        raise StoreExistsError(f"{out!r}: there is already a file; salvage makes a new one")
    work = f"{out}.{secrets.token_hex(4)}.part"
    try:
        try:
            yield work
        except Exception as error:
            call_by_name(error, work, out)
            raise
        try:
            give_name(work, out, overwrite=False)
        except OSError as error:
            if os.path.lexists(out):
                raise StoreExistsError(f"{out!r}: somebody has made this file meanwhile") from None
            raise refused(out, "the file cannot be given its name", error) from None
    finally:
        remove(work)
    backend = FileBackend(out, writable=True)
    try:
        backend.sync()
        backend.sync_directory()
    finally:
        backend.close()
