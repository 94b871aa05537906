"""DataFrames of pandas as columns of a table, with what gives them back equal.

The index becomes columns too, unless it only counts rows. Labels, names and pandas' own dtypes go
into the note ``pandas``; `kist.model.frames.pandas_out` reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kist.errors import DTypeError
from kist.format.plain import pack_value
from kist.model.frames.incoming import Incoming, Target
from kist.model.frames.notes import PANDAS, ZONES
from kist.model.frames.pandas_columns import Taken, take_column

__all__ = ["from_pandas"]

Array = np.ndarray[Any, Any]


def from_pandas(frame: Any, what: str, target: Target | None = None) -> Incoming:
    """Return a DataFrame as fields, blocks and notes.

    Parameters
    ----------
    frame : pandas.DataFrame
    what : str
        The operation, for messages.
    target : Target, optional
        What it is appended to: decides which parts of the index are columns.

    Raises
    ------
    DTypeError
        Columns without distinct names, or values that a table cannot keep.
    """
    names = _stored_names(frame.columns, what)
    levels, index_note = _index(frame, names, what, target)
    if not names and not levels:
        raise DTypeError(f"{what}: the DataFrame has no columns, and a table needs one")
    sources = [(name, frame.index.get_level_values(level)) for level, name in levels]
    for level, name in levels:
        _refuse_holes(frame.index, level, name, what)
    sources += [(name, frame.iloc[:, at]) for at, name in enumerate(names)]
    taken: dict[str, Taken] = {}
    for name, values in sources:
        taken[name] = take_column(values, name, what)
    zones = {name: one.zone for name, one in taken.items() if one.zone is not None}
    if target is not None:
        _check_zones(taken, target, what)
    note = {
        "index": index_note,
        "columns": _columns_note(frame.columns, names, what),
        "dtypes": {name: one.note for name, one in taken.items() if one.note},
    }
    return Incoming(
        [(name, one.dtype) for name, one in taken.items()],
        _blocks_of({name: one.part for name, one in taken.items()}, len(frame)),
        {PANDAS: note, ZONES: zones} if target is None else {},
    )


def _blocks_of(
    parts: dict[str, Callable[[int, int], Array]], n_rows: int
) -> Callable[[int], Iterator[dict[str, Array]]]:
    def blocks(size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, n_rows, size):
            stop = min(start + size, n_rows)
            yield {name: part(start, stop) for name, part in parts.items()}

    return blocks


# Labels


def _stored_names(labels: Any, what: str) -> list[str]:
    """Return the name of the column that each label of a frame gets: one str, each only once."""
    names: list[str] = []
    for at, label in enumerate(labels):
        if isinstance(label, tuple):
            name = "_".join(str(part) for part in label if str(part))
        else:
            name = str(label)
        names.append(name or f"column_{at}")
    if len(set(names)) < len(names):
        double = next(name for at, name in enumerate(names) if name in names[:at])
        raise DTypeError(
            f"{what}: two columns are called {double!r}; give each a name of its own, "
            "as by frame.columns = [...]",
            column=double,
        )
    return names


def _plain(label: Any, what: str) -> Any:
    """Return a label or a name as a plain value that leads back to it."""
    if isinstance(label, tuple):
        return tuple(_plain(part, what) for part in label)
    if label is None or type(label) in (str, int, float, bool) or isinstance(label, np.generic):
        return label
    if hasattr(label, "to_datetime64") and getattr(label, "tzinfo", None) is None:
        return label.to_datetime64()
    if hasattr(label, "to_timedelta64"):
        return label.to_timedelta64()
    raise DTypeError(
        f"{what}: the label {label!r} of type {type(label).__name__} cannot be kept; "
        "use text or numbers, as by frame.rename(columns=str)"
    )


def _columns_note(labels: Any, names: Sequence[str], what: str) -> dict[str, Any]:
    """Return what gives the columns' Index back: labels that are not their own name, and type."""
    note: dict[str, Any] = {"dtype": str(labels.dtype), "names": _names(labels, what)}
    if labels.nlevels > 1:
        note["levels"] = [str(level.dtype) for level in labels.levels]
    elif type(labels).__name__ == "RangeIndex":
        note["range"] = (int(labels.start), int(labels.step))
    elif str(labels.dtype) in ("category", "interval") or "period" in str(labels.dtype):
        raise DTypeError(
            f"{what}: column labels of dtype {labels.dtype} cannot be kept; "
            "use frame.columns = frame.columns.astype(str)"
        )
    other = {
        name: _plain(label, what)
        for name, label in zip(names, labels, strict=True)
        if type(label) is not str or label != name
    }
    if other and "range" not in note:
        note["labels"] = other
        pack_value(other)  # says now what it cannot hold
    return note


