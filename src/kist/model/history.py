"""Commits as users see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kist.engine import CommitInfo, Engine

__all__ = ["Commit", "Tags", "commit_of", "utc"]


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
