"""Pickles, joblib dumps and shelves of Python: read when the caller allows it, never written.

To read a pickle is to run what its author wanted to run. There is no safe way, so that nothing of
a file is looked at before ``allow_pickle=True`` says that it is trusted.
"""

from __future__ import annotations

import dbm
import pickle
import shelve
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from kist.bridges.base import TEXT, Bridge, Job, rows_for
from kist.bridges.filearray import held
from kist.bridges.formats import stem_of
from kist.bridges.report import Loss
from kist.errors import ConversionError, KistError
from kist.extras import need

__all__ = ["Joblib", "Pickle", "Shelve"]

LOSSES: Final = {
    "pickle.object": Loss("not kept", "object that is neither data nor a plain value", "nothing"),
    "pickle.sequence": Loss("changed", "list or tuple of arrays", "group with names 0, 1, ..."),
    "pickle.index": Loss("changed", "index of a DataFrame", "columns"),
    "pickle.mask": Loss(
        "changed", "masked array", "group of its values and of 'valid', false where masked"
    ),
}


_OF_SHELVES: Final = (".dir", ".dat", ".bak", ".db")
"""What dbm adds to the name of a shelf, whose files are several."""


class Pickle(Bridge):
    """Pickle files. Option: ``allow_pickle``."""

    name: ClassVar[str] = "pickle"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    is_tree: ClassVar[bool] = True
    in_steps: ClassVar[bool] = False

    def read(self, job: Job, source: str) -> None:
        _check_allowed(job, source)
        with job.reading(source):
            found = self.load(source)
        report = job.report
        is_group = type(found) in (dict, list, tuple)
        path = job.base if is_group or job.base != "/" else job.path(stem_of(source))
        _put(job, found, path, source)
        n_nodes = report.n_arrays + report.n_tables + report.n_keystores
        if n_nodes == 0 and not (is_group and _has_attributes(job, path)):
            raise ConversionError(f"{source}: a {type(found).__name__} without any data for kist")

    def load(self, source: str) -> Any:
        """Return what a file holds."""
        with open(source, "rb") as file:
            return pickle.load(file)


