"""The store of Zarr at a path: a folder or a ZIP archive."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["DIMENSIONS", "opened", "quiet"]

DIMENSIONS: Final = "_ARRAY_DIMENSIONS"
"""Where xarray keeps the names of dimensions in format 2, which has no other place for them."""


@contextlib.contextmanager
def opened(zarr: Any, path: str, mode: str, packed: bool | None = None) -> Iterator[Any]:
    """Give the store of Zarr at a path."""
    if packed or (packed is None and path.lower().endswith(".zip")):
        store = zarr.storage.ZipStore(path, mode=mode)
    else:
        store = zarr.storage.LocalStore(path, read_only=mode == "r")
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Do not warn of dtypes without a specification: docs/bridges.md tells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
