"""One flipped bit anywhere: found where it is read, named by check, the rest stays readable."""

from __future__ import annotations

import random
import warnings

import pytest

from kist.engine import Engine, Frame, Pointer, Problem
from kist.errors import CorruptDataError, DamageWarning, KistError, UnsupportedVersionError
from kist.format import keys, layout
from kist.format.values import pack_record, unpack_record
from kist.storage import MemoryBackend, MemoryFile

NODE = 5


def store() -> tuple[bytes, dict[int, Pointer]]:
    """A store with a tree of several pages, extents, and a log behind them."""
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a")
    pointers = {}
    txn = engine.begin()
    for number in range(400):
        txn.put(keys.group(NODE, number), pack_record(b"%d" % number * 20))
    txn.commit()
    for number in range(400, 404):
        txn = engine.begin()
        frame = Frame(layout.FRAME_BLOB, NODE, 0, number, b"%d" % number * 300)
        (pointers[number],) = txn.write([frame])
        txn.put(keys.group(NODE, number), pack_record(b"", [pointers[number]]))
        txn.commit()
        if number == 401:
            engine.checkpoint()
    data = engine.backend.read(0, engine.backend.size())
    engine.close()
    return data, pointers


DATA, EXTENTS = store()


def opened(data: bytes | bytearray, mode: str = "r") -> Engine:
    return Engine.open_backend(MemoryBackend(MemoryFile(data)), mode)


def read(engine: Engine) -> dict[int, bytes]:
    view = engine.newest()
    found = {}
    for key, value in view.scan(*keys.groups(NODE)):
        pointers, payload = unpack_record(value)
        found[keys.row_of(key)] = payload + b"".join(bytes(view.read(p)) for p in pointers)
    return found


WHOLE = read(opened(DATA))


def test_the_whole_store_is_whole() -> None:
    assert len(WHOLE) == 404
    assert opened(DATA).check() == []


def test_no_flipped_bit_changes_what_is_read() -> None:
    rng = random.Random(0)
    header = [rng.randrange(layout.HEAD_BYTES) for _ in range(60)]
    # The log is mostly zeros: take the places that are not.
    log = [at for at in range(layout.HEAD_BYTES, layout.DATA_OFFSET) if DATA[at]]
    places = header + rng.sample(log, 120)
    places += [rng.randrange(layout.DATA_OFFSET, len(DATA)) for _ in range(200)]
    seen = 0
    for at in places:
        data = bytearray(DATA)
        data[at] ^= 1 << rng.randrange(8)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                engine = opened(data)
                found = read(engine)
            except KistError:
                seen += 1
                continue
        # Without an error: all of it, or with a warning an older state, or without the newest
        # commit, which has no successor to vouch for it.
        if any(issubclass(w.category, DamageWarning) for w in told):
            seen += 1
            assert found.items() <= WHOLE.items()
        elif found != WHOLE:
            assert found == {n: value for n, value in WHOLE.items() if n != 403}
    assert seen > 60


@pytest.mark.parametrize("number", [400, 403])
def test_a_damaged_extent_is_named_and_the_others_are_read(number: int) -> None:
    pointer = EXTENTS[number]
    data = bytearray(DATA)
    # In the log, the newest extents are verified at opening; these were synced long ago.
    engine = opened(DATA, "r+")
    engine.checkpoint()
    data = bytearray(engine.backend.read(0, engine.backend.size()))
    data[pointer.offset + 128 + 7] ^= 1
    engine = opened(data)
    with pytest.raises(CorruptDataError) as info:
        engine.newest().read(pointer)
    assert info.value.offset == pointer.offset
    for other, fine in EXTENTS.items():
        if other != number:
            assert bytes(engine.newest().read(fine)) == b"%d" % other * 300
    problems = engine.check()
    assert [(p.where, p.offset, p.key) for p in problems] == [
        ("extent", pointer.offset, keys.group(NODE, number))
    ]


def test_a_damaged_header_of_a_frame_is_listed_and_does_no_harm() -> None:
    data = bytearray(DATA)
    data[EXTENTS[400].offset + 40] ^= 1
    engine = opened(data)
    assert read(engine) == WHOLE
    (problem,) = engine.check()
    assert (problem.where, problem.key) == ("extent", keys.group(NODE, 400))
    assert "header" in problem.message


