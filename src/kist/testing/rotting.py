"""A store with every kind of object, what it held after each commit, and damage of every kind.

What `kist.testing.corruption` works with: `write_stores` makes the files, `contents` reads a store
into plain arrays of bytes, `Damage.draw` decides what shall be broken.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

import kist

__all__ = [
    "KINDS",
    "Damage",
    "Files",
    "as_bytes",
    "contents",
    "log_records",
    "parts_of",
    "write_stores",
]

Array = np.ndarray[Any, Any]

ROW = np.dtype([("a", "<i8"), ("b", "<f8"), ("s", "S5"), ("v", ">i4", (2,))])
STRINGS = np.dtypes.StringDType(na_object=None)
KINDS: Final = ("flip", "zero", "noise", "swap", "cut", "foreign", "old", "frame", "several")

_HEAD: Final = 0x4000
_DATA: Final = 0x44000
_FRAMES: Final = (b"TREE", b"NPAG", b"ROWS", b"BLOB", b"KVAL", b"SEAL")


# The stores


def _rows(n: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, ROW)
    rows["a"], rows["b"] = rng.integers(0, 1 << 40, n), np.round(rng.normal(size=n), 3)
    rows["s"], rows["v"] = rng.integers(0, 50, n).astype("S5"), rng.integers(0, 50, (n, 2))
    return rows


def _begin(store: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    store.attrs["small"] = {"when": dt.datetime(2026, 1, 5), "x": (seed, 2.5, None)}
    store.attrs["large"] = {"x": rng.normal(size=900), "s": "é" * 3000}
    table = store.create_table("g/t", _rows(5000, seed), attrs={"unit": "V"})
    table.append(_rows(700, seed + 1))
    table["a"].attrs["about"] = "first"
    long = np.zeros(70_000, [("n", "<i4"), ("k", "<u2")])
    long["n"], long["k"] = np.arange(70_000) * seed, rng.integers(0, 3, 70_000)
    store["long"] = long
    words = np.array([None if n % 9 == 0 else f"word {n} é" for n in range(3000)], STRINGS)
    store.create_table("g/h/words", {"w": words, "n": np.arange(3000)})
    store.create_array("g/volume", data=rng.integers(0, 999, (40, 30, 20)), chunks=(16, 16, 16))
    store.create_array("grown", shape=(0, 50), dtype="<f8", chunks=(64, 50))
    store.create_array("holes", shape=(300, 300), dtype="<u2", fill_value=7)[250:, 250:] = seed
    store.create_array("raw", data=rng.normal(size=3000), codec="none")
    store.create_array("texts", data=np.array([f"text {n} {seed}" for n in range(600)], STRINGS))
    store.create_array("single", data=np.complex128(1 + seed * 2j))
    runs = store.create_keystore("g/runs")
    runs.update({f"k{n:03d}": (n, np.arange(n % 7) + seed) for n in range(500)})
    runs.update({5: True, -300: "int", b"bytes": b"b" * 6000, "e\u0301": "not NFC"})
    runs["array"] = rng.normal(size=(30, 40))
    store.create_table("gone", _rows(4000, seed + 2))


def _go_on(store: Any, step: int, seed: int) -> None:
    """Change something: one commit each."""
    table, rng = store["g/t"], np.random.default_rng(step + 100 * seed)
    steps: list[Callable[[], Any]] = [
        lambda: table.append(_rows(9, step)),
        lambda: table.delete(slice(10 + step, 2500, 3)),
        lambda: table["b"].__setitem__(slice(0, 900), rng.normal(size=900)),
        lambda: store["grown"].append(np.round(rng.normal(size=(3 + step, 50)), 2)),
        lambda: store.__delitem__("gone") if "gone" in store else table.append(_rows(3, step)),
        lambda: store["g/runs"].update({"k007": rng.normal(size=700), f"new{step}": None}),
        lambda: store["g/volume"].__setitem__(slice(3, 20), step),
        lambda: store.attrs.__setitem__("small", step),
        lambda: store["long"].delete(slice(66_000 - step, 69_000)),
        lambda: store["g/h/words"]["w"].__setitem__(slice(5, 50), np.array(["new"] * 45, STRINGS)),
        lambda: store.__setitem__(f"added{step}", _rows(50, step)),
        lambda: store["g/runs"].pop("array", None) is None and table.append(_rows(2, step)),
    ]
    steps[step % len(steps)]()


class Files:
    """The files of one family, below a folder.

    Attributes
    ----------
    newest, old, foreign : bytes
        The store that is broken, an earlier image of it, and another store of the same kind.
    commits : list of int
        Commits whose contents are known.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.newest = (folder / "newest.kist").read_bytes()
        self.old = (folder / "old.kist").read_bytes()
        self.foreign = (folder / "foreign.kist").read_bytes()
        self.commits = sorted(int(p.stem) for p in folder.glob("*.npz"))

    def truth(self, commit: int) -> dict[str, Array] | None:
        """What the store held after a commit; None when there was no such commit.

        Commits that are not noted are those of tags and of compaction, which change nothing.
        """
        if commit == 0:
            return {}
        if not 0 < commit <= self.commits[-1]:
            return None
        commit = max(number for number in self.commits if number <= commit)
        with np.load(self.folder / f"{commit}.npz", allow_pickle=False) as found:
            names = bytes(found["names"]).decode("utf-8", "surrogatepass").split("\0")
            return {name: found[f"v{n}"] for n, name in enumerate(names)}


