"""Conversions in steps: killed, and gone on with by the same call."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest

import kist
from kist.bridges import parts, resume, sqlite
from kist.bridges.report import Note, joined
from kist.cli import main
from kist.errors import ConversionError, CorruptDataError, NodeExistsError
from kist.model.comparing import compare

N = 60_000

KILLED = """
import os, signal, sys, kist
from kist.bridges import parts, resume, sqlite
from kist.bridges.resume import InSteps
resume.STEP_BYTES, parts.PART_BYTES, sqlite._BATCH = 1 << 18, 1 << 18, 10_000
steps = InSteps._commit
n = 0
def commit(self):
    global n
    steps(self)
    n += 1
    if n == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
InSteps._commit = commit
kist.convert(sys.argv[1], sys.argv[2], resume=True, **eval(sys.argv[4]))
"""


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process take the steps of the one that is killed."""
    monkeypatch.setattr(resume, "STEP_BYTES", 1 << 18)
    monkeypatch.setattr(parts, "PART_BYTES", 1 << 18)
    monkeypatch.setattr(sqlite, "_BATCH", 10_000)


def killed(source: Path, target: str, n_steps: int = 2, **options: Any) -> None:
    """Convert in a process that kills itself behind the commit of a step."""
    words = [str(source), target, str(n_steps), repr(options)]
    done = subprocess.run([sys.executable, "-c", KILLED, *words])
    assert done.returncode == -signal.SIGKILL


