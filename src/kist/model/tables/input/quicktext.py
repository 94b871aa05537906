"""Rows with text that come one by one as tuples or dicts: packed as a piece, without arrays.

docs/format.md, "Pieces with strings", gives the bytes. Blocks of strings are stored without a codec
here: of some rows it would save less than it costs.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

import numpy as np

from kist.codecs.rawrows import pack_rows
from kist.codecs.strings import BLOCK_HEAD
from kist.codecs.strings import MISSING as SOME_MISSING
from kist.format.dtypes import is_string_dtype
from kist.format.layout import MAX_INLINE
from kist.model.tables.input.quick import FEW, RowPacker, packer_for
from kist.model.tables.stored.schema import SchemaFacts

__all__ = ["TextPacker", "text_packer_of"]

_LENGTH = struct.Struct("<I")


class TextPacker:
    """Packs rows of numbers and text, and tells which are to be looked at more closely.

    Parameters
    ----------
    names : list of str
        The columns in the order of rows.
    fixed : RowPacker or None
        Of the columns without text, in the order in which they are stored.
    texts : list of (str, bool)
        The others in that order, and whether None may stand for a missing value.
    """

    __slots__ = ("_fixed", "_fixed_at", "_names", "_texts")

    def __init__(
        self, names: list[str], fixed: RowPacker | None, texts: list[tuple[str, bool]]
    ) -> None:
        self._names = names
        self._fixed = fixed
        self._fixed_at = [names.index(name) for name in fixed.dtype.names or ()] if fixed else []
        self._texts = [(names.index(name), may_miss) for name, may_miss in texts]

    def piece(self, data: Any) -> tuple[int, bytes] | None:
        """Return number of rows and piece of one row or a few; None as `RowPacker.records`."""
        rows = data if type(data) is list else [data]
        if not 0 < len(rows) <= FEW:
            return None
        names, n_names = self._names, len(self._names)
        given = []
        for row in rows:
            if type(row) is dict and len(row) == n_names:
                row = tuple([row.get(name, self) for name in names])  # itself is no value
            if type(row) is not tuple or len(row) != n_names:
                return None
            given.append(row)
        parts = [b""]
        if self._fixed is not None:
            packed = [self._fixed.pack(tuple([row[at] for at in self._fixed_at])) for row in given]
            if None in packed:
                return None
            parts[0] = pack_rows(len(given), b"".join(packed))  # type: ignore[arg-type]
        for at, may_miss in self._texts:
            block = _block([row[at] for row in given], may_miss)
            if block is None:
                return None
            parts.append(block)
        return len(given), b"".join([x for part in parts for x in (_LENGTH.pack(len(part)), part)])


def _block(values: list[Any], may_miss: bool) -> bytes | None:
    """Return a block of strings; None where a value is no str, or they are long."""
    kinds = set(map(type, values))
    missing = b""
    if kinds != {str}:
        if not may_miss or not kinds <= {str, type(None)}:
            return None
        where = np.array([value is None for value in values])
        missing = np.packbits(where, bitorder="little").tobytes()
        values = ["" if value is None else value for value in values]
    if sum(map(len, values)) > MAX_INLINE:
        return None  # as it will be too long, it need not be encoded
    try:
        texts = [value.encode() for value in values]
    except UnicodeEncodeError:
        return None
    lengths = list(map(len, texts))
    longest = max(lengths)
    log_width = 0 if longest < 1 << 8 else 1 if longest < 1 << 16 else 2
    body = b"".join((missing, struct.pack(f"<{len(texts)}{'BHI'[log_width]}", *lengths), *texts))
    return BLOCK_HEAD.pack(log_width << 4 | (SOME_MISSING if missing else 0), len(body)) + body


@lru_cache(maxsize=64)
def text_packer_of(facts: SchemaFacts) -> TextPacker | None:
    """Return what packs rows of a table with text; None where a column is more than one value."""
    schema = facts.schema
    leaves = facts.rows.leaves
    if facts.nullable or facts.categorical or len(leaves) != len(schema.columns):
        return None
    names = [column.name for column in schema.columns]
    if any(leaf.shape or len(leaf.path) != 1 or leaf.path[0] not in names for leaf in leaves):
        return None
    texts = []
    for leaf in facts.rows.loose:
        if not is_string_dtype(leaf.dtype):
            return None
        na: Any = getattr(leaf.dtype, "na_object", "")
        texts.append((leaf.path[0], not isinstance(na, str)))
    fixed = np.dtype([(leaf.path[0], leaf.dtype) for leaf in leaves if not leaf.is_loose])
    packer = packer_for(fixed)
    if fixed.names and (packer is None or packer.dtype != fixed):  # such as big-endian ones
        return None
    return TextPacker(names, packer, texts)
