"""Groups in which there is nothing: kept, or told."""

from __future__ import annotations

from pathlib import Path

import pytest

import kist

NEEDS = {"h5": "h5py", "nc": "netCDF4", "zarr": "zarr", "b2z": "blosc2"}


@pytest.mark.parametrize("suffix", ["npz", "sqlite", "b2z", "h5", "nc", "zarr"])
def test_groups_with_nothing_in_them_are_kept_or_told(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip(NEEDS.get(suffix, "numpy"))
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_table("g/h/x", dtype="i4,f8")
        store.create_group("empty/deep")
        store.create_group("g/none")
    report = kist.convert(tmp_path / "a.kist", tmp_path / f"a.{suffix}")
    told = {
        place
        for note in report.notes
        if note.code in ("npz.group", "sqlite.group", "blosc2.group")
        for place in note.places
    }
    kist.convert(tmp_path / f"a.{suffix}", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        gone = {f"/{name}" for name in ("empty", "empty/deep", "g/none") if name not in store}
        assert "g/h/x" in store
    assert told == gone
