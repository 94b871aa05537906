"""What all bridges share: the job with its report, parts of bounded size, and whole files or none.

A `Bridge` reads one format into nodes and writes nodes as that format. It is handed a `Job`, which
makes the nodes, counts bytes, tells progress and takes notes of what changed.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final

import numpy as np

import kist
from kist.bridges.nulls import holds_nulls
from kist.bridges.parts import (
    BLOCK_ROWS,
    PART_BYTES,
    chunks_like,
    chunks_of,
    item_bytes,
    parts_of,
    read_ahead,
    rows_after,
    rows_for,
)
from kist.bridges.report import Loss, Report
from kist.bridges.resume import AtOnce
from kist.errors import ConversionError, CorruptDataError, KistError, StorageError
from kist.extras import need

__all__ = [
    "BLOCK_ROWS", "PART_BYTES", "TEXT", "Bridge", "Job", "as_dtype", "need", "parts_of",
    "read_ahead", "rows_for",
]  # fmt: skip

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Where = tuple[slice, ...]

TEXT: Any = np.dtypes.StringDType(na_object=None)
"""Text of any length, in which None is missing."""


_SMALL: Final = 64 << 10
"""Bytes of an array that is read, and made, at once."""

_NO_ROOM: int = 1 << 20
"""Libraries that do not say why they cannot write stop with about so much left, or less."""


class Bridge:
    """One format, both ways. A subclass says what it is called and does the work.

    Attributes
    ----------
    name : str
        As in ``format="hdf5"``.
    losses : mapping of str to Loss
        Everything that it may note.
    is_tree : bool
        Whether a file holds several nodes; if not, a file is one dataset.
    in_steps : bool
        Whether what is read may be committed in steps: all data go through the job.
    through_pipes : bool
        Whether ``-`` may stand for a file: standard input and output.
    errors : tuple of exception classes
        What its library raises when it cannot write.
    """

    name: ClassVar[str]
    losses: ClassVar[Mapping[str, Loss]] = {}
    is_tree: ClassVar[bool] = False
    in_steps: ClassVar[bool] = True
    through_pipes: ClassVar[bool] = False
    errors: ClassVar[tuple[type[Exception], ...]] = (OSError, RuntimeError, ValueError)

    def read(self, job: Job, source: str) -> None:
        """Read a file into the node at ``job.base``."""
        raise ConversionError(f"{source}: kist writes {self.name} files, it does not read them")

    def write(self, job: Job, node: Any, target: str) -> None:
        """Write a node as a new file or folder."""
        raise ConversionError(
            f"{job.report.target}: kist reads {self.name} files, it does not write them"
        )


class Job:
    """One conversion on its way.

    Parameters
    ----------
    bridge : Bridge
        Of the format on the other side.
    report : Report
        Grows as the work goes on.
    store : Store
        The kist side, in a transaction or a snapshot.
    base : str
        Path of the node that is read or made; ``"/"`` is the root.
    strict : bool
        Raise at the first thing that changes.
    codec : str
        Of what is made in the store.
    overwrite : bool
        Whether datasets that stand in the store are replaced.
    options : mapping
        What the caller gave for this format alone.
    progress : callable, optional
        Is told bytes done and bytes in all.
    steps : AtOnce, optional
        Commits, and knows what is there from an earlier run.

    Attributes
    ----------
    total : int
        Bytes that progress counts up to, 0 where nobody knows.
    position : callable, optional
        Returns how far the source is read, of those; else bytes of values count.
    """

    def __init__(
        self,
        bridge: Bridge,
        report: Report,
        store: Any,
        base: str,
        *,
        strict: bool = False,
        codec: str = "auto",
        overwrite: bool = False,
        options: Mapping[str, Any] | None = None,
        progress: Callable[[int, int], None] | None = None,
        steps: AtOnce | None = None,
    ) -> None:
        self.bridge = bridge
        self.report = report
        self.store = store
        self.base = base
        self.codec = codec
        self.total = 0
        self.position: Callable[[], int] | None = None
        self.steps = AtOnce(store) if steps is None else steps
        self._strict = strict
        self._overwrite = overwrite
        self._options = dict(options or {})
        self._progress = progress
        self._before = report.nbytes

    # What the bridges say

    def option(self, name: str, default: Any = None) -> Any:
        """Return an option of the format and tick it off."""
        return self._options.pop(name, default)

    def check_options(self) -> None:
        """Raise for options that the format did not ask for.

        Raises
        ------
        TypeError
            There is one.
        """
        if self._options:
            unknown = ", ".join(sorted(self._options))
            raise TypeError(f"convert: there is no option {unknown} for {self.bridge.name} here")

    def note(self, code: str, place: str) -> None:
        """Note something that changes.

        Raises
        ------
        ConversionError
            The caller wants no loss at all.
        """
        loss = self.bridge.losses[code]
        if self._strict:
            raise ConversionError(
                f"{place}: {loss.what} would be {loss.verdict} ({loss.becomes}); strict refuses "
                "that, and nothing was changed"
            )
        self.report.add(code, loss, place)

    def advance(self, nbytes: int) -> None:
        """Count bytes that have come over."""
        self.report.nbytes += nbytes
        if self._progress is not None:
            done = self.report.nbytes - self._before
            if self.position is not None:
                # Of text: how far its file is read says more than bytes of values.
                with contextlib.suppress(ValueError):  # closed, so read to its end
                    self._progress(min(self.position(), self.total), self.total)
                    return
                done = self.total
            self._progress(done, max(self.total, done))

    @contextlib.contextmanager
    def reading(self, place: str) -> Iterator[None]:
        """Turn what a library raises while it reads into an error that says where.

        Raises
        ------
        CorruptDataError
            In place of the errors that libraries raise for broken files.
        """
        try:
            yield
        except (KistError, ImportError, FileNotFoundError, PermissionError, MemoryError):
            raise
        except Exception as error:
            raise CorruptDataError(
                f"{place}: cannot be read as {self.bridge.name}: {_last_line(error)}"
            ) from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what a library raises while it writes the target into an error that says so.

        Raises
        ------
        StorageError
            In place of errors of the system and of the library.
        """
        try:
            yield
        except (KistError, ImportError):
            raise
        except self.bridge.errors as error:
            target, why = self.report.target, _last_line(error)
            if getattr(error, "errno", None) is None and _is_full(target):
                why = f"{why}, and the disk is full"
            said = f"{target}: cannot be written: {why}; no file was left"
            if target == "-":
                said = f"standard output: cannot be written: {why}"
            failure = StorageError(said)
            failure.errno = getattr(error, "errno", None)
            raise failure from error

    # Nodes of the store

    def path(self, *names: str) -> str:
        """Return the path of a node below `base`."""
        if "" in names:
            raise ConversionError(f"{self.report.source}: holds something without a name")
        return "/".join([self.base.rstrip("/"), *names]) or "/"

    def group(self, path: str, attrs: Mapping[str, Any] | None = None) -> Any:
        """Make a group, or take the one that stands there."""
        group = self.store.require_group(path) if path.strip("/") else self.store
        if attrs:
            group.attrs.update(attrs)
        self.report.n_groups += 1
        return group

    def array(
        self,
        path: str,
        shape: Shape,
        dtype: Any,
        read: Callable[[Where], Array],
        *,
        cut: Shape | None = None,
        fill_value: Any = 0,
        attrs: Mapping[str, Any] | None = None,
        empty: bool = False,
        width: int = 0,
    ) -> Any:
        """Make an array and fill it part by part.

        Parameters
        ----------
        path : str
            Of the node.
        shape, dtype
            Of the array.
        read : callable
            Returns the values at a tuple of slices. Called in another thread, so that reading
            goes on while values are compressed.
        cut : tuple of int, optional
            Chunks of the source; no part cuts through one.
        fill_value, attrs
            Of the array.
        empty : bool
            Whether the source holds nothing but the fill value.
        width : int, optional
            Bytes of an item, of long text.
        """
        there = self.steps.begin(path)
        if there is None and not empty and _is_small(shape, dtype):
            # In one call: a source may hold very many of them.
            values = np.asarray(read(tuple(slice(0, n) for n in shape)), dtype)
            array = self.store.create_array(
                path,
                values,
                chunks=chunks_like(cut, shape, values.itemsize),
                fill_value=fill_value,
                codec=self.codec,
                attrs=attrs,
                overwrite=self._overwrite,
            )
            self.report.n_arrays += 1
            self.advance(values.nbytes)
            self.steps.reached(1, values.nbytes)
            self.steps.end()
            return array
        array = (
            self.store.create_array(
                path,
                shape=shape,
                dtype=dtype,
                chunks=chunks_like(cut, shape, width or np.dtype(dtype).itemsize)
                if not width or cut
                else chunks_of(shape, width),
                fill_value=fill_value,
                codec=self.codec,
                attrs=attrs,
                overwrite=self._overwrite,
            )
            if there is None
            else self.store[path]
        )
        self.report.n_arrays += 1
        if there == -1:
            self.advance(array.nbytes)
            return array
        width = width or item_bytes(array.dtype)
        wheres = () if empty else parts_of(shape, array.chunks, width)
        left = iter(wheres)
        for where in itertools.islice(left, there or 0):
            self.advance(math.prod(cut.stop - cut.start for cut in where) * width)
        parts = read_ahead((where, read(where)) for where in left)
        for at, (where, values) in enumerate(parts, (there or 0) + 1):
            array[where] = values
            self.advance(values.nbytes)
            self.steps.reached(at, values.nbytes)
        self.steps.end()
        return array

    def small_array(self, path: str, values: Array, attrs: Mapping[str, Any] | None) -> None:
        """Make an array of values that are in memory."""
        if self.steps.begin(path) is None:
            self.store.create_array(
                path, values, codec=self.codec, attrs=attrs, overwrite=self._overwrite
            )
            self.steps.end()
        self.report.n_arrays += 1
        self.advance(values.nbytes)

    def table(
        self,
        path: str,
        fields: Any,
        blocks: Iterable[Any] | Callable[[int], Iterable[Any]],
        *,
        fill_value: Mapping[str, Any] | None = None,
        attrs: Mapping[str, Any] | None = None,
        like: Any = None,
        nullable: Callable[[Any], Iterable[str]] | None = None,
        prepare: Callable[[Any], None] | None = None,
    ) -> Any:
        """Make a table and append blocks to it.

        Parameters
        ----------
        path : str
            Of the node.
        fields
            Structured dtype, or dict of column and dtype where columns hold text.
        blocks : iterable, or callable
            Structured arrays, dicts of columns or record batches. Iterated in another thread.
            A function is given the row to begin with, and returns such an iterable.
        fill_value, attrs
            Of the table.
        like : optional
            Data without rows whose columns it gets, in place of `fields`.
        nullable : callable, optional
            Is given each block, and returns the columns that have nulls in it: those become
            nullable when the first of them comes.
        prepare : callable, optional
            Is given the new table before there are rows in it.
        """
        there = self.steps.begin(path)
        table = (
            self.store.create_table(
                path,
                like,
                dtype=fields,
                fill_value=fill_value,
                codec=self.codec,
                attrs=attrs,
                overwrite=self._overwrite,
            )
            if there is None
            else self.store[path]
        )
        self.report.n_tables += 1
        if there is None and prepare is not None:
            prepare(table)
        if there is not None:
            self.report.n_rows += len(table)
            self.advance(table.nbytes)
        if there == -1:
            return table
        done = there or 0
        if there is not None and len(table) != done:
            raise ConversionError(
                f"{path}: has {len(table):,} rows, and {done:,} came over; somebody changed it"
            )
        left = iter(blocks(done)) if callable(blocks) else rows_after(iter(blocks), done)
        known = {name for name in table.columns if holds_nulls(table[name].dtype)}
        for block in read_ahead(left):
            for name in set(nullable(block)) - known if nullable is not None else ():
                table.cast_column(name, kist.nullable(table[name].dtype))
                known.add(name)
            done += table.append(block)
            columns = block.values() if isinstance(block, dict) else [block]
            nbytes = sum(column.nbytes for column in columns)
            self.advance(nbytes)
            self.steps.reached(done, nbytes)
        self.report.n_rows += done - (there or 0)
        self.steps.end()
        return table

    def keystore(self, path: str, items: Iterable[tuple[Any, Any]]) -> Any:
        """Make a key store and put entries into it."""
        store = self.store.create_keystore(path, codec=self.codec, overwrite=self._overwrite)
        store.update(items)
        self.report.count_keystore(store)
        return store

    def once(self, path: str, make: Callable[[], None]) -> None:
        """Make a dataset in a way of its own, unless it is there from an earlier run."""
        if self.steps.begin(path) is None:
            make()
            self.steps.end()

    # Reading the store

    def array_parts(self, array: Any, cut: Shape | None = None) -> Iterator[tuple[Where, Array]]:
        """Yield (where, values) of all of an array, in parts along its chunks."""
        shape, dtype = array.shape, array.dtype
        if _is_small(shape, dtype):
            values = np.asarray(array[...], dtype)
            yield tuple(slice(0, n) for n in shape), values
            self.advance(values.nbytes)
            self.report.n_arrays += 1
            return
        wheres = parts_of(shape, cut or array.chunks, item_bytes(dtype))
        for where, values in read_ahead(
            (where, np.asarray(array[where], dtype)) for where in wheres
        ):
            yield where, values
            self.advance(values.nbytes)
        self.report.n_arrays += 1

    def table_blocks(self, table: Any, n_rows: int | None = None) -> Iterator[Array]:
        """Yield the rows of a table without columns of text, as structured arrays."""
        for block in read_ahead(iter(table.blocks(n_rows))):
            yield block
            self.report.n_rows += len(block)
            self.advance(block.nbytes)
        self.report.n_tables += 1


def _is_small(shape: Shape, dtype: Any) -> bool:
    """Tell whether an array has few bytes, but not none, so that it is worth no parts."""
    dtype = np.dtype(dtype)
    return dtype.kind in "biufcmMSU" and 0 < math.prod(shape) * dtype.itemsize <= _SMALL


def _is_full(target: str) -> bool:
    """Tell whether there is next to no room where a file was to be made."""
    folder = os.path.dirname(os.path.abspath(target))
    with contextlib.suppress(OSError):
        return target != "-" and shutil.disk_usage(folder).free < _NO_ROOM
    return False


def _last_line(error: BaseException) -> str:
    """Return what an error says, of a library's own trace its last line."""
    if isinstance(error, OSError) and error.strerror and type(error.errno) is int:
        return os.strerror(error.errno)  # without its number, and the name that goes
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def as_dtype(spec: Any) -> np.dtype[Any]:
    """Return ``np.dtype(spec)``, for type checkers too."""
    found: np.dtype[Any] = np.dtype(spec)
    return found
