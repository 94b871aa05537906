"""Making, replacing, moving, copying and deleting nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.model import directory

ROWS = np.array([(1, 2.0), (3, 4.0)], "i4,f8")


@pytest.fixture
def store() -> Any:
    with kist.open(":memory:") as store:
        yield store


def test_groups_appear_on_the_way(store: kist.Store) -> None:
    store["a/b/t"] = ROWS
    assert list(store) == ["a"]
    assert list(store["a"]) == ["b"]
    assert isinstance(store["a/b"], kist.Group)
    assert store.commit_id == 1, "all in one commit"


def test_a_create_that_fails_leaves_no_groups_behind(store: kist.Store) -> None:
    with pytest.raises(kist.KistError):
        store.create_table("a/b/t", dtype="O,f8")
    assert list(store) == []
    with store.transaction():
        store.create_group("kept")
        with pytest.raises(kist.KistError):
            store.create_table("a/b/t", dtype="O,f8")
    assert list(store) == ["kept"]


def test_create_open_and_require_differ_in_what_they_expect(store: kist.Store) -> None:
    with pytest.raises(kist.NodeNotFoundError):
        store.open_group("g")
    with pytest.raises(kist.NodeNotFoundError):
        store.open_table("t")
    group = store.require_group("g")
    table = store.require_table("t", dtype=ROWS.dtype)
    assert store.require_group("g") == store.open_group("g") == group
    assert store.require_table("t", dtype="i4,f8") == store.open_table("t") == table
    for create in (store.create_group, lambda name: store.create_table(name, dtype="i4,f8")):
        for name in ("g", "t"):
            with pytest.raises(kist.NodeExistsError):
                create(name)
    with pytest.raises(kist.NodeNotFoundError, match="is a table"):
        store.open_group("t")
    with pytest.raises(kist.NodeNotFoundError, match="is a group"):
        store.open_table("g")
    with pytest.raises(kist.NodeExistsError, match="is a table"):
        store.require_group("t")
    with pytest.raises(kist.NodeExistsError, match="is a group"):
        store.require_table("g", dtype="i4,f8")
    with pytest.raises(kist.DTypeError):
        store.require_table("t", dtype="i4,f4")


def test_assignment_replaces_a_table_in_one_commit(store: kist.Store) -> None:
    store["t"] = ROWS
    old = store["t"]
    old.attrs["note"] = "x"
    before = store.commit_id
    store["t"] = ROWS[:1]
    assert store.commit_id == before + 1
    assert len(store["t"]) == 1
    assert dict(store["t"].attrs) == {}, "attributes go with the old table"
    for use in (lambda: old[:], lambda: len(old), lambda: old.name, lambda: old.append(ROWS)):
        with pytest.raises(kist.StaleHandleError, match="deleted or replaced"):
            use()
    assert "deleted or replaced" in repr(old)


def test_assignment_never_replaces_a_group(store: kist.Store) -> None:
    store["g/t"] = ROWS
    with pytest.raises(kist.NodeExistsError, match="is a group"):
        store["g"] = ROWS
    with pytest.raises(kist.NodeExistsError):
        store["/"] = ROWS
    assert len(store["g/t"]) == 2


def test_a_failing_replacement_leaves_the_old_table(store: kist.Store) -> None:
    store["t"] = ROWS
    table = store["t"]
    with pytest.raises(kist.KistError):
        store.create_table("t", dtype="O,f8", overwrite=True)
    np.testing.assert_array_equal(table[:], ROWS)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ({"a": [1]}, "create_group"),
        (None, "del store"),
        ([1, "text"], "one kind"),
        ([{}], "dict"),
        (object(), "object"),
        (np.array([np.zeros(1), None], object), "key store"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_a_hint(
    store: kist.Store, value: Any, hint: str
) -> None:
    with pytest.raises(kist.DTypeError, match=hint):
        store["x"] = value
    assert "x" not in store
    assert store.commit_id == 0


def test_create_dataset_makes_tables_and_arrays_as_the_data_are(store: kist.Store) -> None:
    assert len(store.create_dataset("t", ROWS)) == 2
    assert len(store.create_dataset("u", dtype="i4,f8")) == 0
    assert store.create_dataset("x", np.zeros(3)).shape == (3,)
    assert store.create_dataset("y", (2, 3), "f4", fillvalue=7, maxshape=(None, 3))[1, 2] == 7
    assert store.create_dataset("z", 5, "i4,f8").dtype == np.dtype("i4,f8")
    assert {node.kind for node in store.values()} == {"table", "array"}
    with pytest.raises(TypeError, match="codec="):
        store.create_dataset("w", (2, 3), compression="gzip")


def test_require_dataset_opens_or_makes_tables_and_arrays(store: kist.Store) -> None:
    made = store.require_dataset("g/a", (2, 3), "f4", fillvalue=7)
    made[0] = 1
    again = store.require_dataset("g/a", (2, 3), "f4")
    assert again.is_same(made) and again[1, 2] == 7 and again.maxshape == (None, None)
    assert store.require_dataset("g/a", (2, 3), "i2", exact=False).is_same(made)
    with pytest.raises(kist.DTypeError):
        store.require_dataset("g/a", (2, 3), "i2", exact=True)
    with pytest.raises(kist.ShapeError):
        store.require_dataset("g/a", (2, 4), "f4")
    table = store.require_dataset("t", dtype="i4,f8")
    table.append((1, 2.0))
    assert len(store.require_dataset("t", dtype="i4,f8")) == 1
    with pytest.raises(kist.NodeExistsError):
        store.require_dataset("t", (3,), "f4")
    assert store.require_dataset("x", data=np.arange(3)).shape == (3,)


def test_flush_makes_relaxed_commits_durable(path: Path) -> None:
    with kist.open(path, "w", durability="relaxed") as store:
        store["a"] = [1, 2]
        syncs = store._session.engine.backend.stats.syncs
        store.flush()
        assert store._session.engine.backend.stats.syncs > syncs


def test_assigning_a_handle_points_to_copy(store: kist.Store) -> None:
    store["t"] = ROWS
    with pytest.raises(kist.DTypeError, match="copy"):
        store["u"] = store["t"]


def test_deleting_a_group_deletes_what_is_in_it(store: kist.Store) -> None:
    store["g/h/t"] = ROWS
    table, group = store["g/h/t"], store["g/h"]
    del store["g"]
    assert len(store) == 0
    for handle in (table, group):
        with pytest.raises(kist.StaleHandleError):
            _ = handle.name
    assert store.check().ok, "no records are left behind"


def test_deleting_what_is_not_there_raises(store: kist.Store) -> None:
    group = store.create_group("g")
    with pytest.raises(KeyError):
        del store["nothing"]
    for path in ("/", "/g"):
        with pytest.raises(kist.NodeError):
            del group[path]
    assert "g" in store


def test_handles_stay_good_when_a_node_moves(store: kist.Store) -> None:
    store["a/t"] = ROWS
    table, group = store["a/t"], store["a"]
    table.attrs["n"] = 1
    store.move("a", "b/c/d")
    assert table.name == "/b/c/d/t"
    assert group.name == "/b/c/d"
    assert store["b/c/d/t"] == table
    assert table.attrs["n"] == 1
    assert "a" not in store
    group.move("t", "u")
    assert table.name == "/b/c/d/u"
    group.move("u", "/top")
    assert table.name == "/top"
    assert store.check().ok


def test_a_group_cannot_move_into_itself(store: kist.Store) -> None:
    store["a/b/t"] = ROWS
    before = str(store.tree())
    for target in ("a/x", "a/b/x", "a/new/x", "/a/b/new/x"):
        with pytest.raises(kist.NodeError, match="inside"):
            store.move("a", target)
    with pytest.raises(kist.NodeExistsError):
        store.move("a/b", "a")
    assert str(store.tree()) == before


def test_a_copy_is_whole_and_independent(store: kist.Store) -> None:
    big = np.zeros(70_000, "i4,f8")
    big["f0"] = np.arange(len(big))
    store["g/big"], store["g/in/t"] = big, ROWS
    store["g"].attrs["x"] = np.arange(5000)
    store["g/big"].attrs["n"] = 1
    store.copy("g", "h/copy")
    assert sorted(_paths(store["h/copy"])) == ["big", "in", "in/t"]
    np.testing.assert_array_equal(store["h/copy/big"][:], big)
    np.testing.assert_array_equal(store["h/copy"].attrs["x"], np.arange(5000))
    store["h/copy/big"].append(big[:3])
    store["h/copy/big"].attrs["n"] = 2
    assert len(store["g/big"]) == 70_000
    assert store["g/big"].attrs["n"] == 1
    del store["g"]
    np.testing.assert_array_equal(store["h/copy/big"][:70_000], big)
    assert store.check().ok


def _paths(group: kist.Group) -> list[str]:
    found: list[str] = []
    group.visit(found.append)
    return found


def test_a_group_can_be_copied_into_itself_once(store: kist.Store) -> None:
    store["a/b/t"] = ROWS
    store.copy("a", "a/b/copy")
    assert _paths(store) == ["a", "a/b", "a/b/copy", "a/b/copy/b", "a/b/copy/b/t", "a/b/t"]
    with pytest.raises(kist.NodeExistsError):
        store.copy("a", "a/b")


def test_the_root_and_nodes_of_other_stores_can_be_copied(store: kist.Store, path: Path) -> None:
    store["g/t"] = ROWS
    store.attrs["x"] = 1
    with kist.open(path, "w") as other:
        other.copy(store, "all")
        other.copy(store["g/t"], "t")
        assert _paths(other) == ["all", "all/g", "all/g/t", "t"]
        np.testing.assert_array_equal(other["t"][:], ROWS)
        np.testing.assert_array_equal(other["all/g/t"][:], ROWS)
        assert other["all"].attrs["x"] == 1
        assert other.check().ok


def test_a_copy_of_a_handle_that_is_gone_raises(store: kist.Store) -> None:
    store["t"] = ROWS
    table = store["t"]
    del store["t"]
    with pytest.raises(kist.StaleHandleError):
        store.copy(table, "u")


def test_visititems_names_nodes_from_the_group_and_stops_at_a_result(store: kist.Store) -> None:
    store["a/t"], store["a/b/u"], store["z"] = ROWS, ROWS, ROWS
    seen: list[tuple[str, str]] = []
    assert store.visititems(lambda path, node: seen.append((path, node.name))) is None
    assert seen == [(p, f"/{p}") for p in ["a", "a/b", "a/b/u", "a/t", "z"]]
    assert store["a"].visititems(lambda path, node: path if path == "b/u" else None) == "b/u"
    assert store.visit(lambda path: path if "t" in path else None) == "a/t"


def test_iteration_keeps_the_names_it_began_with(store: kist.Store) -> None:
    for name in "abc":
        store.create_group(name)
    for name in store:
        del store[name]
    assert list(store) == []


@pytest.mark.parametrize("odd", ["", "run00150é", "\u212a"])
def test_many_names_are_listed_as_they_are_looked_up(path: Path, odd: str) -> None:
    names = [f"run{number:05d}" for number in range(700)] + ([odd] if odd else [])
    with kist.open(path, "w") as store:
        with store.transaction():
            for name in names:
                store.create_group(f"in/{name}")
        inner = store["in"]
        assert list(inner) == sorted(names)  # from pages of the tree
        assert len(inner) == len(names)
        del inner["run00300"]
        names.remove("run00300")
        assert (len(inner), list(inner)) == (len(names), sorted(names))  # a change in the log
        with store.transaction():
            inner["run00300a"] = 1.0
            assert (len(inner), len(list(inner))) == (len(names) + 1, len(names) + 1)
            del inner["run00000"]
            assert (len(inner), "run00000" in inner) == (len(names), False)
    with kist.open(path) as store:
        assert len(store["in"]) == len(names)
        assert all(name in store["in"] for name in store["in"])


def test_a_group_that_is_rolled_back_leaves_nothing_for_the_table_with_its_number(
    store: kist.Store,
) -> None:
    with store.transaction():
        with pytest.raises(RuntimeError), store.transaction():
            group = store.create_group("g")
            assert (list(group), len(group)) == ([], 0)
            raise RuntimeError
        store["t"] = ROWS
        assert len(store["t"]) == 2


def test_handles_are_equal_by_store_and_node(path: Path) -> None:
    with kist.open(path, "w") as one, kist.open(path, "r+") as two:
        one["t"] = ROWS
        assert one["t"] == one["t"] and one["t"].is_same(one["/t"])
        assert hash(one["t"]) == hash(one["t"])
        assert not one["t"].is_same(two["t"])
        assert one["t"] != one
        assert one != "t"
        assert len({one["t"], one["t"], one}) == 2


def test_a_handle_of_a_rolled_back_node_never_names_another(store: kist.Store) -> None:
    with pytest.raises(RuntimeError), store.transaction():
        store["t"] = ROWS
        table = store["t"]
        raise RuntimeError
    store["u"] = ROWS  # gets the same node id
    with pytest.raises(kist.StaleHandleError):
        _ = table.name
    assert table != store["u"]


def test_the_tree_shows_groups_tables_and_titles(store: kist.Store) -> None:
    store["raw/t"] = ROWS
    store.create_group("empty", title="nothing yet")
    text = str(store.tree())
    assert text.splitlines()[0] == "/"
    assert "├── empty  'nothing yet'" in text
    assert "    └── t  " in text
    assert repr(store.tree()) == text
    assert "── t" not in str(store.tree(depth=1))
    assert str(store["raw"].tree()).startswith("/raw")


def test_a_tree_of_many_nodes_is_cut(store: kist.Store) -> None:
    with store.transaction():
        for at in range(1100):
            store.create_group(f"g{at:04}")
    lines = str(store.tree()).splitlines()
    assert len(lines) == 1001
    assert lines[-1] == "... and 101 more"
    assert len(repr(store).splitlines()) < 30


def test_groups_do_not_nest_without_end(store: kist.Store) -> None:
    store.create_group("/".join(["g"] * 190))
    assert len(_paths(store)) == 190
    str(store.tree())
    store.copy("g", "copy")
    with pytest.raises(kist.NodeNameError, match="deep"):
        store.create_group("/".join(["g"] * 210))
    assert store.check().ok


def test_who_asks_whether_something_is_there_is_not_told_what_else_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Comparing a thousand names takes 10 ms: ten thousand new datasets took minutes.
    asked: list[str] = []
    instead = directory._instead

    def counted(*arguments: Any) -> str:
        asked.append(arguments[-1])
        return instead(*arguments)

    monkeypatch.setattr(directory, "_instead", counted)
    with kist.open(":memory:") as store:
        assert "a" not in store and "a/b" not in store and store.get("a") is None
        store["a"] = np.arange(3)
        store["a"] = np.arange(4)
        store["rows"] = np.zeros(2, "i4,f8")
        store["deep/a"] = 1.5
        store.require_group("group")
        store.require_array("more", shape=3, dtype="f8")
        store.create_keystore("runs", overwrite=True)
        assert store.get("grop", 7) == 7 and asked == []
        with pytest.raises(kist.NodeNotFoundError, match="did you mean 'group'"):
            store["grop"]
        assert asked == ["grop"]
