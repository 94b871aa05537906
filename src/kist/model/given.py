"""What is given to a group: does it become a table or an array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kist.errors import DTypeError
from kist.model.frames.incoming import is_frame
from kist.model.node import Node

__all__ = ["has_fields", "is_rows", "is_shape"]


def is_shape(shape: Any) -> bool:
    """Tell whether this may be the shape of an array; None may."""
    if isinstance(shape, tuple):
        return all(hasattr(size, "__index__") and np.ndim(size) == 0 for size in shape)
    return shape is None or isinstance(shape, int | np.integer)


def has_fields(dtype: Any, name: str) -> bool:
    """Tell whether a dtype is that of the rows of a table."""
    if dtype is None:
        return False
    from kist.model.tables.input.dtype import row_dtype

    found = row_dtype(dtype, f"create {name!r}")
    return not isinstance(found, np.dtype) or found.names is not None


def is_rows(data: Any) -> bool:
    """Tell whether data become a table by assignment, rather than an array.

    Raises
    ------
    DTypeError
        They become neither.
    """
    if isinstance(data, Node):
        raise DTypeError("to copy a node use copy(source, target); to copy values, assign node[:]")
    if isinstance(data, Mapping):
        raise DTypeError(
            "a dict cannot be assigned: make a group (create_group) with a node for each key, a "
            "key store (create_keystore), or a table of columns with create_table(name, data)"
        )
    if data is None:
        raise DTypeError("None cannot be assigned; del store[name] deletes a node")
    if isinstance(data, np.ndarray):
        return data.dtype.names is not None and data.ndim == 1
    return is_frame(data) or hasattr(data, "__next__") or hasattr(type(data), "__arrow_c_stream__")
