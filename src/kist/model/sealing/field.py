"""The field of a dataset that is sealed as a whole: opened in a view, changed in a transaction.

`SealedField` is what arrays and key stores ask for keys. Opening it holds their records against the
manifest, unless that was done before; each change of a record goes through it, so that the digest
follows, and `vouch` puts the manifest that says so. Nothing that a transaction did before is looked
at again (docs/design/0018-sealed-datasets.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final, Self

from kist.engine.keyring import keyring_of
from kist.engine.manifest import (
    Place,
    bound_items,
    check_manifest,
    item_of,
    make_manifest,
    new_digest,
    open_manifest,
    token_of,
)
from kist.engine.sealedrecords import SealedPointer, open_record, seal_record
from kist.errors import SecretError, TamperedDataError, WrongSecretError
from kist.format import keys
from kist.format.layout import FRAME_BLOB, MAX_INLINE
from kist.format.values import pack_record, unpack_record
from kist.model import directory

if TYPE_CHECKING:
    from kist.crypto.digest import SetDigest
    from kist.crypto.hidden import Hidden
    from kist.engine import Frame, Transaction, View
    from kist.engine.fieldkeys import FieldKeys
    from kist.format.keys import Range

__all__ = ["FIELD", "SealedField", "check_promises", "field_keys", "put_lock", "read_lock"]

FIELD: Final = 1
"""Number of the field of a dataset that is sealed as a whole."""


class SealedField:
    """The field of one dataset, open, and what its manifest says.

    Parameters
    ----------
    view : View
        Snapshot or transaction.
    node, path : int, str
        The dataset.
    opened : FieldKeys
        Its keys.
    digest : SetDigest
        Of its records.
    more : bytes
        What the manifest holds beside that: of secret content.
    """

    kind: ClassVar[str] = "dataset"
    number: ClassVar[int] = FIELD

    __slots__ = ("_changed", "_digest", "keys", "more", "node", "path", "token", "view")

    def __init__(
        self,
        view: View,
        node: int,
        path: str,
        opened: FieldKeys,
        digest: SetDigest,
        more: Hidden,
    ) -> None:
        self.view = view
        self.node = node
        self.path = path
        self.keys = opened
        self.more = more
        self._digest = digest
        self._changed = False
        self.token = b""

    def __repr__(self) -> str:
        return f"<sealed field of {self.path!r}>"

    @classmethod
    def ranges(cls, node: int) -> list[tuple[Range, bool]]:
        """Return the keys that the digest is over, and whether extents count as well."""
        raise TypeError("of arrays and key stores alone")

    @classmethod
    def find(cls, view: View, node: int, path: str, opened: FieldKeys | None = None) -> Self:
        """Return the field of a sealed dataset whose records are those that its manifest names.

        Parameters
        ----------
        view, node, path : View, int, str
            The dataset.
        opened : FieldKeys, optional
            Its keys, where the caller has them.

        Raises
        ------
        SecretError
            No secret was given.
        WrongSecretError
            None of them opens it.
        TamperedDataError
            The records are not those that were written.
        """
        opened = opened or cls._keys_of(view, node, path)
        value = view.get(keys.manifest(node, cls.number))
        payload = None if value is None else unpack_record(value)[1]
        ring, place = keyring_of(view.reader), place_of(view, node, cls.number)
        token = b"" if payload is None else token_of(place, payload)
        if payload is not None and is_verified(view, token):
            found = ring.content(token)
            if found is None:
                digest, more = open_manifest(payload, place, opened)
                found = digest, _hidden(more)
                ring.keep_content(token, found)
            return cls(view, node, path, opened, *found).known_as(token)
        try:
            digest, more = check_manifest(view, payload, place, opened, cls.ranges(node))
        except TamperedDataError as error:
            raise TamperedDataError(f"{path!r}: {error}") from None
        ring.verify(token, view.commit_id)
        ring.keep_content(token, (digest, _hidden(more)))
        return cls(view, node, path, opened, digest, _hidden(more)).known_as(token)

    @classmethod
    def _keys_of(cls, view: View, node: int, path: str) -> FieldKeys:
        """Return the keys under which a manifest is looked for."""
        return field_keys(view, node, path)

    def known_as(self, token: bytes) -> Self:
        """Note what its manifest is known as; return the field."""
        self.token = token
        return self

    @classmethod
    def try_find(cls, view: View, node: int, path: str) -> Self | SecretError:
        """Return what `find` does, or the error where the right secret was not given.

        Raises
        ------
        TamperedDataError
            As `find`: nothing of such a dataset is shown to who has its secret.
        """
        try:
            return cls.find(view, node, path)
        except TamperedDataError:
            raise
        except SecretError as error:
            return error.with_traceback(None)

    @classmethod
    def begin(cls, txn: Transaction, node: int, path: str, opened: FieldKeys, more: bytes) -> Self:
        """Return the field of a dataset that has no records yet."""
        return cls(txn, node, path, opened, new_digest(opened), _hidden(more))

    def under(self, txn: Transaction, opened: FieldKeys, *, renewed: bool = False) -> Self:
        """Return the field under other keys, bound to nothing yet.

        Parameters
        ----------
        renewed : bool
            Whether all records will be put anew.
        """
        more = self.fresh_more(renewed=renewed)
        return type(self).begin(txn, self.node, self.path, opened, more)

    def fresh_more(self, *, renewed: bool = False) -> bytes:
        """Return what the manifest holds beside the digest before records are bound.

        Parameters
        ----------
        renewed : bool
            Draw anew what makes the places of records.
        """
        return self._more()

    def verify_all(self) -> None:
        """Hold all records against the manifest that were not yet; `find` has done it here."""

    def bind_all(self, txn: Transaction) -> None:
        """Bind the field to all records that are there, which the caller has verified."""
        self._own().add(bound_items(txn, self.ranges(self.node)))

    # Records

    def open(self, value: bytes, where: str = "") -> tuple[tuple[SealedPointer, ...], bytes]:
        """Return pointers and payload of a sealed record.

        Parameters
        ----------
        where : str
            What errors of its extents call it.
        """
        pointers, payload = unpack_record(value)
        try:
            opened, plain = open_record(self.view, pointers, payload, self.keys.data)
        except TamperedDataError as error:
            raise TamperedDataError(f"{where or repr(self.path)}: {error}") from None
        for pointer in opened:
            pointer.where = where
        return opened, plain

    def seal(self, payload: bytes, frames: Sequence[Frame] = ()) -> tuple[bytes, list[Frame]]:
        """Return payload and frames of the record as they stand in the file."""
        return seal_record(self.keys.current, payload, frames)

    def put(self, txn: Transaction, key: bytes, value: bytes) -> None:
        """Put a record of the dataset."""
        old = txn.get(key)
        self._turn(txn, key, old, value)
        txn.put(key, value, old=old)

    def put_all(self, txn: Transaction, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Put records with distinct keys."""
        for key, value in pairs:
            self._turn(txn, key, txn.get(key), value)
        txn.put_all(pairs)

    def put_known(
        self, txn: Transaction, rows: Sequence[tuple[bytes, bytes, bytes | None]]
    ) -> None:
        """Put records with distinct keys: (key, value, what is there now)."""
        for key, value, old in rows:
            self._turn(txn, key, old, value)
        if len(rows) == 1:
            key, value, old = rows[0]
            txn.put(key, value, old=old)
        else:
            txn.put_many([(key, value) for key, value, _ in rows])

    def bind(self, txn: Transaction, key: bytes, value: bytes) -> None:
        """Bind the field to a new record, which the caller puts with extents of its own."""
        self._turn(txn, key, None, value)

    def delete(self, txn: Transaction, key: bytes) -> None:
        """Delete a record, if it is there."""
        self._turn(txn, key, txn.get(key), None)
        txn.delete(key)

    def delete_range(self, txn: Transaction, start: bytes, stop: bytes) -> None:
        """Delete all records with start <= key < stop."""
        for key, value in txn.scan(start, stop):
            self._turn(txn, key, value, None)
        txn.delete_range(start, stop)

    def _turn(self, txn: Transaction, key: bytes, old: bytes | None, new: bytes | None) -> None:
        """Take a record out of its digest, and its new value in."""
        digest = self._digest_of(key)
        deep = keys.kind_of(key) == b"S"
        if old is not None:
            digest.remove([item_of(txn, key, old, deep=deep)])
        if new is not None:
            digest.add([item_of(txn, key, new, deep=deep)])

    def _digest_of(self, key: bytes) -> SetDigest:
        return self._own()

    def _own(self) -> SetDigest:
        if not self._changed:  # what the keyring keeps is that of a manifest, and stays
            self._digest = self._digest.copy()
            self._changed = True
        return self._digest

    def _more(self) -> bytes:
        """Return what the manifest shall hold beside the digest."""
        return self.more.reveal()

    def vouch(self, txn: Transaction) -> None:
        """Put the manifest of what is there now: the end of each change."""
        place, more = place_of(txn, self.node, self.number), self._more()
        payload = make_manifest(place, self.keys, self._digest, more)
        txn.put(keys.manifest(self.node, self.number), pack_record(payload))
        ring, token = keyring_of(txn.reader), token_of(place, payload)
        ring.vouch(token, txn.commit_id + 1)
        ring.keep_content(token, (self._digest.copy(), _hidden(more)))
        self.token = token


