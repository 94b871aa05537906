"""The main job as workloads for the crash checker: tables, attributes, tags, upkeep, of a store.

``CASES`` is what ``python -m kist.testing.crash tests/crash/main_job.py`` runs; the tests beside
this file run a share.
"""

from __future__ import annotations

import contextlib

import numpy as np
from crash_stores import DTYPE, case, rows_of

import kist
from kist.testing.crash import Session


def table_of_a_day(session: Session) -> None:
    """One table through all that a user does with rows."""
    store = session.engine.store
    trades = store.create_table("trades", dtype=DTYPE, attrs={"exchange": "X"})
    session.acknowledged()
    for seed in range(4):
        trades.append(rows_of(10, seed))
        session.acknowledged()
    trades.append(rows_of(5000, 10))
    session.acknowledged()
    trades[0] = trades[7]
    session.acknowledged()
    trades["price"][20:60] = 1.5
    session.acknowledged()
    trades.delete([3, 5, 4000])
    session.acknowledged()
    trades.attrs["note"] = "x" * 5000
    session.acknowledged()
    trades.where("size > 900").update({"flag": 7})
    session.acknowledged()
    with contextlib.suppress(ZeroDivisionError), store.transaction():
        trades.append(rows_of(700, 11))
        trades.delete(slice(0, 2000))
        store.attrs["never"] = 1
        raise ZeroDivisionError
    session.acknowledged()
    with store.transaction("several"):
        trades.append(rows_of(10, 12))
        store["raw/other"] = rows_of(30, 13)
        with contextlib.suppress(kist.SelectionError):
            trades.delete([0, 10**6])
        store.attrs["n"] = len(trades)
    session.acknowledged()
    trades.where("sym == 'IBM'").delete()
    session.acknowledged()
    store.move("raw/other", "moved")
    session.acknowledged()
    store["trades"] = rows_of(300, 14)
    session.acknowledged()
    del store["moved"]
    session.acknowledged()


def growth(session: Session) -> None:
    """Small appends, until checkpoints come by themselves and fold the pieces."""
    trades = session.engine.store.create_table("trades", dtype=DTYPE)
    session.acknowledged()
    for i in range(75):
        trades.append(rows_of(10, i))
        session.acknowledged()
        if i % 20 == 9:
            trades[i] = trades[i + 1]
            session.acknowledged()
            trades.delete(slice(0, i, 7))
            session.acknowledged()


def handovers(session: Session) -> None:
    """Writers that close and writers that die, each followed by another."""
    session.engine.store.create_table("trades", dtype=DTYPE)
    session.acknowledged()
    for i in range(12):
        trades = session.engine.store["trades"]
        trades.append(rows_of(10 if i % 4 else 1500, i))
        session.acknowledged()
        trades["size"][i * 3] = -i
        session.acknowledged()
        if i % 3 == 2:
            session.reopen(kill=i % 2 == 0)


def versions(session: Session) -> None:
    """Tags over changing rows, then less and less of it all, and compaction."""
    store = session.engine.store
    trades = store.create_table("trades", rows_of(3000, 0))
    session.acknowledged()
    store.tag("first")
    session.acknowledged()
    trades.append(rows_of(10, 1))
    session.acknowledged()
    trades["price"] = np.arange(3010.0)
    session.acknowledged()
    store.tag("second")
    session.acknowledged()
    trades.delete(slice(100, 2900))
    session.acknowledged()
    store.compact()
    session.acknowledged()
    store.tag("first", move=True)
    session.acknowledged()
    trades.append(rows_of(10, 2))
    session.acknowledged()
    store.untag("second")
    session.acknowledged()
    store.untag("first")
    session.acknowledged()
    store.compact()
    session.acknowledged()
    trades.append(rows_of(10, 3))
    session.acknowledged()


CASES = {
    "table of a day": case(table_of_a_day),
    "growth": case(growth),
    "store handovers": case(handovers),
    "versions": case(versions),
    "retained versions": case(table_of_a_day, retain=2),
    "relaxed growth": case(growth, "relaxed"),
    "relaxed day": case(table_of_a_day, "relaxed"),
    "none, handovers of a store": case(handovers, "none"),
}
