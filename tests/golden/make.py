"""Makes the golden files and their JSON.

    python tests/golden/make.py              all of them
    python tests/golden/make.py codecs log   some of them

Time and random ids are frozen while a file is made, so making it again changes nothing unless
the bytes of the format, or the choices of a codec, have changed. The JSON is made from what was
put in, not from what kist reads; a file that kist reads differently is not written.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
import os
import shutil
import struct
import sys
import tempfile
import time
import zoneinfo
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import xxhash
from content import (
    Array,
    Group,
    KeyStore,
    Link,
    NdArray,
    Table,
    content_of,
    describe,
    describe_versions,
    dumps,
)

import kist
from kist.format.dtypes import pack_dtype

FOLDER = Path(__file__).resolve().parent
EPOCH_NS = 1_700_000_000_000_000_000

Maker = Callable[[Path], tuple[Group, list[tuple[str, int, Group]]]]
MAKERS: dict[str, Maker] = {}


def maker(function: Callable[..., Any]) -> Callable[..., Any]:
    """Note a function that makes a file at a path, and returns what is in it (and in its tags)."""

    def make(path: Path) -> tuple[Group, list[tuple[str, int, Group]]]:
        found = function(path)
        return found if isinstance(found, tuple) else (found, [])

    MAKERS[function.__name__] = make
    make.__doc__ = function.__doc__
    return function


@contextlib.contextmanager
def frozen(name: str) -> Iterator[None]:
    """Let the clock tick by one millisecond a look, and randomness follow from the name."""
    ticks = itertools.count(EPOCH_NS, 1_000_000)
    draws = itertools.count()

    def urandom(n: int) -> bytes:
        return hashlib.shake_128(f"{name} {next(draws)}".encode()).digest(n)

    with (
        mock.patch.object(time, "time_ns", lambda: next(ticks)),
        mock.patch.object(os, "urandom", urandom),
    ):
        kist.options.n_threads = 1  # the order of writes follows from the program
        try:
            yield
        finally:
            kist.options.reset()


def ramp(n: int, start: int = 0) -> Array:
    return np.arange(start, start + n, dtype=np.int64)


def noise(n: int, seed: int) -> Array:
    """Numbers below 2**31, the same wherever they are made: no random generator of a library."""
    state, found = seed * 2 + 1, np.empty(n, np.int64)
    for i in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        found[i] = state >> 33
    return found


# The files


@maker
def empty(path: Path) -> Group:
    """A store into which nothing was ever put."""
    kist.open(path, "x").close()
    return Group()


PLAIN_VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "false": False,
    "zero": 0,
    "int": -1234567890123,
    "big int": 2**200 + 1,
    "negative big int": -(2**127),
    "float": 0.1,
    "minus zero": -0.0,
    "nan": float("nan"),
    "inf": float("-inf"),
    "complex": 1.5 - 2j,
    "str": "grüße 🐍\n\0",
    "empty str": "",
    "bytes": bytes(range(20)),
    "bytearray": bytearray(b"abc"),
    "date": dt.date(2024, 2, 29),
    "time": dt.time(23, 59, 58, 999_999),
    "time with offset": dt.time(1, 2, tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30))),
    "datetime": dt.datetime(1969, 12, 31, 23, 0, 0, 1),
    "datetime utc": dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    "datetime zone": dt.datetime(
        2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")
    ),
    "timedelta": dt.timedelta(days=-1, seconds=5, microseconds=7),
    "decimal": Decimal("-1.2300"),
    "list": [1, "two", None, [3.0, [True]]],
    "empty list": [],
    "tuple": (1, (2, ()), b"x"),
    "set": {1, 2, "three"},
    "frozenset": frozenset({(1, 2), b"z"}),
    "dict": {"a": 1, 2: ["b"], (3, 4): {"deep": None}},
    "scalar i8": np.int64(-5),
    "scalar f4": np.float32(1.1),
    "scalar bool": np.bool_(True),
    "scalar time": np.datetime64("2024-01-02T03:04", "m"),
    "scalar str": np.str_("text"),
    "scalar bytes": np.bytes_(b"text"),
    "scalar record": np.array((1, 2.5), "i4,f8")[()],
    "array": np.arange(6, dtype="i2").reshape(2, 3),
    "array 0-d": np.array(7, "u1"),
    "array empty": np.zeros((0, 3), "f8"),
    "array big-endian": np.array([1, 256], ">i4"),
    "array str": np.array(["ab", "cde"]),
    "array records": np.array([(1, 2.5), (3, 4.5)], [("a", "i4"), ("b", ">f8")]),
    "array StringDType": np.array(
        ["a", "longer than an inline string", ""], np.dtypes.StringDType()
    ),
    "array long": np.arange(2000, dtype="f8"),
    "text long": "0123456789" * 1000,
}


@maker
def attributes(path: Path) -> Group:
    """Groups in groups, and attributes of every plain type."""
    rows = np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")])
    with kist.open(path, "x") as store:
        store.attrs.update(PLAIN_VALUES)
        store.create_group("raw/2024/01", attrs={"camera": "B"})
        store.create_group("raw/2024/02", title="february")
        store.create_group("Ünïcode ✓ {}[]")
        store.create_group("z" * 255)
        store.create_group("gone/too")
        del store["gone"]
        store.create_group("old name")
        store.move("old name", "raw/new name")
        table = store.create_table("raw/t", rows, attrs={"unit": "mm"}, title="a table")
        table["b"].attrs["unit"] = "s"
        table["b"].attrs["range"] = (0.0, 9.5)
        store.attrs["gone"] = 1
        del store.attrs["gone"]
    return Group(
        {
            "raw": Group(
                {
                    "2024": Group(
                        {
                            "01": Group(attrs={"camera": "B"}),
                            "02": Group(attrs={"TITLE": "february"}),
                        }
                    ),
                    "new name": Group(),
                    "t": Table(
                        rows,
                        {"unit": "mm", "TITLE": "a table"},
                        {"b": {"unit": "s", "range": (0.0, 9.5)}},
                    ),
                }
            ),
            "Ünïcode ✓ {}[]": Group(),
            "z" * 255: Group(),
        },
        PLAIN_VALUES,
    )


NUMBERS = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
TIMES = ["M8[ns]", "M8[D]", "M8[25s]", "M8[Y]", "m8[us]", "m8", "m8[7D]"]
TEXTS = ["S1", "S7", "U1", "U5", "V3"]


def every_dtype() -> np.dtype[Any]:
    fields: list[Any] = [
        (f"{order}{code}", f"{order}{code}")
        for code in [*NUMBERS, *TIMES]
        for order in "<>"
        if order == "<" or np.dtype(code).itemsize > 1
    ]
    fields += [(code, code) for code in TEXTS]
    fields += [(">U2", ">U2"), ("empty", "S0"), (("a title", "named"), "i4")]
    fields += [("v", "f4", (2, 3)), ("none", "f8", (0,))]
    fields += [("n", [("x", "i4"), ("y", [("z", ">f4"), ("w", "S2")])])]
    fields += [("m", [("p", "i2", (2,)), ("q", "?")], (3,))]
    return np.dtype(fields)


TEXT = ["", "a", "zz", "hä", "€", "🐍", "x" * 9]


def fill(target: Array, seed: int) -> None:
    """Put values of all kinds into an array of any dtype."""
    if target.dtype.names is not None:
        for i, name in enumerate(target.dtype.names):
            fill(target[name], seed + i)
        return
    kind, native = target.dtype.kind, target.dtype.newbyteorder("=")
    numbers = noise(target.size, seed) - 2**30
    if kind == "b":
        values: Array = numbers % 3 == 0
    elif kind in "iu":
        values = (numbers * 2**33).view("u8").astype(f"u{native.itemsize}").view(native)
        values ^= (numbers % 251).astype(native)
    elif kind in "fc":
        values = (numbers % 20_000 / 8).astype(native)
        if kind == "c":
            values.imag = numbers % 77
        values[::11], values[5::13], values[3::17] = np.nan, -np.inf, -0.0
    elif kind in "mM":
        values = numbers.view(native)
        values[::9] = np.array("NaT", native)
    elif kind == "U":
        values = np.array(TEXT)[numbers % len(TEXT)]
    else:
        values = np.array([word.encode() for word in TEXT])[numbers % len(TEXT)]
    target[...] = values.astype(target.dtype).reshape(target.shape)


def rows_of(dtype: np.dtype[Any], n: int, seed: int) -> Array:
    rows = np.zeros(n, dtype)
    fill(rows, seed)
    return rows


@maker
def dtypes(path: Path) -> Group:
    """A column of every dtype, nested and sub-array fields, in small pieces."""
    rows = rows_of(every_dtype(), 30, 1)
    gaps = np.dtype(
        {"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [3, 9], "itemsize": 20}
    )
    aligned = np.dtype([("a", "i1"), ("b", "f8"), ("c", "i2")], align=True)
    record = np.dtype((np.record, [("a", "i4"), ("b", "f8")]))
    with kist.open(path, "x") as store:
        table = store.create_table("every", dtype=rows.dtype)
        for start, stop in ((0, 1), (1, 3), (3, 20), (20, 30)):
            table.append(rows[start:stop])
        store["gaps"] = rows_of(gaps, 5, 2)
        store["aligned"] = rows_of(aligned, 5, 3)
        store["record"] = rows_of(record, 5, 4)
        store.create_table("none", dtype=aligned)
    return Group(
        {
            "every": Table(rows),
            "gaps": Table(rows_of(gaps, 5, 2)),
            "aligned": Table(rows_of(aligned, 5, 3)),
            "record": Table(rows_of(record, 5, 4)),
            "none": Table(np.zeros(0, aligned)),
        }
    )


def measurements(n: int) -> Array:
    """Rows whose columns call for different encodings."""
    small = noise(n, 5)
    rows = np.zeros(
        n,
        [
            ("constant", "f8"),
            ("runs", "i4"),
            ("few", "S8"),
            ("small", "i8"),
            ("steps", "u8"),
            ("time", "M8[ns]"),
            ("walk", "f8"),
            ("walk4", "f4"),
            ("odd", "f8"),
            ("flag", "?"),
            ("byte", "u1"),
            ("text", "U4"),
            ("pair", "i2", (2,)),
            ("n", [("x", ">i4"), ("y", "c8")]),
        ],
    )
    rows["constant"] = 2.5
    rows["runs"] = ramp(n) // 1000
    rows["few"] = np.array([b"AAPL", b"MSFT", b"IBM", b"longword"])[small % 4]
    rows["small"] = small % 13 - 6
    rows["steps"] = 2**63 + ramp(n).astype("u8") * 1000
    rows["time"] = np.datetime64("2024-01-01", "ns") + (ramp(n) * 250_000_000 + small % 4)
    rows["walk"] = (10_000 + np.cumsum(small % 7 - 3)) / 100
    rows["walk4"] = ((10_000 + np.cumsum(small % 5 - 2)) / 100).astype("f4")
    rows["odd"] = np.where(small % 50 == 0, np.nan, (small % 100) / 10)
    rows["odd"][7] = -0.0
    rows["flag"] = small % 9 == 0
    rows["byte"] = small % 3
    rows["text"] = np.array(["", "ab", "häß", "🐍"])[small % 4]
    rows["pair"] = np.stack([ramp(n) % 100, -(ramp(n) % 7)], axis=1)
    rows["n"]["x"] = ramp(n) - n // 2
    rows["n"]["y"] = small % 4 + 1j
    return rows


EXPLICIT = {
    "constant": "zstd",
    "runs": "lz4",
    "few": "zstd",
    "small": "pcodec",
    "steps": "lz4+shuffle",
    "time": "zstd+bitshuffle",
    "walk": "zstd+shuffle",
    "walk4": "pcodec",
    "odd": "pcodec",
    "flag": "lz4+bitshuffle",
    "byte": "none",
    "text": "zstd+shuffle",
    "pair": "pcodec",
    "n": "lz4+shuffle",
}


@maker
def codecs(path: Path) -> Group:
    """Row groups with two presets, and with explicit codecs."""
    rows = measurements(4200)  # more than stand in one piece
    children: dict[str, Group | Table] = {}
    explicit: dict[str, Group | Table] = {}
    with kist.open(path, "x") as store:
        for preset in ("fast", "small"):
            store.create_table(preset, rows, codec=preset)
            children[preset] = Table(rows)
        for name, codec in EXPLICIT.items():
            column = np.zeros(len(rows), [(name, rows.dtype[name])])
            column[name] = rows[name]
            store.create_table(f"explicit/{name}", column, codec=codec)
            explicit[name] = Table(column)
    return Group({**children, "explicit": Group(explicit)})


@maker
def blocks(path: Path) -> Group:
    """Pages of three blocks, the last one short, and of several sectors."""
    rows = measurements(20_000)
    names = ["steps", "time", "walk", "odd", "flag", "few", "runs"]
    some = np.zeros(len(rows), [(name, rows.dtype[name]) for name in names])
    for name in names:
        some[name] = rows[name]
    raw = np.zeros(17_000, [("noise", "u4")])  # what does not compress is stored as it is
    raw["noise"] = noise(len(raw), 8)
    with kist.open(path, "x") as store:
        store["some"] = some
        store["raw"] = raw
    return Group({"some": Table(some), "raw": Table(raw)})


def slim(n: int) -> Array:
    rows = np.zeros(n, [("id", "i8"), ("price", "f8"), ("sym", "S4"), ("n", [("v", "i2", (2,))])])
    rows["id"] = ramp(n) * 3
    rows["price"] = (ramp(n) % 1000) / 4
    rows["sym"] = np.array([b"A", b"B", b"", b"LONG"])[ramp(n) // 7 % 4]
    rows["n"]["v"] = np.stack([ramp(n) % 50, ramp(n) % 3], axis=1)
    return rows


@maker
def changed(path: Path) -> Group:
    """70,000 rows in two row groups, with patches, pages written again, and deleted rows."""
    rows = slim(70_000)
    with kist.open(path, "x") as store:
        table = store.create_table("t", rows)
        picks = np.array([0, 3, 8191, 8192, 65_535, 65_536, 69_999])
        table["price"][picks] = -1.5
        rows["price"][picks] = -1.5
        table[10] = (7, 0.125, b"new", ((1, 2),))
        rows[10] = (7, 0.125, b"new", ((1, 2),))
        table["sym"][100:200] = b"sym"
        rows["sym"][100:200] = b"sym"
        table["n.v"][5:50:5] = 9
        rows["n"]["v"][5:50:5] = 9
        table["id"][66_000:70_000] = -1  # most of the second group: its page is written again
        rows["id"][66_000:70_000] = -1
        table["price"][3] = 33.0
        rows["price"][3] = 33.0
        gone = np.r_[1, 2, 9000:9100, 30_000:30_100:2, 65_535, 65_536]
        table.delete(gone)
        rows = np.delete(rows, gone)
        more = slim(300)
        for start in range(0, 300, 100):
            table.append(more[start : start + 100])
        rows = np.concatenate([rows, more])
        table.delete([len(rows) - 1, len(rows) - 150])
        rows = np.delete(rows, [len(rows) - 1, len(rows) - 150])
    return Group({"t": Table(rows)})


def day(store: Any, n_appends: int) -> Group:
    """Small commits of every kind."""
    rows = slim(10 * n_appends)
    table = store.create_table("t", dtype=rows.dtype)
    for i in range(n_appends):
        table.append(rows[10 * i : 10 * i + 10])
    for at in (0, 7, 10 * n_appends - 1):
        table["price"][at] = at + 0.5
        rows["price"][at] = at + 0.5
    table.delete([1, 2, 5])
    rows = np.delete(rows, [1, 2, 5])
    store.create_group("gone/below")
    del store["gone"]
    with store.transaction(message="two things"):
        store.attrs["n"] = len(rows)
        store.create_group("g")
    store.begin()
    store.attrs["never"] = 1
    store.rollback()
    return Group({"t": Table(rows), "g": Group()}, {"n": len(rows)})


@maker
def log(path: Path) -> Group:
    """Commits that stand in the log only; its writer never closed the file."""
    with kist.open(path.with_suffix(".open"), "x") as store:
        content = day(store, 6)
        shutil.copy(store.path, path)
    return content


@maker
def folded(path: Path) -> Group:
    """The same and more, after checkpoints in both halves of the log, with free space; closed."""
    with kist.open(path, "x") as store:
        for name in ("a", "b", "c"):
            store[name] = measurements(700)
        del store["b"]
        content = day(store, 100)
    rows = measurements(700)
    return Group({**content.children, "a": Table(rows), "c": Table(rows)}, content.attrs)


@maker
def relaxed(path: Path) -> Group:
    """Durability relaxed: records side by side, with the sums of what they rest on; not closed."""
    with kist.open(path.with_suffix(".open"), "x", durability="relaxed") as store:
        content = day(store, 40)
        big = measurements(900)
        store["big"] = big
        shutil.copy(store.path, path)
    return Group({**content.children, "big": Table(big)}, content.attrs)


@maker
def versions(path: Path) -> tuple[Group, list[tuple[str, int, Group]]]:
    """Three tagged versions of which two differ, beside what is newest."""
    rows = slim(3000)
    with kist.open(path, "x", retain=1) as store:
        store["t"] = rows
        first = store.tag("first")
        at_first = Group({"t": Table(rows.copy())})
        store["t"]["price"] = np.arange(3000.0)
        rows["price"] = np.arange(3000.0)
        store.attrs["n"] = 2
        second = store.tag("second")
        also = store.tag("zweite ✓")  # a tag is a commit of its own
        at_second = Group({"t": Table(rows.copy())}, {"n": 2})
        store["t"].delete(slice(10, 2990))
        rows = np.delete(rows, slice(10, 2990))
        store.create_group("new")
    tags = [("first", first, at_first), ("second", second, at_second)]
    return (
        Group({"t": Table(rows), "new": Group()}, {"n": 2}),
        [*tags, ("zweite ✓", also, at_second)],
    )


STRINGS: dict[str, Any] = {
    "id": np.dtype("i4"),
    "plain": np.dtypes.StringDType(),
    "none": np.dtypes.StringDType(na_object=None, coerce=False),
    "nan": np.dtypes.StringDType(na_object=np.nan),
    "text": np.dtypes.StringDType(na_object="n/a"),
    "few": np.dtypes.StringDType(na_object=None),
}


def strings_of(n: int) -> dict[str, list[Any]]:
    """Columns of strings: different ones, missing ones, NULs, and few that come again."""
    words = ["", "a", "häß", "日本語", "🐍", "nul\0inside", "nul at the end\0", "x" * 300]
    return {
        "id": list(range(n)),
        "plain": [
            words[i % 61] if i % 61 < len(words) else f"row {i * 7919 % n}" for i in range(n)
        ],
        "none": [None if i % 5 == 2 else f"{i:x}" for i in range(n)],
        "nan": [np.nan if i % 3 else words[i % 5] for i in range(n)],
        "text": ["n/a" if i % 4 else str(i // 4) for i in range(n)],
        "few": [None if i % 10 == 9 else f"station {i * i % 37}" for i in range(n)],
    }


@maker
def string_columns(path: Path) -> Group:
    """Strings of one length, whose blocks have the first bytes of all, then the second ones."""
    n = 9_000
    names = {
        "code": [f"item-{i * 7919 % n:05d}" for i in range(n)],
        "name": [f"\u00e4{i * 31 % n:04d}\u20ac" for i in range(n)],
        "some": [f"{i % 97:02d}" if i > 10 else "other" for i in range(n)],
    }
    text = np.dtypes.StringDType()
    with kist.open(path, "x") as store:
        store.create_table("t", {name: np.array(x, text) for name, x in names.items()})
    rows = np.empty(n, [(name, "O") for name in names])
    for name, values in names.items():
        rows[name] = values
    return Group({"t": Table(rows, strings=dict.fromkeys(names, text))})


@maker
def strings(path: Path) -> Group:
    """Columns of strings of any length: pieces, pages with and without dictionary, patches."""
    n = 9_000
    columns = strings_of(n)
    long = {"s": ["short"] * 3 + [f"long {i} " * 20_000 for i in range(9)] + ["short"] * 4_200}
    with kist.open(path, "x") as store:
        table = store.create_table("t", dtype=STRINGS)
        for start, stop in ((0, 1), (1, 40), (40, 8_700), (8_700, 9_000)):
            part = {name: values[start:stop] for name, values in columns.items()}
            table.append(part)
        for at, value in ((3, "patched"), (500, "patched ✓"), (8_900, "")):
            table["plain"][at] = columns["plain"][at] = value
        table["none"][600:605] = columns["none"][600:605] = ["p", None, "q", None, None]
        table["few"][1_000:3_000] = columns["few"][1_000:3_000] = [None, "again"] * 1_000
        gone = [0, 5, 700, 701, 8_950]
        table.delete(gone)
        few = store.create_table("only", dtype={"s": STRINGS["none"]})
        few.append([("one",), (None,)])
        store.create_table("long", {"s": np.array(long["s"], STRINGS["plain"])})
        store.create_table("empty", dtype={"s": STRINGS["plain"], "i": "i2"})
    rows = np.empty(n, [(name, "O" if name != "id" else "i4") for name in STRINGS])
    for name in STRINGS:
        rows[name] = columns[name]
    of = {name: dtype for name, dtype in STRINGS.items() if name != "id"}
    objects = np.dtype([("s", "O")])
    return Group(
        {
            "t": Table(np.delete(rows, gone), strings=of),
            "only": Table(np.array([("one",), (None,)], objects), strings={"s": STRINGS["none"]}),
            "long": Table(
                np.array([(s,) for s in long["s"]], objects), strings={"s": STRINGS["plain"]}
            ),
            "empty": Table(np.zeros(0, [("s", "O"), ("i", "i2")]), strings={"s": STRINGS["plain"]}),
        }
    )


def stored_values() -> dict[Any, Any]:
    """Values of a key store by key, in the order of the keys."""
    many = noise(20_000, 3)
    return {
        -(2**128): "least",
        -300: None,
        -1: True,
        0: 0,
        5: 2**70,
        256: 1.5,
        2**128 - 1: (1, 2),
        b"\0": b"short",
        b"raw": bytes(range(256)) * 20,
        b"\xff": bytearray(b"abc" * 2_000),
        "o\u0308": "not in form NFC",
        "array": np.arange(10, dtype=">i2"),
        "big-endian": (many % 1_000).astype(">u4").reshape(100, 200),
        "complex": many[:1_000].astype("c16").reshape(10, 1, 100),
        "empty": np.zeros((0, 3)),
        "large": many % 30_000 * 7,
        "list": ["p" * 1_500, "q" * 1_500, ["r" * 1_500]],
        "nested": {"x": (many[:5_000] / 8, [many[:100], "t" * 5_000]), "n": [None, {1, 2}], 3: ()},
        "ones": np.ones((300, 7), bool),
        "records": np.array([(i, f"r{i}") for i in range(60)], [("a", ">i4"), ("b", "<U3")]),
        "scalar": np.float32(0.5),
        "strings": np.array([f"{i:x}" * (i % 5) for i in range(500)], np.dtypes.StringDType()),
        "times": (many[:700]).astype("M8[s]"),
        "x" * 1_000: "longest",
        "\u00e9": "beyond ASCII",
    }


@maker
def keystore(path: Path) -> Group:
    """Key stores: keys of every type in order, values in records and in bundles."""
    values = stored_values()
    with kist.open(path, "x") as store:
        runs = store.create_keystore("runs", title="Runs", attrs={"unit": "V"})
        runs.update(values)
        runs["gone"] = np.arange(1_000)
        runs[5] = "replaced"
        runs[5] = values[5]
        del runs["gone"]
        plain = store.create_keystore("g/plain", codec="none")
        plain["a"] = np.arange(1_000.0)
        small = store.create_keystore("g/small", codec="small")
        small["a"] = np.round(np.arange(30_000) % 977 / 8, 3)
        store.create_keystore("empty")
    ordered = sorted((k for k in values if isinstance(k, int)), key=int)
    ordered += sorted(k for k in values if isinstance(k, bytes))
    ordered += sorted((k for k in values if isinstance(k, str)), key=str.encode)
    below = {
        "plain": KeyStore([("a", np.arange(1_000.0))]),
        "small": KeyStore([("a", np.round(np.arange(30_000) % 977 / 8, 3))]),
    }
    pairs = [(key, values[key]) for key in ordered]
    attrs = {"TITLE": "Runs", "unit": "V"}
    return Group({"runs": KeyStore(pairs, attrs), "g": Group(below), "empty": KeyStore([])})


@maker
def arrays(path: Path) -> Group:
    """Arrays: chunks in blocks and in C order, segments of appends, shrunk, grown, fill values."""
    waves = np.round(np.sin(ramp(24 * 40 * 45).reshape(24, 40, 45) / 900), 3).astype("f4")
    image = (noise(130 * 90, 5) % 4_000).astype(">u2").reshape(130, 90)
    line = np.cumsum(noise(12_000, 6) % 7 - 3)
    records = np.zeros((3, 4), [("a", ">i4"), ("b", "<f4", 2), ("s", "S3")])
    records["a"], records["b"], records["s"] = ramp(12).reshape(3, 4), 0.5, b"xy"
    missing = np.dtypes.StringDType(na_object=None)
    names = np.array([f"n {i % 7}" * (i % 4) for i in range(2_000)], missing).reshape(50, 40)
    names[::9, 3] = None
    texts = np.array([[f"text {i} {j} é" * 9 for j in range(8)] for i in range(90)], missing)
    flags = noise(6_000, 7).reshape(20, 15, 20) % 3 == 0
    with kist.open(path, "x") as store:
        store.create_array("waves", waves, chunks=(16, 24, 40), title="Waves", attrs={"unit": "m"})
        store.create_array("g/image", image, codec="zstd")
        store.create_array("g/auto", line)
        mapped = store.create_array("mapped", waves[:3], codec="none")
        assert mapped.mmap().flags.aligned
        store.create_array("records", records, fill_value=records[1, 1])
        store.create_array("names", names, chunks=(16, 16), fill_value=None)
        store.create_array("texts", texts)
        store.create_array("flags", flags, chunks=(7, 7, 7))
        store["scalar"] = np.float64(2.5)
        store["nothing"] = np.zeros((0, 3), "M8[D]")
        store.create_array("void", shape=(2, 2), dtype="V0")
        store.create_array("absent", shape=(10**3, 7), dtype="c8", fill_value=1 - 2j)
        grown = store.create_array("grown", shape=(0, 5), dtype="i8", chunks=(600, 3))
        for start, stop in ((0, 1), (1, 20), (20, 300), (300, 301), (301, 302), (302, 1_000)):
            grown.append(ramp(5 * (stop - start), 5 * start).reshape(-1, 5))
        for row in range(1_000, 1_020):
            grown.append(ramp(5, 5 * row))
        cut = store.create_array("cut", image, chunks=(50, 40), fill_value=7)
        cut.resize((120, 60))
        cut.resize((125, 70))
        cut[3:5, 65:] = 9
        cut[50:100, :40] = 7
    after = np.full((125, 70), 7, ">u2")
    after[:120, :60] = image[:120, :60]
    after[3:5, 65:] = 9
    after[50:100, :40] = 7
    zero = {name: np.zeros((), name) for name in ("f4", ">u2", "i8", "?", "f8", "M8[D]")}
    nothing = np.ndarray((2, 2), "V0", b"")
    complexes = np.full((10**3, 7), 1 - 2j, "c8")
    empty = np.empty((), missing)
    empty[()] = None
    return Group(
        {
            "waves": NdArray(waves, (16, 24, 40), zero["f4"], {"TITLE": "Waves", "unit": "m"}),
            "g": Group(
                {
                    "image": NdArray(image, (4096, 90), zero[">u2"]),
                    "auto": NdArray(line, (131_072,), zero["i8"]),
                }
            ),
            "mapped": NdArray(waves[:3], (145, 40, 45), zero["f4"]),
            "records": NdArray(records, (16_384, 4), records[1, 1:2].reshape(())),
            "names": NdArray(names, (16, 16), empty),
            "texts": NdArray(texts, (8_192, 8), np.array("", missing)),
            "flags": NdArray(flags, (7, 7, 7), zero["?"]),
            "scalar": NdArray(np.array(2.5), (), zero["f8"]),
            "nothing": NdArray(np.zeros((0, 3), "M8[D]"), (32_768, 3), zero["M8[D]"]),
            "void": NdArray(nothing, (524_288, 2), np.ndarray((), "V0", b"")),
            "absent": NdArray(complexes, (16_384, 7), np.array(1 - 2j, "c8")),
            "grown": NdArray(ramp(5_100).reshape(-1, 5), (600, 3), zero["i8"]),
            "cut": NdArray(after, (50, 40), np.array(7, ">u2")),
        }
    )


@maker
def altered(path: Path) -> tuple[Group, list[tuple[str, int, Group]]]:
    """Columns added, dropped, renamed, reordered, cast and computed; a tag of before."""
    missing = np.dtypes.StringDType(na_object=None)
    nested = np.dtype([("x", ">i4"), ("y", "S3", (2,))])
    first = np.zeros(9_000, [("a", "i4"), ("gone", "f8"), ("b", ">i2"), ("old", "U4")])
    first["a"] = ramp(9_000) % 1_000
    first["gone"], first["b"], first["old"] = ramp(9_000) / 4, ramp(9_000) % 77, "old"
    with kist.open(path, "x") as store:
        t = store.create_table("t", first[:8_000])
        t.append(first[8_000:8_990])
        t["gone"][5:9] = -1.0
        t["old"][100:104] = "new"
        before = store.tag("before")
        t.drop_column("gone")
        t.append([(-5, 5, "p")])  # a piece of the second version, beside one of the first
        t.add_column("flag", True, position=1, attrs={"unit": "none"})
        t.add_column("pair", (7, [b"p", b"q"]), nested)
        t.add_column("text", None, missing, fill_value=None)
        t.rename_column("a", "time")
        t.delete(slice(50, 60))
        t["flag"][200:230] = False
        t["pair"][8_980:] = (8, [b"r", b"s"])
        t.add_column("twice", kist.expr("time * 2"), "i4")
        t.add_column("half", kist.expr("twice / 4"), virtual=True, position=0)
        t.cast_column("b", "f4")
        t.drop_column("old")
        t.append({"time": [1, 2], "b": [0.5, 1.5], "text": ["one", None]})
        t.reorder(["half", "text", "b", "flag", "time", "twice", "pair"])
    n = 8_983
    rows = np.zeros(
        n, [("text", "O"), ("b", "f4"), ("flag", "?"), ("time", "i4"), ("twice", "i4"),
            ("pair", nested)],
    )  # fmt: skip
    kept = np.delete(first[:8_990], slice(50, 60))
    rows["time"] = [*kept["a"], -5, 1, 2]
    rows["b"] = [*kept["b"], 5, 0.5, 1.5]
    rows["text"] = [*[None] * 8_981, "one", None]
    rows["flag"] = True
    rows["flag"][200:230] = False
    rows["twice"] = rows["time"] * 2
    rows["pair"] = np.array((7, [b"p", b"q"]), nested)
    rows["pair"][8_980] = (8, [b"r", b"s"])
    first["gone"][5:9], first["old"][100:104] = -1.0, "new"
    table = Table(
        rows,
        {},
        {"flag": {"unit": "none"}},
        {"text": missing},
        {"half": ("twice / 4", True, np.dtype("f8")), "twice": ("time * 2", False, np.dtype("i4"))},
    )
    tagged = Group({"t": Table(first[:8_990])})
    return Group({"t": table}), [("before", before, tagged)]


@maker
def indexes(path: Path) -> Group:
    """Indexes of one and of several words; deleted rows, changed keys, new rows, a column gone."""
    text = np.dtypes.StringDType(na_object=None)
    rows = np.zeros(
        9_000, [("id", "i4"), ("x", "f8"), ("s", "S12"), ("t", "M8[s]"), ("gone", "u1"),
                ("text", "O")],
    )  # fmt: skip
    rows["id"] = (ramp(9_000) * 7) % 9_001
    rows["x"] = (ramp(9_000) % 500) / 4 - 50
    rows["x"][::90] = np.nan
    rows["s"] = [b"name %d" % (number % 97) for number in range(9_000)]
    rows["t"] = (ramp(9_000) * 31 % 1_000).astype("M8[s]")
    rows["text"] = [None if i % 50 == 0 else f"no {i % 300}" for i in range(9_000)]
    dtype = {name: text if name == "text" else rows.dtype[name] for name in rows.dtype.names}
    with kist.open(path, "x") as store:
        t = store.create_table("t", dtype=dtype)
        t.append({name: rows[name] for name in rows.dtype.names})
        t.create_index("id", "x", unique=True)
        t.create_index("gone")
        t.create_index("s", "t", name="by name")
        t.create_index("x")
        t.create_index("text")
        t.drop_column("gone")
        t.delete(slice(100, 200))
        t["x"][300:305] = 1.5
        at = np.array([5], "M8[s]")
        t.append({"id": [-1], "x": [0.5], "s": ["last"], "t": at, "text": ["tail"]})
    dropped = [name for name in rows.dtype.names if name != "gone"]
    kept = np.zeros(8_901, [(name, rows.dtype[name]) for name in dropped])
    for name in dropped:
        kept[name][:-1] = np.delete(rows[name], slice(100, 200))
    kept["x"][300:305] = 1.5
    kept[-1] = (-1, 0.5, b"last", np.datetime64(5, "s"), "tail")
    listed = {
        "id,x": (["id", "x"], True), "by name": (["s", "t"], False), "x": (["x"], False),
        "text": (["text"], False),
    }  # fmt: skip
    return Group({"t": Table(kept, strings={"text": text}, indexes=listed)})


@maker
def categories(path: Path) -> Group:
    """Categorical columns of text and of numbers, an ordered one, an enumeration with numbers."""
    texts, sizes = ["pear", "fig", "apple", "", "d\u00e4t\u0119"], [b"small", b"large"]
    with kist.open(path, "x") as store:
        table = store.create_table(
            "t",
            dtype={
                "id": "<i4",
                "c": kist.categorical("str", ["pear"]),
                "n": kist.categorical("<i2"),
                "o": kist.categorical("S5", sizes, ordered=True),
                "e": kist.enum({"red": 7, "blue": -1, "green": 2}),
            },
        )
        codes = np.zeros(5_005, [("id", "<i4"), *((n, "<i8") for n in "cnoe")])
        codes["id"] = ramp(5_005)
        codes["c"] = ramp(5_005) % 6
        codes["n"] = ramp(5_005) % 9
        codes["o"] = ramp(5_005) // 100 % 3
        codes["e"] = ramp(5_005) % 4
        lists = {"c": texts, "n": [-5, *range(100, 107)], "o": sizes, "e": ["blue", "green", "red"]}
        known = {
            name: np.array([None, *values], object)[codes[name]] for name, values in lists.items()
        }
        known["n"][0] = -5  # the first to come has code 1
        codes["n"][0] = 1
        for part in (slice(0, 3), slice(3, 5_000), slice(5_000, None)):
            table.append(
                {"id": codes["id"][part], **{n: v[part].tolist() for n, v in known.items()}}
            )
        table["c"][10:12] = ["one more", None]
        table["e"][20] = "red"
    codes["c"][10:12], codes["e"][20] = [6, 0], 3
    found = {**lists, "c": [*texts, "one more"]}
    dtypes = [
        ("id", "<i4"),
        ("c", [(("categorical T", "code"), "<u4")]),
        ("n", [(("categorical <i2", "code"), "<u4")]),
        ("o", [(("categorical |S5 ordered", "code"), "<u4")]),
        ("e", [(("enum T ordered", "code"), "|u1")]),
    ]
    rows = np.zeros(len(codes), dtypes)
    rows["id"] = codes["id"]
    for name in "cnoe":
        rows[name]["code"] = codes[name]
    return Group({"t": Table(rows, categories=found)})


@maker
def nullable(path: Path) -> Group:
    """Nullable columns: pages with and without nulls, of nothing but nulls, patches, a piece."""
    dtypes = {"i": "<i4", "b": "?", "t": "<M8[s]", "s": "S3"}
    rows = np.zeros(5_000, [("id", "<i4"), *((n, kist.nullable(d)) for n, d in dtypes.items())])
    rows["id"] = ramp(5_000)
    rows["i"]["value"] = ramp(5_000) % 100
    rows["b"]["value"] = ramp(5_000) % 3 == 0
    rows["s"]["value"] = b"abc"
    rows["i"]["valid"] = ramp(5_000) % 7 != 0
    rows["b"]["valid"] = rows["s"]["valid"] = True
    for name in dtypes:
        rows[name]["value"][~rows[name]["valid"]] = np.zeros((), dtypes[name])
    few = [(5_000, 1, None, np.datetime64(7, "s"), b"x"), (5_001, None, True, None, None)]
    with kist.open(path, "x") as store:
        table = store.create_table("t", dtype=rows.dtype)
        table.append(rows)
        table.append(few)
        table["i"][10:12] = [None, 77]
        table["s"][20] = None
    rows = np.concatenate([rows, np.zeros(2, rows.dtype)], dtype=rows.dtype)
    rows["i"][10:12] = [(0, False), (77, True)]
    rows["s"][20] = (b"", False)
    rows[-2] = (5_000, (1, True), (False, False), (np.datetime64(7, "s"), True), (b"x", True))
    rows[-1] = (
        5_001, (0, False), (True, True), (np.datetime64(0, "s"), False), (b"", False),
    )  # fmt: skip
    return Group({"t": Table(rows)})


@maker
def ragged(path: Path) -> Group:
    """Ragged columns: pages of several blocks, dtypes of items, bytes, empty cells, patches,
    pieces, a column that came later, one that was dropped."""
    n = 5_000
    lengths = noise(n, 1) % 5
    lengths[100:200] = 0
    ends = np.append(0, lengths.cumsum())
    values = np.round(noise(int(ends[-1]), 2) / 1e7, 2)
    wave = np.repeat((noise(600, 3) % 16).astype("u1"), 1_000)  # two of them fill a block
    pairs = [("a", ">i2"), ("b", "<f4", (2,))]
    dtypes = {
        "id": "<i4",
        "f": kist.ragged("<f8"),
        "b": kist.ragged(bytes),
        "m": kist.ragged(">M8[s]"),
        "p": kist.ragged("<i2", (2, 3)),
        "s": kist.ragged(pairs),
        "long": kist.ragged("u1"),
        "gone": kist.ragged("<c8"),
    }

    def row(i: int) -> tuple[Any, ...]:
        k = i % 4
        long = wave if i in (2, 4_000) else np.zeros(0, "u1")
        return (
            i,
            values[ends[i] : ends[i + 1]] if i < n else np.array([0.5, -0.0]),
            bytes(range(k)) + b"\0" * (i % 3),
            np.arange(i, i + k).astype(">M8[s]"),
            np.arange(6 * k, dtype="i2").reshape(k, 2, 3) + i % 7,
            np.array([(i % 9, (j, -j)) for j in range(k)], pairs),
            long,
            np.full(k % 2, 1j, "c8"),
        )

    rows = [row(i) for i in range(n + 3)]
    with kist.open(path, "x") as store:
        table = store.create_table("t", dtype=dtypes)
        table.append(rows[:n])
        table.append(rows[n:])
        table["f"][7:9] = [[1.25], []]
        table["b"][3_000] = b"patched"
        table.drop_column("gone")
        table.add_column("later", kist.ragged("<u4"), fill_value=[1, 2])
        table["later"][5] = []
    columns = [list(column) for column in zip(*rows, strict=True)]
    columns[1][7:9] = [np.array([1.25]), np.zeros(0)]
    columns[2][3_000] = b"patched"
    columns[-1] = [np.array([1, 2], "<u4")] * (n + 3)
    columns[-1][5] = np.zeros(0, "<u4")
    names = ["id", "f", "b", "m", "p", "s", "long", "later"]
    found = np.zeros(n + 3, [("id", "<i4"), *((name, "O") for name in names[1:])])
    found["id"] = columns[0]
    for name, column in zip(names[1:], columns[1:], strict=True):
        for at, cell in enumerate(column):
            found[name][at] = cell
    dtypes.pop("gone")
    dtypes["later"] = kist.ragged("<u4")
    dtypes.pop("id")
    return Group({"t": Table(found, ragged=dtypes)})


@maker
def ragged_nulls(path: Path) -> Group:
    """Nullable ragged columns: pages with and without nulls, of nothing but nulls, patches, a
    piece, a column that came later."""
    n = 3_000
    lengths = noise(n, 1) % 4
    ends = np.append(0, lengths.cumsum())
    values = (noise(int(ends[-1]), 2) % 1_000).astype("<i4")
    dtypes = {
        "id": "<i4",
        "f": kist.nullable(kist.ragged("<i4")),
        "b": kist.nullable(kist.ragged(bytes)),
        "p": kist.nullable(kist.ragged(">f4", 2)),
        "none": kist.nullable(kist.ragged("<u2")),
        "all": kist.nullable(kist.ragged("<u1")),
    }

    def row(i: int) -> tuple[Any, ...]:
        cell = values[ends[i] : ends[i + 1]] if i < n else np.array([7, i], "<i4")
        return (
            i,
            None if i % 5 == 3 else cell,
            None if i % 7 == 0 else bytes(range(i % 3)),
            None if i % 2 else np.full((i % 3, 2), i, ">f4"),
            None,
            np.arange(i % 4, dtype="<u1"),
        )

    rows = [row(i) for i in range(n + 4)]
    with kist.open(path, "x") as store:
        table = store.create_table("t", dtype=dtypes)
        table.append(rows[:n])
        table.append(rows[n:])
        table["f"][8:10] = [[1, 2], None]
        table["b"][2_000] = None
        table.add_column("later", kist.nullable(kist.ragged("<i2")), fill_value=None)
        table["later"][5] = []
    columns = [list(column) for column in zip(*rows, strict=True)]
    columns[1][8:10] = [np.array([1, 2], "<i4"), None]
    columns[2][2_000] = None
    columns.append([None] * (n + 4))
    columns[-1][5] = np.zeros(0, "<i2")
    names = [*dtypes, "later"]
    found = np.zeros(n + 4, [("id", "<i4"), *((name, "O") for name in names[1:])])
    found["id"] = columns[0]
    for name, column in zip(names[1:], columns[1:], strict=True):
        for at, cell in enumerate(column):
            found[name][at] = cell
    dtypes["later"] = kist.nullable(kist.ragged("<i2"))
    dtypes.pop("id")
    return Group({"t": Table(found, ragged=dtypes)})


@maker
def ragged_text(path: Path) -> Group:
    """Lists of text: pages with and without dictionaries, missing texts, null lists, long texts, a
    page of several blocks, one of nothing but empty lists, patches, pieces, a column that came
    later, one that was dropped."""
    n = 3_000
    lengths = noise(n, 1) % 4
    words = ["", "a", "deux mots", "\u4e09", "x" * 15, "y" * 16, "z" * 300]
    numbers = noise(4 * n, 2)
    texts = np.dtypes.StringDType(na_object=None)
    dtypes = {
        "id": "<i4",
        "words": kist.ragged(str),
        "own": kist.ragged(texts),
        "some": kist.nullable(kist.ragged(texts)),
        "null": kist.nullable(kist.ragged(str)),
        "empty": kist.ragged(str),
        "long": kist.ragged(str),
        "gone": kist.ragged(str),
    }

    def row(i: int) -> tuple[Any, ...]:
        k = int(lengths[i % n])
        some = [f"{numbers[4 * (i % n) + j]:x}" for j in range(k)]
        return (
            i,
            [words[int(numbers[4 * (i % n) + j]) % 7] for j in range(k)],
            [None if j == 1 else f"{i}:{text}" for j, text in enumerate(some)],
            None if i % 5 == 3 else [None if int(text, 16) % 3 == 0 else text for text in some],
            None if i % 2 else some[:1],
            [],
            [chr(97 + i % 20) * 700_000] * 2 if i in (1_000, 2_000) else [],
            ["dropped"] * (i % 3),
        )

    rows = [row(i) for i in range(n + 4)]
    with kist.open(path, "x") as store:
        table = store.create_table("t", dtype=dtypes)
        table.append(rows[:n])
        table.append(rows[n:])
        table["words"][8:10] = [["patched", ""], []]
        table["some"][2_000] = [None, "\u00e9"]
        table.drop_column("gone")
        table.add_column("later", kist.ragged(texts), fill_value=["one", None])
        table["later"][5] = []
    columns = [list(column)[: n + 4] for column in zip(*rows, strict=True)]
    columns[1][8:10] = [["patched", ""], []]
    columns[3][2_000] = [None, "\u00e9"]
    columns[-1] = [["one", None] for _ in range(n + 4)]
    columns[-1][5] = []
    del dtypes["gone"]
    dtypes["later"] = kist.ragged(texts)
    found = np.zeros(n + 4, [("id", "<i4"), *((name, "O") for name in [*dtypes][1:])])
    found["id"] = columns[0]
    for name, column in zip([*dtypes][1:], columns[1:], strict=True):
        for at, cell in enumerate(column):
            found[name][at] = None if cell is None else np.array(cell, texts)
    dtypes.pop("id")
    return Group({"t": Table(found, ragged=dtypes)})


def linked_parts(folder: Path) -> dict[str, Any]:
    """Make two files with a table each, and return what a link to them says."""
    said: dict[str, Any] = {"form": 4, "path": "t", "names": ["part-*.kist"]}
    said["files"], said["stores"], said["stamps"] = ["part-1.kist", "part-2.kist"], [], []
    for file, values in zip(said["files"], ([5, 7, -2], [40]), strict=True):
        with kist.open(folder / file, "x") as part:
            part["t"] = np.array(values, "<i4").view([("a", "<i4")])
            said["stores"].append(part.uuid)
            said["stamps"].append(part["t"]._state().tail.stamp)
            said["schema"] = part["t"]._state().schema.pack()
            stored = part["t"].nbytes_stored
    said |= {"commits": np.array([1, 1], "<u8"), "stored": np.array([stored + 8, stored], "<u8")}
    said |= {name: np.array(n, "<u4") for name, n in (("groups", [1, 1]), ("live", [3, 1]))}
    bounds = [struct.pack("<BIIii", 1, 0, 0, *pair) for pair in ((-2, 7), (40, 40))]
    return said | {"rows": said["live"], "added": [], "statistics": {0: b"".join(bounds)}}


def linked_codes(folder: Path) -> dict[str, Any]:
    """Make two files with a table of categories each, and return what a link to them says."""
    said: dict[str, Any] = {"form": 4, "path": "t", "names": ["coded-*.kist"]}
    said["files"], said["stores"], said["stamps"] = ["coded-1.kist", "coded-2.kist"], [], []
    stored = []
    for file, values in zip(said["files"], (["crow", "gull"], ["owl", "crow", None]), strict=True):
        with kist.open(folder / file, "x") as part:
            part.create_table("t", dtype={"c": kist.categorical("str")}).append({"c": values})
            said["stores"].append(part.uuid)
            said["stamps"].append(part["t"]._state().tail.stamp)
            if not stored:
                said["schema"] = part["t"]._state().schema.pack()
                leaf = part["t"]._state().schema.columns[0].first_leaf
            commit = part.commit_id
            stored.append(part["t"].nbytes_stored)
    said |= {"commits": np.array([commit, commit], "<u8"), "stored": np.array(stored, "<u8")}
    said |= {name: np.array(n, "<u4") for name, n in (("groups", [1, 1]), ("live", [2, 3]))}
    # In the list of the whole, owl is the third; crow, owl and no value lie between 0 and 3.
    bounds = [struct.pack("<BIIII", 1, 0, 0, *pair) for pair in ((1, 2), (0, 3))]
    said |= {"rows": said["live"], "added": [], "statistics": {leaf: b"".join(bounds)}}
    return said | {"categories": {leaf: ["crow", "gull", "owl"]}}


def linked_arrays(folder: Path) -> dict[str, Any]:
    """Make two files with an array each, and return what a link to them says."""
    said: dict[str, Any] = {"form": 6, "path": "x", "version": "june", "names": ["array-*.kist"]}
    said["files"], said["stores"] = ["array-1.kist", "array-2.kist"], []
    for file, n in zip(said["files"], (3, 1), strict=True):
        with kist.open(folder / file, "x") as part:
            part["x"] = ramp(2 * n).astype("<i2").reshape(n, 2)
            part.tag("june")
            said["stores"].append(part.uuid)
    said |= {"dtype": pack_dtype(np.dtype("<i2")), "shape": [4, 2]}
    return said | {"lengths": np.array([3, 1], "<u8")}


@maker
def links(path: Path) -> Group:
    """Links: relative and absolute, to what is not there, and to files that are not beside it."""
    with kist.open(path, "x") as store:
        store.create_array("runs/17", np.array([1.5, 2.5]), chunks=(2,))
        store.create_link("newest", "runs/17", title="The newest run")
        store.create_link("runs/first", "/runs/16")
        store.create_link("long", "x" * 200 + "/" + "\u00e9" * 120)
        store.create_link("offsets", "/cal/offsets", file="cal.kist")
        store.create_link("june", "/cal/offsets", file="cal/2024.kist", version="june")
        store.create_link("fifth", "/", file="cal.kist", version=5)
        store.create_union("all", "runs/1*", "/more/**")
        parts, arrays = linked_parts(path.parent), linked_arrays(path.parent)
        codes = linked_codes(path.parent)
        shape, order = (3, 2), "F"
        (path.parent / "raw.bin").write_bytes(b"head" + ramp(6).astype(">i2").tobytes())
        os.utime(path.parent / "raw.bin", ns=(EPOCH_NS, EPOCH_NS))
        raw: dict[str, Any] = {"dtype": ">i2", "shape": shape, "order": order, "offset": 4}
        store.create_array_link("raw", "raw.bin", **raw)
        store.create_array_link("unverified", "raw.bin", **raw, sums=False)
        store.create_union("parts", "t", files="part-*.kist")
        store.create_union("codes", "t", files="coded-*.kist")
        store.create_union("arrays", "x", files="array-*.kist", version="june")
    sums = np.array([xxhash.xxh3_64_intdigest(ramp(6).astype(">i2").tobytes())], "<u8")
    raw |= {"form": 5, "file": "raw.bin", "shape": [3, 2], "size": 16, "mtime_ns": EPOCH_NS}
    raw["dtype"] = pack_dtype(np.dtype(">i2"))
    file = {"form": 2, "file": "cal.kist", "path": "/cal/offsets", "version": None, "store": None}
    zero = np.zeros((), "f8")
    run = NdArray(np.array([1.5, 2.5]), (2,), zero)
    return Group(
        {
            "runs": Group({"17": run, "first": Link({"form": 1, "path": "/runs/16"})}),
            "newest": Link({"form": 1, "path": "runs/17"}, {"TITLE": "The newest run"}),
            "long": Link({"form": 1, "path": "x" * 200 + "/" + "\u00e9" * 120}),
            "offsets": Link(file),
            "june": Link({**file, "file": "cal/2024.kist", "version": "june"}),
            "fifth": Link({**file, "path": "/", "version": 5}),
            "parts": Link(parts),
            "codes": Link(codes),
            "arrays": Link(arrays),
            "raw": Link({**raw, "block": 1 << 20, "sums": sums}),
            "unverified": Link({**raw, "block": 0, "sums": sums[:0]}),
            "all": Link({"form": 3, "paths": ["runs/1*", "/more/**"]}),
        }
    )


# Making them


def make(name: str, folder: Path) -> None:
    """Make one file and its JSON in a folder."""
    path = folder / f"{name}.kist"
    with frozen(name):
        content, tagged = MAKERS[name](path)
    data = path.read_bytes()
    with kist.open(path) as store:
        engine = store._session.engine
        found = {
            "file": path.name,
            "about": " ".join((MAKERS[name].__doc__ or "").split()),
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "format_version": store.format_version,
            "uuid": store.uuid.hex(),
            "newest_record": engine.commit,
            "commit": store.commit_id,
            "tags": describe_versions(tagged),
            "root": describe(content),
        }
        if dumps(describe(content_of(store))) != dumps(found["root"]):
            raise SystemExit(f"{name}: kist reads something else than what was put in")
        if dict(store.tags) != {tag: entry["commit"] for tag, entry in found["tags"].items()}:
            raise SystemExit(f"{name}: other tags than those given")
        if not store.check().ok:
            raise SystemExit(f"{name}: {store.check()}")
    (folder / f"{name}.json").write_text(dumps(found), encoding="utf-8")


def main(names: list[str]) -> None:
    """Make files by name, or all."""
    for name in names or MAKERS:
        with tempfile.TemporaryDirectory() as folder:
            make(name, Path(folder))
            for suffix in (".kist", ".json"):
                shutil.copy(Path(folder) / f"{name}{suffix}", FOLDER)
        sizes = [(FOLDER / f"{name}{suffix}").stat().st_size for suffix in (".kist", ".json")]
        print(f"{name}: {sizes[0]:,} bytes, JSON {sizes[1]:,}")


if __name__ == "__main__":
    main(sys.argv[1:])
