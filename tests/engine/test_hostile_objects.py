"""Stores of every kind of object whose bytes are made to hurt, with right sums: errors, no more.

Records, heads of pages and bundles, blocks, parameters, notes and pages of the tree are changed one
at a time, every sum on the way is made right again, and all is read, checked, copied and changed. A
longer run, from the project's folder::

    python tests/engine/test_hostile_objects.py 0 20000
"""

from __future__ import annotations

import datetime as dt
import random
import signal
import struct
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import kist
from kist.engine import Engine, Frame
from kist.errors import KistError
from kist.format import keys, layout
from kist.format.bundle import PartKind, pack_bundle_head, unpack_bundle_head
from kist.format.checksum import sum128
from kist.format.frame import unpack_frame
from kist.format.page import pack_page_head, unpack_page_head
from kist.format.plain import pack_value, unpack_value
from kist.format.tree import pack_tree_page, unpack_tree_page
from kist.format.values import Pointer, pack_record, unpack_record
from kist.model.keystores.keystore import KeyStore
from kist.model.session import Session
from kist.model.store import Store, _maintain
from kist.storage import MemoryBackend, MemoryFile

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

SLOW = 5.0
"""Seconds of the processor, so that a busy machine makes no difference."""

SEEDS = 110
MEMORY = 96 << 20
"""Far above what the store below needs whole; a page of it is far smaller."""

STRINGS = np.dtypes.StringDType()
WITH_MISSING = np.dtypes.StringDType(na_object=None)
ROW = np.dtype([("a", "<i8"), ("b", "<f8"), ("s", "S5"), ("v", ">i4", (2,))])


# A store that holds everything


def fill(store: Any) -> None:
    """Put every kind of object and of record into a store."""
    rng = np.random.default_rng(0)
    rows = np.zeros(9000, ROW)
    rows["a"] = rng.integers(0, 1000, 9000).cumsum()
    rows["b"] = np.round(rng.normal(size=9000), 2)
    rows["s"] = rng.choice([b"ab", b"cd", b"efgh"], 9000)
    rows["v"] = rng.integers(0, 50, (9000, 2))
    store.attrs["small"] = {"when": dt.datetime(2026, 1, 5), "x": (1, 2.5, None)}
    store.attrs["large"] = {"x": np.arange(3000.0), "s": "é" * 3000}
    table = store.create_table("g/t", rows)
    table.append(rows[:40])
    table.delete(slice(10, 4000, 3))
    table["b"][:900] = rng.normal(size=900)
    table["a"].attrs["unit"] = "m"
    words = np.array([f"word {n % 37} é" for n in range(9000)], STRINGS)
    texts = np.array([None if n % 9 == 0 else "x" * (n % 23) for n in range(9000)], WITH_MISSING)
    for codec in ("none", "fast"):
        strings = store.create_table(
            f"strings-{codec}", {"w": words, "t": texts, "n": np.arange(9000)}, codec=codec
        )
        strings.append({"w": words[:30], "t": texts[:30], "n": np.arange(30)})
        strings["w"][5:50] = np.array(["new"] * 45, STRINGS)
    index = pd.MultiIndex.from_product([range(20), ["a", "b"]], names=["i", "j"])
    store["frame"] = pd.DataFrame(
        {
            ("x", 1): pd.date_range("2026", periods=40, tz="Europe/Paris"),
            ("y", 2): ["text", None] * 20,
            ("z", 3): np.arange(40, dtype="i4"),
        },
        index=index,
    )
    store["plain"] = pd.DataFrame(
        np.arange(40.0).reshape(10, 4), index=pd.date_range("2026", periods=10, freq="h")
    )
    for codec in ("none", "fast"):
        fill_keys(store.create_keystore(f"keys-{codec}", codec=codec), words, texts)
    if hasattr(store, "create_array"):
        fill_arrays(store)
    store._session.engine.checkpoint()
    store.tag("kept")
    store["g/t"].append(rows[:5])
    store["keys-fast"]["late"] = np.arange(400)


