"""The copy-on-write tree: look up and scan, through a cache of pages.

How it is changed stands in :mod:`kist.engine.drafts`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import overload

from kist.errors import CorruptDataError
from kist.format.layout import MAX_TREE_DEPTH, MAX_TREE_PAGE
from kist.format.tree import PackedPage, unpack_tree_page
from kist.format.values import Pointer

CACHED_LEAVES = 1024  # decoded, about 30 KB each
CACHED_INNER = 2048  # decoded: all of a tree of some fifty million short records
PACKED_BYTES = 16 << 20  # of pages as they are stored, twice
_AHEAD = 512  # pages brought near at once, about 8 MB
_RUN = 24  # keys looked up in one leaf for which it is decoded
_USES = 16  # look-ups in one inner page, one by one, for which it is decoded

Bounds = tuple[int, bytes, bytes | None]  # level, lowest key, key that is too high
ANYTHING: Bounds = (-1, b"", None)  # what a root keeps within


@dataclass(slots=True)
class Node:
    """A decoded page. Never changed once it is in the cache."""

    level: int
    keys: list[bytes]
    values: list[bytes]

    def bounds_of(self, at: int, own: Bounds) -> Bounds:
        """What child `at` must keep within."""
        high = self.keys[at + 1] if at + 1 < len(self.keys) else own[2]
        return self.level - 1, self.keys[at], high


class PackedPages:
    """Pages as they are stored, by packed pointer: those that were used last.

    Two generations: when the young one is full, it becomes the old one, and what was old is
    forgotten. Without a lock: threads that race lose a page or a count, until the next change.
    """

    def __init__(self) -> None:
        self._young: dict[bytes, PackedPage] = {}
        self._old: dict[bytes, PackedPage] = {}
        self._bytes = 0

    def get(self, pointer: bytes) -> PackedPage | None:
        """The page behind a pointer, if it is kept."""
        page = self._young.get(pointer)
        if page is None:
            page = self._old.get(pointer)
            if page is not None:
                self.put(pointer, page)
        return page

    def put(self, pointer: bytes, page: PackedPage) -> None:
        """Keep a page."""
        if self._bytes > PACKED_BYTES:
            self._old, self._young, self._bytes = self._young, {}, 0
        self._young[pointer] = page
        self._bytes += page.size + _PAGE_OBJECTS

    def clear(self) -> None:
        """Forget all."""
        self._old, self._young, self._bytes = {}, {}, 0


_PAGE_OBJECTS = 800  # bytes of the objects around a packed page


class Tree:
    """Reads trees through a function that fetches verified page bodies.

    Where that takes long, another one brings those near that will be fetched next.
    """

    def __init__(
        self,
        fetch: Callable[[Pointer], bytes],
        bring_near: Callable[[Sequence[Pointer]], None] | None = None,
    ) -> None:
        self._fetch = fetch
        self._bring_near = bring_near
        self._inner: OrderedDict[bytes, Node] = OrderedDict()
        self._leaves_kept: OrderedDict[bytes, Node] = OrderedDict()
        self._packed = PackedPages()

    def forget(self) -> None:
        """Keep no page: all are read and verified again."""
        self._inner.clear()
        self._leaves_kept.clear()
        self._packed.clear()

    def node(self, pointer: bytes) -> Node:
        """Decoded page behind a packed pointer; the last ones stay decoded.

        Raises
        ------
        CorruptDataError
            The page is damaged, or too large to be one.
        """
        node = self._inner.get(pointer) or self._leaves_kept.get(pointer)
        if node is None:
            packed = self._packed.get(pointer)
            unpacked = unpack_tree_page(self._body(pointer)) if packed is None else packed.unpack()
            node = Node(*unpacked)
            self._keep(pointer, node)
        return node

    def _body(self, pointer: bytes) -> bytes:
        place = Pointer.unpack(pointer)
        if place.length > MAX_TREE_PAGE:
            raise CorruptDataError(
                f"byte {place.offset}: a tree page of {place.length} bytes", offset=place.offset
            )
        if self._bring_near is not None:
            self._bring_near([place])
        return self._fetch(place)

    def _bring(self, bring_near: Callable[[Sequence[Pointer]], None], pages: list[bytes]) -> None:
        """Bring near those pages of many that are not kept, some megabytes of them."""
        absent = [p for p in pages if p not in self._leaves_kept and p not in self._inner]
        if len(absent) > 1:
            places = [Pointer.unpack(p) for p in absent[:_AHEAD]]
            bring_near([p for p in places if p.length <= MAX_TREE_PAGE])

    def _keep(self, pointer: bytes, node: Node) -> None:
        kept = self._inner if node.level else self._leaves_kept
        kept[pointer] = node
        # Threads may race here; popping by key may miss, which only costs a fetch.
        while len(kept) > (CACHED_INNER if node.level else CACHED_LEAVES):
            try:
                kept.popitem(last=False)
            except KeyError:  # another thread emptied it
                break

    def keep(self, nodes: Iterable[tuple[bytes, Node | PackedPage]]) -> None:
        """Keep pages that were just written, and so need not be read."""
        for pointer, node in nodes:
            if isinstance(node, PackedPage):
                self._packed.put(pointer, node)
            else:
                self._keep(pointer, node)

    def inside(self, pointer: bytes, bounds: Bounds) -> Node:
        """The page behind a pointer, if it keeps within what its parent says.

        Sums do not protect against a file made on purpose: without this check, one page under
        many parents would be as good as any number of them, and a page could be its own parent.
        """
        node = self.node(pointer)
        keys = node.keys
        self._check(pointer, bounds, node.level, (keys[0], keys[-1]) if keys else None)
        return node

    def packed_inside(self, pointer: bytes, bounds: Bounds) -> PackedPage:
        """The same as it is stored; not kept, for it is about to be replaced."""
        page = self._packed.get(pointer) or PackedPage(self._body(pointer))
        self._check(pointer, bounds, page.level, page.ends())
        return page

    def _check(
        self, pointer: bytes, bounds: Bounds, found: int, ends: tuple[bytes, bytes] | None
    ) -> None:
        level, low, high = bounds
        if (
            (found != level and level >= 0)
            or ends is None
            or ends[0] < low
            or (high is not None and ends[1] >= high)
        ):
            place = Pointer.unpack(pointer)
            raise CorruptDataError(
                f"byte {place.offset}: the tree page does not belong below its parent",
                offset=place.offset,
            )

    def get(self, root: bytes | None, key: bytes) -> bytes | None:
        """Value of a key, or None. Costs a fraction of decoding the pages on the way."""
        above = MAX_TREE_DEPTH + 1
        while root is not None:
            node: Node | PackedPage = self._inner.get(root) or self._page(root)
            level = node.level
            if level >= above:
                raise CorruptDataError(f"a tree page of level {level} below level {above}")
            if isinstance(node, PackedPage):
                if level == 0:
                    return node.get(key)
                root = node.child(key)
            else:
                keys = node.keys
                at = bisect_right(keys, key) - 1
                if at < 0:
                    return None
                root = node.values[at]
                if level == 0:
                    return root if keys[at] == key else None
            above = level
        return None

    def get_many(self, root: bytes | None, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values of ascending keys, None where there is none: one descent for each leaf."""
        out: list[bytes | None] = []
        while len(out) < len(keys):
            at = len(out)
            pointer, limit = self._leaf_of(root, keys[at])
            stop = len(keys) if limit is None else bisect_left(keys, limit, at + 1)
            if pointer is None:
                out += repeat(None, stop - at)
            elif stop - at < _RUN:
                leaf = self._page(pointer)
                if isinstance(leaf, PackedPage):
                    out += map(leaf.get, keys[at:stop])
                else:
                    out += [self.get(pointer, key) for key in keys[at:stop]]
            else:
                node = self.node(pointer)
                out += map(dict(zip(node.keys, node.values, strict=True)).get, keys[at:stop])
        return out

    def _leaf_of(self, root: bytes | None, key: bytes) -> tuple[bytes | None, bytes | None]:
        """(leaf that may hold a key, lowest key beyond it); the leaf is None where none may."""
        limit: bytes | None = None
        level = MAX_TREE_DEPTH + 1
        while root is not None:
            page = self._inner.get(root) or self._page(root)
            if page.level == 0:
                return root, limit
            if isinstance(page, PackedPage):
                page = self.node(root)
            if page.level >= level:
                raise CorruptDataError(f"a tree page of level {page.level} below level {level}")
            level = page.level
            at = bisect_right(page.keys, key)
            if at < len(page.keys) and (limit is None or page.keys[at] < limit):
                limit = page.keys[at]
            root = page.values[at - 1] if at else None
        return None, limit

    def _page(self, pointer: bytes) -> Node | PackedPage:
        """A page for one look-up: leaves stay packed, inner pages until they are used often."""
        node = self._leaves_kept.get(pointer)
        if node is not None:
            return node
        page = self._packed.get(pointer)
        if page is None:
            page = PackedPage(self._body(pointer))
            self._packed.put(pointer, page)
        page.uses += 1
        if page.level == 0 or page.uses <= _USES:
            return page
        node = Node(*page.unpack())
        self._keep(pointer, node)
        return node

    def scan(
        self, root: bytes | None, start: bytes, stop: bytes, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Entries with start <= key < stop, in order."""
        for node, first, last in self._leaves(root, start, stop, reverse):
            pairs = zip(node.keys[first:last], node.values[first:last], strict=True)
            yield from reversed(list(pairs)) if reverse else pairs

    def entries(
        self, root: bytes | None, start: bytes, stop: bytes
    ) -> tuple[list[bytes], list[bytes]]:
        """Keys and values of a range, whole leaves at a time."""
        keys: list[bytes] = []
        values: list[bytes] = []
        for node, first, last in self._leaves(root, start, stop, False):
            keys += node.keys[first:last]
            values += node.values[first:last]
        return keys, values

    def texts(
        self, root: bytes | None, start: bytes, stop: bytes, skip: int
    ) -> tuple[list[str], set[int]] | None:
        """Keys of a range behind their first bytes as text, and which lengths their values have.

        None where a key is not ASCII.
        """
        texts: list[str] = []
        lengths: set[int] = set()
        for node, first, last in self._leaves(root, start, stop, False, packed=True):
            if isinstance(node, PackedPage):
                found = node.texts(skip)
                if found is None:
                    return None
                texts += found[0]
                lengths |= found[1]
                continue
            keys = node.keys[first:last]
            if not all(map(bytes.isascii, [key[skip:] for key in keys])):
                return None
            texts += [key[skip:].decode("ascii") for key in keys]
            lengths.update(map(len, node.values[first:last]))
        return texts, lengths

    @overload
    def _leaves(
        self, root: bytes | None, start: bytes, stop: bytes, reverse: bool
    ) -> Iterator[tuple[Node, int, int]]: ...

    @overload
    def _leaves(
        self, root: bytes | None, start: bytes, stop: bytes, reverse: bool, *, packed: bool
    ) -> Iterator[tuple[Node | PackedPage, int, int]]: ...

    def _leaves(
        self, root: bytes | None, start: bytes, stop: bytes, reverse: bool, *, packed: bool = False
    ) -> Iterator[tuple[Node | PackedPage, int, int]]:
        """Leaves with the entries of a range: (leaf, first, last) of each, in order.

        With `packed` those that lie in the range with all that they hold are as they are stored.
        """
        # A stack, not generators within generators: each would cost every entry a step.
        stack = [(root, ANYTHING)] if root is not None and start < stop else []
        while stack:
            pointer, bounds = stack.pop()
            level, low, high = bounds
            if packed and level == 0 and start <= low and high is not None and high <= stop:
                page = self._page(pointer)
                if isinstance(page, PackedPage):
                    self._check(pointer, bounds, page.level, page.ends())
                    yield page, 0, 0
                    continue
            node = self.inside(pointer, bounds)
            last = bisect_left(node.keys, stop)
            if node.level == 0:
                yield node, bisect_left(node.keys, start), last
                continue
            first = max(bisect_right(node.keys, start) - 1, 0)
            order = range(first, last) if reverse else range(last - 1, first - 1, -1)
            if self._bring_near is not None:
                self._bring(self._bring_near, [node.values[at] for at in reversed(order)])
            stack += [(node.values[at], node.bounds_of(at, bounds)) for at in order]

    def pages(self, root: bytes | None) -> Iterator[tuple[bytes, Node]]:
        """Every (packed pointer, page) of a tree, parents first."""
        stack = [(root, ANYTHING)] if root is not None else []
        while stack:
            pointer, bounds = stack.pop()
            node = self.inside(pointer, bounds)
            yield pointer, node
            if node.level:
                order = range(len(node.values) - 1, -1, -1)
                stack += [(node.values[at], node.bounds_of(at, bounds)) for at in order]
