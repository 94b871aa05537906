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
from typing import ClassVar, cast

from kist.engine.tree import ANYTHING, Bounds, Node, Tree
from kist.format.checksum import sum128
from kist.format.layout import POINTER
from kist.format.tree import (
    ENTRY_BYTES,
    PAGE_BYTES,
    PackedPage,
    pack_tree_page,
    tree_page_size,
)
from kist.format.values import Pointer, extent_length

# Larger pages make look-ups read more, smaller ones make the tree deeper and checkpoints of
# scattered changes no cheaper: a page is one device block or two anyway.
TARGET = 8192
_MANY = 32  # entries for one leaf that are merged at once
_FEW = 1024  # entries of a batch below an inner page, up to which it is kept what they made of it

Pieces = list[tuple[bytes, "bytes | NewPage"]]  # (first key, page) in order
# Keys and values of a part of a batch, the pages made of them, and those replaced.
Made = tuple[list[bytes], Sequence[bytes | None], Pieces, dict[bytes, bytes]]


@dataclass(slots=True)
class DraftNode:
    """A page to be written; in inner pages some children are drafts themselves.

    Attributes
    ----------
    size : int
        Upper bound of the bytes of its body.
    fresh : list of int, optional
        Which children are drafts, where whoever made it knows.
    """

    level: int
    keys: list[bytes]
    children: list[bytes | NewPage]
    size: int
    fresh: list[int] | None = field(default=None, compare=False)

    def drafted(self) -> list[int]:
        """Which children are drafts."""
        if self.fresh is None:
            drafts = [i for i, c in enumerate(self.children) if c.__class__ is not bytes]
            self.fresh = drafts if self.level else []
        return self.fresh

    def written(self) -> Node:
        """The page as it is read, once all of its children have their places."""
        return Node(self.level, self.keys, self.children)  # type: ignore[arg-type]


@dataclass(slots=True)
class EditedLeaf:
    """A leaf to be written in which a few entries changed: packed already.

    Attributes
    ----------
    body : bytes
        Of the page.
    page : PackedPage
        To look into it.
    """

    body: bytes
    page: PackedPage = field(init=False, compare=False)
    level: ClassVar = 0

    def __post_init__(self) -> None:
        self.page = PackedPage(self.body)

    @property
    def size(self) -> int:
        """Upper bound of the bytes of its body, also when it is joined with another one."""
        return self.page.bound

    @property
    def first(self) -> bytes:
        """Its first key."""
        return cast("tuple[bytes, bytes]", self.page.ends())[0]

    @property
    def keys(self) -> list[bytes]:
        """Its keys."""
        return self.page.unpack()[1]

    @property
    def children(self) -> list[bytes | NewPage]:
        """Its values."""
        return list(self.page.unpack()[2])

    def written(self) -> PackedPage:
        """The page as it is read."""
        return self.page


NewPage = DraftNode | EditedLeaf


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

    root: bytes | NewPage | None = None
    replaced: dict[bytes, bytes] = field(default_factory=dict)
    memo: dict[bytes, Made] = field(default_factory=dict)

    def nodes(self) -> list[NewPage]:
        """New pages, children before parents."""
        out: list[NewPage] = []

        def walk(node: NewPage) -> None:
            if isinstance(node, DraftNode):
                for at in node.drafted():
                    walk(cast("NewPage", node.children[at]))
            out.append(node)

        if self.root is not None and not isinstance(self.root, bytes):
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
        level = 1 + (tree.node(first) if isinstance(first, bytes) else first).level
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
    own, new = keys[at:stop], values[at:stop]
    if bounds[0] == 0 and len(own) < _MANY:
        body = tree.packed_inside(pointer, bounds).edited(own, new)
        if body is not None and (leaf := EditedLeaf(body)).size <= TARGET:
            pieces = [(leaf.first, leaf)]
            draft.memo[pointer] = own, new, pieces, {pointer: b""}
            return pieces
    node = tree.inside(pointer, bounds)
    if node.level == 0:
        ascending = bool(node.keys) and own[-1] > node.keys[-1]
        pieces = _cut(0, *_merge(node.keys, node.values, own, new), ascending)
        draft.memo[pointer] = own, new, pieces, {pointer: b""}
        return pieces
    made: list[tuple[int, Pieces]] = []  # of those children below which something changes
    last = len(node.keys) - 1
    while at < stop:
        i = max(bisect_right(node.keys, keys[at]) - 1, 0)
        until = bisect_left(keys, node.keys[i + 1], at, stop) if i < last else stop
        below = node.bounds_of(i, bounds)
        made.append((i, _apply(tree, node.values[i], keys, values, at, until, draft, below)))
        at = until
    pieces = _in_place(node, made) or _cut_anew(tree, node, made, draft, own[-1])
    if stop - first <= _FEW:
        replaced = dict(islice(draft.replaced.items(), n_before, None))
        draft.memo[pointer] = own, new, pieces, replaced
    return pieces


