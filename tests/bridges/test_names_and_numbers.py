"""Names that a store cannot have, a great many of datasets, and disks that are too small."""

from __future__ import annotations

import os
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import (
    ConversionError,
    CorruptDataError,
    NodeExistsError,
    NodeNameError,
    StorageError,
)

REFUSALS = (ConversionError, CorruptDataError, NodeNameError, NodeExistsError)


def write_npz(path: Path, *names: str) -> None:
    """Write an archive with members of any names."""
    np.save(path.with_suffix(".npy"), [1, 2])
    values = path.with_suffix(".npy").read_bytes()
    path.with_suffix(".npy").unlink()
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"{name}.npy", values)


def write_h5(path: Path, *names: str) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name in names:
            file[name] = [1, 2]


def write_sqlite(path: Path, *names: str) -> None:
    base = sqlite3.connect(path)
    for name in names:
        base.execute(f'CREATE TABLE "{name}" (a INTEGER)')
    base.close()


def write_zarr(path: Path, *names: str) -> None:
    """Write arrays into folders of these names; Zarr itself makes names of one form alike."""
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(path, mode="w")
    for at, name in enumerate(names):
        group.create_array(f"a{at}", data=np.arange(2))
        os.rename(path / f"a{at}", path / name)


WRITERS = {"a.npz": write_npz, "a.h5": write_h5, "a.sqlite": write_sqlite, "a.zarr": write_zarr}
TWINS = ("caf\u00e9", "cafe\u0301")  # equal once they are normalised


@pytest.mark.parametrize("file", WRITERS)
def test_names_equal_under_normalisation_are_refused(tmp_path: Path, file: str) -> None:
    WRITERS[file](tmp_path / file, *TWINS)
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["kept"] = [1]
    with pytest.raises(REFUSALS, match="caf"):
        kist.convert(tmp_path / file, tmp_path / "a.kist")
    with pytest.raises(REFUSALS):
        kist.convert(tmp_path / file, tmp_path / "b.kist")
    with kist.open(tmp_path / "a.kist") as store:
        assert list(store) == ["kept"]
    assert {path.name for path in tmp_path.iterdir()} == {file, "a.kist"}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a.npz", ""), ("a.npz", "/"), ("a.npz", "a//b"), ("a.npz", "../x"), ("a.npz", "x" * 300),
        ("a.sqlite", ""), ("a.sqlite", "fine/b"), ("a.sqlite", ".."), ("a.sqlite", "x" * 300),
    ],
)  # fmt: skip
def test_names_that_are_none_in_a_store_are_refused(tmp_path: Path, file: str, name: str) -> None:
    WRITERS[file](tmp_path / file, "fine", name)
    with pytest.raises(REFUSALS):
        kist.convert(tmp_path / file, tmp_path / "a.kist")
    assert [path.name for path in tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("suffix", ["npz", "sqlite"])
def test_a_slash_in_a_name_makes_a_group_and_goes_out_again(tmp_path: Path, suffix: str) -> None:
    WRITERS[f"a.{suffix}"](tmp_path / f"a.{suffix}", "fine", "g/x")
    kist.convert(tmp_path / f"a.{suffix}", tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist") as store:
        assert set(store) == {"fine", "g"} and list(store["g"]) == ["x"]
    kist.convert(tmp_path / "a.kist", tmp_path / f"b.{suffix}")
    kist.convert(tmp_path / f"b.{suffix}", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        assert list(store["g"]) == ["x"]


@pytest.mark.parametrize("file", ["a.h5", "a.zarr"])
def test_thousands_of_tiny_datasets_are_one_commit_in_little_memory(
    tmp_path: Path, peak: Any, file: str
) -> None:
    n = 2000 if file == "a.h5" else 200  # zarr itself takes ten times as long for each
    WRITERS[file](tmp_path / file, *(f"d{k}" for k in range(n)))
    module = {"a.h5": "h5py", "a.zarr": "zarr"}[file]
    base = peak(f"kist.open({str(tmp_path / 'n.kist')!r}, 'w').close()\nimport {module}")
    grown = peak(f"kist.convert({str(tmp_path / file)!r}, {str(tmp_path / 'a.kist')!r})")
    assert grown - base < 60e6
    with kist.open(tmp_path / "n.kist") as empty, kist.open(tmp_path / "a.kist") as store:
        assert len(store) == n and store["d7"][:].tolist()[:2] in ([1, 2], [0, 1])
        assert store.commit_id <= empty.commit_id + 1


@pytest.mark.parametrize(("file", "module"), [("y.zarr", "zarr"), ("y.b2z", "blosc2")])
def test_a_full_disk_leaves_no_half_file(
    tmp_path: Path, limited: Any, file: str, module: str
) -> None:
    pytest.importorskip(module)
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_array("x", np.random.default_rng(0).random(100_000), chunks=(100_000,))
    here = repr(str(tmp_path) + "/")
    limited(StorageError, f"kist.convert({here} + 'a.kist', {here} + {file!r})")
    assert [path.name for path in tmp_path.iterdir()] == ["a.kist"]


@pytest.mark.parametrize("name", ["x.db", "x.sqlite", "x.csv", "x.jsonl", "x.npy", "x.npz"])
def test_an_empty_file_was_cut(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(CorruptDataError, match="is empty"):
        kist.convert(tmp_path / name, tmp_path / "a.kist")
    assert os.listdir(tmp_path) == [name]


def test_what_has_no_name_is_refused_with_the_file(tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz", "")
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute('CREATE TABLE "" (x)')
    database.close()
    for source in ("x.npz", "x.db"):
        with pytest.raises(ConversionError, match=f"{source}: .*without a name"):
            kist.convert(tmp_path / source, tmp_path / "a.kist")
