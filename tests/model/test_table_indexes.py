"""Indexes: a table with them answers like its twin without, whatever happens to both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import kist
from kist.format import index as index_format
from kist.indexes import runs
from kist.model.tables import index_find, index_keep, index_order, schema

Array = np.ndarray[Any, Any]
TEXT: Any = np.dtypes.StringDType(na_object=None)
PLAIN: Any = np.dtypes.StringDType()

DTYPES: dict[str, Any] = {
    "i": "i4",
    "k": "u8",
    "b": "?",
    "f": "f8",
    "g": "f4",
    "e": "f2",
    "z": ">i8",
    "d": "M8[s]",
    "m": "m8[ms]",
    "s": "S3",
    "l": "S40",
    "u": "U3",
    "w": ">U11",
    "t": TEXT,
    "p": PLAIN,
    "q": "f16",
}
TEXTS = ["", "a", "ab", "a\0b", "ä", "abcdefgh", "abcdefghi", "abcdefghij", "\U0001f600", "z"]
LONG = [b"", b"x" * 33, b"x" * 34, b"x" * 33 + b"a", b"x" * 32, b"b\0c", b"\xff" * 40]


def make(n: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    floats = np.array([-np.inf, -2.5, -0.0, 0.0, 0.1, 1e300, np.inf, np.nan])

    def pick(values: Any, dtype: Any) -> Array:
        with np.errstate(over="ignore"):
            return np.array(values).astype(dtype)[rng.integers(0, len(values), n)]

    rows = {
        "i": rng.integers(-20, 20, n).astype("i4"),
        "k": pick(np.array([0, 1, 2**63, 2**64 - 1], "u8"), "u8"),
        "b": rng.integers(0, 2, n).astype(bool),
        "f": pick(floats, "f8"),
        "g": pick(floats, "f4"),
        "e": pick(floats, "f2"),
        "z": pick([-(2**63), -1, 0, 7, 2**63 - 1], ">i8"),
        "d": pick(np.array(["NaT", -5, 0, 9, 40], "M8[s]"), "M8[s]"),
        "m": pick(np.array(["NaT", -5, 0, 9, 40], "m8[ms]"), "m8[ms]"),
        "s": pick([b"", b"a", b"ab", b"abc", b"\xff\xff\xff"], "S3"),
        "l": pick(LONG, "S40"),
        "u": pick(["", "a", "ab", "\U0001f600", "äöü"], "U3"),
        "w": pick(["", "abcdefgh", "abcdefghi", "abcdefghij"], ">U11"),
        "q": pick(floats, "f16"),
    }
    rows["t"] = np.array(
        [TEXTS[x] if x < len(TEXTS) else None for x in rng.integers(0, 12, n)], TEXT
    )
    rows["p"] = np.array([TEXTS[x] for x in rng.integers(0, len(TEXTS), n)], PLAIN)
    return {name: rows[name] for name in DTYPES}


INDEXES = [
    ("i",), ("k",), ("b",), ("f",), ("g",), ("e",), ("z",), ("d",), ("m",), ("s",), ("l",),
    ("u",), ("w",), ("t",), ("p",), ("q",), ("i", "f"), ("s", "d", "i"), ("t", "i"),
]  # fmt: skip

NUMBERS = ["-2.5", "0", "0.1", "1e300", "7", "-20", "3.5", "1e999", "-1e999"]
OPERATORS = ["<", "<=", "==", "!=", ">", ">="]


@st.composite
def conditions(draw: Any, depth: int = 2) -> str:
    """A condition on some of the columns."""
    if depth and draw(st.integers(0, 2)) == 0:
        left, right = draw(conditions(depth - 1)), draw(conditions(depth - 1))
        return f"({left}) {draw(st.sampled_from('&|'))} ({right})"
    if draw(st.integers(0, 12)) == 0:
        return draw(st.sampled_from(["b", "~b", "~(i == 3)", "isnull(t)", "f != f"]))
    name = draw(st.sampled_from([*DTYPES, "i", "i", "f"]))
    if name == "b":
        return f"b {draw(st.sampled_from(OPERATORS))} {draw(st.sampled_from(['True', 'False']))}"
    if name in "ikfgezq":
        pool = NUMBERS if name not in "kz" else ["0", "1", str(2**63), str(2**64 - 1), "-1", "2.5"]
    elif name in "dm":
        unit = "s" if name == "d" else "ms"
        kind = "datetime64" if name == "d" else "timedelta64"
        pool = [f"{kind}({x}, '{unit}')" for x in (-5, 0, 9, 10)]
    elif name == "l":
        pool = [repr(text) for text in LONG]
    elif name == "s":
        pool = ["b''", "b'a'", "b'ab'", "b'b'", "b'abcd'"]
    else:
        pool = [repr(text) for text in TEXTS if "\0" not in text]
    value = draw(st.sampled_from(pool))
    if name in "slutwp" and draw(st.integers(0, 2)) == 0:
        return f"startswith({name}, {value})"
    if draw(st.integers(0, 3)) == 0:
        more = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=3))
        return f"isin({name}, [{', '.join([value, *more])}])"
    return f"{name} {draw(st.sampled_from(OPERATORS))} {value}"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make row groups, runs and their blocks so small that a thousand rows need many."""
    with small_sizes():
        yield


