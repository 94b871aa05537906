"""Indexes of tables: which there are, and what their runs say of themselves.

Nothing of them is needed to read the rows.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from kist_pages import Page
from kist_types import Array, Cursor, Damage, Schema, Unknown, read_dtype

if TYPE_CHECKING:
    from kist_store import Entry, Store

MOST_ROWS = 1 << 24
DIRTY_ROWS = 8_192


@dataclass
class Run:
    """Row ids first .. stop: their keys in order, and the row id of each."""

    first: int
    stop: int
    keys: Array
    rows: Array
    dirty: bytes


@dataclass
class Index:
    """One index; no runs where they do not count."""

    name: str
    columns: list[str]
    unique: bool
    runs: list[Run]


def read_indexes(
    store: Store, entries: Mapping[bytes, Entry], schema: Schema, stamp: bytes, fields: Any = None
) -> list[Index]:
    """The indexes in the I records of a table whose tail has a stamp."""
    state = entries.get(b"\0\0\0\0")
    if state is None:
        return []
    cursor = Cursor(state.payload, "index state")
    counts = cursor.all("8sI")[0] == stamp
    cursor.end()
    sealed = _sealed(entries, schema)
    for field in set(sealed.values()):
        own = {number for number, of in sealed.items() if of == field}
        if fields is None or not fields.holds(field, entries, own, stamp):
            sealed = {number: 0 if of == field else of for number, of in sealed.items()}
    result = []
    for rest, entry in sorted(entries.items()):
        if len(rest) != 4 or rest == b"\0\0\0\0":
            continue
        cursor = Cursor(entry.payload, "index")
        version, flags, words, n_columns = cursor.all("BBHB")
        if version != 1 or flags & ~1:
            raise Unknown(f"index of version {version}, flags {flags}")
        index = Index(cursor.text(), [], bool(flags & 1), [])
        known, total = True, 0
        for _ in range(n_columns):
            number, n = cursor.all("IH")
            dtype = read_dtype(cursor.blob()).dtype
            leaf = schema.leaves.get(number)
            known &= leaf is not None and leaf.dtype == dtype and leaf.values == 1
            total += n
            if leaf is not None:
                index.columns.append(".".join(leaf.path))
        cursor.end()
        if total != words or not words:
            raise Damage("index: words of a key")
        if not known:
            continue
        for key, run in sorted(entries.items()):
            if not counts or len(key) != 12 or key[:4] != rest or not sealed.get(rest, 1):
                continue  # of sealed columns also those for which nothing vouches
            if rest in sealed:
                pages, payload = fields.record(run, fields.keys[sealed[rest]])
            else:
                pages = [(store.body(pointer), pointer.head) for pointer in run.pointers]
                payload = run.payload
            index.runs.append(read_run(pages, payload, struct.unpack(">Q", key[4:])[0], words))
        for one, other in zip(index.runs, index.runs[1:], strict=False):
            if one.stop > other.first:
                raise Damage("index: runs overlap")
        result.append(index)
    return result


def _sealed(entries: Mapping[bytes, Entry], schema: Schema) -> dict[bytes, int]:
    """The field of each index that has a leaf of one."""
    found = {}
    for rest, entry in entries.items():
        if len(rest) == 4 and rest != b"\0\0\0\0":
            cursor = Cursor(entry.payload, "index")
            n_columns = cursor.all("BBHB")[3]
            cursor.text()
            for _ in range(n_columns):
                leaf = cursor.all("IH")[0]
                cursor.blob()
                if schema.fields.get(leaf):
                    found[rest] = schema.fields[leaf]
    return found


def read_run(stored: list[tuple[bytes, int]], payload: bytes, first: int, words: int) -> Run:
    """One run, with all that it says of itself checked."""
    cursor = Cursor(payload, "run")
    version, stop, n = cursor.all("BQQ")
    if version != 1:
        raise Unknown(f"run of version {version}")
    dirty, n_rows = cursor.rest(), stop - first
    if not 0 < n_rows <= MOST_ROWS or n > n_rows:
        raise Damage("run: rows")
    if dirty and len(dirty) != -(-n_rows // (8 * DIRTY_ROWS)):
        raise Damage("run: dirty rows")
    if len(stored) != (words + 2 if n else 0):
        raise Damage("run: pages")
    if not n:
        return Run(first, stop, np.zeros((words, 0), np.uint64), np.zeros(0, np.uint64), dirty)
    pages = [Page(body, head) for body, head in stored]
    fences = pages[0].decode(np.dtype("<u8"))
    offsets = pages[1].decode(np.dtype("<u4"))
    keys = np.array([page.decode(np.dtype("<u8")) for page in pages[2:]])
    if keys.shape != (words, n) or len(offsets) != n:
        raise Damage("run: number of entries")
    if not np.array_equal(fences, keys[:, :: pages[2].block_values].ravel()):
        raise Damage("run: fences")
    if int(offsets.max()) >= n_rows or len(np.unique(offsets)) != n:
        raise Damage("run: row ids")
    order = np.lexsort((offsets, *keys[::-1]))
    if not np.array_equal(order, np.arange(n)):
        raise Damage("run: keys do not ascend")
    return Run(first, stop, keys, offsets + np.uint64(first), dirty)
