"""Attributes of every storable kind and any size, on every kind of node and on columns."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

RNG = np.random.default_rng(0)
STRINGS = np.dtypes.StringDType(na_object=None)

REC = np.dtype([("a", "<i4"), ("n", [("x", ">f8"), ("v", "<i2", 2)])])
VALUES: dict[str, Any] = {
    "str_": np.str_("é"),
    "bytes_": np.bytes_(b"a\0b"),
    "bool_": np.bool_(True),
    "longdouble": np.longdouble("0.1"),
    "complex64": np.complex64(1 - 2j),
    "timedelta": np.timedelta64(3, "D"),
    "nat": np.datetime64("NaT"),
    "void": np.void(b"\x00\x01"),
    "record": np.array([(1, (2.5, [1, 2]))], REC)[0],
    "time": datetime.time(1, 2, 3, 4),
    "zone": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "zero-d": np.array(5, ">i2"),
    "empty": np.zeros((0, 3), "f4"),
    "bools": np.array([[True], [False]]),
    "words": np.array(["a", "långt namn"]),
    "bytes": np.array([b"ab", b""], "S3"),
    "opaque": np.array([b"abcd", b"\0\0\0\1"], "V4"),
    "months": np.array(["2026-01", "NaT"], "M8[M]"),
    "strings": np.array(["a", None, "b" * 100], STRINGS),
    "records": np.zeros(3, REC),
    "fortran": np.asfortranarray(RNG.random((4, 5))),
    "nested": {"a": (np.arange(3), [np.float32(1), {"b": {1, "x"}}]), 1: None, (1, 2): b""},
    "large": RNG.random(300_000),
    "large text": "x" * 500_000 + "é",
    "large list": list(range(50_000)),
    "large tree": {f"k{at}": (at, np.arange(at % 7)) for at in range(3000)},
}


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, types and dtypes included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        if a.dtype.kind == "T":
            return bool(a.tolist() == b.tolist())
        return np.asarray(a).tobytes() == np.asarray(b).tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def places(store: kist.Store) -> dict[str, Any]:
    """Everything that has attributes."""
    table = store["g/t"]
    return {
        "store": store,
        "group": store["g"],
        "table": table,
        "column": table["a"],
        "structured column": table["n"],
        "string column": table["s"],
        "array": store["g/x"],
        "key store": store["g/k"],
    }


PLACES = ["store", "group", "table", "column", "structured column", "string column", "array"]
PLACES += ["key store"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store where everything has every value, which was then written to otherwise."""
    path = tmp_path_factory.mktemp("attributes") / "t.kist"
    with kist.open(path, "w", durability="none") as store:
        columns = {"a": [1, 2], "n": np.zeros(2, REC["n"]), "s": np.array(["x", None], STRINGS)}
        store.create_table("g/t", columns)
        store["g/x"] = np.zeros((2, 3))
        store.create_keystore("g/k")["key"] = 1
        for at, place in enumerate(places(store).values()):
            place.attrs.update(VALUES)
            place.attrs["TITLE"] = f"title {at}"
            place.attrs["gone"] = VALUES["large"]
        for place in places(store).values():
            del place.attrs["gone"]
        store["g/t"].append(store["g/t"][:])
        store["g/x"].append(np.ones((1, 3)))
        store.move("g", "h")
        store.move("h", "g")
        store.compact()
    return path


@pytest.mark.parametrize("place", PLACES)
def test_values_come_back_exactly_on_everything(file: Path, place: str) -> None:
    with kist.open(file) as store:
        attrs = places(store)[place].attrs
        assert sorted(attrs) == sorted([*VALUES, "TITLE"])
        wrong = [name for name, value in VALUES.items() if not same(attrs[name], value)]
        assert wrong == []


@pytest.mark.parametrize("place", PLACES)
def test_titles_are_shown_in_the_reprs_of_everything(file: Path, place: str) -> None:
    with kist.open(file) as store:
        handle = places(store)[place]
        title = f"title {PLACES.index(place)}"
        assert title in repr(handle) and title in handle._repr_html_()
        if "column" not in place:
            assert handle.title == title


def test_attributes_go_with_copies(file: Path) -> None:
    with kist.open(file) as store, kist.open(":memory:") as other:
        other.copy(store["g"], "g")
        for place in PLACES[1:]:
            attrs = places(other)[place].attrs
            assert [name for name, value in VALUES.items() if not same(attrs[name], value)] == []
