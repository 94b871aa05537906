"""Going over key stores in order: iterations and views, each over one state."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import TYPE_CHECKING, Any

from kist.engine import Transaction, View
from kist.format.keystore import unpack_key

if TYPE_CHECKING:
    from kist.model.keystores.keystore import KeyStore
    from kist.model.keystores.read import Found

__all__ = ["Items", "Keys", "Values", "scan"]

_KEY = 9  # where the packed key begins


class _Frozen(View):
    """What a transaction sees now: its later changes do not show."""

    def __init__(self, txn: Transaction) -> None:
        super().__init__(txn.reader, txn.state)
        self._overlay = txn.overlay.copy()
        self.frozen_from = txn

    def _check_open(self) -> None:
        self.frozen_from._check_open()


def scan(
    store: KeyStore,
    what: str,
    start: bytes | None = None,
    stop: bytes | None = None,
    *,
    reverse: bool = False,
) -> Iterator[Any]:
    """Keys, values or items of a range of map keys, of the state at the call.

    Notes
    -----
    Holds one page of the tree and one value at a time.
    """
    held = store._hold()  # now, not when the first item is asked for
    view = _Frozen(held.view) if isinstance(held.view, Transaction) else held.view
    try:
        entries = store._scan(view, what, start, stop, reverse=reverse)
    except BaseException:
        held.release()
        raise
    return _run(store, held, view, entries, what)


def _run(
    store: KeyStore, held: Any, view: View, entries: Iterator[tuple[bytes, Found]], what: str
) -> Iterator[Any]:
    with held:
        for packed, value in entries:
            key = unpack_key(packed[_KEY:])
            if what == "keys":
                yield key
            elif what == "values":
                yield store._value(view, key, value)
            else:
                yield key, store._value(view, key, value)
            view._check_open()  # the caller may have closed the store, or ended the transaction


class _Shown:
    """What the views show: the first keys, not the values."""

    _mapping: KeyStore

    def __repr__(self) -> str:
        from kist.model.text import view_repr

        store = self._mapping
        return view_repr(
            type(self).__name__.lower(), store._path, lambda: store, lambda: len(store)
        )


class Keys(_Shown, KeysView[Any]):
    """Keys of a key store."""

    _mapping: KeyStore

    def __reversed__(self) -> Iterator[Any]:
        return scan(self._mapping, "keys", reverse=True)


class Values(_Shown, ValuesView[Any]):
    """Values of a key store."""

    _mapping: KeyStore

    def __iter__(self) -> Iterator[Any]:
        return scan(self._mapping, "values")

    def __reversed__(self) -> Iterator[Any]:
        return scan(self._mapping, "values", reverse=True)


class Items(_Shown, ItemsView[Any, Any]):
    """Keys and values of a key store."""

    _mapping: KeyStore

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return scan(self._mapping, "items")

    def __reversed__(self) -> Iterator[tuple[Any, Any]]:
        return scan(self._mapping, "items", reverse=True)
