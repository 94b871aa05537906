"""Copies of a store in use: whole, the same, and never half there."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest

import kist
from kist.cli.main import cli
from kist.engine import backup as engine_backup
from kist.storage import FileBackend
from kist.testing.programs import World, take_step


@pytest.fixture
def store(path: Path) -> Iterator[kist.Store]:
    with kist.open(path, "x", durability="none", retain=1) as store:
        yield store


def grown(store: kist.Store, world: World, steps: int) -> World:
    """Take steps of a random program over all objects."""
    for _ in range(steps):
        take_step(store, world)
        world = world.next()
    return world


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_copy_shows_the_same_and_can_be_written_on(
    store: kist.Store, tmp_path: Path, compact: bool, seed: int
) -> None:
    world = World(seed)
    for n in range(4):
        world = grown(store, world, 9)
        target = tmp_path / f"{n}.kist"
        size = store.backup(target, compact=compact)
        assert size == target.stat().st_size
        with kist.open(target, "r+", durability="none") as copy:
            assert copy.uuid == store.uuid
            assert copy.commit_id >= store.commit_id
            assert world.differences(copy) == []
            assert copy.check().ok
            later = grown(copy, world, 12)
            copy.compact()
            assert later.differences(copy) == []
            assert copy.check().ok
        assert world.differences(store) == []


def test_tags_go_with_a_copy_and_stay_readable(store: kist.Store, tmp_path: Path) -> None:
    worlds = [World(5)]
    for n in range(3):
        worlds.append(grown(store, worlds[-1], 12))
        store.tag(f"t{n}")
    world = grown(store, worlds[-1], 5)
    target = tmp_path / "copy.kist"
    store.backup(target)
    with kist.open(target, "r+", durability="none") as copy:
        assert dict(copy.tags) == dict(store.tags)
        grown(copy, world, 15)
    for n in range(3):
        with kist.open(target, version=f"t{n}") as old:
            assert worlds[n + 1].differences(old) == []
    with kist.open(target, "r+") as copy:
        for n in range(3):
            copy.untag(f"t{n}")
        copy.compact()
        assert copy.check().ok


def test_a_store_opened_at_a_version_copies_that_version(
    store: kist.Store, path: Path, tmp_path: Path
) -> None:
    world = grown(store, World(6), 15)
    store.tag("then")
    grown(store, world, 15)
    target = tmp_path / "then.kist"
    with kist.open(path, version="then") as then:
        then.backup(target)
    with kist.open(target) as copy:
        assert world.differences(copy) == []
        assert copy.check().ok
        assert not copy.tags


def test_a_compact_copy_is_small_and_in_the_order_of_reading(
    store: kist.Store, path: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for n in range(6):
        store["a"] = rng.integers(0, 2**60, 40_000 + n)
        store["b"] = rng.integers(0, 2**60, 20_000 - n)
    store.tag("late")
    store["b"] = rng.integers(0, 2**60, 20_000)
    full, small = (tmp_path / name for name in ("full", "small"))
    store.backup(full)
    store.backup(small, compact=True)
    data = 8 * (40_005 + 20_000)
    assert small.stat().st_size < data + 300_000 < full.stat().st_size
    assert full.stat().st_size <= path.stat().st_size + 20_000
    content = small.read_bytes()
    firsts = [store[name][:1].tobytes() for name in ("a", "b")]
    assert 0 < content.find(firsts[0]) < content.find(firsts[1])


def test_a_store_in_memory_can_be_copied(tmp_path: Path) -> None:
    with kist.open(":memory:") as store:
        world = grown(store, World(2), 10)
        for compact in (False, True):
            store.backup(tmp_path / f"{compact}.kist", compact=compact)
            with kist.open(tmp_path / f"{compact}.kist") as copy:
                assert world.differences(copy) == []


def test_a_copy_of_an_empty_store_is_an_empty_store(store: kist.Store, tmp_path: Path) -> None:
    for compact in (False, True):
        store.backup(tmp_path / f"{compact}", compact=compact)
        with kist.open(tmp_path / f"{compact}", "a") as copy:
            assert list(copy) == []
            copy["x"] = [1]
            assert copy.check().ok


@pytest.mark.parametrize("compact", [False, True])
def test_writers_and_tags_may_change_everything_meanwhile(
    store: kist.Store, tmp_path: Path, compact: bool
) -> None:
    rng = np.random.default_rng(1)
    for n in range(20):
        store[f"d{n}"] = rng.integers(0, 2**60, 30_000)
    store.tag("first")
    for n in range(16, 20):  # what only the tag keeps
        store[f"d{n}"] = rng.integers(0, 2**60, 30_000)
    expected = {name: store[name][:] for name in store}
    with kist.open(store.path, version="first") as old:
        tagged = old["d19"][:]
    steps: list[int] = []

    def meddle(done: int, total: int) -> None:
        if len(steps) < 3:  # what is yet to be copied is replaced, again and again
            if steps:
                store.untag("first" if len(steps) == 1 else "second")
            for n in range(12):
                store[f"d{19 - n % 4}"] = rng.integers(0, 2**60, 30_000)
            store.tag("second" if len(steps) == 1 else "third", move=True)
        steps.append(done)
        assert done <= total

    monkey = 1 << 18
    original, engine_backup._PIECE = engine_backup._PIECE, monkey
    try:
        store.backup(tmp_path / "copy", compact=compact, progress=meddle)
    finally:
        engine_backup._PIECE = original
    assert len(steps) > 5
    assert steps == sorted(steps)
    with kist.open(tmp_path / "copy") as copy:
        assert copy.check().ok
        assert sorted(copy) == sorted(expected)
        for name, values in expected.items():
            assert np.array_equal(copy[name][:], values)
    if not compact:
        with kist.open(tmp_path / "copy", version="first") as old:
            assert np.array_equal(old["d19"][:], tagged)
    assert store.check().ok


# What goes wrong


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_the_store_itself_and_other_files_are_not_replaced(
    store: kist.Store, path: Path, tmp_path: Path
) -> None:
    store["x"] = [1, 2]
    link = tmp_path / "link.kist"
    os.link(path, link)
    for target in (path, link):
        for overwrite in (False, True):
            with pytest.raises(kist.StoreExistsError, match="the store itself"):
                store.backup(target, overwrite=overwrite)
    other = tmp_path / "other"
    other.write_bytes(b"mine")
    with pytest.raises(kist.StoreExistsError, match="overwrite=True"):
        store.backup(other)
    assert other.read_bytes() == b"mine"
    with pytest.raises(kist.StorageError, match="is a folder"):
        store.backup(tmp_path, overwrite=True)
    with pytest.raises(kist.StorageError, match="no folder"):
        store.backup(tmp_path / "nowhere" / "x")
    assert left(tmp_path) == ["link.kist", "other", "t.kist"]
    store.backup(other, overwrite=True)
    with kist.open(other) as copy:
        assert copy["x"][:].tolist() == [1, 2]
    assert left(tmp_path) == ["link.kist", "other", "t.kist"]


def test_what_comes_to_the_target_meanwhile_is_not_replaced(
    store: kist.Store, tmp_path: Path
) -> None:
    store["x"] = np.arange(1000)
    target = tmp_path / "copy"
    with pytest.raises(kist.StoreExistsError, match="cannot be given this name"):
        store.backup(target, progress=lambda done, total: target.write_bytes(b"first") and None)
    assert target.read_bytes() == b"first"
    assert left(tmp_path) == ["copy", "t.kist"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_where_a_file_has_one_name_only_it_is_renamed(
    store: kist.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*names: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    store.backup(tmp_path / "copy")
    assert left(tmp_path) == ["copy", "t.kist"]


def failing(number: int, name: str) -> Callable[[int], Any]:
    """A method of backends that fails at its n-th call on a copy."""

    def make(nth: int) -> Any:
        original = getattr(FileBackend, name)
        calls: list[int] = []

        def method(self: FileBackend, *arguments: Any) -> Any:
            if self.path.endswith(".part"):
                calls.append(1)
                if len(calls) == nth:
                    raise self._failed(name, OSError(number, os.strerror(number)))
            return original(self, *arguments)

        return method

    return make


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize(
    ("number", "name"),
    [(errno.ENOSPC, "write"), (errno.EIO, "sync"), (errno.EFBIG, "resize"), (errno.EIO, "read")],
)
def test_a_copy_that_fails_leaves_nothing(
    store: kist.Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compact: bool,
    number: int,
    name: str,
) -> None:
    world = grown(store, World(4), 12)
    for nth in range(1, 100):
        with monkeypatch.context() as patch:
            patch.setattr(FileBackend, name, failing(number, name)(nth))
            try:
                store.backup(tmp_path / "copy", compact=compact)
            except kist.StorageError as error:
                assert error.errno == number
                assert left(tmp_path) == ["t.kist"]
                continue
        break  # there is no n-th call
    assert 1 < nth < 99
    assert world.differences(store) == []
    assert store.check().ok


def test_an_interrupted_copy_leaves_nothing(store: kist.Store, tmp_path: Path) -> None:
    store["x"] = np.arange(100_000)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.backup(tmp_path / "copy", progress=interrupt)
    assert left(tmp_path) == ["t.kist"]


@pytest.mark.parametrize("compact", [False, True])
def test_a_damaged_store_gives_no_copy(path: Path, tmp_path: Path, compact: bool) -> None:
    with kist.open(path, "x") as store:
        store["x"] = np.random.default_rng(0).integers(0, 2**60, 70_000)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with kist.open(path) as store, pytest.raises(kist.CorruptDataError, match="salvage"):
        store.backup(tmp_path / "copy", compact=compact)
    assert left(tmp_path) == ["t.kist"]


def test_a_transaction_is_no_commit_yet(store: kist.Store, tmp_path: Path) -> None:
    with store.transaction():
        store["x"] = [1]
        with pytest.raises(kist.TransactionError, match="end it first"):
            store.backup(tmp_path / "copy")
        # Another thread copies the commit before it.
        thread = threading.Thread(target=lambda: store.backup(tmp_path / "other"))
        thread.start()
        thread.join()
    with kist.open(tmp_path / "other") as copy:
        assert list(copy) == []
    with pytest.raises(TypeError, match="not int"):
        store.backup(3)  # type: ignore[arg-type]


def test_the_command_copies_and_says_so(store: kist.Store, path: Path, tmp_path: Path) -> None:
    store["x"] = np.arange(5)
    store.tag("one")
    store["x"] = np.arange(9)
    runner, target = click.testing.CliRunner(), str(tmp_path / "copy")
    done = runner.invoke(cli, ["backup", str(path), target])
    assert (done.exit_code, "verified" in done.output) == (0, True), done.output
    assert runner.invoke(cli, ["backup", str(path), target]).exit_code == 3
    done = runner.invoke(cli, ["backup", "--overwrite", "-c", "--at", "one", str(path), target])
    assert done.exit_code == 0, done.output
    with kist.open(target) as copy:
        assert len(copy["x"]) == 5
