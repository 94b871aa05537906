"""Making handles from records, and carrying them to other processes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from kist.errors import (
    CorruptDataError,
    StaleHandleError,
    TamperedDataError,
    TransactionError,
    UnsupportedVersionError,
)
from kist.format import keys
from kist.format.node import NodeKind, a_kind
from kist.model import directory

if TYPE_CHECKING:
    from kist.engine import View
    from kist.format.node import NodeRecord
    from kist.model.node import Node
    from kist.model.remote import Source
    from kist.model.store import Store

__all__ = ["handle_of", "make_handle", "reduce_node", "reopen_node", "reopen_store"]

_NO_TABLES: Final = (NodeKind.ARRAY, NodeKind.KEYSTORE)


def make_handle(store: Store, view: View, node: int, path: str | None = None) -> Node:
    """Return the handle of a node that stands in a view.

    Raises
    ------
    CorruptDataError
        It has no record.
    UnsupportedVersionError
        It is of a kind, or needs a feature, that this kist does not know.
    TamperedDataError
        Secrets were given by name for columns of a table, and it is none; or by name, and the node
        does not stand where its records say.
    """
    if node == keys.ROOT:
        return store
    found = directory.record(view, node)
    where = path or directory.path_of(view, node) or f"node {node}"
    if found is None:
        raise CorruptDataError(
            f"{where!r} is listed, but has no record; 'kist check' lists all damage", node=where
        )
    found.check_readable(where)
    ring = view.reader.keyring
    if ring is not None and ring.named:
        directory.check_listed(view, node, directory.path_of(view, node) or where)
    if ring is not None and found.kind in _NO_TABLES and ring.promises(where):
        raise TamperedDataError(
            f"{where!r} is {a_kind(found.kind)}, and a secret was given by name for a column of "
            "it: who writes now writes in clear; do not trust the file"
        )
    sealed_here = ring is not None and _stands_in_seal(view, node, found, where)
    if (
        ring is not None
        and not sealed_here
        and ring.promises_dataset(where)
        and _is_other(view, node, found, where)
    ):
        raise TamperedDataError(
            f"{where!r} is {a_kind(found.kind)}, and a secret was given by name for an array or key"
            " store there: do not trust the file"
        )
    if found.kind == NodeKind.KEYSTORE and not found.is_sealed and ring is not None:
        from kist.model.sealing.field import check_promises

        check_promises(view, node, where, "key store")
    handle = handle_of(store, node, found.kind, found.created_ns, where, sealed=found.is_sealed)
    if not view.is_transaction:
        handle._seen = view.commit_id  # its record was looked at just now
    return handle


def _stands_in_seal(view: View, node: int, found: NodeRecord, where: str) -> bool:
    """Tell whether a node stands in a sealed group, or is one.

    Raises
    ------
    TamperedDataError
        Somebody without the secret has put it there; or a secret was given by name for a group
        above it, which is not sealed.
    """
    if directory.check_place(view, node, where):
        return True
    ring = view.reader.keyring
    names = where.strip("/").split("/")
    above = ["/".join(names[:n]) for n in range(1, len(names))]
    for path in above if ring is not None and ring.named else ():
        if ring is not None and ring.promises_dataset(path):
            raise TamperedDataError(
                f"{where!r} stands in {path!r}, for which a secret was given by name, and that is "
                "no sealed group: who writes now writes in clear; do not trust the file"
            )
    return False


def _is_other(view: View, node: int, found: NodeRecord, where: str) -> bool:
    """Tell whether a node is none of which a secret by its name can be."""
    if found.kind == NodeKind.GROUP:
        return True
    if found.kind != NodeKind.TABLE:
        return False  # arrays and key stores say for themselves whether they are sealed
    if "/" in where.strip("/"):
        return True
    # A single name may be that of a column anywhere, also in a table of that name.
    from kist.model.tables.stored.state import state_of

    columns = state_of(view, node, where).schema.columns
    return not any(column.field and column.name == where.strip("/") for column in columns)


def handle_of(
    store: Store, node: int, kind: int, created_ns: int, path: str, *, sealed: bool = False
) -> Node:
    """Return the handle of a node whose record is known.

    Parameters
    ----------
    sealed : bool
        Whether it is a key store that is sealed as a whole.

    Raises
    ------
    UnsupportedVersionError
        It is of a kind that this kist does not know.
    """
    if kind == NodeKind.GROUP:
        from kist.model.group import Group

        return Group(store, node, created_ns, path)
    if kind == NodeKind.TABLE:
        from kist.model.tables.table import Table

        return Table(store, node, created_ns, path)
    if kind == NodeKind.ARRAY:
        from kist.model.arrays.array import Array

        return Array(store, node, created_ns, path)
    if sealed:
        from kist.model.keystores.sealedstore import SealedKeyStore

        return SealedKeyStore(store, node, created_ns, path)
    if kind == NodeKind.KEYSTORE:
        from kist.model.keystores.keystore import KeyStore

        return KeyStore(store, node, created_ns, path)
    if kind == NodeKind.LINK:
        from kist.model.links.link import Link

        return Link(store, node, created_ns, path)
    raise UnsupportedVersionError(
        f"{path!r} is {a_kind(kind)}, which this kist cannot read; use a newer kist"
    )


def reduce_node(node: Node) -> tuple[Any, ...]:
    """Return what `pickle` keeps of a handle: (path, store id, commit, node id), never data."""
    store = node.store
    if store.path == ":memory:":
        raise TransactionError(
            "a handle of a ':memory:' store cannot be pickled: another process cannot see it; "
            "use a file"
        )
    view = node._view()
    if view.is_transaction:
        raise TransactionError(
            f"{node._path!r} cannot be pickled inside a transaction: what is not committed "
            "cannot be seen by another process"
        )
    where = store._session.source or store.path
    # Not the commit that is shown: behind it there may be those of `compact`, and no trace of it.
    place = (where, store.uuid, view.state.commit)
    if node is store:
        return reopen_store, place
    return reopen_node, (*place, node._id, node._created_ns, node._path)


# One store for all handles of one snapshot that arrive in this process.
_reopened: WeakValueDictionary[tuple[str, bytes, int], Store] = WeakValueDictionary()
_lock = threading.Lock()


def reopen_store(path: str | Source, uuid: bytes, commit: int) -> Store:
    """Open a store that was pickled, at the same commit; `path` may lead over a network.

    Raises
    ------
    SnapshotExpiredError
        The commit is no longer kept; `tag` keeps it.
    StaleHandleError
        Another store stands at the path.
    """
    from kist.model.store import open

    key = (path if isinstance(path, str) else repr(path.place), uuid, commit)
    with _lock:
        store = _reopened.get(key)
        if store is not None and not store.closed:
            return store
        store = open(path, "r", version=commit)
        if store.uuid != uuid:
            store.close()
            raise StaleHandleError(f"{store.path!r} is another store than the one that was pickled")
        _reopened[key] = store
        return store


def reopen_node(
    path: str | Source, uuid: bytes, commit: int, node: int, created_ns: int, name: str
) -> Node:
    """Open a node that was pickled, at the same commit."""
    store = reopen_store(path, uuid, commit)
    view = store._view()
    found = directory.record(view, node)
    if found is None or found.created_ns != created_ns:
        raise StaleHandleError(f"{name!r} is not part of commit {commit} of {store.path!r}")
    return make_handle(store, view, node, name)
