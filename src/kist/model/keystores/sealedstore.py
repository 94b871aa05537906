"""The handle of a key store that is sealed as a whole: the same manners, through its open field."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import partial
from typing import Any, Final, cast

from kist.engine import Frame, Transaction, View
from kist.engine.few import Few
from kist.engine.parallel import run
from kist.errors import KistError, NodeExistsError, NodeNameError, SecretError, TooLargeError
from kist.format import keys
from kist.format.keystore import Counts, pack_bundle_payload, pack_key, unpack_key
from kist.format.layout import FRAME_BUNDLE
from kist.format.values import pack_record
from kist.model.keystores.keystore import KeyStore
from kist.model.keystores.read import Found, unpack
from kist.model.keystores.recipes import Recipes
from kist.model.keystores.sealed import ENTRY_HEAD, SealedKeys, seal_anew, stored_size
from kist.model.keystores.values import Split, bundle_of, encode_pages
from kist.model.keystores.write import Change

__all__ = ["SealedKeyStore"]

_KEY: Final = 9  # where the packed key begins in a key of the map
_FEW: Final = 10_000
"""Keys that are opened and sorted for a repr or for `info`."""


class SealedKeyStore(KeyStore):
    """A key store that is sealed: neither keys nor values stand in the file in clear.

    Made by ``create_keystore(..., encrypt=secret)``. Whoever goes over its keys in order opens all
    of them first.
    """

    def _is_sealed(self, view: View) -> bool:
        return True

    def _field(self, view: View) -> SealedKeys:
        return SealedKeys.find(view, self._id, self._path)

    def _reseal(self, txn: Transaction, before: Any, after: Any) -> None:
        seal_anew(txn, before, after)

    def _found(self, view: View, key: object) -> Found | None:
        field = self._field(view)
        try:
            packed = pack_key(key)
        except NodeNameError:
            return None  # what cannot be a key is not there
        entry = field.look_up(packed, f"{self._path!r}, key {key!r}")
        return None if entry is None else entry.found

    def _change(self) -> Change:
        return _SealedChange(self)

    def _scan(
        self,
        view: View,
        what: str,
        start: bytes | None = None,
        stop: bytes | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, Found]]:
        # The manifest of a transaction is known to hold in that, not in what was frozen of it.
        field = self._field(getattr(view, "frozen_from", view))
        packed, places = field.ordered()
        prefix = keys.item(self._id, b"")
        low = 0 if start is None else bisect_left(packed, start[_KEY:])
        high = len(packed)
        if stop is not None and stop.startswith(prefix):
            high = bisect_left(packed, stop[_KEY:])
        order = range(low, max(low, high))
        return self._run_over(
            view, field, what, [packed, places], order[::-1] if reverse else order
        )

    def _run_over(
        self, view: View, field: SealedKeys, what: str, lists: list[list[bytes]], order: range
    ) -> Iterator[tuple[bytes, Found]]:
        packed, places = lists
        for at in order:
            found: Found = b""
            if what != "keys":
                value = view.get(places[at])
                assert value is not None
                where = f"{self._path!r}, key {unpack_key(packed[at])!r}"
                found = field.entry(value, where).found
            yield keys.item(self._id, packed[at]), found

    def _counts(self, view: View) -> Counts:
        field = SealedKeys.try_find(view, self._id, self._path)
        return self._counts_in(view, None if isinstance(field, SecretError) else field)

    def _counts_in(self, view: View, field: SealedKeys | None) -> Counts:
        counts = super()._counts(view)
        return counts if field is None else counts._replace(nbytes=field.nbytes)

    def clear(self) -> None:
        """Remove all keys in one commit."""
        with self._write() as txn:
            field = self._field(txn)
            counts = self._counts(txn)
            field.clear(txn)
            field.put(txn, keys.bounds(self._id), Counts(0, 0, 0, counts.codec).pack())
            field.vouch(txn)

    def _ends(self, view: View) -> list[Any]:
        return super()._ends(view) if self._shows(view) else []

    def _shows(self, view: View) -> bool:
        """Tell whether some keys are shown where nobody asked for them."""
        field = SealedKeys.try_find(view, self._id, self._path)
        return not isinstance(field, SecretError) and self._counts(view).n_keys <= _FEW

    def _notes(self, view: View) -> list[str]:
        field = SealedKeys.try_find(view, self._id, self._path)
        return ["sealed", "no secret given"] if isinstance(field, SecretError) else ["sealed"]

    def _facts(self, view: View) -> dict[str, Any]:
        facts = super()._facts(view) | {"sealed": list(self.sealed)}
        if isinstance(SealedKeys.try_find(view, self._id, self._path), SecretError):
            del facts["memory_bytes"], facts["ratio"]
        return facts

    def _check_records(self, view: View) -> Iterator[str]:
        """Yield what is wrong; decodes every value, one at a time, where the secret was given."""
        field = SealedKeys.try_find(view, self._id, self._path)
        if isinstance(field, SecretError):
            return
        field.verify_all()
        n_keys = nbytes = stored = 0
        for key, value in view.scan(*keys.items(self._id)):
            n_keys += 1
            stored += stored_size(key, value)
            try:
                entry = field.entry(value)
                nbytes += entry.nbytes
                if field.place(entry.packed) != key:
                    yield f"key {unpack_key(entry.packed)!r} stands at the place of another one"
                if entry.pointer is not None:
                    entry.pointer.whole(view.reader)  # every tag
                unpack(view, entry.found)
            except TooLargeError:
                continue  # all its bytes were opened
            except KistError as error:
                yield str(error)
        counted = self._counts(view)[:3]
        if counted != (n_keys, nbytes, stored):
            what = "keys, bytes and stored bytes"
            yield f"counts {what} as {counted}; there are {(n_keys, nbytes, stored)}"


class _SealedChange(Change):
    """Entries on their way into a sealed key store."""

    _store: SealedKeyStore

    def write(self, txn: Transaction) -> None:
        """Put the entries, the counts, and the manifest.

        Raises
        ------
        NodeExistsError
            A key is the same text as another one, in another Unicode form.
        """
        waiting, self._waiting, self._size = self._waiting, {}, 0
        if not waiting:
            return
        field = self._store._field(txn)
        counts = self._store._counts_in(txn, field)
        n_keys, nbytes, stored = counts[:3]
        olds: dict[bytes, bytes | None] = {}
        own: dict[bytes, bytes] = {}
        for whole in waiting:
            packed = whole[_KEY:]
            key = field.place(packed)
            field.verify_part(key)
            if own.setdefault(key, packed) != packed:
                raise self._same_text(packed, own[key])
            old = olds[key] = txn.get(key)
            if old is None:
                n_keys += 1
                continue
            entry = field.entry(old)
            if entry.packed != packed:
                raise self._same_text(packed, entry.packed)
            nbytes -= entry.nbytes
            stored -= stored_size(key, old)
        puts = list(zip(own, self._records(txn, field, waiting, counts.codec), strict=True))
        nbytes += sum(
            value.nbytes if isinstance(value, Split) else len(value) - 2
            for value in waiting.values()
        )
        stored += sum(stored_size(*pair) for pair in puts)
        field.put_known(txn, [(key, value, olds[key]) for key, value in puts])
        self._put_counts(txn, field, Counts(n_keys, nbytes, stored, counts.codec))

    def write_one(self, txn: Transaction | Few, counted: Counts | None) -> None:
        """Put the one entry: the manifest must be read and made anew, so there is no short way."""
        self.write(cast("Transaction", txn))  # it leaves nothing, so that it is never few

    def remove(self, txn: Transaction, key: object) -> bool:
        """Delete one key; returns whether it was there."""
        field = self._store._field(txn)
        try:
            packed = pack_key(key)
        except NodeNameError:
            return False
        entry = field.look_up(packed, f"{self._store._path!r}, key {key!r}")
        if entry is None:
            return False
        place = field.place(packed)
        old = txn.get(place)
        assert old is not None
        n_keys, nbytes, stored, codec = self._store._counts_in(txn, field)
        field.delete(txn, place)
        left = Counts(n_keys - 1, nbytes - entry.nbytes, stored - stored_size(place, old), codec)
        self._put_counts(txn, field, left)
        return True

    def _put_counts(self, txn: Transaction, field: SealedKeys, counts: Counts) -> None:
        field.nbytes = counts.nbytes  # it would tell how long each value is
        field.put(txn, keys.bounds(self._id), counts._replace(nbytes=0).pack())
        field.vouch(txn)

    def _same_text(self, new: bytes, other: bytes) -> NodeExistsError:
        return NodeExistsError(
            f"the key {unpack_key(new)!a} would stand beside {unpack_key(other)!a} in "
            f"{self._store._path!r}, which is the same text in another Unicode form; use that key"
        )

    def _records(
        self,
        txn: Transaction,
        field: SealedKeys,
        waiting: dict[bytes, bytes | Split],
        codec: str,
    ) -> list[bytes]:
        """Write the bundles of the values, and return the records of all, sealed."""
        large = [value for value in waiting.values() if isinstance(value, Split)]
        pages = encode_pages(large, Recipes(self._store.store.uuid, self._id, codec))
        tasks = []
        for whole, value in waiting.items():
            packed = whole[_KEY:]
            head = ENTRY_HEAD.pack(len(packed)) + packed
            if isinstance(value, Split):
                frame = Frame(FRAME_BUNDLE, self._id, 0, 0, *bundle_of(value, pages))
                payload = head + pack_bundle_payload(value.nbytes)
                tasks.append(partial(field.seal, payload, [frame]))
            else:
                tasks.append(partial(field.seal, head + value[1:]))
        sealed = run(tasks) if len(large) > 1 else [task() for task in tasks]
        pointers = iter(txn.write([frame for _, frames in sealed for frame in frames]))
        return [
            pack_record(payload, [next(pointers) for _ in frames]) for payload, frames in sealed
        ]
