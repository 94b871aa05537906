"""Queries over several row groups, whose pages are read together, mean what NumPy means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kist
from kist import Table

Array = np.ndarray[Any, Any]

N = 150_000
"""Two whole row groups and a part of one."""


def make_rows(n: int) -> Array:
    rng = np.random.default_rng(11)
    odd = np.round(np.cumsum(rng.normal(size=n)), 2)
    odd[rng.random(n) < 0.001] = np.nan
    columns = {
        "small": rng.integers(0, 500, n).astype("i4"),
        "tiny": rng.integers(0, 5, n).astype("i4"),
        "flag": rng.random(n) < 0.4,
        "rising": np.cumsum(rng.integers(0, 300, n)),
        "time": np.cumsum(rng.integers(0, 10**6, n)).view("M8[ns]"),
        "price": np.round(np.cumsum(rng.normal(size=n)), 2),
        "odd": odd,
        "noise": rng.normal(size=n).astype("f4"),
        "word": np.array([b"", b"ab", b"abc", b"zz"], "S4")[rng.integers(0, 4, n)],
        "other": rng.integers(-(2**40), 2**40, n).astype(">i8"),
        "same": np.full(n, 7, "i2"),
        "pair": rng.integers(0, 9, (n, 2)).astype("u2"),
    }
    dtype = [(name, column.dtype, column.shape[1:]) for name, column in columns.items()]
    rows = np.zeros(n, dtype)
    for name, column in columns.items():
        rows[name] = column
    return rows


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Table, Array]]]:
    """The rows as they were written, and some of them deleted and changed, some appended."""
    path = tmp_path_factory.mktemp("pages") / "t.kist"
    rows = make_rows(N)
    rng = np.random.default_rng(12)
    changed = rows.copy()
    with kist.open(path, "w") as store:
        store["plain"] = rows
        store["changed"] = rows
        table = store["changed"]
        at = np.unique(rng.integers(0, 70_000, 200))
        changed["small"][at] = 3
        table["small"][at] = 3
        gone = np.unique(rng.integers(0, N, 5_000))
        changed = np.delete(changed, gone)
        table.delete(gone)
        table.append(rows[:100])
        changed = np.concatenate([changed, rows[:100]], dtype=rows.dtype)
        yield {"plain": (store["plain"], rows), "changed": (table, changed)}


CONDITIONS = {
    "small < 3": lambda r: r["small"] < 3,
    "small >= 200": lambda r: r["small"] >= 200,
    "(small < 2) & (tiny == 1)": lambda r: (r["small"] < 2) & (r["tiny"] == 1),
    "(small < 9) & (time > t)": lambda r: (r["small"] < 9) & (r["time"] > r["time"][len(r) // 3]),
    "(tiny == 2) & (price < 0) & flag": lambda r: (r["tiny"] == 2) & (r["price"] < 0) & r["flag"],
    "(word == 'abc') & (small == 77)": lambda r: (r["word"] == b"abc") & (r["small"] == 77),
    "(odd > 3.5) & (noise > 2)": lambda r: (r["odd"] > 3.5) & (r["noise"] > 2),
    "(small != 5) & (rising > 5000000)": lambda r: (r["small"] != 5) & (r["rising"] > 5_000_000),
    "(small == 1) | (small == 2)": lambda r: (r["small"] == 1) | (r["small"] == 2),
    "(small < 5) & (small > 3) & (other > 0)": (
        lambda r: (r["small"] < 5) & (r["small"] > 3) & (r["other"] > 0)
    ),
    "small > 1000": lambda r: r["small"] > 1000,
}


@pytest.mark.parametrize("case", ["plain", "changed"])
@pytest.mark.parametrize("text", CONDITIONS)
def test_rows_count_and_sum_of_conditions(
    cases: dict[str, tuple[Table, Array]], case: str, text: str
) -> None:
    table, rows = cases[case]
    wanted = rows[CONDITIONS[text](rows)]
    params = {"t": rows["time"][len(rows) // 3]} if "> t" in text else {}
    found = table.where(text, **params)
    assert found.count() == len(wanted)
    assert found[:].tobytes() == wanted.tobytes()
    assert found["rising"].sum() == wanted["rising"].sum()
    assert np.isclose(found["price"].sum(), wanted["price"].sum(), rtol=1e-12, atol=1e-9)
    if len(wanted):
        assert found["time"].max() == wanted["time"].max()


@pytest.mark.parametrize("case", ["plain", "changed"])
@pytest.mark.parametrize("n", [1, 3, 40, 2_000, 60_000])
def test_rows_anywhere(cases: dict[str, tuple[Table, Array]], case: str, n: int) -> None:
    table, rows = cases[case]
    rng = np.random.default_rng(n)
    some = rng.integers(0, len(rows), n)
    assert table[some].tobytes() == rows[some].tobytes()
    ascending = np.unique(some)
    for name in rows.dtype.names or ():
        assert table[name][ascending].tobytes() == rows[name][ascending].tobytes(), name


@pytest.mark.parametrize("case", ["plain", "changed"])
def test_groups_by_dictionaries_of_several_pages(
    cases: dict[str, tuple[Table, Array]], case: str
) -> None:
    table, rows = cases[case]
    found = table.group_by("word").agg("count", mean=("price", "mean"), low=("small", "min"))
    words, counts = np.unique(rows["word"], return_counts=True)
    assert found["word"].tolist() == words.tolist()
    assert found["count"].tolist() == counts.tolist()
    for row in found:
        some = rows[rows["word"] == row["word"]]
        assert np.isclose(row["mean"], some["price"].mean(), rtol=1e-12)
        assert row["low"] == some["small"].min()


def test_threads_change_nothing(
    cases: dict[str, tuple[Table, Array]], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, _ = cases["plain"]
    found = []
    for n in (1, 2, 5):
        monkeypatch.setattr(kist.options, "n_threads", n)
        rows = table.where("(small < 90) & (tiny != 0)")
        found.append((rows[:].tobytes(), rows["price"].sum(), rows["tiny"].mean()))
    assert found[0] == found[1] == found[2]
