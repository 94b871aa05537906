"""Workloads over the raw map, for the crash checker: every path that a commit can take.

``CASES`` is what ``python -m kist.testing.crash`` runs; the tests beside this file run a share.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from kist.engine import Engine, Frame, Transaction, View
from kist.format import keys
from kist.format.layout import UNSYNCED_FULL
from kist.format.values import pack_record, unpack_record
from kist.testing.crash import Case, Session

NODE = 7


def key(number: int) -> bytes:
    return keys.group(NODE, number)


def put(txn: Transaction, number: int, payload: bytes, blobs: Sequence[bytes] = ()) -> None:
    """Put a record, and one extent for each blob."""
    pointers = txn.write([Frame(b"BLOB", NODE, 0, number, blob) for blob in blobs])
    txn.put(key(number), pack_record(payload, pointers))


@contextmanager
def closing(txn: Transaction) -> Iterator[Transaction]:
    """Roll back what was not committed."""
    try:
        yield txn
    finally:
        txn.rollback()


def blob(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def commit(session: Session, change: Callable[[Transaction], object], message: str = "") -> None:
    """Make a change in a transaction of its own, and note that it was acknowledged."""
    with closing(session.engine.begin()) as txn:
        change(txn)
        txn.commit(message)
    session.acknowledged()


# What an engine shows


def contents(view: View) -> dict[bytes, tuple[bytes, ...]]:
    """Every record of users, with the bytes of its extents in short."""
    found = {}
    for name, value in view.scan(*keys.whole_node(NODE)):
        pointers, payload = unpack_record(value)
        bodies = (hashlib.blake2b(view.read(p), digest_size=8).digest() for p in pointers)
        found[name] = (payload, *bodies)
    return found


def read_state(engine: Engine) -> Any:
    """What the newest commit and each tag hold."""
    with engine.snapshot() as view:
        newest = contents(view)
    tagged = {}
    for name in engine.tags():
        with engine.snapshot(name) as view:
            tagged[name] = contents(view)
    return newest, tagged


def probe(engine: Engine, acknowledged: Callable[[], None]) -> None:
    """Go on after a crash: extents of both kinds, a checkpoint, and all of it removed."""
    with engine.snapshot() as view:
        taken = contents(view)
    number = next(n for n in range(10**6, 10**6 + 10) if key(n) not in taken)
    bodies = [blob(number, 5000), blob(number + 1, 70_000)]
    for count in (1, 2):
        with closing(engine.begin()) as txn:
            put(txn, number, b"probe", bodies[:count])
            txn.commit()
        acknowledged()
    engine.checkpoint()
    with engine.snapshot() as view:
        value = view.get(key(number))
        assert value is not None
        assert [bytes(view.read(p)) for p in unpack_record(value)[0]] == bodies
    with closing(engine.begin()) as txn:
        txn.delete(key(number))
        txn.commit()


# Workloads


def small_puts(session: Session) -> None:
    """One record of the log each, through both halves of the ring and two checkpoints."""
    for i in range(70):
        commit(session, lambda txn, i=i: put(txn, i % 23, b"%d" % i), f"put {i}")
        if i % 9 == 8:
            commit(session, lambda txn, i=i: txn.delete(key(i % 23)))


def small_extents(session: Session) -> None:
    """Extents that share the sync of their commit, alone and several at once."""
    for i in range(12):
        blobs = [blob(i, 200 + 5000 * i % 30_000), blob(-i, 64)][: 1 + i % 2]
        commit(session, lambda txn, i=i, blobs=blobs: put(txn, i % 5, b"%d" % i, blobs))


def large_extents(session: Session) -> None:
    """Extents that are synced before the record, and the size between the two ways."""
    border = UNSYNCED_FULL
    for i, size in enumerate((border, border - 128, border + 5000, border - 4000, 100)):
        commit(session, lambda txn, i=i, size=size: put(txn, i % 3, b"x", [blob(i, size)]))


def megabytes(session: Session) -> None:
    """Extents of 200 KB to 1 MB that share the sync of their commit; writers that die there."""
    for i, size in enumerate((200_000, 1_000_000, 1 << 20, 300_000, 600_000, 250_000)):
        blobs = [blob(i, size), blob(-i, 40_000)][: 1 + i % 2]
        commit(session, lambda txn, i=i, blobs=blobs: put(txn, i % 3, b"%d" % i, blobs))
        if i % 2:
            session.reopen(kill=i != 3)


def churn(session: Session) -> None:
    """The same few records overwritten, with checkpoints: space is used again and again."""
    rng = random.Random(1)
    for i in range(40):
        size = rng.choice((500, 3000, 9000, 20_000))
        commit(session, lambda txn, i=i, size=size: put(txn, i % 4, b"%d" % i, [blob(i, size)]))
        if i % 4 == 3:
            session.engine.checkpoint()


def bulk(session: Session) -> None:
    """Transactions too large for the log: the tree is written at once."""
    commit(session, lambda txn: [put(txn, i, b"v" * 60) for i in range(1500)])
    commit(session, lambda txn: put(txn, 3, b"small"))
    commit(session, lambda txn: txn.delete_range(key(200), key(900)))
    commit(session, lambda txn: [put(txn, i, b"w" * 90, [blob(i, 300)]) for i in range(0, 600, 3)])
    commit(session, lambda txn: txn.delete_range(key(0), key(10**6)))
    commit(session, lambda txn: [put(txn, i, b"z" * 40) for i in range(900)])


def ranges(session: Session) -> None:
    """Ranges deleted and filled again, in the log and below it."""
    for i in range(14):
        start = i * 37 % 50

        def change(txn: Transaction, i: int = i, start: int = start) -> None:
            txn.delete_range(key(start), key(start + 20))
            for n in range(start + 5, start + 9):
                put(txn, n, b"%d" % i, [blob(i, 1000)] if n % 2 else [])

        commit(session, change)
        if i % 5 == 4:
            session.engine.checkpoint()


def abandoned(session: Session) -> None:
    """Transactions and savepoints that are rolled back after having written."""
    for i in range(12):
        txn = session.engine.begin()
        put(txn, i, b"never", [blob(i, 8000)])
        txn.rollback()
        txn = session.engine.begin()
        put(txn, i % 5, b"first", [blob(100 + i, 3000)])
        point = txn.savepoint()
        put(txn, i % 5, b"second", [blob(200 + i, 5000)])
        put(txn, 50, b"more", [blob(300 + i, 9000)])
        if i % 3:
            txn.rollback_to(point)
        txn.commit()
        session.acknowledged()
        if i % 4 == 3:
            session.engine.checkpoint()


def tags(session: Session) -> None:
    """Versions that are kept while what they hold is overwritten, and let go."""
    for i in range(16):
        commit(session, lambda txn, i=i: put(txn, i % 3, b"%d" % i, [blob(i, 6000)]))
        if i % 4 == 1:
            session.engine.tag(f"tag {i}")
            session.acknowledged()
        if i % 4 == 3:
            session.engine.checkpoint()
        if i in (7, 11):
            session.engine.untag(f"tag {i - 6}")
            session.acknowledged()


def compaction(session: Session) -> None:
    """A file that is mostly free, made small again."""
    for i in range(12):
        commit(session, lambda txn, i=i: put(txn, i, b"%d" % i, [blob(i, 4000 + 2000 * (i % 7))]))
    commit(session, lambda txn: txn.delete_range(key(1), key(9)))
    session.engine.compact()
    session.acknowledged()
    commit(session, lambda txn: put(txn, 20, b"after", [blob(99, 12_000)]))
    commit(session, lambda txn: txn.delete(key(11)))
    session.engine.compact()
    session.acknowledged()


def handovers(session: Session) -> None:
    """Writers that close, and writers that die, each followed by another."""
    rng = random.Random(2)
    for i in range(24):
        size = rng.choice((0, 700, 15_000))
        blobs = [blob(i, size)] if size else []
        commit(session, lambda txn, i=i, blobs=blobs: put(txn, i % 6, b"%d" % i, blobs))
        if i % 3 == 2:
            session.reopen(kill=i % 2 == 0)
        if i % 10 == 9:
            session.engine.checkpoint()


def waiting_space(session: Session) -> None:
    """Large extents overwritten until the space that waits brings checkpoints by itself."""
    for i in range(14):
        commit(session, lambda txn, i=i: put(txn, i % 2, b"%d" % i, [blob(i, 200_000)]))


# Folding: pieces of a sequence, joined in checkpoints


def fold(txn: Transaction, nodes: frozenset[int]) -> None:
    """Join every two neighbouring pieces; an extent from 2,000 bytes up."""
    if NODE not in nodes:
        return
    pieces = []
    for name, value in list(txn.scan(key(0), key(10**6))):
        pointers, payload = unpack_record(value)
        pieces.append((name, payload + b"".join(bytes(txn.read(p)) for p in pointers)))
    for (first, left), (second, right) in zip(pieces[::2], pieces[1::2], strict=False):
        both = left + right
        txn.delete(second)
        if len(both) > 2000:
            put(txn, keys.row_of(first), b"", [both])
        else:
            put(txn, keys.row_of(first), both)


def read_sequence(engine: Engine) -> Any:
    """All pieces one behind the other: folding must not change them."""
    digest = hashlib.blake2b()
    with engine.snapshot() as view:
        for _, value in view.scan(*keys.whole_node(NODE)):
            pointers, payload = unpack_record(value)
            digest.update(payload + b"".join(bytes(view.read(p)) for p in pointers))
    return digest.hexdigest()


def folding(session: Session) -> None:
    """Small pieces appended, and folded when checkpoints come."""
    for i in range(45):
        commit(session, lambda txn, i=i: put(txn, i, b"%d," % i * 60))
        if i % 7 == 6:
            session.engine.checkpoint()


def open_engine(backend: Any, mode: str, **more: Any) -> Engine:
    return Engine.open_backend(backend, mode, **more)


def open_folding(backend: Any, mode: str, **more: Any) -> Engine:
    engine = Engine.open_backend(backend, mode, **more)
    engine.maintain = fold
    return engine


def case(workload: Callable[[Session], None], durability: str = "full", **more: Any) -> Case:
    opener = partial(open_engine, durability=durability, **more)
    return Case(workload, read_state, opener, probe, durability)


CASES = {
    "small puts": case(small_puts),
    "small extents": case(small_extents),
    "large extents": case(large_extents),
    "megabytes": case(megabytes),
    "relaxed, megabytes": case(megabytes, "relaxed"),
    "churn": case(churn),
    "bulk": case(bulk),
    "ranges": case(ranges),
    "abandoned": case(abandoned),
    "tags": case(tags),
    "compaction": case(compaction),
    "handovers": case(handovers),
    "waiting space": case(waiting_space),
    "folding": Case(folding, read_sequence, open_folding, probe),
    "retained": case(churn, retain=3),
    "relaxed, small puts": case(small_puts, "relaxed"),
    "relaxed, churn": case(churn, "relaxed"),
    "relaxed, handovers": case(handovers, "relaxed"),
    "none, churn": case(churn, "none"),
    "none, handovers": case(handovers, "none"),
    "none, large extents": case(large_extents, "none"),
}
