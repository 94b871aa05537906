"""What a part says of where it comes from: a note on its dataset, which nothing depends on.

`merge` holds the notes against each other: the same rows in two parts are a mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kist.errors import ConstraintError
from kist.model.frames.notes import count_on, get_note, put_notes

if TYPE_CHECKING:
    from kist.engine import Transaction, View

__all__ = ["NOTE", "Origin", "check_overlap"]

NOTE: Final = "part"


class Origin(NamedTuple):
    """Which part of which dataset it is.

    Attributes
    ----------
    store : bytes
        Uuid of the store that was split.
    commit : int
        Commit of it.
    node : int
        Id of the dataset in it.
    start, stop : int
        Positions along the first axis, or places in the order of the keys.
    value : object
        Where a table was split by a column: the value, and the name of the column.
    """

    store: bytes
    commit: int
    node: int
    start: int
    stop: int
    value: tuple[str, object] | None = None

    def put(self, txn: Transaction, node: int) -> None:
        """Put the note; labels that count rows are those that the rows had in the whole."""
        count_on(txn, node, self.start if self.value is None else None)
        note: dict[str, Any] = self._asdict()
        if self.value is None:
            del note["value"]
        put_notes(txn, node, {NOTE: note})

    @classmethod
    def of(cls, view: View, node: int) -> Origin | None:
        """Return what the note of a dataset says, None without one."""
        note = get_note(view, node, NOTE)
        names = cls._fields[:-1]
        kinds = (bytes, int, int, int, int)
        if not all(
            isinstance(note.get(name), kind) for name, kind in zip(names, kinds, strict=True)
        ):
            return None
        value = note.get("value")
        if not isinstance(value, tuple):
            value = None
        store, commit, node, start, stop = (note[name] for name in names)
        return cls(store, commit, node, start, stop, value)

    @property
    def _whole(self) -> tuple[bytes, int, int, str | None]:
        return self.store, self.commit, self.node, self.value[0] if self.value else None


def check_overlap(path: str, parts: Sequence[tuple[str, Origin | None]]) -> None:
    """Raise when two parts hold the same rows of what was split.

    Raises
    ------
    ConstraintError
        Names both.
    """
    seen: dict[Any, list[tuple[str, Origin]]] = {}
    for name, origin in parts:
        if origin is not None:
            seen.setdefault((origin._whole, repr(origin.value)), []).append((name, origin))
    for several in seen.values():
        several.sort(key=lambda part: (part[1].start, part[1].stop))
        for (a, before), (b, after) in pairwise(several):
            same = (before.start, before.stop) == (after.start, after.stop)
            if before.start < before.stop and (same or after.start < before.stop):
                raise ConstraintError(
                    f"{path!r}: {a} holds {before.start:,} to {before.stop:,} and {b} "
                    f"{after.start:,} to {after.stop:,} of the dataset that was split: the same "
                    "would come twice; leave one of them out"
                )
