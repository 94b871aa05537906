"""The table of the queries, made block by block, and what each question must be answered with.

Row ``i`` depends on nothing but ``i``'s block, so that 20 million rows never stand in memory.
Answers are made by NumPy beside the blocks; rows are compared by a sum over their bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Columns = dict[str, Array]

SEED = 20261121
BLOCK_ROWS = 262_144
WORDS = np.array([b"AAPL", b"MSFT", b"GOOG", b"AMZN", b"NVDA", b"TSLA", b"IBM", b"ORCL"], "S8")

DTYPE = np.dtype(
    [
        ("serial", "<i8"),  # rises by up to 8 a row: clustered
        ("code", "<i4"),  # 0 to 9,999 in no order: unclustered
        ("key", "<i8"),  # each once, in no order
        ("price", "<f8"),  # a walk in cents
        ("size", "<i4"),
        ("sent", "<M8[ns]"),
        ("symbol", "S8"),
    ]
)
FIELDS = ["sent", "price", "size"]
"""What queries for rows read."""
SHARES = (("0.01 %", 1), ("3 %", 300), ("50 %", 5_000))
"""Parts of 10,000."""
NULL_SHARE = 0.02
_MULTIPLIER = 6_364_136_223_846_793_005


class Where(NamedTuple):
    """``low <= field < high``."""

    field: str
    low: int
    high: int

    def mask(self, block: Mapping[str, Array] | Array) -> Array:
        """Where it holds."""
        found: Array = (block[self.field] >= self.low) & (block[self.field] < self.high)
        return found

    def text(self, conjunction: str = "&") -> str:
        """As text that all engines read."""
        return f"({self.field} >= {self.low}) {conjunction} ({self.field} < {self.high})"


def keys(start: int, stop: int, n_rows: int) -> Array:
    """Numbers below ``2**k`` in no order, each once: an odd multiple modulo a power of two."""
    bits = max(n_rows - 1, 1).bit_length()
    numbers = np.arange(start, stop, dtype=np.uint64) * np.uint64(_MULTIPLIER)
    return (numbers & np.uint64((1 << bits) - 1)).astype(np.int64)


def iter_blocks(n_rows: int) -> Iterator[Array]:
    """The rows, as structured arrays of up to ``BLOCK_ROWS``."""
    serial, cents = 0, 100_000
    for start in range(0, n_rows, BLOCK_ROWS):
        n = min(BLOCK_ROWS, n_rows - start)
        rng = np.random.default_rng((SEED, start))
        out = np.empty(n, DTYPE)
        rise = rng.integers(0, 9, BLOCK_ROWS)
        out["serial"] = serial + np.cumsum(rise)[:n]
        walk = cents + np.cumsum(np.rint(rng.standard_normal(BLOCK_ROWS) * 3).astype(np.int64))
        out["price"] = walk[:n] / 100.0
        serial, cents = serial + int(rise.sum()), int(walk[-1])
        out["code"] = rng.integers(0, 10_000, BLOCK_ROWS, dtype=np.int32)[:n]
        out["key"] = keys(start, start + n, n_rows)
        out["size"] = rng.integers(0, 500, BLOCK_ROWS, dtype=np.int32)[:n]
        sent = 1_770_000_000_000_000_000 + 1_000_000 * out["serial"]
        out["sent"] = (sent + rng.integers(0, 999, n)).view("<M8[ns]")
        picks = np.minimum(rng.geometric(0.4, BLOCK_ROWS) - 1, len(WORDS) - 1)
        out["symbol"] = WORDS[picks[:n]]
        yield out


def nulls(block: Array, number: int) -> Array:
    """Which values of the nullable twins of ``code`` and ``price`` are null."""
    found: Array = np.random.default_rng((SEED, number, 1)).random(len(block)) < NULL_SHARE
    return found


def clustered(n_rows: int, parts: int) -> Where:
    """A share of the rows, two fifths in: ``serial`` rises by 4 a row on average."""
    start = int(4 * n_rows * 0.4)
    return Where("serial", start, start + max(1, 4 * n_rows * parts // 10_000))


def unclustered(parts: int) -> Where:
    """The same share anywhere."""
    return Where("code", 5_000, 5_000 + parts)


def wheres(n_rows: int) -> dict[str, Where]:
    """All conditions by the name of their step."""
    found = {}
    for label, parts in SHARES:
        found[f"{label} clustered"] = clustered(n_rows, parts)
        found[f"{label} unclustered"] = unclustered(parts)
    return found


UPDATE = Where("code", 2_000, 2_500)
DELETE = Where("code", 7_000, 7_500)
"""5 % of the rows each, anywhere."""


class Digest:
    """A sum over the bytes of columns that come in parts."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}

    def add(self, columns: Mapping[str, Array], names: list[str]) -> None:
        """Take in some rows."""
        for name in names:
            sum_ = self._sums.setdefault(name, hashlib.blake2b(digest_size=8))
            sum_.update(np.ascontiguousarray(columns[name], DTYPE[name]).view(np.uint8).data)

    def text(self) -> str:
        """The sums of all columns."""
        return " ".join(f"{name}:{sum_.hexdigest()}" for name, sum_ in self._sums.items())


def digest(columns: Mapping[str, Array], names: list[str]) -> str:
    """The sum over whole columns."""
    found = Digest()
    found.add(columns, names)
    return found.text()


def answers(n_rows: int) -> dict[str, Any]:
    """What must come out, ready for JSON."""
    conditions = wheres(n_rows)
    counts = dict.fromkeys(conditions, 0)
    sums = dict.fromkeys(conditions, 0.0)
    rows = {name: Digest() for name in conditions}
    totals: dict[str, list[float]] = {}
    null_counts = dict.fromkeys(conditions, 0)
    updated, kept, prices = 0.0, 0, []
    for number, block in enumerate(iter_blocks(n_rows)):
        null = nulls(block, number)
        for name, where in conditions.items():
            mask = where.mask(block)
            counts[name] += int(mask.sum())
            null_counts[name] += int((mask & ~null).sum()) if where.field == "code" else 0
            sums[name] += float(block["price"][mask].sum())
            rows[name].add({field: block[field][mask] for field in FIELDS}, FIELDS)
        for word in WORDS:
            mine = block["price"][block["symbol"] == word]
            total = totals.setdefault(word.decode(), [0.0, 0])
            total[0] += float(mine.sum())
            total[1] += len(mine)
        updated += float((block["price"] + UPDATE.mask(block)).sum())
        kept += int((~DELETE.mask(block)).sum())
        prices.append(block["price"].copy())
    ordered = np.sort(np.concatenate(prices))
    return {
        "count": counts,
        "count nullable": null_counts,
        "sum": sums,
        "rows": {name: found.text() for name, found in rows.items()},
        "means": {word: total / n for word, (total, n) in totals.items() if n},
        "updated": updated,
        "kept": kept,
        "sorted": digest({"price": ordered}, ["price"]),
    }
