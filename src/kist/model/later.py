"""What a transaction has put off: written before anybody looks for it, kept until that is safe.

A step that fails takes back what was written since it began. So what it wrote of earlier changes
stays in memory until it has succeeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from kist.engine import View

__all__ = ["LATER", "PutOff", "much_appended", "note_append", "put_off_by", "settle"]

LATER: Final = "later"
"""Where a view keeps it, in `View.by_node`."""

MANY_APPENDS: Final = 8
"""Tables that a transaction has appended to so often are folded in its commit: nobody may write to
them again, and reading hundreds of pieces takes a hundred times as long as reading row groups."""

_APPENDS: Final = "appends"


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
    counts: dict[int, int] = view.by_node.setdefault(_APPENDS, {})
    counts[node] = counts.get(node, 0) + 1


def much_appended(view: View) -> frozenset[int]:
    """Return the tables that a transaction has appended to many times."""
    counts: dict[int, int] = view.by_node.get(_APPENDS, {})
    return frozenset(node for node, n in counts.items() if n >= MANY_APPENDS)
