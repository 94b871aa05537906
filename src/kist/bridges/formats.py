"""Which formats there are, and which of them a file is: by its first bytes, then by its name."""

from __future__ import annotations

import importlib
import os
from typing import Final, NamedTuple

from kist.bridges.base import Bridge
from kist.errors import ConversionError

__all__ = ["FORMATS", "Format", "bridge_of", "format_by_content", "format_by_name", "stem_of"]


class Format(NamedTuple):
    """Where the bridge of a format lives, and what its files are called."""

    module: str
    bridge: str
    suffixes: tuple[str, ...]


FORMATS: Final = {
    "hdf5": Format("hdf5.bridge", "Hdf5", (".h5", ".hdf5", ".hdf", ".he5")),
    "netcdf": Format("netcdf.bridge", "NetCdf", (".nc", ".nc4", ".cdf")),
    "zarr": Format("zarr.bridge", "Zarr", (".zarr", ".zarr.zip")),
    "blosc2": Format("b2", "Blosc2", (".b2nd", ".b2frame")),
    "b2z": Format("b2z", "Blosc2Store", (".b2z", ".b2d", ".b2e")),
    "pickle": Format("pickles", "Pickle", (".pkl", ".pickle")),
    "joblib": Format("pickles", "Joblib", (".joblib",)),
    "shelve": Format("pickles", "Shelve", (".shelf", ".shelve", ".shelf.dir", ".shelf.db")),
    "npy": Format("npy", "Npy", (".npy",)),
    "npz": Format("npy", "Npz", (".npz",)),
    "folder": Format("npy_folder", "NpyFolder", ()),
    "parquet": Format("parquet", "Parquet", (".parquet", ".pq")),
    "arrow": Format("parquet", "ArrowFile", (".arrow", ".feather", ".arrows", ".ipc")),
    "csv": Format("text", "Csv", (".csv", ".tsv")),
    "jsonl": Format("text", "JsonLines", (".jsonl", ".ndjson")),
    "sqlite": Format("sqlite", "Sqlite", (".sqlite", ".sqlite3", ".db")),
}
"""Name -> bridge. The modules are imported when a file of theirs comes."""

_MAGIC: Final = (
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"CDF\x01", "netcdf"),
    (b"CDF\x02", "netcdf"),
    (b"CDF\x05", "netcdf"),
    (b"\x9e\xa8b2frame\0", "blosc2"),
    (b"\x93NUMPY", "npy"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"FEA1", "arrow"),
    (b"SQLite format 3\0", "sqlite"),
)
_WITHIN: Final = {"hdf5": ("netcdf",), "blosc2": ("b2z",)}
_COMPRESSED: Final = (".gz", ".bz2", ".zst", ".xz", ".lz4")
_TEXT: Final = ("csv", "jsonl")
"""Formats whose files may be compressed as a whole."""
_USER_BLOCKS: Final = (512, 1024, 2048, 4096, 8192)


def bridge_of(name: str) -> Bridge:
    """Return the bridge of a format.

    Raises
    ------
    ConversionError
        There is none of that name.
    """
    known = FORMATS.get(name)
    if known is None:
        raise ConversionError(f"format {name!r} is none of {', '.join(FORMATS)}")
    module = importlib.import_module(f"kist.bridges.{known.module}")
    bridge: Bridge = getattr(module, known.bridge)()
    return bridge


def format_by_content(file: str) -> str | None:
    """Return the format of what stands at a path, None when its bytes do not tell."""
    if os.path.isdir(file):
        marks = ("zarr.json", ".zgroup", ".zarray")
        if any(os.path.exists(os.path.join(file, m)) for m in marks):
            return "zarr"
        files = (name for _, _, names in os.walk(file) for name in names)
        return "folder" if any(name.lower().endswith((".npz", ".npy")) for name in files) else None
    if not os.path.isfile(file):
        return None
    with open(file, "rb") as data:
        head = data.read(16)
        for magic, name in _MAGIC:
            if head.startswith(magic):
                # NetCDF 4 is HDF5, and its dimensions mean more to the bridge of its own; a store
                # of Blosc2 may be one of its frames.
                return next((n for n in _WITHIN.get(name, ()) if format_by_name(file) == n), name)
        # HDF5 allows others their bytes before it.
        for at in _USER_BLOCKS:
            data.seek(at)
            if data.read(8) == _MAGIC[0][0]:
                return "hdf5"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return next((n for n in ("npz", "zarr", "b2z") if format_by_name(file) == n), None)
    return None


def format_by_name(file: str) -> str | None:
    """Return the format that the end of a name stands for."""
    name = file.lower()
    plain = os.path.splitext(name)[0] if name.endswith(_COMPRESSED) else name
    for found, known in FORMATS.items():
        if (plain if found in _TEXT else name).endswith(known.suffixes):
            return found
    return None


def stem_of(file: str) -> str:
    """Return the name of a file without folder, format and compression."""
    name = os.path.basename(os.path.abspath(file))
    if os.path.isdir(file) and format_by_name(name) is None:
        return name
    for suffix in (*_COMPRESSED, ".zip"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return os.path.splitext(name)[0] or name
