"""Key stores as mappings: values with their types, order, bulk changes, and what is refused."""

from __future__ import annotations

import datetime as dt
import pickle
import unicodedata
import zoneinfo
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import kist
from kist.testing.strategies import dtypes, random_array


@pytest.fixture
def runs() -> Iterator[Any]:
    with kist.open(":memory:") as store:
        yield store.create_keystore("runs")


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal with all their types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        if a.dtype != b.dtype or a.dtype.byteorder != b.dtype.byteorder or a.shape != b.shape:
            return False
        if a.dtype.kind == "T":
            return bool(a.tolist() == b.tolist())
        return not a.dtype.itemsize or np.asarray(a).tobytes() == np.asarray(b).tobytes()
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(map(type, a)) == list(map(type, b)) and all(
            k == m and same(v, w) for (k, v), (m, w) in zip(a.items(), b.items(), strict=True)
        )
    return bool(a == b) or a != a


VALUES = [
    None,
    True,
    2**200,
    -1,
    1.5,
    float("nan"),
    1j,
    "text",
    "x" * 5000,
    "ä\ud800" * 3000,
    b"raw",
    bytes(5000),
    bytearray(b"abc" * 2000),
    (1, [2, (3,)], {"a": {1, 2}}),
    {"big": np.arange(5000), 3: ("x" * 4096, np.arange(70.0)), b"k": frozenset({(1, "a")})},
    set(range(3000)),
    list(range(5000)),
    {"y" * 5000},
    dt.datetime(2020, 1, 2, 3, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    dt.date(2020, 1, 2),
    dt.timedelta(1, 2, 3),
    Decimal("1.50"),
    np.int64(3),
    np.str_("n"),
    np.float32(1.5),
    np.datetime64("2020-01-01", "D"),
    np.array(3.5),
    np.arange(1000).reshape(10, 100).T,
    np.zeros((0, 3), "i2"),
    np.zeros((300, 0)),
    np.arange(3000, dtype=">i4"),
    np.array([("a", 1.5)] * 50, [("s", "U3"), ("x", "<f8")]),
    np.arange(600).astype("M8[ms]"),
    np.linspace(0, 1, 500).astype("c16"),
    np.array(["a", "bc" * 50] * 40, np.dtypes.StringDType()),
    np.array(["a", None] * 400, np.dtypes.StringDType(na_object=None)),
    np.full((100, 100), 7),
    np.zeros(100_000),
    np.ones(600, bool),
    np.zeros(3, "V1000"),
    [np.arange(100), np.arange(100), "z" * 4096],
]


@pytest.mark.parametrize("codec", ["auto", "balanced", "small", "none", "lz4+shuffle"])
def test_values_come_back_with_their_types(path: Path, codec: str) -> None:
    with kist.open(path, "w") as store:
        store.create_keystore("runs", codec=codec).update(enumerate(VALUES))
    with kist.open(path) as store:
        runs = store["runs"]
        for at, value in enumerate(VALUES):
            assert same(runs[at], value), at
        assert all(map(same, runs.get_many(range(len(VALUES))), VALUES))
        assert all(map(same, runs.values(), VALUES))
        assert store.check().ok


@given(dtypes(), st.lists(st.integers(0, 40), max_size=3), st.integers(0, 2**32), st.booleans())
def test_arrays_of_any_dtype_and_shape_come_back(
    dtype: np.dtype[Any], shape: list[int], seed: int, wrapped: bool
) -> None:
    base, whole = dtype, tuple(shape)
    while base.subdtype is not None:
        base, whole = base.base, (*whole, *base.shape)
    array = random_array(base, int(np.prod(whole)), seed).reshape(whole)
    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs")
        runs["a"] = {"x": [array]} if wrapped else array
        found = runs["a"]["x"][0] if wrapped else runs["a"]
        opened = runs.open("a")["x"][0] if wrapped else runs.open("a")
        for got in (found, opened[...]):
            assert got.dtype == array.dtype and got.shape == array.shape
            if base.itemsize and (got is found or base.names is None):  # padding may go
                assert got.tobytes() == array.tobytes()
        assert found.flags.writeable


def test_arrays_are_the_readers_own(runs: Any) -> None:
    for size in (10, 1000, 100_000):
        runs["a"] = np.zeros(size)
        runs["a"][0] = 1
        assert not runs["a"].any()


def test_keys_have_one_order_and_one_identity(runs: Any) -> None:
    keys = [b"\xff", "a", 2**100, -1, 0, "", "é", "Z", b"a", -(2**128), 5]
    for key in keys:
        if key != "":
            runs[key] = str(key)
    ordered = [-(2**128), -1, 0, 5, 2**100, b"a", b"\xff", "Z", "a", "é"]
    assert list(runs) == list(runs.keys()) == ordered
    assert list(reversed(runs)) == list(reversed(runs.keys())) == ordered[::-1]
    assert list(runs.items()) == [(key, str(key)) for key in ordered]
    assert list(reversed(runs.values())) == [str(key) for key in ordered[::-1]]
    assert [type(key) for key in runs][-1] is str
    runs[np.int64(5)] = "five"
    assert runs[5] == runs[np.uint8(5)] == "five" and len(runs) == 10
    assert "5" not in runs and b"5" not in runs and 5 in runs and np.int8(5) in runs
    assert list(runs.range(-1, 5)) == [-1, 0]
    assert list(runs.range("Z", "é")) == ["Z", "a"]
    assert list(runs.range(5)) == ordered[3:]
    assert list(runs.range(None, b"b")) == ordered[:6]
    assert list(runs.range("b", "a")) == [] == list(runs.range(6, 6))
    assert list(runs.range_items("a", "b")) == [("a", "a")]
    assert list(runs.range("")) == ["Z", "a", "é"]
    assert list(runs.range(-(2**300), 2**300)) == ordered[:5]


@pytest.mark.parametrize("key", [True, np.True_, None, 1.5, np.float64(1), (1,), [1], {}, object()])
def test_other_types_are_no_keys(runs: Any, key: Any) -> None:
    runs[1] = "one"
    for use in (
        lambda: runs[key],
        lambda: runs.get(key),
        lambda: runs.__setitem__(key, 1),
        lambda: runs.__delitem__(key),
        lambda: runs.update([(2, 2), (key, 1)]),
        lambda: runs.pop(key),
        lambda: runs.setdefault(key, 1),
        lambda: runs.get_many([1, key]),
        lambda: runs.open(key),
        lambda: list(runs.range("a", key)) if key is not None else runs[None],
    ):
        with pytest.raises(kist.DTypeError) as caught:
            use()
        assert isinstance(caught.value, TypeError)
    assert key not in runs
    assert dict(runs) == {1: "one"}


@pytest.mark.parametrize(
    "key", ["", b"", "x" * 1001, "é" * 501, b"x" * 1001, 2**128, -(2**128) - 1, "\ud800"]
)
def test_keys_that_are_empty_or_too_large_are_refused_and_never_there(runs: Any, key: Any) -> None:
    with pytest.raises(kist.NodeNameError):
        runs[key] = 1
    with pytest.raises(kist.NodeNameError):
        runs.update({"a": 1, key: 2})
    assert key not in runs and runs.get(key, 3) == 3 and len(runs) == 0
    for use in (lambda: runs[key], lambda: runs.pop(key), lambda: runs.__delitem__(key)):
        with pytest.raises(kist.KeyNotFoundError):
            use()


def test_the_longest_keys_are_keys(runs: Any) -> None:
    keys = ["é" * 500, b"x" * 1000, 2**128 - 1, -(2**128)]
    runs.update(dict.fromkeys(keys, 1))
    assert set(runs) == set(keys)


def test_keys_that_look_alike_cannot_stand_side_by_side(runs: Any) -> None:
    composed, parts = "\u1ec7", unicodedata.normalize("NFD", "\u1ec7")
    mixed = "e\u0323\u0302" if parts != "e\u0323\u0302" else "\u1eb9\u0302"
    forms = {composed, parts, mixed, "\u1eb9\u0302"}
    assert len(forms) == 3
    for first in forms:
        runs[first] = 1
        for other in forms - {first}:
            assert other not in runs
            with pytest.raises(kist.NodeExistsError):
                runs[other] = 2
            with pytest.raises(kist.NodeExistsError):
                runs.update([("a", 1), (other, 2)])
        runs[first] = 3
        assert dict(runs) == {first: 3}
        assert runs.store.check().ok
        del runs[first]
        for other in forms - {first}:  # nothing is left of it
            runs[other] = 1
            assert runs.pop(other) == 1
    with pytest.raises(kist.NodeExistsError):
        runs.update([(composed, 1), (parts, 2)])
    assert not runs and runs.store.check().ok
    runs[parts] = 1
    runs.clear()
    runs[composed] = 1
    assert runs.store.check().ok


@pytest.mark.parametrize(
    "value",
    [object(), [1, object()], {"a": (object(),)}, np.array([object()]), int, lambda: 0],
)
def test_objects_are_refused_with_what_to_do(runs: Any, value: Any) -> None:
    before = runs.store.commit_id
    with pytest.raises(kist.DTypeError, match=r"convert|give it a dtype"):
        runs["a"] = value
    with pytest.raises(kist.DTypeError):
        runs.update({"a": 1, "b": value})
    assert not len(runs) and runs.store.commit_id == before


def test_values_that_hold_themselves_are_refused(runs: Any) -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    with pytest.raises(kist.DTypeError, match="hold itself"):
        runs["a"] = endless
    loop: dict[str, Any] = {}
    loop["x"] = (loop,)
    with pytest.raises(kist.DTypeError, match="hold itself"):
        runs.setdefault("a", loop)
    assert "a" not in runs


def test_an_update_that_fails_half_way_changes_nothing(runs: Any) -> None:
    runs.update({"a": 1, "b": np.arange(1000)})

    def pairs(n: int) -> Iterator[tuple[str, Any]]:
        for at in range(n):
            yield f"k{at}", np.arange(100_000) + at if at < 200 else at
        raise RuntimeError("no more")

    before, stored = runs.store.commit_id, runs.nbytes_stored
    for n in (0, 3, 70_000):
        with pytest.raises(RuntimeError, match="no more"):
            runs.update(pairs(n))
    with pytest.raises(TypeError):
        runs.update([1, 2])
    with pytest.raises(ValueError, match="unpack"):
        runs.update([("a", 1, 2)])
    assert runs.store.commit_id == before and list(runs) == ["a", "b"]
    assert (len(runs), runs.nbytes_stored) == (2, stored)
    with runs.store.transaction():
        runs["c"] = 3
        with pytest.raises(RuntimeError):
            runs.update(pairs(3))
        assert list(runs) == ["a", "b", "c"]
    assert list(runs) == ["a", "b", "c"] and runs.store.check().ok


def test_each_call_is_one_commit(runs: Any) -> None:
    for use, changes in [
        (lambda: runs.update({"a": 1}, b=2, c=3), 1),
        (lambda: runs.update([("d", 4)]), 1),
        (lambda: runs.update(), 0),
        (lambda: runs.setdefault("a", 5), 0),
        (lambda: runs.setdefault("e", 5), 1),
        (lambda: runs.pop("a"), 1),
        (lambda: runs.pop("a", None), 0),
        (lambda: runs.popitem(), 1),
        (lambda: runs.clear(), 1),
    ]:
        before = len(runs.store.history())
        use()
        assert len(runs.store.history()) == before + changes
    assert len(runs) == 0 == runs.nbytes == runs.nbytes_stored


def test_pop_popitem_and_setdefault_do_what_a_mapping_does(runs: Any) -> None:
    with pytest.raises(kist.KeyNotFoundError):
        runs.popitem()
    runs.update({"b": 2, "a": np.arange(1000), 1: 0})
    assert runs.popitem() == ("b", 2)
    assert runs.pop("a")[999] == 999
    assert runs.pop("a", "none") == "none"
    with pytest.raises(kist.KeyNotFoundError, match="no key 'a'"):
        runs.pop("a")
    assert runs.setdefault("t", (1,)) == (1,) == runs.setdefault("t", 7)
    with pytest.raises(kist.KeyNotFoundError, match=r"it has 1, which is another type"):
        _ = runs["1"]
    with pytest.raises(KeyError):
        del runs["nothing"]
    assert runs.get_many(["t", 1, "t", "x"], default=None) == [(1,), 0, (1,), None]
    with pytest.raises(kist.KeyNotFoundError, match="'x'"):
        runs.get_many(["t", "x"])
    assert runs.get_many([]) == []


def test_an_iteration_keeps_the_state_in_which_it_began(path: Path) -> None:
    with kist.open(path, "w") as store:
        runs = store.create_keystore("runs")
        runs.update({key: np.full(2000, key) for key in range(50)})
        for inside in (False, True):
            if inside:
                store.begin()
                runs[3] = np.full(2000, 3)
                del runs[4]
                runs[4] = np.full(2000, 4)
            items, keys, back = iter(runs.items()), iter(runs), reversed(runs)
            runs.update(dict.fromkeys(range(25), "new"))
            runs[100] = "late"
            for key in range(25, 50):
                del runs[key]
            store.create_group("g" if inside else "f")
            assert list(keys) == list(range(50)) == list(back)[::-1]
            assert all((value == key).all() and len(value) == 2000 for key, value in items)
            if inside:
                store.rollback()
            else:
                runs.clear()
                runs.update({key: np.full(2000, key) for key in range(50)})
        iteration = iter(runs)
        next(iteration)
    with pytest.raises(kist.StoreClosedError):
        next(iteration)


def test_an_iteration_ends_with_its_transaction(runs: Any) -> None:
    runs.update({1: 1, 2: 2, 3: 3})
    with runs.store.transaction():
        iteration = iter(runs.items())
        next(iteration)
    with pytest.raises(kist.TransactionClosedError):
        list(iteration)
    for key in runs:  # deleting on the way does no harm
        del runs[key]
    assert not runs


def test_handles_are_nodes(path: Path) -> None:
    with kist.open(path, "w") as store:
        runs = store.create_keystore("g/runs", title="Runs", attrs={"x": 1})
        assert runs.title == "Runs" and runs.attrs["x"] == 1 and runs.name == "/g/runs"
        with pytest.raises(kist.NodeExistsError):
            store.create_keystore("g/runs")
        with pytest.raises(kist.NodeExistsError):
            store.require_keystore("g")
        with pytest.raises(kist.NodeNotFoundError):
            store.open_keystore("g")
        with pytest.raises(kist.NodeNotFoundError):
            store.open_table("g/runs")
        with pytest.raises(kist.CodecError):
            store.create_keystore("other", codec="zip")
        assert "other" not in store
        with pytest.raises(kist.DTypeError, match="key store"):
            store["d"] = {"a": 1}
        runs.update({"a": (np.arange(1000), 1), "é": 2, "e\u0302": 3})
        assert store.require_keystore("g/runs") == runs == store.open_keystore("g/runs")
        assert runs == store["g/runs"] and hash(runs) == hash(store["g/runs"])
        store.copy("g/runs", "copy")
        store.move("g/runs", "moved")
        del runs["a"]
        assert store["copy"]["a"][0][999] == 999 and len(store["copy"]) == 3
        assert store["copy"].attrs["x"] == 1 and list(store["moved"]) == ["e\u0302", "é"]
        with pytest.raises(kist.NodeExistsError):
            store["copy"]["\u00ea"] = 1
        new = store.create_keystore("copy", overwrite=True, codec="small")
        assert len(new) == 0 and new.codec == "small"
        assert store.check().ok
        assert "2 keys" in repr(runs) and runs.info.n_keys == 2
    with kist.open(path) as store:
        with pytest.raises(kist.ReadOnlyError):
            store["moved"]["a"] = 1
        again = pickle.loads(pickle.dumps(store["moved"]))
        assert again["é"] == 2
        again.store.close()


def test_counts_follow_every_change(runs: Any) -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        key = f"k{rng.integers(10)}"
        if rng.random() < 0.3:
            runs.pop(key, None)
        else:
            runs[key] = [1, "x" * 5000, rng.integers(0, 9, 500), "short"][rng.integers(4)]
    assert runs.store.check().ok  # which counts
    assert runs.nbytes_stored > 0 and len(runs) == len(list(runs))


def test_a_slice_is_no_key_and_the_error_names_what_gives_ranges(runs: Any) -> None:
    with pytest.raises(kist.DTypeError, match=r"range\(first, stop\)"):
        runs["a":"c"]


@pytest.mark.parametrize("codec", ["none", "fast", "small"])
def test_a_value_stays_as_it_is_when_others_are_read(codec: str) -> None:
    rng = np.random.default_rng(4)
    values = {
        i: (rng.random(3000), np.round(rng.normal(size=5000), 2), rng.bytes(2000), "é" * 900)
        for i in range(5)
    }
    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs", codec=codec)
        runs.update(values)
        found = {i: runs[i] for i in values}
        for i, expected in values.items():
            for a, b in zip(found[i], expected, strict=True):
                assert np.array_equal(a, b) if isinstance(b, np.ndarray) else a == b


@pytest.mark.parametrize("number", [0, 9])
def test_a_tuple_with_a_part_twice_or_of_nothing_is_damage(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kist.model.keystores import write

    def changed(value: Any) -> Any:
        found = split(value)
        return found._replace(plain=found.plain[:-1] + bytes((number,)))

    split = write.split
    monkeypatch.setattr(write, "split", changed)
    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs")
        runs["a"] = np.arange(1000), np.arange(1000.0)
        with pytest.raises(kist.CorruptDataError, match=f"part {number}, which there is not"):
            runs["a"]
