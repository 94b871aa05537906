"""The copy-on-write tree against a dict."""

from __future__ import annotations

import random
import struct
from bisect import bisect_right
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.engine import tree as tree_module
from kist.engine.drafts import TARGET, Draft, apply, extent_bound, place
from kist.engine.rootcommit import rewriting
from kist.engine.tree import Tree
from kist.errors import CorruptDataError
from kist.format import layout
from kist.format.tree import PackedPage, pack_tree_page, tree_page_size, unpack_tree_page
from kist.format.values import Pointer

Batch = dict[bytes, bytes | None]


def drafted(tree: Tree, root: bytes | None, batch: Batch, before: Draft | None = None) -> Draft:
    keys = sorted(batch)
    return apply(tree, root, keys, [batch[key] for key in keys], before)


class Pages:
    """A tree whose pages are kept in a dictionary."""

    def __init__(self) -> None:
        self.bodies: dict[int, bytes] = {}
        self.live: set[bytes] = set()
        self.root: bytes | None = None
        self.end = layout.DATA_OFFSET
        self.tree = Tree(lambda pointer: self.bodies[pointer.offset])

    def apply(self, batch: Batch) -> None:
        draft = drafted(self.tree, self.root, batch)
        nodes = draft.nodes()
        start = self.end
        for pointer, node, body in place(nodes, start, 1):
            assert len(body) <= node.size
            self.bodies[pointer.offset] = body
            self.live.add(pointer.pack())
            self.root = pointer.pack()
            self.end = sum(pointer.extent)
        assert self.end - start <= extent_bound(nodes)
        assert draft.replaced.keys() <= self.live
        self.live -= draft.replaced.keys()
        if draft.root is None or isinstance(draft.root, bytes):
            self.root = draft.root

    def check(self, expected: dict[bytes, bytes]) -> None:
        assert dict(self.tree.scan(self.root, b"", b"\xff" * 2000)) == expected
        assert {packed for packed, _ in self.tree.pages(self.root)} == self.live
        for _, node in self.tree.pages(self.root):
            assert node.keys == sorted(set(node.keys))
            assert node.keys
            if node.level:
                children = [self.tree.node(child) for child in node.values]
                assert {child.level for child in children} == {node.level - 1}
                assert [child.keys[0] for child in children] == node.keys


KEYS = st.one_of(
    st.integers(0, 400).map(lambda n: b"%09d" % n),
    st.integers(0, 60).map(lambda n: b"%09d" % n + b"k" * (17 * n % 1000)),
)
VALUES = st.one_of(st.none(), st.binary(max_size=20), st.integers(0, 9000).map(lambda n: b"v" * n))
RANGES = st.tuples(st.integers(0, 400), st.integers(1, 200), st.integers(0, 300)).map(
    lambda r: {b"%09d" % n: b"w" * (n * r[2] % 500) for n in range(r[0], r[0] + r[1])}
)
DELETED = st.tuples(st.integers(0, 400), st.integers(1, 300)).map(
    lambda r: {b"%09d" % n: None for n in range(r[0], r[0] + r[1])}
)


@given(
    batches=st.lists(
        st.one_of(st.dictionaries(KEYS, VALUES, max_size=30), RANGES, DELETED), max_size=12
    ),
    bounds=st.tuples(KEYS, KEYS),
)
def test_any_batches_give_the_map_that_a_dict_gives(
    batches: list[Batch], bounds: tuple[bytes, bytes]
) -> None:
    pages = Pages()
    expected: dict[bytes, bytes] = {}
    for batch in batches:
        pages.apply(batch)
        for key, value in batch.items():
            if value is None:
                expected.pop(key, None)
            else:
                expected[key] = value
        pages.check(expected)
    start, stop = bounds
    part = sorted((k, v) for k, v in expected.items() if start <= k < stop)
    assert list(pages.tree.scan(pages.root, start, stop)) == part
    assert list(pages.tree.scan(pages.root, start, stop, reverse=True)) == part[::-1]
    for key in (start, stop, *list(expected)[:5]):
        assert pages.tree.get(pages.root, key) == expected.get(key)
    pages.tree.forget()
    for key in (start, stop, *expected):
        assert pages.tree.get(pages.root, key) == expected.get(key), "from packed leaves"


