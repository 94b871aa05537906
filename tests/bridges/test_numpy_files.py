"""NPY and NPZ both ways, and kist.save, savez and load in place of NumPy's."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
import kist.storage.file
from kist.errors import ConversionError, CorruptDataError, DTypeError, StorageError

TEXT: Any = np.dtypes.StringDType(na_object=None)
DTYPES = ["?", "i1", ">i4", "u8", "f2", "f8", "g", "c8", "S5", "U4", "V3", "M8[us]", "m8[D]",
          "i4,f8"]  # fmt: skip
SHAPES = [(), (0,), (7,), (3, 4), (2, 0, 3), (2, 3, 2)]


def sample(dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    found = np.dtype(dtype)
    width = max(1, found.itemsize)
    n = int(np.prod(shape, dtype=int))
    raw = np.arange(n * width, dtype=np.int64).astype(np.uint8)
    if found.kind == "b":
        return (raw % 2).astype(bool)[:n].reshape(shape)
    if found.kind in "fcg":
        return np.arange(n).astype(found).reshape(shape)
    if found.kind in "SU":
        return np.array([f"t{k}" for k in range(n)], found).reshape(shape)
    if found.names is not None:
        out = np.zeros(shape, found)
        for name in found.names:
            out[name] = np.arange(n).reshape(shape)
        return out
    return raw[: n * width].view(found).reshape(shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_npz_goes_in_and_out_unchanged(tmp_path: Path, shape: Any) -> None:
    arrays = {f"g/a{k}": sample(dtype, shape) for k, dtype in enumerate(DTYPES)}
    np.savez(tmp_path / "a.npz", **arrays)
    assert kist.convert(tmp_path / "a.npz", tmp_path / "a.kist").ok
    assert kist.convert(tmp_path / "a.kist", tmp_path / "b.npz").ok
    with np.load(tmp_path / "b.npz") as back:
        assert set(back.files) == set(arrays)
        for name, values in arrays.items():
            assert back[name].dtype == values.dtype
            np.testing.assert_array_equal(back[name], values)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_several_parts_goes_in_and_out(tmp_path: Path, order: Any) -> None:
    values = np.arange(3_000_000.0).reshape(300, 100, 100).copy(order)
    np.save(tmp_path / "x.npy", values)
    kist.convert(tmp_path / "x.npy", tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist") as store:
        np.testing.assert_array_equal(store["x"][...], values)
    kist.convert(f"{tmp_path / 'a.kist'}:x", tmp_path / "y.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), values)


def test_tables_with_text_become_records_of_fixed_width(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_table("t", {"i": [1, 2], "s": np.array(["é", None], TEXT)}, attrs={"a": 1})
    report = kist.convert(f"{tmp_path / 'a.kist'}:t", tmp_path / "t.npy")
    assert {n.code for n in report.notes} == {"npy.text", "npy.missing", "npy.attributes"}
    assert np.load(tmp_path / "t.npy").tolist() == [(1, "é"), (2, "")]
    with pytest.raises(ConversionError, match="strict"):
        kist.convert(f"{tmp_path / 'a.kist'}:t", tmp_path / "u.npy", strict=True)
    assert not (tmp_path / "u.npy").exists()


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_pickles_are_refused(tmp_path: Path, name: str) -> None:
    values = np.array([{"a": 1}, None], object)
    save: Any = np.save if name.endswith("npy") else np.savez
    save(tmp_path / name, values, allow_pickle=True)
    with pytest.raises(ConversionError, match="pickle"):
        kist.convert(tmp_path / name, tmp_path / "a.kist")
    assert not (tmp_path / "a.kist").exists()


def test_archives_that_would_become_huge_are_refused(tmp_path: Path) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": (1 << 31,)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", head.getvalue() + bytes(4 << 20))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    at = data.rindex(b"PK\x01\x02") + 24
    data[at : at + 4] = (0x80000000).to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ConversionError, match="ZIP bomb"):
        kist.convert(tmp_path / "a.npz", tmp_path / "a.kist")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_cut_files_raise(tmp_path: Path, name: str, share: float) -> None:
    save: Any = np.save if name.endswith("npy") else np.savez_compressed
    save(tmp_path / name, np.random.default_rng(0).random(10_000))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    kind = name[-3:]
    with pytest.raises((CorruptDataError, ConversionError)):
        kist.convert(tmp_path / name, tmp_path / "a.kist", format=kind)
    assert not (tmp_path / "a.kist").exists()


def test_memory_stays_bounded(tmp_path: Path, peak: Any) -> None:
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "f8", (30_000_000,)).flush()
    base = peak(f"kist.open({str(tmp_path / 'n.kist')!r}, 'w').close()")
    grown = peak(f"kist.convert({str(tmp_path / 'x.npy')!r}, {str(tmp_path / 'a.kist')!r})")
    assert grown - base < 150e6 < 240e6


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, limited: Any) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random(100_000))
    kist.convert(tmp_path / "x.npy", tmp_path / "a.kist")
    here = repr(str(tmp_path) + "/")
    limited(
        StorageError,
        f"kist.convert({here} + 'a.kist:x', {here} + 'y.npy')",
        f"kist.convert({here} + 'a.kist', {here} + 'y.npz')",
        f"kist.convert({here} + 'x.npy', {here} + 'b.kist')",
        f"kist.save({here} + 'c', numpy.arange(1e6) ** 0.5)",
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.kist", "x.npy"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_load_gives_back_what_save_took(tmp_path: Path, dtype: str) -> None:
    for shape in SHAPES:
        values = sample(dtype, shape)
        kist.save(tmp_path / "x", values)
        back = kist.load(tmp_path / "x.kist")
        assert isinstance(back, np.ndarray) and back.dtype == values.dtype
        np.testing.assert_array_equal(back, values)


def test_savez_names_arrays_as_numpy_does(tmp_path: Path) -> None:
    kist.savez(tmp_path / "x.kist", np.arange(3), [1.5], b=np.eye(2), c=7)
    with kist.load(tmp_path / "x.kist") as arrays:
        assert sorted(arrays.files) == ["arr_0", "arr_1", "b", "c"]
        assert arrays["b"].tolist() == np.eye(2).tolist() and arrays["c"].shape == ()
        assert "b" in arrays and len(arrays) == 4 and set(arrays) == set(arrays.files)
        with pytest.raises(KeyError):
            arrays["none"]
    with pytest.raises(ValueError, match="arr_0"):
        kist.savez(tmp_path / "y", 1, arr_0=2)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    kist.save(tmp_path / "x", [1, 2])
    with pytest.raises(DTypeError):
        kist.save(tmp_path / "x", np.array([object()]))
    assert kist.load(tmp_path / "x.kist").tolist() == [1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["x.kist"]


def test_load_reads_numpys_own_files_but_no_pickles(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", [1, 2])
    assert kist.load(tmp_path / "a.npy").tolist() == [1, 2]
    np.save(tmp_path / "b.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(ValueError, match="pickle"):
        kist.load(tmp_path / "b.npy")
    kist.save(tmp_path / "m", np.arange(1000.0), codec="none")
    assert kist.load(tmp_path / "m.kist", mmap_mode="r")[10] == 10.0


@pytest.mark.parametrize("n", [10, 2_000_000])
def test_what_is_saved_is_waited_for_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    values = np.arange(n, dtype="f8")
    synced: list[str] = []

    def told(module: Any, name: str, word: str) -> None:
        plain = getattr(module, name)

        def call(*args: Any) -> None:
            synced.append(word)
            plain(*args)

        monkeypatch.setattr(module, name, call)

    told(os, "fsync", "name")
    told(os, "replace", "is")
    told(kist.storage.file, "_fdatasync", "data")
    kist.save(tmp_path / "x", values)
    assert synced[-1] == "name" and synced.count("is") == 1
    assert {"name", "data"} & set(synced[: synced.index("is")])
    if n == 10:
        assert synced == ["data", "is", "name"]
    synced.clear()
    kist.save(tmp_path / "x", values, durability="none")
    if n == 10:
        assert synced == ["is"]
    assert synced[-1] == "is"
    np.testing.assert_array_equal(kist.load(tmp_path / "x.kist"), values)
    with pytest.raises(ValueError, match="durability"):
        kist.savez(tmp_path / "y", values, durability="some")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["x.kist"]


@pytest.mark.parametrize("durability", ["full", "none"])
def test_the_disk_works_while_much_is_compressed(
    durability: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    monkeypatch.setattr("kist.storage.file.system.start_writing", begun.append)
    values = np.random.default_rng(0).random(3_000_000)
    kist.save(tmp_path / "a", values, durability=durability)
    assert bool(begun) == (durability == "full")
    assert np.array_equal(kist.load(tmp_path / "a.kist"), values)
