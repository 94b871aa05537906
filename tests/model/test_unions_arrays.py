"""Unions of arrays along their first axis."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import kist
from kist.errors import DTypeError, ReadOnlyError, SelectionError, ShapeError, StoreClosedError


@hypothesis.settings(max_examples=60)
@hypothesis.given(data=st.data())
def test_a_union_is_indexed_like_one_array(data: st.DataObject) -> None:
    rest = data.draw(st.sampled_from([(), (3,), (4, 2)]))
    lengths = data.draw(st.lists(st.integers(0, 7), min_size=1, max_size=4))
    whole = np.arange(sum(lengths) * int(np.prod(rest))).reshape(sum(lengths), *rest)
    with kist.open(":memory:") as store:
        at = 0
        for number, n in enumerate(lengths):
            chunks = (data.draw(st.integers(1, 4)), *(2 for _ in rest))
            store.create_array(f"x/{number}", whole[at : at + n], chunks=chunks)
            at += n
        union = store.union("x/*")
        assert union.shape == whole.shape and union.dtype == whole.dtype
        for _ in range(5):
            if data.draw(st.booleans()) or not whole.size:
                key = data.draw(npst.basic_indices(whole.shape, allow_newaxis=True))
            else:
                key = data.draw(npst.integer_array_indices(whole.shape))
            found, expected = union[key], whole[key]
            assert np.array_equal(found, expected) and np.shape(found) == np.shape(expected), key
        if whole.ndim > 1 and len(whole):
            picks = [0, 1, 0]
            assert np.array_equal(union[::-2, picks], whole[::-2, picks])
            assert np.array_equal(
                union[whole[:, :1].ravel() % 2 == 0] if not rest[1:] else 0,
                whole[whole[:, :1].ravel() % 2 == 0] if not rest[1:] else 0,
            )
        assert np.array_equal(np.asarray(union), whole)
        assert np.array_equal(np.concatenate([*union.blocks(2), whole[:0]]), whole)


def test_arrays_of_several_files_are_read_as_one(tmp_path: Path) -> None:
    for number in range(3):
        with kist.open(tmp_path / f"{number}.kist", "w") as store:
            store["x"] = np.full((2, 3), number)
    with kist.union(str(tmp_path / "*.kist")) as union:
        assert isinstance(union, kist.ArrayUnion)
        assert union[:, 1].tolist() == [0, 0, 1, 1, 2, 2] and len(union.parts) == 3
        assert "6 x 3 int64 in 3 arrays" in repr(union)
        with pytest.raises(ReadOnlyError):
            union[0] = 1
        with pytest.raises(SelectionError):
            union[6]
    with pytest.raises(StoreClosedError):
        len(union)


def test_arrays_that_come_later_take_part_and_those_that_do_not_fit_are_refused(path: Path) -> None:
    with kist.open(path, "w") as store:
        store["x/1"] = np.zeros((2, 3))
        union = store.union("x/*")
        store["x/2"] = np.ones((1, 3))
        assert len(union) == 3
        with store.transaction():
            store["x/2"].append(np.ones((2, 3)))
            assert union.shape == (5, 3) and union[-1, 0] == 1
        blocks = union.blocks(1)
        next(blocks)
        store["x/1"][...] = 7
        assert next(blocks)[0, 0] == 0  # of the state it began with
        store["x/3"] = np.ones((1, 4))
        with pytest.raises(ShapeError, match=r"/x/3"):
            len(union)
        store["x/3"] = np.ones((1, 3), "f4")
        with pytest.raises(DTypeError, match=r"/x/3"):
            union[0]
        store["y/1"], store["y/2"] = np.float64(1), np.zeros(1, "i4,f4")
        with pytest.raises(ShapeError):
            store.union("y/1")
        with pytest.raises(SelectionError):
            store.union("y/*")