@contextlib.contextmanager
def small_sizes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "GROUP_ROWS", 128)
        patch.setattr(schema, "PIECE_ROWS", 40)
        patch.setattr(index_keep, "GROUP_ROWS", 128)
        patch.setattr(index_keep, "PIECE_ROWS", 40)
        patch.setattr(index_keep, "RUN_WORDS", 1_024)
        patch.setattr(index_keep, "FAN_IN", 3)
        patch.setattr(index_find, "WORTH", 0.5)
        patch.setattr(index_order, "WORTH", 0.5)
        patch.setattr(runs, "BLOCK", 16)
        patch.setattr(runs, "DIRTY_ROWS", 32)
        patch.setattr(index_format, "DIRTY_ROWS", 32)
        yield


def checkpoint(table: Any) -> None:
    table.store._session.engine.checkpoint()


def same(one: Any, other: Any) -> bool:
    """Tell whether two results are equal, missing values and all."""
    if isinstance(one, np.ndarray) and one.dtype.kind == "T":
        return bool(one.tolist() == other.tolist())
    return bool(np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind in "fmM"))


def outcome(work: Any) -> Any:
    try:
        return work()
    except kist.QueryError as error:
        return str(error)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from([1, 7, 60, 130, 300]), st.integers(0, 99)),
        st.tuples(st.just("update"), conditions(1), st.sampled_from(sorted(DTYPES))),
        st.tuples(st.just("delete"), conditions(1)),
        st.tuples(st.just("insert"), st.integers(0, 100), st.integers(0, 99)),
        st.tuples(st.just("checkpoint")),
        st.tuples(st.just("rollback"), st.integers(0, 99)),
        st.tuples(st.just("drop"), st.sampled_from(INDEXES)),
        st.tuples(st.just("create"), st.sampled_from(INDEXES)),
        st.tuples(st.just("truncate"), st.integers(0, 400)),
        st.tuples(st.just("rename")),
        st.tuples(st.just("cast")),
        st.tuples(st.just("reopen")),
    ),
    min_size=1,
    max_size=6,
)


def step(table: Any, what: tuple[Any, ...], *, indexed: bool) -> None:
    verb, *args = what
    if verb == "append":
        table.append(make(args[0], args[1]))
    elif verb == "update":
        outcome(lambda: table.where(args[0]).update({args[1]: make(1, len(table))[args[1]][:1]}))
    elif verb == "delete":
        outcome(lambda: table.where(args[0]).delete())
    elif verb == "insert":
        table.insert(min(args[0], len(table)), make(3, args[1]))
    elif verb == "checkpoint":
        checkpoint(table)
    elif verb == "rollback":
        with contextlib.suppress(KeyError), table.store.transaction():
            table.append(make(150, args[0]))
            table.where("i > 3").update({"i": -5, "t": "x"})
            raise KeyError
    elif verb == "truncate":
        table.truncate(args[0])
    elif verb == "rename":
        table.rename_column("i", "j")
        table.rename_column("j", "i")
    elif verb == "cast":
        table.cast_column("e", "f8")
        table.cast_column("e", "f2", unsafe=True)
    elif indexed and verb == "drop":
        with contextlib.suppress(kist.NodeNotFoundError):
            table.drop_index(*args[0])
    elif indexed and verb == "create":
        with contextlib.suppress(kist.NodeExistsError):
            table.create_index(*args[0])


def compare(plain: Any, table: Any, asked: list[str]) -> None:
    assert len(plain) == len(table)
    for condition in asked:
        expected = outcome(lambda c=condition: plain.where(c).indices())
        found = outcome(lambda c=condition: table.where(c).indices())
        assert same(found, expected), condition
        if not isinstance(expected, str):
            some = outcome(lambda c=condition: table.where(c).limit(3).indices())
            assert same(some, expected[:3]), condition
    for name in DTYPES:
        for descending in (False, True):
            first, other = (
                t.sort_by(name, descending=descending).limit(9).indices() for t in (plain, table)
            )
            assert same(other, first), (name, descending)
        if len(plain) and name not in "tp":
            assert same(table[name].max(), plain[name].max()), name
            assert same(table[name].min(), plain[name].min()), name
    first, other = (t.sort_by("i", "f").limit(9).indices() for t in (plain, table))
    assert same(other, first)


@settings(
    max_examples=40,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(
    n=st.sampled_from([0, 5, 100, 700]),
    seed=st.integers(0, 1_000),
    made=st.sets(st.sampled_from(INDEXES), min_size=1, max_size=8),
    steps=STEPS,
    asked=st.lists(conditions(), min_size=1, max_size=8),
)
def test_an_index_never_changes_a_result(
    n: int,
    seed: int,
    made: set[Any],
    steps: list[Any],
    asked: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("indexes") / "t.kist"
    with small_sizes(), contextlib.ExitStack() as stack:
        store = stack.enter_context(kist.open(path, "w", durability="none"))
        for name in ("plain", "indexed"):
            store.create_table(name, dtype=DTYPES).append(make(n, seed))
        for columns in sorted(made):
            store["indexed"].create_index(*columns)
        for what in steps:
            if what[0] == "reopen":
                store.close()
                store = stack.enter_context(kist.open(path, "a", durability="none"))
            for name in ("plain", "indexed"):
                step(store[name], what, indexed=name == "indexed")
            compare(store["plain"], store["indexed"], asked)
        compare(store["plain"], store["indexed"], asked)
        assert store.check().ok
