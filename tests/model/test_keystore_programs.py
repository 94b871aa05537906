"""Random programs on a key store and on a dict do the same, whatever is reopened in between."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import kist

KEYS = st.sampled_from(
    [
        *(0, 1, -1, 255, 256, -256, -257, 2**127, -(2**128)),
        *(b"\0", b"a", b"\xff\xff", b"P"),
        *("a", "b", "P", "aa", "é", "日本", "\0", "x" * 1000, "z/y"),
    ]
)
PLAIN = st.one_of(
    st.none(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.sampled_from(["x" * 5000, b"y" * 4096, np.int64(5)]),
)
ARRAYS = st.builds(
    lambda n, step: ("array", n, step), st.sampled_from([0, 3, 100, 5000]), st.integers(0, 3)
)
VALUES = st.recursive(
    PLAIN | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=5,
)


def made(value: Any) -> Any:
    """The value with arrays in place of their descriptions."""
    if isinstance(value, tuple) and value[:1] == ("array",):
        return np.arange(value[1]) * value[2]
    if isinstance(value, list):
        return [made(item) for item in value]
    if isinstance(value, dict):
        return {key: made(item) for key, item in value.items()}
    return value


def told(value: Any) -> Any:
    """A value as something that can be compared."""
    if isinstance(value, np.ndarray):
        return ("array", value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, list):
        return [told(item) for item in value]
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    return type(value).__name__, value


def place(key: Any) -> tuple[int, Any]:
    if isinstance(key, int):
        return 0, key
    return (1, key) if isinstance(key, bytes) else (2, key.encode())


class Programs(RuleBasedStateMachine):
    """A key store beside a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "t.kist"
        self.store: Any = kist.open(self.path, "w")
        self.runs: Any = None
        self.model: dict[Any, Any] = {}
        self.before: list[dict[Any, Any]] = []
        self.tags: dict[str, dict[Any, Any]] = {}

    @initialize(codec=st.sampled_from(["auto", "balanced", "none"]))
    def create(self, codec: str) -> None:
        self.runs = self.store.create_keystore("runs", codec=codec)

    @rule(key=KEYS, value=VALUES)
    def put(self, key: Any, value: Any) -> None:
        self.runs[key] = made(value)
        self.model[key] = made(value)

    @rule(pairs=st.lists(st.tuples(KEYS, VALUES), max_size=8))
    def update(self, pairs: list[tuple[Any, Any]]) -> None:
        self.runs.update((key, made(value)) for key, value in pairs)
        self.model.update({key: made(value) for key, value in pairs})

    @rule(key=KEYS)
    def pop(self, key: Any) -> None:
        assert told(self.runs.pop(key, None)) == told(self.model.pop(key, None))

    @rule(key=KEYS, value=VALUES)
    def set_default(self, key: Any, value: Any) -> None:
        expected = told(self.model.setdefault(key, made(value)))
        assert told(self.runs.setdefault(key, made(value))) == expected

    @precondition(lambda self: self.model)
    @rule()
    def pop_last(self) -> None:
        last = max(self.model, key=place)
        assert told(list(self.runs.popitem())) == told([last, self.model.pop(last)])

    @rule()
    def clear(self) -> None:
        self.runs.clear()
        self.model.clear()

    @rule(a=KEYS | st.none(), b=KEYS | st.none())
    def look_at_a_range(self, a: Any, b: Any) -> None:
        expected = sorted(self.model, key=place)
        expected = [k for k in expected if a is None or place(k) >= place(a)]
        expected = [k for k in expected if b is None or place(k) < place(b)]
        assert list(self.runs.range(a, b)) == expected
        found = {key: told(value) for key, value in self.runs.range_items(a, b)}
        assert found == {key: told(self.model[key]) for key in expected}

    @rule(keys=st.lists(KEYS, max_size=6))
    def get_many(self, keys: list[Any]) -> None:
        found = self.runs.get_many(keys, default=None)
        assert [told(value) for value in found] == [told(self.model.get(key)) for key in keys]

    @precondition(lambda self: len(self.before) < 3)
    @rule()
    def begin(self) -> None:
        self.before.append(dict(self.model))
        self.blocks = getattr(self, "blocks", [])
        block = self.store.transaction()
        block.__enter__()
        self.blocks.append(block)

    @precondition(lambda self: self.before)
    @rule(good=st.booleans())
    def end(self, good: bool) -> None:
        old = self.before.pop()
        if good:
            self.blocks.pop().__exit__(None, None, None)
        else:
            error = RuntimeError()
            self.blocks.pop().__exit__(RuntimeError, error, None)
            self.model = old

    @precondition(lambda self: not self.before)
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = kist.open(self.path, "r+")
        self.runs = self.store["runs"]

    @precondition(lambda self: not self.before and len(self.tags) < 2)
    @rule()
    def tag(self) -> None:
        name = f"tag{len(self.tags)}"
        self.store.tag(name)
        self.tags[name] = dict(self.model)

    @precondition(lambda self: not self.before)
    @rule()
    def check(self) -> None:
        report = self.store.check()
        assert report.ok, report

    @invariant()
    def same(self) -> None:
        if self.runs is None:
            return
        assert len(self.runs) == len(self.model)
        assert list(self.runs) == sorted(self.model, key=place)
        found = {key: told(value) for key, value in self.runs.items()}
        assert found == {key: told(value) for key, value in self.model.items()}

    def teardown(self) -> None:
        while self.before:
            self.end(False)
        self.store.close()
        for name, content in self.tags.items():
            with kist.open(self.path, version=name) as old:
                found = {key: told(value) for key, value in old["runs"].items()}
                assert found == {key: told(value) for key, value in content.items()}
        self.folder.cleanup()


TestPrograms = Programs.TestCase
TestPrograms.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
