"""Which bytes of the file may be written: free space, waiting space, and the file's end.

The lists live in memory while a process writes; every change is also noted as a change of the
map's ``F`` and ``Q`` records, which the next root commit writes (docs/format.md, "Space").
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from kist.errors import CorruptDataError
from kist.format import keys
from kist.format.layout import DATA_OFFSET, MAX_OFFSET
from kist.format.log import Freed, Record
from kist.format.values import pack_free, pack_waiting, unpack_free, unpack_waiting

if TYPE_CHECKING:
    from kist.engine.recovery import Chain
    from kist.engine.view import Reader

Extent = tuple[int, int]
Scan = Callable[[bytes, bytes], Iterable[tuple[bytes, bytes]]]


class Waiting(NamedTuple):
    """Space that a commit freed: part of every commit from birth up to, not including, freed."""

    offset: int
    length: int
    birth: int
    freed: int


class Space:
    """Free and waiting extents of a store, for the one writer.

    Attributes
    ----------
    end : int
        End of the used part of the file.
    changes : dict of key to value or None
        What the next root commit must write of this to the map.
    lowest : bool
        Take the lowest place that fits instead of the tightest: for compaction.
    append_only : bool
        Use nothing again: see `kist.storage.mounts`.
    fresh_bytes : int
        Bytes freed since the newest slot: when they are many, a checkpoint is due.
    """

    def __init__(self, end: int) -> None:
        self.end = end
        self.changes: dict[bytes, bytes | None] = {}
        self.fresh_bytes = 0
        self.lowest = False
        self.append_only = False
        self._lengths: dict[int, int] = {}
        self._offsets: list[int] = []
        self._by_length: list[Extent] = []  # (length, offset)
        self._waiting: dict[int, Waiting] = {}
        self._waiting_offsets: list[int] = []
        self._young: list[Waiting] = []  # freed too late to be released so far
        self._held: dict[int, list[Waiting]] = {}  # by a protected commit that needs them

    # Loading

    def load(self, free: Iterable[Extent], waiting: Iterable[Waiting]) -> None:
        """Fill from the map; notes no changes, and raises `CorruptDataError` for overlaps."""
        for offset, length in free:
            self._lengths[offset] = length
        self._offsets = sorted(self._lengths)
        for offset, after in pairwise(self._offsets):
            if offset + self._lengths[offset] > after:
                raise CorruptDataError("free space overlaps", offset=after)
        self._by_length = sorted((n, o) for o, n in self._lengths.items())
        self._waiting = {w.offset: w for w in waiting}
        self._waiting_offsets = sorted(self._waiting)
        self._young = list(self._waiting.values())

    # Sizes

    @property
    def free_bytes(self) -> int:
        """Bytes that may be used now."""
        return sum(self._lengths.values())

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for slots, pins, tags or kept versions."""
        return sum(w.length for w in self._waiting.values())

    def free_extents(self) -> list[Extent]:
        """Free (offset, length), ascending."""
        return [(o, self._lengths[o]) for o in self._offsets]

    def waiting_extents(self) -> list[Waiting]:
        """Waiting extents, ascending by offset."""
        return [self._waiting[o] for o in self._waiting_offsets]

    # Taking and giving

    def allocate(self, length: int) -> int:
        """Offset of `length` bytes that nothing needs: the best fit, else the end of the file."""
        if self.append_only:
            self.end += length
            return self.end - length
        if self.lowest:
            place = self.allocate_below(length, self.end)
            if place is not None:
                return place
        at = bisect_left(self._by_length, (length, 0))
        if at == len(self._by_length):
            # Free space that touches the end is used first: the file grows by the rest only.
            last = self._offsets[-1] if self._offsets else None
            if last is not None and last + self._lengths[last] == self.end:
                self._remove(last)
                self.end = last
            offset = self.end
            self.end += length
            return offset
        size, offset = self._by_length[at]
        self._remove(offset)
        if size > length:
            self._insert(offset + length, size - length)
        return offset

    def allocate_below(self, length: int, limit: int) -> int | None:
        """Lowest free place of `length` bytes that ends at or below `limit`, or None."""
        for offset in self._offsets:
            if offset + length > limit:
                return None
            if self._lengths[offset] >= length:
                size = self._remove(offset)
                if size > length:
                    self._insert(offset + length, size - length)
                return offset
        return None

    def take(self, offset: int, length: int) -> None:
        """Mark a range as used, as a record of the log says."""
        stop = offset + length
        self._unwait(offset, stop)
        if stop > self.end:
            if offset > self.end:
                self._insert(self.end, offset - self.end)
            self.end = stop
        at = bisect_right(self._offsets, offset) - 1
        for start in self._offsets[max(at, 0) :].copy():
            if start >= stop:
                break
            size = self._lengths[start]
            if start + size <= offset:
                continue
            self._remove(start)
            if start < offset:
                self._insert(start, offset - start)
            if start + size > stop:
                self._insert(stop, start + size - stop)

    def _unwait(self, start: int, stop: int) -> None:
        # What was used in the log had been released before, which only memory knew.
        at = max(0, bisect_right(self._waiting_offsets, start) - 1)
        while at < len(self._waiting_offsets) and self._waiting_offsets[at] < stop:
            w = self._waiting[self._waiting_offsets[at]]
            if w.offset + w.length > start:
                self._stop_waiting(w)
                self.give(w.offset, w.length)
            else:
                at += 1

    def _stop_waiting(self, w: Waiting) -> None:
        del self._waiting[w.offset]
        del self._waiting_offsets[bisect_left(self._waiting_offsets, w.offset)]
        self._note(keys.waiting(w.freed, w.offset), None)

    def give(self, offset: int, length: int) -> None:
        """Make a range free, joined with its neighbours.

        Raises
        ------
        CorruptDataError
            Some of it is free already: the file names it twice.
        """
        if length <= 0:
            return
        at = bisect_left(self._offsets, offset)
        stop = self._offsets[at - 1] + self._lengths[self._offsets[at - 1]] if at else 0
        if stop > offset or (at < len(self._offsets) and self._offsets[at] < offset + length):
            raise CorruptDataError(f"{length} bytes of space are free twice", offset=offset)
        if at < len(self._offsets) and self._offsets[at] == offset + length:
            length += self._remove(self._offsets[at])
        if at > 0 and stop == offset:
            offset = self._offsets[at - 1]
            length += self._remove(offset)
        self._insert(offset, length)

    def wait(self, freed: Iterable[Freed]) -> None:
        """Extents that a commit freed wait from now on."""
        for f in freed:
            if f.offset in self._waiting:
                raise CorruptDataError("an extent was freed twice", offset=f.offset)
            w = self._waiting[f.offset] = Waiting(*f)
            self._young.append(w)
            insort(self._waiting_offsets, f.offset)
            if not self.append_only:  # else there is nothing to hurry for
                self.fresh_bytes += f.length
            self.changes[keys.waiting(f.freed, f.offset)] = pack_waiting(f.length, f.birth)

    def release(self, oldest: int, protected: Sequence[Extent]) -> None:
        """Free what no longer has to wait.

        Parameters
        ----------
        oldest : int
            Commit of the older slot: what was freed later must wait.
        protected : sequence of (first, last)
            Commits that are pinned, tagged or kept, as ascending ranges.
        """
        starts = [first for first, _ in protected]

        def holder(birth: int, freed: int) -> int | None:
            """The last protected commit of birth .. freed - 1."""
            at = bisect_left(starts, freed) - 1  # the last range that begins below freed
            last = min(protected[at][1], freed - 1) if at >= 0 else -1
            return last if last >= birth else None

        ready = [w for w in self._young if w.freed <= oldest]
        self._young = [w for w in self._young if w.freed > oldest]
        # What one pin holds is looked at again when that pin is gone, not each time.
        for commit in [c for c in self._held if holder(c, c + 1) is None]:
            ready += self._held.pop(commit)
        for w in ready:
            if self._waiting.get(w.offset) is not w:
                continue  # used in the meantime, as a record of the log said
            needed_by = holder(w.birth, w.freed)
            if w.freed > oldest:  # a slot was lost since
                self._young.append(w)
            elif needed_by is not None:
                self._held.setdefault(needed_by, []).append(w)
            else:
                self._stop_waiting(w)
                self.give(w.offset, w.length)

    def trim(self) -> int:
        """Give free space at the end of the file up; returns the new end."""
        while self._offsets:
            last = self._offsets[-1]
            if last + self._lengths[last] != self.end:
                break
            self.end = last
            self._remove(last)
        return self.end

    # The lists

    def _insert(self, offset: int, length: int) -> None:
        self._lengths[offset] = length
        insort(self._offsets, offset)
        insort(self._by_length, (length, offset))
        self._note(keys.free(offset), pack_free(length))

    def _remove(self, offset: int) -> int:
        length = self._lengths.pop(offset)
        del self._offsets[bisect_left(self._offsets, offset)]
        del self._by_length[bisect_left(self._by_length, (length, offset))]
        self._note(keys.free(offset), None)
        return length

    def _note(self, key: bytes, value: bytes | None) -> None:
        self.changes[key] = value


