"""Unions over tables of several files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from glob import glob
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from weakref import finalize

from kist.engine import Transaction
from kist.engine.collector import pause
from kist.engine.interrupts import hold_interrupts
from kist.errors import (
    LinkError,
    NodeError,
    NodeNotFoundError,
    SelectionError,
    StorageError,
    StoreNotFoundError,
    TooLargeError,
)
from kist.model.arrays.array import Array
from kist.model.session import Held
from kist.model.tables.stored.joined import JoinedView
from kist.model.tables.stored.state import state_of
from kist.model.tables.table import Table
from kist.model.unions.arrays import ArrayUnion, GivenArrays
from kist.model.unions.backend import MAX_FILES, FilesBackend, FilesReader
from kist.model.unions.members import has_pattern
from kist.model.unions.state import Joined, JoinedState
from kist.model.unions.table import JoinedTable, join_tables

if TYPE_CHECKING:
    from kist.engine import View
    from kist.engine.view import Reader
    from kist.model.group import Group
    from kist.model.store import Store

__all__ = ["FileUnion", "union"]

_MANY_FILES: Final = 100


def union(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | Group | Table | Array],
    path: str | None = None,
    *,
    secrets: object = None,
) -> FileUnion | ArrayUnion:
    """Return tables of several files as one, or arrays, which is read without a copy.

    Parameters
    ----------
    sources : path, pattern, or iterable of them, of open stores, groups or tables
        ``"parts/*.kist"`` names files in the order of their names.
    path : str, optional
        Of the dataset in each; may be left out where a store holds nothing else.
    secrets : optional
        As of `open`, for the files that are named here.

    Raises
    ------
    StoreNotFoundError
        A file is missing, or no file matches.
    DTypeError
        The columns of a table are not those of the first; shows the difference.
    StorageError
        More files than this process may open.

    Notes
    -----
    Files named here are opened for reading, show the commit that they had then until
    `FileUnion.refresh`, and are closed with the union: use it in a ``with`` block, or `close` it.

    Examples
    --------
    >>> import kist, numpy as np
    >>> for job in (1, 2):
    ...     with kist.open(f"job-{job}.kist", "w") as store:
    ...         store["hits"] = np.array([(job, 2.5), (job, 3.5)], "i4,f8")
    >>> with kist.union("job-*.kist", "hits") as hits:
    ...     len(hits), hits.where("f0 == 2")["f1"].sum()
    (4, np.float64(6.0))
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    paused = False
    try:
        named = _files(sources)
        # Of a thousand files the collector would take a fifth of the time, and find nothing.
        with hold_interrupts():  # one between the pause and the name would leave it resting
            paused = len(named) >= _MANY_FILES and pause.begin()
        return _union(named, path, secrets)
    finally:
        secrets = None  # a traceback would show it
        if paused:
            pause.end()


def _union(sources: list[Any], path: str | None, secrets: Any) -> FileUnion | ArrayUnion:
    with ExitStack() as opened:
        try:
            found = [_dataset(source, path, opened, secrets) for source in sources]
        finally:
            secrets = None
        if not found:
            raise SelectionError("a union is of at least one dataset")
        arrays = [node for node in found if isinstance(node, Array)]
        if len(arrays) == len(found):
            return ArrayUnion(GivenArrays(tuple(arrays)), opened.pop_all())
        tables = [node for node in found if isinstance(node, Table)]
        if len(tables) < len(found):
            wrong = next(node for node in found if not isinstance(node, Table))
            raise SelectionError(f"a union is of tables or of arrays; {wrong!r} does not fit")
        return FileUnion(tables, opened.pop_all())


