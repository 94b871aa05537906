"""Arrays: n-d, of one dtype, stored in chunks, read and written by NumPy's indexing."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kist import options
from kist.errors import ShapeError, TooLargeError
from kist.extras import integration
from kist.format.array import item_bytes
from kist.format.node import NodeKind
from kist.model import arrays
from kist.model.arrays.operators import ArrayOperators
from kist.model.arrays.read import read, whole_box
from kist.model.arrays.state import ArrayState, array_state
from kist.model.damage import check_errors, warn_of_damage
from kist.model.indexing import parse
from kist.model.sealing.dataset import SealedDataset

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.model.sealing.field import SealedField

__all__ = ["Array"]

NumPyArray = np.ndarray[Any, Any]
Shape = tuple[int, ...]

BLOCK_BYTES = 32 << 20
"""Raw bytes of a slab of `Array.blocks`, unless one row of chunks has more."""


class Array(ArrayOperators, SealedDataset):
    """An n-d array of one dtype, stored in chunks of a regular grid.

    Indexing means what it means in NumPy, for reading and for writing, and gives fresh arrays. What
    was never written shows the fill value and takes no space.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     store["x"] = np.arange(12.0).reshape(3, 4)
    ...     x = store["x"]
    ...     x[1, ::2] = -1
    ...     x.append([[12, 13, 14, 15]])
    ...     x[1:, [0, 3]]
    1
    array([[-1.,  7.],
           [ 8., 11.],
           [12., 15.]])
    """

    kind = "array"
    _kind = NodeKind.ARRAY

    def _state(self, view: View | None = None) -> ArrayState:
        return array_state(self._view() if view is None else view, self._id, self._path)

    # About the array

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the elements."""
        return self._state().dtype

    @property
    def shape(self) -> Shape:
        """Lengths of the axes. Assigning resizes."""
        return self._state().shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        self.resize(shape)

    @property
    def maxshape(self) -> tuple[None, ...]:
        """h5py's word for how far the axes may grow: each without a limit."""
        return (None,) * self.ndim

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._state().schema.ndim

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
        state = self._state()
        return math.prod(state.shape) * state.dtype.itemsize

    @property
    def nbytes_stored(self) -> int:
        """Bytes that the elements take in the file; looks at the record of each chunk."""
        return arrays.show.stored_bytes(self._state())

    @property
    def ratio(self) -> float:
        """Bytes in memory by bytes in the file."""
        return self.nbytes / max(1, self.nbytes_stored)

    @property
    def chunks(self) -> Shape:
        """Shape of a chunk."""
        return self._state().schema.chunks

    @property
    def block_shape(self) -> Shape:
        """Shape of a block, the part of a chunk that is decoded alone."""
        return self._state().schema.blocks

    @property
    def fill_value(self) -> Any:
        """Value of elements that were never written."""
        state = self._state()
        state.check_open()
        return state.schema.fill_value()[()]

    @property
    def codec(self) -> str:
        """What was asked for at creation: a preset, or an explicit codec."""
        return self._state().schema.codec

    def __len__(self) -> int:
        shape = self.shape
        if not shape:
            raise TypeError("len() of a 0-d array")
        return shape[0]

    def __bool__(self) -> bool:
        state = self._state()
        if math.prod(state.shape) != 1:
            raise ValueError(
                f"the truth value of {self._path!r}, of shape {state.shape}, is ambiguous: read "
                "it and use any() or all()"
            )
        return bool(read(state, whole_box(state.shape)).reshape(-1)[0])

    # Reading

    def __getitem__(self, key: Any) -> Any:
        """Return elements as a fresh array, or one as a NumPy scalar.

        Parameters
        ----------
        key
            What NumPy takes: ints, slices, ``...``, ``None``, arrays and lists of ints or bools.

        Raises
        ------
        SelectionError
            The key selects beyond the shape, or is none.
        CorruptDataError
            What is stored is damaged, naming the chunk.

        Notes
        -----
        Decodes the blocks that hold the elements, on several threads.
        """
        state = self._state()
        selection = parse(key, state.shape)
        return selection.read(partial(arrays.read.read, state))

    def read(self, key: Any = ..., *, errors: Literal["raise", "mask"] = "raise") -> Any:
        """Return elements as ``[key]`` does, or around damage.

        Parameters
        ----------
        key
            What NumPy takes; all elements by default.
        errors : {"raise", "mask"}
            ``mask``: elements in pages that are damaged are masked, and a `DamageWarning` names
            their chunks.

        Returns
        -------
        ndarray, or MaskedArray
            With ``errors="mask"`` always the latter; the fill value under the mask.

        Raises
        ------
        SelectionError
            The key selects beyond the shape, or is none.
        CorruptDataError
            Something is damaged; with ``mask``, something that is no page: `kist.salvage` goes on
            from there.
        """
        if check_errors(errors) == "raise":
            return self[key]
        from kist.model.arrays.masked import read_masked

        state = self._state()
        found, told = read_masked(state, parse(key, state.shape))
        warn_of_damage(repr(self._path), told)
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NumPyArray:
        if copy is False:
            raise ValueError(
                f"{self._path!r} is stored in a file: to read it makes a copy; mmap() gives a view "
                "of arrays made with codec='none'"
            )
        state = self._state()
        nbytes = math.prod(state.shape) * state.dtype.itemsize
        if nbytes > options.max_load:
            raise TooLargeError(
                f"{self._path!r} has {nbytes:,} bytes, more than the {options.max_load:,} of "
                "kist.options.max_load: read slices of it, iterate over blocks(), or evaluate "
                "over it"
            )
        found = read(state, whole_box(state.shape))
        return found if dtype is None else found.astype(dtype, copy=False)

    def blocks(self, n_rows: int | None = None) -> Iterator[NumPyArray]:
        """Iterate over slabs of `n_rows` along axis 0, the last one shorter.

        All come from the state that the array had at the first slab. Without `n_rows` a slab is
        whole chunks of about 32 MiB.

        Raises
        ------
        ShapeError
            The array has no axis, or `n_rows` is below 1.
        """
        if n_rows is not None and arrays.grid.as_size(n_rows, "blocks") == 0:
            raise ShapeError("blocks of 0 rows")
        if not self.ndim:
            raise ShapeError(f"{self._path!r} is 0-d: it has no rows")
        return self._blocks(n_rows)

    def _blocks(self, n_rows: int | None) -> Iterator[NumPyArray]:
        with self._hold() as view:
            state = self._state(view)
            shape = state.shape
            if n_rows is None:
                rows = state.schema.chunks[0]
                row = math.prod(shape[1:]) * item_bytes(state.dtype)
                # What takes no bytes is one block: its length may be any number.
                n_rows = max(1, BLOCK_BYTES // (row * rows)) * rows if row else max(1, shape[0])
            for at in range(0, shape[0], n_rows):
                yield read(state, parse(slice(at, at + n_rows), shape).where)

    def __iter__(self) -> Iterator[Any]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (part for block in self._blocks(None) for part in block)

    def mmap(self) -> NumPyArray:
        """Return the whole array as a read-only view of the file, without copying.

        All of it is verified once, now. The commit that it shows stays in the file until the
        last view of it is gone, also after the store is closed.

        Raises
        ------
        CodecError
            The array is compressed.
        ShapeError
            It is stored in several parts.
        DTypeError
            Its bytes are not those of an array in memory.
        TransactionError
            Inside a transaction, whose changes may be undone.
        """
        return arrays.mmap.map_array(self)

    # Changing

    def __setitem__(self, key: Any, values: Any) -> None:
        """Give elements new values, broadcast as NumPy does, and checked.

        Raises
        ------
        SelectionError
            The key selects beyond the shape, or is none.
        ShapeError
            The values cannot be broadcast to what the key selects.
        DTypeError
            A value would lose something. Nothing is changed.
        """
        step = self._write()
        with step as txn:
            if step.is_inside:
                arrays.later.settle_rows(txn, self._id)
            state = array_state(txn, self._id, self._path, settled=step.is_inside)
            selection = parse(key, state.shape)
            spread = selection.spread(arrays.input.cast_array(values, state.dtype, self._path))
            if selection.is_empty:
                return
            if step.is_inside and arrays.later.put_off(txn, state, selection.where, spread):
                return
            arrays.write.write(txn, state, selection.where, spread)
        if not step.is_inside:
            anew = arrays.write.bytes_anew(state, selection.where)
            self._store._session.count_anew(spread.nbytes, anew)

    def append(self, values: Any, axis: int = 0) -> int:
        """Add values behind the last along an axis, and return by how much it grew.

        Parameters
        ----------
        values : array-like
            As long as the array along all other axes. With one axis less it is one row. What can be
            sliced and is not in memory, such as an h5py dataset, is read part by part.

        Raises
        ------
        ShapeError
            The values do not fit.
        DTypeError
            A value would lose something. Nothing is added.
        """
        step = self._write()
        with step as txn:
            waiting = arrays.later.growing(txn, self._id) if step.is_inside else None
            state = waiting or self._state(txn)
            if not state.shape:
                raise ShapeError(
                    f"append: {self._path!r} is 0-d, only arrays with an axis can grow"
                )
            axis = _as_axis(axis, len(state.shape))
            if waiting and axis:
                state = self._state(txn)  # of as many rows as there are
            if arrays.input.is_sliceable(values):
                shape = tuple(values.shape)
                arrays.grow.check_append(state, shape, axis)
                if waiting:
                    state = self._state(txn)
                # Cut along the axis only, so that the parts come in order.
                width = item_bytes(state.dtype)
                whole = tuple(
                    c if k == axis else n
                    for k, (c, n) in enumerate(zip(state.schema.chunks, shape, strict=True))
                )
                for where in arrays.create.slabs_of(shape, whole, width):
                    part = arrays.input.cast_array(
                        np.asarray(values[where]), state.dtype, self._path, "append"
                    )
                    state = arrays.grow.append(txn, state, part, axis)
                return int(shape[axis])
            new = arrays.input.cast_array(values, state.dtype, self._path, "append")
            if new.shape == state.shape[:axis] + state.shape[axis + 1 :]:
                new = np.expand_dims(new, axis)
            arrays.grow.check_append(state, new.shape, axis)
            if step.is_inside and axis == 0 and arrays.later.put_off_rows(txn, state, new):
                return len(new)
            if waiting:
                state = self._state(txn)
            arrays.grow.append(txn, state, new, axis)
            return int(new.shape[axis])

    def to_dask(self, chunks: Any = "auto") -> Any:
        """Return a Dask array, which workers read chunk by chunk.

        It shows the commit of now, which stays readable as long as the graph lives: by a tag where
        the file can be written, else by a pin of this process.

        Parameters
        ----------
        chunks : int, tuple, dict or str
            As of Dask; ``"auto"`` joins whole chunks of this array to about 128 MiB.

        Raises
        ------
        ImportError
            Dask is missing.
        TransactionError
            The store is in memory: workers could not see it.
        """
        return integration("dask").array_to_dask(self, chunks)

    def resize(self, size: Any, axis: int | None = None) -> None:
        """Give the array another shape, or one axis another length.

        New elements show the fill value. What is cut off is gone. No data are rewritten.

        Raises
        ------
        ShapeError
            The shape has another number of axes, or a length below zero.
        """
        with self._write() as txn:
            state = self._state(txn)
            if axis is not None:
                axis = _as_axis(axis, len(state.shape))
                length = arrays.grid.as_size(size, f"resize, axis {axis}")
                size = (*state.shape[:axis], length, *state.shape[axis + 1 :])
            shape = arrays.grid.as_shape(size)
            if len(shape) != len(state.shape):
                raise ShapeError(
                    f"resize: {self._path!r} has {len(state.shape)} axes, not {len(shape)}; make "
                    "another array to change that"
                )
            arrays.grow.resize(txn, state, shape)

    # For listings and checks

    def _check_records(self, view: View) -> Iterator[str]:
        """Yield what is wrong in the records of the array."""
        return arrays.check.check_records(self._state(view))

    def _is_sealed(self, view: View) -> bool:
        return self._state(view).schema.sealed

    def _field(self, view: View) -> SealedField:
        return self._state(view).field

    def _reseal(self, txn: Transaction, before: SealedField, after: SealedField) -> None:
        from kist.model.arrays.sealed import seal_anew

        seal_anew(txn, before, after)

    def _facts(self, view: View) -> dict[str, Any]:
        return arrays.show.array_facts(self._state(view))

    def _listing(self, view: View) -> dict[str, Any]:
        state = self._state(view)
        return {"shape": list(state.shape), "dtype": str(state.dtype)}

    def _words(self, listing: Mapping[str, Any]) -> str:
        shape = " x ".join(f"{n:,}" for n in listing["shape"])
        return f"array of {shape + ' ' if shape else ''}{listing['dtype']}"

    def __repr__(self) -> str:
        return arrays.show.array_repr(self)

    def _repr_html_(self) -> str:
        return arrays.show.array_html(self)


def _as_axis(axis: Any, ndim: int) -> int:
    found = operator.index(axis)
    if not -ndim <= found < ndim:
        raise ShapeError(f"there is no axis {found}: the array has {ndim}")
    return found % ndim