def load_space(
    scan: Scan, root_end: int, spare: Extent, records: Iterable[Record], end: int
) -> Space:
    """Space of a store as of its newest commit.

    Parameters
    ----------
    scan : callable
        Entries of the tree, without what the log changed, between two keys.
    root_end, spare : int, (offset, length)
        End of the used part of the file, and unused rest of a run, at the root commit.
    records : iterable of Record
        Commits since.
    end : int
        End of the used part now.
    """
    waiting, free = [], []
    try:
        for key, value in scan(*keys.WAITING):
            freed, offset = keys.patch_of(key)
            length, birth = unpack_waiting(value)
            waiting.append(Waiting(offset, length, birth, freed))
        for key, value in scan(*keys.FREE):
            free.append((keys.row_of(key), unpack_free(value)))
    except struct.error as error:
        raise CorruptDataError(f"a record of free space has another key: {error}") from error
    space = Space(max(root_end, DATA_OFFSET))
    for offset, length in [*free, *[(w.offset, w.length) for w in waiting]]:
        # Writing beyond the end would make a file of any size.
        if not DATA_OFFSET <= offset <= offset + length <= min(space.end, MAX_OFFSET):
            raise CorruptDataError(f"free space at byte {offset} cannot be: {length} bytes")
    if spare[1] and not DATA_OFFSET <= spare[0] <= sum(spare) <= space.end:
        raise CorruptDataError(f"{spare[1]} spare bytes at byte {spare[0]} cannot be")
    space.load(free, waiting)
    space.give(*spare)
    for record in records:
        for offset, length in record.used:
            space.take(offset, length)
        space.wait(record.freed)
    if end > space.end:
        space.take(end, 0)
    return space


def space_of(reader: Reader, chain: Chain) -> Space:
    """Free and waiting space as of the newest commit of a chain."""
    root = chain.state.root_bytes()
    return load_space(
        lambda start, stop: reader.tree.scan(root, start, stop),
        chain.root_end,
        chain.spare,
        chain.records,
        chain.state.end,
    )
