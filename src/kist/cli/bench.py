"""``kist bench``: how fast this machine reads a store, and appends to one beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kist.cli.common import (
    at_option,
    examples,
    joined,
    json_option,
    node_argument,
    open_at,
    place_argument,
    print_json,
    write,
)

if TYPE_CHECKING:
    import numpy as np

__all__ = ["bench"]

_MOST_DATASETS: Final = 6
_PART: Final = 0.01  # of the rows: a range
_RANDOM: Final = 1_000
_SCRATCH_ROWS: Final = 100_000
_APPENDS, _APPENDED_ROWS = 100, 10


@click.command(
    epilog=examples(
        "kist bench lab.kist",
        "kist bench lab.kist:market/trades",
        "kist bench lab.kist --seconds 20 --json",
    )
)
@place_argument
@node_argument
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=120.0,
    show_default=True,
    help="Time for all of it, about.",
)
@json_option
@at_option
def bench(
    file: tuple[str, str], node: str | None, seconds: float, as_json: bool, at: str | None
) -> None:
    """Time reads of the largest datasets of FILE, or of the one at PATH, and small appends.

    FILE is only read. Appends go to a scratch file in the same folder, with up to 100,000 rows
    of each table, which is deleted again. Times are medians; MB are of NumPy's size. What was
    read shortly before may still be in memory: the first read of a cold file is slower.
    """
    with open_at(file[0], at) as store:
        found = _largest(store[joined(file, node)])
        share = seconds / max(1, len(found))
        rows = []
        for dataset in found:
            rows += [
                {"dataset": dataset.name, **step}
                for step in _STEPS[dataset.kind](dataset, share, Path(file[0]))
            ]
        result = {
            "file": file[0],
            "bytes": Path(file[0]).stat().st_size,
            "datasets": [_size(dataset) for dataset in found],
            "steps": rows,
        }
    if as_json:
        print_json(result)
    else:
        write(_lines(result))


def _datasets(node: Any) -> Iterator[Any]:
    if node.kind == "group":
        for child in node.values():
            yield from _datasets(child)
    elif node.kind != "link":
        yield node


def _largest(node: Any) -> list[Any]:
    """The datasets that take most of the file, largest first."""
    found = [dataset for dataset in _datasets(node) if _n(dataset)]
    return sorted(found, key=lambda d: -d.nbytes_stored)[:_MOST_DATASETS]


def _n(dataset: Any) -> int:
    """Rows, elements or keys."""
    return int(dataset.size) if dataset.kind == "array" else len(dataset)


def _size(dataset: Any) -> dict[str, Any]:
    facts = {"dataset": dataset.name, "kind": dataset.kind, "n": _n(dataset)}
    if dataset.kind != "key store":
        facts["bytes"] = int(dataset.nbytes)
    return {**facts, "bytes_stored": int(dataset.nbytes_stored)}


def _time(
    step: str, call: Callable[[], int], budget_s: float, least: int = 3, most: int = 1_000
) -> dict[str, Any]:
    """Call until the time is used up; `call` returns the bytes that it gave."""
    times: list[float] = []
    n_bytes = 0
    ends = time.perf_counter() + budget_s
    while len(times) < most and (len(times) < least or time.perf_counter() < ends):
        start = time.perf_counter()
        n_bytes = call()
        times.append(time.perf_counter() - start)
        if len(times) == 1 and times[0] > budget_s:
            break  # once is what there is time for
    median = statistics.median(times)
    return {
        "step": step,
        "calls": len(times),
        "ms": median * 1e3,
        "MB_per_s": n_bytes / 1e6 / median if median > 0 else None,
    }


def _read_blocks(dataset: Any, budget_s: float) -> dict[str, Any]:
    """Read in blocks, so that memory stays small; for a part of the time only, if it is large."""
    n_bytes, n, start = 0, 0, time.perf_counter()
    for block in dataset.blocks():
        n_bytes, n = n_bytes + block.nbytes, n + block.size
        if time.perf_counter() - start > budget_s:
            break
    seconds = time.perf_counter() - start
    step = "read in blocks" if n == _n(dataset) else "read in blocks, a part"
    return {"step": step, "calls": 1, "ms": seconds * 1e3, "MB_per_s": n_bytes / 1e6 / seconds}


def _table(table: Any, budget_s: float, path: Path) -> Iterator[dict[str, Any]]:
    import numpy as np

    rng = np.random.default_rng(0)
    n, part = len(table), budget_s / 6
    yield _read_blocks(table, part)
    name = max(table.columns, key=lambda c: table[c].nbytes_stored)
    column = table[name]
    values = min(n, 50_000_000)  # of one column; more need not fit into memory
    yield _time(f"one column, {name}", lambda: int(column[:values].nbytes), part)
    size = min(max(1, int(n * _PART)), 1_000_000)

    def rows(first: int) -> int:
        return int(table[first : first + size].nbytes)

    yield _time(f"{size:,} rows in a range", lambda: rows(int(rng.integers(n - size + 1))), part)
    places = min(_RANDOM, n)

    def random_rows() -> int:
        return int(table[rng.integers(0, n, places)].nbytes)

    yield _time(f"{places:,} rows anywhere", random_rows, part)
    yield _time("one row", lambda: int(table[int(rng.integers(n))].nbytes), part)
    yield _append(table, part, path)


def _append(table: Any, budget_s: float, path: Path) -> dict[str, Any]:
    """Ten rows at a time, each durable, to a scratch file beside the user's."""
    import tempfile

    import kist

    step = f"append {_APPENDED_ROWS} rows, durable"
    rows = table[:_SCRATCH_ROWS]
    some = rows[:_APPENDED_ROWS]
    try:
        folder = tempfile.TemporaryDirectory(prefix=".kist-bench-", dir=path.absolute().parent)
    except OSError as error:
        return {"step": step, "calls": 0, "ms": None, "MB_per_s": None, "why": str(error)}
    with folder as place, kist.open(Path(place) / "scratch.kist", "w") as scratch:
        copy = scratch.create_table("t", rows)

        def append() -> int:
            copy.append(some)
            return int(some.nbytes)

        return _time(step, append, budget_s, most=_APPENDS)


