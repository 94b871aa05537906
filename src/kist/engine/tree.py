"""The copy-on-write tree: look up, scan, and apply a batch of changes.

Nothing here writes. :meth:`Tree.apply` gives a *draft*: the new pages, children before parents,
and the pages they replace; the root commit finds space for it and writes it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from kist.errors import CorruptDataError
from kist.format.checksum import sum128
from kist.format.layout import MAX_TREE_DEPTH, MAX_TREE_PAGE, POINTER
from kist.format.tree import (
    ENTRY_BYTES,
    PAGE_BYTES,
    PackedLeaf,
    pack_tree_page,
    tree_page_size,
    unpack_tree_page,
)
from kist.format.values import Pointer, extent_length

# Larger pages make look-ups read more, smaller ones make the tree deeper and checkpoints of
# scattered changes no cheaper: a page is one device block or two anyway.
TARGET = 8192
CACHED_LEAVES = 1024  # decoded, about 30 KB each
CACHED_INNER = 2048  # decoded: all of a tree of some fifty million short records
PACKED_BYTES = 16 << 20  # of leaves as they are stored, twice
KEPT_NODES = 256  # of those that are written at once: a bulk commit must not empty the cache

Batch = Sequence[tuple[bytes, bytes | None]]
Bounds = tuple[int, bytes, bytes | None]  # level, lowest key, key that is too high
_ANYTHING: Bounds = (-1, b"", None)  # what a root keeps within


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


@dataclass(slots=True)
class DraftNode:
    """A page to be written; in inner pages some children are drafts themselves."""

    level: int
    keys: list[bytes]
    children: list[bytes | DraftNode]

    @property
    def size(self) -> int:
        """Upper bound of the bytes of its body."""
        if self.level == 0:
            return tree_page_size(self.keys, self.children)  # type: ignore[arg-type]
        entry = ENTRY_BYTES + POINTER.size
        return PAGE_BYTES + sum(map(len, self.keys)) + entry * len(self.keys)


@dataclass(slots=True)
class Draft:
    """What a batch makes of a tree.

    Attributes
    ----------
    root : bytes, DraftNode or None
        Packed pointer when nothing changed, None when the map is empty.
    replaced : dict of packed pointer to key
        Pages that the new tree does not use. With the first key below them; with none where a
        page below them is named too.
    """

    root: bytes | DraftNode | None = None
    replaced: dict[bytes, bytes] = field(default_factory=dict)

    def nodes(self) -> list[DraftNode]:
        """New pages, children before parents."""
        out: list[DraftNode] = []

        def walk(node: DraftNode) -> None:
            if node.level:
                for child in node.children:
                    if isinstance(child, DraftNode):
                        walk(child)
            out.append(node)

        if isinstance(self.root, DraftNode):
            walk(self.root)
        return out


class PackedLeaves:
    """Leaves as they are stored, by packed pointer: those that were used last.

    Two generations: when the young one is full, it becomes the old one, and what was old is
    forgotten. Without a lock: threads that race lose a page or a count, until the next change.
    """

    def __init__(self) -> None:
        self._young: dict[bytes, PackedLeaf] = {}
        self._old: dict[bytes, PackedLeaf] = {}
        self._bytes = 0

    def get(self, pointer: bytes) -> PackedLeaf | None:
        """The leaf behind a pointer, if it is kept."""
        leaf = self._young.get(pointer)
        if leaf is None:
            leaf = self._old.get(pointer)
            if leaf is not None:
                self.put(pointer, leaf)
        return leaf

    def put(self, pointer: bytes, leaf: PackedLeaf) -> None:
        """Keep a leaf."""
        if self._bytes > PACKED_BYTES:
            self._old, self._young, self._bytes = self._young, {}, 0
        self._young[pointer] = leaf
        self._bytes += leaf.size + _LEAF_OBJECTS

    def clear(self) -> None:
        """Forget all."""
        self._old, self._young, self._bytes = {}, {}, 0


_LEAF_OBJECTS = 800  # bytes of the objects around a packed leaf


class Tree:
    """Reads trees through a function that fetches verified page bodies."""

    def __init__(self, fetch: Callable[[Pointer], bytes]) -> None:
        self._fetch = fetch
        self._inner: OrderedDict[bytes, Node] = OrderedDict()
        self._leaves_kept: OrderedDict[bytes, Node] = OrderedDict()
        self._packed = PackedLeaves()

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
            node = Node(*unpack_tree_page(self._body(pointer)))
            self._keep(pointer, node)
        return node

    def _body(self, pointer: bytes) -> bytes:
        place = Pointer.unpack(pointer)
        if place.length > MAX_TREE_PAGE:
            raise CorruptDataError(
                f"byte {place.offset}: a tree page of {place.length} bytes", offset=place.offset
            )
        return self._fetch(place)

    def _keep(self, pointer: bytes, node: Node) -> None:
        kept = self._inner if node.level else self._leaves_kept
        kept[pointer] = node
        # Threads may race here; popping by key may miss, which only costs a fetch.
        while len(kept) > (CACHED_INNER if node.level else CACHED_LEAVES):
            try:
                kept.popitem(last=False)
            except KeyError:  # another thread emptied it
                break

    def keep(self, pointers: Sequence[Pointer], nodes: Sequence[DraftNode]) -> None:
        """Keep pages that were just written, and so need not be read, unless they are many."""
        for pointer, node in zip(pointers[-KEPT_NODES:], nodes[-KEPT_NODES:], strict=True):
            self._keep(pointer.pack(), Node(node.level, node.keys, node.children))  # type: ignore[arg-type]

    def _inside(self, pointer: bytes, bounds: Bounds) -> Node:
        """The page behind a pointer, if it keeps within what its parent says.

        Sums do not protect against a file made on purpose: without this check, one page under
        many parents would be as good as any number of them, and a page could be its own parent.
        """
        node = self.node(pointer)
        keys = node.keys
        level, low, high = bounds
        if (
            (node.level != level and level >= 0)
            or not keys
            or keys[0] < low
            or (high is not None and keys[-1] >= high)
        ):
            place = Pointer.unpack(pointer)
            raise CorruptDataError(
                f"byte {place.offset}: the tree page does not belong below its parent",
                offset=place.offset,
            )
        return node

    def get(self, root: bytes | None, key: bytes) -> bytes | None:
        """Value of a key, or None. Costs a fraction of decoding the leaf it is in."""
        level = MAX_TREE_DEPTH + 1
        while root is not None:
            node: Node | PackedLeaf = self._inner.get(root) or self._page(root)
            if isinstance(node, PackedLeaf):
                return node.get(key)
            if node.level >= level:
                raise CorruptDataError(f"a tree page of level {node.level} below level {level}")
            level = node.level
            at = bisect_right(node.keys, key) - 1
            if at < 0:
                return None
            if level == 0:
                return node.values[at] if node.keys[at] == key else None
            root = node.values[at]
        return None

    def _page(self, pointer: bytes) -> Node | PackedLeaf:
        """A page for one look-up: a leaf that is not decoded stays so."""
        page: Node | PackedLeaf | None
        page = self._leaves_kept.get(pointer) or self._packed.get(pointer)
        if page is None:
            data = self._body(pointer)
            if data[:1] == b"\0":
                page = PackedLeaf(data)
                self._packed.put(pointer, page)
            else:
                page = Node(*unpack_tree_page(data))
                self._keep(pointer, page)
        return page

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

    def _leaves(
        self, root: bytes | None, start: bytes, stop: bytes, reverse: bool
    ) -> Iterator[tuple[Node, int, int]]:
        """Leaves with the entries of a range: (leaf, first, last) of each, in order."""
        # A stack, not generators within generators: each would cost every entry a step.
        stack = [(root, _ANYTHING)] if root is not None and start < stop else []
        while stack:
            pointer, bounds = stack.pop()
            node = self._inside(pointer, bounds)
            last = bisect_left(node.keys, stop)
            if node.level == 0:
                yield node, bisect_left(node.keys, start), last
                continue
            first = max(bisect_right(node.keys, start) - 1, 0)
            order = range(first, last) if reverse else range(last - 1, first - 1, -1)
            stack += [(node.values[at], node.bounds_of(at, bounds)) for at in order]

    def pages(self, root: bytes | None) -> Iterator[tuple[bytes, Node]]:
        """Every (packed pointer, page) of a tree, parents first."""
        stack = [(root, _ANYTHING)] if root is not None else []
        while stack:
            pointer, bounds = stack.pop()
            node = self._inside(pointer, bounds)
            yield pointer, node
            if node.level:
                order = range(len(node.values) - 1, -1, -1)
                stack += [(node.values[at], node.bounds_of(at, bounds)) for at in order]

    def apply(self, root: bytes | None, batch: Batch) -> Draft:
        """Draft of the tree with a batch of puts (value) and deletes (None) applied.

        Parameters
        ----------
        root : bytes or None
            Packed pointer to the root page.
        batch : sequence of (key, value or None)
            Ascending keys, each once.
        """
        draft = Draft(root)
        if not batch:
            return draft
        if root is None:
            live = [(k, v) for k, v in batch if v is not None]
            pieces = _cut(0, [k for k, _ in live], [v for _, v in live], True)
        else:
            pieces = self._apply(root, batch, draft, _ANYTHING)
        while len(pieces) > 1:
            first = pieces[0][1]
            level = 1 + (first.level if isinstance(first, DraftNode) else self.node(first).level)
            pieces = _cut(level, [k for k, _ in pieces], [c for _, c in pieces], False)
        draft.root = pieces[0][1] if pieces else None
        while isinstance(draft.root, DraftNode) and draft.root.level and len(draft.root.keys) == 1:
            draft.root = draft.root.children[0]
        return draft

    def _apply(
        self, pointer: bytes, batch: Batch, draft: Draft, bounds: Bounds
    ) -> list[tuple[bytes, bytes | DraftNode]]:
        node = self._inside(pointer, bounds)
        draft.replaced[pointer] = b"" if node.level else node.keys[0]
        if node.level == 0:
            keys, values = _merge(node.keys, node.values, batch)
            ascending = bool(node.keys) and batch[-1][0] > node.keys[-1]
            return _cut(0, keys, values, ascending)
        out: list[tuple[bytes, bytes | DraftNode]] = []
        at, n = 0, len(batch)
        for i, (key, child) in enumerate(zip(node.keys, node.values, strict=True)):
            if i + 1 < len(node.keys):
                stop = at
                limit = node.keys[i + 1]
                while stop < n and batch[stop][0] < limit:
                    stop += 1
            else:
                stop = n
            if stop > at:
                out += self._apply(child, batch[at:stop], draft, node.bounds_of(i, bounds))
            else:
                out.append((key, child))
            at = stop
        out = self._join_small(out, draft)
        ascending = batch[-1][0] > node.keys[-1]
        return _cut(node.level, [k for k, _ in out], [c for _, c in out], ascending)

    def _join_small(
        self, entries: list[tuple[bytes, bytes | DraftNode]], draft: Draft
    ) -> list[tuple[bytes, bytes | DraftNode]]:
        """Join changed pages of less than a quarter with a neighbour."""
        out: list[tuple[bytes, bytes | DraftNode]] = []
        for key, child in entries:
            last = out[-1][1] if out else None
            if last is not None and (_small(child) or _small(last)):
                left, right = self._as_draft(out[-1][0], last), self._as_draft(key, child)
                if left.size + right.size <= TARGET:
                    for pointer in (last, child):
                        if isinstance(pointer, bytes):
                            draft.replaced[pointer] = self.node(pointer).keys[0]
                    left = DraftNode(
                        left.level, left.keys + right.keys, left.children + right.children
                    )
                    out[-1] = (left.keys[0], left)
                    continue
            out.append((key, child))
        return out

    def _as_draft(self, key: bytes, child: bytes | DraftNode) -> DraftNode:
        if isinstance(child, DraftNode):
            return child
        node = self.node(child)
        return DraftNode(node.level, list(node.keys), list(node.values))


def _small(child: bytes | DraftNode) -> bool:
    return isinstance(child, DraftNode) and child.size < TARGET // 4


def _merge(keys: list[bytes], values: list[bytes], batch: Batch) -> tuple[list[bytes], list[bytes]]:
    new_keys: list[bytes] = []
    new_values: list[bytes] = []
    at = 0
    for key, value in batch:
        found = bisect_left(keys, key, at)
        new_keys += keys[at:found]
        new_values += values[at:found]
        at = found + 1 if found < len(keys) and keys[found] == key else found
        if value is not None:
            new_keys.append(key)
            new_values.append(value)
    new_keys += keys[at:]
    new_values += values[at:]
    return new_keys, new_values


def _cut(
    level: int, keys: list[bytes], children: Sequence[bytes | DraftNode], ascending: bool
) -> list[tuple[bytes, bytes | DraftNode]]:
    """Pages of at most TARGET bytes; full ones when keys arrive in ascending order."""
    sizes = [
        ENTRY_BYTES + len(k) + (len(c) if level == 0 else POINTER.size)  # type: ignore[arg-type]
        for k, c in zip(keys, children, strict=True)
    ]
    total = PAGE_BYTES + sum(sizes)
    if not keys:
        return []
    goal = TARGET if ascending or total <= TARGET else total // -(-total // (TARGET - 512)) + 256
    out: list[tuple[bytes, bytes | DraftNode]] = []
    start, used = 0, PAGE_BYTES
    for i, size in enumerate(sizes):
        if i > start and used + size > goal:
            out.append((keys[start], DraftNode(level, keys[start:i], list(children[start:i]))))
            start, used = i, PAGE_BYTES
        used += size
    out.append((keys[start], DraftNode(level, keys[start:], list(children[start:]))))
    return out


def place(
    nodes: Sequence[DraftNode], offset: int, birth: int
) -> list[tuple[Pointer, DraftNode, bytes]]:
    """Give each new page its place, from `offset` on, and its bytes.

    Returns
    -------
    list of (pointer, node, body)
        In order of the file. Parents come behind their children, whose sums they hold.
    """
    placed: dict[int, bytes] = {}
    out: list[tuple[Pointer, DraftNode, bytes]] = []
    for node in nodes:
        values = [c if isinstance(c, bytes) else placed[id(c)] for c in node.children]
        node.children = list(values)
        body = pack_tree_page(node.level, node.keys, values)
        pointer = Pointer(offset, len(body), len(body), birth, sum128(body))
        placed[id(node)] = pointer.pack()
        out.append((pointer, node, body))
        offset += extent_length(len(body))
    return out


def extent_bound(nodes: Sequence[DraftNode]) -> int:
    """Bytes of file space that are enough for these pages."""
    return sum(extent_length(node.size) for node in nodes)