def _in_place(node: Node, made: list[tuple[int, Pieces]]) -> Pieces:
    """An inner page whose changed children became one page each; empty where it is not so."""
    own, children = node.keys.copy(), cast("list[bytes | NewPage]", node.values.copy())
    for i, pieces in made:
        if len(pieces) != 1 or _small(pieces[0][1]):
            return []
        own[i], children[i] = pieces[0]
    size = PAGE_BYTES + (ENTRY_BYTES + POINTER.size) * len(own) + sum(map(len, own))
    if size > TARGET:
        return []
    return [(own[0], DraftNode(node.level, own, children, size, [i for i, _ in made]))]


def _cut_anew(
    tree: Tree, node: Node, made: list[tuple[int, Pieces]], draft: Draft, highest: bytes
) -> Pieces:
    """Inner pages of all children of one, after changes up to the key `highest`."""
    out: Pieces = []
    at = 0
    for i, pieces in made:
        out += zip(node.keys[at:i], node.values[at:i], strict=True)
        out += pieces
        at = i + 1
    out += zip(node.keys[at:], node.values[at:], strict=True)
    out = _join_small(tree, out, draft)
    ascending = highest > node.keys[-1]
    return _cut(node.level, [k for k, _ in out], [c for _, c in out], ascending)


def _join_small(tree: Tree, entries: Pieces, draft: Draft) -> Pieces:
    """Join changed pages of less than a quarter with a neighbour."""
    if not any(map(_small, [c for _, c in entries])):
        return entries
    out: Pieces = []
    for key, child in entries:
        last = out[-1][1] if out else None
        if last is not None and (_small(child) or _small(last)):
            left, right = _as_draft(tree, last), _as_draft(tree, child)
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


def _as_draft(tree: Tree, child: bytes | NewPage) -> NewPage:
    if not isinstance(child, bytes):
        return child
    node = tree.node(child)
    size = tree_page_size(node.keys, node.values if node.level == 0 else ())
    if node.level:
        size += POINTER.size * len(node.keys)
    return DraftNode(node.level, list(node.keys), list(node.values), size)


def _small(child: bytes | NewPage) -> bool:
    return child.__class__ is not bytes and cast("NewPage", child).size < TARGET // 4


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
    level: int, keys: list[bytes], children: Sequence[bytes | NewPage], ascending: bool
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
    nodes: Iterable[NewPage], offset: int, birth: int
) -> Iterator[tuple[Pointer, NewPage, bytes]]:
    """Give each new page its place, from `offset` on, and its bytes.

    Yields
    ------
    tuple of (pointer, node, body)
        In order of the file. Parents come behind their children, whose sums they hold.
    """
    placed: dict[int, bytes] = {}
    for node in nodes:
        if isinstance(node, EditedLeaf):
            body = node.body
        else:
            settle(node, placed)
            body = pack_tree_page(node.level, node.keys, cast("list[bytes]", node.children))
        pointer = Pointer(offset, len(body), len(body), birth, sum128(body))
        placed[id(node)] = pointer.pack()
        yield pointer, node, body
        offset += extent_length(len(body))


def settle(node: NewPage, placed: dict[int, bytes]) -> None:
    """Name those children that are drafts by their places, which are kept by `id`."""
    if isinstance(node, DraftNode):
        for at in node.drafted():
            node.children[at] = placed[id(node.children[at])]


def extent_bound(nodes: Sequence[NewPage]) -> int:
    """Bytes of file space that are enough for these pages."""
    return sum(extent_length(node.size) for node in nodes)