def write_stores(folder: Path, seed: int, steps: int = 14) -> None:
    """Write the files that `Files` reads."""
    for name, number in (("foreign", seed + 50), ("newest", seed)):
        with kist.open(folder / f"{name}.kist", "x") as store:
            with store.transaction():
                _begin(store, number)
            if name == "newest":
                _note(folder, store)
            store.tag("kept")  # which writes all of it into the tree
            for step in range(2 * steps):
                _go_on(store, step, number)
                if step in (steps // 2, 2 * steps - 4):
                    store.compact()  # and with it checkpoints: both slots move on
                if name == "newest":
                    _note(folder, store)
                    if step == steps:
                        store.close()
                        (folder / "old.kist").write_bytes((folder / "newest.kist").read_bytes())
                        store = kist.open(folder / "newest.kist", "r+")
            store.close()


def _note(folder: Path, store: Any) -> None:
    found = {name: read() for name, read in contents(store)}
    packed = "\0".join(found).encode("utf-8", "surrogatepass")
    parts = {f"v{n}": values for n, values in enumerate(found.values())}
    names = np.frombuffer(packed, "u1")
    np.savez(folder / f"{store.commit_id}.npz", allow_pickle=False, names=names, **parts)


# What a store holds


def contents(store: Any) -> Iterator[tuple[str, Callable[[], Array]]]:
    """Yield everything that a store holds: a name, and a call that reads it into plain bytes.

    The parts of a name are divided by ``|``: path, kind, and column, key or attribute. Arrays and
    columns keep their shape, with one axis more for the bytes of an element.
    """
    yield from _attributes("/", store)
    nodes: list[Any] = []
    store.visititems(lambda path, node: nodes.append((f"/{path}", node)))
    for path, node in nodes:
        yield f"{path}|kind", partial(_kind, node)
        yield from _attributes(path, node)
        if node.kind == "table":
            for name in node.colnames:
                yield f"{path}|column|{name}", partial(_read, node[name])
                for attribute in node[name].attrs:
                    call = partial(_item, node[name].attrs, attribute)
                    yield f"{path}|attr of {name}|{attribute}", call
        elif node.kind == "array":
            yield f"{path}|values", partial(_read, node)
        elif node.kind == "key store":
            for key in node:
                yield f"{path}|key|{key!a}", partial(_item, node, key)


def parts_of(name: str) -> tuple[str, str, str]:
    """(path, kind, rest) of a name."""
    path, _, rest = name.partition("|")
    kind, _, rest = rest.partition("|")
    return path, kind, rest


def _attributes(path: str, node: Any) -> Iterator[tuple[str, Callable[[], Array]]]:
    for name in node.attrs:
        if name != "SALVAGE":
            yield f"{path}|attr|{name}", partial(_item, node.attrs, name)


def _kind(node: Any) -> Array:
    return _bytes(node.kind.encode())


def _read(node: Any) -> Array:
    return as_bytes(np.asarray(node[...]))


def _item(mapping: Any, key: Any) -> Array:
    return _bytes(said(mapping[key]))


def as_bytes(values: Array) -> Array:
    """Elements as bytes, along one axis more; of strings their UTF-8, cut to the longest."""
    if values.dtype.kind in "TO":
        flat = [b"\0" if v is None else b"\1" + str(v).encode() for v in values.reshape(-1)]
        values = np.array(flat or [b""], "S")[: len(flat)].reshape(values.shape)
    whole = np.ascontiguousarray(values)
    return np.frombuffer(whole.tobytes(), "u1").reshape(*values.shape, whole.itemsize)


def said(value: Any) -> bytes:
    """A plain value as bytes, so that equal bytes mean equal values and types."""
    if isinstance(value, np.ndarray):
        return f"<{value.dtype!r} {value.shape} ".encode() + as_bytes(value).tobytes() + b">"
    if isinstance(value, list | tuple):
        return type(value).__name__.encode() + b"(" + b",".join(map(said, value)) + b")"
    if isinstance(value, dict):
        return b"{" + b",".join(said(k) + b":" + said(v) for k, v in value.items()) + b"}"
    return f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass")


def _bytes(data: bytes) -> Array:
    return np.frombuffer(data, "u1").reshape(1, len(data))


# Damage


@dataclass(frozen=True)
class Damage:
    """What is done to a file.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    what : str
        In words.
    data : bytes
        The file afterwards.
    places : list of (start, stop)
        Bytes that were changed.
    frame : str
        Type of the frame whose body was flipped, if it was one bit in one.
    """

    kind: str
    what: str
    data: bytes
    places: list[tuple[int, int]]
    frame: str = ""

    @staticmethod
    def draw(files: Files, rng: random.Random, kind: str | None = None) -> Damage:
        """Break a file in some way that changes it."""
        kind = kind or rng.choice(KINDS)
        while True:
            data = bytearray(files.newest)
            frame = ""
            if kind == "several":
                done = [_break(data, files, rng, rng.choice(KINDS[:-1])) for _ in range(4)]
            else:
                done = [_break(data, files, rng, kind)]
            if data == files.newest:
                continue
            places = [place for _, some in done for place in some]
            if kind == "flip":
                frame = _frame_around(files.newest, places[0][0])
            return Damage(kind, "; ".join(what for what, _ in done), bytes(data), places, frame)


def _frames(data: bytes | bytearray) -> list[int]:
    """Where frames begin, by their types and the offsets in them."""
    found = []
    for magic in _FRAMES:
        at = data.find(magic, _DATA)
        while at >= 0:
            if at % 64 == 0 and int.from_bytes(data[at + 8 : at + 16], "little") == at:
                found.append(at)
            at = data.find(magic, at + 1)
    return sorted(found)


def log_records(data: bytes) -> list[tuple[int, int, int]]:
    """Return (commit, start, stop) of what stands in the log: records, and marks behind them."""
    found = []
    at = data.find(b"CMIT", _HEAD, _DATA)
    while at >= 0:
        commit, position = (int.from_bytes(data[at + n : at + n + 8], "little") for n in (24, 32))
        if position == at:
            length = int.from_bytes(data[at + 72 : at + 76], "little")
            found.append((commit, at, at + 128 + length))
        at = data.find(b"CMIT", at + 1, _DATA)
    return found


def _frame_around(data: bytes, place: int) -> str:
    before = [at for at in _frames(data) if at <= place]
    if not before:
        return ""
    at = before[-1]
    length = int.from_bytes(data[at + 64 : at + 72], "little")
    return data[at : at + 4].decode() if at + 128 <= place < at + 128 + length else ""


def _place(data: bytes | bytearray, rng: random.Random) -> int:
    """A byte in use, or at least near one: of the head, the log, or the extents."""
    where = rng.random()
    if where < 0.15:
        return rng.choice([at for at in range(min(_HEAD, len(data))) if data[at]] or [0])
    if where < 0.35:
        for _ in range(1000):
            at = rng.randrange(_HEAD, _DATA)
            if at < len(data) and data[at]:
                return at
    return rng.randrange(min(_DATA, len(data) - 1), len(data))


_Places = list[tuple[int, int]]


def _break(data: bytearray, files: Files, rng: random.Random, kind: str) -> tuple[str, _Places]:
    """Change a file in place; returns what was done, and where."""
    at = _place(data, rng)
    n = min(rng.choice([1, 16, 64, 512, 4096, 40_000]), len(data) - at)
    if kind == "flip":
        data[at] ^= 1 << rng.randrange(8)
        return f"flip a bit at {at}", [(at, at + 1)]
    if kind == "cut":
        at = max(at, 1)  # something is left to be broken further
        del data[at:]
        return f"cut at {at}", [(at, len(files.newest))]
    if kind in ("foreign", "old"):
        source = files.foreign if kind == "foreign" else files.old
        if rng.random() < 0.5:
            at, n = at & ~4095, 4096
        data[at : at + n] = source[at : at + n].ljust(min(n, len(data) - at), b"\0")
        return f"{n} bytes of the {kind} file at {at}", [(at, at + n)]
    frames = _frames(data) if kind == "frame" else []
    if frames:
        # A frame over the start of another, as it is or with its offset made right.
        to, source_at = rng.choice(frames), rng.choice(frames)
        n = 128 + int.from_bytes(data[source_at + 64 : source_at + 72], "little")
        n = min(n, len(data) - to)
        body = bytearray(data[source_at : source_at + n])
        if rng.random() < 0.5:
            body[8:16] = to.to_bytes(8, "little")
        data[to : to + n] = body.ljust(n, b"\0")
        return f"the frame at {source_at} put to {to}", [(to, to + n)]
    if kind == "swap":
        other = _place(data, rng)
        low, high = sorted((at, other))
        n = max(1, min(n, high - low, len(data) - high))
        data[low : low + n], data[high : high + n] = data[high : high + n], data[low : low + n]
        return f"swap {n} bytes at {low} and {high}", [(low, low + n), (high, high + n)]
    data[at : at + n] = bytes(n) if kind == "zero" else rng.randbytes(n)
    return f"{n} bytes of {kind} at {at}", [(at, at + n)]
