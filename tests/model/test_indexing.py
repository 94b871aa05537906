"""Keys of n-d arrays against NumPy: what they select, what they write, what is refused."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kist.errors import SelectionError, ShapeError
from kist.model.indexing import Box, Points, Selection, parse
from kist.testing.keys import random_key

Shape = tuple[int, ...]

FILLED = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)
SHAPES = FILLED | FILLED | hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
NONSENSE = [1.0, np.float64(0), "x", b"x", "", 1j, object(), {}, {0}, [0.5], ["a"], [None],
            [slice(0, 1)], [[0], [0, 1]], np.zeros(2), np.zeros(0), np.array("a"),
            slice(0.5, None), slice(None, None, 0), slice("a", None), np.datetime64(1, "s"),
            2**70, -(2**70)]  # fmt: skip


# A store that does its work by NumPy.


def index_arrays(where: Box | Points, shape: Shape) -> tuple[Any, ...]:
    """Return one index array per axis, broadcast to the layout; check what a store relies on."""
    box = where if isinstance(where, Box) else where.box
    parts = list(zip(*box, shape, strict=True))
    for start, count, step, size in parts:
        assert step >= 1
        assert count >= 0
        assert start >= 0
        assert start + (count - 1) * step < max(size, 1)
    axes: tuple[int, ...] = ()
    columns: list[Any] = []
    if isinstance(where, Points):
        axes = where.axes
        assert axes
        assert sorted(set(axes)) == list(axes)
        assert len({coords.shape for coords in where.coords}) == 1
        for axis, coords in zip(axes, where.coords, strict=True):
            assert parts[axis][:3] == (0, 1, 1)
            assert coords.dtype == np.int64
            assert coords.ndim == 1
            assert coords.min(initial=0) >= 0
            assert coords.max(initial=0) < max(shape[axis], 1)
        columns.append(np.arange(len(where.coords[0])))
    columns += [
        start + step * np.arange(count)
        for axis, (start, count, step, _) in enumerate(parts)
        if axis not in axes
    ]
    grid = list(np.ix_(*columns))
    if isinstance(where, Points):
        point = grid.pop(0)
        for axis, coords in zip(axes, where.coords, strict=True):
            grid.insert(axis, coords[point])
    return tuple(grid)


def fetch(array: np.ndarray, where: Box | Points) -> np.ndarray:
    return array[(*index_arrays(where, array.shape), ...)].copy()


def read(array: np.ndarray, selection: Selection) -> np.ndarray:
    raw = fetch(array, selection.where)
    assert raw.shape == selection.layout
    return raw


def write(array: np.ndarray, selection: Selection, values: Any) -> None:
    layout = selection.spread(values)
    assert layout.shape == selection.layout
    if selection.is_empty:
        return
    grid = index_arrays(selection.where, array.shape)
    if isinstance(selection.where, Box):
        array[(*grid, ...)] = layout
        return
    for i in range(len(layout)):  # one after the other: the last counts
        array[tuple(g[min(i, len(g) - 1)] for g in grid)] = layout[i]


@st.composite
def arrays_and_keys(draw: st.DrawFn) -> tuple[np.ndarray, Any]:
    shape = draw(SHAPES)
    array = np.arange(math.prod(shape), dtype=draw(st.sampled_from(["i8", ">u2", "f4"])))
    seed = draw(st.integers(0, 2**32))
    return array.reshape(shape), random_key(np.random.default_rng(seed), shape)


def is_loophole(array: np.ndarray, key: Any) -> bool:
    """Whether NumPy misses a mistake because nothing is left to be read.

    It skips the check of bounds where index arrays are broadcast to no elements at all, and
    takes masks of any shape as long as they are empty.
    """
    return array[key].size == 0


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=300)
@given(arrays_and_keys())
def test_any_key_reads_what_numpy_reads(case: tuple[np.ndarray, Any]) -> None:
    array, key = case
    try:
        expected = array[key]
    except IndexError:
        with pytest.raises(SelectionError):
            parse(key, array.shape)
        return
    try:
        selection = parse(key, array.shape)
    except SelectionError:
        assert is_loophole(array, key)
        return
    assert selection.shape == np.shape(expected)
    assert selection.is_empty == (np.size(expected) == 0)
    raw = read(array, selection)
    assert_same(selection.finish(raw), expected)
    assert_same(selection.read(partial(fetch, array)), expected)
    if not selection.is_empty:
        np.testing.assert_array_equal(selection.spread(selection.finish(raw)), raw)


@settings(max_examples=300)
@given(arrays_and_keys(), st.data())
def test_any_key_writes_what_numpy_writes(
    case: tuple[np.ndarray, Any], data: st.DataObject
) -> None:
    array, key = case
    try:
        shape = np.shape(array[key])
        selection = parse(key, array.shape)
    except IndexError:
        return
    # Values of the shape of the selection, of one that is broadcast to it, or of a wrong one.
    kept = shape[data.draw(st.integers(0, len(shape))) :]
    kept = tuple(n if data.draw(st.integers(0, 3)) else 1 for n in kept)
    if not data.draw(st.integers(0, 9)):
        kept = (*kept, data.draw(st.integers(0, 3)))
    if not data.draw(st.integers(0, 4)):
        kept = (1, *kept)
    values = -1 - np.arange(math.prod(kept)).reshape(kept).astype("i2")
    if data.draw(st.booleans()):
        values = np.asfortranarray(values)
    fitting = values
    while fitting.ndim > len(shape) and len(fitting) == 1:
        fitting = fitting[0]
    try:
        fitting = np.broadcast_to(fitting, shape)
    except ValueError:
        with pytest.raises(ShapeError):
            selection.spread(values)
        return
    array = array.astype("i8")
    expected = array.copy()
    number = np.arange(array.size).reshape(array.shape)[key]
    if np.unique(number).size == np.size(number):
        expected[key] = fitting
    else:
        # Which of several values for one element stays is not laid down by NumPy.
        for i, value in zip(number.ravel(), fitting.ravel(), strict=True):
            expected.reshape(-1)[i] = value
    write(array, selection, values)
    np.testing.assert_array_equal(array, expected)


@given(FILLED, st.data())
def test_keys_of_hypothesis_are_read_like_numpy(shape: Shape, data: st.DataObject) -> None:
    array = np.arange(math.prod(shape)).reshape(shape)
    basic = hnp.basic_indices(shape, allow_newaxis=True)
    key = data.draw(basic | hnp.integer_array_indices(shape))
    selection = parse(key, shape)
    assert_same(selection.finish(read(array, selection)), array[key])


@given(SHAPES, st.data())
def test_nonsense_is_refused_anywhere_in_a_key(shape: Shape, data: st.DataObject) -> None:
    items = data.draw(st.lists(st.sampled_from([0, slice(None), ..., None, [0]]), max_size=3))
    items.insert(data.draw(st.integers(0, len(items))), data.draw(st.sampled_from(NONSENSE)))
    key = items[0] if len(items) == 1 else tuple(items)
    with pytest.raises(SelectionError):
        parse(key, shape)


@pytest.mark.parametrize("key", NONSENSE, ids=[f"key{i}" for i in range(len(NONSENSE))])
def test_numpy_refuses_the_same_nonsense(key: Any) -> None:
    with pytest.raises((IndexError, TypeError, ValueError)):
        np.zeros((2, 2))[key]
    with pytest.raises(SelectionError):
        parse(key, (2, 2))


@pytest.mark.parametrize(
    "dtype",
    ["U3", "S2", "M8[ms]", "c16", "V3", [("a", "i4"), ("b", "f8", 2)], np.dtypes.StringDType()],
)
@pytest.mark.parametrize("key", [1, (), ..., (1, 2), (1, 2, ...), [[1, 0]], ([1, 0], 2), False])
def test_scalars_and_arrays_of_any_dtype_are_those_of_numpy(dtype: Any, key: Any) -> None:
    array = np.zeros((3, 4), dtype)
    array[1, 2] = np.ones((), dtype)
    selection = parse(key, array.shape)
    found, expected = selection.finish(read(array, selection)), array[key]
    assert type(found) is type(expected)
    assert np.shape(found) == np.shape(expected)
    assert np.array_equal(found, expected)
    target = np.zeros((3, 4), dtype)
    write(target, selection, expected)
    assert np.array_equal(target[key], expected)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (5, ["5", "axis 0", "size 3", "-3"]),
        ((0, -5), ["-5", "axis 1", "size 4"]),
        ((..., [0, 9]), ["9", "axis 1", "size 4"]),
        ((0, 0, 0), ["too many", "3", "2 axes", "(3, 4)"]),
        ((0, 0, [0]), ["too many", "3", "2 axes"]),
        ((np.zeros((3, 4), bool), 0), ["too many", "3", "2 axes"]),
        (np.zeros(4, bool), ["mask", "(4,)", "axis 0", "3"]),
        ([True, False], ["mask", "(2,)", "axis 0", "3"]),
        (([0, 1], [0, 1, 2]), ["broadcast", "(2,) (3,)", "np.ix_"]),
        ((..., ...), ["..."]),
        ((..., [0], ...), ["..."]),
        ("a", ["'a'", "integers", "slices", "booleans"]),
        (1.0, ["1.0", "integers"]),
        (np.zeros(3), ["float64", "integers"]),
        ([[0], [0, 1]], ["[[0], [0, 1]]", "integers"]),
        (slice(None, None, 0), ["axis 0", "slice"]),
        (("x" * 999,), ["..."]),
        ((None,) * 63, ["65 axes", "64"]),
        ((None,) * 63 + ([0],), ["65 axes", "64"]),
        (np.array([0, 2**64 - 1], "u8"), [str(2**64 - 1), "axis 0"]),
    ],
)
def test_a_refusal_says_where_and_what_would_fit(key: Any, words: list[str]) -> None:
    with pytest.raises(SelectionError) as caught:
        parse(key, (3, 4))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert len(str(caught.value)) < 250


def test_an_index_into_an_empty_axis_names_the_axis() -> None:
    with pytest.raises(SelectionError, match="axis 1 has size 0"):
        parse((0, 0), (3, 0))


def test_the_stricter_refusals_are_mistakes_that_numpy_lets_pass() -> None:
    array = np.zeros((3, 4))
    assert array[np.array([2**64 - 1], "u8")].shape == (1, 4)  # taken for -1
    for key in (np.zeros((0, 4), bool), (np.array([[9]]), np.zeros((1, 0), int))):
        assert is_loophole(array, key)
        with pytest.raises(SelectionError):
            parse(key, array.shape)


def test_values_that_do_not_fit_are_refused_with_both_shapes() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3\).*\(3, 4\)"):
        parse(..., (3, 4)).spread(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=r"\(3,\).*\(2,\)"):
        parse([0, 2], (3,)).spread([1, 2, 3])
    with pytest.raises(ShapeError, match=r"\(2,\).*\(0, 4\)"):
        parse(slice(0, 0), (3, 4)).spread([1, 2])


def test_one_value_is_spread_without_a_copy() -> None:
    for key in (..., [3, 1, 7], np.arange(1000) % 3 == 0, (slice(None), [[1], [2]])):
        layout = parse(key, (1000, 1000)).spread(np.ones((1, 1), "f4"))
        assert layout.strides == (0,) * layout.ndim


@pytest.mark.parametrize(
    "key",
    [
        (slice(None), [[0, 3], [4, 1]]),
        (slice(None), [[0], [3]], slice(None, None, -1), [4, 1]),
        (None, slice(None), None, np.ix_([0, 3, 1], [4, 1, 3])[0], slice(None, None, -2)),
        (slice(None), 1, slice(None), [[0, 3], [4, 1]]),
    ],
)
def test_spreading_undoes_finishing(key: Any) -> None:
    array = np.arange(5**4).reshape(5, 5, 5, 5)
    selection = parse(key, array.shape)
    raw = read(array, selection)
    found = selection.finish(raw)
    assert_same(found, array[key])
    np.testing.assert_array_equal(selection.spread(found), raw)


@pytest.mark.parametrize("key", [[0, 1, 3, 3], [0, 1, 0, 3], [0, 0, 0], [3, 2, 2, 0], [0, 9]])
def test_indices_that_only_begin_and_end_like_a_run_are_points(key: list[int]) -> None:
    selection = parse(key, (10,))
    assert isinstance(selection.where, Points)
    assert selection.where.coords[0].tolist() == key


def test_whole_arrays_pass_through_untouched() -> None:
    raw = np.zeros((3, 4))
    for key in (..., (), slice(None), (slice(None), slice(None))):
        assert parse(key, raw.shape).finish(raw) is raw


@pytest.mark.parametrize(
    ("key", "box"),
    [
        (np.arange(1000) // 100 == 3, Box((300, 0), (100, 50), (1, 1))),
        (np.arange(20, 40), Box((20, 0), (20, 50), (1, 1))),
        (np.arange(40, 20, -2), Box((22, 0), (10, 50), (2, 1))),
        (np.arange(6).reshape(2, 3), Box((0, 0), (6, 50), (1, 1))),
        (([7], 3), Box((7, 3), (1, 1), (1, 1))),
        (([7], [3]), Box((7, 3), (1, 1), (1, 1))),
        (np.ix_(range(3, 9), range(0, 10, 2)), Box((3, 0), (6, 5), (1, 2))),
        (True, Box((0, 0), (1000, 50), (1, 1))),
        (slice(7, 5), Box((0, 0), (0, 50), (1, 1))),
        (slice(7, 5, -9), Box((7, 0), (1, 50), (1, 1))),
        ([], Box((0, 0), (0, 0), (1, 1))),
    ],
)
def test_evenly_spaced_indices_become_a_box(key: Any, box: Box) -> None:
    array = np.arange(50_000).reshape(1000, 50)
    selection = parse(key, array.shape)
    assert selection.where == box
    assert_same(selection.finish(read(array, selection)), array[key])


@pytest.mark.parametrize(
    ("key", "axes", "n", "layout"),
    [
        (np.arange(100) % 3 < 1.5, (0,), 67, (67, 50, 7)),
        ((slice(None), [4, 4, 0]), (1,), 3, (3, 100, 7)),
        ((5, ..., [4, 4, 0]), (2,), 3, (3, 1, 50)),
        (([[5]], slice(2, 9), [4, 4, 0]), (2,), 3, (3, 1, 7)),
        (np.ix_([1, 2, 3], [4, 4, 0], [True] * 7), (1,), 3, (3, 3, 7)),
        (([0, 9], [0, 9]), (0, 1), 2, (2, 7)),
        ([0, 9], (0,), 2, (2, 50, 7)),
        (np.ones((100, 50, 7), bool), (0, 1, 2), 35_000, (35_000,)),
    ],
)
def test_only_axes_that_need_them_get_coordinates(
    key: Any, axes: tuple[int, ...], n: int, layout: Shape
) -> None:
    array = np.arange(35_000).reshape(100, 50, 7)
    selection = parse(key, array.shape)
    assert isinstance(selection.where, Points)
    assert selection.where.axes == axes
    assert {len(coords) for coords in selection.where.coords} == {n}
    assert selection.layout == layout
    assert_same(selection.finish(read(array, selection)), array[key])


@pytest.mark.parametrize(
    ("key", "box"),
    [
        (np.arange(100) % 3 < 1.5, Box((0, 0, 0), (100, 50, 7), (1, 1, 1))),
        ((slice(None), [9, 4, 4, 5]), Box((0, 4, 0), (100, 6, 7), (1, 1, 1))),
        (([9, 4, 5], slice(4, None, 9), [1, 2, 0]), Box((4, 4, 0), (6, 6, 3), (1, 9, 1))),
        (np.arange(35_000).reshape(100, 50, 7) % 7 > 4.5, Box((0, 0, 5), (100, 50, 2), (1, 1, 1))),
        ((slice(None), [0, 24, 25]), None),
        (([0, 9, 3], [40, 1, 2], [0, 3, 1]), None),
    ],
)
def test_points_that_stand_closely_are_read_as_the_box_that_holds_them(
    key: Any, box: Box | None
) -> None:
    array = np.arange(35_000).reshape(100, 50, 7)
    asked: list[Box | Points] = []

    def ask(where: Box | Points) -> np.ndarray:
        asked.append(where)
        return fetch(array, where)

    selection = parse(key, array.shape)
    assert isinstance(selection.where, Points)
    assert_same(selection.read(ask), array[key])
    assert asked == [selection.where if box is None else box]


def test_the_key_is_never_changed() -> None:
    indices = np.array([-1, 2, -3])
    parse(indices, (3,))
    assert indices.tolist() == [-1, 2, -3]


def test_objects_that_act_as_an_index_or_an_array_are_taken_as_such() -> None:
    class Two:
        def __index__(self) -> int:
            return 2

    class Some:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return np.array([2, 0])

    array = np.arange(12).reshape(3, 4)
    for key in (Two(), Some(), (Some(), Two()), range(2), (0, range(3)), np.ma.array([2, 0])):
        selection = parse(key, array.shape)
        assert_same(selection.finish(read(array, selection)), array[key])