@given(seed=st.integers(0, 2**32))
def test_a_page_that_is_replaced_once_stays_replaced_when_the_batch_grows(seed: int) -> None:
    # Else the free space, which is part of the tree, would not settle. Long keys make inner
    # pages small, and so joined in one round and not in the next.
    rng = random.Random(seed)

    def key(n: int) -> bytes:
        return b"%09d" % n + b"k" * 900

    pages = Pages()
    pages.apply({key(2 * n): b"v" * rng.choice((10, 3000)) for n in range(150)})
    full: Batch = {}
    replaced: dict[bytes, bytes] = {}
    draft = None
    for _ in range(4):
        start = rng.randrange(300)
        more: Batch = {key(n): None for n in range(start, start + rng.randrange(100))}
        start = rng.randrange(300)
        value = b"w" * rng.randrange(1, 500)
        more |= {key(n): value for n in range(start, start + rng.randrange(20))}
        full = {**dict(rewriting(pages.tree, pages.root, replaced)), **full, **more}
        draft = drafted(pages.tree, pages.root, full, draft)
        assert replaced.keys() <= draft.replaced.keys()
        replaced = draft.replaced
        # What was kept of the round before saves work, and changes nothing.
        again = drafted(pages.tree, pages.root, full)
        assert (draft.root, draft.replaced) == (again.root, again.replaced)


def test_a_small_change_of_a_large_tree_writes_one_path() -> None:
    pages = Pages()
    pages.apply({b"%09d" % n: b"v" * 50 for n in range(20_000)})
    before = len(pages.bodies)
    pages.apply({b"%09d" % 777: b"new"})
    depth = 1 + pages.tree.node(pages.root or b"").level
    assert len(pages.bodies) - before == depth <= 4


def test_keys_in_order_fill_pages() -> None:
    pages = Pages()
    for first in range(0, 6000, 30):
        pages.apply({b"%09d" % n: b"v" * 50 for n in range(first, first + 30)})
    leaves = [node for _, node in pages.tree.pages(pages.root) if node.level == 0]
    full = sum(tree_page_size(n.keys, n.values) > TARGET * 0.9 for n in leaves)
    assert full >= len(leaves) - 1


def test_deleting_most_records_joins_pages() -> None:
    pages = Pages()
    pages.apply({b"%09d" % n: b"v" * 50 for n in range(20_000)})
    pages.apply({b"%09d" % n: None for n in range(20_000) if n % 100})
    assert sum(1 for _ in pages.tree.pages(pages.root)) < 20
    pages.apply({b"%09d" % n: None for n in range(20_000)})
    assert pages.root is None


def packed(body: bytes, offset: int) -> tuple[bytes, bytes]:
    return Pointer(offset, len(body), len(body), 1, bytes(16)).pack(), body


def hostile(pages: dict[int, bytes]) -> Tree:
    return Tree(lambda pointer: pages[pointer.offset])


def test_a_tree_that_leads_back_to_itself_is_refused() -> None:
    body = pack_tree_page(1, [b"a"], [bytes(44)])
    pointer, _ = packed(body, 64)
    tree = hostile({64: pack_tree_page(1, [b"a"], [pointer])})
    for walk in (
        lambda: tree.get(pointer, b"b"),
        lambda: list(tree.scan(pointer, b"", b"z")),
        lambda: list(tree.pages(pointer)),
        lambda: drafted(tree, pointer, {b"b": b"x"}),
    ):
        with pytest.raises(CorruptDataError):
            walk()


