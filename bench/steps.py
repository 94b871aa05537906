"""What is timed for each engine, and what is verified outside the timing before a time counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bench.engines import ListingEngine, TableEngine
from bench.measure import Sample, drop_from_page_cache, measure
from bench.records import same_bits
from bench.workloads import FIELD, Records, dataset_names

T = TypeVar("T")

N_APPENDS = 10
REPEATS = {"read_all": 3, "read_field": 5, "first_value": 5, "list": 5}
"""How often a step that changes nothing is repeated within a round."""

TITLES = {
    "write": "durable write of the whole table",
    "read_all": "read back to one structured array",
    "read_field": "read one field",
    "first_value": "open and read one value",
    "append": "open, ten durable appends, close",
    "list": "open and list the datasets",
}


@dataclass
class Outcome:
    """One step of one engine in one round."""

    samples: list[Sample] = field(default_factory=list)
    verified: bool = True
    error: str | None = None


class Round:
    """Runs the steps of one engine once; a step that fails is recorded, the others go on."""

    def __init__(self, *, cold: bool = False) -> None:
        self.cold = cold
        self.outcomes: dict[str, Outcome] = {}
        self.stored_bytes = 0

    def _time(self, step: str, call: Callable[[], T], check: Callable[[T], bool]) -> bool:
        """Take one sample of a step; whether it worked and was right."""
        outcome = self.outcomes.setdefault(step, Outcome())
        try:
            result, sample = measure(call)
            right = check(result)
        except Exception as error:  # another project's error: recorded, shown in the report
            outcome.error = f"{type(error).__name__}: {error}"
            return False
        outcome.samples.append(sample)
        outcome.verified &= right
        return right

    def table(self, engine: TableEngine, rows: Records, more: Records) -> None:
        """Write ``rows``, read them, then append ``more`` in ten parts."""
        if not self._time("write", lambda: engine.write(rows), lambda _: True):
            return
        self.stored_bytes = engine.stored_bytes()
        self._read_steps(engine, rows)
        if "append" in engine.steps:
            self._append_step(engine, rows, more)
        if "write" not in engine.steps:
            del self.outcomes["write"]  # was needed to get here, but measures nothing

    def _read_steps(self, engine: TableEngine, rows: Records) -> None:
        column = np.ascontiguousarray(rows[FIELD])

        if "first_value" in engine.steps:
            self._first_value_step(engine, column)
        engine.open()
        if "read_all" in engine.steps:
            for _ in range(REPEATS["read_all"]):
                self._forget(engine)
                self._time("read_all", engine.read_all, lambda got: same_bits(got, rows))
        if "read_field" in engine.steps:
            for _ in range(REPEATS["read_field"]):
                self._forget(engine)
                self._time(
                    "read_field",
                    lambda: engine.read_field(FIELD),
                    lambda got: same_bits(got, column),
                )
        engine.close()
        # Unlike the time, a write is only right if what was read back is.
        read = self.outcomes.get("read_all")
        if read is not None and "write" in engine.steps:
            self.outcomes["write"].verified = read.verified and read.error is None

    def _first_value_step(self, engine: TableEngine, column: npt.NDArray[Any]) -> None:
        row = len(column) * 2 // 3

        def first_value() -> Any:
            engine.open()
            return engine.value(FIELD, row)

        def right_value(value: Any) -> bool:
            engine.close()
            return same_bits(np.atleast_1d(value), column[row : row + 1])

        for _ in range(REPEATS["first_value"]):
            self._forget(engine)
            self._time("first_value", first_value, right_value)

    def _append_step(self, engine: TableEngine, rows: Records, more: Records) -> None:
        parts = np.array_split(more, N_APPENDS)

        def append() -> None:
            engine.open(writable=True)
            for part in parts:
                engine.append(part)
            engine.close()

        def appended(_: None) -> bool:
            engine.open()
            found = engine.read_all()
            engine.close()
            return same_bits(found[: len(rows)], rows) and same_bits(found[len(rows) :], more)

        self._time("append", append, appended)

    def listing(self, engine: ListingEngine, n_datasets: int) -> None:
        """Open a store of ``n_datasets`` datasets and list it; ``build`` made it before."""
        names = dataset_names(n_datasets)
        for _ in range(REPEATS["list"]):
            self._time("list", engine.open_and_list, lambda found: found == names)

    def _forget(self, engine: TableEngine) -> None:
        if self.cold:
            drop_from_page_cache(engine.folder)


def rows_to_append(n_rows: int) -> int:
    """Rows of one of the ten appends: 10,000 at full size, fewer for a small table."""
    return min(10_000, max(1, n_rows // 100))
