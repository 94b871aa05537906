"""Steps of selections: what they refuse, how they read, and what they do not read."""

from __future__ import annotations

import re
import tempfile
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kist
from kist import options
from kist.model.tables.query import rowset, sort
from kist.model.tables.query.rowset import Ordered
from kist.model.tables.query.sort import Sorter
from kist.model.tables.query.spill import Spill

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    options.reset()
    yield
    options.reset()


@pytest.fixture
def store() -> Iterator[Any]:
    with kist.open(":memory:") as store:
        yield store


def trades(n: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, [("sym", "S8"), ("price", "f8"), ("size", "i8"), ("at", "i4")])
    rows["sym"] = np.array([b"AAPL", b"MSFT", b"KO"])[rng.integers(0, 3, n)]
    rows["price"] = rng.random(n)
    rows["size"] = rng.integers(0, 1 << 40, n)
    rows["at"] = np.arange(n)
    return rows


def test_the_example_of_the_manual_does_what_it_says(store: Any) -> None:
    rows = trades(6_000)
    store["t"] = rows
    found = store["t"].where("price > 0.5")[["sym", "price"]].sort_by("price", descending=True)
    frame = found.limit(10).to_pandas()
    best = np.argsort(-rows["price"], kind="stable")[:10]
    assert frame["price"].tolist() == rows["price"][best].tolist()
    assert frame.index.tolist() == list(range(10)) or frame.index.tolist() == best.tolist()
    assert found.limit(3).to_arrow()["sym"].to_pylist() == rows["sym"][best[:3]].tolist()
    assert list(found.limit(3)["price"]) == rows["price"][best[:3]].tolist()
    assert [row["price"] for row in found.limit(3)] == rows["price"][best[:3]].tolist()


def test_steps_are_named_in_the_repr(store: Any) -> None:
    store["t"] = trades(100)
    t = store["t"]
    hits = t.where("price > low", low=0.5).sort_by("sym", "price", descending=[True, False])
    text = repr(hits.limit(4, offset=2)["price"])
    assert "price > low, low=0.5, sort by sym descending, price, limit 4 offset 2" in text
    assert "4 hits in 100 rows" in text
    assert "all rows" in repr(t.group_by("sym")._selection)
    assert "GroupBy sym of '/t'" in repr(t.group_by("sym"))
    for hits in (t.sample(3), t.tail(2), t.distinct("sym")):
        assert "hits in 100 rows" in repr(hits)
    assert "sort by" in t.sort_by("price")._repr_html_()


