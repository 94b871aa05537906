"""Queries of the archive: 0.01, 3 and 50 % of the rows, on clustered and unclustered columns."""

from __future__ import annotations

import math

import numpy as np

from bench.archive.reads import same
from bench.engines.table import Condition, TableEngine, Where, mask_of
from bench.steps import Steps
from bench.workloads import Records

CLUSTERED = "serial4"
"""Rises monotonically by up to 256 a row."""
QUERY_FIELDS = ["sent", "price0", "count0"]
SUM_FIELD = "price0"
KEY, MEAN_FIELD = "symbol", "price0"

SHARES = (("0.01 %", 0.0001), ("3 %", 0.03), ("50 %", 0.5))

# Small ranges of random integers: a column of 500 values, and one of 405 for the fine sieve.
UNCLUSTERED: dict[str, Where] = {
    "0.01 %": (Condition("count9", "<", 1), Condition("count8", "<", 20)),
    "3 %": (Condition("count9", "<", 15),),
    "50 %": (Condition("count9", "<", 250),),
}


def clustered(rows: Records, share: float) -> Where:
    """A range of the clustered column that holds a share of the rows, two fifths in."""
    values, n = rows[CLUSTERED], len(rows)
    start = int(n * 0.4)
    stop = min(n - 1, start + max(1, int(n * share)))
    low, high = int(values[start]), int(values[stop])
    return (Condition(CLUSTERED, ">=", low), Condition(CLUSTERED, "<", high))


def run(engine: TableEngine, steps: Steps, rows: Records) -> None:
    """Rows, count and sum of each condition, then the mean by a short string."""
    engine.open()
    for label, share in SHARES:
        for kind, where in (
            ("clustered", clustered(rows, share)),
            ("unclustered", UNCLUSTERED[label]),
        ):
            _query(engine, steps, rows, f"{label} {kind}", where)
    _mean_by(engine, steps, rows)
    engine.close()


def _query(engine: TableEngine, steps: Steps, rows: Records, label: str, where: Where) -> None:
    wanted = rows[mask_of(where, rows)]
    total = float(wanted[SUM_FIELD].sum())
    steps.time(
        f"query rows, {label}",
        lambda: engine.rows_where(where, QUERY_FIELDS),
        lambda found: same(found, wanted, QUERY_FIELDS),
        repeat=3,
    )
    steps.time(
        f"query count, {label}",
        lambda: engine.count_where(where),
        lambda found: found == len(wanted),
        repeat=3,
    )
    # Sums are added in another order by each engine; the order moves only the last bits.
    steps.time(
        f"query sum, {label}",
        lambda: engine.sum_where(where, SUM_FIELD),
        lambda found: math.isclose(found, total, rel_tol=1e-11),
        repeat=3,
    )


def _mean_by(engine: TableEngine, steps: Steps, rows: Records) -> None:
    keys = np.ascontiguousarray(rows[KEY])
    wanted = {bytes(k): float(rows[MEAN_FIELD][keys == k].mean()) for k in np.unique(keys)}

    def right(found: dict[bytes, float]) -> bool:
        return found.keys() == wanted.keys() and all(
            math.isclose(found[k], mean, rel_tol=1e-11) for k, mean in wanted.items()
        )

    steps.time("group-by mean", lambda: engine.mean_by(KEY, MEAN_FIELD), right, repeat=3)
