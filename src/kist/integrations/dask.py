"""Tables and arrays as collections of Dask, and collections written as stores.

What a graph reads is one commit. A writable file gets a tag for it, which goes with the last
collection that needs it; else the handle in the graph pins it from this process.
"""

from __future__ import annotations

import atexit
import copy
import os
import secrets
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

import kist
from kist.errors import (
    KistError,
    ReadOnlyError,
    SecretError,
    SnapshotExpiredError,
    StoreLockedError,
    TransactionError,
)
from kist.extras import need
from kist.integrations.parts import finish_parts, new_parts, write_part

__all__ = ["array_to_dask", "from_dask", "table_to_dask"]


def table_to_dask(source: Any, columns: Sequence[str] | None, rows: int | None) -> Any:
    """Return a table, or the rows of a condition, as a Dask DataFrame."""
    frames = need("dask.dataframe", "dask", "to_dask")
    fixed, kept = _fixed(source)
    parts = fixed.partitions(rows)
    # No part at all: one without rows still has columns.
    parts = parts or [fixed.limit(0)]
    meta = fixed.limit(0).to_pandas(columns)
    names = list(meta.columns) if hasattr(meta, "columns") else None
    token = _token(fixed)
    parts = [_Part(part, (token, rows, number)) for number, part in enumerate(parts)]
    reader = _Frames(fixed, names is None)
    _bind(reader, kept)
    arguments: dict[str, Any] = {"meta": meta, "label": "kist"}
    if names is not None:
        arguments["columns"] = names
    # Dask makes text of all objects, but these are bytes, and arrays of a row.
    kinds = [dtype.kind for dtype in (meta.dtypes if names is not None else [meta.dtype])]
    if "O" not in kinds:
        return frames.from_map(reader, parts, **arguments)
    dask = need("dask", "dask", "to_dask")
    with dask.config.set({"dataframe.convert-string": False}):
        return frames.from_map(reader, parts, **arguments)


class _Part:
    """The rows of a partition, named by what made them.

    Else Dask would pickle and unpickle each of them to find a name: that opens its store again,
    over a network too.
    """

    def __init__(self, rows: Any, token: Any) -> None:
        self.rows = rows
        self._token = token

    def __dask_tokenize__(self) -> Any:
        return self._token


class _Frames:
    """Reads one part as a DataFrame; Dask asks for fewer `columns` where it needs no others."""

    def __init__(self, source: Any, is_column: bool) -> None:
        self._source = source  # keeps the snapshot pinned
        self._is_column = is_column

    def __call__(self, part: Any, columns: Sequence[str] | None = None) -> Any:
        return part.rows.to_pandas(None if self._is_column else columns)

    def __dask_tokenize__(self) -> Any:
        return _token(self._source)


def array_to_dask(array: Any, chunks: Any) -> Any:
    """Return an array as a Dask array."""
    need("dask.array", "dask", "to_dask")
    import dask.array

    fixed, kept = _fixed(array)
    whole = _Chunks(fixed)
    _bind(whole, kept)
    normal = dask.array.core.normalize_chunks(
        chunks, fixed.shape, dtype=fixed.dtype, previous_chunks=_grid(fixed)
    )
    return dask.array.from_array(
        whole,
        chunks=normal,
        asarray=False,
        fancy=False,
        meta=np.empty((0,) * fixed.ndim, fixed.dtype),
    )


