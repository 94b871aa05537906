"""Reading rows: from positions to the pages and pieces that hold them, into arrays.

`plan` turns ascending positions into spans, each a part of one group. `read_leaves` fills one
array per leaf, all pages of all spans at once; `read_records` does so span by span through a
buffer that stays warm, and joins each into structured rows. Pages decode straight into the
arrays of the caller where a span is a run of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist import engine
from kist._kernels import records
from kist._kernels.cells import empty_values
from kist.engine.parallel import run
from kist.errors import CorruptDataError
from kist.format.schema import Leaf
from kist.format.values import Pointer
from kist.model.tables.stored.layout import RECENT, Group
from kist.model.tables.stored.records import BLOCK_ROWS, GROUP_ROWS
from kist.model.tables.stored.schema import block_rows_of
from kist.model.tables.stored.state import TableState, in_its_file, located

if TYPE_CHECKING:
    from kist.engine.ahead import Wanted

__all__ = [
    "Span",
    "all_true",
    "as_ordinals",
    "as_run",
    "as_slice",
    "bring_near",
    "group_spans",
    "naming_page",
    "plan",
    "read_leaves",
    "read_records",
]

Array = np.ndarray[Any, Any]
Request = tuple[Pointer, Array, int, int]

DENSE: Final = 2
"""Blocks are decoded one by one when fewer than one in `DENSE` of those between the first and the
last row holds a row that is wanted; else all of them at once, which costs less per block."""

JOIN_BYTES: Final = 32 << 20
"""Bytes of columns per step of `read_records`: a row group of 50 columns, so that its pages are
read as one run."""

FEW_PICKED: Final = 2
"""Where at most one row in `FEW_PICKED` is wanted, values are made of those only, if they can."""

PART: Final = 4
"""A page of which less than one in `PART` is wanted is read by itself, only the sectors needed."""

FEW_PARTS: Final = 4
SMALL_PART: Final = 100_000
"""Values from which on threads pay for parts of pages; decoding a block takes about 10 us."""


class Span(NamedTuple):
    """Rows of one group, and where they go.

    Attributes
    ----------
    group : Group
        Which group.
    ordinals : range or ndarray of int64
        Rows of the group: a run with step 1, or strictly ascending ordinals.
    at : int
        Place of the first of them in the output.
    """

    group: Group
    ordinals: range | Array
    at: int

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.ordinals)


def plan(state: TableState, rows: range | Array) -> list[Span]:
    """Cut ascending positions into spans.

    Parameters
    ----------
    state : TableState
        The table.
    rows : range or ndarray of int64
        Positions of live rows, strictly ascending.
    """
    if not len(rows):
        return []
    layout = state.layout
    starts = layout.starts
    first = int(starts.searchsorted(rows[0], "right")) - 1
    last = int(starts.searchsorted(rows[-1], "right")) - 1
    if first == last:
        cuts = [(first, 0, len(rows))]
    elif isinstance(rows, range):
        limits = starts[first + 1 : last + 1]
        # Number of elements of the range below each limit.
        counts = -((rows[0] - limits) // rows.step)
        edges = [0, *counts.tolist(), len(rows)]
        cuts = [(first + i, edges[i], edges[i + 1]) for i in range(last - first + 1)]
    else:
        owner = starts.searchsorted(rows, "right") - 1
        edges = [0, *(np.flatnonzero(owner[1:] != owner[:-1]) + 1).tolist(), len(rows)]
        cuts = [(int(owner[a]), a, b) for a, b in pairwise(edges)]
    spans = []
    for index, start, stop in cuts:
        if stop > start:
            group = layout.group(index)
            ranks = _shifted(rows[start:stop], int(starts[index]))
            spans.append(Span(group, _ordinals(state, group, ranks), start))
    return spans


def _shifted(rows: range | Array, by: int) -> range | Array:
    if isinstance(rows, range):
        return range(rows.start - by, rows.stop - by, rows.step)
    return rows - by


def _ordinals(state: TableState, group: Group, ranks: range | Array) -> range | Array:
    live = state.live(group)
    if live is not None:
        if isinstance(ranks, range):
            return as_run(live[ranks.start : ranks.stop : ranks.step])
        return as_run(live[ranks])
    if isinstance(ranks, range) and ranks.step == 1:
        return ranks
    if isinstance(ranks, range):
        return as_run(np.arange(ranks.start, ranks.stop, ranks.step))
    return as_run(ranks)


def as_ordinals(ordinals: range | Array) -> Array:
    """Return ordinals as an int64 array; NumPy would make one of a range item by item."""
    if isinstance(ordinals, range):
        return np.arange(ordinals.start, ordinals.stop, ordinals.step, dtype=np.int64)
    return ordinals


def as_run(ordinals: Array) -> range | Array:
    """Return ascending ordinals as a range when there is no gap among them."""
    first, last = int(ordinals[0]), int(ordinals[-1])
    return range(first, last + 1) if last - first + 1 == len(ordinals) else ordinals


def group_spans(state: TableState, group: Group) -> Span:
    """Return the span of all live rows of a group."""
    live = state.live(group)
    return Span(group, range(group.n_rows) if live is None else as_run(live), 0)


def read_leaves(
    state: TableState, spans: Sequence[Span], leaves: Sequence[Leaf], outs: Sequence[Array]
) -> None:
    """Fill one array per leaf with the rows of all spans.

    Parameters
    ----------
    spans : sequence of Span
        ``at`` counts rows of the arrays.
    leaves : sequence of Leaf
        Which leaves.
    outs : sequence of ndarray
        One contiguous array per leaf of the leaf's dtype, flat: rows times values a row.

    Raises
    ------
    CorruptDataError
        Naming the column and the page.
    """
    if any(leaf.is_virtual for leaf in leaves):
        from kist.model.tables.stored.computed import fill_virtual

        fill_virtual(state, spans, leaves, outs)
    requests: list[Request] = []
    parts: list[Request] = []
    named: dict[int, tuple[Leaf, Group]] = {}
    picks: list[tuple[Span, Leaf, Array]] = []
    turned: list[tuple[Leaf, Array, Array]] = []
    added, sealed = state.added, state.facts.sealed
    for span in spans:
        group, ordinals, at = span
        n = len(ordinals)
        rows = state.piece(group) if not group.is_pages else None
        for leaf, out in zip(leaves, outs, strict=True):
            if not leaf.is_stored:
                continue  # nothing is stored of values without width, nor of virtual columns
            width = leaf.n_values
            target = out[at * width : (at + n) * width]
            codes = state.recoding(leaf, group) if rows is None else None
            constant = state.constant(leaf, group) if leaf.id in added else None
            if constant is not None:
                target.reshape(n, width)[...] = constant
                codes = None
            elif rows is not None:
                where = as_slice(ordinals)
                part = state.piece(group, leaf) if leaf.id in sealed else rows
                target.reshape(n, *leaf.shape)[...] = part[f"f{leaf.id}"][where]
            elif leaf.dtype.kind == "b" and _all_true(state, leaf, group):
                target[...] = True  # such as what says that no value is null
            elif n == group.n_rows and leaf.id in state.facts.bitmaps:
                target[...] = _validity(state, leaf, group)
            elif isinstance(ordinals, range):
                pointer, _ = state.page(leaf, group)
                few = n * PART < group.n_rows
                request = (pointer, target, ordinals.start * width, group.n_rows * width)
                (parts if few else requests).append(request)
                named[pointer.offset] = leaf, group
            else:
                picks.append((span, leaf, target))
            if codes is not None:
                turned.append((leaf, target, codes))
    backend = state.view.reader.backend
    if backend.remote:
        bring_near(state, spans, leaves)
        requests, parts = requests + parts, []
    try:
        if requests:
            engine.pages.read_pages(state.view, requests)
        if len(parts) <= FEW_PARTS or sum(len(part[1]) for part in parts) <= SMALL_PART:
            for part in parts:
                _read_part(state, part)
        else:
            run([partial(_read_part, state, part) for part in parts])
    except CorruptDataError as error:
        backend.distrust()
        raise naming_page(state, error, named) from error
    if picks:
        _pick_all(state, picks)
    if turned:
        from kist.model.tables.stored.categories import recode
    for leaf, target, codes in turned:
        target[...] = recode(target, codes, state.path, leaf)
    for span in spans:
        if span.group.patches:
            _apply_patches(state, span, leaves, outs)


def _read_part(state: TableState, request: Request) -> None:
    """Read a run of values of one page."""
    pointer, out, start, n_values = request
    if len(out) == 1 and engine.oneblock.take_page_value(state.view, pointer, n_values, start, out):
        return
    engine.pages.read_page(state.view, pointer, out, start, n_values)


def all_true(state: TableState, leaf: Leaf, group: Group) -> bool:
    """Tell whether statistics say of a leaf of bools that all rows of a group are True."""
    if not group.is_pages or state.find_page(leaf, group) is None:
        return False
    return not state.rewrites(leaf, group) and _all_true(state, leaf, group)


def _all_true(state: TableState, leaf: Leaf, group: Group) -> bool:
    """Tell whether a page of bools is known to hold nothing but True."""
    from kist.indexes.statistics import is_true

    return is_true(state.page(leaf, group)[1].statistics)


def _validity(state: TableState, leaf: Leaf, group: Group) -> Array:
    """Return which values of a nullable column a page holds, stored ones at that.

    It is asked for by all that is asked of the column, and takes longer to decode than the values;
    as a bitmap it stays at hand.
    """
    pointer, _ = state.page(leaf, group)

    def make() -> tuple[Array, int]:
        found = np.empty(group.n_rows, bool)
        try:
            engine.pages.read_page(state.view, pointer, found, 0, group.n_rows)
        except CorruptDataError as error:
            state.view.reader.backend.distrust()
            raise located(error, state, ".".join(leaf.path), group.first) from error
        bits = np.packbits(found)
        return bits, bits.nbytes + 200

    bits = RECENT.get(group, ("validity", leaf.id, pointer.sum), make)
    return np.unpackbits(bits, count=group.n_rows).view(bool)


def as_slice(ordinals: range | Array) -> slice | Array:
    """Return ordinals as an index of the rows of a group."""
    return slice(ordinals.start, ordinals.stop) if isinstance(ordinals, range) else ordinals


def naming_page(
    state: TableState,
    error: CorruptDataError,
    named: Mapping[int, tuple[Leaf, Group]],
) -> CorruptDataError:
    """Return the error with the column that it belongs to; its offset is that of the page."""
    found = None if error.offset is None else named.get(error.offset)
    if found is not None:
        leaf, group = found
        return located(error, state, ".".join(leaf.path), group.first)
    text, offset = in_its_file(error, state)
    return CorruptDataError(f"{state.path!r}: {text}", offset=offset, node=state.path)


def _pick_all(state: TableState, picks: Sequence[tuple[Span, Leaf, Array]]) -> None:
    """Fill arrays with scattered rows of pages: those of a column together, where they can be."""
    by_leaf: dict[int, tuple[Leaf, list[tuple[Span, Array]]]] = {}
    for span, leaf, target in picks:
        by_leaf.setdefault(leaf.id, (leaf, []))[1].append((span, target))
    others: list[tuple[Span, Leaf, Array]] = []
    places: dict[int, Array] = {}
    blocks: dict[tuple[int, int, int], Any] = {}
    for leaf, some in by_leaf.values():
        if leaf.n_values != 1:
            others += [(span, leaf, target) for span, target in some]
            continue
        named: dict[int, tuple[Leaf, Group]] = {}
        requests: dict[int, tuple[Span, Array]] = {}
        wanted = []
        for span, target in some:
            pointer, _ = state.page(leaf, span.group)
            # One array for all columns: what is learnt of it is learnt once.
            ordinals = places.setdefault(id(span), as_ordinals(span.ordinals))
            pick = engine.batches.Pick(pointer, span.group.n_rows, ordinals, target)
            named[pointer.offset] = leaf, span.group
            requests[id(target)] = span, target
            wanted.append(pick)
        try:
            left = engine.batches.take_pages(state.view, leaf.dtype, wanted, blocks)
        except CorruptDataError as error:
            state.view.reader.backend.distrust()
            raise naming_page(state, error, named) from error
        others += [(requests[id(pick.out)][0], leaf, pick.out) for pick in left]
    run([partial(_pick, state, *other) for other in others])


def _pick(state: TableState, span: Span, leaf: Leaf, target: Array) -> None:
    """Fill `target` with scattered rows of one page."""
    ordinals = as_ordinals(span.ordinals)
    pointer, _ = state.page(leaf, span.group)
    width = leaf.n_values
    n_values = span.group.n_rows * width
    first, last = int(ordinals[0]), int(ordinals[-1])
    try:
        if leaf.is_loose:
            target[...] = engine.pages.take_page(
                state.view, pointer, leaf.dtype, ordinals, n_values
            )
            return
        blocks = ordinals // block_rows_of(leaf)
        n_blocks = 1 + int(np.count_nonzero(blocks[1:] != blocks[:-1]))
        dense = int(blocks[-1] - blocks[0]) + 1 <= DENSE * n_blocks
        found = None
        if dense and width == 1 and len(ordinals) * FEW_PICKED <= last - first + 1:
            found = engine.pages.read_narrow(
                state.view, pointer, leaf.dtype, n_values, first, last + 1
            )
        if found is not None:
            page, start = found
            page.values(page.numbers.take(ordinals - start), target)
        elif dense:
            run_of = np.empty((last - first + 1) * width, leaf.dtype)
            engine.pages.read_page(state.view, pointer, run_of, first * width, n_values)
            picked = target.reshape(-1, width)
            np.take(run_of.reshape(-1, width), ordinals - first, axis=0, out=picked, mode="clip")
        else:
            places = ordinals
            if width > 1:
                places = (ordinals[:, None] * width + np.arange(width)).ravel()
            target[...] = engine.pages.take_page(state.view, pointer, leaf.dtype, places, n_values)
    except CorruptDataError as error:
        state.view.reader.backend.distrust()
        raise located(error, state, ".".join(leaf.path), span.group.first) from error


def bring_near(state: TableState, spans: Sequence[Span], leaves: Sequence[Leaf]) -> None:
    """Bring near what reading rows takes, in two round trips, where the file is far away.

    As much as fits: what is left comes when it is read.
    """
    wanted: list[Wanted] = []
    room = engine.ahead.BATCH_BYTES
    for group, ordinals, _ in spans:
        if not group.is_pages or not len(ordinals):
            continue
        for leaf in leaves:
            found = state.find_page(leaf, group) if leaf.is_stored else None
            if found is None:
                continue  # a constant, or damage that reading will name
            pointer, width = found[0], leaf.n_values
            room -= int(pointer.length * min(1.0, len(ordinals) / max(1, group.n_rows)))
            if room < 0:
                break
            if len(ordinals) == group.n_rows:
                wanted.append((pointer, None))
            elif isinstance(ordinals, range):
                wanted.append((pointer, (ordinals.start * width, ordinals.stop * width)))
            elif width == 1:
                wanted.append((pointer, ordinals))
            else:
                ends = np.stack((ordinals * width, ordinals * width + width - 1), axis=1)
                wanted.append((pointer, ends.ravel()))
    engine.ahead.bring_pages(state.view, wanted)


def _apply_patches(
    state: TableState, span: Span, leaves: Sequence[Leaf], outs: Sequence[Array]
) -> None:
    group, ordinals, at = span
    changed = state.patched_leaves(group)
    n = len(ordinals)
    for leaf, out in zip(leaves, outs, strict=True):
        if leaf.id not in changed or not leaf.is_stored:
            continue
        target = out.reshape(-1, leaf.n_values)[at : at + n]
        for rows, values in state.patches(group, leaf):
            if isinstance(ordinals, range):
                a, b = rows.searchsorted((ordinals.start, ordinals.stop))
                target[rows[a:b] - ordinals.start] = values[a:b]
            else:
                places = ordinals.searchsorted(rows)
                places[places == n] = 0
                hits = ordinals[places] == rows
                target[places[hits]] = values[hits]


def _steps(
    spans: Sequence[Span], n_rows: int, at: int = 0
) -> Iterator[tuple[list[Span], int, int]]:
    """Yield (spans, first row of the output, rows) for steps of at most `n_rows` rows.

    Spans are cut at whole blocks where they can be, so that no block is decoded twice.
    """
    step: list[Span] = []
    start, used = at, 0
    for group, ordinals, _ in spans:
        low = 0
        while low < len(ordinals):
            n = min(len(ordinals) - low, n_rows - used)
            if isinstance(ordinals, range) and low + n < len(ordinals):
                # Stop at the end of a block where there is one.
                over = (ordinals.start + low + n) % BLOCK_ROWS
                n -= over if over < n else 0
            step.append(Span(group, ordinals[low : low + n], used))
            used += n
            low += n
            if n_rows - used < max(1, min(BLOCK_ROWS, n_rows // 2)):
                yield step, start, used
                step, start, used = [], start + used, 0
    if step:
        yield step, start, used


def read_records(
    state: TableState, spans: Sequence[Span], leaves: Sequence[Leaf], out: Array
) -> None:
    """Fill structured rows with the rows of all spans.

    Parameters
    ----------
    leaves : sequence of Leaf
        The leaves to fill; their paths lead into the fields of `out`.
    out : structured ndarray, shape (n_rows,)
        Written in place; any strides.
    """
    width = sum([leaf.memory for leaf in leaves]) or 1
    limit = min(max(JOIN_BYTES // width, 1), GROUP_ROWS)
    size = min(limit, sum([span.n for span in spans]))
    buffers = [empty_values(size * leaf.n_values, leaf.dtype) for leaf in leaves]
    if any(leaf.is_loose for leaf in leaves):
        # Strings and cells have no width to plan with; but those of one row group fit into memory.
        one_by_one = (_steps([span], limit, span.at) for span in spans)
        steps: Iterator[tuple[list[Span], int, int]] = chain.from_iterable(one_by_one)
    else:
        steps = _steps(spans, limit)
    for step, start, rows in steps:
        parts = [
            # The heap of cells would grow with each step.
            empty_values(rows, leaf.dtype) if leaf.is_ragged else buffer[: rows * leaf.n_values]
            for buffer, leaf in zip(buffers, leaves, strict=True)
        ]
        read_leaves(state, step, leaves, parts)
        target = out[start : start + rows]
        _join(parts, leaves, target)


def _join(parts: Sequence[Array], leaves: Sequence[Leaf], target: Array) -> None:
    """Join columns into rows, blocks of them on several threads."""

    def block(start: int) -> None:
        stop = min(start + records.BLOCK_ROWS, len(target))
        columns = [
            part[start * leaf.n_values : stop * leaf.n_values]
            for part, leaf in zip(parts, leaves, strict=True)
        ]
        records.join(columns, leaves, target[start:stop])

    run([partial(block, start) for start in range(0, len(target), records.BLOCK_ROWS)])
