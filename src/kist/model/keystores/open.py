"""Values of key stores that are opened rather than loaded: arrays that read what is sliced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist import options
from kist.engine.pages import read_page
from kist.errors import CorruptDataError, TooLargeError
from kist.format.bundle import Part, PartKind
from kist.format.plain import unpack_value
from kist.format.values import Pointer
from kist.model.indexing import Box, Points, Selection, parse
from kist.model.keystores.read import Found, assemble, empty, load_part, open_bundle, pointer_of

if TYPE_CHECKING:
    from kist.model.session import Held

__all__ = ["StoredArray", "open_value"]

Array = np.ndarray[Any, Any]

_GAP_VALUES: Final = 8192
"""Values between two wanted ones that are decoded with them rather than apart: a block."""


class StoredArray:
    """An array in a value of a key store, which reads what is sliced. It cannot be changed.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    """

    __slots__ = ("_held", "_memory", "_part", "_pointers", "_where", "dtype", "shape")

    # NumPy asks the other operand first; there is nothing that this class computes.
    __array_ufunc__ = None

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        where: str,
        memory: Array | None = None,
        held: Held | None = None,
        part: Part | None = None,
        pointers: list[Pointer] | None = None,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._where = where
        self._memory = memory  # of small arrays, which were read with the value
        self._held = held
        self._part = part
        self._pointers = pointers or []

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def nbytes(self) -> int:
        """Bytes of the elements in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without dimensions")
        return self.shape[0]

    def __bool__(self) -> bool:
        if self.size > 1:
            raise ValueError("the truth of an array of more than one element is ambiguous")
        return bool(self[...])

    def __iter__(self) -> Iterator[Any]:
        return (self[at] for at in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        """Return what NumPy would give; reads the blocks that hold it.

        Raises
        ------
        SelectionError
            The index does not fit.
        """
        found = parse(key, self.shape)
        try:
            return found.finish(self._read(found))
        except CorruptDataError as error:
            if self._held is not None:
                self._held.view.reader.backend.distrust()
            raise CorruptDataError(f"{self._where}: {error}", offset=error.offset) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("an array in a file cannot be shown without copying it")
        if self.nbytes > options.max_load:
            raise TooLargeError(
                f"{self._where} takes {self.nbytes:,} bytes, more than kist.options.max_load = "
                f"{options.max_load:,}; slice it, or raise the limit"
            )
        found = np.asarray(self[...])
        return found if dtype is None else found.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"<kist array in {self._where}, shape {self.shape}, {self.dtype}>"

    # Reading

    def _read(self, found: Selection) -> Array:
        """Return the elements in the layout of the selection."""
        if self._memory is not None:
            return _pick(self._memory, found.where).reshape(found.layout).copy()
        if found.is_empty:
            kind = self.dtype.kind  # np.empty forgets the byte order of times without a unit
            make = np.ndarray if kind in "mM" else np.empty
            return make(found.layout, self.dtype)
        box = found.where if isinstance(found.where, Box) else found.where.box
        if not self.shape:
            return self._values(0, 1).reshape(())
        if isinstance(found.where, Points) and found.where.axes[0] == 0:
            rows, inverse = np.unique(found.where.coords[0], return_inverse=True)
            coords = (inverse.reshape(-1), *found.where.coords[1:])
            return _pick(self._rows(rows), found.where._replace(coords=coords))
        if isinstance(found.where, Box):
            # Leading axes of which one position is wanted only say where the others begin.
            offset, rest = 0, self.shape
            while len(rest) > 1 and box.count[len(self.shape) - len(rest)] == 1:
                start = box.start[len(self.shape) - len(rest)]
                rest = rest[1:]
                offset += start * int(np.prod(rest, dtype=object))
            done = len(self.shape) - len(rest)
            inner = Box(box.start[done:], box.count[done:], box.step[done:])
            return self._box(inner, rest, offset).reshape(found.layout)
        lines = np.arange(box.start[0], box.start[0] + box.count[0] * box.step[0], box.step[0])
        inner = Box((0, *box.start[1:]), box.count, (1, *box.step[1:]))
        return _pick(self._rows(lines), found.where._replace(box=inner))

    def _box(self, box: Box, shape: tuple[int, ...], offset: int) -> Array:
        lines = box.start[0] + box.step[0] * np.arange(box.count[0])
        got = self._rows(lines, shape, offset)
        inner = Box((0, *box.start[1:]), box.count, (1, *box.step[1:]))
        return _pick(got, inner)

    def _rows(self, rows: Array, shape: tuple[int, ...] | None = None, offset: int = 0) -> Array:
        """Return ascending positions along the first axis, the others whole."""
        shape = self.shape if shape is None else shape
        width = int(np.prod(shape[1:], dtype=object))
        cuts = np.flatnonzero(np.diff(rows) * width > _GAP_VALUES + width) + 1
        assert self._part is not None
        if not len(cuts) and int(rows[-1] - rows[0]) + 1 == len(rows):
            flat = self._values(offset + int(rows[0]) * width, len(rows) * width)
            return flat.reshape(-1, *shape[1:])
        out = empty(self._part, len(rows) * width).reshape(-1, *shape[1:])
        for a, b in zip([0, *cuts.tolist()], [*cuts.tolist(), len(rows)], strict=True):
            low, high = int(rows[a]), int(rows[b - 1]) + 1
            got = self._values(offset + low * width, (high - low) * width)
            out[a:b] = got.reshape(-1, *shape[1:])[rows[a:b] - low]
        return out

    def _values(self, start: int, size: int) -> Array:
        """Return neighbouring values of the part."""
        assert self._part is not None and self._held is not None
        view = self._held.view
        view._check_open()
        out = empty(self._part, size)
        step = self._part.page_values
        for page in range(start // step, -(-(start + size) // step)):
            low, high = max(start, page * step), min(start + size, (page + 1) * step)
            held = min(step, self.size - page * step)
            part = out[low - start : high - start]
            read_page(view, self._pointers[page], part, low - page * step, held)
        return out


def _pick(array: Array, where: Box | Points) -> Array:
    """Return what a selection names, in its layout."""
    box = where if isinstance(where, Box) else where.box
    slices = [
        slice(start, start + step * count, step) for start, count, step in zip(*box, strict=True)
    ]
    if isinstance(where, Box):
        key: Any = (*slices, ...)  # with ... it is an array also of no dimensions
        found: Array = array[key]
        return found
    others = [axis for axis in range(array.ndim) if axis not in where.axes]
    moved = array.transpose([*where.axes, *others])
    return moved[tuple(where.coords)][(slice(None), *(slices[axis] for axis in others))]


def open_value(held: Held, value: Found, where: str) -> Any:
    """Value of an entry with its arrays left in the file.

    Parameters
    ----------
    held : Held
        The state that the arrays shall show; theirs from now on.
    value : bytes or Pointer
        Record of the entry, or the pointer to its bundle.
    where : str
        Names the value in messages.
    """
    view = held.view
    if not isinstance(value, Pointer) and value[:2] == b"\0\0":
        return _with_handles(unpack_value(value[2:]), where)
    pointer = pointer_of(value)
    bundle = open_bundle(view, pointer)

    def part(number: int) -> Any:
        found = bundle.parts[number]
        if found.kind != PartKind.ARRAY:
            return load_part(view, pointer, found)
        pages = found.pointers(pointer)
        return StoredArray(found.shape, found.dtype, where, None, held, found, pages)

    return _with_handles(assemble(bundle, part), where)


def _with_handles(value: Any, where: str) -> Any:
    """Return a plain value with handles in place of its arrays."""
    kind = type(value)
    if kind is list or kind is tuple:
        return kind([_with_handles(item, where) for item in value])
    if kind is dict:
        return {key: _with_handles(item, where) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return StoredArray(value.shape, value.dtype, where, value)
    return value
