"""Indexes on sealed columns: what they find, what leaks, what can be done without the secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from table_programs import small_groups

pytest.importorskip("cryptography")

import kist
from kist.engine import Engine, Frame
from kist.errors import ConstraintError, DTypeError, SecretError, TamperedDataError
from kist.format import keys
from kist.format.index import IndexRecord
from kist.format.layout import FRAME_SEALED
from kist.format.values import pack_record, unpack_record
from kist.model.tables.changes.fold import maintain_tables

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
BOTH = [KEY, OTHER]


@pytest.fixture(autouse=True)
def groups() -> Iterator[None]:
    with small_groups():
        yield


def rows_of(n: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "id": np.arange(n),
        "name": rng.integers(0, 30, n).astype("S8"),
        "city": rng.integers(0, 5, n).astype("i4"),
        "x": rng.normal(size=n),
    }


@pytest.fixture
def file(path: Path) -> Path:
    with kist.open(path, "w") as store:
        for name, seed in (("t", 0), ("u", 1)):
            encrypt = {("name", "city"): KEY, "x": OTHER}
            t = store.create_table(name, rows_of(200, seed), encrypt=encrypt)
            t.create_index("name")
            t.create_index("city", "name")
            t.create_index("id")
    return path


def right(t: Any) -> None:
    """Conditions find what arrays find."""
    rows = {name: t[name][:] for name in t.columns}
    for value in (b"7", b"29", b"none"):
        want = np.flatnonzero(rows["name"] == value)
        np.testing.assert_array_equal(t.where("name == v", v=value)["x"][:], rows["x"][want])
    want = np.flatnonzero((rows["city"] == 3) & (rows["name"] == b"7"))
    np.testing.assert_array_equal(t.where("city == 3 and name == '7'")["x"][:], rows["x"][want])
    order = np.argsort(rows["name"], kind="stable")
    np.testing.assert_array_equal(t.sort_by("name")["x"][:], rows["x"][order])


def uses_index(t: Any) -> bool:
    return "index 'name'" in str(t.where("name == '7'").explain())


def test_conditions_on_sealed_columns_are_answered_by_their_index(file: Path) -> None:
    with kist.open(file, secrets=BOTH) as store:
        assert uses_index(store["t"])
        right(store["t"])
        assert [index.n_indexed for index in store["t"].indexes] == [200] * 3
        assert store.check().ok
    with kist.open(file) as store:
        assert [index.n_indexed for index in store["t"].indexes] == [0, 0, 200]
        assert store["t"].where("id == 5").count() == 1
        with pytest.raises(SecretError):
            store["t"].where("name == '7'").count()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_they_follow_every_change(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "t.kist"
    encrypt = {("name", "city"): KEY, "x": OTHER}
    with kist.open(path, "w") as store:
        t = store.create_table("t", rows_of(150), encrypt=encrypt)
        t.create_index("name")
        t.create_index("city", "name")
    done = set()
    for step in range(data.draw(st.integers(1, 5))):
        with kist.open(path, "r+", secrets=BOTH) as store:
            t = store["t"]
            n = len(t)
            what = data.draw(st.sampled_from(["append", "many", "set", "delete", "rotate", "copy"]))
            done.add(what)
            at = data.draw(st.integers(0, max(0, n - 40)))
            if what == "append":
                t.append(rows_of(5, step))
            elif what == "many":
                t.append(rows_of(90, step))
            elif what == "set":
                t["name"][at : at + 7] = b"7"
            elif what == "delete":
                t.delete(range(at, at + 30))
            elif what == "rotate":
                t.rotate("name", now=data.draw(st.booleans()))
            else:
                store.copy("t", "copy")
                right(store["copy"])
                assert uses_index(store["copy"])
                del store["t"]
                store.move("copy", "t")
            right(store["t"])
    with kist.open(path, secrets=BOTH) as store:
        assert store.check().ok
        right(store["t"])
        # Rows that were changed in place may leave so little of a run that it is not asked.
        assert uses_index(store["t"]) or done & {"set", "delete"}


@pytest.mark.parametrize("sealed", [True, False])
def test_no_key_stands_in_the_file(path: Path, sealed: bool) -> None:
    rows = {"id": np.arange(100), "v": np.full(100, b"LOOKFOR!", "S8")}
    with kist.open(path, "w") as store:
        store.create_table("t", rows, encrypt={"v": KEY} if sealed else None).create_index("v")
    data = path.read_bytes()
    # As text, and as the word of a key.
    assert (b"LOOKFOR!" in data or b"!ROFKOOL" in data) == (not sealed)


def test_an_index_is_of_one_field_and_needs_its_secrets(file: Path) -> None:
    with kist.open(file, "r+", secrets=BOTH) as store:
        for columns in (("id", "name"), ("name", "x"), ("x", "id")):
            with pytest.raises(DTypeError, match="columns of one field"):
                store["t"].create_index(*columns)
    before = file.read_bytes()
    with kist.open(file, "r+", secrets=KEY) as store:
        with pytest.raises(SecretError):
            store["t"].create_index("city")
        with pytest.raises(SecretError):
            store["t"].drop_index("name")
        assert uses_index(store["t"])  # reading takes that of the field
    assert file.read_bytes() == before
    with kist.open(file, "r+") as store:
        store["t"].drop_index("id")
        store["t"].create_index("id", unique=True)
    with kist.open(file, "r+", secrets=BOTH) as store:
        right(store["t"])
        assert uses_index(store["t"])
        store["t"].drop_index("name")
        assert not uses_index(store["t"])
        right(store["t"])


@pytest.mark.parametrize("secrets", [None, KEY, OTHER, BOTH])
def test_upkeep_without_all_secrets_leaves_sealed_indexes_as_they_are(
    file: Path, secrets: Any
) -> None:
    with kist.open(file, "r+", secrets=BOTH) as store:
        store["t"].create_index("x")
        store["t"]["name"][:64] = b"7"  # worn: their runs are to be written again
    with kist.open(file, "r+", secrets=secrets) as store:
        before = [index.n_indexed for index in store["t"].indexes]
        engine = store._session.engine
        txn = engine.begin()
        maintain_tables(txn, [store["t"]._id])
        txn.commit()
        after = [index.n_indexed for index in store["t"].indexes]
        assert (before != after) == (secrets is BOTH)
    with kist.open(file, "r+", secrets=BOTH) as store:
        right(store["t"])
        assert store.check().ok


def test_a_unique_index_does_not_tell_the_value(path: Path) -> None:
    rows = {"id": np.arange(50), "name": np.arange(50).astype("S20")}
    rows["name"][:2] = b"one-value", b"another"
    with kist.open(path, "w") as store:
        t = store.create_table("t", rows, encrypt={"name": KEY})
        t.create_index("name", unique=True)
        with pytest.raises(ConstraintError, match="the same, which is sealed") as caught:
            t.append([(50, b"one-value")])
        assert "one-value" not in str(caught.value)
        with pytest.raises(ConstraintError):
            t["name"][3] = b"another"
        assert len(t) == 50


# Attacks


def runs(view: Any, node: int, number: int = 1) -> list[tuple[bytes, bytes]]:
    return list(view.scan(*keys.index_runs(node, number)))


def copied(txn: Any, source: Any, value: bytes, shift: int = 0) -> bytes:
    """A record with copies of extents of a view, perhaps each in the place of the next."""
    pointers, payload = unpack_record(value)
    frames = []
    for p in pointers[shift:] + pointers[:shift]:
        body = source.reader.read_part(p, 0, p.length)
        frames.append(Frame(FRAME_SEALED, 9, 0, 0, body[: p.head], (body[p.head :],)))
    return pack_record(payload, txn.write(frames))


def a_run_is_gone(txn: Any, node: int, other: int) -> None:
    txn.delete(runs(txn, node)[0][0])


def a_run_of_another_table(txn: Any, node: int, other: int) -> None:
    txn.put(runs(txn, node)[0][0], copied(txn, txn, runs(txn, other)[0][1]))


def a_run_of_another_index(txn: Any, node: int, other: int) -> None:
    txn.put(runs(txn, node)[0][0], copied(txn, txn, runs(txn, node, 2)[0][1]))


def all_of_another_table(txn: Any, node: int, other: int) -> None:
    for number in (1, 2):
        for key, value in runs(txn, other, number):
            txn.put(keys.node(node)[:8] + key[8:], copied(txn, txn, value))
    txn.put(keys.index_manifest(node, 1), txn.get(keys.index_manifest(other, 1)))


def pages_exchanged(txn: Any, node: int, other: int) -> None:
    key, value = runs(txn, node)[0]
    txn.put(key, copied(txn, txn, value, 1))


def another_definition(txn: Any, node: int, other: int) -> None:
    key = keys.index(node, 1)
    record = IndexRecord.unpack(unpack_record(txn.get(key))[1])
    txn.put(key, pack_record(IndexRecord(record.name, record.leaves, True).pack()))


def an_open_column_before_it(txn: Any, node: int, other: int) -> None:
    key = keys.index(node, 1)
    record = IndexRecord.unpack(unpack_record(txn.get(key))[1])
    opened = IndexRecord.unpack(unpack_record(txn.get(keys.index(node, 3)))[1])
    leaves = opened.leaves + record.leaves
    txn.put(key, pack_record(IndexRecord(record.name, leaves).pack()))


def one_index_more(txn: Any, node: int, other: int) -> None:
    """With plain runs of the attacker's own."""
    value = txn.get(keys.index(node, 1))
    txn.put(keys.index(node, 9), value)
    txn.put(keys.index_run(node, 9, 0), pack_record(b"\1" + (200).to_bytes(8, "little") + bytes(8)))


