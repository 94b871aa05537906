"""What a node was in a file of PyTables, made again: its class, its filters, its atoms.

Facts are those that the way in kept in the attribute ``HDF5``; anybody may have written others,
so that whatever makes no sense is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from kist.bridges.base import BLOCK_ROWS, Job

__all__ = ["Before", "make_array", "make_link", "make_ragged"]

_LIBRARIES: Final = {1: "zlib", 305: "lzo", 307: "bzip2", 32001: "blosc", 32026: "blosc2"}
_COMPRESSORS: Final = ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd")
"""Of Blosc, by the numbers that it gives them."""
_SHUFFLE: Final = 2
_FLETCHER32: Final = 3


class Before:
    """What is known of a node that PyTables wrote once.

    Attributes
    ----------
    name : str
        Its class in capitals, as ``"EARRAY"``; empty where PyTables did not write it.
    times : list of str
        Columns of times; ``""`` for an array of them.
    enums, bases : dict
        Names and numbers, and the dtype of the numbers, by column; of an array under ``""``.
    fields : list of str
        Attributes of columns, ``"column.name"``, whose names were not as PyTables gives them.
    """

    def __init__(self, node: Any) -> None:
        facts = node.attrs.get("HDF5")
        self.facts: Mapping[str, Any] = facts if isinstance(facts, dict) else {}
        own = self._dict("pytables")
        self.name = str(own.get("CLASS", ""))
        self.own = own
        self.times = _texts(own.get("times"))
        self.fields = _texts(own.get("fields"))
        self.enums, self.bases = self._dict("enum"), self._dict("enum_base")

    def _dict(self, name: str) -> dict[str, Any]:
        found = self.facts.get(name)
        return found if isinstance(found, dict) else {}

    def filters(self, tables: Any) -> Any:
        """Return its filters; None where they are those of the file."""
        filters = self.facts.get("filters")
        if not self.name:
            return None
        found: dict[str, Any] = {"complevel": 0, "shuffle": False}
        for entry in filters if isinstance(filters, list) else ():
            code, options = entry if isinstance(entry, list) and len(entry) == 2 else (0, [])
            if code == _SHUFFLE:
                found["shuffle"] = True
            elif code == _FLETCHER32:
                found["fletcher32"] = True
            elif code in _LIBRARIES:
                found |= _compressor(_LIBRARIES[code], options)
        try:
            return tables.Filters(**found)
        except (ValueError, TypeError):  # a library that is not there
            return None

    def chunks(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of its chunks, if it still has so many axes."""
        found = self.facts.get("chunks")
        fits = isinstance(found, list) and len(found) == len(shape)
        if not fits or not all(type(n) is int and n > 0 for n in found or ()):
            return None
        return tuple(found or ())

    def atom(self, tables: Any, dtype: Any) -> Any:
        """Return the atom of an array: of names, of times, or of plain values."""
        names = self.enums.get("")
        if isinstance(names, dict) and names and dtype.base.kind in "iu":
            enum, base = tables.Enum(names), tables.Atom.from_dtype(np.dtype(dtype.base))
            return tables.EnumAtom(enum, next(iter(names)), base, shape=dtype.shape)
        time = self.time(tables, "", dtype, "Atom")
        return tables.Atom.from_dtype(dtype) if time is None else time(shape=dtype.shape)

    def time(self, tables: Any, path: str, dtype: Any, what: str) -> Any:
        """Return the class of times of a column or an array; None where it has none."""
        widths = {"f8": f"Time64{what}", "i4": f"Time32{what}"}
        name = widths.get(dtype.base.newbyteorder("=").str[1:]) if path in self.times else None
        return None if name is None else getattr(tables, name)


def _texts(found: Any) -> list[str]:
    return [item for item in found if type(item) is str] if isinstance(found, list) else []


def _compressor(library: str, options: Any) -> dict[str, Any]:
    """Return library and level of a filter, by what HDF5 was told of it."""
    if not library.startswith("blosc"):
        return {"complib": library, "complevel": int(options[0]) if options else 1}
    found: dict[str, Any] = {"complib": library, "complevel": 5}
    if len(options) > 5:
        found |= {"complevel": int(options[4]), "shuffle": options[5] == 1}
        found["bitshuffle"] = options[5] == 2
    if len(options) > 6 and 0 <= options[6] < len(_COMPRESSORS):
        found["complib"] = f"{library}:{_COMPRESSORS[options[6]]}"
    return found


def make_array(
    file: Any,
    tables: Any,
    before: Before,
    parent: Any,
    name: str,
    dtype: Any,
    shape: Any,
    title: str,
) -> Any:
    """Make an array of the class that it had, of one shape and without values yet."""
    atom, filters, chunks = before.atom(tables, dtype), before.filters(tables), before.chunks(shape)
    axis = before.own.get("EXTDIM", 0)
    if before.name == "EARRAY" and type(axis) is int and 0 <= axis < len(shape):
        start = tuple(0 if at == axis else n for at, n in enumerate(shape))
        made = file.create_earray(
            parent, name, atom, start, title, filters, shape[axis], chunkshape=chunks
        )
        made.truncate(shape[axis])
        return made
    if before.name == "ARRAY":
        return file.create_array(parent, name, title=title, atom=atom, shape=shape)
    return file.create_carray(parent, name, atom, shape, title, filters, chunks)


def make_ragged(
    job: Job, file: Any, tables: Any, group: Any, parent: Any, name: str, title: str
) -> Any:
    """Write values and offsets as the array of rows of any length that they were."""
    before = Before(group)
    values, ends = group["values"], group["offsets"][:]
    dtype = np.dtype((values.dtype.newbyteorder("="), values.shape[1:]))
    made = file.create_vlarray(
        parent, name, before.atom(tables, dtype), title, before.filters(tables)
    )
    for start in range(0, len(ends) - 1, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, len(ends) - 1)
        part = values[int(ends[start]) : int(ends[stop])]
        for row in np.split(part, ends[start + 1 : stop] - ends[start]):
            made.append(row.astype(dtype.base, copy=False))
        job.advance(part.nbytes)
    kind = before.own.get("PSEUDOATOM")
    if kind in ("vlstring", "object") and values.dtype == "u1":
        made.attrs.PSEUDOATOM = kind
    job.report.n_arrays += 1
    return made


def make_link(file: Any, path: str, link: dict[str, Any]) -> bool:
    """Make a link of which the attribute of a group told; False where that cannot be."""
    parent, _, name = path.rpartition("/")
    if path in file:
        return True
    if isinstance(link.get("soft"), str):
        file.create_soft_link(parent or "/", name, link["soft"])
    elif isinstance(link.get("external"), list) and len(link["external"]) == 2:
        file.create_external_link(parent or "/", name, ":".join(map(str, link["external"])))
    elif link.get("hard") in file:
        file.create_hard_link(parent or "/", name, link["hard"])
    else:
        return False
    return True
