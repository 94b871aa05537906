"""Recovery reads no more of the log than it needs, and judges it as if it had read all of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kist.engine import Engine, recovery
from kist.engine.recovery import Chain, Ring
from kist.errors import KistError
from kist.format import keys, layout, superblock
from kist.format.log import Record, unpack_record_at
from kist.format.superblock import Slot
from kist.format.values import pack_record
from kist.storage import MemoryBackend, MemoryFile
from kist.testing.recording import Recorder

NODE = 5
LOG = range(layout.RING_OFFSET, layout.DATA_OFFSET)
HALF = layout.RING_HALF


class WholeHalves(Ring):
    """A ring that reads whole halves, or each record by itself."""

    def again(self) -> WholeHalves:
        return WholeHalves(self.backend, self.super, self.sealing)

    def cache(self, position: int) -> tuple[int, bytes]:
        start = self.half_start(position)
        return position - start, self.backend.read(start, self.half)

    def read(self, position: int, n: int) -> bytes:
        data = self.backend.read(self.half_start(position), self.half)
        return data[position - self.half_start(position) :][:n]


def every_place(ring: Ring, start: int, chain: Chain) -> Iterator[Record]:
    """What `recovery._later_records` gives, looked for at each multiple of 64."""
    for place in range(start, ring.half_end(start), 64):
        data = ring.backend.read(place, ring.half_end(place) - place)
        if data[:4] != layout.COMMIT_MAGIC:
            continue
        (number,) = struct.unpack_from("<Q", data.ljust(128, b"\0"), layout.RECORD.offset("commit"))
        record = unpack_record_at(data, 0, place, ring.uuid)
        if record and number >= chain.state.commit and record.sum != chain.last:
            yield record


def outcome(data: bytes) -> tuple[Any, ...]:
    """All that recovery says of a file."""
    try:
        found = recovery.load(MemoryBackend(MemoryFile(data)), "file")
    except KistError as error:
        return type(error), str(error)
    chain = found.chain
    overlay = chain.state.overlay
    return (
        chain.state.commit,
        chain.state.shown,
        chain.state.root_bytes(),
        sorted(overlay.values.items()),
        overlay.ranges,
        chain.position,
        chain.last,
        chain.horizon,
        [(r.commit, r.position, r.kind) for r in chain.records],
        [(r.commit, r.position, r.kind) for r in chain.seen],
        chain.damage,
    )


def outcome_of_all(data: bytes) -> tuple[Any, ...]:
    """The same from a recovery that reads everything, and skips nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "Ring", WholeHalves)
        patch.setattr(recovery, "_later_records", every_place)
        return outcome(data)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from([10, 500, 4000, 20_000])),
        st.tuples(st.just("puts"), st.integers(1, 30)),
        st.tuples(st.just("checkpoint"), st.just(0)),
        st.tuples(st.sampled_from(["full", "relaxed", "none"]), st.just(0)),
        st.tuples(st.just("close"), st.just(0)),
    ),
    min_size=1,
    max_size=12,
)
PLACES = st.one_of(
    st.integers(0, 2 * HALF - 1),
    st.integers(0, 40).map(lambda n: n * 64),
    st.integers(0, 40).map(lambda n: HALF + n * 64),
    st.integers(0, 63).map(lambda n: n * layout.BLOCK),
)
DAMAGE = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), PLACES, st.integers(0, 7)),
        st.tuples(st.just("flip behind"), st.integers(-300, 300), st.integers(0, 7)),
        st.tuples(st.just("zeros"), PLACES, st.sampled_from([1, 64, 4096, HALF])),
        st.tuples(st.just("zeros behind"), st.integers(-5000, 200), st.sampled_from([64, 4096])),
        st.tuples(st.just("copy"), PLACES, PLACES),
        st.tuples(st.just("slot"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("moved slot"), st.integers(0, 1), PLACES),
        st.tuples(st.just("note"), st.just(0), st.just(0)),
    ),
    max_size=3,
)


