"""The recarray archive: a table of 50 fields, written, read, queried and changed.

- ``reads``: all of it, one field, parts, single rows, random rows.
- ``queries``: rows, count and sum where conditions hold; a mean by a short string.
- ``changes``: appends large and small, an update.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.archive import changes, queries, reads
from bench.engines import TABLE_ENGINES, VARIANTS
from bench.engines.table import TableEngine
from bench.steps import Steps
from bench.worker import Job
from bench.workloads import table

TITLE = "The recarray archive: 50 fields, 305 bytes a row"
ENGINES = TABLE_ENGINES
EXTRA = VARIANTS


def prepare(folder: Path, job: Job) -> None:
    """Make the rows once for all engines: those to write, and those to append."""
    rows = table(job.rows + changes.n_more(job.rows))
    np.save(folder / "rows.npy", rows[: job.rows])
    np.save(folder / "more.npy", rows[job.rows :])


def run(engine: TableEngine, steps: Steps, job: Job) -> None:
    """Write, then whatever the engine offers; a limit only what means something for it."""
    rows = np.load(Path(job.shared) / "rows.npy")
    written = steps.time("write", lambda: engine.write(rows))
    if not written:
        return
    steps.note("raw bytes", rows.nbytes)
    if not engine.name.startswith("limit:"):
        steps.note("stored bytes", engine.stored_bytes())
    reads.run(engine, steps, rows)
    if engine.steps and "write" not in engine.steps:
        del steps.outcomes["write"]  # was needed to get here, but measures nothing
    if not engine.steps:
        queries.run(engine, steps, rows)
        # Unlike its time, a write is only right if what was read back is.
        if not steps.right("read all to a recarray"):
            steps.wrong("write")
    if not engine.steps or "append" in engine.steps:
        changes.run(engine, steps, rows, np.load(Path(job.shared) / "more.npy"))
