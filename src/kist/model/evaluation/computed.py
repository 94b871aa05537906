"""The result of an expression: cut into parts that threads compute, read like an array."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

import numpy as np

from kist import options
from kist.engine.parallel import run
from kist.errors import QueryError, ShapeError
from kist.format.nullable import is_masked_array
from kist.model.arrays.create import slabs_of
from kist.model.evaluation.operands import Operand, Where
from kist.query import Bound

__all__ = ["Computed"]

Array = np.ndarray[Any, Any]
T = TypeVar("T")

PART_BYTES: Final = 1 << 20
"""Bytes of operands and result of a part: what a thread has in hand, and keeps in its cache."""

CHUNK_BYTES: Final = 16 << 20
"""Parts follow the chunks of the largest operand, and are cut when those are larger."""

PARTS_AT_ONCE: Final = 4
"""Parts per thread that are under way or wait to be put together."""


class Computed:
    """An expression over operands, read like an array; nothing is kept.

    Attributes
    ----------
    shape, dtype
        Of the result, as NumPy has them.
    """

    def __init__(self, bound: Bound, operands: Mapping[str, Operand]) -> None:
        self._bound = bound
        self._operands = {name: operands[name] for name in bound.columns}
        self.dtype = bound.dtype
        self.shape = _broadcast(self._operands)
        self.chunks = self._chunks()

    def _chunks(self) -> tuple[int, ...]:
        """Return the chunks of the largest operand, which are the parts to be read at once."""
        best: tuple[int, ...] = (1,) * len(self.shape)
        most = -1
        for operand in self._operands.values():
            nbytes = math.prod(operand.shape) * operand.dtype.itemsize
            if operand.chunks is not None and operand.shape == self.shape and nbytes > most:
                best, most = tuple(operand.chunks), nbytes
        width = sum(operand.dtype.itemsize for operand in self._operands.values())
        # A chunk that is not compressed may have a gigabyte.
        lengths = list(map(min, best, self.shape))
        for axis in range(len(lengths)):
            while lengths[axis] > 1 and math.prod(lengths) * width > CHUNK_BYTES:
                lengths[axis] = -(-lengths[axis] // 2)
        return tuple(lengths)

    def parts(self, where: Where | None = None) -> Iterator[Where]:
        """Cut a part of the result, by default all of it, into those that threads compute."""
        whole = tuple(slice(0, n) for n in self.shape) if where is None else where
        lengths = tuple(s.stop - s.start for s in whole)
        width = sum(operand.dtype.itemsize for operand in self._operands.values())
        for part in slabs_of(lengths, self.chunks, max(1, width + self.dtype.itemsize), PART_BYTES):
            yield tuple(
                slice(w.start + p.start, w.start + p.stop) for w, p in zip(whole, part, strict=True)
            )

    def compute(self, where: Where, out: Array | None = None) -> Array:
        """Return one part, computed by the calling thread."""
        shape = tuple(s.stop - s.start for s in where)
        n = math.prod(shape)
        blocks: dict[str, Array] = {}
        valid: dict[str, Array] = {}
        for name, operand in self._operands.items():
            values = operand.read(where)
            if is_masked_array(values):
                valid[name] = ~np.broadcast_to(np.ma.getmaskarray(values), shape).reshape(-1)
                values = np.asarray(values.data)
            blocks[name] = np.broadcast_to(values, shape).reshape(-1)
        direct = out is not None and out.flags.c_contiguous and out.dtype == self.dtype
        flat = out.reshape(-1) if direct and out is not None else None
        if self.dtype == bool:
            found = self._bound.evaluate(blocks, n, valid)
        else:
            found = self._bound.value(blocks, n, valid, out=flat)
            if is_masked_array(found):
                raise QueryError(
                    "the result is null in places, as the year of NaT is; say what it shall be "
                    "there: where(isnull(x), 0, x)"
                )
        if out is None:
            return found.reshape(shape)
        if found is not flat:
            out[...] = found.reshape(shape)
        return out

    def fill(self, where: Where, out: Array) -> None:
        """Compute a part of the result on several threads, into an array of its shape."""
        origin = [s.start for s in where]

        def one(part: Where) -> None:
            place = tuple(
                slice(s.start - at, s.stop - at) for s, at in zip(part, origin, strict=True)
            )
            whole: Any = (*place, ...)  # keeps 0-d arrays arrays
            self.compute(part, out[whole])

        for _ in self.each(one, where):
            pass

    def each(self, func: Callable[[Where], T], where: Where | None = None) -> Iterator[T]:
        """Call a function with each part, on several threads; results come in order."""
        parts = self.parts(where)
        while some := list(islice(parts, PARTS_AT_ONCE * options.n_threads)):
            yield from run([partial(func, part) for part in some])

    def __getitem__(self, where: Where) -> Array:
        out = np.empty(tuple(s.stop - s.start for s in where), self.dtype)
        self.fill(where, out)
        return out


def _broadcast(operands: Mapping[str, Operand]) -> tuple[int, ...]:
    shapes: Sequence[tuple[int, ...]] = [operand.shape for operand in operands.values()]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        shown = ", ".join(
            f"{name.partition('@')[0]} {operand.shape}" for name, operand in operands.items()
        )
        raise ShapeError(f"the operands have shapes that do not go together: {shown}") from None
