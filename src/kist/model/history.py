"""Commits as users see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kist.model import html
from kist.model.text import cell, pad, width

if TYPE_CHECKING:
    from kist.engine import CommitInfo, Engine

__all__ = ["Commit", "History", "Tags", "commit_of", "utc"]

_SHOWN: Final = 50
_HEAD: Final = ["commit", "time (UTC)", "tags", "message"]


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit that can still be opened.

    Attributes
    ----------
    id : int
        What ``kist.open(path, version=id)`` takes.
    time : datetime
        When it was made, in UTC.
    message : str
        From ``transaction(message=...)``; empty for a call that was a commit of its own.
    tags : tuple of str
        Names that keep it.
    parent : int or None
        The commit before it.
    """

    id: int
    time: datetime
    message: str = ""
    tags: tuple[str, ...] = ()
    parent: int | None = None


class History(list[Commit]):
    """Commits, newest first: a list whose repr is a table.

    >>> History([Commit(7, utc(10**18), "nightly", ("v1",), 6)])
    commit  time (UTC)           tags  message
         7  2001-09-09 01:46:40  v1    nightly
    """

    def _rows(self) -> list[list[str]]:
        return [
            [
                str(commit.id),
                commit.time.strftime("%Y-%m-%d %H:%M:%S"),
                cell(", ".join(commit.tags), 40),
                cell(commit.message, 60),
            ]
            for commit in self[:_SHOWN]
        ]

    def __repr__(self) -> str:
        if not self:
            return "no commits"
        rows = [_HEAD, *self._rows()]
        widths = [max(width(row[at]) for row in rows) for at in range(len(_HEAD))]
        lines = [
            "  ".join(pad(text, widths[at], left=at > 0) for at, text in enumerate(row)).rstrip()
            for row in rows
        ]
        left = len(self) - _SHOWN
        return "\n".join(lines + ([f"... and {left:,} more"] if left > 0 else []))

    def _repr_html_(self) -> str:
        n = len(self)
        head = html.heading("History", f"{n:,} commit{'' if n == 1 else 's'}")
        rows: list[list[str] | None] = [*self._rows()]
        if n > _SHOWN:
            rows.append(None)
        return html.document(head, html.table([_HEAD], rows, len(_HEAD) - 1))


def utc(time_ns: int) -> datetime:
    """Return a time of the file as a datetime in UTC."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def commit_of(info: CommitInfo) -> Commit:
    """Return what the engine says about a commit in the words of the model."""
    return Commit(info.id, utc(info.time_ns), info.message, tuple(info.tags), info.parent or None)


class Tags(Mapping[str, int]):
    """Names of kept commits: tag -> commit id, sorted."""

    def __init__(self, engine: Engine) -> None:
        self._tags = dict(sorted(engine.tags().items()))

    def __getitem__(self, name: str) -> int:
        return self._tags[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tags)

    def __len__(self) -> int:
        return len(self._tags)

    def __repr__(self) -> str:
        return repr(self._tags)
