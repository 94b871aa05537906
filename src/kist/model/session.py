"""Who sees which state of a store, and whose turn it is to write.

A `Session` stands behind each open store. It hands out the view that a call reads from, and
lets one thread or task at a time write:

- inside a transaction, its own changes; else
- inside ``store.read()``, the snapshot of that block; else
- in mode ``r``, the snapshot of the handle; else
- the newest commit.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
import weakref
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from kist.engine.interrupts import STORMS
from kist.errors import (
    CorruptDataError,
    DamageWarning,
    KistError,
    PerformanceWarning,
    ReadOnlyError,
    StaleHandleError,
    StoreClosedError,
    StoreLockedError,
    TransactionClosedError,
    TransactionError,
)
from kist.model.later import much_changed, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from kist.engine import Engine, Snapshot, View
    from kist.engine import Transaction as EngineTransaction

__all__ = ["Held", "Session", "Writer", "current_owner"]

Owner = tuple[threading.Thread, object]

_MANY_COMMITS = 1000
_MANY_SECONDS = 10.0
_NOTED = 100  # of so many commits the time of one is noted
_MUCH_ANEW = 256 << 20  # bytes of chunks, and so many times those that were given
_TIMES_ANEW = 16


def current_owner() -> Owner:
    """Return (thread, asyncio task or None) of the caller."""
    # Only a program that has loaded asyncio can be inside one of its tasks.
    asyncio = sys.modules.get("asyncio")
    task = None
    if asyncio is not None:
        loop = asyncio._get_running_loop()
        if loop is not None:
            task = asyncio.current_task(loop)
    return threading.current_thread(), task


class Shared:
    """A pinned snapshot with several users; released by the last one."""

    __slots__ = ("_lock", "_users", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._users = 1
        self._lock = threading.Lock()

    def take(self) -> Shared:
        """Count one more user."""
        with self._lock:
            self._users += 1
        return self

    def release(self) -> None:
        """Count one user less."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            self.snapshot.release()


class Held:
    """A view that stays readable until the block ends, also across commits and `refresh`.

    Attributes
    ----------
    view : View
        Of the caller's own transaction, or of a pinned snapshot.
    """

    __slots__ = ("_shared", "view")

    def __init__(self, view: View, shared: Shared | None) -> None:
        self.view = view
        self._shared = shared

    def release(self) -> None:
        """Let go of the snapshot; a second call does nothing."""
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.release()

    def __enter__(self) -> View:
        return self.view

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is not None and issubclass(kind, CorruptDataError):
            self.view.reader.backend.distrust()
        self.release()

    def __del__(self) -> None:
        self.release()


class Writer:
    """The one open transaction of a session."""

    __slots__ = ("block", "by_hand", "commit", "dead", "left", "owner", "txn")

    def __init__(self, owner: Owner, by_hand: bool = False, block: object = None) -> None:
        self.owner = owner
        self.block = None if block is None else weakref.ref(block)
        self.txn: EngineTransaction | None = None
        self.by_hand = by_hand  # begin() rather than a with-block
        self.dead = False  # begun by the parent of this process
        self.left = False  # its block has gone without reaching its end
        self.commit: int | None = None

    @property
    def is_left(self) -> bool:
        """Whether nobody will end it: its block is gone, and did not reach its end.

        The block says so when it is collected (`Session.left`), unless Ctrl-C comes right then.
        """
        return self.left or (self.block is not None and self.block() is None)

    def use(self) -> EngineTransaction:
        """Return the transaction of the engine, or raise why there is none."""
        if self.dead:
            raise TransactionClosedError(
                "this transaction belongs to the process that was forked; it cannot be used here"
            )
        if self.txn is None or self.txn.closed:
            raise TransactionClosedError(
                "this transaction has ended; leave its block, or call rollback()"
            )
        return self.txn


