"""New stores that get their names together, once all of them are complete, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING

from kist.errors import StorageError, StoreExistsError, call_by_name
from kist.storage.names import give_name, is_still, refused, sync_folder

if TYPE_CHECKING:
    from kist.crypto.secret import Secret
    from kist.engine.engine import Durability
    from kist.model.store import Store

__all__ = ["NewFiles"]


class NewFiles:
    """A context manager: files made within get their names at its end, or go if it fails.

    Parameters
    ----------
    overwrite : bool
        Whether they may replace files.
    durability : {"full", "none"}
        Whether they are on the device before they get their names.
    encrypt : as `kist.open` takes it, optional
        What seals each of them as a whole.

    Raises
    ------
    SecretError
        Of `encrypt`: something is no secret.
    ValueError
        It is another durability.
    """

    def __init__(
        self, *, overwrite: bool, durability: Durability = "full", encrypt: object = None
    ) -> None:
        if durability not in ("full", "none"):
            encrypt = None  # a traceback would show it
            raise ValueError(f"durability is 'full' or 'none', not {durability!r}")
        self._overwrite = overwrite
        self._lasts = durability == "full"
        self._encrypt: Mapping[str, Secret] | None = None
        if encrypt is not None:
            from kist.model.tables.input.encrypt import labelled

            try:
                self._encrypt = labelled(encrypt)
            finally:
                encrypt = None  # a traceback would show it
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
            raise refused(missing[0], "the folder cannot be made", error) from error

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
        """Give a new store, which is whole at the end of the block, and durable if asked for."""
        from kist.model.newstores import make_durable, unknown_store

        target = os.path.abspath(target)
        self.check(target)
        part = f"{target}.{secrets.token_hex(4)}.part"
        self._parts[target] = part
        try:
            with unknown_store(part, self._encrypt, eager=self._lasts) as store:
                yield store
                if self._lasts:
                    make_durable(store)
        except Exception as error:
            call_by_name(error, part, target)
            raise

    def __enter__(self) -> NewFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        named: dict[str, os.stat_result] = {}
        try:
            if kind is None:
                for target, part in self._parts.items():
                    try:
                        named[target] = os.stat(part)
                        give_name(part, target, overwrite=self._overwrite)
                    except OSError as failed:
                        raise refused(target, "it cannot be given this name", failed) from failed
                if not self._lasts:
                    return
                # New folders have names of their own, in those above.
                for folder in {os.path.dirname(one) for one in (*self._folders, *named)}:
                    try:
                        sync_folder(folder)
                    except OSError as failed:
                        raise refused(folder, "the folder cannot be synced", failed) from failed
                return
        except BaseException:
            if not self._overwrite:  # what was replaced could not be brought back
                for target, made in named.items():
                    with suppress(OSError):  # the last one may not have been given its name
                        if is_still(target, made):
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
