"""The strain file of LIGO as it is: groups, arrays, scalars and attributes, moved one to one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist


def move(source: Any, target: Any) -> None:
    """Copy a group of h5py, as the how-to does."""
    h5py = pytest.importorskip("h5py")
    for name, item in source.items():
        if isinstance(item, h5py.Group):
            move(item, target.require_group(name))
            continue
        value = item[()]
        if isinstance(value, np.ndarray) and value.dtype == object:
            value = np.array([v.decode() for v in value.ravel()], np.dtypes.StringDType())
        target[name] = value.decode() if isinstance(value, bytes) else value
        target[name].attrs.update(item.attrs)


def test_the_whole_file_moves(tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the project")
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "strain.kist"
    with (
        h5py.File(folder / "H-H1_LOSC_4_V2-1126259446-32.hdf5") as file,
        kist.open(path, "x") as store,
    ):
        with store.transaction():
            move(file, store)
        strain = file["strain/Strain"][:]
        with kist.open(path) as reader:
            array = reader["strain/Strain"]
            assert array[:].tobytes() == strain.tobytes()
            assert array.attrs["Xspacing"] == file["strain/Strain"].attrs["Xspacing"]
            assert reader["meta/GPSstart"][()] == file["meta/GPSstart"][()]
            assert str(reader["meta/Detector"][()]) == file["meta/Detector"][()].decode()
            names: list[str] = []
            reader.visit(names.append)
            assert len(names) == sum(1 for _ in _walk(file))
            assert (array[::4096] == strain[::4096]).all()


def _walk(group: Any) -> Any:
    for item in group.values():
        yield item
        if hasattr(item, "items"):
            yield from _walk(item)