class Session:
    """State behind an open store: its engine, its snapshot, its writer.

    Parameters
    ----------
    engine : Engine
        Open.
    reopen : callable
        Opens the engine again in a forked child.
    mode : {"r", "r+"}
        After opening, every mode that writes is ``r+``.
    version : int or str or None
        What ``open`` was asked for.
    timeout : float
        Longest wait for other writers, in seconds.
    full : bool
        Whether each commit is synced.
    name : str
        The path, for messages.
    empty_first : bool
        Mode ``w``: the first commit empties the store, and until then it looks empty.
    source : Source, optional
        What leads to a store that is not on this machine.
    """

    def __init__(
        self,
        engine: Engine,
        reopen: Callable[[], Engine],
        *,
        mode: str,
        version: int | str | None,
        timeout: float,
        full: bool,
        name: str,
        empty_first: bool = False,
        source: object = None,
    ) -> None:
        self.engine = engine
        self.name = name
        self.source = source
        self.mode = mode
        self.version = version
        self.timeout = timeout
        self.closed = False
        self._full = full
        self._reopen = reopen
        self._forked = False
        self._fixed: Shared | None = None
        self._lock = threading.Lock()
        self._writer: Writer | None = None
        self._queue: deque[tuple[Writer, threading.Event]] = deque()
        self._reading: dict[Owner, list[Shared]] = {}
        self._n_commits = 0
        self._commits: deque[float] = deque(maxlen=_MANY_COMMITS // _NOTED)
        self._warned = False
        self._given = self._anew = 0  # bytes of elements, and of the chunks that hold them
        self._warned_anew = False
        self._blank: Shared | None = None
        if empty_first and engine.commit > 0:
            self._blank = Shared(_empty_snapshot(engine))
        if mode == "r":
            self._fixed = Shared(engine.snapshot(version, opened_now=True))
        _sessions.add(self)

    # Reading

    def view(self) -> View:
        """Return what the calling thread and task sees; valid until its next call."""
        if self.closed or self._forked:
            self._check()
        if self._writer is not None or self._reading:
            owner = current_owner()
            writer = self._writer
            if writer is not None and writer.owner == owner:
                return writer.use()
            stack = self._reading.get(owner)
            if stack:
                return stack[-1].snapshot
        if self._fixed is not None:
            return self._fixed.snapshot
        if self._blank is not None:
            return self._blank.snapshot
        return self.engine.newest()

    def hold(self) -> Held:
        """Return what the caller sees, to be kept as long as it likes."""
        if self.closed or self._forked:
            self._check()
        owner = current_owner()
        writer = self._writer
        if writer is not None and writer.owner == owner:
            return Held(writer.use(), None)
        shared = self._share(owner)
        return Held(shared.snapshot, shared)

    def _share(self, owner: Owner) -> Shared:
        stack = self._reading.get(owner)
        if stack:
            return stack[-1].take()
        with self._lock:  # refresh() may release it at the same time
            for shared in (self._fixed, self._blank):
                if shared is not None:
                    return shared.take()
        return Shared(self.engine.snapshot())

    def hold_newest(self) -> Held:
        """Return the newest commit, whatever the caller sees."""
        self._check()
        shared = Shared(self.engine.snapshot())
        return Held(shared.snapshot, shared)

    def begin_reading(self) -> None:
        """Hold one snapshot for the calling thread and task."""
        self._check()
        owner = current_owner()
        self._reading.setdefault(owner, []).append(self._share(owner))

    def end_reading(self) -> None:
        """Let go of it."""
        owner = current_owner()
        stack = self._reading.get(owner)
        if stack:
            shared = stack.pop()
            if not stack:
                del self._reading[owner]
            shared.release()

    def refresh(self) -> None:
        """Move a read-only session to the newest commit."""
        self._check()
        if self._fixed is None:
            return
        backend = self.engine.backend
        if backend.remote and not backend.same_file():
            raise StaleHandleError(
                f"{self.name!r} has changed on the server since it was opened; open it again"
            )
        new = Shared(self.engine.snapshot())
        with self._lock:
            old, self._fixed = self._fixed, new
        old.release()

    # Writing

    def check_writable(self) -> None:
        """Raise when this session cannot write."""
        if self.closed or self._forked:
            self._check()
        if self.mode == "r":
            if self.version is not None:
                raise ReadOnlyError(
                    f"{self.name!r} shows version {self.version!r}, which cannot change; "
                    "open it without version= to write"
                )
            raise ReadOnlyError(
                f"{self.name!r} was opened with mode 'r'; open it with 'r+' or 'a' to write"
            )

    def check_open(self) -> None:
        """Raise when the store is closed."""
        if self.closed or self._forked:
            self._check()

    @property
    def is_free(self) -> bool:
        """Whether the store is open, and no thread or task of this process has its turn."""
        return self._writer is None and not (self.closed or self._forked)

    def own_writer(self) -> Writer | None:
        """Return the open transaction of the calling thread and task, if any."""
        writer = self._writer
        if writer is None or writer.owner != current_owner():
            return None
        if writer.is_left:
            self.drop(writer)
            return None
        return writer

    def begin(self, writer: Writer) -> EngineTransaction:
        """Wait for our turn, take the writer lock of the file, and move to the newest commit.

        The caller has asked `check_writable`; it drops the writer when this raises, and at its
        end.
        """
        timeout = self.timeout
        with self._lock:
            free = self._writer is None
            if free:
                self._writer = writer
        if not free:
            began = time.monotonic()
            self.take_turn(writer)
            timeout = max(0.0, timeout - (time.monotonic() - began))
        txn = writer.txn = self.engine.begin(timeout)
        return txn

    def take_turn(self, writer: Writer) -> None:
        """Wait until no other thread of this process writes; the caller drops the writer."""
        with self._lock:
            holder = self._writer
            if holder is not None and not holder.owner[0].is_alive():
                self._abandoned(holder)
                holder = self._writer
            if holder is None:
                self._writer = writer
                return
            if holder.owner[0] is writer.owner[0]:
                raise TransactionError(
                    "another task of this thread has a transaction open, and waiting for it here "
                    "would stop that task too; await its end first"
                )
            turn = threading.Event()
            self._queue.append((writer, turn))
        if not turn.wait(self.timeout):
            raise StoreLockedError(
                f"{self.name!r}: thread {holder.owner[0].name!r} of this process has a "
                f"transaction open for longer than {self.timeout:g} s"
            )
        self._check()

    def _abandoned(self, writer: Writer) -> None:
        # Its thread has ended without ending it: nobody else could.
        if writer.txn is not None and not writer.dead:
            writer.txn.rollback()
        self._next_turn()

    def _next_turn(self) -> None:
        if self._queue:
            self._writer, turn = self._queue.popleft()
            turn.set()
        else:
            self._writer = None

    def drop(self, writer: Writer) -> None:
        """Roll back what the writer has not committed, and give the next one its turn."""
        arrived: BaseException | None = None
        for _ in STORMS:
            try:
                try:
                    txn = writer.txn
                    if txn is not None and not txn.closed and not writer.dead:
                        txn.rollback()
                except (KeyboardInterrupt, SystemExit):
                    raise  # and once more: it may not have begun
                except BaseException:
                    self._end_turn(writer)
                    raise
                try:
                    self._end_turn(writer)
                except MemoryError:
                    self._end_turn(writer)
                break
            except (KeyboardInterrupt, SystemExit) as error:
                arrived = error
        if arrived is not None:
            raise arrived

    def _end_turn(self, writer: Writer) -> None:
        with self._lock:
            if self._writer is writer:
                self._next_turn()
            else:  # gave up waiting
                waiting = [entry for entry in self._queue if entry[0] is not writer]
                if len(waiting) < len(self._queue):
                    self._queue = deque(waiting)

    def left(self, writer: Writer) -> None:
        """Drop a writer whose block has gone without reaching its end, as by Ctrl-C.

        Called when the block is collected, and so at any moment: where that is in the middle of
        something else, the next write of this session drops it.
        """
        if self._writer is not writer or writer.dead or self._forked:
            return
        writer.left = True
        if self._lock.acquire(blocking=False):
            self._lock.release()
            self.drop(writer)

    def finish(self, writer: Writer, message: str) -> int:
        """Commit what the writer has done, and drop it."""
        try:
            txn = writer.use()
            settle(txn)
            self._fold(txn)
            commit = writer.commit = self.engine.finish(txn, message)
            self._blank = None
            return commit
        finally:
            self.drop(writer)

    def _fold(self, txn: EngineTransaction) -> None:
        """Fold tables that a transaction left in many pieces or patches, as checkpoints do."""
        nodes = much_changed(txn)
        if not nodes or self.engine.maintain is None:
            return
        point = txn.savepoint()
        try:
            self.engine.maintain(txn, nodes)
        except KistError as error:
            # What was damaged before must not keep the new rows from being written.
            txn.rollback_to(point)
            warnings.warn(f"{self.name!r}: {error}", DamageWarning, stacklevel=4)

    def count_commit(self) -> None:
        """Warn once when a loop pays for a durable commit at each of its turns."""
        if self._warned or not self._full:
            return
        self._n_commits = n = self._n_commits + 1
        if n % _NOTED != 1:
            return
        now = time.monotonic()
        times = self._commits
        many = len(times) == times.maxlen and now - times[0] < _MANY_SECONDS
        times.append(now)
        if many:
            self._warned = True
            from kist._kernels.callers import user_level

            warnings.warn(
                f"{self.name!r}: 1,000 small commits in {now - times[0]:.1f} s, each waiting for "
                "the disk. Put the loop into `with store.transaction():`, or append rows through "
                "`with table.appender() as add:`",
                PerformanceWarning,
                stacklevel=user_level(),
            )

    def count_anew(self, given: int, anew: int) -> None:
        """Warn once when a loop of small assignments writes large chunks of arrays anew."""
        if self._warned_anew:
            return
        self._given += given
        self._anew += anew
        if self._anew > max(_MUCH_ANEW, _TIMES_ANEW * self._given):
            n = self._anew / max(self._given, 1)
            self._warned_anew = True
            from kist._kernels.callers import user_level

            warnings.warn(
                f"{self.name!r}: assignments to parts of chunks of arrays, each a commit, have "
                f"written {self._anew / 1e6:,.0f} MB, {n:,.0f} times what was assigned. Put the "
                "loop into `with store.transaction():`, which writes each chunk once; or make the "
                "array with chunks= of the parts that are assigned",
                PerformanceWarning,
                stacklevel=user_level(),
            )

    # The end

    def close(self) -> None:
        """Roll back what is open, let go of snapshots, close the engine."""
        if self.closed:
            return
        self.closed = True
        try:
            with self._lock:
                writer, self._writer = self._writer, None
                waiting, self._queue = self._queue, deque()
            for _, turn in waiting:
                turn.set()
            if writer is not None and writer.txn is not None and not writer.dead:
                writer.txn.rollback()
            if self._blank is not None and not self._forked:
                # Mode w: what was never written is an empty store.
                self.engine.begin(self.timeout).commit()
            for stack in self._reading.values():
                for shared in stack:
                    shared.release()
            self._reading.clear()
            if self._fixed is not None:
                self._fixed.release()
        finally:
            self.engine.close()

    def _check(self) -> None:
        if self.closed:
            raise StoreClosedError(f"the store {self.name!r} is closed")
        if self._forked:
            self._take_over()

    def _take_over(self) -> None:
        # A read-only engine goes on by itself: its backend opens the file again and pins again
        # what was pinned. One that writes had locks and plans of the parent.
        if self.mode != "r" and self.name != ":memory:":
            self.engine = self._reopen()
        self._forked = False

    def after_fork_in_child(self) -> None:
        """Forget threads that do not exist here, and locks that they may have held."""
        self._lock = threading.Lock()
        self._queue = deque()
        self._forked = True
        me = threading.current_thread()
        if self._writer is not None:
            self._writer.dead = True
            if self._writer.owner[0] is not me:
                self._writer = None
        self._reading = {owner: s for owner, s in self._reading.items() if owner[0] is me}


def _empty_snapshot(engine: Engine) -> Snapshot:
    from kist.engine import Snapshot
    from kist.engine.overlay import Overlay

    state = replace(engine.state, root=None, overlay=Overlay())
    return Snapshot(engine.reader, state, lambda: None, lambda: engine.closed)


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for session in list(_sessions):
        session.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
