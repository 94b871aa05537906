"""CSV and JSON lines: compressed in any way, and with the dtypes that the caller chose."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import ConversionError, DTypeError

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.feather")
pytest.importorskip("pyarrow.parquet")

ROWS = "s,n\nabc,1\n,2\nlonger text,\n"
UNPACK = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}


def rows(path: Path, node: str = "t") -> Any:
    with kist.open(path) as store:
        return store[node][:].tolist()


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst", ".lz4"])
def test_text_goes_out_compressed_and_comes_in_under_any_name(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "t.csv").write_text(ROWS)
    kist.convert(tmp_path / "t.csv", tmp_path / "a.kist")
    for name in ("t.csv", "t.jsonl"):
        packed = tmp_path / f"{name}{suffix}"
        kist.convert(f"{tmp_path}/a.kist:t", packed)
        if suffix in UNPACK:
            assert b"longer text" in UNPACK[suffix](packed.read_bytes())
        assert b"longer text" not in packed.read_bytes()[:8]
        kist.convert(packed, tmp_path / f"{name}.kist")
        assert rows(tmp_path / f"{name}.kist") == rows(tmp_path / "a.kist")
        packed.rename(tmp_path / name)  # a download that lost its last letters
        kist.convert(tmp_path / name, tmp_path / f"{name}2.kist")
        assert rows(tmp_path / f"{name}2.kist") == rows(tmp_path / "a.kist")
        (tmp_path / name).unlink()


def test_compressed_text_comes_in_by_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = io.TextIOWrapper(io.BytesIO(gzip.compress(ROWS.encode())))
    monkeypatch.setattr(sys, "stdin", pipe)
    kist.convert("-", f"{tmp_path}/a.kist:t", format="csv")
    assert rows(tmp_path / "a.kist")[0] == ("abc", (1, True))


def test_what_is_no_text_is_not_compressed_by_its_name(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = np.arange(3)
    for name in ("x.npy.gz", "x.parquet.xz"):
        with pytest.raises(ConversionError, match="no known format"):
            kist.convert(f"{tmp_path}/a.kist:x", tmp_path / name)


@pytest.mark.parametrize("dtype", ["U", str, np.dtypes.StringDType(na_object=None)])
def test_text_without_a_width_is_as_long_as_it_is(tmp_path: Path, dtype: Any) -> None:
    (tmp_path / "t.csv").write_text("s,n\n007,1\n,2\n1234567,3\n")
    kist.convert(tmp_path / "t.csv", tmp_path / "a.kist", dtypes={"s": dtype})
    assert [row[0] for row in rows(tmp_path / "a.kist")] == ["007", None, "1234567"]


def test_bytes_without_a_width_are_cells(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("s,n\n007,1\nxy,2\n")
    kist.convert(tmp_path / "t.csv", tmp_path / "a.kist", dtypes={"s": bytes})
    assert rows(tmp_path / "a.kist") == [(b"007", 1), (b"xy", 2)]
    (tmp_path / "t.csv").write_text("s,n\n007,1\n,2\n")
    assert kist.convert(tmp_path / "t.csv", tmp_path / "b.kist", dtypes={"s": "S"}).ok
    with kist.open(tmp_path / "b.kist") as store:
        assert store["t"].to_arrow()["s"].to_pylist() == [b"007", None]


def test_missing_text_of_a_width_needs_a_nullable_dtype(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("s,n\n007,1\n,2\n")
    with pytest.raises(DTypeError, match=r"kist.nullable\(...\)"):
        kist.convert(tmp_path / "t.csv", tmp_path / "a.kist", dtypes={"s": "U5"})
    with pytest.raises(DTypeError, match="na_object=None"):
        kist.convert(tmp_path / "t.csv", tmp_path / "a.kist", dtypes={"s": np.dtypes.StringDType()})
    kist.convert(tmp_path / "t.csv", tmp_path / "a.kist", dtypes={"s": kist.nullable("U5")})
    assert [row[0] for row in rows(tmp_path / "a.kist")] == [("007", True), ("", False)]


def test_chosen_categories_keep_their_letters(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("s,n\n007,1\n,2\n01,3\n")
    kist.convert(tmp_path / "t.csv", tmp_path / "a.kist", dtypes={"s": kist.categorical(str)})
    assert [row[0] for row in rows(tmp_path / "a.kist")] == ["007", None, "01"]


def test_the_one_dataset_of_a_store_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(ROWS)
    kist.convert(tmp_path / "t.csv", tmp_path / "a.kist")
    kist.convert(tmp_path / "a.kist", tmp_path / "b.csv")
    assert b"longer text" in (tmp_path / "b.csv").read_bytes()
    with kist.open(tmp_path / "a.kist", "r+") as store:
        store["x"] = np.arange(3)
    with pytest.raises(ConversionError, match=r"\(group\)"):
        kist.convert(tmp_path / "a.kist", tmp_path / "c.csv")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_metadata_of_a_schema_comes_back(tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / f"t{suffix}", tmp_path / f"u{suffix}"
    write = pa.parquet.write_table if suffix == ".parquet" else pa.feather.write_feather
    read = pa.parquet.read_table if suffix == ".parquet" else pa.feather.read_table
    kept = {b"who": b"me", b"\xff": b"\x00"} if suffix == ".arrow" else {b"who": b"me"}
    write(pa.table({"a": [1, 2]}).replace_schema_metadata(kept), source)
    assert kist.convert(source, tmp_path / "a.kist").ok
    kist.convert(tmp_path / "a.kist", target)
    assert read(target).schema.metadata == kept


def test_the_index_of_a_frame_is_one_again(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1.5, 2.5], "b": ["x", None]}, index=pd.Index([5, 6], name="k"))
    frame.to_parquet(tmp_path / "t.parquet")
    kist.convert(tmp_path / "t.parquet", tmp_path / "a.kist")
    kist.convert(tmp_path / "a.kist", tmp_path / "u.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "u.parquet"), frame)
    with kist.open(tmp_path / "a.kist", "r+") as store:
        store["t"].drop_column("k")  # of which the metadata tells
    kist.convert(tmp_path / "a.kist", tmp_path / "v.parquet")
    assert pd.read_parquet(tmp_path / "v.parquet").columns.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    "metadata", [7, [1], [[b"a"]], [[b"pandas", b"{"]], [[b"pandas", b"[]"]], [[b"a", "b"]]]
)
def test_what_a_store_says_of_metadata_is_not_trusted(tmp_path: Path, metadata: Any) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_table("t", np.ones(2, [("a", "i4")])).attrs["ARROW"] = {"metadata": metadata}
    kist.convert(tmp_path / "a.kist", tmp_path / "a.parquet")
    assert pa.parquet.read_table(tmp_path / "a.parquet").to_pydict() == {"a": [1, 1]}