def _hidden(more: bytes) -> Hidden:
    from kist.crypto.hidden import Hidden

    return Hidden(more)


def is_verified(view: View, token: bytes) -> bool:
    """Tell whether what a token stands for is known to hold in a view."""
    ring = keyring_of(view.reader)
    return ring.is_verified(token, view.commit_id, changing=view.is_transaction)


def place_of(view: View, node: int, number: int = FIELD) -> Place:
    """Return what the manifest of a dataset names."""
    return Place(view.reader.uuid, node, number)


def field_keys(view: View, node: int, path: str) -> FieldKeys:
    """Return the keys of a sealed dataset; its records are not looked at.

    Raises
    ------
    SecretError, WrongSecretError, TamperedDataError
        As `SealedField.find`.
    """
    packed = read_lock(view, node)
    if packed is None:
        raise TamperedDataError(f"{path!r} is sealed, and its keys are gone")
    ring = view.reader.keyring
    try:
        found = None if ring is None else ring.opened(packed)
        if found is None and directory.is_marked(view, node):
            return open_inherited(view, node, path, packed)
        if found is None and ring is not None:
            found = ring.open(packed, (path.strip("/"),))
    except WrongSecretError as error:
        raise WrongSecretError(f"{path!r}: {error}") from None
    if found is None:
        raise SecretError(
            f"{path!r} is sealed, and no secret was given for it: kist.open(..., secrets=[...])"
        )
    return found


