"""One row of a table or selection, as iteration gives it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import ColumnNotFoundError, SelectionError, ShapeError
from kist.format.nullable import is_nullable

if TYPE_CHECKING:
    from kist.model.tables.row_loop import Shown

__all__ = ["Row"]

Array = np.ndarray[Any, Any]


class Row:
    """A row: fields by name or number, all of them by a slice, or as a mapping.

    It is independent of the rows before and after it, and of later changes of the table. Fields
    can be assigned; `update` hands them to the loop that gave the row, which writes all of them
    in one step when it ends or is left.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     store["t"] = np.array([(1, 2.5)], "i4,f8")
    ...     row = next(iter(store["t"]))
    ...     row["f1"], row[0], row[:], dict(row)
    (np.float64(2.5), np.int32(1), (np.int32(1), np.float64(2.5)), {'f0': np.int32(1), 'f1': np.float64(2.5)})
    >>> with kist.open(":memory:") as store:
    ...     store["t"] = np.array([(1, 2.5), (2, 3.5)], "i4,f8")
    ...     for row in store["t"].where("f0 > 1"):
    ...         row["f1"] = row["f1"] * 2
    ...         row.update()
    ...     store["t"]["f1"][:]
    array([2.5, 7. ])
    """  # noqa: E501

    __slots__ = ("_at", "_block", "_changed", "_place", "_shown")

    def __init__(self, block: Array, at: int, shown: Shown) -> None:
        self._block = block
        self._at = self._place = at
        self._shown = shown
        self._changed: dict[int, Array] | None = None  # new values by leaf

    @property
    def dtype(self) -> np.dtype[Any]:
        """Structured dtype of the row."""
        dtype: np.dtype[Any] = self._block.dtype
        return dtype

    def keys(self) -> tuple[str, ...]:
        """Names of the fields."""
        return self._block.dtype.names or ()

    def __getitem__(self, index: str | int | slice) -> Any:
        """Return a field by name or number, or a tuple of the fields of a slice."""
        if isinstance(index, str):
            return self._field(index)
        if isinstance(index, slice):
            return tuple([self._field(name) for name in self.keys()[index]])
        return self._field(self._name(index))

    def _name(self, index: Any) -> str:
        names = self.keys()
        try:
            return str(names[index])
        except IndexError:
            raise SelectionError(
                f"field {index} is out of range, the row has {len(names)} fields"
            ) from None
        except TypeError:
            raise SelectionError(f"{index!r} is neither name nor number of a field") from None

    def _path(self, name: str) -> tuple[str, ...]:
        """Return the names that lead to a field."""
        path = (name,) if name in self.keys() else tuple(name.split("."))
        dtype: np.dtype[Any] = self.dtype
        for part in path:
            if part not in (dtype.names or ()):
                raise ColumnNotFoundError(
                    f"the row has no field {name!r}; its fields are "
                    f"{', '.join(map(repr, self.keys()))}"
                )
            dtype = dtype[part].base
        return path

    def _field(self, name: str) -> Any:
        column: Any = self._block
        for part in self._path(name):
            column = column[part]
        value = column[self._at]
        if column.dtype.names is not None and is_nullable(column.dtype):
            return value["value"] if value["valid"] else None
        # Blocks are read-only and shared by their rows; what a row gives is its own.
        return value.copy() if isinstance(value, np.ndarray | np.void) else value

    def __setitem__(self, index: str | int | slice, value: Any) -> None:
        """Give a field, or the fields of a slice, a new value; `update` writes it.

        Raises
        ------
        ColumnNotFoundError, SelectionError
            There is no such field.
        DTypeError
            The value would lose something; the row stays as it is.
        ReadOnlyError
            The store was opened for reading.
        """
        if isinstance(index, slice):
            names, values = self.keys()[index], tuple(value)
            if len(names) != len(values):
                raise ShapeError(f"{len(values)} values for the {len(names)} fields {names}")
        else:
            names, values = (index if isinstance(index, str) else self._name(index),), (value,)
        paths = [self._path(name) for name in names]
        cast = [self._shown.loop.cast(*pair) for pair in zip(paths, values, strict=True)]
        if self._changed is None:
            self._block, self._at = self._block[self._at : self._at + 1].copy(), 0
            self._changed = {}
        for path, (items, leaves) in zip(paths, cast, strict=True):
            column: Any = self._block
            for part in path:
                column = column[part]
            column[...] = items
            self._changed |= leaves

    def update(self) -> None:
        """Write the fields that were assigned, together with those of other rows of the loop.

        All are written in one step when the loop ends or is left, also by ``break`` or an
        exception; inside a transaction an exception undoes them with the rest.

        Raises
        ------
        TransactionClosedError
            The loop has ended.
        """
        shown = self._shown
        shown.loop.collect(shown.row_id(self._place), self._changed or {})

    def __iter__(self) -> Iterator[Any]:
        return iter(self[:])

    def __len__(self) -> int:
        return len(self.keys())

    def __eq__(self, other: object) -> Any:
        if isinstance(other, Row):
            other = other._block[other._at]
        if isinstance(other, np.void):
            return bool(self._block[self._at] == other)
        if isinstance(other, tuple):
            return self[:] == other
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        row = self._block[self._at : self._at + 1].copy().reshape(())
        return row if dtype is None else row.astype(dtype)

    def __repr__(self) -> str:
        pairs = zip(self.keys(), self, strict=True)
        fields = ", ".join(f"{name}={value!r}" for name, value in pairs)
        return f"<kist.Row {fields}>"