def fill_keys(runs: Any, words: Any, texts: Any) -> None:
    """Put values of every form into a key store."""
    small = (1, "two", b"3", {4: [5.0, None]}, np.float32(6), np.arange(7), {"eight"})
    runs.update({"small": small, 5: True, -300: "int", b"bytes": dt.timedelta(3)})
    runs["array"] = np.arange(3000, dtype="<i4").reshape(30, 100)
    runs["parts"] = (np.linspace(0, 1, 900), {"s": "ä" * 2500, "b": b"b" * 5000}, bytearray(6000))
    runs["strings"] = {"w": words[:1200], "t": texts[:1200].reshape(30, 40)}
    runs["long"] = list(range(3000))
    runs["e\u0301"] = "not NFC"
    runs["many"] = np.zeros((3, 60_000), "u1") + np.arange(3, dtype="u1")[:, None]


def fill_arrays(store: Any) -> None:
    """Put arrays of several kinds, with segments, holes and edges."""
    rng = np.random.default_rng(1)
    values = rng.integers(0, 9, (40, 30, 20)).astype("<i4")
    store.create_array("arrays/volume", data=values, chunks=(16, 16, 16))
    grown = store.create_array("arrays/grown", shape=(0, 50), dtype="<f8", chunks=(64, 50))
    for n in (3, 1, 40, 30):
        grown.append(np.round(rng.normal(size=(n, 50)), 2))
    grown.resize((70, 40))
    holes = store.create_array("arrays/holes", shape=(300, 300), dtype="u1", fill_value=7)
    holes[250:, 250:] = 1
    store.create_array("arrays/raw", data=np.arange(5000.0), codec="none")
    store.create_array("arrays/text", data=np.array([["a", "b" * 50], ["", "é"]], STRINGS))
    store.create_array("arrays/texts", data=np.array(["some text"] * 3000, STRINGS))
    store.create_array("arrays/single", data=np.complex128(1 + 2j))


def wrapped(engine: Engine, mode: str) -> Store:
    engine.maintain = _maintain
    session = Session(
        engine,
        lambda: engine,
        mode=mode,
        version=None,
        timeout=1.0,
        full=False,
        name=":memory:",
    )
    return Store(session, mode, "none", 0, False)


@cache
def base() -> bytes:
    """Bytes of the store, in order and closed."""
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a", durability="none")
    store = wrapped(engine, "r+")
    fill(store)
    data = engine.backend.read(0, engine.backend.size())
    store.close()
    return data


# Changes of bytes

