"""Many records at once are as many records one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.engine import Engine, Frame, Transaction
from kist.errors import CorruptDataError
from kist.format import keys, layout
from kist.format.values import pack_record
from kist.storage import MemoryBackend, MemoryFile

NODE = 5
NUMBERS = st.integers(0, 60)
# (number, size of the payload, extents)
ITEM = st.tuples(NUMBERS, st.sampled_from([0, 1, 30, 900]), st.integers(0, 2))
ITEMS = st.lists(ITEM, max_size=40)
STEP = st.one_of(
    st.tuples(st.just("many"), ITEMS),
    st.tuples(st.just("put"), st.lists(ITEM, min_size=1, max_size=1)),
    st.tuples(st.just("delete"), NUMBERS),
    st.tuples(st.just("range"), NUMBERS, st.integers(0, 30)),
    st.tuples(st.just("savepoint")),
    st.tuples(st.just("back"), st.integers(0, 5)),
    st.tuples(st.just("commit")),
    st.tuples(st.just("checkpoint")),
)


def key(number: int) -> bytes:
    return keys.group(NODE, number)


def one_by_one(txn: Transaction, items: list[tuple[bytes, bytes]]) -> None:
    for item in dict(items).items():
        txn.put(*item)


def at_once(txn: Transaction, items: list[tuple[bytes, bytes]]) -> None:
    txn.put_many(items)


class Twin:
    """An engine that takes the steps of a program in one of the two ways."""

    def __init__(self, many: Callable[[Transaction, list[tuple[bytes, bytes]]], None]) -> None:
        self.file = MemoryFile()
        self.engine = Engine.open_backend(MemoryBackend(self.file), "a", durability="none")
        self.many = many
        self.txn = self.engine.begin()
        self.points: list[Any] = []

    def items(self, items: list[tuple[int, int, int]]) -> list[tuple[bytes, bytes]]:
        out = []
        for number, size, extents in items:
            frames = [Frame(layout.FRAME_BLOB, NODE, 0, number, b"x" * 99)] * extents
            out.append((key(number), pack_record(b"p" * size, self.txn.write(frames))))
        return out

    def step(self, name: str, *args: Any) -> None:
        txn = self.txn
        if name == "many":
            self.many(txn, self.items(args[0]))
        elif name == "put":
            txn.put(*self.items(args[0])[0])
        elif name == "delete":
            txn.delete(key(args[0]))
        elif name == "range":
            txn.delete_range(key(args[0]), key(args[0] + args[1]))
        elif name == "savepoint":
            self.points.append(txn.savepoint())
        elif name == "back" and args[0] < len(self.points):
            del self.points[args[0] + 1 :]
            txn.rollback_to(self.points[args[0]])
        elif name in ("commit", "checkpoint"):
            txn.commit()
            if name == "checkpoint":
                self.engine.checkpoint()
            self.points = []
            self.txn = self.engine.begin()

    def shown(self) -> Any:
        txn = self.txn
        names = [key(n) for n in range(61)]
        found = list(txn.scan(*keys.whole_node(NODE)))
        assert txn.get_many(names) == [txn.get(name) for name in names]
        assert dict(found) == {k: v for k, v in zip(names, txn.get_many(names), strict=True) if v}
        return found, sorted(txn.freed(9)), txn.changed

    def journal(self) -> Any:
        """What the record would hold; None when it is too much for one."""
        fits = self.txn.journal_bytes <= layout.MAX_RECORD
        return (self.txn.journal_bytes, sorted(self.txn.ops())) if fits else None


@given(steps=st.lists(STEP, max_size=14))
def test_many_puts_are_the_same_as_puts(steps: list[tuple[Any, ...]]) -> None:
    twins = [Twin(one_by_one), Twin(at_once)]
    for step in steps:
        for twin in twins:
            twin.step(*step)
        assert twins[0].shown() == twins[1].shown()
        journals = [twin.journal() for twin in twins]
        assert None in journals or journals[0] == journals[1]
    contents = []
    for twin in twins:
        twin.txn.commit()
        assert not list(twin.engine.check())
        again = Engine.open_backend(MemoryBackend(twin.file), "r")
        contents.append(list(again.newest().scan(*keys.whole_node(NODE))))
        again.close()
        twin.engine.close()
    assert contents[0] == contents[1]


def test_of_a_key_that_comes_twice_the_later_value_counts() -> None:
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a")
    txn = engine.begin()
    txn.put_many([(key(1), b"\0a"), (key(2), b"\0b"), (key(1), b"\0c")])
    assert txn.get_many([key(1), key(1), key(2), key(3)]) == [b"\0c", b"\0c", b"\0b", None]
    txn.rollback()


BAD = [
    (b"12345678", b"\0"),
    (b"\0" * (layout.MAX_KEY + 1), b""),
    (key(7), bytes(layout.MAX_VALUE + 1)),
    (key(7), b"\xff cut off"),
]


@pytest.mark.parametrize("bad", BAD)
def test_one_bad_record_of_many_changes_nothing(bad: tuple[bytes, bytes]) -> None:
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a")
    txn = engine.begin()
    with pytest.raises((ValueError, CorruptDataError), match=r"has|claims"):
        txn.put_many([(key(1), b"\0a"), bad, (key(2), b"\0b")])
    assert not txn.changed
    assert not list(txn.scan(*keys.whole_node(NODE)))
    txn.rollback()


def test_keys_out_of_order_are_refused_by_get_many() -> None:
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a")
    with pytest.raises(ValueError, match="ascending"):
        engine.newest().get_many([key(2), key(1)])


def test_records_for_many_leaves_are_put_and_read_over_each_other() -> None:
    file = MemoryFile()
    engine = Engine.open_backend(MemoryBackend(file), "a")
    expected: dict[bytes, bytes] = {}
    for step, size in ((1, 20), (3, 0), (2, 60), (1, 5)):
        new = {key(n): b"\0" + bytes(size) + b"%d" % n for n in range(0, 30_000, step)}
        txn = engine.begin()
        txn.put_many(reversed(new.items()) if step == 3 else new.items())
        expected |= new
        txn.delete_range(key(1000 * step), key(1000 * step + 500))
        for n in range(1000 * step, 1000 * step + 500):
            expected.pop(key(n), None)
        txn.commit()
        view = engine.newest()
        assert dict(view.scan(*keys.whole_node(NODE))) == expected
        for names in ([key(n) for n in range(30_005)], [key(n) for n in range(0, 30_005, 97)]):
            assert view.get_many(names) == [expected.get(name) for name in names]
    assert not list(engine.check())
    engine.close()


BULK_STEP = st.one_of(
    st.tuples(st.just("bulk"), NUMBERS, st.sampled_from([1, 300, 700])),
    st.tuples(st.just("put"), NUMBERS, st.sampled_from([1, 3000])),
    st.tuples(st.just("delete"), NUMBERS, st.just(0)),
    st.tuples(st.just("range"), NUMBERS, st.integers(0, 300)),
    st.tuples(st.just("savepoint"), st.just(0), st.just(0)),
    st.tuples(st.just("back"), st.integers(0, 5), st.just(0)),
)


@given(
    before=st.lists(BULK_STEP, max_size=3),
    steps=st.lists(BULK_STEP, max_size=14),
    read=st.booleans(),
)
def test_transactions_too_large_for_a_record_keep_what_a_dict_keeps(
    before: list[tuple[str, int, int]], steps: list[tuple[str, int, int]], read: bool
) -> None:
    file = MemoryFile()
    engine = Engine.open_backend(MemoryBackend(file), "a", durability="none")
    expected: dict[bytes, bytes] = {}
    for number, program in enumerate((before, steps)):
        txn = engine.begin()
        points: list[tuple[Any, dict[bytes, bytes]]] = []
        for name, first, size in program:
            if name in ("bulk", "put"):
                n = size if name == "bulk" else 1
                value = b"\0%d" % number * (99 if name == "bulk" else size)
                new = {key(first + i): value for i in range(n)}
                (txn.put_many(new.items()) if name == "bulk" else txn.put(key(first), value))
                expected.update(new)
            elif name == "delete":
                txn.delete(key(first))
                expected.pop(key(first), None)
            elif name == "range":
                txn.delete_range(key(first), key(first + size))
                for i in range(first, first + size):
                    expected.pop(key(i), None)
            elif name == "savepoint":
                points.append((txn.savepoint(), expected.copy()))
            elif first < len(points):
                del points[first + 1 :]
                txn.rollback_to(points[first][0])
                expected = points[first][1].copy()
            if read:
                assert list(txn.scan(*keys.whole_node(NODE))) == sorted(expected.items())
        txn.commit()
        again = Engine.open_backend(MemoryBackend(file), "r")
        assert list(again.newest().scan(*keys.whole_node(NODE))) == sorted(expected.items())
        again.close()
    engine.close()


def test_a_journal_too_large_for_a_record_is_not_kept_key_by_key() -> None:
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a")
    txn = engine.begin()
    point = txn.savepoint()
    txn.put_many((key(n), b"\0" * 50) for n in range(5000))
    for n in range(5000, 9000):
        txn.put(key(n), b"\0" * 50)
    assert len(txn.journal) < 1000
    assert txn.journal_bytes > layout.MAX_RECORD
    txn.rollback_to(point)
    assert not txn.changed
    assert txn.journal_bytes == 0
    txn.put(key(1), b"\0")
    txn.commit()
    assert engine.newest().get(key(5)) is None
    engine.close()


def test_a_journal_stays_too_large_when_what_filled_it_is_deleted() -> None:
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a")
    txn = engine.begin()
    for n in range(100):
        txn.put(key(n), b"\0" * 1000)
    txn.delete_range(key(0), key(99))
    txn.commit()
    assert [k for k, _ in engine.newest().scan(*keys.whole_node(NODE))] == [key(99)]
    engine.close()
