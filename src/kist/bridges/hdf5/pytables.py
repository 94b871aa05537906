"""What PyTables adds to HDF5: its classes, names of fields in attributes, booleans, times."""

from __future__ import annotations

import io
import pickletools
import re
from typing import Any, Final

import numpy as np

from kist.bridges.base import as_dtype

__all__ = ["dtype_of", "is_index", "is_pickle", "split_columns", "times_of", "wrote"]

_FIELD: Final = re.compile(r"FIELD_(\d+)_(.+)")
_OWN: Final = {
    "CLASS", "VERSION", "FLAVOR", "EXTDIM", "NROWS", "AUTOINDEX", "PSEUDOATOM",
    "PYTABLES_FORMAT_VERSION", "FILTERS",
}  # fmt: skip


def wrote(file: Any) -> bool:
    """Tell whether PyTables wrote a file."""
    return "PYTABLES_FORMAT_VERSION" in file.attrs


def is_index(node: Any) -> bool:
    """Tell whether a group holds the indexes of a table."""
    return bool(node.attrs.get("CLASS") == b"TINDEX")


def is_pickle(data: bytes) -> bool:
    """Tell whether bytes are a pickled object, without running any of it.

    Numbers and text that happen to be valid pickles of protocol 0 are short; those of the
    protocols that PyTables has used for twenty years begin with a mark.
    """
    if not data.endswith(b".") or data[:1] not in b"\x80(cIVSFLN":
        return False
    try:
        for _ in pickletools.genops(io.BytesIO(data)):
            pass
    except (ValueError, IndexError, UnicodeError):
        return False
    return True


def split_columns(
    attrs: dict[str, Any], dtype: np.dtype[Any] | None, table: bool
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Return attributes of the node, those of its columns, fill values of these, and facts.

    Parameters
    ----------
    attrs : dict
        As they stand in the file.
    dtype : dtype, optional
        Of the rows.
    table : bool
        Whether these are attributes of a table.
    """
    own: dict[str, Any] = {}
    by_column: dict[str, dict[str, Any]] = {}
    fills: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    if attrs.get("FLAVOR") in (b"numpy", "numpy"):
        attrs = {name: value for name, value in attrs.items() if name != "FLAVOR"}
    columns: dict[int, str] = {}
    for at, name in enumerate((dtype.names if dtype is not None else None) or ()):
        if dtype is None or dtype[name].names is not None:
            break  # PyTables counts the fields within it too, and names none of them
        columns[at] = name
    # Fill values are counted by themselves: columns without fields come first.
    filled = [n for n in (dtype.names if dtype is not None else None) or ()
              if dtype is not None and dtype[n].names is None]  # fmt: skip
    for name, value in attrs.items():
        match = _FIELD.fullmatch(name) if table else None
        if match is None:
            if name in ("CLASS", "PSEUDOATOM", "FLAVOR"):
                facts[name] = _text(value)
            elif name == "EXTDIM" and np.ndim(value) == 0:
                facts[name] = int(value)
            elif name not in _OWN and (name != "TITLE" or len(value)):
                own[name] = _text(value)
            continue
        column = columns.get(int(match[1]))
        if match[2] == "FILL":
            column = filled[int(match[1])] if int(match[1]) < len(filled) else None
            if dtype is not None and column is not None and dtype[column].subdtype is None:
                fills[column] = value
        elif match[2] != "NAME" and column is not None:
            key = match[2].removeprefix("ATTR_")
            by_column.setdefault(column, {})[key] = _text(value)
            if key == match[2]:  # written by a user: PyTables puts its own word before it
                facts.setdefault("fields", []).append(f"{column}.{key}")
        elif match[2] != "NAME":
            own[name] = _text(value)
    return own, by_column, fills, {"pytables": facts} if facts else {}


def _text(value: Any) -> Any:
    """Return text that PyTables stored as bytes."""
    if isinstance(value, np.bytes_) and not is_pickle(value):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def times_of(h5py: Any, kind: Any, path: str = "") -> list[str]:
    """Return the paths of the times in a type, ``""`` for a type that is one."""
    found = kind.get_class()
    if found == h5py.h5t.TIME:
        return [path]
    if found == h5py.h5t.ARRAY:
        return times_of(h5py, kind.get_super(), path)
    if found != h5py.h5t.COMPOUND:
        return []
    times = []
    for at in range(kind.get_nmembers()):
        name = kind.get_member_name(at).decode()
        times += times_of(h5py, kind.get_member_type(at), f"{path}.{name}" if path else name)
    return times


def dtype_of(h5py: Any, kind: Any) -> np.dtype[Any]:
    """Return the dtype of a type, with bool and times where PyTables means them.

    PyTables writes bool as a bit field of 8 bits, and times as HDF5's time type, which h5py does
    not read.

    Parameters
    ----------
    kind : h5py.h5t.TypeID
    """
    found = kind.get_class()
    if found == h5py.h5t.TIME:
        return as_dtype("i4" if kind.get_size() == 4 else "f8")
    if found == h5py.h5t.BITFIELD and kind.get_size() == 1:
        return as_dtype("?")
    if found == h5py.h5t.ARRAY:
        return as_dtype((dtype_of(h5py, kind.get_super()), kind.get_array_dims()))
    if found != h5py.h5t.COMPOUND:
        return as_dtype(kind.dtype)
    count = range(kind.get_nmembers())
    names = [kind.get_member_name(at).decode() for at in count]
    if names == ["r", "i"] and kind.dtype.kind == "c":
        return as_dtype(kind.dtype)
    spec: Any = {
        "names": names,
        "formats": [dtype_of(h5py, kind.get_member_type(at)) for at in count],
        "offsets": [kind.get_member_offset(at) for at in count],
        "itemsize": kind.get_size(),
    }
    return as_dtype(spec)