def _array(array: Any, budget_s: float, path: Path) -> Iterator[dict[str, Any]]:
    import numpy as np

    rng = np.random.default_rng(0)
    if array.ndim == 0:
        yield _time("read", lambda: int(np.asarray(array[()]).nbytes), budget_s)
        return
    part = budget_s / (array.ndim + 2)
    yield _read_blocks(array, part)
    for axis, length in enumerate(array.shape):
        head = (slice(None),) * axis

        def plane(head: tuple[slice, ...] = head, length: int = length) -> int:
            return int(np.asarray(array[(*head, int(rng.integers(length)))]).nbytes)

        yield _time(f"one index of axis {axis}", plane, part)

    def corner(shape: tuple[int, ...]) -> tuple[slice, ...]:
        firsts = [int(rng.integers(max(1, n - 31))) for n in shape]
        return tuple(slice(first, first + 32) for first in firsts)

    if array.ndim > 1:
        yield _time("a box of 32", lambda: int(array[corner(array.shape)].nbytes), part)


def _keystore(keys: Any, budget_s: float, path: Path) -> Iterator[dict[str, Any]]:
    from itertools import islice

    import numpy as np

    rng = np.random.default_rng(0)
    first = list(islice(keys, 100_000))
    yield _time(
        "get",
        lambda: _nbytes(keys[first[int(rng.integers(len(first)))]]),
        budget_s,
    )


def _nbytes(value: Any) -> int:
    """Bytes of the arrays in a value."""
    if isinstance(value, dict):
        return sum(map(_nbytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_nbytes, value))
    array: np.ndarray[Any, Any] | None = value if hasattr(value, "nbytes") else None
    return 0 if array is None else int(array.nbytes)


_STEPS: Final[dict[str, Callable[[Any, float, Path], Iterator[dict[str, Any]]]]] = {
    "table": _table,
    "array": _array,
    "key store": _keystore,
}


def _lines(result: dict[str, Any]) -> Iterator[str]:
    yield f"{result['file']}: {result['bytes'] / 1e6:,.1f} MB\n"
    sizes = {facts["dataset"]: facts for facts in result["datasets"]}
    if not sizes:
        yield "nothing to read\n"
    shown = None
    for step in result["steps"]:
        if step["dataset"] != shown:
            shown = step["dataset"]
            facts = sizes[shown]
            memory = f"{facts['bytes'] / 1e6:,.1f} MB in memory, " if "bytes" in facts else ""
            yield f"\n{shown}: {facts['kind']}, {facts['n']:,}, {memory}"
            yield f"{facts['bytes_stored'] / 1e6:,.1f} MB stored\n"
        ms = "-" if step["ms"] is None else f"{step['ms']:,.3g}"
        speed = f"{step['MB_per_s']:,.0f}" if step["MB_per_s"] else "-"
        yield f"  {step['step']:<32}{ms:>12} ms{speed:>10} MB/s\n"
        if "why" in step:
            yield f"    not possible here: {step['why']}\n"
