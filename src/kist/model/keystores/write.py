"""Changing key stores: batches of entries, their counts, and the other Unicode forms of keys."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from kist.codecs.choose import parse_codec
from kist.engine.few import NotFewError
from kist.errors import NodeExistsError, NodeNameError
from kist.format import keys
from kist.format.keystore import (
    MAX_KEY_BYTES,
    Counts,
    pack_key,
    pack_texts,
    sizes_of,
    unpack_key,
)
from kist.format.layout import NODE_SEALED
from kist.format.plain import pack_scalars, pack_value
from kist.format.values import pack_record, unpack_record
from kist.model import directory
from kist.model.keystores.recipes import Recipes
from kist.model.keystores.values import Split, split, write_bundles

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.engine.few import Few
    from kist.model.keystores.keystore import KeyStore
    from kist.model.sealing.secrets import Encryption

__all__ = ["Change", "create_keystore", "put_entry", "short_record"]

AUTO: Final = "fast"
"""Values are read whole and at once, and somebody waits. With arrays of times and readings
"balanced" is a sixth smaller and takes twice as long to read."""

_KEY: Final = 9  # where the packed key begins in a key of the map
_STR: Final = 0x50
_SCALARS: Final = frozenset({type(None), bool, int, float, complex})

_TEXT: Final = frozenset({str, bytes})
_SHORT: Final = 1000  # characters or bytes of what surely stands in its record

_BATCH_KEYS: Final = 65_536
_RUN: Final = 4096
_DICT_ITEMS: Final[type] = type({}.items())
_BATCH_BYTES: Final = 16 << 20
"""Of values: large enough that one write and all threads are worth it, small in memory."""


def short_record(value: object) -> bytes | None:
    """Return the record of a number, None, or a short text; None for other values."""
    kind = type(value)
    if kind in _TEXT:
        if len(value) >= _SHORT:  # type: ignore[arg-type]
            return None
    elif kind not in _SCALARS:
        return None
    return b"\0\0" + pack_value(value)


def put_entry(node: int, packed: bytes, record: bytes, counted: Counts, few: Few) -> Counts:
    """Put one entry as `Change.write_one` does, and return the counts that were put.

    Parameters
    ----------
    packed, record : bytes
        A key, and what `short_record` gives of its value.
    counted : Counts
        The counts so far.

    Raises
    ------
    NotFewError
        The key has a value in an extent, or is new and may look like another one.
    """
    n_keys, nbytes, stored, codec = counted
    key = keys.item(node, packed)
    old = few.get(key)
    n_record = len(record)
    if old is None and packed.isascii():
        n_keys += 1
        stored += len(key)
    elif old is not None and old[:2] == b"\0\0":
        n_old = len(old)
        nbytes -= n_old - 2
        stored -= n_old
    else:
        raise NotFewError
    few.put(key, record)
    counts = Counts(n_keys, nbytes + n_record - 2, stored + n_record, codec)
    few.put(keys.bounds(node), counts.pack())  # they own no extents
    return counts


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
        self._prefix = keys.item(store._id, b"")
        # The record of a key, or the value whose bundle is to be written.
        self._waiting: dict[bytes, bytes | Split] = {}
        self._size = 0
        self._has_bundles = False

    def add_many(self, txn: Transaction, pairs: Iterable[tuple[object, Any]]) -> None:
        """Take entries, and write whenever it is time to; raises as `add` and `write` do.

        Of a million numbers by name nearly all the time is Python's: runs of them are packed
        together.
        """
        if isinstance(pairs, _DICT_ITEMS):  # in memory already, so that any number may be taken
            mapping: Mapping[Any, Any] = pairs.mapping  # type: ignore[attr-defined]
            names, values = iter(mapping), iter(mapping.values())
            while texts := list(islice(names, _RUN)):
                scalars = list(islice(values, _RUN))
                if set(map(type, texts)) != {str} or not _SCALARS.issuperset(map(type, scalars)):
                    self._add_each(txn, zip(texts, scalars, strict=True), lent=False)
                elif self._add_scalars(texts, scalars):
                    self.write(txn)
        else:
            self._add_each(txn, pairs, lent=type(pairs) not in (list, tuple))
        self.write(txn)

    def _add_each(
        self, txn: Transaction, pairs: Iterable[tuple[object, Any]], *, lent: bool
    ) -> None:
        """Take entries, of which each may be large: none is kept that could be written.

        Arrays that are `lent` may be filled with the next value when that is asked for.
        """
        texts: list[str] = []
        scalars: list[Any] = []
        for key, value in pairs:
            if type(key) is str and type(value) in _SCALARS:
                texts.append(key)
                scalars.append(value)
                if len(texts) < _RUN:
                    continue
                full = self._add_scalars(texts, scalars)
            else:
                self._add_scalars(texts, scalars)  # before it: of equal keys the last one counts
                full = self.add(key, value, lent=lent)
            if full:
                self.write(txn)
        self._add_scalars(texts, scalars)

    def _add_scalars(self, texts: list[str], scalars: list[Any]) -> bool:
        """Take entries out of the two lists; returns whether it is time to write."""
        if texts:
            records = pack_scalars(scalars, b"\0\0")
            self._waiting.update(zip(pack_texts(texts, self._prefix), records, strict=True))
            texts.clear()
            scalars.clear()
        return len(self._waiting) >= _BATCH_KEYS

    def add(self, key: object, value: Any, *, lent: bool = False) -> bool:
        """Take one entry; returns whether it is time to write.

        What is `lent` is copied if it is not: until then its owner may not change it.

        Raises
        ------
        DTypeError, NodeNameError
            The key or the value cannot be stored.
        """
        kind = type(value)
        if kind in _SCALARS or (kind in _TEXT and len(value) < _SHORT):
            self._waiting[self._prefix + pack_key(key)] = b"\0\0" + pack_value(value)
            if kind in _TEXT:
                self._size += len(value)
        else:
            found = split(value)
            self._size += found.nbytes
            if lent and found.parts and self._size < _BATCH_BYTES:
                found = found.copied()
            entry = found if found.parts else b"\0\0" + found.plain
            self._waiting[self._prefix + pack_key(key)] = entry
            self._has_bundles |= bool(found.parts)
        return len(self._waiting) >= _BATCH_KEYS or self._size >= _BATCH_BYTES

    def write(self, txn: Transaction) -> None:
        """Put the entries and the counts.

        Raises
        ------
        NodeExistsError
            A key is the same text as another one, in another Unicode form.
        """
        if len(self._waiting) <= 1:
            self.write_one(txn, None)
            self._waiting, self._size = {}, 0
            return
        waiting, self._waiting, self._size = self._waiting, {}, 0
        n_keys, nbytes, stored, codec = self._store._counts(txn)
        large: dict[bytes, Split] = {}
        if self._has_bundles:
            large = {key: value for key, value in waiting.items() if isinstance(value, Split)}
            self._has_bundles = False
        if large:
            written = self._bundles(txn, list(large.values()), codec)
            records: dict[bytes, bytes] = {**waiting, **dict(zip(large, written, strict=True))}  # type: ignore[dict-item]
        else:
            records = waiting  # type: ignore[assignment]
        ordered = sorted(records)
        if ordered != list(records):  # by identity, where they are in order
            records = {key: records[key] for key in ordered}
        others: dict[bytes, bytes] = {}
        fresh = ordered
        if olds := self._olds(txn, ordered):
            there = {key: old for key, old in zip(ordered, olds, strict=True) if old is not None}
            fresh = [key for key in ordered if key not in there]
            for key, old in there.items():
                before = sizes_of(key, old)
                nbytes -= before[0]
                stored -= before[1]
        n_keys += len(fresh)
        if not b"".join(fresh).isascii():
            for key in [key for key in fresh if not key.isascii()]:
                self._check_form(txn, records, others, key)
        if large:
            sizes = [sizes_of(key, records[key]) for key in ordered]
            nbytes += sum([size for size, _ in sizes])
            stored += sum([size for _, size in sizes])
        else:
            size = sum(map(len, records.values()))
            nbytes += size - 2 * len(records)
            stored += size + sum(map(len, records))
        txn.put_many(records)
        for key, record in others.items():
            txn.put(key, record)
        txn.put(keys.bounds(self._id), Counts(n_keys, nbytes, stored, codec).pack())

    @property
    def is_few(self) -> bool:
        """Whether nothing that waits stands in an extent."""
        return not self._has_bundles

    def write_one(self, txn: Transaction | Few, counted: Counts | None) -> Counts | None:
        """The same for at most one entry, for which somebody waits.

        Parameters
        ----------
        counted : Counts or None
            The counts so far, where the caller knows them.

        Returns
        -------
        Counts or None
            Those that were put.
        """
        if not self._waiting:
            return None
        ((key, value),) = self._waiting.items()
        if counted is None:
            counted = self._store._counts(txn)
        n_keys, nbytes, stored, codec = counted
        if isinstance(value, Split):
            # Else `is_few` had told.
            (record,) = self._bundles(cast("Transaction", txn), [value], codec)
        else:
            record = value
        old = txn.get(key)
        others: dict[bytes, bytes] | None = None
        if old is None:
            n_keys += 1
            if not key.isascii():
                others = {}
                self._check_form(txn, {key: record}, others, key)
        else:
            before = sizes_of(key, old)
            nbytes -= before[0]
            stored -= before[1]
        size, packed = sizes_of(key, record)
        txn.put(key, record, old=old)
        if others:
            for other, note in others.items():
                txn.put(other, note)
        counts = Counts(n_keys, nbytes + size, stored + packed, codec)
        txn.put(keys.bounds(self._id), counts.pack(), old=None)  # they own no extents
        return counts

    def _bundles(self, txn: Transaction, values: list[Split], codec: str) -> list[bytes]:
        recipes = Recipes(self._store.store.uuid, self._id, codec)
        return write_bundles(txn, self._id, values, recipes)

    def _olds(self, txn: Transaction, ordered: list[bytes]) -> list[bytes | None]:
        """What stands under some keys; an empty list where there is nothing between them."""
        if next(txn.scan(ordered[0], ordered[-1] + b"\0"), None) is None:
            return []
        return txn.get_many(ordered)

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
        if packed[0] == _STR and not packed.isascii():
            text = str(unpack_key(packed))
            form = unicodedata.normalize("NFC", text)
            if form != text:
                txn.delete(keys.other_form(self._id, form))
        counts = Counts(n_keys - 1, nbytes - before[0], stored - before[1], codec)
        txn.put(keys.bounds(self._id), counts.pack())
        return True

    def _check_form(
        self,
        txn: Transaction | Few,
        new: dict[bytes, bytes],
        others: dict[bytes, bytes],
        own: bytes,
    ) -> None:
        """Refuse a new key that looks like another; note one that is not in form NFC.

        `new` are the records that are about to be put, `others` the notes beside them.
        """
        if own[_KEY] != _STR or own[_KEY:].isascii():
            return
        text = own[_KEY + 1 :].decode()
        form = unicodedata.normalize("NFC", text)
        noted = keys.other_form(self._id, form)
        if len(form.encode()) > MAX_KEY_BYTES:
            raise NodeNameError(
                f"a key of {len(form.encode()):,} bytes in Unicode's form NFC ({text[:40]!a} ...); "
                f"keys have at most {MAX_KEY_BYTES:,}"
            )
        other = others.get(noted) or txn.get(noted)
        same = None
        if other is not None:
            same = unpack_record(other)[1].decode("utf-8", "replace")
        elif form != text:
            key = keys.item(self._id, b"\x50" + form.encode())
            if key in new or txn.get(key) is not None:
                same = form
        if same is not None and same != text:
            raise NodeExistsError(
                f"the key {text!a} would stand beside {same!a} in {self._store._path!r}, which is "
                "the same text in another Unicode form; use that key"
            )
        if form != text:
            others[noted] = pack_record(text.encode())


def create_keystore(
    node: KeyStore, txn: Transaction, codec: str, encrypt: Encryption | None = None
) -> None:
    """Put the first records of a new key store; the caller holds the transaction.

    Parameters
    ----------
    encrypt : Encryption, optional
        What opens it, if it is to be sealed.

    Raises
    ------
    CodecError
        There is no such codec.
    """
    name = AUTO if codec == "auto" else parse_codec(codec)
    counts = Counts(0, 0, 0, name).pack()
    if encrypt is None:
        txn.put(keys.bounds(node._id), counts)
        return
    from kist.model.keystores.sealed import SealedKeys
    from kist.model.sealing.secrets import new_lock

    record = directory.record(txn, node._id)
    assert record is not None
    txn.put(keys.node(node._id), record._replace(features_read=NODE_SEALED).pack())
    opened = new_lock(txn, node._id, encrypt)
    field = SealedKeys.begin(txn, node._id, node._path, opened, SealedKeys.new_more())
    field.put(txn, keys.bounds(node._id), counts)
    field.vouch(txn)