@pytest.mark.parametrize(
    ("step", "error", "match"),
    [
        (lambda t: t.sort_by(), kist.SelectionError, "at least one"),
        (lambda t: t.sort_by("nope"), kist.ColumnNotFoundError, "nope"),
        (lambda t: t.sort_by("price", descending=[True, False]), kist.SelectionError, "2 items"),
        (lambda t: t.sort_by("price", descending="yes"), kist.SelectionError, "neither a bool"),
        (lambda t: t.sort_by(3), kist.QueryError, "names no column"),
        (lambda t: t.limit(-1), ValueError, "negative"),
        (lambda t: t.limit(1.5), TypeError, "int"),
        (lambda t: t.sample(True), TypeError, "int"),
        (lambda t: t.sort_by("sym", "-price"), kist.ColumnNotFoundError, r"'price', descending="),
        (lambda t: t.distinct("nope"), kist.ColumnNotFoundError, "nope"),
        (lambda t: t.distinct(3), kist.SelectionError, "names of columns"),
        (lambda t: t.group_by(), kist.SelectionError, "at least one"),
        (lambda t: t.group_by("sym", "sym"), kist.SelectionError, "twice"),
        (lambda t: t.group_by("nope"), kist.ColumnNotFoundError, "nope"),
        (lambda t: t.group_by("sym").agg(), kist.QueryError, "something to compute"),
        (lambda t: t.group_by("sym").agg("mean"), kist.QueryError, "of which column"),
        (lambda t: t.group_by("sym").agg({"price": "maen"}), kist.QueryError, "mean'"),
        (lambda t: t.group_by("sym").agg(x=("nope", "sum")), kist.ColumnNotFoundError, "nope"),
        (lambda t: t.group_by("sym").agg(x=("sym", "sum")), kist.DTypeError, "no sum"),
        (lambda t: t.group_by("sym").agg(x=("sym", "std")), kist.DTypeError, "no standard"),
        (lambda t: t.group_by("sym").agg(x=("price", "quantile")), kist.QueryError, "argument"),
        (lambda t: t.group_by("sym").agg(x=("price", "quantile", 2)), kist.QueryError, "between"),
        (lambda t: t.group_by("sym").agg(x="sum"), kist.QueryError, "neither"),
        (lambda t: t.group_by("sym").agg("count", "count"), kist.SelectionError, "two fields"),
        (lambda t: t.group_by("sym").agg(sym="count"), kist.SelectionError, "two fields"),
        (lambda t: t["price"].quantile(1.5), kist.QueryError, "between 0 and 1"),
        (lambda t: t["sym"].median(), kist.DTypeError, "no quantiles"),
        (lambda t: t["sym"].std(), kist.DTypeError, "no standard deviation"),
        (lambda t: t["sym"].any(), kist.DTypeError, "neither true nor false"),
        (lambda t: t["price"].histogram(0), kist.QueryError, "histogram"),
        (lambda t: t.where("price > 0").sum(), kist.SelectionError, "several columns"),
        (lambda t: t.limit(0)["price"].argmax(), ValueError, "no row"),
    ],
)
def test_what_cannot_be_is_refused(store: Any, step: Any, error: Any, match: str) -> None:
    store["t"] = trades(10)
    with pytest.raises(error, match=match):
        step(store["t"])


def test_distinct_takes_a_list_apart(store: Any) -> None:
    store["t"] = trades(200)
    t = store["t"]
    for names in (["sym"], ("sym", "size"), ["size", "sym"]):
        found = t.distinct(names).indices().tolist()
        assert found == t.distinct(*names).indices().tolist() and len(found) > 1
    with pytest.raises(kist.SelectionError, match="names of columns"):
        t.distinct(["sym", 3])


@pytest.mark.filterwarnings("error")
def test_bools_have_a_histogram_without_a_warning(store: Any) -> None:
    store.create_table("t", {"b": np.array([True, False, True])})
    counts, edges = store["t"]["b"].histogram(2)
    assert counts.tolist() == [1, 2] and edges.tolist() == [0, 0.5, 1]
    assert store["t"]["b"].histogram([0, 0.5, 1])[0].tolist() == [1, 2]


def test_a_nested_column_cannot_be_a_key_but_its_fields_can(store: Any) -> None:
    rows = np.zeros(4, [("n", [("x", "i4"), ("y", "f8")]), ("v", "f4", (2,))])
    rows["n"]["x"] = [3, 1, 2, 1]
    store["t"] = rows
    t = store["t"]
    with pytest.raises(kist.DTypeError, match=r"n\.x"):
        t.sort_by("n")
    with pytest.raises(kist.DTypeError, match="several values a row"):
        t.group_by("v")
    assert t.sort_by("n.x").indices().tolist() == [1, 3, 2, 0]
    assert t.group_by("n.x").count().tolist() == [(1, 2), (2, 1), (3, 1)]
    assert len(t.distinct("n")) == 3 and len(t.distinct("v")) == 1


def test_keys_may_be_expressions_and_columns(store: Any) -> None:
    rows = trades(500)
    store["t"] = rows
    t = store["t"]
    by = kist.expr("price * -1 + half")
    assert t.where("half > 0", half=0.5).sort_by(by).limit(3).indices().tolist() == (
        np.argsort(-rows["price"], kind="stable")[:3].tolist()
    )
    assert np.array_equal(t.sort_by(t["price"]).indices(), np.argsort(rows["price"]))
    assert np.array_equal(t["price"].sort_by()[:], np.sort(rows["price"]))
    found = t.group_by(tens=kist.expr("at // 100")).agg(total=(kist.expr("price * 2"), "sum"))
    assert found.dtype.names == ("tens", "total")
    assert np.allclose(found["total"], rows["price"].reshape(5, 100).sum(1) * 2)
    with kist.open(":memory:") as other:
        other["t"] = rows
        with pytest.raises(kist.QueryError, match="column of"):
            t.sort_by(other["t"]["price"])


