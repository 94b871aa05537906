"""Arrays of many files as one: read like one array, opening the parts that are needed."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import kist
from kist.errors import CorruptDataError
from kist.format.dtypes import pack_dtype
from kist.format.link import LinkForm, LinkRecord
from kist.model.links.records import put_link

LENGTHS = (3, 0, 5, 1, 4)
WHOLE = np.arange(sum(LENGTHS) * 6).reshape(-1, 3, 2)


def write_parts(folder: Path) -> None:
    at = 0
    for number, n in enumerate(LENGTHS):
        with kist.open(folder / f"part-{number}.kist", "w") as store:
            store.create_array("g/x", WHOLE[at : at + n], chunks=(2, 3, 2))
            store.tag("first")
        at += n


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that no test changes."""
    folder = tmp_path_factory.mktemp("arrays")
    write_parts(folder)
    with kist.open(folder / "all.kist", "w") as store:
        store.create_union("x", "g/x", files="part-*.kist", title="Frames", attrs={"unit": "K"})
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_parts(tmp_path)
    return tmp_path


@pytest.fixture
def linked(made: Path) -> Iterator[kist.LinkedArrays]:
    with kist.open(made / "all.kist") as store:
        yield store["x"]


def test_looking_opens_no_part(linked: kist.LinkedArrays) -> None:
    assert linked.shape == WHOLE.shape and linked.dtype == WHOLE.dtype and len(linked) == 13
    assert (linked.ndim, linked.size, linked.nbytes) == (3, WHOLE.size, WHOLE.nbytes)
    assert linked.title == "Frames" and linked.attrs["unit"] == "K" and linked.kind == "array"
    assert repr(linked) == "<kist.LinkedArrays '/x', 13 x 3 x 2 int64 in 5 files, 0 open>"
    assert linked.info["n_files"] == 5 and linked.info["shape"] == [13, 3, 2]
    assert "x  link -> g/x of 5 files" in str(linked.store.tree())
    assert linked.store.open_link("x").info["dangling"] is False and linked.store.check().ok
    assert linked.n_open == 0


@hypothesis.settings(max_examples=40)
@hypothesis.given(data=st.data())
def test_it_is_indexed_like_one_array(made: Path, data: st.DataObject) -> None:
    with kist.open(made / "all.kist") as store:
        linked = store["x"]
        for _ in range(4):
            if data.draw(st.booleans()):
                key: Any = data.draw(npst.basic_indices(WHOLE.shape, allow_newaxis=True))
            else:
                key = data.draw(npst.integer_array_indices(WHOLE.shape))
            found, expected = linked[key], WHOLE[key]
            assert np.array_equal(found, expected) and np.shape(found) == np.shape(expected), key
        picks = data.draw(st.lists(st.integers(0, 2), max_size=4))
        assert np.array_equal(linked[::3, picks], WHOLE[::3, picks])


def test_a_selection_opens_the_parts_that_it_is_in(linked: kist.LinkedArrays) -> None:
    assert linked[4, 0, 0] == WHOLE[4, 0, 0] and linked.n_open == 1
    assert np.array_equal(linked[2:8:2], WHOLE[2:8:2]) and linked.n_open == 2
    assert np.array_equal(linked[[12, 0, 12]], WHOLE[[12, 0, 12]]) and linked.n_open == 3
    assert linked[5:5].shape == (0, 3, 2) and linked.n_open == 3
    assert [part.shape[0] for part in linked.parts] == list(LENGTHS) and linked.n_open == 5


def test_blocks_iteration_and_expressions(linked: kist.LinkedArrays) -> None:
    assert np.array_equal(np.concatenate(list(linked.blocks(5))), WHOLE)
    assert np.array_equal(np.array(list(linked)), WHOLE) and np.array_equal(linked, WHOLE)
    assert kist.evaluate("sum(x * 2)", x=linked) == WHOLE.sum() * 2
    assert np.array_equal(kist.evaluate("x + 1", x=linked), WHOLE + 1)
    with pytest.raises(kist.ReadOnlyError, match="change the arrays of its files"):
        linked[0] = 1
    with pytest.raises(kist.SelectionError):
        linked[13]
    with pytest.raises(kist.ShapeError, match="blocks of 0"):
        linked.blocks(0)


