"""What all nodes share: place, name, attributes, and the way to read and to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kist import model
from kist.errors import StaleHandleError
from kist.format import keys
from kist.format.node import NodeKind
from kist.model import directory
from kist.model.session import Held
from kist.model.transactions import Write

if TYPE_CHECKING:
    from kist.engine import View
    from kist.engine.few import Few
    from kist.model.attributes import Attributes
    from kist.model.group import Group
    from kist.model.info import Info
    from kist.model.store import Store

__all__ = ["Node"]


class Node:
    """A node of a store: a group, a table.

    Handles are made by their group. Two handles are equal when they are handles of the same open
    store to the same node.
    """

    kind: ClassVar[str] = "node"
    _kind: ClassVar[NodeKind]
    _store: Store
    _id: int

    def __init__(self, store: Store, node: int, created_ns: int, path: str) -> None:
        self._store = store
        self._id = node
        # Ids of a transaction that was rolled back are given again: the time tells them apart.
        self._created_ns = created_ns
        self._path = path  # when last seen
        self._seen = -1  # commit in which the node was last seen
        # The commit that this handle made last, and what it knows of its node as that has left it.
        self._left: tuple[int, Any] = (-1, None)

    # For the classes of this package

    def _view(self) -> View:
        """Return the state that the calling thread and task sees.

        Raises
        ------
        StaleHandleError
            The node is not part of it any more.
        StoreClosedError
            The store was closed.
        """
        view = self._store._session.view()
        if self._id != keys.ROOT:
            self._check(view)
        return view

    def _hold(self) -> Held:
        """Return the same, pinned until it is released: for iterators.

        A context manager that gives the view.
        """
        held = self._store._session.hold()
        try:
            self._check(held.view)
        except BaseException:
            held.release()
            raise
        return held

    def _moved(self, to: Callable[[Store], Store]) -> Any:
        """Return the same node in another handle of its store, which a function gives."""
        return to(self._store)[self.name]

    def _write(self, message: str = "") -> Write:
        """Return the context manager of one step of a write, which gives the engine's transaction.

        The step joins an open transaction of the caller, with a savepoint, or commits at its end.
        """
        return Write(self._store._session, message, self)

    def _at_once(self, left: tuple[int, Any], write: Callable[[Few], Any]) -> bool:
        """Put a few records on top of the commit that this handle made last: see `kist.engine.few`.

        Parameters
        ----------
        left : (int, object)
            `_left`, as it was when the caller looked at it: threads share handles.
        write : callable
            Puts the records, and returns what the handle leaves.

        Returns
        -------
        bool
            Whether that was possible; if not, nothing has been done, and it takes `_write`.
        """
        session = self._store._session
        if not session.is_free:
            return False
        leaves = session.engine.put_few(left[0], write)
        if leaves is None:
            return False
        self._left = left[0] + 1, leaves
        session.count_commit()
        return True

    def _check(self, view: View, *, writing: bool = False) -> None:
        if self._id == keys.ROOT:
            return
        # The content of a commit never changes; that of a transaction does.
        if not view.is_transaction and view.commit_id == self._seen:
            return
        found = directory.record(view, self._id)
        if found is None or found.created_ns != self._created_ns:
            raise StaleHandleError(
                f"the {self.kind} {self._path!r} was deleted or replaced, or is not part of this "
                "version; open it again by its path"
            )
        if writing:
            found.check_writable(self._path)
        if not view.is_transaction:
            self._seen = view.commit_id

    def _facts(self, view: View) -> dict[str, Any]:
        """Return what `info` says of this kind of node alone."""
        return {}

    def _check_notes(self, view: View) -> Iterator[str]:
        """Yield what `Store.check` cannot look into."""
        return iter(())

    def _listing(self, view: View) -> dict[str, Any]:
        """Return what a listing says about the node beside kind and title, for programs."""
        return {}

    def _words(self, listing: Mapping[str, Any]) -> str:
        """Return the same for people."""
        return self.kind

    def _summary(self, view: View) -> str:
        """Return what one line of a listing says about the node."""
        return self._words(self._listing(view))

    # For users

    @property
    def name(self) -> str:
        """Path of the node, as in ``'/raw/images'``."""
        path = directory.path_of(self._view(), self._id)
        if path is not None:
            self._path = path
        return self._path

    @property
    def parent(self) -> Group:
        """Group that holds the node. The root is its own parent."""
        from kist.model.handles import make_handle

        view = self._view()
        found = directory.record(view, self._id)
        if found is None or self._id == keys.ROOT:
            return self._store
        parent: Any = make_handle(self._store, view, found.parent)
        return parent  # type: ignore[no-any-return]

    @property
    def store(self) -> Store:
        """The open file."""
        return self._store

    @property
    def file(self) -> Store:
        """The open file, under h5py's name for it."""
        return self._store

    @property
    def attrs(self) -> Attributes:
        """Small named values that belong to the node."""
        return model.attributes.Attributes(self)

    @property
    def title(self) -> str | None:
        """What a person would call the node: its attribute ``TITLE``, as in PyTables."""
        title = self.attrs.get("TITLE")
        return None if title is None else str(title)

    @title.setter
    def title(self, title: str | None) -> None:
        if title is not None:
            self.attrs["TITLE"] = title
        else:
            self.attrs.pop("TITLE", None)

    @property
    def info(self) -> Info:
        """What is known about the node, for reading and for programs."""
        from kist.model.info import node_info

        return node_info(self)

    def is_same(self, other: object) -> bool:
        """Tell whether this and `other` are handles of the same open store to the same node."""
        return (
            isinstance(other, Node)
            and self._store is other._store
            and self._id == other._id
            and self._created_ns == other._created_ns
        )

    def __eq__(self, other: object) -> Any:
        return self.is_same(other) if isinstance(other, Node) else NotImplemented

    def __hash__(self) -> int:
        return hash((id(self._store), self._id, self._created_ns))

    def __reduce__(self) -> tuple[Any, ...]:
        from kist.model.handles import reduce_node

        return reduce_node(self)

    def __repr__(self) -> str:
        head = f"kist.{type(self).__name__} {self._path!r}"
        return model.text.guarded(head, lambda: f"<{head}, {self._summary(self._view())}>")