def test_strings_of_any_length_sort_and_group(store: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    texts = ["b", None, "a\0", "", "a", "ä" * 300, "b", None] * 700
    store["t"] = pa.table({"s": texts, "i": np.arange(len(texts))})
    t = store["t"]
    plain = [text for text in texts if text is not None]
    for limit in (256 << 20, 30_000):
        options.max_memory = limit
        ordered = t.sort_by("s")["s"][:].tolist()
        assert ordered[: len(plain)] == sorted(plain)
        down = t.sort_by("s", descending=True)
        assert down["s"][:].tolist()[: len(plain)] == sorted(plain, reverse=True)
        assert down[:]["s"].tolist()[: len(plain)] == sorted(plain, reverse=True)
    options.reset()
    found = t.group_by("s").agg("count", n=("s", "count"), first=("i", "first"))
    assert found["count"].tolist() == [700, 700, 700, 1400, 700, 1400]
    assert found["s"].tolist()[:5] == sorted(set(plain))
    assert found["n"].tolist()[-1] == 0 and found["first"].tolist()[-1] == 1
    assert t["s"].nunique() == 5 and t["s"].count() == len(plain)
    assert t["s"].distinct().count() == 5 and len(t.distinct("s")) == 6
    assert t["s"].min() == ""
    assert t.group_by(k=kist.expr("i % 2")).agg(m=("s", "max"))["m"].tolist() == ["b", "ä" * 300]


def test_a_limit_behind_a_sort_reads_no_more_than_it_must(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 5 * 65_536
    rows = trades(n)
    store["t"] = rows
    read: list[int] = []
    reading = rowset.read_spans_of

    def noted(state: Any, leaves: Any, spans: Any, n: int) -> Any:
        read.append(n)
        return reading(state, leaves, spans, n)

    for module in (rowset, sort):
        monkeypatch.setattr(module, "read_spans_of", noted)
    options.n_threads = 1
    found = store["t"].sort_by("at", descending=True).limit(3)["at"][:]
    assert found.tolist() == [n - 1, n - 2, n - 3]
    assert sum(read) == 65_536 + 3  # one page of five, and the rows themselves
    read.clear()
    assert store["t"].sort_by("price").limit(2).indices().tolist() == (
        np.argsort(rows["price"])[:2].tolist()
    )
    assert sum(read) <= n + 2
    read.clear()
    assert store["t"].limit(5)["at"][:].tolist() == [0, 1, 2, 3, 4]
    assert store["t"].head(3).count() == 3 and sum(read) == 0


def test_extremes_come_from_statistics_where_these_know(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 3 * 65_536
    rows = trades(n)
    store["t"] = rows
    t = store["t"]

    def none(*args: Any) -> Any:
        raise AssertionError("a page was read")

    monkeypatch.setattr(kist.model.tables.query.aggregates, "read_spans_of", none)
    assert t["at"].max() == n - 1 and t["price"].min() == rows["price"].min()
    assert t["at"].count() == n
    assert t.where("at >= 65536")["at"].min() == 65_536
    monkeypatch.undo()
    t.delete(n - 1)
    t["price"][5] = -1.0
    t["price"][6] = np.nan
    assert t["at"].max() == n - 2
    assert np.isnan(t["price"].min()) and t["price"].min(skipna=True) == -1.0
    assert t.where("at != 6")["price"].min() == -1.0
    t["price"][5:7] = 0.25
    assert t["price"].min() == np.delete(rows["price"], [5, 6, n - 1]).min()


def test_a_nan_among_values_that_are_no_better_is_still_found(store: Any) -> None:
    rows = trades(2 * 65_536)
    rows["price"][65_536:] += 5
    store["t"] = rows
    t = store["t"]
    t["price"][70_000] = np.nan
    assert np.isnan(t["price"].min()) and t["price"].min(skipna=True) == rows["price"].min()
    t["price"][70_000] = 7.0
    t.append(np.array([(b"", np.nan, 0, 0)], rows.dtype))
    assert np.isnan(t["price"].min())


def test_a_sort_of_more_than_memory_leaves_no_file(
    store: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = trades(9_000)
    store["t"] = rows
    options.max_memory = 50_000
    blocks = store["t"].sort_by("price").blocks(100)
    first = next(blocks)
    assert np.array_equal(first["price"], np.sort(rows["price"])[:100])
    assert list(tmp_path.iterdir()) == []  # it has no name
    blocks.close()
    assert store["t"]["price"].median() == np.median(rows["price"])
    grouped = store["t"].group_by("sym").agg({"size": ["nunique", "median"]})
    for row in grouped:
        sizes = rows["size"][rows["sym"] == row["sym"]]
        assert row["size_nunique"] == len(np.unique(sizes))
        assert row["size_median"] == np.median(sizes)


def test_sampling_keys_does_not_hold_them_in_memory() -> None:
    n = 65_536
    rng = np.random.default_rng(1)

    def batches() -> Iterator[list[Any]]:
        for _ in range(40):
            yield [rng.random(n), np.zeros(n), np.arange(n)]

    sorter = Sorter([False], 40 * n, "a test")
    tracemalloc.start()
    try:
        splitters, _ = sorter._splitters(batches, 40 * n, None)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(splitters) == 2
    assert held < 10 * 3 * 8 * n, held


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("by", [["price"], ["sym", "-price"], ["size"]])
def test_a_sort_through_a_file_keeps_equal_rows_in_order(
    store: Any, n_threads: int, by: list[str]
) -> None:
    n = 150_000
    rows = trades(n)
    rows["price"] = np.round(rows["price"], 1)  # the same ones many times, at the edges too
    store["t"] = rows
    options.n_threads, options.max_memory = n_threads, 1_500_000
    keys = [rows[key.lstrip("-")] for key in by]
    words = [-key if name[0] == "-" else key for name, key in zip(by, keys, strict=True)]
    order = np.lexsort(words[::-1])
    descending = [name[0] == "-" for name in by]
    found = store["t"].sort_by(*[name.lstrip("-") for name in by], descending=descending)
    assert np.array_equal(found["at"][:], rows["at"][order])
    assert np.array_equal(found["at"][70_000:70_100], rows["at"][order[70_000:70_100]])
    blocks = list(found[["at", "sym"]].blocks(10_000))
    assert np.array_equal(np.concatenate(blocks), rows[["at", "sym"]][order])


def test_text_that_is_sorted_by_is_put_aside_once(store: Any, monkeypatch: Any) -> None:
    kept: list[str] = []
    put = Spill._put

    def noted(self: Spill, column: Any) -> Any:
        kept.append(column.dtype.char)
        return put(self, column)

    monkeypatch.setattr(Spill, "_put", noted)
    names = np.random.default_rng(2).permutation(9_000).astype(str)
    text = names.astype(np.dtypes.StringDType())
    t = store.create_table("t", {"v": np.arange(9_000), "s": text})
    options.max_memory = 200_000
    for shown in (["s"], ["v", "s"], ["v"]):
        kept.clear()
        found = list(t.sort_by("s", "v")[shown].blocks())
        rows = np.concatenate([block["s" if "s" in shown else "v"] for block in found])
        order = np.argsort(names, kind="stable")
        assert rows.tolist() == (names if "s" in shown else np.arange(9_000))[order].tolist()
        # The text, the number and the rank of each row, whatever is shown.
        assert kept.count("T") * 2 == len(kept) - kept.count("T") > 0


def test_a_full_disk_says_what_the_file_is_for(
    store: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store["t"] = trades(9_000)
    options.max_memory = 50_000
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(kist.StorageError, match=r"max_memory.*TMPDIR"):
        store["t"].sort_by("price")[:]


def test_equal_keys_beyond_memory_keep_their_order(store: Any) -> None:
    rows = trades(20_000)
    rows["sym"] = b"KO"
    store["t"] = rows
    options.max_memory = 60_000
    assert np.array_equal(store["t"].sort_by("sym").indices(), np.arange(20_000))


def test_more_groups_than_memory_are_refused(store: Any) -> None:
    store["t"] = trades(20_000)
    options.max_memory = 100_000
    with pytest.raises(kist.TooLargeError, match="max_memory"):
        store["t"].group_by("at").agg("count")
    with pytest.raises(kist.TooLargeError, match="distinct"):
        store["t"].distinct("at").count()
    assert store["t"].group_by("sym").agg("count")["count"].sum() == 20_000


def test_groups_are_refused_before_their_tables_grow(store: Any) -> None:
    rows = np.zeros(300_000, [("k", "i8"), ("v", "f8")])
    rows["k"] = np.arange(300_000) * 7
    store["t"] = rows
    options.max_memory = 12_000_000
    options.n_threads = 1
    with pytest.raises(kist.TooLargeError) as found:
        store["t"].group_by("k").agg("count")
    said = re.search(r"groups so far, and room for more, take ([\d,]+) bytes", str(found.value))
    # Grown, they would take twice as much: nothing of that was taken.
    assert said is not None and int(said[1].replace(",", "")) < 1.3 * options.max_memory


def test_sums_of_groups_are_exact_where_numpy_wraps(store: Any) -> None:
    rows = np.zeros(9_000, [("k", "u1"), ("i", "i8"), ("u", "u8"), ("m", "m8[s]"), ("f", "f8")])
    rng = np.random.default_rng(1)
    rows["k"] = rng.integers(0, 2, 9_000)
    rows["i"] = rng.integers(-(2**63), 2**63 - 1, 9_000)
    rows["u"] = rng.integers(0, 2**64 - 1, 9_000, dtype="u8")
    rows["m"] = rng.integers(-5, 5, 9_000)
    rows["f"][::2], rows["f"][1::2] = 1e16, 1.0
    store["t"] = rows
    found = store["t"].group_by("k").agg({"i": ["sum"], "u": ["sum"], "m": ["sum", "mean"]})
    for row in found:
        part = rows[rows["k"] == row["k"]]
        for name in ("i", "u", "m"):
            assert row[f"{name}_sum"] == part[name].sum()
        assert row["m_mean"] == part["m"].mean()
    assert store["t"]["i"].sum() == rows["i"].sum() and store["t"]["u"].sum() == rows["u"].sum()


def test_deleting_and_updating_follow_the_chain(store: Any) -> None:
    rows = trades(1_000)
    store["t"] = rows
    t = store["t"]
    order = np.argsort(-rows["price"], kind="stable")
    assert t.sort_by("price", descending=True).limit(3).update({"at": [10, 20, 30]}) == 3
    assert t["at"][:][order[:3]].tolist() == [10, 20, 30]
    assert t.sort_by("price").limit(2).delete() == 2
    assert len(t) == 998 and t["price"].min() == np.sort(rows["price"])[2]
    for row in t.sort_by("price", descending=True).limit(2):
        row["at"] = -1
        row.update()
    assert t.where("at == -1")["price"].max() == rows["price"].max()


def test_a_sample_without_a_seed_stays_the_same(store: Any) -> None:
    store["t"] = trades(1_000)
    some = store["t"].sample(10)
    assert np.array_equal(some.indices(), some.indices()) and len(some) == 10
    assert len(store["t"].sample(5_000)) == 1_000


def test_rows_of_an_ordered_set_are_found_once(store: Any) -> None:
    store["t"] = trades(100)
    rows = store["t"].where("price > 0.5")._rows(store["t"]._state())
    assert isinstance(rows, Ordered) and rows.all_found() is rows.all_found()
