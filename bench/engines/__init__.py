"""The engines by name."""

from __future__ import annotations

from bench.engines.base import Engine, ListingEngine, TableEngine
from bench.engines.ctable import CTable, CTablePlain, CTableZstd
from bench.engines.kist_store import Kist, KistFast, KistSmall
from bench.engines.limits import Disk, DiskAsSmall, Memcpy, Transpose
from bench.engines.parquet import Parquet, ParquetDefault, ParquetZstd
from bench.engines.pytables import PyTables
from bench.engines.sqlite import SQLite

ENGINES: dict[str, type[Engine]] = {
    engine.name: engine
    for engine in (
        Kist,
        KistFast,
        KistSmall,
        Parquet,
        ParquetDefault,
        ParquetZstd,
        CTable,
        CTablePlain,
        CTableZstd,
        PyTables,
        SQLite,
        Memcpy,
        Transpose,
        Disk,
        DiskAsSmall,
    )
}

LIMITS = tuple(name for name in ENGINES if name.startswith("limit:"))

DEFAULT = (
    "kist",
    "parquet-lz4",
    "parquet-lz4-default",
    "ctable-lz4",
    "ctable-lz4-plain",
    "pytables-lz4",
    "sqlite",
    *LIMITS,
)
"""What runs when no engine is named."""

__all__ = ["DEFAULT", "ENGINES", "LIMITS", "Engine", "ListingEngine", "TableEngine"]
