"""Arrow's text as `StringDType`, from the bytes that Arrow keeps, without a `str` each."""

from __future__ import annotations

from typing import Any

import numpy as np

from kist.codecs.utf8 import STRINGS, Utf8
from kist.errors import CodecError, DTypeError

__all__ = ["STRINGS", "text_values", "utf8_of"]

Array = np.ndarray[Any, Any]


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
    found = utf8_of(array)
    return found.array() if isinstance(found, Utf8) else found


def utf8_of(array: Any) -> Utf8 | Array:
    """Return the same without making strings, where they stand one behind the other.

    Raises
    ------
    DTypeError
        As `text_values`.
    """
    import pyarrow as pa

    if str(array.type) == "string_view":
        array = array.cast(pa.large_string())
    _, offsets, data = array.buffers()
    if not len(array) or offsets is None or data is None:
        return _by_objects(array)
    width = 8 if str(array.type) == "large_string" else 4
    ends = np.frombuffer(offsets, f"<i{width}", len(array) + 1, array.offset * width)
    null = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    try:
        return Utf8.of(ends, null, np.frombuffer(data, np.uint8))
    except CodecError:  # perhaps nothing but bytes below nulls
        return _by_objects(array)


def _by_objects(array: Any) -> Array:
    """Return the same by way of one `str` for each value, if there is nothing wrong with them."""
    import pyarrow as pa

    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DTypeError(f"text that is none: {error}") from error
    return np.asarray(array.to_numpy(zero_copy_only=False).astype(STRINGS))
