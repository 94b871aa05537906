"""Links, linked tables and arrays, unions, and indexes while rows change, to be crashed.

``CASES`` is what ``python -m kist.testing.crash tests/crash/link_workloads.py`` runs; the tests
beside this file run a share. The files that links lead to are real ones in a temporary folder, and
stay as they are.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from api_workloads import died
from crash_stores import OpenStore, case, packed, probe, rows_of, shown
from sealed_workloads import FIRST, holders, secret_rows

import kist
from kist.testing.crash import Case, Session

# Kept for the life of the process.
_FOLDER = tempfile.TemporaryDirectory(prefix="kist-linked-")
FOLDER = Path(_FOLDER.name)


def parts() -> None:
    """Make the files, once."""
    if (FOLDER / "part-0.kist").exists():
        return
    for n in range(3):
        with kist.open(FOLDER / f"part-{n}.kist", "x") as store:
            store["t"] = rows_of(300 + n, n)
            store["a"] = np.arange(40.0).reshape(20, 2) + n
    np.save(FOLDER / "frames.npy", np.arange(60, dtype="<i4").reshape(12, 5))


class OpenLinking(OpenStore):
    """A store that takes itself to stand in the folder of those files."""

    NAME = os.path.join(_FOLDER.name, "recorded.kist")


def links(session: Session) -> None:
    """Links made, changed, moved and deleted; what they lead to changes and goes."""
    parts()
    store = session.engine.store
    store["day 1"] = rows_of(200, 1)
    session.acknowledged()
    store.create_link("newest", "day 1")
    session.acknowledged()
    store.create_union("all", "day *")
    session.acknowledged()
    store.create_link("outside", "t", file="part-1.kist")
    session.acknowledged()
    store.create_union("linked", "t", files=["part-0.kist", "part-1.kist"], attrs={"n": 2})
    session.acknowledged()
    store.create_union("cube", "a", files="part-*.kist")
    session.acknowledged()
    store.create_array_link("frames", file=FOLDER / "frames.npy", sums=True)
    session.acknowledged()
    for i in range(2, 7):
        with store.transaction():
            store[f"day {i}"] = rows_of(100, i)
            store.create_link("newest", f"day {i}", overwrite=True)
        session.acknowledged()
        store["day 1"].append(rows_of(9, i))
        session.acknowledged()
        if i == 3:
            store.create_union("linked", "t", files="part-*.kist", overwrite=True)
            session.acknowledged()
            store.tag("kept")
            session.acknowledged()
        if i == 4:
            store = died(session)
            store.move("outside", "group/moved")
            session.acknowledged()
            store.open_link("linked").renew()
            session.acknowledged()
        if i == 5:
            session.engine.engine.checkpoint()
            store.copy("linked", "copy")
            session.acknowledged()
    del store["day 6"]  # the newest link leads nowhere now
    session.acknowledged()
    del store["copy"]
    session.acknowledged()
    store.untag("kept")
    session.acknowledged()
    store.compact()
    session.acknowledged()


def seen(opened: OpenStore) -> Any:
    """What a store shows, and what its links show of other nodes and files."""
    store = opened.store
    through = {}
    with store.read():
        for name in ("newest", "all", "outside", "group/moved", "linked", "copy", "cube", "frames"):
            with contextlib.suppress(kist.NodeNotFoundError):
                link = store.open_link(name)
                with contextlib.suppress(kist.LinkError):
                    node = store[name]
                    content = packed(np.asarray(node[...] if node.kind == "array" else node[:]))
                    through[name] = link.leads_to, packed(dict(link.attrs)), content
                    continue
                through[name] = link.leads_to, packed(dict(link.attrs)), None
        return shown(store), through


def linking(workload: Callable[[Session], None], durability: str = "full") -> Case:
    """Return a case of links."""
    return Case(workload, seen, partial(OpenLinking, durability=durability), probe, durability)


def indexes(session: Session) -> None:
    """Rows of indexed columns, one of them unique, change in every way that there is."""
    _indexed(session, {})


def sealed_indexes(session: Session) -> None:
    """The same where the indexed columns are sealed."""
    _indexed(session, {("size", "sym"): FIRST})


def _indexed(session: Session, encrypt: dict[Any, bytes]) -> None:
    store = session.engine.store
    rows = secret_rows(900, 1)
    rows["time"] = np.datetime64("2024-01-01", "us") + np.arange(900)
    deals = store.create_table("deals", rows, encrypt=encrypt or None)
    session.acknowledged()
    deals.create_index("size")
    session.acknowledged()
    deals.create_index("time", unique=True)
    session.acknowledged()
    for i in range(6):
        deals = store["deals"]
        new = secret_rows(60, 20 + i)
        new["time"] = np.datetime64("2025-01-01", "us") + np.arange(60) + 1000 * i
        deals.append(new)
        session.acknowledged()
        deals.upsert(new[:30], on="time")
        session.acknowledged()
        with contextlib.suppress(kist.ConstraintError):
            deals.append(new[:5])
        deals[i * 10 : i * 10 + 200] = deals[i * 10 : i * 10 + 200][::-1]
        session.acknowledged()
        deals.where("size == n", n=100 + 10 * i).update({"size": 7 + i})
        session.acknowledged()
        with store.transaction():
            deals.delete(slice(i, 400, 9))
            deals.where("size == 7").update({"size": 8})
        session.acknowledged()
        if i == 2:
            store = died(session)
        if i % 2:
            session.engine.engine.checkpoint()
    store["deals"].rename_column("size", "volume")
    session.acknowledged()
    store["deals"].truncate(300)
    session.acknowledged()


CASES: dict[str, Case] = {
    "links": linking(links),
    "relaxed, links": linking(links, "relaxed"),
    "indexed rows": case(indexes),
    "none, indexed rows": case(indexes, "none"),
    "sealed indexed rows": holders(sealed_indexes),
}
