"""Peak memory of large changes and questions: ``python -m bench.peaks --rows 20_000_000``.

A table of the queries' seven columns is written block by block, and one of text and a nullable
column; then each step runs in a process
of its own, which opens the file, does one thing to all of it, and says how much memory it held at
most: everything, with Python, NumPy and what is mapped of the file, and beside it what was not
mapped. Steps change one copy after the other, so that each finds what those before it left.

    python -m bench.peaks                        # 2M rows, to try
    python -m bench.peaks --rows 20_000_000      # the size of the goal: below 500 MB
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.engines.base import load
from bench.measure import status_bytes
from bench.queries.data import DELETE, DTYPE, UPDATE, iter_blocks, nulls, unclustered
from bench.report import table as markdown_table
from bench.worker import pin

GOAL_BYTES = 500_000_000
N_UPSERT = 100_000


def _sorted(table: Any) -> None:
    last = -np.inf
    n = 0
    for block in table.sort_by("price")[["price", "serial"]].blocks():
        if block["price"][0] < last or (np.diff(block["price"]) < 0).any():
            raise AssertionError("not sorted")
        last, n = block["price"][-1], n + len(block)
    _same(n, len(table))


def _same(found: int, wanted: int) -> None:
    if found != wanted:
        raise AssertionError(f"{found} instead of {wanted}")


def _upsert(table: Any) -> None:
    """Half of the rows are there already, half are new."""
    some = np.zeros(N_UPSERT, DTYPE)
    step = max(1, len(table) // (N_UPSERT // 2))
    there = table["key"][::step][: N_UPSERT // 2]
    some["key"][: len(there)] = there
    some["key"][len(there) :] = 2**40 + np.arange(N_UPSERT - len(there))
    n = len(table)
    table.upsert(some, on="key")
    _same(len(table), n + N_UPSERT - len(there))


def _grouped(table: Any, field: str) -> None:
    found = table.group_by(field).agg("count", mean=("price", "mean"))
    _same(int(found["count"].sum()), len(table))


def _too_many(table: Any, ask: Callable[[], object]) -> None:
    """See that more groups than fit are refused; those of a small table fit."""
    try:
        ask()
    except load("kist").TooLargeError:
        return
    if len(table) > 10_000_000:
        raise AssertionError("they fit")


def _aggregates(table: Any) -> None:
    """Fifteen numbers of each of 10,000 groups."""
    found = table.group_by("code").agg(
        {
            "price": ["count", "sum", "mean", "min", "max", "std", "var", "first", "last"],
            "size": ["sum", "mean", "min", "max"],
            "sent": ["min", "max"],
        }
    )
    _same(int(found["price_count"].sum()), len(table))


def _quantiles(table: Any) -> None:
    found = table.group_by("code").agg(
        "count", low=("price", "median"), q=("size", "quantile", 0.9)
    )
    _same(int(found["count"].sum()), len(table))


def _three_keys(table: Any) -> None:
    """All columns in the order of three of them, the last first."""
    last: Any = None
    n = 0
    for block in table.sort_by("symbol", "code", "price", descending=True).blocks():
        if last is not None and block["symbol"][0] > last:
            raise AssertionError("not sorted")
        last, n = block["symbol"][-1], n + len(block)
    _same(n, len(table))


def _upsert_text(table: Any) -> None:
    """As `_upsert`, by a text that each row has another of."""
    text = np.dtypes.StringDType()
    there = table["label"][:: max(1, len(table) // (N_UPSERT // 2))][: N_UPSERT // 2]
    new = np.array([f"other-{n:09d}" for n in range(N_UPSERT - len(there))], text)
    rows = {
        "name": np.full(N_UPSERT, "somebody", text),
        "label": np.concatenate([there, new]),
        "code": np.ma.zeros(N_UPSERT, "i4"),
        "price": np.ones(N_UPSERT),
    }
    n = len(table)
    table.upsert(rows, on="label")
    _same(len(table), n + len(new))


def _selected(table: Any, parts: int) -> None:
    where = unclustered(parts)
    rows = sum(len(block) for block in table.where(where.text()).blocks())
    _same(rows, table.where(where.text()).count())


def _expr(text: str) -> Any:
    return load("kist").expr(text)


def _parts(table: Any) -> None:
    """Add computed values in a column, and read them."""
    table.add_column("total", _expr("price * size"))


STEPS: dict[str, Callable[[Any], object]] = {
    "rows of 3 %, unclustered, by blocks": lambda t: _selected(t, 300),
    "rows of 50 %, unclustered, by blocks": lambda t: _selected(t, 5_000),
    "sum": lambda t: t["price"].sum(),
    "median": lambda t: t["price"].quantile(0.5),
    "group-by, 8 groups": lambda t: _grouped(t, "symbol"),
    "group-by, 10,000 groups": lambda t: _grouped(t, "code"),
    "group-by, 10,000 groups, 15 numbers of each": _aggregates,
    "group-by, 10,000 groups, quantiles": _quantiles,
    "group-by, 10,000 groups, distinct values": lambda t: _same(
        int(t.group_by("code").agg(n=("key", "nunique"))["n"].sum()), len(t)
    ),
    "number of distinct values": lambda t: _same(t["key"].nunique(), len(t)),
    "group-by, 2M groups": lambda t: t.group_by(key=_expr("key % 2000000")).agg("count"),
    "group-by, too many groups": lambda t: _too_many(
        t, lambda: t.group_by("key").agg("count", mean=("price", "mean"))
    ),
    "distinct, 10,000": lambda t: _same(t.distinct("code").count(), 10_000),
    "sort of two columns, by blocks": _sorted,
    "distinct of two columns": lambda t: t.distinct("code", "symbol").count(),
    "sort by three keys, descending, by blocks": _three_keys,
    "positions in order": lambda t: t.sort_by("price").limit(len(t) // 2).indices(),
    "create_index": lambda t: t.create_index("key"),
    "create_index, unique, two columns": lambda t: t.create_index("code", "key", unique=True),
    "sort by an indexed column, by blocks": lambda t: [
        None for _ in t.sort_by("key")[["key", "price"]].blocks()
    ],
    "update of 5 %": lambda t: t.where(UPDATE.text()).update({"price": _expr("price + 1")}),
    "update of all rows": lambda t: t.update({"size": _expr("size + 1")}),
    "delete of 5 %": lambda t: t.where(DELETE.text()).delete(),
    "upsert of 100,000": _upsert,
    "add_column, a constant": lambda t: t.add_column("flag", dtype="i2", fill_value=3),
    "add_column, an expression": _parts,
    "cast_column": lambda t: t.cast_column("size", "i8"),
    "cast_column to categories": lambda t: t.cast_column("symbol", load("kist").categorical(str)),
}
KINDS: dict[str, Callable[[Any], object]] = {
    "sort by text, two columns, by blocks": lambda t: _in_order(t, "name"),
    "sort by distinct text, by blocks": lambda t: _in_order(t, "label"),
    "sort by text, positions": lambda t: _same(len(t.sort_by("name").indices()), len(t)),
    "sort by a nullable column, by blocks": lambda t: _in_order(t, "code"),
    "group-by, 20,000 texts": lambda t: _grouped(t, "name"),
    "distinct, 20,000 texts": lambda t: _same(t.distinct("name").count(), N_NAMES),
    "rows of text that begins with a word, by blocks": lambda t: [
        None for _ in t.where("startswith(name, 'user01')").blocks()
    ],
    "create_index, text": lambda t: t.create_index("name"),
    "create_index, nullable": lambda t: t.create_index("code"),
    "sort by an indexed nullable column, by blocks": lambda t: _in_order(t, "code"),
    "group-by, too many texts": lambda t: _too_many(t, lambda: t.group_by("label").agg("count")),
    "number of distinct texts": lambda t: _same(t["label"].nunique(), len(t)),
    "upsert of 100,000 by distinct text": _upsert_text,
    "delete of 0.5 % by a condition on text": lambda t: t.where(
        "startswith(name, 'user001')"
    ).delete(),
    "update of text, 3 %": lambda t: t.where("code < 300").update({"name": "somebody else"}),
}
N_NAMES = 20_000


def _in_order(table: Any, field: str) -> None:
    """Read a column and another one in the order of the first, and see that it is one."""
    last: Any = None
    n = 0
    for block in table.sort_by(field)[[field, "price"]].blocks():
        values = block[field]
        if values.dtype.names is not None:  # nulls are last
            values = values["value"][values["valid"]]
        if len(values):
            if (last is not None and values[0] < last) or (values[1:] < values[:-1]).any():
                raise AssertionError("not sorted")
            last = values[-1]
        n += len(block)
    _same(n, len(table))


def write(path: Path, n_rows: int) -> None:
    """Make the table, with a checkpoint behind it."""
    kist: Any = load("kist")
    with kist.open(path, "w") as store, store.transaction():
        table = store.create_table("t", dtype=DTYPE)
        for block in iter_blocks(n_rows):
            table.append(block)
        _write_kinds(store, n_rows)


def _write_kinds(store: Any, n_rows: int) -> None:
    """Make a table of text and of a nullable column."""
    text = np.dtypes.StringDType()
    nullable = load("kist").nullable("i4")
    dtype = [("name", text), ("label", text), ("code", nullable), ("price", "f8")]
    table = store.create_table("kinds", dtype=dtype)
    names = np.array([f"user{n:05d}" for n in range(N_NAMES)], text)
    for number, block in enumerate(iter_blocks(n_rows)):
        key = block["key"]
        columns: dict[str, Any] = {"name": names[key % N_NAMES], "price": block["price"]}
        columns["label"] = np.char.mod("item-%012d", key).astype(text)
        columns["code"] = np.ma.MaskedArray(block["code"], nulls(block, number))
        table.append(columns)


class Watch:
    """The most memory that is not mapped from a file, looked at a hundred times a second."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._stop.wait(0.01):
            self.peak = max(self.peak, status_bytes("RssAnon"))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def child(path: Path, step: str) -> dict[str, float]:
    """Do one step in this process; what it took."""
    kist: Any = load("kist")
    start = time.perf_counter()
    with Watch() as watch, kist.open(path, "r+") as store:
        if step in STEPS:
            STEPS[step](store["t"])
        else:
            KINDS[step](store["kinds"])
    return {
        "seconds": time.perf_counter() - start,
        "peak": status_bytes("VmHWM"),
        "anonymous": watch.peak,
    }


