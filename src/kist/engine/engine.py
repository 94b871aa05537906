"""The engine: one open file, its newest commit, its snapshots, and its one writer."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

from kist.engine import creation, history, recovery
from kist.engine.following import Following
from kist.engine.interrupts import STORMS, hold_interrupts, persistently
from kist.engine.pins import Pins
from kist.engine.recovery import Chain, oldest_commit
from kist.engine.view import ClosedEngine, Reader, Snapshot, View
from kist.errors import (
    CorruptDataError,
    DamageWarning,
    FormatError,
    ReadOnlyError,
    SnapshotExpiredError,
    StaleHandleError,
    StorageError,
    StoreClosedError,
    TransactionClosedError,
)
from kist.format import keys, layout
from kist.format.values import KeptVersion
from kist.storage.base import StorageBackend

if TYPE_CHECKING:
    from kist.crypto.secret import Secret
    from kist.engine.few import Few
    from kist.engine.history import CommitInfo
    from kist.engine.keyring import Keyring
    from kist.engine.sealedstore import StoreSealing
    from kist.engine.space import Space
    from kist.engine.transaction import Maintain, Transaction
    from kist.engine.upkeep import Problem, Progress, Usage
    from kist.engine.writer import Writer

Durability = Literal["full", "relaxed", "none"]
DURABILITIES = ("full", "relaxed", "none")

T = TypeVar("T")
_MAX_MESSAGE = 1024
# All nodes, the root group included, and then what the store keeps about versions of them.
_EVERYTHING = ((keys.whole_node(keys.ROOT)[0], b"\xff" * 8), keys.TAGS, keys.VERSIONS)


class Engine(Following):
    """An open store.

    Attributes
    ----------
    path : str
        For messages.
    maintain : callable or None
        Called in checkpoints with a transaction and the ids of nodes changed since the last
        one; folds small pieces. Its changes are committed with the checkpoint.
    publishing : lock
        Held while `chain` and `slots` change.
    """

    def __init__(
        self,
        backend: StorageBackend,
        *,
        writable: bool,
        durability: Durability = "full",
        timeout: float | None = 30.0,
        retain: int = 0,
        empty_first: bool = False,
        keyring: Keyring | None = None,
    ) -> None:
        if durability not in DURABILITIES:
            raise ValueError(f"durability is one of {DURABILITIES}, not {durability!r}")
        self.writable = writable
        self.durability: Durability = durability
        self.timeout = timeout
        self.retain = retain
        self._puts_few = writable and not retain
        self.closed = False
        self.maintain: Maintain | None = None
        if durability == "none":
            backend.eager = False  # when anything is written is left to the system
        reader = Reader(backend)
        reader.keyring = keyring
        super().__init__(backend, reader)
        self.reader.uuid = self.uuid
        if backend.remote and self.state.root is not None:
            self.reader.bring_tree_near(self.state.root)
        if writable:
            unknown = self.features_write & ~layout.KNOWN_WRITE_FEATURES
            if unknown:
                raise ReadOnlyError(
                    f"{self.path}: write features {unknown:#x} are not known here: open it with"
                    " mode 'r', or install a newer kist"
                )
        self._tell_damage()
        self._lock = self.publishing = threading.RLock()
        self._pins = Pins(backend)
        if writable:
            # What writes is loaded by those who write.
            from kist.engine.writer import Writer

            self._writer: Writer = Writer(self)
        self._writing = False
        self._transaction: Transaction | None = None
        self._empty_first = empty_first
        _engines.add(self)

    def _tell_damage(self) -> None:
        damage, shown = self.chain.damage, self.chain.state.commit
        if damage and self.writable:
            raise CorruptDataError(f"{self.path}: {damage}")
        if damage:
            warnings.warn(
                f"{self.path}: {damage}; shown is commit {shown}", DamageWarning, stacklevel=5
            )

    # Opening

    @staticmethod
    def open(
        path: str | os.PathLike[str],
        mode: str = "r",
        *,
        durability: Durability = "full",
        timeout: float | None = 30.0,
        retain: int = 0,
        overwrite: bool = False,
        keyring: Keyring | None = None,
        encrypt: Mapping[str, Secret] | None = None,
    ) -> Engine:
        """Open or create a store; modes r, r+, a, w, x as `kist.open`.

        With `encrypt` one that is made is sealed.
        """
        if encrypt is None and keyring is not None and keyring.promises_store:
            creation.refuse_to_make(path, mode)
        backend, empty_first = creation.open_path(path, mode, timeout, overwrite, encrypt)
        try:
            return Engine(
                backend,
                writable=mode != "r",
                durability=durability,
                timeout=timeout,
                retain=retain,
                empty_first=empty_first,
                keyring=keyring,
            )
        except BaseException:
            backend.close()
            raise

    @staticmethod
    def open_backend(
        backend: StorageBackend,
        mode: str = "r+",
        *,
        durability: Durability = "full",
        timeout: float | None = 30.0,
        retain: int = 0,
        keyring: Keyring | None = None,
        encrypt: Mapping[str, Secret] | None = None,
    ) -> Engine:
        """Open the store on a backend; mode "a" creates it where none is finished."""
        if mode == "a":
            creation.create_if_unfinished(backend, timeout, encrypt)
        return Engine(
            backend,
            writable=mode != "r",
            durability=durability,
            timeout=timeout,
            retain=retain,
            keyring=keyring,
        )

    # The newest state

    def _check_open(self) -> None:
        if self.closed:
            raise StoreClosedError(f"{self.path}: the store is closed")

    def refresh(self) -> int:
        """Move to the newest commit; returns its id. Two small reads when nothing changed."""
        if self.closed:
            self._check_open()
        glance = self._glance
        if glance is not None and glance.holds():
            return self.chain.state.commit
        with self._lock:
            if self._writing:
                return self.commit  # the writer is this process: nobody else can commit
            self._glance = None
            if self._inherited:
                self._reload()
                self._inherited = False
            try:
                self._glance = self._look()
            except FormatError:
                if not self.backend.remote:
                    raise
                self.backend.distrust()  # what was kept of it was damaged on the way, perhaps
                self._glance = self._look()
            except (MemoryError, RecursionError):
                self.distrust()
                raise
            return self.chain.state.commit

    def newer(self, commit: int) -> int:
        """How many commits of users there are after `commit`."""
        self.refresh()
        return history.newer(self.chain, commit)

    # Snapshots

    def newest(self) -> Snapshot:
        """Snapshot of the newest commit; the same object while nothing changes."""
        self.refresh()
        newest = self._newest
        if newest is None or newest.commit != self.commit or not newest.pinned:
            with self._lock:
                newest = self._newest
                if newest is None or newest.commit != self.commit or not newest.pinned:
                    newest = self._newest = self._pinned(None)
        return newest

    def snapshot(self, version: int | str | None = None, *, opened_now: bool = False) -> Snapshot:
        """Pinned snapshot of the newest commit, of a commit id, or of a tag.

        Parameters
        ----------
        opened_now : bool
            The engine was opened for this, and what it has just read is new enough.

        Raises
        ------
        SnapshotExpiredError
            The version is not kept.
        """
        if not opened_now:
            self.refresh()
        with self._lock:
            return self._pinned(version)

    def frozen(self) -> tuple[Snapshot, Chain]:
        """A snapshot of the newest commit, and how it was reached; for the upkeep."""
        self.refresh()
        with self._lock:
            snapshot, chain = self._pinned(None), self.chain
            return snapshot, replace(chain, records=chain.records.copy(), seen=chain.seen.copy())

    def _pinned(self, version: int | str | None) -> Snapshot:
        for _ in range(100):
            state = self.state if version is None else history.state_of(self, version)
            unpin = partial(self._pins.unpin, state.commit)
            self._pins.pin(state.commit)
            # Only now look whether the commit could still be pinned; why this is enough without
            # a gate lock: docs/design/0001, "Snapshots, pins".
            try:
                raw = recovery.slot_bytes(self.backend)
                known = raw == self._slots_raw
                slots = self.slots if known else recovery.slots_of(raw, self.ring.super)
                if state.commit >= oldest_commit(slots) or (
                    version is not None and history.is_kept(self, state.commit)
                ):
                    return Snapshot(self.reader, state, unpin, ClosedEngine(self))
            except BaseException:
                unpin()
                raise
            unpin()
            if not self._writing:
                self._reload()
        raise SnapshotExpiredError(f"{self.path}: commits pass faster than they can be pinned")

    def hold_kept(self, commit: int) -> Callable[[], None]:
        """Pin the commit of a kept version; returns what lets it go.

        Raises
        ------
        SnapshotExpiredError
            It is not kept any more.
        """
        self._pins.pin(commit)
        unpin = partial(self._pins.unpin, commit)
        try:
            if history.is_kept(self, commit):
                return unpin
        except BaseException:
            unpin()
            raise
        unpin()
        raise SnapshotExpiredError(f"{self.path}: commit {commit} is no longer kept")

    def versions(self) -> list[KeptVersion]:
        """Versions kept by tags or retention."""
        return history.versions(View(self.reader, self.state))

    # Writing

    def begin(self, timeout: float | None = -1.0) -> Transaction:
        """Take the writer's lock, move to the newest commit, start a transaction.

        Parameters
        ----------
        timeout : float or None
            Seconds to wait, None for ever; by default those given at opening.

        Raises
        ------
        StoreLockedError
            Somebody else kept the lock for that long.
        ReadOnlyError
            The store was opened for reading, or an earlier sync failed.
        StorageError
            A checkpoint was due and failed.
        """
        self._check_writable()
        backend, writer = self.backend, self._writer
        backend.locks.acquire_writer(self.timeout if timeout == -1.0 else timeout)
        try:
            if not backend.same_file():
                raise StaleHandleError(f"{self.path}: another file stands there; open it again")
            with self._lock:
                goes_on = writer.left is self.chain.state and self.is_newest()
                if not goes_on:
                    self.refresh()
                self._writing = True
            if not goes_on:
                writer.take_over()
                if writer.checkpoint_due():
                    with hold_interrupts():
                        writer.checkpoint()
                        writer.take_over()  # what is free may have to be read afresh
            transaction = self._transaction = writer.transaction()
            if self._empty_first:
                for start, stop in _EVERYTHING:
                    transaction.delete_range(start, stop)
            return transaction
        except BaseException:
            arrived: BaseException | None = None
            ended = False
            for _ in STORMS:
                try:
                    if not ended:
                        with hold_interrupts():
                            writer.drop_space()
                            persistently(self._stop_writing)
                            ended = True
                    break
                except (KeyboardInterrupt, SystemExit) as error:
                    arrived = error
            if arrived is not None:
                raise arrived from None
            raise

    def put_few(self, commit: int, write: Callable[[Few], T]) -> T | None:
        """Commit a few records on top of a commit of this engine; see `kist.engine.few`.

        Returns what `write` gives, or None where nothing was done: it takes a transaction.
        """
        from kist.engine.few import put_few

        return put_few(self, commit, write)

    def _check_writable(self) -> None:
        if self.closed:
            self._check_open()
        if not self.writable:
            raise ReadOnlyError(f"{self.path}: opened for reading; use mode 'r+' or 'a'")
        if self._writer.failed:
            raise ReadOnlyError(f"{self.path}: {self._writer.failed}; open it again")
        if self.backend.forked:
            raise ReadOnlyError(f"{self.path}: opened before a fork; open it in this process")

    def _stop_writing(self) -> None:  # with interrupts held
        self._writing = False  # without its lock: nobody looks for newer commits until then
        # Before the lock is free: whoever takes it notes a transaction of its own.
        transaction, self._transaction = self._transaction, None
        try:
            if not self.backend.forked:
                self.backend.locks.release_writer()
        except BaseException:
            self._transaction = transaction
            raise

    def writer_space(self) -> Space:
        """Free and waiting space, for the holder of the writer's lock."""
        return self._writer.space

    def finish(self, transaction: Transaction, message: str) -> int:
        """Commit, and release the writer's lock; for `Transaction.commit`."""
        done = False
        with hold_interrupts():
            transaction.settle()
            # Let its pin go, unless somebody reads it; and the log will look otherwise.
            self._newest = self._glance = None
            try:
                if self._transaction is not transaction or self.backend.forked or self.closed:
                    raise self._not_ours()
                changed = transaction.changed
                if changed:
                    if self.retain:
                        history.retain(self, transaction)
                    self._writer.commit(transaction, message[:_MAX_MESSAGE])
                    self._empty_first = False
                done = changed or not transaction.wrote
                return self.chain.state.shown
            finally:
                self._end(transaction, keep_space=done)

    def abandon(self, transaction: Transaction) -> None:
        """Forget a transaction, and release the writer's lock."""
        with hold_interrupts():
            transaction.stop()  # nobody writes to what is given back
            given = False
            try:
                if self._transaction is transaction:
                    self._writer.give_back(transaction.used)
                given = True
            finally:
                self._end(transaction, keep_space=given)

    def _end(self, transaction: Transaction, *, keep_space: bool) -> None:
        if self._transaction is transaction and not transaction.closed:
            if not keep_space:
                self._writer.drop_space()
            try:
                self._stop_writing()
            except MemoryError:
                persistently(self._stop_writing)
        transaction.closed = True

    def _not_ours(self) -> TransactionClosedError:
        self._check_open()
        what = "is the parent's" if self.backend.forked else "has ended"
        return TransactionClosedError(f"{self.path}: this transaction {what}")

    def checkpoint(self, *, trim: bool = False, timeout: float | None = -1.0) -> None:
        """Fold the log into the tree. Happens by itself; tags and compaction ask for it."""
        transaction = self.begin(timeout)
        done = False
        try:
            with hold_interrupts():
                self._writer.space.lowest = trim
                self._writer.checkpoint(trim=trim)
                done = True
        finally:
            arrived: BaseException | None = None
            for _ in STORMS:
                try:
                    if not transaction.closed:
                        with hold_interrupts():
                            self._end(transaction, keep_space=done)
                    break
                except (KeyboardInterrupt, SystemExit) as error:
                    arrived = error
            if arrived is not None:
                raise arrived

    def checkpoint_now(self) -> None:
        """Write a checkpoint within a transaction of the upkeep, which holds the writer's lock."""
        self._writer.checkpoint()
        self._writer.take_over()

    def end_upkeep(self, transaction: Transaction, *, keep_space: bool) -> None:
        """End a transaction of the upkeep, and release the writer's lock."""
        self._end(transaction, keep_space=keep_space)

    def relock(self, make: Callable[[StoreSealing, int], StoreSealing]) -> None:
        """Put another lock on a sealed store, see `kist.engine.relocking`."""
        from kist.engine import relocking

        relocking.relock(self, make)

    def reseal(self) -> None:
        """Seal again what is under older data keys, see `kist.engine.relocking`."""
        from kist.engine import relocking

        relocking.reseal(self)

    def sync(self) -> None:
        """Make all commits of this process durable now."""
        self._check_open()
        if self.writable:
            self._check_writable()
            commit = self._writer.own_commit
            self._writer.sync("recent commits")
            if commit >= 0:
                self.chain.horizon = max(self.chain.horizon, min(commit, self.commit))

    # History, upkeep: see those modules

    def history(self) -> list[CommitInfo]:
        """Commits that can still be opened, newest first."""
        self.refresh()
        return history.commits(self)

    def tags(self) -> dict[str, int]:
        """Tag -> commit that the user tagged."""
        self.refresh()
        return history.tags(View(self.reader, self.state))

    def tag(self, name: str, commit: int | None = None, *, move: bool = False) -> int:
        """Keep a commit until it is untagged; returns its id."""
        return history.tag(self, name, commit, move=move)

    def untag(self, name: str) -> None:
        """Let a tagged commit go."""
        history.untag(self, name)

    def usage(self) -> Usage:
        """Bytes in use, free and waiting, and who pins what."""
        from kist.engine import upkeep

        return upkeep.usage(self)

    def check(self, progress: Progress | None = None) -> list[Problem]:
        """Read and verify everything; lists all damage."""
        from kist.engine import upkeep

        return upkeep.check(self, progress)

    def compact(self, progress: Progress | None = None) -> int:
        """Move extents down and cut the file; returns the bytes given back."""
        if self.backend.append_only:
            raise StorageError(
                f"{self.path}: a file on a network mount only grows, because readers on other "
                "machines may need what is moved; backup(compact=True) makes a small copy"
            )
        from kist.engine import upkeep

        return upkeep.compact(self, progress)

    def backup(
        self,
        target: str,
        *,
        snapshot: View | None = None,
        compact: bool = False,
        overwrite: bool = False,
        sync: bool = True,
        progress: Progress | None = None,
    ) -> int:
        """Copy a commit to a file of its own; returns its bytes. See `kist.engine.backup`."""
        from kist.engine import backup

        return backup.backup(
            self,
            target,
            snapshot=snapshot,
            compact=compact,
            overwrite=overwrite,
            sync=sync,
            progress=progress,
        )

    # The end

    def close(self) -> None:
        """Close the file; an open transaction is rolled back."""
        if self.closed:
            return
        try:
            if not self.backend.forked:
                if self._transaction is not None:
                    self._transaction.rollback()
                if self.writable and not self._writer.failed:
                    if self._empty_first:
                        self.begin().commit()
                    self._writer.close_log()
        finally:
            self.closed = True
            self._newest = None
            self.backend.close()


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # Another thread may have been in the middle of anything, and does not exist here.
    for engine in list(_engines):
        engine._lock = engine.publishing = threading.RLock()
        engine._pins.after_fork_in_child()
        engine._writing = False
        engine._transaction = None
        engine._inherited = True
        engine._glance = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
