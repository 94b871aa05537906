"""Groups: names of nodes, with the manners of a mapping."""

from __future__ import annotations

import time
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import TYPE_CHECKING, Any

from kist import model
from kist.errors import (
    NodeError,
    NodeExistsError,
    NodeNotFoundError,
)
from kist.format import keys
from kist.format.node import Child, NodeKind, a_kind
from kist.model import directory
from kist.model.group_arrays import ArrayMaker
from kist.model.group_keystores import KeyStoreMaker
from kist.model.group_links import LinkMaker
from kist.model.group_maker import as_encryption
from kist.model.group_secrets import GroupSecrets
from kist.model.group_tables import TableMaker
from kist.model.handles import handle_of, make_handle
from kist.model.node import Node
from kist.model.paths import join, split

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.model.tree import Tree

__all__ = ["Group"]


class Group(ArrayMaker, GroupSecrets, KeyStoreMaker, LinkMaker, TableMaker):
    """A node that holds nodes: a mapping of paths to handles.

    Paths are relative to the group, or start with ``/`` at the root. Names are sorted by code
    point. Iterating takes the names as they are at that moment.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     store["raw/trades"] = np.zeros(3, "i4,f8")
    ...     list(store), "raw/trades" in store, len(store["raw/trades"])
    (['raw'], True, 3)
    """

    kind = "group"
    _kind = NodeKind.GROUP

    # Looking up

    def _find(self, view: View, path: str, *, last: bool = True) -> tuple[Child, str]:
        """Return the entry at a path and its whole path; all in this store.

        Links on the way are followed, and one at the end of the path if it is not meant itself.
        """
        entry, base, rest = self._descend(view, path)
        if entry.kind == NodeKind.LINK and (last or rest):
            from kist.model.links.follow import within

            return within(view, entry, base, rest, last=last)
        return entry, base

    def _descend(
        self, view: View, path: str, *, hint: bool = True
    ) -> tuple[Child, str, tuple[str, ...]]:
        """Return the entry at a path, or the first link on it, its path, and the names behind."""
        absolute, names = split(path)
        start, base = (keys.ROOT, "/") if absolute else (self._id, self._base(view))
        entry, base, used = directory.descend(view, start, names, base, hint=hint)
        return entry, base, names[used:]

    def _base(self, view: View) -> str:
        if self._id == keys.ROOT:
            return "/"
        return directory.path_of(view, self._id) or self._path

    def __getitem__(self, path: str) -> Any:
        """Return the handle of the node at a path; links are followed.

        Raises
        ------
        NodeNotFoundError
            There is none.
        LinkError
            A link on the path cannot be followed.
        """
        return self._at(path, hint=True)

    def _at(self, path: str, *, hint: bool) -> Any:
        view = self._view()
        entry, where, rest = self._descend(view, path, hint=hint)
        if entry.kind == NodeKind.LINK:
            from kist.model.links.follow import handle_behind

            return handle_behind(self._store, view, entry, where, rest)
        return make_handle(self._store, view, entry.node, where)

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, str):
            return False
        view = self._view()
        try:
            entry, where, rest = self._descend(view, path, hint=False)
            if entry.kind == NodeKind.LINK:
                from kist.model.links.follow import follow

                follow(self._store, view, entry, where, rest)
        except NodeNotFoundError:
            return False
        return True

    def get(self, path: str, default: Any = None) -> Any:
        """Return the handle of the node at a path, or `default` when there is none."""
        try:
            return self._at(path, hint=False)
        except NodeNotFoundError:
            return default

    def __iter__(self) -> Iterator[str]:
        return iter(directory.child_names(self._view(), self._id))

    def __len__(self) -> int:
        return directory.n_children(self._view(), self._id)

    def __bool__(self) -> bool:
        # As h5py: a handle is true. `len(group)` counts.
        return True

    def keys(self) -> KeysView[str]:
        """Names of the children."""
        return _Keys(self)

    def values(self) -> ValuesView[Any]:
        """Handles of the children, those of links not followed: no walk runs in a circle."""
        return _Values(self)

    def items(self) -> ItemsView[str, Any]:
        """Names and handles of the children, those of links not followed."""
        return _Items(self)

    def _handles(self) -> list[tuple[str, Node]]:
        """Names and handles of the children, all of one view."""
        view = self._view()
        base = self._base(view)
        return [
            (entry.name, make_handle(self._store, view, entry.node, join(base, entry.name)))
            for entry in directory.children(view, self._id)
        ]

    # Making

    def _place(self, txn: Transaction, path: str) -> tuple[int, str, str]:
        """Return (group id, its path, name) for something new, making the groups on the way."""
        absolute, names = split(path)
        if not names:
            raise NodeExistsError("'/' is the root group")
        start, base = (keys.ROOT, "/") if absolute else (self._id, self._base(txn))
        group, base = directory.require_groups(txn, start, names[:-1], base)
        return group, base, names[-1]

    def _new(self, txn: Transaction, path: str, kind: NodeKind, overwrite: bool) -> Node:
        """Put a new node at a path, in place of a dataset of the same kind if allowed."""
        group, base, name = self._place(txn, path)
        old = directory.child(txn, group, name) if overwrite else None
        if old is not None:
            if old.kind != kind or kind == NodeKind.GROUP:
                raise NodeExistsError(
                    f"{join(base, name)!r} is {a_kind(old.kind)}, which "
                    f"{a_kind(kind)} does not replace; delete it first"
                )
            directory.remove(txn, group, old)
        created_ns = time.time_ns()
        node = directory.add(txn, group, name, kind, base, created_ns)
        return handle_of(self._store, node, kind, created_ns, join(base, name))

    def create_group(
        self,
        name: str,
        *,
        title: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        encrypt: Any = None,
    ) -> Group:
        """Make a group, and the groups on the way to it.

        Parameters
        ----------
        name : str
            Path of the group.
        title, attrs : optional
            Attributes of the group.
        encrypt : secret, list of them, or dict of labels and secrets, optional
            What opens the group, which is sealed then with all that is made in it: every dataset
            as a whole, and all attributes. A secret is a key of 32 bytes, a passphrase, or a
            callable that asks a key service: see docs/encryption.md.

        Raises
        ------
        NodeExistsError
            Something stands there.
        NodeNameError
            The name cannot be one.
        SecretError
            Something in `encrypt` is no secret, or the group would stand in a sealed one.

        Examples
        --------
        >>> import kist, os
        >>> with kist.open(":memory:") as store:
        ...     ward = store.create_group("ward", encrypt=os.urandom(32), title="Ward 3")
        ...     ward["weights"] = [71.5, 80.0]
        ...     ward.sealed, ward["weights"].sealed
        (('1',), ('group',))
        """
        try:
            sealed = as_encryption(encrypt)
        finally:
            encrypt = None  # a traceback would show it
        with self._write() as txn:
            group = self._new(txn, name, NodeKind.GROUP, False)
            self._keep_promises(txn, group, sealed)
            if sealed is not None:
                from kist.model.sealing.groups import seal_group

                seal_group(txn, group._id, group._path, sealed)
            model.attributes.copy_attributes(group, attrs, title)
        assert isinstance(group, Group)
        return group

    def open_group(self, name: str) -> Group:
        """Return a group that must exist.

        Raises
        ------
        NodeNotFoundError
            There is none, or something else stands there.
        """
        return self._open_as(Group, name)

    def require_group(self, name: str) -> Group:
        """Return a group, making it when it is missing.

        Raises
        ------
        NodeExistsError
            Something else stands there.
        """
        return self._require_as(Group, name, lambda: self.create_group(name))

    def __setitem__(self, path: str, data: Any) -> None:
        """Make a dataset of the data, replacing one of its kind and name in the same commit.

        A one-dimensional structured array, a DataFrame or an Arrow table becomes a table; other
        arrays, scalars and lists become arrays.

        Raises
        ------
        NodeExistsError
            Something of another kind stands there.
        DTypeError
            The data cannot be stored.
        """
        if model.given.is_rows(data):
            self.create_table(path, data, overwrite=True)
        else:
            self.create_array(path, data, overwrite=True)

    # Changing

    def __delitem__(self, path: str) -> None:
        """Delete a node; of a group, everything in it."""
        with self._write() as txn:
            group, entry, _ = self._find_with_group(txn, path)
            directory.remove(txn, group, entry)

    def _find_with_group(self, view: View, path: str) -> tuple[int, Child, str]:
        entry, where = self._find(view, path, last=False)
        if entry.node == keys.ROOT or entry.node == self._id:
            raise NodeError(f"{path!r} is the group itself; this needs a node below it")
        found = directory.record(view, entry.node)
        return (found.parent if found is not None else self._id), entry, where

    def move(self, source: str, target: str) -> None:
        """Give a node another name or place; groups on the way are made, handles stay good.

        Raises
        ------
        NodeExistsError
            Something stands at the target.
        NodeError
            The target lies inside the source.
        SecretError
            It would come into a sealed group or out of one, or the secret of that is missing.
        """
        with self._write() as txn:
            group, entry, _ = self._find_with_group(txn, source)
            new_group, base, name = self._place(txn, target)
            directory.move(txn, group, entry, new_group, name, base)
            self._keep_named(txn, entry.node, base, name)

    def copy(
        self,
        source: str | Node,
        target: str,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Copy a node, with its attributes and everything below it, without decoding it.

        Parameters
        ----------
        source : str or Node
            A path in this group, or a handle, also of another store.
        target : str
            Path of the copy. Groups on the way are made.
        progress : callable, optional
            Is told bytes done and bytes in all, as they are stored.

        Raises
        ------
        NodeExistsError
            Something stands at the target.
        SecretError
            It would come into a sealed group or out of one, or a secret is missing.
        """
        from kist.model.copying import copy_node

        with self._write() as txn:
            if isinstance(source, Node) and source._store is not self._store:
                with source._hold() as view:
                    group, base, name = self._place(txn, target)
                    new = copy_node(view, txn, source._id, group, name, base, progress)
                self._keep_named(txn, new, base, name)
                return
            if isinstance(source, Node):
                source._check(txn)
                node = source._id
            else:
                node = self._find(txn, source, last=False)[0].node
            group, base, name = self._place(txn, target)
            new = copy_node(txn, txn, node, group, name, base, progress)
            self._keep_named(txn, new, base, name)

    def _keep_named(self, txn: Transaction, node: int, base: str, name: str) -> None:
        """Raise where a secret was given by name, and what was put there is in clear."""
        ring = txn.reader.keyring
        if ring is not None and ring.named:
            make_handle(self._store, txn, node, f"{base.rstrip('/')}/{name}")

    # Walking

    def visititems(self, function: Callable[[str, Any], Any]) -> Any:
        """Call ``function(path, node)`` for everything below, until it returns other than None.

        Paths are relative to the group. All calls see the names of one snapshot. Links are nodes
        like others, and not followed.
        """
        view = self._view()
        base = self._base(view)
        skip = len(base.rstrip("/")) + 1
        for path, entry in list(directory.walk(view, self._id, base)):
            result = function(path[skip:], make_handle(self._store, view, entry.node, path))
            if result is not None:
                return result
        return None

    def visit(self, function: Callable[[str], Any]) -> Any:
        """Call ``function(path)`` for everything below, until it returns other than None."""
        view = self._view()
        base = self._base(view)
        skip = len(base.rstrip("/")) + 1
        for path, _ in list(directory.walk(view, self._id, base)):
            result = function(path[skip:])
            if result is not None:
                return result
        return None

    def tree(self, depth: int | None = None) -> Tree:
        """Return a drawing of what stands below, at most `depth` levels of it."""
        from kist.model.tree import Tree

        return Tree(self, depth)

    def _summary(self, view: View) -> str:
        n, exact = directory.count(view, self._id)
        more = "" if exact else "more than "
        return f"group of {more}{n:,} node{'' if n == 1 else 's'}"

    def _ipython_key_completions_(self) -> list[str]:
        return model.completing.completions(lambda: directory.paths_below(self._view(), self._id))

    def _headline(self) -> list[str]:
        """Return what a repr says about the group beside its name and title."""
        view = self._view()
        sealed = ["sealed"] if directory.is_marked(view, self._id) else []
        return [self._summary(view), *sealed]

    def __repr__(self) -> str:
        return model.tree.group_repr(self)

    def _repr_html_(self) -> str:
        return model.tree.group_html(self)


class _Shown:
    """What the views of a group share: they show the names, not all of the group."""

    _mapping: Group

    def __repr__(self) -> str:
        from kist.model.text import view_repr

        group = self._mapping
        what = type(self).__name__.removeprefix("_").lower()
        return view_repr(what, group._path, lambda: group, lambda: len(group))


class _Keys(_Shown, KeysView[str]):
    """Names of the children of a group."""

    _mapping: Group


class _Values(_Shown, ValuesView[Any]):
    """Handles of the children of a group, all of one view."""

    _mapping: Group

    def __iter__(self) -> Iterator[Any]:
        return iter([node for _, node in self._mapping._handles()])


class _Items(_Shown, ItemsView[str, Any]):
    """Names and handles of the children of a group, all of one view."""

    _mapping: Group

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._mapping._handles())
