"""A store drawn as text and as HTML, and the reprs of stores and groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kist.errors import CorruptDataError, FormatError, TamperedDataError
from kist.format.node import NodeKind, kind_label
from kist.model import directory, html
from kist.model.handles import make_handle
from kist.model.paths import join
from kist.model.text import guarded, newer, visible

if TYPE_CHECKING:
    from kist.engine import View
    from kist.format.node import Child
    from kist.model.group import Group

__all__ = ["Tree", "group_html", "group_repr"]

_MOST: Final = 1000
_COUNTED: Final = 10_000
"""Nodes of one group beyond those drawn that are counted."""
_OPEN: Final = 2
"""Levels of an HTML tree that are open at first."""


@dataclass
class _Drawn:
    """One node of a drawing."""

    name: str
    kind: str
    summary: str
    title: str | None
    facts: dict[str, Any]
    children: list[_Drawn] = field(default_factory=list)
    drawn: bool = False  # whether the children were looked at
    cut: bool = False  # whether there are more of them

    @property
    def note(self) -> str:
        plain = self.kind == "group" and "error" not in self.facts
        text = "" if plain else f"  {self.summary}"
        return f"{text}  {self.title!r}" if self.title is not None else text


class Tree:
    """What stands below a group; `str` and `repr` draw it.

    Parameters
    ----------
    group : Group
        Where it begins.
    depth : int, optional
        Levels to draw.
    most : int or None
        Lines to draw at most, None for all.

    Attributes
    ----------
    n_left_out : int
        How many nodes were left out because there are too many. Those below them, and of large
        groups those beyond ten thousand, are not counted.
    """

    def __init__(self, group: Group, depth: int | None = None, most: int | None = _MOST) -> None:
        self.n_left_out = 0
        self._more = False
        self._room = most
        self._group = group
        self._seen = {group._id}
        with group._hold() as view:
            path = group._base(view)
            title = group.attrs._title_in(view)
            self._root = _Drawn(path, "group", group._summary(view), title, {})
            self._take()
            self._fill(self._root, view, group._id, path, depth)

    def _take(self) -> None:
        if self._room is not None:
            self._room -= 1

    def _fill(self, into: _Drawn, view: View, group: int, path: str, depth: int | None) -> None:
        if depth is not None and depth <= 0:
            return
        into.drawn = True
        if self._room is None:
            entries = directory.children(view, group)
        else:
            entries = directory.first_children(view, group, self._room + 1)
        for at, entry in enumerate(entries):
            if self._room is not None and self._room <= 0:
                n, exact = directory.count(view, group, at + _COUNTED)
                self.n_left_out += n - at
                self._more = self._more or not exact
                into.cut = True
                return
            self._take()
            drawn = self._draw(view, entry, join(path, entry.name))
            into.children.append(drawn)
            if entry.kind == NodeKind.GROUP and "error" not in drawn.facts:
                below = None if depth is None else depth - 1
                self._fill(drawn, view, entry.node, join(path, entry.name), below)

    def _draw(self, view: View, entry: Child, path: str) -> _Drawn:
        kind = kind_label(entry.kind)
        try:
            if entry.kind == NodeKind.GROUP:
                directory.once(self._seen, entry.node, path)
                if path.count("/") > directory.MAX_DEPTH:
                    raise CorruptDataError(f"groups nest more than {directory.MAX_DEPTH} deep")
            handle = make_handle(self._group._store, view, entry.node, path)
            title = handle.attrs._title_in(view)
            facts = handle._listing(view)
            # Of groups the number of nodes is looked up, everything else says its facts.
            if entry.kind == NodeKind.GROUP:
                return _Drawn(entry.name, kind, handle._summary(view), title, facts)
            return _Drawn(entry.name, kind, handle._words(facts), title, facts)
        except (FormatError, TamperedDataError) as error:
            # A damaged node, one of a newer kist, one that was put there, must not hide the others.
            why = {"error": str(error)}
            return _Drawn(entry.name, kind, f"({kind} that cannot be read)", None, why)

    def _left(self) -> str:
        if not self.n_left_out:
            return ""
        return f"... and {'more than ' if self._more else ''}{self.n_left_out:,} more"

    @property
    def lines(self) -> list[str]:
        """The drawing, one node a line."""
        lines = [visible(self._root.name) + self._root.note]

        def below(drawn: _Drawn, indent: str) -> None:
            for at, child in enumerate(drawn.children):
                last = at == len(drawn.children) - 1 and not drawn.cut
                branch = "└── " if last else "├── "
                lines.append(indent + branch + visible(child.name) + child.note)
                below(child, indent + ("    " if last else "│   "))

        below(self._root, "")
        return lines

    def __str__(self) -> str:
        left = self._left()
        return "\n".join(self.lines + ([left] if left else []))

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON can hold it: nodes with `children` where these were looked at."""

        def of(drawn: _Drawn) -> dict[str, Any]:
            found = {"name": drawn.name, "kind": drawn.kind, "title": drawn.title, **drawn.facts}
            if drawn.drawn:
                found["children"] = [of(child) for child in drawn.children]
            return found

        return of(self._root)

    def _repr_html_(self) -> str:
        return html.document(self._html())

    def _html(self) -> str:
        def of(drawn: _Drawn, level: int) -> str:
            name = html.element("code", html.text(drawn.name))
            notes = [drawn.summary, drawn.title]
            rest = " · ".join(html.text(note) for note in notes if note)
            line = f"{name} {html.element('span', rest, 'kn')}"
            if drawn.kind != "group" or not drawn.children:
                return line
            items = "".join(html.element("li", of(child, level + 1)) for child in drawn.children)
            return html.details(line, html.element("ul", items), level < _OPEN)

        left = self._left()
        return of(self._root, 0) + (html.element("div", html.text(left), "kn") if left else "")


def group_repr(group: Group) -> str:
    """Return a line about a store or group, and the upper levels of what stands in it."""
    head = f"kist.{type(group).__name__} {_name(group)!r}"

    def draw() -> str:
        if group._store.closed and group is group._store:
            return f"<{', '.join([head, *group._headline()])}>"
        view = group._view()
        title = group.attrs._title_in(view)
        line = ", ".join([head + (f" ({title})" if title else ""), *group._headline()])
        late = newer(group._store, view)
        tree = Tree(group, 2 if group is group._store else 1, 20)
        return "\n".join([f"<{line}{f' ({late})' if late else ''}>", *str(tree).splitlines()[1:]])

    return guarded(head, draw)


def group_html(group: Group) -> str:
    """Return the same as HTML, with more of it."""
    kind = type(group).__name__

    def draw() -> str:
        if group._store.closed and group is group._store:
            return html.document(html.heading(kind, _name(group), *group._headline()))
        view = group._view()
        title = group.attrs._title_in(view)
        notes = [title, *group._headline(), newer(group._store, view)]
        head = html.heading(kind, _name(group), *notes)
        return html.document(head, Tree(group, 4, 200)._html(), group.attrs._html_in(view))

    return html.guarded_html(f"{kind} {_name(group)!r}", draw)


def _name(group: Group) -> str:
    return group._store.path if group is group._store else group._path