def written(steps: list[tuple[str, int]]) -> Recorder:
    """A store and all that was written to it."""
    recorder = Recorder()
    engine = Engine.open_backend(recorder.backend(), "a", durability="none")
    for number, (what, size) in enumerate(steps):
        if what in ("full", "relaxed", "none", "close"):
            engine.close()
            durability: Any = "full" if what == "close" else what
            engine = Engine.open_backend(recorder.backend(), "r+", durability=durability)
        elif what == "checkpoint":
            engine.checkpoint()
        else:
            for turn in range(size if what == "puts" else 1):
                txn = engine.begin()
                payload = b"%d" % number * (4000 if what == "puts" else min(size, 4000))
                txn.put(keys.group(NODE, number * 100 + turn), pack_record(payload[:4000]))
                txn.commit()
    return recorder


def damaged(data: bytearray, damage: list[tuple[str, int, int]]) -> bytes:
    """A file with some of its log, slots and closing note changed."""
    uuid = bytes(data[16:32])
    slots = [
        s for at in layout.SLOT_OFFSETS if (s := superblock.unpack_slot(bytes(data[at:]), uuid))
    ]
    newest = max((s.position for s in slots), default=LOG.start)
    for what, a, b in damage:
        if what.startswith("flip"):
            at = newest + a if "behind" in what else LOG.start + a
            at = min(max(at, LOG.start), len(data) - 1)
            data[at] ^= 1 << b
        elif what.startswith("zeros"):
            at = max(newest + a, LOG.start) if "behind" in what else LOG.start + a
            stop = min(at + b, LOG.stop)
            data[at:stop] = bytes(max(0, stop - at))
        elif what == "copy":
            n = min(4096, 2 * HALF - max(a, b))
            data[LOG.start + a : LOG.start + a + n] = data[LOG.start + b : LOG.start + b + n]
        elif what == "slot":
            data[layout.SLOT_OFFSETS[a] + 9] ^= 1
        elif what == "moved slot":  # by somebody who can make sums
            at = layout.SLOT_OFFSETS[a]
            slot = superblock.unpack_slot(bytes(data[at:]), uuid)
            if isinstance(slot, Slot):
                moved = slot._replace(position=LOG.start + b).pack(uuid)
                data[at : at + layout.BLOCK] = moved
        else:
            data[layout.CLOSING_OFFSET + 25] ^= 1
    return bytes(data)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.data())
def test_what_is_read_of_the_log_says_what_all_of_it_says(
    steps: list[tuple[str, int]], draw: st.DataObject
) -> None:
    recorder = written(steps)
    writes = [event for event in recorder.log if event.kind == "write"]
    data = bytearray()
    upto = draw.draw(st.integers(max(1, len(writes) - 6), len(writes)), "writes that came")
    skipped = draw.draw(st.sets(st.integers(max(0, len(writes) - 8), len(writes)), max_size=2))
    for number, event in enumerate(writes[:upto]):
        if number not in skipped:  # lost in a crash
            end = event.offset + len(event.data)
            data.extend(bytes(max(0, end - len(data))))
            data[event.offset : end] = event.data
    data.extend(bytes(max(0, layout.DATA_OFFSET - len(data))))
    file = damaged(data, draw.draw(DAMAGE, "damage"))
    assert outcome(file) == outcome_of_all(file)


def test_each_byte_of_the_log_is_read_once_and_nothing_before_the_slot_is() -> None:
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a")
    for number in range(20):
        txn = engine.begin()
        txn.put(keys.group(NODE, number), pack_record(b"x" * 4000))
        txn.commit()
    engine.checkpoint()
    data = engine.backend.read(0, engine.backend.size())
    engine.close()
    position = recovery.newest_slot(
        recovery.slots_of(data[layout.SLOT_OFFSETS[0] :], superblock.unpack_super(data, "")),
        "",
    ).position
    backend = MemoryBackend(MemoryFile(data))
    assert not recovery.load(backend, "file").chain.damage
    end = layout.RING_OFFSET + HALF * (1 + (position - layout.RING_OFFSET) // HALF)
    log = end - position
    slots = recovery.SLOT_BYTES[1]
    # The head, the log, the record at the start of the other half, the slots once more.
    assert backend.stats.read_bytes <= layout.HEAD_BYTES + log + 2 * layout.RECORD.size + slots
    assert backend.stats.reads <= 5
