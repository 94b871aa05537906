"""What is left of a tree: the leaves that can be read, and between which keys some are missing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from kist.engine.tree import ANYTHING, Bounds, Tree
from kist.engine.view import Reader
from kist.errors import FormatError
from kist.format.keys import Range
from kist.format.values import Pointer
from kist.storage.base import StorageBackend

__all__ = ["END", "Broken", "Leaf", "SurvivingReader", "SurvivingTree"]

END: Final = b"\xff" * 1025
"""Behind all keys."""


class Leaf(NamedTuple):
    """A leaf that can be read."""

    first: bytes
    last: bytes
    pointer: bytes


class Broken(NamedTuple):
    """A page that cannot be read, the keys that it leads to, and its level; -1 is any."""

    pointer: bytes
    start: bytes
    stop: bytes
    level: int


class SurvivingTree(Tree):
    """A tree read through a list of its leaves, so that pages above them may be missing.

    Attributes
    ----------
    leaves : list of Leaf
        In order of their keys, which do not overlap.
    lost : list of (start, stop)
        Ranges of keys of which it is not known what they hold; ascending.
    broken : list of Broken
        Pages that cannot be read.
    reached : dict of offset to Pointer
        All pages that could be read.
    """

    def __init__(self, fetch: Callable[[Pointer], bytes]) -> None:
        super().__init__(fetch)
        self.leaves: list[Leaf] = []
        self.lost: list[Range] = []
        self.broken: list[Broken] = []
        self.reached: dict[int, Pointer] = {}
        self._firsts: list[bytes] = []

    def walk(self, root: bytes | None, bounds: Bounds = ANYTHING) -> None:
        """Take all pages below a page, and note those that cannot be read."""
        stack = [(root, bounds)] if root is not None else []
        while stack:
            pointer, bounds = stack.pop()
            place = Pointer.unpack(pointer)
            try:
                node = self.inside(pointer, bounds)
            except FormatError:
                level, start, stop = bounds
                self.broken.append(Broken(pointer, start, END if stop is None else stop, level))
                continue
            self.reached[place.offset] = place
            if node.level == 0:
                self.leaves.append(Leaf(node.keys[0], node.keys[-1], pointer))
            else:
                order = range(len(node.values))
                stack += [(node.values[at], node.bounds_of(at, bounds)) for at in order]

    def settle(self, complete: bool) -> None:
        """Put the leaves into order, and derive what is lost.

        Parameters
        ----------
        complete : bool
            It is known that no other page is missing than those that cannot be read: of what
            stands above leaves, nothing is lost then.
        """
        self.leaves.sort()
        self._firsts = [leaf.first for leaf in self.leaves]
        lost = set()
        for page in self.broken:
            if complete and page.level:
                continue
            at = page.start
            for leaf in self.leaves[bisect_left(self._firsts, page.start) :]:
                if leaf.first >= page.stop:
                    break
                if at < leaf.first:
                    lost.add((at, leaf.first))
                at = max(at, leaf.last + b"\0")
            if at < page.stop:
                lost.add((at, page.stop))
        self.lost = sorted(lost)

    def is_lost(self, start: bytes, stop: bytes) -> bool:
        """Whether something between two keys may be missing."""
        return any(a < stop and start < b for a, b in self.lost)

    # What a view asks of a tree; the root that it names is not looked at.

    def get(self, root: bytes | None, key: bytes) -> bytes | None:
        """Value of a key, or None."""
        at = bisect_right(self._firsts, key) - 1
        if at < 0 or self.leaves[at].last < key:
            return None
        node = self.node(self.leaves[at].pointer)
        place = bisect_left(node.keys, key)
        return node.values[place] if node.keys[place : place + 1] == [key] else None

    def get_many(self, root: bytes | None, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values of ascending keys, None where there is none."""
        return [self.get(root, key) for key in keys]

    def scan(
        self, root: bytes | None, start: bytes, stop: bytes, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Entries with start <= key < stop that can be read, in order."""
        first = max(bisect_right(self._firsts, start) - 1, 0)
        chosen: Iterable[Leaf] = self.leaves[first : bisect_left(self._firsts, stop)]
        for leaf in reversed(list(chosen)) if reverse else chosen:
            node = self.node(leaf.pointer)
            low, high = bisect_left(node.keys, start), bisect_left(node.keys, stop)
            pairs = list(zip(node.keys[low:high], node.values[low:high], strict=True))
            yield from reversed(pairs) if reverse else pairs

    def entries(
        self, root: bytes | None, start: bytes, stop: bytes
    ) -> tuple[list[bytes], list[bytes]]:
        """Keys and values of a range."""
        pairs = list(self.scan(root, start, stop))
        return [key for key, _ in pairs], [value for _, value in pairs]


class SurvivingReader(Reader):
    """Reads verified bytes, and the records of a tree that may lack pages."""

    tree: SurvivingTree

    def __init__(self, backend: StorageBackend) -> None:
        super().__init__(backend)
        self.tree = SurvivingTree(self.read)
