"""`kist.shelf` beside `shelve`: the same program does the same, and no pickle is loaded unasked."""

from __future__ import annotations

import datetime as dt
import gc
import pickle
import shelve
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.errors import (
    ConversionError,
    DTypeError,
    KeyNotFoundError,
    NodeExistsError,
    NodeNotFoundError,
    ReadOnlyError,
    SecretError,
    StoreClosedError,
    StoreNotFoundError,
    WrongSecretError,
)

KEYS = st.sampled_from(["a", "b", "ä c"])
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(KEYS, inner),
    max_leaves=5,
)
VERBS = ["del", "get", "pop", "sync", "reopen", "in", "setdefault"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, VALUES),
        st.tuples(st.just("update"), KEYS, VALUES),
        st.tuples(st.just("append"), KEYS, st.integers()),
        st.tuples(st.sampled_from(VERBS), KEYS, st.just([1])),
    ),
    max_size=12,
)


def step(shelf: Any, verb: str, key: str, value: Any) -> Any:
    """Do one thing and return what is seen, or the kind of the error."""
    try:
        if verb == "set":
            shelf[key] = value
        elif verb == "update":
            shelf.update({key: value, "b": 1})
        elif verb == "append":
            shelf[key].append(value)
        elif verb == "del":
            del shelf[key]
        elif verb == "get":
            return shelf.get(key, "none")
        elif verb == "pop":
            return shelf.pop(key)
        elif verb == "sync":
            shelf.sync()
        elif verb == "in":
            return key in shelf, len(shelf)
        elif verb == "setdefault":
            return shelf.setdefault(key, list(value))
    except (KeyError, AttributeError) as error:
        return "KeyError" if isinstance(error, KeyError) else "AttributeError"
    return None


@settings(max_examples=25, deadline=None)
@given(STEPS, st.booleans())
def test_it_does_what_shelve_does(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, Any]], writeback: bool
) -> None:
    folder = tmp_path_factory.mktemp("shelf")

    def run(open_: Any, path: str) -> list[Any]:
        seen = []
        shelf = open_(path, "c", None, writeback)
        for verb, key, value in steps:
            if verb == "reopen":
                shelf.close()
                shelf = open_(path, "w", None, writeback)
            else:
                # Both write lists: a value of one program is not changed by the other.
                seen.append(step(shelf, verb, key, pickle.loads(pickle.dumps(value))))
        seen.append(dict(shelf))
        shelf.close()
        with open_(path, "r") as again:
            seen.append({key: again[key] for key in again})
        return seen

    mine = run(kist.shelf, str(folder / "a.kist"))
    theirs = run(shelve.open, str(folder / "a.shelve"))
    assert mine == theirs


def test_arrays_and_plain_values_come_back_with_their_types(tmp_path: Path) -> None:
    values = {
        "array": np.arange(100_000.0).reshape(100, -1),
        "tuple": (1, "x", b"y", {3}, dt.date(2026, 1, 2)),
        "scalar": np.float32(2.5),
    }
    with kist.shelf(tmp_path / "s.kist") as shelf:
        shelf.update(values)
        assert repr(shelf).endswith("/shelf, 3 keys>")
    with kist.shelf(tmp_path / "s.kist", "r") as shelf:
        assert np.array_equal(shelf["array"], values["array"])
        assert shelf["tuple"] == values["tuple"]
        assert type(shelf["scalar"]) is np.float32
        shelf.sync()
        with pytest.raises(ReadOnlyError):
            shelf["x"] = 1
    assert repr(shelf).startswith("<closed")
    with pytest.raises(StoreClosedError):
        shelf["x"]
    assert isinstance(StoreClosedError(""), ValueError)  # as shelve's


def test_flags_say_what_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "s.kist"
    for flag in "rw":
        with pytest.raises(StoreNotFoundError):
            kist.shelf(path, flag)
    with kist.open(path, "x") as store:
        store["x"] = 1
        store.create_keystore("ints")[1] = 2
    for flag in "rw":
        with pytest.raises(NodeNotFoundError, match="flag 'c'"):
            kist.shelf(path, flag)
    with pytest.raises(NodeExistsError, match="another name"):
        kist.shelf(path, name="x")
    with pytest.raises(DTypeError, match="has the key 1"):
        kist.shelf(path, name="ints")
    with pytest.raises(ValueError, match="flag is"):
        kist.shelf(path, "x")
    with pytest.raises(TypeError, match="by name"):
        kist.shelf(path, "c", True)
    with kist.shelf(path) as shelf:
        shelf["a"] = 1
    with kist.shelf(path, "n") as shelf:
        assert len(shelf) == 0
    with kist.open(path) as store:
        assert sorted(store) == ["ints", "shelf", "x"]  # what is beside it stays


def test_writeback_writes_only_what_was_changed(tmp_path: Path) -> None:
    with kist.shelf(tmp_path / "s.kist") as shelf:
        shelf.update({"a": [1], "b": [2]})
    with kist.shelf(tmp_path / "s.kist", writeback=True) as shelf:
        before = shelf.store.commit_id
        shelf["a"], shelf["b"]
        shelf.sync()
        assert shelf.store.commit_id == before
        shelf["a"].append(5)
        shelf["b"]
    with kist.shelf(tmp_path / "s.kist", "r") as shelf:
        assert dict(shelf) == {"a": [1, 5], "b": [2]}
        assert shelf.store.commit_id == before + 1


def test_a_forgotten_shelf_writes_back(tmp_path: Path) -> None:
    shelf = kist.shelf(tmp_path / "s.kist", writeback=True)
    shelf["a"] = []
    shelf["a"].append(1)
    del shelf
    gc.collect()
    with kist.shelf(tmp_path / "s.kist", "r") as shelf:
        assert shelf["a"] == [1]


