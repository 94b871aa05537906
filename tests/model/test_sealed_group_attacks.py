"""What somebody without a secret can do to the file of a sealed group, and what its holder sees.

The attacker is an engine without keys, as in `test_sealed_attacks`: any record, every checksum made
anew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
from kist.crypto.secret import Secret
from kist.engine import Engine
from kist.engine.fieldkeys import make_lock
from kist.errors import CorruptDataError, KistError, TamperedDataError
from kist.format import keys
from kist.format.node import Child, NodeKind, NodeRecord
from kist.format.values import pack_record, unpack_record
from kist.model.sealing import attributes

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
Nodes = dict[str, int]
Edit = Callable[[Any, Nodes], None]
PATHS = ("ward", "ward/a", "ward/b", "ward/sub", "ward/sub/a", "second", "second/a", "clear", "own")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("made") / "t.kist"
    with kist.open(path, "w") as store:
        for name in ("ward", "second"):
            group = store.create_group(name, encrypt=KEY, attrs={"dose": 1, "title": "x"})
            group["a"], group["b"], group["sub/a"] = [1], [2], [3]
            group["a"].attrs["dose"] = 5
            group["sub"].attrs["dose"] = 6
            group.attrs["dose"] = 2
        store["clear"] = [66]
        store.create_array("own", [67], encrypt=KEY)
    return path.read_bytes()


@pytest.fixture
def file(made: bytes, path: Path) -> Path:
    path.write_bytes(made)
    return path


def attack(path: Path, edit: Edit) -> None:
    with kist.open(path) as store:
        nodes = {name: store[name]._id for name in PATHS}
    engine = Engine.open(path, "r+")
    try:
        txn = engine.begin()
        edit(txn, nodes)
        txn.commit()
    finally:
        engine.close()


def look(path: Path) -> Any:
    """All that a holder can read, and write."""
    with kist.open(path, "r+", secrets=[KEY]) as store:
        ward = store["ward"]
        found = [ward["a"][:], ward["b"][:], ward["sub/a"][:], dict(ward.attrs)]
        found += [dict(ward["a"].attrs), dict(ward["sub"].attrs)]
        ward["new"] = [1]
        ward["sub/new"] = [1]
        assert ward["new"].sealed and ward["sub/new"].sealed
        return found


def rename(txn: Any, node: int, group: int, old: str, new: str) -> None:
    record = NodeRecord.unpack(txn.get(keys.node(node)))
    txn.delete(keys.child(group, old))
    txn.put(keys.child(group, new), Child(new, record.kind, node).pack(new))
    txn.put(keys.node(node), record.moved(group, new).pack())


def names_exchanged(txn: Any, n: Nodes) -> None:
    """In the lists of the group alone."""
    a, b = txn.get(keys.child(n["ward"], "a")), txn.get(keys.child(n["ward"], "b"))
    txn.put(keys.child(n["ward"], "a"), b)
    txn.put(keys.child(n["ward"], "b"), a)


def names_exchanged_in_all_records(txn: Any, n: Nodes) -> None:
    rename(txn, n["ward/a"], n["ward"], "a", "c")
    rename(txn, n["ward/b"], n["ward"], "b", "a")
    rename(txn, n["ward/a"], n["ward"], "c", "b")


def one_listed_twice(txn: Any, n: Nodes) -> None:
    txn.put(keys.child(n["ward"], "a"), txn.get(keys.child(n["ward"], "b")))


def moved_to_another_group(txn: Any, n: Nodes) -> None:
    txn.delete(keys.child(n["second"], "a"))
    rename(txn, n["second/a"], n["ward"], "a", "a")


def moved_between_groups_of_it(txn: Any, n: Nodes) -> None:
    txn.delete(keys.child(n["ward"], "a"))
    rename(txn, n["ward/a"], n["ward/sub"], "a", "a")


def subgroup_of_another_one(txn: Any, n: Nodes) -> None:
    sub = Child.unpack("sub", txn.get(keys.child(n["second"], "sub"))).node
    txn.delete(keys.child(n["second"], "sub"))
    rename(txn, sub, n["ward"], "sub", "sub")


def clear_dataset_pasted_in(txn: Any, n: Nodes) -> None:
    txn.delete(keys.child(keys.ROOT, "clear"))
    rename(txn, n["clear"], n["ward"], "a", "a")


def own_dataset_pasted_in(txn: Any, n: Nodes) -> None:
    """Sealed, under a secret that the victim gives as well."""
    txn.delete(keys.child(keys.ROOT, "own"))
    rename(txn, n["own"], n["ward"], "a", "a")


def own_dataset_with_the_place_of_another(txn: Any, n: Nodes) -> None:
    node = n["ward/a"]
    for kind in b"CSBE":
        span = keys.prefix_range(keys.node(node)[:8] + bytes((kind,)))
        place = txn.get(keys.manifest(node, keys.PLACE))
        txn.delete_range(*span)
        txn.put(keys.manifest(node, keys.PLACE), place)
        for key, value in list(
            txn.scan(*keys.prefix_range(keys.node(n["own"])[:8] + bytes((kind,))))
        ):
            if not unpack_record(value)[0]:
                txn.put(keys.node(node)[:8] + key[8:], value)


def clear_dataset_with_the_place_of_another(txn: Any, n: Nodes) -> None:
    node = n["ward/a"]
    txn.delete_range(*keys.sealed_fields(node))
    for kind in b"CSB":
        txn.delete_range(*keys.prefix_range(keys.node(node)[:8] + bytes((kind,))))
        for key, value in list(
            txn.scan(*keys.prefix_range(keys.node(n["clear"])[:8] + bytes((kind,))))
        ):
            if not unpack_record(value)[0]:
                txn.put(keys.node(node)[:8] + key[8:], value)


def clear_group_pasted_in(txn: Any, n: Nodes) -> None:
    txn.put(keys.node(500), NodeRecord(NodeKind.GROUP, n["ward"], "sub", 1).pack())
    txn.put(keys.child(n["ward"], "sub"), Child("sub", NodeKind.GROUP, 500).pack("sub"))


def clear_groups_pasted_in(txn: Any, n: Nodes) -> None:
    """One in the other, and their own records say that they stand elsewhere."""
    txn.put(keys.node(500), NodeRecord(NodeKind.GROUP, keys.ROOT, "p", 1).pack())
    txn.put(keys.node(501), NodeRecord(NodeKind.GROUP, 500, "q", 1).pack())
    txn.put(keys.child(n["ward"], "sub"), Child("sub", NodeKind.GROUP, 500).pack("sub"))
    txn.put(keys.child(500, "a"), Child("a", NodeKind.GROUP, 501).pack("a"))


def place_taken_from_a_dataset(txn: Any, n: Nodes) -> None:
    txn.delete(keys.manifest(n["ward/a"], keys.PLACE))


def place_taken_from_a_subgroup(txn: Any, n: Nodes) -> None:
    txn.delete(keys.manifest(n["ward/sub"], keys.PLACE))


def place_taken_from_the_group(txn: Any, n: Nodes) -> None:
    txn.delete(keys.manifest(n["ward"], keys.PLACE))


def lock_taken_away(txn: Any, n: Nodes) -> None:
    txn.delete(keys.lock(n["ward"], keys.PLACE))


def lock_and_place_taken_away(txn: Any, n: Nodes) -> None:
    txn.delete_range(*keys.sealed_field(n["ward"], keys.PLACE))
    record = NodeRecord.unpack(txn.get(keys.node(n["ward"])))
    txn.put(keys.node(n["ward"]), record._replace(features_read=0).pack())


def lock_in_a_subgroup(txn: Any, n: Nodes) -> None:
    txn.put(keys.lock(n["ward/sub"], keys.PLACE), txn.get(keys.lock(n["second"], keys.PLACE)))


def lock_of_another_group(txn: Any, n: Nodes) -> None:
    txn.put(keys.lock(n["ward"], keys.PLACE), txn.get(keys.lock(n["second"], keys.PLACE)))


def lock_of_the_attacker(txn: Any, n: Nodes) -> None:
    lock, _ = make_lock({"1": Secret(OTHER)})
    txn.put(keys.lock(n["ward"], keys.PLACE), pack_record(lock.pack()))


def all_places_of_another_group(txn: Any, n: Nodes) -> None:
    for mine, theirs in (("ward", "second"), ("ward/a", "second/a")):
        for key in (keys.lock, keys.manifest):
            value = txn.get(key(n[theirs], keys.PLACE))
            if value is not None:
                txn.put(key(n[mine], keys.PLACE), value)


def first_attributes(txn: Any, node: int) -> list[tuple[bytes, bytes]]:
    return list(txn.scan(*keys.all_attributes(node)))


def attribute_dropped(txn: Any, n: Nodes) -> None:
    txn.delete(first_attributes(txn, n["ward"])[0][0])


def attributes_exchanged(txn: Any, n: Nodes) -> None:
    (one, first), (other, second) = first_attributes(txn, n["ward"])[:2]
    txn.put(one, second)
    txn.put(other, first)


def attribute_of_another_node(txn: Any, n: Nodes) -> None:
    ((key, _),) = first_attributes(txn, n["ward/a"])
    txn.put(key, first_attributes(txn, n["ward/sub"])[0][1])


def attribute_in_clear(txn: Any, n: Nodes) -> None:
    from kist.format.plain import pack_value

    txn.put(keys.attribute(n["ward"], 0, "dose"), pack_record(pack_value(1000)))


def kind_changed(txn: Any, n: Nodes) -> None:
    record = NodeRecord.unpack(txn.get(keys.node(n["ward/a"])))
    txn.put(keys.node(n["ward/a"]), record._replace(kind=NodeKind.GROUP).pack())
    txn.put(keys.child(n["ward"], "a"), Child("a", NodeKind.GROUP, n["ward/a"]).pack("a"))


def manifest_of_the_dataset_dropped(txn: Any, n: Nodes) -> None:
    txn.delete(keys.manifest(n["ward/a"], 1))


def group_renamed(txn: Any, n: Nodes) -> None:
    """And the other one put into its place."""
    rename(txn, n["ward"], keys.ROOT, "ward", "third")
    rename(txn, n["second"], keys.ROOT, "second", "ward")


ATTACKS = [
    names_exchanged,
    names_exchanged_in_all_records,
    one_listed_twice,
    moved_to_another_group,
    moved_between_groups_of_it,
    subgroup_of_another_one,
    clear_dataset_pasted_in,
    own_dataset_pasted_in,
    own_dataset_with_the_place_of_another,
    clear_dataset_with_the_place_of_another,
    clear_group_pasted_in,
    clear_groups_pasted_in,
    place_taken_from_a_dataset,
    place_taken_from_a_subgroup,
    place_taken_from_the_group,
    lock_taken_away,
    lock_and_place_taken_away,
    lock_in_a_subgroup,
    lock_of_another_group,
    lock_of_the_attacker,
    all_places_of_another_group,
    attribute_dropped,
    attributes_exchanged,
    attribute_of_another_node,
    attribute_in_clear,
    kind_changed,
    manifest_of_the_dataset_dropped,
    group_renamed,
]


@pytest.mark.parametrize("edit", ATTACKS, ids=lambda edit: edit.__name__)
def test_a_holder_of_the_secret_gets_an_error(file: Path, edit: Edit) -> None:
    assert [x[0] for x in look(file)[:3]] == [1, 2, 3]
    with kist.open(file, "r+", secrets=KEY) as store:
        del store["ward/new"], store["ward/sub/new"]
    attack(file, edit)
    # A lock of the attacker's is one that no secret opens. What is not where it was is not found,
    # and whoever finds it where it is now is told.
    with pytest.raises(KistError) as caught:
        look(file)
    plain = {lock_of_the_attacker, moved_between_groups_of_it, clear_group_pasted_in}
    assert isinstance(caught.value, TamperedDataError) or edit in plain
    with kist.open(file, secrets=KEY) as store:
        assert not store.check().ok or edit is lock_of_the_attacker


@pytest.mark.parametrize("edit", ATTACKS, ids=lambda edit: edit.__name__)
def test_nothing_is_written_in_clear_after_it(file: Path, edit: Edit) -> None:
    attack(file, edit)
    word = b"a word that nobody else may read"
    with kist.open(file, "r+", secrets=KEY) as store:
        for where in ("ward", "ward/sub", "ward/sub/a", "ward/a", "ward/b"):
            for write in (
                lambda where=where: store[where].attrs.update(x=word),
                lambda where=where: store.create_array(where + "/x", word),
                lambda where=where: store[where].__setitem__(..., word),
            ):
                try:
                    write()
                except (KistError, TypeError, AttributeError, ValueError):
                    pass
    assert word not in file.read_bytes() or edit is lock_and_place_taken_away


def all_of_it_in_clear(txn: Any, n: Nodes) -> None:
    for name in ("ward", "ward/sub"):
        txn.delete_range(*keys.sealed_field(n[name], keys.PLACE))
        txn.delete_range(*keys.all_attributes(n[name]))
        record = NodeRecord.unpack(txn.get(keys.node(n[name])))
        txn.put(keys.node(n[name]), record._replace(features_read=0).pack())
    for name in ("a", "b"):
        txn.delete(keys.child(n["ward"], name))
    txn.delete(keys.child(n["ward/sub"], "a"))
    rename(txn, n["clear"], n["ward"], "a", "a")


def test_a_secret_by_name_says_that_the_group_is_sealed(file: Path) -> None:
    attack(file, all_of_it_in_clear)
    with kist.open(file, "r+", secrets={"ward": KEY}) as store:
        for look_at in (
            lambda: store["ward"],
            lambda: store["ward/a"],
            lambda: store["ward/sub"],
        ):
            with pytest.raises(TamperedDataError):
                look_at()
        for make in (
            lambda: store.create_array("ward/new", [1]),
            lambda: store.create_table("ward/sub/new", [(1,)], dtype="i4,"),
        ):
            with pytest.raises(KistError):
                make()


def test_what_was_pasted_in_is_not_taken_along_by_a_copy_or_a_rotation(file: Path) -> None:
    attack(file, clear_group_pasted_in)
    with kist.open(file, "r+", secrets=KEY) as store:
        for change in (
            lambda: store.copy("ward", "copy"),
            lambda: store["ward"].rotate(),
            lambda: store.move("ward/sub", "ward/other"),
        ):
            with pytest.raises(TamperedDataError):
                change()


def test_a_table_in_clear_that_was_pasted_in_is_in_no_union(path: Path) -> None:
    with kist.open(path, "w") as store:
        group = store.create_group("ward", encrypt=KEY)
        group["one"] = group["two"] = np.zeros(2, "i4,f8")
        store["clear"] = np.ones(1, "i4,f8")
        ward, clear = group._id, store["clear"]._id
    engine = Engine.open(path, "r+")
    txn = engine.begin()
    for name in ("one", "two"):  # the record still says that it stands in the root group
        txn.put(keys.child(ward, name), Child(name, NodeKind.TABLE, clear).pack(name))
    txn.commit()
    engine.close()
    with kist.open(path, secrets=KEY) as store:
        with pytest.raises(KistError):
            store.union("ward/*")[:]
        with pytest.raises(TamperedDataError):
            store.union("ward/one")[:]


def test_names_that_were_exchanged_are_seen_by_unions(file: Path) -> None:
    attack(file, names_exchanged)
    with kist.open(file, secrets=KEY) as store:
        for pattern in ("ward/*", "ward/a"):
            with pytest.raises(TamperedDataError):
                store.union(pattern)[:]


def test_an_older_attribute_put_back_is_seen(file: Path) -> None:
    with kist.open(file, "r+", secrets=KEY) as store:
        node = store["ward"]._id
        value = dict(store["ward"]._view().scan(*keys.all_attributes(node)))
        store["ward"].attrs["dose"] = 3

    def put_back(txn: Any, n: Nodes) -> None:
        for key, old in value.items():
            txn.put(key, old)

    attack(file, put_back)
    with kist.open(file, secrets=KEY) as store, pytest.raises(TamperedDataError):
        store["ward"].attrs["dose"]


def test_a_name_that_a_holder_sealed_and_that_is_no_text_is_damage(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kist.open(file, "r+", secrets=[KEY]) as store, monkeypatch.context() as patched:
        patched.setattr(attributes, "_head", lambda name: b"\2\xff\xfe")
        store["ward"].attrs["evil"] = 1
    with kist.open(file, secrets=[KEY]) as store:
        with pytest.raises(CorruptDataError, match="no text"):
            dict(store["ward"].attrs)
        with pytest.raises(CorruptDataError, match="no text"):
            store["ward"].attrs["evil"]
        assert any("no text" in problem.message for problem in store.check().problems)
