"""Files of PyTables that come back from a store as what they were."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import kist
from kist.bridges.hdf5 import write_pytables_as
from kist.bridges.hdf5.write_pytables_as import Before, make_link

tables: Any = pytest.importorskip("tables")


@pytest.fixture
def again(tmp_path: Path) -> Any:
    """Return what writes a file, brings it in and out again, and opens it."""
    opened = []

    def make(write: Any, **options: Any) -> Any:
        with warnings.catch_warnings(), tables.open_file(tmp_path / "a.h5", "w") as file:
            warnings.simplefilter("ignore")
            write(file)
        kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
        kist.convert(tmp_path / "a.kist", tmp_path / "b.h5", flavour="pytables", **options)
        opened.append(tables.open_file(tmp_path / "b.h5"))
        return opened[-1]

    yield make
    for file in opened:
        file.close()


def arrays(file: Any) -> None:
    file.create_array("/", "plain", np.arange(6).reshape(2, 3), "a title")
    file.create_array("/", "number", 5)
    packed = tables.Filters(5, "blosc:zstd", shuffle=True, fletcher32=True)
    file.create_carray("/", "chunked", obj=np.ones((20, 30)), chunkshape=(5, 30), filters=packed)
    grows = file.create_earray("/", "grows", tables.Int32Atom(), (3, 0, 2))
    grows.append(np.arange(24, dtype="i4").reshape(3, 4, 2))
    file.create_earray("/", "times", tables.Time64Atom(), (0,)).append([1.5, 2.5])
    names = tables.EnumAtom({"x": 1, "y": 5}, "x", "int16")
    file.create_earray("/", "names", names, (0,)).append([1, 5, 5])


def test_arrays_have_the_class_that_they_had(again: Any, tmp_path: Path) -> None:
    found = again(arrays)
    with tables.open_file(tmp_path / "a.h5") as file:
        for node in file.root:
            other = found.get_node(node._v_pathname)
            assert (type(other), other.title) == (type(node), node.title)
            assert repr(other.atom) == repr(node.atom)
            assert other.filters == node.filters and other.chunkshape == node.chunkshape
            assert np.array_equal(other.read(), node.read()) and other.flavor == node.flavor
    assert found.root.grows.extdim == 1


def test_chosen_filters_are_those_of_all(again: Any) -> None:
    found = again(arrays, complib="bzip2", complevel=3)
    assert {found.root.chunked.filters.complib, found.root.grows.filters.complib} == {"bzip2"}


def rows(file: Any) -> None:
    pairs = file.create_vlarray("/", "pairs", tables.Int32Atom(shape=(2,)))
    for cell in (np.arange(4).reshape(2, 2), np.zeros((0, 2), "i4"), [[1, 2]]):
        pairs.append(cell)
    for text in (b"ab", b""):
        (file.root.text if "/text" in file else file.create_vlarray(
            "/", "text", tables.VLStringAtom())).append(text)  # fmt: skip
    letters = file.create_vlarray("/", "letters", tables.VLUnicodeAtom())
    letters.append("ü")
    letters.append("")
    things = file.create_vlarray("/", "things", tables.ObjectAtom())
    things.append({"a": 1})
    file.create_vlarray("/", "kinds", tables.EnumAtom(["p", "q"], "p", "uint8")).append([0, 1])


def test_rows_of_any_length_are_rows_again(again: Any) -> None:
    root = again(rows).root
    assert [cell.tolist() for cell in root.pairs] == [[[0, 1], [2, 3]], [], [[1, 2]]]
    assert root.pairs.atom.shape == (2,)
    assert root.text.read() == [b"ab", b""]
    assert root.letters.read() == ["ü", ""]
    assert root.things.read() == [{"a": 1}]
    assert root.kinds.atom.enum == tables.Enum(["p", "q"]) and root.kinds[0].tolist() == [0, 1]


class Row(tables.IsDescription):  # type: ignore[misc]
    i = tables.Int16Col(dflt=-3, pos=0)
    e = tables.EnumCol(["r", "g", "b"], "g", base="uint8", pos=1)
    t = tables.Time64Col(pos=2)
    t32 = tables.Time32Col(pos=3)

    class inner(tables.IsDescription):  # type: ignore[misc]
        _v_pos = 4
        t = tables.Time64Col()

    s = tables.StringCol(4, dflt=b"def", pos=5)


def records(file: Any, library: str) -> None:
    packed = tables.Filters(5, library, shuffle=True)
    made = file.create_table("/", "t", Row, filters=packed, chunkshape=(64,))
    for k in range(10):
        made.row["i"], made.row["t"], made.row["inner/t"] = k, k + 0.5, k + 0.25
        made.row.append()
    made.flush()
    made.cols.i.create_csindex()
    made.attrs.FIELD_0_UNIT = "m"
    made.attrs.done = True


@pytest.mark.parametrize("library", ["zlib", "blosc2:lz4"])
def test_tables_keep_defaults_times_filters_and_sorted_indexes(
    again: Any, tmp_path: Path, library: str
) -> None:
    if library != "zlib":
        pytest.importorskip("hdf5plugin")  # h5py reads the file
    other = again(partial(records, library=library)).root.t
    with tables.open_file(tmp_path / "a.h5") as file:
        made = file.root.t
        assert other.coldflts == made.coldflts and other.coltypes == made.coltypes
        assert other.filters == made.filters and other.chunkshape == made.chunkshape
        assert other.read().tobytes() == made.read().tobytes()
        assert repr(other.description) == repr(made.description)
    assert other.attrs.FIELD_0_UNIT == "m" and other.attrs.done is np.True_
    assert other.cols.i.index.is_csi
    assert [row["i"] for row in other.itersorted("i")] == list(range(10))


def test_links_of_every_kind_are_links_again(again: Any) -> None:
    def links(file: Any) -> None:
        file.create_array("/", "x", np.arange(3))
        file.create_soft_link("/", "soft", "/x")
        file.create_hard_link("/", "hard", "/x")
        file.create_external_link("/", "out", "other.h5:/y")

    root = again(links).root
    assert root.soft.target == "/x" and root.out.target == "other.h5:/y"
    assert root.hard[:].tolist() == [0, 1, 2]


def test_a_hard_link_of_which_only_a_note_tells_is_made(tmp_path: Path) -> None:
    with tables.open_file(tmp_path / "a.h5", "w") as file:
        file.create_array("/", "x", np.arange(3))
        assert make_link(file, "/y", {"hard": "/x"}) and not make_link(file, "/z", {"hard": "/no"})
        assert file.root.y[:].tolist() == [0, 1, 2] and "/z" not in file


def test_rows_of_any_length_are_cut_where_they_were_in_every_block(
    again: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_pytables_as, "BLOCK_ROWS", 2)
    cells = [list(range(n)) for n in (3, 1, 0, 2, 5, 4, 1)]

    def lists(file: Any) -> None:
        made = file.create_vlarray("/", "cells", tables.Int32Atom())
        for cell in cells:
            made.append(cell)

    assert [cell.tolist() for cell in again(lists).root.cells] == cells


def test_blocks_of_bits_are_shuffled_again_and_chunks_of_other_axes_are_not() -> None:
    class Node:
        attrs = MappingProxyType(
            {"HDF5": {
                "pytables": {"CLASS": "CARRAY"},
                "chunks": [5],
                "filters": [[32001, [2, 2, 8, 400, 5, 2, 1]]],
            }}
        )  # fmt: skip

    before = Before(Node)
    assert before.chunks((20,)) == (5,) and before.chunks((20, 30)) is None
    found = before.filters(tables)
    assert found.bitshuffle and not found.shuffle and found.complib == "blosc:lz4"


@pytest.mark.parametrize(
    "facts",
    [
        {"pytables": 1, "links": 2, "filters": 3, "chunks": "a", "enum": []},
        {"pytables": {"CLASS": "EARRAY", "EXTDIM": 9, "times": 5}, "filters": [1, [2]]},
        {"pytables": {"CLASS": []}, "links": {"a": 1, "b": {"hard": "/no"}}, "chunks": [0, -1]},
        {"pytables": {"CLASS": "CARRAY"}, "filters": [[32001, [1, 1, 1, 1, 99, 1, 99]]]},
    ],
)
def test_what_a_store_says_of_pytables_is_not_trusted(tmp_path: Path, facts: Any) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.attrs["HDF5"] = facts
        store.create_array("x", np.ones((2, 3), "i4"), attrs={"HDF5": facts})
        store.create_table("t", np.ones(2, [("a", "i4")])).attrs["HDF5"] = facts
    kist.convert(tmp_path / "a.kist", tmp_path / "a.h5", flavour="pytables")
    with tables.open_file(tmp_path / "a.h5") as file:
        assert file.root.x.read().tolist() == [[1] * 3] * 2
        assert file.root.t.read()["a"].tolist() == [1, 1]
