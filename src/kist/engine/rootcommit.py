"""Writing a new tree: apply all changes, find space for the pages, write them.

The free space is itself part of the map, and writing the map changes it. So the batch is
applied again until what it frees and takes is what it says it frees and takes: two or three
rounds, as the records concerned are neighbours.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from kist.engine.collector import pause
from kist.engine.drafts import NewPage, apply, extent_bound, place
from kist.engine.overlay import Overlay
from kist.engine.space import Space
from kist.engine.tree import Tree
from kist.engine.view import Reader, State
from kist.format.checksum import Buffer
from kist.format.frame import FrameHeader
from kist.format.layout import FRAME, FRAME_TREE, MAX_KEY, RING_HALF, RING_OFFSET
from kist.format.log import Freed
from kist.format.superblock import Slot
from kist.format.values import Pointer

if TYPE_CHECKING:
    from kist.engine.sealedstore import StoreSealing

KEPT_NODES = 256  # of those that are written at once: a bulk commit must not empty the cache
_MANY_RECORDS = 20_000
_ROUNDS = 64
_WRITE_BYTES = 8 << 20  # of pages that are in memory at once
_SLACK = 2048


@contextmanager
def collector_paused(n: int) -> Iterator[None]:
    """Keep Python's cyclic collector from visiting lists of many records: it finds nothing.

    Of a commit of a million records it would take a third. Interrupts are held meanwhile (see
    `kist.engine.interrupts`), so none arrives between the pause and the block that ends it.
    """
    paused = n >= _MANY_RECORDS and pause.begin()
    try:
        yield
    finally:
        if paused:
            pause.end()


Batch = tuple[list[bytes], list[bytes | None]]  # ascending keys, and what becomes of them


def batch_of(tree: Tree, root: bytes | None, overlay: Overlay) -> Batch:
    """All changes of an overlay as puts and deletes of single keys."""
    batch = overlay.values
    if overlay.ranges[0]:
        batch = {}
        for start, stop in zip(*overlay.ranges, strict=True):
            batch.update(dict.fromkeys(tree.entries(root, start, stop)[0]))
        batch.update(overlay.values)
        keys = sorted(batch)
    else:
        keys = overlay.in_order().copy()
    if keys == list(batch):  # records that were put in order: as cheap as it looks, by identity
        return keys, list(batch.values())
    return keys, list(map(batch.__getitem__, keys))


def has(keys: list[bytes], key: bytes) -> bool:
    """Whether ascending keys contain a key."""
    at = bisect_left(keys, key)
    return at < len(keys) and keys[at] == key


def put_more(batch: Batch, more: dict[bytes, bytes | None]) -> None:
    """Put changes more into a batch, which count where both have a key."""
    keys, values = batch
    fresh = []
    for key, value in more.items():
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            values[at] = value
        else:
            fresh.append(key)
    if not fresh:
        return
    # All at once: the records of space stand before most others, so that each insert into the
    # list of a bulk commit would move all of it.
    fresh.sort()
    start = at = bisect_left(keys, fresh[0])
    new_keys: list[bytes] = []
    new_values: list[bytes | None] = []
    for key in fresh:
        stop = bisect_left(keys, key, at)
        new_keys += keys[at:stop]
        new_values += values[at:stop]
        new_keys.append(key)
        new_values.append(more[key])
        at = stop
    keys[start:at] = new_keys
    values[start:at] = new_values


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
    loaded afresh. The overlay of the state is empty afterwards: of a million records, its
    dictionary alone would hold forty megabytes while the pages are made.
    """
    with collector_paused(len(state.overlay.values)):
        return _write_tree(reader, state, space, uuid, commit)