def open_inherited(view: View, node: int, path: str, packed: bytes) -> FieldKeys:
    """Return the keys of a lock that the group opens in which a dataset stands."""
    from kist.model.sealing.groups import keys_below

    return keys_below(view, node, path, packed)


def read_lock(view: View, node: int, number: int = FIELD) -> bytes | None:
    """Return the lock of a dataset as bytes, None where there is none."""
    value = view.get(keys.lock(node, number))
    if value is None:
        return None
    pointers, payload = unpack_record(value)
    return bytes(view.read(pointers[0])) if pointers else payload


def put_lock(txn: Transaction, node: int, packed: bytes, number: int = FIELD) -> None:
    """Put the lock of a dataset; one of many slots stands in an extent."""
    if len(packed) <= MAX_INLINE:
        txn.put(keys.lock(node, number), pack_record(packed))
        return
    from kist.engine import Frame

    (pointer,) = txn.write([Frame(FRAME_BLOB, node, 0, 0, packed)])
    txn.put(keys.lock(node, number), pack_record(b"", (pointer,)))


def check_promises(view: View, node: int, path: str, kind: str) -> None:
    """Raise where a dataset that is not sealed was, by its records or by the caller's secrets.

    Raises
    ------
    TamperedDataError
        It has keys or a manifest, or a secret was given for it by name.
    """
    ring = view.reader.keyring
    if ring is None:
        return
    if directory.is_inside(view, node) or directory.leads_inside(view, path):
        raise directory.in_clear(kind, path)
    if ring.named and ring.promises_dataset(path):
        raise TamperedDataError(
            f"the {kind} {path!r} is not sealed, and a secret was given for it by name: who writes "
            "now writes in clear; do not trust the file"
        )
    if next(view.scan(*keys.sealed_fields(node)), None) is not None:
        raise TamperedDataError(
            f"the {kind} {path!r} has the keys of a sealed one, and does not say that it is sealed:"
            " it was edited; do not trust the file"
        )
