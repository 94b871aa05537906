"""Groups of values and offsets as the variables of lists that they were in NetCDF."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["is_of_lists", "write_lists"]


def is_of_lists(group: Any) -> bool:
    """Tell whether a group is what a variable of lists came in as, and holds one still."""
    facts = group.attrs.get("NETCDF")
    if not isinstance(facts, Mapping) or not {"values", "offsets"} <= set(group):
        return False
    shape, values, ends = facts.get("ragged"), group["values"], group["offsets"]
    return bool(
        isinstance(shape, list)
        and all(type(n) is int and n > 0 for n in shape)
        and (values.kind, values.ndim, ends.kind, ends.ndim) == ("array", 1, "array", 1)
        and values.dtype.kind in "iuf"
        and values.dtype != np.float16
        and len(ends) == math.prod(shape) + 1
    )


def write_lists(group: Any, made: Any, name: str, kind: Any, dims: list[str]) -> Any:
    """Write such a group as a variable, and return that.

    Parameters
    ----------
    made : netCDF4.Group
        In which it is made.
    kind : netCDF4.VLType
    dims : list of str
    """
    shape, ends = group.attrs["NETCDF"]["ragged"], group["offsets"][:]
    variable = made.createVariable(name, kind, dims)
    per_row = math.prod(shape[1:])
    rows = max(1, (1 << 16) // max(1, per_row))
    for first in range(0, shape[0], rows):
        stop = min(first + rows, shape[0])
        at = ends[first * per_row : stop * per_row + 1]
        flat = group["values"][int(at[0]) : int(at[-1])].astype(kind.dtype)
        cells = np.empty(len(at) - 1, object)
        for k, cell in enumerate(np.split(flat, at[1:-1] - at[0])):
            cells[k] = cell
        variable[first:stop] = cells.reshape(stop - first, *shape[1:])
    return variable
