"""`kist.shelf`: what `shelve.open` does, on a key store.

Values are stored as key stores hold them, without pickle: plain values and arrays come back with
their types, and opening a file runs no code. Only ``allow_pickle=True`` stores and loads anything
else, as a dict of one key that no other value of a shelf can be mistaken for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.errors import (
    ConversionError,
    DTypeError,
    KeyNotFoundError,
    NodeExistsError,
    NodeNotFoundError,
    ReadOnlyError,
    StoreClosedError,
    StoreNotFoundError,
)
from kist.format.plain import pack_value
from kist.model.store import open as open_store

if TYPE_CHECKING:
    from kist.engine import Durability
    from kist.format.keystore import Key
    from kist.model.keystores.keystore import KeyStore
    from kist.model.store import Store

__all__ = ["Shelf", "shelf"]

_MODES: Final = {"r": "r", "w": "r+", "c": "a", "n": "a"}
_PICKLED: Final = "kist.pickled"
_MISSING: Any = object()


def shelf(
    path: str | os.PathLike[str],
    flag: str = "c",
    protocol: int | None = None,
    writeback: bool = False,
    *,
    name: str = "shelf",
    allow_pickle: bool = False,
    durability: Durability = "relaxed",
    timeout: float = 30.0,
    secrets: object = None,
    encrypt: object = None,
) -> Shelf:
    """Open a persistent dictionary, as `shelve.open` does.

    Parameters
    ----------
    path : str or path object
        The file. It may be a store that holds other things too.
    flag : {"c", "n", "w", "r"}
        ``c`` makes the shelf if need be, ``n`` empties it, ``w`` and ``r`` need one that exists;
        ``r`` reads only.
    protocol : int, optional
        Of pickles, with `allow_pickle`. Otherwise it means nothing.
    writeback : bool
        Keep what was read, and write it back in `sync` and `close` where it was changed.
    name : str
        Path of the key store in the file.
    allow_pickle : bool
        Pickle what cannot be stored otherwise, and load what was pickled. Loading a pickle runs
        what its author wanted to run.
    durability : {"relaxed", "full", "none"}
        As for `kist.open`. With ``relaxed`` the last seconds may go when the power goes; `sync`
        and `close` make everything durable.
    timeout : float
        Longest wait for other writers, in seconds.
    secrets : optional
        What opens a file that is sealed, or a sealed key store in it, as for `kist.open`.
    encrypt : optional
        Seal all of a file that is made here (``c``, ``n``), as `kist.open` does: keys, values and
        names. Each of the secrets opens it. A file that is there must be sealed.

    Raises
    ------
    StoreNotFoundError, NodeNotFoundError
        There is no file, or no shelf in it (``w``, ``r``).
    NodeExistsError
        Something else than a key store stands under that name.
    SecretError, WrongSecretError
        It is sealed, and no secret or another one was given; or ``encrypt=`` meets a file in clear.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.shelf("results.kist") as results:
    ...     results["run-1"] = {"gain": 2.5, "samples": np.arange(3)}
    >>> with kist.shelf("results.kist", "r") as results:
    ...     list(results), results["run-1"]["samples"]
    (['run-1'], array([0, 1, 2]))
    """
    try:
        if flag not in _MODES:
            raise ValueError(f"flag is 'c', 'n', 'w' or 'r', not {flag!r}")
        if isinstance(protocol, bool):
            raise TypeError(
                "the third argument is the protocol of pickles: give writeback=True by name"
            )
        store = open_store(
            path,
            _MODES[flag],
            durability=durability,
            timeout=timeout,
            secrets=secrets,
            encrypt=encrypt,
        )
    except StoreNotFoundError as error:
        if flag in "rw":  # not by the words of `kist.open`
            missing = StoreNotFoundError(f"{os.fspath(path)}: no such file; flag 'c' makes one")
            missing.errno, missing.filename = error.errno, error.filename
            raise missing from None
        raise
    finally:
        secrets = encrypt = None  # a traceback would show them
    try:
        values = _values_of(store, name, flag)
        return Shelf(store, values, writeback, allow_pickle, protocol)
    except BaseException:
        store.close()
        raise


def _values_of(store: Store, name: str, flag: str) -> KeyStore:
    found = store.get(name)
    if found is None:
        if flag in "rw":
            raise NodeNotFoundError(f"{store.path!r} holds no shelf {name!r}; flag 'c' makes one")
        return store.create_keystore(name)
    if found.kind != "key store":
        raise NodeExistsError(f"{store.path!r}: {found.name!r} is no key store; give another name=")
    if flag == "n":
        found.clear()
    first = next(iter(found), "")  # int < bytes < str, so that one tells of all
    if not isinstance(first, str):
        raise DTypeError(
            f"{found.name!r} has the key {first!r}, and keys of a shelf are str; open the store to "
            "use it as a key store"
        )
    values: KeyStore = found
    return values


class Shelf(MutableMapping[str, Any]):
    """A persistent dictionary with str keys. Comes from `kist.shelf`.

    Iteration, `len` and `in` are as of a dict sorted by key. `update` and `clear` are one commit
    each. A value that is changed after it was read is written back only with ``writeback=True``.

    Attributes
    ----------
    store : Store
        The open file.
    writeback : bool
        Whether values that were read are written back.

    Examples
    --------
    >>> import kist
    >>> with kist.shelf("lists.kist", writeback=True) as lists:
    ...     lists["a"] = []
    ...     lists["a"].append(1)
    ...     lists.sync()
    ...     lists.store["shelf"]["a"]
    [1]
    """

    def __init__(
        self,
        store: Store,
        values: KeyStore,
        writeback: bool,
        allow_pickle: bool,
        protocol: int | None,
    ) -> None:
        self.store = store
        self.writeback = writeback
        self._values = values
        self._allow_pickle = allow_pickle
        self._protocol = protocol
        self._cache: dict[str, Any] = {}

    # One key

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key.

        Raises
        ------
        KeyNotFoundError
            There is none.
        ConversionError
            It was pickled, and `allow_pickle` was not given.
        """
        if key in self._cache:
            return self._cache[key]
        value = self._restored(key, self._open_values()[_checked(key)])
        if self.writeback:
            self._cache[key] = value
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or `default` when there is none."""
        try:
            return self[key]
        except KeyNotFoundError:
            return default

    def __setitem__(self, key: str, value: Any) -> None:
        """Set the value of a key.

        Raises
        ------
        DTypeError
            The key is no str, or the value cannot be stored.
        """
        self._open_values()[_checked(key)] = self._storable(key, value)
        if self.writeback:
            self._cache[key] = value

    def __delitem__(self, key: str) -> None:
        del self._open_values()[_checked(key)]
        self._cache.pop(key, None)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self._open_values()

    def __iter__(self) -> Iterator[str]:
        return iter(self._open_values())

    def __len__(self) -> int:
        return len(self._open_values())

    # Many

    def update(  # type: ignore[override]
        self, other: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **more: Any
    ) -> None:
        """Set many keys in one commit, all or none.

        An iterator is read in batches, and may fill the same arrays again for the next value.
        """
        source: Any = other
        if isinstance(other, Mapping):
            source = other.items()
        elif hasattr(source, "keys"):
            source = [(key, source[key]) for key in source.keys()]  # noqa: SIM118
        is_lent = iter(source) is source
        kept: dict[str, Any] = {}

        def storable() -> Iterator[tuple[Key, Any]]:
            for key, value in chain(source, more.items()):
                found = self._storable(_checked(key), value)
                if self.writeback:
                    # What may be filled again is not the value any more: it is read if need be.
                    kept[key] = _MISSING if is_lent and isinstance(value, np.ndarray) else value
                yield key, found

        values = self._open_values()
        values.update(storable() if is_lent else dict(storable()))
        for key, value in kept.items():
            if value is _MISSING:
                self._cache.pop(key, None)
            else:
                self._cache[key] = value

    def clear(self) -> None:
        """Remove all keys in one commit."""
        self._open_values().clear()
        self._cache.clear()

    # The file

    def sync(self) -> None:
        """Write back what was changed since it was read, and make all of it durable."""
        values = self._open_values()
        if self.store.mode == "r":
            return
        kept = {key: self._storable(key, value) for key, value in self._cache.items()}
        changed: dict[Key, Any] = {
            key: value for key, value in kept.items() if self._differs(key, value)
        }
        if changed:
            values.update(changed)
        self._cache.clear()
        self.store.sync()

    def _differs(self, key: str, value: Any) -> bool:
        stored = self._values.get(key, _MISSING)
        return stored is _MISSING or pack_value(stored) != pack_value(value)

    def close(self) -> None:
        """Write back and close the file. A second call does nothing.

        Raises
        ------
        DTypeError
            Something that is to be written back cannot be stored. The shelf stays open; without
            what cannot be stored, `close` works.
        """
        if not self.store.closed:
            self.sync()
            self.store.close()

    def __enter__(self) -> Shelf:
        self._open_values()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        finally:
            self.store.close()

    def __del__(self) -> None:
        if hasattr(self, "_cache"):  # else it was never made
            self.close()

    def __repr__(self) -> str:
        if self.store.closed:
            return f"<closed shelf {self.store.path!r}>"
        n = len(self)
        where = f"{self.store.path!r}:{self._values.name}"
        return f"<shelf {where}, {n:,} key{'' if n == 1 else 's'}>"

    def _open_values(self) -> KeyStore:
        if self.store.closed:
            raise StoreClosedError(f"the shelf {self.store.path!r} is closed")
        return self._values

    # What cannot be stored as it is

    def _storable(self, key: str, value: Any) -> Any:
        if self.store.mode == "r":
            raise ReadOnlyError(f"{self.store.path!r}: the shelf was opened with flag 'r'")
        try:
            if not _looks_pickled(value):
                pack_value(value, _skip_large)
                return value
            problem = f"a dict whose only key is {_PICKLED!r} is how a shelf marks pickles"
        except DTypeError as error:
            problem = str(error)
        if not self._allow_pickle:
            raise DTypeError(
                f"{key!r}: {problem}. A shelf holds plain values and arrays; allow_pickle=True "
                "pickles what is neither"
            )
        import pickle

        try:
            return {_PICKLED: pickle.dumps(value, self._protocol)}
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise DTypeError(f"{key!r}: {problem}, and not pickled: {error}") from error

    def _restored(self, key: str, value: Any) -> Any:
        if not _looks_pickled(value):
            return value
        if not self._allow_pickle:
            raise ConversionError(
                f"{key!r} was pickled. Loading it runs what its author wanted to run: only if you "
                "trust the file, open the shelf with allow_pickle=True"
            )
        import pickle

        return pickle.loads(value[_PICKLED])


def _checked(key: object) -> str:
    if not isinstance(key, str):
        raise DTypeError(f"keys of a shelf are str, not {type(key).__name__}")
    return key


def _looks_pickled(value: Any) -> bool:
    return type(value) is dict and len(value) == 1 and isinstance(value.get(_PICKLED), bytes)


def _skip_large(item: Any) -> int:
    """Stand for a large part of a value of which only the types are looked at."""
    return 0
