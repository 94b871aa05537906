"""Writing row groups as pages: choosing recipes, encoding columns in parallel, one run per group.

A recipe is chosen once per leaf from a sample of the first page and used for the pages that
follow, in later appends too: the last page's record names it. It is chosen again when a page
comes out more than `DRIFT` times larger than the page it was chosen for; an encoding that does
not fit new values shows in that too.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist.codecs.choose import choose
from kist.codecs.recipe import Recipe
from kist.codecs.stringpages import choose_strings
from kist.engine import Frame
from kist.engine.pages import build_page
from kist.engine.parallel import run
from kist.errors import CodecError
from kist.format import keys
from kist.format.layout import FRAME_PAGE
from kist.format.schema import Leaf, Schema
from kist.format.values import pack_record, unpack_record
from kist.indexes.statistics import compute
from kist.model.table_records import PageRecord
from kist.model.table_schema import block_rows_of

if TYPE_CHECKING:
    from kist.engine import Transaction

__all__ = ["Recipes", "write_pages"]

Array = np.ndarray[Any, Any]

DRIFT: Final = 1.3
"""A page this much larger than expected has its recipe chosen again; random walks stay below."""

REST_BITS: Final = 0.5
"""Pages below this many bits a value are as good as constant: no reason to choose again."""


THREAD_VALUES: Final = 32_768
"""Pages of fewer values are encoded in the calling thread. Measured with 50 columns on two cores:
two threads take 1.1 to 1.4 times as long below 16,000 rows, 0.8 times from 49,000 on."""

_KEPT_TABLES: Final = 64


class Chosen(NamedTuple):
    """A recipe, the stored bits a value that it was chosen for, and its bytes."""

    recipe: Recipe
    bits: float
    packed: bytes


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
                record = PageRecord.unpack(unpack_record(found[1])[1])
                try:
                    chosen = Chosen(Recipe.unpack(record.recipe), record.bits, record.recipe)
                except CodecError:
                    chosen = None  # a newer kist chose it: choose among what is known here
            self._chosen[leaf.id] = chosen
        return self._chosen[leaf.id]

    def use(self, leaf: Leaf, chosen: Chosen) -> None:
        """Remember what the next page shall begin with."""
        self._chosen[leaf.id] = chosen

    def codec(self, leaf: Leaf) -> str:
        """Return what the user asked for: a preset, or an explicit choice."""
        return self._schema.columns[leaf.column].codec


class _Built(NamedTuple):
    leaf: Leaf
    chosen: Chosen
    head: bytes
    parts: list[Any]
    record: PageRecord


def write_pages(
    txn: Transaction,
    node: int,
    first: int,
    leaves: Sequence[Leaf],
    columns: Sequence[Array],
    recipes: Recipes,
) -> None:
    """Write one page per leaf for the row group that begins at `first`, and put its records.

    Parameters
    ----------
    leaves : sequence of Leaf
        All leaves of the table for a new group, or those that get new pages.
    columns : sequence of ndarray
        One flat contiguous array per leaf: rows times values a row.

    Notes
    -----
    One run of file space per call. What the records named before is freed by the engine.
    """
    tasks = []
    for leaf, values in zip(leaves, columns, strict=True):
        if leaf.is_stored:  # nothing is stored of values without width
            last = recipes.last(leaf)
            codec = recipes.codec(leaf)
            tasks.append(partial(_build, leaf, values, last, codec))
    # NumPy lets the interpreter go for a few microseconds at a time in short columns: threads
    # then wait for each other more than they work.
    alone = max(map(len, columns), default=0) < THREAD_VALUES
    built = [task() for task in tasks] if alone else run(tasks)
    frames = [Frame(FRAME_PAGE, node, page.leaf.id, first, page.head, page.parts) for page in built]
    records = []
    for page, pointer in zip(built, txn.write(frames), strict=True):
        recipes.use(page.leaf, page.chosen)
        key = keys.page(node, page.leaf.id, first)
        records.append((key, pack_record(page.record.pack(), (pointer,))))
    txn.put_all(records)


def _build(leaf: Leaf, values: Array, last: Chosen | None, codec: str) -> _Built:
    block_values = block_rows_of(leaf) * leaf.n_values
    if 2 * len(values) < 3 * block_values:
        # A rest of less than half a block is not worth a call of the codec of its own.
        block_values = len(values)
    chosen = last
    encoded, bits = None, 0.0
    if chosen is not None:
        encoded = build_page(values, chosen.recipe, block_values=block_values)
        bits = _bits(encoded, values)
    if chosen is None or (bits > DRIFT * chosen.bits and bits > REST_BITS):
        recipe = choose_strings(values, codec) if leaf.is_string else choose(values, codec)
        if chosen is None or recipe != chosen.recipe:
            again = build_page(values, recipe, block_values=block_values)
            if encoded is None or _bits(again, values) < bits:
                encoded, bits = again, _bits(again, values)
            elif chosen is not None:
                recipe = chosen.recipe
        chosen = Chosen(recipe, bits, recipe.pack())
    assert encoded is not None
    head, parts = encoded
    statistics = compute(values) if leaf.n_values == 1 else None
    record = PageRecord(
        len(values),
        chosen.bits,
        chosen.packed,
        statistics.pack() if statistics is not None else b"",
    )
    return _Built(leaf, chosen, head, parts, record)


def _bits(encoded: tuple[bytes, list[Any]], values: Array) -> float:
    head, parts = encoded
    return 8 * (len(head) + sum(map(len, parts))) / len(values)


_kept: OrderedDict[tuple[int, bytes], dict[int, Chosen | None]] = OrderedDict()
_kept_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _kept_lock
    _kept_lock = threading.Lock()  # a thread that does not exist here may hold the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
