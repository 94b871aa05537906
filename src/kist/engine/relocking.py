"""Another lock for a sealed store, and what is there sealed again under its newest key."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from kist.engine.interrupts import hold_interrupts
from kist.engine.placing import Frame
from kist.engine.sealedstore import StoreSealing, fitting
from kist.format import keys
from kist.format.layout import FRAME_SEALED, MAX_KEY
from kist.format.values import Pointer, pack_record, unpack_record

if TYPE_CHECKING:
    from kist.engine.engine import Engine
    from kist.engine.transaction import Transaction

__all__ = ["relock", "reseal"]

_STEP_BYTES: Final = 16 << 20  # of extents that one transaction seals again
_SLOTS: Final = 2


def relock(engine: Engine, make: Callable[[StoreSealing, int], StoreSealing]) -> None:
    """Put another lock into both slots, by two checkpoints.

    Parameters
    ----------
    make : callable
        Gives the new sealing for the present one and the first commit behind both checkpoints: a
        new data key is used when both slots have it, so that no slot leads to what it cannot open.
    """
    transaction = engine.begin()
    before, done = engine.reader.sealing, False
    try:
        assert before is not None
        after = fitting(make(before, engine.commit + _SLOTS + 1))
        with hold_interrupts():
            engine.adopt(after)
            for _ in range(_SLOTS):
                engine.checkpoint_now()
            keyring = engine.reader.keyring
            if keyring is not None:
                keyring.remember(after.packed, after.keys)
            done = True
    finally:
        with hold_interrupts():
            if not done:  # which lock counts is read from the file again
                engine.adopt(before)
                engine.distrust()
            engine.end_upkeep(transaction, keep_space=done)


def reseal(engine: Engine) -> None:
    """Seal again every extent of the newest commit that is under an older data key."""
    sealing = engine.reader.sealing
    assert sealing is not None
    start: bytes | None = keys.whole_node(0)[0]
    while start is not None:
        txn = engine.begin()
        try:
            start = _some(txn, sealing, start)
            txn.commit("rotate")
        except BaseException:
            txn.rollback()
            raise
    # Pages of the tree that no record with extents led to, and the space of the old ones. Twice:
    # neither slot leads to a root that a former holder could forge.
    for _ in range(_SLOTS):
        engine.checkpoint()


def _some(txn: Transaction, sealing: StoreSealing, start: bytes) -> bytes | None:
    """Seal some megabytes from a key on; returns where to go on, None at the end."""
    done, newest = 0, sealing.key_of(txn.state.commit + 1)[0]
    for key, value in txn.scan(start, b"\xff" * (MAX_KEY + 1)):
        if done > _STEP_BYTES:
            return key
        pointers, payload = unpack_record(value)
        if not all(sealing.key_of(pointer.birth)[0] == newest for pointer in pointers):
            txn.put(key, pack_record(payload, _again(txn, pointers)))
            done += sum(pointer.length for pointer in pointers)
    _turn_pages(txn, sealing, newest)
    return None


def _again(txn: Transaction, pointers: tuple[Pointer, ...]) -> list[Pointer]:
    frames = []
    for pointer in pointers:
        plain = memoryview(txn.reader.read_part(pointer, 0, pointer.length))
        head, rest = plain[: pointer.head], plain[pointer.head :]
        frames.append(Frame(FRAME_SEALED, 0, 0, 0, head, (rest,)))
    return txn.write(frames)


def _turn_pages(txn: Transaction, sealing: StoreSealing, newest: bytes) -> None:
    """Put one record of each old leaf again: the commit writes its page anew, and those above."""
    # Those of the commit before: what is put here changes none of them.
    for packed, node in txn.reader.tree.pages(txn.state.root_bytes()):
        if node.level == 0 and sealing.key_of(Pointer.unpack(packed).birth)[0] != newest:
            for key in node.keys:
                value = txn.get(key)
                if value is not None and key >= keys.whole_node(keys.ROOT)[0]:
                    txn.put(key, value)
                    break
