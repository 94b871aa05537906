"""What somebody without a secret can do to the file of a sealed table, and what its holder sees.

The attacker here is an engine without keys: it writes any record and any extent, and makes every
checksum anew. Each attack is one edit of a whole file, which `check` finds nothing wrong with.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
from kist.crypto.secret import Secret
from kist.engine import Engine, Frame
from kist.engine.fieldkeys import make_lock
from kist.errors import CorruptDataError, SecretError, TamperedDataError, WrongSecretError
from kist.format import keys
from kist.format.checksum import sum64
from kist.format.layout import FRAME, FRAME_PAGE, FRAME_ROWS, FRAME_SEALED
from kist.format.node import NodeRecord
from kist.format.schema import Schema
from kist.format.sealed import SEALED_MAGIC, unpack_sealed_head
from kist.format.values import pack_record, unpack_record
from kist.model.tables.stored.layout import forget
from kist.model.tables.stored.records import (
    TAIL_ROW,
    GroupRecord,
    Tail,
    pack_dead,
    pack_patch,
    unpack_patch,
)
from kist.model.tables.stored.sealing import pack_parts, unpack_parts

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
N = 70_000
Edit = Callable[[Any, int], None]


def rows_of(start: int = 0, n: int = N) -> np.ndarray:
    rows = np.empty(n, [("id", "i4"), ("a", "i8"), ("b", "i8"), ("c", "i8")])
    for name in rows.dtype.names or ():
        rows[name] = np.arange(start, start + n) % 30_011
    rows["c"] = np.random.default_rng(start).integers(0, 1 << 40, n)  # pages of many units
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with two tables: fields (a, b) and c; pages of two row groups, pieces, patches."""
    path = tmp_path_factory.mktemp("made") / "t.kist"
    encrypt = {("a", "b"): KEY, "c": OTHER}
    with kist.open(path, "w", retain=10) as store:
        for name, start in (("t", 0), ("u", 5)):
            t = store.create_table(name, rows_of(start), encrypt=encrypt)
            for at in range(2):
                t.append(rows_of(at, 20))
            t["a"][3:5] = 7
            t["c"][N + 3] = 8
            t.delete(range(50, 60))
    return path.read_bytes()


@pytest.fixture
def file(made: bytes, path: Path) -> Path:
    path.write_bytes(made)
    return path


def attack(path: Path, edit: Edit, *, obvious: bool = False) -> None:
    """Let an engine without keys change the records of the first table, and commit."""
    with kist.open(path) as store:
        node = store["t"]._id
    engine = Engine.open(path, "r+")
    try:
        txn = engine.begin()
        edit(txn, node)
        txn.commit()
    finally:
        engine.close()
    with kist.open(path) as store:
        # Nothing that a checksum could tell.
        assert store.check().ok or obvious or edit in OBVIOUS


def look(path: Path, *, secrets: Any = (KEY, OTHER)) -> None:
    """Read what is sealed in the first table."""
    with kist.open(path, secrets=list(secrets)) as store:
        for name in "abc":
            store["t"][name][:]


def leaf(txn: Any, node: int, name: str) -> int:
    schema = Schema.unpack(unpack_record(txn.get(keys.schema(node)))[1])
    return schema.leaves_of(name)[0].id


def entries(txn: Any, span: keys.Range) -> list[tuple[bytes, bytes]]:
    return list(txn.scan(*span))


def pages(txn: Any, node: int, name: str) -> list[tuple[bytes, bytes]]:
    return entries(txn, keys.pages(node, leaf(txn, node, name)))


def other_table(txn: Any, node: int) -> int:
    return next(
        keys.node_of(key)
        for key, _ in entries(txn, (keys.node(node + 1), b"\xff" * 8))
        if keys.kind_of(key) == b"S"
    )


def copied(txn: Any, value: bytes) -> bytes:
    """A record with its own copies of its extents."""
    pointers, payload = unpack_record(value)
    frames = []
    for p in pointers:
        body = txn.reader.read_part(p, 0, p.length)
        frames.append(frame(p.head, body))
    return pack_record(payload, txn.write(frames))