class _Chunks:
    """An array as Dask wants to slice it."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self._array[index])

    def __dask_tokenize__(self) -> Any:
        return _token(self._array)


def _grid(array: Any) -> tuple[tuple[int, ...], ...]:
    """Return the lengths of the chunks along each axis."""
    if not hasattr(array, "chunks"):  # made of others
        first = tuple(n for n in array._lengths() if n) or (0,) * min(1, array.ndim)
        return (*((first,) if first else ()), *((n,) for n in array.shape[1:]))
    return tuple(
        tuple(min(c, n - at) for at in range(0, n, c)) or (0,)
        for c, n in zip(map(_at_least_one, array.chunks), array.shape, strict=True)
    )


def _at_least_one(length: int) -> int:
    return max(1, length)


def _token(source: Any) -> Any:
    store = source.store if hasattr(source, "store") else source.table.store
    return "kist", store.uuid.hex(), store.commit_id, repr(source.__reduce__()[1:])


# The version of a graph


def _fixed(source: Any) -> tuple[Any, list[tuple[str, str]]]:
    """Return the same rows or elements at one commit, and (path, tag) of what keeps that."""
    node = getattr(source, "table", source)
    moved: dict[int, Any] = {}
    kept: list[tuple[str, str]] = []

    def moves(store: Any) -> Any:
        if id(store) not in moved:
            if store.path == ":memory:":
                raise TransactionError(
                    f"{node.name!r} is in a ':memory:' store, which workers cannot see; use a file"
                )
            tag = f"dask-{secrets.token_hex(8)}"
            if store.mode != "r":
                store.tag(tag)
            elif not _tagged(store, tag):
                moved[id(store)] = store  # its pin keeps what it shows
                return store
            kept.append((store.path, tag))
            moved[id(store)] = store if store.mode == "r" else store.at(tag)
        return moved[id(store)]

    _settle()
    try:
        fixed = node._moved(moves)
        if node is not source:  # a selection of its rows
            fixed = copy.deepcopy(source, {id(node): fixed})
    except BaseException:
        for path, tag in kept:
            _let_go(path, tag)
        raise
    return fixed, kept


def _tagged(store: Any, tag: str) -> bool:
    """Tag what a read-only handle shows; False where only its pin can keep it."""
    try:
        with kist.open(store.path, "r+", timeout=1) as writer:
            writer.tag(tag, store._view().state.commit)
    except (ReadOnlyError, SnapshotExpiredError, StoreLockedError):
        return False
    return True


_due: deque[tuple[str, str]] = deque()


def _bind(reader: Any, kept: list[tuple[str, str]]) -> None:
    """Let the tags go with what reads in the graph of this process."""
    for path, tag in kept:
        weakref.finalize(reader, _let_go, path, tag)


def _let_go(path: str, tag: str) -> None:
    # Collected at any moment, maybe in the middle of a transaction of this thread: never wait.
    _due.append((path, tag))
    _settle()


@atexit.register
def _settle() -> None:
    """Remove the tags of graphs that are gone; those of a file in use wait for the next time."""
    for _ in range(len(_due)):
        with suppress(IndexError):  # another thread was faster
            path, tag = _due.popleft()
            try:
                if os.path.exists(path):
                    with kist.open(path, "r+", timeout=0.001) as store:
                        store.untag(tag)
            except StoreLockedError:
                _due.append((path, tag))
            except KistError:
                continue  # untagged by hand, or no store any more


# Writing


def from_dask(
    collection: Any,
    out: str | os.PathLike[str],
    path: str,
    *,
    linked: bool = False,
    overwrite: bool = False,
    **compute: Any,
) -> None:
    """Compute a Dask DataFrame or array, and write it as one dataset of a new store.

    Workers write part files beside `out`, on a file system that they share; when all are there they
    are merged without decoding, and `out` gets its name. A worker that dies is replaced by the
    scheduler; what it left behind is not used.

    Parameters
    ----------
    collection : dask.dataframe.DataFrame or dask.array.Array
        An index without a name is not kept, one with a name becomes a column. Arrays are rechunked
        so that each part has whole rows along the first axis.
    out : path
        The new store.
    path : str
        Of the dataset in it.
    linked : bool
        Do not merge: keep the files of the parts in a folder beside `out`, which links them as one
        table or array.
    overwrite : bool
        Replace `out`. Files that a linked one was made of stay, for who has it open: their folder
        can be removed later.
    **compute
        For ``dask.compute``, such as ``scheduler="processes"``.

    Raises
    ------
    StoreExistsError
        `out` is there already; before anything is computed.
    DTypeError
        The parts have different dtypes; shows the difference.
    TypeError
        It is something else, or there is an option that `create_table` and `create_array` have.
    SecretError
        ``encrypt=`` was given: workers write in clear.

    Notes
    -----
    All or nothing: what a task raises is raised here, and then no file is left.

    Examples
    --------
    >>> import kist, dask.array as da
    >>> kist.from_dask(da.arange(10, chunks=4) ** 2, "squares.kist", "n")
    >>> kist.open("squares.kist")["n"].to_dask().sum().compute()
    np.int64(285)
    """
    dask = need("dask", "dask", "from_dask")
    refused = sorted(_NOT_OF_DASK & compute.keys())
    if refused:
        compute = {}  # a traceback would show it
        raise _no_option(refused[0])
    parts = _parts(collection)
    with new_parts(out, overwrite, keep=linked) as folder:
        write = dask.delayed(write_part, pure=False)
        files = dask.compute(*[write(part, folder, path, linked) for part in parts], **compute)
        finish_parts(list(files), out, path, linked=linked, overwrite=overwrite)


# Dask takes any name and forgets it.
_NOT_OF_DASK = frozenset(
    {"attrs", "cast", "chunks", "codec", "dtype", "encrypt", "fill_value", "secrets", "title"}
)


def _no_option(name: str) -> Exception:
    if name in ("encrypt", "secrets"):
        return SecretError(
            f"from_dask: {name}= is not for workers, which write in clear, as no secret is sent to"
            " them: let each task write a store of its own, with encrypt= and a secret that it"
            " gets your way, and merge those (kist.merge)"
        )
    return TypeError(f"from_dask takes no {name}=; what is not its own goes to dask.compute")


def _parts(collection: Any) -> list[Any]:
    if hasattr(collection, "chunks") and hasattr(collection, "rechunk"):
        if not collection.ndim:
            raise TypeError("from_dask: an array without axes has no parts; compute it")
        whole = collection.rechunk(dict.fromkeys(range(1, collection.ndim), -1))
        return list(whole.to_delayed().ravel())
    if hasattr(collection, "to_delayed") and hasattr(collection, "npartitions"):
        if hasattr(collection, "to_frame") and not hasattr(collection, "columns"):
            raise TypeError("from_dask: a Series has no name for its column; use .to_frame(name)")
        return list(collection.to_delayed())
    raise TypeError(
        f"from_dask takes a Dask DataFrame or array, not {type(collection).__name__}; for other "
        "parallel work there is kist.write_parts"
    )