def npy(path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(path / "a.npy", rng.integers(0, 99, (30, 100, 200), "i4"))
    return path / "a.npy"


def rows_npy(path: Path) -> Path:
    rows = np.zeros(2 * N, [("a", "i8"), ("b", "f8")])
    rows["a"] = np.arange(len(rows))
    np.save(path / "r.npy", rows)
    return path / "r.npy"


def csv(path: Path) -> Path:
    pytest.importorskip("pyarrow")
    # The null comes before the kill, the text behind the first try of the narrow type.
    # What is written at once are whole row groups.
    cells = ("" if k == 7_000 else "oops" if k == 222_000 else k for k in range(300_000))
    lines = [f"{k},{k / 2},{cell}" for k, cell in enumerate(cells)]
    (path / "t.csv").write_text("\n".join(["a,b,c", *lines]) + "\n")
    return path / "t.csv"


def hdf5(path: Path) -> Path:
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    with h5py.File(path / "a.h5", "w") as f:
        f.attrs["unit"] = "K"
        f.create_dataset("g/first", data=rng.random(200_000), chunks=(10_000,))
        for k in range(5):
            f[f"tiny/t{k}"] = np.arange(k + 1)
        f["soft"] = h5py.SoftLink("/g/first")
        f.create_dataset("g/texts", data=["é", "b"] * 20_000, dtype=h5py.string_dtype())
        ragged = f.create_dataset("ragged", (3,), h5py.vlen_dtype("i4"))
        ragged[0], ragged[2] = [1, 2], [3]
        f.create_dataset("rows", data=np.zeros(N, "i4,f8"), chunks=(1000,))
        f["rows"].attrs["kind"] = "rows"
        f.create_dataset("z", data=rng.random((700, 1000)), chunks=(7, 1000))
    return path / "a.h5"


def database(path: Path) -> Path:
    with sqlite3.connect(path / "a.db") as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", ((k, str(k)) for k in range(N)))
        connection.execute("CREATE TABLE u AS SELECT a FROM t LIMIT 10")
    connection.close()
    return path / "a.db"


@pytest.mark.parametrize("make", [npy, rows_npy, csv, hdf5, database])
def test_a_killed_conversion_goes_on(
    tmp_path: Path, make: Callable[[Path], Path], small_steps: None
) -> None:
    source = make(tmp_path)
    target = str(tmp_path / "a.kist")
    options = {"block_size": 1 << 17} if make is csv else {}
    killed(source, target, **options)
    with kist.open(target) as store:
        assert store.attrs[resume.NOTE] and store.check().ok
    killed(source, target, 1, **options)  # once more, further on
    report = kist.convert(source, target, resume=True, **options)
    whole = kist.convert(source, tmp_path / "b.kist", **options)
    other = {"target": "", "nbytes": 0}
    assert report.to_dict() | other == whole.to_dict() | other
    with kist.open(target) as a, kist.open(tmp_path / "b.kist") as b:
        assert list(compare(a, b)) == []
        assert resume.NOTE not in a.attrs and a.check().ok


def test_what_is_there_is_not_read_again(
    tmp_path: Path, small_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = npy(tmp_path), str(tmp_path / "a.kist")
    killed(source, target, 1)
    written: list[int] = []
    before = resume.InSteps.reached

    def reached(self: Any, n_done: int, nbytes: int) -> None:
        written.append(nbytes)
        before(self, n_done, nbytes)

    monkeypatch.setattr(resume.InSteps, "reached", reached)
    kist.convert(source, target, resume=True)
    assert 0 < sum(written) < 30 * 100 * 200 * 4


def test_a_source_that_was_changed_is_refused(tmp_path: Path, small_steps: None) -> None:
    source, target = npy(tmp_path), str(tmp_path / "a.kist")
    killed(source, target, 1)
    with pytest.raises(ConversionError, match="options"):
        kist.convert(source, target, resume=True, codec="fast")
    np.save(source, np.ones((30, 100, 200), "i4"))
    before = Path(target).read_bytes()
    with pytest.raises(ConversionError, match="unfinished there, and its time of change"):
        kist.convert(source, target, resume=True)
    with pytest.raises(NodeExistsError):
        kist.convert(source, target)
    assert Path(target).read_bytes() == before
    kist.convert(source, target, resume=True, overwrite=True)
    with kist.open(target) as store:
        assert (store["a"][:] == 1).all() and resume.NOTE not in store.attrs


def test_what_came_over_and_is_gone_is_missed(tmp_path: Path, small_steps: None) -> None:
    source, target = hdf5(tmp_path), str(tmp_path / "a.kist")
    killed(source, target)
    with kist.open(target, "a") as store:
        del store["ragged"]
    with pytest.raises(ConversionError, match="is gone"):
        kist.convert(source, target, resume=True)


def test_a_conversion_that_fails_in_its_first_step_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\0 cut")
    with pytest.raises(CorruptDataError):
        kist.convert(tmp_path / "a.npy", tmp_path / "a.kist", resume=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def test_two_unfinished_conversions_into_one_store_do_not_forget_each_other(
    tmp_path: Path, small_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = npy(tmp_path), tmp_path / "out.kist"
    real = resume.InSteps._commit

    def stopped(self: Any) -> None:
        real(self)
        raise KeyboardInterrupt

    for base in ("a", "b"):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(resume.InSteps, "_commit", stopped)
            kist.convert(source, f"{target}:{base}", resume=True)
    with kist.open(target) as store:
        assert set(store.attrs[resume.NOTE]) == {"/a", "/b"}
    kist.convert(source, f"{target}:b", resume=True)
    kist.convert(source, f"{target}:a", resume=True)
    with kist.open(target) as store:
        assert np.array_equal(store["a"][:], np.load(source))
        assert np.array_equal(store["b"][:], np.load(source))
        assert resume.NOTE not in store.attrs


def test_a_conversion_goes_on_whose_store_was_not_even_finished(tmp_path: Path) -> None:
    source, target = rows_npy(tmp_path), tmp_path / "out.kist"
    with kist.open(target, "x"):
        pass
    whole = target.read_bytes()
    for left in (b"", bytes(4096) + whole[4096:]):
        target.write_bytes(left)
        kist.convert(source, f"{target}:r", resume=True)
        with kist.open(target) as store:
            assert store["r"][:].tobytes() == np.load(source).tobytes()


def test_only_ways_in_that_are_read_in_order_are_resumed(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = np.arange(3)
    with pytest.raises(ConversionError, match="whole or not at all"):
        kist.convert(tmp_path / "a.kist", tmp_path / "x.npz", resume=True)
    with pytest.raises(ConversionError, match="pipe"):
        kist.convert("-", f"{tmp_path / 'a.kist'}:t", format="csv", resume=True)
    (tmp_path / "a.pickle").write_bytes(b"N.")
    with pytest.raises(ConversionError, match="at once"):
        kist.convert(tmp_path / "a.pickle", tmp_path / "b.kist", resume=True, allow_pickle=True)
    assert not (tmp_path / "b.kist").exists()


def test_the_command_resumes(tmp_path: Path, small_steps: None) -> None:
    source, target = npy(tmp_path), str(tmp_path / "a.kist")
    killed(source, target, 1)
    done = click.testing.CliRunner().invoke(
        main.cli, ["convert", str(source), target, "--resume"], catch_exceptions=False
    )
    assert done.exit_code == 0 and "1 array" in done.output


def test_notes_of_two_runs_are_counted_once() -> None:
    one = [Note("a", "changed", "", "", 3, ["x", "y"]), Note("b", "changed", "", "", 1, ["z"])]
    two = [Note("a", "changed", "", "", 2, ["y", "w"])]
    found = joined(two, one)
    assert [(n.code, n.count, n.places) for n in found] == [
        ("a", 3, ["x", "y", "w"]), ("b", 1, ["z"]),
    ]  # fmt: skip
