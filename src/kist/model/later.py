"""What a transaction has put off: written before anybody looks for it, kept until that is safe.

A step that fails takes back what was written since it began. So what it wrote of earlier changes
stays in memory until it has succeeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from kist.engine import View

__all__ = ["LATER", "PutOff", "much_changed", "note_append", "note_patch", "put_off_by", "settle"]

LATER: Final = "later"
"""Where a view keeps it, in `View.by_node`."""

MANY_APPENDS: Final = 8
"""Tables that a transaction has appended to so often are folded in its commit: nobody may write to
them again, and reading hundreds of pieces takes a hundred times as long as reading row groups."""

MANY_PATCHES: Final = 64
"""Tables that got so many patches too: each costs who reads its page as much as 3,000 values."""

_APPENDS: Final = "appends"
_PATCHES: Final = "patches"


class PutOff(Protocol):
    """Changes of a transaction that are in memory alone."""

    @property
    def is_full(self) -> bool:
        """Whether they are to be written before more come."""

    def settle(self, node: int | None = None) -> None:
        """Write those of a node, or all, to the transaction, and keep them."""

    def step_done(self) -> None:
        """Keep what is written no longer: it cannot be taken back alone any more."""

    def step_undone(self) -> None:
        """Take what is written for not written: that was taken back."""

    def forget(self) -> None:
        """Keep nothing: all of it is taken back."""


def put_off_by(view: View) -> PutOff | None:
    """Return what a transaction has put off, None of one that has not and of other views."""
    found: PutOff | None = view.by_node.get(LATER)
    return found


def settle(view: View, node: int | None = None) -> None:
    """Write what a transaction has put off of a node, or all, for who looks at what it shows."""
    found = put_off_by(view)
    if found is not None:
        found.settle(node)


def note_append(view: View, node: int) -> None:
    """Count an append of a transaction to a table."""
    _count(view, _APPENDS, node)


def note_patch(view: View, node: int) -> None:
    """Count a patch that a transaction puts to a table."""
    _count(view, _PATCHES, node)


def _count(view: View, what: str, node: int) -> None:
    counts: dict[int, int] = view.by_node.setdefault(what, {})
    counts[node] = counts.get(node, 0) + 1


def much_changed(view: View) -> frozenset[int]:
    """Return the tables that a transaction has appended to many times, or changed in many steps."""
    limits = {_APPENDS: MANY_APPENDS, _PATCHES: MANY_PATCHES}
    found = {what: view.by_node.get(what, {}) for what in limits}
    return frozenset(
        node for what, counts in found.items() for node, n in counts.items() if n >= limits[what]
    )
