"""Workloads of links, unions and linked files, and of indexes while rows change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

import kist
from kist.testing import workload

__all__ = ["LINKED", "put_beside"]


def put_beside(folder: Path) -> None:
    """Put the files into a folder that the links of a store there lead to."""
    for number in range(3):
        with kist.open(folder / f"part-{number}.kist", "w", durability="none") as part:
            part["t"] = workload.rows(60 + number, number)
            part["a"] = np.arange(20.0).reshape(10, 2) + number
    np.save(folder / "frames.npy", np.arange(60, dtype="<i4").reshape(12, 5))


def _datasets(store: kist.Store) -> None:
    with store.transaction("datasets"):
        store["days/1"] = workload.rows(500, 1)
        store["days/2"] = workload.rows(300, 2)
        store["image"] = np.arange(600, dtype="<i4").reshape(6, 100)


def _several(store: kist.Store) -> None:
    with store.transaction("several"):
        store["days/3"] = workload.rows(90, 3)
        store.create_link("newest", "days/3", overwrite=True)
        try:
            with store.transaction():
                store.create_link("undone", "days/1")
                store["days/1"].drop_index("id")
                del store["all"]
                raise workload.UndoneError
        except workload.UndoneError:
            store.create_union("some", "days/1", "days/3")
        store.move("outside", "links/outside")


def _indexed(store: kist.Store) -> None:
    with store.transaction():
        store["days/1"].create_index("id", unique=True)
        store["days/1"].create_index("name", "value", name="by name")


def _upsert(store: kist.Store) -> None:
    new = workload.rows(600, 1)
    new["value"] = -new["value"]
    store["days/1"].upsert(new, on="id")


def _refused(store: kist.Store) -> None:
    # Of these rows the index has some already: nothing may be left of the others.
    with store.transaction():
        try:
            store["days/1"].append(workload.rows(900, 1))
        except kist.ConstraintError:
            store.attrs["refused"] = True


def _linked(store: kist.Store) -> None:
    store.create_union("linked", "t", files=["part-0.kist", "part-1.kist"], attrs={"n": 2})


def _read(store: kist.Store) -> None:
    with store.read():
        store["linked"].where("value > 1")[:]
        store["linked"]["id"][::7].sum()
        store["cube"][1:25:3].sum()
        store["frames"][3:5].sum()
        store["days/1"].where("id == 1007")[:]
        workload.shown(store)


def _deletions(store: kist.Store) -> None:
    with store.transaction():
        for name in ("days/3", "linked", "frames", "some"):
            del store[name]


def _changed(store: kist.Store) -> None:
    rows: Any = store["days/1"]
    rows[5:40] = rows[5:40][::-1]


LINKED: Final[dict[str, Callable[[kist.Store], object]]] = {
    "datasets are made": _datasets,
    "a link is made": lambda store: store.create_link("newest", "days/2", title="The newest day"),
    "a union is made": lambda store: store.create_union("all", "days/*"),
    "a file is linked": lambda store: store.create_link("outside", "t", file="part-1.kist"),
    "files are linked as a table": _linked,
    "files are linked as a cube": lambda store: store.create_union(
        "cube", "a", files="part-*.kist"
    ),
    "an npy file is linked": lambda store: store.create_array_link("frames", "frames.npy"),
    "indexes are made": _indexed,
    "rows are appended": lambda store: store["days/1"].append(workload.rows(2000, 9)),
    "all is read": _read,
    "rows are upserted": _upsert,
    "rows are updated": lambda store: store["days/1"].where("value > 1").update({"name": "big"}),
    "rows trade places": _changed,
    "rows are refused": _refused,
    "rows are deleted": lambda store: store["days/1"].delete([0, 17, 400]),
    "a link has attributes": lambda store: store.open_link("linked").attrs.update(n=3, s="x" * 300),
    "linked files are looked at again": lambda store: store.open_link("linked").renew(),
    "other files are linked": lambda store: store.create_union(
        "linked", "t", files="part-*.kist", overwrite=True
    ),
    "a tag is set": lambda store: store.tag("kept"),
    "a transaction with savepoints": _several,
    "a link is copied": lambda store: store.copy("cube", "links/cube"),
    "an index goes": lambda store: store["days/1"].drop_index("by name"),
    "links and what they lead to go": _deletions,
    "a tag goes": lambda store: store.untag("kept"),
    "the file is made compact": lambda store: store.compact(),
}
"""What is done, by its name."""