class Joblib(Pickle):
    """Dumps of joblib. Option: ``allow_pickle``."""

    name: ClassVar[str] = "joblib"

    def load(self, source: str) -> Any:
        """Return what a file holds; arrays stay in it until they are read, where that can be."""
        joblib = need("joblib", "joblib", f"convert {source}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # compressed: nothing is mapped then
            try:
                return joblib.load(source, mmap_mode="r")
            except ValueError:
                return joblib.load(source)


class Shelve(Bridge):
    """Shelves of the standard library, as a key store. Option: ``allow_pickle``."""

    name: ClassVar[str] = "shelve"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    is_tree: ClassVar[bool] = True
    in_steps: ClassVar[bool] = False

    def read(self, job: Job, source: str) -> None:
        _check_allowed(job, source)
        # A shelf may be several files; each of them may be named.
        names = [source, *(source.removesuffix(s) for s in _OF_SHELVES)]
        name = next((name for name in names if dbm.whichdb(name)), source)
        path = job.base if job.base != "/" else "/shelf"  # where kist.shelf looks for it
        with job.reading(source), shelve.open(name, flag="r") as shelf:
            store = job.store.create_keystore(path)
            for key in shelf:
                with job.reading(f"{source}[{key!r}]"):
                    value = shelf[key]
                try:
                    store[key] = value
                except (KistError, TypeError):
                    job.note("pickle.object", f"{source}[{key!r}] ({type(value).__name__})")
                job.advance(int(getattr(value, "nbytes", 0)))
        job.report.count_keystore(store)


def _check_allowed(job: Job, source: str) -> None:
    """Raise unless the caller trusts the file.

    Raises
    ------
    ConversionError
        Before anything is read.
    """
    if job.option("allow_pickle", False) is not True:
        raise ConversionError(
            f"{source}: reading {job.bridge.name} runs what its author wanted to run, and kist "
            "does not; if you trust the file, allow_pickle=True (--allow-pickle) reads it"
        )


def _put(job: Job, value: Any, path: str, place: str) -> bool:
    """Put arrays, tables and groups of them into the store; tell whether it was one of them."""
    if _of_pandas(value):
        _put_frame(job, value, path, place)
    elif isinstance(value, np.ma.MaskedArray) and value.dtype.names is None and value.mask.any():
        job.note("pickle.mask", place)
        parts = {"values": np.asarray(value.data), "valid": ~np.ma.getmaskarray(value)}
        _put_group(job, parts, path, place)
    elif isinstance(value, np.ndarray | np.generic):
        _put_array(job, held(value), path, place)
    elif type(value) is dict and all(map(_is_name, value)):
        _put_group(job, value, path, place)
    elif type(value) in (list, tuple) and any(isinstance(v, np.ndarray) for v in value):
        job.note("pickle.sequence", place)
        _put_group(job, {str(at): item for at, item in enumerate(value)}, path, place)
    else:
        return _put_value(job, value, path, place)
    return True


def _of_pandas(value: Any) -> bool:
    """Tell whether a value is a table of pandas, or a column of one."""
    kinds = ("DataFrame", "Series", "Index", "MultiIndex", "RangeIndex", "DatetimeIndex",
             "TimedeltaIndex", "CategoricalIndex", "Categorical")  # fmt: skip
    return type(value).__module__.partition(".")[0] == "pandas" and type(value).__name__ in kinds


def _is_moment(value: Any) -> bool:
    """Tell whether a value is a time of pandas that is one of NumPy too."""
    return hasattr(value, "to_datetime64") and getattr(value, "tzinfo", None) is None


def _has_attributes(job: Job, path: str) -> bool:
    return bool(len((job.store[path] if path != "/" else job.store).attrs))


def _is_name(key: Any) -> bool:
    return type(key) is str and "/" not in key and "\0" not in key and key not in ("", ".", "..")


def _put_group(job: Job, items: dict[str, Any], path: str, place: str) -> None:
    """Make a group: data as its nodes, plain values as its attributes."""
    group = job.group(path)
    for name, item in items.items():
        below, where = f"{path.rstrip('/')}/{name}", f"{place}[{name!r}]"
        is_data = isinstance(item, np.ndarray | dict) or _of_pandas(item)
        if is_data or (
            type(item) in (list, tuple) and any(isinstance(v, np.ndarray) for v in item)
        ):
            _put(job, item, below, where)
            continue
        try:
            group.attrs[name] = item.to_datetime64() if _is_moment(item) else item
        except (KistError, TypeError):
            job.note("pickle.object", f"{where} ({type(item).__name__})")


def _put_value(job: Job, value: Any, path: str, place: str) -> bool:
    """Put a plain value into a key store of its own."""
    if path == "/":
        path = "/value"
    try:
        with job.store.transaction():
            store = job.store.create_keystore(path)
            if type(value) is dict:
                store.update(value)
            else:
                store["value"] = value
    except (KistError, TypeError):
        job.note("pickle.object", f"{place} ({type(value).__name__})")
        return False
    job.report.count_keystore(store)
    return True


def _put_array(job: Job, values: Any, path: str, place: str) -> None:
    if values.dtype.hasobject and values.dtype.char != "T":
        flat = values.reshape(-1).tolist() if values.dtype.kind == "O" else [values]
        if not all(type(item) is str or item is None for item in flat):
            job.note("pickle.object", f"{place} (array of {values.dtype})")
            return
        values = values.astype(TEXT)
    if values.dtype.names is not None and values.ndim == 1:
        size = rows_for(values.dtype.itemsize)
        starts = range(0, len(values), size)
        job.table(path, values.dtype, (np.array(values[k : k + size]) for k in starts))
        return
    job.array(path, values.shape, values.dtype, lambda where: np.asarray(values[where]))


def _put_frame(job: Job, value: Any, path: str, place: str) -> None:
    """Put a DataFrame, or a Series or an index as one of one column, into a table."""
    if type(value).__name__ == "Categorical":
        value = need("pandas", "pandas", f"convert {place}").Series(value)
    is_index = not hasattr(value, "reset_index")
    frame = (
        value
        if hasattr(value, "columns")
        else value.to_frame(**{"index": False} if is_index else {})
    )
    if type(frame.index).__name__ != "RangeIndex":
        job.note("pickle.index", place)
        frame = frame.reset_index()
    frame = frame.rename(columns=str)
    table = job.store.create_table(path, frame, codec=job.codec)
    job.report.n_tables += 1
    job.report.n_rows += len(table)
    job.advance(int(table.nbytes))