def frame(head: int, body: bytes) -> Frame:
    kind = FRAME_SEALED if body[:2] == SEALED_MAGIC else FRAME_PAGE
    return Frame(kind, 9, 0, 0, body[:head], (body[head:],))


def swap(txn: Any, one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> None:
    new = copied(txn, other[1]), copied(txn, one[1])
    txn.put(one[0], new[0])
    txn.put(other[0], new[1])


def swap_row_groups(txn: Any, node: int) -> None:
    swap(txn, *pages(txn, node, "c")[:2])


def swap_columns_of_a_field(txn: Any, node: int) -> None:
    swap(txn, pages(txn, node, "a")[0], pages(txn, node, "b")[0])


def swap_columns_of_two_fields(txn: Any, node: int) -> None:
    swap(txn, pages(txn, node, "a")[0], pages(txn, node, "c")[0])


def swap_tables(txn: Any, node: int) -> None:
    swap(txn, pages(txn, node, "c")[0], pages(txn, other_table(txn, node), "c")[0])


def take_all_of_another_table(txn: Any, node: int) -> None:
    """Everything, its manifests and locks included: another table's state under this name."""
    other, prefix = other_table(txn, node), keys.node(node)[:8]
    for kind in b"PGUXSE":
        txn.delete_range(*keys.prefix_range(prefix + bytes((kind,))))
        for key, value in entries(txn, keys.prefix_range(keys.node(other)[:8] + bytes((kind,)))):
            txn.put(prefix + key[8:], copied(txn, value))


def swap_bodies_under_pointers(txn: Any, node: int) -> None:
    (one, first), (other, second) = pages(txn, node, "c")[:2]
    pointers = unpack_record(copied(txn, first))[0], unpack_record(copied(txn, second))[0]
    txn.put(one, pack_record(unpack_record(first)[1], pointers[1]))
    txn.put(other, pack_record(unpack_record(second)[1], pointers[0]))


def flip_a_bit_and_make_sums_anew(txn: Any, node: int) -> None:
    key, value = pages(txn, node, "c")[0]
    (pointer, *_), payload = unpack_record(value)
    body = bytearray(txn.reader.read_part(pointer, 0, pointer.length))
    head, _ = unpack_sealed_head(body, len(body))
    body[head.size + 1000] ^= 4
    for number in range(head.n_units):
        start, stop = head.span(number, number)
        struct.pack_into("<Q", body, 64 + 8 * number, sum64(memoryview(body)[start:stop]))
    frame = Frame(FRAME_SEALED, node, 0, 0, bytes(body[: head.size]), (body[head.size :],))
    txn.put(key, pack_record(payload, txn.write([frame])))


def cut_off_the_last_unit(txn: Any, node: int) -> None:
    key, value = pages(txn, node, "c")[0]
    (pointer, *_), payload = unpack_record(value)
    body = bytearray(txn.reader.read_part(pointer, 0, pointer.length))
    head, _ = unpack_sealed_head(body, len(body))
    short = head._replace(length=(head.n_units - 1) << head.unit)
    units = body[head.size : head.span(head.n_units - 2, head.n_units - 2)[1]]
    sums = bytes(body[64 : 64 + 8 * short.n_units])
    frame = Frame(FRAME_SEALED, node, 0, 0, short.pack() + sums, (units,))
    txn.put(key, pack_record(payload, txn.write([frame])))


def flip_a_bit_of_a_record(txn: Any, node: int) -> None:
    key, value = pages(txn, node, "c")[0]
    pointers, payload = unpack_record(value)
    sealed = bytearray(payload)
    sealed[-3] ^= 1
    struct.pack_into("<Q", sealed, 64, sum64(memoryview(sealed)[72:]))
    txn.put(key, pack_record(bytes(sealed), pointers))


def drop_the_last_row_group(txn: Any, node: int) -> None:
    tail_key = keys.group(node, TAIL_ROW)
    groups = entries(txn, keys.groups(node))
    last, value = groups[-2]  # before the tail
    record = GroupRecord.unpack(unpack_record(value)[1])
    tail = Tail.unpack(unpack_record(txn.get(tail_key))[1])
    txn.delete(last)
    txn.delete_range(*keys.patches(node, keys.row_of(last)))
    txn.put(tail_key, pack_record(tail._replace(n_live=tail.n_live - record.n_live).pack()))


def undelete_rows(txn: Any, node: int) -> None:
    """Rows come back that were deleted: other pages, the same sealed bytes."""
    (key, _), *_ = entries(txn, keys.deletions(node))
    group = keys.group(node, keys.row_of(key))
    record = GroupRecord.unpack(unpack_record(txn.get(group))[1])
    dead = np.zeros(record.n_rows, bool)
    dead[60:70] = True
    txn.put(key, pack_record(pack_dead(dead)))


def drop_a_patch(txn: Any, node: int) -> None:
    txn.delete(entries(txn, keys.patches(node))[0][0])


def move_a_patch(txn: Any, node: int) -> None:
    key, value = entries(txn, keys.patches(node))[0]
    payload = unpack_record(value)[1]
    parts = [part._replace(ordinals=part.ordinals + 1) for part in unpack_patch(payload[5:])]
    txn.put(key, pack_record(payload[:5] + pack_patch(parts)))


def swap_parts_of_pieces(txn: Any, node: int) -> None:
    """The sealed part of one small append into the other."""
    found = []
    for key, value in entries(txn, keys.groups(node))[:-1]:
        record = GroupRecord.unpack(unpack_record(value)[1])
        if record.kind == 1:
            found.append((key, record, unpack_parts(record.data)))
    (one, first, mine), (other, second, theirs) = found[:2]
    mine[2], theirs[2] = theirs[2], mine[2]
    for key, record, parts in ((one, first, mine), (other, second, theirs)):
        data = pack_parts(list(parts.items()))
        txn.put(key, pack_record(record._replace(data=data).pack()))


def change_an_open_value_beside(txn: Any, node: int) -> None:
    """The open part of a piece: whose row a sealed value belongs to."""
    for key, value in entries(txn, keys.groups(node))[:-1]:
        record = GroupRecord.unpack(unpack_record(value)[1])
        if record.kind == 1:
            parts = unpack_parts(record.data)
            parts[0] = parts[0][:-1] + bytes((parts[0][-1] ^ 1,))
            data = pack_parts(list(parts.items()))
            txn.put(key, pack_record(record._replace(data=data).pack()))
            return


def edit_schema(change: Callable[[Schema], Schema]) -> Edit:
    def edit(txn: Any, node: int) -> None:
        schema = Schema.unpack(unpack_record(txn.get(keys.schema(node)))[1])
        txn.put(keys.schema(node), pack_record(change(schema).pack()))

    return edit


def unsealed(schema: Schema) -> Schema:
    columns = tuple(replace(c, field=0) if c.name == "c" else c for c in schema.columns)
    return replace(schema, columns=columns)


def exchanged(schema: Schema) -> Schema:
    """Two columns exchange their names."""
    names = {"a": "b", "b": "a"}
    return replace(
        schema,
        columns=tuple(replace(c, name=names.get(c.name, c.name)) for c in schema.columns),
    )


def own_lock(txn: Any, node: int) -> None:
    """A lock that a secret of the attacker opens."""
    lock, _ = make_lock({"1": Secret(KEY)})
    txn.put(keys.lock(node, 1), pack_record(lock.pack()))


def no_manifest(txn: Any, node: int) -> None:
    txn.delete(keys.manifest(node, 1))


def manifest_of_another_table(txn: Any, node: int) -> None:
    txn.put(keys.manifest(node, 1), txn.get(keys.manifest(other_table(txn, node), 1)))


def no_lock(txn: Any, node: int) -> None:
    txn.delete(keys.lock(node, 1))


TAMPERED: dict[str, Edit] = {
    edit.__name__: edit
    for edit in (
        swap_row_groups,
        swap_columns_of_a_field,
        swap_columns_of_two_fields,
        swap_tables,
        take_all_of_another_table,
        swap_bodies_under_pointers,
        flip_a_bit_and_make_sums_anew,
        cut_off_the_last_unit,
        flip_a_bit_of_a_record,
        drop_the_last_row_group,
        undelete_rows,
        drop_a_patch,
        move_a_patch,
        swap_parts_of_pieces,
        change_an_open_value_beside,
        no_manifest,
        manifest_of_another_table,
        no_lock,
        own_lock,
    )
} | {
    "schema: a flag cleared": edit_schema(unsealed),
    "schema: names exchanged": edit_schema(exchanged),
}


OBVIOUS = [no_lock, cut_off_the_last_unit, TAMPERED["schema: a flag cleared"]]


@pytest.mark.parametrize("edit", TAMPERED.values(), ids=TAMPERED)
def test_an_edit_without_the_secret_is_seen(file: Path, edit: Edit) -> None:
    look(file)
    attack(file, edit)
    with pytest.raises(TamperedDataError):
        look(file)
    # Nor does anybody who has the secrets build on it.
    with (
        kist.open(file, "r+", secrets=[KEY, OTHER]) as store,
        pytest.raises(TamperedDataError),
    ):
        store["t"].append(rows_of(0, 1))
        look(file)


def test_bodies_of_one_length_under_each_others_pointers_are_seen(path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 1 << 62, 2 * 65_536)
    with kist.open(path, "w") as store:
        store.create_table("t", {"c": values}, codec="none", encrypt=KEY)
    attack(path, swap_bodies_under_pointers)
    for key in (slice(None), slice(0, 65_536), 3, [5, 70_000]):
        with (
            kist.open(path, secrets=KEY) as store,
            pytest.raises(TamperedDataError, match="another one than its record names"),
        ):
            store["t"]["c"][key]


def test_a_manifest_that_holds_for_one_table_says_nothing_of_another(file: Path) -> None:
    """The other one was read, and verified, by the same handle before."""
    attack(file, take_all_of_another_table)
    with kist.open(file, secrets=[KEY, OTHER]) as store:
        store["u"]["c"][:]
        with pytest.raises(TamperedDataError, match="is that of field"):
            store["t"]["c"][:]


def test_an_open_handle_sees_it_as_well(file: Path) -> None:
    with kist.open(file, "r+", secrets=[KEY, OTHER]) as store:
        store["t"]["c"][:]
        attack(file, swap_row_groups)
        with pytest.raises(TamperedDataError, match="'/t' column 'c'"):
            store["t"]["c"][:]
        with pytest.raises(TamperedDataError):
            store["t"].append(rows_of(0, 1))


@pytest.mark.parametrize("with_rows", [False, True])
def test_an_old_page_put_back_is_seen(file: Path, with_rows: bool) -> None:
    """Values of an earlier commit: the page alone, or with all else but the manifest."""
    with kist.open(file) as store:
        node = store["t"]._id
    kinds = b"PGUXS" if with_rows else b"P"
    engine = Engine.open(file)
    before = {}
    for kind in kinds:
        span = keys.prefix_range(keys.node(node)[:8] + bytes((kind,)))
        for key, value in engine.newest().scan(*span):
            pointers, payload = unpack_record(value)
            bodies = [engine.reader.read_part(p, 0, p.length) for p in pointers]
            before[key] = (
                payload,
                [(p.head, body) for p, body in zip(pointers, bodies, strict=True)],
            )
    engine.close()
    with kist.open(file, "r+", secrets=[KEY, OTHER]) as store:
        store["t"]["c"][:N] = 1
    look(file)

    def put_back(txn: Any, node: int) -> None:
        for kind in kinds:
            txn.delete_range(*keys.prefix_range(keys.node(node)[:8] + bytes((kind,))))
        for key, (payload, bodies) in before.items():
            written = txn.write([frame(head, body) for head, body in bodies])
            txn.put(key, pack_record(payload, written))

    attack(file, put_back)
    with pytest.raises(TamperedDataError):
        look(file)


def test_a_page_of_another_file_is_seen(file: Path, tmp_path: Path) -> None:
    """Sealed with the same secret, by somebody who made the same table elsewhere."""
    with kist.open(tmp_path / "o.kist", "w") as store:
        store.create_table("t", rows_of(9), encrypt={("a", "b"): KEY, "c": OTHER})
        other = store["t"]._id
    engine = Engine.open(tmp_path / "o.kist")
    view = engine.newest()
    key = keys.page(other, leaf(view, other, "c"), 0)
    pointers, payload = unpack_record(view.get(key) or b"")
    bodies = [(p.head, engine.reader.read_part(p, 0, p.length)) for p in pointers]
    engine.close()

    def put(txn: Any, node: int) -> None:
        written = txn.write([frame(head, body) for head, body in bodies])
        txn.put(pages(txn, node, "c")[0][0], pack_record(payload, written))

    attack(file, put)
    with pytest.raises(TamperedDataError):
        look(file)


def test_a_flipped_bit_is_damage_and_named(file: Path) -> None:
    with kist.open(file, secrets=[KEY, OTHER]) as store:
        t = store["t"]
        (pointer, *_), _ = unpack_record(pages(store._view(), t._id, "c")[0][1])
    data = bytearray(file.read_bytes())
    data[pointer.offset + FRAME.size + pointer.head + 500] ^= 1
    file.write_bytes(data)
    with kist.open(file, secrets=[KEY, OTHER]) as store:
        with pytest.raises(CorruptDataError, match=r"'/t' column 'c', page of row id 0.*checksum"):
            store["t"]["c"][:]
        np.testing.assert_array_equal(store["t"]["a"][:3], rows_of()["a"][:3])
    with kist.open(file) as store:
        report = store.check()
        assert not report.ok
        assert report.problems[0].node is not None and "/t" in report.problems[0].node


def test_sealing_that_was_taken_away_is_seen_by_who_names_the_column(file: Path) -> None:
    """Flag, lock and manifest all gone: only the caller knows that the column was sealed."""

    def strip(txn: Any, node: int) -> None:
        edit_schema(unsealed)(txn, node)
        txn.delete_range(*keys.sealed_field(node, 2))

    attack_unchecked = Engine.open(file, "r+")
    with kist.open(file) as store:
        node = store["t"]._id
    txn = attack_unchecked.begin()
    strip(txn, node)
    txn.commit()
    attack_unchecked.close()
    with (
        kist.open(file, "r+", secrets={"t/c": OTHER, "t/a": KEY}) as store,
        pytest.raises(TamperedDataError, match=r"'c' is not sealed.*writes in clear"),
    ):
        store["t"].append(rows_of(0, 1))


@pytest.mark.parametrize("renamed", ["g", "t"])
def test_a_name_in_a_record_does_not_take_a_table_out_of_sight(path: Path, renamed: str) -> None:
    """What is below 'g' says that it is below 'h', where no secret was given by name."""
    with kist.open(path, "w") as store:
        store.create_table("g/t", rows_of(0, 3), encrypt={"c": OTHER})
        group, table = store["g"]._id, store["g/t"]._id
    engine = Engine.open(path, "r+")
    txn = engine.begin()
    edit_schema(unsealed)(txn, table)
    txn.delete_range(*keys.sealed_field(table, 1))
    key = keys.node(group if renamed == "g" else table)
    record = NodeRecord.unpack(txn.get(key))
    txn.put(key, record.moved(record.parent, "h").pack())
    txn.commit()
    engine.close()
    with kist.open(path, "r+", secrets={"g/t/c": OTHER}) as store:
        for way in (lambda: store["g/t"], lambda: store["g"]["t"]):
            with pytest.raises(TamperedDataError, match=r"not listed|is not sealed"):
                way().append(rows_of(0, 1))


def test_a_wrong_secret_opens_nothing(file: Path) -> None:
    with pytest.raises(WrongSecretError):
        look(file, secrets=[bytes(32)])
    with pytest.raises(SecretError):
        look(file, secrets=[KEY])


def test_check_with_the_secrets_finds_what_sums_do_not(file: Path) -> None:
    attack(file, flip_a_bit_and_make_sums_anew)
    with kist.open(file, secrets=[KEY, OTHER]) as store:
        report = store.check()
        assert not report.ok
        assert "not those that were sealed" in repr(report) or "no accident" in repr(report)


def test_a_secret_that_was_removed_and_rotated_out_does_not_come_back(file: Path) -> None:
    """The lock of before is put back: its field key does not open the manifest of now."""
    with kist.open(file) as store:
        node = store["t"]._id
        lock = store._view().get(keys.lock(node, 1))
    with kist.open(file, "r+", secrets=[KEY, OTHER]) as store:
        store["t"].rotate("a", bytes(range(64, 96)))
    attack(file, lambda txn, node: txn.put(keys.lock(node, 1), lock))
    with pytest.raises(TamperedDataError):
        look(file)


@pytest.mark.parametrize(
    "edit",
    [undelete_rows, drop_a_patch, move_a_patch, swap_parts_of_pieces, change_an_open_value_beside],
)
def test_what_an_edited_copy_showed_is_not_taken_for_the_file(
    file: Path, tmp_path: Path, edit: Edit
) -> None:
    """Open columns of a copy are read first: it has the same stamps, and other rows under them."""
    copy = tmp_path / "copy.kist"
    copy.write_bytes(file.read_bytes())
    attack(copy, edit)
    forget()
    with kist.open(file, secrets=[KEY, OTHER]) as store:
        expected = store["t"][:]
    forget()
    with kist.open(copy) as store:
        store["t"]["id"][:]
    with kist.open(file, secrets=[KEY, OTHER]) as store:
        np.testing.assert_array_equal(store["t"][:], expected)


@pytest.mark.parametrize("kind", ["pieces", "patches"])
def test_sealing_anew_does_not_vouch_for_extents_that_were_exchanged(path: Path, kind: str) -> None:
    """Digests leave pointers out, so records of pieces and patches name the bytes behind them."""
    n = 60_000 if kind == "patches" else 10
    with kist.open(path, "w") as store:
        t = store.create_table("t", rows_of(0, n), encrypt={("a", "b"): KEY, "c": OTHER})
        for at in (1, 2):
            if kind == "patches":
                t["c"][at * 2_000 : at * 2_000 + 900] = rows_of(at, 900)["c"]
            else:
                t.append(rows_of(at, 900))

    def exchange(txn: Any, node: int) -> None:
        span = keys.patches(node) if kind == "patches" else keys.groups(node)
        one, other = [entry for entry in entries(txn, span) if unpack_record(entry[1])[0]]
        (mine, first), (theirs, second) = (unpack_record(value) for _, value in (one, other))
        bodies = [txn.reader.read(p[0]) for p in (theirs, mine)]
        written = [txn.write([Frame(FRAME_ROWS, node, 0, 0, body)]) for body in bodies]
        txn.put(one[0], pack_record(first, written[0]))
        txn.put(other[0], pack_record(second, written[1]))

    attack(path, exchange, obvious=True)
    with kist.open(path, "r+", secrets=[KEY, OTHER]) as store:
        for read in (lambda: store["t"]["c"][:], lambda: store["t"].rotate(now=True)):
            with pytest.raises(TamperedDataError, match="another one than its record names"):
                read()


@pytest.mark.parametrize("stand_in", ["link", "union", "array"])
def test_what_stands_in_the_place_of_a_sealed_table_is_seen_by_who_names_the_column(
    file: Path, stand_in: str
) -> None:
    """A link to a table in clear, or an array of rows: to delete and to make needs no secret."""
    with kist.open(file, "r+") as store:
        store.move("t", "old")
        if stand_in == "array":
            store.create_array("t", rows_of(0, 3))
        else:
            store["clear"] = rows_of(0, 3)
            (store.create_link if stand_in == "link" else store.create_union)("t", "clear")
    with (
        kist.open(file, "r+", secrets={"t/c": OTHER, "t/a": KEY}) as store,
        pytest.raises(TamperedDataError, match=r"'/t' is .* a secret was given by"),
    ):
        store["t"].append(rows_of(0, 1))
