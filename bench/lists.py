"""What columns of lists take to write and to read: ``python -m bench.lists``.

Lists of numbers, of few different texts and of texts that are all different, beside columns of as
many single values and beside Parquet (Zstd, by pyarrow). Processor time, the shortest of three
rounds; what is read is compared with what was written before a time counts.

    python -m bench.lists            # 1M rows, half a minute
    python -m bench.lists 100000     # as many rows
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import kist
from bench.report import table as markdown_table
from bench.worker import pin

__all__ = ["KINDS", "items_of", "main", "measured"]

Array = np.ndarray[Any, Any]
Figures = tuple[float, float, int]
"""Seconds to write and to read, and bytes of the file."""

KINDS = ("numbers", "few texts", "all different")
ROUNDS = 3
TEXT = np.dtypes.StringDType()


def items_of(kind: str, n: int, rng: np.random.Generator) -> Array:
    """Return the items of all lists."""
    if kind == "numbers":
        return rng.integers(0, 1000, n)
    if kind == "few texts":
        words = np.array([f"tag {i} {'x' * (i % 14)}" for i in range(50)], TEXT)
        return np.asarray(words[rng.integers(0, 50, n)])
    return np.array([f"{x:x}-{x % 977}" for x in rng.integers(0, 1 << 40, n).tolist()], TEXT)


def _in_kist(path: Path, values: Any) -> tuple[Callable[[], None], Callable[[], Any]]:
    def write() -> None:
        path.unlink(missing_ok=True)
        with kist.open(path, "x", durability="none") as store:
            store.create_table("t", dtype={"r": values.dtype}).append({"r": values})

    def read() -> Any:
        with kist.open(path) as store:
            return store["t"]["r"][:]

    return write, read


def _in_parquet(path: Path, lists: Any) -> tuple[Callable[[], None], Callable[[], Any]]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    rows = pa.table({"r": lists.to_arrow()})
    return (
        lambda: parquet.write_table(rows, path, compression="zstd"),
        lambda: parquet.read_table(path)["r"],
    )


def _seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def measured(folder: Path, kind: str, n: int, rounds: int = ROUNDS) -> dict[str, Figures]:
    """Return the figures of lists, of single values and of Parquet."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(0, 4, n)
    items = items_of(kind, int(lengths.sum()), rng)
    lists = kist.Ragged(items, np.append(0, lengths.cumsum()))
    ways = {
        "lists": (folder / "lists.kist", *_in_kist(folder / "lists.kist", lists)),
        "single": (folder / "single.kist", *_in_kist(folder / "single.kist", items)),
        "parquet": (folder / "lists.parquet", *_in_parquet(folder / "lists.parquet", lists)),
    }
    right: dict[str, Callable[[Any], bool]] = {
        "lists": lists.equals,
        "single": lambda found: bool(np.array_equal(found, items)),
        "parquet": lambda found: (
            found.combine_chunks().cast(lists.to_arrow().type).equals(lists.to_arrow())
        ),
    }
    found = {}
    for name, (path, write, read) in ways.items():
        write()
        if not right[name](read()):
            raise AssertionError(f"{kind}, {name}: not what was written")
        times = [(_seconds(write), _seconds(read)) for _ in range(rounds)]
        best = tuple(min(column) for column in zip(*times, strict=True))
        found[name] = best[0], best[1], path.stat().st_size
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for."""
    given = list(sys.argv[1:] if argv is None else argv)
    n = int(given[0]) if given else 1_000_000
    pin(2)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            for name, (write, read, size) in measured(Path(folder), kind, n).items():
                rows.append(
                    [f"{kind}, {name}", f"{write:.2f} s", f"{read:.2f} s", f"{size / 1e6:.1f} MB"]
                )
    print("\n".join(markdown_table((f"{n:,} rows", "write", "read", "stored"), rows)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
