"""Seeded tables that look like the data people keep: made in blocks, the same at any size.

Row ``i`` of a workload does not depend on how many rows are asked for: the first ``n`` rows of a
longer table are the table of ``n`` rows. That lets a step append rows that continue the walks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[Any]
"""A one-dimensional structured array."""

SEED = 20261101
BLOCK_ROWS = 65_536
"""Rows made at once. Part of the definition: each block has a random stream of its own."""

N_WALKS, N_SMALL, N_MONOTONE, N_SIGNALS, N_FLAGS = 20, 10, 5, 5, 5

_WORDS: dict[str, tuple[bytes, ...]] = {
    "symbol": (b"AAPL", b"MSFT", b"GOOG", b"AMZN", b"NVDA", b"TSLA", b"IBM", b"ORCL"),
    "venue": (b"XNAS", b"XNYS", b"ARCX", b"BATS"),
    "status": (b"FILLED", b"PARTIAL", b"CANCELED"),
}

TABLE_DTYPE = np.dtype(
    [(f"price{i}", "<f8") for i in range(N_WALKS)]
    + [(f"count{i}", "<i4") for i in range(N_SMALL)]
    + [(f"serial{i}", "<i8") for i in range(N_MONOTONE)]
    + [(f"signal{i}", "<f4") for i in range(N_SIGNALS)]
    + [(f"flag{i}", "u1") for i in range(N_FLAGS)]
    + [(name, "S8") for name in _WORDS]
    + [("sent", "<M8[ns]"), ("received", "<M8[ns]")]
)
"""50 fields, 305 bytes a row, packed."""

FIELD = "price0"
"""The field that the steps on one field read."""

_START_NS = int(np.datetime64("2026-01-05T09:30:00", "ns").astype(np.int64))


class _Walk:
    """What one block hands to the next."""

    def __init__(self) -> None:
        self.cents = np.array([10_000 * (i + 1) for i in range(N_WALKS)], np.int64)
        self.serials = np.array([1_000_000 * i for i in range(N_MONOTONE)], np.int64)
        self.sent_ns = _START_NS


def _block(rng: np.random.Generator, start: int, walk: _Walk) -> Records:
    """One block of ``BLOCK_ROWS`` rows that begins at row ``start``; moves ``walk`` forward."""
    n = BLOCK_ROWS
    out = np.empty(n, TABLE_DTYPE)
    for i in range(N_WALKS):
        steps = np.rint(rng.standard_normal(n) * (2 + i)).astype(np.int64)
        cents = walk.cents[i] + np.cumsum(steps)
        # An integer of cents over 100 is the f8 nearest to the decimal, as a parser would give it.
        out[f"price{i}"] = cents / 100.0
        walk.cents[i] = cents[-1]
    for i in range(N_SMALL):
        out[f"count{i}"] = rng.integers(0, 5 * (i + 1) ** 2, n, dtype=np.int32)
    for i in range(N_MONOTONE):
        serials = walk.serials[i] + np.cumsum(rng.integers(0, 1 + 4**i, n))
        out[f"serial{i}"] = serials
        walk.serials[i] = serials[-1]
    time = np.arange(start, start + n, dtype=np.float64)
    for i in range(N_SIGNALS):
        noise = rng.standard_normal(n, dtype=np.float32) * np.float32(0.05)
        out[f"signal{i}"] = np.sin(time / (1_000.0 * (i + 1))).astype(np.float32) + noise
    for i in range(N_FLAGS):
        out[f"flag{i}"] = rng.integers(0, 2 ** (i + 1), n, dtype=np.uint8)
    for name, words in _WORDS.items():
        # The first words are the common ones, as symbols and venues are.
        picks = np.minimum(rng.geometric(0.4, n) - 1, len(words) - 1)
        out[name] = np.array(words, "S8")[picks]
    sent = walk.sent_ns + np.cumsum(rng.exponential(200_000.0, n).astype(np.int64))
    walk.sent_ns = int(sent[-1])
    latency_us = 20 + rng.exponential(30.0, n).astype(np.int64)
    out["sent"] = sent.view("<M8[ns]")
    out["received"] = (sent // 1_000 * 1_000 + latency_us * 1_000).view("<M8[ns]")
    return out


def iter_blocks(n_rows: int, seed: int = SEED) -> Iterator[Records]:
    """The table workload as structured arrays of up to ``BLOCK_ROWS`` rows.

    Parameters
    ----------
    n_rows : int
        Rows in all.
    seed : int
        Another seed gives another table of the same kind.

    Yields
    ------
    ndarray, shape (<= BLOCK_ROWS,), dtype ``TABLE_DTYPE``
    """
    walk = _Walk()
    for start in range(0, n_rows, BLOCK_ROWS):
        block = _block(np.random.default_rng((seed, start // BLOCK_ROWS)), start, walk)
        yield block[: n_rows - start]


def table(n_rows: int, seed: int = SEED) -> Records:
    """The table workload in one structured array of ``n_rows`` rows."""
    out = np.empty(n_rows, TABLE_DTYPE)
    start = 0
    for block in iter_blocks(n_rows, seed):
        out[start : start + len(block)] = block
        start += len(block)
    return out


SMALL_DTYPE = np.dtype([("time", "<i8"), ("value", "<f8"), ("flag", "u1")])


def small_table(index: int) -> Records:
    """The ``index``-th of many small tables: ten rows of three fields."""
    out = np.empty(10, SMALL_DTYPE)
    out["time"] = 1_000 * index + np.arange(10)
    out["value"] = index / 8.0 + np.arange(10)
    out["flag"] = index % 3
    return out


def dataset_names(n: int) -> list[str]:
    """Names of ``n`` datasets, in the order a listing gives them."""
    return [f"run{i:06d}" for i in range(n)]
