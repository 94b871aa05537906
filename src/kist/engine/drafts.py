"""Drafts of a tree: what a batch of changes makes of it, before anything is written.

:func:`apply` gives the new pages, children before parents, and the pages they replace; the root
commit finds space for them and writes them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, compress, islice, repeat
from operator import add

from kist.engine.tree import ANYTHING, Bounds, Node, Tree
from kist.format.checksum import sum128
from kist.format.layout import POINTER
from kist.format.tree import ENTRY_BYTES, PAGE_BYTES, pack_tree_page, tree_page_size
from kist.format.values import Pointer, extent_length

# Larger pages make look-ups read more, smaller ones make the tree deeper and checkpoints of
# scattered changes no cheaper: a page is one device block or two anyway.
TARGET = 8192
_MANY = 32  # entries for one leaf that are merged at once
_FEW = 1024  # entries of a batch below an inner page, up to which it is kept what they made of it

Pieces = list[tuple[bytes, "bytes | DraftNode"]]  # (first key, page) in order
# Keys and values of a part of a batch, the pages made of them, and those replaced.
Made = tuple[list[bytes], Sequence[bytes | None], Pieces, dict[bytes, bytes]]


@dataclass(slots=True)
class DraftNode:
    """A page to be written; in inner pages some children are drafts themselves.

    Attributes
    ----------
    size : int
        Upper bound of the bytes of its body.
    """

    level: int
    keys: list[bytes]
    children: list[bytes | DraftNode]
    size: int

    def written(self) -> Node:
        """The page as it is read, once all of its children have their places."""
        return Node(self.level, self.keys, self.children)  # type: ignore[arg-type]


@dataclass(slots=True)
class Draft:
    """What a batch makes of a tree.

    Attributes
    ----------
    root : bytes, DraftNode or None
        Packed pointer when nothing changed, None when the map is empty.
    replaced : dict of packed pointer to key
        Pages that the new tree does not use. With the first key below them where no key of the
        batch lies there: those that were joined with a neighbour.
    memo : dict
        What parts of the batch made of pages, and replaced below them, for the next draft with a
        similar batch.
    """

    root: bytes | DraftNode | None = None
    replaced: dict[bytes, bytes] = field(default_factory=dict)
    memo: dict[bytes, Made] = field(default_factory=dict)

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


def apply(
    tree: Tree,
    root: bytes | None,
    keys: list[bytes],
    values: Sequence[bytes | None],
    before: Draft | None = None,
) -> Draft:
    """Draft of the tree with a batch of puts (value) and deletes (None) applied.

    Parameters
    ----------
    root : bytes or None
        Packed pointer to the root page.
    keys, values : sequences of bytes, of bytes or None
        Ascending keys, each once, and what becomes of them.
    before : Draft, optional
        Of the same root with a similar batch: work on leaves is not done twice.
    """
    draft = Draft(root)
    if not keys:
        return draft
    if root is None:
        pieces = _cut(0, *_merge([], [], keys, values), True)
    else:
        draft.memo = before.memo if before else {}
        pieces = _apply(tree, root, keys, values, 0, len(keys), draft, ANYTHING)
    while len(pieces) > 1:
        first = pieces[0][1]
        level = 1 + (first.level if isinstance(first, DraftNode) else tree.node(first).level)
        pieces = _cut(level, [k for k, _ in pieces], [c for _, c in pieces], False)
    draft.root = pieces[0][1] if pieces else None
    while isinstance(draft.root, DraftNode) and draft.root.level and len(draft.root.keys) == 1:
        draft.root = draft.root.children[0]
    return draft


def _apply(
    tree: Tree,
    pointer: bytes,
    keys: list[bytes],
    values: Sequence[bytes | None],
    at: int,
    stop: int,
    draft: Draft,
    bounds: Bounds,
) -> Pieces:
    """What entries at .. stop - 1 of a batch make of a page."""
    if pointer in draft.memo:  # before it is decoded again
        own, new, pieces, replaced = draft.memo[pointer]
        # Equal objects, mostly the same ones: a look at each.
        if own == keys[at:stop] and new == values[at:stop]:
            draft.replaced.update(replaced)
            return pieces
    first, n_before = at, len(draft.replaced)
    draft.replaced[pointer] = b""
    node = tree.inside(pointer, bounds)
    if node.level == 0:
        own, new = keys[at:stop], values[at:stop]
        ascending = bool(node.keys) and own[-1] > node.keys[-1]
        pieces = _cut(0, *_merge(node.keys, node.values, own, new), ascending)
        draft.memo[pointer] = own, new, pieces, {pointer: b""}
        return pieces
    out: Pieces = []
    last = len(node.keys) - 1
    for i, (key, child) in enumerate(zip(node.keys, node.values, strict=True)):
        until = bisect_left(keys, node.keys[i + 1], at, stop) if i < last else stop
        if until > at:
            below = node.bounds_of(i, bounds)
            out += _apply(tree, child, keys, values, at, until, draft, below)
        else:
            out.append((key, child))
        at = until
    out = _join_small(tree, out, draft)
    ascending = keys[stop - 1] > node.keys[-1]
    pieces = _cut(node.level, [k for k, _ in out], [c for _, c in out], ascending)
    if stop - first <= _FEW:
        replaced = dict(islice(draft.replaced.items(), n_before, None))
        draft.memo[pointer] = keys[first:stop], values[first:stop], pieces, replaced
    return pieces


def _join_small(tree: Tree, entries: Pieces, draft: Draft) -> Pieces:
    """Join changed pages of less than a quarter with a neighbour."""
    if not any(map(_small, [c for _, c in entries if isinstance(c, DraftNode)])):
        return entries
    out: Pieces = []
    for key, child in entries:
        last = out[-1][1] if out else None
        if last is not None and (_small(child) or _small(last)):
            left, right = _as_draft(tree, out[-1][0], last), _as_draft(tree, key, child)
            size = left.size + right.size
            if size <= TARGET:
                for pointer in (last, child):
                    if isinstance(pointer, bytes):
                        draft.replaced[pointer] = tree.node(pointer).keys[0]
                both = left.keys + right.keys, left.children + right.children
                left = DraftNode(left.level, *both, size - PAGE_BYTES)
                out[-1] = (left.keys[0], left)
                continue
        out.append((key, child))
    return out


def _as_draft(tree: Tree, key: bytes, child: bytes | DraftNode) -> DraftNode:
    if isinstance(child, DraftNode):
        return child
    node = tree.node(child)
    size = tree_page_size(node.keys, node.values if node.level == 0 else ())
    if node.level:
        size += POINTER.size * len(node.keys)
    return DraftNode(node.level, list(node.keys), list(node.values), size)


def _small(child: bytes | DraftNode) -> bool:
    return isinstance(child, DraftNode) and child.size < TARGET // 4


def _merge(
    keys: list[bytes], values: list[bytes], own: list[bytes], new: Sequence[bytes | None]
) -> tuple[list[bytes], list[bytes]]:
    """Entries of a leaf with a part of a batch applied."""
    if keys and len(own) < _MANY:
        return _merge_few(keys, values, own, new)
    if keys and own[0] <= keys[-1]:
        merged: dict[bytes, bytes | None] = dict(zip(keys, values, strict=True))
        merged.update(zip(own, new, strict=True))
        keys = sorted(merged)
        both: list[bytes | None] = list(map(merged.__getitem__, keys))
    elif keys:
        keys, both = keys + own, [*values, *new]
    else:
        keys, both = own, list(new)
    if None in both:
        live = [value is not None for value in both]
        keys, both = list(compress(keys, live)), list(compress(both, live))
    return keys, both  # type: ignore[return-value]


def _merge_few(
    keys: list[bytes], values: list[bytes], own: list[bytes], new: Sequence[bytes | None]
) -> tuple[list[bytes], list[bytes]]:
    new_keys: list[bytes] = []
    new_values: list[bytes] = []
    at = 0
    for key, value in zip(own, new, strict=True):
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
) -> Pieces:
    """Pages of at most TARGET bytes; full ones when keys arrive in ascending order."""
    if not keys:
        return []
    below: Iterable[int] = repeat(POINTER.size)
    if level == 0:
        below = map(len, children)  # type: ignore[arg-type]
    # Without a step of Python for each of perhaps a million entries.
    sizes = map(add, map(add, map(len, keys), below), repeat(ENTRY_BYTES))
    ends = array("q", accumulate(sizes, initial=0))  # not a list, which Python's gc would visit
    total = PAGE_BYTES + ends[-1]
    goal = TARGET if ascending or total <= TARGET else total // -(-total // (TARGET - 512)) + 256
    out: Pieces = []
    start, n = 0, len(keys)
    while start < n:
        stop = bisect_right(ends, ends[start] + goal - PAGE_BYTES, start) - 1
        stop = max(stop, start + 1)
        size = PAGE_BYTES + ends[stop] - ends[start]
        part = DraftNode(level, keys[start:stop], list(children[start:stop]), size)
        out.append((keys[start], part))
        start = stop
    return out


def place(
    nodes: Iterable[DraftNode], offset: int, birth: int
) -> Iterator[tuple[Pointer, DraftNode, bytes]]:
    """Give each new page its place, from `offset` on, and its bytes.

    Yields
    ------
    tuple of (pointer, node, body)
        In order of the file. Parents come behind their children, whose sums they hold.
    """
    placed: dict[int, bytes] = {}
    for node in nodes:
        if node.level:
            node.children = [c if isinstance(c, bytes) else placed[id(c)] for c in node.children]
        values: list[bytes] = node.children  # type: ignore[assignment]
        body = pack_tree_page(node.level, node.keys, values)
        pointer = Pointer(offset, len(body), len(body), birth, sum128(body))
        placed[id(node)] = pointer.pack()
        yield pointer, node, body
        offset += extent_length(len(body))


def extent_bound(nodes: Sequence[DraftNode]) -> int:
    """Bytes of file space that are enough for these pages."""
    return sum(extent_length(node.size) for node in nodes)
