"""How a conversion is committed: at once, or in steps of which the next run knows.

A bridge walks over its source in an order that follows from the source alone, and makes datasets
with `Job.array`, `Job.table` and `Job.once`. So a number says how far it got: so many datasets
are whole, and of the next so many parts or rows are there. `InSteps` keeps that number in an
attribute of the root, in the very commit that makes it true; the next run makes the same walk,
and leaves out what is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kist.bridges.report import Note, Report, joined
from kist.errors import ConversionError

__all__ = ["NOTE", "AtOnce", "InSteps"]

NOTE: Final = "UNFINISHED"
"""Attribute of the root of a store: path -> how far the conversion into it got."""

STEP_BYTES: int = 256 << 20
"""Raw bytes of a step: a run that is killed loses at most so many."""

_DATASET_BYTES: Final = 4096
"""What a dataset counts for beside its values, so that steps of tiny ones end too."""


class AtOnce:
    """All of a conversion in one transaction; nothing is remembered.

    Parameters
    ----------
    store : Store
    message : str
        Of the commit.

    Attributes
    ----------
    memory : dict
        What a bridge found out on its way, and would have to find out again.
    """

    def __init__(self, store: Any, message: str = "") -> None:
        self.store = store
        self._message = message
        self.memory: dict[str, Any] = {}

    def begin(self, path: str) -> int | None:
        """Begin the next dataset; return the parts or rows of it that are there.

        None when it has to be made, -1 when it is whole.
        """
        return None

    def reached(self, n_done: int, nbytes: int) -> None:
        """Say that so many parts or rows of the dataset are there, the last of so many bytes."""

    def end(self) -> None:
        """Say that the dataset is whole."""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Hold the transaction."""
        with self.store.transaction(self._message):
            yield

    @contextlib.contextmanager
    def attempt(self, path: str) -> Iterator[None]:
        """Undo what was made of a dataset when an exception goes through."""
        with self.store.transaction():
            yield


class InSteps(AtOnce):
    """A conversion that commits now and then, and goes on where an earlier run was ended.

    Parameters
    ----------
    store : Store
        Is written in transactions that begin and end here.
    report : Report
        Notes of earlier runs are put into it at the end.
    base : str
        Path that is converted into.
    facts : mapping of str to plain values
        What must be the same in each run: the source, its size, options.
    restart : bool
        Forget an earlier run whose facts differ, rather than raise.

    Raises
    ------
    ConversionError
        An earlier run had another source, or the same one before it was changed.
    """

    def __init__(
        self,
        store: Any,
        report: Report,
        base: str,
        facts: Mapping[str, Any],
        *,
        restart: bool = False,
    ) -> None:
        super().__init__(store, f"convert {report.source}")
        self._report = report
        self._base = base
        self._facts = dict(facts)
        self._seen = 0
        self._bytes = 0
        found = self._notes().get(base)
        if isinstance(found, dict) and found.get("facts") != self._facts:
            if not restart:
                raise ConversionError(_difference(report.target, found.get("facts"), self._facts))
            found = None
        found = found if isinstance(found, dict) else {}
        self._n_whole: int = found.get("n_whole", 0)
        self._path: str | None = found.get("path")
        self._n_done: int = found.get("n_done", 0)
        self._before = [Note(**note) for note in found.get("notes", ())]
        self.memory = dict(found.get("memory", {}))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Hold a transaction; the last one takes the note away."""
        self.store.begin()
        try:
            yield
        except BaseException:
            self.store.rollback()
            raise
        self._report.notes = joined(self._report.notes, self._before)
        self._put(None)
        self.store.commit(self._message)

    def begin(self, path: str) -> int | None:
        self._seen += 1
        if self._seen > self._n_whole + (self._path == path):
            self._path, self._n_done = path, 0
            return None
        if path not in self.store:
            raise ConversionError(
                f"{path} came over in an earlier run, and is gone; overwrite=True begins anew"
            )
        return self._n_done if self._seen > self._n_whole else -1

    def reached(self, n_done: int, nbytes: int) -> None:
        self._n_done = n_done
        self._bytes += nbytes
        if self._bytes >= STEP_BYTES:
            self._commit()

    def end(self) -> None:
        if self._seen <= self._n_whole:
            return
        self._n_whole, self._path, self._n_done = self._seen, None, 0
        self.reached(0, _DATASET_BYTES)

    @contextlib.contextmanager
    def attempt(self, path: str) -> Iterator[None]:
        seen = self._seen
        try:
            yield
        except BaseException:
            if self._seen > self._n_whole:  # what was whole before stays
                if path in self.store:
                    del self.store[path]
                self._path, self._n_done = None, 0
            self._seen = seen
            raise

    def _notes(self) -> dict[str, Any]:
        found = self.store.attrs.get(NOTE)
        return dict(found) if isinstance(found, dict) else {}

    def _put(self, note: Mapping[str, Any] | None) -> None:
        """Put the note of this conversion beside those of others, or take it away."""
        notes = self._notes()
        notes.pop(self._base, None)
        if note is not None:
            notes[self._base] = dict(note)
        if notes:
            self.store.attrs[NOTE] = notes
        else:
            self.store.attrs.pop(NOTE, None)

    def _commit(self) -> None:
        self._put(
            {
                "facts": self._facts,
                "n_whole": self._n_whole,
                "path": self._path,
                "n_done": self._n_done,
                "notes": [dict(vars(note)) for note in joined(self._report.notes, self._before)],
                "memory": self.memory,
            }
        )
        self.store.commit(f"{self._message}, a step")
        self._bytes = 0
        self.store.begin()


def _difference(target: str, before: Any, now: Mapping[str, Any]) -> str:
    """Return what to say when a run is not the one that was begun."""
    before = before if isinstance(before, dict) else {}
    name = next((name for name in now if before.get(name) != now[name]), "source")
    return (
        f"{target}: a conversion is unfinished there, and its {name} was {before.get(name)!r}, "
        f"now {now[name]!r}; overwrite=True (--overwrite) begins anew"
    )
