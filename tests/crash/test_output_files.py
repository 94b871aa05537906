"""Calls that make files: split, merge, parts of many workers, conversions that go on.

What a crash leaves of the whole folder is made from a log of all that was done in it: each file is
whole when it has its name, all of them are there when the call has returned, and what was there
before stays. What fails in any call to the system leaves no file.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crash_stores import rows_of, shown

pytest.importorskip("cryptography")

import kist
from kist.bridges import resume
from kist.integrations import parts as worker_parts
from kist.model.parts import files as part_files
from kist.testing.faults import Fault
from kist.testing.folders import FolderRecorder, FolderState
from kist.testing.system import FaultySystem

pytestmark = pytest.mark.usefixtures("one_thread")

KEY = bytes(range(32))


def content(path: Path) -> Any:
    """All that a store shows; nothing of it is damaged."""
    with kist.open(path, secrets=KEY) as store:
        assert store.check().problems == []
        return shown(store)


def contents(folder: Path) -> dict[str, Any]:
    """What stands below a folder under names of its own, but for the sources."""
    found = {}
    for path in sorted(folder.rglob("*.kist")):
        if ".parts" not in str(path) and not path.name.startswith("source"):
            found[str(path.relative_to(folder))] = content(path)
    return found


def everything(path: Path, seed: int) -> None:
    with kist.open(path, "w") as store:
        store.create_table("t", rows_of(700, seed), encrypt={"price": KEY})
        store["t"].append(rows_of(9, seed + 1))
        store["t"].create_index("size")
        store.create_array("a", np.arange(900.0) + seed, chunks=(200,), encrypt=KEY)
        runs = store.create_keystore("k", encrypt=KEY)
        runs.update({f"{seed}/{n}": rows_of(n, n) for n in range(30)})


Run = Callable[[Path], object]


def split(folder: Path) -> None:
    kist.split(
        folder / "source-1.kist", "t", parts=3, out=folder / "new/parts/p-{}.kist", secrets=KEY
    )


def split_again(folder: Path) -> None:
    out = folder / "q-{}.kist"
    kist.split(folder / "source-1.kist", "a", rows=300, out=out, overwrite=True, secrets=KEY)


def merge(folder: Path) -> None:
    sources = [folder / f"source-{n}.kist" for n in (1, 2)]
    kist.merge(sources, folder / "both.kist", secrets=KEY)


def merge_again(folder: Path) -> None:
    sources = [folder / f"source-{n}.kist" for n in (2, 1)]
    kist.merge(sources, folder / "q-0001.kist", secrets=KEY, overwrite=True)


def rows_of_part(n: int) -> Any:
    return rows_of(60 + n, n)


def linked(folder: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        kist.write_parts(
            rows_of_part, range(3), folder / "linked.kist", "t", executor=pool, linked=True
        )


def linked_again(folder: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        kist.write_parts(
            rows_of_part,
            range(3),
            folder / "q-0001.kist",
            "t",
            executor=pool,
            linked=True,
            overwrite=True,
        )


RUNS: dict[str, Run] = {
    "split": split,
    "split again": split_again,
    "merge": merge,
    "merge again": merge_again,
    "linked": linked,
    "linked again": linked_again,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two stores of everything, and one that is replaced by some."""
    folder = tmp_path / "data"
    folder.mkdir()
    for n in (1, 2):
        everything(folder / f"source-{n}.kist", n)
    with kist.open(folder / "q-0001.kist", "x") as store:
        store["a"] = np.arange(5)
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_files_are_whole_when_they_have_their_names(
    folder: Path, tmp_path: Path, name: str
) -> None:
    n, wrong = judged(folder, tmp_path, RUNS[name])
    assert wrong == []
    assert n == STATES


STATES = 14


