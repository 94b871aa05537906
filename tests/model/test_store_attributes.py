"""Attributes: values come back exactly, names are kept apart from methods."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import kist

PLAIN: list[Any] = [
    None,
    True,
    0,
    -(2**200),
    1.5,
    float("inf"),
    2 + 3j,
    "",
    "ångström ☃",
    b"\x00\xff",
    (1, "a", (None,)),
    [1, [2.5, "x"]],
    {1, 2},
    frozenset({"a"}),
    {"a": 1, "b": {"c": (1, 2)}},
    datetime.date(2026, 11, 21),
    datetime.datetime(2026, 11, 21, 2, 3, 4, 5),
    datetime.timedelta(days=-1, microseconds=7),
    decimal.Decimal("1.10"),
    np.int16(7),
    np.float32(1.25),
    np.datetime64("2026-11-21T00:00:00", "ns"),
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda v: f"{type(v).__name__}-{str(v)[:12]}")
def test_a_plain_value_comes_back_with_its_type(value: Any) -> None:
    with kist.open(":memory:") as store:
        store.attrs["x"] = value
        got = store.attrs["x"]
        assert type(got) is type(value)
        assert got == value


def test_arrays_come_back_with_their_dtype_small_and_large(path: Path) -> None:
    small = np.array([[3, 2, 3]], ">i2")
    large = np.arange(100_000, dtype="f8")
    with kist.open(path, "w") as store:
        store.attrs["small"], store.attrs["large"] = small, large
        store.attrs["zero"] = np.array(5.0)
    with kist.open(path) as store:
        for name, array in {"small": small, "large": large, "zero": np.array(5.0)}.items():
            got = store.attrs[name]
            assert got.dtype == array.dtype and got.shape == array.shape
            np.testing.assert_array_equal(got, array)


def test_attributes_work_as_python_attributes() -> None:
    with kist.open(":memory:") as store:
        attrs = store.attrs
        attrs.camera = "B"
        assert attrs.camera == attrs["camera"] == "B"
        assert "camera" in dir(attrs)
        del attrs.camera
        assert "camera" not in attrs
        with pytest.raises(AttributeError, match="no attribute 'camera'"):
            _ = attrs.camera
        with pytest.raises(AttributeError):
            del attrs.camera
        with pytest.raises(KeyError):
            _ = attrs["camera"]
        with pytest.raises(KeyError):
            del attrs["camera"]


@pytest.mark.parametrize("name", ["keys", "update", "pop", "_private", "__len__"])
def test_names_that_mean_something_in_python_are_set_by_brackets_only(name: str) -> None:
    with kist.open(":memory:") as store:
        with pytest.raises(AttributeError):
            setattr(store.attrs, name, 1)
        store.attrs[name] = 1
        assert list(store.attrs) == [name]
        assert store.attrs[name] == 1


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 256, "é" * 128, "\ud800", 3])
def test_names_that_cannot_be_are_refused(name: Any) -> None:
    with kist.open(":memory:") as store:
        with pytest.raises(kist.NodeNameError):
            store.attrs[name] = 1
        with pytest.raises(kist.NodeNameError):
            store.attrs.update({"good": 1, name: 2})
        assert len(store.attrs) == 0
        assert name not in store.attrs


def test_what_was_read_can_be_changed_without_changing_the_store() -> None:
    with kist.open(":memory:") as store:
        store.attrs["list"], store.attrs["array"] = [1], np.zeros(2)
        store.attrs["list"].append(2)
        got = store.attrs["array"]
        got[:] = 1
        assert store.attrs["list"] == [1]
        assert store.attrs["array"].tolist() == [0, 0]


def test_update_is_one_commit_and_all_or_nothing() -> None:
    with kist.open(":memory:") as store:
        before = store.commit_id
        store.attrs.update({"a": 1}, b=2)
        assert store.commit_id == before + 1
        with pytest.raises(kist.DTypeError):
            store.attrs.update(a=3, c=object())
        assert dict(store.attrs) == {"a": 1, "b": 2}


@pytest.mark.parametrize("allow_pickle", [False, True])
def test_objects_that_are_not_plain_are_refused(allow_pickle: bool) -> None:
    with kist.open(":memory:", allow_pickle=allow_pickle) as store:
        for value in (object(), kist.KistError, [1, {2: lambda: 3}]):
            with pytest.raises(kist.DTypeError, match="plain values"):
                store.attrs["x"] = value
        assert len(store.attrs) == 0


def test_the_title_is_the_attribute_that_pytables_uses() -> None:
    with kist.open(":memory:") as store:
        group = store.create_group("g", title="raw data", attrs={"n": 1})
        assert group.title == group.attrs.TITLE == "raw data"
        group.attrs.TITLE = "other"
        assert group.title == "other"
        assert "'other'" in str(store.tree())
        group.title = None
        assert dict(group.attrs) == {"n": 1}
        assert group.title is None


def test_a_large_value_that_is_replaced_does_not_stay_in_the_file(path: Path) -> None:
    with kist.open(path, "w") as store:
        for at in range(60):
            store.attrs["x"] = np.full(100_000, at)
        assert store.attrs["x"][5] == 59
        assert store.info.total_bytes < 12 * 800_000
        assert store.check().ok


names = st.text(min_size=1, max_size=3) | st.sampled_from(["a", "b", "keys"])


@hypothesis.given(
    st.lists(
        st.tuples(st.sampled_from(["set", "del", "pop", "default", "clear"]), names, st.integers()),
        max_size=30,
    )
)
def test_attributes_behave_as_a_sorted_dict(steps: list[tuple[str, str, int]]) -> None:
    with kist.open(":memory:") as store:
        model: dict[str, int] = {}
        attrs = store.attrs
        for what, name, value in steps:
            try:
                name.encode()
            except UnicodeEncodeError:
                continue
            if "\0" in name:
                continue
            if what == "set":
                attrs[name] = model[name] = value
            elif what == "del" and name in model:
                del attrs[name], model[name]
            elif what == "pop":
                assert attrs.pop(name, None) == model.pop(name, None)
            elif what == "default":
                assert attrs.setdefault(name, value) == model.setdefault(name, value)
            elif what == "clear" and value % 5 == 0:
                attrs.clear(), model.clear()
            assert list(attrs) == sorted(model)
            assert dict(attrs) == model
            assert len(attrs) == len(model)
            assert (name in attrs) == (name in model)


def test_an_iterator_may_fill_the_same_array_again(tmp_path: Path) -> None:
    def pairs() -> Any:
        values = np.zeros(3)
        for k in range(4):
            values[:] = k
            yield f"k{k}", values

    with kist.open(tmp_path / "a.kist", "w") as store:
        store.attrs.update(pairs(), more=1)
        assert [store.attrs[f"k{k}"].tolist() for k in range(4)] == [[k] * 3 for k in range(4)]
        assert store.attrs["more"] == 1
