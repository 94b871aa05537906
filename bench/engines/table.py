"""What an engine that keeps the archive's table offers, and conditions that all understand."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.engines.base import Engine, NotOffered
from bench.records import Columns, join_into, split
from bench.workloads import Records

Array = npt.NDArray[Any]
Some = Records | Mapping[str, Array]
"""Rows of some fields, as the engine gives them at best: records, or one array per field."""


class Condition(NamedTuple):
    """``field < value`` or ``field >= value``."""

    field: str
    operator: str
    value: int


Where = tuple[Condition, ...]
"""Conditions that must all hold."""

COMPARE = {"<": operator.lt, ">=": operator.ge}


def mask_of(where: Where, columns: Mapping[str, Array] | Records) -> Array:
    """True where all conditions hold."""
    return np.logical_and.reduce([COMPARE[c.operator](columns[c.field], c.value) for c in where])


def ascending(indices: Array) -> tuple[Array, Array | None]:
    """Positions in ascending order, and how to get back; None when they were in order."""
    if (np.diff(indices) > 0).all():
        return indices, None
    order = np.argsort(indices, kind="stable")
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return indices[order], back


def text_of(where: Where, conjunction: str = "&") -> str:
    """Conditions as text, with parentheses: kist, PyTables and Blosc2 read the same."""
    return f" {conjunction} ".join(f"({c.field} {c.operator} {c.value})" for c in where)


class TableEngine(Engine):
    """An engine that stores the table workload."""

    steps: ClassVar[frozenset[str]] = frozenset()
    """For limits: the groups of steps that mean something for them. Empty means all."""

    @abstractmethod
    def write(self, rows: Records) -> None:
        """Make the table from a structured array; durable on return."""

    @abstractmethod
    def open(self, *, writable: bool = False) -> None:
        """Open the table that ``write`` made."""

    @abstractmethod
    def close(self) -> None:
        """Close what ``open`` opened."""

    @abstractmethod
    def read_all(self) -> Records:
        """The whole table as a structured array of the workload's dtype."""

    @abstractmethod
    def read_columns(self) -> Columns:
        """The whole table as one contiguous array per field."""

    @abstractmethod
    def read_field(self, field: str) -> Array:
        """One whole field, contiguous."""

    def read_range(self, fields: list[str], start: int, stop: int) -> Some:
        """Rows ``start`` to ``stop`` of some fields."""
        raise NotOffered

    def take(self, fields: list[str], indices: Array) -> Some:
        """Rows at positions, in the order of the positions, which are unique."""
        raise NotOffered

    def row(self, index: int) -> Any:
        """One row of all fields, in whatever form the engine gives it; see ``record``."""
        raise NotOffered

    def record(self, found: Any, dtype: np.dtype[Any]) -> Records:
        """What ``row`` gave, as one record; outside the timing."""
        out = np.empty(1, dtype)
        out[0] = found if isinstance(found, np.void) else tuple(found)
        return out

    def value(self, field: str, row: int) -> Any:
        """One value."""
        return self.read_field(field)[row]

    def append(self, rows: Records) -> None:
        """Add rows at the end; durable on return."""
        raise NotOffered

    def update(self, where: Where, field: str, plus: float) -> None:
        """Add a number to a field where conditions hold; durable on return."""
        raise NotOffered

    def rows_where(self, where: Where, fields: list[str]) -> Some:
        """The rows that match, in order."""
        raise NotOffered

    def count_where(self, where: Where) -> int:
        """How many match."""
        raise NotOffered

    def sum_where(self, where: Where, field: str) -> float:
        """The sum of a field of those that match."""
        raise NotOffered

    def mean_by(self, key: str, field: str) -> dict[bytes, float]:
        """The mean of a field for each value of a short string."""
        raise NotOffered


class ColumnEngine(TableEngine):
    """An engine that gives whole columns and nothing finer: the rest is NumPy on those columns.

    That is how such files are used; what it costs is what it costs their users.
    """

    @abstractmethod
    def names(self) -> list[str]:
        """The fields in order."""

    def read_columns(self) -> Columns:
        return {name: self.read_field(name) for name in self.names()}

    def read_all(self) -> Records:
        columns = self.read_columns()
        out = np.empty(len(columns[self.names()[0]]), [(n, c.dtype) for n, c in columns.items()])
        join_into(out, columns)
        return out

    def take(self, fields: list[str], indices: Array) -> Some:
        return {name: self.read_field(name)[indices] for name in fields}

    def read_range(self, fields: list[str], start: int, stop: int) -> Some:
        return {name: self.read_field(name)[start:stop].copy() for name in fields}

    def _mask(self, where: Where) -> Array:
        return mask_of(where, {c.field: self.read_field(c.field) for c in where})

    def rows_where(self, where: Where, fields: list[str]) -> Some:
        mask = self._mask(where)
        return {name: self.read_field(name)[mask] for name in fields}

    def count_where(self, where: Where) -> int:
        return int(np.count_nonzero(self._mask(where)))

    def sum_where(self, where: Where, field: str) -> float:
        return float(self.read_field(field)[self._mask(where)].sum())

    def mean_by(self, key: str, field: str) -> dict[bytes, float]:
        return means(self.read_field(key), self.read_field(field))


def means(keys: Array, values: Array) -> dict[bytes, float]:
    """The mean of values for each key."""
    words, codes = np.unique(keys, return_inverse=True)
    sums = np.bincount(codes, weights=values)
    counts = np.bincount(codes)
    return {bytes(w): float(s / n) for w, s, n in zip(words, sums, counts, strict=True)}


def as_columns(found: Some) -> Columns:
    """Records or columns, as columns."""
    return dict(found) if isinstance(found, Mapping) else split(found)
