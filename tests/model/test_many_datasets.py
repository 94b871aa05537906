"""Many datasets of a kind in one transaction: what they share must not mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

FIELDS = [("a", "i1"), ("b", "f8")]
# NumPy finds all of these equal, or nearly so.
ALIKE = [
    np.dtype(FIELDS),
    np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [0, 1], "itemsize": 16}),
    np.dtype(FIELDS, align=True),
    np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [0, 8], "itemsize": 16}),
    np.dtype((np.record, FIELDS)),
    np.dtype([(("the first", "a"), "i1"), ("b", "f8")]),
    np.dtype([("a", "i1"), ("b", ">f8")]),
    np.dtype([("b", "f8"), ("a", "i1")]),
    np.dtype([("a", "i1"), ("b", np.dtype([("c", "f8")]))]),
    np.dtype([("a", "i1"), ("b", "f8", (1,))]),
]
TIMES = [np.dtype(f"{order}{kind}8[{unit}]") for order in "<>" for kind in "mM" for unit in "sm"]


def same(one: np.dtype[Any], two: np.dtype[Any]) -> bool:
    return repr(one) == repr(two) and (one.isalignedstruct, one.type, one.fields) == (
        two.isalignedstruct,
        two.type,
        two.fields,
    )


def test_tables_of_dtypes_that_are_alike_keep_their_own(path: Path) -> None:
    with kist.open(path, "w") as store, store.transaction():
        for turn in range(2):
            for number, dtype in enumerate(ALIKE):
                store[f"t{turn}-{number}"] = np.zeros(3, dtype)
    with kist.open(path) as store:
        for name in store:
            assert same(store[name].dtype, ALIKE[int(name.split("-")[1])]), name
            assert same(store[name][:].dtype, ALIKE[int(name.split("-")[1])]), name


def test_tables_of_one_dtype_keep_their_codecs_and_fill_values(path: Path) -> None:
    given: list[dict[str, Any]] = [
        {},
        {"codec": "none"},
        {"codec": {"b": "small"}},
        {"fill_value": {"b": 2.5}},
        {},
    ]
    with kist.open(path, "w") as store:
        with store.transaction():
            for number, options in enumerate(given):
                store.create_table(f"t{number}", dtype=FIELDS, **options)
        codecs = [[c.codec for c in store[n]._state().schema.columns] for n in store]
        assert codecs == [["auto"] * 2, ["none"] * 2, ["auto", "small"], ["auto"] * 2, ["auto"] * 2]
        store["t3"].append({"a": [1]})
        assert store["t3"]["b"][0] == 2.5
        with pytest.raises(kist.DTypeError):
            store["t4"].append({"a": [1]})


@pytest.mark.parametrize("dtype", [*TIMES, ">i4", "<i4", "?", "S3", "U2", "c8", "V5"], ids=str)
def test_small_arrays_of_any_dtype_and_shape_come_back(path: Path, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    dtype = np.dtype(dtype)
    wanted = {}
    with kist.open(path, "w") as store, store.transaction():
        for number, shape in enumerate([(), (1,), (7,), (2, 3), (0,), (3, 0), (1, 2, 2)]):
            raw = rng.integers(0, 60, int(np.prod(shape)) * dtype.itemsize, np.uint8).tobytes()
            value = np.ndarray(shape, dtype, raw or b"\0" * 8)
            if dtype.kind == "b":
                value = value.view("u1") > 30
            wanted[f"a{number}"] = value
            store[f"a{number}"] = value
            store[f"f{number}"] = wanted[f"f{number}"] = np.asfortranarray(value)[..., ::-1][()]
            store.create_array(f"c{number}", value, chunks=2)
            wanted[f"c{number}"] = value
    with kist.open(path) as store:
        for name, value in wanted.items():
            found = store[name][...]
            assert found.dtype.str == value.dtype.str
            assert (found.shape, found.tobytes()) == (value.shape, value.tobytes())
        assert store.check().ok


def test_a_dataset_that_fails_in_a_transaction_leaves_the_others(path: Path) -> None:
    with kist.open(path, "w") as store:
        with store.transaction():
            for number in range(300):
                store[f"a{number}"] = np.arange(number % 7)
                if number % 3 == 0:
                    with pytest.raises(kist.DTypeError):
                        store[f"b{number}"] = np.array([object()])
                    with pytest.raises(kist.DTypeError):
                        store.create_table(f"t{number}", [("x",)], dtype="i4")
        assert len(store) == 300
        assert store.check().ok
    with kist.open(path) as store:
        assert all(len(store[f"a{number}"]) == number % 7 for number in range(300))
