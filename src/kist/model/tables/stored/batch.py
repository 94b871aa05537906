"""Rows of a table that has columns of strings or ragged ones, as they pass through writing.

NumPy has no structured dtype with fields of such values. A `Batch` stands for an array of one: it
has a length, gives a field by its name and part of the rows by a slice, and that is all that
splitting rows into columns asks for.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from kist._kernels import records
from kist._kernels.cells import Cells, empty_values
from kist._kernels.strings import sizes
from kist.format.leaves import Leaf

if TYPE_CHECKING:
    from kist.codecs.utf8 import Utf8

__all__ = [
    "Batch",
    "Rows",
    "bytes_of",
    "contiguous",
    "empty_batch",
    "freeze",
    "joined",
    "values_of",
]

Array = np.ndarray[Any, Any]


class Batch:
    """Some rows: the fields of fixed width in a structured array, each other field in its own.

    Attributes
    ----------
    fixed : structured ndarray, shape (n,)
        Perhaps without any field.
    loose : dict of str to ndarray of StringDType, Cells or Utf8, shape (n,)
        Who takes a field gets an array; `Utf8` passes as it is from Arrow into pages alone.
    """

    __slots__ = ("_sizes", "fixed", "loose")

    def __init__(self, fixed: Array, loose: Mapping[str, Array]) -> None:
        self.fixed = fixed
        self.loose: dict[str, Any] = dict(loose)
        self._sizes: Array | None = None

    def __len__(self) -> int:
        return len(self.fixed)

    def __getitem__(self, index: Any) -> Any:
        """Return a field by name, or a batch of some of the rows."""
        if isinstance(index, str):
            found = self.loose.get(index)
            if _is_utf8(found):
                found = self.loose[index] = found.array()
            return self.fixed[index] if found is None else found
        part = Batch(self.fixed[index], {n: values[index] for n, values in self.loose.items()})
        if self._sizes is not None:
            part._sizes = self._sizes[index]
        return part

    def __setitem__(self, name: str, values: Any) -> None:
        """Give a field new values, one for each row or one for all."""
        if name in (self.fixed.dtype.names or ()):
            self.fixed[name] = values
        elif isinstance(values, np.ndarray) or _is_utf8(values):
            self.loose[name] = values
        else:
            self[name][...] = values
        self._sizes = None

    @property
    def sizes(self) -> Array:
        """Bytes of the strings and cells of each row, int64 of shape (n,)."""
        if self._sizes is None:
            self._sizes = sum(
                (bytes_of(values) for values in self.loose.values()),
                np.zeros(len(self), np.int64),
            )
        return self._sizes

    def columns(self, leaves: Sequence[Leaf], *, utf8: bool = False) -> list[Any]:
        """Return one flat array per leaf; those without a fixed width are the batch's own.

        Parameters
        ----------
        utf8 : bool
            Give text that came so as `Utf8`, without making strings.
        """
        fixed = [leaf for leaf in leaves if not leaf.is_loose]
        split = iter(records.split(self.fixed, fixed))
        source: Any = self.loose if utf8 else self
        return [
            contiguous(source[leaf.path[0]]) if leaf.is_loose else next(split).reshape(-1)
            for leaf in leaves
        ]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.fixed.nbytes + 16 * len(self.loose) * len(self) + self.sizes.sum())

    def copy(self) -> Batch:
        """Return a batch with its own memory."""
        loose = {
            name: values.owned() if isinstance(values, Cells) else values.copy()
            for name, values in self._arrays()
        }
        return Batch(self.fixed.copy(), loose)

    def broadcast(self, n: int) -> Batch:
        """Return the only row as `n` rows."""
        return Batch(
            np.broadcast_to(self.fixed, (n,)),
            {name: np.broadcast_to(values, (n,)) for name, values in self._arrays()},
        )

    def _arrays(self) -> list[tuple[str, Array]]:
        return [(name, self[name]) for name in self.loose]

    def cuts(self, n_rows: int, n_bytes: int) -> Iterator[tuple[int, int, bool]]:
        """Cut the rows into parts; yield (start, stop, whether the bytes have decided).

        Parameters
        ----------
        n_rows, n_bytes : int
            Most rows and most bytes of strings and cells of a part; one row at least.
        """
        ends = np.cumsum(self.sizes)
        start = 0
        while start < len(ends):
            before = int(ends[start - 1]) if start else 0
            enough = int(ends.searchsorted(before + n_bytes, "right"))
            stop = min(start + n_rows, max(enough, start + 1))
            yield start, stop, stop < min(start + n_rows, len(ends))
            start = stop


Rows = Array | Batch


def values_of(rows: Rows, leaves: Sequence[Leaf]) -> list[Array]:
    """Return one array per leaf, of shape (n, *leaf.shape)."""
    if not isinstance(rows, Batch):
        return records.split(rows, leaves)
    n = len(rows)
    return [
        column.reshape(n, *leaf.shape)
        for column, leaf in zip(rows.columns(leaves), leaves, strict=True)
    ]


def bytes_of(values: Any) -> Array:
    """Return the bytes of each of some strings or cells, int64."""
    if _is_utf8(values):
        return values.lengths
    return values.sizes if isinstance(values, Cells) else sizes(values)[0]


def contiguous(values: Any) -> Any:
    """Return an array in the order of memory; cells need not stand in it."""
    if isinstance(values, Cells) or _is_utf8(values):
        return values
    return np.ascontiguousarray(values)


def joined(parts: Sequence[Any]) -> Any:
    """Return rows as one structured array, or one batch."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if isinstance(first, Batch):
        fixed = joined([part.fixed for part in parts])
        names = first.loose
        loose = {name: _concatenated([part.loose[name] for part in parts]) for name in names}
        batch = Batch(fixed, loose)
        if all(part._sizes is not None for part in parts):
            batch._sizes = np.concatenate([part.sizes for part in parts])
        return batch
    # NumPy drops gaps between fields when it joins arrays, and we count on their bytes.
    out = np.empty(sum(map(len, parts)), first.dtype)
    at = 0
    for part in parts:
        out[at : at + len(part)] = part
        at += len(part)
    return out


def _concatenated(parts: list[Any]) -> Any:
    if all(map(_is_utf8, parts)):
        from kist.codecs.utf8 import Utf8

        return Utf8.join(parts)
    return np.concatenate([part.array() if _is_utf8(part) else part for part in parts])


def _is_utf8(values: Any) -> TypeGuard[Utf8]:
    """Tell whether values are text as it came from Arrow.

    Reading a row must not load the codecs of strings for it: while they are not, there is none.
    """
    module: Any = sys.modules.get("kist.codecs.utf8")
    return module is not None and isinstance(values, module.Utf8)


def freeze(rows: Any) -> Any:
    """Return rows, no longer writable."""
    if isinstance(rows, Batch):
        for values in (rows.fixed, *(rows[name] for name in rows.loose)):
            values.flags.writeable = False
    else:
        rows.flags.writeable = False
    return rows


def empty_batch(
    dtype: np.dtype[Any],
    loose: Mapping[str, np.dtype[Any]],
    n_rows: int,
    given: Container[str] = (),
) -> Batch:
    """Return rows of zeros, empty strings and empty cells, to be filled.

    Parameters
    ----------
    given : container of str
        Loose columns that the caller puts in place of these, which are not made then.
    """
    names = [name for name in dtype.names or () if name not in loose]
    fixed = np.zeros(n_rows, np.dtype([(name, dtype[name]) for name in names]))
    made = {name: empty_values(n_rows, loose[name]) for name in loose if name not in given}
    return Batch(fixed, made)
