"""Files that appear under a name: created, emptied, or moved there when they are complete.

Recorded are real files, with the names that they get. Until the folder is synced a name may be
gone after a crash, or lead to what stood there before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crash_stores import OpenStore, probe, read_state, rows_of

import kist
from kist.engine import creation
from kist.errors import StorageError
from kist.storage import MemoryBackend, newfile
from kist.testing.crash import Acknowledged, Possible, Report, judge_log
from kist.testing.recording import Recorder, recording_files

pytestmark = pytest.mark.usefixtures("one_thread")


EMPTY: Any = ({"/": {}}, {})


def state_of(path: Path) -> Any:
    opened = OpenStore(MemoryBackend(path.read_bytes(), writable=False), "r")
    try:
        return read_state(opened)
    finally:
        opened.close()


def judged(recorder: Recorder, **more: Any) -> Report:
    options: dict[str, Any] = {"limit": 60, "deep": 0.02, "prefixes": True, **more}
    return judge_log(recorder.log, read_state, OpenStore, probe=probe, **options)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Logs what the engine does to files that it makes, and the names that they get."""
    recorder = Recorder()
    files = recording_files(recorder)
    monkeypatch.setattr(creation, "FileBackend", files)
    monkeypatch.setattr(newfile, "FileBackend", files)

    def logged(real: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        def rename(old: Any, new: Any) -> None:
            before = Path(new).read_bytes() if os.path.lexists(new) else None
            real(old, new)
            recorder.rename(before)

        return rename

    for name in ("replace", "rename", "link"):
        monkeypatch.setattr(os, name, logged(getattr(os, name)))
    return recorder


# Creation


@pytest.mark.parametrize("mode", ["x", "a", "w"])
def test_a_store_that_was_created_at_a_path_stays(
    path: Path, recorder: Recorder, mode: str
) -> None:
    recorder.note(Possible(EMPTY))
    with kist.open(path, mode) as store:
        store["trades"] = rows_of(50, 1)
        recorder.note(Acknowledged(state_of(path)))
        store["trades"].append(rows_of(5, 2))
        recorder.note(Acknowledged(state_of(path)))
    report = judged(recorder)
    assert report.failures == [], str(report)


def test_a_name_that_is_not_synced_is_noticed(
    path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: Any = creation.FileBackend
    monkeypatch.setattr(files, "sync_directory", lambda self: None)
    recorder.note(Possible(EMPTY))
    with kist.open(path, "x") as store:
        store["trades"] = rows_of(50, 1)
        recorder.note(Acknowledged(state_of(path)))
    assert "gone" in str(judged(recorder))


# A backup in place of another


def backed_up(path: Path, target: Path, recorder: Recorder, compact: bool) -> None:
    """Make a backup over one that stands there, and note when each was acknowledged."""
    with kist.open(path, "x") as store:
        store["trades"] = rows_of(500, 1)
        store.backup(target)
        store["trades"].append(rows_of(20, 2))
        store.tag("kept")
        store["image"] = rows_of(40, 3)["price"]
        recorder.log.clear()
        recorder.note(Acknowledged(state_of(target)))
        store.backup(target, compact=compact, overwrite=True)
        recorder.note(Acknowledged(state_of(target)))


@pytest.fixture
def unrecorded_creation(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    from kist.storage import FileBackend

    monkeypatch.setattr(creation, "FileBackend", FileBackend)


@pytest.mark.usefixtures("unrecorded_creation")
@pytest.mark.parametrize("compact", [False, True])
def test_a_backup_is_the_old_one_or_the_new_one(
    path: Path, tmp_path: Path, recorder: Recorder, compact: bool
) -> None:
    backed_up(path, tmp_path / "copy.kist", recorder, compact)
    report = judged(recorder)
    assert report.failures == [], str(report)
    kinds = [event.kind for event in recorder.log]
    assert kinds.count("rename") == 1
    assert kinds.index("sync") < kinds.index("rename") < kinds.index("directory sync")


@pytest.mark.usefixtures("unrecorded_creation")
def test_a_backup_that_is_not_there_before_appears_whole(
    path: Path, tmp_path: Path, recorder: Recorder
) -> None:
    with kist.open(path, "x") as store:
        store["trades"] = rows_of(500, 1)
        store.backup(tmp_path / "copy.kist")
        recorder.note(Acknowledged(state_of(tmp_path / "copy.kist")))
    report = judged(recorder)
    assert report.failures == [], str(report)


@pytest.mark.usefixtures("unrecorded_creation")
@pytest.mark.parametrize("call", ["sync", "sync_directory"])
def test_a_backup_that_leaves_out_a_sync_is_noticed(
    path: Path, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    files: Any = newfile.FileBackend
    monkeypatch.setattr(files, call, lambda self: None)
    backed_up(path, tmp_path / "copy.kist", recorder, False)
    assert judged(recorder, deep=0, most_failures=1).failures


# kist.save, which writes small files whole


def saved_twice(target: Path, recorder: Recorder, n: int) -> None:
    kist.save(target, [1, 2])
    recorder.log.clear()
    recorder.note(Acknowledged(state_of(target)))
    if n:
        kist.save(target, np.random.default_rng(n).random(n))
    else:  # more than a record of the log has room for
        kist.savez(target, **{f"a{k}": np.arange(k, k + 120.0) for k in range(60)})
    recorder.note(Acknowledged(state_of(target)))


@pytest.mark.parametrize("n", [0, 10, 40_000, 300_000])
def test_a_saved_array_is_the_old_one_or_the_new_one(
    tmp_path: Path, recorder: Recorder, n: int
) -> None:
    saved_twice(tmp_path / "x.kist", recorder, n)
    report = judged(recorder)
    assert report.failures == [], str(report)
    kinds = [event.kind for event in recorder.log if event.kind not in ("note", "write", "resize")]
    assert kinds == ["sync", "rename", "directory sync"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.kist"]


@pytest.mark.parametrize("call", ["sync", "sync_directory"])
def test_a_saved_array_without_a_sync_is_noticed(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(newfile.FileBackend, call, lambda self: None)
    saved_twice(tmp_path / "x.kist", recorder, 40_000)
    assert judged(recorder, deep=0, most_failures=1).failures


@pytest.mark.parametrize("n", [10, 2_000_000])
def test_a_save_that_fails_leaves_the_old_array_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    kist.save(tmp_path / "x", [1, 2])

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(StorageError, match="No space"):
            kist.save(tmp_path / "x", np.random.default_rng(0).random(n))
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwritev", full)
        with pytest.raises(StorageError, match="No space"):
            kist.save(tmp_path / "x", np.random.default_rng(0).random(n))
    assert kist.load(tmp_path / "x.kist").tolist() == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["x.kist"]
