"""How many requests it takes to open a file, however it was written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.storage.remote import RemoteBackend
from kist.testing.range_server import RangeServer

pytest.importorskip("obstore")

KEY = bytes(range(32))


def rows(n: int) -> np.ndarray[Any, Any]:
    found = np.zeros(n, [(f"f{i:02}", "f8") for i in range(10)])
    for i, name in enumerate(found.dtype.names or ()):
        found[name] = np.arange(n) * (i + 1)
    return found


def table(folder: Path) -> Path:
    path = folder / "table.kist"
    with kist.open(path, "w") as store:
        trades = store.create_table("trades", rows(0))
        for _ in range(3):
            trades.append(rows(70_000))
        trades.create_index("f03")
        trades.append(rows(10))
        store["images"] = np.arange(400 * 300).reshape(400, 300)
    return path


def compacted(folder: Path) -> Path:
    with kist.open(table(folder)) as store:
        store.backup(folder / "made.kist", compact=True)
    return folder / "made.kist"


def split(folder: Path) -> Path:
    kist.split(table(folder), "trades", parts=3, out=folder / "parts")
    return sorted((folder / "parts").iterdir())[1]


def merged(folder: Path) -> Path:
    split(folder)
    kist.merge(sorted((folder / "parts").iterdir()), folder / "made.kist")
    return folder / "made.kist"


def sealed(folder: Path) -> Path:
    pytest.importorskip("cryptography")
    with kist.open(folder / "sealed.kist", "w", encrypt=KEY) as store:
        store["trades"] = rows(70_000)
        store.backup(folder / "made.kist", compact=True)
    return folder / "made.kist"


def links(folder: Path) -> Path:
    with kist.open(folder / "links.kist", "w") as store:
        store["trades"] = rows(1_000)
        with store.transaction():
            for number in range(600):
                store.create_link(f"to/{number:05}", "/trades")
        store.backup(folder / "made.kist", compact=True)
    return folder / "made.kist"


def many(folder: Path) -> Path:
    with kist.open(folder / "many.kist", "w") as store:
        store["trades"] = rows(1_000)
        with store.transaction():
            for number in range(600):
                store[f"of/{number % 7}/{number}"] = np.arange(9)
        store.backup(folder / "made.kist", compact=True)
    return folder / "made.kist"


def in_use(folder: Path) -> Path:
    """What the file looks like while its writer is at work."""
    with kist.open(folder / "a.kist", "w") as store:
        store["trades"] = rows(70_000)
        for _ in range(40):
            store["trades"].append(rows(10))
        shutil.copy(folder / "a.kist", folder / "copy.kist")
    return folder / "copy.kist"


@pytest.mark.parametrize("make", [compacted, split, merged, sealed, links, many, table, in_use])
def test_opening_takes_at_most_three_round_trips(make: Any, tmp_path: Path) -> None:
    data = make(tmp_path).read_bytes()
    with (
        RangeServer({"/a.kist": data}) as server,
        kist.open(server.url("/a.kist"), secrets=KEY if make is sealed else None) as store,
    ):
        backend = store._session.engine.backend
        assert isinstance(backend, RemoteBackend)
        # Laid out anew, it is as many requests; of files as they stand, ranges go together.
        assert backend.rounds <= 3
        assert make is in_use or len(server.requests) <= (1 if make is split else 2)
        assert "trades" in store and len(store["trades"]) > 0
        if make is links:
            assert len(store["to"]) == 600 and store["to/00599"].is_same(store["trades"])
        assert backend.rounds <= 3, "to name a dataset is part of opening"


def test_a_tag_is_opened_with_the_same_few_round_trips(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["trades"] = rows(70_000)
        store.tag("paper")
        store["trades"].append(rows(70_000))
    data = (tmp_path / "a.kist").read_bytes()
    with (
        RangeServer({"/a.kist": data}) as server,
        kist.open(server.url("/a.kist"), version="paper") as store,
    ):
        assert store._session.engine.backend.rounds <= 4  # type: ignore[attr-defined]
        assert len(store["trades"]) == 70_000
