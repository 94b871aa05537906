"""Names and paths: what they may be, and what is said when they are not."""

from __future__ import annotations

import unicodedata
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

import kist


@pytest.mark.parametrize(
    "name",
    ["a", "A b", "ångström", "日本", "..a", "...", "a.b", "☃" * 85, "x" * 255, "\u212a", "\n", "*"],
)
def test_any_text_can_be_a_name(name: str) -> None:
    with kist.open(":memory:") as store:
        group = store.create_group(name)
        assert list(store) == [name]
        assert name in store
        assert group.name == f"/{name}"
        assert store[name] == group == store[f"/{name}"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/", "a//b", "//a", "a/./b", "../a", "a\0", "x" * 256, "é" * 128, "\ud800"],
)
def test_names_that_cannot_be_are_refused_everywhere(name: str) -> None:
    with kist.open(":memory:") as store:
        store.create_group("g")
        before = store.commit_id
        for use in (
            lambda: store.create_group(name),
            lambda: store.require_group(name),
            lambda: store.create_table(name, dtype="i4,f8"),
            lambda: store[name],
            lambda: store.get(name),
            lambda: name in store,
            lambda: store.move("g", name),
            lambda: store.copy("g", name),
            lambda: store.__delitem__(name),
        ):
            with pytest.raises(kist.NodeNameError):
                use()
        assert list(store) == ["g"]
        assert store.commit_id == before


@pytest.mark.parametrize("name", [3, None, b"a", ("a",)])
def test_only_text_is_a_path(name: Any) -> None:
    with kist.open(":memory:") as store:
        with pytest.raises(kist.NodeNameError):
            _ = store[name]
        with pytest.raises(kist.NodeNameError):
            store.create_group(name)
        assert name not in store


def test_siblings_that_look_the_same_are_refused() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    with kist.open(":memory:") as store:
        store.create_group(decomposed)
        assert list(store) == [decomposed], "the name is kept as given"
        with pytest.raises(kist.NodeExistsError, match="another Unicode form"):
            store.create_group(composed)
        assert composed not in store
        with pytest.raises(kist.NodeNotFoundError, match="another Unicode form"):
            _ = store[composed]
        store.create_group("other")
        with pytest.raises(kist.NodeExistsError):
            store.move("other", composed)
        store.create_group("K")
        with pytest.raises(kist.NodeExistsError):
            store.create_group("\u212a")  # the Kelvin sign, whose NFC is the letter


def test_paths_start_at_the_group_or_with_a_slash_at_the_root() -> None:
    with kist.open(":memory:") as store:
        inner = store.create_group("a/b/c")
        a = store["a"]
        assert a["b/c"] == inner == a["/a/b/c"] == store["/a/b/c"]
        assert a["/"] == store == store["/"]
        assert "b/c" in a and "/a/b" in a and "c" not in a
        assert inner.parent == a["b"]
        assert inner.parent.parent.parent == store
        assert store.parent == store
        assert inner.store is store and inner.file is store


def test_a_missing_node_is_answered_with_what_is_like_it() -> None:
    with kist.open(":memory:") as store:
        store.create_group("raw/images")
        with pytest.raises(KeyError, match="did you mean 'images'"):
            _ = store["raw/imges"]
        with pytest.raises(kist.NodeNotFoundError, match="'/' holds 'raw'"):
            _ = store["zzz"]
        assert store.get("raw/imges") is None
        assert store.get("raw/imges", 5) == 5


def test_paths_do_not_descend_into_tables() -> None:
    with kist.open(":memory:") as store:
        store.create_table("t", dtype=[("x", "i4")])
        with pytest.raises(kist.NodeNotFoundError, match="is a table"):
            _ = store["t/x"]
        assert "t/x" not in store
        with pytest.raises(kist.NodeExistsError, match="nothing can stand below it"):
            store.create_group("t/x")


names = st.text(min_size=1, max_size=3) | st.sampled_from(["a", "b", "K", "\u212a", "e\u0301", "é"])


def _allowed(name: str) -> bool:
    return (
        name not in (".", "..")
        and "/" not in name
        and "\0" not in name
        and not any("\ud800" <= char <= "\udfff" for char in name)
    )


@hypothesis.given(
    st.lists(st.tuples(st.sampled_from(["make", "del", "move"]), names, names), max_size=25)
)
def test_a_group_behaves_as_a_sorted_dict_of_names(steps: list[tuple[str, str, str]]) -> None:
    with kist.open(":memory:") as store:
        model: dict[str, Any] = {}  # name -> handle
        for what, name, other in steps:
            if not (_allowed(name) and _allowed(other)):
                continue
            forms = {unicodedata.normalize("NFC", known): known for known in model}
            if what == "make":
                if unicodedata.normalize("NFC", name) in forms:
                    with pytest.raises(kist.NodeExistsError):
                        store.create_group(name)
                else:
                    model[name] = store.create_group(name)
            elif what == "del":
                if name in model:
                    del store[name], model[name]
                else:
                    with pytest.raises(kist.NodeNotFoundError):
                        del store[name]
            elif name in model:
                without = {form for form, known in forms.items() if known != name}
                if unicodedata.normalize("NFC", other) in without:
                    with pytest.raises(kist.NodeExistsError):
                        store.move(name, other)
                else:
                    store.move(name, other)
                    model[other] = model.pop(name)
            assert list(store) == list(store.keys()) == sorted(model)
            assert dict(store.items()) == model
            assert set(store.values()) == set(model.values())
            assert len(store) == len(model)
            assert all(handle.name == f"/{known}" for known, handle in model.items())
        assert store.check().ok
