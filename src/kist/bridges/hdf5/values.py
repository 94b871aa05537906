"""What h5py returns, as arrays that kist takes: text, references and compounds with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kist.bridges.base import TEXT

__all__ = ["Texts", "to_stored"]

Array = np.ndarray[Any, Any]


class Texts:
    """Makes text of the objects that h5py returns for it, and of references.

    Parameters
    ----------
    file : h5py.File
        In which references lead somewhere.
    note : callable
        Is given ``"hdf5.not_text"`` once when a text is not UTF-8, and ``"hdf5.dangling"`` once
        when a reference leads nowhere.
    """

    def __init__(self, file: Any, note: Callable[[str], None]) -> None:
        self._file = file
        self._note = note
        self._told: set[str] = set()

    def text(self, value: Any) -> str:
        """Return one text; bytes that are not UTF-8 become escapes."""
        if isinstance(value, bytes):
            try:
                return value.decode()
            except UnicodeDecodeError:
                self._tell("hdf5.not_text")
                return value.decode("utf-8", "backslashreplace")
        if isinstance(value, str):
            return value
        return self.path(value)

    def path(self, reference: Any) -> str:
        """Return the path of what a reference leads to, empty text for a null reference."""
        if not reference:
            return ""
        try:
            name = self._file[reference].name
        except (ValueError, KeyError):
            name = None  # what it led to was deleted
        if name is None:
            self._tell("hdf5.dangling")
        return str(name or "")

    def _tell(self, code: str) -> None:
        if code not in self._told:
            self._told.add(code)
            self._note(code)

    def array(self, values: Any) -> Array:
        """Return an array of objects as one of text."""
        found = np.asarray(values, dtype=object)
        texts = list(map(self.text, found.reshape(-1).tolist()))
        return np.array(texts, TEXT).reshape(found.shape)

    def fixed(self, values: Any, width: int) -> Array:
        """Return an array of objects as bytes of one width."""
        found = np.asarray(values, dtype=object)
        texts = [self.text(value).encode() for value in found.reshape(-1).tolist()]
        return np.array(texts, f"S{width}").reshape(found.shape)


def to_stored(values: Array, dtype: np.dtype[Any], texts: Texts) -> Array:
    """Return an array as h5py reads it in the dtype of a `Plan`."""
    if dtype.subdtype is not None:
        dtype = dtype.base
    if dtype.char == "T":
        return values if values.dtype.char == "T" else texts.array(values)
    if dtype.names is not None:
        if not values.dtype.hasobject and values.dtype == dtype:
            return values
        out = np.zeros(values.shape, dtype)
        for name in dtype.names:
            out[name] = to_stored(values[name], dtype[name], texts)
        return out
    if dtype.kind == "U":
        return np.strings.decode(values, "utf-8").astype(dtype)  # kist wrote it
    if values.dtype.kind == "O":
        return texts.fixed(values, dtype.itemsize)
    return values
