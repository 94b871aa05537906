"""What groups do alike with every kind of node that they open or make."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from kist.errors import NodeExistsError, NodeNotFoundError, SecretError
from kist.model import directory
from kist.model.node import Node

if TYPE_CHECKING:
    from kist.crypto.secret import Secret
    from kist.engine import Transaction
    from kist.format.node import NodeKind
    from kist.model.sealing.secrets import Encryption

__all__ = ["Maker", "as_encryption", "held", "inherited", "other_kind", "refuse_clear"]

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

    def _refuse_unsealing(self, txn: Transaction, path: str) -> None:
        """Raise where a sealed dataset would go for one in clear: rarely what was meant."""
        old = self.get(path)
        if getattr(old, "sealed", None) and not directory.is_marked(txn, old._id):
            is_table = old.kind == "table"
            raise SecretError(
                f"{old._path!r} {'has sealed columns' if is_table else 'is sealed'}, and what would"
                f" replace it {'has none' if is_table else 'is not'}: give encrypt= to "
                f"create_{old.kind.replace(' ', '')}(..., overwrite=True), or delete the "
                f"{old.kind} first"
            )

    def _secret_above(self, txn: Transaction, made: Node, given: object) -> Secret | None:
        """Return what opens something new in a sealed group; None of one that is in none.

        Raises
        ------
        SecretError
            The secret of the group is missing, or there is one for what is new as well.
        """
        if not directory.is_marked(txn, made._id):
            return None
        if given is not None:
            raise SecretError(
                f"create {made._path!r}: it stands in a sealed group, whose secrets open all that "
                "is in it: leave out encrypt="
            )
        from kist.model.sealing.groups import secret_below

        return secret_below(txn, made._id)

    def _keep_promises(self, txn: Transaction, made: Node, sealed: object) -> None:
        """Raise where a secret was given by name and what is made in its place is in clear.

        What stood there may have been deleted by somebody who would like to read what comes.
        """
        ring = txn.reader.keyring
        if ring is None or not ring.named or directory.is_marked(txn, made._id):
            return
        names = made._path.strip("/").split("/")
        above = ["/".join(names[:n]) for n in range(1, len(names))]
        promised = next((path for path in above if ring.promises_dataset(path)), None)
        if promised is None and sealed is None:
            path = "/".join(names)
            # A single name may be that of a column anywhere.
            is_dataset = made.kind != "table" or above
            holds = made.kind != "group" and ring.promises(path)  # a group holds what is named
            if holds or (is_dataset and ring.promises_dataset(path)):
                promised = path
        if promised is not None:
            raise SecretError(
                f"create {made._path!r}: a secret was given by name for {promised!r}, which is not "
                "there any more, and what is made now would be in clear: give encrypt=, or open "
                "the store without that name"
            )


def inherited(secret: Secret) -> Encryption:
    """Return what seals a whole dataset below a sealed group."""
    from kist.model.sealing.groups import INHERITED
    from kist.model.sealing.secrets import Encryption

    return Encryption({INHERITED: secret})


def as_encryption(encrypt: Any) -> Encryption | None:
    """Return what was given as ``encrypt=`` for a whole dataset, None where nothing was."""
    if encrypt is None:
        return None
    from kist.crypto.hidden import Held
    from kist.model.sealing.secrets import Encryption

    try:
        return Encryption(encrypt.given if isinstance(encrypt, Held) else encrypt)
    finally:
        encrypt = None  # a traceback would show it


def held(options: dict[str, Any]) -> dict[str, Any]:
    """Return options on their way to what makes a dataset, the secrets among them out of sight."""
    if options.get("encrypt") is None:
        return options
    from kist.crypto.hidden import Held

    if isinstance(options["encrypt"], Held):  # one such call leads to another
        return options
    return {**options, "encrypt": Held(options.pop("encrypt"))}


def refuse_clear(node: Any) -> None:
    """Raise where what ought to be sealed is there already, in clear."""
    if not node.sealed:
        raise SecretError(
            f"{node._path!r} is there and not sealed, and encrypt= was given: make a new "
            f"{node.kind} and copy the values, then delete this one"
        )


def other_kind(node: Node, kind: type[Node]) -> str:
    found, wanted = (f"{'an' if k[0] in 'aeiou' else 'a'} {k}" for k in (node.kind, kind.kind))
    return f"{node._path!r} is {found}, not {wanted}"
