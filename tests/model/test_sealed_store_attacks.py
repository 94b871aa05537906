"""What somebody without the secret can do to a sealed store, and what a holder sees.

The attacker knows the format, has older copies of the file and others of the same secret, and makes
every checksum anew. The edits are of bytes; only where they go is asked of a holder's engine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
from kist.engine import Engine
from kist.engine.keyring import Keyring
from kist.errors import (
    CorruptDataError,
    KistError,
    SecretError,
    TamperedDataError,
    WrongSecretError,
)
from kist.format import layout
from kist.format.checksum import sum64, sum128
from kist.format.frame import unpack_frame
from kist.format.layout import FRAME, RECORD, SLOT, SLOT_OFFSETS, SUPER
from kist.format.sealedstore import SLOT_SEAL, SealedExtent, SlotSeal, unpack_slot_seal
from kist.format.superblock import unpack_slot, unpack_super
from kist.format.values import Pointer, unpack_record

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))


def rows(start: int) -> Any:
    out = np.zeros(9000, [("a", "i8"), ("b", "i8")])
    out["a"] = np.random.default_rng(start).integers(0, 1 << 40, 9000)  # pages of several units
    out["b"] = np.random.default_rng(start + 1).integers(0, 1 << 40, 9000)
    return out


class Versions(NamedTuple):
    """One store as it was at several times."""

    first: bytes
    second: bytes  # rewritten in the same places where possible
    other: bytes  # another store of the same secret
    fork: bytes  # of the first


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    folder = tmp_path_factory.mktemp("made")
    path = folder / "t.kist"

    def begin(path: Path) -> None:
        with kist.open(path, "x", encrypt=KEY) as store:
            store["t"] = rows(1)
            store["u"] = rows(2)
            for n in range(45):
                store["t"].append((n, n))

    def go_on(path: Path, seed: int) -> bytes:
        with kist.open(path, "r+", secrets=KEY) as store:
            store["t"][0:9000] = rows(seed)
            store._session.engine.checkpoint()
            for n in range(3):
                store.attrs["n"] = n + seed
        return path.read_bytes()

    begin(path)
    first = path.read_bytes()
    second = go_on(path, 5)
    (folder / "fork.kist").write_bytes(first)
    fork = go_on(folder / "fork.kist", 9)
    begin(folder / "other.kist")
    return Versions(first, second, (folder / "other.kist").read_bytes(), fork)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "t.kist"


class Found(NamedTuple):
    """Where things stand in a file; asked of an engine with the secret."""

    pages: list[SealedExtent]
    extents: list[SealedExtent]
    newest: int  # offset of the slot that counts


def find(path: Path, data: bytes) -> Found:
    path.write_bytes(data)
    engine = Engine.open(str(path), "r", keyring=Keyring(KEY))
    pages = [
        Pointer.unpack(packed) for packed, _ in engine.reader.tree.pages(engine.state.root_bytes())
    ]
    values = [value for _, value in engine.newest().scan(bytes(8), b"\xff" * 20)]
    extents = [pointer for value in values for pointer in unpack_record(value)[0]]
    slots = [unpack_slot(data[at : at + 4096], engine.uuid) for at in SLOT_OFFSETS]
    newest = max(range(2), key=lambda n: slots[n].checkpoint)  # type: ignore[union-attr]
    engine.close()
    return Found(pages, extents, SLOT_OFFSETS[newest])  # type: ignore[arg-type]


def read_all(path: Path, **more: Any) -> Any:
    with kist.open(path, **{"secrets": KEY, **more}) as store:
        return store["t"][:].tobytes(), store["u"][:].tobytes(), dict(store.attrs)


def placed(data: bytearray, at: int, frame: bytes) -> None:
    """Put a frame of some other place or time into a place, its header made anew."""
    header = unpack_frame(frame[: FRAME.size])
    assert header is not None
    uuid = bytes(data[16:32])
    data[at : at + len(frame)] = header._replace(offset=at, uuid=uuid).pack() + frame[FRAME.size :]


def frame_at(data: bytes, pointer: SealedExtent) -> bytes:
    return bytes(data[pointer.offset : pointer.offset + FRAME.size + pointer.nbytes])


def refused(path: Path, data: bytes, kind: type[KistError] = TamperedDataError) -> None:
    path.write_bytes(data)
    with pytest.raises(kind):
        read_all(path)
    report = None
    try:
        report = kist.check(path, secrets=KEY)
    except kind:
        return
    assert not report.ok


def resummed_slot(block: bytes) -> bytes:
    """Sums and numbers made anew, of the slot and of its seal."""
    seal = SLOT_SEAL.unpack(block, 512)
    slot = block[: SLOT.size - 16] + sum128(block[: SLOT.size - 16])
    if seal["magic"] != b"LOCK":
        return slot + block[SLOT.size :]
    lock = block[512 + SLOT_SEAL.size :][: seal["length"]]
    packed = SlotSeal(seal["tag"], lock, SLOT.unpack(block)["checkpoint"]).pack()
    return (slot.ljust(512, b"\0") + packed).ljust(len(block), b"\0")


# Extents


def test_an_extent_in_the_place_of_another_is_refused(made: Versions, file: Path) -> None:
    found = find(file, made.first)
    by_size: dict[int, list[SealedExtent]] = {}
    for pointer in found.extents:
        by_size.setdefault(pointer.nbytes, []).append(pointer)
    same = next(group for group in by_size.values() if len(group) > 1)
    one, two = same[:2]
    data = bytearray(made.first)
    placed(data, one.offset, frame_at(made.first, two))
    refused(file, data)
    assert not kist.check(file).ok  # the salt in clear is another one than the pointer has
    placed(data, two.offset, frame_at(made.first, one))  # both exchanged
    refused(file, data)


def test_an_older_extent_of_the_same_place_is_refused(made: Versions, file: Path) -> None:
    # Same place, other commits: of the older copy, and of a fork of it, at the same commit even.
    now = {p.offset: p for p in find(file, made.second).extents}
    for before in (made.first, made.fork):
        then = {p.offset: p for p in find(file, before).extents}
        shared = [at for at in now if at in then and now[at].sum != then[at].sum]
        for at in shared[:4]:
            data = bytearray(made.second)
            placed(data, at, frame_at(before, then[at]))
            refused(file, data)
        if before is made.fork:
            assert shared
            same = [at for at in shared if now[at].birth == then[at].birth]
            assert same  # the birth alone would not have told them apart


def test_an_extent_of_another_store_of_the_same_secret_is_refused(
    made: Versions, file: Path
) -> None:
    mine = find(file, made.first).extents
    theirs = {p.offset: p for p in find(file, made.other).extents}
    both = [p for p in mine if p.offset in theirs and theirs[p.offset].nbytes == p.nbytes]
    assert both
    data = bytearray(made.first)
    placed(data, both[0].offset, frame_at(made.other, theirs[both[0].offset]))
    refused(file, data)


def test_a_page_of_the_tree_of_an_older_commit_is_refused(made: Versions, file: Path) -> None:
    now, then = find(file, made.second).pages, find(file, made.first).pages
    data = bytearray(made.second)
    assert now[0] != then[0]
    placed(data, now[0].offset, frame_at(made.first, then[0]))  # of the root
    file.write_bytes(data)
    with pytest.raises((TamperedDataError, CorruptDataError)):  # of another size: no such frame
        read_all(file)


def test_pointers_in_clear_mislead_nobody_who_has_the_secret(made: Versions, file: Path) -> None:
    found = find(file, made.first)
    page = next(p for p in found.pages if p.n_references)
    data = bytearray(made.first)
    at = page.offset + FRAME.size
    data[at : at + 44] = found.extents[-1].pack()
    header = unpack_frame(bytes(data[page.offset : page.offset + FRAME.size]))
    assert header is not None
    body = sum128(data[at : at + header.head])
    data[page.offset : page.offset + FRAME.size] = header._replace(body_sum=body).pack()
    file.write_bytes(data)
    assert read_all(file)
    report = kist.check(file, secrets=KEY)
    assert any("pointers in clear" in problem.message for problem in report.problems)


def test_a_unit_written_anew_with_its_sums_is_tampering_and_a_flipped_bit_is_damage(
    made: Versions, file: Path
) -> None:
    found = find(file, made.first)
    pointer = max(found.extents, key=lambda p: p.length)
    body = pointer.offset + FRAME.size
    head = pointer.sealed_head(b"")
    assert head.n_units > 1
    data = bytearray(made.first)
    start, stop = head.span(1, 1)
    data[body + start] ^= 1
    refused(file, data, CorruptDataError)
    data[body + 64 + 8 : body + 64 + 16] = sum64(data[body + start : body + stop]).to_bytes(
        8, "little"
    )
    header = unpack_frame(bytes(data[pointer.offset : pointer.offset + FRAME.size]))
    assert header is not None
    total = sum128(data[body : body + header.head])
    data[pointer.offset : pointer.offset + FRAME.size] = header._replace(body_sum=total).pack()
    refused(file, data)
    assert kist.check(file).ok  # the sums hold


# Slots, records, the header


def slot_edits() -> list[Callable[[bytearray, bytes], None]]:
    def root(block: bytearray, old: bytes) -> None:
        at = SLOT.offset("root")
        block[at : at + 44] = old[at : at + 44]

    def commit(block: bytearray, old: bytes) -> None:
        at = SLOT.offset("commit")
        block[at : at + 8] = (int.from_bytes(block[at : at + 8], "little") + 1).to_bytes(
            8, "little"
        )

    def chain(block: bytearray, old: bytes) -> None:
        block[SLOT.offset("chain")] ^= 1

    def nodes(block: bytearray, old: bytes) -> None:
        block[SLOT.offset("next_node")] ^= 1

    return [root, commit, chain, nodes]


@pytest.mark.parametrize("edit", slot_edits(), ids=lambda edit: edit.__name__)
def test_a_slot_with_another_root_or_number_is_refused(
    made: Versions, file: Path, edit: Callable[[bytearray, bytes], None]
) -> None:
    at = find(file, made.second).newest
    block = bytearray(made.second[at : at + 4096])
    older = next(a for a in SLOT_OFFSETS if a != at)
    edit(block, made.second[older : older + 4096])
    data = bytearray(made.second)
    data[at : at + 4096] = resummed_slot(bytes(block))
    refused(file, data)
    assert kist.check(file).path  # sums hold: no more can be said without the secret


def test_a_rotation_that_a_crash_cut_off_is_no_tampering(made: Versions, file: Path) -> None:
    file.write_bytes(made.first)
    blocks: list[bytes] = []
    with kist.open(file, "r+", secrets=KEY) as store:
        engine = store._session.engine
        checkpoint = engine.checkpoint_now

        def noted() -> None:
            checkpoint()
            blocks.append(file.read_bytes())

        engine.checkpoint_now = noted  # type: ignore[method-assign]
        store.rotate({"new": OTHER})
    assert len(blocks) == 2
    file.write_bytes(blocks[0])  # the older slot has the lock of before
    for secrets in (OTHER, [KEY, OTHER]):
        assert kist.check(file, secrets=secrets).problems == []
    at = min(SLOT_OFFSETS, key=lambda at: SLOT.unpack(blocks[0], at)["checkpoint"])
    data = bytearray(blocks[0])
    data[at + SLOT.offset("next_node")] ^= 1
    data[at : at + 4096] = resummed_slot(bytes(data[at : at + 4096]))
    file.write_bytes(data)
    problems = kist.check(file, secrets=[KEY, OTHER]).problems
    assert ["not written by a holder" in one.message for one in problems] == [True]


def test_a_lock_of_another_store_is_refused(made: Versions, file: Path) -> None:
    at = find(file, made.first).newest
    mine = unpack_slot_seal(made.first[at : at + 4096])
    theirs = unpack_slot_seal(made.other[at : at + 4096])
    assert mine is not None
    assert theirs is not None
    for seal in (theirs, mine._replace(lock=theirs.lock), mine._replace(tag=theirs.tag)):
        data = bytearray(made.first)
        packed = seal._replace(checkpoint=mine.checkpoint).pack()
        data[at + 512 : at + 512 + len(packed)] = packed
        refused(file, data)


def records_of(data: bytes) -> list[int]:
    """Places of the records in the log, the newest commit last."""
    found = []
    for at in range(layout.RING_OFFSET, layout.DATA_OFFSET, 64):
        if data[at : at + 4] == layout.COMMIT_MAGIC:
            fields = RECORD.unpack(data, at)
            if fields["kind"] != layout.COMMIT_MARK and fields["position"] == at:
                found.append((fields["commit"], at))
    return [at for _, at in sorted(found)]


def resummed_record(data: bytearray, at: int) -> None:
    length = RECORD.unpack(data, at)["length"]
    sum_at = at + RECORD.offset("sum")
    payload = data[at + RECORD.size : at + RECORD.size + length]
    data[sum_at : sum_at + 16] = sum128(bytes(data[at:sum_at]) + bytes(payload))


@pytest.mark.parametrize("field", ["time_ns", "end", "next_node", "flags", "payload", "reserved1"])
def test_a_record_that_was_changed_is_refused(made: Versions, file: Path, field: str) -> None:
    at = records_of(made.second)[-1]
    data = bytearray(made.second)
    if field == "payload":
        data[at + RECORD.size + RECORD.unpack(data, at)["length"] - 1] ^= 1
    elif field == "flags":
        data[at + RECORD.offset(field)] ^= layout.FLAG_SEALED
    elif field == "reserved1":
        data[at + RECORD.offset("parent") + 16] ^= 1
    else:
        data[at + RECORD.offset(field)] ^= 64
    resummed_record(data, at)
    file.write_bytes(data)
    with pytest.raises((TamperedDataError, CorruptDataError)) as caught:
        read_all(file)
    assert isinstance(caught.value, TamperedDataError) or field == "flags"


@pytest.mark.parametrize("which", ["reserved bytes", "sum of a unit"])
def test_no_byte_of_a_record_can_be_chosen_without_the_secret(
    made: Versions, file: Path, which: str
) -> None:
    # Else its sum could be made the parent of a record of a fork.
    at = records_of(made.second)[-1]
    end = at + RECORD.size + RECORD.unpack(made.second, at)["length"]
    head = made.second.rindex(b"KS\x01\x0f", at, end)
    data = bytearray(made.second)
    data[head + (4 if which == "reserved bytes" else 64)] ^= 1
    resummed_record(data, at)
    refused(file, data)


def test_a_record_in_clear_is_refused(made: Versions, file: Path) -> None:
    """A forged commit that deletes a table, in the place behind the newest one."""
    from kist.format import keys
    from kist.format.layout import OP_DELETE_RANGE
    from kist.format.log import Record

    file.write_bytes(made.second)
    engine = Engine.open(str(file), "r", keyring=Keyring(KEY))
    chain, uuid = engine.chain, engine.uuid
    record = Record(
        layout.COMMIT_CHANGES,
        chain.state.commit + 1,
        -(-chain.position // 4096) * 4096,
        0,
        chain.horizon,
        chain.state.end,
        chain.state.next_node,
        chain.last,
        ops=[(OP_DELETE_RANGE, keys.whole_node(keys.ROOT)[0], b"\xff" * 8)],
    )
    engine.close()
    data = bytearray(made.second)
    packed = record.pack(uuid)
    data[record.position : record.position + len(packed)] = packed
    refused(file, data)


def test_sealing_that_was_taken_away_is_noticed(made: Versions, file: Path) -> None:
    super_ = unpack_super(made.first, "t")
    data = bytearray(made.first)
    clear = super_._replace(features_read=0).pack()
    for at in (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET):
        data[at : at + SUPER.size] = clear[: SUPER.size]
    file.write_bytes(data)
    for secrets in (KEY, None, {"/": KEY}):
        with pytest.raises(TamperedDataError, match="not marked as sealed"):
            kist.open(file, secrets=secrets)
    for at in SLOT_OFFSETS:  # and the locks too
        data[at + 512 : at + 4096] = bytes(4096 - 512)
    file.write_bytes(data)
    with pytest.raises((TamperedDataError, CorruptDataError)):
        read_all(file, secrets=None)
    with pytest.raises(TamperedDataError, match="secret was given for '/'"):
        kist.open(file, "r+", secrets={"/": KEY})
    with pytest.raises(KistError):
        read_all(file)


def test_a_store_in_clear_in_the_place_of_a_sealed_one_is_noticed(file: Path) -> None:
    with kist.open(file, "x") as store:
        store["t"] = rows(3)
    for how in ({"secrets": {"/": KEY}}, {"encrypt": KEY, "mode": "a"}):
        with pytest.raises(TamperedDataError):
            kist.open(file, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["a", "w", "x"])
def test_no_store_in_clear_is_made_where_a_sealed_one_is_expected(file: Path, mode: Any) -> None:
    # Somebody took the file away; the caller would go on in clear.
    with pytest.raises(SecretError, match="encrypt= makes one"):
        kist.open(file, mode, secrets={"/": KEY})
    assert not file.exists()
    if mode != "x":
        file.write_bytes(bytes(4096))  # one that was never finished
        with pytest.raises(SecretError, match="encrypt= makes one"):
            kist.open(file, mode, secrets={"/": KEY})
        assert file.read_bytes() == bytes(4096)


def test_a_marked_pointer_in_a_store_in_clear_is_damage(made: Versions, file: Path) -> None:
    at = find(file, made.first).newest
    with kist.open(file, "w", overwrite=True, secrets=KEY):
        pass
    clear = file.with_name("clear.kist")
    with kist.open(clear, "x") as store:
        store["t"] = rows(3)
        store._session.engine.checkpoint()
    data = bytearray(clear.read_bytes())
    uuid = bytes(data[16:32])
    for place in SLOT_OFFSETS:
        block = bytearray(data[place : place + 4096])
        root = SLOT.offset("root")
        block[root : root + 44] = made.first[at + root : at + root + 44]
        data[place : place + 4096] = resummed_slot(bytes(block))
        assert unpack_slot(bytes(data[place : place + 4096]), uuid) is not None
    data[layout.RING_OFFSET : layout.DATA_OFFSET] = bytes(2 * layout.RING_HALF)
    clear.write_bytes(data)
    with pytest.raises(CorruptDataError), kist.open(clear) as store:
        store["t"][:]


def test_a_file_that_was_cut_is_damaged(made: Versions, file: Path) -> None:
    for size in (len(made.second) // 2, layout.DATA_OFFSET + 64, layout.DATA_OFFSET - 64):
        file.write_bytes(made.second[:size])
        with pytest.raises(CorruptDataError):
            read_all(file)


def test_the_whole_file_put_back_is_seen_by_the_number_of_the_commit(
    made: Versions, file: Path
) -> None:
    file.write_bytes(made.second)
    with kist.open(file, secrets=KEY) as store:
        newest = store.commit_id
    file.write_bytes(made.first)
    assert read_all(file)
    with pytest.raises(TamperedDataError, match="put back"):
        read_all(file, expect_commit=newest)


def test_random_damage_is_never_shown_as_data(made: Versions, file: Path) -> None:
    rng = np.random.default_rng(7)
    file.write_bytes(made.second)
    good = read_all(file)
    for _ in range(25):
        data = bytearray(made.second)
        for at in rng.integers(0, len(data), 3):
            data[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(data)
        try:
            import warnings

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = read_all(file)
        except (CorruptDataError, TamperedDataError, WrongSecretError, SecretError):
            continue
        assert found[:2] == good[:2]