def test_one_page_under_many_parents_is_refused_at_once() -> None:
    # Ten levels of a hundred times the same child: 100**10 records in 20 KB.
    pages = {0: pack_tree_page(0, [b"k%03d" % i for i in range(100)], [b"v"] * 100)}
    pointer, _ = packed(pages[0], 0)
    for level in range(1, 11):
        keys = [b"k%03d" % i for i in range(100)]
        pages[level * 64] = pack_tree_page(level, keys, [pointer] * 100)
        pointer, _ = packed(pages[level * 64], level * 64)
    tree = hostile(pages)
    for walk in (
        lambda: list(tree.scan(pointer, b"", b"z")),
        lambda: list(tree.scan(pointer, b"", b"z", True)),
        lambda: list(tree.pages(pointer)),
        lambda: drafted(tree, pointer, {b"k%03d" % i: b"x" for i in range(100)}),
    ):
        with pytest.raises(CorruptDataError):
            walk()


@given(
    level=st.integers(0, layout.MAX_TREE_DEPTH),
    entries=st.dictionaries(st.binary(min_size=1, max_size=30), st.binary(max_size=60)),
)
def test_pages_of_a_tree_come_back(level: int, entries: dict[bytes, bytes]) -> None:
    keys = sorted(entries)
    if level:
        entries = {key: bytes(44) for key in keys}
    values = [entries[key] for key in keys]
    body = pack_tree_page(level, keys, values)
    if level and not keys:
        return
    assert unpack_tree_page(body) == (level, keys, values)


@given(
    entries=st.dictionaries(st.binary(min_size=1, max_size=9), st.binary(max_size=20), min_size=1),
    cut=st.integers(0, 400),
    at=st.integers(0, 400),
    byte=st.integers(1, 255),
)
def test_pages_that_are_cut_or_changed_are_refused_or_well_formed(
    entries: dict[bytes, bytes], cut: int, at: int, byte: int
) -> None:
    keys = sorted(entries)
    body = bytearray(pack_tree_page(0, keys, [entries[key] for key in keys]))
    body[at % len(body)] ^= byte
    for data in (bytes(body), bytes(body[: cut % len(body)])):
        try:
            _, found, values = unpack_tree_page(data)
        except CorruptDataError:
            continue
        assert len(found) == len(values)
        assert found == sorted(set(found))


KEY = st.binary(min_size=1, max_size=9).map(lambda key: b"same" + key)
ENTRIES = st.dictionaries(KEY, st.binary(max_size=20))


@given(entries=ENTRIES, others=st.lists(st.one_of(KEY, st.binary(max_size=6))))
def test_a_packed_leaf_gives_what_a_dict_gives(
    entries: dict[bytes, bytes], others: list[bytes]
) -> None:
    keys = sorted(entries)
    leaf = PackedPage(pack_tree_page(0, keys, [entries[key] for key in keys]))
    parts = [part for key in keys for part in (key[:-1], key[:5], b"same" + key[5:], key + b"\0")]
    parts += [b"same" + a[-1:] + b[4:] for a, b in pairwise(keys)]  # of two neighbours
    for key in [*keys, *parts, *others]:
        assert leaf.get(key) == entries.get(key)


CHANGES = st.dictionaries(
    st.one_of(KEY, st.binary(max_size=6)), st.one_of(st.none(), st.binary(max_size=20)), max_size=9
)


@given(entries=ENTRIES.filter(bool), changes=CHANGES, hits=st.lists(st.integers(0, 30), max_size=9))
def test_a_leaf_edited_where_it_changes_is_the_one_that_is_packed_anew(
    entries: dict[bytes, bytes], changes: Batch, hits: list[int]
) -> None:
    keys = sorted(entries)
    for number, hit in enumerate(hits):  # of keys that are there
        changes[keys[hit % len(keys)]] = b"v" * number if number % 3 else None
    body = pack_tree_page(0, keys, [entries[key] for key in keys])
    order = sorted(changes)
    found = PackedPage(body).edited(order, [changes[key] for key in order])
    merged: Batch = {**entries, **changes}
    after = sorted((key, value) for key, value in merged.items() if value is not None)
    if found is None:
        _, _, cut, _ = struct.unpack_from("<BBHI", body)
        prefix = body[12 + 8 * len(keys) :][:cut]
        assert not after or not all(key.startswith(prefix) for key in order)
        return
    assert unpack_tree_page(found) == (0, [k for k, _ in after], [v for _, v in after])
    assert PackedPage(found).bound == tree_page_size([k for k, _ in after], [v for _, v in after])


