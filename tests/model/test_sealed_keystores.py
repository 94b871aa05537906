"""Key stores that are sealed as a whole: all that they do with the secret, and nobody without.

Attacks are those of an engine without keys, as in `test_sealed_attacks`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("cryptography")

import kist
from kist.crypto.secret import Secret
from kist.engine import Engine, Frame
from kist.engine.fieldkeys import make_lock
from kist.errors import (
    CorruptDataError,
    KeyNotFoundError,
    NodeExistsError,
    SecretError,
    TamperedDataError,
    WrongSecretError,
)
from kist.format import keys
from kist.format.keystore import Counts
from kist.format.layout import FRAME, FRAME_SEALED
from kist.format.node import NodeRecord
from kist.format.values import pack_record, unpack_record

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
LONG = np.random.default_rng(5).integers(0, 1 << 40, 20_000)


def items(salt: int = 0) -> dict[Any, Any]:
    """Small values, bundles, keys of all types, a long key with a long plain value."""
    found: dict[Any, Any] = {at: at * at + salt for at in range(40)}
    return found | {
        "array": (LONG + salt, {"unit": "m"}),
        b"bytes": [1, "two", None],
        -5: {"a": np.arange(200) + salt},
        "k" * 900: "v" * 4_000,
        "größe": salt,
    }


def same(one: Any, other: Any) -> bool:
    return pickle.dumps(one) == pickle.dumps(other)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("made") / "t.kist"
    with kist.open(path, "w", retain=10) as store:
        for name, salt in (("runs", 0), ("others", 1)):
            store.create_keystore(name, encrypt=KEY).update(items(salt))
        store.create_keystore("open")["a"] = 1
    return path.read_bytes()


@pytest.fixture
def file(made: bytes, path: Path) -> Path:
    path.write_bytes(made)
    return path


def in_order(found: dict[Any, Any]) -> list[Any]:
    kinds = (int, bytes, str)
    return [key for kind in kinds for key in sorted(k for k in found if type(k) is kind)]


def test_with_the_secret_it_is_a_mapping_in_order(file: Path) -> None:
    expected = items()
    with kist.open(file, "r+", secrets={"runs": KEY}) as store:
        runs = store["runs"]
        assert runs.sealed == ("1",) and len(runs) == len(expected)
        assert list(runs) == in_order(expected) and list(runs.keys()) == list(runs)
        assert list(reversed(runs)) == list(runs)[::-1]
        assert all(same(value, expected[key]) for key, value in runs.items())
        assert list(runs.range(38)) == [38, 39, *in_order(expected)[41:]]
        assert list(runs.range(3, 6)) == [3, 4, 5] and list(runs.range(stop=0)) == [-5]
        assert list(runs.range("a", "b")) == ["array"] and list(runs.range(5, 3)) == []
        assert [value for _, value in runs.range_items(3, 5)] == [9, 16]
        assert runs.get_many([1, "größe", 99], default=None) == [1, 0, None]
        array, unit = runs.open("array")
        assert array[7] == LONG[7] and same(array[100:9_000:7], LONG[100:9_000:7])
        assert unit == {"unit": "m"} and "nothing" not in runs and runs.get(b"no") is None
        with pytest.raises(KeyNotFoundError, match="it has 3, which is another type"):
            runs["3"]
        assert runs.setdefault(3) == 9 and runs.setdefault("new", [1]) == [1]
        assert runs.pop("new") == [1] and runs.popitem()[0] == in_order(expected)[-1]
        assert "0" in repr(runs) and "sealed" in repr(runs) and runs.info.first_key == -5
        assert runs.nbytes > LONG.nbytes and 0 < runs.nbytes_stored < file.stat().st_size
        assert store.check().ok
        runs.clear()
        assert len(runs) == 0 and list(runs) == [] and runs.nbytes == 0


def test_without_the_secret_it_is_listed_moved_and_deleted_only(file: Path) -> None:
    with kist.open(file, "r+") as store:
        runs = store["runs"]
        assert len(runs) == len(items()) and runs.sealed == ("1",)
        assert "no secret given" in repr(runs) and "memory_bytes" not in runs.info.to_dict()
        for use in (
            lambda: runs[3],
            lambda: 3 in runs,
            lambda: list(runs),
            lambda: runs.open("array"),
            lambda: runs.get("x"),
            lambda: runs.__setitem__("x", 1),
            lambda: runs.update({"x": 1}),
            lambda: runs.__delitem__(3),
            lambda: runs.clear(),
            lambda: runs.popitem(),
            lambda: runs.rotate(),
            lambda: store.copy("runs", "copy"),
            lambda: store.create_keystore("runs", overwrite=True),
            lambda: store.require_keystore("open", encrypt=KEY),
        ):
            commit = store.commit_id
            with pytest.raises(SecretError):
                use()
            assert store.commit_id == commit
        assert store["open"]["a"] == 1 and store["open"].sealed == ()
        report = store.check()
        assert report.ok and len(report.notes) == 2
        store.move("runs", "g/moved")
        store.compact()
        store.backup(file.with_suffix(".copy"))
        del store["g/moved"]
    with kist.open(file.with_suffix(".copy"), secrets={"g/moved": KEY}) as store:
        assert same(dict(store["g/moved"]), {key: items()[key] for key in in_order(items())})
    with kist.open(file, secrets=OTHER) as store, pytest.raises(WrongSecretError):
        store["others"][3]


def test_transactions_versions_and_copies_work(file: Path, tmp_path: Path) -> None:
    with kist.open(file, "r+", secrets=KEY) as store:
        runs = store["runs"]
        with pytest.raises(KeyError), store.transaction():
            runs[3] = "gone"
            runs.clear()
            raise KeyError
        assert runs[3] == 9
        store.tag("before")
        with store.transaction():
            for at in range(60):
                runs[f"t{at}"] = at
            seen = iter(runs.range("t"))
            runs["t0"] = LONG
            del runs["t1"]
            with pytest.raises(KeyError), store.transaction():
                del runs["t2"]
                raise KeyError
            assert len(list(seen)) == 60 and runs["t2"] == 2
        assert same(runs["t0"], LONG) and "t1" not in runs and len(runs) == len(items()) + 59
        with kist.open(file, version="before", secrets=KEY) as old:
            assert len(old["runs"]) == len(items()) and "t0" not in old["runs"]
        with kist.open(tmp_path / "o.kist", "w") as target:
            target.copy(runs, "there")
            assert target["there"]["t7"] == 7
        data = pickle.dumps(runs)
        assert KEY not in data
    with kist.open(tmp_path / "o.kist", secrets=KEY) as store:
        there = ["t0", *sorted(f"t{at}" for at in range(2, 30) if at not in range(3, 10))]
        assert list(store["there"].range("t", "t3")) == there
        assert store.check().ok and not store.check().notes
    with pytest.raises(SecretError):
        pickle.loads(data)[3]


def test_secrets_are_added_removed_and_rotated(file: Path) -> None:
    def places(store: Any) -> set[bytes]:
        return {key for key, _ in store._view().scan(*keys.items(store["runs"]._id))}

    with kist.open(file, "r+", secrets=KEY) as store:
        runs = store["runs"]
        before = places(store)
        runs.add_secret(OTHER, label="other")
        runs.rotate()
        assert places(store) == before and runs[3] == 9
        runs.rotate({"other": OTHER}, now=True)
        assert not places(store) & before and same(runs["array"][0], LONG)
        runs["later"] = 1
    with kist.open(file, secrets=KEY) as store, pytest.raises(WrongSecretError):
        store["runs"][3]
    with kist.open(file, secrets=[OTHER]) as store:
        runs = store["runs"]
        assert runs["later"] == 1 and len(list(runs)) == len(items()) + 1 and store.check().ok


def test_another_unicode_form_of_a_key_is_refused(path: Path) -> None:
    composed, apart = "é", "e\u0301"
    with kist.open(path, "w") as store:
        runs = store.create_keystore("runs", encrypt=KEY)
        runs[apart] = 1
        assert apart in runs and composed not in runs
        with pytest.raises(NodeExistsError, match="another Unicode form"):
            runs[composed] = 2
        with pytest.raises(NodeExistsError, match="another Unicode form"):
            runs.update({"x\u0301y": 1, "x\u0301y".replace("x\u0301", "x\u0301"): 1, composed: 2})
        del runs[apart]
        runs[composed] = 2
        assert list(runs) == [composed]


def test_no_key_and_no_value_stands_in_the_file(path: Path) -> None:
    found = {}
    for secret, target in ((None, path), (KEY, path.with_suffix(".sealed"))):
        with kist.open(target, "w") as store:
            runs = store.create_keystore("runs", codec="none", encrypt=secret)
            runs["SECRETKEY"] = "SECRETWORD"
            runs.update({f"SECRETKEY{at}": np.full(2_000, 0x5EC2E700) for at in range(3)})
            runs["SECRETKEYe\u0301"] = "SECRETTEXT" * 2_000
        data = target.read_bytes()
        words = (b"SECRETKEY", b"SECRETWORD", b"SECRETTEXT", (0x5EC2E700).to_bytes(8, "little"))
        found[secret] = [word in data for word in words]
    assert all(found[None]) and not any(found[KEY])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from([1, 2, b"a", "a", "b"]), st.integers(0, 9)),
        st.tuples(st.just("array"), st.sampled_from([1, "a", "c"]), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.sampled_from([1, 2, "a", "c"])),
        st.tuples(st.just("update"), st.integers(0, 30)),
        st.tuples(st.just("rotate"), st.booleans()),
        st.tuples(st.just("rollback"), st.integers(0, 3)),
    ),
    max_size=10,
)


@given(STEPS)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_program_leaves_what_a_dict_does(steps: list[Any]) -> None:
    expected: dict[Any, Any] = {}
    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs", encrypt=KEY)
        for kind, *more in steps:
            if kind == "set":
                runs[more[0]] = expected[more[0]] = more[1]
            elif kind == "array":
                runs[more[0]] = expected[more[0]] = np.full(300, more[1])
            elif kind == "delete":
                assert runs.pop(more[0], None) is None or more[0] in expected
                expected.pop(more[0], None)
            elif kind == "update":
                runs.update({at: at for at in range(more[0])})
                expected |= {at: at for at in range(more[0])}
            elif kind == "rotate":
                runs.rotate(now=more[0])
            else:
                with pytest.raises(KeyError), store.transaction():
                    runs[more[0]] = "gone"
                    runs.pop("a", None)
                    raise KeyError
            assert list(runs) == in_order(expected)
            assert all(same(runs[key], value) for key, value in expected.items())
        assert store.check().ok, store.check()


# Attacks


def attack(path: Path, edit: Callable[[Any, int], None]) -> None:
    with kist.open(path) as store:
        node = store["runs"]._id
    engine = Engine.open(path, "r+")
    try:
        txn = engine.begin()
        edit(txn, node)
        txn.commit()
    finally:
        engine.close()


def entries(txn: Any, node: int) -> list[tuple[bytes, bytes]]:
    return list(txn.scan(*keys.items(node)))


def copied(txn: Any, value: bytes) -> bytes:
    pointers, payload = unpack_record(value)
    frames = []
    for p in pointers:
        body = txn.reader.read_part(p, 0, p.length)
        frames.append(Frame(FRAME_SEALED, 9, 0, 0, body[: p.head], (body[p.head :],)))
    return pack_record(payload, txn.write(frames))


def swap_values(txn: Any, node: int) -> None:
    (one, first), (two, second) = entries(txn, node)[:2]
    first, second = copied(txn, first), copied(txn, second)
    txn.put(one, second)
    txn.put(two, first)


def swap_bundles(txn: Any, node: int) -> None:
    (one, first), (two, second) = [e for e in entries(txn, node) if unpack_record(e[1])[0]][:2]
    mine, theirs = unpack_record(copied(txn, first))[0], unpack_record(copied(txn, second))[0]
    txn.put(one, pack_record(unpack_record(first)[1], theirs))
    txn.put(two, pack_record(unpack_record(second)[1], mine))


def value_of_another_store(txn: Any, node: int) -> None:
    txn.put(entries(txn, node)[0][0], copied(txn, entries(txn, node + 1)[0][1]))


def everything_of_another_store(txn: Any, node: int) -> None:
    prefix, theirs = keys.node(node)[:8], keys.node(node + 1)[:8]
    for kind in b"KBE":
        txn.delete_range(*keys.prefix_range(prefix + bytes((kind,))))
        for key, value in list(txn.scan(*keys.prefix_range(theirs + bytes((kind,))))):
            txn.put(prefix + key[8:], copied(txn, value))


def drop_an_entry(txn: Any, node: int) -> None:
    txn.delete(entries(txn, node)[5][0])


def drop_all(txn: Any, node: int) -> None:
    txn.delete_range(*keys.items(node))


def copy_an_entry(txn: Any, node: int) -> None:
    key, value = entries(txn, node)[0]
    txn.put(key[:-1] + bytes((key[-1] ^ 1,)), copied(txn, value))


def an_entry_in_clear(txn: Any, node: int) -> None:
    txn.put(entries(txn, node)[0][0], pack_record(b"\0\0"))


def counts_changed(txn: Any, node: int) -> None:
    counts = Counts.unpack(txn.get(keys.bounds(node)))
    txn.put(keys.bounds(node), counts._replace(n_keys=7).pack())


def flag_cleared(txn: Any, node: int) -> None:
    record = NodeRecord.unpack(txn.get(keys.node(node)))
    txn.put(keys.node(node), record._replace(features_read=0).pack())


def own_lock(txn: Any, node: int) -> None:
    lock, _ = make_lock({"1": Secret(KEY)})
    txn.put(keys.lock(node, 1), pack_record(lock.pack()))


def no_lock(txn: Any, node: int) -> None:
    txn.delete(keys.lock(node, 1))


def no_manifest(txn: Any, node: int) -> None:
    txn.delete(keys.manifest(node, 1))


def manifest_of_another(txn: Any, node: int) -> None:
    txn.put(keys.manifest(node, 1), txn.get(keys.manifest(node + 1, 1)))


TAMPERED = [
    swap_values,
    swap_bundles,
    value_of_another_store,
    everything_of_another_store,
    drop_an_entry,
    drop_all,
    copy_an_entry,
    an_entry_in_clear,
    counts_changed,
    flag_cleared,
    own_lock,
    no_lock,
    no_manifest,
    manifest_of_another,
]


@pytest.mark.parametrize("edit", TAMPERED, ids=lambda edit: edit.__name__)
def test_an_edit_without_the_secret_is_seen_and_not_built_on(file: Path, edit: Any) -> None:
    attack(file, edit)
    with kist.open(file, "r+", secrets=[KEY]) as store:
        assert len(list(store["others"])) == len(items())
        for use in (
            lambda: [store["runs"][key] for key in items()],
            lambda: list(store["runs"].items()),
            lambda: store["runs"].update(items()),
        ):
            if edit is swap_bundles and use.__code__.co_names[-1:] == ("update",):
                continue
            with pytest.raises(TamperedDataError):
                use()
        assert not store.check().ok


def test_a_look_up_sees_an_edit_of_its_own_part_and_a_missing_key_is_one(file: Path) -> None:
    """The record of the key itself is taken away: it is tampering, not a key that is missing."""
    with kist.open(file, secrets=KEY) as store:
        runs = store["runs"]
        place = runs._field(runs._view()).place(kist.format.keystore.pack_key("array"))
    attack(file, lambda txn, node: txn.delete(place))
    with kist.open(file, secrets=KEY) as store:
        for use in (lambda: store["runs"]["array"], lambda: "array" in store["runs"]):
            with pytest.raises(TamperedDataError, match="'/runs'"):
                use()


def test_an_old_value_put_back_is_seen_also_by_an_open_handle(file: Path) -> None:
    engine = Engine.open(file)
    view = engine.newest()
    before = [entry for entry in entries(view, 2) if not unpack_record(entry[1])[0]]
    engine.close()
    with kist.open(file, "r+", secrets=KEY) as store:
        runs = store["runs"]
        runs.update(dict.fromkeys(range(40), 0))
        assert runs[3] == 0

        def put_back(txn: Any, node: int) -> None:
            for key, value in before:
                txn.put(key, value)

        attack(file, put_back)
        with pytest.raises(TamperedDataError):
            runs[3]
        with pytest.raises(TamperedDataError):
            runs[3] = 4


def test_what_a_rollback_took_back_proves_nothing_of_the_next_commit(file: Path) -> None:
    """The transaction makes an old state again; the commit that has its number then claims it."""
    with kist.open(file, secrets=KEY) as store:
        field = store["runs"]._field(store["runs"]._view())
        places = [field.place(kist.format.keystore.pack_key(at)) for at in range(2_000)]
    engine = Engine.open(file)
    prefix = keys.node(2)[:8]
    before = {key: v for key, v in engine.newest().scan(prefix, prefix + b"\xff") if v[:1] == b"\0"}
    engine.close()
    other = next(at for at in range(40, 2_000) if places[at][9] >> 2 == places[5][9] >> 2)
    with kist.open(file, "r+", secrets=KEY) as store:
        runs = store["runs"]
        runs[other] = 1
        with pytest.raises(ZeroDivisionError), store.transaction():
            del runs[other]
            raise ZeroDivisionError

        def without_a_key(txn: Any, node: int) -> None:
            txn.delete(places[other])
            for key, value in before.items():
                txn.put(key, value)
            txn.delete(places[5])

        attack(file, without_a_key)
        with pytest.raises(TamperedDataError):
            runs.get(5)
        with pytest.raises(TamperedDataError):
            runs[5] = 4


@pytest.mark.parametrize("stand_in", ["keystore", "array", "link"])
def test_what_stands_in_its_place_is_seen_by_who_names_it(file: Path, stand_in: str) -> None:
    with kist.open(file, "r+") as store:
        del store["runs"]
        if stand_in == "keystore":
            store.create_keystore("runs")
        elif stand_in == "array":
            store["runs"] = [1]
        else:
            store.create_link("runs", "/open")
    with (
        kist.open(file, "r+", secrets={"runs": KEY}) as store,
        pytest.raises(TamperedDataError, match="'/runs'"),
    ):
        found = store["runs"]
        found[0] = 1


def test_a_flipped_bit_is_damage_and_named(file: Path) -> None:
    with kist.open(file, secrets=KEY) as store:
        runs = store["runs"]
        place = runs._field(runs._view()).place(kist.format.keystore.pack_key("array"))
        (pointer,), _ = unpack_record(runs._view().get(place) or b"")
    data = bytearray(file.read_bytes())
    data[pointer.offset + FRAME.size + pointer.head + 500] ^= 1
    file.write_bytes(data)
    with kist.open(file, secrets=KEY) as store:
        with pytest.raises(CorruptDataError, match=r"'/runs', key 'array'.*checksum"):
            store["runs"]["array"]
        assert store["runs"][3] == 9 and not store.check().ok
    with kist.open(file) as store:
        assert not store.check().ok


def test_salvage_and_other_formats(file: Path, tmp_path: Path) -> None:
    report = kist.salvage(file, tmp_path / "s.kist")
    assert sum("is sealed" in repr(loss) for loss in report.losses) == 2
    for options in ({}, {"secrets": KEY}, {"decrypt": True}):
        with pytest.raises(SecretError):
            kist.convert(f"{file}:runs", str(tmp_path / "o.npz"), **options)
