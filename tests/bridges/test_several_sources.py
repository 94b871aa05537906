"""Several files that come into a store with one call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import kist
from kist.cli.main import cli
from kist.errors import ConversionError, CorruptDataError, StoreNotFoundError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "a.npy", tmp_path / "b.npy", tmp_path / "more.npz"]
    np.save(made[0], np.arange(3))
    np.save(made[1], np.zeros(4, "i4,f8"))
    np.savez(made[2], x=np.arange(5), y=np.ones((2, 2)))
    return made


def test_each_becomes_a_node_of_its_name_in_one_commit(files: list[Path], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = kist.convert(files, tmp_path / "s.kist", progress=lambda *at: seen.append(at))
    assert report.ok and report.format == "several formats"
    assert (report.n_arrays, report.n_tables, report.n_rows) == (3, 1, 4)
    assert "3 files" in report.source and seen[-1][0] == seen[-1][1]
    with kist.open(tmp_path / "s.kist") as store:
        assert sorted(store) == ["a", "b", "more"] and list(store["more"]) == ["x", "y"]
        assert store["a"][:].tolist() == [0, 1, 2] and len(store["b"]) == 4
        assert len(store.history()) == 1


def test_a_node_that_is_named_is_their_group(files: list[Path], tmp_path: Path) -> None:
    report = kist.convert(files[:2], f"{tmp_path}/s.kist:lab/monday")
    assert report.format == "npy"
    with kist.open(tmp_path / "s.kist") as store:
        assert sorted(store["lab/monday"]) == ["a", "b"]


def test_one_that_is_broken_leaves_the_store_as_it_was(files: list[Path], tmp_path: Path) -> None:
    with kist.open(tmp_path / "s.kist", "w") as store:
        store["kept"] = np.arange(2)
    files[2].write_bytes(files[2].read_bytes()[:-30])
    for target in ("s.kist", "new.kist"):
        with pytest.raises(CorruptDataError, match=r"more\.npz"):
            kist.convert(files, tmp_path / target)
    with kist.open(tmp_path / "s.kist") as store:
        assert list(store) == ["kept"]
    assert not (tmp_path / "new.kist").exists()


def test_what_cannot_come_together_is_refused_before_anything_is_read(
    files: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "deep" / "a.npy"
    other.parent.mkdir()
    np.save(other, np.arange(9))
    kist.convert(files[0], tmp_path / "old.kist")
    for sources, why in (
        ([*files, other], "both would become '/a'"),
        ([*files, tmp_path / "old.kist"], "converted alone"),
        ([*files, "-"], "converted alone"),
        ([], "no source"),
    ):
        with pytest.raises(ConversionError, match=why):
            kist.convert(sources, tmp_path / "s.kist")
    with pytest.raises(ConversionError, match="resume goes on with one source"):
        kist.convert(files, tmp_path / "s.kist", resume=True)
    with pytest.raises(ConversionError, match="one side is a store"):
        kist.convert(files, tmp_path / "out.npz")
    with pytest.raises(StoreNotFoundError, match=r"gone\.npy"):
        kist.convert([*files, tmp_path / "gone.npy"], tmp_path / "s.kist")
    assert not (tmp_path / "s.kist").exists()


def test_a_folder_is_called_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run.2024"
    folder.mkdir()
    np.savez(folder / "a.npz", x=np.arange(3))
    kist.convert(folder, tmp_path / "s.kist")
    monkeypatch.chdir(folder)
    kist.convert(".", tmp_path / "t.kist")
    for name in ("s.kist", "t.kist"):
        with kist.open(tmp_path / name) as store:
            assert list(store) == ["run.2024"]


def test_the_command_takes_several(files: list[Path], tmp_path: Path) -> None:
    target = str(tmp_path / "s.kist")
    done = CliRunner().invoke(cli, ["convert", *map(str, files), target])
    assert done.exit_code == 0 and "3 arrays, 1 table, 4 rows" in done.output, done.output
    done = CliRunner().invoke(cli, ["convert", target])
    assert done.exit_code == 2 and "Usage" in done.output
