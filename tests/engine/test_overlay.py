"""Changes in front of the tree against a dict of all that can be asked."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from kist.engine.overlay import MISSING, Overlay
from kist.format.layout import OP_DELETE, OP_DELETE_RANGE, OP_PUT

ALL = [b"%02d" % n for n in range(40)]
KEYS = st.sampled_from(ALL)
OPS = st.lists(
    st.one_of(
        st.tuples(st.just(OP_PUT), KEYS, st.binary(max_size=2)),
        st.tuples(st.just(OP_DELETE), KEYS, st.just(b"")),
        st.tuples(st.just(OP_DELETE_RANGE), KEYS, KEYS),
    ),
    max_size=25,
)


def check(overlay: Overlay, expected: dict[bytes, bytes | None]) -> None:
    for key in ALL:
        assert overlay.get(key) == expected.get(key, MISSING)
        assert overlay.covered(key) == (key in expected)
    starts, stops = overlay.ranges
    assert all(a < b for a, b in zip(starts, stops, strict=True))
    assert all(b < c for b, c in zip(stops, starts[1:], strict=False))
    assert bool(overlay) == bool(expected or starts)


@given(first=OPS, second=OPS, looks=st.lists(st.integers(0, 50)), bounds=st.tuples(KEYS, KEYS))
def test_any_operations_say_of_each_key_what_a_dict_says(
    first: list[tuple[int, bytes, bytes]],
    second: list[tuple[int, bytes, bytes]],
    looks: list[int],
    bounds: tuple[bytes, bytes],
) -> None:
    overlay, copy = Overlay(), Overlay()
    expected: dict[bytes, bytes | None] = {}
    before: dict[bytes, bytes | None] = {}
    for number, op in enumerate([*first, *second]):
        if number == len(first):
            copy, before = overlay.copy(), dict(expected)
        overlay.apply([op])
        kind, key, value = op
        if kind == OP_DELETE_RANGE:
            expected.update({k: None for k in ALL if key <= k < value})
        else:
            expected[key] = value if kind == OP_PUT else None
        if number in looks:  # what was sorted for a scan stays in step
            assert overlay.keys_in(b"", b"\xff") == sorted(overlay.values)
        check(overlay, expected)
    start, stop = bounds
    assert overlay.keys_in(start, stop) == sorted(k for k in overlay.values if start <= k < stop)
    if second:
        check(copy, before)


@given(ops=OPS)
def test_deleted_ranges_can_be_put_back(ops: list[tuple[int, bytes, bytes]]) -> None:
    overlay = Overlay()
    overlay.delete_range(ALL[3], ALL[9])
    before = overlay.ranges
    overlay.apply(op for op in ops if op[0] == OP_DELETE_RANGE)
    overlay.ranges = before
    check(overlay, dict.fromkeys(ALL[3:9]))


FEW = st.one_of(KEYS, st.sampled_from(ALL[:3]))
BATCH = st.dictionaries(FEW, st.binary(max_size=2), max_size=10)


@given(batches=st.lists(BATCH, max_size=6), looks=st.lists(st.integers(0, 5)), ops=OPS)
def test_many_puts_keep_the_keys_in_order(
    batches: list[dict[bytes, bytes]], looks: list[int], ops: list[tuple[int, bytes, bytes]]
) -> None:
    overlay = Overlay()
    overlay.apply(ops)
    expected = {key: overlay.get(key) for key in ALL}
    for number, batch in enumerate(batches, start=1):
        if 0 in looks:
            overlay.in_order()
        overlay.put_many(batch)
        expected.update(batch)
        if number in looks:
            assert overlay.keys_in(b"", b"\xff") == sorted(overlay.values)
    assert overlay.keys_in(b"", b"\xff") == sorted(overlay.values)
    assert overlay.get_many(ALL) == [overlay.get(key) for key in ALL] == list(expected.values())


NODES = st.sampled_from([0, 1, 2, 255, 256, 2**64 - 1])


@given(found=st.lists(st.tuples(NODES, st.binary(max_size=3))), looks=st.booleans())
def test_the_nodes_that_changed_are_those_of_the_keys(
    found: list[tuple[int, bytes]], looks: bool
) -> None:
    overlay = Overlay()
    for node, rest in found:
        overlay.put(struct.pack(">Q", node) + b"D" + rest, b"" if rest else None)
        if looks:
            overlay.in_order()
    assert overlay.nodes() == {node for node, _ in found}
