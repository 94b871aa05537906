"""Arrays whose values stand in files of other formats: NPY, HDF5, bytes."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import kist
from kist.errors import CorruptDataError
from kist.format import keys
from kist.format.link import LinkForm, LinkRecord
from kist.model.links.records import put_link
from kist.storage.positions import read_at

KEYS: list[Any] = [
    ..., 5, -1, slice(3, 9), slice(299, 2, -9), slice(0, 0), (slice(None), 3), (..., -1),
    (slice(10, 200, 7), slice(None, None, 3), slice(5, 30)), ([5, 299, 0, 5],), (0, 0, 0),
    (slice(None), [1, 3], [2, 2]), (None, 4), (slice(None), slice(None), slice(0, 1)),
]  # fmt: skip


@pytest.fixture
def values() -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).normal(size=(300, 70, 40))


@pytest.fixture
def folder(tmp_path: Path, values: np.ndarray[Any, Any]) -> Path:
    np.save(tmp_path / "c.npy", values)
    np.save(tmp_path / "f.npy", np.asfortranarray(values))
    (tmp_path / "raw.bin").write_bytes(b"head" + values.astype(">i2").tobytes() + b"tail")
    with h5py.File(tmp_path / "h.h5", "w", userblock_size=512) as file:
        file["g/x"] = values.astype(">f4")
        file.create_dataset("chunked", data=values, chunks=True)
        file["text"] = "any length"
        file.create_dataset("unwritten", (3,), "f8")
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_array_link("c", "c.npy", title="Frames")
        store.create_array_link("f", "f.npy", sums=False)
        store.create_array_link("h", tmp_path / "h.h5", "g/x")
        shape = values.shape
        store.create_array_link("raw", "raw.bin", dtype=">i2", shape=shape, offset=4)
    return tmp_path


@pytest.mark.parametrize("name", ["c", "f", "h", "raw"])
def test_it_is_indexed_as_the_array_that_was_written(
    folder: Path, values: np.ndarray[Any, Any], name: str
) -> None:
    wanted = values.astype({"h": ">f4", "raw": ">i2"}.get(name, "<f8"))
    with kist.open(folder / "a.kist") as store:
        array = store[name]
        assert (array.shape, array.dtype, array.ndim) == (wanted.shape, wanted.dtype, 3)
        assert (array.nbytes, len(array)) == (wanted.nbytes, 300)
        for key in [*KEYS, wanted > 2]:
            found = array[key]
            assert np.shape(found) == wanted[key].shape, key
            assert np.array_equal(found, wanted[key]), key
        assert sum(len(block) for block in array.blocks(70)) == 300
        assert np.array_equal(np.asarray(array), wanted)
        with pytest.raises(kist.SelectionError):
            array[300]
        with pytest.raises(kist.ReadOnlyError):
            array[0] = 1


def test_a_link_to_bytes_is_a_node_like_other_links(folder: Path) -> None:
    with kist.open(folder / "a.kist") as store:
        assert "c  link -> c.npy, bytes from 128  'Frames'" in str(store.tree())
        assert "300 x 70 x 40 float64 in 'c.npy' from byte 128>" in repr(store["c"])
        assert "not verified" in repr(store["f"]) and store["c"].is_verified
        link = store.open_link("h")
        assert link.linked_file == "h.h5" and link.info["dangling"] is False
        assert pickle.loads(pickle.dumps(store["c"]))[0, 0, 0] == store["c"][0, 0, 0]
        assert store.check().ok
        with pytest.raises(kist.LinkError, match="paths do not descend"):
            store["c/x"]
        array = store["c"]
    with pytest.raises(kist.StoreClosedError):
        array[0]


def test_a_flipped_bit_is_seen_where_it_is_read(folder: Path) -> None:
    with open(folder / "c.npy", "r+b") as file:
        file.seek(128 + 3_000_000)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    with kist.open(folder / "a.kist") as store:
        array = store["c"]
        array[0], array[-1]
        for key in (slice(None), (slice(None), 0), 3_000_000 // (70 * 40 * 8)):
            with pytest.raises(
                CorruptDataError, match=r"link '/c': bytes .* of .*c\.npy"
            ) as caught:
                array[key]
            assert caught.value.node == "/c" and caught.value.offset == 128 + 2 * (1 << 20)


def test_a_file_that_is_not_what_it_was_is_refused(folder: Path) -> None:
    with kist.open(folder / "a.kist") as store:
        c, f, raw = store["c"], store["f"], store["raw"]
        for name in ("c.npy", "f.npy"):
            found = os.stat(folder / name)
            os.utime(folder / name, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
        c[0]  # its sums prove it
        with pytest.raises(kist.LinkError, match=r"'/f': .*f\.npy' has changed since"):
            f[0]
        with open(folder / "raw.bin", "ab") as file:
            file.write(b"more")
        with pytest.raises(kist.LinkError, match="has changed since"):
            raw[0]
        (folder / "c.npy").unlink()
        with pytest.raises(kist.LinkError, match="which is not there"):
            c[0]
        assert "(dangling)" in repr(store.open_link("c"))
        (folder / "c.npy").symlink_to("/etc/hostname")
        with pytest.raises(kist.LinkError, match="link_roots="):
            c[0]


def test_a_file_that_is_changed_while_it_is_linked_is_refused(folder: Path) -> None:
    def change(done: int, total: int) -> None:
        with open(folder / "raw.bin", "r+b") as file:
            file.write(b"else")

    os.utime(folder / "raw.bin", ns=(0, 0))  # so that a change is seen on any clock
    with kist.open(folder / "a.kist", "r+") as store:
        with pytest.raises(kist.LinkError, match="changed while it was being linked"):
            store.create_array_link("b", "raw.bin", dtype="u1", shape=(9,), progress=change)
        assert "b" not in store


def test_a_file_that_is_changed_while_it_is_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(folder / "f.npy", ns=(0, 0))  # so that a change is seen on any clock

    def changes(*args: Any) -> int:
        n = read_at(*args)
        with open(folder / "f.npy", "r+b") as file:
            file.seek(1000)
            file.write(b"else")
        return n

    with kist.open(folder / "a.kist", "r+") as store:
        store.create_array_link("g", "f.npy", sums=False)
        monkeypatch.setattr("kist.model.links.array.read_at", changes)
        with pytest.raises(kist.LinkError, match="has changed since"):
            store["g"][3]


def test_what_stands_in_no_piece_is_refused(folder: Path) -> None:
    np.save(folder / "objects.npy", np.array([{}], object), allow_pickle=True)
    (folder / "cut.npy").write_bytes((folder / "c.npy").read_bytes()[:1000])
    (folder / "header.npy").write_bytes((folder / "c.npy").read_bytes()[:50])
    with kist.open(folder / "a.kist", "r+") as store:
        for error, match, arguments, more in (
            (kist.SelectionError, "in one piece", ("h.h5", "chunked"), {}),
            (kist.SelectionError, "in one piece", ("h.h5", "unwritten"), {}),
            (kist.SelectionError, "no dataset 'g'", ("h.h5", "g"), {}),
            (kist.SelectionError, "name the dataset", ("h.h5",), {}),
            (kist.DTypeError, "by HDF5 alone", ("h.h5", "text"), {}),
            (kist.DTypeError, "no width", ("objects.npy",), {}),
            (kist.ShapeError, "has 1,000 bytes", ("cut.npy",), {}),
            (kist.LinkError, "damaged NPY", ("header.npy",), {}),
            (kist.LinkError, "no NPY file", ("raw.bin",), {}),
            (kist.LinkError, "not there", ("none.npy",), {}),
            (kist.LinkError, "link_roots=", ("/etc/hostname",), {"dtype": "u1", "shape": 1}),
            (kist.SelectionError, "together", ("raw.bin",), {"dtype": "u1"}),
            (kist.ShapeError, "take", ("raw.bin",), {"dtype": "u1", "shape": 10**9}),
            (kist.ShapeError, "take", ("raw.bin",), {"dtype": "u1", "shape": 1, "offset": 10**9}),
            (kist.SelectionError, "bytes", ("raw.bin",), {"dtype": "u1", "shape": 1,"offset": -1}),
            (kist.SelectionError, "order", ("raw.bin",), {"dtype": "u1", "shape": 1, "order": "K"}),
            (kist.DTypeError, "no width", ("raw.bin",), {"dtype": "T", "shape": 1}),
            (kist.NodeExistsError, "exists already", ("c.npy",), {"name": "c"}),
        ):  # fmt: skip
            name = more.pop("name", "bad")
            with pytest.raises(error, match=match):
                store.create_array_link(name, *arguments, **more)
        assert list(store) == ["c", "f", "h", "raw"]


@pytest.mark.parametrize(
    "values",
    [
        np.array(7.5),
        np.zeros((0, 3)),
        np.array([(1, 2.5, b"x")] * 5, [("a", "<i4"), ("b", ">f8"), ("c", "S3")]),
        np.arange(5).astype("M8[s]"),
        np.array(["ab", "c"]),
        np.array([(1,)], [("naïve", "i2")]),  # version 3 of NPY
        np.arange(700_000).reshape(7, -1).T,
    ],
    ids=lambda a: str(a.dtype),
)
def test_any_npy_file_comes_as_it_is(values: np.ndarray[Any, Any], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", values)
    with kist.open(tmp_path / "a.kist", "w") as store:
        told: list[tuple[int, int]] = []
        store.create_array_link("x", "x.npy", progress=lambda *done: told.append(done))
        found = store["x"][...]
        assert (found.dtype, found.shape) == (values.dtype, values.shape)
        assert np.array_equal(found, values)
        assert not values.nbytes or told[-1] == (values.nbytes, values.nbytes)


def test_fields_that_do_not_fit_are_damage(folder: Path) -> None:
    with kist.open(folder / "a.kist", "r+") as store:
        link = store.open_link("c")
        said = dict(link._record().said)
        for name, wrong in (
            ("shape", [300, 70]),
            ("shape", [-1]),
            ("shape", [1] * 65),
            ("shape", [2.5]),
            ("order", "K"),
            ("offset", -1),
            ("offset", 1 << 60),
            ("block", -8),
            ("block", 1 << 40),
            ("block", 1001),
            ("sums", said["sums"][:-1]),
            ("sums", said["sums"].astype("f8")),
            ("dtype", b""),
        ):
            with store._write() as txn:
                txn.delete(keys.link(link._id))
                put_link(txn, link._id, LinkRecord(LinkForm.BYTES, {**said, name: wrong}))
            with pytest.raises(CorruptDataError):
                store["c"]
            assert [problem.where for problem in store.check().problems] == ["link"], (name, wrong)
