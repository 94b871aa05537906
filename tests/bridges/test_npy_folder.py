"""A folder of NPZ and NPY files as a key store, both ways."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import kist
from kist.bridges import npy_folder
from kist.cli.main import cli
from kist.errors import ConversionError, CorruptDataError, NodeExistsError, StoreNotFoundError

DTYPES = ["?", "i1", ">i4", "f8", "c8", "S5", "U4", "V3", "M8[us]", "i4,f8"]


def values(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    made = {}
    for at, dtype in enumerate(DTYPES):
        shape = [(), (0,), (7,), (3, 4)][(seed + at) % 4]
        raw = rng.integers(0, 2, (*shape, np.dtype(dtype).itemsize), dtype=np.uint8)
        made[f"a{at}"] = raw.view(dtype).reshape(shape)
    return made


def assert_same(found: Any, expected: Any) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "results"
    (made / "day 2").mkdir(parents=True)
    for run in range(5):
        np.savez(made / f"run-{run}.npz", **values(run))
    np.save(made / "day 2" / "run-é.npy", np.arange(12.0).reshape(3, 4))
    return made


@pytest.mark.parametrize("small", [npy_folder._SMALL, 0])
def test_each_file_becomes_a_key(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(npy_folder, "_SMALL", small)
    report = kist.convert(folder, tmp_path / "a.kist")
    assert (report.ok, report.format, report.n_keystores, report.n_keys) == (True, "folder", 1, 6)
    assert "1 key store, 6 keys" in str(report)
    with kist.open(tmp_path / "a.kist") as store:
        found = store["results"]
        assert list(found) == ["day 2/run-é", *(f"run-{run}" for run in range(5))]
        assert_same(found["day 2/run-é"], np.arange(12.0).reshape(3, 4))
        for run in range(5):
            assert found[f"run-{run}"].keys() == values(run).keys()
            for name, expected in values(run).items():
                assert_same(found[f"run-{run}"][name], expected)


@pytest.mark.parametrize("small", [npy_folder._SMALL, 16])
def test_it_comes_back_byte_for_byte(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(npy_folder, "_SMALL", small)
    kist.convert(folder, f"{tmp_path}/a.kist:lab/runs")
    report = kist.convert(f"{tmp_path}/a.kist:lab/runs", tmp_path / "back", format="folder")
    assert report.ok and report.n_keys == 6
    before = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    after = {path.relative_to(tmp_path / "back") for path in (tmp_path / "back").rglob("*.np?")}
    assert after == before.keys()
    for name, path in before.items():
        assert (tmp_path / "back" / name).read_bytes() == path.read_bytes(), name


def test_what_else_lies_in_the_folder_is_told(folder: Path, tmp_path: Path) -> None:
    (folder / "README.txt").write_text("runs")
    (folder / "elsewhere").symlink_to(tmp_path)
    (folder / "gone.npy").symlink_to(tmp_path / "nothing")
    with zipfile.ZipFile(folder / "run-0.npz", "a") as archive:
        archive.writestr("notes.txt", "x")
    report = kist.convert(folder, tmp_path / "a.kist")
    assert report.n_keys == 6
    found = {note.code: sorted(Path(place).name for place in note.places) for note in report.notes}
    assert found == {
        "folder.other": ["README.txt", "elsewhere", "gone.npy"],
        "npz.other": ["run-0.npz:notes.txt"],
    }
    with pytest.raises(ConversionError, match="strict"):
        kist.convert(folder, tmp_path / "b.kist", strict=True)
    assert not (tmp_path / "b.kist").exists()


def test_a_broken_file_leaves_the_store_as_it_was(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.kist"
    with kist.open(target, "w") as store:
        store["kept"] = np.arange(3)
    broken = folder / "run-3.npz"
    whole = broken.read_bytes()
    np.savez(folder / "run-4.npz", x=np.array([None], object))
    for data, error in (
        (whole, ConversionError),  # of run-4: pickled
        (whole[:-40], CorruptDataError),
        (whole.replace(b"NUMPY", b"NAMPY", 1), CorruptDataError),
        (b"", CorruptDataError),
    ):
        broken.write_bytes(data)
        with pytest.raises(error, match=r"run-4\.npz" if data is whole else r"run-3\.npz"):
            kist.convert(folder, target)
        with kist.open(target) as store:
            assert list(store) == ["kept"] and store.check().ok


def test_two_files_of_one_key_are_refused(folder: Path, tmp_path: Path) -> None:
    np.save(folder / "run-1.npy", np.arange(3))
    with pytest.raises(ConversionError, match="both would be the key 'run-1'"):
        kist.convert(folder, tmp_path / "a.kist")
    assert not (tmp_path / "a.kist").exists()


def test_a_bomb_in_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="ZIP bomb"):
        kist.convert(folder, tmp_path / "a.kist", max_bytes=100)


def test_a_folder_without_such_files_has_no_format(tmp_path: Path) -> None:
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    with pytest.raises(ConversionError, match="no known format"):
        kist.convert(tmp_path / "empty", tmp_path / "a.kist")
    with pytest.raises(ConversionError, match=r"neither \.npz nor \.npy"):
        kist.convert(tmp_path / "empty", tmp_path / "a.kist", format="folder")
    with pytest.raises(StoreNotFoundError):
        kist.convert(tmp_path / "nowhere", tmp_path / "a.kist")
    assert not (tmp_path / "a.kist").exists()


def test_a_key_store_that_is_there_is_kept_unless_told(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.kist"
    with kist.open(target, "w") as store:
        store.create_keystore("results")["mine"] = 1
    with pytest.raises(NodeExistsError):
        kist.convert(folder, target)
    with kist.open(target) as store:
        assert dict(store["results"]) == {"mine": 1}
    kist.convert(folder, target, overwrite=True)
    with kist.open(target) as store:
        assert len(store["results"]) == 6


def test_other_values_become_arrays_or_are_told(tmp_path: Path) -> None:
    text = np.array(["a", "longer"], np.dtypes.StringDType())
    with kist.open(tmp_path / "a.kist", "w") as store:
        runs = store.create_keystore("runs", attrs={"who": "me"})
        runs.update({
            "tuple": (np.arange(3), np.float32(2.5)),
            "mixed": {"x": np.arange(2), "n": 3, "when": None, "huge": 2**70, 5: np.arange(1)},
            "text": text,
            "none": None,
            7: np.arange(7),
        })  # fmt: skip
    report = kist.convert(f"{tmp_path}/a.kist:runs", tmp_path / "out", format="folder")
    told = {note.code: note.count for note in report.notes}
    assert told == {
        "npy.attributes": 1, "npy.text": 1, "folder.key": 1, "folder.sequence": 1,
        "folder.number": 1, "folder.value": 4,
    }  # fmt: skip
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"tuple.npz", "mixed.npz", "text.npy", "7.npy"}
    with np.load(tmp_path / "out" / "tuple.npz") as found:
        assert found["arr_0"].tolist() == [0, 1, 2] and found["arr_1"].dtype == "f4"
    with np.load(tmp_path / "out" / "mixed.npz") as found:
        assert sorted(found.files) == ["n", "x"] and found["n"] == 3
    assert np.load(tmp_path / "out" / "text.npy").tolist() == ["a", "longer"]


@pytest.mark.parametrize("key", ["../up", "/root", "a//b", "a/", "..", "a\\b", "nul\0", b"bytes"])
def test_keys_that_are_no_names_leave_nothing_behind(tmp_path: Path, key: Any) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_keystore("runs")[key] = np.arange(3)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConversionError, match=r"no (path|name)"):
        kist.convert(f"{tmp_path}/a.kist:runs", tmp_path / "out", format="folder")
    assert sorted(tmp_path.iterdir()) == before


def test_only_key_stores_become_folders(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = np.arange(3)
    with pytest.raises(ConversionError, match="key store"):
        kist.convert(f"{tmp_path}/a.kist:x", tmp_path / "out", format="folder")
    assert not (tmp_path / "out").exists()


def test_the_command_takes_a_folder(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["convert", str(folder), str(tmp_path / "a.kist")])
    assert done.exit_code == 0, done.output
    assert "1 key store, 6 keys" in done.output
