"""The engines that keep the archive's table, by name.

- ``base``, ``table``: what an engine is, and what one that keeps a table offers.
- ``kist_store``, ``arrow`` (what Arrow engines share), ``parquet`` (and Arrow IPC), ``vortex``,
  ``lance``, ``duckdb``, ``ctable``, ``pytables``, ``h5py_columns``, ``numpy_files``: one engine
  each, with variants of its settings.
- ``limits``: what the machine allows.
"""

from __future__ import annotations

from bench.engines.ctable import CTable, CTablePlain, CTableZstd
from bench.engines.duckdb import DuckDB
from bench.engines.h5py_columns import H5pyColumns
from bench.engines.kist_store import Kist, KistFast, KistSmall
from bench.engines.lance import Lance
from bench.engines.limits import Codec, Disk, DiskAsSmall, Memcpy, Transpose
from bench.engines.numpy_files import Npy, Npz
from bench.engines.parquet import ArrowIPC, Parquet, ParquetDefault, ParquetPlain, ParquetZstd
from bench.engines.pytables import PyTables
from bench.engines.table import TableEngine
from bench.engines.vortex import Vortex

TABLE_ENGINES: dict[str, type[TableEngine]] = {
    engine.name: engine
    for engine in (
        Kist,
        KistFast,
        KistSmall,
        Parquet,
        ParquetPlain,
        ParquetDefault,
        ParquetZstd,
        ArrowIPC,
        Vortex,
        Lance,
        DuckDB,
        CTable,
        CTablePlain,
        CTableZstd,
        PyTables,
        H5pyColumns,
        Npy,
        Npz,
        Memcpy,
        Transpose,
        Codec,
        Disk,
        DiskAsSmall,
    )
}

VARIANTS = (
    "kist-fast",
    "kist-small",
    "parquet-lz4-plain",
    "parquet-lz4-default",
    "ctable-lz4-plain",
    "ctable-zstd",
)
"""Other settings of engines: they run when they are named."""
