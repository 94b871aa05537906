"""What was saved, and what was not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Loss", "SalvageReport"]

_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that is missing in the new file.

    Attributes
    ----------
    node : str
        Path of the node in the new file; ``/`` for the store itself.
    message : str
        What is missing, and what stands in its place.
    column : str or None
        Of a table: the column, with dots; None for all of them.
    rows : (int, int) or None
        Rows of the table, or positions along the first axis of the array, in the new file:
        first and one-past-last. They hold zeros, or the fill value of the array. None where
        nothing stands in place of what is missing.
    region : tuple of (int, int) or None
        Of an array: the same for all axes.
    """

    node: str
    message: str
    column: str | None = None
    rows: tuple[int, int] | None = None
    region: tuple[tuple[int, int], ...] | None = None

    def __str__(self) -> str:
        return f"{self.node!r}: {self.message}"


@dataclass
class SalvageReport:
    """What `kist.salvage` did; true when nothing was missing.

    Attributes
    ----------
    path, out : str
        The broken file and the new one.
    commit : int
        The newest commit that could be read.
    confirmed : bool
        Whether a record of the store says that this was a commit. If not, all of it is below
        ``lost+found``.
    n_nodes : int
        Nodes that were saved under their names.
    losses : list of Loss
        What is missing.
    notes : list of str
        What is known of the file: lost headers, slots, later commits, tags.
    lost_and_found : list of str
        Paths of what no record confirms.
    """

    path: str
    out: str
    commit: int = 0
    confirmed: bool = True
    n_nodes: int = 0
    losses: list[Loss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lost_and_found: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is missing that the newest readable commit held."""
        return self.confirmed and not self.losses

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {
            "path": self.path,
            "out": self.out,
            "commit": self.commit,
            "ok": self.ok,
            "confirmed": self.confirmed,
            "n_nodes": self.n_nodes,
            "losses": [
                {
                    "node": loss.node,
                    "message": loss.message,
                    "column": loss.column,
                    "rows": None if loss.rows is None else list(loss.rows),
                    "region": None if loss.region is None else [list(part) for part in loss.region],
                }
                for loss in self.losses
            ],
            "notes": self.notes,
            "lost_and_found": self.lost_and_found,
        }

    def __repr__(self) -> str:
        head = f"{self.path!r}, commit {self.commit}: {self.n_nodes:,} nodes saved to {self.out!r}"
        lost = len(self.losses)
        lines = [head + (f", {lost:,} losses" if lost != 1 else ", 1 loss")]
        if not self.confirmed:
            lines.append("    no record confirms this state: all of it is below 'lost+found'")
        lines += [f"    {note}" for note in self.notes]
        lines += _some([str(loss) for loss in self.losses])
        lines += _some([f"{path!r}: nothing confirms it" for path in self.lost_and_found])
        return "\n".join(lines)


def _some(texts: list[str]) -> list[str]:
    lines = [f"    {text}" for text in texts[:_SHOWN]]
    if len(texts) > _SHOWN:
        lines.append(f"    ... and {len(texts) - _SHOWN:,} more")
    return lines
