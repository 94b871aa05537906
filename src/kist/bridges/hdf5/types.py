"""h5py's dtypes as those of kist."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import kist
from kist.bridges.base import TEXT, as_dtype
from kist.bridges.categories import enum_dtype

__all__ = ["Leaf", "Plan", "leaves_of", "plan_of", "plain"]

DType = np.dtype[Any]


@dataclass
class Leaf:
    """One scalar type within a dtype.

    Attributes
    ----------
    path : tuple of str
        Names of the fields that lead to it; empty for a dtype without fields.
    what : str
        ``"plain"``, ``"enum"``, ``"text"``, ``"reference"``, ``"region"``, ``"ragged"`` or
        ``"unknown"``.
    dtype : dtype
        As h5py says it.
    shape : tuple of int
        Of a sub-array.
    """

    path: tuple[str, ...]
    what: str
    dtype: DType
    shape: tuple[int, ...] = ()


@dataclass
class Plan:
    """How the values of an HDF5 type are stored.

    Attributes
    ----------
    dtype : dtype
        For kist; of a compound without the fields that cannot come over. May hold `TEXT` only on
        its own.
    leaves : list of Leaf
        All of them, those left out too.
    columns : dict of str to dtype, or None
        Fields of a table that has text, enumerations or cells among its columns.
    facts : dict
        For the attribute ``HDF5``.
    special : dict of str to dtype
        Columns of enumerated values and of cells.
    """

    dtype: DType | None
    leaves: list[Leaf]
    columns: dict[str, DType] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    special: dict[str, DType] = field(default_factory=dict)


def leaves_of(h5py: Any, dtype: DType, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Yield the scalar types within a dtype."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        for leaf in leaves_of(h5py, base, path):
            leaf.shape = (*shape, *leaf.shape)
            yield leaf
    elif dtype.names is not None:
        for name in dtype.names:
            yield from leaves_of(h5py, dtype[name], (*path, name))
    else:
        yield Leaf(path, _what(h5py, dtype), dtype)


def _what(h5py: Any, dtype: DType) -> str:
    if dtype.kind != "O":
        return "plain" if h5py.check_enum_dtype(dtype) is None else "enum"
    if h5py.check_string_dtype(dtype) is not None:
        return "text"
    reference = h5py.check_ref_dtype(dtype)
    if reference is not None:
        return "reference" if reference is h5py.Reference else "region"
    return "ragged" if h5py.check_vlen_dtype(dtype) is not None else "unknown"


def plain(dtype: DType) -> DType:
    """Return a dtype without what h5py writes into its metadata."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return as_dtype((plain(base), shape))
    if dtype.names is not None:
        return _struct({name: plain(dtype[name]) for name in dtype.names}, dtype)
    return as_dtype(dtype.str)


def _struct(fields: dict[str, DType], like: DType) -> DType:
    """Return a structured dtype, with the offsets of another if these are the same fields."""
    names = list(fields)
    formats = list(fields.values())
    found = like.fields
    same = found is not None and all(fields[n].itemsize == found[n][0].itemsize for n in names)
    if found is None or not same or tuple(names) != like.names:
        return as_dtype(list(zip(names, formats, strict=True)))
    offsets = [found[n][1] for n in names]
    spec: Any = {
        "names": names, "formats": formats, "offsets": offsets, "itemsize": like.itemsize,
    }  # fmt: skip
    return as_dtype(spec)


def plan_of(h5py: Any, dtype: DType, widths: dict[tuple[str, ...], int], table: bool) -> Plan:
    """Return how values of an HDF5 type are stored.

    Parameters
    ----------
    dtype : dtype
        As h5py says it.
    widths : dict
        Bytes of the longest text of each leaf that cannot be of any length.
    table : bool
        Whether these are rows of a table, whose columns may be text, enumerations and cells.
    """
    leaves = list(leaves_of(h5py, dtype))
    enums = {
        ".".join(leaf.path): {
            str(name): int(value) for name, value in h5py.check_enum_dtype(leaf.dtype).items()
        }
        for leaf in leaves
        if leaf.what == "enum"
    }
    facts: dict[str, Any] = {"enum": enums} if enums else {}
    references = [".".join(leaf.path) for leaf in leaves if leaf.what == "reference"]
    if references:
        facts["reference"] = references
    if not table:
        return Plan(_stored(h5py, dtype, (), widths, top=True), leaves, None, facts)
    columns, special = {}, {}
    for name in dtype.names or ():
        found = _special(h5py, dtype[name])
        if found is None:
            found = _stored(h5py, dtype[name], (name,), widths, top=True)
        else:
            special[name] = found
        if found is not None:
            columns[name] = found
    bases = {name: dtype[name].str for name in special if name in enums}
    if bases:
        left = {name: found for name, found in enums.items() if name not in bases}
        facts |= {"enum_base": bases, "enum": left}
    if special or any(found.char == "T" for found in columns.values()):
        return Plan(TEXT, leaves, columns, facts, special)
    return Plan(_struct(columns, dtype) if columns else None, leaves, None, facts)


def _special(h5py: Any, dtype: DType) -> DType | None:
    """Return the dtype of a column of enumerated values, or of arrays of different lengths."""
    if dtype.subdtype is not None or dtype.names is not None:
        return None
    what = _what(h5py, dtype)
    if what == "enum":
        names = h5py.check_enum_dtype(dtype)
        found: DType | None = enum_dtype({str(name): int(n) for name, n in names.items()})
        return found
    if what == "ragged":
        items = np.dtype(h5py.check_vlen_dtype(dtype))
        return None if items.hasobject or not items.itemsize else kist.ragged(plain(items))
    return None


def _stored(
    h5py: Any, dtype: DType, path: tuple[str, ...], widths: dict[tuple[str, ...], int], top: bool
) -> DType | None:
    """Return the dtype that kist keeps for a type; None where it cannot."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        found = _stored(h5py, base, path, widths, top=False)
        return None if found is None else np.dtype((found, shape))
    if dtype.names is not None:
        fields = {}
        for name in dtype.names:
            found = _stored(h5py, dtype[name], (*path, name), widths, top=False)
            if found is not None:
                fields[name] = found
        return _struct(fields, dtype) if fields else None
    what = _what(h5py, dtype)
    if what in ("plain", "enum"):
        return as_dtype(dtype.str)
    if what in ("text", "reference"):
        return TEXT if top else np.dtype(f"S{max(1, widths.get(path, 1))}")
    return None
