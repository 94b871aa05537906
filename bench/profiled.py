"""The steps of ``bench.profiles``: what kist does in the workloads, alone and again and again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from bench.objects.keystore import pair
from bench.objects.strings import addresses
from bench.objects.volume import volume
from bench.workloads import dataset_names, iter_blocks, small_table, table

__all__ = ["GROUPS", "Step"]

Step = Callable[[], object]
Steps = Iterator[tuple[str, Step]]


def _durable(folder: Path) -> Steps:
    import kist

    store = kist.open(folder / "durable.kist", "w")
    runs = store.create_keystore("runs")
    value = os.urandom(400)
    count = iter(range(10**9))
    yield "put of 400 bytes, durable", lambda: runs.__setitem__(f"k{next(count)}", value)
    rows = next(iter_blocks(65_536, seed=1))
    grown = store.create_table("grown", rows[:0])
    yield "append of 10 rows x 50, durable", lambda: grown.append(rows[:10])
    yield "append of 10,000 rows x 50, durable", lambda: grown.append(rows[:10_000])
    yield "get of 400 bytes", lambda: runs["k5"]
    store.close()


def _archive(folder: Path) -> Steps:
    import kist

    path = folder / "archive.kist"
    rows = table(1_000_000)
    store = kist.open(path, "w")
    number = iter(range(10**9))

    def write() -> None:
        store.create_table(f"t{next(number)}", rows)

    yield "write 1M x 50, durable", write
    for i in range(1, next(number)):
        del store[f"t{i}"]
    t = store.create_table("t", rows)
    field = rows.dtype.names[0]
    places = np.random.default_rng(1).integers(0, len(rows), 100_000)
    pair_of = t[[rows.dtype.names[0], rows.dtype.names[25]]]
    some = cycle(places.tolist())
    yield "read all 1M x 50 to a recarray", lambda: t[:]
    yield "read all 1M x 50 to columns", lambda: [t[name][:] for name in rows.dtype.names]
    yield "one field of 1M", lambda: t[field][:]
    yield "single row, elsewhere", lambda: t[next(some)]
    yield "single row, near the last", lambda: t[5000]
    yield "100k random rows x 2 fields", lambda: pair_of[places]
    three = ["sent", "price0", "count0"]
    threes, few = t[three], np.sort(places[:10_000])
    yield "3 fields of 1 %, a range", lambda: threes[500_000:510_000]
    yield "3 fields of 1 %, anywhere", lambda: threes[few]
    yield "where, 1 % unclustered", lambda: t.where("count0 == 1")[:]
    rare = "count9 < 15"
    yield "query count, 3 % unclustered", lambda: t.where(rare).count()
    yield "query sum, 3 % unclustered", lambda: t.where(rare)["price0"].sum()
    yield "query of 3 fields, 3 % unclustered", lambda: t.where(rare)[three][:]
    yield "query of 3 fields, 50 % unclustered", lambda: t.where("count9 < 250")[three][:]
    yield "query, mean by a short string", lambda: t.group_by("symbol").agg(m=("price0", "mean"))
    more = kist.expr("price1 + 1")
    yield "update of 5 %, durable", lambda: t.where("count9 < 25").update({"price1": more})
    yield "check", lambda: store.check()
    store.close()

    def row_of_a_fresh_handle() -> Any:
        with kist.open(path) as opened:
            return opened["t"][next(some)]

    yield "single row, fresh handle", row_of_a_fresh_handle


def _volume(folder: Path) -> Steps:
    import kist

    n = 256
    values = volume(n)
    with kist.open(folder / "volume.kist", "w") as store:
        rng = np.random.default_rng(2)

        def cube(array: Any) -> Any:
            a, b, c = rng.integers(0, n - 32, 3)
            return array[a : a + 32, b : b + 32, c : c + 32]

        for codec, told in (("lz4+shuffle", "256^3 f4, LZ4"), ("auto", "256^3 f4")):
            array = store.create_array(codec, values, codec=codec)
            yield f"cube of 32 x 32 x 32 in {told}", lambda array=array: cube(array)
            for axis in range(3):
                index: list[Any] = [slice(None)] * 3
                index[axis] = n // 3
                where = tuple(index)
                yield f"plane along axis {axis} of {told}", lambda a=array, w=where: a[w]
            yield f"read all {told}", lambda array=array: array[:]
            yield (
                f"write {told}",
                lambda codec=codec: store.create_array("w", values, codec=codec, overwrite=True),
            )


def _keys(folder: Path) -> Steps:
    import kist

    pairs = {f"run-{i}": pair(i) for i in range(100)}
    with kist.open(folder / "keys.kist", "w") as store:
        runs = store.create_keystore("runs")
        names, count = cycle(pairs), iter(range(10**9))
        yield "100 pairs of arrays put at once, durable", lambda: runs.update(pairs)
        yield "get of a pair of arrays", lambda: runs[next(names)]
        yield (
            "put of a pair of arrays, durable",
            lambda: runs.__setitem__(f"new-{next(count)}", pairs["run-7"]),
        )


def _lines(folder: Path) -> Steps:
    import kist

    x = np.linspace(0, 100, 10**7)
    with kist.open(folder / "lines.kist", "w") as store:
        for name, values in (("linspace", x), ("sine", np.sin(x))):
            yield (
                f"write {name}, 10M, durable",
                lambda n=name, v=values: store.create_array(n, v, overwrite=True),
            )
            yield f"read {name}, 10M", lambda n=name: store[n][:]


def _many(folder: Path) -> Steps:
    import kist

    names = dataset_names(10_000)
    tables = [small_table(i) for i in range(1_000)]
    number = iter(range(10**9))

    def build() -> None:
        path = folder / f"built-{next(number)}.kist"
        with kist.open(path, "w") as store, store.transaction():
            for name, rows in zip(names, tables, strict=False):
                store.create_table(name, rows)
        path.unlink()

    yield "1,000 tables built in one transaction", build
    path = folder / "many.kist"
    with kist.open(path, "w") as store, store.transaction():
        for at, name in enumerate(names):
            store.create_table(name, tables[at % len(tables)])

    def listed() -> list[str]:
        with kist.open(path) as store:
            return list(store)

    def one_read() -> Any:
        with kist.open(path) as store:
            return store[names[5_000]][:]

    yield "open and list 10,000", listed
    yield "open and read one of 10,000", one_read


def _strings(folder: Path) -> Steps:
    import kist

    texts = np.array(addresses(1_000_000), np.dtypes.StringDType())
    with kist.open(folder / "strings.kist", "w") as store:
        yield (
            "write 1M strings, durable",
            lambda: store.create_table("t", {"text": texts}, overwrite=True),
        )
        t: Any = store["t"] if "t" in store else store.create_table("t", {"text": texts})
        some = np.random.default_rng(0).integers(0, len(texts), 1_000)
        equal = texts[77]
        yield "read 1M strings as NumPy", lambda: t["text"][:]
        yield "count equal strings", lambda: t.where("text == x", x=equal).count()
        yield "count strings that contain", lambda: t.where("contains(text, x)", x="9/").count()
        yield "take 1,000 strings", lambda: t["text"][some]


def _grown(folder: Path) -> Steps:
    import kist

    path = folder / "grown.kist"
    values = np.arange(100_000.0)
    with kist.open(path, "w", durability="relaxed") as store:
        grown = store.create_array("grown", shape=(0,), dtype="f8")
        for at in range(0, len(values), 10):
            grown.append(values[at : at + 10])

    def read() -> Any:
        with kist.open(path) as store:
            return store["grown"][:]

    yield "open and read an array of 10,000 appends", read


GROUPS = (_durable, _archive, _volume, _keys, _lines, _many, _strings, _grown)
