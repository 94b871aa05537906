"""What a reader of a file far away asks of the connection: one range of one version of it.

A transport makes one request and says what came of it; `kist.storage.remote` decides what is asked
for, how often, and what is kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

__all__ = ["BUSY", "REFUSED", "Changed", "Missing", "Transient", "Transport", "Version", "passes"]

BUSY = frozenset({429, 503})
"""Statuses of a server that answers later."""

REFUSED = frozenset({401, 403})
"""Of one that wants other credentials."""


def passes(status: int) -> bool:
    """Tell whether the same request may succeed later: too early, too many, a fault of theirs."""
    return status in {408, 425, 429} or not 400 <= status < 500


class Transient(Exception):
    """A request that may succeed when it is made again; the message is the reason.

    Attributes
    ----------
    data : bytes
        What came before it failed: the first bytes of the range.
    version : Version or None
        Of the file that they come from; None where there are none.
    is_busy : bool
        Whether the server asks for patience.
    """

    def __init__(
        self,
        message: str,
        *,
        data: bytes = b"",
        version: Version | None = None,
        is_busy: bool = False,
    ) -> None:
        super().__init__(message)
        self.data, self.version, self.is_busy = data, version, is_busy


class Missing(Exception):
    """There is no such file."""


class Changed(Exception):
    """The file is not the version that was asked for; the message says what tells so."""


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one content of a file from another.

    Attributes
    ----------
    size : int
        Length in bytes.
    etag, modified : str
        As the server gave them, empty where it did not.
    """

    size: int
    etag: str = ""
    modified: str = ""

    def difference(self, other: Version) -> str:
        """Say in what another version differs, or nothing."""
        for what in ("etag", "size", "modified"):
            ours, theirs = getattr(self, what), getattr(other, what)
            if ours != theirs:
                return f"{what} {ours or 'none'}, now {theirs or 'none'}"
        return ""

    @property
    def is_named(self) -> bool:
        """Whether more than the length tells this version from others."""
        return bool(self.etag or self.modified)


class Transport(ABC):
    """A file that can be read in ranges. Safe to use from several threads.

    Attributes
    ----------
    name : str
        The address, for messages: without user, password and query.
    """

    name: str

    @abstractmethod
    def get(self, start: int, stop: int, version: Version | None) -> tuple[bytes, Version]:
        """Make one request for a range.

        Parameters
        ----------
        version : Version, optional
            What was seen before: the bytes must be of it.

        Returns
        -------
        bytes
            Fewer than asked for only where the file ends; not compared with the range.
        Version
            Of the file that they come from.

        Raises
        ------
        Transient
            The request failed in a way that may pass.
        Missing, Changed
            As they say.
        StorageError
            It failed in a way that will not pass.
        """

    def confirm(self, version: Version) -> None:
        """Raise `Changed` if the file is another by now; where `get` cannot tell."""
        return
