"""What a conversion did: how much came over, and what was changed or left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

__all__ = ["Loss", "Note", "Report", "joined"]

_PATHS_SHOWN: Final = 20


@dataclass(frozen=True)
class Loss:
    """One thing that a format has and its counterpart has not; the docs list all of them.

    Attributes
    ----------
    verdict : {"changed", "not kept"}
        Whether it comes over in another form, or not at all.
    what : str
        The thing.
    becomes : str
        What is there instead.
    """

    verdict: Literal["changed", "not kept"]
    what: str
    becomes: str


@dataclass
class Note:
    """One `Loss` that occurred, and where.

    Attributes
    ----------
    code : str
        As in ``"hdf5.enum"``; stable, for programs.
    verdict, what, becomes : str
        As in `Loss`.
    count : int
        How often.
    places : list of str
        The first twenty, with details.
    """

    code: str
    verdict: str
    what: str
    becomes: str
    count: int = 0
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        shown = ", ".join(self.places[:3])
        more = f", ... ({self.count:,} in all)" if self.count > 3 else ""
        return f"{self.verdict}: {self.what} -> {self.becomes}: {shown}{more}"


@dataclass
class Report:
    """What `kist.convert` did; true when nothing was changed or left behind.

    Attributes
    ----------
    source, target : str
        From where to where.
    format : str
        The format on the other side, as in ``"hdf5"``.
    n_groups, n_arrays, n_tables, n_keystores : int
        Nodes that came over.
    n_rows, n_keys : int
        Rows of all tables, and entries of key stores.
    nbytes : int
        Bytes of all values, before compression.
    notes : list of Note
        What was changed or could not be kept.
    """

    source: str
    target: str
    format: str
    n_groups: int = 0
    n_arrays: int = 0
    n_tables: int = 0
    n_keystores: int = 0
    n_rows: int = 0
    n_keys: int = 0
    nbytes: int = 0
    notes: list[Note] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all of the source is in the target as it was."""
        return not self.notes

    def __bool__(self) -> bool:
        return self.ok

    def add(self, code: str, loss: Loss, place: str) -> None:
        """Note one thing that was changed or left behind."""
        note = next((n for n in self.notes if n.code == code), None)
        if note is None:
            note = Note(code, loss.verdict, loss.what, loss.becomes)
            self.notes.append(note)
        note.count += 1
        if len(note.places) < _PATHS_SHOWN:
            note.places.append(place)

    def count_keystore(self, store: Any) -> None:
        """Count a key store with all its keys."""
        self.n_keystores += 1
        self.n_keys += len(store)

    def to_dict(self) -> Mapping[str, Any]:
        """Return the report as JSON can hold it."""
        return {
            "ok": self.ok,
            **{name: value for name, value in vars(self).items() if name != "notes"},
            "notes": [dict(vars(note)) for note in self.notes],
        }

    def __str__(self) -> str:
        counts = {
            "group": self.n_groups,
            "array": self.n_arrays,
            "table": self.n_tables,
            "key store": self.n_keystores,
        }
        parts = [f"{n:,} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n]
        if self.n_tables:
            parts.append(f"{self.n_rows:,} row{'' if self.n_rows == 1 else 's'}")
        if self.n_keys:
            parts.append(f"{self.n_keys:,} key{'' if self.n_keys == 1 else 's'}")
        head = f"{self.source} -> {self.target}: {', '.join(parts) or 'nothing'}"
        return "\n".join([f"{head}; {self.nbytes / 1e6:,.1f} MB", *(f"  {n}" for n in self.notes)])

    def __repr__(self) -> str:
        return f"<Report: {self}>"


def joined(notes: list[Note], before: list[Note]) -> list[Note]:
    """Return notes of two runs over one source: what either of them saw, counted once."""
    found = {note.code: note for note in before}
    for note in notes:
        other = found.get(note.code, note)
        places = list(dict.fromkeys([*other.places, *note.places]))[:_PATHS_SHOWN]
        found[note.code] = replace(note, count=max(note.count, other.count), places=places)
    return list(found.values())