@given(
    entries=ENTRIES.filter(bool),
    cut=st.integers(0, 400),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), min_size=1, max_size=6),
)
def test_a_packed_leaf_that_is_cut_or_changed_gives_parts_of_it_or_is_refused(
    entries: dict[bytes, bytes], cut: int, changes: list[tuple[int, int]]
) -> None:
    keys = sorted(entries)
    body = bytearray(pack_tree_page(0, keys, [entries[key] for key in keys]))
    for at, byte in changes:
        body[at % len(body)] ^= byte
    for data in (bytes(body), bytes(body[: cut % len(body)])):
        for key in keys:
            try:
                value = PackedPage(data).get(key)
            except CorruptDataError:
                continue
            assert value is None or value in data


@given(
    entries=st.dictionaries(st.text(max_size=6).map(str.encode), st.binary(max_size=3)),
    head=st.sampled_from([b"", b"12345678D", b"12345678Dsame", "12345678Dé".encode()]),
)
def test_texts_of_a_packed_leaf_are_its_keys(entries: dict[bytes, bytes], head: bytes) -> None:
    keys = sorted(head + key for key in entries)
    values = [entries[key[len(head) :]] for key in keys]
    leaf = PackedPage(pack_tree_page(0, keys, values))
    assert leaf.ends() == ((keys[0], keys[-1]) if keys else None)
    for skip in {0, len(head), min(9, len(head))}:
        found = leaf.texts(skip)
        if found is not None:
            assert found == ([key[skip:].decode() for key in keys], set(map(len, values)))
        else:
            assert not keys or not all(key[skip:].isascii() for key in keys)


@given(entries=ENTRIES.filter(bool), at=st.integers(0, 400), byte=st.integers(1, 255))
def test_texts_of_a_leaf_that_is_changed_ascend_or_are_refused(
    entries: dict[bytes, bytes], at: int, byte: int
) -> None:
    keys = sorted(entries)
    body = bytearray(pack_tree_page(0, keys, [entries[key] for key in keys]))
    body[at % len(body)] ^= byte
    try:
        found = PackedPage(bytes(body)).texts(0)
    except CorruptDataError:
        return
    if found is not None:
        assert found[0] == sorted(set(found[0]))


def test_keys_of_a_leaf_that_do_not_ascend_are_refused() -> None:
    body = pack_tree_page(0, [b"key1", b"key2", b"key3"], [b""] * 3)
    for data in (body.replace(b"123", b"132"), body.replace(b"123", b"122")):
        with pytest.raises(CorruptDataError):
            unpack_tree_page(data)
        with pytest.raises(CorruptDataError):
            PackedPage(data).texts(0)


@pytest.mark.parametrize("kept", [False, True])
def test_texts_of_a_range_are_its_keys(kept: bool) -> None:
    pages = Pages()
    content = {b"%09d" % n: b"v" * 50 for n in range(5000)}
    pages.apply(dict(content))
    found = sorted(content)
    for start, stop in ((0, 5000), (1, 4999), (100, 101), (777, 4000), (10, 10)):
        first, last = found[start], b"%09d" % stop
        expected = [key[2:].decode() for key in found[start:stop]]
        if kept:
            pages.tree.entries(pages.root, first, last)
        else:
            pages.tree.forget()
        assert pages.tree.texts(pages.root, first, last, 2) == (
            expected,
            {50} if expected else set(),
        )
    pages.apply({"00000é".encode(): b"", b"000002500x": b"value"})
    assert pages.tree.texts(pages.root, b"", b"0000100", 2) is None
    lengths = pages.tree.texts(pages.root, b"000002", b"000003", 2)
    assert lengths is not None and lengths[1] == {5, 50}