def _files(sources: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for source in sources:
        if not isinstance(source, str | os.PathLike):
            found.append(source)
            continue
        name = os.fspath(source)
        if has_pattern(name) and not os.path.exists(name):
            several = sorted(glob(name, recursive=True))
            if not several:
                raise StoreNotFoundError(f"no file matches {name!r}")
            found += several
        else:
            found.append(name)
    if len(found) > MAX_FILES:
        raise TooLargeError(f"{len(found):,} files; a union is of at most {MAX_FILES:,}")
    return found


def _dataset(source: Any, path: str | None, opened: ExitStack, secrets: Any) -> Any:
    from kist.model.group import Group
    from kist.model.sources import open_source

    node = source
    if isinstance(source, str | os.PathLike):
        try:
            node = opened.enter_context(open_source(source, secrets))
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            raise StorageError(
                f"{os.fspath(source)!r} cannot be opened: this process may have no more files "
                "open; `ulimit -n` raises that, and kist.merge makes one file of many"
            ) from error
        finally:
            secrets = None
    if isinstance(node, Group):
        if path is None and len(node) != 1:
            raise NodeError(f"{node.store.path!r} holds {len(node)} nodes: name the dataset")
        try:
            return node[path if path is not None else next(iter(node))]
        except LinkError:
            raise
        except NodeNotFoundError as error:
            raise NodeNotFoundError(f"{node.store.path!r}: {error}") from None
    return node


class FileUnion(JoinedTable):
    """Tables of several files as one: read, queried and converted like a table, not changed.

    Comes from `kist.union`. Each file shows one commit; of files that were given as open stores,
    each call sees what their handles see. What a condition rules out by statistics is not read.

    Examples
    --------
    >>> import kist, numpy as np
    >>> a, b = kist.open(":memory:"), kist.open(":memory:")
    >>> a["t"], b["t"] = np.zeros(2, "i4,f8"), np.ones(3, "i4,f8")
    >>> kist.union([a, b], "t")["f0"][:]
    array([0, 0, 1, 1, 1], dtype=int32)
    """

    def __init__(self, tables: Sequence[Table], opened: ExitStack) -> None:
        self._tables = list(tables)
        self._opened = opened
        self._store = tables[0]._store
        first, last = tables[0]._store.path, tables[-1]._store.path
        names = first if first == last else f"{first} to {last}"
        self._path = f"union of {len(tables)} tables, {names}"
        self._known: tuple[tuple[int, ...], Joined] | None = None
        self._finalizer = finalize(self, opened.close)
        # Tables of one store share the number of its file.
        stores = {id(table._store): table._store for table in tables}
        self._tags = {number: tag for tag, number in enumerate(stores)}
        try:
            self._view()  # what is wrong is said now
        except BaseException:
            self.close()
            raise

    def _joined(self, views: list[View]) -> JoinedView:
        commits = tuple(view.commit_id for view in views)
        known = self._known
        if known is None or known[0] != commits or any(isinstance(v, Transaction) for v in views):
            states = []
            for table, view in zip(self._tables, views, strict=True):
                name = f"{table._path!r} of {table._store.path!r}"
                state = state_of(view, table._id, table._path)
                states.append((name, state, self._tags[id(table._store)]))
            known = self._known = commits, join_tables(states)
        files: dict[int, Reader] = {}
        for table, view in zip(self._tables, views, strict=True):
            files.setdefault(id(table._store), view.reader)
        readers = list(files.values())
        backend = FilesBackend([reader.backend for reader in readers])
        joined = JoinedView(views, FilesReader(backend, readers))
        joined.table = JoinedState(joined, self._path, known[1])
        return joined

    def _view(self) -> JoinedView:
        return self._joined([table._view() for table in self._tables])

    def _hold(self) -> Held:
        with ExitStack() as held:
            views = [held.enter_context(table._hold()) for table in self._tables]
            joined = self._joined(views)
            return _HeldAll(joined, held.pop_all())

    @property
    def parts(self) -> list[Table]:
        """The tables, in order."""
        return list(self._tables)

    def is_same(self, other: object) -> bool:
        """Tell whether `other` is this union."""
        return self is other

    def refresh(self) -> None:
        """Move the files that were opened for reading to their newest commits."""
        for store in {id(table._store): table._store for table in self._tables}.values():
            if store.mode == "r" and store._session.version is None:
                store.refresh()

    def close(self) -> None:
        """Close the files that were opened for it; a second call does nothing."""
        self._finalizer()

    def __enter__(self) -> FileUnion:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _moved(self, to: Callable[[Store], Store]) -> FileUnion:
        return FileUnion([table._moved(to) for table in self._tables], ExitStack())

    def __reduce__(self) -> tuple[Any, ...]:
        # Each table is pickled with its commit, so that another process sees the same rows.
        return _again, (self._tables,)


def _again(tables: list[Table]) -> FileUnion:
    return FileUnion(tables, ExitStack())


class _HeldAll(Held):
    """Views of several stores, held together."""

    __slots__ = ("_all",)

    def __init__(self, view: JoinedView, held: ExitStack) -> None:
        super().__init__(view, None)
        self._all = held

    def release(self) -> None:
        """Let go of all of them; a second call does nothing."""
        self._all.close()