def test_every_damaged_page_of_the_tree_is_listed_with_its_place() -> None:
    engine = opened(DATA)
    pages = list(engine.reader.tree.pages(engine.state.root_bytes()))
    assert len(pages) > 2
    for packed, node in pages:
        pointer = Pointer.unpack(packed)
        data = bytearray(DATA)
        data[pointer.offset + 128 + pointer.length // 2] ^= 4
        damaged = opened(data)
        problems: list[Problem] = damaged.check()
        assert ("tree", pointer.offset) in [(p.where, p.offset) for p in problems]
        with pytest.raises(CorruptDataError):
            list(damaged.newest().scan(b"", b"\xff" * 9))
        if node.level == 0 and node.keys[0][8:9] == b"G":
            for other, page in pages:  # records of other leaves are found
                if page.level == 0 and other != packed:
                    key, value = page.keys[-1], page.values[-1]
                    assert damaged.newest().get(key) == value


def test_a_file_cut_short_is_damage_where_it_is_cut() -> None:
    engine = opened(DATA, "r+")
    engine.checkpoint()
    data = engine.backend.read(0, engine.backend.size())
    root = engine.state.root
    assert root is not None
    for size in (EXTENTS[403].offset + 500, root.offset + 200, layout.DATA_OFFSET + 10):
        engine = opened(data[:size])
        with pytest.raises(CorruptDataError, match="ends within"):
            read(engine)
        assert {problem.where for problem in engine.check()} >= {"tree"}


@pytest.mark.parametrize("offset", [layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET])
def test_a_damaged_copy_of_the_header_is_listed(offset: int) -> None:
    data = bytearray(DATA)
    data[offset + 30] ^= 1
    engine = opened(data)
    assert read(engine) == WHOLE
    assert [(p.where, p.offset) for p in engine.check()] == [("super", offset)]


@pytest.mark.parametrize("number", [0, 1])
def test_a_damaged_slot_is_listed(number: int) -> None:
    data = bytearray(DATA)
    data[layout.SLOT_OFFSETS[number] + 30] ^= 1
    engine = opened(data)
    assert read(engine) == WHOLE
    assert ("slot", layout.SLOT_OFFSETS[number]) in [(p.where, p.offset) for p in engine.check()]


def test_all_damage_is_listed_at_once() -> None:
    engine = opened(DATA, "r+")
    engine.checkpoint()
    data = bytearray(engine.backend.read(0, engine.backend.size()))
    pages = list(engine.reader.tree.pages(engine.state.root_bytes()))
    leaf = Pointer.unpack(next(packed for packed, node in pages if node.level == 0))
    data[leaf.offset + 200] ^= 1
    for number in (401, 403):
        data[EXTENTS[number].offset + 200] ^= 1
    found = {(problem.where, problem.offset) for problem in opened(data).check()}
    expected = {("extent", EXTENTS[number].offset) for number in (401, 403)}
    assert found == {("tree", leaf.offset), *expected}


def test_a_damaged_number_of_the_version_does_not_hide_the_other_copy() -> None:
    for at in (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET):
        data = bytearray(DATA)
        data[at + layout.SUPER.offset("version")] = 77
        engine = opened(data)
        assert read(engine) == WHOLE
        assert [(p.where, p.offset) for p in engine.check()] == [("super", at)]
    data[layout.SUPER_OFFSET + layout.SUPER.offset("version")] = 77
    with pytest.raises(UnsupportedVersionError, match="format version 77"):
        opened(data)


def closed() -> tuple[bytes, int]:
    """A store that was closed in order behind commits in the log, and its newest commit."""
    file = MemoryFile(DATA)
    engine = Engine.open_backend(MemoryBackend(file), "r+")
    txn = engine.begin()
    txn.put(keys.group(NODE, 404), pack_record(b"404"))
    txn.commit()
    newest = engine.commit
    engine.close()
    return MemoryBackend(file).read(0, 1 << 24), newest


def test_no_range_that_is_lost_at_the_end_of_the_log_brings_an_older_commit_untold() -> None:
    data, newest = closed()
    used = [at for at in range(layout.HEAD_BYTES, layout.DATA_OFFSET) if data[at]]
    end = used[-1] + 1
    # The mark and the newest record, or more of the log than that.
    for start in sorted({at // 4096 * 4096 for at in used}):
        damaged = bytearray(data)
        damaged[start:end] = bytes(end - start)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            engine = opened(damaged)
        assert engine.commit == newest or f"commit {newest} was durable" in str(told[0].message)
        if engine.commit != newest:
            with pytest.raises(CorruptDataError, match="was durable"):
                opened(damaged, "r+")
            assert "log" in {problem.where for problem in engine.check()}


def test_a_damaged_closing_note_is_listed_and_does_no_harm() -> None:
    data, newest = closed()
    at = layout.CLOSING_OFFSET
    for place in range(at, at + layout.CLOSING.size):
        damaged = bytearray(data)
        damaged[place] ^= 1
        engine = opened(damaged)
        assert engine.commit == newest
        assert ("super", at) in [(p.where, p.offset) for p in engine.check()]


def test_a_closing_note_holds_whatever_comes_after_it() -> None:
    data, newest = closed()
    engine = opened(data, "r+")
    for number in range(405, 600):  # both halves of the log are begun anew
        txn = engine.begin()
        txn.put(keys.group(NODE, number), pack_record(b"x" * 3000))
        txn.commit()
    now = engine.backend.read(0, engine.backend.size())
    assert now[layout.CLOSING_OFFSET :][:512] == data[layout.CLOSING_OFFSET :][:512]
    engine = opened(now)
    assert engine.commit > newest + 190
    assert engine.check() == []
