"""The blocks in which a store is read and written: transactions, single steps, snapshots.

They are classes with ``__enter__`` and ``__exit__`` rather than generators: an interrupt that
arrives between the two parts of a generator would leave the transaction open.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from kist.engine.interrupts import hold_interrupts
from kist.errors import TransactionClosedError, TransactionError
from kist.model.later import put_off_by, settle
from kist.model.session import Session, Writer, current_owner

if TYPE_CHECKING:
    from kist.engine import Transaction as EngineTransaction
    from kist.model.node import Node

__all__ = ["Reading", "Transaction", "Transactional", "Turn", "Write"]


class Write:
    """One step of a write: joins the caller's transaction, or is a commit of its own.

    Inside a transaction the step gets a savepoint, so that a failing step leaves no half of
    itself while the transaction goes on. It begins by looking whether the node is still there.

    Parameters
    ----------
    node : Node, optional
        Whose handle writes.

    Attributes
    ----------
    left : object
        What the handle has left with the commit on which this step builds; None when somebody
        else made that commit, or has changed anything since.
    leaves : object
        What it leaves with this one: set within the block, by who knows the node as it is then.
    """

    __slots__ = (
        *("_message", "_node", "_point", "_session", "_writer"),
        *("__weakref__", "leaves", "left"),
    )

    def __init__(self, session: Session, message: str = "", node: Node | None = None) -> None:
        self._session = session
        self._message = message
        self._node = node
        self._writer: Writer | None = None
        self._point: object = None
        self.left: Any = None
        self.leaves: Any = None

    def __enter__(self) -> EngineTransaction:
        session = self._session
        session.check_writable()
        writer = session.own_writer()
        if writer is not None:
            txn = writer.use()
            later = put_off_by(txn)
            if later is not None:
                later.step_done()  # what was written until now stays written
                # Of a group: copies, moves and deletes arrays as they stand in the map.
                if later.is_full or self._node is None or self._node.kind == "group":
                    later.settle()
                    later.step_done()
            self._point = txn.savepoint()
            self._writer = writer
        else:
            writer = self._writer = Writer(current_owner(), block=self)
            try:
                txn = session.begin(writer)
            except BaseException:
                session.drop(writer)
                raise
        node = self._node
        if node is not None:
            commit, left = node._left
            if commit == txn.state.commit and not txn.changed:
                self.left = left  # and the node is there: the transaction shows what it has left
                return txn
            try:
                node._check(txn, writing=True)
            except BaseException as error:
                self.__exit__(type(error), error, error.__traceback__)
                raise
        return txn

    @property
    def is_inside(self) -> bool:
        """Whether it has joined a transaction, which goes on after it."""
        return self._point is not None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        writer, session = self._writer, self._session
        assert writer is not None
        if self._point is not None:
            txn = writer.txn
            if txn is None or txn.closed:
                return
            if kind is not None:
                with hold_interrupts():
                    txn.rollback_to(self._point)  # type: ignore[arg-type]
                    later = put_off_by(txn)
                    if later is not None:
                        later.step_undone()
        elif kind is not None:
            session.drop(writer)
        else:
            commit = session.finish(writer, self._message)
            if self._node is not None:
                self._node._left = commit, self.leaves  # one step: threads share handles
            self._writer = None  # nothing is left to be done for it
            session.count_commit()

    def __del__(self) -> None:
        writer = getattr(self, "_writer", None)
        if writer is not None and self._point is None:
            self._session.left(writer)  # see Transaction.__del__


class Transaction:
    """All or nothing, over every dataset of a store; comes from `Store.transaction`.

    Attributes
    ----------
    message : str
        Shown by ``history()``. May be set until the block ends.
    """

    def __init__(self, session: Session, message: str | None = None) -> None:
        self.message = message or ""
        self._session = session
        self._writer: Writer | None = None
        self._point: object = None
        self._nested = False

    @property
    def id(self) -> int | None:
        """Commit id; None before the commit. Of a nested block: that of the outermost one."""
        return None if self._writer is None else self._writer.commit

    def __repr__(self) -> str:
        if self.id is not None:
            return f"<kist.Transaction, commit {self.id}>"
        writer = self._writer
        open_ = writer is not None and writer.txn is not None and not writer.txn.closed
        return f"<kist.Transaction, {'open' if open_ else 'not open'}>"

    def __enter__(self) -> Transaction:
        session = self._session
        if self._writer is not None:
            raise TransactionError("this transaction was used before; call transaction() again")
        session.check_writable()
        outer = session.own_writer()
        if outer is not None:
            txn = outer.use()
            settle(txn)  # what is put off from here on is of this block
            self._point = txn.savepoint()
            self._nested = True
            self._writer = outer
            return self
        writer = self._writer = Writer(current_owner(), block=self)
        try:
            session.begin(writer)
            return self
        except BaseException:
            session.drop(writer)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        writer, session = self._writer, self._session
        assert writer is not None
        if self._nested:
            if kind is not None and writer.txn is not None and not writer.txn.closed:
                with hold_interrupts():
                    writer.txn.rollback_to(self._point)  # type: ignore[arg-type]
                    later = put_off_by(writer.txn)
                    if later is not None:
                        later.forget()
        elif kind is not None:
            session.drop(writer)
        else:
            session.finish(writer, self.message)

    def __del__(self) -> None:
        # Ctrl-C may rise before the first line of __exit__ is reached, and then nobody has ended
        # the transaction. Within another one there is nothing to do: that one ends.
        writer = getattr(self, "_writer", None)
        if writer is not None and not self._nested:
            self._session.left(writer)


class Turn:
    """Keeps other threads of this process from writing while the engine works by itself."""

    __slots__ = ("__weakref__", "_session", "_what", "_writer")

    def __init__(self, session: Session, what: str) -> None:
        self._session = session
        self._what = what
        self._writer: Writer | None = None

    def __enter__(self) -> None:
        session = self._session
        session.check_writable()
        if session.own_writer() is not None:
            raise TransactionError(f"{self._what} is not possible inside a transaction")
        writer = self._writer = Writer(current_owner(), block=self)
        try:
            session.take_turn(writer)
        except BaseException:
            session.drop(writer)
            raise

    def __exit__(self, *exc: object) -> None:
        if self._writer is not None:
            self._session.drop(self._writer)


class Reading:
    """One snapshot over several calls; comes from `Store.read`."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> None:
        self._session.begin_reading()

    def __exit__(self, *exc: object) -> None:
        self._session.end_reading()


