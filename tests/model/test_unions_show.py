"""What unions say about themselves: sizes and encodings are those of the tables they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.model.tables import show

DTYPE = np.dtype([("id", "i8"), ("x", "f8"), ("s", "S8")])


def rows(n: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    out = np.zeros(n, DTYPE)
    out["id"] = np.arange(n) + n * seed
    out["x"] = rng.random(n)
    out["s"] = rng.integers(0, 10**6, n).astype("S8")
    return out


def sizes(head: str) -> str:
    """Return what a first line says of rows and bytes."""
    return head.split(" rows", 1)[1].split(">")[0]


def codecs(text: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith("codec")).split()


@pytest.mark.parametrize("n", [100, 1000, 6000])
def test_a_union_of_one_says_what_the_table_says(n: int) -> None:
    with kist.open(":memory:", "a") as store:
        store["t"] = rows(n, 1)
        store["t"].where("id < 10").update({"x": 0.5})
        union = store.union("t")
        table = repr(store["t"])
        assert sizes(repr(union).splitlines()[0]) == sizes(table.splitlines()[0])
        assert codecs(repr(union)) == codecs(table)
        for name in DTYPE.names or ():
            assert union[name].nbytes_stored == store["t"][name].nbytes_stored > 0
            one, other = repr(union[name]), repr(store["t"][name])
            assert one.split(",", 1)[1] == other.split(",", 1)[1]


def test_a_union_counts_the_bytes_of_all_its_tables(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        for number, n in enumerate((6000, 0, 1000, 100)):
            store[f"g/{number}"] = rows(n, number)
        union = store.union("g/*")
        total = sum(part.nbytes_stored for part in union.parts)
        assert union.nbytes_stored == total
        state = union._state()
        assert show.Sizes(state, 3).of(state.schema.leaves) == total
        assert codecs(repr(union)) == codecs(repr(store["g/0"]))  # the last that has pages
        assert "lacks a record" not in repr(union)
    with kist.open(tmp_path / "a.kist") as store, kist.union([store["g/0"], store["g/2"]]) as both:
        assert both["x"].nbytes_stored == sum(part["x"].nbytes_stored for part in both.parts)


def test_a_union_of_many_tables_looks_at_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "_COUNTED_PAGES", 50)
    with kist.open(":memory:", "a") as store:
        with store.transaction():
            for number in range(40):
                store[f"g/{number:02d}"] = rows(500, number)
        union = store.union("g/*")
        state = union._state()
        found = show.Sizes(state, 3)
        assert not found.exact and len(found._parts) == 14
        assert found.of(state.schema.leaves) == pytest.approx(union.nbytes_stored, rel=0.05)
        assert " in about 2" in repr(union)


def test_a_union_of_empty_tables_has_no_encoding() -> None:
    with kist.open(":memory:", "a") as store:
        store["a"] = rows(0, 0)
        store["b"] = rows(0, 0)
        assert set(codecs(repr(store.union("a", "b")))[1:]) == {"-"}


def test_columns_of_a_linked_table_say_how_they_are_encoded(tmp_path: Path) -> None:
    for number in range(3):
        with kist.open(tmp_path / f"p-{number}.kist", "w") as store:
            store.create_table("t", {"id": np.arange(20_000), "name": ["a"] * 20_000})
    with kist.open(tmp_path / "all.kist", "w") as store:
        store.create_union("all", "t", files="p-*.kist")
    with kist.open(tmp_path / "all.kist") as store:
        table = store["all"]
        for name in ("id", "name"):
            wanted = kist.open(tmp_path / "p-2.kist")["t"][name].info["encoding"]
            assert table[name].info["encoding"] == wanted
            assert "index out of range" not in repr(table[name])


def test_a_union_has_a_repr_for_notebooks_closed_ones_too(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        for k in range(3):
            store[f"g/t{k}"] = rows(10, k)
            store[f"h/x{k}"] = np.arange(5.0)
        tables, arrays = store.union("g/*"), store.union("h/*")
        said = tables._repr_html_()
        assert ">Union<" in said and "30 rows" in said and "<td>" in said and ">Table<" not in said
        said = arrays._repr_html_()
        assert ">Union<" in said and "15 float64" in said and "3 arrays" in said
    for union in (tables, arrays):
        assert "closed" in union._repr_html_() and "Union" in union._repr_html_()