EXTREMES = (0, 1, 2, 7, 8, 31, 127, 128, 255, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31)
EXTREMES += (2**32 - 1, 2**40, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def changed(rng: random.Random, data: bytes) -> bytes:
    """Return bytes with something else in them."""
    out = bytearray(data)
    # Where the fields stand: at the begin, mostly.
    at = rng.randrange(min(len(out), rng.choice((8, 24, 64, 4096, 1 << 20))) or 1)
    kind = rng.randrange(9)
    if not out or kind == 0:
        return bytes(out[:at]) if rng.random() < 0.7 else bytes(out) + rng.randbytes(9)
    if kind == 1:
        out[at] ^= 1 << rng.randrange(8)
    elif kind == 2:
        out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    elif kind <= 5:
        code = rng.choice("HIQ")
        size = struct.calcsize(code)
        number = rng.choice(EXTREMES) % (1 << 8 * size)
        if len(out) >= size and rng.random() < 0.5:
            (old,) = struct.unpack_from("<" + code, out, min(at, len(out) - size))
            number = (old + rng.choice((-1, 1, 2, 100))) % (1 << 8 * size)
        at = min(at, max(len(out) - size, 0))
        out[at : at + size] = struct.pack("<" + code, number)
    elif kind == 6:
        del out[at : at + rng.choice((1, 2, 4, 8))]
    elif kind == 7:
        out[at:at] = rng.choice((b"\0", b"\xff", b"\xff" * 9 + b"\1", bytes(8)))
    else:
        end = rng.randrange(at, len(out)) + 1
        out[at:end] = rng.randbytes(end - at) if rng.random() < 0.5 else out[at:end][::-1]
    return bytes(out)


def changed_page(rng: random.Random, body: bytes, head: int) -> tuple[bytes, int]:
    """Return the body of a column page with other contents and right sums, and its head's size."""
    if rng.random() < 0.3:
        new = changed(rng, body[:head])
        return new + body[head:], len(new)
    found = unpack_page_head(body[:head], len(body))
    starts = [0, *found.ends[:-1]]
    blocks = [body[head + a : head + b] for a, b in zip(starts, found.ends, strict=True)]
    stages, n_values, block_values = list(found.stages), found.n_values, found.block_values
    choice = rng.randrange(4)
    if choice == 0 and stages:
        at = rng.randrange(len(stages))
        stages[at] = stages[at][0], changed(rng, stages[at][1])
    elif choice == 1 and stages:
        at = rng.randrange(len(stages))
        stages[at] = rng.choice((rng.randrange(24), stages[at][0])), stages[at][1]
        if rng.random() < 0.3:
            stages.insert(at, rng.choice(stages))
    elif choice == 2:
        n_values = rng.choice((n_values + 1, n_values - 1, 2 * n_values, 1, 2**28, 2**40))
        if rng.random() < 0.7:
            block_values = -(-n_values // max(len(blocks), 1))
    elif blocks:
        at = rng.randrange(len(blocks))
        blocks[at] = changed(rng, blocks[at])
    try:
        new = pack_page_head(stages, n_values, block_values, blocks)
    except struct.error:
        return body, head
    return new + b"".join(blocks), len(new)


def changed_bundle(rng: random.Random, body: bytes, head: int) -> tuple[bytes, int]:
    """Return the body of a bundle with other contents and right sums."""
    chance = rng.random()
    if chance < 0.35:
        new = changed(rng, body[:head])
        return new + body[head:], len(new)
    bundle = unpack_bundle_head(body[:head], len(body))
    plain, pages = bundle.plain, []
    target = rng.randrange(len(bundle.parts)) if chance < 0.8 else -1
    for number, part in enumerate(bundle.parts):
        entries = []
        chosen = rng.randrange(len(part.pages))
        for at, (begin, page) in enumerate(part.places()):
            data, size = body[begin : begin + page.length], page.head
            if number == target and at == chosen:
                data, size = changed_page(rng, data, size)
            entries.append(page._replace(length=len(data), head=size, sum=sum128(data[:size])))
            pages.append(data)
        part.pages = entries
    if chance >= 0.8:
        part = rng.choice(bundle.parts)
        choice = rng.randrange(5)
        if choice == 0:
            part.shape = tuple(rng.choice((0, 1, n, n + 1, 2**40)) for n in part.shape)
        elif choice == 1 and part.kind == PartKind.ARRAY:
            part.dtype = np.dtype(rng.choice(("u1", "<f8", "S40", "<U1", "V3", STRINGS, "<M8[s]")))
        elif choice == 2:
            part.kind = rng.choice(list(PartKind))
        elif choice == 3:
            plain = changed(rng, plain)
        else:
            part.page_values = rng.choice((1, 2, part.page_values + 1, 2**20, 2**26))
    new = pack_bundle_head(plain, bundle.parts)
    out = [new]
    size = len(new)
    for data in pages:
        out += [bytes(-size % 64), data]
        size += -size % 64 + len(data)
    return b"".join(out), len(new)


def changed_value(rng: random.Random, value: Any, depth: int = 0) -> Any:
    """Return a plain value in which something is of another kind."""
    odd = (None, -1, 2**70, "", "x", "\x00", "Sparse[int]", "S1000000000", "period[D]", "category")
    odd += (
        "Int8",
        "timestamp[ns][pyarrow]",
        "interval",
        "datetime64[ns, X/Y]",
        1e300,
        float("nan"),
    )
    odd += (
        [],
        {},
        [[]],
        {"a": []},
        (1, [2]),
        True,
        "Europe/Paris",
        "²",
        [2**63, 2**63],
        [0, 2**62],
    )
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {
                **value,
                rng.choice(("dtype", "levels", "names", "range", "labels")): rng.choice(odd),
            }
        return {**value, key: changed_value(rng, value[key], depth + 1)}
    if isinstance(value, list | tuple) and value and rng.random() < 0.7:
        out = list(value)
        at = rng.randrange(len(out))
        out[at] = changed_value(rng, out[at], depth + 1)
        return type(value)(out[: rng.choice((at + 1, len(out)))])
    return rng.choice(odd)


# Changes of stores


def mutate_record(rng: random.Random, engine: Engine) -> tuple[str, int]:
    """Change one record of the map, or what it points to; returns what, and the node."""
    view = engine.newest()
    records = list(view.scan(*(keys.whole_node(1)[0], b"\xff" * 9)))
    kinds = sorted({keys.kind_of(key) for key, _ in records})
    kind = rng.choice(kinds)
    key, value = rng.choice([pair for pair in records if keys.kind_of(pair[0]) == kind])
    pointers, payload = unpack_record(value)
    txn = engine.begin()
    chance = rng.random()
    what = "payload"
    if kind == b"M" and not pointers and chance < 0.8:
        what = "note"
        txn.put(key, pack_record(pack_value(changed_value(rng, unpack_value(payload)))))
    elif pointers and chance < 0.65:
        what = "extent"
        at = rng.randrange(len(pointers))
        new, what = changed_extent(rng, engine, pointers[at], txn)
        txn.put(key, pack_record(payload, [*pointers[:at], new, *pointers[at + 1 :]]))
    elif chance < 0.7:
        what = "deleted"
        txn.delete(key)
    elif chance < 0.78:
        what = "key"
        new_key = key[:9] + changed(rng, key[9:])
        txn.delete(key)
        txn.put(new_key[:1024], value)
    elif chance < 0.84:
        what = "value of another"
        other = rng.choice(records)[1]
        txn.put(key, pack_record(unpack_record(other)[1], pointers))
    elif chance < 0.88:
        what = "pointers"
        field = rng.choice(("offset", "length", "head", "birth"))
        bad = [p._replace(**{field: rng.choice(EXTREMES) % 2**32}) for p in pointers]
        txn.put(key, pack_record(payload, bad or [Pointer(2**20, 100, 100, 1, bytes(16))]))
    else:
        txn.put(key, pack_record(changed(rng, payload)[:200_000], pointers))
    txn.commit()
    return f"{what} of {kind!r} in node {keys.node_of(key)}", keys.node_of(key)


def changed_extent(
    rng: random.Random, engine: Engine, old: Pointer, txn: Any
) -> tuple[Pointer, str]:
    data = engine.backend.read(old.offset, layout.FRAME.size + old.length)
    header = unpack_frame(data)
    body = data[layout.FRAME.size :]
    assert header is not None
    what, head = "extent", old.head
    if header.type == layout.FRAME_BUNDLE:
        what = "bundle"
        body, head = changed_bundle(rng, body, head)
    elif header.type == layout.FRAME_PAGE:
        what = "page"
        body, head = changed_page(rng, body, head)
    else:
        body = changed(rng, body)
        head = len(body)
    frame = Frame(header.type, header.node, header.column, header.row, body[:head], (body[head:],))
    (new,) = txn.write([frame])
    return new, what


def mutate_tree(rng: random.Random, engine: Engine) -> tuple[str, int]:
    """Change one page of the tree, and the sums of those above it and of the slot."""
    engine.checkpoint()
    txn = engine.begin()
    view = engine.newest()
    path = []
    pointer = view.root_pointer() if hasattr(view, "root_pointer") else engine.state.root
    assert pointer is not None
    while True:
        body = engine.reader.read(pointer)
        level, names, values = unpack_tree_page(body)
        at = rng.randrange(len(values))
        path.append((pointer, body, at))
        if not level or rng.random() < 0.2:
            break
        pointer = Pointer.unpack(values[at])
    new = changed(rng, path[-1][1])
    if rng.random() < 0.4:
        level, names, values = unpack_tree_page(path[-1][1])
        at = rng.randrange(len(names))
        choice = rng.randrange(4)
        if choice == 0:
            names[at] = changed(rng, names[at])
        elif choice == 1:
            values[at] = changed(rng, values[at])
        elif choice == 2:
            names[at], names[-1] = names[-1], names[at]
        else:
            values[at] = rng.choice(values)
        prefix = all(name.startswith(names[0][:1]) for name in names)
        new = pack_tree_page(level, names, values) if prefix else new
    for parent in [*reversed(path[:-1]), None]:
        (place,) = txn.write([Frame(layout.FRAME_TREE, 0, 0, 0, new)])
        if parent is not None:
            level, names, values = unpack_tree_page(parent[1])
            values[parent[2]] = place.pack()
            new = pack_tree_page(level, names, values)
    txn.rollback()  # the bytes stay where they are
    newest = max((s for s in engine.slots if s), key=lambda s: s.checkpoint)
    block = replace(newest, root=place).pack(engine.uuid)
    engine.backend.write(layout.SLOT_OFFSETS[engine.slots.index(newest)], [block])
    return "page of the tree", 0


def hostile(seed: int) -> tuple[bytes, str, int]:
    """Return a store with one change, what it is, and the node concerned, 0 for any."""
    rng = random.Random(seed)
    file = MemoryFile(base())
    engine = Engine.open_backend(MemoryBackend(file), "r+", durability="none")
    try:
        mutate = mutate_tree if rng.random() < 0.12 else mutate_record
        what, node = mutate(rng, engine)
        return bytes(file.data), what, node
    finally:
        # Not closed in order: what it knows of the tree is not what the file says.
        engine.backend.close()


# Everything that reads


def read_node(node: Any) -> Iterator[Callable[[], object]]:
    """Calls that read one node in every way."""
    yield lambda: repr(node)
    yield node._repr_html_
    yield lambda: repr(node.info)
    yield lambda: dict(node.attrs)
    yield lambda: [node.parent, node.name]
    if isinstance(node, KeyStore):
        yield lambda: list(node)
        yield lambda: list(node.items())
        yield lambda: [node.get(key) for key in ("array", "parts", 5, -300, b"bytes", "e\u0301")]
        yield lambda: node.get_many(["strings", "long", "many"])
        for key in ("array", "parts", "strings", "many", "long"):
            yield lambda key=key: list(slices(node.open(key)))
    elif isinstance(node, kist.Table):
        yield lambda: node[:]
        yield lambda: node[3:8999:7]
        yield lambda: node[-3]
        yield lambda: [node[name][[5, 17, 4000]] for name in node.colnames if len(node) > 4000]
        yield lambda: [node[name][:] for name in node.colnames]
        yield lambda: [len(block) for block in node.blocks(1000)]
        yield lambda: [
            node.where(f"{name} == {name}")[:5] for name in node.colnames if name in "abswtn"
        ]
        yield node.to_pandas
        yield lambda: [node[name].to_pandas() for name in node.colnames]
        yield node.to_arrow
    elif node.kind == "array":
        if is_large(node):
            return  # who asks for so much gets it
        yield lambda: node[...]
        yield lambda: node[:3, ..., -1] if node.ndim > 1 else None
        yield lambda: list(node.blocks()) if node.ndim else None
        yield lambda: node[(slice(None, None, 7),) * node.ndim]


def is_large(array: Any) -> bool:
    try:
        return bool(array.size > 1 << 20)
    except KistError:
        return False


def slices(value: Any) -> Iterator[object]:
    if isinstance(value, dict):
        value = list(value.values())
    for item in value if isinstance(value, list | tuple) else [value]:
        if hasattr(item, "_part"):
            yield item[...]
            yield item[-1:] if item.ndim else None
            yield item[..., ::7] if item.ndim else None


def change_node(node: Any) -> Iterator[Callable[[], object]]:
    """Calls that change one node in every way."""
    yield lambda: node.attrs.update(new=1)
    if isinstance(node, KeyStore):
        yield lambda: node.update({"array": 5, "new": np.arange(900), "\u00e8": 1})
        yield lambda: [node.pop(key, None) for key in ("parts", 5, "e\u0301", "small")]
        yield node.popitem
        yield node.clear
    elif isinstance(node, kist.Table):
        yield lambda: node.append(node[:3])
        yield lambda: node.delete(slice(0, 50))
        yield lambda: node.delete(slice(None))
    elif node.kind == "array":
        if not is_large(node):
            yield lambda: node.__setitem__(Ellipsis, node[...])
            yield lambda: node.append(node[:1]) if node.ndim else None
        yield lambda: node.resize((1,) * node.ndim)
        yield lambda: node.resize((70,) * node.ndim)


def calls(store: Store, only: int) -> Iterator[Callable[[], object]]:
    """Everything that can be asked of a store, and of one node of it or of all."""
    yield lambda: repr(store.tree())
    yield lambda: repr(store.info)
    yield lambda: repr(store.check())
    yield lambda: list(store.history())
    nodes: list[Any] = [store]
    yield lambda: store.visititems(lambda _, node: nodes.append(node) and None)
    nodes = [node for node in nodes if not only or node._id == only]
    for node in nodes:
        yield from read_node(node)
    if store.mode == "r":
        return
    for number, node in enumerate(nodes):
        yield lambda node=node, number=number: store.copy(node, f"copy {number}")
    for node in nodes:
        yield from change_node(node)
    yield lambda: store.move("keys-none", "moved")
    yield lambda: store.__delitem__("g")
    yield store._session.engine.checkpoint
    yield lambda: store.tag("again")
    yield store.compact


class Found(AssertionError):
    """A hostile store did something else than raise an error of kist."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def attack(data: bytes, mode: str, only: int = 0) -> list[KistError]:
    """Do everything with a store; returns the errors of kist."""
    errors: list[KistError] = []
    try:
        backend = MemoryBackend(MemoryFile(data), writable=mode != "r")
        engine = Engine.open_backend(backend, mode, durability="none")
        store = wrapped(engine, mode)
    except KistError as error:
        return [error]
    with store:
        for call in calls(store, only):
            try:
                with at_most(SLOW):
                    call()
            except KistError as error:
                errors.append(error)
    return errors


def findings(seed: int, *, memory: bool = False) -> None:
    data, what, node = hostile(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if memory:
            tracemalloc.start()
        try:
            attack(data, "r" if seed % 5 == 0 else "r+", node)
            if memory and (peak := tracemalloc.get_traced_memory()[1]) > MEMORY:
                raise Found(f"{peak >> 20} MiB")
        except Exception as error:
            raise Found(f"seed {seed}, {what}: {error!r}") from error
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("part", range(4))
def test_a_hostile_store_raises_only_errors_of_kist(part: int) -> None:
    found = []
    for seed in range(part, SEEDS, 4):
        try:
            findings(seed, memory=seed % 16 == part)
        except Found as error:
            found.append(str(error))
    assert found == []


def test_the_store_without_a_change_reads_and_changes_without_an_error() -> None:
    assert attack(base(), "r") == []
    assert attack(base(), "r+") == []


if __name__ == "__main__":
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        begun = time.monotonic()
        try:
            findings(number, memory="memory" in sys.argv)
        except Found as found_error:
            print(found_error, flush=True)
            if "trace" in sys.argv:
                raise
        if time.monotonic() - begun > SLOW:
            print(f"seed {number}: {time.monotonic() - begun:.1f} s", flush=True)
