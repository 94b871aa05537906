"""Vortex: encodings chosen by sampling, scans that compare encoded values."""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np

from bench.engines.arrow import ArrowEngine
from bench.engines.base import load, sync_file
from bench.engines.table import COMPARE, Array, Condition, Some, Where, ascending
from bench.workloads import TABLE_DTYPE, Records


class Vortex(ArrowEngine):
    """Vortex with its defaults, one file, written and scanned by its own API.

    Its files do not change, so that an append is one more file. Positions must ascend.
    """

    name = "vortex"
    modules = ("vortex", "pyarrow")
    fixed_size = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._vortex = load("vortex")
        self._expr = load("vortex.expr")
        self._vortex.set_worker_threads(self.threads)
        self._files: list[Any] = []

    def write(self, rows: Records) -> None:
        path = self.folder / f"part-{len(list(self.folder.iterdir())):04d}.vortex"
        self._vortex.io.write(self.to_arrow(rows), str(path))
        sync_file(path)

    def append(self, rows: Records) -> None:
        self.write(rows)

    def open(self, *, writable: bool = False) -> None:
        if not writable:
            paths = sorted(self.folder.glob("*.vortex"))
            self._files = [self._vortex.open(str(path)) for path in paths]

    def close(self) -> None:
        self._files = []

    def _filter(self, where: Where) -> Any:
        column = self._expr.column
        parts = [COMPARE[c.operator](column(c.field), self._literal(c)) for c in where]
        return functools.reduce(operator.and_, parts) if parts else None

    def _literal(self, condition: Condition) -> Any:
        # Both sides of a comparison have one dtype.
        dtype = self._vortex.int_(8 * TABLE_DTYPE[condition.field].itemsize)
        return self._expr.literal(dtype, condition.value)

    def _positions(self, indices: Array) -> Any:
        return self._vortex.array(self._pa.array(indices, self._pa.uint64()))

    def _read(
        self, fields: list[str] | None = None, where: Where = (), indices: Array | None = None
    ) -> Any:
        if indices is None:
            condition = self._filter(where)
            tables = [f.to_arrow(fields, expr=condition).read_all() for f in self._files]
            return tables[0] if len(tables) == 1 else self._pa.concat_tables(tables)
        in_order, back = ascending(indices)
        found = self._files[0].to_arrow(fields, indices=self._positions(in_order)).read_all()
        return found if back is None else found.take(self._pa.array(back))

    def read_range(self, fields: list[str], start: int, stop: int) -> Some:
        return self.take(fields, np.arange(start, stop))