def the_manifest_of_the_field(txn: Any, node: int, other: int) -> None:
    txn.put(keys.index_manifest(node, 1), txn.get(keys.manifest(node, 1)))


ATTACKS = [
    a_run_is_gone,
    a_run_of_another_table,
    a_run_of_another_index,
    all_of_another_table,
    pages_exchanged,
    another_definition,
    an_open_column_before_it,
    one_index_more,
    the_manifest_of_the_field,
]


def attack(path: Path, edit: Callable[[Any, int, int], None]) -> None:
    """Let an engine without keys change the records of the first table."""
    with kist.open(path) as store:
        nodes = store["t"]._id, store["u"]._id
    engine = Engine.open(path, "r+")
    try:
        txn = engine.begin()
        edit(txn, *nodes)
        txn.commit()
    finally:
        engine.close()


@pytest.mark.parametrize("edit", ATTACKS, ids=lambda edit: edit.__name__)
def test_an_edit_without_the_secret_is_seen(file: Path, edit: Callable[..., None]) -> None:
    attack(file, edit)
    with kist.open(file, "r+", secrets=BOTH) as store:
        with pytest.raises(TamperedDataError):
            right(store["t"])
        with pytest.raises(TamperedDataError):
            store["t"].append(rows_of(70, 5))
            right(store["t"])
        assert not store.check().ok


