"""The benchmark of many tiny datasets makes, converts and looks at what it says."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("bench.tiny")


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("name", ["kist", "npz", "sqlite"])
def test_each_step_of_a_format_holds_what_was_made(
    tiny: Any, tmp_path: Path, name: str, flat: bool
) -> None:
    rows = name == "sqlite"
    tiny.fill(tmp_path / ("rows.kist" if rows else "arrays.kist"), 7, flat, rows)
    for step in tiny.STEPS:
        tiny.step_of(step, name, tmp_path, 7, flat)()
    tiny.look(tmp_path / f"{name}-in.kist", 7, flat, rows)
    out = tmp_path / f"out-{tiny.FILES[name]}"
    if name != "kist":  # what goes out is what the other library makes
        kist.convert(out, tmp_path / "again.kist")
        out = tmp_path / "again.kist"
    tiny.look(out, 7, flat, rows)


NEEDED = {"hdf5": "h5py", "pytables": "tables", "netcdf": "netCDF4"}  # zarr takes long


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("step", ["out", "in"])
@pytest.mark.parametrize("name", ["npz", "sqlite", *NEEDED])
def test_a_dataset_takes_no_more_steps_where_there_are_more(
    tiny: Any, name: str, step: str, flat: bool
) -> None:
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    few, many = (tiny.per_dataset(name, step, n, flat) for n in (40, 320))
    assert many < 1.3 * few  # few stand in the log, which takes less than a tree


def test_other_values_are_noticed(tiny: Any, tmp_path: Path) -> None:
    tiny.fill(tmp_path / "a.kist", 7, True, False)
    with kist.open(tmp_path / "a.kist", "r+") as store:
        store["d3"][1] = np.int64(99)
    with pytest.raises(AssertionError, match="d3 has other values"):
        tiny.look(tmp_path / "a.kist", 7, True, False)
    with kist.open(tmp_path / "a.kist", "r+") as store:
        del store["d3"]
    with pytest.raises((AssertionError, KeyError)):
        tiny.look(tmp_path / "a.kist", 7, True, False)
