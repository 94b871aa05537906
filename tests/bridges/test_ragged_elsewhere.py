"""Tables with ragged columns in formats that have none: refused by name, and no file is left."""

from __future__ import annotations

from pathlib import Path

import pytest

import kist
from kist.errors import ConversionError


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.b2nd", "a.b2z", "a.zarr"])
def test_formats_without_such_columns_say_so(name: str, tmp_path: Path) -> None:
    if name.endswith("zarr"):
        pytest.importorskip("zarr")
    with kist.open(tmp_path / "a.kist", "w") as store:
        table = store.create_table("t", dtype={"id": "i4", "r": kist.ragged("f4")})
        table.append([(1, [0.5]), (2, [])])
    whole = name.endswith((".npy", ".b2nd"))
    source = f"{tmp_path / 'a.kist'}:/t" if whole else tmp_path / "a.kist"
    with pytest.raises(ConversionError, match=r"/t: .*different lengths \(r\); Parquet"):
        kist.convert(source, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a.kist"]