@pytest.mark.parametrize("with_manifest", [False, True])
def test_an_old_run_put_back_hides_nothing(file: Path, with_manifest: bool) -> None:
    engine = Engine.open(file, "r")
    with kist.open(file) as store:
        node = store["t"]._id
    with engine.snapshot() as old:
        saved = {key: old.get(key) for key, _ in runs(old, node)}
        saved_manifest = old.get(keys.index_manifest(node, 1))
        copies = list(saved.items())

        with kist.open(file, "r+", secrets=BOTH) as store:
            store["t"]["name"][:150] = b"7"  # now most of what the old run says is wrong

        def edit(txn: Any, node: int, other: int) -> None:
            for key, _ in runs(txn, node):
                txn.delete(key)
            for key, value in copies:
                txn.put(key, copied(txn, old, value))
            if with_manifest:
                txn.put(keys.index_manifest(node, 1), saved_manifest)

        attack(file, edit)
    engine.close()
    with kist.open(file, "r+", secrets=BOTH) as store:
        t = store["t"]
        if not with_manifest:
            with pytest.raises(TamperedDataError):
                right(t)
            return
        right(t)  # of an earlier stamp: not believed
        assert not uses_index(t)
        t.append(rows_of(90, 7))
        t["x"][3] = 1.0
        right(t)
    with kist.open(file, "r+", secrets=BOTH) as store:
        right(store["t"])


def test_without_what_vouches_for_them_runs_are_not_believed_nor_vouched_for(file: Path) -> None:
    def edit(txn: Any, node: int, other: int) -> None:
        txn.put(runs(txn, node)[0][0], copied(txn, txn, runs(txn, other)[0][1]))
        txn.delete(keys.index_manifest(node, 1))

    attack(file, edit)
    with kist.open(file, "r+", secrets=BOTH) as store:
        t = store["t"]
        right(t)
        assert not uses_index(t)
        store.copy("t", "copy")
        right(store["copy"])
        t.append(rows_of(90, 7))
        right(t)
        t.create_index("city")
        right(t)
    with kist.open(file, secrets=BOTH) as store:
        right(store["t"])
        assert store.check().ok