class Thing:
    """Something that no file holds without pickle."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Thing


@pytest.mark.parametrize(
    "value", [Thing(), {"a": [Thing()]}, np.array([Thing()]), {"kist.pickled": b""}]
)
def test_pickles_are_written_and_loaded_only_when_allowed(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "s.kist"
    with kist.shelf(path) as shelf:
        with pytest.raises(DTypeError, match="allow_pickle=True"):
            shelf["x"] = value
        with pytest.raises(DTypeError):
            shelf.update(ok=1, bad=value)
        assert len(shelf) == 0
    with kist.shelf(path, allow_pickle=True) as shelf:
        shelf["x"] = value
        with pytest.raises(DTypeError, match="not pickled"):
            shelf["f"] = lambda: 0
    with kist.shelf(path) as shelf, pytest.raises(ConversionError, match="trust"):
        shelf["x"]
    with kist.shelf(path, allow_pickle=True) as shelf:
        assert pickle.dumps(shelf["x"]) == pickle.dumps(value)


def test_keys_are_str(tmp_path: Path) -> None:
    with kist.shelf(tmp_path / "s.kist") as shelf:
        for key in (1, b"x", None):
            with pytest.raises(DTypeError, match="keys of a shelf"):
                shelf[key] = 1  # type: ignore[index]
            assert key not in shelf
        with pytest.raises(KeyNotFoundError):
            shelf["none"]


KEY = bytes(range(32))


def test_a_new_shelf_is_sealed_with_encrypt_and_opens_with_secrets(tmp_path: Path) -> None:
    path = tmp_path / "s.kist"
    with kist.shelf(path, encrypt=KEY) as shelf:
        shelf["Ann Smith"] = [1, "confidential"]
        assert shelf.store.sealed == ("1",)
    data = path.read_bytes()
    assert b"Ann Smith" not in data and b"confidential" not in data and b"shelf" not in data
    for flag in "crwn":
        with pytest.raises(SecretError, match="the whole file is sealed"):
            kist.shelf(path, flag)
        with pytest.raises(WrongSecretError):
            kist.shelf(path, flag, secrets=bytes(32))
    assert path.read_bytes() == data
    for flag in "cwr":
        with kist.shelf(path, flag, secrets={"/": KEY}) as shelf:
            assert dict(shelf) == {"Ann Smith": [1, "confidential"]}
    with kist.shelf(path, encrypt=KEY) as shelf:  # there already, and sealed
        assert list(shelf) == ["Ann Smith"]
    with kist.shelf(path, "n", secrets=KEY) as shelf:
        assert len(shelf) == 0


def test_encrypt_does_not_seal_a_shelf_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "s.kist"
    with kist.shelf(path) as shelf:
        shelf["a"] = 1
    data = path.read_bytes()
    for flag in "cn":
        with pytest.raises(SecretError, match="encrypt"):
            kist.shelf(path, flag, encrypt=KEY)
    for flag in "rw":
        with pytest.raises(ValueError, match="encrypt"):
            kist.shelf(path, flag, encrypt=KEY)
    assert path.read_bytes() == data


def test_a_sealed_key_store_is_a_shelf_with_its_secret(tmp_path: Path) -> None:
    path = tmp_path / "s.kist"
    with kist.open(path, "x") as store:
        store.create_keystore("runs", encrypt=KEY)["a"] = 1
    with pytest.raises(SecretError, match="secrets"):
        kist.shelf(path, name="runs")
    with kist.shelf(path, name="runs", secrets={"runs": KEY}, writeback=True) as shelf:
        shelf["b"] = []
        shelf["b"].append(2)
    with kist.shelf(path, "r", name="runs", secrets=[KEY]) as shelf:
        assert dict(shelf) == {"a": 1, "b": [2]}


def test_secrets_of_a_shelf_are_in_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "s.kist"
    kist.shelf(path, encrypt=KEY).close()
    try:
        kist.shelf(path, secrets="-".join(["these", "words", "are", "wrong"]))
    except WrongSecretError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert "these-words" not in "".join(shown.format())


def filled_again() -> Any:
    """Yield pairs whose values are one array, filled anew for each."""
    values = np.zeros(3)
    for k in range(4):
        values[:] = k
        yield f"k{k}", values


@pytest.mark.parametrize("writeback", [False, True])
def test_an_iterator_may_fill_the_same_array_again(tmp_path: Path, writeback: bool) -> None:
    path = tmp_path / "a.kist"
    with kist.shelf(path, writeback=writeback) as values:
        values.update(filled_again(), more=[1])
        assert [values[f"k{k}"].tolist() for k in range(4)] == [[k] * 3 for k in range(4)]
    with kist.shelf(path, "r") as values:
        assert [values[f"k{k}"].tolist() for k in range(4)] == [[k] * 3 for k in range(4)]
        assert values["more"] == [1]


@pytest.mark.parametrize("pairs", [{"a": [1]}, [("a", [1])], iter([("a", [1])])])
def test_what_was_updated_is_written_back_when_it_changes(tmp_path: Path, pairs: Any) -> None:
    path = tmp_path / "a.kist"
    with kist.shelf(path, writeback=True) as values:
        values.update(pairs, b=[2])
        values["a"].append(3)
        values["b"].append(4)
    with kist.shelf(path, "r") as values:
        assert dict(values) == {"a": [1, 3], "b": [2, 4]}


def test_an_update_that_fails_on_its_way_leaves_nothing(tmp_path: Path) -> None:
    def pairs() -> Any:
        yield "a", 1
        yield "b", object()

    with kist.shelf(tmp_path / "a.kist", writeback=True) as values:
        with pytest.raises(DTypeError, match="'b'"):
            values.update(pairs())
        assert not values and "a" not in values
