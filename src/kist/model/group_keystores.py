"""What groups do with key stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kist import model
from kist.format.node import NodeKind
from kist.model.group_maker import Maker

if TYPE_CHECKING:
    from kist.model.keystores.keystore import KeyStore

__all__ = ["KeyStoreMaker"]


class KeyStoreMaker(Maker):
    """The part of a group that makes and opens key stores."""

    def create_keystore(
        self,
        name: str,
        *,
        codec: str = "auto",
        title: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> KeyStore:
        """Make an empty key store, and the groups on the way to it.

        Parameters
        ----------
        name : str
            Path of the key store.
        codec : str
            For arrays and long texts: ``"fast"``, ``"balanced"`` and ``"small"`` choose from a
            sample of what is put; else an explicit codec, as for tables. ``"auto"`` is ``"fast"``.
        title, attrs : optional
            Attributes of the key store.
        overwrite : bool
            Replace a key store of that name; handles to the old one become stale.

        Raises
        ------
        NodeExistsError
            Something stands there.
        CodecError
            There is no such codec.

        Examples
        --------
        >>> import kist
        >>> with kist.open(":memory:") as store:
        ...     runs = store.create_keystore("runs", title="Runs of June")
        ...     runs["17"] = {"gain": 2.5}
        ...     runs.title, len(runs)
        ('Runs of June', 1)
        """
        from kist.model.keystores.keystore import KeyStore
        from kist.model.keystores.write import create_keystore

        with self._write() as txn:
            node = self._new(txn, name, NodeKind.KEYSTORE, overwrite)
            assert isinstance(node, KeyStore)
            create_keystore(node, txn, codec)
            model.attributes.copy_attributes(node, attrs, title)
        return node

    def open_keystore(self, name: str) -> KeyStore:
        """Return a key store that must exist.

        Raises
        ------
        NodeNotFoundError
            There is none, or something else stands there.
        """
        from kist.model.keystores.keystore import KeyStore

        return self._open_as(KeyStore, name)

    def require_keystore(self, name: str, **options: Any) -> KeyStore:
        """Return a key store, making it when it is missing.

        Parameters
        ----------
        name : str
            Path of the key store.
        **options
            For `create_keystore`; a key store that exists keeps its own.

        Raises
        ------
        NodeExistsError
            Something else stands there.
        """
        from kist.model.keystores.keystore import KeyStore

        return self._require_as(KeyStore, name, lambda: self.create_keystore(name, **options))
