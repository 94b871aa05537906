"""Calls that make files: split, merge, large saves, parts of many workers, conversions that go on.

What a crash leaves of the whole folder is made from a log of all that was done in it: each file is
whole when it has its name, all of them are there when the call has returned, and what was there
before stays. What fails in any call to the system leaves no file.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cryptography")

from folder_workloads import CASES, RUNS, contents, everything, two_of

import kist
from kist.bridges import resume
from kist.integrations import parts as worker_parts
from kist.model.parts import files as part_files
from kist.testing.faults import Fault
from kist.testing.folders import FolderRecorder, FolderState, check_folder
from kist.testing.system import FaultySystem

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two stores of everything, and one that is replaced by some."""
    folder = tmp_path / "data"
    folder.mkdir()
    two_of(everything, folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_files_are_whole_when_they_have_their_names(tmp_path: Path, name: str) -> None:
    few = name in RUNS or name in FEW_WARDS
    n, wrong = check_folder(CASES[name], tmp_path, limit=STATES if few else 4)
    assert wrong == []
    assert n == (STATES if few else 4)


STATES = 14
FEW_WARDS = ("split of a sealed group, t", "merge of sealed groups, k")


# The check must be able to fail


@pytest.mark.parametrize("name", ["split", "linked"])
def test_names_that_are_not_synced_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(part_files, "sync_folder", lambda folder: None)
    monkeypatch.setattr(worker_parts, "_sync", lambda folder: None)
    assert any("are left of" in one for one in check_folder(CASES[name], tmp_path, limit=STATES)[1])


@pytest.mark.parametrize("name", ["merge", "save"])
def test_a_part_that_is_named_before_it_is_durable_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(kist.Store, "sync", lambda self: None)
    assert check_folder(CASES[name], tmp_path, limit=STATES)[1]


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
REPLACES = ("save", "save again")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["split", "merge", "linked", "save", "save again"])
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
                if name in REPLACES and everything_below(trial) != before:
                    # Its name was given, and is not known to last: what stood there is gone.
                    assert one.kind in ("directory sync", "open") and at == n_calls
                    assert contents(trial) == after
                    continue
                assert everything_below(trial) == before, f"call {at} of {n_calls}"
            else:
                assert contents(trial) == after, f"call {at} of {n_calls}"
