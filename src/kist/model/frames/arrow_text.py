"""Arrow's text as `StringDType`, from the bytes that Arrow keeps, without a `str` each."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kist.codecs.strings import StringBlock, fill
from kist.errors import CodecError, DTypeError

__all__ = ["STRINGS", "text_values"]

Array = np.ndarray[Any, Any]

STRINGS: np.dtype[Any] = np.dtypes.StringDType(na_object=None)
"""Text of any length, in which None is missing."""

_BLOCK: Final = 8192
"""Values made at once: their bytes, padded to one width, stay in the cache."""


def text_values(array: Any) -> Array:
    """Return an Arrow array of text as one of `StringDType`; nulls are missing.

    Parameters
    ----------
    array : pyarrow.StringArray, LargeStringArray or StringViewArray

    Raises
    ------
    DTypeError
        Arrow takes bytes for text without a look at them, and these are none.
    """
    import pyarrow as pa

    if str(array.type) == "string_view":
        array = array.cast(pa.large_string())
    _, offsets, data = array.buffers()
    if not len(array) or offsets is None or data is None:
        return _by_objects(array)
    width = 8 if str(array.type) == "large_string" else 4
    ends = np.frombuffer(offsets, f"<i{width}", len(array) + 1, array.offset * width)
    raw = np.frombuffer(data, np.uint8)
    if ends[0] < 0 or ends[-1] > len(raw) or (ends[1:] < ends[:-1]).any():
        return _by_objects(array)
    null = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    out = np.empty(len(array), STRINGS)
    try:
        for start in range(0, len(out), _BLOCK):
            some = slice(start, start + _BLOCK)
            _fill(ends[start : start + _BLOCK + 1], raw, null, some, out[some])
    except CodecError:
        return _by_objects(array)
    return out


def _fill(ends: Array, raw: Array, null: Array | None, some: slice, out: Array) -> None:
    """Make the values between these ends."""
    first, last = int(ends[0]), int(ends[-1])
    starts = ends[:-1].astype(np.int64) - first
    lengths = np.diff(ends).astype(np.int64)
    missing = None if null is None else null[some]
    if missing is not None:
        lengths[missing] = 0
    fill(StringBlock(starts, lengths, missing, raw[first:last]), out)


def _by_objects(array: Any) -> Array:
    """Return the same by way of one `str` for each value, if there is nothing wrong with them."""
    import pyarrow as pa

    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DTypeError(f"text that is none: {error}") from error
    return np.asarray(array.to_numpy(zero_copy_only=False).astype(STRINGS))
