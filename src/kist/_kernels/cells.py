"""Cells of any number of items each: places in a heap, in arrays of a fixed width.

A `Cells` is an array of (start, length) and the heap of items that these mean. So it is cut,
reordered, filled part by part and from several threads as any array is; items are looked at only
where they are joined (`Cells.gather`). The heap only grows, and parts of an array share it.

The dtype, of 16 bytes, is made by `kist.format.ragged`: two integers, and a field without any
items whose dtype is that of the items. Where cells may be missing the second integer has a title,
and a missing cell the length -1: so nulls go wherever cells go. NumPy has no fields of
`StringDType`: where items are text the third field is called ``text``, and only the heap has them.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np

__all__ = ["TEXT_BYTES", "Cells", "empty_values", "holds_missing", "holds_text", "item_of"]

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]

_FEW_RUNS: Final = 64
"""So many runs of items are joined as slices; more are taken by their places, which costs 8 bytes
an item."""


TEXT_BYTES: Final = 16
"""What an item of text counts beside its UTF-8: the bytes that NumPy takes for it in an array."""

_TEXT: Final[DType] = np.dtypes.StringDType()
_TEXT_OR_NONE: Final[DType] = np.dtypes.StringDType(na_object=None)


def item_of(dtype: DType) -> tuple[DType, tuple[int, ...]]:
    """Return the dtype and the shape of an item of a ragged dtype."""
    if holds_text(dtype):
        return (_TEXT_OR_NONE if "missing" in (dtype.fields or ()) else _TEXT), ()
    base, shape = dtype[2].base, dtype[2].shape[1:]
    while base.subdtype is not None:
        base, shape = base.base, shape + base.shape
    return base, shape


def holds_missing(dtype: DType) -> bool:
    """Tell whether a cell of a ragged dtype may be missing."""
    return "nullable" in (dtype.fields or ())  # a title is a key as well


def holds_text(dtype: DType) -> bool:
    """Tell whether the items of a ragged dtype are text of any length."""
    return dtype.names is not None and dtype.names[2] == "text"


class _Heap:
    """Arrays of items one behind the other, with a gap of one place between two.

    The gap keeps cells of two parts from looking like neighbours.
    """

    __slots__ = ("_lock", "bases", "end", "parts")

    def __init__(self) -> None:
        self.parts: list[Array] = []
        self.bases: list[int] = []
        self.end = 0
        self._lock = threading.Lock()

    def add(self, items: Array) -> int:
        """Keep an array of items; return the place of the first."""
        with self._lock:
            base = self.end
            self.parts.append(items)
            self.bases.append(base)
            self.end = base + len(items) + 1
        return base


class Cells(np.ndarray[Any, Any]):
    """An array of cells, each an array of items.

    Attributes
    ----------
    heap
        Where the items are.

    Notes
    -----
    Made by `empty` and `of`; arrays of the dtype that other ways make have no heap, and whatever
    would look at their items raises.
    """

    heap: _Heap

    def __array_finalize__(self, obj: Any) -> None:
        self.heap = getattr(obj, "heap", None)  # type: ignore[assignment]

    @classmethod
    def empty(cls, n: int, dtype: DType) -> Cells:
        """Return so many cells without items."""
        found = np.zeros(n, dtype).view(cls)
        found.heap = _Heap()
        return found

    @classmethod
    def of(cls, lengths: Array, items: Array, dtype: DType, missing: Array | None = None) -> Cells:
        """Return cells that stand one behind the other in an array of items, which is kept.

        Parameters
        ----------
        lengths : ndarray of int64, shape (n,)
            Together the length of `items`.
        items : ndarray, shape (n_items, *shape of an item)
        missing : ndarray of bool, shape (n,), optional
            Which cells, of length 0, are missing; the dtype must have room for that.
        """
        found = cls.empty(len(lengths), dtype)
        found.place(slice(None), lengths, items, missing)
        return found

    def place(self, where: Any, lengths: Array, items: Array, missing: Array | None = None) -> None:
        """Give some cells new items, which are kept as they are."""
        plain = self._placed(lengths, items, missing)
        np.ndarray.__setitem__(self, where, plain.reshape(self[where].shape))

    def _placed(self, lengths: Array, items: Array, missing: Array | None) -> Array:
        plain = np.zeros(len(lengths), self.dtype)
        plain["start"] = lengths.cumsum() - lengths + self.heap.add(items)
        plain["length"] = lengths
        if missing is not None and missing.any():
            if not holds_missing(self.dtype):
                raise ValueError("missing cells among cells that cannot be missing")
            plain["length"][missing] = -1
        return plain

    @property
    def starts(self) -> Array:
        """Place of the first item of each cell in the heap."""
        found: Array = self.view(np.ndarray)["start"]
        return found

    @property
    def lengths(self) -> Array:
        """Items of each cell, int64; 0 of a missing one."""
        found: Array = self.view(np.ndarray)["length"]
        return np.maximum(found, 0) if holds_missing(self.dtype) else found

    @property
    def missing(self) -> Array | None:
        """Which cells are missing; None where the dtype has no room for that."""
        if not holds_missing(self.dtype):
            return None
        found: Array = self.view(np.ndarray)["length"] < 0
        return found

    @property
    def sizes(self) -> Array:
        """Bytes of the items of each cell, int64; text counts `TEXT_BYTES` more an item."""
        if holds_text(self.dtype):
            from kist._kernels.strings import sizes

            lengths, items = self.gather()
            ends = np.append(0, sizes(items)[0].cumsum())[np.append(0, lengths.cumsum())]
            of_text: Array = np.diff(ends) + TEXT_BYTES * lengths
            return of_text.reshape(self.shape)
        base, shape = item_of(self.dtype)
        found: Array = self.lengths * (base.itemsize * int(np.prod(shape, dtype=np.int64)))
        return found

    def gather(self) -> tuple[Array, Array]:
        """Return the lengths of all cells in their order, flat, and their items.

        Returns
        -------
        (lengths, items)
            Items are a view of the heap where they stand one behind the other there.
        """
        lengths = self.lengths.ravel()
        some = lengths > 0
        starts, n = self.starts.ravel()[some], lengths[some]
        base, shape = item_of(self.dtype)
        if not len(n):
            return lengths, np.empty((0, *shape), base)
        ends = starts + n
        breaks = np.flatnonzero(starts[1:] != ends[:-1]) + 1
        first = np.append(starts[:1], starts[breaks])
        last = np.append(ends[breaks - 1], ends[-1:])
        if len(first) <= max(_FEW_RUNS, 2 * len(self.heap.parts)):
            runs = [self._items(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
            return lengths, runs[0] if len(runs) == 1 else np.concatenate(runs)
        return lengths, self._scattered(first, last - first)

    def _items(self, start: int, stop: int) -> Array:
        """Return a run of items of one part of the heap."""
        at = bisect_right(self.heap.bases, start) - 1
        base = self.heap.bases[at]
        return self.heap.parts[at][start - base : stop - base]

    def _scattered(self, starts: Array, n: Array) -> Array:
        """Return many runs of items one behind the other."""
        bases = np.array(self.heap.bases)
        which = bases.searchsorted(starts, "right") - 1
        used = np.unique(which)
        parts = [self.heap.parts[at] for at in used.tolist()]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        at = np.cumsum([0, *map(len, parts)])[:-1][used.searchsorted(which)]
        ends = n.cumsum()
        places = np.arange(int(ends[-1]))
        places += np.repeat(starts - bases[which] + at - (ends - n), n)
        return joined.take(places, axis=0)

    def owned(self) -> Cells:
        """Return the same cells with a heap that holds nothing else."""
        lengths, items = self.gather()
        found = Cells.of(lengths, items.copy(), self.dtype, _flat(self.missing))
        return cast(Cells, found.reshape(self.shape))

    def cells(self) -> list[Any]:
        """Return each cell as an array, read-only, or as `bytes`; None for a missing one."""
        found = self._cells()
        missing = _flat(self.missing)
        if missing is not None:
            for at in np.flatnonzero(missing).tolist():
                found[at] = None
        return found

    def _cells(self) -> list[Any]:
        lengths, items = self.gather()
        ends = lengths.cumsum()
        pairs = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
        if self.dtype.names is not None and self.dtype.names[2] == "bytes":
            raw = items.tobytes()
            return [raw[a:b] for a, b in pairs]
        items = items.view()
        items.flags.writeable = False
        return [items[a:b] for a, b in pairs]

    def objects(self) -> Array:
        """Return an array of the cells as objects."""
        out = np.empty(self.size, object)
        for at, cell in enumerate(self.cells()):  # NumPy would join arrays of one length
            out[at] = cell
        return out.reshape(self.shape)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if isinstance(found, np.void):
            return self[np.newaxis][(slice(None), index)].cells()[0]
        return found

    def __setitem__(self, index: Any, values: Any) -> None:
        if not isinstance(values, Cells):
            raise TypeError(f"cells are given as Cells, not as {type(values).__name__}")
        if values.heap is self.heap:
            super().__setitem__(index, values)
            return
        plain = self._placed(*values.gather(), _flat(values.missing))
        super().__setitem__(index, plain.reshape(values.shape))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func is np.concatenate:
            return _concatenated(args[0])
        if func is np.broadcast_to:
            kwargs = {**kwargs, "subok": True}
        return super().__array_function__(func, types, args, kwargs)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the cells as objects, or a copy; there are no other casts."""
        if np.dtype(dtype) == object:
            return self.objects()
        if np.dtype(dtype) != self.dtype:
            raise TypeError(f"cells do not become {dtype}")
        return self.copy()

    def tolist(self) -> list[Any]:
        """Return the cells as arrays, or as `bytes`; None for missing ones."""
        return self.cells()


def _flat(missing: Array | None) -> Array | None:
    return None if missing is None else missing.ravel()


def _concatenated(parts: Sequence[Cells]) -> Cells:
    """Return cells one behind the other; of a single heap without looking at the items."""
    n = sum(map(len, parts))
    out = Cells.empty(n, parts[0].dtype)
    if all(part.heap is parts[0].heap for part in parts):
        out.heap = parts[0].heap
    at = 0
    for part in parts:
        out[at : at + len(part)] = part.reshape(len(part))
        at += len(part)
    return cast(Cells, out.reshape(n, *parts[0].shape[1:]))


def empty_values(n: int, dtype: DType) -> Array:
    """Return an array of one dimension for values of any dtype, cells among them."""
    names = dtype.names
    if names is not None and names[:2] == ("start", "length") and len(dtype.fields or ()) > 3:
        return Cells.empty(n, dtype)
    # Not np.empty, which makes 'S1' of 'S0'.
    return np.ndarray(n, dtype)
