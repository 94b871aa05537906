"""What several formats need alike: text without gaps, rows that differ in length, key stores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import kist
from kist.bridges.base import BLOCK_ROWS, Job, parts_of
from kist.bridges.categories import sort_of
from kist.errors import ConversionError

__all__ = [
    "full_text", "link_target", "paths_above", "plain_columns", "put_ragged", "split_keystore",
]  # fmt: skip

Array = np.ndarray[Any, Any]


def full_text(job: Job, code: str, values: Array, place: str) -> Array:
    """Return values; of text the empty one where it is missing, with a note of that code."""
    if values.dtype.char != "T":
        return values
    texts = values.astype(object)
    flat = texts.reshape(-1)
    missing = [at for at, text in enumerate(flat.tolist()) if type(text) is not str]
    if missing:
        job.note(code, f"{place} ({len(missing):,} of {flat.size:,})")
        flat[missing] = ""
    return texts.astype(np.dtypes.StringDType())


def link_target(link: Any, top: Any) -> str:
    """Return where a link within the store leads in a file whose root is `top`."""
    target: str = link.target
    above = top.name.rstrip("/") + "/"
    return target[len(above) - 1 :] if target.startswith(above) else target


def paths_above(names: Iterable[str]) -> set[str]:
    """Return the paths of the groups in which there are datasets of some paths."""
    found: set[str] = set()
    for name in names:
        above = name.rpartition("/")[0]
        while above and above not in found:
            found.add(above)
            above = above.rpartition("/")[0]
    return found


def plain_columns(job: Job, code: str, table: Any, format_: str) -> None:
    """Hold a table against a format that has neither ragged nor categorical columns.

    Categories become their values, with a note of that code.

    Raises
    ------
    ConversionError
        A column is ragged: rows of the format all have one width.
    """
    for name in table.columns:
        if isinstance(table[name][:0], kist.Ragged):
            raise ConversionError(
                f"{table.name}: {format_} has no columns of arrays of different lengths ({name}); "
                "Parquet, Arrow and HDF5 have"
            )
        if sort_of(table[name]) is not None:
            job.note(code, f"{table.name}.{name}")


def split_keystore(store: Any) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays in a key store, and all else with its attributes, by name.

    Raises
    ------
    ConversionError
        Two keys would have the same name, as 1 and "1".
    """
    attrs = dict(store.attrs)
    arrays: dict[str, Array] = {}
    for key, value in store.items():
        text = key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)
        name = text.replace("%", "%25").replace("/", "%2F")
        if name in arrays or name in attrs or name in (".", "..", ""):
            raise ConversionError(f"{store.name}: key {key!r} has no name of its own in a group")
        if isinstance(value, np.ndarray) and value.ndim and value.dtype.kind in "iuf":
            arrays[name] = value
        else:
            attrs[name] = value
    return arrays, attrs


def _cells(values: Any) -> list[Any]:
    """Return the arrays in an array of arrays, which NumPy would make one if they are alike."""
    found = values if isinstance(values, np.ndarray) else np.asarray(values, object)
    return found.reshape(-1).tolist() if found.dtype.hasobject else list(found)


def put_ragged(
    job: Job, path: str, shape: tuple[int, ...], dtype: Any, read: Callable[[Any], Any]
) -> None:
    """Put an array of arrays that differ in length into a group: their values, and their offsets.

    Parameters
    ----------
    path : str
        Of the group, which is there.
    shape, dtype
        Of the outer array, and of the values in the inner ones.
    read : callable
        Returns an object array at a tuple of slices.
    """

    def make() -> None:
        base, inner = dtype.base, dtype.shape
        values = job.store.create_array(
            f"{path}/values", shape=(0, *inner), dtype=base, codec=job.codec
        )
        ends = np.zeros(math.prod(shape) + 1, np.int64)
        done = 0
        for where in parts_of(shape, shape, 256, 256 * BLOCK_ROWS):
            parts = _cells(read(where))
            lengths = np.fromiter(map(len, parts), np.int64, len(parts))
            ends[done + 1 : done + len(parts) + 1] = ends[done] + np.cumsum(lengths)
            done += len(parts)
            if lengths.sum():
                parts = [np.asarray(part).reshape(-1, *inner) for part in parts]
                values.append(np.concatenate(parts).astype(base, copy=False))
                job.advance(int(lengths.sum()) * dtype.itemsize)
        job.store.create_array(f"{path}/offsets", ends, codec=job.codec)

    job.once(f"{path}/values", make)
    job.report.n_arrays += 2
