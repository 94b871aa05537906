"""A source that gets shorter while it is read raises; a map of it would end the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kist
from kist.bridges.filearray import FileArray, held
from kist.errors import CorruptDataError

CONVERT = """
import os, sys
import kist
from kist.bridges import parquet, parts
from kist.errors import KistError

source, whole, keep = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "keep"
parts.PART_BYTES = parquet.PART_BYTES = 1 << 18
parquet._WHOLE = whole
done = []

def shorten(_done, _total):
    if not done and not keep:
        os.truncate(source, os.path.getsize(source) // 3)
    done.append(1)

options = {"allow_pickle": True} if source.endswith("joblib") else {}
try:
    kist.convert(source, "t.kist:new", progress=shorten, **options)
except KistError as error:
    print(type(error).__name__, error)
assert done
"""


def write(path: Path, values: np.ndarray) -> None:
    ending = path.suffix[1:]
    if ending == "npy":
        np.save(path, values)
    elif ending == "joblib":
        pytest.importorskip("joblib").dump({"x": values}, path)
    else:
        pa = pytest.importorskip("pyarrow")
        codes = pa.array(["a", "b", None]).take(pa.array(np.arange(len(values)) % 3))
        table = pa.table({"x": values, "code": codes.dictionary_encode()})
        if ending == "parquet":
            pytest.importorskip("pyarrow.parquet").write_table(
                table, path, row_group_size=50_000, compression="none", use_dictionary=["code"]
            )
            return
        new = pa.ipc.new_stream if ending == "arrows" else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
            writer.write_table(table, 1 << 30 if "one" in path.stem else 50_000)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps open files as long as they are")
@pytest.mark.parametrize(
    "name", ["a.npy", "a.joblib", "a.parquet", "a.feather", "a.arrows", "one.feather", "one.arrows"]
)
def test_a_source_that_gets_shorter_is_told(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(0).normal(size=1_500_000)
    write(tmp_path / name, values)
    with kist.open(tmp_path / "t.kist", "w") as store:
        store["old"] = [1, 2]
    for keep in ("shorten", "keep"):
        whole = "0" if "one" in name else str(1 << 30)
        done = subprocess.run(
            [sys.executable, "-c", CONVERT, name, whole, keep],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        with kist.open(tmp_path / "t.kist") as store:
            if keep == "keep":
                found = store["new"]
                found = found["x"] if name != "a.npy" else found
                assert np.array_equal(found[:], values) and not done.stdout
                if "code" in getattr(store["new"], "columns", ()):
                    assert store["new"]["code"][:4].tolist() == ["a", "b", None, "a"]
            else:
                assert list(store) == ["old"]
                assert name in done.stdout and done.stdout.split()[0] in (
                    "CorruptDataError",
                    "ConversionError",
                )
                write(tmp_path / name, values)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (5, 4), (3, 4, 5), (2, 3, 4, 5), (3, 0, 2)])
def test_parts_of_an_array_in_a_file_are_those_of_the_array(
    tmp_path: Path, shape: tuple[int, ...], order: str
) -> None:
    rng = np.random.default_rng(0)
    for dtype in ("f8", "S3", "M8[s]", [("a", "i4"), ("b", "S2", (2,))], "c16"):
        n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        values = np.ndarray(shape, dtype, rng.bytes(n_bytes) or b"0" * 16, order=order)  # type: ignore[call-overload]
        (tmp_path / "x").write_bytes(b"head" + values.tobytes(order=order))  # type: ignore[arg-type]
        found = FileArray(str(tmp_path / "x"), 4, shape, values.dtype, order == "F")
        assert (found.ndim, found.nbytes) == (values.ndim, values.nbytes)
        for _ in range(6):
            where = tuple(slice(*sorted(rng.integers(0, n + 1, 2).tolist())) for n in shape)
            part = found[where]
            wanted = np.asarray(values[where], values.dtype)
            assert part.tobytes() == wanted.tobytes() and part.shape == wanted.shape
        if shape:
            assert found[1:].tobytes() == values[1:].tobytes() and len(found) == shape[0]
    if shape and 0 not in shape:
        os.truncate(tmp_path / "x", 5)
        with pytest.raises(CorruptDataError, match="too early"):
            found[:]


def test_maps_of_whole_files_are_read_and_others_are_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asfortranarray(np.arange(12.0).reshape(3, 4)))
    whole = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(held(whole), FileArray)
    assert np.array_equal(held(whole)[:, 1:3], whole[:, 1:3])
    assert isinstance(held(whole[:2]), np.ndarray)
    assert isinstance(held(np.arange(3)), np.ndarray)


def test_text_whose_places_are_damaged_is_told_with_its_file(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"s": ["x"] * 1000})
    path = str(tmp_path / "a.arrows")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    data = (tmp_path / "a.arrows").read_bytes()
    places = np.arange(1001, dtype="<i4").tobytes()
    at = data.index(places) + 4 * 500
    (tmp_path / "a.arrows").write_bytes(data[:at] + b"\x00\x00\x00\x7f" + data[at + 4 :])
    with pytest.raises(CorruptDataError, match=r"a.arrows: cannot be read as arrow.*[Oo]ffset"):
        kist.convert(tmp_path / "a.arrows", tmp_path / "t.kist")
    assert not (tmp_path / "t.kist").exists()
