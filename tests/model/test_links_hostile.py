"""Links that damaged or hostile files hold, and files that are no good to link to."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import CorruptDataError, DTypeError, LinkError, SelectionError, ShapeError
from kist.format import keys
from kist.format.dtypes import pack_dtype
from kist.format.link import LinkForm, LinkRecord
from kist.format.schema import Schema
from kist.model import directory
from kist.model.links.records import put_link

BYTES: dict[str, Any] = {
    "file": "a.npy", "dtype": pack_dtype(np.dtype("u1")), "shape": [6], "order": "C", "offset": 0,
    "size": 176, "mtime_ns": 0, "block": 0, "sums": np.zeros(0, "<u8"),
}  # fmt: skip
PARTS: dict[str, Any] = {
    "path": "t", "schema": Schema.from_dtype(np.dtype("i4,f8")).pack(), "names": ["a", "b"],
    "files": ["a", "b"], "stores": [bytes(16)] * 2, "commits": np.ones(2, "<u8"),
    "stamps": [bytes(8)] * 2, "stored": np.ones(2, "<u8"), "groups": np.ones(2, "<u4"),
    "rows": np.ones(2, "<u4"), "live": np.ones(2, "<u4"), "added": [], "statistics": {},
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[kist.Store]:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.arange(6.0))
    with kist.open("s.kist", "w") as opened:
        yield opened


def put(store: kist.Store, form: LinkForm, said: dict[str, Any]) -> None:
    link = store.create_link("link", "nowhere")
    with link._write() as txn:
        put_link(txn, link._id, LinkRecord(form, said))


@pytest.mark.parametrize(
    "said",
    [
        {"shape": [0, 1 << 62, 1 << 62]},
        {"shape": [1 << 62, 4], "size": 1 << 65},
        {"shape": [True]},
        {"shape": [-1]},
        {"shape": ["6"]},
        {"dtype": pack_dtype(np.dtype("S0")), "block": 8},
        {"dtype": pack_dtype(np.dtype("V0")), "shape": [1 << 40]},
        {"offset": -1},
    ],
)
def test_bytes_that_cannot_be_are_damage(store: kist.Store, said: dict[str, Any]) -> None:
    put(store, LinkForm.BYTES, {**BYTES, **said})
    with pytest.raises(CorruptDataError, match="link"):
        store["link"]
    assert not store.check().ok and "link" in repr(store)


@pytest.mark.parametrize("n", [1 << 62, 100 << 40])
def test_memory_is_taken_when_the_file_is_known_to_be_that_long(store: kist.Store, n: int) -> None:
    put(store, LinkForm.BYTES, {**BYTES, "shape": [n], "size": n})
    with pytest.raises(LinkError, match="changed since it was linked"):
        store["link"][:]
    with pytest.raises(LinkError, match="changed since it was linked"):
        store["link"][::2]


@pytest.mark.parametrize(
    "said",
    [
        {"groups": np.array([2**64 - 1, 3], "<u8")},
        {"groups": np.array([3, 2**64 - 1], "<u8")},
        {"groups": np.ones(3, "<u4")},
        {"live": np.ones(3, "<u4")},
        {"live": np.full(2, 2, "<u4")},
        {"rows": np.full(2, 70_000, "<u4")},
        {"rows": np.ones(2, "<i4")},
        {"files": ["a", 5]},
        {"files": ["a"]},
        {"names": [None]},
        {"stamps": [bytes(8)]},
        {"added": [[1]]},
        {"statistics": {0: b""}},
        {"statistics": {"f0": b""}},
        {"schema": b"x"},
    ],
)
def test_parts_that_do_not_fit_are_damage(store: kist.Store, said: dict[str, Any]) -> None:
    put(store, LinkForm.PARTS, {**PARTS, **said})
    with pytest.raises(CorruptDataError):
        store["link"]
    assert not store.check().ok
    assert "link" in repr(store) and "link" in store._repr_html_()


@pytest.mark.parametrize("form", ["union", "bytes"])
def test_a_link_whose_record_is_that_of_a_table_is_damage(store: kist.Store, form: str) -> None:
    store["t"] = np.zeros(3, "i4,f8")
    if form == "union":
        put(store, LinkForm.UNION, {"paths": ["t"]})
    else:
        put(store, LinkForm.BYTES, BYTES)
    table = store["t"]
    with store._write() as txn:
        record = txn.get(keys.node(table._id))
        assert record is not None
        link = directory.find(txn, keys.ROOT, ("link",), "/")
        txn.put(keys.node(link.node), record)
    with pytest.raises(CorruptDataError, match="listed as a link, and its record says otherwise"):
        store["link"]
    with pytest.raises(CorruptDataError, match="link"):
        kist.split("s.kist", "link", parts=2, out="part-{}.kist")
    assert not store.check().ok


def test_a_link_of_paths_that_are_none_is_damage(store: kist.Store) -> None:
    put(store, LinkForm.UNION, {"paths": [5]})
    with pytest.raises(CorruptDataError, match="other paths than str"):
        store["link"]
    assert not store.check().ok


def npy(header: str) -> None:
    text = header.encode() + b"\n"
    Path("x.npy").write_bytes(b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(64))


@pytest.mark.parametrize(
    ("descr", "shape", "error"),
    [
        ("'|u1'", "(-5,)", ShapeError),
        ("'|u1'", "(99999999999999999999,)", ShapeError),
        ("'|u1'", "(5000,)", ShapeError),
        ("'|O'", "(5,)", DTypeError),
        ("[('a', 'O')]", "(5,)", DTypeError),
        ("'|V0'", "(5,)", DTypeError),
        ("'|u1'", "(1 << 3,)", LinkError),
        ("'|u1'", "(" * 300, LinkError),
    ],
)
def test_npy_files_that_cannot_be_are_refused(
    store: kist.Store, descr: str, shape: str, error: type[Exception]
) -> None:
    npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")
    with pytest.raises(error):
        store.create_array_link("x", "x.npy")
    assert not list(store)


def test_datasets_of_hdf5_that_stand_in_no_piece_of_the_file_are_refused(store: kist.Store) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File("other.h5", "w") as file:
        file["zeros"] = np.zeros(9)
    with h5py.File("a.h5", "w", userblock_size=512) as file:
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((4,))
        made = h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_DOUBLE, space, compact)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(4.0))
        file["zeros"], file["good"] = np.zeros(9), np.arange(5.0)
        file["null"] = h5py.Empty("f8")
        file["external"] = h5py.ExternalLink("other.h5", "/zeros")
    for name in ("compact", "null", "external"):
        with pytest.raises(SelectionError, match=name):
            store.create_array_link("x", "a.h5", name)
    store.create_array_link("x", "a.h5", "good")
    assert store["x"][:].tolist() == [0, 1, 2, 3, 4]


def test_files_that_were_replaced_are_closed_with_their_last_handle(store: kist.Store) -> None:
    def replace(value: int) -> None:
        with kist.open("new.kist", "w") as other:
            other["x"] = [value]
        os.replace("new.kist", "other.kist")

    store.create_link("x", "x", file="other.kist")  # made first: any store may stand there
    links = store._links
    replace(0)
    kept = store["x"]
    for n in range(1, 5):
        replace(n)
        assert store["x"][:] == [n]
    gc.collect()
    alive = [one for one in links._others if one() is not None]
    assert len(alive) == 2 and kept[:] == [0]
    store.close()
    with pytest.raises(kist.StoreClosedError):
        kept[:]


@pytest.mark.parametrize("pattern", ["../*", "../../**/x.kist", "*/../../*", "/*", "in/../../*/x"])
def test_patterns_have_no_folder_outside_the_roots_listed(
    store: kist.Store, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.setattr("glob.glob", lambda *a, **k: pytest.fail("a folder was listed"))
    Path("in").mkdir()
    put(store, LinkForm.PARTS, {**PARTS, "names": [pattern]})
    with pytest.raises(LinkError):
        store.open_link("link").renew()
    with pytest.raises(LinkError):
        store.create_union("u", "t", files=pattern)


@pytest.mark.parametrize("pattern", ["**/" * 12 + "x", "**/g/" * 6 + "x", "**/**/*/**/*/**/x"])
def test_a_pattern_is_looked_up_once_in_each_group(
    store: kist.Store, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    store["/".join("g" * 12) + "/x"] = [1.5]
    put(store, LinkForm.UNION, {"paths": [pattern]})
    children, n_asked = directory.children, 0

    def counted(*arguments: Any) -> Any:
        nonlocal n_asked
        n_asked += 1
        return children(*arguments)

    monkeypatch.setattr(directory, "children", counted)
    assert store["link"][:].tolist() == [1.5]
    assert n_asked <= 4 * 13 * len(pattern.split("/"))


def test_a_pattern_of_files_is_looked_up_in_as_many_steps_as_folders(
    store: kist.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(*"abcdefgh")
    folder.mkdir(parents=True)
    with kist.open(folder / "x.kist", "w") as other:
        other["t"] = [1.5]
    listed = []
    scandir = os.scandir

    def counted(*arguments: Any) -> Any:
        listed.append(arguments)
        return scandir(*arguments)

    monkeypatch.setattr(os, "scandir", counted)
    link = store.create_union("u", "t", files="**/" * 9 + "x*.kist")
    assert store["u"].files == ["a/b/c/d/e/f/g/h/x.kist"]
    assert len(listed) < 60
    assert link.kind == "link"


@pytest.mark.parametrize("how", ["path", "group", "file", "union", "parts", "second"])
def test_a_link_in_the_place_of_a_sealed_table_is_tampering(store: kist.Store, how: str) -> None:
    key = bytes(range(32))
    fake = np.array([(1, b"FAKE")], "i4,S4")
    with kist.open("ward.kist", "w", secrets=key) as ward:
        real = np.array([(1, b"real")], "i4,S4")
        ward.create_table("ward/patients", real, encrypt={"f1": key})
        ward.create_link("mine", "ward/patients")
    store["fakes/patients"] = fake
    with kist.open("ward.kist", "r+", secrets={"ward/patients/f1": key}) as ward:
        assert ward["mine"]["f1"][0] == b"real" and ward["ward/patients"]["f1"][0] == b"real"
    with kist.open("ward.kist", "r+") as ward:  # who knows no secret
        ward["fakes/patients"] = fake
        if how in ("group", "second"):
            ward.move("ward", "old")
            ward.create_link("ward", "fakes")
        else:
            ward.move("ward/patients", "old")
        if how == "path":
            ward.create_link("ward/patients", "/fakes/patients")
        elif how == "file":
            ward.create_link("ward/patients", "fakes/patients", file="s.kist")
        elif how == "union":
            ward["ward"].create_union("patients", "/fakes/patients")
        elif how == "parts":
            ward["ward"].create_union("patients", "fakes/patients", files="s.kist")
    with kist.open("ward.kist", "r+", secrets={"ward/patients/f1": key}) as ward:
        with pytest.raises(kist.TamperedDataError, match="is a link, and a secret was given"):
            ward["mine" if how == "second" else "ward/patients"]
        with pytest.raises(kist.TamperedDataError):
            ward.create_table("ward/patients/more", fake)
        with pytest.raises(kist.TamperedDataError):
            ward.union("ward/patients")
        assert "link" in repr(ward)
        assert ward["fakes/patients"]["f1"][0] == b"FAKE"


@pytest.mark.parametrize("name", ["runs", "/runs/"])
def test_a_link_in_the_place_of_a_sealed_dataset_is_tampering(store: kist.Store, name: str) -> None:
    """The secret is for all of it, so that no column below is named."""
    key = bytes(range(32))
    with kist.open("ward.kist", "w", secrets=key) as ward:
        ward.create_array("runs", [1, 2], encrypt=key)
    with kist.open("ward.kist", "r+") as ward:
        ward.move("runs", "old")
        ward["fakes"] = [7, 8]
        ward.create_link("runs", "fakes")
    with kist.open("ward.kist", secrets={name: key}) as ward:
        with pytest.raises(kist.TamperedDataError, match="is a link, and a secret was given"):
            ward["runs"]
        with pytest.raises(kist.TamperedDataError):
            ward.open_link("runs").follow()
        assert ward["fakes"][:].tolist() == [7, 8]


def test_what_is_named_from_the_root_is_known_by_its_own_path(store: kist.Store) -> None:
    """A secret was given for what stands in clear: links and unions in groups do not hide it."""
    key = bytes(range(32))
    with kist.open("ward.kist", "w") as ward:
        ward["runs"] = [1, 2]
        ward["patients"] = ward["g/patients"] = np.array([(1, b"FAKE")], "i4,S4")
        ward.create_link("g/runs", "/runs")
        ward.create_link("g/one", "/patients")
    with kist.open("ward.kist", secrets={"runs": key, "patients/f1": key}) as ward:
        for look in (
            lambda: ward["g/runs"][:],
            lambda: ward["g"].union("/runs")[:],
            lambda: ward["g/one"]["f1"][:],
            lambda: ward["g"].union("/patients")["f1"][:],
            lambda: ward["g"].union("/p*")["f1"][:],
        ):
            with pytest.raises(kist.TamperedDataError):
                look()
        assert ward["g"].union("patients")["f1"][0] == b"FAKE"
