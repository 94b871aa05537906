"""`merge`: datasets of several files into one file."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from kist.errors import (
    ConflictError,
    CorruptDataError,
    DTypeError,
    NodeExistsError,
    NodeNotFoundError,
    SecretError,
    SelectionError,
)
from kist.format.node import NodeKind, a_kind
from kist.model import directory
from kist.model.handles import make_handle
from kist.model.parts.files import NewFiles
from kist.model.parts.making import Making, copy_beside
from kist.model.parts.origin import Origin, check_overlap
from kist.model.parts.unequal import table_difference, unequal

if TYPE_CHECKING:
    from kist.engine import View
    from kist.model.group import Group
    from kist.model.node import Node
    from kist.model.store import Store

__all__ = ["merge"]

Progress = Callable[[int, int], None]
Durability = Literal["full", "none"]

_OPEN: Final = 32
"""Stores that stay open while others are read: a thousand would be a thousand descriptors."""


def merge(
    sources: Iterable[str | os.PathLike[str] | Group | Node],
    out: str | os.PathLike[str],
    path: str | None = None,
    *,
    cast: bool = False,
    overwrite: bool = False,
    durability: Durability = "full",
    progress: Progress | None = None,
    secrets: object = None,
    encrypt: object = None,
) -> None:
    """Merge the datasets of several stores into a new one, without decoding what need not be.

    Tables and arrays follow each other along their first axis, in the order of the sources; key
    stores are joined, and no key may come twice. Of stores and groups everything in them is merged
    by its path. Attributes, indexes and the secrets of what is sealed are those of the first source
    that has the dataset.

    Parameters
    ----------
    sources : iterable of path, Store, Group or dataset
        What to merge, each as it is now.
    out : path
        The new store.
    path : str, optional
        Merge this dataset only; where the sources are datasets, its path in the new store.
    cast : bool
        Where a table or an array has another dtype, or a table lacks columns, decode it and cast
        its values, checked one by one, to those of the first; missing columns get their fill value.
    overwrite : bool
        Replace `out`.
    durability : {"full", "none"}
        Wait until it is on the device, or not, as ``cp``: a loss of power soon after may then take
        it, or damage it, which reading notices; what it replaced is gone.
    progress : callable, optional
        Called with bytes done and bytes in all.
    secrets : as `kist.open` takes them, optional
        What opens what is sealed in the files that are given by their paths: all of them are
        needed, also those of datasets that were sealed apart.
    encrypt : as `kist.open` takes it, optional
        What seals the new store as a whole. What stands in a store that is sealed as a whole is
        merged no other way.

    Raises
    ------
    SecretError
        A secret is missing.
    DTypeError
        Schemas or dtypes differ, and `cast` is false, or a value would lose something; shows the
        difference.
    ConstraintError
        Two parts hold the same rows of what was split, or rows break a unique index.
    NodeExistsError
        A key comes twice, or a path is a table here and an array there.
    ConflictError
        A source was changed meanwhile.
    StoreNotFoundError, StoreExistsError
        A source is missing, or `out` is there already.

    Notes
    -----
    `out` gets its name when it is complete: after an error or Ctrl-C nothing is left.

    Examples
    --------
    >>> import kist, numpy as np
    >>> for name, first in (("a.kist", 0), ("b.kist", 10)):
    ...     with kist.open(name, "w") as store:
    ...         store["t"] = np.array([(first, 2.5)], [("a", "i4"), ("b", "f8")])
    >>> kist.merge(["a.kist", "b.kist"], "both.kist")
    >>> kist.open("both.kist")["t"]["a"][:]
    array([ 0, 10], dtype=int32)
    """
    if isinstance(sources, str | os.PathLike):
        secrets = encrypt = None  # a traceback would show it
        raise SelectionError(f"merge takes a list of sources, not the one path {sources!r}")
    with ExitStack() as held:
        try:
            files = NewFiles(overwrite=overwrite, durability=durability, encrypt=encrypt)
            encrypt = None
            roots = held.enter_context(_Roots(list(sources), secrets))
        finally:
            secrets = encrypt = None  # a traceback would show it
        held.enter_context(files)
        target = os.path.abspath(os.fspath(out))
        files.check(target)
        if overwrite and any(_same_file(target, name) for name in roots.files):
            raise SelectionError(f"{target!r} is one of the sources")
        found = _listed(roots, path, sized=progress is not None)
        for where, parts in found.items():
            _check_parts(roots, where, parts, cast)
        told = _told(found, progress)
        files.folder(os.path.dirname(target))
        with files.create(target) as store:
            _merge(roots, store, found, cast, told)


@dataclass
class _Part:
    """A dataset, or group, of one source."""

    root: int  # number of the source
    path: str  # in its store
    kind: int
    commit: int
    nbytes: int
    origin: Origin | None


class _Roots:
    """The sources: opened when they are looked at, few of them at a time."""

    def __init__(self, sources: list[Any], secrets: object) -> None:
        if not sources:
            raise SelectionError("merge needs at least one source")
        self.sources = sources
        try:
            self._secrets = _prepared(secrets)
        finally:
            secrets = None
        self._open: OrderedDict[int, Store] = OrderedDict()
        # What still reads from the stores that are open writes what it has read of them.
        self.before_closing: Callable[[], None] | None = None

    @property
    def files(self) -> list[str]:
        """Paths of the stores."""
        return [
            os.path.abspath(os.fspath(one)) if not hasattr(one, "store") else one.store.path
            for one in self.sources
        ]

    def name(self, number: int) -> str:
        """Return how messages call a source."""
        return repr(self.files[number])

    def root(self, number: int) -> Node:
        """Return a source as a node of an open store."""
        from kist.model.node import Node
        from kist.model.sources import open_source

        source = self.sources[number]
        if isinstance(source, Node):
            return source
        if number in self._open:
            self._open.move_to_end(number)
        else:
            self._open[number] = open_source(source, self._secrets)
            if len(self._open) > _OPEN:
                if self.before_closing is not None:
                    self.before_closing()
                self._open.popitem(last=False)[1].close()
        return self._open[number]

    @contextmanager
    def read(self, part: _Part) -> Iterator[tuple[Node, View]]:
        """Give a dataset, as it was when it was listed.

        Raises
        ------
        ConflictError
            It has changed since.
        """
        root = self.root(part.root)
        store, is_link = root._store, part.kind == NodeKind.LINK
        node: Any = store.open_link(part.path) if is_link else store[part.path]
        with node._hold() as view:
            if view.state.shown != part.commit:
                raise ConflictError(
                    f"{self.name(part.root)} was changed while it was being merged; try again"
                )
            yield node, view

    def __enter__(self) -> _Roots:
        return self

    def __exit__(self, *exc: object) -> None:
        for store in self._open.values():
            store.close()


def _prepared(secrets: Any) -> Any:
    """Return secrets as objects, so that a passphrase is stretched once for many parts."""
    if secrets is None:
        return None
    from kist.engine.keyring import as_secrets

    try:
        if isinstance(secrets, Mapping):
            return {name: as_secrets(one) for name, one in secrets.items()}
        return as_secrets(secrets)
    finally:
        secrets = None


def _listed(roots: _Roots, path: str | None, *, sized: bool) -> dict[str, list[_Part]]:
    """Return path in the new store -> parts of it; groups before what is in them.

    With `sized` each knows how many bytes it has, for which all records of its pages are read.
    """
    found: dict[str, list[_Part]] = {}
    for number in range(len(roots.sources)):
        root = roots.root(number)
        with root._hold() as view:
            store = root._store
            if root._kind != NodeKind.GROUP:
                first = next(iter(found), None)
                where = first or "/" + (path or root._path).strip("/")
                entries = [(where, root._path, root._id)]
            elif path is not None:
                wanted: Any = root
                entry, whole = wanted._find(view, path)
                entries = [("/" + path.strip("/"), whole, entry.node)]
            else:
                base = root._path
                skip = len(base.rstrip("/"))
                walk = directory.walk(view, root._id, base)
                entries = [(p[skip:], p, entry.node) for p, entry in walk]
                if number == 0:
                    entries = [("/", base, root._id), *entries]
            for where, whole, node in entries:
                found.setdefault(where, []).append(_part(store, view, number, whole, node, sized))
    if path is None and len(found) <= 1 and "/" in found:
        raise NodeNotFoundError("there is nothing to merge: the sources hold no datasets")
    return found


def _part(store: Store, view: View, number: int, path: str, node: int, sized: bool) -> _Part:
    handle: Any = make_handle(store, view, node, path)
    sized = sized and handle._kind not in (NodeKind.GROUP, NodeKind.LINK)
    nbytes = int(handle.nbytes_stored) if sized else 0
    origin = Origin.of(view, node)
    return _Part(number, path, handle._kind, view.state.shown, nbytes, origin)


def _check_parts(roots: _Roots, where: str, parts: list[_Part], cast: bool) -> None:
    """Raise when parts cannot be one dataset, before anything is written."""
    first = parts[0]
    for part in parts[1:]:
        if part.kind != first.kind:
            raise NodeExistsError(
                f"{where!r} is {a_kind(first.kind)} in {roots.name(first.root)} and "
                f"{a_kind(part.kind)} in {roots.name(part.root)}"
            )
    if first.kind == NodeKind.LINK:
        _check_links(roots, where, parts)
        return
    check_overlap(where, [(roots.name(part.root), part.origin) for part in parts])
    if first.kind != NodeKind.TABLE or cast:
        return
    from kist.model.tables.stored.state import state_of

    with roots.read(first) as (node, view):
        schema = state_of(view, node._id, node._path).schema
    for part in parts[1:]:
        with roots.read(part) as (node, view):
            lines = table_difference(schema, state_of(view, node._id, node._path).schema)
        if lines:
            raise unequal(
                f"table {part.path!r} of {roots.name(part.root)}",
                lines,
                roots.name(first.root),
                "cast=True (--cast) casts the values to the columns of the first",
            )


def _check_links(roots: _Roots, where: str, parts: list[_Part]) -> None:
    """Raise when links at one path lead to different places."""
    targets = []
    for part in parts:
        with roots.read(part) as (node, _):
            link: Any = node
            targets.append(link.leads_to)
    for target, part in zip(targets, parts, strict=True):
        if target != targets[0]:
            raise NodeExistsError(
                f"{where!r} leads to {targets[0]!r} in {roots.name(parts[0].root)} and to "
                f"{target!r} in {roots.name(part.root)}"
            )


def _told(found: dict[str, list[_Part]], progress: Progress | None) -> Callable[[int], None] | None:
    if progress is None:
        return None
    total = max(1, sum(part.nbytes for parts in found.values() for part in parts))
    done = 0

    def told(n: int) -> None:
        nonlocal done
        done = min(done + n, total)
        progress(done, total)

    return told


def _merge(
    roots: _Roots,
    store: Store,
    found: dict[str, list[_Part]],
    cast: bool,
    told: Callable[[int], None] | None,
) -> None:
    message = f"merge of {len(roots.sources)} stores"
    for where, parts in found.items():
        with ExitStack() as held:
            like, view = held.enter_context(roots.read(parts[0]))
            if parts[0].kind == NodeKind.LINK:
                store.copy(like, where)
                continue
            with _naming(roots, parts[0]):
                if directory.is_marked(view, like._id) and _inside(like, view, store, where, parts):
                    continue
            if parts[0].kind == NodeKind.GROUP:
                made = store if where == "/" else store.require_group(where)
                with made._write() as txn:
                    copy_beside(view, like._id, txn, made._id)
                continue
            if len(parts) == 1 and parts[0].kind == NodeKind.ARRAY:
                with _naming(roots, parts[0]):
                    store.copy(like, where)  # also one without axes
                continue
            with _naming(roots, parts[0]):
                making = Making(store, where, like, view, told, cast=cast)
                making.add_whole(like, view)
            roots.before_closing = making.sink.settle
            for part in parts[1:]:
                with roots.read(part) as (node, at), _naming(roots, part):
                    making.add_whole(node, at)
            making.finish(message)
            roots.before_closing = None


def _inside(like: Node, view: View, store: Store, where: str, parts: list[_Part]) -> bool:
    """Make what is sealed by a group, or is one, where no parts are put together; tell whether."""
    from kist.model.parts import sealedgroups

    if parts[0].kind == NodeKind.GROUP:
        make = sealedgroups.copy_group
    elif len(parts) == 1 and parts[0].kind == NodeKind.ARRAY:
        make = sealedgroups.copy_array
    else:
        return False
    with store._write() as txn:
        make(view, like._id, txn, where)
    return True


@contextmanager
def _naming(roots: _Roots, part: _Part) -> Iterator[None]:
    """Say in errors which file they are about: secrets, damage, values that do not fit."""
    try:
        yield
    except CorruptDataError as error:
        if str(error).startswith(tuple(map(repr, roots.files))):
            raise  # of the file before, whose last extents have waited
        text = f"{roots.name(part.root)}: {error}"
        raise CorruptDataError(text, offset=error.offset, node=error.node) from error
    except SecretError as error:
        raise type(error)(f"{roots.name(part.root)}: {error}") from None
    except DTypeError as error:
        text = f"{roots.name(part.root)}: {error}"
        raise DTypeError(text, row=error.row, column=error.column) from error


def _same_file(a: str, b: str) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:  # one of them is not there, or in memory
        return False
