"""What a crash may leave on the disk: images of a file made from the log of its writes.

The disk is taken to keep what was written before a sync that succeeded, and to be free with
everything later: each write may be there or not, whatever its order; there in part, cut at 512
or 4,096 bytes, or with any of its blocks missing; its length may be there without its bytes,
or its bytes without the length. What a *failed* sync should have covered stays uncertain for
ever, whatever later syncs say, until it is written again.

A name is durable with the next sync of its folder. Until then the file may be gone; after a rename
its name may still lead to what stood there before, whatever of the new file was synced.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from kist.testing.recording import Event

__all__ = ["CrashState", "crash_states"]

# Up to here every subset of the unsynced writes is tried, above a sample of them.
EXHAUSTIVE = 6
SAMPLES = 48
# Places per write and block size where it is torn.
TEARS = 6
BLOCKS = (512, 4096)


class CrashState(NamedTuple):
    """One thing that a crash may leave.

    Attributes
    ----------
    description : str
        Where in the log, and what is missing.
    image : bytes or None
        What the file's name leads to; None when there is no such name.
    at : int
        The crash came before event `at` of the log was complete.
    """

    description: str
    image: bytes | None
    at: int


Range = tuple[int, int]


class _Recipe(NamedTuple):
    """How to make an image from the durable one."""

    label: str
    at: int
    # (event, ranges of its bytes that are there), in order; nothing else happened
    kept: tuple[tuple[int, tuple[Range, ...]], ...]
    length: int | None = None  # of the file, where it does not follow from the writes
    junk: bool = False  # fresh space reads as junk, not as zeros
    prefix: bool = False  # all that was done up to there, and nothing else


class _Point(NamedTuple):
    """A place in the log where recipes are made."""

    at: int
    unsynced: tuple[int, ...]  # writes and resizes that may be missing
    fresh: tuple[int, ...]  # those of them since the last point
    synced: int  # event of the last sync that succeeded, or 0


def crash_states(
    log: Sequence[Event],
    *,
    seed: int = 0,
    limit: int | None = None,
    initial: bytes = b"",
    prefixes: bool = False,
) -> Iterator[CrashState]:
    """Yield what crashes during the recorded work may leave on the disk.

    Parameters
    ----------
    log : sequence of Event
        What was done.
    seed : int
        Of the samples; the same seed gives the same states.
    limit : int, optional
        Most states to yield, spread evenly over the log; by default all that are made.
    initial : bytes
        Content of the file, and durable, before the log begins; empty: there was no file.
    prefixes : bool
        Yield the file after each write in any case, beside `limit` other states.

    Yields
    ------
    CrashState
        In order of the log. Images repeat where several losses look the same.
    """
    rng = random.Random(seed)
    by_point: list[list[_Recipe]] = []
    chosen: list[_Recipe] = []
    lengths = _lengths(log, initial)
    for point in _points(log):
        made = list(_recipes(log, point, lengths, rng))
        if prefixes:
            chosen += [recipe for recipe in made if recipe.prefix]
            made = [recipe for recipe in made if not recipe.prefix]
        rng.shuffle(made)
        by_point.append(made)
    chosen += _spread(by_point, limit)
    chosen.sort(key=lambda recipe: recipe.at)
    yield from _images(log, chosen, initial)


def _points(log: Sequence[Event]) -> Iterator[_Point]:
    """Yield a point before each sync, each note and the end, if there is anything new."""
    limbo: list[int] = []  # of failed syncs: uncertain for good
    pending: list[int] = []
    fresh: list[int] = []
    renamed = False
    synced = 0
    for index, event in enumerate(log):
        if event.kind in ("write", "resize"):
            pending.append(index)
            fresh.append(index)
            continue
        if event.kind in ("rename", "directory sync"):
            renamed = renamed or event.kind == "rename"
            continue
        if fresh or renamed or (limbo and event.kind == "note"):
            yield _Point(index, (*limbo, *pending), tuple(fresh), synced)
            fresh = []
            renamed = False
        if event.kind == "sync":
            pending = []
            synced = index
        elif event.kind == "failed sync":
            limbo += pending
            pending = []
    if pending or limbo or renamed or (log and log[-1].kind == "note"):
        yield _Point(len(log), (*limbo, *pending), tuple(fresh), synced)


def _lengths(log: Sequence[Event], initial: bytes) -> list[int]:
    """Length of the file before each event, and at the end."""
    lengths = [len(initial)]
    for event in log:
        length = lengths[-1]
        if event.kind == "write":
            length = max(length, event.offset + len(event.data))
        elif event.kind == "resize":
            length = event.offset
        lengths.append(length)
    return lengths


def _recipes(
    log: Sequence[Event], point: _Point, lengths: Sequence[int], rng: random.Random
) -> Iterator[_Recipe]:
    """Make the recipes of one point."""
    unsynced = point.unsynced

    def whole(event: int) -> tuple[int, tuple[Range, ...]]:
        return event, ((0, len(log[event].data)),)

    def subset(label: str, members: Iterable[int], **other: int | bool | None) -> _Recipe:
        kept = tuple(whole(event) for event in members)
        return _Recipe(label, point.at, kept, **other)  # type: ignore[arg-type]

    # In order: everything up to each write, and that write torn. The first prefix of a point,
    # without any of its new writes, is the last one of the point before.
    for event in point.fresh:
        before = [e for e in unsynced if e < event]
        whole_prefix = subset(f"after event {event}", [*before, event])
        yield whole_prefix._replace(at=event + 1, prefix=True)
        for name, ranges in _tears(log[event], rng):
            kept = (*map(whole, before), (event, ranges))
            yield _Recipe(f"event {event} {name}", event + 1, kept)
    if not unsynced:
        yield subset("nothing unsynced", (), prefix=True)
        return

    # Out of order: any of the unsynced writes may be missing.
    for members in _subsets(unsynced, rng):
        missing = [e for e in unsynced if e not in members]
        yield subset(f"without events {missing}", members)
        if rng.random() < 0.25:
            # Lengths and bytes go separate ways.
            yield subset(f"length alone of {missing}", members, length=lengths[point.at])
            # Not before the first sync: nobody can tell junk from the file of another program.
            if point.synced:
                label = f"length alone of {missing}, junk"
                yield subset(label, members, length=lengths[point.at], junk=True)
    for event in point.fresh:
        others = [e for e in unsynced if e != event]
        for name, ranges in _tears(log[event], rng):
            yield _Recipe(f"event {event} {name}, alone", point.at, ((event, ranges),))
            kept = tuple(sorted([*map(whole, others), (event, ranges)]))
            yield _Recipe(f"event {event} {name}, the others there", point.at, kept)
    # Any block of any write.
    for block in BLOCKS:
        for _ in range(4):
            kept = tuple((event, _sieve(log[event], block, rng)) for event in unsynced)
            yield _Recipe(f"blocks of {block} missing", point.at, kept)
    # Bytes that lie beyond the length as it was at the last sync.
    durable = lengths[point.synced]
    if lengths[point.at] > durable:
        yield subset("the length lost", unsynced, length=durable)
        for _ in range(4):
            cut = rng.randrange(durable, lengths[point.at])
            yield subset(f"the length cut to {cut}", unsynced, length=cut)


def _subsets(unsynced: tuple[int, ...], rng: random.Random) -> Iterator[tuple[int, ...]]:
    n = len(unsynced)
    if n <= EXHAUSTIVE:
        for mask in range(2**n):
            yield tuple(e for bit, e in enumerate(unsynced) if mask >> bit & 1)
        return
    yield ()
    yield unsynced
    # The newest matter most; older ones were at the end when their own point was made.
    for event in unsynced[-16:]:
        yield tuple(e for e in unsynced if e != event)
        yield (event,)
    for _ in range(SAMPLES):
        share = rng.choice((0.2, 0.5, 0.8, 0.95))
        yield tuple(e for e in unsynced if rng.random() < share)


def _tears(event: Event, rng: random.Random) -> Iterator[tuple[str, tuple[Range, ...]]]:
    """Yield the ways in which one write may be there in part."""
    n = len(event.data)
    for block in BLOCKS:
        first = block - event.offset % block
        cuts = range(first, n, block)
        some = list(cuts)
        if len(some) > TEARS:
            # A record's first and last blocks hold what makes it valid.
            some = sorted({some[0], some[-1], *rng.sample(some[1:-1], TEARS - 2)})
        for cut in some:
            yield f"first {cut} bytes", ((0, cut),)
            yield f"without its first {cut} bytes", ((cut, n),)


def _sieve(event: Event, block: int, rng: random.Random) -> tuple[Range, ...]:
    n = len(event.data)
    if event.kind == "resize":
        return ((0, 0),)
    cuts = [0, *range(block - event.offset % block, n, block), n]
    return tuple(r for r in pairwise(cuts) if rng.random() < 0.5)


def _spread(by_point: list[list[_Recipe]], limit: int | None) -> Iterator[_Recipe]:
    """Take one recipe of each point in turn until there are `limit`."""
    left = sum(map(len, by_point)) if limit is None else limit
    turn = 0
    while left > 0:
        some = [made[turn] for made in by_point if turn < len(made)]
        if not some:
            return
        yield from some[:left] if len(some) <= left else random.Random(turn).sample(some, left)
        left -= len(some)
        turn += 1


def _images(
    log: Sequence[Event], recipes: Sequence[_Recipe], initial: bytes
) -> Iterator[CrashState]:
    """Build the images of recipes that are sorted by index."""
    base = bytearray(initial)  # everything that is certain and comes first
    certain: list[int] = []  # synced, but behind something uncertain: not in base yet
    limbo: set[int] = set()
    pending: list[int] = []
    renamed = next((i for i, event in enumerate(log) if event.kind == "rename"), -1)
    before: bytes | None = log[renamed].note if renamed >= 0 else None
    named = bool(initial) and renamed < 0
    shown = -1  # where what the name led to before was yielded last
    done = 0
    for recipe in recipes:
        while done < recipe.at:
            event = log[done]
            if event.kind in ("write", "resize"):
                pending.append(done)
            elif event.kind == "sync":
                certain += pending
                pending = []
                if not limbo:
                    for i in certain:
                        _apply(base, log[i], ((0, len(log[i].data)),), False)
                    certain = []
            elif event.kind == "failed sync":
                limbo |= set(pending)
                pending = []
            elif event.kind == "directory sync":
                named = named or done > renamed
            elif event.kind == "note" and not named:
                yield CrashState(f"event {done}: the file's name lost", before, done + 1)
            done += 1
        if recipe.at <= renamed:
            if recipe.at > shown:
                yield CrashState(f"event {recipe.at}: before the rename", before, recipe.at)
                shown = recipe.at
            continue
        image = bytearray(base)
        kept = dict(recipe.kept)
        for i in sorted({*certain, *kept}):
            ranges = kept.get(i, ((0, len(log[i].data)),))
            _apply(image, log[i], ranges, recipe.junk)
        if recipe.length is not None:
            _set_length(image, recipe.length, recipe.junk)
        label = f"event {recipe.at} of {len(log)}: {recipe.label}"
        yield CrashState(label, bytes(image), recipe.at)


def _apply(image: bytearray, event: Event, ranges: Iterable[Range], junk: bool) -> None:
    if event.kind == "resize":
        _set_length(image, event.offset, junk)
        return
    for start, stop in ranges:
        at = event.offset + start
        if at > len(image) and stop > start:
            _set_length(image, at, junk)
        image[at : at + stop - start] = event.data[start:stop]


def _set_length(image: bytearray, length: int, junk: bool) -> None:
    more = length - len(image)
    if more <= 0:
        del image[length:]
    elif junk:
        image += random.Random(length).randbytes(more)
    else:
        image += bytes(more)
