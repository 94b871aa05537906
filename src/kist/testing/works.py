"""What `kist.testing.trials.Stage` can try: workloads, and how their stores are opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import kist
from kist.testing import column_work, linked_work, sealed_work, workload

__all__ = ["WORKS", "Work"]


class Work(NamedTuple):
    """Steps, and how the store is opened that they are taken in.

    Attributes
    ----------
    steps : mapping of str to callable
        What is done, by its name.
    options, making : mapping of str to object
        Of `kist.open`: for whoever opens the store, and for who makes it, beside that.
    beside : callable, optional
        Puts files into the folder of the store.
    """

    steps: Mapping[str, Callable[[kist.Store], object]]
    options: Mapping[str, Any] = {}
    making: Mapping[str, Any] = {}
    beside: Callable[[Path], None] | None = None


_BOTH: Final = {"secrets": [sealed_work.KEY, sealed_work.OTHER]}
_STORE: Final = {"secrets": {"/": sealed_work.KEY}}

WORKS: Final = {
    "everything": Work(workload.STEPS),
    "columns": Work(column_work.COLUMNS),
    "linked": Work(linked_work.LINKED, beside=linked_work.put_beside),
    "sealed": Work(sealed_work.SEALED, _BOTH),
    "ward": Work(sealed_work.WARD, _BOTH),
    "sealed-store": Work(sealed_work.WHOLE, _STORE, {"encrypt": sealed_work.KEY}),
}
"""By name."""
