"""Sorted runs: the keys of some rows in order, and which rows they are of.

A run stands for the row ids first .. stop. It has a page for each word of the key, a page of row
ids (counted from the first), and a page of *fences*: the first key of each block. To find a key is
to search the fences, which are kept, and to decode one block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from kist._kernels.ordering import stable_order
from kist.codecs.choose import choose
from kist.engine import Frame
from kist.engine.layouts import Layout, known_layouts, layout_of
from kist.engine.oneblock import read_block, read_blocks, take_page_value
from kist.engine.page_write import build_page
from kist.engine.pages import read_page
from kist.engine.parallel import run
from kist.errors import CorruptDataError
from kist.format import keys
from kist.format.index import DIRTY_ROWS, RunRecord
from kist.format.layout import FRAME_PAGE
from kist.format.values import Pointer, pack_record, unpack_record
from kist.indexes.keys import as_numbers, joined, search_key

if TYPE_CHECKING:
    from kist.engine import Transaction, View

__all__ = ["BLOCK", "Run", "put_run", "put_soiled", "ranks_of", "run_of"]

Array = NDArray[Any]
Words = NDArray[np.uint64]

_WORD: Final = np.dtype(np.uint64)
_OFFSET: Final = np.dtype(np.uint32)
_NO_KEYS: Final = np.zeros(0, _WORD)
_DENSE: Final = 4
"""Up to so many entries for each key that is looked for, all are looked at together."""
_TOGETHER: Final = 32
"""Blocks that are looked at together."""
BLOCK: Final = 2_048
"""Entries of a block: 20 us to decode with 4,096, and two thousand fences for four million rows."""


class Run:
    """One run of an index.

    Attributes
    ----------
    first, stop : int
        Row ids that it stands for.
    n : int
        Entries.
    n_words : int
        Words of a key.
    dirty : bytes
        As in `RunRecord`.
    """

    __slots__ = ("_fences", "_layouts", "dirty", "first", "n", "n_words", "pointers", "stop")

    def __init__(
        self, first: int, record: RunRecord, pointers: tuple[Pointer, ...], n_words: int
    ) -> None:
        if len(pointers) != (n_words + 2 if record.n else 0):
            raise CorruptDataError(f"an index run of {n_words} words has {len(pointers)} pages")
        self.first = first
        self.stop, self.n, self.dirty = record
        self.pointers = pointers
        self.n_words = n_words
        self._fences: Array | None = None
        self._layouts: list[Layout] = []

    def block(self, view: View) -> int:
        """Return the entries of a block."""
        return self.layout(view, 1).head.block_values

    def layout(self, view: View, which: int) -> Layout:
        """Return what is known of the page of row ids, 0, or of a word of the keys, from 1 on."""
        if not self._layouts:
            found = []
            for place, pointer in enumerate(self.pointers[1:]):
                dtype: np.dtype[Any] = _WORD if place else _OFFSET
                found.append(layout_of(view, pointer, dtype, self.n, known_layouts(dtype)))
            self._layouts = found
        return self._layouts[which]

    def fences(self, view: View) -> Array:
        """Return the first key of each block."""
        if not self.n:
            return _NO_KEYS
        if self._fences is None:
            n_blocks = -(-self.n // self.block(view))
            words = np.empty(n_blocks * self.n_words, np.uint64)
            read_page(view, self.pointers[0], words, 0, len(words))
            self._fences = joined(list(words.reshape(self.n_words, n_blocks)))
        return self._fences

    def keys(self, view: View, start: int, stop: int) -> Array:
        """Return the keys of some ranks."""
        words = []
        for pointer in self.pointers[2:]:
            word = np.empty(stop - start, np.uint64)
            read_page(view, pointer, word, start, self.n)
            words.append(word)
        return joined(words)

    def rows(self, view: View, start: int, stop: int) -> NDArray[np.int64]:
        """Return the row ids of some ranks."""
        offsets = np.empty(stop - start, _OFFSET)
        if stop > start:
            if stop - start > 1 or not take_page_value(
                view, self.pointers[1], self.n, start, offsets, self.layout(view, 0)
            ):
                read_page(view, self.pointers[1], offsets, start, self.n)
            if np.maximum.reduce(offsets) >= self.stop - self.first:
                raise CorruptDataError(
                    f"an index run of row ids {self.first} to {self.stop} names others"
                )
        return offsets.astype(np.int64) + self.first

    def ranks(self, view: View, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the ranks of the entries within some ranges of keys, both ends in them."""
        blocks: dict[int, Array] = {}
        out = []
        for low, high in ranges if self.n else ():
            start = self.rank(view, low, "left", blocks)
            stop = self.rank(view, high, "right", blocks)
            if start < stop:
                out.append((start, stop))
        return out

    def rank(
        self, view: View, number: int, side: Literal["left", "right"], blocks: dict[int, Array]
    ) -> int:
        """Return the number of entries before a key, or up to it (`right`)."""
        key = search_key(number, self.n_words)
        block = int(self.fences(view).searchsorted(key, side)) - 1
        if block < 0:
            return 0
        if block not in blocks:
            words = [
                read_block(view, one, _WORD, self.n, block, self.layout(view, word))
                for word, one in enumerate(self.pointers[2:], 1)
            ]
            blocks[block] = joined(words)
        return block * self.block(view) + int(blocks[block].searchsorted(key, side))

    def matching(self, view: View, wanted: Array) -> NDArray[np.int64]:
        """Return the rows that have one of some keys, which ascend."""
        parts = [np.zeros(0, np.int64)]
        for start, hits, _ in self._hits(view, wanted):
            low, high = int(hits[0]), int(hits[-1]) + 1
            parts.append(self.rows(view, start + low, start + high)[hits - low])
        return np.concatenate(parts)

    def has(self, view: View, wanted: Array) -> NDArray[np.bool_]:
        """Return which of some keys the run has; they ascend, and all differ."""
        found = np.zeros(len(wanted), bool)
        if not self.n or not len(wanted):
            return found
        fences, size = self.fences(view), self.block(view)
        low = max(int(fences.searchsorted(wanted[0], "left")) - 1, 0)
        high = int(fences.searchsorted(wanted[-1], "right"))
        if (high - low) * size <= _DENSE * len(wanted):
            # Nearly all blocks in between are asked for: together.
            for start in range(low, high, _TOGETHER):
                keys = self.keys(view, start * size, min((start + _TOGETHER) * size, self.n))
                numbers = as_numbers(wanted, keys, n=self.n_words)
                mine, theirs = (wanted, keys) if numbers is None else numbers
                place = theirs.searchsorted(mine)
                place[place == len(theirs)] = 0
                found |= theirs[place] == mine
            return found
        for _, _, places in self._hits(view, wanted):
            found[places] = True
        return found

    def _hits(
        self, view: View, wanted: Array
    ) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield, block by block, where some of its keys are wanted ones.

        Yields
        ------
        (start, hits, places)
            The rank of the first entry of a block, which of its entries, at least one, and where
            their keys stand in `wanted`.
        """
        for block in self._blocks_of(view, wanted).tolist() if self.n and len(wanted) else ():
            size = self.block(view)
            start, stop = block * size, min((block + 1) * size, self.n)
            values = self.keys(view, start, stop)
            place = wanted.searchsorted(values)
            place[place == len(wanted)] = 0
            hits = np.flatnonzero(wanted[place] == values)
            if len(hits):
                yield start, hits, place[hits]

    def _blocks_of(self, view: View, wanted: Array) -> NDArray[np.int64]:
        """Return the blocks that may hold some keys."""
        fences = self.fences(view)
        first = np.maximum(fences.searchsorted(wanted, "left") - 1, 0)
        last = np.maximum(fences.searchsorted(wanted, "right") - 1, 0)
        marks = np.zeros(len(fences) + 1, np.int64)
        np.add.at(marks, first, 1)
        np.add.at(marks, last + 1, -1)
        return np.flatnonzero(np.cumsum(marks[:-1]))

    def dirty_ranges(self) -> list[tuple[int, int]]:
        """Return the row ids whose keys may have changed since, as ranges."""
        if not self.dirty:
            return []
        bits = np.unpackbits(np.frombuffer(self.dirty, np.uint8), bitorder="little")
        edges = np.flatnonzero(np.diff(bits, prepend=0, append=0)).reshape(-1, 2)
        rows = np.minimum(self.first + edges * DIRTY_ROWS, self.stop)
        return [(low, high) for low, high in rows.tolist() if low < high]

    @property
    def dirty_share(self) -> float:
        """Which part of its row ids may have changed."""
        n = sum(high - low for low, high in self.dirty_ranges())
        return n / (self.stop - self.first)

    def soiled(self, rows: NDArray[np.int64]) -> bytes:
        """Return `dirty` once the keys of some of its rows have changed."""
        n_bits = -(-(self.stop - self.first) // DIRTY_ROWS)
        bits = np.zeros(-(-n_bits // 8) * 8, np.uint8)
        bits[(rows - self.first) // DIRTY_ROWS] = 1
        packed = np.packbits(bits, bitorder="little")
        if self.dirty:
            packed |= np.frombuffer(self.dirty, np.uint8)
        return packed.tobytes()

    def marked(self, rows: NDArray[np.int64]) -> bytes:
        """Return the payload of the run once the keys of some of its rows have changed."""
        return RunRecord(self.stop, self.n, self.soiled(rows)).pack()


def ranks_of(
    view: View, runs: Sequence[Run], ranges: Sequence[tuple[int, int]]
) -> list[list[tuple[int, int]]]:
    """Return for each run of an index the ranks of its entries within some ranges of keys."""
    is_point = len(ranges) == 1 and ranges[0][0] == ranges[0][1]
    if is_point and len(runs) > 1 and runs[0].n_words == 1:
        return _ranks_of_word(view, runs, ranges[0][0])
    return [one.ranks(view, ranges) for one in runs]


def _ranks_of_word(view: View, runs: Sequence[Run], number: int) -> list[list[tuple[int, int]]]:
    """Return the ranks of one key of one word: who looks one up meets a block of every run.

    What `Run.ranks` does run by run, in fewer steps.
    """
    key = np.uint64(number)
    found: list[list[tuple[int, int]]] = [[] for _ in runs]
    places, wanted = [], []
    for place, one in enumerate(runs):
        fences = one.fences(view)
        block = int(fences.searchsorted(key, "right")) - 1
        if block >= 0 and fences[block] == key:  # others with this key may stand before it
            found[place] = one.ranks(view, [(number, number)])
        elif block >= 0:
            places.append(place)
            wanted.append((one.pointers[2], one.layout(view, 1), block))
    for place, words, (_, layout, block) in zip(
        places, read_blocks(view, wanted), wanted, strict=True
    ):
        at = int(words.searchsorted(key))
        if at < len(words) and words[at] == key:
            start = block * layout.head.block_values
            found[place] = [(start + at, start + int(words.searchsorted(key, "right")))]
    return found


@lru_cache(maxsize=1_024)
def run_of(first: int, value: bytes, n_words: int) -> Run:
    """Return the run of a record; what was learnt about it is kept with it."""
    pointers, payload = unpack_record(value)
    return Run(first, RunRecord.unpack(payload, first), tuple(pointers), n_words)


def put_run(
    txn: Transaction,
    node: int,
    index: int,
    first: int,
    stop: int,
    words: Sequence[Words],
    rows: NDArray[np.int64],
    put: Callable[[bytes, bytes, list[Frame]], None] | None = None,
) -> None:
    """Sort the keys of some rows, and write them as a run.

    Parameters
    ----------
    words : sequence of ndarray of uint64, shape (n,)
        The keys, the most significant word first.
    rows : ndarray of int64, shape (n,)
        Row ids, ascending, from `first` to `stop`.
    put : callable, optional
        Puts the record instead: called with key, payload and the frames of the pages.
    """
    if put is None:

        def put(key: bytes, payload: bytes, frames: list[Frame]) -> None:
            txn.put(key, pack_record(payload, txn.write(frames) if frames else ()))

    key = keys.index_run(node, index, first)
    record = RunRecord(stop, len(rows)).pack()
    if not len(rows):
        put(key, record, [])
        return
    order = stable_order(words)
    values = [word[order] for word in words]
    fences = np.concatenate([value[::BLOCK] for value in values])
    offsets = (rows[order] - first).astype(np.uint32)

    def encoded(page: Array) -> tuple[bytes, list[Any]]:
        return build_page(page, choose(page), block_values=BLOCK)

    pages = run([lambda page=page: encoded(page) for page in (fences, offsets, *values)])  # type: ignore[misc]
    put(key, record, [Frame(FRAME_PAGE, node, 0, first, head, parts) for head, parts in pages])


def put_soiled(txn: Transaction, node: int, index: int, found: Run, rows: Array) -> None:
    """Put a run whose keys of some rows have changed."""
    txn.put(
        keys.index_run(node, index, found.first), pack_record(found.marked(rows), found.pointers)
    )
