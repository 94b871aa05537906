"""What a handle can open: the secrets that it was given, and the sealed fields they led to.

It hangs on the `Reader` of an open store, so every view and transaction of that handle has it, also
the folding of a checkpoint, and no other handle of the process does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from kist.crypto.secret import Secret
from kist.engine.fieldkeys import FieldKeys, open_lock
from kist.errors import SecretError
from kist.format.sealed import Lock

__all__ = ["STORE", "Keyring", "as_secrets", "keyring_of"]

STORE: Final = "/"
"""Name of the secrets that are for the whole store."""

_SINGLE: Final = (str, bytes, bytearray, memoryview)
_KEPT: Final = 4_096
"""Opened fields, and manifests that were held against their records, of each so many."""

_KEPT_CONTENTS: Final = 256
"""What opened manifests say: some kilobytes each."""


class Keyring:
    """The secrets of a handle.

    Parameters
    ----------
    given : secret, sequence of secrets, or mapping of str to them, optional
        As `kist.open` takes them.

    Attributes
    ----------
    named : dict of str to tuple of Secret
        Secrets that are for one column, under ``"table/column"`` or the name of the column, or for
        a dataset that is sealed as a whole, under its path, or for the whole store, under ``"/"``.
    """

    __slots__ = ("_any", "_contents", "_opened", "_own", "_verified", "_vouched", "named")

    def __init__(self, given: Any = None) -> None:
        self._any: tuple[Secret, ...] = ()
        self.named: dict[str, tuple[Secret, ...]] = {}
        one: Any = None
        try:
            if isinstance(given, Mapping):
                for name, one in given.items():
                    if not isinstance(name, str) or not (name.strip("/") or name == STORE):
                        raise SecretError(
                            "secrets= names its columns: {'table/column': secret}, or the whole"
                            " store: {'/': secret}"
                        )
                    self.named[name.strip("/") or STORE] = as_secrets(one)
            elif given is not None:
                self._any = as_secrets(given)
        finally:
            given = one = None  # a traceback would show it
        self._opened: dict[bytes, FieldKeys] = {}
        self._verified: dict[bytes, int] = {}
        self._vouched: dict[bytes, int] = {}  # in transactions, which may yet be rolled back
        self._contents: dict[bytes, Any] = {}
        self._own = (0, 0)

    def __repr__(self) -> str:
        return f"<keyring, {len(self._any) + len(self.named)} secrets>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("secrets are not pickled or copied: give them to the other process")

    def for_others(self) -> Keyring:
        """Return the secrets that a file gets to which this handle is led by a link.

        Not those that were given by name, for what is named stands here: who writes the link could
        name anything. What was opened and verified is not handed on either: it is known of one
        file.
        """
        other = Keyring()
        other._any = self._any
        return other

    def add_store_secrets(self, secrets: tuple[Secret, ...]) -> None:
        """Take secrets of the whole store, which its maker gave or a rotation left."""
        self.named[STORE] = (*self.named.get(STORE, ()), *secrets)

    @property
    def promises_store(self) -> bool:
        """Whether a secret was given by name for the whole store."""
        return STORE in self.named

    def promises(self, path: str) -> bool:
        """Tell whether secrets were given by name for columns of what stands at a path or below."""
        where = path.strip("/") + "/"
        return any(name.startswith(where) for name in self.named)

    def promises_dataset(self, path: str) -> bool:
        """Tell whether secrets were given by name for the dataset at a path, all of it."""
        return path.strip("/") in self.named

    def content(self, manifest: bytes) -> Any:
        """Return what `keep_content` was given for a manifest, None where that is forgotten."""
        return self._contents.get(manifest)

    def keep_content(self, manifest: bytes, content: Any) -> None:
        """Keep what an opened manifest says, so that it is not opened for each small read."""
        self._contents[manifest] = content
        _forget_oldest(self._contents, _KEPT_CONTENTS)

    def opened(self, packed: bytes) -> FieldKeys | None:
        """Return the keys of a lock that this handle has opened or made."""
        return self._opened.get(packed)

    def open(self, packed: bytes, names: Iterable[str]) -> FieldKeys | None:
        """Return the keys of a lock, None where there is no secret to try.

        Parameters
        ----------
        packed : bytes
            The lock.
        names : iterable of str
            Under which its secrets may be given.

        Raises
        ------
        WrongSecretError, CorruptDataError, TamperedDataError
            As `open_lock`.
        """
        found = self._opened.get(packed)
        if found is None:
            tried = [secret for name in names for secret in self.named.get(name, ())]
            tried += self._any
            if not tried:
                return None
            found = open_lock(Lock.unpack(packed), tried)
            self.remember(packed, found)
        return found

    def remember(self, packed: bytes, keys: FieldKeys) -> None:
        """Keep the keys of a lock that was opened or made here."""
        self._opened[packed] = keys
        _forget_oldest(self._opened)

    def verify(self, manifest: bytes, commit: int) -> None:
        """Keep that a manifest holds for the records beside it in a commit.

        Parameters
        ----------
        manifest : bytes
            The token of it, which names its place as well.
        """
        self._verified[manifest] = commit
        _forget_oldest(self._verified)

    def vouch(self, manifest: bytes, commit: int) -> None:
        """Keep that a manifest holds in a transaction, and in the commit that it will be.

        If it is rolled back, somebody else's commit may have that number.
        """
        self._vouched[manifest] = commit
        _forget_oldest(self._vouched)

    def is_verified(self, manifest: bytes, commit: int, *, changing: bool = False) -> bool:
        """Tell whether a manifest holds in a commit, as far as is known without looking.

        That is in the commit in which it was held against the records, and in those behind it
        that this handle has made itself, without one of somebody else between them.

        Parameters
        ----------
        changing : bool
            Ask for a transaction on top of the commit.
        """
        if changing and self._vouched.get(manifest) == commit + 1:
            return True
        known = self._verified.get(manifest)
        start, stop = self._own
        return known is not None and (known == commit or start <= known <= commit <= stop)

    def committed(self, commit: int) -> None:
        """Take note of a commit that this handle has made."""
        vouched, self._vouched = self._vouched, {}
        for manifest, own in vouched.items():
            if own == commit:
                self.verify(manifest, commit)
        start, stop = self._own
        self._own = (start, commit) if commit == stop + 1 else (commit - 1, commit)


def _forget_oldest(kept: dict[bytes, Any], most: int = _KEPT) -> None:
    while len(kept) > most:
        try:
            kept.pop(next(iter(kept)), None)
        except (StopIteration, RuntimeError):  # another thread was faster
            break


def keyring_of(reader: Any) -> Keyring:
    """Return the keyring of a reader, an empty one where it has none."""
    found: Keyring | None = reader.keyring
    if found is None:
        found = reader.keyring = Keyring()
    return found


def as_secrets(given: Any) -> tuple[Secret, ...]:
    """Return one secret or several as they are given.

    Raises
    ------
    SecretError
        There is none, or something is no secret.
    """
    one: Any = None
    try:
        if not isinstance(given, Sequence) or isinstance(given, _SINGLE):
            return (given if isinstance(given, Secret) else Secret(given),)
        if not given:
            raise SecretError("an empty list of secrets opens nothing")
        found = []
        for one in given:
            found.append(one if isinstance(one, Secret) else Secret(one))
        return tuple(found)
    finally:
        given = one = None  # a traceback would show it
