"""Indexes: a table with them answers like its twin without, whatever happens to both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

import kist
from kist.format import index as index_format
from kist.indexes import runs
from kist.model.tables.indexes import find as index_find
from kist.model.tables.indexes import keep as index_keep
from kist.model.tables.indexes import order as index_order
from kist.model.tables.indexes.index import read_indexes
from kist.model.tables.stored import schema

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
    "ni": kist.nullable("i4"),
    "nk": kist.nullable("u8"),
    "nb": kist.nullable("?"),
    "nf": kist.nullable("f8"),
    "nd": kist.nullable("M8[s]"),
    "ns": kist.nullable("S10"),
    "nl": kist.nullable("S40"),
}
NULLABLE = [name for name in DTYPES if name[0] == "n"]
TEXTS = [
    "",
    "a",
    "ab",
    "a\0b",
    "a\0a",
    "ä",
    "abcdefgh",
    "abcdefghi",
    "abcdefghij",
    "\U0001f600",
    "z",
]
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
    rows["ns"] = pick([b"", b"a", b"ab", b"b\0c", b"\xff" * 10], "S10")
    for name in NULLABLE:
        values = rows.get(name, rows.get(name[1:]))
        rows[name] = np.ma.MaskedArray(values.copy(), rng.random(n) < 0.2)
    return {name: rows[name] for name in DTYPES}


INDEXES = [
    ("i",), ("k",), ("b",), ("f",), ("g",), ("e",), ("z",), ("d",), ("m",), ("s",), ("l",),
    ("u",), ("w",), ("t",), ("p",), ("q",), ("i", "f"), ("s", "d", "i"), ("t", "i"),
    ("ni",), ("nk",), ("nb",), ("nf",), ("nd",), ("ns",), ("nl",), ("ni", "i"), ("i", "nf"),
    ("nb", "ni", "ns"), ("ni.value",), ("nf.valid",),
]  # fmt: skip

NUMBERS = ["-2.5", "0", "0.1", "1e300", "7", "-20", "3.5", "1e999", "-1e999"]
OPERATORS = ["<", "<=", "==", "!=", ">", ">="]


def constants(name: str) -> list[str]:
    """Constants that a column is compared with."""
    name = {"ns": "s"}.get(name, name.removeprefix("n"))
    if name == "b":
        return ["True", "False"]
    if name in "kz":
        return ["0", "1", "7", str(2**63), str(2**64 - 1), "-1", "2.5"]
    if name in "ifgeq":
        return NUMBERS
    if name in "dm":
        unit, kind = ("s", "datetime64") if name == "d" else ("ms", "timedelta64")
        return [f"{kind}({x}, '{unit}')" for x in (-5, 0, 9, 10, 40)]
    if name == "l":
        return [repr(text) for text in LONG]
    if name == "s":
        return ["b''", "b'a'", "b'ab'", "b'b'", "b'abcd'"]
    return [repr(text) for text in TEXTS]


NULL_TESTS = [
    *("b", "~b", "~(i == 3)", "isnull(t)", "f != f", "nb", "~nb", "isnull(ni)", "isnull(nf)"),
    *("~isnull(ns)", "isnull(nd) | (nd > datetime64(0, 's'))", "~(ni > 3)", "ni == i", "nf.valid"),
    *("isnull(i)", "isnull(ni) & (ni == 7)", "(ni == 7) & isnull(nf)", "ni.value == 0"),
]


@st.composite
def conditions(draw: Any, depth: int = 2) -> str:
    """A condition on some of the columns."""
    if depth and draw(st.integers(0, 2)) == 0:
        left, right = draw(conditions(depth - 1)), draw(conditions(depth - 1))
        return f"({left}) {draw(st.sampled_from('&|'))} ({right})"
    if draw(st.integers(0, 12)) == 0:
        return draw(st.sampled_from(NULL_TESTS))
    name = draw(st.sampled_from([*DTYPES, "i", "i", "f", "ni", "nf"]))
    pool = constants(name)
    value = draw(st.sampled_from(pool))
    if name in (*"slutwp", "ns", "nl") and draw(st.integers(0, 2)) == 0:
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
    if np.ma.isMaskedArray(one) and not np.array_equal(one.mask, other.mask):
        return False
    if isinstance(one, np.ndarray) and one.dtype.kind == "T":
        return bool(one.tolist() == other.tolist())
    return bool(np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind in "fmM"))


def outcome(work: Any) -> Any:
    try:
        return work()
    except kist.QueryError as error:
        return str(error)


def extreme(column: Any, verb: str) -> Any:
    """The largest or smallest value; None where all are null."""
    try:
        return getattr(column, verb)()
    except ValueError:
        assert bool(np.all(np.ma.getmaskarray(column[:])))
        return None


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
    for name in sorted({index.columns[0] for index in table.indexes}):
        for descending in (False, True):
            first, other = (
                t.sort_by(name, descending=descending).limit(9).indices() for t in (plain, table)
            )
            assert same(other, first), (name, descending)
        if len(plain) and name not in "tp":
            for verb in ("max", "min"):
                first, other = (extreme(t[name], verb) for t in (plain, table))
                assert same(other, first), (name, verb)
    first, other = (t.sort_by("i", "f").limit(9).indices() for t in (plain, table))
    assert same(other, first)


@settings(
    max_examples=12,
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
@example(n=0, seed=889, made={("nk",)}, steps=[("append", 1, 21)], asked=["i < 3"])
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


@pytest.mark.parametrize("name", DTYPES)
def test_every_comparison_of_every_dtype_agrees(small: None, name: str) -> None:
    with kist.open(":memory:") as store:
        plain, table = (store.create_table(n, dtype=DTYPES) for n in ("plain", "indexed"))
        for one in (plain, table):
            one.append(make(400, 5))
        table.create_index(name)
        asked = [f"{name} {op} {value}" for op in OPERATORS for value in constants(name)]
        asked += [f"isin({name}, [{value}])" for value in constants(name)]
        if name in (*"slutwp", "ns", "nl"):
            asked += [f"startswith({name}, {value})" for value in constants(name)]
        asked += [f"isnull({name})", f"isnull({name}) | ({asked[0]})"] * (name in NULLABLE)
        n_used = 0
        for condition in asked:
            expected = outcome(lambda c=condition: plain.where(c).indices())
            found = outcome(lambda c=condition: table.where(c).indices())
            assert same(found, expected), condition
            if not isinstance(expected, str):
                n_used += table.where(condition).explain().index is not None
        assert n_used > len(asked) // 4


# Unique indexes


def keyed(n: int = 300) -> Array:
    rows = np.zeros(n, [("id", "i8"), ("name", "U4"), ("x", "f8")])
    rows["id"] = np.random.default_rng(3).permutation(n)
    rows["name"] = [f"n{number % 50}" for number in range(n)]
    rows["x"] = np.nan
    return rows


def refused(work: Any) -> str:
    with pytest.raises(kist.ConstraintError) as found:
        work()
    return str(found.value)


@pytest.mark.parametrize("behind", [0, 100, 300])
def test_duplicates_are_refused_and_both_rows_named(small: None, behind: int) -> None:
    rows = keyed()
    with kist.open(":memory:") as store:
        table = store.create_table("t", rows[:behind])
        table.create_index("id", unique=True)
        for start in range(behind, 300, 60):
            table.append(rows[start : start + 60])
        old = int(np.flatnonzero(rows["id"] == 17)[0])
        message = refused(lambda: table.append((17, "new", 1.0)))
        assert f"rows {old} and 300 have 17" in message and "'id'" in message
        other = int(np.flatnonzero(rows["id"] == 18)[0])
        low, high = sorted((old, other))
        assert f"rows {low} and {high} have 17" in refused(
            lambda: table.where("id == 18").update({"id": 17})
        )
        assert "rows 300 and 301 have 900" in refused(
            lambda: table.append([(900, "a", 0.0), (900, "b", 0.0)])
        )
        refused(lambda: table.insert(5, (17, "a", 0.0)))
        refused(lambda: table.update({"id": 3}))
        assert np.array_equal(table["id"][:], rows["id"])
        table.insert(5, (1_000, "a", 0.0))
        table.update({"id": kist.expr("id + 1")})
        assert table.upsert([(18, "up", 2.0)], on="id") == (1, 0)
        table.where("id == 18").delete()
        table.append((18, "anew", 3.0))
        assert table.where("id == 18")["x"][:].tolist() == [3.0]


def test_missing_values_are_equal_to_nothing(small: None) -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype={"f": "f8", "d": "M8[s]", "t": TEXT})
        nat = np.datetime64("NaT", "s")
        data = {"f": [np.nan] * 3, "d": [nat] * 3, "t": [None] * 3}
        table.append(data)
        for column in ("f", "d", "t"):
            table.create_index(column, unique=True)
        table.append(data)
        table.append({"f": [1.0], "d": [nat], "t": ["long enough to be cut off"]})
        refused(lambda: table.append({"f": [2.0], "d": [nat], "t": ["long enough to be cut off"]}))
        table.append({"f": [2.0], "d": [nat], "t": ["long enough to be cut, off"]})
        refused(lambda: table.append({"f": [2.0], "d": [nat], "t": [None]}))


@pytest.mark.parametrize("column", ["id", "name"])
def test_an_index_on_rows_with_duplicates_cannot_become_unique(small: None, column: str) -> None:
    with kist.open(":memory:") as store:
        rows = np.concatenate((keyed(2_500), keyed(1)))
        table = store.create_table("t", rows)
        message = refused(lambda: table.create_index(column, unique=True))
        assert "rows " in message and table.indexes == ()
        table.truncate(50 if column == "name" else 2_500)
        assert table.create_index(column, unique=True).n_indexed == len(table)


@given(st.lists(st.integers(0, 60), max_size=80), st.lists(st.integers(0, 60), max_size=8))
def test_unique_means_what_a_set_means(first: list[int], more: list[int]) -> None:
    with small_sizes(), kist.open(":memory:") as store:
        table: Any = store.create_table("t", dtype=[("a", "i4")])
        table.append(np.array(first, "i4").view([("a", "i4")]))
        if len(set(first)) < len(first):
            refused(lambda: table.create_index("a", unique=True))
            return
        table.create_index("a", unique=True)
        for value in more:
            if value in table["a"][:].tolist():
                refused(lambda v=value: table.append((v,)))
            else:
                table.append((value,))
        assert len(set(table["a"][:].tolist())) == len(table)


# Kept current


def index_of(table: Any) -> Any:
    return table.indexes[0]


def test_rows_that_are_added_up_become_runs_and_runs_become_one(small: None) -> None:
    with kist.open(":memory:") as store:
        rows = keyed(2_000)
        table = store.create_table("t", rows[:0])
        table.create_index("id")
        assert (index_of(table).n_runs, index_of(table).n_indexed) == (0, 0)
        for start in range(0, 2_000, 50):
            table.append(rows[start : start + 50])
        found = index_of(table)
        assert found.n_indexed > 1_800 and found.n_runs < 9
        table.append(keyed(5))
        checkpoint(table)
        assert table.where("id == 3").count() == 2


def test_a_worn_run_is_written_anew_at_a_checkpoint(small: None) -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", keyed(500))
        table.create_index("id")
        table["id"][10] = -5
        assert index_of(table).n_indexed < 500
        assert table.where("id == -5").indices().tolist() == [10]
        checkpoint(table)
        assert index_of(table).n_indexed == 500
        assert table.where("id == -5").explain().n_scanned == 0


def test_an_index_with_another_stamp_is_not_believed(small: None, tmp_path: Path) -> None:
    """What a writer that knows nothing of indexes leaves."""
    rows = keyed(500)
    with kist.open(tmp_path / "t.kist", "w") as store:
        table = store.create_table("t", rows)
        table.create_index("id")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(index_keep, "carry", lambda *_: False)
            table["id"][7] = 10_000
            table.append((20_000, "new", 0.5))
        assert index_of(table).n_runs == 0
        assert table.where("id == 10_000").indices().tolist() == [7]
        assert table.where("id == 20_000").indices().tolist() == [500]
        assert table.where("id == i", i=int(rows["id"][7])).count() == 0
        checkpoint(table)
        assert index_of(table).n_indexed == 501
        assert table.where("id == 10_000").explain().index == "id"


def test_an_index_follows_a_renamed_column_and_goes_with_a_dropped_one(small: None) -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", keyed(500))
        table.create_index("id")
        table.create_index("x", "name")
        table.rename_column("id", "number")
        assert [index.columns for index in table.indexes] == [("number",), ("x", "name")]
        assert table.where("number == 9").explain().index == "id"
        table.drop_column("name")
        assert [index.columns for index in table.indexes] == [("number",)]
        table.create_index("x", name="x,name")
        table.cast_column("number", "i4")
        assert [index.name for index in table.indexes] == ["x,name"]
        table.append((7, 0.0))
        checkpoint(table)
        assert store.check().ok


def test_computed_columns_that_change_are_found(small: None) -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", keyed(500))
        table.add_column("twice", kist.expr("id * 2"))
        table.create_index("twice")
        table.where("id == 5").update({"id": 5_000})
        assert table.where("twice == 10_000").count() == 1
        assert table.where("twice == 10").count() == 0
        with pytest.raises(kist.DTypeError, match="virtual"):
            table.add_column("half", kist.expr("id / 2"), virtual=True)
            table.create_index("half")


def test_snapshots_and_tags_keep_the_index_that_they_had(small: None, tmp_path: Path) -> None:
    path = tmp_path / "t.kist"
    with kist.open(path, "w") as store:
        table = store.create_table("t", keyed(500))
        table.create_index("id")
        store.tag("before")
        table.where("id < 400").delete()
        table.drop_index("id")
    with kist.open(path, version="before") as old:
        assert old["t"].where("id == 3").explain().index == "id"
        assert old["t"].where("id == 3").count() == 1


def test_copies_and_compacted_stores_keep_their_indexes(small: None, tmp_path: Path) -> None:
    with kist.open(tmp_path / "t.kist", "w") as store:
        table = store.create_table("t", keyed(700))
        table.create_index("id")
        store.copy("t", "u")
        del store["t"]
        store.compact()
        assert store["u"].where("id == 3").explain().index == "id"
        assert store["u"].where("id == 3").count() == 1
        assert store.check().ok


def test_a_damaged_index_warns_and_rows_are_scanned(small: None, tmp_path: Path) -> None:
    path = tmp_path / "t.kist"
    with kist.open(path, "w") as store:
        table = store.create_table("t", keyed(700))
        table.create_index("id")
        (index,) = read_indexes(table._state())
        pointers = [pointer for run in index.runs for pointer in run.pointers]
    data = bytearray(path.read_bytes())
    for pointer in pointers:
        data[pointer.offset + 127 + pointer.length] ^= 0xFF  # the last byte of its last block
    path.write_bytes(data)
    runs.run_of.cache_clear()
    with kist.open(path) as store:
        with pytest.warns(kist.DamageWarning, match="index is damaged"):
            assert store["t"].where("id == 3").count() == 1
        assert not store.check().ok


def test_the_old_end_of_a_stream_takes_its_runs_with_it(small: None) -> None:
    with kist.open(":memory:") as store:
        rows = keyed(3_000)
        table = store.create_table("t", rows)
        table.create_index("id")
        assert index_of(table).n_runs == 3
        table.drop_before(2_500)
        checkpoint(table)
        assert index_of(table).n_runs == 1
        assert table.where("id == i", i=int(rows["id"][2_700])).indices().tolist() == [200]
        assert store.check().ok


def test_an_index_begins_where_the_rows_of_a_stream_begin(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, int]] = []
    build = index_keep.build

    def counted(txn: Any, state: Any, index: Any, first: int, stop: int) -> None:
        made.append((first, stop))
        build(txn, state, index, first, stop)

    monkeypatch.setattr(index_keep, "build", counted)
    with kist.open(":memory:") as store:
        rows = keyed(9_000)
        table = store.create_table("t", rows)
        table.drop_before(8_900)
        table.create_index("id")
        assert len(made) == 1 and 8_700 < made[0][0] <= 8_900
        assert table.where("id == i", i=int(rows["id"][8_950])).indices().tolist() == [50]
        table.append(rows[:10])
        table.drop_before(110)  # nothing is left
        table.create_index("name")
        assert table.where("id == 3").count() == 0
        table.append(rows[:10])
        assert table.where("id == i", i=int(rows["id"][3])).count() == 1
        assert store.check().ok


def test_runs_with_a_gap_between_them_are_not_made_one(small: None) -> None:
    record = SimpleNamespace(n_words=1)
    runs_ = tuple(SimpleNamespace(first=first, stop=first + 128) for first in (0, 128, 900))
    near = tuple(SimpleNamespace(first=first, stop=first + 128) for first in (0, 128, 400))
    for found, alike in ((runs_, None), (near, near)):
        index: Any = SimpleNamespace(runs=found, record=record, parts=())
        assert index_keep._alike(index) == alike


def test_salvage_makes_the_indexes_again(small: None, tmp_path: Path) -> None:
    with kist.open(tmp_path / "t.kist", "w") as store:
        table = store.create_table("t", keyed(700))
        table.create_index("id", unique=True)
        table.create_index("name", "id")
        table.where("id < 100").delete()
    kist.salvage(tmp_path / "t.kist", tmp_path / "saved.kist")
    with kist.open(tmp_path / "saved.kist") as store:
        found = store["t"].indexes
        assert [(one.name, one.unique, one.n_indexed) for one in found] == [
            ("id", True, 600),
            ("name,id", False, 600),
        ]
        assert store["t"].where("id == 300").explain().index == "id"
        assert store["t"].where("id == 300").count() == 1


# What is shown and refused


def test_explain_says_what_is_read(small: None) -> None:
    with kist.open(":memory:") as store:
        rows = keyed(1_000)
        table = store.create_table("t", rows)
        before = table.where("id == 5").explain()
        assert (before.index, before.n_pages) == (None, before.n_scanned)
        assert before.n_scanned + before.n_pruned == before.n_groups == 8
        table.create_index("id")
        found = table.where("id == 5").explain()
        assert (found.index, found.n_indexed, found.is_exact) == ("id", 1, True)
        assert found.n_scanned == 0 and found.n_bytes < before.n_bytes
        assert "index 'id': 1 rows" in str(found)
        both = table.where("id == 5").where("name == 'n7'").explain()
        assert (both.is_exact, both.n_scanned) == (False, 0)
        assert table.where("id > 10_000").limit(3).explain().n_indexed == 0
        assert table.where("x > 1").explain().n_scanned == 0


def test_bad_calls_are_refused_and_change_nothing() -> None:
    with kist.open(":memory:") as store:
        rows = np.zeros(5, [("a", "i4"), ("c", "c16"), ("v", "f4", (2,)), ("n", [("x", "i2")])])
        table = store.create_table("t", rows)
        table.create_index("n.x")
        for columns, error in (
            ((), kist.DTypeError),
            (("b",), kist.ColumnNotFoundError),
            (("c",), kist.DTypeError),
            (("v",), kist.DTypeError),
            (("n",), kist.DTypeError),
            (("a", "a"), kist.DTypeError),
            (("n.x",), kist.NodeExistsError),
            ((3,), kist.DTypeError),
        ):
            with pytest.raises(error):
                table.create_index(*columns)
        with pytest.raises(TypeError):
            table.create_index("a", name="")
        with pytest.raises(kist.NodeNotFoundError, match=r"n\.x"):
            table.drop_index("n.y")
        assert [index.name for index in table.indexes] == ["n.x"]
        table.drop_index("n.x")
        assert table.indexes == ()


def test_an_index_may_be_made_before_there_are_rows() -> None:
    texts = np.array([], np.dtypes.StringDType())
    with kist.open(":memory:") as store:
        table = store.create_table(
            "t", {"s": texts, "b": np.array([], "S3"), "u": texts.astype("U2")}
        )
        for name in table.colnames:
            table.create_index(name)
            assert table.where(f"{name} == 'x'").count() == 0
            assert table.where(f"like({name}, 'x%')").count() == 0
        table.append({"s": ["x", "y"], "b": [b"x", b"z"], "u": ["", "x"]})
        assert [table.where(f"{name} == 'x'").count() for name in table.colnames] == [1, 1, 1]
