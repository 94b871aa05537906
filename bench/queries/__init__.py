"""Questions to a table of seven columns: one million rows, or twenty by ``--rows 20000000``.

- ``data``: the rows, and what every question must be answered with.
- ``engines``: kist and those that keep tables; ``arrow``: those that speak Arrow.

Rows, count and sum of 0.01, 3 and 50 % on a clustered and an unclustered column, the mean by a
short string, a sort, an index and what is looked up by it, an update and a delete of 5 %. For kist
also the same questions to nullable columns and to text of other kinds, beside the plain ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.queries import data
from bench.queries.arrow import ARROW_ENGINES
from bench.queries.engines import TABLE_ENGINES, Kist, QueryEngine
from bench.steps import Steps
from bench.worker import Job

TITLE = "Questions to a table of seven columns, 48 bytes a row"
ENGINES: dict[str, type[QueryEngine]] = {
    engine.name: engine for engine in (*TABLE_ENGINES, *ARROW_ENGINES)
}
N_LOOK_UPS = 200


def prepare(folder: Path, job: Job) -> None:
    """Make rows and answers once for all engines."""
    for number, block in enumerate(data.iter_blocks(job.rows)):
        np.save(folder / f"rows-{number:03d}.npy", block)
    (folder / "answers.json").write_text(json.dumps(data.answers(job.rows)))


def _blocks(folder: Path) -> Iterator[tuple[data.Array, data.Array]]:
    for number, path in enumerate(sorted(folder.glob("rows-*.npy"))):
        block = np.load(path)
        yield block, data.nulls(block, number)


def run(engine: QueryEngine, steps: Steps, job: Job) -> None:
    """All questions, then the index, then the changes."""
    shared, n_rows = Path(job.shared), job.rows
    right = json.loads((shared / "answers.json").read_text())
    if not steps.time("write", lambda: engine.write(_blocks(shared), n_rows)):
        return
    steps.note("stored bytes", engine.stored_bytes())
    engine.open()
    for label, where in data.wheres(n_rows).items():
        _ask(engine, steps, right, label, where)
    steps.time("group-by mean", lambda: engine.means("symbol"), _close(right["means"]), repeat=3)
    steps.time(
        "sort by one column",
        engine.sorted_prices,
        lambda found: data.digest({"price": found}, ["price"]) == right["sorted"],
        repeat=2,
    )
    if isinstance(engine, Kist):
        engine.close()
        engine.write_twins(_blocks(shared))
        engine.open()
        _other_kinds(engine, steps, right)
    engine.close()
    steps.time("create index", engine.create_indexes)
    _ask_index(engine, steps, right, n_rows)
    _change(engine, steps, right)


def _ask(
    engine: QueryEngine, steps: Steps, right: Mapping[str, Any], label: str, where: data.Where
) -> None:
    names = data.FIELDS
    steps.time(
        f"rows, {label}",
        lambda: engine.rows(where, names),
        lambda found: data.digest(found, names) == right["rows"][label],
        repeat=3,
    )
    wanted = right["count"][label]
    steps.time(f"count, {label}", lambda: engine.count(where), lambda n: n == wanted, repeat=3)
    # Sums are added in another order by each engine; the order moves only the last bits.
    steps.time(
        f"sum, {label}",
        lambda: engine.sum(where),
        lambda found: math.isclose(found, right["sum"][label], rel_tol=1e-11),
        repeat=3,
    )


def _close(wanted: Mapping[str, float]) -> Callable[[Mapping[str, float]], bool]:
    return lambda found: (
        found.keys() == wanted.keys()
        and all(math.isclose(found[word], mean, rel_tol=1e-11) for word, mean in wanted.items())
    )


def _other_kinds(engine: Kist, steps: Steps, right: Mapping[str, Any]) -> None:
    """The same questions to nullable columns and to text: each must cost little more."""
    for label, where in engine.unclustered.items():
        for kind, field in engine.codes.items():
            wanted = right["count" if kind == "no null" else "count nullable"][label]
            twin = where._replace(field=field)
            steps.time(
                f"count, {label}, {kind}",
                lambda twin=twin: engine.count(twin),
                lambda n, wanted=wanted: n == wanted,
                repeat=3,
            )
    for kind, field in engine.symbols.items():
        check = _close(right["means"])
        steps.time(f"group-by mean, {kind}", lambda f=field: engine.means(f), check, repeat=3)


def _ask_index(engine: QueryEngine, steps: Steps, right: Mapping[str, Any], n_rows: int) -> None:
    engine.open()
    label, names = "0.01 % unclustered", data.FIELDS
    where = data.wheres(n_rows)[label]
    steps.time(
        "rows, 0.01 % unclustered, indexed",  # engines without indexes do without
        lambda: engine.rows(where, names),
        lambda found: data.digest(found, names) == right["rows"][label],
        repeat=3,
    )
    wanted = data.keys(0, min(n_rows, data.BLOCK_ROWS), n_rows)
    some = np.random.default_rng(7).choice(wanted, min(len(wanted), N_LOOK_UPS), replace=False)
    steps.each(
        "look up a key by index",
        (lambda key=key: engine.find(int(key)) for key in some.tolist()),
        lambda i, found: found == 1,
    )
    engine.close()


def _change(engine: QueryEngine, steps: Steps, right: Mapping[str, Any]) -> None:
    """Update and delete 5 %; what is left is read in another handle."""

    def changed(change: Callable[[data.Where], None], where: data.Where) -> Callable[[], None]:
        def call() -> None:
            engine.open(writable=True)
            try:
                change(where)
            finally:
                engine.close()

        return call

    def added(_: None) -> bool:
        engine.open()
        total = engine.sum(None)
        engine.close()
        return math.isclose(total, right["updated"], rel_tol=1e-11)

    def left(_: None) -> bool:
        engine.open()
        found = engine.count(None)
        engine.close()
        return found == right["kept"]

    steps.time("update of 5 %", changed(engine.update, data.UPDATE), added)
    steps.time("delete of 5 %", changed(engine.delete, data.DELETE), left)
