"""What groups do with key stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kist import model
from kist.format.node import NodeKind
from kist.model.group_maker import Maker, as_encryption, held, inherited, refuse_clear
from kist.model.handles import handle_of

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
        encrypt: Any = None,
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
        encrypt : secret, list of them, or dict of labels and secrets, optional
            What opens the key store, which is sealed then, keys and values. A secret is a key of
            32 bytes, a passphrase, or a callable that asks a key service: see docs/encryption.md.

        Raises
        ------
        NodeExistsError
            Something stands there.
        CodecError
            There is no such codec.
        SecretError
            Something in `encrypt` is no secret; or a sealed key store would be replaced by one
            that is not.

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

        try:
            sealed = as_encryption(encrypt)
        finally:
            encrypt = None  # a traceback would show it
        with self._write() as txn:
            if overwrite and sealed is None:
                self._refuse_unsealing(txn, name)
            node = self._new(txn, name, NodeKind.KEYSTORE, overwrite)
            assert isinstance(node, KeyStore)
            self._keep_promises(txn, node, sealed)
            above = self._secret_above(txn, node, sealed)
            sealed = sealed if above is None else inherited(above)
            create_keystore(node, txn, codec, sealed)
            if sealed is not None:
                # Of the class of those that are sealed.
                made = handle_of(
                    node._store, node._id, node._kind, node._created_ns, node._path, sealed=True
                )
                assert isinstance(made, KeyStore)
                node = made
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
        SecretError
            The key store that stands there is not sealed, and ``encrypt=`` was given.
        """
        from kist.model.keystores.keystore import KeyStore

        options = held(options)
        node = self._require_as(KeyStore, name, lambda: self.create_keystore(name, **options))
        if options.pop("encrypt", None) is not None:
            refuse_clear(node)
        return node
