"""The engine against a plain dict: any program of transactions, savepoints and reopenings."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from kist.engine import Engine, Frame, Pointer, Transaction, View
from kist.format import keys, layout
from kist.format.values import pack_record, unpack_record
from kist.storage import MemoryBackend, MemoryFile

NODE = 5
Entry = tuple[bytes, tuple[bytes, ...]]  # payload, bodies of the extents
NUMBERS = st.integers(0, 60)


def key(number: int) -> bytes:
    return keys.group(NODE, number)


def contents(view: View) -> dict[int, Entry]:
    found = {}
    for name, value in view.scan(*keys.groups(NODE)):
        pointers, payload = unpack_record(value)
        found[keys.row_of(name)] = payload, tuple(bytes(view.read(p)) for p in pointers)
    return found


class EngineMachine(RuleBasedStateMachine):
    """A model: dictionaries for what is committed, what is changed, and what savepoints saw."""

    @initialize(
        durability=st.sampled_from(["full", "relaxed", "none"]),
        retain=st.sampled_from([0, 0, 0, 2]),
    )
    def start(self, durability: str, retain: int) -> None:
        self.file = MemoryFile()
        self.options: dict[str, Any] = {"durability": durability, "retain": retain}
        self.engine = Engine.open_backend(MemoryBackend(self.file), "a", **self.options)
        self.committed: dict[int, Entry] = {}
        self.changed: dict[int, Entry] = {}
        self.points: list[tuple[Any, dict[int, Entry]]] = []
        self.txn: Transaction | None = None
        self.step = 0

    def begun(self) -> Transaction:
        if self.txn is None:
            self.txn = self.engine.begin()
            self.changed = dict(self.committed)
            self.points = []
        self.step += 1
        return self.txn

    def pointers_of(self, number: int) -> list[Pointer]:
        value = self.begun().get(key(number))
        return list(unpack_record(value)[0]) if value else []

    @rule(number=NUMBERS, size=st.sampled_from([0, 1, 30, 4000]))
    def put(self, number: int, size: int) -> None:
        txn = self.begun()
        payload = b"%d" % self.step * size
        txn.put(key(number), pack_record(payload))
        self.changed[number] = payload, ()

    @rule(number=NUMBERS, sizes=st.lists(st.sampled_from([0, 10, 3000, 70_000]), max_size=3))
    def put_extents(self, number: int, sizes: list[int]) -> None:
        txn = self.begun()
        bodies = tuple(bytes([self.step % 256]) * size for size in sizes)
        pointers = txn.write([Frame(layout.FRAME_BLOB, NODE, 0, number, b) for b in bodies])
        txn.put(key(number), pack_record(b"%d" % self.step, pointers))
        self.changed[number] = b"%d" % self.step, bodies

    @rule(number=NUMBERS, size=st.sampled_from([10, 3000]))
    def add_extent(self, number: int, size: int) -> None:
        txn = self.begun()
        before = self.pointers_of(number)
        body = bytes([self.step % 256]) * size
        new = txn.write([Frame(layout.FRAME_BLOB, NODE, 0, number, body)])
        txn.put(key(number), pack_record(b"more", [*before, *new]))
        self.changed[number] = b"more", (*self.changed.get(number, (b"", ()))[1], body)

    @rule(number=NUMBERS, size=st.sampled_from([10, 3000]))
    def write_for_nothing(self, number: int, size: int) -> None:
        self.begun().write([Frame(layout.FRAME_BLOB, NODE, 0, number, b"n" * size)])

    @rule(source=NUMBERS, place=NUMBERS, first=st.booleans())
    def move(self, source: int, place: int, first: bool) -> None:
        txn = self.begun()
        value = txn.get(key(source))
        if value is None or source == place:
            return
        if first:
            txn.delete(key(source))
        txn.put(key(place), value)
        if not first:
            txn.delete(key(source))
        self.changed[place] = self.changed.pop(source)

    @rule(number=NUMBERS)
    def delete(self, number: int) -> None:
        self.begun().delete(key(number))
        self.changed.pop(number, None)

    @rule(start=NUMBERS, length=st.integers(0, 40))
    def delete_range(self, start: int, length: int) -> None:
        self.begun().delete_range(key(start), key(start + length))
        for number in range(start, start + length):
            self.changed.pop(number, None)

    @rule()
    def put_many(self) -> None:
        txn = self.begun()
        for number in range(100, 700):
            txn.put(key(number), pack_record(b"%d" % self.step * 10))
            self.changed[number] = b"%d" % self.step * 10, ()

    @precondition(lambda self: self.txn)
    @rule()
    def savepoint(self) -> None:
        self.points.append((self.begun().savepoint(), dict(self.changed)))

    @precondition(lambda self: self.txn and self.points)
    @rule(which=st.integers(0, 5), again=st.booleans())
    def rollback_to(self, which: int, again: bool) -> None:
        at = which % len(self.points)
        point, self.changed = self.points[at][0], dict(self.points[at][1])
        self.begun().rollback_to(point)
        del self.points[at + again :]

    @precondition(lambda self: self.txn)
    @rule()
    def commit(self) -> None:
        assert self.txn is not None
        self.txn.commit()
        self.committed, self.txn = self.changed, None

    @precondition(lambda self: self.txn)
    @rule()
    def rollback(self) -> None:
        assert self.txn is not None
        self.txn.rollback()
        self.txn = None

    @precondition(lambda self: not self.txn)
    @rule()
    def checkpoint(self) -> None:
        self.engine.checkpoint()

    @precondition(lambda self: not self.txn)
    @rule()
    def compact(self) -> None:
        self.engine.compact()

    @precondition(lambda self: not self.txn)
    @rule(killed=st.booleans())
    def reopen(self, killed: bool) -> None:
        if killed:
            self.engine.backend.close()
        else:
            self.engine.close()
        self.engine = Engine.open_backend(MemoryBackend(self.file), "r+", **self.options)

    @invariant()
    def the_newest_commit_is_shown(self) -> None:
        if not hasattr(self, "engine"):
            return
        assert contents(self.engine.newest()) == self.committed
        if self.txn is not None:
            assert contents(self.txn) == self.changed
            numbers = list(self.changed)
            backwards = self.txn.scan(*keys.groups(NODE), reverse=True)
            assert [keys.row_of(name) for name, _ in backwards] == sorted(numbers)[::-1]

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        if self.txn is not None:
            self.txn.commit()
            self.committed = self.changed
        reader = Engine.open_backend(MemoryBackend(self.file), "r")
        assert contents(reader.newest()) == contents(self.engine.newest()) == self.committed
        for engine in (reader, self.engine):
            assert engine.check() == []
            engine.close()


EngineMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestTheEngineIsADict = EngineMachine.TestCase
