"""Ctrl-C at every place of a transaction: no lock is kept, and memory agrees with the file.

CPython looks for signals when a function of Python begins, when one of C returns, and when a
loop goes round. A trace function counts those places and interrupts at each of them in turn.
"""

from __future__ import annotations

import dis
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from kist.engine import Engine, Frame, Transaction
from kist.engine.few import Few
from kist.engine.interrupts import hold_interrupts
from kist.format import keys
from kist.format.values import pack_record, unpack_record
from kist.storage import MemoryBackend, MemoryFile

NODE = 5
KIST = str(Path(sys.modules["kist"].__file__ or "").parent)
LOOKS_AFTER = ("CALL", "CALL_FUNCTION_EX", "JUMP_BACKWARD")


NAMES: dict[CodeType, dict[int, str]] = {}  # of instructions, by their offset


def instruction(frame: FrameType) -> str:
    names = NAMES.get(frame.f_code)
    if names is None:
        names = {i.offset: i.opname for i in dis.get_instructions(frame.f_code)}
        NAMES[frame.f_code] = names
    return names.get(frame.f_lasti, "")


class Interrupter:
    """Trace function that calls the handler of SIGINT at the n-th place within kist."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.count = 0
        self._last: tuple[FrameType, str] | None = None

    def _reached(self, frame: FrameType) -> None:
        self.count += 1
        if self.count == self.n:
            handler = signal.getsignal(signal.SIGINT)
            assert callable(handler)
            handler(signal.SIGINT, frame)

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "call":
            # A function of Python that was called in between was seen to begin and to return.
            self._last = None
            if not frame.f_code.co_filename.startswith(KIST):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            self._reached(frame)
            return self
        last, self._last = self._last, None
        if event == "opcode":
            self._last = frame, instruction(frame)
            if last is not None and last[0] is frame and last[1] in LOOKS_AFTER:
                self._reached(frame)
        return self


def interrupted(n: int, work: Callable[[Engine], None], engine: Engine) -> bool:
    """Interrupt `work` at its n-th place; False when it has fewer."""
    interrupter = Interrupter(n)
    before = sys.gettrace()
    try:
        sys.settrace(interrupter)
        try:
            work(engine)
        finally:
            sys.settrace(before)
    except KeyboardInterrupt:
        return True
    assert interrupter.count < n, "the interrupt was swallowed"
    return False


def committing(engine: Engine) -> None:
    txn = engine.begin()
    pointers = txn.write([Frame(b"BLOB", NODE, 0, 1, b"z" * 100)])
    txn.put(keys.group(NODE, 1), pack_record(b"new", pointers))
    txn.commit()


def putting_few(engine: Engine) -> None:
    def write(few: Few) -> bool:
        few.put(keys.group(NODE, 1), pack_record(b"new"))
        return True

    assert engine.put_few(engine.commit, write)


def rolling_back(engine: Engine) -> None:
    txn = engine.begin()
    txn.write([Frame(b"BLOB", NODE, 0, 1, b"z" * 100)])
    txn.rollback()


def checkpointing(engine: Engine) -> None:
    engine.checkpoint()


def following(engine: Engine) -> None:
    engine.newest()


def contents(engine: Engine) -> list[tuple[int, bytes]]:
    found = engine.newest().scan(*keys.groups(NODE))
    return [(keys.row_of(key), unpack_record(value)[1]) for key, value in found]


@pytest.mark.parametrize("work", [committing, putting_few, rolling_back, checkpointing])
def test_an_interrupt_anywhere_leaves_a_usable_engine(
    path: Path, work: Callable[[Engine], None]
) -> None:
    engine = Engine.open(path, "a", durability="full" if work is putting_few else "none")
    for number in range(3):
        txn = engine.begin()
        txn.put(keys.group(NODE, number), pack_record(b"old"))
        txn.commit()
    n, more = 0, True
    while more:
        n += 1 if n < 40 else 5
        more = interrupted(n, work, engine)
        if engine._transaction is not None:  # what a with statement does
            engine._transaction.rollback()
        errors: list[BaseException] = []

        def other(errors: list[BaseException] = errors, n: int = n) -> None:
            try:
                txn = engine.begin(0.1)
                txn.put(keys.group(NODE, 9), pack_record(b"%d" % n))
                txn.commit()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=other)  # the same thread is told at once
        thread.start()
        thread.join()
        assert errors == [], f"interrupt {n}"
        reader = Engine.open(path, "r")
        assert contents(reader) == contents(engine), f"interrupt {n}"
        assert (9, b"%d" % n) in contents(engine)
        reader.close()
    assert n > 50
    assert engine.check() == []
    engine.close()


def test_a_transaction_goes_on_after_an_interrupt_as_if_the_step_was_done_or_not() -> None:
    # Memory and the log must agree on which.
    backend = MemoryBackend(MemoryFile())
    engine = Engine.open_backend(backend, "a", durability="none")
    blob = Frame(b"BLOB", NODE, 0, 1, b"z" * 100)

    def steps(txn: Transaction) -> None:
        list(txn.scan(*keys.groups(NODE)))
        txn.put(keys.group(NODE, 50), pack_record(b"new"))
        txn.put(keys.group(NODE, 1), pack_record(b"new", txn.write([blob])))
        point = txn.savepoint()
        txn.put(keys.group(NODE, 2), pack_record(b"new", txn.write([blob])))
        txn.delete(keys.group(NODE, 3))
        txn.delete_range(keys.group(NODE, 4), keys.group(NODE, 7))
        txn.rollback_to(point)
        txn.delete_range(keys.group(NODE, 5), keys.group(NODE, 8))

    n, more = 0, True
    while more:
        n += 11  # of some hundred places; each of them was tried once
        txn = engine.begin()
        txn.delete_range(*keys.groups(NODE))
        for number in range(9):
            txn.put(keys.group(NODE, number), pack_record(b"old", txn.write([blob])))
        txn.commit()
        txn = engine.begin()
        more = interrupted(n, lambda _, txn=txn: steps(txn), engine)
        txn.put(keys.group(NODE, 9), pack_record(b"%d" % n))
        txn.commit()
        reader = Engine.open_backend(MemoryBackend(backend.file), "r")
        assert contents(reader) == contents(engine), f"interrupt {n}"
        for view in (reader.newest(), engine.newest()):
            for _, value in view.scan(*keys.groups(NODE)):
                for pointer in unpack_record(value)[0]:
                    assert view.read(pointer) == blob.head
        assert reader.check() == engine.check() == [], f"interrupt {n}"
        reader.close()
    assert n > 50
    engine.close()


def test_an_interrupt_anywhere_while_following_others_loses_nothing(path: Path) -> None:
    other = Engine.open(path, "a", durability="none")
    engine = Engine.open(path, "r+", durability="none")
    engine.newest()
    n, more = 0, True
    while more:
        n += 1 if n < 40 else 3
        txn = other.begin()
        txn.put(keys.group(NODE, n), pack_record(b"other"))
        txn.commit()
        other.checkpoint()
        more = interrupted(n, following, engine)
        txn = engine.begin()
        txn.put(keys.group(NODE, n), pack_record(b"mine"))
        txn.commit()
    reader = Engine.open(path, "r")
    assert contents(reader) == contents(other) == contents(engine)
    assert set(contents(reader)) == {(i, b"mine") for i, _ in contents(reader)}
    assert len(contents(reader)) > 40
    assert engine.check() == []
    for each in (reader, other, engine):
        each.close()


def test_a_held_interrupt_rises_at_the_end() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), hold_interrupts():
        signal.raise_signal(signal.SIGINT)
        with hold_interrupts():
            signal.raise_signal(signal.SIGINT)
        steps.append("after")
    assert steps == ["after"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_request_to_end_is_held_too_where_a_handler_takes_it() -> None:
    steps: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: steps.append("told"))
    try:
        own = signal.getsignal(signal.SIGTERM)
        with hold_interrupts():
            signal.raise_signal(signal.SIGTERM)
            steps.append("held")
        assert steps == ["held", "told"]
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_hold_nothing() -> None:
    seen: list[object] = []

    def work() -> None:
        with hold_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
