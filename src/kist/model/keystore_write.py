"""Changing key stores: batches of entries, their counts, and the other Unicode forms of keys."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Final

from kist.errors import NodeExistsError, NodeNameError
from kist.format import keys
from kist.format.keystore import (
    MAX_KEY_BYTES,
    Counts,
    pack_key,
    sizes_of,
)
from kist.format.values import pack_record, unpack_record
from kist.model.keystore_values import Recipes, Split, records_of, split

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.model.keystore import KeyStore

__all__ = ["Change"]

_BATCH_KEYS: Final = 4096
_BATCH_BYTES: Final = 16 << 20
"""Of values: large enough that one write and all threads are worth it, small in memory."""


class Change:
    """Entries on their way into a key store.

    Parameters
    ----------
    store : KeyStore
        Where they go.
    """

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._id = store._id
        self._waiting: dict[bytes, Split] = {}
        self._size = 0

    def add(self, key: object, value: Any) -> bool:
        """Take one entry; returns whether it is time to write.

        Raises
        ------
        DTypeError, NodeNameError
            The key or the value cannot be stored.
        """
        found = split(value)
        self._waiting[pack_key(key)] = found
        self._size += found.nbytes
        return len(self._waiting) >= _BATCH_KEYS or self._size >= _BATCH_BYTES

    def write(self, txn: Transaction) -> None:
        """Put the entries and the counts.

        Raises
        ------
        NodeExistsError
            A key is the same text as another one, in another Unicode form.
        """
        waiting, self._waiting, self._size = self._waiting, {}, 0
        if not waiting:
            return
        n_keys, nbytes, stored, codec = self._store._counts(txn)
        recipes = Recipes(self._store.store.uuid, self._id, codec)
        prefix = keys.items(self._id)[0]
        records = records_of(txn, self._id, list(waiting.values()), recipes)
        for packed, record in zip(waiting, records, strict=True):
            key = prefix + packed
            old = txn.get(key)
            if old is not None:
                before = sizes_of(key, old)
                nbytes -= before[0]
                stored -= before[1]
            else:
                n_keys += 1
                if not packed.isascii() and packed[0] == 0x50:
                    self._check_form(txn, packed)
            after = sizes_of(key, record)
            nbytes += after[0]
            stored += after[1]
            txn.put(key, record)
        txn.put(keys.bounds(self._id), Counts(n_keys, nbytes, stored, codec).pack())

    def remove(self, txn: Transaction, key: object) -> bool:
        """Delete one key; returns whether it was there."""
        try:
            packed = pack_key(key)
        except NodeNameError:
            return False
        own = keys.item(self._id, packed)
        old = txn.get(own)
        if old is None:
            return False
        before = sizes_of(own, old)
        n_keys, nbytes, stored, codec = self._store._counts(txn)
        txn.delete(own)
        if packed[0] == 0x50 and not packed.isascii():
            text = packed[1:].decode()
            form = unicodedata.normalize("NFC", text)
            if form != text:
                txn.delete(keys.other_form(self._id, form))
        # Never below zero, also where a damaged file counts wrong.
        counts = Counts(
            max(n_keys - 1, 0), max(nbytes - before[0], 0), max(stored - before[1], 0), codec
        )
        txn.put(keys.bounds(self._id), counts.pack())
        return True

    def _check_form(self, txn: Transaction, packed: bytes) -> None:
        """Refuse a new key that looks like another; note one that is not in form NFC."""
        text = packed[1:].decode()
        form = unicodedata.normalize("NFC", text)
        noted = keys.other_form(self._id, form)
        if len(form.encode()) > MAX_KEY_BYTES:
            raise NodeNameError(
                f"a key of {len(form.encode()):,} bytes in Unicode's form NFC ({text[:40]!a} ...); "
                f"keys have at most {MAX_KEY_BYTES:,}"
            )
        other = txn.get(noted)
        same = None
        if other is not None:
            same = unpack_record(other)[1].decode("utf-8", "replace")
        elif form != text and txn.get(keys.item(self._id, b"\x50" + form.encode())) is not None:
            same = form
        if same is not None and same != text:
            raise NodeExistsError(
                f"the key {text!a} would stand beside {same!a} in {self._store._path!r}, which is "
                "the same text in another Unicode form; use that key"
            )
        if form != text:
            txn.put(noted, pack_record(text.encode()))
