"""From a broken file to a state: what is there is right, and what is missing is known to be."""

from __future__ import annotations

import random

import pytest

from kist.engine import Engine, Frame, Pointer
from kist.engine.salvage import Remains, find_remains
from kist.errors import NotAStoreError, UnsupportedVersionError
from kist.format import keys, layout
from kist.format.checksum import sum128
from kist.format.values import pack_record, unpack_record
from kist.storage import MemoryBackend, MemoryFile

NODE = 5


def key_of(number: int) -> bytes:
    return keys.item(NODE, number.to_bytes(2, "big") + b"x" * 300)


EVERYTHING = (keys.whole_node(keys.ROOT)[0], b"\xff" * 9)


def store(seed: int = 0) -> tuple[bytes, dict[int, dict[bytes, bytes]]]:
    """A tree of three levels, changed often enough that old pages lie about; its states."""
    file = MemoryFile()
    engine = Engine.open_backend(MemoryBackend(file), "a")
    rng = random.Random(seed)
    truth: dict[bytes, bytes] = {}
    states = {0: dict(truth)}
    for step in range(14):
        txn = engine.begin()
        for _ in range(250 if step < 5 else 40):
            key = key_of(rng.randrange(2000))
            value = pack_record(rng.randbytes(rng.choice([3, 60])))
            if rng.random() < 0.3:
                value = pack_record(
                    b"x", txn.write([Frame(layout.FRAME_BLOB, NODE, 0, 0, rng.randbytes(200))])
                )
            txn.put(key, value)
            truth[key] = value
        start = rng.randrange(1800)
        low, high = key_of(start), key_of(start + 100)
        txn.delete_range(low, high)
        truth = {key: value for key, value in truth.items() if not low <= key < high}
        txn.commit()
        states[engine.commit] = dict(truth)
        if step % 4 == 1:
            engine.checkpoint()
            states[engine.commit] = dict(truth)
    for step in range(3):  # and some that only the log knows
        txn = engine.begin()
        txn.put(key_of(7000 + step), pack_record(b"late"))
        truth[key_of(7000 + step)] = pack_record(b"late")
        txn.commit()
        states[engine.commit] = dict(truth)
    engine.close()  # which vouches for the newest
    backend = MemoryBackend(file)
    return backend.read(0, backend.size()), states


DATA, STATES = store()
NEWEST = max(STATES)


def remains_of(data: bytes | bytearray) -> Remains:
    return find_remains(MemoryBackend(MemoryFile(data)), "broken")


def content(found: Remains) -> dict[bytes, bytes]:
    return dict(found.view.scan(*EVERYTHING))


def tree_pages() -> list[tuple[Pointer, int]]:
    engine = Engine.open_backend(MemoryBackend(MemoryFile(DATA)), "r")
    pages = engine.reader.tree.pages(engine.state.root_bytes())
    return [(Pointer.unpack(packed), node.level) for packed, node in pages]


PAGES = tree_pages()