def _write_tree(
    reader: Reader, state: State, space: Space, uuid: bytes, commit: int
) -> tuple[Pointer | None, tuple[int, int]]:
    tree, root = reader.tree, state.root_bytes()
    batch = batch_of(tree, root, state.overlay)
    state.overlay.clear()
    replaced: dict[bytes, bytes] = {}
    run: tuple[int, int] | None = None
    draft = None
    for _ in range(_ROUNDS):
        changes = dict(space.changes)
        # They stay from round to round, in which they only become more.
        put_more(batch, {k: v for k, v in rewriting(tree, root, replaced) if not has(batch[0], k)})
        put_more(batch, changes)
        draft = apply(tree, root, *batch, draft)
        new = {p: k for p, k in draft.replaced.items() if p not in replaced}
        replaced.update(new)
        space.wait(Freed(*Pointer.unpack(p).extent, Pointer.unpack(p).birth, commit) for p in new)
        nodes = draft.nodes()
        sealing = reader.sealing
        need = extent_bound(nodes) if sealing is None else sealing.extent_bound(nodes)
        if run is None or need > run[1]:
            if run is not None:
                space.give(*run)
            run = (space.allocate(need + _SLACK), need + _SLACK)
        if changes == space.changes and replaced.keys() == draft.replaced.keys():
            break
    else:
        raise RuntimeError("the free space of the store does not settle")
    written = write_nodes(reader.backend.write, nodes, run[0], uuid, commit, sealing)
    kept = zip(written[-KEPT_NODES:], nodes[-KEPT_NODES:], strict=True)
    tree.keep((p.pack(), n.written()) for p, n in kept)
    if draft.root is None or isinstance(draft.root, bytes):
        pointer = Pointer.unpack(draft.root) if draft.root else None
    else:
        pointer = written[-1]
    used = sum(p.extent[1] for p in written)
    space.changes.clear()
    return pointer, (run[0] + used, run[1] - used)


def slots_of_tree(
    reader: Reader,
    state: State,
    space: Space,
    uuid: bytes,
    last: bytes,
    ring: tuple[int, int] = (RING_OFFSET, RING_HALF),
) -> tuple[Slot, Slot]:
    """Write the tree of the next commit of a new file, and return both slots, which show it.

    Parameters
    ----------
    last : bytes
        Sum of the record of the commit before; zeros where there is none.
    ring : (int, int)
        Where the log begins, which is empty, and the bytes of one half of it.
    """
    commit = state.commit + 1
    root, spare = write_tree(reader, state, space, uuid, commit)
    end = space.end
    if sum(spare) == end:
        end, spare = spare[0], (0, 0)
    newer, older = (
        Slot(number, commit, state.time_ns, place, end, state.next_node, root, last, spare)
        for number, place in ((2, ring[0]), (1, sum(ring)))
    )
    return newer, older


def write_nodes(
    write: Callable[[int, list[Buffer]], None],
    nodes: Sequence[NewPage],
    offset: int,
    uuid: bytes,
    birth: int,
    sealing: StoreSealing | None = None,
) -> list[Pointer]:
    """Write tree pages one behind the other from `offset` on, some MB with each call."""
    buffers: list[Buffer] = []
    pointers = []
    size = 0
    placed = place if sealing is None else sealing.place
    for pointer, node, body in placed(nodes, offset, birth):
        if sealing is None:
            header = _header(pointer, node, uuid)
        else:
            header = sealing.page_header(pointer, uuid, body)  # type: ignore[arg-type]
        buffers += [header.pack(), body]
        padding = pointer.extent[1] - FRAME.size - len(body)
        if padding:
            buffers.append(bytes(padding))
        pointers.append(pointer)
        size += pointer.extent[1]
        if size >= _WRITE_BYTES:
            write(offset, buffers)
            offset, size, buffers = offset + size, 0, []
    if buffers:
        write(offset, buffers)
    return pointers


def _header(pointer: Pointer, node: NewPage, uuid: bytes) -> FrameHeader:
    return FrameHeader(
        FRAME_TREE,
        pointer.offset,
        uuid,
        0,
        node.level,
        0,
        pointer.birth,
        pointer.length,
        pointer.head,
        pointer.sum,
    )


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
    if draft.root is None or isinstance(draft.root, bytes):  # nothing new, or one old page remains
        return Pointer.unpack(draft.root) if draft.root else None, []
    nodes = draft.nodes()
    sealing = reader.sealing
    bound = extent_bound(nodes) if sealing is None else sealing.extent_bound(nodes)
    offset = allocate(bound)
    written = write_nodes(write, nodes, offset, uuid, state.commit, sealing)
    rest = offset + sum(p.extent[1] for p in written)
    lives = [Freed(*p.extent, state.commit, state.commit + 1) for p in written]
    unused = offset + bound - rest
    if unused:
        lives.append(Freed(rest, unused, state.commit, state.commit))
    return written[-1], lives
