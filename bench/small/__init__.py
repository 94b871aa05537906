"""What kist's small commits cost in bytes, syncs, time and memory.

- ``commits``: ten rows appended, a row assigned, a row deleted, an attribute set, in a store that
  holds much else; what opening that store reads.
- ``growth``: a table made by many appends of ten rows, and what is left to merge after a kill.
- ``overwrite``: one column written over and over.
- ``durable``: one key put, ten rows of 3, 10 and 50 fields appended, beside the disk's own limit
  and SQLite.
- ``verify``: the share of checksums in a full read; the speed of check.
- ``memory``: peak memory of writing and reading in blocks.

Each part runs in a process of its own: ``python -m bench.small`` with a request as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.engines.kist_store import Kist
from bench.harness import WorkerError, run_module

PARTS = ("build", "commits", "open", "growth", "kills", "overwrite", "durable", "verify", "memory")


def run(
    folder: Path,
    *,
    n_rows: int,
    n_datasets: int,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run all parts in ``folder``; figures by part, or ``{"skipped": ...}``.

    ``n_rows`` is the size of the big table; the other numbers follow from it.
    """
    reason = Kist.missing()
    if reason is not None:
        log(f"skipped small: {reason}")
        return {"small": {"skipped": reason}}
    found: dict[str, Any] = {}
    for part in PARTS:
        log(f"small: {part}")
        request = {"part": part, "folder": str(folder), "rows": n_rows, "datasets": n_datasets}
        try:
            found[part] = run_module("bench.small", json.dumps(request))
        except WorkerError as error:
            found[part] = {"error": str(error)}
            log(f"  {part}: {error}")
    return found
