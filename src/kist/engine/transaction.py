"""One set of changes: what it puts, what it writes, what it frees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from kist.engine.interrupts import hold_interrupts
from kist.engine.overlay import Overlay, Ranges
from kist.engine.placing import Owner, Placing
from kist.engine.view import Reader, State
from kist.errors import TransactionClosedError
from kist.format.keys import Range
from kist.format.layout import (
    BLOCK,
    DATA_OFFSET,
    MAX_KEY,
    MAX_RECORD,
    MAX_VALUE,
    OP_DELETE,
    OP_DELETE_RANGE,
    OP_PUT,
    RECORD,
)
from kist.format.log import Freed, Op
from kist.format.values import Pointer, pointer_bytes

ROOM = 2 * BLOCK - RECORD.size
"""Bytes that the records of a commit may take at next to no cost.

In ``full`` a commit fills a block of the log whatever is in it. A second block makes the write 3 us
longer and the next checkpoint come sooner, and encoding ten rows of 50 columns takes 350 us.
"""


@dataclass(slots=True)
class Savepoint:
    """A state of a transaction to go back to: how far its undo log had come."""

    undo: int
    journal_bytes: int
    next_node: int


_FIRST_BYTE = itemgetter(0)
# In a journal: there are changes beside those noted. Too many to be a record, so that nobody
# will ask which; a million notes would take forty megabytes. No key of the map is so short.
_BULK = b""
_TOO_LARGE = MAX_RECORD + 1
_OP_BYTES = 7  # of an operation in a record, beside its key and value


class _Absent:
    """Type of _ABSENT."""


_ABSENT = _Absent()  # in the undo log: there was no such key


class Transaction(Placing):
    """Changes on top of the newest commit. Holds the writer's lock until it ends.

    Extents that the map no longer names are freed by themselves: when a value is replaced or
    deleted, the extents in it go, unless another value put in this transaction names them.
    """

    is_transaction = True

    def __init__(self, owner: Owner, reader: Reader, state: State) -> None:
        super().__init__(owner, reader, state)
        self._overlay = state.overlay.copy()
        self.closed = False
        self.next_node = state.next_node
        # Keys that change, with what each adds to a record; ranges under a marker. Once they are
        # too much for a record there is _BULK, which only a savepoint before it takes away again,
        # and later changes are not noted.
        self.journal: dict[bytes, int] = {}
        self._ranges: dict[bytes, Op] = {}
        self.journal_bytes = 0
        self._freeing: dict[bytes, None] = {}
        self._owned: dict[bytes, bytes] = {}
        self._lives: list[Freed] = []
        # (dictionary, key, what was there) of each change since the first savepoint; of many
        # at once: (dictionary, keys, what was there of them). A savepoint is a position in this
        # list: copies would make a transaction of many steps quadratic.
        self._undo: list[tuple[dict[bytes, Any], bytes | list[bytes], Any]] | None = None
        self._undo_ranges: list[tuple[int, Ranges]] = []  # (position, what they were then)

    @property
    def overlay(self) -> Overlay:
        """Changes since the root, those of this transaction included."""
        return self._overlay

    def _check_open(self) -> None:
        if self.closed:
            raise TransactionClosedError("this transaction has ended")

    # The map

    def put(self, key: bytes, value: bytes, *, old: bytes | _Absent | None = _ABSENT) -> None:
        """Set the value of a key.

        Parameters
        ----------
        old : bytes or None, optional
            What `get` gives for the key: for callers that have asked.
        """
        n_key, n_value = len(key), len(value)
        if not 9 <= n_key <= MAX_KEY or n_value > MAX_VALUE:
            _check_lengths(n_key, n_key, n_value)
        if isinstance(old, _Absent):
            old = self.get(key)
        if value[:1] != b"\0" or (old is not None and old[:1] != b"\0"):
            new = pointer_bytes(value)
            with hold_interrupts():
                self._put(key, value, old, new)
            return
        # Most puts: no extent comes or goes.
        journal, undo, overlay = self.journal, self._undo, self._overlay
        size = _OP_BYTES + n_key + n_value
        more = size - journal.get(key, 0)  # a key that was noted keeps its place, as in put_many
        noted = self.journal_bytes + more <= MAX_RECORD
        values = overlay.values if overlay.ordered is None else overlay.values_for(key)
        if undo is not None:  # what is remembered and does not happen does no harm
            undo.append((values, key, values.get(key, _ABSENT)))
            note = key if noted else _BULK
            if noted or note not in journal:
                undo.append((journal, note, journal.get(note, _ABSENT)))
        # All or nothing: without a call there is no place for Ctrl-C.
        values[key] = value
        if noted:
            journal[key] = size
            self.journal_bytes += more
        elif _BULK not in journal:
            journal[_BULK] = _TOO_LARGE
            self.journal_bytes += _TOO_LARGE

    def put_all(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set the values of distinct keys: cheaper than one by one where they own extents."""
        checked = []
        for key, value in pairs:
            _check_lengths(len(key), len(key), len(value))
            checked.append((key, value, self.get(key), pointer_bytes(value)))
        with hold_interrupts():  # once for all: it takes as long as putting three records
            for key, value, old, new in checked:
                self._put(key, value, old, new)

    def put_new(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Set the values of distinct keys that are known not to be there: nothing is looked up.

        A key that is there after all would leave its extents without an owner, until `compact`.
        """
        self._check_open()
        new = dict(pairs)
        if not new:
            return
        lengths = list(map(len, new))
        _check_lengths(min(lengths), max(lengths), max(map(len, new.values())))
        owned = {pointer: key for key, value in new.items() for pointer in pointer_bytes(value)}
        with hold_interrupts():
            if self._undo is not None or self._freeing:
                for key, value in new.items():
                    self._put(key, value, None, pointer_bytes(value))
                return
            self._owned |= owned
            self._overlay.put_many(new)
            for key, value in new.items():
                if _BULK in self.journal:
                    break
                self._note(key, len(key) + len(value))

    def _put(self, key: bytes, value: bytes, old: bytes | None, new: Sequence[bytes]) -> None:
        if old is not None:
            self._give_up(key, old, new)
        for pointer in new:
            self._set(self._owned, pointer, key)
            self._pop(self._freeing, pointer)
        self._remember(self._overlay.values, key)
        self._overlay.put(key, value)
        self._note(key, len(key) + len(value))

    def put_many(self, items: Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]]) -> None:
        """Set the values of many keys; of a key that comes twice, the later value counts.

        The same as `put` for each, at a third of the time: cheapest where keys ascend, and where
        none of them is there yet. All of them, or after an error none.
        """
        new = dict(items)
        if not new:
            return
        # Nothing here takes a step of Python for each of perhaps a million records.
        lengths = list(map(len, new))
        _check_lengths(min(lengths), max(lengths), max(map(len, new.values())))
        slow = self._owning(new)
        checked = [(key, new.pop(key), old) for key, old in slow.items()]
        puts = [(key, value, old, pointer_bytes(value)) for key, value, old in checked]
        added = sum(map(len, new)) + sum(map(len, new.values())) + _OP_BYTES * len(new)
        journal, values, undo = self.journal, self._overlay.values, self._undo
        noted = self.journal_bytes + added <= MAX_RECORD
        sizes = {key: _OP_BYTES + len(key) + len(value) for key, value in new.items() if noted}
        with hold_interrupts():
            for row in puts:
                self._put(*row)
            if undo is not None:
                olds = {key: values[key] for key in values.keys() & new.keys()}
                undo.append((values, list(new), olds))
                undo += [(journal, key, journal.get(key, _ABSENT)) for key in sizes]
            self._overlay.put_many(new)
            if noted:
                # A key that was noted keeps its place: what was noted since does not touch it.
                added -= sum(map(journal.__getitem__, journal.keys() & new.keys()))
                journal.update(sizes)
                self.journal_bytes += added
            else:
                self._note_bulk()

    def _owning(self, new: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
        """Those of new records that own extents now or have owned some, with their old values."""
        olds: dict[bytes, bytes | None] = {}
        first, last = min(new), max(new)
        if next(self.scan(first, last + b"\0"), None) is not None:
            found = sorted(new)
            pairs = zip(found, self.get_many(found), strict=True)
            olds = {key: old for key, old in pairs if old is not None and old[:1] != b"\0"}
        try:
            owns = any(map(_FIRST_BYTE, new.values()))
        except IndexError:  # a value without a count: put as it is, as `put` does
            owns = True
        if owns:
            for key, value in new.items():
                if value[:1] not in (b"", b"\0") and key not in olds:
                    olds[key] = self.get(key)
        return olds

    def delete(self, key: bytes) -> None:
        """Delete a key; nothing happens when it is not there."""
        old = self.get(key)
        if old is None:
            return
        with hold_interrupts():
            self._give_up(key, old, ())
            self._remember(self._overlay.values, key)
            self._overlay.put(key, None)
            self._note(key, len(key))

    def changed_keys(self, within: Range) -> list[bytes] | None:
        """Keys of a range that may have another value than in the commit it began with.

        None where a whole range went.
        """
        start, stop = within
        if _BULK in self.journal:  # too many to be noted: all since the root
            return None if self._ranges else self._overlay.keys_in(start, stop)
        if self._ranges.keys() & self.journal.keys():
            return None
        return [key for key in self.journal if start <= key < stop]

    def delete_range(self, start: bytes, stop: bytes) -> None:
        """Delete all keys with start <= key < stop. Reads all of them, for what they own."""
        owners: list[tuple[bytes, bytes]] = []
        found = False
        for key, value in self.scan(start, stop):
            found = True
            if value[:1] != b"\0":
                owners.append((key, value))
        if not found:
            return
        with hold_interrupts():  # and nothing is given up before all was read
            for key, value in owners:
                self._give_up(key, value, ())
            changed = self._overlay.keys_in(start, stop)
            if self._undo is not None:
                for key in changed:
                    self._remember(self._overlay.values, key)
                self._undo_ranges.append((len(self._undo), self._overlay.ranges))
            for key in changed:
                self._forget(key)
            self._overlay.delete_range(start, stop)
            # The marker cannot be a key of the map: those begin with a node id below 2**56.
            marker = b"\xff" + start + b"\xff" + stop
            self._ranges[marker] = (OP_DELETE_RANGE, start, stop)
            self._note(marker, len(start) + len(stop))

    def _give_up(self, key: bytes, value: bytes, keep: Sequence[bytes]) -> None:
        for pointer in pointer_bytes(value):
            if pointer not in keep and self._owned.get(pointer, key) == key:
                self._pop(self._owned, pointer)
                self._set(self._freeing, pointer, None)

    def _note(self, key: bytes, size: int) -> None:
        if _BULK in self.journal:
            return
        self._forget(key)
        if self.journal_bytes + _OP_BYTES + size > MAX_RECORD:
            self._note_bulk()
            return
        self._set(self.journal, key, _OP_BYTES + size)
        self.journal_bytes += _OP_BYTES + size

    def _note_bulk(self) -> None:
        # With this the journal is too large for a record, also if all keys in it are forgotten.
        if _BULK not in self.journal:
            self._set(self.journal, _BULK, _TOO_LARGE)
            self.journal_bytes += _TOO_LARGE

    def _forget(self, key: bytes) -> None:
        self.journal_bytes -= self._pop(self.journal, key) or 0

    def _remember(self, table: dict[bytes, Any], key: bytes) -> None:
        if self._undo is not None:
            self._undo.append((table, key, table.get(key, _ABSENT)))

    def _set(self, table: dict[bytes, Any], key: bytes, value: Any) -> None:
        self._remember(table, key)
        table[key] = value

    def _pop(self, table: dict[bytes, Any], key: bytes) -> Any:
        if key not in table:
            return None
        self._remember(table, key)
        return table.pop(key)

    def new_node(self) -> int:
        """A node id that was never used."""
        self.next_node += 1
        return self.next_node - 1

    # Extents

    def add_lives(self, lives: Sequence[Freed]) -> None:
        """Note extents whose life is not that of a record, as the pages of a side tree."""
        self._lives += lives

    def freed(self, commit: int) -> list[Freed]:
        """Extents that this transaction makes free, with their lives.

        Of what is deleted unread any place may have been said. What cannot be is none to write to.
        """
        out = self._lives.copy()
        if not self._freeing and not self._written:
            return out
        for packed in self._freeing:
            pointer = Pointer.unpack(packed)
            out.append(Freed(*pointer.extent, pointer.birth, commit))
        named = self._freeing.keys() | self._owned.keys()
        written: Iterable[bytes] = [pointer.pack() for pointer in self._written]
        for pointer, packed in zip(self._written, written, strict=True):
            if packed not in named:  # written, and rolled back to a savepoint
                out.append(Freed(*pointer.extent, commit, commit))
        end = self._owner.writer_space().end
        return [f for f in out if DATA_OFFSET <= f.offset <= end - f.length]

    def ops(self) -> list[Op]:
        """All changes of the map, in an order that gives it; of a journal that fits a record."""
        values, ranges = self._overlay.values, self._ranges
        return [
            ranges[key]
            if key in ranges
            else (OP_DELETE, key, b"")
            if (value := values[key]) is None
            else (OP_PUT, key, value)
            for key in self.journal
        ]

    def cheap_room(self) -> int:
        """Bytes that the record of this transaction may still take at next to no cost; see `ROOM`.

        Where commits are retained each byte counts: the record stays.
        """
        return 0 if self._owner.retain else ROOM - self.journal_bytes

    @property
    def changed(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.journal)

    @property
    def wrote(self) -> bool:
        """Whether space was taken."""
        return bool(self.used)

    # The end

    def savepoint(self) -> Savepoint:
        """A state to go back to. Costs nothing now, and a note for each later change."""
        self._check_open()
        if self._undo is None:
            self._undo = []
        return Savepoint(len(self._undo), self.journal_bytes, self.next_node)

    def rollback_to(self, point: Savepoint) -> None:
        """Undo everything since the savepoint, which stays usable."""
        self._check_open()
        undo, ranges = self._undo or [], self._undo_ranges
        with hold_interrupts():
            while len(undo) > point.undo:
                table, key, old = undo.pop()
                if isinstance(key, list):
                    for one in key:
                        table.pop(one, None)
                    table.update(old)
                elif old is _ABSENT:
                    table.pop(key, None)
                else:
                    table[key] = old
            while ranges and ranges[-1][0] >= point.undo:
                self._overlay.ranges = ranges.pop()[1]
            self._overlay.keys_changed()
            self.journal_bytes = point.journal_bytes
            self.next_node = point.next_node

    def forget_savepoints(self) -> None:
        """Let go of what it takes to go back: the outcome is all or nothing from here on."""
        self._undo, self._undo_ranges = None, []

    def commit(self, message: str = "") -> int:
        """Make all changes durable and visible together; returns the commit id.

        Raises
        ------
        StorageError
            Nothing was committed.
        CommitUnknownError
            The last sync failed: reopen to learn the outcome.
        """
        self._check_open()
        return self._owner.finish(self, message)

    def rollback(self) -> None:
        """Forget all changes."""
        # Again where memory runs out in it: the lock that it holds would stay held.
        for _ in range(50):
            if self.closed:
                return
            try:
                self._owner.abandon(self)
            except MemoryError:
                continue
        if not self.closed:
            self._owner.abandon(self)


def _check_lengths(shortest: int, longest: int, value: int) -> None:
    if shortest < 9 or longest > MAX_KEY:
        found = shortest if shortest < 9 else longest
        raise ValueError(f"a key has 9 to {MAX_KEY} bytes, not {found}")
    if value > MAX_VALUE:
        raise ValueError(f"a value has at most {MAX_VALUE:,} bytes, not {value:,}")


Maintain = Callable[[Transaction, frozenset[int]], None]