def with_places(*places: int) -> bytes:
    # Two entries, a and b, whose values are x and y.
    body = pack_tree_page(0, [b"a", b"b"], [b"x", b"y"])
    assert struct.unpack_from("<5I", body, 8) == (28, 29, 30, 31, 32)
    return body[:8] + struct.pack("<5I", *places) + body[28:]


def test_positions_that_do_not_fit_are_refused() -> None:
    for places in (
        (27, 29, 30, 31, 32),
        (28, 29, 30, 31, 33),
        (28, 31, 30, 31, 32),
        (28, 29, 2**32 - 1, 31, 32),
        (28, 29, 30, 29, 32),
        (28, 29, 30, 33, 32),
    ):
        with pytest.raises(CorruptDataError):
            unpack_tree_page(with_places(*places))
        with pytest.raises(CorruptDataError):
            PackedPage(with_places(*places)).get(b"b")
        with pytest.raises(CorruptDataError):
            PackedPage(with_places(*places)).texts(0)
        with pytest.raises(CorruptDataError):
            PackedPage(with_places(*places)).edited([b"a"], [b"z"])


def test_a_child_that_is_no_pointer_is_refused() -> None:
    page = PackedPage(pack_tree_page(1, [b"a", b"c"], [bytes(layout.POINTER.size), bytes(3)]))
    assert page.child(b"b") == bytes(layout.POINTER.size)
    with pytest.raises(CorruptDataError):
        page.child(b"c")


@given(entries=ENTRIES, others=st.lists(st.one_of(KEY, st.binary(max_size=6))))
def test_the_child_for_a_key_is_the_last_that_begins_at_or_before_it(
    entries: dict[bytes, bytes], others: list[bytes]
) -> None:
    keys = sorted(entries)
    values = [n.to_bytes(layout.POINTER.size, "big") for n in range(len(keys))]
    page = PackedPage(pack_tree_page(1, keys, values))
    for key in [*keys, *others]:
        at = bisect_right(keys, key) - 1
        assert page.child(key) == (values[at] if at >= 0 else None)


def test_a_look_up_reads_each_leaf_once_and_decodes_none() -> None:
    pages = Pages()
    content = {b"%09d" % n: b"v" * 50 for n in range(5000)}
    pages.apply(content)
    fetched: list[int] = []

    def fetch(pointer: Pointer) -> bytes:
        fetched.append(pointer.offset)
        return pages.bodies[pointer.offset]

    tree = Tree(fetch)
    for _ in range(2):
        assert all(tree.get(pages.root, key) == value for key, value in content.items())
    assert len(fetched) == len(set(fetched)) == len(pages.live)
    assert not tree._leaves_kept
    assert list(tree.scan(pages.root, b"", b"x")) == sorted(content.items())
    assert tree._leaves_kept
    assert len(fetched) == len(pages.live)  # what look-ups have read is only unpacked


def test_packed_leaves_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "PACKED_BYTES", 50_000)
    pages = Pages()
    content = {b"%09d" % n: b"v" * 50 for n in range(20_000)}
    pages.apply(content)
    pages.tree.forget()
    for key, value in content.items():
        assert pages.tree.get(pages.root, key) == value
    kept = pages.tree._packed
    sizes = [leaf.size for half in (kept._young, kept._old) for leaf in half.values()]
    assert 30_000 < sum(sizes) < 2 * (50_000 + TARGET)


def test_a_tree_of_which_little_is_left_has_one_page() -> None:
    pages = Pages()
    batch: Batch = {b"%08d" % n: bytes(200) for n in range(20_000)}
    pages.apply(batch)
    assert pages.root is not None and pages.tree.node(pages.root).level > 1
    pages.apply(dict.fromkeys(sorted(batch)[1:], None))
    pages.check({b"00000000": bytes(200)})
    assert pages.root is not None and pages.tree.node(pages.root).level == 0