class Transactional:
    """The part of a store that begins and ends transactions, and reads within one commit."""

    _session: Session

    def transaction(self, message: str | None = None) -> Transaction:
        """Return a context manager: all changes within are one commit, or none.

        It moves to the newest commit first, so that what is read within is what is changed. Any
        exception rolls back. A block within a block is a savepoint. The transaction belongs to
        the thread or asyncio task that entered it; other threads wait.

        Raises
        ------
        StoreLockedError
            Another writer did not end within `timeout`; on entering.
        TransactionError
            Another task of this thread has one open; on entering.

        Examples
        --------
        >>> import kist
        >>> with kist.open(":memory:") as store:
        ...     with store.transaction("first steps") as txn:
        ...         store.attrs["a"] = 1
        ...         store.attrs["b"] = 2
        ...     txn.id, store.history()[0].message
        (1, 'first steps')
        """
        return Transaction(self._session, message)

    def begin(self) -> None:
        """Open a transaction that lasts until `commit` or `rollback`; for notebooks.

        Raises
        ------
        TransactionError
            One is open already.
        """
        session = self._session
        session.check_writable()
        if session.own_writer() is not None:
            raise TransactionError(
                "a transaction is open already; `with store.transaction():` makes a savepoint"
            )
        writer = Writer(current_owner(), by_hand=True)
        try:
            session.begin(writer)
        except BaseException:
            session.drop(writer)
            raise

    def commit(self, message: str | None = None) -> int:
        """End the transaction of `begin` and return its commit id.

        Raises
        ------
        TransactionError
            None is open, or it belongs to a with-block.
        """
        return self._session.finish(self._begun("commit"), message or "")

    def rollback(self) -> None:
        """End the transaction of `begin` and forget its changes."""
        self._session.drop(self._begun("roll back"))

    def _begun(self, what: str) -> Writer:
        session = self._session
        session.check_open()
        writer = session.own_writer()
        if writer is None:
            raise TransactionError(f"there is nothing to {what}: begin() opens a transaction")
        if not writer.by_hand:
            raise TransactionError(
                f"cannot {what} here: the transaction ends with its with-block, and any exception "
                "rolls it back"
            )
        if writer.dead:
            session.drop(writer)
            raise TransactionClosedError(
                "this transaction belongs to the process that was forked; it goes on there"
            )
        return writer

    def read(self) -> Reading:
        """Return a context manager: all reads of this thread or task within see one commit."""
        return Reading(self._session)
