"""Writing a new tree: apply all changes, find space for the pages, write them.

The free space is itself part of the map, and writing the map changes it. So the batch is
applied again until what it frees and takes is what it says it frees and takes: two or three
rounds, as the records concerned are neighbours.
"""

from __future__ import annotations

import gc
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from kist.engine.drafts import DraftNode, apply, extent_bound, place
from kist.engine.overlay import Overlay
from kist.engine.space import Space
from kist.engine.tree import Tree
from kist.engine.view import Reader, State
from kist.format.checksum import Buffer
from kist.format.frame import FrameHeader
from kist.format.layout import FRAME, FRAME_TREE, MAX_KEY
from kist.format.log import Freed
from kist.format.values import Pointer, extent_length

KEPT_NODES = 256  # of those that are written at once: a bulk commit must not empty the cache
_MANY_RECORDS = 20_000
_ROUNDS = 64
_SLACK = 2048


@contextmanager
def collector_paused(n: int) -> Iterator[None]:
    """Keep Python's cyclic collector from visiting lists of many records: it finds nothing.

    Of a commit of a million records it would take a third.
    """
    pause = n >= _MANY_RECORDS and gc.isenabled()
    if pause:
        gc.disable()
    try:
        yield
    finally:
        if pause:
            gc.enable()


Batch = tuple[list[bytes], list[bytes | None]]  # ascending keys, and what becomes of them


def batch_of(tree: Tree, root: bytes | None, overlay: Overlay) -> Batch:
    """All changes of an overlay as puts and deletes of single keys."""
    batch = overlay.values
    if overlay.ranges[0]:
        batch = {}
        for start, stop in zip(*overlay.ranges, strict=True):
            batch.update(dict.fromkeys(tree.entries(root, start, stop)[0]))
        batch.update(overlay.values)
    found = list(batch)
    keys = sorted(found)
    if keys == found:  # records that were put in order: as cheap as it looks, by identity
        return keys, list(batch.values())
    return keys, list(map(batch.__getitem__, keys))


def has(keys: list[bytes], key: bytes) -> bool:
    """Whether ascending keys contain a key."""
    at = bisect_left(keys, key)
    return at < len(keys) and keys[at] == key


def with_more(batch: Batch, more: dict[bytes, bytes | None]) -> Batch:
    """A batch with few changes more, which count where both have a key."""
    keys, values = batch
    out: Batch = ([], [])
    at = 0
    for key in sorted(more):
        found = bisect_left(keys, key, at)
        out[0].extend(keys[at:found])
        out[1].extend(values[at:found])
        out[0].append(key)
        out[1].append(more[key])
        at = found + (found < len(keys) and keys[found] == key)
    out[0].extend(keys[at:])
    out[1].extend(values[at:])
    return out


def rewriting(
    tree: Tree, root: bytes | None, replaced: dict[bytes, bytes]
) -> Iterator[tuple[bytes, bytes]]:
    """A record below each page that no change touches: what was counted as freed is written anew.

    Changes only become more from round to round, so they touch the others again by themselves.
    """
    for key in replaced.values():
        if key:
            yield from islice(tree.scan(root, key, b"\xff" * (MAX_KEY + 1)), 1)


def write_tree(
    reader: Reader, state: State, space: Space, uuid: bytes, commit: int
) -> tuple[Pointer | None, tuple[int, int]]:
    """Write the tree of a state and its free space; returns (root, unused rest of the run).

    Notes
    -----
    Nothing is synced. When this raises, `space` no longer agrees with the file and must be
    loaded afresh.
    """
    with collector_paused(len(state.overlay.values)):
        return _write_tree(reader, state, space, uuid, commit)


def _write_tree(
    reader: Reader, state: State, space: Space, uuid: bytes, commit: int
) -> tuple[Pointer | None, tuple[int, int]]:
    tree, root = reader.tree, state.root_bytes()
    batch = batch_of(tree, root, state.overlay)
    replaced: dict[bytes, bytes] = {}
    run: tuple[int, int] | None = None
    draft = None
    for _ in range(_ROUNDS):
        changes = dict(space.changes)
        more = dict(changes)
        for key, value in rewriting(tree, root, replaced):
            if not has(batch[0], key):
                more.setdefault(key, value)
        draft = apply(tree, root, *with_more(batch, more), draft)
        new = {p: k for p, k in draft.replaced.items() if p not in replaced}
        replaced.update(new)
        space.wait(Freed(*Pointer.unpack(p).extent, Pointer.unpack(p).birth, commit) for p in new)
        nodes = draft.nodes()
        need = extent_bound(nodes)
        if run is None or need > run[1]:
            if run is not None:
                space.give(*run)
            run = (space.allocate(need + _SLACK), need + _SLACK)
        if changes == space.changes and replaced.keys() == draft.replaced.keys():
            break
    else:
        raise RuntimeError("the free space of the store does not settle")
    written = write_nodes(reader.backend.write, nodes, run[0], uuid, commit)
    kept = zip(written[-KEPT_NODES:], nodes[-KEPT_NODES:], strict=True)
    tree.keep((p.pack(), n.written()) for p, n in kept)
    if isinstance(draft.root, DraftNode):
        pointer: Pointer | None = written[-1]
    else:
        pointer = Pointer.unpack(draft.root) if draft.root else None
    used = sum(p.extent[1] for p in written)
    space.changes.clear()
    return pointer, (run[0] + used, run[1] - used)


def write_nodes(
    write: Callable[[int, list[Buffer]], None],
    nodes: Sequence[DraftNode],
    offset: int,
    uuid: bytes,
    birth: int,
) -> list[Pointer]:
    """Write tree pages one behind the other from `offset` on, with one call."""
    buffers: list[Buffer] = []
    pointers = []
    for pointer, node, body in place(nodes, offset, birth):
        header = FrameHeader(
            FRAME_TREE,
            pointer.offset,
            uuid,
            0,
            node.level,
            0,
            birth,
            pointer.length,
            pointer.head,
            pointer.sum,
        )
        buffers += [header.pack(), body]
        padding = extent_length(len(body)) - FRAME.size - len(body)
        if padding:
            buffers.append(bytes(padding))
        pointers.append(pointer)
    if buffers:
        write(offset, buffers)
    return pointers


def write_side_tree(
    reader: Reader,
    state: State,
    allocate: Callable[[int], int],
    write: Callable[[int, list[Buffer]], None],
    uuid: bytes,
) -> tuple[Pointer | None, list[Freed]]:
    """Write a tree for a past commit, for a tag; returns (root, the lives of its pages).

    Its pages belong to that one commit: their life ends with the commit after it. They are
    extents of the transaction that `allocate` and `write` belong to: synced, or verified, as
    all others.
    """
    tree, root = reader.tree, state.root_bytes()
    draft = apply(tree, root, *batch_of(tree, root, state.overlay))
    if not isinstance(draft.root, DraftNode):  # nothing new, or one old page remains
        return Pointer.unpack(draft.root) if draft.root else None, []
    nodes = draft.nodes()
    offset = allocate(extent_bound(nodes))
    written = write_nodes(write, nodes, offset, uuid, state.commit)
    rest = offset + sum(p.extent[1] for p in written)
    lives = [Freed(*p.extent, state.commit, state.commit + 1) for p in written]
    unused = offset + extent_bound(nodes) - rest
    if unused:
        lives.append(Freed(rest, unused, state.commit, state.commit))
    return written[-1], lives
