"""Stores that are read over a network: where they are, and how to get there again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from kist.errors import ReadOnlyError
from kist.storage.fsspecfile import FsspecTransport, is_fsspec
from kist.storage.objectstore import ObjectStoreTransport, is_url

if TYPE_CHECKING:
    from kist.engine import Engine
    from kist.engine.keyring import Keyring
    from kist.storage.transport import Transport

__all__ = ["Source", "local_path", "source_of"]

# So that one request that hangs leaves time for others within the timeout.
_REQUESTS_IN_TIMEOUT: Final = 3
_LONGEST_REQUEST_S: Final = 86_400.0  # of a timeout without end


@dataclass(frozen=True, slots=True)
class Source:
    """What leads to a store on another machine; travels with pickled handles.

    Attributes
    ----------
    place : str or file of fsspec
        Address, or the file that was given.
    options : mapping
        ``storage_options`` as they were given.
    timeout : float
        Longest wait for a read, in seconds.
    cache : str or None
        Folder for blocks.
    """

    place: Any
    options: Mapping[str, Any] = field(repr=False)  # credentials may be among them
    timeout: float
    cache: str | None

    def open(self, keyring: Keyring | None = None) -> Engine:
        """Open the store for reading."""
        from kist.engine import Engine
        from kist.storage.remote import RemoteBackend

        transport: Transport
        if isinstance(self.place, str):
            limit = min(self.timeout / _REQUESTS_IN_TIMEOUT, _LONGEST_REQUEST_S)
            transport = ObjectStoreTransport(self.place, self.options, limit)
            key = f"{self.options.get('endpoint', '')} {self.place}"
        else:
            transport = FsspecTransport(self.place)
            key = transport.key
        backend = RemoteBackend(
            transport,
            timeout_s=self.timeout,
            cache=self.cache,
            cache_key=key,
        )
        try:
            return Engine.open_backend(backend, "r", keyring=keyring)
        except BaseException:
            backend.close()
            raise


def source_of(
    path: object,
    mode: str,
    storage_options: Mapping[str, Any] | None,
    cache: str | os.PathLike[str] | None,
    timeout: float,
) -> Source | None:
    """Return what leads to a store that is not on this machine; None for a path.

    Raises
    ------
    ReadOnlyError
        It is to be written to.
    ValueError
        Options of the network are given for a path.
    """
    if not (is_url(path) if isinstance(path, str) else is_fsspec(path)):
        if storage_options is not None or cache is not None:
            raise ValueError(
                "storage_options= and cache= are for stores that are read over a network"
            )
        return None
    if mode != "r":
        raise ReadOnlyError(
            f"mode {mode!r}: what is reached by an address is only read; write a local file, and "
            "copy it there when it is closed"
        )
    if not timeout > 0:
        raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}")
    folder = None if cache is None else os.path.abspath(os.path.expanduser(os.fspath(cache)))
    return Source(path, dict(storage_options or {}), timeout, folder)


def local_path(path: object) -> object:
    """Return the path in a ``file://`` address, and anything else as it is."""
    if isinstance(path, str) and path.startswith("file://"):
        return unquote(urlsplit(path).path)
    return path
