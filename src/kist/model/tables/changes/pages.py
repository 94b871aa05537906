"""Writing row groups as pages: choosing recipes, encoding columns in parallel, one run per group.

A recipe is chosen once per leaf from a sample of the first page and used for the pages that
follow, in later appends too: the last page's record names it. `page_build` says when it is chosen
again.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist import options
from kist.engine import Frame
from kist.engine.parallel import run
from kist.format import keys
from kist.format.layout import FRAME_PAGE
from kist.format.schema import Leaf, Schema
from kist.format.values import pack_record, unpack_record
from kist.indexes.statistics import Statistics, compute, compute_rows
from kist.model.page_build import Chosen, Page, build
from kist.model.tables.stored.records import GROUP_ROWS, PageRecord
from kist.model.tables.stored.schema import SchemaFacts, block_rows_of, facts_of
from kist.model.tables.stored.statistics import of_nullable

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.engine.fieldkeys import FieldKeys

__all__ = ["Recipes", "write_pages"]

Array = np.ndarray[Any, Any]

THREAD_VALUES: Final = 32_768
"""Pages of fewer values are encoded in the calling thread. Measured with 50 columns on two cores:
two threads take 1.1 to 1.4 times as long below 16,000 rows, 0.8 times from 49,000 on."""

_KEPT_TABLES: Final = 64


class Recipes:
    """The recipes of a table's leaves, looked up in its last pages when first asked for.

    Parameters
    ----------
    stamp : bytes
        Of the table as `txn` shows it. What was kept for it by `keep` need not be looked up.
    """

    def __init__(self, txn: Transaction, node: int, schema: Schema, stamp: bytes) -> None:
        self._txn = txn
        self._node = node
        self._schema = schema
        self._keys: dict[int, FieldKeys] = {}
        self._chosen: dict[int, Chosen | None] = dict(_kept.get((node, stamp), ()))

    def keep(self, stamp: bytes) -> None:
        """Keep what the last pages use for whoever meets that stamp next."""
        with _kept_lock:
            _kept[self._node, stamp] = self._chosen.copy()
            while len(_kept) > _KEPT_TABLES:
                _kept.popitem(last=False)

    def last(self, leaf: Leaf) -> Chosen | None:
        """Return what the last page of a leaf used, None when there is no page."""
        if leaf.id not in self._chosen:
            start, stop = keys.pages(self._node, leaf.id)
            found = next(self._txn.scan(start, stop, reverse=True), None)
            chosen = None
            if found is not None:
                pointers, payload = unpack_record(found[1])
                opened = self.keys(leaf)
                if opened is not None:
                    from kist.engine.sealedrecords import open_record

                    payload = open_record(self._txn, pointers, payload, opened.data)[1]
                record = PageRecord.unpack(payload)
                chosen = Chosen.of(record.recipe, record.bits)
            self._chosen[leaf.id] = chosen
        return self._chosen[leaf.id]

    def keys(self, leaf: Leaf) -> FieldKeys | None:
        """Return the keys under which a leaf is sealed, None for an open one."""
        field = self.facts.sealed.get(leaf.id, 0)
        if not field:
            return None
        found = self._keys.get(field)
        if found is None:
            from kist.model.tables.stored.sealing import field_keys

            found = self._keys[field] = field_keys(
                self._txn, self._node, f"table {self._node}", self._schema, field
            )
        return found

    def use(self, leaf: Leaf, chosen: Chosen) -> None:
        """Remember what the next page shall begin with."""
        self._chosen[leaf.id] = chosen

    @property
    def facts(self) -> SchemaFacts:
        """What is derived from the schema that is written."""
        return facts_of(self._schema)

    def codec(self, leaf: Leaf) -> str:
        """Return what the user asked for: a preset, or an explicit choice."""
        return self._schema.columns[self._schema.index(leaf.path[0])].codec


def _valid(
    facts: SchemaFacts, leaves: Sequence[Leaf], columns: Sequence[Array]
) -> dict[int, Array]:
    """Return which values are there, by the id of the leaf, where some are not."""
    if not facts.valid_of:
        return {}
    given = {leaf.id: values for leaf, values in zip(leaves, columns, strict=True)}
    found = {}
    for leaf in leaves:
        valid = facts.valid_of.get(leaf.id)
        if valid is not None and valid.id in given and not given[valid.id].all():
            found[leaf.id] = given[valid.id]
    return found


class _Built(NamedTuple):
    leaf: Leaf
    page: Page
    payload: bytes  # of its record
    frames: list[Frame]
    key: FieldKeys | None


def write_pages(
    txn: Transaction,
    node: int,
    first: int,
    leaves: Sequence[Leaf],
    columns: Sequence[Array],
    recipes: Recipes,
    *,
    matrices: Mapping[int, Array] | None = None,
    is_new: bool = False,
) -> None:
    """Write one page per leaf for the row group that begins at `first`, and put its records.

    Parameters
    ----------
    leaves : sequence of Leaf
        All leaves of the table for a new group, or those that get new pages.
    columns : sequence of ndarray
        One flat contiguous array per leaf: rows times values a row.
    matrices : mapping of int to ndarray, shape (n_columns, n_rows), optional
        Where columns are rows of one matrix, these by the place of the first of them.
    is_new : bool
        There is no group at `first` yet.

    Notes
    -----
    One run of file space per call. What the records named before is freed by the engine.
    """
    # NumPy lets the interpreter go for a few microseconds at a time in short columns: threads
    # then wait for each other more than they work. What is common to columns is done at once.
    alone = max(map(len, columns), default=0) < THREAD_VALUES
    known: dict[int, Statistics | None] = {}
    for place, matrix in (matrices or {}).items() if alone else ():
        known |= enumerate(compute_rows(matrix), place)
    # In their order, small columns begin with what was chosen for others like them.
    store = txn.uuid if alone else None
    tasks = []
    valid = _valid(recipes.facts, leaves, columns)
    for number, (leaf, values) in enumerate(zip(leaves, columns, strict=True)):
        if leaf.is_stored:  # nothing is stored of values without width
            last = recipes.last(leaf)
            codec = recipes.codec(leaf)
            there = valid.get(leaf.id)
            statistics = None if there is not None else known.get(number)
            key = recipes.keys(leaf)
            at = node, first
            task = partial(_build, leaf, values, last, codec, at, statistics, there, key, store)
            tasks.append(task)
    built = [task() for task in tasks] if alone else run(tasks)
    if recipes.facts.sealed:
        n = -(-len(built) // (1 if alone else options.n_threads)) or 1
        parts = [partial(_sealed, built[at : at + n]) for at in range(0, len(built), n)]
        built = [own for part in run(parts) for own in part]
    pointers = iter(txn.write([frame for own in built for frame in own.frames]))
    records = []
    for own in built:
        recipes.use(own.leaf, own.page.chosen)
        owned = [next(pointers) for _ in own.frames]
        records.append((keys.page(node, own.leaf.id, first), pack_record(own.payload, owned)))
    (txn.put_new if is_new else txn.put_all)(records)


def _build(
    leaf: Leaf,
    values: Array,
    last: Chosen | None,
    codec: str,
    place: tuple[int, int],
    statistics: Statistics | None,
    valid: Array | None,
    key: FieldKeys | None,
    store: bytes | None,
) -> _Built:
    node, first = place
    block_values = block_rows_of(leaf) * leaf.n_values
    if 2 * len(values) < 3 * block_values:
        # A rest of less than half a block is not worth a call of the codec of its own.
        block_values = len(values)
    # Small pages are folded into full ones later: those are worth a second look.
    number = first // GROUP_ROWS if len(values) >= GROUP_ROWS else 0
    page = build(values, last, codec, block_values, number=number, store=store)
    if statistics is None and leaf.n_values == 1:
        statistics = compute(values) if valid is None else of_nullable(values, valid)
    record = PageRecord(
        len(values),
        page.chosen.bits,
        page.chosen.packed,
        statistics.pack() if statistics is not None else b"",
    )
    payload, frame = record.pack(), Frame(FRAME_PAGE, node, leaf.id, first, page.head, page.parts)
    return _Built(leaf, page, payload, [frame], key)


def _sealed(some: Sequence[_Built]) -> list[_Built]:
    """Return pages as they are stored: those of sealed leaves sealed.

    One behind the other, when all of them are encoded: an encoder leaves nothing of Python in the
    caches, and what is done after it takes several times as long.
    """
    from kist.engine.sealedrecords import seal_record

    found = []
    for own in some:
        if own.key is not None:
            payload, frames = seal_record(own.key.current, own.payload, own.frames)
            own = own._replace(payload=payload, frames=frames)
        found.append(own)
    return found


_kept: OrderedDict[tuple[int, bytes], dict[int, Chosen | None]] = OrderedDict()
_kept_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _kept_lock
    _kept_lock = threading.Lock()  # a thread that does not exist here may hold the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
