"""Unions of categorical columns: each table has its own list, and the whole the list of all."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas
import pytest
from hypothesis import strategies as st
from table_programs import small_groups

import kist
from kist.format import keys
from kist.format.link import LinkRecord
from kist.format.plain import pack_value
from kist.format.values import pack_record
from kist.model.links.records import put_link

CITIES = ["Rome", "Oslo", "Bern", "Paris", "", "Ålesund"]
DTYPE = {"id": "i4", "city": kist.categorical("str"), "zone": kist.categorical("i2")}

QUERIES: dict[str, Callable[[Any], Any]] = {
    "rows": lambda t: t[:],
    "scattered": lambda t: t[[3, 1, 1, len(t) - 1]] if len(t) > 3 else None,
    "one": lambda t: t[len(t) // 2] if len(t) else None,
    "column": lambda t: t["city"][2:].tolist(),
    "numbers": lambda t: t["zone"][::3],
    "equal": lambda t: t.where("city == 'Oslo'")["id"][:],
    "less": lambda t: t.where("city < 'Oslo'")["id"][:],
    "several": lambda t: t.where("isin(city, ['Bern', 'Rome', 'x']) | (zone == 30)")["id"][:],
    "like": lambda t: t.where("like(city, '%o%')").count(),
    "missing": lambda t: t.where("isnull(city)")["id"][:],
    "two columns": lambda t: t.where("(city == 'Rome') & (zone > id % 40)")["id"][:],
    "count": lambda t: (t["city"].count(), t["zone"].sum(), t.where("zone == 20").count()),
    "ends": lambda t: t["zone"].max() if t["zone"].count() else None,
    "sort": lambda t: t.sort_by("city", "zone", "id")[:],
    "top": lambda t: t.sort_by("zone", descending=True).limit(5)["id"][:],
    "groups": lambda t: t.group_by("city").agg({"id": ["min", "count"], "zone": "sum"}),
    "both": lambda t: t.group_by(["zone", "city"]).agg({"id": "count"}),
    "distinct": lambda t: t.distinct("city")["id"][:],
    "blocks": lambda t: [row for block in t.blocks(13) for row in block.tolist()],
    "loop": lambda t: [row["city"] for row in t.where("zone != 10")],
    "arrow": lambda t: t.to_arrow().to_pylist(),
    "polars": lambda t: t.to_polars().to_dicts(),
    "pandas": lambda t: t.to_pandas().astype(object).where(lambda d: d.notna(), None).to_dict(),
    "sample": lambda t: t.sample(5, seed=1)["city"][:].tolist(),
}


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray | np.void):
        return bool(a.dtype == b.dtype and a.tolist() == b.tolist())
    return bool(a == b)


@st.composite
def some_rows(draw: st.DrawFn, known: list[str]) -> dict[str, Any]:
    """Rows of a part: few of the cities, in an order of their own, and some without one."""
    n = draw(st.sampled_from([1, 9, 70, 150]))
    step = draw(st.integers(1, 5))
    cities: list[str | None] = [*draw(st.permutations(known)), None]
    return {
        "id": np.arange(n) * 3 % 101,
        "city": [cities[at * step % len(cities)] for at in range(n)],
        "zone": [None if at % 7 == step else 10 * (1 + (at // step) % 4) for at in range(n)],
    }


@contextmanager
def joined(how: str, store: Any, folder: Path) -> Iterator[Any]:
    """The tables of `parts/` as one: of the store, of copies in files, linked."""
    if how == "store":
        yield store.union("parts/*")
        return
    files = []
    for name in store["parts"]:
        files.append(folder / f"{name}.kist")
        with kist.open(files[-1], "w") as other:
            other.copy(store["parts"][name], "t")
    if how == "files":
        with kist.union(files, "t") as union:
            yield union
        return
    with kist.open(folder / "all.kist", "w") as other:
        other.create_union("all", "t", files=files)
    with kist.open(folder / "all.kist") as other:
        yield other["all"]


@pytest.mark.parametrize("how", ["store", "files", "linked"])
@hypothesis.settings(max_examples=4, phases=[hypothesis.Phase.generate])
@hypothesis.given(data=st.data())
def test_a_union_answers_like_one_table_of_all_rows(
    how: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with small_groups(), kist.open(":memory:") as store:
        for number in range(data.draw(st.integers(1, 4))):
            t = store.create_table(f"parts/{number}", dtype=DTYPE)
            known = data.draw(st.lists(st.sampled_from(CITIES), min_size=1, unique=True))
            for _ in range(data.draw(st.integers(0, 3))):
                t.append(data.draw(some_rows(known)))
            change = data.draw(st.sampled_from(["", "patched", "deleted", "cast", "grown"]))
            if change == "patched" and len(t):
                t.where("zone == 20").update({"city": "Oslo", "id": 7})
                t.where("id == 3").update({"city": None})
            elif change == "deleted":
                t.delete(slice(0, len(t), 3))
            elif change == "cast":  # other ids of its columns
                t.where("isnull(city)").update({"city": "Oslo"})
                t.cast_column("city", np.dtypes.StringDType())
                t.cast_column("city", kist.categorical("str"))
            elif change == "grown" and len(t):
                t.drop_column("city")
                t.add_column("city", dtype=kist.categorical("str"), fill_value="Bern")
                t.reorder(["id", "city", "zone"])
        whole = store.create_table("whole", dtype=DTYPE)
        frames = [part.to_pandas() for part in store["parts"].values()]
        for part in store["parts"].values():
            whole.append(part)
        with joined(how, store, tmp_path_factory.mktemp(how)) as union:
            assert union.columns == whole.columns and len(union) == len(whole)
            for name, query in QUERIES.items():
                assert equal(query(union), query(whole)), name
            listed = union["city"].categories.tolist()
            ours = [part["city"].categories.tolist() for part in store["parts"].values()]
            assert listed == list(dict.fromkeys(city for some in ours for city in some))
            codes = [-1 if city is None else listed.index(city) for city in union["city"][:]]
            assert union["city"].codes[:].tolist() == codes
            # pandas makes objects of categories that differ; of these it is the same.
            frame = pandas.concat([f.astype({"city": object}) for f in frames])
            counts = frame.groupby("city", dropna=True).id.count()
            found = union.where("~isnull(city)").group_by("city").agg({"id": "count"})
            assert dict(found.tolist()) == counts.to_dict()


def two(store: Any, one: Any, other: Any) -> Any:
    for number, dtype in enumerate((one, other)):
        store.create_table(f"p/{number}", dtype={"c": dtype})
    return store.union("p/*")


def test_names_of_enumerations_that_differ_are_shown() -> None:
    with kist.open(":memory:") as store:
        with pytest.raises(kist.DTypeError) as caught:
            two(store, kist.enum(["red", "green"]), kist.enum(["red", "blue"]))
        lines = str(caught.value).splitlines()
        assert lines[0].startswith("table '/p/1': column 'c' does not have the names of the enum")
        assert lines[1:3] == ["  - 'green'", "  + 'blue'"] and caught.value.column == "c"
    numbered = kist.enum({"red": 1, "green": 2}), kist.enum({"red": 3, "green": 2})
    said = "~ 'red' = 1 -> 'red' = 3"
    with kist.open(":memory:") as store, pytest.raises(kist.DTypeError, match=said):
        two(store, *numbered)


def test_enumerations_of_the_same_names_are_one() -> None:
    with kist.open(":memory:") as store:
        names = {"red": 7, "green": 2}
        union = two(store, kist.enum(names), kist.enum(names))
        store["p/1"].append({"c": ["green", "red"]})
        assert union["c"][:].tolist() == ["green", "red"]
        assert union.where("c > 'red'").count() == store["p/1"].where("c > 'red'").count()
        assert union.sort_by("c")["c"][:].tolist() == store["p/1"].sort_by("c")["c"][:].tolist()
    with kist.open(":memory:") as store:
        mixed = [kist.enum(names, ordered=False) for names in (["a", "b", "c"], ["c", "a", "b"])]
        union = two(store, *mixed)
        for name in ("p/0", "p/1"):
            store[name].append({"c": ["c", "a", None, "b"]})
        assert union["c"][:].tolist() == ["c", "a", None, "b"] * 2
        assert union["c"].codes[4:].tolist() == [2, 0, -1, 1]
        assert union.where("c == 'b'").indices().tolist() == [3, 7]


def test_ordered_categories_keep_their_order_or_are_refused() -> None:
    def ordered(*names: str) -> Any:
        return kist.categorical("str", names, ordered=True)

    with kist.open(":memory:") as store:
        union = two(store, ordered("S", "M"), ordered("S", "M", "L"))
        store["p/0"].append({"c": ["M", "S"]})
        store["p/1"].append({"c": ["L", "S"]})
        assert union.sort_by("c")["c"][:].tolist() == ["S", "S", "M", "L"]
        assert union.where("c >= 'M'").count() == 2 and union["c"].max() == "L"
    said = r"the order of(.|\n)*~ 'S', 'M' -> 'M', 'S'"
    with kist.open(":memory:") as store, pytest.raises(kist.DTypeError, match=said):
        two(store, ordered("S", "M"), ordered("M", "S"))


def test_parts_without_a_category_are_ruled_out_by_statistics(tmp_path: Path) -> None:
    files = []
    for number, cities in enumerate((["Rome"], ["Oslo", "Bern"], ["Bern"])):
        files.append(tmp_path / f"{number}.kist")
        with kist.open(files[-1], "w") as store:
            t = store.create_table("t", dtype=DTYPE)
            n = 5_000 if number else 50  # pages, and a piece
            some = [cities[at % len(cities)] for at in range(n)]
            t.append({"id": np.arange(n), "city": some, "zone": [1] * n})
    with kist.open(tmp_path / "all.kist", "w") as store:
        store.create_union("all", "t", files=files)
    with kist.open(tmp_path / "all.kist") as store:
        linked = store["all"]
        assert linked["city"].categories.tolist() == ["Rome", "Oslo", "Bern"]
        assert linked.where("city == 'Paris'").count() == 0 and linked.n_open == 0
        assert linked.where("city == 'Oslo'").count() == 2_500 and linked.n_open == 1
        assert linked.where("city == 'Rome'").count() == 50 and linked.n_open == 2
        assert linked.where("city == 'Bern'").count() == 7_500 and linked.n_open == 3
    with kist.union(files, "t") as union:
        assert "1 settled by statistics" in str(union.where("city == 'Oslo'").explain())
        again = pickle.loads(pickle.dumps(union))
        assert again["city"][-2:].tolist() == ["Bern", "Bern"]


def test_categories_that_come_while_a_union_is_held_show() -> None:
    with kist.open(":memory:") as store:
        union = two(store, kist.categorical("str", ["a"]), kist.categorical("str"))
        store["p/1"].append({"c": ["b", "a"]})
        assert union["c"].categories.tolist() == ["a", "b"]
        store["p/0"].append({"c": ["z"]})
        assert union["c"].categories.tolist() == ["a", "z", "b"]
        assert union["c"][:].tolist() == ["z", "b", "a"]
        store["p/1"]["c"].rename_categories({"b": "a2"})
        assert union["c"][:].tolist() == ["z", "a2", "a"]


def test_a_union_is_appended_by_its_values() -> None:
    with kist.open(":memory:") as store:
        union = two(store, kist.categorical("str", ["a"]), kist.categorical("str", ["b"]))
        store["p/0"].append({"c": ["a"]})
        store["p/1"].append({"c": ["b"]})
        store["whole"] = union
        assert store["whole"]["c"].categories.tolist() == ["a", "b"]
        assert store["whole"]["c"][:].tolist() == ["a", "b"]


@pytest.mark.parametrize("n", [3, 5_000])
def test_a_code_beyond_the_list_of_its_table_is_found(n: int) -> None:
    with kist.open(":memory:") as store:
        union = two(store, kist.categorical("str"), kist.categorical("str", ["x", "y", "z"]))
        store["p/0"].append({"c": ["x", "y", "x"] * n})
        leaf = store["p/0"]._state().schema.columns[0].first_leaf
        with store._write() as txn:
            txn.put(keys.category_run(store["p/0"]._id, leaf, 1), pack_record(pack_value(["x"])))
        for ask in (
            lambda: union["c"][:],
            lambda: union["c"].codes[:],
            lambda: union.where("c == 'y'").count(),
            lambda: union.group_by("c").agg("count"),
        ):
            with pytest.raises(kist.CorruptDataError, match="code 2, and there are 1 categories"):
                ask()


@pytest.mark.parametrize("said", [None, [], {}, {2: 5}, {2: [1]}, {2: ["a", "a"]}, {2: ["b"]}])
def test_a_link_with_damaged_lists_is_refused(said: Any, tmp_path: Path) -> None:
    with kist.open(tmp_path / "part.kist", "w") as part:
        part.create_table("t", dtype={"c": kist.categorical("str")}).append({"c": ["a"]})
    with kist.open(tmp_path / "all.kist", "w") as store:
        link = store.create_union("t", "t", files="part.kist")
        record = link._record()
        leaf = next(iter(record.said["categories"]))
        if isinstance(said, dict):
            said = dict.fromkeys([leaf] * len(said), *said.values())
        with store._write() as txn:
            put_link(txn, link._id, LinkRecord(record.form, {**record.said, "categories": said}))
    with (
        kist.open(tmp_path / "all.kist") as store,
        pytest.raises(kist.CorruptDataError, match="categor"),
    ):
        store["t"]["c"][:]
