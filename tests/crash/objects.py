"""Key stores, tables of strings and arrays as workloads for the crash checker.

``CASES`` is what ``python -m kist.testing.crash tests/crash/objects.py`` runs; the tests beside
this file run a share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from crash_stores import case

from kist.testing.crash import Session

STRINGS: Any = np.dtypes.StringDType(na_object=None)


def value_of(n: int, size: int) -> Any:
    rng = np.random.default_rng(n)
    return [
        n,
        {"n": n, "text": "é" * (size % 50)},
        rng.integers(0, 255, size, "u1"),
        (rng.normal(size=size // 8), f"run {n}", [n]),
        "long " * (size // 5),
    ][n % 5]


def key_churn(session: Session) -> None:
    """Values of every size put, replaced and removed; batches, savepoints, all keys cleared."""
    runs = session.engine.store.create_keystore("runs")
    session.acknowledged()
    rng = np.random.default_rng(3)
    for i in range(26):
        key = (f"run {i % 5}", i % 7, b"bytes")[i % 3]
        runs[key] = value_of(i, int(rng.integers(10, 30_000)))
        session.acknowledged()
        if i % 6 == 3:
            runs.update({n: value_of(n + i, 3000) for n in range(8)})
            session.acknowledged()
        if i % 6 == 5:
            runs.popitem()
            session.acknowledged()
        if i % 9 == 7:
            store = session.engine.store
            with store.transaction():
                runs["both"] = i
                try:
                    with store.transaction():
                        runs.clear()
                        runs["e\u0301"] = value_of(i, 9000)
                        raise ValueError("undone")
                except ValueError:
                    pass
                runs["e\u0301"] = value_of(i, 500)
            session.acknowledged()
        if i % 8 == 6:
            session.engine.engine.checkpoint()
        if i % 10 == 9:
            session.reopen(kill=i == 9)
            runs = session.engine.store["runs"]
    runs.clear()
    session.acknowledged()
    runs["last"] = value_of(2, 5000)
    session.acknowledged()


def words(n: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    texts = [None if k == 0 else f"wörd {k}" * (k % 4) for k in rng.integers(0, 40, n).tolist()]
    return np.array(texts, STRINGS)


def string_tables(session: Session) -> None:
    """Strings appended, replaced and deleted; folded, copied, moved and kept by a tag."""
    store = session.engine.store
    table = store.create_table("t", {"w": words(300, 0), "n": np.arange(300)})
    session.acknowledged()
    for i in range(18):
        table.append({"w": words(5 + 90 * (i % 3), i), "n": np.arange(5 + 90 * (i % 3))})
        session.acknowledged()
        if i % 4 == 1:
            table["w"][i : i + 40] = words(40, 100 + i)
            session.acknowledged()
        if i % 5 == 2:
            table.delete(slice(i, 4 * i + 10, 3))
            session.acknowledged()
        if i % 6 == 4:
            session.engine.engine.checkpoint()
        if i == 7:
            store.tag("kept")
            session.acknowledged()
            store.copy("t", "copy")
            session.acknowledged()
        if i == 11:
            session.reopen(kill=True)
            store = session.engine.store
            table = store["t"]
            store.move("copy", "moved")
            session.acknowledged()
    del store["moved"]
    session.acknowledged()
    store.compact()
    session.acknowledged()


def arrays(session: Session) -> None:
    """Arrays appended to, overwritten, shrunk and grown, read whole in every state."""
    store = session.engine.store
    rng = np.random.default_rng(4)
    log = store.create_array("log", shape=(0, 6), dtype="<f8", chunks=(64, 6))
    session.acknowledged()
    image = store.create_array("image", shape=(60, 60), dtype="<u2", chunks=(32, 32), fill_value=9)
    session.acknowledged()
    for i in range(20):
        log.append(rng.normal(size=(1 + 7 * (i % 4), 6)))
        session.acknowledged()
        if i % 3 == 1:
            image[i : i + 25, i::2] = rng.integers(0, 9, (25, (61 - i) // 2))
            session.acknowledged()
        if i % 5 == 3:
            log.resize((log.shape[0] - 9, 6))
            session.acknowledged()
            image.resize((60 - i, 60 + i))
            session.acknowledged()
            image.resize((60, 60))
            session.acknowledged()
        if i % 7 == 5:
            session.engine.engine.checkpoint()
        if i == 9:
            with store.transaction():
                image[...] = i
                log[:5] = 0
            session.acknowledged()
            store.tag("kept")
            session.acknowledged()
        if i % 8 == 6:
            session.reopen(kill=i == 6)
            store = session.engine.store
            log, image = store["log"], store["image"]
    del store["image"]
    session.acknowledged()
    store.compact()
    session.acknowledged()


CASES = {
    "key churn": case(key_churn),
    "relaxed, key churn": case(key_churn, "relaxed"),
    "string tables": case(string_tables),
    "arrays": case(arrays),
    "retained, arrays": case(arrays, retain=2),
    "none, arrays": case(arrays, "none"),
}
