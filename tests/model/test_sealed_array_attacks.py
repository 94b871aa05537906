"""What somebody without a secret can do to the file of a sealed array, and what its holder sees.

The attacker is an engine without keys, as in `test_sealed_attacks`: any record, any extent, every
checksum made anew.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
from kist.crypto.secret import Secret
from kist.engine import Engine, Frame
from kist.engine.fieldkeys import make_lock
from kist.errors import CorruptDataError, TamperedDataError
from kist.format import keys
from kist.format.array import ArraySchema, SegmentRecord, pack_bounds
from kist.format.checksum import sum64
from kist.format.layout import FRAME, FRAME_SEALED
from kist.format.sealed import unpack_sealed_head
from kist.format.values import pack_record, unpack_record

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
Edit = Callable[[Any, int], None]


def values(salt: int = 0) -> np.ndarray:
    return np.random.default_rng(salt).integers(0, 1 << 40, (60, 200))


def fill(path: Path) -> None:
    with kist.open(path, "w", retain=10) as store:
        for name, salt in (("x", 0), ("y", 1)):
            made = store.create_array(
                name, values(salt), chunks=(30, 200), fill_value=7, encrypt=KEY
            )
            made.resize((70, 200))  # the last rows show the fill value


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("made") / "t.kist"
    fill(path)
    return path.read_bytes()


@pytest.fixture
def file(made: bytes, path: Path) -> Path:
    path.write_bytes(made)
    return path


def attack(path: Path, edit: Edit) -> None:
    """Let an engine without keys change the records of the first array, and commit."""
    with kist.open(path) as store:
        node = store["x"]._id
    engine = Engine.open(path, "r+")
    try:
        txn = engine.begin()
        edit(txn, node)
        txn.commit()
    finally:
        engine.close()


def look(path: Path) -> np.ndarray:
    with kist.open(path, secrets=[KEY]) as store:
        return store["x"][:]


def segments(txn: Any, node: int) -> list[tuple[bytes, bytes]]:
    return list(txn.scan(*keys.segments(node)))


def copied(txn: Any, value: bytes) -> bytes:
    """A record with its own copies of its extents."""
    pointers, payload = unpack_record(value)
    frames = []
    for p in pointers:
        body = txn.reader.read_part(p, 0, p.length)
        frames.append(Frame(FRAME_SEALED, 9, 0, 0, body[: p.head], (body[p.head :],)))
    return pack_record(payload, txn.write(frames))


def swap_chunks(txn: Any, node: int) -> None:
    (one, first), (other, second) = segments(txn, node)[:2]
    first, second = copied(txn, first), copied(txn, second)
    txn.put(one, second)
    txn.put(other, first)


def chunk_of_another_array(txn: Any, node: int) -> None:
    (key, _), (_, theirs) = segments(txn, node)[0], segments(txn, node + 1)[0]
    txn.put(key, copied(txn, theirs))


def everything_of_another_array(txn: Any, node: int) -> None:
    prefix = keys.node(node)[:8]
    for kind in b"CSBE":
        txn.delete_range(*keys.prefix_range(prefix + bytes((kind,))))
        span = keys.prefix_range(keys.node(node + 1)[:8] + bytes((kind,)))
        for key, value in list(txn.scan(*span)):
            pointers, _ = unpack_record(value)
            txn.put(prefix + key[8:], copied(txn, value) if pointers else value)


def drop_a_chunk(txn: Any, node: int) -> None:
    txn.delete(segments(txn, node)[1][0])


def swap_bodies_under_pointers(txn: Any, node: int) -> None:
    (one, first), (other, second) = segments(txn, node)[:2]
    mine, theirs = unpack_record(copied(txn, first))[0], unpack_record(copied(txn, second))[0]
    txn.put(one, pack_record(unpack_record(first)[1], theirs))
    txn.put(other, pack_record(unpack_record(second)[1], mine))


def flip_a_bit_and_make_sums_anew(txn: Any, node: int) -> None:
    key, value = segments(txn, node)[0]
    (pointer,), payload = unpack_record(value)
    body = bytearray(txn.reader.read_part(pointer, 0, pointer.length))
    head, _ = unpack_sealed_head(body, len(body))
    body[head.size + 1000] ^= 4
    for number in range(head.n_units):
        start, stop = head.span(number, number)
        struct.pack_into("<Q", body, 64 + 8 * number, sum64(memoryview(body)[start:stop]))
    frame = Frame(FRAME_SEALED, node, 0, 0, bytes(body[: head.size]), (body[head.size :],))
    txn.put(key, pack_record(payload, txn.write([frame])))


def a_segment_in_clear(txn: Any, node: int) -> None:
    key, _ = segments(txn, node)[0]
    record = SegmentRecord((1, 2), (1, 2), data=np.arange(2).tobytes())
    txn.put(key, pack_record(record.pack()))


def bounds(shape: tuple[int, ...]) -> Edit:
    def edit(txn: Any, node: int) -> None:
        txn.put(keys.bounds(node), pack_record(pack_bounds(shape)))

    return edit


def schema(**changes: Any) -> Edit:
    def edit(txn: Any, node: int) -> None:
        found = ArraySchema.unpack(unpack_record(txn.get(keys.schema(node)))[1])
        fill = changes.get("fill", found.fill)
        txn.put(keys.schema(node), pack_record(found._replace(**{**changes, "fill": fill}).pack()))

    return edit


def own_lock(txn: Any, node: int) -> None:
    lock, _ = make_lock({"1": Secret(KEY)})
    txn.put(keys.lock(node, 1), pack_record(lock.pack()))


def no_lock(txn: Any, node: int) -> None:
    txn.delete(keys.lock(node, 1))


def no_manifest(txn: Any, node: int) -> None:
    txn.delete(keys.manifest(node, 1))


def manifest_of_another_array(txn: Any, node: int) -> None:
    txn.put(keys.manifest(node, 1), txn.get(keys.manifest(node + 1, 1)))


TAMPERED: dict[str, Edit] = {
    edit.__name__: edit
    for edit in (
        swap_chunks,
        chunk_of_another_array,
        everything_of_another_array,
        drop_a_chunk,
        swap_bodies_under_pointers,
        flip_a_bit_and_make_sums_anew,
        a_segment_in_clear,
        own_lock,
        no_lock,
        no_manifest,
        manifest_of_another_array,
    )
} | {
    "rows cut off": bounds((59, 200)),
    "no rows": bounds((0, 200)),
    "more rows": bounds((90, 200)),
    "another dtype": schema(dtype=np.dtype("u8")),
    "the flag cleared": schema(sealed=False, fill=np.int64(8).tobytes()),
}


@pytest.mark.parametrize("edit", TAMPERED.values(), ids=TAMPERED)
def test_an_edit_without_the_secret_is_seen_and_not_built_on(file: Path, edit: Edit) -> None:
    attack(file, edit)
    with pytest.raises(TamperedDataError):
        look(file)
    with kist.open(file, "r+", secrets=[KEY]) as store:
        commit = store.commit_id
        with pytest.raises(TamperedDataError):
            store["x"].append(values()[:1])
            store["x"][:]
        if edit not in (flip_a_bit_and_make_sums_anew, swap_bodies_under_pointers):
            assert store.commit_id == commit
        np.testing.assert_array_equal(store["y"][:60], values(1))
        assert not store.check().ok


def test_a_manifest_that_holds_for_one_array_says_nothing_of_another(file: Path) -> None:
    """The other one was read, and verified, by the same handle before."""
    attack(file, everything_of_another_array)
    with kist.open(file, secrets=[KEY]) as store:
        np.testing.assert_array_equal(store["y"][:60], values(1))
        with pytest.raises(TamperedDataError, match="is that of field 1 of node 3"):
            store["x"][:]


def test_an_open_handle_sees_it_as_well(file: Path) -> None:
    with kist.open(file, "r+", secrets=[KEY]) as store:
        np.testing.assert_array_equal(store["x"][:60], values())
        attack(file, swap_chunks)
        with pytest.raises(TamperedDataError, match="'/x'"):
            store["x"][:]


@pytest.mark.parametrize("with_bounds", [False, True])
def test_an_old_chunk_put_back_is_seen(file: Path, with_bounds: bool) -> None:
    kinds = b"CSB" if with_bounds else b"C"
    engine = Engine.open(file)
    before = []
    for kind in kinds:
        span = keys.prefix_range(keys.node(2)[:8] + bytes((kind,)))
        for key, value in engine.newest().scan(*span):
            pointers, payload = unpack_record(value)
            bodies = [(p.head, engine.reader.read_part(p, 0, p.length)) for p in pointers]
            before.append((key, payload, bodies))
    engine.close()
    with kist.open(file, "r+", secrets=[KEY]) as store:
        store["x"][0] = 1
        store["x"].append(values()[:3])

    def put_back(txn: Any, node: int) -> None:
        for key, payload, bodies in before:
            frames = [Frame(FRAME_SEALED, 2, 0, 0, b[:head], (b[head:],)) for head, b in bodies]
            txn.put(key, pack_record(payload, txn.write(frames)))

    attack(file, put_back)
    with pytest.raises(TamperedDataError):
        look(file)


def test_a_chunk_of_another_file_is_seen(file: Path, tmp_path: Path) -> None:
    fill(tmp_path / "o.kist")
    engine = Engine.open(tmp_path / "o.kist")
    view = engine.newest()
    key, value = next(iter(view.scan(*keys.segments(2))))
    pointers, payload = unpack_record(value)
    bodies = [(p.head, engine.reader.read_part(p, 0, p.length)) for p in pointers]
    engine.close()

    def put(txn: Any, node: int) -> None:
        frames = [Frame(FRAME_SEALED, 2, 0, 0, b[:head], (b[head:],)) for head, b in bodies]
        txn.put(key, pack_record(payload, txn.write(frames)))

    attack(file, put)
    with pytest.raises(TamperedDataError):
        look(file)


def test_a_flipped_bit_is_damage_and_named(file: Path) -> None:
    with kist.open(file, secrets=[KEY]) as store:
        (pointer,), _ = unpack_record(segments(store._view(), store["x"]._id)[0][1])
    data = bytearray(file.read_bytes())
    data[pointer.offset + FRAME.size + pointer.head + 500] ^= 1
    file.write_bytes(data)
    with kist.open(file, secrets=[KEY]) as store:
        with pytest.raises(CorruptDataError, match=r"'/x' chunk \(0, 0\).*checksum"):
            store["x"][:]
        np.testing.assert_array_equal(store["x"][30:60], values()[30:])
        with pytest.warns(kist.DamageWarning):
            masked = store["x"].read(errors="mask")
        assert masked.mask[:30].all() and not masked.mask[30:].any()
    with kist.open(file) as store:
        assert not store.check().ok


@pytest.mark.parametrize("stand_in", ["array", "link", "table"])
def test_what_stands_in_its_place_is_seen_by_who_names_it(file: Path, stand_in: str) -> None:
    with kist.open(file, "r+") as store:
        store.move("x", "old")
        store["clear"] = values()
        if stand_in == "link":
            store.create_link("g/x", "/clear")
        else:
            store["g/x"] = np.zeros(3, "i4,i4") if stand_in == "table" else values()
    with (
        kist.open(file, "r+", secrets={"g/x": KEY}) as store,
        pytest.raises(TamperedDataError, match=r"'/?g/x'"),
    ):
        store["g/x"].append(values()[:1])


def test_a_removed_secret_does_not_come_back_with_its_lock(file: Path) -> None:
    with kist.open(file) as store:
        lock = store._view().get(keys.lock(store["x"]._id, 1))
    with kist.open(file, "r+", secrets=KEY) as store:
        store["x"].rotate(OTHER)
    attack(file, lambda txn, node: txn.put(keys.lock(node, 1), lock))
    with pytest.raises(TamperedDataError):
        look(file)


def test_no_value_stands_in_the_file(path: Path) -> None:
    """Pages, small values, fill values, segments of appends; in clear each is found."""
    found = {}
    for secret, target in ((None, path), (KEY, path.with_suffix(".sealed"))):
        with kist.open(target, "w") as store:
            mark = 0x5EC2E700_11223344
            store.create_array("a", np.full(5_000, mark), codec="none", encrypt=secret)
            store.create_array("b", np.array(mark + 1), encrypt=secret)
            c = store.create_array("c", shape=9, dtype="i8", fill_value=mark + 2, encrypt=secret)
            for at in range(5):
                c.append([mark + 3 + at])
            store.create_array("d", np.arange(5_000) + mark, codec="none", encrypt=secret)
        data = target.read_bytes()
        needles = [(mark + at).to_bytes(8, "little") for at in range(8)]
        found[secret] = [needle in data for needle in needles]
    assert all(found[None]) and not any(found[KEY])
