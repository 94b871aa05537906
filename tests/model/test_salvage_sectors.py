"""Of a page with a damaged sector the other sectors are saved, whatever the column holds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.format import keys
from kist.format.layout import FRAME
from kist.format.values import unpack_record

N = 60_000
TEXT: Any = np.dtypes.StringDType(na_object=None)


def columns() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    words = np.array([f"word {n}" for n in rng.integers(0, 40_000, N)], TEXT)
    words[::97] = None
    return {
        "noise": rng.normal(size=N),
        "walk": np.cumsum(rng.integers(-3, 4, N)).astype("i8"),
        "price": np.round(rng.normal(100, 5, N), 2),
        "cube": rng.integers(0, 1 << 15, (N, 2, 3)).astype("i2"),
        "name": rng.integers(0, 9_999, N).astype("S6"),
        "few": np.resize(np.array(["red", "green", "blue"], TEXT), N),
        "words": words,
        "flag": rng.random(N) < 0.3,
        "gaps": np.ma.MaskedArray(rng.integers(0, 1000, N), rng.random(N) < 0.1),
        "when": np.datetime64("2026-01-01", "s") + np.cumsum(rng.integers(0, 9, N)),
        "one": np.full(N, 7),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("salvage") / "whole.kist"
    values = columns()
    with kist.open(path, "w") as store:
        store.create_table("t", values)
    return path, values


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes((byte[0] ^ 0x41,)))


def pages(path: Path) -> list[tuple[int, int]]:
    """Where the bodies of pages are: (first byte, bytes)."""
    with kist.open(path) as store:
        table: Any = store["t"]
        found = table._view().scan(*keys.whole_node(table._id))
        pointers = [p for k, v in found if keys.kind_of(k) == b"P" for p in unpack_record(v)[0]]
    return [(p.offset + FRAME.size, p.length) for p in pointers if p.length > 200]


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_rows_that_are_not_told_as_lost_are_what_they_were(
    made: tuple[Path, dict[str, Any]], tmp_path: Path, seed: int, deleted: bool
) -> None:
    path, values = made
    broken, out = tmp_path / "broken.kist", tmp_path / "out.kist"
    broken.write_bytes(path.read_bytes())
    kept = np.ones(N, bool)
    if deleted:
        kept[100:9_000:3] = False
        with kist.open(broken, "r+") as store:
            store["t"].delete(np.flatnonzero(~kept))
    rng = random.Random(seed)
    for start, length in rng.sample(pages(broken), 8):
        flip(broken, start + rng.randrange(length))
    report = kist.salvage(broken, out)
    lost = {name: np.zeros(int(kept.sum()), bool) for name in values}
    for loss in report.losses:
        assert loss.node == "/t" and loss.rows is not None
        for name in [loss.column] if loss.column else values:
            assert name is not None
            lost[name.split(".")[0]][slice(*loss.rows)] = True
    assert any(found.any() for found in lost.values())
    with kist.open(out) as store:
        assert store.check().ok
        for name, expected in values.items():
            found, wanted = store["t"][name][:], expected[kept]
            whole = ~lost[name]
            assert found[whole].tolist() == wanted[whole].tolist(), name
    # Less is lost than all rows of the pages that were hit.
    hit = [found for found in lost.values() if found.any()]
    assert min(float(found.mean()) for found in hit) < 0.5