def judged(folder: Path, tmp_path: Path, run: Run, seed: int = 0) -> tuple[int, list[str]]:
    before = contents(folder)
    with FolderRecorder(folder) as recorder:
        run(folder)
        recorder.note("returned")
    after = contents(folder)
    assert after != before

    def judge(left: Path, state: FolderState) -> None:
        found = contents(left)
        if "returned" in state.notes:
            assert found == after, f"{sorted(found)} are left of {sorted(after)}"
        for path in before:
            assert path in found, f"{path} is gone"
        for path, one in found.items():
            assert one in (before.get(path), after[path]), f"{path} is another"

    return recorder.each(judge, tmp_path / "left", seed=seed, limit=STATES)


# The check must be able to fail


@pytest.mark.parametrize("name", ["split", "linked"])
def test_names_that_are_not_synced_are_noticed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(part_files, "sync_folder", lambda folder: None)
    monkeypatch.setattr(worker_parts, "_sync", lambda folder: None)
    assert any("are left of" in one for one in judged(folder, tmp_path, RUNS[name])[1])


def test_a_part_that_is_named_before_it_is_durable_is_noticed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kist.Store, "sync", lambda self: None)
    assert judged(folder, tmp_path, merge)[1]


# Conversions that go on


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(resume, "STEP_BYTES", 20_000)
    yield


@pytest.mark.usefixtures("small_steps")
def test_a_conversion_that_a_crash_ended_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    arrays = {f"x{n}": np.arange(6000.0) * n for n in range(4)}
    source = tmp_path / "source.npz"
    np.savez(source, **arrays)
    with FolderRecorder(folder) as recorder:
        kist.convert(source, folder / "out.kist", resume=True)
        recorder.note("returned")

    def whole(left: Path) -> None:
        with kist.open(left / "out.kist") as store:
            assert store.check().problems == []
            assert {name: store[name][:].tolist() for name in store} == {
                name: one.tolist() for name, one in arrays.items()
            }
            assert resume.NOTE not in store.attrs

    def judge(left: Path, state: FolderState) -> None:
        if "returned" not in state.notes:
            # It may have been complete without having returned.
            with contextlib.suppress(kist.NodeExistsError):
                kist.convert(source, left / "out.kist", resume=True)
        whole(left)

    n, wrong = recorder.each(judge, tmp_path / "left", limit=16)
    assert wrong == []
    assert n == 16


# Faults


FAULTS = {
    "disk full": Fault("write", 1, errno.ENOSPC, share=0.5),
    "device fails": Fault("sync", 1, errno.EIO),
    "folder fails": Fault("directory sync", 1, errno.EIO),
    "no descriptors": Fault("open", 1, errno.EMFILE),
    "unreadable": Fault("read", 1, errno.EIO),
    "Ctrl-C": Fault("write", 1, KeyboardInterrupt),
}


def everything_below(folder: Path) -> dict[str, bytes]:
    """Return all files and folders, whatever their names are."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


PLACES = 2


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["split", "merge", "linked"])
def test_what_fails_in_any_call_leaves_nothing(
    folder: Path, tmp_path: Path, name: str, fault: str
) -> None:
    one, run, trial = FAULTS[fault], RUNS[name], tmp_path / "trial"
    before = everything_below(folder)
    shutil.copytree(folder, trial)
    with FaultySystem() as system:
        run(trial)
        n_calls = system.calls[one.kind]
    after = contents(trial)
    for at in sorted({1 + i * (n_calls - 1) // (PLACES - 1) for i in range(PLACES)}):
        shutil.rmtree(trial)
        shutil.copytree(folder, trial)
        with warnings.catch_warnings(), FaultySystem() as system:
            # Where only the mark of an orderly close could not be written.
            warnings.simplefilter("ignore", kist.DamageWarning)
            system.fail(replace(one, at=at))
            try:
                run(trial)
            except (kist.KistError, KeyboardInterrupt):
                assert everything_below(trial) == before, f"call {at} of {n_calls}"
            else:
                assert contents(trial) == after, f"call {at} of {n_calls}"
