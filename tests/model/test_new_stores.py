"""Stores that get their names when they are whole: what is synced, how often, and when."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import StorageError
from kist.model import saving
from kist.testing.faults import Fault
from kist.testing.folders import FolderRecorder
from kist.testing.system import FaultySystem

KEY = bytes(range(32))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.kist"
    with kist.open(path, "w") as store:
        rows = np.zeros(6000, [("x", "f8"), ("y", "i4")])
        rows["x"], rows["y"] = np.random.default_rng(1).normal(size=6000), np.arange(6000)
        store.create_table("t", rows)
        store.create_array("a", rows["x"], chunks=(1000,))
        store.create_keystore("k").update({str(n): rows["x"][n:] for n in range(9)})
    return path


def split(source: Path, durability: Any) -> list[str]:
    out = source.parent / "out"
    return kist.split(source, "t", parts=3, out=out, durability=durability)


def merge(source: Path, durability: Any) -> list[str]:
    out = str(source.parent / "merged.kist")
    kist.merge([source], out, durability=durability)
    return [out]


def save(source: Path, durability: Any) -> list[str]:
    out = str(source.parent / "saved.kist")
    kist.savez(out, np.arange(5000.0), np.arange(300), durability=durability)
    return [out]


def sealed(source: Path, durability: Any) -> list[str]:
    out = str(source.parent / "sealed.kist")
    kist.merge([source], out, durability=durability, encrypt=KEY)
    return [out]


Make = Callable[[Path, Any], list[str]]
MAKERS: list[Make] = [split, merge, save, sealed]


@pytest.fixture(autouse=True)
def _not_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "_SMALL", 0)


@pytest.mark.parametrize("make", MAKERS)
def test_one_sync_of_each_file_and_one_of_their_folder(source: Path, make: Make) -> None:
    with FaultySystem() as system:
        names = make(source, "full")
    folders = 2 if make is split else 1  # the folder of the files, and the one it was made in
    assert system.calls["sync"] == len(names)
    assert system.calls["directory sync"] == folders


@pytest.mark.parametrize("make", MAKERS)
def test_a_file_is_synced_behind_its_last_commit_and_before_it_is_named(
    source: Path, make: Make
) -> None:
    """Only the mark that it was closed in order comes later, which protects against damage."""
    with FolderRecorder(source.parent) as recorder:
        names = make(source, "full")
    log = recorder.log
    for name in names:
        named = [at for at, one in enumerate(log) if one.kind == "names" and name in one.names]
        number = log[named[-1]].names[name]
        own = [(at, one) for at, one in enumerate(log) if one.number == number]
        (synced,) = [at for at, one in own if one.kind == "sync"]
        assert synced < named[0]
        behind = [one for at, one in own if at > synced and one.kind in ("write", "resize")]
        assert sum(len(one.data) for one in behind) <= 2 * 4096
        assert all(one.kind == "write" and one.offset < 0x44000 for one in behind)
        assert [at for at, one in enumerate(log) if one.kind == "folder sync"][-1] > named[-1]


@pytest.mark.parametrize("make", MAKERS)
def test_nothing_is_synced_where_nothing_shall_be(source: Path, make: Make) -> None:
    with FaultySystem() as system:
        names = make(source, "none")
    assert system.calls["sync"] == system.calls["directory sync"] == 0
    for name in names:
        with kist.open(name, secrets={"/": KEY} if make is sealed else None) as store:
            assert store.check().ok


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("kind", ["sync", "directory sync"])
def test_a_sync_that_fails_is_an_error_and_leaves_no_file(
    source: Path, make: Make, kind: str
) -> None:
    before = sorted(source.parent.rglob("*"))
    with FaultySystem() as system:
        system.fail(Fault(kind, 1, errno.EIO))
        with pytest.raises((StorageError, OSError), match=r"[Ii]nput/output") as caught:
            make(source, "full")
    assert system.fired
    assert ".part" not in str(caught.value)
    if make is not save or kind == "sync":  # which has replaced what was there by then
        assert sorted(source.parent.rglob("*")) == before


@pytest.mark.parametrize("make", [split, merge, save])
def test_other_durabilities_are_refused(source: Path, make: Make) -> None:
    before = sorted(source.parent.rglob("*"))
    with pytest.raises(ValueError, match="durability is 'full' or 'none', not 'relaxed'"):
        make(source, "relaxed")
    assert sorted(source.parent.rglob("*")) == before


def test_a_secret_is_in_no_traceback_of_a_wrong_durability(source: Path) -> None:
    secret = os.urandom(32)
    with pytest.raises(ValueError, match="durability") as caught:
        kist.merge([source], source.parent / "m.kist", durability="no", encrypt=secret)  # type: ignore[arg-type]
    trace: Any = caught.value.__traceback__.tb_next  # type: ignore[union-attr]
    while trace is not None:
        assert secret not in trace.tb_frame.f_locals.values()
        trace = trace.tb_next
