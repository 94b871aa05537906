"""``kist.save``, ``kist.savez`` and ``kist.load``: what NumPy's do, compressed and never half."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from secrets import token_hex
from typing import Any, Final, Literal

import numpy as np

from kist.engine.fresh import FreshStore
from kist.errors import (
    DTypeError,
    NodeExistsError,
    NodeNotFoundError,
    StoreNotFoundError,
    call_by_name,
)
from kist.format.keys import ROOT
from kist.format.node import NodeKind
from kist.format.plain import pack_value
from kist.model import directory
from kist.model.arrays.create import create
from kist.model.attributes import put_packed
from kist.model.newstores import make_durable, unknown_store
from kist.model.paths import join, split
from kist.model.store import open as open_store
from kist.storage.names import give_name, refused, remove, sync_folder

__all__ = ["SavedArrays", "load", "save", "savez"]

Durability = Literal["full", "none"]

_MARK: Final = "SAVED"
_SMALL: Final = 8 << 20
"""Up to so many bytes a file is made in memory and written in one go."""
_KIN: Final = b"kist.save"
"""Arrays that one process saves to many files are often alike."""


class SavedArrays(Mapping[str, Any]):
    """Arrays by name, each read when it is asked for; a context manager. Comes from `kist.load`.

    Attributes
    ----------
    files : list of str
        The names, under NumPy's word for them.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self.files: list[str] = []
        store.visititems(
            lambda name, node: (
                self.files.append(name) if node.kind not in ("group", "link") else None
            )
        )

    def __getitem__(self, name: str) -> Any:
        if name not in self.files:
            raise NodeNotFoundError(f"there is no array {name!r}; there are {self.files[:10]}")
        return _values(self._store[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __contains__(self, name: object) -> bool:
        return name in self.files

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def __enter__(self) -> SavedArrays:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        shown = ", ".join(self.files[:5]) + (", ..." if len(self.files) > 5 else "")
        return f"<SavedArrays {self._store.path!r}: {shown}>"


def save(
    file: str | os.PathLike[str], arr: Any, *, codec: str = "auto", durability: Durability = "full"
) -> None:
    """Save one array, as `numpy.save` does; the file gets ``.kist`` unless its name has it.

    It is on disk when this returns, whole, or the file that was there is untouched; `numpy.save`
    leaves both to chance. That takes two syncs, of the file and of its name.

    Parameters
    ----------
    file : str or path object
        A file there is replaced when the new one is complete.
    arr : array-like
        Any dtype but objects: nothing is ever pickled.
    codec : str
        As for `Group.create_array`.
    durability : {"full", "none"}
        With ``"none"`` nothing is waited for, as in NumPy: the file is whole when the process
        dies, and a loss of power soon after may take it and what it replaced, or damage it, which
        reading notices.

    Examples
    --------
    >>> import kist, numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "x")
    >>> kist.save(path, np.arange(3))
    >>> kist.load(path + ".kist")
    array([0, 1, 2])
    """
    _save(file, {"arr_0": arr}, "save", codec, durability)


def savez(
    file: str | os.PathLike[str],
    *args: Any,
    codec: str = "auto",
    durability: Durability = "full",
    **kwds: Any,
) -> None:
    """Save several arrays, as `numpy.savez` does: ``arr_0`` ... and those with names.

    Parameters
    ----------
    file : str or path object
        As for `save`.
    *args, **kwds : array-like
        Without a name, and with one.
    codec : str
        As for `Group.create_array`.
    durability : {"full", "none"}
        As for `save`.

    Examples
    --------
    >>> import kist, numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "x.kist")
    >>> kist.savez(path, np.arange(3), y=np.eye(2))
    >>> with kist.load(path) as arrays:
    ...     arrays.files, arrays["y"][0]
    (['arr_0', 'y'], array([1., 0.]))
    """
    named = dict(kwds)
    for at, value in enumerate(args):
        if f"arr_{at}" in named:
            raise ValueError(f"savez: arr_{at} is the name of the argument at {at} too")
        named[f"arr_{at}"] = value
    _save(file, named, "savez", codec, durability)


def load(file: str | os.PathLike[str], mmap_mode: str | None = None) -> Any:
    """Return what `save` or `savez` stored, or NumPy's own files hold, as `numpy.load` does.

    Parameters
    ----------
    file : str or path object
        A store, or an NPY or NPZ file.
    mmap_mode : {None, "r", "c"}
        ``"r"`` returns a read-only memory map where the array was saved with ``codec="none"``.

    Returns
    -------
    ndarray or SavedArrays
        The array of `save`; a mapping of names to arrays else.

    Raises
    ------
    StoreNotFoundError
        There is no file.
    NotAStoreError
        It is none of these.
    """
    path = os.fspath(file)
    if not os.path.exists(path):
        raise StoreNotFoundError(f"{path}: there is no such file")
    with open(path, "rb") as data:
        head = data.read(6)
    if head == b"\x93NUMPY" or head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        mode: Any = mmap_mode
        return np.load(path, mmap_mode=mode, allow_pickle=False)
    store = open_store(path)
    try:
        if store.attrs.get(_MARK) == "save":
            node = store["arr_0"]
            found = node.mmap() if mmap_mode == "r" else _values(node)
            store.close()
            return found
        return SavedArrays(store)
    except BaseException:
        store.close()
        raise


def _save(
    file: Any, named: Mapping[str, Any], how: str, codec: str, durability: Durability
) -> None:
    if durability not in ("full", "none"):
        raise ValueError(f"{how}: durability is 'full' or 'none', not {durability!r}")
    path = os.fspath(file)
    if not path.endswith(".kist"):
        path += ".kist"
    for name, value in named.items():
        if isinstance(value, np.ndarray) and value.dtype.hasobject and value.dtype.char != "T":
            raise DTypeError(
                f"{how}: {name!r} holds Python objects, which are not pickled; text: "
                "x.astype(np.dtypes.StringDType())"
            )
    arrays = {name: np.asanyarray(value) for name, value in named.items()}
    sync = durability == "full"
    if sum(array.nbytes for array in arrays.values()) <= _SMALL:
        _write_whole(path, arrays, how, codec, sync)
    else:
        _write_beside(os.path.abspath(path), arrays, how, codec, sync)


def _write_whole(
    path: str, arrays: Mapping[str, np.ndarray[Any, Any]], how: str, codec: str, sync: bool
) -> None:
    """Make the store in memory, and write it."""
    fresh = FreshStore(_KIN)
    txn = fresh.transaction
    put_packed(txn, ROOT, _MARK, pack_value(how))
    for name, array in arrays.items():
        names = split(name)[1]
        if not names:
            raise NodeExistsError("'/' is the root group")
        group, base = directory.require_groups(txn, ROOT, names[:-1], "/")
        node = directory.add(txn, group, names[-1], NodeKind.ARRAY, base, inside=False)
        create(txn, node, join(base, names[-1]), array, codec=codec)
    fresh.write_to(path, sync=sync)


def _write_beside(
    path: str, arrays: Mapping[str, np.ndarray[Any, Any]], how: str, codec: str, sync: bool
) -> None:
    """Write under another name, synced once, when it is whole: until then nobody knows it."""
    part = f"{path}.{token_hex(4)}.part"
    try:
        with unknown_store(part, eager=sync) as store:  # the device works while we compress
            with store.transaction():
                store.attrs[_MARK] = how
                for name, array in arrays.items():
                    store.create_array(name, array, codec=codec)
            if sync:
                make_durable(store)
        try:
            give_name(part, path, overwrite=True)
            if sync:
                sync_folder(os.path.dirname(path))
        except OSError as error:
            raise refused(path, "the file cannot be written or given its name", error) from error
    except BaseException as error:
        remove(part)
        call_by_name(error, part, path)
        raise


def _values(node: Any) -> Any:
    if node.kind == "key store":
        return dict(node)
    return node[:] if node.kind == "table" else np.asarray(node[...], node.dtype)
