"""A store that holds every kind of object and record, and all that can be asked of a store.

`fill` makes the one, `ask` yields the other as calls, each named, so that a test may count on one
of them failing and go on with the next.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from kist.errors import KistError

__all__ = ["ask", "fill"]

STRINGS = np.dtypes.StringDType()
WITH_MISSING = np.dtypes.StringDType(na_object=None)
ROW = np.dtype([("a", "<i8"), ("b", "<f8"), ("s", "S5"), ("v", ">i4", (2,))])
HAS_PANDAS = importlib.util.find_spec("pandas") is not None
HAS_ARROW = importlib.util.find_spec("pyarrow") is not None

LARGE = 1 << 20
"""Values of an array from which on only parts are read: who asks for more gets it."""

Call = Callable[[], object]

# The store


def fill(store: Any) -> None:
    """Put every kind of object and of record into a store; the last ones stand in the log."""
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
    dense = {"p": np.cumsum(rng.integers(-5, 9, 20_000)), "q": rng.normal(size=20_000)}
    store.create_table("g/pcodec", dense, codec="pcodec")
    words = np.array([f"word {n % 37} é" for n in range(9000)], STRINGS)
    texts = np.array([None if n % 9 == 0 else "x" * (n % 23) for n in range(9000)], WITH_MISSING)
    for codec in ("none", "fast"):
        columns = {"w": words, "t": texts, "n": np.arange(9000)}
        strings = store.create_table(f"strings-{codec}", columns, codec=codec)
        strings.append({"w": words[:30], "t": texts[:30], "n": np.arange(30)})
        strings["w"][5:50] = np.array(["new"] * 45, STRINGS)
        _fill_keys(store.create_keystore(f"keys-{codec}", codec=codec), words, texts)
    if HAS_PANDAS:
        _fill_frames(store)
    _fill_arrays(store)
    store.tag("kept")  # which writes all of it into the tree
    store["g/t"].append(rows[:5])
    store["keys-fast"]["late"] = np.arange(400)


def _fill_frames(store: Any) -> None:
    import pandas as pd

    index = pd.MultiIndex.from_product([range(20), ["a", "b"]], names=["i", "j"])
    times = pd.date_range("2026", periods=40, tz="Europe/Paris")
    columns = {("x", 1): times, ("y", 2): ["text", None] * 20, ("z", 3): np.arange(40, dtype="i4")}
    store["frame"] = pd.DataFrame(columns, index=index)
    hours = pd.date_range("2026", periods=10, freq="h")
    store["plain"] = pd.DataFrame(np.arange(40.0).reshape(10, 4), index=hours)


def _fill_keys(runs: Any, words: Any, texts: Any) -> None:
    small = (1, "two", b"3", {4: [5.0, None]}, np.float32(6), np.arange(7), {"eight"})
    runs.update({"small": small, 5: True, -300: "int", b"bytes": dt.timedelta(3)})
    runs["array"] = np.arange(3000, dtype="<i4").reshape(30, 100)
    runs["parts"] = (np.linspace(0, 1, 900), {"s": "ä" * 2500, "b": b"b" * 5000}, bytearray(6000))
    runs["strings"] = {"w": words[:1200], "t": texts[:1200].reshape(30, 40)}
    runs["long"] = list(range(1500))
    runs["e\u0301"] = "not NFC"
    runs["many"] = np.zeros((3, 60_000), "u1") + np.arange(3, dtype="u1")[:, None]


def _fill_arrays(store: Any) -> None:
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
    store.create_array("arrays/pcodec", data=rng.normal(size=9000), codec="pcodec")
    store.create_array("arrays/text", data=np.array([["a", "b" * 50], ["", "é"]], STRINGS))
    store.create_array("arrays/texts", data=np.array(["some text"] * 3000, STRINGS))
    store.create_array("arrays/single", data=np.complex128(1 + 2j))


# The questions


def ask(store: Any, only: str | None = None, *, reading: bool = True) -> Iterator[tuple[str, Call]]:
    """Yield everything that can be asked of a store, and of the node `only` or of all nodes.

    A store that may be written is changed, too, and with ``reading=False`` its nodes are not read
    before: what is asked last is that it be made smaller.
    """
    yield "tree", lambda: _drawn(store.tree())
    yield "info", lambda: repr(store.info)
    yield "check", lambda: store.check()
    yield "history", lambda: list(store.history())
    found: list[Any] = [store]
    yield "visit", lambda: store.visititems(_collector(found))
    nodes = [node for node in found if only is None or _name(node) == only]
    for node in nodes if reading else ():
        for what, call in _read(node):
            yield f"{_name(node)} {what}", call
    if store.mode == "r":
        return
    for number, node in enumerate(nodes):
        yield f"copy {_name(node)}", partial(store.copy, node, f"copy {number}")
    for node in nodes:
        for what, call in _change(node):
            yield f"{_name(node)} {what}", call
    yield "move", lambda: store.move("keys-none", "moved")
    yield "delete", lambda: store.__delitem__("g")
    yield "tag", lambda: store.tag("again")
    yield "compact", store.compact


def _drawn(tree: Any) -> object:
    return repr(tree), tree._repr_html_(), tree.to_dict()


def _name(node: Any) -> str | None:
    try:
        return str(node.name)
    except KistError:
        return None  # it is not there: calls on it say so


def _collector(into: list[Any]) -> Callable[[str, Any], None]:
    def collect(path: str, node: Any) -> None:
        into.append(node)

    return collect


def _read(node: Any) -> Iterator[tuple[str, Call]]:
    yield "repr", lambda: repr(node)
    if node.kind != "link":
        yield "html", lambda: node._repr_html_()
    yield "info", lambda: repr(node.info)
    yield "attributes", lambda: (repr(node.attrs), node.attrs._repr_html_(), dict(node.attrs))
    yield "parent", lambda: [node.parent, node.name]
    kind = node.kind
    if kind == "key store":
        yield "keys", lambda: list(node)
        yield "items", lambda: list(node.items())
        names = ("array", "parts", 5, -300, b"bytes", "e\u0301")
        yield "get", lambda: [node.get(key) for key in names]
        yield "get_many", lambda: node.get_many(["strings", "long", "many"])
        for key in ("array", "parts", "strings", "many", "long"):
            yield f"open {key}", partial(_open, node, key)
    elif kind == "table":
        yield from _read_table(node)
    elif kind == "array":
        yield from _read_array(node)
    elif kind == "link":
        yield from _read_link(node)


def _read_link(node: Any) -> Iterator[tuple[str, Call]]:
    """What a link says, and all that can be read of what it leads to."""
    yield "says", lambda: (node.leads_to, node.target, node.file, node.version, node.linked_file)
    found: list[Any] = []
    yield "follow", lambda: found.append(node.follow())
    for one in found:
        yield "show what it leads to", partial(_shown, one)
        if one.kind == "table" or hasattr(one, "colnames"):
            yield from _read_table(one)
        elif one.kind == "array":
            yield from _read_array(one)


def _shown(node: Any) -> object:
    return repr(node), repr(node.info), repr(node.attrs)


def _read_table(node: Any) -> Iterator[tuple[str, Call]]:
    yield "all", lambda: _same(node[:], (len(node),), node.dtype)
    yield "steps", lambda: node[3:8999:7]
    yield "row", lambda: node[-3]
    yield "rows", lambda: [node[n][[5, 17, 4000]] for n in node.colnames if len(node) > 4000]
    yield "columns", lambda: [node[n][:] for n in node.colnames]
    yield "blocks", lambda: [len(block) for block in node.blocks(1000)]
    yield "where", lambda: [node.where(f"{n} == {n}")[:5] for n in node.colnames if n in "abnpqstw"]
    yield "count", lambda: [node.where(f"{n} > 5").count() for n in node.colnames if n in "abnpq"]
    if hasattr(type(node), "indexes"):
        yield "indexes", lambda: [_found(node, index) for index in node.indexes]
        yield "sealed", lambda: repr(node.sealed)
    yield "column reprs", lambda: [(repr(node[n]), repr(node[n].attrs)) for n in node.colnames]
    if HAS_PANDAS:
        yield "to_pandas", lambda: node.to_pandas()
        yield "columns to_pandas", lambda: [node[n].to_pandas() for n in node.colnames]
    if HAS_ARROW:
        yield "to_arrow", lambda: node.to_arrow()


def _found(node: Any, index: Any) -> object:
    name = index.columns[0]
    first = node[name][0] if len(node) else 0
    return repr(index), node.where(f"{name} == wanted", wanted=first).indices()


def _read_array(node: Any) -> Iterator[tuple[str, Call]]:
    yield "corner", lambda: node[tuple(slice(0, 2) for _ in range(min(node.ndim, 16)))].shape
    if not _is_small(node):
        yield "one", lambda: node[(-1,) * node.ndim] if node.size else None
        return
    yield "all", lambda: _same(node[...], node.shape, node.dtype)
    yield "sides", lambda: node[:3, ..., -1] if node.ndim > 1 else None
    yield "blocks", lambda: list(node.blocks()) if node.ndim else None
    yield "steps", lambda: node[(slice(None, None, 7),) * node.ndim]


def _same(found: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Fail when what was read is not what was announced."""
    if found.shape != shape or found.dtype != dtype:
        raise AssertionError(f"{found.shape} {found.dtype}, announced {shape} {dtype}")


