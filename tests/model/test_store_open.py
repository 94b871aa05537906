"""Opening and closing: modes, versions, and everything that is not a store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kist

ROWS = np.array([(1, 2.0), (3, 4.0)], "i4,f8")


def make(path: Path, **attrs: object) -> int:
    """Make a store with one table and some attributes; return its newest commit."""
    with kist.open(path, "x") as store:
        store["t"] = ROWS
        store.attrs.update(attrs or {"n": 1})
        return store.commit_id


def test_a_store_keeps_what_was_put_into_it(path: Path) -> None:
    make(path, camera="B")
    with kist.open(path) as store:
        assert store.mode == "r"
        assert list(store) == ["t"]
        assert store.attrs["camera"] == "B"
        np.testing.assert_array_equal(store["t"][:], ROWS)


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_missing_file_is_not_made(path: Path, mode: str) -> None:
    with pytest.raises(kist.StoreNotFoundError):
        kist.open(path, mode)
    with pytest.raises(FileNotFoundError):
        kist.open(path, mode)
    assert not path.exists()


@pytest.mark.parametrize("mode", ["a", "w", "x"])
def test_modes_that_make_a_file_make_it_at_once(path: Path, mode: str) -> None:
    with kist.open(path, mode), kist.open(path) as reader:
        assert len(reader) == 0


def test_x_refuses_a_file_that_exists(path: Path) -> None:
    make(path)
    before = path.read_bytes()
    with pytest.raises(kist.StoreExistsError):
        kist.open(path, "x")
    assert path.read_bytes() == before


def test_w_empties_the_store_in_its_first_commit(path: Path) -> None:
    make(path)
    with kist.open(path, "w") as store:
        assert len(store) == 0, "it looks empty before the first commit"
        assert len(store.attrs) == 0
        with kist.open(path) as reader:
            assert list(reader) == ["t"], "and others still see what was there"
        store.attrs["new"] = 1
        with kist.open(path) as reader:
            assert list(reader) == []
            assert dict(reader.attrs) == {"new": 1}


def test_w_that_writes_nothing_leaves_an_empty_store(path: Path) -> None:
    make(path)
    kist.open(path, "w").close()
    with kist.open(path) as store:
        assert len(store) == 0


def test_w_that_dies_before_its_first_commit_changes_nothing(path: Path) -> None:
    make(path)
    code = f"import kist, os; s = kist.open({str(path)!r}, 'w'); os._exit(1)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1
    with kist.open(path) as store:
        assert list(store) == ["t"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" * 2000, b"\x89HDF\r\n\x1a\n" + bytes(9000)])
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_file_that_is_no_store_is_refused_and_unchanged(
    path: Path, content: bytes, mode: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(kist.FormatError):
        kist.open(path, mode)
    assert path.read_bytes() == content


def test_w_replaces_a_foreign_file_only_when_told_so(path: Path) -> None:
    content = b"precious" * 1000
    path.write_bytes(content)
    with pytest.raises(kist.NotAStoreError, match="overwrite=True"):
        kist.open(path, "w")
    assert path.read_bytes() == content
    with kist.open(path, "w", overwrite=True) as store:
        store.attrs["x"] = 1
    with kist.open(path) as store:
        assert store.attrs["x"] == 1


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(kist.NotAStoreError):
        kist.open(tmp_path)


def test_path_objects_and_relative_paths_are_taken(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(path)
    monkeypatch.chdir(path.parent)
    with kist.open(path.name, "r+") as store:
        monkeypatch.chdir("/")
        store.attrs["later"] = 1
        assert store.path == os.path.abspath(path)
        assert store.filename == store.path


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"mode": "rw"}, ValueError),
        ({"durability": "high"}, ValueError),
        ({"mode": "r+", "version": 1}, ValueError),
        ({"secrets": {"k": b"x"}}, kist.KistError),
    ],
)
def test_options_that_make_no_sense_raise(
    path: Path, options: dict[str, object], error: type[Exception]
) -> None:
    make(path)
    with pytest.raises(error):
        kist.open(path, **options)  # type: ignore[arg-type]


def test_a_store_in_memory_takes_writes_without_a_mode() -> None:
    with kist.open(":memory:") as store:
        store["t"] = ROWS
        assert len(store["t"]) == 2
    with kist.open(":memory:") as other:
        assert len(other) == 0


def test_a_store_in_memory_can_be_told_to_refuse_writes() -> None:
    with kist.open(":memory:", "r") as store, pytest.raises(kist.ReadOnlyError):
        store.attrs["x"] = 1


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.create_group("g"),
        lambda s: s.__delitem__("t"),
        lambda s: s.move("t", "u"),
        lambda s: s.attrs.update(a=1),
        lambda s: s["t"].append(ROWS),
        lambda s: s.begin(),
        lambda s: s.transaction().__enter__(),
        lambda s: s.tag("v"),
        lambda s: s.untag("v"),
        lambda s: s.compact(),
    ],
)
def test_a_store_opened_for_reading_refuses_changes(path: Path, change: object) -> None:
    make(path)
    before = path.read_bytes()
    with kist.open(path) as store, pytest.raises(kist.ReadOnlyError, match=r"'r\+' or 'a'"):
        change(store)  # type: ignore[operator]
    assert path.read_bytes() == before


def test_a_closed_store_raises_and_says_so(path: Path) -> None:
    make(path)
    store = kist.open(path, "r+")
    table, attrs = store["t"], store.attrs
    store.close()
    store.close()
    assert store.closed
    for use in (
        lambda: store["t"],
        lambda: list(store),
        lambda: table[:],
        lambda: attrs["n"],
        lambda: store.create_group("g"),
        lambda: store.begin(),
        lambda: store.history(),
        lambda: store.refresh(),
        lambda: store.check(),
        lambda: store.__enter__(),
    ):
        with pytest.raises(kist.StoreClosedError, match="closed"):
            use()
    with pytest.raises(ValueError):  # as files do
        list(store)
    assert "closed" in repr(store)
    assert "closed" in repr(table)
    assert "closed" in repr(attrs)


def test_a_forgotten_store_closes_with_its_last_handle(path: Path) -> None:
    make(path)
    store = kist.open(path)
    table = store["t"]
    del store
    np.testing.assert_array_equal(table[:], ROWS)  # the handle keeps it open
    del table
    open_files = [os.readlink(f"/proc/self/fd/{fd}") for fd in _descriptors()]
    assert str(path) not in open_files


def _descriptors() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]


def test_expect_commit_notices_that_an_old_copy_was_put_back(path: Path) -> None:
    newest = make(path)
    copy = path.read_bytes()
    with kist.open(path, "r+") as store:
        store.attrs["later"] = 1
        newer = store.commit_id
    assert newer > newest
    kist.open(path, expect_commit=newer).close()
    kist.open(path, expect_commit=newest).close()
    path.write_bytes(copy)
    with pytest.raises(kist.TamperedDataError, match="older copy"):
        kist.open(path, expect_commit=newer)


def test_repr_says_what_is_there_and_what_is_newer(path: Path) -> None:
    make(path)
    with kist.open(path) as reader, kist.open(path, "r+") as writer:
        assert "newer" not in repr(reader)
        writer.create_group("more")
        assert "1 newer commit:" in repr(reader)
        writer.create_group("and more")
        assert "2 newer commits" in repr(reader)
        assert "'t'" not in repr(reader) and "── t" in repr(reader)
        reader.refresh()
        assert "newer" not in repr(reader)
        assert "and more" in repr(reader)


def test_a_reader_stays_on_its_commit_until_it_refreshes(path: Path) -> None:
    make(path)
    with kist.open(path) as reader, kist.open(path, "r+") as writer:
        table = reader["t"]
        before = reader.commit_id
        writer["t"].append(ROWS)
        writer.attrs["n"] = 2
        assert len(table) == 2
        assert reader.attrs["n"] == 1
        assert reader.commit_id == before
        assert reader.refresh() == writer.commit_id
        assert len(table) == 4
        assert reader.attrs["n"] == 2


def test_a_handle_that_writes_sees_the_newest_commit_of_others(path: Path) -> None:
    make(path)
    with kist.open(path, "r+") as one, kist.open(path, "a") as two:
        one.attrs["n"] = 2
        assert two.attrs["n"] == 2
        two["t"].append(ROWS)
        assert len(one["t"]) == 4


def test_read_holds_one_commit_over_several_calls(path: Path) -> None:
    make(path)
    with kist.open(path, "r+") as store:
        with store.read():
            store.attrs["n"] = 2
            assert store.attrs["n"] == 1
            with store.read():
                assert store.attrs["n"] == 1
            assert store.attrs["n"] == 1
            with store.transaction():
                assert store.attrs["n"] == 2, "a transaction sees the newest commit"
            assert store.attrs["n"] == 1
        assert store.attrs["n"] == 2


def test_read_in_a_reader_outlives_its_refresh(path: Path) -> None:
    make(path)
    with kist.open(path) as reader, kist.open(path, "r+") as writer:
        with reader.read():
            writer.attrs["n"] = 2
            reader.refresh()
            assert reader.attrs["n"] == 1
        assert reader.attrs["n"] == 2


def test_a_file_cut_short_is_damage_not_an_empty_store(path: Path) -> None:
    make(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:0x1000])
    with pytest.raises(kist.FormatError):
        kist.open(path)


@pytest.mark.parametrize("length", [100, 4096])
def test_a_file_that_is_cut_while_it_is_open_is_damaged(tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.kist"
    make(path)
    with kist.open(path, "r+") as store:
        os.truncate(path, length)
        with pytest.raises(kist.CorruptDataError):
            store.attrs["a"] = 1
