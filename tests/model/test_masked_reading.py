"""`read(errors="mask")`: what cannot be read is masked, all else is as it was."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.engine import pages
from kist.format import keys
from kist.format.values import Pointer, unpack_record
from kist.model.tables.stored import layout as table_layout

ROW = np.dtype([("a", "i8"), ("s", "S3"), ("v", "f4", (2,)), ("n", [("x", "i2"), ("y", "f8")])])
N = 70_000


@pytest.fixture
def stored(path: Path) -> tuple[Path, Any]:
    rng = np.random.default_rng(0)
    rows = np.zeros(N, ROW)
    rows["a"], rows["s"] = rng.integers(0, 1 << 60, N), b"abc"
    rows["v"], rows["n"]["y"] = rng.normal(size=(N, 2)), rng.normal(size=N)
    with kist.open(path, "w") as store:
        table: Any = store.create_table("t", rows)
        table.delete(slice(10, 400, 3))
        table["a"][:500] = 7
        store.create_array("x", data=rng.normal(size=(300, 300)), chunks=(100, 100))
        words = np.array([f"word {n}" for n in range(9000)], np.dtypes.StringDType())
        store.create_table("w", {"w": words})
    return path, rows


def extents(path: Path, name: str, kind: bytes) -> list[tuple[bytes, Pointer]]:
    with kist.open(path) as store:
        node: Any = store[name]
        records = node._view().scan(*keys.whole_node(node._id))
        return [(k, p) for k, v in records if keys.kind_of(k) == kind for p in unpack_record(v)[0]]


def damage(path: Path, pointer: Pointer) -> None:
    pages._heads.clear()
    table_layout.forget()
    with path.open("r+b") as file:
        file.seek(pointer.offset + 128 + pointer.length - 3)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes((byte ^ 4,)))


def test_without_damage_nothing_is_masked_and_nothing_said(stored: Any) -> None:
    with kist.open(stored[0]) as store, warnings.catch_warnings():
        warnings.simplefilter("error")
        table: Any = store["t"]
        for got, whole in (
            (table.read(errors="mask"), table[:]),
            (table["a"].read(errors="mask"), table["a"][:]),
            (table[["s", "v"]].read([5, 3, 3], errors="mask"), table[["s", "v"]][[5, 3, 3]]),
            (store["x"].read(errors="mask"), store["x"][...]),
            (store["w"].read(errors="mask"), store["w"][:]),
        ):
            assert isinstance(got, np.ma.MaskedArray)
            assert np.array_equal(got.data, whole)
            assert got.mask.tobytes().strip(b"\0") == b""
        assert not isinstance(table.read(), np.ma.MaskedArray)
        assert table.read().tobytes() == table[:].tobytes()
        assert table["a"].read(3) == table["a"][3]


@pytest.mark.parametrize("name", ["a", "v", "n.y", "s"])
def test_a_damaged_page_masks_its_column_and_rows_only(stored: Any, name: str) -> None:
    path, _ = stored
    with kist.open(path) as store:
        whole = store["t"][:]
        leaf = next(
            leaf.id for leaf in store["t"]._state().schema.leaves if ".".join(leaf.path) == name
        )
        first_group = int(store["t"]._state().layout.starts[1])
    _, pointer = next(
        (k, p)
        for k, p in extents(path, "t", b"P")
        if keys.leaf_of(k) == leaf and not keys.row_of(k)
    )
    damage(path, pointer)
    with kist.open(path) as store:
        table: Any = store["t"]
        with pytest.raises(kist.CorruptDataError):
            table.read()
        with pytest.warns(kist.DamageWarning, match=rf"{name} in rows 0 to"):
            got = table.read(errors="mask")
        for column in ("a", "s", "v", "n.x", "n.y"):
            values, mask, expected = got.data, got.mask, whole
            for part in column.split("."):
                values, mask, expected = values[part], mask[part], expected[part]
            assert mask[first_group:].any() == False  # noqa: E712
            assert bool(mask[:first_group].all()) == (column == name)
            assert values[~mask].tolist() == expected[~mask].tolist()
        order = [first_group + 5, first_group - 1, first_group - 1, -1]
        with pytest.warns(kist.DamageWarning):
            column = table[name].read(order, errors="mask")
        hidden = column.mask.reshape(4, -1).any(axis=1)
        assert hidden.tolist() == [False, True, True, False]
        with pytest.warns(kist.DamageWarning):
            assert table[name].read(first_group - 1, errors="mask").mask.all()


@pytest.mark.parametrize("kind", [b"U", b"X"])
def test_rows_whose_changes_are_lost_are_masked_in_all_columns(stored: Any, kind: bytes) -> None:
    path, _ = stored
    with kist.open(path, "r+") as store:
        table: Any = store["t"]
        rng = np.random.default_rng(1)
        table["a"][:3000] = rng.integers(0, 1 << 62, 3000)
        gone = rng.random(len(table)) < 0.4
        gone[60_000:] = False
        table.delete(gone)
        whole = table[:]
        first_group = int(table._state().layout.starts[1])
    found = extents(path, "t", kind)
    assert found
    damage(path, found[0][1])
    with kist.open(path) as store, pytest.warns(kist.DamageWarning):
        got = store["t"].read(errors="mask")
    assert got.mask["a"][:first_group].all()
    assert got.mask["n"]["x"][:first_group].all()
    assert got.data[first_group:].tobytes() == whole[first_group:].tobytes()
    assert not got.mask["a"][first_group:].any()


def test_a_damaged_segment_of_an_array_masks_its_elements(stored: Any) -> None:
    path, _ = stored
    with kist.open(path) as store:
        whole = store["x"][...]
    key, pointer = extents(path, "x", b"C")[4]
    assert keys.chunk_of(key[9:], 2)[0] == (1, 1)
    damage(path, pointer)
    inside = np.zeros((300, 300), bool)
    inside[100:200, 100:200] = True
    with kist.open(path) as store:
        array: Any = store["x"]
        rows, columns = np.array([5, 150, 299]), np.array([150, 150, 1])
        for key in (
            slice(None), (slice(50, 250, 7), slice(None, None, -3)), (150,), (rows, columns),
            (slice(None), [3, 150]), (150, 150), rows, whole > 1,
        ):  # fmt: skip
            with pytest.warns(kist.DamageWarning, match=r"chunk \(1, 1\)"):
                got = array.read(key, errors="mask")
            hidden = np.asarray(inside[key])
            # Of scattered elements all those are masked that share the damaged chunk.
            assert np.array_equal(got.mask, hidden)
            assert np.array_equal(got.data[~hidden], np.asarray(whole[key])[~hidden])
        assert not array.read(np.s_[:100], errors="mask").mask.any()
        with pytest.raises(kist.CorruptDataError):
            array.read()


def test_errors_is_one_of_two_words(stored: Any) -> None:
    with kist.open(stored[0]) as store:
        for node in (store["t"], store["t"]["a"], store["x"]):
            with pytest.raises(ValueError, match="errors is"):
                node.read(errors="ignore")
