"""Links to other kist files: which are opened, at which version, and until when."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import kist
from kist.format import keys
from kist.format.link import LinkForm, LinkRecord
from kist.format.values import pack_record
from kist.model import store as store_module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a store and one below it, inside another folder with one more."""
    inner = tmp_path / "inner"
    (inner / "sub").mkdir(parents=True)
    for path in (inner / "cal.kist", inner / "sub" / "cal.kist", tmp_path / "outside.kist"):
        with kist.open(path, "w") as store:
            store["g/x"] = np.array([1, 2, 3])
            store.tag("first")
            store["g/x"][0] = 9
    return inner


def put_target(link: kist.Link, file: str, path: str = "/g/x") -> None:
    """Let a link say what no kist would write."""
    said = {"file": file, "path": path, "version": None, "store": None}
    with link.store._write() as txn:
        txn.put(keys.link(link._id), pack_record(LinkRecord(LinkForm.FILE, said).pack()))


def test_links_to_other_files_are_followed_and_closed_with_the_store(folder: Path) -> None:
    with kist.open(folder / "a.kist", "w") as store:
        store.create_link("new", "/g/x", file="cal.kist")
        store.create_link("old", "/g/x", file="sub/cal.kist", version="first")
        store.create_link("all", "/", file=folder / "cal.kist")
        with kist.open(folder / "cal.kist") as other:
            assert store.create_link("handle", other["g"]).leads_to == "cal.kist:/g"
        assert store["new"][:].tolist() == [9, 2, 3]
        assert store["old"][:].tolist() == [1, 2, 3]
        assert store["all/g/x"].is_same(store["new"]) and store["handle/x"].is_same(store["new"])
        link = store.open_link("old")
        assert (link.linked_file, link.target, link.version) == ("sub/cal.kist", "/g/x", "first")
        assert "link -> sub/cal.kist:/g/x at 'first'" in repr(link)
        handle = store["new"]
    with pytest.raises(kist.StoreClosedError):
        handle[:]
    assert not kist.open(folder / "cal.kist", "r+").closed  # nobody holds a lock


def test_a_handle_outlives_a_store_that_nobody_holds(folder: Path) -> None:
    with kist.open(folder / "a.kist", "w") as store:
        store.create_link("l", "/g", file="cal.kist")
    handle = kist.open(folder / "a.kist")["l"]
    assert handle["x"][:].tolist() == [9, 2, 3]


def test_nothing_is_written_through_a_link_to_another_file(folder: Path) -> None:
    with kist.open(folder / "a.kist", "w") as store:
        store.create_link("l", "/g", file="cal.kist")
        with pytest.raises(kist.ReadOnlyError):
            store["l/x"][0] = 1
        for change in (
            lambda: store.create_array("l/y", [1]),
            lambda: store.move("l/x", "x"),
            lambda: store.__delitem__("l/x"),
        ):
            with pytest.raises(kist.LinkError, match="which a link only reads"):
                change()
        store.copy(store["l/x"], "x")
        assert store["x"][:].tolist() == [9, 2, 3]


@pytest.mark.parametrize(
    "file",
    ["../outside.kist", "sub/../../outside.kist", "/etc/passwd", "", "sub/..", "nul\0.kist",
     "x" * 5000, "away/outside.kist", "away.kist", "~/x.kist", "file:///etc/passwd", "sub",
     "\ud800.kist", "\udcff.kist"],
)  # fmt: skip
def test_no_file_outside_the_folder_is_opened(
    folder: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "away").symlink_to(folder.parent)
    (folder / "away.kist").symlink_to(folder.parent / "outside.kist")
    with kist.open(folder / "a.kist", "w") as store:
        put_target(store.create_link("l", "/g/x", file="cal.kist"), file)
        monkeypatch.setattr(store_module, "open", None)
        with pytest.raises(kist.LinkError, match="link '/l'"):
            store["l"]
        assert "l" not in store and store.get("l") is None
        assert store.open_link("l").info["dangling"] is True
        assert store.check().ok


