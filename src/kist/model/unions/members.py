"""Which datasets of a store a union is of: patterns and paths, looked up in one view."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from typing import TYPE_CHECKING, NamedTuple

from kist.errors import NodeNotFoundError, SelectionError
from kist.format.node import Child, NodeKind, a_kind
from kist.model import directory
from kist.model.paths import join, split

if TYPE_CHECKING:
    from kist.engine import View

__all__ = ["Found", "find_members", "has_pattern"]

_WILD = re.compile(r"[*?\[]")


class Found(NamedTuple):
    """A dataset that is meant."""

    path: str
    node: int
    kind: int


def has_pattern(text: str) -> bool:
    """Tell whether a path has wildcards in it."""
    return bool(_WILD.search(text))


def find_members(view: View, group: int, base: str, patterns: Sequence[str]) -> list[Found]:
    """Return the datasets that paths and patterns name, each once, in their order.

    A pattern names datasets of one kind, sorted by name; ``*`` and ``?`` stand for letters of one
    name, ``**`` for any groups. Links to datasets of the store stand for these.

    Raises
    ------
    NodeNotFoundError
        There is none; a path must be there, a pattern may match nothing if another does.
    SelectionError
        Tables and arrays together, or what is neither.
    TamperedDataError
        One stands in a sealed group, where somebody without the secret has put it.
    """
    found: dict[int, Found] = {}
    for pattern in patterns:
        if has_pattern(pattern):
            names = pattern.strip("/").split("/")
            start, path = (1, "/") if pattern.startswith("/") else (group, base)
            several = list(_matching(view, start, path, names, set()))
        else:
            absolute, names_ = split(pattern)
            start, path = (1, "/") if absolute else (group, base)
            entry, path, used = directory.descend(view, start, names_, path)
            several = [_behind(view, entry, path, names_[used:])]
        for one in several:
            found.setdefault(one.node, one)
    members = list(found.values())
    if not members:
        raise NodeNotFoundError(f"no dataset matches {', '.join(map(repr, patterns))}")
    first = members[0]
    for one in members:
        if one.kind not in (NodeKind.TABLE, NodeKind.ARRAY) or one.kind != first.kind:
            raise SelectionError(
                f"a union is of tables or of arrays: {first.path!r} is {a_kind(first.kind)}, "
                f"{one.path!r} is {a_kind(one.kind)}"
            )
        if view.reader.keyring is not None:  # no handles are made of them
            directory.check_place(view, one.node, one.path)
    return members


def _behind(view: View, entry: Child, path: str, rest: tuple[str, ...] = ()) -> Found:
    """Return a dataset, or the one in this store that a link leads to."""
    if entry.kind == NodeKind.LINK:
        from kist.model.links.follow import within

        entry, path = within(view, entry, path, rest)
    return Found(path, entry.node, entry.kind)


def _matching(
    view: View, group: int, path: str, names: Sequence[str], seen: set[tuple[int, int]]
) -> Iterator[Found]:
    """Yield what the rest of a pattern names below a group, unless that was looked up before.

    Each of several ``**`` may stand for any groups, in more ways than there is time for: patterns
    stand in files.
    """
    if (group, len(names)) in seen:
        return
    seen.add((group, len(names)))
    name, rest = names[0], names[1:]
    if name == "**" and rest:
        yield from _matching(view, group, path, rest, seen)
    match = re.compile(translate(name)).match
    for entry in directory.children(view, group):
        below = join(path, entry.name)
        is_group = entry.kind == NodeKind.GROUP
        if name == "**":
            if is_group:
                yield from _matching(view, entry.node, below, names, seen)
            elif not rest:
                yield _behind(view, entry, below)
        elif match(entry.name):
            if not rest and not is_group:
                yield _behind(view, entry, below)
            elif rest and is_group:
                yield from _matching(view, entry.node, below, rest, seen)
