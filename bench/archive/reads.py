"""Reading the archive: all of it, one field, parts of three, single rows, random rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.engines.table import Some, TableEngine, as_columns
from bench.records import Columns, split
from bench.steps import Steps, equal
from bench.workloads import FIELD, Records

PART_FIELDS = ["sent", "price0", "symbol"]
RANDOM_FIELDS = ["price3", "count4"]
N_ROWS, N_COLD, N_RANDOM, BLOCK = 1_000, 30, 100_000, 512
SHARE = 0.01


def run(engine: TableEngine, steps: Steps, rows: Records) -> None:
    """All reading steps; a limit runs those that it names."""

    def wanted(name: str) -> bool:
        return not engine.steps or name in engine.steps

    if wanted("first_value"):
        _first_value(engine, steps, rows)
    engine.open()
    if wanted("read_all"):
        steps.time(
            "read all to a recarray", engine.read_all, lambda got: equal(got, rows), repeat=3
        )
    if wanted("read_columns"):
        steps.time("read all to columns", engine.read_columns, _columns_of(rows), repeat=3)
    if wanted("read_field"):
        column = np.ascontiguousarray(rows[FIELD])
        steps.time(
            "one field", lambda: engine.read_field(FIELD), lambda got: equal(got, column), repeat=5
        )
    if not engine.steps:
        _parts(engine, steps, rows)
        _single_rows(engine, steps, rows)
    engine.close()


def same(found: Some, wanted: Records, fields: list[str]) -> bool:
    """Whether rows of some fields are the ones wanted, bit for bit."""
    columns = as_columns(found)
    return all(
        equal(np.ascontiguousarray(columns[name]), np.ascontiguousarray(wanted[name]))
        for name in fields
    )


def _columns_of(rows: Records) -> Callable[[Columns], bool]:
    wanted = split(rows)

    def right(found: Columns) -> bool:
        return found.keys() == wanted.keys() and all(equal(found[n], wanted[n]) for n in wanted)

    return right


def _first_value(engine: TableEngine, steps: Steps, rows: Records) -> None:
    at = len(rows) * 2 // 3

    def first_value() -> Any:
        engine.open()
        return engine.value(FIELD, at)

    def right(value: Any) -> bool:
        engine.close()
        return equal(np.atleast_1d(value), np.ascontiguousarray(rows[FIELD][at : at + 1]))

    steps.time("open and read one value", first_value, right, repeat=5)


def _parts(engine: TableEngine, steps: Steps, rows: Records) -> None:
    rng = np.random.default_rng((7, steps.turn))
    n = len(rows)
    size = max(1, int(n * SHARE))
    start = int(rng.integers(0, n - size + 1))
    steps.time(
        "3 fields of 1 %, a range",
        lambda: engine.read_range(PART_FIELDS, start, start + size),
        lambda found: same(found, rows[start : start + size], PART_FIELDS),
        repeat=5,
    )
    spread = np.sort(rng.choice(n, size, replace=False))
    steps.time(
        "3 fields of 1 %, anywhere",
        lambda: engine.take(PART_FIELDS, spread),
        lambda found: same(found, rows[spread], PART_FIELDS),
        repeat=3,
    )
    random = rng.choice(n, min(N_RANDOM, n // 2), replace=False)
    steps.time(
        "100k random rows, 2 fields",
        lambda: engine.take(RANDOM_FIELDS, random),
        lambda found: same(found, rows[random], RANDOM_FIELDS),
        repeat=3,
    )


def _single_rows(engine: TableEngine, steps: Steps, rows: Records) -> None:
    """Rows one by one: with a fresh handle, anywhere with one handle, and where one just was."""
    rng = np.random.default_rng((8, steps.turn))

    def right(index: int, found: Any) -> bool:
        return equal(engine.record(found, rows.dtype), rows[index : index + 1])

    def each(step: str, places: list[int], *, fresh: bool = False) -> None:
        def calls() -> Any:
            for place in places:
                if fresh:  # between two calls: not in the time
                    engine.close()
                    engine.open()
                yield lambda place=place: engine.row(place)

        steps.each(step, calls(), lambda i, found: right(places[i], found))

    n = len(rows)
    each("a single row, fresh handle", rng.integers(0, n, N_COLD).tolist(), fresh=True)
    each("a single row, anywhere", rng.integers(0, n, N_ROWS).tolist())
    start = int(rng.integers(0, max(1, n - BLOCK)))
    places = rng.integers(start, min(n, start + BLOCK), N_ROWS + 1).tolist()
    if "a single row, anywhere" not in steps.not_offered:
        engine.row(places[0])
        each("a single row, block cached", places[1:])
