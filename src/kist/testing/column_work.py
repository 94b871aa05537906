"""Workloads of columns with nulls, categories and cells, and of small commits by kept handles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

import kist
from kist.testing import workload
from kist.testing.workload import Commits

__all__ = ["COLUMNS", "DTYPE", "cells"]

DTYPE: Final[dict[str, Any]] = {
    "id": "<i8",
    "n": kist.nullable("<i4"),
    "word": kist.categorical("str", ["pear"]),
    "path": kist.ragged("<f8"),
    "hits": kist.nullable(kist.ragged("<i2")),
    "text": np.dtypes.StringDType(na_object=None),
    "tags": kist.nullable(kist.ragged(np.dtypes.StringDType(na_object=None))),
}


def cells(n: int, first: int) -> dict[str, list[Any]]:
    """Return so many rows, others for each first number, nulls among them."""
    numbers = range(first, first + n)
    return {
        "id": [*numbers],
        "n": [None if i % 3 == 0 else i for i in numbers],
        "word": [("pear", "fig", None, f"word {first // 100}")[i % 4] for i in numbers],
        "path": [[i / 4] * (i % 5) for i in numbers],
        "hits": [None if i % 5 == 0 else [i % 7] * (i % 4) for i in numbers],
        "text": [None if i % 6 == 0 else f"text {i % 40}" for i in numbers],
        "tags": [None if i % 7 == 0 else _tags(i) for i in numbers],
    }


def _tags(i: int) -> list[str | None]:
    return [None if j == 2 else f"{'tag' * (j + i % 3)} {i % 20}" for j in range(i % 4)]


def _made(store: kist.Store) -> None:
    with store.transaction("tables"):
        store.create_table("cells", cells(60, 0), dtype=DTYPE)
        store.create_table("rows", dtype=workload.ROW)
        store.create_keystore("runs")


def _one_row(store: kist.Store) -> None:
    store["cells"].append([(7000, None, "plum", [0.5], None, "one", ["a", None])])


def _columns_come(store: kist.Store) -> None:
    with store.transaction():
        table = store["cells"]
        table.add_column("later", kist.nullable(kist.ragged("<u4")), fill_value=None)
        table.add_column("mark", 7, kist.nullable("u1"))
        table.add_column("words", kist.ragged(str), fill_value=["come", "later"])
        table.rename_column("path", "way")


def _columns_go(store: kist.Store) -> None:
    with store.transaction():
        table = store["cells"]
        table.cast_column("hits", kist.nullable(kist.ragged("<i4")))
        table.drop_column("way")
        table.drop_column("text")
        table.drop_column("tags")


def _categories(store: kist.Store) -> None:
    with store.transaction():
        word = store["cells"]["word"]
        word.add_categories(["quince", "x" * 3000])
        word.rename_categories({"fig": "date"})


_KEYS: Final = Commits(
    lambda node: node("runs").update(first=1),
    lambda node: node("runs").__setitem__("a", 2),
    lambda node: node("runs").__setitem__("e\u0301", [3, "text", 2.5]),
    lambda node: node("runs").__setitem__("a", b"x" * 900),
)

_ROWS: Final = Commits(
    *[lambda node, i=i: node("rows").append(workload.rows(10, i)) for i in range(4)]
)

_BOTH: Final = Commits(
    lambda node: node("rows").append(workload.rows(5, 20)),
    lambda node: node("runs").__setitem__("b", 2),
    lambda node: node("rows").append(workload.rows(5, 21)),
    lambda node: node("rows").append(workload.rows(5, 22)),
    lambda node: node("runs").__setitem__("large", workload.noise(90_000, 3)),
    lambda node: node("runs").__setitem__("c", 3),
    lambda node: node("runs").__setitem__("d", 4),
)

COLUMNS: Final[dict[str, Callable[[kist.Store], object]]] = {
    "tables are made": _made,
    "cells are appended": lambda store: store["cells"].append(cells(9, 60)),
    "one row of cells is appended": _one_row,
    "many cells are appended": lambda store: store["cells"].append(cells(2500, 100)),
    "keys are put one by one": _KEYS,
    "rows are appended one by one": _ROWS,
    "keys and rows in turn": _BOTH,
    "a cell is changed": lambda store: store["cells"]["hits"].__setitem__(7, [1, 2, 3]),
    "a list of text is changed": lambda store: store["cells"]["tags"].__setitem__(9, ["x" * 40]),
    "a cell becomes null": lambda store: store["cells"]["hits"].__setitem__(8, None),
    "many cells become null": lambda store: store["cells"].where("id < 20").update({"n": None}),
    "nulls are filled": lambda store: store["cells"].where("isnull(word)").update({"word": "nut"}),
    "categories come and change": _categories,
    "a tag is set": lambda store: store.tag("kept"),
    "an index is made": lambda store: store["cells"].create_index("id"),
    "cells are upserted": lambda store: store["cells"].upsert(cells(50, 40), on="id"),
    "rows of cells are deleted": lambda store: store["cells"].delete(slice(0, 600, 2)),
    "columns come": _columns_come,
    "columns change and go": _columns_go,
    "the cells are copied": lambda store: store.copy("cells", "copied"),
    "all is read": lambda store: workload.shown(store),
    "a tag goes": lambda store: store.untag("kept"),
    "the file is made compact": lambda store: store.compact(),
}
"""What is done, by its name."""
