"""Changes of the archive: ten large appends, a thousand small ones, an update of 5 %."""

from __future__ import annotations

import numpy as np

from bench.engines.table import Condition, TableEngine, Where, mask_of
from bench.steps import Steps, equal
from bench.workloads import Records

N_LARGE, N_SMALL, SMALL_ROWS = 10, 1_000, 10
UPDATE: Where = (Condition("count9", "<", 25),)
UPDATE_FIELD = "price1"
"""One row in twenty, anywhere: ``price1 + 1 where count9 < 25``."""


def large_rows(n_rows: int) -> int:
    """Rows of one of the ten appends: 10,000 at full size, fewer for a small table."""
    return min(10_000, max(1, n_rows // 100))


def n_small(n_rows: int) -> int:
    """How many appends of ten rows: 1,000 at full size, fewer for a small table."""
    return min(N_SMALL, max(10, n_rows // 1_000))


def n_more(n_rows: int) -> int:
    """Rows that are appended in all."""
    return N_LARGE * large_rows(n_rows) + n_small(n_rows) * SMALL_ROWS


def run(engine: TableEngine, steps: Steps, rows: Records, more: Records) -> None:
    """Update, then append; each is verified by reading everything."""
    wanted = rows.copy()
    if not engine.steps:
        _update(engine, steps, wanted)
    large = N_LARGE * large_rows(len(rows))

    def append() -> None:
        engine.open(writable=True)
        for part in np.array_split(more[:large], N_LARGE):
            engine.append(part)
        engine.close()

    if not steps.time("ten appends of 10,000 rows", append):
        return
    engine.open(writable=True)
    parts = [more[at : at + SMALL_ROWS] for at in range(large, len(more), SMALL_ROWS)]
    done = steps.each(
        "an append of ten rows",
        (lambda part=part: engine.append(part) for part in parts),
        tail=True,
    )
    engine.close()
    engine.open()
    found = engine.read_all()
    engine.close()
    n = len(rows) + large + done * SMALL_ROWS
    if not equal(found, np.concatenate([wanted, more[: n - len(rows)]])):
        steps.wrong("ten appends of 10,000 rows", "an append of ten rows")
        steps.wrong("an append of ten rows, p99")


def _update(engine: TableEngine, steps: Steps, wanted: Records) -> None:
    def update() -> None:
        engine.open(writable=True)
        try:
            engine.update(UPDATE, UPDATE_FIELD, 1.0)
        finally:
            engine.close()

    def right(_: None) -> bool:
        wanted[UPDATE_FIELD][mask_of(UPDATE, wanted)] += 1.0
        engine.open()
        found = engine.read_field(UPDATE_FIELD)
        engine.close()
        return equal(found, np.ascontiguousarray(wanted[UPDATE_FIELD]))

    steps.time("update of 5 %", update, right)