def run(folder: Path, n_rows: int, names: Sequence[str], threads: int) -> dict[str, Any]:
    """Write the table and do all steps; seconds and peaks by step."""
    path = folder / "peaks.kist"
    write(path, n_rows)
    found = {}
    for name in names:
        command = [sys.executable, "-m", "bench.peaks", "--child", name, "--threads", str(threads)]
        done = subprocess.run(
            [*command, "--folder", str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            found[name] = {"error": lines[-1] if lines else f"ended with {done.returncode}"}
        else:
            found[name] = json.loads(done.stdout)
        print(name, found[name], file=sys.stderr, flush=True)
    return found


def report(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures as Markdown."""
    rows = []
    for name, figures in found.items():
        if "error" in figures:
            rows.append([name, figures["error"], "", ""])
            continue
        mark = " !" * (figures["peak"] > GOAL_BYTES)
        rows.append(
            [
                name,
                f"{figures['seconds']:.1f} s",
                f"{figures['peak'] / 1e6:.0f} MB{mark}",
                f"{figures['anonymous'] / 1e6:.0f} MB",
            ]
        )
    heads = ("step", "time", "peak of the process", "of that not mapped")
    return "\n".join(markdown_table(heads, rows)) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.peaks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", help="steps with one of these words; all by default")
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the table")
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    parser.add_argument("--folder", type=Path, help="where to work; a disk, not memory")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    pin(args.threads)
    if args.child is not None:
        print(json.dumps(child(args.folder / "peaks.kist", args.child)))
        return 0
    every = (*STEPS, *KINDS)
    names = [s for s in every if not args.words or any(word in s for word in args.words)]
    with tempfile.TemporaryDirectory(prefix="kist-peaks-", dir=args.folder) as folder:
        found = run(Path(folder), args.rows, names, args.threads)
    print(report(found), end="")
    return 1 if any("error" in figures for figures in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
