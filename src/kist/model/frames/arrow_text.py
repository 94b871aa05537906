"""Arrow's text as `StringDType`, from the bytes that Arrow keeps, without a `str` each."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from kist.codecs.utf8 import STRINGS, Numbered, Utf8
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
    if not len(array) or offsets is None:
        return _by_objects(array)
    width = 8 if str(array.type) == "large_string" else 4
    ends = np.frombuffer(offsets, f"<i{width}", len(array) + 1, array.offset * width)
    null = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    text = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    try:
        return Utf8.of(ends, null, text, check=_check, number=partial(_numbered, array))
    except (CodecError, pa.ArrowInvalid):  # perhaps nothing but bytes below nulls
        return _by_objects(array)


def _check(text: Array, starts: Array) -> None:
    """Raise where text is no UTF-8, or one of its strings begins within a character.

    Arrow looks at one long string in a fraction of the time that many short ones take it, and lets
    other threads run meanwhile.
    """
    import pyarrow as pa

    ends = np.array([0, len(text)], np.int64)
    whole = pa.LargeStringArray.from_buffers(1, pa.py_buffer(ends), pa.py_buffer(text))
    whole.validate(full=True)
    inside = starts[: np.searchsorted(starts, len(text))]  # empty ones at the end are not
    if (text[inside] & 0xC0 == 0x80).any():
        raise CodecError("a string that begins within a character")


def _numbered(array: Any) -> Numbered:
    """Return the distinct strings of an Arrow array, found by Arrow while other threads run."""
    found = array.dictionary_encode()
    items = utf8_of(found.dictionary)
    if not isinstance(items, Utf8):  # there are none
        none = np.zeros(0, np.int64)
        items = Utf8(none, none, None, np.empty(0, np.uint8))
    numbers = found.indices
    if numbers.null_count:
        numbers = numbers.fill_null(len(items))
    return Numbered(items, np.asarray(numbers))


def _by_objects(array: Any) -> Array:
    """Return the same by way of one `str` for each value, if there is nothing wrong with them."""
    import pyarrow as pa

    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DTypeError(f"text that is none: {error}") from error
    return np.asarray(array.to_numpy(zero_copy_only=False).astype(STRINGS))
