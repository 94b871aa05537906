"""DataFrames and Arrow data on their way into tables: who brings what, found without importing it.

A frame of any library becomes an `Incoming`: fields, blocks of columns, and the notes that give
it back as it was. pandas, pyarrow and polars are never imported unless the object comes from them.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kist._kernels.cells import Cells, empty_values
from kist.codecs.utf8 import Utf8
from kist.errors import DTypeError
from kist.extras import need
from kist.format.nullable import is_nullable, nullable, pairs
from kist.format.ragged import is_nullable_ragged
from kist.model.cast_ragged import as_cells
from kist.model.frames.notes import PANDAS, ZONES, get_note, get_zones

if TYPE_CHECKING:
    from kist.engine import View
    from kist.format.schema import Schema

__all__ = ["Incoming", "Target", "adopt", "comes_from", "frame_columns", "is_frame", "need"]

Array = np.ndarray[Any, Any]

_PLAIN = (np.ndarray, tuple, dict, list, str, bytes, np.void, type(None))


@dataclass
class Incoming:
    """A frame, ready to be stored.

    Attributes
    ----------
    fields : list of (str, dtype)
        Columns as kist stores them. `StringDType` and ragged ones among them.
    blocks : callable
        Number of rows -> iterator of dicts of column -> array, or `Utf8` for text, each of about
        so many rows. May be called once.
    notes : dict
        What to keep beside the table, by name of the note.
    """

    fields: list[tuple[str, np.dtype[Any]]]
    blocks: Callable[[int], Iterator[dict[str, Array]]]
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """The table that a frame is appended to.

    Attributes
    ----------
    names : tuple of str
        Its columns.
    note : dict
        What pandas must know of it; empty when it was not made from a DataFrame.
    zones : dict
        Time zones of its columns.
    nullable : frozenset of str
        Columns in which nulls are nulls, of times too, which have NaT beside them.
    """

    names: tuple[str, ...]
    note: Mapping[Any, Any] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    nullable: frozenset[str] = frozenset()

    @classmethod
    def of(cls, view: View, node: int, schema: Schema) -> Target:
        """Return it for a table as a view shows it."""
        names = tuple(column.name for column in schema.columns)
        can = frozenset(column.name for column in schema.columns if is_nullable(column.dtype))
        return cls(names, get_note(view, node, PANDAS), get_zones(view, node), can)


def is_frame(data: Any) -> bool:
    """Tell whether data come from pandas, or speak Arrow. Tables of kist do not count."""
    kind = type(data)
    if kind in _PLAIN:
        return False
    if hasattr(kind, "__arrow_c_stream__") or hasattr(kind, "__arrow_c_array__"):
        return not hasattr(kind, "blocks")
    return comes_from(data, "pandas", "DataFrame", "Series") or comes_from(
        data, "polars", "LazyFrame"
    )


def comes_from(data: Any, module: str, *names: str) -> bool:
    """Tell whether data are of a class of a module that somebody else has imported."""
    found = sys.modules.get(module)
    # A module that is being imported by another thread may lack its names.
    kinds = tuple(getattr(found, name) for name in names if hasattr(found, name))
    return bool(kinds) and isinstance(data, kinds)


def adopt(data: Any, what: str, target: Target | Callable[[], Target] | None = None) -> Any:
    """Return frames, and iterators of frames, as an `Incoming`; other data as they are.

    Parameters
    ----------
    data
        Whatever was given for rows.
    what : str
        The operation, for messages.
    target : Target or callable that gives one, optional
        What they are appended to; None for a new table.

    Raises
    ------
    DTypeError
        The frame holds what a table cannot keep; names the column and says what to do.
    ImportError
        Arrow data need pyarrow, which is missing.
    """
    if type(data) in _PLAIN:
        return data
    if is_frame(data):
        return _incoming(data, what, target() if callable(target) else target)
    if hasattr(data, "__next__"):
        return _first_looked_at(data, what, target)
    if comes_from(data, "pandas.io.parsers", "TextFileReader"):
        return _first_looked_at(iter(data), what, target)
    return data


def frame_columns(data: Any, names: tuple[str, ...], what: str) -> tuple[dict[str, Array], int]:
    """Return all columns of a frame that is matched to fields of these names, and its length."""
    incoming = _incoming(data, what, Target(names))
    parts = list(incoming.blocks(sys.maxsize))
    if not parts:
        return {name: empty_values(0, dtype.base) for name, dtype in incoming.fields}, 0
    columns = {name: _together([part[name] for part in parts]) for name in parts[0]}
    return columns, len(next(iter(columns.values())))


def _together(parts: list[Any]) -> Array:
    """Join arrays, some of which may be of a nullable dtype because they have nulls."""
    parts = [part.array() if isinstance(part, Utf8) else part for part in parts]
    if any(isinstance(part, Cells) for part in parts):
        return _joined_cells(parts)
    if len({part.dtype.names for part in parts}) > 1:
        parts = [
            part if part.dtype.names else pairs(part, np.True_, nullable(part.dtype))
            for part in parts
        ]
    return np.concatenate(parts)


def _joined_cells(parts: list[Any]) -> Array:
    """Join cells, of a nullable dtype where those of one part are."""
    dtypes = [part.dtype for part in parts]
    dtype = next(filter(is_nullable_ragged, dtypes), dtypes[0])
    return np.concatenate([as_cells(part, dtype, column="") for part in parts])


def _first_looked_at(
    rows: Iterator[Any], what: str, target: Target | Callable[[], Target] | None
) -> Any:
    """Look whether an iterator gives frames; one that gives rows stays an iterator."""
    first = next(rows, None)
    if first is None:
        return iter(())
    if not is_frame(first):
        return itertools.chain((first,), rows)
    goal = target() if callable(target) else target
    incoming = _incoming(first, what, goal)
    # The first frame decides; the others are matched to it as if they were appended.
    later = goal or Target(
        tuple(name for name, _ in incoming.fields),
        incoming.notes.get(PANDAS, {}),
        incoming.notes.get(ZONES, {}),
    )

    def blocks(n_rows: int) -> Iterator[dict[str, Array]]:
        yield from incoming.blocks(n_rows)
        for frame in rows:
            if not is_frame(frame):
                raise DTypeError(f"{what}: {type(frame).__name__} among frames")
            yield from _incoming(frame, what, later).blocks(n_rows)

    return Incoming(incoming.fields, blocks, incoming.notes)


def _incoming(data: Any, what: str, target: Target | None) -> Incoming:
    if comes_from(data, "pandas", "DataFrame"):
        from kist.model.frames.pandas_in import from_pandas

        return from_pandas(data, what, target)
    if comes_from(data, "pandas", "Series"):
        raise DTypeError(f"{what}: a Series is one column; give series.to_frame()")
    if comes_from(data, "polars", "Series"):
        raise DTypeError(f"{what}: a Series is one column; give series.to_frame()")
    if comes_from(data, "polars", "LazyFrame"):
        raise DTypeError(
            f"{what}: a LazyFrame holds no rows yet; give frame.collect(), or "
            "frame.collect_batches() to take them in blocks"
        )
    from kist.model.frames.arrow_in import from_arrow

    return from_arrow(data, what, target)
