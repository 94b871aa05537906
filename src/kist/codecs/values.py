"""The plain form that values of a dtype take before the first stage.

Stages know only little-endian integers and floats of 1 to 8 bytes, and items of any other
size as opaque bytes. The form is a view of the values wherever their layout allows it.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kist.errors import CodecError

_WORDS = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}
_STORED_ORDERS = "<|=" if sys.byteorder == "little" else "<|"


@lru_cache(maxsize=256)
def form_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The form of values of `dtype`.

    Bool is ``<u1``; integers and floats of up to 8 bytes are themselves; datetime64 and
    timedelta64 are ``<i8``; complex numbers, long doubles, S, U and V are ``V`` of their size.

    Raises
    ------
    CodecError
        The values are Python objects or variable in length.
    """
    kind, size = dtype.kind, dtype.itemsize
    if kind == "b":
        return np.dtype("u1")
    if kind in "iu" or (kind == "f" and size in (2, 4, 8)):
        return np.dtype(f"<{kind}{size}")
    if kind in "mM":
        return np.dtype("<i8")
    if kind in "fcSUV" and not dtype.hasobject:
        return np.dtype(f"V{size}")
    raise CodecError(f"values of dtype {dtype} cannot be encoded as fixed-size items")


def is_stored_order(dtype: np.dtype[Any]) -> bool:
    """Whether the bytes of `dtype` stand in memory as they are stored (little-endian)."""
    # Not by comparing dtypes: NumPy 2.4 finds timedelta64 of either order equal.
    return dtype.byteorder in _STORED_ORDERS or dtype.kind == "V"


def to_form(values: NDArray[Any]) -> NDArray[Any]:
    """1-d values in their form, contiguous; a view of `values` where possible.

    Raises
    ------
    CodecError
        `values` has another rank, or a dtype without a form.
    """
    if values.ndim != 1:
        raise CodecError(f"a page is one-dimensional, these values are {values.ndim}-d")
    form = form_of(values.dtype)
    if values.itemsize == 0:
        # NumPy cannot make arrays of no bytes, except as views.
        return np.ndarray(values.size, form, b"")
    if values.dtype.byteorder not in _STORED_ORDERS:
        values = _without_unit(values)
        if not is_stored_order(values.dtype):
            values = values.byteswap()
    found: NDArray[Any] = np.ascontiguousarray(values).view(form)
    if values.dtype.kind == "b" and found.size and found.max() > 1:
        # Of a view of other bytes: NumPy takes all but 0 for true, and pages hold 0 and 1.
        found = (found != 0).view(form)
    return found


def target_of(out: NDArray[Any]) -> NDArray[Any] | None:
    """`out` in its form, when results can be written there directly; else None."""
    dtype = out.dtype
    if out.flags.c_contiguous and (dtype.byteorder in _STORED_ORDERS or dtype.kind == "V"):
        return out.view(form_of(dtype))
    return None


def store(result: NDArray[Any], out: NDArray[Any]) -> None:
    """Copy values in their form into `out`, whatever its strides and byte order."""
    out = _without_unit(out)
    values = result.view(out.dtype)
    out[...] = values if is_stored_order(out.dtype) else values.byteswap()


def _without_unit(values: NDArray[Any]) -> NDArray[Any]:
    """Dates and durations as integers: NumPy 2.4 swaps the bytes of some when it copies."""
    if values.dtype.kind in "mM":
        return values.view(np.dtype("i8").newbyteorder(values.dtype.byteorder))
    return values


def as_words(items: NDArray[Any]) -> NDArray[Any] | None:
    """Items of 1, 2, 4 or 8 bytes as unsigned integers: equal bytes are equal words."""
    words = _WORDS.get(items.itemsize)
    return None if words is None else items.view(words)


def changes(items: NDArray[Any]) -> NDArray[np.bool_]:
    """Where an item differs from the one before it, bit by bit; one shorter than `items`."""
    words = as_words(items)
    if words is not None:
        unequal: NDArray[np.bool_] = words[1:] != words[:-1]
        return unequal
    rows = items.view(np.uint8).reshape(items.size, items.itemsize)
    different: NDArray[np.bool_] = (rows[1:] != rows[:-1]).any(axis=1)
    return different


def is_constant(items: NDArray[Any]) -> bool:
    """Whether all items have the same bytes. Cheap when they do not."""
    words = as_words(items)
    if words is None:
        words = items.view(np.uint8).reshape(items.size, items.itemsize)
    elif words[0] != words[-1]:  # decides nearly always where values grow or walk
        return False
    return all(bool((part == words[0]).all()) for part in (words[:64], words))
