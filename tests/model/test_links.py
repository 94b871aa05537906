"""Links within a store: what follows them, what means them, and what is wrong with some."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import kist
from kist.errors import CorruptDataError, UnsupportedVersionError
from kist.format import keys
from kist.format.values import pack_record
from kist.model.comparing import compare
from kist.model.repacking import repack

ROWS = np.array([(1, 2.5), (2, 3.5)], [("a", "i4"), ("b", "f8")])


@pytest.fixture
def store() -> Iterator[kist.Store]:
    with kist.open(":memory:") as store:
        store["runs/16/hits"], store["runs/17/hits"] = ROWS, ROWS[:1]
        store.create_link("newest", "runs/17")
        yield store


def test_a_path_through_a_link_is_the_path_behind_it(store: kist.Store) -> None:
    assert store["newest"].is_same(store["runs/17"])
    assert store["newest/hits"].name == "/runs/17/hits"
    assert "newest/hits" in store and "newest/other" not in store
    assert len(store.open_table("newest/hits")) == 1
    store["newest/more"] = [1, 2]
    assert store["runs/17/more"][:].tolist() == [1, 2]
    store["newest/hits"].append(ROWS)
    assert len(store["runs/17/hits"]) == 3


def test_relative_targets_begin_at_the_group_of_the_link(store: kist.Store) -> None:
    store.create_link("runs/last", "17/hits")
    store.create_link("runs/first", "/runs/16")
    assert store["runs/last"].name == "/runs/17/hits"
    assert store["runs/first/hits"].name == "/runs/16/hits"
    store.move("runs", "old")  # the relative one goes along
    assert store["old/last"].name == "/old/17/hits"
    with pytest.raises(kist.LinkError, match="'/old/first' leads nowhere"):
        store["old/first"]


def test_a_handle_as_a_target_is_its_path(store: kist.Store) -> None:
    link = store.create_link("x/y", store["runs/16"], title="first", attrs={"by": "hand"})
    assert (link.target, link.title, link.attrs["by"]) == ("/runs/16", "first", "hand")
    assert link.linked_file is None and link.version is None and link.kind == "link"
    assert link.follow().is_same(store["runs/16"])


def test_deleting_moving_and_copying_mean_the_link(store: kist.Store) -> None:
    store.move("newest", "x/latest")
    assert "newest" not in list(store) and store.open_link("x/latest").target == "runs/17"
    store.move("x/latest", "latest")
    store.copy("latest", "copy")
    assert store.open_link("copy").target == "runs/17"
    with kist.open(":memory:") as other:
        other.copy(store.open_link("latest"), "link")
        other.copy(store["latest"], "group")
        assert other.open_link("link").target == "runs/17" and "hits" in other["group"]
    del store["latest"]
    assert list(store["runs/17"]) == ["hits"]
    del store["copy/hits"]  # on the way to the end links are followed
    assert list(store["runs/17"]) == [] and "copy" in store


def test_a_name_that_is_a_link_is_taken(store: kist.Store) -> None:
    for make in (
        lambda: store.create_array("newest", [1]),
        lambda: store.create_array("newest", [1], overwrite=True),
        lambda: store.create_group("newest"),
        lambda: store.create_link("newest", "x"),
        lambda: store.create_link("runs", "x", overwrite=True),
    ):
        with pytest.raises(kist.NodeExistsError):
            make()
    assert store.create_link("newest", "runs/16", overwrite=True).target == "runs/16"
    assert store.require_group("newest").name == "/runs/16"


def test_walking_meets_links_and_does_not_follow_them(store: kist.Store) -> None:
    store.create_link("runs/up", "/")
    store.create_link("nowhere", "x")
    found: list[str] = []
    store.visit(found.append)
    assert found == [
        "newest", "nowhere", "runs", "runs/16", "runs/16/hits", "runs/17", "runs/17/hits",
        "runs/up",
    ]  # fmt: skip
    assert [type(node).__name__ for node in store.values()] == ["Link", "Link", "Group"]
    assert dict(store.items())["newest"].follow().name == "/runs/17"
    assert "up  link -> /" in str(store.tree()) and "link -> x (dangling)" in str(store.tree())
    assert store["runs/up/runs/up/newest/hits"].name == "/runs/17/hits"
    assert store.info["nodes"]["link"] == 3
    assert store.open_link("nowhere").info["dangling"] is True


def test_a_circle_is_found_when_it_is_made_and_when_it_is_followed(store: kist.Store) -> None:
    with pytest.raises(kist.LinkError, match="in a circle"):
        store.create_link("self", "self")
    store.create_link("a", "b")
    circle = pytest.raises(kist.LinkError, match="in a circle: '/b' -> c, ")
    with circle as caught, store.transaction():
        store.create_link("c", "/a")
        store.create_link("b", "c")
    assert caught.value.cycle and list(store) == ["a", "newest", "runs"]
    store.create_link("group/x", "/elsewhere/x")
    store["elsewhere"] = 1
    del store["elsewhere"]
    store.move("group", "elsewhere")  # now it leads to itself
    for look in (lambda: store["elsewhere/x"], lambda: store["elsewhere/x/y"]):
        with pytest.raises(kist.LinkError, match="in a circle"):
            look()
    assert store.get("elsewhere/x") is None and "elsewhere/x" not in store


def test_more_links_than_forty_are_not_followed(store: kist.Store) -> None:
    store["link0"] = [7]
    for n in range(40):
        store.create_link(f"link{n + 1}", f"link{n}")
    assert store["link40"][:].tolist() == [7]
    with pytest.raises(kist.LinkError, match="through more than 40 links"):
        store.create_link("link41", "link40")
    store.create_link("late", "not-yet/x")
    store.create_link("not-yet/x", "/link39")
    with pytest.raises(kist.LinkError, match="through more than 40 links"):
        store["late"]


def test_what_is_no_path_is_refused_and_changes_nothing(store: kist.Store) -> None:
    for target in ("", "a//b", "a/", "../x", ".", "a\0", 7, None):
        with pytest.raises(kist.NodeNameError):
            store.create_link("bad", target)  # type: ignore[arg-type]
    with pytest.raises(kist.NodeError, match="version= is for links to other files"):
        store.create_link("bad", "x", version=1)
    with pytest.raises(kist.LinkError, match="is in no folder"):
        store.create_link("bad", "x", file="other.kist")
    assert "bad" not in list(store)
    with pytest.raises(kist.NodeNotFoundError, match="is a group, not a link"):
        store.open_link("runs")


def test_old_versions_and_transactions_show_their_own_targets(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"], store["y"] = [1], [2]
        store.create_link("l", "x")
        store.tag("before")
        with pytest.raises(RuntimeError), store.transaction():
            store.create_link("l", "y", overwrite=True)
            assert store["l"][0] == 2
            raise RuntimeError
        assert store["l"][0] == 1
        store.create_link("l", "y", overwrite=True)
        link, old = store.open_link("l"), pickle.dumps(store.open_link("l"))
        assert pickle.loads(old).target == link.target == "y"
    with kist.open(tmp_path / "a.kist", version="before") as store:
        assert store["l"][0] == 1
        with pytest.raises(kist.ReadOnlyError):
            store.create_link("m", "x")


def test_check_compact_backup_repack_and_salvage_keep_links(tmp_path: Path) -> None:
    long = "/".join(["n" * 250] * 20)  # beyond what a record of the map holds
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = np.arange(1000)
        store.create_link("l", "x", title="short")
        store.create_link("long", long)
        assert store.check().ok
        store.compact()
        store.backup(tmp_path / "backup.kist", compact=True)
        with kist.open(tmp_path / "repacked.kist", "w") as other:
            repack(store, other, "zstd")
    assert kist.salvage(tmp_path / "a.kist", tmp_path / "salvaged.kist")
    with kist.open(tmp_path / "a.kist") as store:
        for name in ("backup", "repacked", "salvaged"):
            with kist.open(tmp_path / f"{name}.kist") as other:
                assert other.open_link("long").target == long
                assert other["l"][-1] == 999 and other.open_link("l").title == "short"
                assert list(compare(store, other)) == [] and other.check().ok


def test_a_link_whose_own_record_is_lost_is_salvaged_by_where_it_leads(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = [1]
        link = store.create_link("l", "x")
        with store._write() as txn:
            txn.delete(keys.node(link._id))
    kist.salvage(tmp_path / "a.kist", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        assert store["l"][:].tolist() == [1]


def test_comparing_says_where_links_lead(store: kist.Store) -> None:
    with kist.open(":memory:") as other:
        for name in store:
            other.copy(store.open_link(name) if name == "newest" else store[name], name)
        assert list(compare(store, other)) == []
        other.create_link("newest", "runs/16", overwrite=True)
        (found,) = compare(store, other)
        assert (found.path, found.what, found.detail) == ("/newest", "target", "runs/17 != runs/16")
        del other["newest"]
        other["newest"] = [1]
        assert [found.what for found in compare(store, other)] == ["kind"]


def test_unions_take_what_links_lead_to_once(store: kist.Store) -> None:
    store.create_link("days/b", "/runs/16/hits")
    store["days/a"] = ROWS
    assert len(store.union("days/*")) == 4
    assert len(store.union("days/*", "newest/hits", "runs/16/*")) == 5
    store.create_link("days/c", "/runs/nothing")
    with pytest.raises(kist.LinkError, match="'/days/c' leads nowhere"):
        store.union("days/*")


def test_what_a_link_only_reads_is_neither_split_nor_merged(tmp_path: Path) -> None:
    rows = np.zeros(30, [("x", "i4"), ("y", "f8")])
    for n in range(2):
        with kist.open(tmp_path / f"part-{n}.kist", "w") as part:
            part["t"], part["a"] = rows, np.arange(9.0)
    np.save(tmp_path / "f.npy", np.arange(9))
    path = tmp_path / "all.kist"
    with kist.open(path, "w") as store:
        store["own"] = rows
        store.create_union("tables", "t", files="part-*.kist")
        store.create_union("arrays", "a", files="part-*.kist")
        store.create_union("union", "own")
        store.create_array_link("npy", "f.npy")
    for name in ("tables", "arrays", "union", "npy"):
        with pytest.raises(kist.LinkError, match="only reads"):
            kist.split(path, name, parts=2, out=tmp_path / "p-{}.kist")
        with pytest.raises(kist.LinkError, match="only reads"):
            kist.merge([path], tmp_path / "m.kist", name)
    assert not list(tmp_path.glob("p-*")) + list(tmp_path.glob("m.*"))


def test_merge_keeps_links_and_split_follows_them(tmp_path: Path) -> None:
    for name, target in (("a", "t"), ("b", "t"), ("c", "u")):
        with kist.open(tmp_path / f"{name}.kist", "w") as store:
            store["t"] = ROWS
            store.create_link("l", target)
    a, b, c = (tmp_path / f"{name}.kist" for name in "abc")
    kist.merge([a, b], tmp_path / "ab.kist")
    with kist.open(tmp_path / "ab.kist") as store:
        assert len(store["l"]) == 4 and store.open_link("l").target == "t"
    with pytest.raises(kist.NodeExistsError, match=r"'/l' leads to 't' in .*a\.kist.* and to 'u'"):
        kist.merge([a, c], tmp_path / "ac.kist")
    assert not (tmp_path / "ac.kist").exists()
    parts = kist.split(a, "l", rows=1, out=tmp_path / "part-{}.kist")
    assert [len(kist.open(part)["t"]) for part in parts] == [1, 1]


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", CorruptDataError),
        (b"\1\1" + bytes(6), CorruptDataError),
        (b"\1\1" + bytes(6) + b"\0", CorruptDataError),  # None
        (b"\1\1" + bytes(6) + b"\x14\0", CorruptDataError),  # an empty dict
        (b"\2\1" + bytes(6) + b"\x14\0", UnsupportedVersionError),
        (b"\1\x63" + bytes(6) + b"\x14\0", UnsupportedVersionError),
    ],
)
def test_a_link_that_says_nothing_is_refused_and_nothing_else(
    store: kist.Store, payload: bytes, error: type[Exception]
) -> None:
    link = store.open_link("newest")
    with store._write() as txn:
        txn.put(keys.link(link._id), pack_record(payload))
    with pytest.raises(error, match="newest"):
        store["newest"]
    assert "newest  (link that cannot be read)" in str(store.tree())
    (problem,) = store.check().problems
    assert problem.node == "/newest" and problem.where == "link"
    assert len(store["runs/17/hits"]) == 1
    del store["newest"]
    assert store.check().ok


def test_a_stored_target_that_is_no_path_is_said_and_found_by_check(store: kist.Store) -> None:
    from kist.format.link import LinkForm, LinkRecord

    for target in ("a//b", "..", ""):
        record = LinkRecord(LinkForm.PATH, {"path": target})
        with store._write() as txn:
            txn.put(keys.link(store.open_link("newest")._id), pack_record(record.pack()))
        with pytest.raises(kist.LinkError, match="what is no path"):
            store["newest"]
        assert [problem.where for problem in store.check().problems] == ["link"]


def test_an_older_reader_refuses_a_link_and_nothing_else(tmp_path: Path) -> None:
    # As a reader without links sees one: a kind of node that it does not know.
    shutil.copy(Path(__file__).parents[1] / "golden" / "links.kist", tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist", "r+") as store:
        link = store.open_link("newest")
        with store._write() as txn:
            for key in (keys.node(link._id), keys.child(1, "newest")):
                value = txn.get(key)
                assert value is not None
                txn.put(key, value[:1] + b"\x09" + value[2:])
        assert store["runs/17"][:].tolist() == [1.5, 2.5]
        with pytest.raises(UnsupportedVersionError, match="'/newest' is a node of unknown kind 9"):
            store["newest"]