def _is_small(array: Any) -> bool:
    try:
        return bool(array.size <= LARGE)
    except KistError:
        return True  # the error comes again where it is counted


def _moves_little(table: Any) -> bool:
    """Tell whether rows may be put before others: what is behind them is written anew.

    A file of kilobytes may hold gigabytes that are all alike, and that takes what gigabytes take.
    """
    try:
        return bool(table.nbytes <= 64 * LARGE)
    except KistError:
        return True


def _open(node: Any, key: str) -> None:
    for _ in _slices(node.open(key)):
        pass


def _slices(value: Any) -> Iterator[object]:
    """Parts of the sliceable handles that `KeyStore.open` gives."""
    if isinstance(value, dict):
        value = list(value.values())
    for item in value if isinstance(value, list | tuple) else [value]:
        if hasattr(item, "shape") and not isinstance(item, np.ndarray | np.generic):
            yield item[...]
            yield item[-1:] if item.ndim else None
            yield item[..., ::7] if item.ndim else None


def _change(node: Any) -> Iterator[tuple[str, Call]]:
    yield "set attribute", lambda: node.attrs.update(new=1)
    kind = node.kind
    if kind == "key store":
        yield "put", lambda: node.update({"array": 5, "new": np.arange(900), "\u00e8": 1})
        yield "pop", lambda: [node.pop(key, None) for key in ("parts", 5, "e\u0301", "small")]
        yield "popitem", lambda: node.popitem()
        yield "clear", lambda: node.clear()
    elif kind == "table":
        yield "append", lambda: node.append(node[:3])
        if _moves_little(node):
            yield "insert", lambda: node.insert(1, node[:2])
        yield "new column", lambda: node.add_column("new column", 1)
        yield "index", lambda: node.create_index("new column")
        yield "drop index", lambda: [node.drop_index(one.name) for one in node.indexes]
        yield "upsert", lambda: node.upsert(node[:3], on=node.colnames[0])
        yield "rotate", lambda: node.rotate(now=True) if node.sealed else None
        yield "drop column", lambda: node.drop_column(node.colnames[0])
        yield "delete rows", lambda: node.delete(slice(0, 50))
        yield "delete all rows", lambda: node.delete(slice(None))
    elif kind == "link":
        yield "renew", lambda: node.renew()
        yield "union of it", lambda: node.parent.create_union("of it", node.name)
    elif kind == "array":
        if _is_small(node):
            yield "assign", lambda: node.__setitem__(Ellipsis, node[...])
            yield "append", lambda: node.append(node[:1]) if node.ndim else None
        yield "shrink", lambda: node.resize((1,) * node.ndim)
        yield "grow", lambda: node.resize((70,) * node.ndim)