def broken(pages: list[Pointer], head: bool = False) -> bytearray:
    data = bytearray(DATA)
    for pointer in pages:
        data[pointer.offset + 128 + pointer.length // 2] ^= 1
    if head:
        data[: layout.HEAD_BYTES] = bytes(layout.HEAD_BYTES)
    return data


def assert_right(found: Remains) -> dict[bytes, bytes]:
    """Nothing is there that was not, and everything else is known to be missing."""
    truth, here = STATES[found.view.state.commit], content(found)
    assert here.items() <= truth.items()
    for key in truth.keys() - here.keys():
        assert found.is_lost((key, key + b"\0")), key
    return here


def test_the_tree_has_three_levels() -> None:
    assert {level for _, level in PAGES} == {0, 1, 2}


def test_a_whole_store_is_whole_without_looking_for_frames() -> None:
    found = remains_of(DATA)
    assert found.confirmed
    assert content(found) == STATES[NEWEST]
    assert not found.orphans and not found.dropped and not found.notes


@pytest.mark.parametrize("start", [0, 0x1000, 0x2000])
@pytest.mark.parametrize("stop", [0x1000, 0x3000, 0x4000])
def test_headers_and_slots_can_be_gone(start: int, stop: int) -> None:
    data = bytearray(DATA)
    data[start:stop] = bytes(max(stop - start, 0))
    found = remains_of(data)
    assert found.confirmed
    assert content(found) == STATES[NEWEST]


def test_pages_above_leaves_can_be_gone() -> None:
    inner = [pointer for pointer, level in PAGES if level]
    for lost in ([inner[0]], inner[1:2], inner[1:], inner):
        for head in (False, True):
            found = remains_of(broken(lost, head))
            assert found.confirmed
            assert content(found) == STATES[NEWEST]


def test_whatever_pages_are_gone_nothing_wrong_is_shown() -> None:
    rng = random.Random(1)
    whole = partly = 0
    for _ in range(25):
        n = rng.choice([1, 1, 2, 3, 8])
        found = remains_of(broken([p for p, _ in rng.sample(PAGES, n)], rng.random() < 0.5))
        if found.confirmed:
            here = assert_right(found)
            whole += here == STATES[NEWEST]
            partly += here != STATES[NEWEST]
    assert partly > 8


def test_where_leaves_and_the_account_of_space_are_lost_nothing_is_guessed() -> None:
    # The first leaf says what is free; with an inner page gone too, nobody knows which of the
    # leaves below that are in use.
    leaves = [pointer for pointer, level in PAGES if level == 0]
    inner = [pointer for pointer, level in PAGES if level == 1]
    found = remains_of(broken([leaves[0], inner[-1]]))
    assert found.confirmed
    assert_right(found)
    found = remains_of(broken([leaves[0], PAGES[0][0]]))
    if found.confirmed:
        assert_right(found)
        assert found.view.state.commit < NEWEST


def test_a_torn_log_gives_the_commit_before_and_says_so() -> None:
    for at in range(layout.RING_OFFSET, layout.DATA_OFFSET, layout.BLOCK):
        if DATA[at : at + 4] != b"CMIT":
            continue
        data = bytearray(DATA)
        data[at + 130] ^= 1
        found = remains_of(data)
        assert found.confirmed
        here = content(found)
        assert here == STATES[found.view.state.commit]
        assert found.view.state.commit == NEWEST or found.notes


def test_without_slots_and_log_nothing_is_confirmed() -> None:
    data = bytearray(DATA)
    data[: layout.DATA_OFFSET] = bytes(layout.DATA_OFFSET)
    found = remains_of(data)
    assert not found.confirmed
    assert content(found) in STATES.values()
    data = broken([PAGES[0][0]])
    data[: layout.DATA_OFFSET] = bytes(layout.DATA_OFFSET)
    found = remains_of(data)
    assert not found.confirmed
    assert len(content(found)) > 300


def test_frames_of_deleted_records_are_no_orphans() -> None:
    found = remains_of(broken([PAGES[0][0]]))
    assert found.dropped > 10
    named = {p.offset for v in STATES[NEWEST].values() for p in unpack_record(v)[0]}
    assert not {header.offset for header in found.orphans} & named
    assert not found.orphans


def test_what_is_no_store_is_refused() -> None:
    for data in (b"", b"hello" * 1000, bytes(1 << 20)):
        with pytest.raises(NotAStoreError):
            remains_of(data)


def test_a_root_that_is_the_only_page_is_not_replaced_by_an_older_one() -> None:
    # The older page, and the space behind it for the lost one, would add up as well.
    for n_extents in range(4):
        file = MemoryFile()
        engine = Engine.open_backend(MemoryBackend(file), "a")
        states = {0: {}}
        for step in range(6):
            txn = engine.begin()
            value = pack_record(b"%d" % step)
            for _ in range(n_extents if step < 2 else 0):
                value = pack_record(
                    b"", txn.write([Frame(layout.FRAME_BLOB, NODE, 0, 0, b"x" * 99)])
                )
            txn.put(key_of(step % 3), value)
            txn.commit()
            states[engine.commit] = dict(engine.newest().scan(*EVERYTHING))
            if step % 2:
                engine.checkpoint()
                states[engine.commit] = dict(engine.newest().scan(*EVERYTHING))
                root = engine.state.root
        engine.close()
        backend = MemoryBackend(file)
        data = bytearray(backend.read(0, backend.size()))
        assert root is not None
        data[root.offset + 128 + root.length // 2] ^= 1
        for head in (False, True):
            if head:
                data[: layout.HEAD_BYTES] = bytes(layout.HEAD_BYTES)
            found = remains_of(data)
            if found.confirmed:
                assert content(found) == states[found.view.state.commit]


def test_a_lost_leaf_without_extents_is_missed_though_all_space_is_accounted_for() -> None:
    file = MemoryFile()
    engine = Engine.open_backend(MemoryBackend(file), "a")
    txn = engine.begin()
    for number in range(400):
        txn.put(key_of(number), pack_record(b"inline"))
    txn.commit()
    engine.checkpoint()
    truth = dict(engine.newest().scan(*EVERYTHING))
    pages = list(engine.reader.tree.pages(engine.state.root_bytes()))
    engine.close()
    backend = MemoryBackend(file)
    data = bytearray(backend.read(0, backend.size()))
    leaf = Pointer.unpack([packed for packed, node in pages if not node.level][2])
    data[leaf.offset + 140] ^= 1
    found = remains_of(data)
    here = content(found)
    assert 0 < len(here) < len(truth)
    assert here.items() <= truth.items()
    assert all(found.is_lost((key, key + b"\0")) for key in truth.keys() - here.keys())


def test_a_damaged_version_is_no_newer_version() -> None:
    data = bytearray(DATA)
    for at in (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET):
        data[at + layout.SUPER.offset("version")] = 77
    assert content(remains_of(data)) == STATES[NEWEST]
    for at in (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET):
        end = at + layout.SUPER.size
        data[end - 16 : end] = sum128(data[at : end - 16])
    with pytest.raises(UnsupportedVersionError):
        remains_of(data)
