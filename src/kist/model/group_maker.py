"""What groups do alike with every kind of node that they open or make."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from kist.errors import NodeExistsError, NodeNotFoundError
from kist.model.node import Node

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.format.node import NodeKind

__all__ = ["Maker", "other_kind"]

N = TypeVar("N", bound=Node)


class Maker(Node):
    """The part of a group that its parts for tables, arrays and key stores share."""

    if TYPE_CHECKING:

        def __getitem__(self, path: str) -> Any: ...

        def get(self, path: str, default: Any = None) -> Any: ...

        def _new(self, txn: Transaction, path: str, kind: NodeKind, overwrite: bool) -> Node: ...

    def _open_as(self, kind: type[N], name: str) -> N:
        """Return a node of this class that must exist."""
        node = self[name]
        if not isinstance(node, kind):
            raise NodeNotFoundError(other_kind(node, kind))
        return node

    def _require_as(self, kind: type[N], name: str, make: Callable[[], N]) -> N:
        """Return a node of this class, making it when nothing stands there."""
        node = self.get(name)
        if node is None:
            with self._write():
                node = self.get(name)  # now nobody else can make it
                if node is None:
                    node = make()
        if not isinstance(node, kind):
            raise NodeExistsError(other_kind(node, kind))
        return node


def other_kind(node: Node, kind: type[Node]) -> str:
    found, wanted = (f"{'an' if k[0] in 'aeiou' else 'a'} {k}" for k in (node.kind, kind.kind))
    return f"{node._path!r} is {found}, not {wanted}"
