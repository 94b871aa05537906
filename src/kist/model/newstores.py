"""Stores that nobody knows yet: nothing of them is synced before they are whole and get a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kist.engine import Engine
from kist.model.session import Session
from kist.model.store import Store
from kist.storage import FileBackend

if TYPE_CHECKING:
    from kist.crypto.secret import Secret

__all__ = ["make_durable", "unknown_store"]


def unknown_store(
    path: str, encrypt: Mapping[str, Secret] | None = None, *, eager: bool = False
) -> Store:
    """Return a new store in a new file, which is never synced before `make_durable`.

    Tables are not folded in it: that is for those which grow, and would decode what is copied.

    Parameters
    ----------
    path : str
        Absolute; a name that nobody looks for.
    encrypt : dict of str to Secret, optional
        What seals it as a whole.
    eager : bool
        Whether the device may begin to write, for it will be waited for in the end.

    Raises
    ------
    StoreExistsError, ReadOnlyError, StorageError
        The file cannot be made.
    """
    keyring = None
    if encrypt is not None:
        from kist.model.storesecrets import for_new_store

        encrypt, keyring = for_new_store(encrypt, None)
    backend = FileBackend(path, writable=True, exclusive=True)
    try:
        backend.lasts = False
        engine = Engine.open_backend(
            backend, "a", durability="none", keyring=keyring, encrypt=encrypt
        )
        backend.eager = eager

        def reopened() -> Engine:
            return Engine.open(path, "r+", durability="none", keyring=keyring)

        session = Session(
            engine, reopened, mode="r+", version=None, timeout=30.0, full=False, name=path
        )
        return Store(session, "x", "none", 0, False, None)
    except BaseException:
        backend.close()
        raise


def make_durable(store: Store) -> None:
    """Wait until all of an `unknown_store` is on the device.

    By the descriptor that wrote it: that one is told of every byte that could not be written.

    Raises
    ------
    StorageError
        It may not be there: the file must not get its name.
    """
    store._session.engine.backend.lasts = True
    store.sync()
