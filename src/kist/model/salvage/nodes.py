"""The hierarchy out of what is left of it: each node stands in two records, and one is enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from kist.errors import FormatError
from kist.format import keys
from kist.format.node import Child, NodeKind, NodeRecord
from kist.model import directory

if TYPE_CHECKING:
    from kist.engine import View

__all__ = ["Place", "places"]


class Place(NamedTuple):
    """A node and where it stood.

    Attributes
    ----------
    node, parent : int
        Its id and that of its group; the group is 0 when nothing tells it.
    name : str
        Its name there; made up when nothing tells it.
    kind : int
        A `NodeKind`, or what only a newer kist knows.
    record : NodeRecord or None
        Its own record, if that is left.
    """

    node: int
    parent: int
    name: str
    kind: int
    record: NodeRecord | None


def places(view: View) -> list[Place]:
    """Return all nodes that anything is left of, groups before what they hold."""
    listed: dict[int, tuple[int, Child]] = {}
    nodes = list(_nodes(view))
    for node in nodes:
        for key, value in view.scan(*keys.children(node)):
            try:
                entry = Child.unpack(keys.name_of(key), value)
            except FormatError:
                continue
            if entry.node > keys.ROOT:
                listed.setdefault(entry.node, (node, entry))
    found = {n: _place(view, n, listed.get(n)) for n in {*nodes, *listed} - {keys.ROOT}}
    for place in list(found.values()):
        if place.parent > keys.ROOT and place.parent not in found:
            number = place.parent
            found[number] = Place(number, 0, f"node-{number}", NodeKind.GROUP, None)
    ordered: list[Place] = []
    depths = {0: 1, keys.ROOT: 0}
    waiting = [found[node] for node in sorted(found)]
    while waiting:
        later = []
        for place in waiting:
            depth = depths.get(place.parent)
            if depth is None:
                later.append(place)
                continue
            ordered.append(place)
            if place.kind == NodeKind.GROUP and depth < directory.MAX_DEPTH - 1:
                depths[place.node] = depth + 1
        if len(later) == len(waiting):
            later[0] = later[0]._replace(parent=0)  # they stand in each other, or in no group
        waiting = later
    return ordered


def _nodes(view: View) -> Iterator[int]:
    """Ids of all nodes with records, ascending; one look-up each."""
    number = keys.ROOT
    while True:
        entry = next(view.scan(keys.whole_node(number)[0], b"\xff" * 9), None)
        if entry is None:
            return
        number = keys.node_of(entry[0])
        yield number
        number += 1


def _place(view: View, node: int, listed: tuple[int, Child] | None) -> Place:
    record = None
    value = view.get(keys.node(node))
    if value is not None:
        try:
            record = NodeRecord.unpack(value)
        except FormatError:
            record = None
    if record is not None and record.name:
        return Place(node, record.parent, record.name, record.kind, record)
    if listed is not None:
        parent, entry = listed
        return Place(node, parent, entry.name, entry.kind, None)
    return Place(node, 0, f"node-{node}", _kind_of(view, node), None)


def _kind_of(view: View, node: int) -> int:
    """What a node must be, from the records that only such nodes have."""

    def has(key_range: keys.Range) -> bool:
        return next(view.scan(*key_range), None) is not None

    if view.get(keys.link(node)) is not None:
        return NodeKind.LINK
    if has(keys.groups(node)) or (view.get(keys.schema(node)) and not view.get(keys.bounds(node))):
        return NodeKind.TABLE
    if has(keys.segments(node)) or view.get(keys.schema(node)):
        return NodeKind.ARRAY
    if has(keys.items(node)) or view.get(keys.bounds(node)):
        return NodeKind.KEYSTORE
    return NodeKind.GROUP
