"""From a broken file to the newest state of it that can be shown to be one.

Reads only. Which states there may be is told by slots, by root records of the log and by the
beginning of the log; what belongs to one of them, by its tree, and where pages of the tree are
lost by its account of space: what is neither free nor waiting is in use. See
docs/design/0004-salvage.md.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from kist.engine.candidates import Candidate, candidates_of, the_super
from kist.engine.overlay import Overlay
from kist.engine.recovery import Ring
from kist.engine.scan import extent_damage, pointer_of, scan_frames
from kist.engine.space import Extent, load_space
from kist.engine.survivors import END, Broken, SurvivingReader
from kist.engine.view import State, View
from kist.errors import CorruptDataError, FormatError
from kist.format import keys, layout
from kist.format.frame import FrameHeader
from kist.format.layout import FRAME_TREE
from kist.format.values import NO_POINTER, Pointer, pointer_bytes
from kist.storage.base import StorageBackend

__all__ = ["Remains", "find_remains"]

Progress = Callable[[int, int], None]

_FREE_SPACE: Final = (keys.FREE[0], keys.WAITING[1])  # both kinds, and what sorts between them


@dataclass
class Remains:
    """What is left of a store.

    Attributes
    ----------
    view : View
        The newest state that could be put together.
    reader : SurvivingReader
        Of that view; its tree says which ranges of keys are lost.
    commit : int
        Commit of the user that it shows.
    confirmed : bool
        Whether a record says that this state was one, and all that is in `view` belongs to it.
    notes : list of str
        What is known to be lost beyond single records.
    orphans : list of FrameHeader
        Whole frames that may belong to the state, which no record of it names.
    dropped : int
        Frames that the account of space shows to be no part of the state.
    """

    view: View
    reader: SurvivingReader
    commit: int
    confirmed: bool
    notes: list[str] = field(default_factory=list)
    orphans: list[FrameHeader] = field(default_factory=list)
    dropped: int = 0

    def is_lost(self, key_range: keys.Range) -> bool:
        """Whether records may be missing in a range of keys."""
        return self.reader.tree.is_lost(*key_range)


def find_remains(backend: StorageBackend, path: str, progress: Progress | None = None) -> Remains:
    """Find the newest state of a broken store that can be put together.

    Raises
    ------
    NotAStoreError
        Nothing in the file is of a kist store.
    UnsupportedVersionError
        It needs a newer kist.
    """
    notes: list[str] = []
    super_ = the_super(backend, path, notes)
    ring = Ring(backend, super_)
    candidates, behind = candidates_of(ring, notes)
    frames = _Frames(backend, super_.uuid, progress)
    first: Remains | None = None
    for candidate in candidates:
        if first is not None and candidate.state.root is None and not candidate.state.overlay:
            continue  # an empty store instead of a broken one helps nobody
        found = _assemble(backend, candidate, frames, told=True, behind=behind)
        if found.confirmed:
            if first is not None:
                notes.append(
                    f"the tree of commit {first.commit} is lost; commit {found.commit} is the"
                    " newest before it whose tree is there"
                )
            found.notes = notes + found.notes
            found.reader.uuid = super_.uuid
            return found
        first, behind = first or found, True
    if first is None:
        notes.append("no slot and no record of the log is left to say which state was the newest")
        first = _assemble(backend, _by_birth(backend, frames), frames, told=False, behind=True)
    first.notes = notes + first.notes
    first.reader.uuid = super_.uuid
    return first


def _by_birth(backend: StorageBackend, frames: _Frames) -> Candidate:
    """The newest tree by what its pages say of themselves: nobody confirms it."""
    trees = [h for h in frames.whole if h.type == FRAME_TREE]
    root = max(trees, key=lambda h: (h.birth, h.column), default=None)
    size = backend.size()
    end = size & ~63
    state = State(
        root.birth if root else 0, 0, pointer_of(root) if root else None, Overlay(), end, 2
    )
    state.shown = state.commit
    return Candidate(state, [], end, (0, 0))


# What belongs to one of them


class _Frames:
    """All frames of the store, found when they are first asked for."""

    def __init__(self, backend: StorageBackend, uuid: bytes, progress: Progress | None) -> None:
        self._reader = SurvivingReader(backend)
        self._uuid = uuid
        self._progress = progress
        self._found: list[FrameHeader] | None = None
        self._inner: list[FrameHeader] = []

    @property
    def whole(self) -> list[FrameHeader]:
        """Headers of the frames whose bodies are whole too."""
        if self._found is None:
            self._found = []
            for header in scan_frames(self._reader.backend, self._uuid, self._progress):
                if not extent_damage(self._reader, pointer_of(header)):
                    self._found.append(header)
                elif header.type == FRAME_TREE and header.column:
                    self._inner.append(header)
        return self._found

    @property
    def broken_inner(self) -> list[FrameHeader]:
        """Pages above leaves of which the header alone is whole: nothing is lost with them."""
        return self._inner if self.whole else []


def _assemble(
    backend: StorageBackend, candidate: Candidate, frames: _Frames, *, told: bool, behind: bool
) -> Remains:
    """Put a state together out of its tree, and of leaves that lost their way to the root.

    Parameters
    ----------
    told : bool
        A record tells of it.
    behind : bool
        There were later commits: what they wrote is nobody's, and not dropped.
    """
    state = candidate.state
    reader = SurvivingReader(backend)
    tree = reader.tree
    view = View(reader, state)
    remains = Remains(view, reader, state.shown, told)
    tree.walk(state.root_bytes())
    if told and not behind and not tree.broken:
        tree.settle(complete=True)
        return remains
    trees = [h for h in frames.whole if h.type == FRAME_TREE and h.birth <= state.commit]
    trees.sort(key=lambda h: (h.column, h.birth), reverse=True)
    space = None
    if not told and trees and (tree.broken or _level(trees, state) < max(h.column for h in trees)):
        # Not even a root: all leaves, the newest first.
        tree.leaves, tree.reached = [], {}
        tree.broken = [Broken(NO_POINTER, b"", END, -1)]
    complete = not tree.broken
    tree.settle(complete)
    if complete or not tree.is_lost(*_FREE_SPACE):
        # Who can say what is free and what waits can say which pages are in use.
        space = _dead(remains, candidate)
        if space is not None and not complete:
            _adopt(remains, [h for h in trees if not _touches(space, h)])
            complete = _covered(remains, candidate, space, frames.broken_inner)
    elif not complete:
        kept = tree.leaves.copy(), tree.reached.copy(), tree.broken.copy()
        space = _by_proof(remains, candidate, trees, frames.broken_inner)
        complete = space is not None
        if not complete and kept[1]:
            tree.leaves, tree.reached, tree.broken = kept  # all of it has its way to the root
        remains.confirmed = told and (complete or bool(kept[1]))
    if not complete and not remains.confirmed:
        remains.notes.append("it was put together by the age of its pages, and may mix commits")
        complete = True  # what is missing cannot be told; all of it is in doubt
    tree.settle(complete)
    used = _used(remains)
    for header in frames.whole:
        pointer = pointer_of(header)
        if pointer.offset in used:
            continue
        later = behind and header.birth > state.commit
        gone = space is not None and (_touches(space, header) or pointer.offset >= state.end)
        if gone and not later:
            remains.dropped += 1
        else:
            remains.orphans.append(header)
    return remains


def _level(trees: list[FrameHeader], state: State) -> int:
    """Level of the root of a state."""
    root = state.root.offset if state.root else 0
    return max((h.column for h in trees if h.offset == root), default=-1)


def _dead(remains: Remains, candidate: Candidate) -> list[Extent] | None:
    """Space that is free or waits, ascending; None when its account cannot be read."""
    tree = remains.reader.tree
    try:
        space = load_space(
            lambda start, stop: tree.scan(None, start, stop),
            candidate.root_end,
            candidate.spare,
            candidate.records,
            candidate.state.end,
        )
    except FormatError:
        return None
    pieces = space.free_extents() + [(w.offset, w.length) for w in space.waiting_extents()]
    return sorted(pieces)


def _touches(dead: list[Extent], header: FrameHeader) -> bool:
    """Whether a frame lies in space that is not in use."""
    offset, length = pointer_of(header).extent
    at = bisect_right(dead, (offset + length - 1, 1 << 63)) - 1
    return at >= 0 and dead[at][0] + dead[at][1] > offset


def _adopt(remains: Remains, trees: list[FrameHeader]) -> None:
    """Take pages that are in use, and that no page above them leads to any more."""
    tree = remains.reader.tree
    broken = tree.broken.copy()
    for header in trees:  # the highest level first: what is below comes with them
        pointer = pointer_of(header)
        if pointer.offset in tree.reached:
            continue
        try:
            node = tree.node(pointer.pack())
        except FormatError:
            continue
        if not node.keys:
            continue
        home = [b for b in broken if b.start <= node.keys[0] and node.keys[-1] < b.stop]
        if home:
            high = home[0].stop
            tree.walk(pointer.pack(), (node.level, node.keys[0], high))


def _by_proof(
    remains: Remains,
    candidate: Candidate,
    trees: list[FrameHeader],
    broken_inner: list[FrameHeader],
) -> list[Extent] | None:
    """Put leaves together without knowing what is in use, and see whether it adds up.

    Of leaves with the same keys the newest are taken. What these say of free space must be of
    the very commit that wrote the root, and must then leave exactly the room of all pages and
    extents that they name. Returns that free space.
    """
    tree = remains.reader.tree
    kept, reached, broken = tree.leaves.copy(), tree.reached.copy(), tree.broken.copy()
    dead: list[Extent] = []
    for _ in range(3):  # once by birth; again without what is found to be free
        tree.leaves, tree.reached, tree.broken = kept.copy(), reached.copy(), broken.copy()
        usable = [h for h in trees if not _touches(dead, h)]
        leaves = [h for h in usable if h.column == 0]
        _adopt_newest(remains, sorted(leaves, key=lambda h: h.birth, reverse=True), broken)
        for header in usable:
            if header.column:
                tree.reached.setdefault(header.offset, pointer_of(header))
        tree.settle(True)
        found = _dead(remains, candidate)
        if found is None:
            break
        if _is_account_of(remains, candidate) and _covered(remains, candidate, found, broken_inner):
            return found
        if found == dead:
            break
        dead = found
    return None


def _is_account_of(remains: Remains, candidate: Candidate) -> bool:
    """Whether what is read of free space was written with the root.

    Each new root frees the one before it, so it writes this account anew. An older one could
    add up as well: with the new pages in space that was free, or behind the end.
    """
    births = {Pointer.unpack(leaf.pointer).birth for leaf in remains.reader.tree.leaves}
    account = {
        Pointer.unpack(leaf.pointer).birth
        for leaf in remains.reader.tree.leaves
        if leaf.first < _FREE_SPACE[1] and _FREE_SPACE[0] <= leaf.last
    }
    root = candidate.state.root
    return root is not None and (account or births) == {root.birth}


def _adopt_newest(remains: Remains, leaves: list[FrameHeader], broken: list[Broken]) -> None:
    tree = remains.reader.tree
    spans = sorted((leaf.first, leaf.last) for leaf in tree.leaves)
    for header in leaves:
        pointer = pointer_of(header)
        if pointer.offset in tree.reached:
            continue
        try:
            node = tree.node(pointer.pack())
        except FormatError:
            continue
        if node.level or not node.keys:
            continue
        first, last = node.keys[0], node.keys[-1]
        at = bisect_right(spans, (last, END))
        clear = at == 0 or spans[at - 1][1] < first
        if clear and any(b.start <= first and last < b.stop for b in broken):
            spans.insert(at, (first, last))
            tree.walk(pointer.pack(), (0, first, None))


def _used(remains: Remains) -> dict[int, Pointer]:
    """All extents that the state names, and the pages of its tree."""
    used = dict(remains.reader.tree.reached)
    for _, value in remains.view.scan(b"", END):
        try:
            packed = pointer_bytes(value)
        except CorruptDataError:
            continue  # of one record; what it owns is then not known to be used
        for one in packed:
            pointer = Pointer.unpack(one)
            used[pointer.offset] = pointer
    return used


def _covered(
    remains: Remains, candidate: Candidate, dead: list[Extent], broken_inner: list[FrameHeader]
) -> bool:
    """Whether what is known to be used and what is not are all of the file, without overlap."""
    pieces = [pointer.extent for pointer in _used(remains).values()]
    known = {offset for offset, _ in pieces}
    for page in remains.reader.tree.broken:
        pointer = Pointer.unpack(page.pointer)
        if pointer.offset and pointer.offset not in known:
            pieces.append(pointer.extent)
            known.add(pointer.offset)
    for header in broken_inner:
        in_use = header.birth <= candidate.state.commit and not _touches(dead, header)
        if in_use and header.offset not in known:
            pieces.append(pointer_of(header).extent)
    at = layout.DATA_OFFSET
    for offset, length in sorted(pieces + dead):
        if offset != at:
            return False
        at = offset + length
    return at == candidate.state.end