def test_a_file_is_never_named_from_the_root_of_the_system(folder: Path) -> None:
    """Even where it is an allowed one: the folder would not stand where it stood."""
    with kist.open(folder / "a.kist", "w") as store:
        put_target(store.create_link("l", "/g/x", file="cal.kist"), str(folder / "cal.kist"))
        with pytest.raises(kist.LinkError, match="no relative path"):
            store["l"]
        assert store.open_link("l").info["dangling"] is True


def test_roots_say_where_files_may_be(folder: Path) -> None:
    outside = folder.parent / "outside.kist"
    with kist.open(folder / "a.kist", "w") as store:
        with pytest.raises(kist.LinkError, match=r"below .*inner'.*link_roots="):
            store.create_link("l", "/g/x", file=outside)
        assert list(store) == []
    with kist.open(folder / "a.kist", "a", link_roots=folder.parent) as store:
        store.create_link("l", "/g/x", file=outside)
        store.create_link("in", "/g/x", file="cal.kist")
        assert store.open_link("l").linked_file == "../outside.kist"
        assert store["l"][0] == store["in"][0] == 9
    with kist.open(folder / "a.kist", link_roots=[folder.parent / "elsewhere", folder]) as store:
        assert store["in"][0] == 9 and "l" not in store
    with (
        kist.open(folder / "a.kist", link_roots=[]) as store,
        pytest.raises(kist.LinkError, match="below no folder"),
    ):
        store["in"]


def test_a_store_opened_by_a_symbolic_link_has_the_folder_that_it_stands_in(folder: Path) -> None:
    with kist.open(folder / "a.kist", "w") as store:
        store.create_link("l", "/g/x", file="cal.kist")
    (folder.parent / "alias.kist").symlink_to(folder / "a.kist")
    with kist.open(folder.parent / "alias.kist") as store:
        assert store["l"][0] == 9


def test_links_of_other_files_are_held_to_the_same_roots(folder: Path) -> None:
    with kist.open(folder / "sub" / "cal.kist", "r+", link_roots=folder.parent) as sub:
        sub.create_link("up", "/g/x", file="../cal.kist")
        sub.create_link("out", "/g/x", file="../../outside.kist")
    with kist.open(folder / "a.kist", "w") as store:
        store.create_link("sub", "/", file="sub/cal.kist")
        assert store["sub/up"][0] == 9
        with pytest.raises(kist.LinkError, match=r"'/out' leads to .*outside\.kist"):
            store["sub/out"]


def test_circles_over_several_files_are_found(folder: Path) -> None:
    with kist.open(folder / "b.kist", "w") as b, kist.open(folder / "a.kist", "w") as a:
        b.create_link("y", "/x", file="a.kist")
        a.create_link("x", "/y", file="b.kist")
        b.sync()
        with pytest.raises(kist.LinkError, match=r"in a circle: '/x' -> b\.kist:/y, ") as caught:
            a["x"]
        assert caught.value.cycle and "x" not in a
        a.create_link("self", "/self", file="a.kist")
        with pytest.raises(kist.LinkError, match="in a circle"):
            a["self"]


def test_missing_replaced_and_damaged_files_are_named(folder: Path) -> None:
    target = folder / "cal.kist"
    with kist.open(folder / "a.kist", "w") as store:
        store.create_link("l", "/g/x", file="cal.kist")
        store.create_link("later", "/g/x", file="later.kist")
        store.create_link("nothing", "/g/y", file="cal.kist")
    with kist.open(folder / "a.kist") as store:
        with pytest.raises(kist.LinkError, match="'/nothing' leads nowhere: there is no '/g/y'"):
            store["nothing"]
        with pytest.raises(kist.LinkError, match=r"'/later' leads to .*later\.kist', which is not"):
            store["later"]
        assert "later.kist:/g/x (dangling)" in str(store.tree())
    shutil.copy(target, folder / "later.kist")
    with kist.open(folder / "a.kist") as store:
        assert store["later"][0] == 9
    target.unlink()
    for content, why in (
        (b"", "not a kist store|empty|no kist"),
        (b"\x89HDF\r\n\x1a\n" + bytes(2000), "HDF5"),
    ):
        target.write_bytes(content)
        with (
            kist.open(folder / "a.kist") as store,
            pytest.raises(kist.LinkError, match=f"'/l' leads to '.*cal.kist': .*({why})"),
        ):
            store["l"]
    target.unlink()
    with kist.open(target, "w") as other:
        other["g/x"] = [0]
    with (
        kist.open(folder / "a.kist") as store,
        pytest.raises(kist.LinkError, match=r"'/l' leads to .*which is another store"),
    ):
        store["l"]
    target.unlink()
    os.mkfifo(target)  # an open would wait for ever
    with (
        kist.open(folder / "a.kist") as store,
        pytest.raises(kist.LinkError, match="no regular file"),
    ):
        store["l"]


