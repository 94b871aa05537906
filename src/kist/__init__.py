"""NumPy arrays and tables in one file: as fast as Blosc, as safe as SQLite.

Public names are imported when they are first used, so that ``import kist`` is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "Array",
    "ArrayUnion",
    "CodecError",
    "Column",
    "ColumnNotFoundError",
    "CommitUnknownError",
    "ConflictError",
    "ConstraintError",
    "ConversionError",
    "CorruptDataError",
    "DTypeError",
    "DamageWarning",
    "FileUnion",
    "FormatError",
    "Group",
    "KeyNotFoundError",
    "KeyStore",
    "KistError",
    "KistWarning",
    "Link",
    "LinkError",
    "LinkedArray",
    "LinkedArrays",
    "LinkedTable",
    "MountWarning",
    "NodeError",
    "NodeExistsError",
    "NodeNameError",
    "NodeNotFoundError",
    "NotAStoreError",
    "PerformanceWarning",
    "QueryError",
    "Ragged",
    "ReadOnlyError",
    "Row",
    "SalvageReport",
    "SecretError",
    "Selection",
    "SelectionError",
    "ShapeError",
    "Shelf",
    "SnapshotError",
    "SnapshotExpiredError",
    "StaleHandleError",
    "StorageError",
    "Store",
    "StoreClosedError",
    "StoreExistsError",
    "StoreLockedError",
    "StoreNotFoundError",
    "Table",
    "TamperedDataError",
    "TooLargeError",
    "TransactionClosedError",
    "TransactionError",
    "Union",
    "UnknownCodecError",
    "UnsupportedVersionError",
    "WeakSecretWarning",
    "WrongSecretError",
    "__version__",
    "categorical",
    "check",
    "convert",
    "enum",
    "evaluate",
    "expr",
    "from_dask",
    "load",
    "load_ipython_extension",
    "merge",
    "nullable",
    "open",
    "options",
    "pack",
    "plot",
    "ragged",
    "salvage",
    "save",
    "savez",
    "shelf",
    "split",
    "union",
    "unpack",
    "write_parts",
]

# As in pyproject.toml; asking the installed distribution would take longer than all else here.
__version__ = "0.1.0"

# Where the names live that are neither errors nor modules of the package.
_HOMES = {
    "Array": "kist.model.arrays.array",
    "ArrayUnion": "kist.model.unions.arrays",
    "Column": "kist.model.tables.column",
    "FileUnion": "kist.model.unions.files",
    "Group": "kist.model.group",
    "KeyStore": "kist.model.keystores.keystore",
    "Link": "kist.model.links.link",
    "LinkedArray": "kist.model.links.array",
    "LinkedArrays": "kist.model.links.arrays",
    "LinkedTable": "kist.model.links.table",
    "Ragged": "kist.model.ragged",
    "Row": "kist.model.tables.row",
    "SalvageReport": "kist.model.salvage.report",
    "Selection": "kist.model.tables.selection",
    "Shelf": "kist.model.shelf",
    "Store": "kist.model.store",
    "Table": "kist.model.tables.table",
    "Union": "kist.model.unions.table",
    "categorical": "kist.format.categorical",
    "check": "kist.model.sealedfile",
    "convert": "kist.bridges.convert",
    "enum": "kist.format.categorical",
    "evaluate": "kist.model.evaluation.run",
    "expr": "kist.query",
    "from_dask": "kist.integrations.dask",
    "load": "kist.model.saving",
    "load_ipython_extension": "kist.integrations.ipython",
    "merge": "kist.model.parts.merge",
    "nullable": "kist.format.nullable",
    "open": "kist.model.store",
    "pack": "kist.model.packing",
    "plot": "kist.integrations.plot",
    "ragged": "kist.format.ragged",
    "salvage": "kist.model.salvage.run",
    "save": "kist.model.saving",
    "savez": "kist.model.saving",
    "shelf": "kist.model.shelf",
    "split": "kist.model.parts.split",
    "union": "kist.model.unions.files",
    "unpack": "kist.model.packing",
    "write_parts": "kist.integrations.parts",
}

if TYPE_CHECKING:
    from kist import options
    from kist.bridges.convert import convert
    from kist.errors import (
        CodecError,
        ColumnNotFoundError,
        CommitUnknownError,
        ConflictError,
        ConstraintError,
        ConversionError,
        CorruptDataError,
        DamageWarning,
        DTypeError,
        FormatError,
        KeyNotFoundError,
        KistError,
        KistWarning,
        LinkError,
        MountWarning,
        NodeError,
        NodeExistsError,
        NodeNameError,
        NodeNotFoundError,
        NotAStoreError,
        PerformanceWarning,
        QueryError,
        ReadOnlyError,
        SecretError,
        SelectionError,
        ShapeError,
        SnapshotError,
        SnapshotExpiredError,
        StaleHandleError,
        StorageError,
        StoreClosedError,
        StoreExistsError,
        StoreLockedError,
        StoreNotFoundError,
        TamperedDataError,
        TooLargeError,
        TransactionClosedError,
        TransactionError,
        UnknownCodecError,
        UnsupportedVersionError,
        WeakSecretWarning,
        WrongSecretError,
    )
    from kist.format.categorical import categorical, enum
    from kist.format.nullable import nullable
    from kist.format.ragged import ragged
    from kist.integrations.dask import from_dask
    from kist.integrations.ipython import load_ipython_extension
    from kist.integrations.parts import write_parts
    from kist.integrations.plot import plot
    from kist.model.arrays.array import Array
    from kist.model.evaluation.run import evaluate
    from kist.model.group import Group
    from kist.model.keystores.keystore import KeyStore
    from kist.model.links.array import LinkedArray
    from kist.model.links.arrays import LinkedArrays
    from kist.model.links.link import Link
    from kist.model.links.table import LinkedTable
    from kist.model.packing import pack, unpack
    from kist.model.parts.merge import merge
    from kist.model.parts.split import split
    from kist.model.ragged import Ragged
    from kist.model.salvage.report import SalvageReport
    from kist.model.salvage.run import salvage
    from kist.model.saving import load, save, savez
    from kist.model.sealedfile import check
    from kist.model.shelf import Shelf, shelf
    from kist.model.store import Store, open
    from kist.model.tables.column import Column
    from kist.model.tables.row import Row
    from kist.model.tables.selection import Selection
    from kist.model.tables.table import Table
    from kist.model.unions.arrays import ArrayUnion
    from kist.model.unions.files import FileUnion, union
    from kist.model.unions.table import Union
    from kist.query import expr
else:

    def __getattr__(name: str) -> object:
        import importlib

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "options":
            return importlib.import_module("kist.options")  # the import binds it
        value = getattr(importlib.import_module(_HOMES.get(name, "kist.errors")), name)
        globals()[name] = value  # asked once
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
