"""Random chains of steps mean what the same steps mean in NumPy and pandas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kist
from kist import Table

pd = pytest.importorskip("pandas")

Array = np.ndarray[Any, Any]
Step = tuple[Any, ...]

DTYPE = np.dtype(
    [
        ("i", "i4"),
        ("f", "f8"),
        ("s", "S8"),
        ("w", "U12"),
        ("d", "M8[s]"),
        ("k", "u1"),
        ("b", ">i8"),
        ("v", "f4", (2,)),
    ]
)
N = 5_600


def make_rows(n: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, DTYPE)
    rows["i"] = rng.integers(-50, 50, n)
    rows["f"] = rng.choice([-1.5, -0.0, 0.0, 2.25, np.inf, 1e10], n) + rng.integers(0, 3, n)
    rows["f"][rng.random(n) < 0.1] = np.nan
    rows["s"] = np.array([b"", b"ab", b"abc", b"zz\xff", b"longerss"])[rng.integers(0, 5, n)]
    rows["w"] = np.array(["", "a", "ä", "name of a few", "\U0001f600"])[rng.integers(0, 5, n)]
    rows["d"] = rng.integers(0, 40, n).astype("M8[s]")
    rows["d"][rng.random(n) < 0.05] = "NaT"
    rows["k"] = rng.integers(0, 4, n)
    rows["b"] = rng.integers(-(2**62), 2**62, n)
    rows["v"] = rng.integers(0, 2, (n, 2))
    return rows


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Table, Array]]]:
    """A table of pages, pieces, deleted and changed rows; as written, and opened again."""
    path = tmp_path_factory.mktemp("programs") / "t.kist"
    rows = make_rows(N, 1)
    with kist.open(path, "w") as store:
        store["t"] = rows[:4_500]
        table = store["t"]
        for start, stop in ((4_500, 5_000), (5_000, 5_550), (5_550, N)):
            table.append(rows[start:stop])
        gone = np.random.default_rng(2).choice(N, 300, replace=False)
        rows = np.delete(rows, gone)
        table.delete(np.sort(gone))
        changed = np.arange(3, len(rows), 97)
        rows["i"][changed], rows["f"][changed] = 77, 5.5
        table["i"][changed], table["f"][changed] = 77, 5.5
        rows.flags.writeable = False
        with kist.open(path) as again:
            yield {"written": (table, rows), "opened": (again["t"], rows)}


CONDITIONS: dict[str, Callable[[Array], Array]] = {
    "i > 10": lambda r: r["i"] > 10,
    "(k == 2) | (f < 0)": lambda r: (r["k"] == 2) | (r["f"] < 0),
    "s == 'abc'": lambda r: r["s"] == b"abc",
    "i > 1000": lambda r: r["i"] > 1000,
    "i <= 77": lambda r: r["i"] <= 77,
}
KEYS = ("i", "f", "s", "w", "d", "k", "b")

STEPS = st.one_of(
    st.tuples(st.just("where"), st.sampled_from(sorted(CONDITIONS))),
    st.tuples(
        st.just("sort"),
        st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), min_size=1, max_size=3,
                 unique_by=lambda pair: pair[0]),
    ),
    st.tuples(st.just("limit"), st.sampled_from([0, 1, 10, 2_000, N]), st.sampled_from([0, 5])),
    st.tuples(st.just("tail"), st.sampled_from([0, 7, 3_000])),
    st.tuples(st.just("sample"), st.sampled_from([0, 5, 2_000, N]), st.integers(0, 3)),
    st.tuples(st.just("distinct"), st.lists(st.sampled_from([*KEYS, "v"]), min_size=1, max_size=2,
                                            unique=True)),
)  # fmt: skip


def ranks(values: Array, descending: bool) -> Array:
    """Return ranks that sort like the values, with the missing last."""
    missing = values != values
    found = np.unique(values[~missing])
    out = np.full(len(values), len(found))
    out[~missing] = np.searchsorted(found, values[~missing])
    if descending:
        out[~missing] = len(found) - 1 - out[~missing]
    return out


def expected(rows: Array, steps: list[Step]) -> Array:
    """Return the positions that the steps mean."""
    at = np.arange(len(rows))
    for name, *args in steps:
        if name == "where":
            at = at[CONDITIONS[args[0]](rows[at])]
        elif name == "sort":
            keys = [ranks(rows[key][at], down) for key, down in args[0]]
            at = at[np.lexsort(keys[::-1])]
        elif name == "limit":
            at = at[args[1] : args[0] + args[1]]
        elif name == "tail":
            at = at[max(0, len(at) - args[0]) :]
        elif name == "sample":
            if args[0] < len(at):
                drawn = np.random.default_rng(args[1]).choice(
                    len(at), args[0], replace=False, shuffle=False
                )
                at = at[np.sort(drawn)]
        else:
            frame = pd.DataFrame()
            for key in args[0]:
                values = rows[key][at]
                for j, part in enumerate(values.T if values.ndim > 1 else [values]):
                    missing = part != part
                    frame[f"{key}{j}"] = np.where(missing, -1, ranks(part, False))
            at = at[~frame.duplicated().to_numpy()] if len(at) else at
    return at


def run(table: Table, steps: list[Step]) -> Any:
    """Return the selection that the steps give."""
    found: Any = table
    for name, *args in steps:
        if name == "where":
            found = found.where(args[0])
        elif name == "sort":
            keys, down = zip(*args[0], strict=True)
            found = found.sort_by(*keys, descending=list(down))
        elif name == "limit":
            found = found.limit(args[0], offset=args[1])
        elif name == "tail":
            found = found.tail(args[0])
        elif name == "sample":
            found = found.sample(args[0], seed=args[1])
        else:
            found = found.distinct(*args[0])
    return found


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=4), which=st.sampled_from(["written", "opened"]))
def test_any_chain_of_steps_gives_the_rows_that_it_means(
    cases: dict[str, tuple[Table, Array]], steps: list[Step], which: str
) -> None:
    table, rows = cases[which]
    at = expected(rows, steps)
    hits = run(table, steps)
    assert len(hits) == hits.count() == len(at)
    assert np.array_equal(hits.indices(), at)
    assert hits[:].tobytes() == rows[at].tobytes()
    assert hits["f"][:].tobytes() == rows["f"][at].tobytes()
    assert hits[["s", "i"]][:7].tolist() == rows[["s", "i"]][at[:7]].tolist()
    blocks = list(hits.blocks(1_000))
    assert [len(block) for block in blocks[:-1]] == [1_000] * (len(blocks) - 1)
    assert b"".join(block.tobytes() for block in blocks) == rows[at].tobytes()
    if len(at) > 3:
        assert hits[[3, -1, 0]].tobytes() == rows[at[[3, -1, 0]]].tobytes()
        assert hits["i"][-2] == rows["i"][at[-2]]
    assert hits["i"].to_pandas().tolist() == rows["i"][at].tolist()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=3))
def test_numbers_of_any_chain_are_those_of_numpy(
    cases: dict[str, tuple[Table, Array]], steps: list[Step]
) -> None:
    table, rows = cases["opened"]
    at = expected(rows, steps)
    hits = run(table, steps) if steps else table
    for name in ("i", "f", "b", "k"):
        values, column = rows[name][at].astype(rows.dtype[name].newbyteorder("=")), hits[name]
        with np.errstate(all="ignore"):
            assert np.isclose(column.sum(), values.sum(), equal_nan=True)
            assert column.sum().dtype == values.sum().dtype
            if not len(at):
                assert np.isnan(column.mean()) and np.isnan(column.median())
                continue
            assert np.isclose(column.mean(), values.mean(), equal_nan=True)
            for ddof in (0, 1):
                if len(at) > ddof:
                    std = column.std(ddof=ddof)
                    assert np.isclose(std, values.astype("f8").std(ddof=ddof), equal_nan=True)
            kept = values[~np.isnan(values)] if name == "f" else values
            for q in (0, 0.3, 1):
                assert is_quantile(column.quantile(q), values, q)
            assert column.nunique() == len(np.unique(kept))
            assert column.argmin() == values.argmin() and column.argmax() == values.argmax()
            for what in ("min", "max"):
                found = getattr(column, what)()
                assert found.dtype == values.dtype
                assert np.array_equal(found, getattr(values, what)(), equal_nan=name == "f")
                if len(kept):
                    assert getattr(column, what)(skipna=True) == getattr(kept, what)()
            assert bool(column.any()) == bool(values.any())
            assert bool(column.all()) == bool(values.all())
    if len(at):
        counts, edges = hits["i"].histogram(7)
        plain = np.histogram(rows["i"][at], 7)
        assert np.array_equal(counts, plain[0]) and np.array_equal(edges, plain[1])


def is_quantile(found: Any, values: Array, q: float) -> bool:
    """Compare with NumPy, which makes NaN of what is at or before infinity, too."""
    wanted = np.quantile(values, q)
    return bool(np.isclose(found, wanted, equal_nan=True)) or bool(
        np.isnan(wanted) and not np.isnan(values).any() and np.sort(values)[0] <= found <= np.inf
    )


AGGREGATES = ("count", "sum", "mean", "min", "max", "std", "first", "last", "nunique", "median")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(STEPS.filter(lambda step: step[0] != "where"), max_size=2),
    keys=st.sampled_from([["i"], ["s", "k"], ["w", "f"], ["d"], ["f"], ["k", "w", "s"], ["b"]]),
    column=st.sampled_from(["i", "f", "b", "k"]),
    skipna=st.booleans(),
)
def test_groups_of_any_chain_are_those_of_a_plain_loop(
    cases: dict[str, tuple[Table, Array]],
    steps: list[Step],
    keys: list[str],
    column: str,
    skipna: bool,
) -> None:
    table, rows = cases["written"]
    steps = [*steps, ("limit", 600, 0)]  # the plain loop is slow
    rows = rows[expected(rows, steps)]
    hits = run(table, steps)
    found = hits.group_by(*keys, ddof=1, skipna=skipna).agg(
        "count", {column: list(AGGREGATES)}, q=(column, "quantile", 0.25)
    )
    number = np.array([ranks(rows[key], False) for key in keys]).T.reshape(len(rows), len(keys))
    groups: dict[tuple[int, ...], list[int]] = {}
    for at, key in enumerate(map(tuple, number.tolist())):
        groups.setdefault(key, []).append(at)
    assert len(found) == len(groups)
    for result, key in zip(found, sorted(groups), strict=True):
        members = rows[groups[key]]
        for name in keys:
            assert result[name] == members[name][0] or members[name][0] != members[name][0]
        assert result["count"] == len(members)
        values = members[column].astype(rows.dtype[column].newbyteorder("="))
        kept = values[values == values]
        first, last = values[0], values[-1]
        if skipna:
            values = kept
            first, last = (kept[0], kept[-1]) if len(kept) else (np.nan, np.nan)
        assert result[f"{column}_count"] == len(values)
        assert result[f"{column}_nunique"] == len(np.unique(kept))
        with np.errstate(all="ignore"):
            wanted = {"sum": values.sum(), "first": first, "last": last}
            if len(values):
                wanted |= {"mean": values.mean(), "min": values.min(), "max": values.max()}
                wanted |= {"median": np.median(values)}
                assert is_quantile(result["q"], values, 0.25)
            if len(values) > 1:
                wanted["std"] = values.astype("f8").std(ddof=1)
        for what, value in wanted.items():
            assert np.isclose(result[f"{column}_{what}"], value, equal_nan=True), what


@pytest.mark.parametrize("limit", [20_000, 200_000])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS.filter(lambda step: step[0] != "distinct"), min_size=1, max_size=3))
def test_steps_through_a_temporary_file_give_the_same(
    cases: dict[str, tuple[Table, Array]], limit: int, steps: list[Step]
) -> None:
    table, rows = cases["opened"]
    at = expected(rows, steps)
    kist.options.max_memory = limit
    try:
        hits = run(table, steps)
        assert np.array_equal(hits.indices(), at)
        assert hits[:].tobytes() == rows[at].tobytes()
        parts = list(hits[["w", "v", "f"]].blocks(777))
        shown = rows[["w", "v", "f"]][at]
        assert (
            b"".join(p.tobytes() for p in parts)
            == shown.astype(hits[["w", "v", "f"]].dtype).tobytes()
        )
    finally:
        kist.options.max_memory = 256 << 20


def test_a_pickled_chain_means_the_same(cases: dict[str, tuple[Table, Array]]) -> None:
    import pickle

    table, rows = cases["opened"]
    steps: list[Step] = [("where", "i > 10"), ("sort", [("f", True)]), ("limit", 10, 5)]
    hits = pickle.loads(pickle.dumps(run(table, steps)["i"]))
    assert np.array_equal(hits[:], rows["i"][expected(rows, steps)])