def test_it_follows_its_files_or_stays_at_a_version(folder: Path) -> None:
    with kist.open(folder / "all.kist", "w") as store:
        store.create_union("now", "g/x", files="part-*.kist")
        link = store.create_union("then", "g/x", files="part-*.kist", version="first")
        assert link.leads_to == "g/x of 5 files at 'first'" and link.version == "first"
    with kist.open(folder / "all.kist") as store, kist.open(folder / "part-0.kist", "r+") as part:
        now, then = store["now"], store["then"]
        assert now[0, 0, 0] == then[0, 0, 0] == 0
        part["g/x"][0, 0, 0] = 77
        assert now[0, 0, 0] == 0  # until refresh, as the store itself
        store.refresh()
        assert now[0, 0, 0] == 77 and then[0, 0, 0] == 0
        part["g/x"].append(WHOLE[:1])
        store.refresh()
        with pytest.raises(kist.LinkError, match=r"part-0\.kist' is no longer an array.*renew"):
            now[0]
        assert now[3, 0, 0] == WHOLE[3, 0, 0] and then[0, 0, 0] == 0
    with kist.open(folder / "all.kist", "r+") as store:
        store.open_link("now").renew()
        store.open_link("then").renew()
        assert len(store["now"]) == 14 and store["now"][3, 0, 0] == 0 and len(store["then"]) == 13


def test_a_part_that_is_gone_or_another_hurts_when_it_is_touched(folder: Path) -> None:
    with kist.open(folder / "all.kist", "w") as store:
        store.create_union("x", "g/x", files="part-*.kist")
    (folder / "part-4.kist").unlink()
    with kist.open(folder / "new.kist", "w") as other:
        other["g/x"] = WHOLE[:5]
    os.replace(folder / "new.kist", folder / "part-2.kist")
    with kist.open(folder / "part-3.kist", "r+") as other:
        del other["g/x"]
        other["g/x"] = np.zeros(3, "i4,f8")
    with kist.open(folder / "all.kist") as store:
        linked = store["x"]
        assert np.array_equal(linked[:3], WHOLE[:3])
        for row, match in ((3, "another store"), (8, "no longer an array"), (9, "is not there")):
            with pytest.raises(kist.LinkError, match=match):
                linked[row]
        assert "(dangling)" in repr(store.open_link("x")) and store.check().ok


def test_what_does_not_fit_is_refused_and_changes_nothing(folder: Path) -> None:
    with kist.open(folder / "odd.kist", "w") as odd:
        odd["other"], odd["float"], odd["scalar"] = WHOLE[:2, :2], WHOLE[:2] * 1.5, np.int64(1)
        odd["table"] = np.zeros(2, "i4,f8")
        odd.create_keystore("keys")
        odd.create_link("link", "other")
    cases: list[tuple[type[Exception], str, str]] = [
        (kist.ShapeError, r"'odd.kist' has shape \(2, 2, 2\)", "other"),
        (kist.DTypeError, "of float64, that of .* of int64", "float"),
        (kist.SelectionError, "is a table, and that of 'part-0.kist' an array", "table"),
        (kist.ShapeError, "no axis", "scalar"),
        (kist.SelectionError, "no table and no array", "keys"),
    ]
    with kist.open(folder / "all.kist", "w") as store:
        for error, match, path in cases:
            files = ["odd.kist"] if path in ("scalar", "keys") else ["part-0.kist", "odd.kist"]
            if len(files) == 2:
                with kist.open(folder / "odd.kist", "r+") as odd:
                    if "g" in odd:
                        del odd["g"]
                    odd.copy(path, "g/x")
            with pytest.raises(error, match=match):
                store.create_union("x", "g/x" if len(files) == 2 else path, files=files)
        with pytest.raises(kist.SelectionError, match="version= is for files="):
            store.create_union("x", "a", version="first")
        with pytest.raises(TypeError, match="a version is an int or a str, not float"):
            store.create_union("x", "g/x", files="part-*.kist", version=1.5)  # type: ignore[arg-type]
        with pytest.raises(kist.LinkError, match="nothing"):
            store.create_union("x", "g/x", files="part-*.kist", version="nothing")
        assert list(store) == []


