"""One row of a table or selection, as iteration gives it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kist.errors import ColumnNotFoundError, SelectionError

__all__ = ["Row"]

Array = np.ndarray[Any, Any]


class Row:
    """A row: fields by name or number, all of them by a slice, or as a mapping.

    It is independent of the rows before and after it, and of later changes of the table.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     store["t"] = np.array([(1, 2.5)], "i4,f8")
    ...     row = next(iter(store["t"]))
    ...     row["f1"], row[0], row[:], dict(row)
    (np.float64(2.5), np.int32(1), (np.int32(1), np.float64(2.5)), {'f0': np.int32(1), 'f1': np.float64(2.5)})
    """  # noqa: E501

    __slots__ = ("_at", "_block")

    def __init__(self, block: Array, at: int) -> None:
        self._block = block
        self._at = at

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
        names = self.keys()
        if isinstance(index, slice):
            return tuple([self._field(name) for name in names[index]])
        try:
            name = names[index]
        except IndexError:
            raise SelectionError(
                f"field {index} is out of range, the row has {len(names)} fields"
            ) from None
        except TypeError:
            raise SelectionError(f"{index!r} is neither name nor number of a field") from None
        return self._field(name)

    def _field(self, name: str) -> Any:
        column: Any = self._block
        for part in (name,) if name in (self._block.dtype.names or ()) else name.split("."):
            if part not in (column.dtype.names or ()):
                raise ColumnNotFoundError(
                    f"the row has no field {name!r}; its fields are "
                    f"{', '.join(map(repr, self.keys()))}"
                )
            column = column[part]
        value = column[self._at]
        # Blocks are read-only and shared by their rows; what a row gives is its own.
        return value.copy() if isinstance(value, np.ndarray | np.void) else value

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
