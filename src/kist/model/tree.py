"""A store drawn as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.errors import FormatError
from kist.format.node import NodeKind, kind_label
from kist.model import directory
from kist.model.handles import make_handle
from kist.model.paths import join

if TYPE_CHECKING:
    from kist.engine import View
    from kist.format.node import Child
    from kist.model.group import Group
    from kist.model.node import Node

__all__ = ["Tree"]

_MOST = 1000


class Tree:
    """What stands below a group; `str` and `repr` draw it.

    Attributes
    ----------
    lines : list of str
        The drawing, one node a line.
    n_left_out : int
        How many lines were left out because there are too many.
    """

    def __init__(self, group: Group, depth: int | None = None, most: int = _MOST) -> None:
        self.lines: list[str] = []
        self.n_left_out = 0
        self._most = most
        self._group = group
        with group._hold() as view:
            path = group.name
            self.lines.append(path + _note(group._summary(view), group, view))
            self._draw(view, group._id, path, "", depth)

    def _draw(self, view: View, group: int, path: str, indent: str, depth: int | None) -> None:
        entries = directory.children(view, group)
        if depth is not None and depth <= 0:
            return
        for at, entry in enumerate(entries):
            if len(self.lines) >= self._most:
                self.n_left_out += len(entries) - at
                return
            last = at == len(entries) - 1
            branch = "└── " if last else "├── "
            self.lines.append(indent + branch + self._line(view, entry, path))
            if entry.kind == NodeKind.GROUP:
                below = None if depth is None else depth - 1
                more = indent + ("    " if last else "│   ")
                self._draw(view, entry.node, join(path, entry.name), more, below)

    def _line(self, view: View, entry: Child, path: str) -> str:
        try:
            handle = make_handle(self._group._store, view, entry.node, join(path, entry.name))
            return entry.name + _note(handle._summary(view), handle, view)
        except FormatError:
            # A damaged node, or one of a newer kist, must not hide the others.
            return f"{entry.name}  ({kind_label(entry.kind)} that cannot be read)"

    def __str__(self) -> str:
        lines = list(self.lines)
        if self.n_left_out:
            lines.append(f"... and {self.n_left_out:,} more")
        return "\n".join(lines)

    __repr__ = __str__


def _note(summary: str, node: Node, view: View) -> str:
    text = "" if node._kind == NodeKind.GROUP else f"  {summary}"
    title = node.attrs._get_in(view, "TITLE")
    return f"{text}  {title!r}" if title is not None else text