def test_no_part_outside_the_roots_is_opened(folder: Path) -> None:
    (folder / "inner").mkdir()
    with kist.open(folder / "inner" / "a.kist", "w", link_roots=folder) as store:
        store.create_union("x", "g/x", files="../part-*.kist")
        assert store["x"][0, 0, 1] == 1
    with kist.open(folder / "inner" / "a.kist") as store:
        assert store["x"].shape == WHOLE.shape
        with pytest.raises(kist.LinkError, match="link_roots="):
            store["x"][0]


def test_a_handle_is_pickled_by_its_link_and_closed_with_its_store(made: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with kist.open(made / "all.kist") as store:
        linked = store["x"]
        again = pickle.loads(pickle.dumps(linked))
        assert np.array_equal(again[:], linked[:])
        assert linked.is_same(store["x"]) and not linked.is_same(again)
        again.store.close()
        blocks = linked.blocks(2)
        next(blocks)
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(kist.StoreClosedError):
        linked[0]
    with pytest.raises(kist.StoreClosedError):
        next(blocks)


ARRAYS: dict[str, Any] = {
    "path": "x", "version": None, "dtype": pack_dtype(np.dtype("i4")), "shape": [3, 2],
    "names": ["a"], "files": ["a", "b"], "stores": [bytes(16)] * 2,
    "lengths": np.array([1, 2], "<u8"),
}  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        {"lengths": np.array([1, 1], "<u8")},
        {"lengths": np.array([1, 2], "<i8")},
        {"lengths": np.array([[1, 2]], "<u8")},
        {"lengths": np.array([3], "<u8")},
        {"lengths": np.array([2**63, 2**63 + 3], "<u8")},
        {"shape": []},
        {"shape": [3, -1]},
        {"shape": [3, 1 << 63]},
        {"shape": [3] + [1] * 64},
        {"stores": [bytes(16)]},
        {"files": [], "stores": [], "lengths": np.zeros(0, "<u8"), "shape": [0]},
        {"dtype": pack_dtype(np.dtype("i4"))[:-1]},
    ],
)
def test_lists_that_do_not_fit_are_damage(tmp_path: Path, said: dict[str, Any]) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        link = store.create_link("link", "nowhere")
        with link._write() as txn:
            put_link(txn, link._id, LinkRecord(LinkForm.ARRAYS, {**ARRAYS, **said}))
        with pytest.raises(CorruptDataError):
            store["link"]
        assert [problem.where for problem in store.check().problems] == ["link"]
        assert "link" in repr(store)


def test_a_hostile_length_takes_no_memory(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        link = store.create_link("link", "nowhere")
        said = {**ARRAYS, "shape": [1 << 62, 2], "lengths": np.array([1 << 61] * 2, "<u8")}
        with link._write() as txn:
            put_link(txn, link._id, LinkRecord(LinkForm.ARRAYS, said))
        with pytest.raises(kist.TooLargeError):
            np.asarray(store["link"])
        with pytest.raises(kist.LinkError, match="is not there"):
            store["link"][1 << 60]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_arrays_without_elements_are_linked(tmp_path: Path, shape: tuple[int, int]) -> None:
    for name in ("a", "b"):
        with kist.open(tmp_path / f"{name}.kist", "w") as store:
            store["x"] = np.zeros(shape, "i2")
    with kist.open(tmp_path / "all.kist", "w") as store:
        store.create_union("x", "x", files=["a.kist", "b.kist"])
        whole = np.zeros((2 * shape[0], shape[1]), "i2")
        found = store["x"][...]
        assert found.shape == whole.shape and found.dtype == whole.dtype
        assert store["x"][[]].shape == whole[[]].shape
        assert store.check().ok
