"""Key stores: values of any shape by key, with the manners of a mapping."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from collections.abc import MutableMapping as MutableMappingBase
from functools import partial
from typing import TYPE_CHECKING, Any

from kist.errors import CorruptDataError, DTypeError, KeyNotFoundError, NodeNameError
from kist.format import keys
from kist.format.keystore import Counts, Key, pack_key, pack_limit, unpack_key
from kist.format.node import NodeKind
from kist.model.keystores.read import Found, unpack, unpack_many
from kist.model.keystores.scan import Items, Keys, Values, scan
from kist.model.keystores.write import Change, put_entry, short_record
from kist.model.sealing.dataset import SealedDataset

if TYPE_CHECKING:
    from kist.engine import View

__all__ = ["KeyStore"]

_MISSING: Any = object()


class KeyStore(SealedDataset, MutableMappingBase[Any, Any]):
    """A mapping of str, bytes and int keys to values, in one file and ordered by key.

    Values are NumPy arrays and scalars, plain Python values, and tuples, lists, dicts and sets of
    them; they come back with exactly their types, arrays writable and owned. A value that is
    changed after it was read is not written back. Keys are ordered int < bytes < str; a NumPy
    integer equals the int.

    Each call that changes something is one commit, unless a transaction is open: `update` with a
    million items is one. Each iteration sees the state in which it began.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     runs = store.create_keystore("runs")
    ...     runs["run-2"] = (np.arange(3), {"gain": 2.5})
    ...     runs.update({"run-1": None, 17: "an int"})
    ...     list(runs), runs["run-2"][1], list(runs.range("run-1", "run-2"))
    ([17, 'run-1', 'run-2'], {'gain': 2.5}, ['run-1'])
    """

    kind = "key store"
    _kind = NodeKind.KEYSTORE

    # One key

    def _is_sealed(self, view: View) -> bool:
        return False  # a handle of one that is has another class

    def _change(self) -> Change:
        """Return what takes entries on their way to the file."""
        return Change(self)

    def _scan(
        self,
        view: View,
        what: str,
        start: bytes | None = None,
        stop: bytes | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, Found]]:
        """Return keys of the map and what stands under them, in order; `what` is asked for."""
        first, last = keys.items(self._id)
        return view.scan(
            first if start is None else start, last if stop is None else stop, reverse=reverse
        )

    def _found(self, view: View, key: object) -> Found | None:
        """Record of a key, None when there is none."""
        try:
            return view.get(keys.item(self._id, pack_key(key)))
        except NodeNameError:
            return None  # what cannot be a key is not there

    def _value(self, view: View, key: object, value: Found) -> Any:
        try:
            return unpack(view, value)
        except CorruptDataError as error:
            view.reader.backend.distrust()
            raise self._damaged(key, error) from error

    def _damaged(self, key: object, error: CorruptDataError) -> CorruptDataError:
        return CorruptDataError(
            f"{self._path!r}, key {key!r}: {error}", offset=error.offset, node=self._path
        )

    def __getitem__(self, key: Key) -> Any:
        """Return the value of a key.

        Raises
        ------
        KeyNotFoundError
            There is none.
        DTypeError
            A bool, float, None or anything else that cannot be a key.
        """
        view = self._view()
        value = self._found(view, key)
        if value is None:
            raise self._no_key(view, key)
        return self._value(view, key, value)

    def _no_key(self, view: View, key: object) -> KeyNotFoundError:
        other: object = str(key)
        if isinstance(key, str):
            other = int(key) if key.isdecimal() and len(key) < 20 else key.encode(errors="replace")
        elif isinstance(key, bytes):
            other = key.decode(errors="replace")
        there = self._found(view, other) is not None
        from kist.model.text import cell, said

        hint = f"; it has {other!r}, which is another type" if there else ""
        return KeyNotFoundError(f"{self._path!r} has no key {cell(said(key), 200)}{hint}")

    def get(self, key: Key, default: Any = None) -> Any:
        """Return the value of a key, or `default` when there is none."""
        view = self._view()
        value = self._found(view, key)
        return default if value is None else self._value(view, key, value)

    def __contains__(self, key: object) -> bool:
        view = self._view()
        try:
            return self._found(view, key) is not None
        except DTypeError:
            return False

    def __setitem__(self, key: Key, value: Any) -> None:
        """Set the value of a key, durable when this returns.

        Raises
        ------
        DTypeError
            The key or something in the value cannot be stored.
        NodeNameError
            The key is empty, or longer than 1,000 bytes or 128 bits.
        NodeExistsError
            There is a key which is the same text in another Unicode form.
        """
        left = self._left
        counted = left[1]
        short = None
        if counted is not None and (short := short_record(value)) is not None:
            put = partial(put_entry, self._id, pack_key(key), short, counted)
            if self._at_once(left, put):
                return
        change = self._change()
        change.add(key, value)
        few = counted is not None and short is None and change.is_few
        if few and self._at_once(left, partial(change.write_one, counted=counted)):
            return
        step = self._write()
        with step as txn:
            step.leaves = change.write_one(txn, step.left)

    def __delitem__(self, key: Key) -> None:
        with self._write() as txn:
            if not self._change().remove(txn, key):
                raise self._no_key(txn, key)

    def open(self, key: Key) -> Any:
        """Return the value of a key without loading its arrays.

        Returns
        -------
        StoredArray
            In place of each array: it has `shape`, `dtype` and `nbytes`, and reads from the file
            what is sliced. Containers are as in the value, other values as they are.

        Raises
        ------
        KeyNotFoundError
            There is none.

        Notes
        -----
        The arrays show the state of now and hold it, as a snapshot does, until they are gone.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     runs = store.create_keystore("runs")
        ...     runs["a"] = (np.arange(100_000.0), "volts")
        ...     x, unit = runs.open("a")
        ...     x.shape, x[50_000:50_002], unit
        ((100000,), array([50000., 50001.]), 'volts')
        """
        from kist.model.keystores.open import open_value

        held = self._hold()
        value = self._found(held.view, key)
        if value is None:
            raise self._no_key(held.view, key)
        try:
            return open_value(held, value, f"{self._path!r}, key {key!r}")
        except CorruptDataError as error:
            held.view.reader.backend.distrust()
            raise self._damaged(key, error) from error

    # Many keys

    def get_many(self, keys: Iterable[Key], default: Any = _MISSING) -> list[Any]:
        """Return the values of some keys, in the order asked, of one state.

        Parameters
        ----------
        keys : iterable of str, bytes or int
            Repeats are allowed.
        default : optional
            For keys that are missing; without it they raise.

        Raises
        ------
        KeyNotFoundError
            A key is missing.
        """
        keys = list(keys)
        with self._hold() as view:
            found = [self._found(view, key) for key in keys]
            if default is _MISSING and None in found:
                raise self._no_key(view, keys[found.index(None)])
            there = [value for value in found if value is not None]
            try:
                values = iter(unpack_many(view, there))
            except CorruptDataError:
                # Which one: read once more, one by one.
                view.reader.backend.distrust()
                values = iter(
                    [
                        self._value(view, key, value)
                        for key, value in zip(keys, found, strict=True)
                        if value is not None
                    ]
                )
        return [default if value is None else next(values) for value in found]

    def update(  # type: ignore[override]
        self, other: Mapping[Key, Any] | Iterable[tuple[Key, Any]] = (), /, **more: Any
    ) -> None:
        """Set many keys in one commit, all or none.

        Parameters
        ----------
        other : mapping or iterable of (key, value)
            An iterator is read in batches, so that it may be larger than memory, and may fill the
            same arrays again for the next value.
        **more
            Keys that are identifiers.
        """
        source: Any = other
        pairs: Iterable[tuple[Any, Any]]
        if isinstance(other, Mapping):
            pairs = other.items()
        elif hasattr(source, "keys"):
            pairs = ((key, source[key]) for key in source.keys())  # noqa: SIM118
        else:
            pairs = source
        with self._write() as txn:
            change = self._change()
            for items in (pairs, more.items()):
                change.add_many(txn, items)

    def pop(self, key: Key, default: Any = _MISSING) -> Any:
        """Remove a key and return its value; `default` when there is none, if given."""
        if default is not _MISSING and key not in self:
            return default
        with self._write() as txn:
            found = self._found(txn, key)
            if found is None:  # another thread may have been faster
                if default is _MISSING:
                    raise self._no_key(txn, key)
                return default
            value = self._value(txn, key, found)
            self._change().remove(txn, key)
        return value

    def popitem(self) -> tuple[Any, Any]:
        """Remove the last key and return it with its value.

        Raises
        ------
        KeyNotFoundError
            There are no keys.
        """
        with self._write() as txn:
            last = next(self._scan(txn, "items", reverse=True), None)
            if last is None:
                raise KeyNotFoundError(f"{self._path!r} holds no keys")
            key = unpack_key(last[0][9:])
            value = self._value(txn, key, last[1])
            self._change().remove(txn, key)
        return key, value

    def setdefault(self, key: Key, default: Any = None) -> Any:
        """Return the value of a key; set it first when there is none."""
        view = self._view()
        value = self._found(view, key)
        if value is None:
            with self._write() as txn:
                value = self._found(txn, key)
                if value is None:
                    self[key] = default
                    value = self._found(txn, key)
                assert value is not None
                return self._value(txn, key, value)
        return self._value(view, key, value)

    def clear(self) -> None:
        """Remove all keys in one commit."""
        with self._write() as txn:
            counts = self._counts(txn)
            txn.delete_range(*keys.items(self._id))
            txn.delete_range(*keys.other_forms(self._id))
            txn.put(keys.bounds(self._id), Counts(0, 0, 0, counts.codec).pack())

    # In order

    def __len__(self) -> int:
        return self._length_in(self._view())

    def _length_in(self, view: View) -> int:
        n_keys = self._counts(view).n_keys
        # list(keys) takes memory for so many. A key takes more than 8 bytes of the file, unless
        # it is on its way there.
        if n_keys > view.state.end // 8 + len(view._overlay.values):
            raise CorruptDataError(f"{self._path!r}: counts {n_keys} keys", node=self._path)
        return n_keys

    def __iter__(self) -> Iterator[Any]:
        return scan(self, "keys")

    def __reversed__(self) -> Iterator[Any]:
        return scan(self, "keys", reverse=True)

    def keys(self) -> KeysView[Any]:
        """Keys, in order."""
        return Keys(self)

    def values(self) -> ValuesView[Any]:
        """Values, in the order of their keys; each is read when its turn comes."""
        return Values(self)

    def items(self) -> ItemsView[Any, Any]:
        """Keys and values, in the order of the keys; each is read when its turn comes."""
        return Items(self)

    def range(self, start: Key | None = None, stop: Key | None = None) -> Iterator[Any]:
        """Keys from `start` to before `stop`, in order.

        Parameters
        ----------
        start, stop : str, bytes or int, optional
            Without them: from the first key, to the last. They need not be keys of the store.
            Keys of other types that lie between them are among the result: int < bytes < str.
        """
        return scan(self, "keys", *self._limits(start, stop))

    def range_items(
        self, start: Key | None = None, stop: Key | None = None
    ) -> Iterator[tuple[Any, Any]]:
        """Keys and values from `start` to before `stop`, in order."""
        return scan(self, "items", *self._limits(start, stop))

    def _limits(self, start: Key | None, stop: Key | None) -> tuple[bytes, bytes]:
        first, last = keys.items(self._id)
        if start is not None:
            first = keys.item(self._id, pack_limit(start))
        if stop is not None:
            last = keys.item(self._id, pack_limit(stop))
        return first, max(first, last)

    # What it is

    def _counts(self, view: View) -> Counts:
        return self._unpack_counts(view.get(keys.bounds(self._id)))

    def _unpack_counts(self, value: bytes | None) -> Counts:
        try:
            return Counts.unpack(value)
        except CorruptDataError as error:
            raise CorruptDataError(f"{self._path!r}: {error}", node=self._path) from error

    @property
    def codec(self) -> str:
        """How arrays are stored: a preset or a codec."""
        return self._counts(self._view()).codec

    @property
    def nbytes(self) -> int:
        """Bytes of the values before they are compressed."""
        return self._counts(self._view()).nbytes

    @property
    def nbytes_stored(self) -> int:
        """Bytes that keys and values take in the file."""
        return self._counts(self._view()).stored

    def _ends(self, view: View) -> list[Any]:
        """First and last key."""
        found = [next(self._scan(view, "keys", reverse=back), None) for back in (False, True)]
        return [unpack_key(entry[0][9:]) for entry in found if entry is not None]

    def _shows(self, view: View) -> bool:
        """Tell whether some keys are shown where nobody asked for them."""
        return True

    def _notes(self, view: View) -> list[str]:
        """Return what a repr says beside the number of keys."""
        return []

    def _facts(self, view: View) -> dict[str, Any]:
        """Facts for `info`."""
        counts = self._counts(view)
        ends = self._ends(view)
        ratio = counts.nbytes / counts.stored if counts.stored else 1.0
        return {
            "n_keys": counts.n_keys,
            "first_key": ends[0] if ends else None,
            "last_key": ends[-1] if ends else None,
            "memory_bytes": counts.nbytes,
            "stored_bytes": counts.stored,
            "ratio": ratio,
            "codec": counts.codec,
        }

    def _check_records(self, view: View) -> Iterator[str]:
        """Sentences about what is wrong with the key store in a view."""
        from kist.model.keystores.check import check_keystore

        return check_keystore(self, view)

    def _listing(self, view: View) -> dict[str, Any]:
        return {"keys": self._counts(view).n_keys}

    def _words(self, listing: Mapping[str, Any]) -> str:
        n = listing["keys"]
        return f"key store of {n:,} key{'' if n == 1 else 's'}"

    def _ipython_key_completions_(self) -> list[Any]:
        from kist.model.completing import completions

        return completions(lambda: self)

    def __repr__(self) -> str:
        from kist.model.keystores.repr import keystore_repr

        return keystore_repr(self)

    def _repr_html_(self) -> str:
        from kist.model.keystores.repr import keystore_html

        return keystore_html(self)
