"""Groups that lead in circles, and values that are hard to show: an end in time, and an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import CorruptDataError, DTypeError
from kist.format import keys, layout
from kist.format.cursor import pack_blob, pack_varint
from kist.format.dtypes import pack_dtype
from kist.format.log import Op
from kist.format.node import Child, NodeKind, NodeRecord
from kist.format.values import pack_record
from kist.model.tree import Tree
from kist.testing.surgery import Image


def listed(group: int, name: str, node: int) -> Op:
    return layout.OP_PUT, keys.child(group, name), Child(name, NodeKind.GROUP, node).pack(name)


def made(node: int, parent: int, name: str) -> Op:
    record = NodeRecord(NodeKind.GROUP, parent, name, 0)
    return layout.OP_PUT, keys.node(node), record.pack()


def in_itself(group: int) -> Iterator[Op]:
    yield listed(group, "loop", group)


def in_the_root(group: int) -> Iterator[Op]:
    yield listed(group, "loop", keys.ROOT)


def by_two_names(group: int) -> Iterator[Op]:
    """Fifty groups, and as many paths as two to the fiftieth."""
    for above, below in pairwise([group, *range(5000, 5050)]):
        yield made(below, above, "a")
        yield listed(above, "a", below)
        yield listed(above, "b", below)


def in_depth(group: int) -> Iterator[Op]:
    for above, below in pairwise([group, *range(5000, 5600)]):
        yield made(below, above, "d")
        yield listed(above, "d", below)


def hostile(path: Path, ops: Callable[[int], Iterator[Op]]) -> None:
    """Make a store with a group /g, and put more records beside it."""
    with kist.open(path, "w") as store:
        store.create_group("g")
        store["z"] = np.arange(3)
    image = Image(path.read_bytes())
    entries = image.entries()
    (group,) = [Child.unpack("g", v).node for k, v in entries.items() if k[8:] == b"Dg"]
    image.add(list(ops(group)))
    image.pack_log()
    path.write_bytes(image.data)


@pytest.mark.parametrize("ops", [in_itself, in_the_root, by_two_names, in_depth])
def test_groups_that_do_not_end_are_damage(path: Path, ops: Any) -> None:
    hostile(path, ops)
    with kist.open(path) as store:
        assert not store.check().ok
        for walk in (store.visit, lambda f: store.visititems(lambda p, _: f(p))):
            with pytest.raises(CorruptDataError):
                walk(lambda _: None)
        for tree in (Tree(store, None, None), store.tree()):
            assert "(group that cannot be read)" in str(tree)
            assert "z" in tree._repr_html_() and tree.to_dict()["children"]
        assert "/g" not in repr(store) and store["z"][:].tolist() == [0, 1, 2]


def no_bytes(shape: tuple[int, ...]) -> bytes:
    """Bytes of a plain value: an array of an item without bytes."""
    dims = pack_varint(len(shape)) + b"".join(map(pack_varint, shape))
    return bytes((25,)) + dims + pack_blob(pack_dtype(np.dtype("V0")))


def test_few_bytes_do_not_stand_for_an_array_that_cannot_be_shown(path: Path) -> None:
    with kist.open(path, "w") as store:
        store.attrs["x"] = 1
    image = Image(path.read_bytes())
    key = keys.attribute(keys.ROOT, 0, "x")
    image.add([(layout.OP_PUT, key, pack_record(no_bytes((7,) * 20)))])
    image.pack_log()
    path.write_bytes(image.data)
    with kist.open(path) as store:
        with pytest.raises(CorruptDataError, match="values of no bytes"):
            store.attrs["x"]
        assert "cannot be read" in repr(store.attrs)


def test_arrays_without_bytes_are_stored_up_to_a_size() -> None:
    with kist.open(":memory:") as store:
        store.attrs["x"] = np.zeros((1 << 20,), "V0")
        assert store.attrs["x"].shape == (1 << 20,)
        with pytest.raises(DTypeError, match="holds nothing but its shape"):
            store.attrs["x"] = np.zeros(((1 << 20) + 1,), "V0")


def test_a_number_of_many_digits_does_not_hide_the_other_attributes() -> None:
    with kist.open(":memory:") as store:
        store.attrs["TITLE"] = 10**6000
        store.attrs["many"] = [10**6000]
        store.attrs["one"] = 1
        runs = store.create_keystore("k")
        runs["a"], runs["b"] = 10**6000, 5
        for shown in (repr(store.attrs), store.attrs._repr_html_()):
            assert "one" in shown and "list: Exceeds the limit" in shown
        for shown in (repr(runs), runs._repr_html_()):
            assert "&#x27;b&#x27;" in shown or "'b'" in shown
        assert "(int: Exceeds" in repr(store) and store.attrs["TITLE"] == 10**6000


def test_keys_too_short_for_a_node_are_damage(path: Path) -> None:
    hostile(path, lambda _: iter([(layout.OP_PUT, key, b"\0") for key in (b"\xff", b"\xff" * 9)]))
    with kist.open(path, "r+") as store:
        assert not store.check().ok
        store["z"][0] = 5


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_record_without_a_kind_is_damage_for_check_and_copy(path: Path, number: int) -> None:
    key = keys.node(number)[:8]
    hostile(path, lambda _: iter([(layout.OP_PUT, key, pack_record(b"x"))]))
    with kist.open(path, "r+") as store:
        (problem,) = store.check().problems
        assert "of no kind" in problem.message
        if number:
            with pytest.raises(CorruptDataError, match="of no kind"):
                store.copy("/" if number == 1 else "g", "copy")
        assert store["z"][:].tolist() == [0, 1, 2]


EVIL = "x\x1b]0;owned\x07\x1b[2J\u202e\x9b31m\x7f<script>alert(1)</script>"


def test_reprs_and_html_hold_no_command_and_no_element_of_a_file(path: Path) -> None:
    strings = np.array([EVIL, "b"], np.dtypes.StringDType())
    with kist.open(path, "w") as store:
        store.attrs["TITLE"] = store.attrs[EVIL] = EVIL
        group = store.create_group(EVIL.replace("/", ""))
        table = group.create_table("t", {EVIL: strings, "n": np.arange(2)}, title=EVIL)
        nested = np.zeros(2, [(EVIL, [(EVIL, "i4"), ("b", "f8")]), ("c", "S3", (2,))])
        group.create_table("nested", nested)
        group["a"] = strings
        group["records"] = np.zeros(3, "S9")
        runs = group.create_keystore("k")
        runs[EVIL] = {EVIL: [EVIL]}
        with store.transaction(EVIL):
            store.attrs["n"] = 1
        store.tag(EVIL)
        shown: list[Any] = [store, store.tree(), store.info, store.history(), store.attrs, group]
        shown += [table, table[EVIL], table.where("n > 0"), group["a"], runs, table.info]
        shown += [group["nested"], group["nested"].info, runs.info, group["a"].info]
        for one in shown:
            for line in repr(one).split("\n"):
                assert line.isprintable(), (type(one), line)
            html = one._repr_html_() if hasattr(one, "_repr_html_") else ""
            assert "<script" not in html and "\x1b" not in html and "\u202e" not in html