def _names(index: Any, what: str) -> list[Any]:
    return [_plain(name, what) for name in index.names]


# The index


def _index(
    frame: Any, names: list[str], what: str, target: Target | None
) -> tuple[list[tuple[int, str]], dict[str, Any]]:
    """Return (level, name of its column) for each level that is stored, and the note."""
    index = frame.index
    note: dict[str, Any] = {"names": _names(index, what)}
    counts = type(index).__name__ == "RangeIndex"
    if target is not None:
        return _levels_for(index, counts, names, what, target), note
    if counts:
        note["range"] = (int(index.start), int(index.step))
        return [], note
    levels: list[tuple[int, str]] = []
    taken = set(names)
    for level, label in enumerate(index.names):
        fallback = "index" if index.nlevels == 1 else f"level_{level}"
        name = fallback if label is None else _stored_names([label], what)[0]
        while name in taken:
            name += "_"
        taken.add(name)
        levels.append((level, name))
    note["levels"] = [name for _, name in levels]
    if index.nlevels == 1 and getattr(index, "freq", None) is not None:
        note["freq"] = index.freqstr
    return levels, note


def _levels_for(
    index: Any, counts: bool, names: list[str], what: str, target: Target
) -> list[tuple[int, str]]:
    """Match the levels of an index to the columns of a table."""
    described = target.note.get("index")
    described = described if isinstance(described, dict) else {}
    kept = described.get("levels")
    if kept:
        if len(kept) == index.nlevels:
            known = described.get("names")
            if list(index.names) == known or all(name is None for name in index.names):
                if not (counts and set(kept) <= set(names)):
                    return list(enumerate(kept))
            elif known and set(index.names) == set(known):
                return [(level, kept[known.index(n)]) for level, n in enumerate(index.names)]
        if counts and set(kept) <= set(names):
            return []
        raise DTypeError(
            f"{what}: the index of the table is {', '.join(map(repr, kept))}, that of the frame "
            f"{list(index.names)!r}; use frame.set_index or frame.rename_axis"
        )
    free = [
        (level, str(label))
        for level, label in enumerate(index.names)
        if label is not None and str(label) in target.names and str(label) not in names
    ]
    if len(free) == index.nlevels:
        return free
    if counts:
        return []  # it counts rows, and so does the table
    raise DTypeError(
        f"{what}: the frame has an index, {list(index.names)!r}, for which the table has no "
        "column; drop it by frame.reset_index(drop=True), or name it as a column"
    )


def _refuse_holes(index: Any, level: int, name: str, what: str) -> None:
    """Refuse missing labels among integers, which pandas hands out as floats."""
    if index.nlevels > 1 and index.levels[level].dtype.kind in "iub":
        missing = np.asarray(index.codes[level]) < 0
        if bool(missing.any()):
            row = int(np.argmax(missing))
            raise DTypeError(
                f"{what}: row {row}, index level {name!r}: a missing value, which a column of "
                f"{index.levels[level].dtype} cannot hold yet; use frame.reset_index()",
                row=row,
                column=name,
            )


def _check_zones(taken: dict[str, Taken], target: Target, what: str) -> None:
    """Refuse times without a zone where the table has one, and the other way round."""
    for name, one in taken.items():
        if name not in target.names or one.dtype.kind != "M":
            continue
        if (one.zone is None) == (name in target.zones):
            has, lacks = ("table", "frame") if one.zone is None else ("frame", "table")
            raise DTypeError(
                f"{what}: column {name!r} has a time zone in the {has}, not in the {lacks}; "
                "use .dt.tz_localize or .dt.tz_convert(None); nothing was changed",
                column=name,
            )
