"""Unions of arrays: several of them read as one along the first axis, without a copy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import finalize

import numpy as np

from kist.errors import DTypeError, ReadOnlyError, ShapeError
from kist.format.array import item_bytes
from kist.model.arrays.read import read
from kist.model.arrays.segment import empty_array
from kist.model.arrays.state import ArrayState, array_state
from kist.model.indexing import Box, Points, parse
from kist.model.tables.base import check_load, to_array
from kist.model.text import guarded
from kist.model.unions.members import find_members

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kist.model.arrays.array import Array
    from kist.model.group import Group

__all__ = ["ArrayUnion", "hold_arrays", "hold_members"]

NumPyArray = np.ndarray[Any, Any]
Shape = tuple[int, ...]

BLOCK_BYTES = 8 << 20


class ArrayUnion:
    """Several arrays as one along the first axis: indexed as in NumPy, not changed.

    Comes from ``group.union("frames/*")`` and `kist.union`. Dtypes and the lengths of all other
    axes are equal. Each call reads the arrays that are meant then; what a selection does not touch
    is not read.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     store["frames/1"], store["frames/2"] = np.zeros((2, 3)), np.ones((1, 3))
    ...     frames = store.union("frames/*")
    ...     frames.shape, frames[1:, 0]
    ((3, 3), array([0., 1.]))
    """

    kind = "union"

    def __init__(
        self,
        name: str,
        arrays: Callable[[], Sequence[Array]],
        hold: Callable[[], AbstractContextManager[list[ArrayState]]],
        opened: ExitStack | None = None,
    ) -> None:
        self.name = name
        self._arrays = arrays
        self._hold = hold
        self._finalizer = finalize(self, (opened or ExitStack()).close)
        try:
            self._now()  # what is wrong is said now
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _states(self) -> Iterator[tuple[list[ArrayState], Shape]]:
        """Give the arrays, each as one view shows it, and the shape of them all."""
        with self._hold() as states:
            first = states[0]
            for state in states:
                if state.dtype != first.dtype:
                    raise DTypeError(
                        f"{self.name}: {state.path!r} is of {state.dtype}, {first.path!r} of "
                        f"{first.dtype}"
                    )
                if not state.shape or state.shape[1:] != first.shape[1:]:
                    raise ShapeError(
                        f"{self.name}: {state.path!r} has shape {state.shape}, {first.path!r} "
                        f"{first.shape}; only the first axes may differ, and there must be one"
                    )
            n = sum(state.shape[0] for state in states)
            yield states, (n, *first.shape[1:])

    def _now(self) -> tuple[Shape, np.dtype[Any]]:
        with self._states() as (states, shape):
            return shape, states[0].dtype

    # About it

    @property
    def shape(self) -> Shape:
        """Lengths of the axes."""
        return self._now()[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the elements."""
        return self._now()[1]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements in memory."""
        shape, dtype = self._now()
        return math.prod(shape) * dtype.itemsize

    @property
    def parts(self) -> list[Array]:
        """The arrays, in order."""
        return list(self._arrays())

    def __len__(self) -> int:
        return self.shape[0]

    # Reading

    def __getitem__(self, key: Any) -> Any:
        """Return the elements of a NumPy index, as a new array or a scalar.

        Raises
        ------
        SelectionError
            The key selects beyond the shape, or is none.
        """
        with self._states() as (states, shape):
            return parse(key, shape).read(lambda where: _fetch(states, where))

    def blocks(self, n_rows: int | None = None) -> Iterator[NumPyArray]:
        """Iterate over arrays of `n_rows` rows, the last one shorter; all of one state."""
        if n_rows is not None and n_rows < 1:
            raise ShapeError(f"blocks of {n_rows} rows")
        return self._blocks(n_rows)

    def _blocks(self, n_rows: int | None) -> Iterator[NumPyArray]:
        with self._states() as (states, shape):
            row = math.prod(shape[1:]) * item_bytes(states[0].dtype)
            size = n_rows or max(1, BLOCK_BYTES // max(row, 1))
            for at in range(0, shape[0], size):
                yield _fetch(states, parse(slice(at, at + size), shape).where)

    def __iter__(self) -> Iterator[Any]:
        return (part for block in self._blocks(None) for part in block)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NumPyArray:
        check_load(self.nbytes, self.name)
        return to_array(self[...], dtype, copy, self.name)

    def __bool__(self) -> bool:
        if self.size > 1:
            raise ShapeError(f"{self.name} of {self.size} elements is neither true nor false")
        return bool(self[...].any())

    def __setitem__(self, key: Any, values: Any) -> None:
        raise ReadOnlyError(f"the {self.name} cannot be changed: change the arrays that it is of")

    def __repr__(self) -> str:
        def draw() -> str:
            shape, dtype = self._now()
            said = " x ".join(f"{n:,}" for n in shape)
            return f"<kist.ArrayUnion {self.name!r}, {said} {dtype} in {len(self.parts):,} arrays>"

        return guarded(f"kist.ArrayUnion {self.name!r}", draw)

    # The end

    def close(self) -> None:
        """Close the files that were opened for it; a second call does nothing."""
        self._finalizer()

    def __enter__(self) -> ArrayUnion:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def hold_members(group: Group, patterns: Sequence[str]) -> Iterator[list[ArrayState]]:
    """Give the arrays that paths and patterns name in a group, all of one commit."""
    with group._hold() as view:
        found = find_members(view, group._id, group._base(view), patterns)
        yield [array_state(view, entry.node, entry.path) for entry in found]


@contextmanager
def hold_arrays(arrays: Sequence[Array]) -> Iterator[list[ArrayState]]:
    """Give arrays of any stores, each as its handle sees it."""
    with ExitStack() as held:
        yield [array._state(held.enter_context(array._hold())) for array in arrays]


def _fetch(states: Sequence[ArrayState], where: Box | Points) -> NumPyArray:
    """Return the elements at a box or at points, in their layout."""
    box = where.box if isinstance(where, Points) else where
    points = len(where.coords[0]) if isinstance(where, Points) else 0
    others = [
        n
        for axis, n in enumerate(box.count)
        if not isinstance(where, Points) or axis not in where.axes
    ]
    layout = (points, *others) if isinstance(where, Points) else box.count
    out = empty_array(layout, states[0].dtype)
    low = 0
    for state in states:
        high = low + state.shape[0]
        if isinstance(where, Points) and where.axes[0] == 0:
            mine = np.flatnonzero((where.coords[0] >= low) & (where.coords[0] < high))
            if len(mine):
                coords = (where.coords[0][mine] - low, *(c[mine] for c in where.coords[1:]))
                out[mine] = read(state, where._replace(coords=coords))
        else:
            start, step = box.start[0], box.step[0]
            first = max(0, -((start - low) // step))  # rounded up
            last = min(box.count[0], -((start - high) // step))
            if first < last:
                begin = start + first * step - low
                cut = Box((begin, *box.start[1:]), (last - first, *box.count[1:]), box.step)
                if isinstance(where, Points):
                    out[:, first:last] = read(state, where._replace(box=cut))
                else:
                    read(state, cut, out[first:last])
        low = high
    return out
