"""What Zarr and NetCDF need alike: text without gaps, and key stores as groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from kist.bridges.base import Job
from kist.errors import ConversionError

__all__ = ["full_text", "split_keystore"]

Array = np.ndarray[Any, Any]


def full_text(job: Job, code: str, values: Array, place: str) -> Array:
    """Return values; of text the empty one where it is missing, with a note of that code."""
    if values.dtype.char != "T":
        return values
    texts = values.astype(object)
    flat = texts.reshape(-1)
    missing = [at for at, text in enumerate(flat.tolist()) if type(text) is not str]
    if missing:
        job.note(code, f"{place} ({len(missing):,} of {flat.size:,})")
        flat[missing] = ""
    return texts.astype(np.dtypes.StringDType())


def split_keystore(store: Any) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays in a key store, and all else with its attributes, by name.

    Raises
    ------
    ConversionError
        Two keys would have the same name, as 1 and "1".
    """
    attrs = dict(store.attrs)
    arrays: dict[str, Array] = {}
    for key, value in store.items():
        text = key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)
        name = text.replace("%", "%25").replace("/", "%2F")
        if name in arrays or name in attrs or name in (".", "..", ""):
            raise ConversionError(f"{store.name}: key {key!r} has no name of its own in a group")
        if isinstance(value, np.ndarray) and value.ndim and value.dtype.kind in "iuf":
            arrays[name] = value
        else:
            attrs[name] = value
    return arrays, attrs