def test_a_file_that_cannot_be_linked_as_part_of_a_table_is_named_with_the_link(
    folder: Path,
) -> None:
    (folder / "sub" / "cal.kist").write_bytes(b"no store")
    with kist.open(folder / "a.kist", "w") as store:
        with pytest.raises(kist.LinkError, match=r"link '/g/all' leads to '.*sub/cal\.kist'"):
            store.create_union("g/all", "g/x", files=["cal.kist", "sub/cal.kist"])
        assert "g" not in store


def test_too_many_open_files_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with kist.open(folder / "a.kist", "w") as store:
        store.create_link("l", "/g/x", file="cal.kist")
    with kist.open(folder / "a.kist") as store:
        monkeypatch.setattr(store_module, "open", full)
        with pytest.raises(kist.LinkError, match=r"'/l' leads to .*cal\.kist.*ulimit -n"):
            store["l"]


def test_versions_are_pinned_or_followed(folder: Path) -> None:
    target = folder / "cal.kist"
    with kist.open(folder / "a.kist", "w") as store:
        store.create_link("new", "/g/x", file="cal.kist")
        store.create_link("old", "/g/x", file="cal.kist", version="first")
        for wrong, why in (("nothing", "nothing"), (10**6, "commit")):
            with pytest.raises(kist.LinkError, match=f"'/bad' leads to .*cal.kist': .*{why}"):
                store.create_link("bad", "/g/x", file="cal.kist", version=wrong)
        with pytest.raises(TypeError, match="a version is an int or a str"):
            store.create_link("bad", "/g/x", file="cal.kist", version=1.5)  # type: ignore[arg-type]
        reader = kist.open(folder / "a.kist")
        assert (store["new"][0], reader["new"][0]) == (9, 9)
        with kist.open(target, "r+") as other:
            other["g/x"][0] = 10
        assert (store["new"][0], reader["new"][0]) == (10, 9)
        reader.refresh()
        assert (reader["new"][0], reader["old"][0], store["old"][0]) == (10, 1, 1)
        shutil.copy(target, folder / "copy.kist")
        with kist.open(folder / "copy.kist", "r+") as other:
            other["g/x"][0] = 11
        os.replace(folder / "copy.kist", target)  # the same store, restored or moved here
        assert (store["new"][0], reader["new"][0]) == (11, 10)
        reader.refresh()
        assert reader["new"][0] == 11
        with kist.open(target, "r+") as other:
            other.untag("first")
        reader.close()
    with (
        kist.open(folder / "a.kist") as store,
        pytest.raises(kist.LinkError, match=r"'/old' leads to .*'first'"),
    ):
        store["old"]


def test_copies_keep_the_text_of_a_link(folder: Path) -> None:
    with kist.open(folder / "a.kist", "w") as store:
        store.create_link("l", "/g/x", file="cal.kist", version="first")
        store.backup(folder / "b.kist", compact=True)
        store.backup(folder.parent / "c.kist")
    with kist.open(folder / "b.kist") as store:
        assert store["l"][0] == 1
    with (
        kist.open(folder.parent / "c.kist") as store,
        pytest.raises(kist.LinkError, match="is not there"),
    ):
        store["l"]
