"""Arrays that are only read: made of several others, or bytes of a file of another format."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

from kist.errors import ReadOnlyError, ShapeError
from kist.extras import integration
from kist.format.array import item_bytes
from kist.model.arrays.reductions import ArrayReductions
from kist.model.indexing import Box, Points, parse
from kist.model.info import Info
from kist.model.tables.base import check_load, to_array

__all__ = ["ReadOnlyArray", "Seen"]

NumPyArray = np.ndarray[Any, Any]
Shape = tuple[int, ...]

_BLOCK_BYTES: Final = 8 << 20


class Seen(NamedTuple):
    """An array in one state.

    Attributes
    ----------
    shape, dtype
        As in NumPy.
    fetch : callable
        Gives the elements at a box or at points, in their layout.
    """

    shape: Shape
    dtype: np.dtype[Any]
    fetch: Callable[[Box | Points], NumPyArray]


class ReadOnlyArray(ArrayReductions):
    """The manners of an array that is only read; classes below say what it is made of."""

    kind = "array"

    _path: str

    def _held(self) -> AbstractContextManager[Seen]:
        raise TypeError(f"{type(self).__name__} is not made of anything")

    def _readonly(self) -> str:
        """Say where it is changed."""
        raise TypeError(f"{type(self).__name__} is not made of anything")

    def _lengths(self) -> tuple[int, ...]:
        """Return the lengths along the first axis of what is best read at once."""
        return self.shape[:1]

    def _now(self) -> Seen:
        with self._held() as seen:
            return seen

    # About it

    @property
    def name(self) -> str:
        """Path of the link, or what the array is made of."""
        return self._path

    @property
    def attrs(self) -> Mapping[str, Any]:
        """No attributes: those of the arrays stay with them."""
        return MappingProxyType({})

    @property
    def title(self) -> Any:
        """No title."""
        return None

    @property
    def info(self) -> Info:
        """What is known about it, for reading and for programs; opens nothing."""
        seen = self._now()
        facts = {
            "name": self.name,
            "kind": self.kind,
            "title": self.title,
            "dtype": str(seen.dtype),
            "shape": list(seen.shape),
            "memory_bytes": math.prod(seen.shape) * seen.dtype.itemsize,
            **self._more_facts(),
        }
        return Info(f"Array {self.name!r}", facts)

    def _more_facts(self) -> dict[str, Any]:
        return {}

    @property
    def shape(self) -> Shape:
        """Lengths of the axes."""
        return self._now().shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the elements."""
        return self._now().dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements in memory."""
        seen = self._now()
        return math.prod(seen.shape) * seen.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError(f"{self._path!r} has no axes, and so no length")
        return self.shape[0]

    # Reading

    def __getitem__(self, key: Any) -> Any:
        """Return the elements of a NumPy index, as a new array or a scalar.

        Raises
        ------
        SelectionError
            The key selects beyond the shape, or is none.
        """
        with self._held() as seen:
            selection = parse(key, seen.shape)
            # Not `Selection.read`: what lies between points may stand in parts that nobody needs.
            return selection.finish(seen.fetch(selection.where))

    def blocks(self, n_rows: int | None = None) -> Iterator[NumPyArray]:
        """Iterate over arrays of `n_rows` rows, the last one shorter; all of one state."""
        if n_rows is not None and n_rows < 1:
            raise ShapeError(f"blocks of {n_rows} rows")
        len(self)  # which raises where there are no rows
        return self._blocks(n_rows)

    def _blocks(self, n_rows: int | None) -> Iterator[NumPyArray]:
        with self._held() as (shape, dtype, fetch):
            row = math.prod(shape[1:]) * item_bytes(dtype)
            size = n_rows or max(1, _BLOCK_BYTES // max(row, 1))
            for at in range(0, shape[0], size):
                yield fetch(parse(slice(at, at + size), shape).where)

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (part for block in self._blocks(None) for part in block)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NumPyArray:
        check_load(self.nbytes, self._path)
        return to_array(np.asarray(self[...]), dtype, copy, self._path)

    def __bool__(self) -> bool:
        if self.size > 1:
            raise ShapeError(f"{self._path!r}: {self.size} elements are neither true nor false")
        return bool(np.any(self[...]))

    def to_dask(self, chunks: Any = "auto") -> Any:
        """Return a Dask array, which workers read part by part.

        It shows the commit of now, as that of an `Array` does.

        Parameters
        ----------
        chunks : int, tuple, dict or str
            As of Dask.

        Raises
        ------
        ImportError
            Dask is missing.
        TransactionError
            The store is in memory: workers could not see it.
        """
        return integration("dask").array_to_dask(self, chunks)

    def __setitem__(self, key: Any, values: Any) -> None:
        raise ReadOnlyError(self._readonly())
