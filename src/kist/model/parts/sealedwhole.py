"""Arrays and key stores that are sealed as a whole, split and merged: `sealedfields` for them.

A new dataset gets the lock of the first one that it is made of, and a manifest of its own. Bodies
under data keys that it has are copied as they are, others are sealed anew; nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from kist.engine.keyring import keyring_of
from kist.errors import NodeExistsError, SecretError, StaleHandleError, TamperedDataError
from kist.format import keys
from kist.format.keystore import Counts, unpack_key
from kist.format.node import NodeKind
from kist.format.values import unpack_record
from kist.model.extents import Extents
from kist.model.keystores.sealed import SealedKeys, stored_size
from kist.model.sealing.copies import copied_field, put_anew
from kist.model.sealing.field import put_lock, read_lock

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.model.sealing.field import SealedField

__all__ = ["Moving", "SealedKeySink", "begin_field", "packed_keys"]

_RECORDS: Final = 20_000
"""Entries of a commit, about a kilobyte of memory each."""


def _opened(view: View, node: int, kind: int, path: str) -> SealedField:
    """Return the field of a dataset that is taken, all its records verified."""
    try:
        return copied_field(view, node, kind, path)
    except TamperedDataError:
        raise
    except SecretError as error:
        raise type(error)(
            f"{error}. It is split and merged with its secret, secrets=: what is made of it must "
            "be vouched for"
        ) from None


def begin_field(
    view: View, node: int, kind: int, path: str, txn: Transaction, new: int
) -> SealedField:
    """Give the lock of a dataset to a new one; return the field of that, bound to nothing yet.

    Raises
    ------
    SecretError
        The secret is missing: who makes the new dataset vouches for what is in it.
    TamperedDataError
        The records of the dataset are not those that were written.
    """
    before = _opened(view, node, kind, path)
    packed = read_lock(view, node)
    assert packed is not None
    keyring_of(txn.reader).remember(packed, before.keys)
    put_lock(txn, new, packed)
    return type(before).begin(txn, new, path, before.keys, before.fresh_more())


class Moving:
    """A sealed dataset whose records are on their way into another one.

    Parameters
    ----------
    view, node, kind, path : View, int, int, str
        The dataset.
    told : callable, optional
        Called with the number of bytes that were sealed anew.
    """

    def __init__(
        self,
        view: View,
        node: int,
        kind: int,
        path: str,
        told: Callable[[int], None] | None = None,
    ) -> None:
        self.before = _opened(view, node, kind, path)
        self._told = told

    def add(
        self, txn: Transaction, after: SealedField, extents: Extents, key: bytes, value: bytes
    ) -> bytes:
        """Put a record into the new dataset, which has none of this key.

        Parameters
        ----------
        after : SealedField
            Of the new one.
        extents : Extents
            What copies bodies into it.
        key, value : bytes
            Of the new dataset, and of the old one.

        Returns
        -------
        bytes
            A record of the size that it has there.
        """
        known = after.keys.data
        if all(known.get(name) == own for name, own in self.before.keys.data.items()):
            pointers, payload = unpack_record(value)
            after.bind(txn, key, value)
            extents.add(self.before.view, key, payload, pointers)
            return value
        new = put_anew(txn, self.before, after, key, value)
        if self._told is not None:
            self._told(sum(pointer.length for pointer in unpack_record(new)[0]))
        return new


class SealedKeySink:
    """A new sealed key store on its way; parameters as of `KeySink`, and its open field."""

    def __init__(
        self,
        txn: Transaction,
        field: SealedKeys,
        codec: str,
        step: Callable[[], Transaction],
        told: Callable[[int], None] | None = None,
    ) -> None:
        self._step = step
        self._told = told
        self._field = field
        self._codec = codec
        self._n = self._nbytes = self._stored = 0
        self._go_on(txn)
        self.finish()

    def _go_on(self, txn: Transaction) -> None:
        self._txn = txn
        self._extents = Extents(txn, self._told)
        self._n_records = 0

    def add_part(self, view: View, node: int, path: str, start: int, stop: int) -> None:
        """Take the entries start .. stop, counted in the order of the keys.

        Raises
        ------
        NodeExistsError
            A key is there already, or one that looks like it.
        """
        moving = Moving(view, node, NodeKind.KEYSTORE, path, self._told)
        before = moving.before
        assert isinstance(before, SealedKeys)
        places = before.ordered()[1][start:stop]
        while places:
            room = _RECORDS - self._n_records
            self._extents.flush()  # so that keys of other parts are seen
            self._add(moving, before, places[:room], path)
            places = places[room:]
            if self._n_records >= _RECORDS:
                self.finish()
                self._go_on(self._step())
                self._field = SealedKeys.find(self._txn, self._field.node, self._field.path)

    def _add(self, moving: Moving, before: SealedKeys, places: list[bytes], path: str) -> None:
        """Take some entries of one key store, which has no key twice."""
        field, txn = self._field, self._txn
        for place in places:
            value = before.view.get(place)
            assert value is not None
            entry = before.entry(value)
            key = field.place(entry.packed)
            there = txn.get(key)
            if there is not None:
                raise _there_already(entry.packed, field.entry(there).packed, path)
            new = moving.add(txn, field, self._extents, key, value)
            self._nbytes += entry.nbytes
            self._stored += stored_size(key, new)
        self._n += len(places)
        self._n_records += len(places)

    def settle(self) -> None:
        """Write what still waits to be read: the stores where it stands are closed next."""
        self._extents.flush()

    def finish(self) -> None:
        """Write all that waits, the counts, and the manifest."""
        self._extents.flush()
        field = self._field
        field.nbytes = self._nbytes
        counts = Counts(self._n, 0, self._stored, self._codec)
        field.put(self._txn, keys.bounds(field.node), counts.pack())
        field.vouch(self._txn)

    def resume(self) -> None:
        """Nobody else puts entries."""
        raise StaleHandleError("entries were put into a key store that is being made")


def _there_already(packed: bytes, other: bytes, path: str) -> NodeExistsError:
    if packed == other:
        return NodeExistsError(
            f"the key {unpack_key(packed)!r} of {path!r} comes twice: key stores that are merged "
            "have no key in common"
        )
    return NodeExistsError(
        f"the key {unpack_key(packed)!a} of {path!r} would stand beside {unpack_key(other)!a}, "
        "which is the same text in another Unicode form"
    )


def packed_keys(view: View, node: int, path: str) -> Sequence[bytes]:
    """Return all keys of a sealed key store in their order."""
    found = _opened(view, node, NodeKind.KEYSTORE, path)
    assert isinstance(found, SealedKeys)
    return found.ordered()[0]
