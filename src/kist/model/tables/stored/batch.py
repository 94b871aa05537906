"""Rows of a table that has columns of strings or ragged ones, as they pass through writing.

NumPy has no structured dtype with fields of such values. A `Batch` stands for an array of one: it
has a length, gives a field by its name and part of the rows by a slice, and that is all that
splitting rows into columns asks for.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeGuard

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
    "owned",
    "values_of",
]

Array = np.ndarray[Any, Any]

_PLAIN: Final = "biufcmM"
"""Kinds of fields whose columns may pass as they are given."""


class _Flat:
    """Fields of fixed width, each a column of its own, which may be its giver's: not written to.

    Attributes
    ----------
    dtype : structured dtype
        Of the rows that they are together, of plain fields.
    n_rows : int
    columns : dict of str to ndarray, shape (n,)
        Contiguous.
    """

    __slots__ = ("columns", "dtype", "n_rows")

    def __init__(self, dtype: np.dtype[Any], n_rows: int, columns: dict[str, Array]) -> None:
        self.dtype, self.n_rows, self.columns = dtype, n_rows, columns

    def put(self, name: str, values: Any) -> None:
        """Take a column, without a copy where it has the dtype."""
        kind = self.dtype[name]
        if type(values) is np.ndarray and values.shape == (self.n_rows,):
            self.columns[name] = np.ascontiguousarray(values, kind)
        else:
            column = self.columns[name] = np.zeros(self.n_rows, kind)
            column[...] = values

    def seen(self, name: str) -> Array:
        """Return a column that cannot be written to."""
        column = self.columns[name].view()
        column.flags.writeable = False
        return column

    def part(self, rows: slice) -> _Flat:
        """Return some of the rows."""
        columns = {name: np.ascontiguousarray(own[rows]) for name, own in self.columns.items()}
        n_rows = len(range(*rows.indices(self.n_rows)))
        return _Flat(self.dtype, n_rows, columns)

    def together(self) -> Array:
        """Return them as rows, with memory of their own."""
        rows = np.zeros(self.n_rows, self.dtype)
        for name, column in self.columns.items():
            rows[name] = column
        return rows

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""
        return self.n_rows * self.dtype.itemsize

    @staticmethod
    def join(parts: Sequence[_Flat]) -> _Flat:
        """Return the rows of several one behind the other."""
        first = parts[0]
        columns = {name: np.concatenate([p.columns[name] for p in parts]) for name in first.columns}
        return _Flat(first.dtype, sum(part.n_rows for part in parts), columns)


class Batch:
    """Some rows: the fields of fixed width in a structured array, each other field in its own.

    Where all that were given are columns, those pass as they are from whoever gave them into pages:
    `fixed` is made of them when somebody asks for it.

    Attributes
    ----------
    fixed : structured ndarray, shape (n,)
        Perhaps without any field.
    loose : dict of str to ndarray of StringDType, Cells or Utf8, shape (n,)
        Who takes a field gets an array; `Utf8` passes as it is from Arrow into pages alone.
    """

    __slots__ = ("_fixed", "_flat", "_sizes", "loose")

    def __init__(self, fixed: Array | _Flat, loose: Mapping[str, Array]) -> None:
        self._fixed: Array | None = None if isinstance(fixed, _Flat) else fixed
        self._flat: _Flat | None = fixed if isinstance(fixed, _Flat) else None
        self.loose: dict[str, Any] = dict(loose)
        self._sizes: Array | None = None

    def __len__(self) -> int:
        return len(self.fixed) if self._flat is None else self._flat.n_rows

    @property
    def fixed(self) -> Array:
        """The fields of fixed width."""
        if self._flat is not None:
            self._fixed, self._flat = self._flat.together(), None
        assert self._fixed is not None
        return self._fixed

    def __getitem__(self, index: Any) -> Any:
        """Return a field by name, or a batch of some of the rows."""
        if isinstance(index, str):
            found = self.loose.get(index)
            if _is_utf8(found):
                found = self.loose[index] = found.array()
            if found is None and self._flat is not None:
                return self._flat.seen(index)
            return self.fixed[index] if found is None else found
        flat = self._flat if isinstance(index, slice) else None
        fixed = self.fixed[index] if flat is None else flat.part(index)
        part = Batch(fixed, {n: values[index] for n, values in self.loose.items()})
        if self._sizes is not None:
            part._sizes = self._sizes[index]
        return part

    def __setitem__(self, name: str, values: Any) -> None:
        """Give a field new values, one for each row or one for all."""
        if self._flat is not None and name in (self._flat.dtype.names or ()):
            self._flat.put(name, values)
        elif self._flat is None and name in (self.fixed.dtype.names or ()):
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
        source: Any = self.loose if utf8 else self
        fixed = [leaf for leaf in leaves if not leaf.is_loose]
        if self._flat is not None:
            split = iter([self._flat.columns[leaf.path[0]] for leaf in fixed])
        else:
            split = iter(records.split(self.fixed, fixed))
        return [
            contiguous(source[leaf.path[0]]) if leaf.is_loose else next(split).reshape(-1)
            for leaf in leaves
        ]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        fixed = self.fixed.nbytes if self._flat is None else self._flat.nbytes
        return int(fixed + 16 * len(self.loose) * len(self) + self.sizes.sum())

    def copy(self) -> Batch:
        """Return a batch with its own memory."""
        return Batch(self.fixed.copy(), {name: _copied(one) for name, one in self._arrays()})

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
        flats = [part._flat for part in parts]
        fixed: Any = (
            _Flat.join([flat for flat in flats if flat is not None])
            if None not in flats
            else joined([part.fixed for part in parts])
        )
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


def owned(rows: Any) -> Any:
    """Return rows that nobody else can change. Text as it came from Arrow stays that: none can."""
    if not isinstance(rows, Batch):
        return rows.copy()
    loose: dict[str, Any] = {}
    for name, values in rows.loose.items():
        loose[name] = values if _is_utf8(values) else _copied(values)
    return Batch(rows.fixed.copy(), loose)


def _copied(values: Any) -> Any:
    return values.owned() if isinstance(values, Cells) else values.copy()


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
        Columns that the caller puts in place of these, which are not made then.
    """
    names = [name for name in dtype.names or () if name not in loose]
    own = np.dtype([(name, dtype[name]) for name in names])
    plain = all(name in given and dtype[name].kind in _PLAIN and not dtype[name].shape
                for name in names)  # fmt: skip
    fixed = _Flat(own, n_rows, {}) if names and plain else np.zeros(n_rows, own)
    made = {name: empty_values(n_rows, loose[name]) for name in loose if name not in given}
    return Batch(fixed, made)
