"""Sealed records and pages, and the manifest that binds them: what an attacker can try."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

from kist.codecs.choose import choose
from kist.codecs.stringpages import choose_strings
from kist.crypto.secret import Secret
from kist.engine import Engine, Frame, Transaction
from kist.engine.fieldkeys import FieldKeys, make_lock, rotate
from kist.engine.manifest import (
    Place,
    check_manifest,
    item_of,
    make_manifest,
    new_digest,
    open_manifest,
)
from kist.engine.page_write import build_page
from kist.engine.pages import read_page, read_pages, take_page
from kist.engine.scan import extent_damage
from kist.engine.sealedrecords import (
    MAX_SEALED,
    SealedPointer,
    open_record,
    seal_record,
)
from kist.errors import CorruptDataError, TamperedDataError
from kist.format import keys
from kist.format.layout import FRAME_BLOB, FRAME_PAGE, MAX_INLINE
from kist.format.values import pack_record, unpack_record
from kist.storage import MemoryBackend, MemoryFile

NODE, OTHER, FIELD, LEAF = 5, 6, 0, 3
ROWS = 20_000
MANIFEST = keys.note(NODE, "manifest")
RANGES = [
    (keys.pages(NODE, LEAF), False),
    (keys.groups(NODE), False),
    (keys.deletions(NODE), True),
    (keys.prefix_range(keys.schema(NODE)), True),
]
VALUES = {
    "prices": np.round(100 + np.cumsum(np.random.default_rng(1).normal(0, 0.05, ROWS)), 2),
    "noise": np.random.default_rng(2).normal(size=ROWS),
    "same": np.full(ROWS, 7),
    "codes": np.random.default_rng(3).choice(np.array([b"AAPL", b"X", b"GOOG"]), ROWS),
    "text": np.array([f"row {i} {'x' * (i % 50)}" for i in range(ROWS)], np.dtypes.StringDType()),
}


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a", durability="none")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def field() -> FieldKeys:
    return make_lock({"a": Secret(bytes(32))})[1]


def put_page(txn: Transaction, field: FieldKeys, values: Any, row: int, node: int = NODE) -> None:
    """Put a page as a sealed record, with what stands for statistics and recipe."""
    strings = values.dtype.kind == "T"
    recipe = choose_strings(values, "auto") if strings else choose(values, "auto")
    head, blocks = build_page(values, recipe, block_values=1024)
    frame = Frame(FRAME_PAGE, node, LEAF, row, head, blocks)
    payload, frames = seal_record(field.current, b"statistics of it", [frame])
    txn.put(keys.page(node, LEAF, row), pack_record(payload, txn.write(frames)))


def page_of(view: Any, field: FieldKeys, row: int, node: int = NODE) -> SealedPointer:
    value = view.get(keys.page(node, LEAF, row))
    (pointer,), payload = open_record(view, *unpack_record(value), field.data)
    assert payload == b"statistics of it"
    return pointer


@pytest.mark.parametrize("name", VALUES)
def test_all_that_reads_open_pages_reads_sealed_ones(
    name: str, engine: Engine, field: FieldKeys
) -> None:
    values = VALUES[name]
    txn = engine.begin()
    for row in (0, ROWS):
        put_page(txn, field, values, row)
    txn.commit()
    view = engine.newest()
    pointer = page_of(view, field, 0)
    for start, stop in [(0, ROWS), (0, 1), (ROWS - 1, ROWS), (1000, 1100), (5_000, 17_001)]:
        out = np.empty(stop - start, values.dtype)
        read_page(view, pointer, out, start, ROWS)
        np.testing.assert_array_equal(out, values[start:stop])
    places = np.sort(np.random.default_rng(5).choice(ROWS, 40, replace=False))
    found = take_page(view, pointer, values.dtype, places, ROWS)
    np.testing.assert_array_equal(found, values[places])
    outs = [np.empty(ROWS, values.dtype), np.empty(7_000, values.dtype)]
    requests = [(pointer, outs[0], 0, ROWS), (page_of(view, field, ROWS), outs[1], 9_000, ROWS)]
    read_pages(view, requests)
    np.testing.assert_array_equal(outs[0], values)
    np.testing.assert_array_equal(outs[1], values[9_000:16_000])


def test_nothing_of_a_page_or_its_record_stands_in_the_file(field: FieldKeys) -> None:
    file = MemoryFile()
    engine = Engine.open_backend(MemoryBackend(file), "a")
    txn = engine.begin()
    same = np.full(ROWS, int.from_bytes(b"LOOKFOR!", "little"))  # a constant stands in the head
    put_page(txn, field, same, 0)
    payload, frames = seal_record(field.current, b"LOOKFOR!" * 1000)
    txn.put(keys.page(NODE, LEAF, 9), pack_record(payload, txn.write(frames)))
    txn.commit()
    engine.checkpoint()
    size = engine.reader.backend.size()
    assert b"LOOKFOR" not in engine.reader.backend.read(0, size)
    engine.close()


@pytest.mark.parametrize("size", [0, 1, MAX_SEALED - 1, MAX_SEALED, 4096, 100_000])
@pytest.mark.parametrize("n_frames", [0, 2])
def test_payloads_of_any_size_come_back(
    size: int, n_frames: int, engine: Engine, field: FieldKeys
) -> None:
    given = os.urandom(size)
    bodies = [os.urandom(70_000 * i) for i in range(n_frames)]
    txn = engine.begin()
    frames = [Frame(FRAME_BLOB, NODE, 0, 0, body) for body in bodies]
    payload, sealed = seal_record(field.current, given, frames)
    assert len(payload) <= MAX_INLINE
    txn.put(keys.group(NODE, 0), pack_record(payload, txn.write(sealed)))
    txn.commit()
    view = engine.newest()
    value = unpack_record(view.get(keys.group(NODE, 0)) or b"")
    pointers, found = open_record(view, *value, field.data)
    assert found == given and [view.reader.read(p) for p in pointers] == bodies


def test_a_page_under_an_old_data_key_is_read_after_a_rotation(engine: Engine) -> None:
    lock, field = make_lock({"a": Secret(bytes(32))})
    txn = engine.begin()
    put_page(txn, field, VALUES["prices"], 0)
    _, turned = rotate(lock, field)
    put_page(txn, turned, VALUES["noise"], ROWS)
    txn.commit()
    view = engine.newest()
    for row, name in ((0, "prices"), (ROWS, "noise")):
        out = np.empty(ROWS)
        read_page(view, page_of(view, turned, row), out, 0, ROWS)
        np.testing.assert_array_equal(out, VALUES[name])


# The manifest


def build(engine: Engine, field: FieldKeys, node: int = NODE, text: bytes = b"") -> None:
    """Write a table in small: a schema, three row groups with a sealed page, deleted rows."""
    txn = engine.begin()
    txn.put(keys.schema(node), pack_record(b"schema: column 0 is sealed" + text))
    for number in range(3):
        put_page(txn, field, VALUES["prices"] + number, number * ROWS, node)
        txn.put(keys.group(node, number * ROWS), pack_record(b"20,000 rows"))
    frame = Frame(FRAME_BLOB, node, 0, 0, b"rows 7 and 9 of 20,000" * 300)
    txn.put(keys.deletion(node, 0), pack_record(b"", txn.write([frame])))
    put_manifest(engine, txn, field, node)
    txn.commit()


def ranges_of(node: int) -> Any:
    move = partial(keys.prefix_range)
    return [
        (keys.pages(node, LEAF), False),
        (keys.groups(node), False),
        (keys.deletions(node), True),
        (move(keys.schema(node)), True),
    ]


def put_manifest(engine: Engine, txn: Transaction, field: FieldKeys, node: int = NODE) -> None:
    digest = new_digest(field)
    for (start, stop), deep in ranges_of(node):
        digest.add(item_of(txn, k, v, deep=deep) for k, v in txn.scan(start, stop))
    place = Place(engine.uuid, node, FIELD)
    txn.put(keys.note(node, "manifest"), pack_record(make_manifest(place, field, digest, b"more")))


def verify(engine: Engine, field: FieldKeys, node: int = NODE) -> None:
    """What a reader with the secret does: the manifest, then every page."""
    view = engine.newest()
    value = view.get(keys.note(node, "manifest"))
    payload = None if value is None else unpack_record(value)[1]
    place = Place(engine.uuid, node, FIELD)
    _, more = check_manifest(view, payload, place, field, ranges_of(node))
    assert more == b"more"
    for number in range(3):
        out = np.empty(ROWS)
        read_page(view, page_of(view, field, number * ROWS, node), out, 0, ROWS)
        np.testing.assert_array_equal(out, VALUES["prices"] + number)


def record(engine: Engine, key: bytes) -> tuple[bytes, list[bytes]]:
    """A record with its extents as bytes: what somebody keeps to put it back."""
    view = engine.newest()
    pointers, payload = unpack_record(view.get(key) or b"")
    return payload, [view.reader.read_part(p, 0, p.length) for p in pointers]


def forge(txn: Transaction, key: bytes, kept: tuple[bytes, list[bytes]]) -> None:
    """Write it, with headers and sums made anew, as whoever knows the format can."""
    payload, bodies = kept
    frames = []
    for body in bodies:
        head = 64 + 8 * max(1, -(-int.from_bytes(body[8:16], "little") >> body[3]))
        frames.append(Frame(b"SEAL", NODE, LEAF, 0, body[:head], [body[head:]]))
    txn.put(key, pack_record(payload, txn.write(frames)))


PAGES = [keys.page(NODE, LEAF, n * ROWS) for n in range(3)]
Attack = Callable[[Engine, Transaction, dict[bytes, tuple[bytes, list[bytes]]]], None]


def swap(engine: Engine, txn: Transaction, old: Any) -> None:
    one, two = record(engine, PAGES[0]), record(engine, PAGES[1])
    forge(txn, PAGES[0], two)
    forge(txn, PAGES[1], one)


def swap_extents(engine: Engine, txn: Transaction, old: Any) -> None:
    one, two = record(engine, PAGES[0]), record(engine, PAGES[1])
    forge(txn, PAGES[0], (one[0], two[1]))
    forge(txn, PAGES[1], (two[0], one[1]))


def replay(engine: Engine, txn: Transaction, old: Any) -> None:
    forge(txn, PAGES[1], old[PAGES[1]])


def replay_extent(engine: Engine, txn: Transaction, old: Any) -> None:
    forge(txn, PAGES[1], (record(engine, PAGES[1])[0], old[PAGES[1]][1]))


def other_node(engine: Engine, txn: Transaction, old: Any) -> None:
    forge(txn, PAGES[1], record(engine, keys.page(OTHER, LEAF, ROWS)))


def whole_other_node(engine: Engine, txn: Transaction, old: Any) -> None:
    for number in range(3):
        forge(txn, PAGES[number], record(engine, keys.page(OTHER, LEAF, number * ROWS)))
    txn.put(MANIFEST, engine.newest().get(keys.note(OTHER, "manifest")) or b"")


def drop(engine: Engine, txn: Transaction, old: Any) -> None:
    txn.delete(PAGES[2])
    txn.delete(keys.group(NODE, 2 * ROWS))


def drop_all(engine: Engine, txn: Transaction, old: Any) -> None:
    for start, stop in (keys.pages(NODE, LEAF), keys.groups(NODE), keys.deletions(NODE)):
        txn.delete_range(start, stop)


def add(engine: Engine, txn: Transaction, old: Any) -> None:
    forge(txn, keys.page(NODE, LEAF, 3 * ROWS), record(engine, PAGES[0]))
    txn.put(keys.group(NODE, 3 * ROWS), pack_record(b"20,000 rows"))


def schema(engine: Engine, txn: Transaction, old: Any) -> None:
    txn.put(keys.schema(NODE), pack_record(b"schema: column 0 is not sealed"))


def deleted(engine: Engine, txn: Transaction, old: Any) -> None:
    frame = Frame(FRAME_BLOB, NODE, 0, 0, b"rows 1 and 2 of 20,000" * 300)
    txn.put(keys.deletion(NODE, 0), pack_record(b"", txn.write([frame])))


def no_manifest(engine: Engine, txn: Transaction, old: Any) -> None:
    txn.delete(MANIFEST)


def old_manifest(engine: Engine, txn: Transaction, old: Any) -> None:
    txn.put(MANIFEST, pack_record(old[MANIFEST][0]))


ATTACKS: list[Attack] = [
    swap, swap_extents, replay, replay_extent, other_node, whole_other_node, drop, drop_all, add,
    schema, deleted, no_manifest, old_manifest,
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.__name__)
def test_what_is_changed_without_the_key_is_noticed(
    attack: Attack, engine: Engine, field: FieldKeys
) -> None:
    build(engine, field)
    build(engine, field, OTHER)
    old = {key: record(engine, key) for key in (*PAGES, MANIFEST)}
    txn = engine.begin()  # a change by a holder of the secret
    put_page(txn, field, VALUES["prices"] + 1, ROWS)
    put_manifest(engine, txn, field)
    txn.commit()
    verify(engine, field)
    txn = engine.begin()
    attack(engine, txn, old)
    txn.commit()
    with pytest.raises(TamperedDataError, match="do not trust"):
        verify(engine, field)
    verify(engine, field, OTHER)  # nothing else is concerned


def test_a_table_of_another_store_with_the_same_keys_is_noticed(
    engine: Engine, field: FieldKeys
) -> None:
    other = Engine.open_backend(MemoryBackend(MemoryFile()), "a", durability="none")
    build(other, field)
    verify(other, field)
    txn = engine.begin()
    for key, value in other.newest().scan(*keys.whole_node(NODE)):
        if unpack_record(value)[0] and key in PAGES:
            forge(txn, key, record(other, key))
        elif not unpack_record(value)[0]:
            txn.put(key, value)
    txn.commit()
    other.close()
    with pytest.raises(TamperedDataError, match="of another store"):
        verify(engine, field)


def test_a_manifest_is_changed_record_by_record(engine: Engine, field: FieldKeys) -> None:
    build(engine, field)
    view = engine.newest()
    place = Place(engine.uuid, NODE, FIELD)
    payload = unpack_record(view.get(MANIFEST) or b"")[1]
    digest, more = open_manifest(payload, place, field)
    txn = engine.begin()
    digest.remove([item_of(view, PAGES[1], view.get(PAGES[1]) or b"")])
    put_page(txn, field, VALUES["prices"] + 1, ROWS)
    digest.add([item_of(txn, PAGES[1], txn.get(PAGES[1]) or b"")])
    txn.put(MANIFEST, pack_record(make_manifest(place, field, digest, more)))
    txn.commit()
    verify(engine, field)


def test_compaction_moves_sealed_extents_without_a_key(engine: Engine, field: FieldKeys) -> None:
    txn = engine.begin()
    (hole,) = txn.write([Frame(FRAME_BLOB, OTHER, 0, 0, bytes(1 << 20))])
    txn.put(keys.group(OTHER, 0), pack_record(b"", [hole]))
    txn.commit()
    build(engine, field)
    before = page_of(engine.newest(), field, 0).offset
    txn = engine.begin()
    txn.delete(keys.group(OTHER, 0))
    txn.commit()
    engine.compact()
    assert page_of(engine.newest(), field, 0).offset < before
    verify(engine, field)


def test_a_flipped_bit_is_damage_and_is_found_without_a_key(field: FieldKeys) -> None:
    file = MemoryFile()
    engine = Engine.open_backend(MemoryBackend(file), "a", durability="none")
    build(engine, field)
    pointer = page_of(engine.newest(), field, ROWS)
    stored = pointer.stored
    assert extent_damage(engine.reader, stored) == ""
    at = stored.offset + 128 + stored.length - 1
    backend = engine.reader.backend
    backend.write(at, [bytes((backend.read(at, 1)[0] ^ 1,))])
    assert "fails its checksum" in extent_damage(engine.reader, stored)
    with pytest.raises(CorruptDataError, match="fails its checksum"):
        verify(engine, field)
    engine.close()
