"""Everything that users do to a store, one workload for each, in all three modes.

``CASES`` is what ``python -m kist.testing.crash tests/crash/api_workloads.py`` runs; the tests
beside this file run a share. Each workload has its writers die and others go on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from crash_stores import DTYPE, OpenStore, case, empty_store, probe, read_state, rows_of

import kist
from kist.testing.crash import Case, Session

DURABILITIES = ("full", "relaxed", "none")


def noise(n: int, seed: int) -> Any:
    """Bytes that no codec makes smaller."""
    return np.random.default_rng(seed).integers(0, 256, n, "u1")


def died(session: Session) -> kist.Store:
    """The writer dies; what the next one has in its hands."""
    session.reopen(kill=True)
    store: kist.Store = session.engine.store
    return store


def create(session: Session) -> None:
    """A new file, and the first object of each kind; judged from its first byte on."""
    store = session.engine.store
    raw = store.create_group("raw")
    session.acknowledged()
    raw.attrs["by"] = "nobody"
    session.acknowledged()
    store.create_table("trades", rows_of(50, 1), attrs={"exchange": "X"})
    session.acknowledged()
    store = died(session)
    store.create_array("raw/image", noise(20_000, 2).reshape(100, 200), chunks=(64, 64))
    session.acknowledged()
    store.create_array("raw/scalar", np.float64(1.5))
    session.acknowledged()
    runs = store.create_keystore("raw/runs")
    session.acknowledged()
    runs["first"] = {"a": [1, 2.5, "x"]}
    session.acknowledged()
    store.create_table("empty", dtype=DTYPE)
    session.acknowledged()


def small_appends(session: Session) -> None:
    """Ten rows at a time, to two tables and an array, with folds by checkpoints that come."""
    store = session.engine.store
    for name in ("trades", "quotes"):
        store.create_table(name, dtype=DTYPE)
        session.acknowledged()
    log = store.create_array("log", shape=(0, 3), dtype="<f8", chunks=(128, 3))
    session.acknowledged()
    for i in range(48):
        if i % 4 == 3:
            log.append(np.full((2, 3), i / 7))
        else:
            store[("trades", "quotes")[i % 2]].append(rows_of(10, i))
        session.acknowledged()
        if i == 20:
            store = died(session)
            log = store["log"]
        if i % 16 == 15:
            session.engine.engine.checkpoint()


def large_writes(session: Session) -> None:
    """More than a record of the log holds, and more than shares a sync: trees at once."""
    store = session.engine.store
    store["image"] = noise(1_300_000, 1)
    session.acknowledged()
    store.create_keystore("runs")
    session.acknowledged()
    store["runs"].update({f"run {i}": i for i in range(1200)})
    session.acknowledged()
    store = died(session)
    store["runs"].update({f"run {i}": [i, str(i)] for i in range(0, 1200, 2)})
    session.acknowledged()
    store["trades"] = rows_of(30_000, 3)
    session.acknowledged()
    store["image"][200_000:1_400_000] = noise(1_100_000, 2)
    session.acknowledged()
    store["runs"].clear()
    session.acknowledged()


def overwrite(session: Session) -> None:
    """The same places written again and again, so that commits become checkpoints."""
    store = session.engine.store
    image = store.create_array("image", noise(150_000, 0), chunks=(40_000,))
    session.acknowledged()
    trades = store.create_table("trades", rows_of(2000, 0))
    session.acknowledged()
    for i in range(12):
        if i % 3 == 1:
            trades["price"] = np.arange(2000.0) + i
        elif i % 3 == 2:
            trades[i : i + 300] = rows_of(300, i)
        else:
            image[...] = noise(150_000, i)
        session.acknowledged()
        if i == 6:
            store = died(session)
            image, trades = store["image"], store["trades"]
    image[10:90_000:7] = 3
    session.acknowledged()
    store["image"] = noise(9000, 99)  # another array under the same name
    session.acknowledged()


def resize(session: Session) -> None:
    """Arrays grown, shrunk, emptied; what is shrunk away does not come back."""
    store = session.engine.store
    image = store.create_array("image", noise(8000, 1).reshape(80, 100), chunks=(32, 32))
    session.acknowledged()
    line = store.create_array("line", np.arange(3000), chunks=(500,), fill_value=-1)
    session.acknowledged()
    for i in range(10):
        image.resize((80 - 7 * (i % 5), 60 + 13 * (i % 4)))
        session.acknowledged()
        line.resize((3000 - 290 * i,))
        session.acknowledged()
        if i % 3 == 1:
            with store.transaction():
                line.resize((4000,))
                line[-5:] = i
                image[:9] = i
            session.acknowledged()
        if i == 5:
            store = died(session)
            image, line = store["image"], store["line"]
    image.resize((0, 0))
    session.acknowledged()
    image.resize((40, 40))
    session.acknowledged()


def delete(session: Session) -> None:
    """Nodes with all that is below them, rows, keys; by one and by many."""
    store = session.engine.store
    with store.transaction():
        for i in range(6):
            store[f"day {i}/trades"] = rows_of(200, i)
            store[f"day {i}/image"] = noise(5000, i)
            store.create_keystore(f"day {i}/runs").update({n: "x" * n for n in range(20)})
        store["trades"] = rows_of(3000, 9)
    session.acknowledged()
    for i in range(5):
        del store[f"day {i}/image"]
        session.acknowledged()
        store["trades"].delete(slice(100 * i, 100 * i + 350, 1 + i % 3))
        session.acknowledged()
        runs = store[f"day {i}/runs"]
        del runs[i]
        session.acknowledged()
        del store[f"day {i}"]
        session.acknowledged()
        if i == 2:
            store = died(session)
        if i == 3:
            session.engine.engine.checkpoint()
    store["trades"].where("size > 500").delete()
    session.acknowledged()
    store["day 5/runs"].clear()
    session.acknowledged()
    del store["day 5"]
    session.acknowledged()
    store["trades"].delete(slice(None))
    session.acknowledged()


def schema(session: Session) -> None:
    """Columns that come, go and change, between appends, patches, deletions and folds."""
    store = session.engine.store
    table = store.create_table("altered", rows_of(5000, 1))
    session.acknowledged()
    table.append(rows_of(30, 2))
    session.acknowledged()
    store.tag("before")
    session.acknowledged()
    table.add_column("mark", 7, "u1", attrs={"unit": "none"})
    session.acknowledged()
    table.add_column("twice", kist.expr("price * 2"))
    session.acknowledged()
    table["mark"][100:140] = 9
    session.acknowledged()
    store = died(session)
    table = store["altered"]
    table.append({name: rows_of(12, 3)[name] for name in rows_of(1, 0).dtype.names})
    session.acknowledged()
    table.add_column("half", "twice / 4", virtual=True, position=0)
    session.acknowledged()
    table.rename_column("price", "cost")
    session.acknowledged()
    table.cast_column("mark", "i4")
    session.acknowledged()
    session.engine.engine.checkpoint()
    table.add_column("noise", noise(len(table), 4), position=2)
    session.acknowledged()
    table.drop_column("mark")
    session.acknowledged()
    with store.transaction():
        table.reorder(sorted(table.columns))
        table.drop_column("noise")
        table.delete(slice(10, 900, 3))
        table.add_column("late", np.arange(len(table)), "i8")
    session.acknowledged()
    store.untag("before")
    session.acknowledged()
    store = died(session)
    table = store["altered"]
    table["cost"][5:4000] = 1.5
    session.acknowledged()
    session.engine.engine.checkpoint()
    table.cast_column("cost", "i4", unsafe=True)
    session.acknowledged()
    table["late"].fill_value = 3
    session.acknowledged()


def key_churn(session: Session) -> None:
    """The same keys with ever new values: what is replaced becomes room for what comes."""
    store = session.engine.store
    runs = store.create_keystore("runs")
    session.acknowledged()
    written = 0
    for i in range(36):
        size = (60_000, 9000, 120_000, 500)[i % 4 - i % 3]
        runs[f"run {i % 4}"] = noise(size, i)
        session.acknowledged()
        written += size
        if i % 5 == 4:
            runs.update({n: noise(4000, n + i) for n in range(10)})
            session.acknowledged()
        if i % 7 == 6:
            del runs[f"run {(i + 1) % 4}"]
            session.acknowledged()
        if i % 4 == 3:
            session.engine.engine.checkpoint()
        if i == 13:
            store = died(session)
            runs = store["runs"]
    # Otherwise this is no test of space that is used again.
    used = store.info.total_bytes - len(empty_store())
    assert used < 0.6 * written, (used, written)


def change_in_place(session: Session) -> None:
    """Rows updated, deleted, inserted, upserted and cut off, by patches and by pages."""
    store = session.engine.store
    store["trades"] = rows_of(6000, 1)
    session.acknowledged()
    for i in range(6):
        trades = store["trades"]
        trades.where("size % 31 == i", i=i).update({"price": kist.expr("price + size")})
        session.acknowledged()
        trades.where("size > low", low=900 - 40 * i).delete()
        session.acknowledged()
        for row in trades.where("size == n", n=100 + 10 * i):
            row["price"] = i
            row.update()
        session.acknowledged()
        with store.transaction():
            trades.insert(50 * i, rows_of(30, 40 + i))
            trades.drop_before(20)
        session.acknowledged()
        trades.upsert(rows_of(120, 60 + i), on="size")
        session.acknowledged()
        if i == 2:
            store = died(session)
        if i % 2:
            session.engine.engine.checkpoint()
    store["trades"].update({"price": 1.5})
    session.acknowledged()
    store["trades"].truncate(40)
    session.acknowledged()


def indexes(session: Session) -> None:
    """Indexes made, dropped and kept current by changes of all kinds; some of them fail."""
    store = session.engine.store
    store["deals"] = rows_of(6000, 1)
    session.acknowledged()
    store["deals"].create_index("size")
    session.acknowledged()
    store["deals"].create_index("sym", "price")
    session.acknowledged()
    for i in range(5):
        deals = store["deals"]
        deals.append(rows_of(900, 20 + i))
        session.acknowledged()
        deals.where("size == n", n=100 + 10 * i).update({"size": 5 + i})
        session.acknowledged()
        deals.where("size > low", low=950 - 40 * i).delete()
        session.acknowledged()
        with contextlib.suppress(kist.ConstraintError):
            deals.create_index("flag", unique=True)
        with store.transaction():
            deals.drop_index("size")
            deals.create_index("size")
        session.acknowledged()
        if i == 2:
            store = died(session)
        if i % 2:
            session.engine.engine.checkpoint()
    assert len(store["deals"].indexes) == 2
    store["deals"].drop_column("sym")
    session.acknowledged()
    session.engine.engine.checkpoint()


def many_datasets(session: Session) -> None:
    """Forty datasets made, changed, moved and deleted, each time in one transaction."""
    store = session.engine.store
    for turn in range(4):
        with store.transaction(f"turn {turn}"):
            for i in range(40):
                name = f"g{i % 3}/d{i}"
                if i % 4 == 3 and turn:
                    store[name][f"turn {turn}"] = turn
                elif i % 4 == 3:
                    store.create_keystore(name)["n"] = i
                elif turn and i % 4 == 2:
                    store[name].append(rows_of(turn, i))
                else:
                    store[name] = noise(300, i + turn) if i % 2 else rows_of(9, i + turn)
            store.attrs["turn"] = turn
        session.acknowledged()
        store["g1/d1"][:5] = turn
        session.acknowledged()
        if turn == 1:
            store = died(session)
    store.move("g0", "moved")
    session.acknowledged()
    with store.transaction():
        for name in ("moved", "g1", "g2"):
            del store[name]
    session.acknowledged()


def compact(session: Session) -> None:
    """A file with holes made small, twice, and written to in between."""
    store = session.engine.store
    for i in range(8):
        store[f"d{i}"] = noise(30_000 + 9000 * (i % 3), i)
        session.acknowledged()
    store["trades"] = rows_of(4000, 1)
    session.acknowledged()
    store.tag("kept")
    session.acknowledged()
    for i in range(0, 7, 2):
        del store[f"d{i}"]
        session.acknowledged()
    before = store.info.total_bytes
    store.compact()
    session.acknowledged()
    store["trades"].delete(slice(0, 3900))
    session.acknowledged()
    store.untag("kept")
    session.acknowledged()
    store = died(session)
    store.compact()
    assert store.info.total_bytes < before
    session.acknowledged()
    store["d9"] = noise(50_000, 9)
    session.acknowledged()


def tags(session: Session) -> None:
    """What tags kept is given out again once they are gone: by their writer, and by the next."""
    store = session.engine.store
    for n, next_writer in enumerate((False, True)):
        for i in range(3):
            store[f"d{i}"] = noise(20_000 + 7000 * i, 10 * n + i)
            session.acknowledged()
        store.tag("kept")
        session.acknowledged()
        for i in range(3):
            del store[f"d{i}"]
            session.acknowledged()
        for _ in range(3):  # but for the tag, their space would be free now
            session.engine.engine.checkpoint()
        store.untag("kept")
        session.acknowledged()
        if next_writer:
            store = died(session)
        else:
            session.engine.engine.checkpoint()
        store[f"new{n}"] = noise(25_000, 10 * n + 9)
        session.acknowledged()


def retention(session: Session) -> None:
    """Writers that keep three versions, none, one: `stages` says that each version is whole."""
    for i, retain in enumerate((3, 0, 1, 2)):
        session.reopen(kill=i == 2, retain=retain)
        store = session.engine.store
        for n in range(5 * i, 5 * i + 5):
            with store.transaction():
                store.attrs["stage"] = n
                store["image"] = np.full(3000, n) + np.arange(3000) % 7
                if "table" not in store:
                    store.create_table("table", dtype=[("n", "i8"), ("i", "i8")])
                store["table"].append({"n": np.full(20, n), "i": np.arange(20)})
            session.acknowledged()
        if i == 2:
            store.tag("kept")
            session.acknowledged()


def put_off(session: Session) -> None:
    """Rows of arrays one by one in transactions: values wait, are read, taken back, moved."""
    store = session.engine.store
    store.create_array("x", shape=(24, 40), dtype="<i4", chunks=(8, 16))
    session.acknowledged()
    store.create_array("g/y", shape=(24,), dtype="<f8", chunks=(5,), fill_value=np.nan)
    session.acknowledged()
    for turn in range(5):
        x, y = store["x"], store["g/y"]
        with store.transaction():
            for i in range(turn, 24, 2):
                x[i] = i + 100 * turn
                y[i] = turn
                if i % 8 == 7:
                    x[i - 1, 3:30:4] = x[i, :7]
            with contextlib.suppress(ZeroDivisionError), store.transaction():
                x[0] = -1
                y[3:9] = -1
                raise ZeroDivisionError
            if turn == 2:
                x.resize((20, 44))
                x[19, 40:] = noise(4, turn)
                x.resize((24, 40))
            store.copy("x", f"x{turn}")
            x[turn, ::3] = noise(14, turn)
        session.acknowledged()
        with contextlib.suppress(ZeroDivisionError), store.transaction():
            x[5] = -7
            raise ZeroDivisionError
        if turn % 2:
            store = died(session)
        if turn == 3:
            del store["x0"]
            session.acknowledged()


def stage_of(store: Any) -> int:
    """The stage that a version shows; raises when its objects are of several."""
    if "stage" not in store.attrs:
        assert "image" not in store and "table" not in store
        return -1
    stage = int(store.attrs["stage"])
    assert store["image"][...].tolist() == (np.full(3000, stage) + np.arange(3000) % 7).tolist()
    assert store["table"]["n"][:].tolist() == [n for n in range(stage + 1) for _ in range(20)]
    return stage


def stages(opened: OpenStore) -> Any:
    """Newest state and tags, after a look at every version that is listed."""
    # Every third: there are up to twenty.
    history = opened.store.history()[::3]
    listed = [stage_of_version(opened, commit.id) for commit in history]
    assert listed == sorted(listed, reverse=True), listed
    return read_state(opened)


def stage_of_version(opened: OpenStore, commit: int) -> int:
    with opened.version(commit) as store:
        return stage_of(store)


def open_retaining(backend: Any, mode: str, durability: str, retain: int = 2) -> OpenStore:
    return OpenStore(backend, mode, durability, retain)


WORKLOADS: dict[str, Callable[[Session], None]] = {
    "create": create,
    "small appends": small_appends,
    "large writes": large_writes,
    "overwrite": overwrite,
    "resize": resize,
    "delete": delete,
    "change in place": change_in_place,
    "schema": schema,
    "indexes": indexes,
    "key store churn": key_churn,
    "many datasets": many_datasets,
    "compact": compact,
    "tags": tags,
    "put off": put_off,
}

CASES: dict[str, Case] = {
    f"{name}, {durability}": case(workload, durability)
    for durability in DURABILITIES
    for name, workload in WORKLOADS.items()
} | {
    f"change of retention, {durability}": Case(
        retention, stages, partial(open_retaining, durability=durability), probe, durability
    )
    for durability in DURABILITIES
}
