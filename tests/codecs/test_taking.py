"""Values taken out of pages, and pages unpacked together, are those that decoding gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kist.codecs.choose import choose
from kist.codecs.pipeline import Encoded, encode, load, span_of
from kist.codecs.recipe import Recipe
from kist.codecs.stage import Shape, Span, StoredBlocks
from kist.codecs.taking import Taken, likeness, may_take, take_together, take_values
from kist.codecs.together import Part, unpack
from kist.codecs.values import form_of
from kist.errors import CodecError

Array = np.ndarray[Any, Any]


def _kinds(rng: np.random.Generator, n: int) -> dict[str, Array]:
    walk = np.round(np.cumsum(rng.normal(size=n)), 2)
    odd = walk.copy()
    odd[rng.integers(0, n, max(1, n // 50))] = np.pi
    missing = walk.copy()
    missing[rng.random(n) < 0.4] = np.nan
    ticks = np.cumsum(rng.integers(0, 1 << 31, n))
    return {
        "decimals": walk,
        "decimals of f4": np.round(rng.normal(size=n), 1).astype("f4"),
        "level": np.round(rng.normal(size=n) + 10_000, 2),
        "exceptions": odd,
        "bitmap": missing,
        "noise": rng.normal(size=n),
        "rising": np.cumsum(rng.integers(0, 300, n)),
        "falling": -np.cumsum(rng.integers(0, 300, n)).astype("i4"),
        "times": ticks.view("M8[ns]"),
        "steps of 1000": (ticks * 1000).view("m8[us]"),
        "turning": np.cumsum(rng.integers(-(2**62), 2**62, n)),
        "flips": rng.integers(-120, 120, n).astype("i8"),
        "unsigned": rng.integers(2**63, 2**63 + 9, n, dtype="u8"),
        "few": rng.choice(np.array([b"ab", b"xyz"]), n),
        "text": rng.integers(0, 9, (n, 3), np.uint8).view("S3").ravel(),
        "bool": rng.random(n) < 0.5,
        "runs": np.repeat(np.arange(n // 40 + 1), 40)[:n].astype("f4"),
        "constant": np.full(n, 7, "i2"),
        "bits of floats": np.cumsum(rng.random(n)).astype("f8"),
    }


KINDS = sorted(_kinds(np.random.default_rng(0), 1))


def _parts(pages: Sequence[tuple[Encoded, np.dtype[Any], Span]]) -> list[Part]:
    """Put some blocks of pages into one buffer, as the engine does."""
    room = StoredBlocks.room_for(sum(span.n_blocks for _, _, span in pages))
    stored, places = bytearray(), []
    for page, _, span in pages:
        stored += bytes(room)
        begins = []
        for block in page.blocks[span.first_block : span.first_block + span.n_blocks]:
            begins.append((len(stored), len(stored) + len(block)))
            stored += block
        places.append(np.array(begins).T)
    buffer = np.frombuffer(stored, np.uint8)
    parts = []
    for (page, dtype, span), (starts, stops) in zip(pages, places, strict=True):
        form = form_of(dtype)
        steps, codec = load(page.stages, form, Shape(page.n_values, page.block_values))
        form = steps[-1].form if steps else form
        parts.append(Part(codec, form, span, StoredBlocks(buffer, starts, stops)))
    return parts


def _run(tasks: Sequence[Callable[[], None]]) -> None:
    for task in tasks:
        task()


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    st.integers(1, 3000),
    st.sampled_from([1, 7, 64, 250, 1000]),
    st.sampled_from(["fast", "balanced", "small", "none", "lz4+bitshuffle"]),
    st.sampled_from([1, 2, 20, 1000]),
)
def test_values_at_positions_are_those_of_the_page(
    seed: int, kinds: list[str], n: int, size: int, preset: str, share: int
) -> None:
    rng = np.random.default_rng(seed)
    pages, wanted = [], []
    for kind in kinds:
        values = _kinds(rng, n)[kind]
        page = encode(values, choose(values, preset), block_values=size)
        positions = np.unique(rng.integers(0, n, max(1, n // share)))
        first, last = int(positions[0]) // size, int(positions[-1]) // size
        span = span_of(Shape(n, size), first, last - first + 1)
        if may_take(page.stages):
            pages.append((page, values.dtype, span))
            wanted.append((values, positions))
    parts = _parts(pages) if pages else []
    for (page, dtype, span), (values, positions), items in zip(
        pages, wanted, unpack(parts, _run), strict=True
    ):
        steps, _ = load(page.stages, form_of(dtype), Shape(n, size))
        kept = items.tobytes()
        out = np.empty(len(positions), dtype)
        take_values(dtype, Taken(steps, items, span, positions, positions - span.start, out))
        assert out.tobytes() == values[positions].tobytes()
        assert items.tobytes() == kept


@pytest.mark.parametrize("kind", ["rising", "times", "falling", "decimals", "steps of 1000"])
@pytest.mark.parametrize("after", [(), ((4, 1),), ((4, 1000),), ((6,),), ((4, 1), (6,))])
@pytest.mark.parametrize("share", [3, 400])
def test_sums_behind_differences_are_the_same_for_few_and_many(
    kind: str, after: tuple[tuple[int, ...], ...], share: int
) -> None:
    rng = np.random.default_rng(4)
    n, size = 20_000, 4096
    values = _kinds(rng, n)[kind]
    before = ((7, 2, 8),) if kind == "decimals" else ()
    page = encode(values, Recipe("balanced", (*before, (5, 1), *after, (16,))), block_values=size)
    assert 5 in [stage.id for stage in page.stages] and may_take(page.stages)
    span = span_of(Shape(n, size), 0, 5)
    (items,) = unpack(_parts([(page, values.dtype, span)]), _run)
    edges = np.arange(0, n, size)
    some = rng.integers(0, n, n // share)
    positions = np.unique(np.concatenate([edges, edges[1:] - 1, edges + 1, [n - 1], some]))
    steps, _ = load(page.stages, form_of(values.dtype), Shape(n, size))
    out = np.empty(len(positions), values.dtype)
    take_values(values.dtype, Taken(steps, items, span, positions, positions, out))
    assert out.tobytes() == values[positions].tobytes()
    for place in positions[:: max(1, len(positions) // 50)]:
        one = place[None]
        take_values(values.dtype, Taken(steps, items, span, one, one, out[:1]))
        assert out[:1].tobytes() == values[one].tobytes()


def test_pages_that_cannot_be_taken_from_are_told() -> None:
    squares = np.arange(5000.0) ** 2
    page = encode(squares, Recipe("auto", ((7, 0, 8), (5, 2), (16,))), block_values=1000)
    assert [stage.id for stage in page.stages] == [7, 5, 16]
    assert not may_take(page.stages)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_block_that_is_no_chunk_is_refused_among_others(at: int) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 5, 3000).astype("u1")
    pages = [encode(values, choose(values, "lz4+bitshuffle"), block_values=500) for _ in range(3)]
    span = span_of(Shape(3000, 500), 0, 6)
    parts = _parts([(page, values.dtype, span) for page in pages])
    assert all((items == values).all() for items in unpack(parts, _run))
    parts = _parts([(page, values.dtype, span) for page in pages])
    blocks = parts[at].blocks
    blocks.buffer[blocks.starts[3] + 21] ^= 1  # another filter
    with pytest.raises(CodecError):
        unpack(parts, _run)


def test_plain_blocks_of_other_lengths_are_refused() -> None:
    values = np.arange(3000, dtype="i8")
    page = encode(values, choose(values, "none"), block_values=1000)
    (part,) = _parts([(page, values.dtype, span_of(Shape(3000, 1000), 0, 3))])
    part.blocks.stops[0] -= 8
    with pytest.raises(CodecError, match="a plain block holds"):
        unpack([part], _run)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(KINDS),
    st.lists(st.integers(1, 3000), min_size=1, max_size=5),
    st.sampled_from([2, 7, 64, 250, 1000, 40_000]),
    st.sampled_from([1, 15, 100, 1000]),
)
def test_pages_that_are_alike_give_the_same_values_together(
    seed: int, kind: str, lengths: list[int], size: int, share: int
) -> None:
    rng = np.random.default_rng(seed)
    pages, wanted = [], []
    for n in lengths:
        values = _kinds(rng, n)[kind]
        page = encode(values, choose(values, "balanced"), block_values=size)
        positions = np.unique(rng.integers(0, n, max(1, n // share)))
        first, last = int(positions[0]) // size, int(positions[-1]) // size
        span = span_of(Shape(n, size), first, last - first + 1)
        if may_take(page.stages):
            pages.append((page, values.dtype, span))
            wanted.append((values, positions))
    parts = _parts(pages) if pages else []
    alike: dict[tuple[Any, ...], list[tuple[Taken, Array]]] = {}
    for (page, dtype, span), (values, positions), items in zip(
        pages, wanted, unpack(parts, _run), strict=True
    ):
        form = form_of(dtype)
        steps, _ = load(page.stages, form, Shape(page.n_values, size))
        out = np.empty(len(positions), dtype)
        one = Taken(steps, items, span, positions, positions - span.start, out)
        key = likeness(steps, items.dtype) or (len(alike),)
        alike.setdefault(key, []).append((one, values[positions]))
    for some in alike.values():
        kept = [one.items.tobytes() for one, _ in some]
        take_together(values.dtype, [one for one, _ in some])
        assert [one.items.tobytes() for one, _ in some] == kept
        for one, expected in some:
            assert one.out.tobytes() == expected.tobytes()


@pytest.mark.parametrize("after", [(), ((4, 1),), ((4, 1000),), ((6,),), ((4, 1), (6,))])
@pytest.mark.parametrize("dtype", ["i8", "i4", "u8"])
def test_sums_of_several_pages_have_base_and_step_of_each(
    after: tuple[tuple[int, ...], ...], dtype: str
) -> None:
    rng = np.random.default_rng(4)
    n, size = 20_000, 4096
    pages, wanted = [], []
    for base, step in [(0, 1), (5000, 1), (-9_000, 1000), (7, 3000)]:
        values = np.cumsum(base + step * rng.integers(0, 100, n)).astype(dtype)
        page = encode(values, Recipe("balanced", ((5, 1), *after, (16,))), block_values=size)
        assert may_take(page.stages)
        pages.append((page, values.dtype, span_of(Shape(n, size), 0, 5)))
        wanted.append((values, np.unique(rng.integers(0, n, 50))))
    together: dict[tuple[Any, ...], list[tuple[Taken, Array]]] = {}
    items = unpack(_parts(pages), _run)
    for (page, form, span), (values, positions), some in zip(pages, wanted, items, strict=True):
        steps, _ = load(page.stages, form_of(form), Shape(n, size))
        out = np.empty(len(positions), form)
        one = Taken(steps, some, span, positions, positions, out)
        key = likeness(steps, some.dtype)
        assert key
        together.setdefault(key, []).append((one, values[positions]))
    assert max(map(len, together.values())) > 1
    for alike in together.values():
        take_together(np.dtype(dtype), [one for one, _ in alike])
        for one, expected in alike:
            assert one.out.tobytes() == expected.tobytes()
