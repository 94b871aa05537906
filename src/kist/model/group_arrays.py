"""What groups do with arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kist import model
from kist.errors import DTypeError, ShapeError
from kist.format.node import NodeKind
from kist.model.group_maker import Maker, as_encryption, held, inherited, refuse_clear

if TYPE_CHECKING:
    from kist.model.arrays.array import Array
    from kist.model.tables.table import Table

__all__ = ["ArrayMaker"]


class ArrayMaker(Maker):
    """The part of a group that makes and opens arrays."""

    if TYPE_CHECKING:
        create_table: Callable[..., Table]  # of `TableMaker`
        require_table: Callable[..., Table]

        def __contains__(self, path: object) -> bool: ...

    def create_array(
        self,
        name: str,
        data: Any = None,
        *,
        shape: Any = None,
        dtype: Any = None,
        chunks: Any = "auto",
        fill_value: Any = 0,
        codec: str = "auto",
        title: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        encrypt: Any = None,
    ) -> Array:
        """Make an array, and the groups on the way to it, in one commit.

        Parameters
        ----------
        name : str
            Path of the array.
        data : array-like, optional
            An array, a scalar, nested lists. What can be sliced and is not in memory, such as an
            h5py dataset, is read part by part. Without data all elements show `fill_value`.
        shape : int or tuple of int, optional
            Of an array without data; with data it must be theirs.
        dtype : dtype, optional
            Of the elements; by default that of the data, without data ``float64``.
        chunks : "auto", int or tuple of int
            Shape of the chunks. By default 1 MiB, or 2 to 8 MiB from 64 MiB on, as near to a cube
            as may be; uncompressed data in C order of up to 1 GiB become one chunk.
        fill_value : scalar
            What elements show that were never written.
        codec : str
            ``"auto"`` chooses from a sample; ``"fast"``, ``"balanced"``, ``"small"``, or an
            explicit codec; ``"none"`` allows `Array.mmap`.
        title, attrs : optional
            Attributes of the array.
        overwrite : bool
            Replace an array of that name; handles to the old one become stale.
        encrypt : secret, list of them, or dict of labels and secrets, optional
            What opens the array, which is sealed then. A secret is a key of 32 bytes, a
            passphrase, or a callable that asks a key service: see docs/encryption.md.

        Raises
        ------
        NodeExistsError
            Something stands there.
        DTypeError
            The dtype cannot be stored, or the data do not fit it.
        ShapeError
            Shape, chunks and data do not fit each other, or there are more than 64 axes.
        TooLargeError
            A chunk would have more than 1 GiB.
        SecretError
            Something in `encrypt` is no secret; or a sealed array would be replaced by one that
            is not; or a sealed column of a table would come to stand in clear.

        Examples
        --------
        >>> import kist
        >>> with kist.open(":memory:") as store:
        ...     volume = store.create_array("v", shape=(2000, 2000, 2000), dtype="f4")
        ...     volume[10, 20:22, 30] = 1
        ...     float(volume[10].sum()), volume.chunks, volume.nbytes_stored < 1_000_000
        (2.0, (128, 128, 128), True)
        """
        from kist.model.arrays.array import Array
        from kist.model.arrays.create import create

        try:
            sealed = as_encryption(encrypt)
        finally:
            encrypt = None  # a traceback would show it
        with self._write() as txn:
            if overwrite and sealed is None:
                self._refuse_unsealing(txn, name)
            array = self._new(txn, name, NodeKind.ARRAY, overwrite)
            assert isinstance(array, Array)
            self._keep_promises(txn, array, sealed)
            above = self._secret_above(txn, array, sealed)
            sealed = sealed if above is None else inherited(above)
            if sealed is None and hasattr(data, "blocks"):  # it may be a column of a table
                from kist.model.tables.input.values import refuse_column_in_clear

                refuse_column_in_clear(data, f"create {array._path!r}")
            create(
                txn,
                array._id,
                array._path,
                data,
                shape=shape,
                dtype=dtype,
                chunks=chunks,
                fill_value=fill_value,
                codec=codec,
                encrypt=sealed,
            )
            model.attributes.copy_attributes(array, attrs, title)
        return array

    def open_array(self, name: str) -> Array:
        """Return an array that must exist.

        Raises
        ------
        NodeNotFoundError
            There is none, or something else stands there.
        """
        from kist.model.arrays.array import Array

        return self._open_as(Array, name)

    def require_array(
        self, name: str, shape: Any, dtype: Any, *, exact: bool = False, **options: Any
    ) -> Array:
        """Return an array of this shape and dtype, making it when it is missing.

        Parameters
        ----------
        name : str
            Path of the array.
        shape, dtype
            What it must have.
        exact : bool
            Whether the dtype must be the same; otherwise one to which `dtype` can be cast safely is
            taken too, as in h5py.
        **options
            For `create_array`; an array that exists keeps its own.

        Raises
        ------
        NodeExistsError
            Something else stands there.
        ShapeError, DTypeError
            The array that stands there has another shape or dtype.
        SecretError
            The array that stands there is not sealed, and ``encrypt=`` was given.
        """
        import numpy as np

        from kist.model.arrays.array import Array
        from kist.model.arrays.grid import as_shape
        from kist.model.arrays.input import as_array_dtype

        options = held(options)
        wanted = as_array_dtype(dtype, f"require {name!r}")
        bounds = as_shape(shape)
        node = self._require_as(
            Array, name, lambda: self.create_array(name, shape=bounds, dtype=wanted, **options)
        )
        state = node._state()
        if options.pop("encrypt", None) is not None:
            refuse_clear(node)
        if state.shape != bounds:
            raise ShapeError(f"{node._path!r} has shape {state.shape}, not {bounds}")
        if state.dtype != wanted and (exact or not np.can_cast(wanted, state.dtype)):
            raise DTypeError(f"{node._path!r} has dtype {state.dtype}, not {wanted}")
        return node

    def create_dataset(
        self, name: str, shape: Any = None, dtype: Any = None, data: Any = None, **options: Any
    ) -> Array | Table:
        """Make an array or a table, under h5py's name and with its order of arguments.

        Parameters
        ----------
        name : str
            Path of the dataset.
        shape : int or tuple of int, optional
            Of an array without data. Anything else in its place is the data.
        dtype : dtype, optional
            Of the elements, or, if it has fields and there is no shape, of the rows of a table.
        data : optional
            As for an assignment to a name.
        **options
            For `create_array` or `create_table`; ``fillvalue`` and ``maxshape`` as in h5py, the
            latter without effect, because every array can be resized.

        Raises
        ------
        TypeError
            Another option of h5py.
        """
        options = held(options)
        if data is None and not model.given.is_shape(shape):
            shape, data = None, shape
        options.pop("maxshape", None)
        if "fillvalue" in options:
            options["fill_value"] = options.pop("fillvalue")
        unknown = options.keys() & _OPTIONS_OF_H5PY
        if unknown:
            raise TypeError(
                f"create_dataset: kist has no option {min(unknown)!r}: codec= chooses the "
                "compression, and everything has a checksum"
            )
        if (
            model.given.is_rows(data)
            if data is not None
            else shape is None and model.given.has_fields(dtype, name)
        ):
            return self.create_table(name, data, dtype=dtype, **options)
        return self.create_array(name, data, shape=shape, dtype=dtype, **options)

    def require_dataset(
        self, name: str, shape: Any = None, dtype: Any = None, exact: bool = False, **options: Any
    ) -> Array | Table:
        """Return an array or a table, making it when nothing stands there; h5py's name.

        Parameters
        ----------
        name : str
            Path of the dataset.
        shape : int or tuple of int, optional
            Of an array. Without it, and with a dtype that has fields, a table is meant.
        dtype : dtype
            Of the elements, or of the rows.
        exact : bool
            Whether the dtype of an array must be this one; else it need only hold its values.
        **options
            For `create_dataset`, if it is made; its `data` too.

        Raises
        ------
        NodeExistsError
            Something else stands there.
        ShapeError, DTypeError
            It has another shape or dtype.
        SecretError
            It is not sealed, and ``encrypt=`` was given.
        """
        options = held(options)
        if name not in self:
            return self.create_dataset(name, shape, dtype, **options)
        sealed = {key: value for key, value in options.items() if key == "encrypt"}
        if shape is None and model.given.has_fields(dtype, name):
            return self.require_table(name, dtype=dtype, **sealed)
        return self.require_array(name, shape=shape, dtype=dtype, exact=exact, **sealed)


_OPTIONS_OF_H5PY = frozenset({"compression", "compression_opts", "shuffle", "fletcher32"})
