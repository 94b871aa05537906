"""A new key store that is filled with entries of others, which are copied as bytes."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from kist.errors import NodeExistsError, SelectionError
from kist.format import keys
from kist.format.keystore import Counts, pack_limit, sizes_of, unpack_key
from kist.format.values import pack_record, unpack_record
from kist.model.extents import Extents

if TYPE_CHECKING:
    from kist.engine import Transaction, View

__all__ = ["KeySink", "key_places", "keys_at", "packed_keys"]

_KEY: Final = 9  # where the packed key begins in a key of the map

_RECORDS: Final = 20_000
"""Entries of a commit, about a kilobyte of memory each."""


class KeySink:
    """A new key store on its way; parameters as of `TableSink`."""

    def __init__(
        self,
        txn: Transaction,
        node: int,
        codec: str,
        step: Callable[[], Transaction],
        told: Callable[[int], None] | None = None,
    ) -> None:
        self._step = step
        self._told = told
        self._node = node
        self._codec = codec
        self._n = self._nbytes = self._stored = 0
        self._last = b""
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
        low, high = keys.items(node)
        self.add_entries(view, path, islice(view.scan(low, high), start, stop))

    def add_entries(self, view: View, path: str, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take entries, whose keys ascend."""
        for key, value in entries:
            packed = key[_KEY:]
            name = unpack_key(packed)  # raises where somebody made it up
            new = keys.item(self._node, packed)
            if packed <= self._last:
                self._extents.flush()
                if self._txn.get(new) is not None:
                    raise NodeExistsError(
                        f"the key {name!r} of {path!r} comes twice: key stores that "
                        "are merged have no key in common"
                    )
            if type(name) is str and not name.isascii():
                self._note_form(name, path)
            self._last = max(self._last, packed)
            nbytes, stored = sizes_of(key, value)
            self._n += 1
            self._nbytes += nbytes
            self._stored += stored
            pointers, payload = unpack_record(value)
            self._extents.add(view, new, payload, pointers)
            self._n_records += 1
            if self._n_records >= _RECORDS:
                self.finish()
                self._go_on(self._step())

    def _note_form(self, text: str, path: str) -> None:
        """Refuse a key that looks like another; note one that is not in form NFC."""
        self._extents.flush()
        form = unicodedata.normalize("NFC", text)
        noted = keys.other_form(self._node, form)
        same = self._txn.get(noted)
        other = None if same is None else unpack_record(same)[1].decode("utf-8", "replace")
        if form != text and self._txn.get(keys.item(self._node, b"\x50" + form.encode())):
            other = form
        if other is not None and other != text:
            raise NodeExistsError(
                f"the key {text!a} of {path!r} would stand beside {other!a}, which is the same "
                "text in another Unicode form"
            )
        if form != text:
            self._txn.put(noted, pack_record(text.encode()))

    def settle(self) -> None:
        """Write what still waits to be read: the stores where it stands are closed next."""
        self._extents.flush()

    def finish(self) -> None:
        """Write all that waits, and the counts."""
        self._extents.flush()
        counts = Counts(self._n, self._nbytes, self._stored, self._codec)
        self._txn.put(keys.bounds(self._node), counts.pack())

    def resume(self) -> None:
        """Go on behind entries that others have put since: the counts know them."""
        counts = Counts.unpack(self._txn.get(keys.bounds(self._node)))
        self._n, self._nbytes, self._stored = counts[:3]


def keys_at(view: View, node: int, places: Sequence[int]) -> list[bytes]:
    """Return where in the map entries stand, by their ascending places; the end for the number."""
    low, high = keys.items(node)
    found: list[bytes] = []
    for n, (key, _) in enumerate(view.scan(low, high)):
        if len(found) == len(places):
            break
        if n == places[len(found)]:
            found.append(key)
    return found + [high] * (len(places) - len(found))


def key_places(packed: Iterable[bytes], path: str, cuts: Sequence[Any]) -> list[int]:
    """Return how many keys stand before each of some keys, which ascend.

    Parameters
    ----------
    packed : iterable of bytes
        All keys, in their order.
    path : str
        Of the key store, for messages.
    cuts : sequence
        The keys.

    Raises
    ------
    SelectionError
        They do not ascend, or nothing stands on one side of a cut.
    """
    limits = [pack_limit(cut) for cut in cuts]
    if limits != sorted(set(limits)):
        raise SelectionError(f"{path!r}: the keys to cut at ascend, each once")
    places: list[int] = []
    n = 0
    for key in packed:
        while len(places) < len(limits) and key >= limits[len(places)]:
            places.append(n)
        n += 1
    places += [n] * (len(limits) - len(places))
    for cut, before, place in zip(cuts, [0, *places], places, strict=False):
        if place in (before, n):
            raise SelectionError(
                f"{path!r}: a cut at the key {cut!r} leaves nothing on one side of it"
            )
    return places


def packed_keys(view: View, node: int) -> Iterator[bytes]:
    """Yield all keys of a key store, in their order."""
    for key, _ in view.scan(*keys.items(node)):
        yield key[_KEY:]
