"""Small batches of rows, all columns together: the encoding of *pieces*.

A piece is made in one go from a few to some thousand packed rows. Columns of numbers become rows
of one matrix of 64-bit words (`kist.codecs.rowplan` says which), floats that are decimals become
integers, the matrix is cut to the bytes it needs (`kist._kernels.words`), and one Blosc2 chunk
holds everything. Costs hardly grow with the number of columns, and not below some fifty rows with
the number of rows.

docs/format.md, "Pieces", gives the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kist._kernels.matrix_decimals import RAW, find_exponents, from_decimals, to_decimals
from kist._kernels.words import FEW_ROWS, expand, squeeze, squeeze_few
from kist.codecs.rawrows import are_kept
from kist.codecs.rowbytes import (
    HEAD_BYTES,
    MAX_NBYTES,
    MAX_ROWS,
    Parts,
    byte_planes,
    is_packed,
    open_piece,
    pack_piece,
    pack_rows,
    read_header,
)
from kist.codecs.rowplan import BytesLeaf, Group, Run, WordLeaf, row_plan
from kist.errors import CodecError

__all__ = ["MAX_NBYTES", "MAX_ROWS", "RowsCodec", "rows_codec"]

Array = NDArray[Any]

_BLOCK_ROWS: Final = 4096
_RETRY: Final = 32
"""Calls after which columns that were no decimals are looked at again, when rows are few."""


class RowsCodec:
    """Encodes and decodes batches of packed rows of one list of leaf columns.

    Parameters
    ----------
    leaf_dtypes : sequence of dtype
        Scalar dtypes of fixed width, any byte order.
    counts : sequence of int, optional
        Values per row of each; 1 by default.

    Attributes
    ----------
    dtype : structured dtype
        The packed row: one field ``f<position>`` per leaf.

    Notes
    -----
    May be shared by threads: what it remembers of earlier batches are only hints about which
    exponents to try first. Every batch can be decoded alone, by any codec of the same leaves.
    """

    def __init__(
        self, leaf_dtypes: Sequence[np.dtype[Any]], counts: Sequence[int] | None = None
    ) -> None:
        self._dtypes = tuple(np.dtype(dtype) for dtype in leaf_dtypes)
        self._counts = tuple(counts) if counts is not None else (1,) * len(self._dtypes)
        self._plan = row_plan(self._dtypes, self._counts)
        spec: Any = {
            "names": [f"f{index}" for index in range(len(self._dtypes))],
            "formats": [
                dtype if count == 1 else (dtype, (count,))
                for dtype, count in zip(self._dtypes, self._counts, strict=True)
            ],
        }
        self.dtype: np.dtype[Any] = np.dtype(spec)
        self._hints: dict[int, NDArray[np.uint8]] = {}
        self._calls = 0

    def encode(self, records: Array, room: int = 0) -> bytes:
        """Return a batch of rows as bytes.

        Parameters
        ----------
        records : structured ndarray, shape (n_rows,)
            Packed rows: any dtype of the same item size whose bytes mean what those of `dtype`
            mean.
        room : int
            Bytes that cost next to nothing, as those of a block that is written in any case: rows
            that fit into them are kept as they are, at a tenth of the time.

        Raises
        ------
        CodecError
            Rows of another size, or more than `MAX_ROWS` or `MAX_NBYTES`.
        """
        plan = self._plan
        n_rows = len(records)
        if records.dtype.itemsize != plan.itemsize or records.dtype.hasobject:
            raise CodecError(
                f"rows of {records.dtype.itemsize} bytes, {plan.itemsize} expected: pack them first"
            )
        if n_rows > MAX_ROWS or n_rows * plan.itemsize > MAX_NBYTES:
            raise CodecError(
                f"{n_rows} rows of {plan.itemsize} bytes are too many for a piece "
                f"({MAX_ROWS} rows, {MAX_NBYTES} bytes)"
            )
        if are_kept(n_rows * plan.itemsize, room):
            return pack_rows(n_rows, records.tobytes())
        if not records.flags.c_contiguous:
            records = records.copy()
        raw: Array = np.ndarray((n_rows, plan.itemsize), np.uint8, buffer=records)
        few = n_rows < FEW_ROWS and plan.gather is not None
        words, floats = self._take_few(raw) if few else self._take_many(raw)
        parts: list[Any] = [b"", b""]
        exceptions: list[Any] = []
        n_exceptions = 0
        first, stop = plan.n_words, 0  # columns of few rows that are kept as differences
        for group, values in zip(plan.groups, floats, strict=True):
            scaled = group.float_start < 0 and group.dtype.itemsize == 8
            if values is not None:
                integers, exponents, places, bits = self._decimals(group.float_start, values, few)
                words[group.start : group.stop] = integers
                parts.append(exponents)
                scaled = exponents.tobytes().count(RAW) < len(exponents)
                if len(places):
                    n_exceptions += len(places)
                    exceptions.append((places + group.float_start * n_rows, bits))
            if scaled:
                first, stop = min(first, group.start), group.stop
        if few:
            modes, firsts, planes = squeeze_few(words, slice(first, max(first, stop)))
        else:
            modes, firsts, planes = squeeze(words)
        parts[0] = modes
        parts.append(byte_planes(firsts.view(np.uint8).reshape(-1, 8)))
        parts.append(np.ascontiguousarray(planes))
        parts += [places.astype("<u4") for places, _ in exceptions]
        parts += [bits for _, bits in exceptions]
        for leaf in plan.bytes_leaves:
            cut = raw[:, leaf.offset : leaf.offset + leaf.nbytes]
            parts.append(byte_planes(cut.reshape(-1, leaf.width)))
        return pack_piece(n_rows, n_exceptions, parts)

    def _take_few(self, raw: Array) -> tuple[Array, list[Array | None]]:
        """Return the matrix in Fortran order, floats not filled in, and the floats."""
        plan = self._plan
        n_rows = len(raw)
        rows = np.empty((n_rows, plan.n_words), np.int64)
        floats: list[Array | None] = []
        assert plan.gather is not None
        gathered = raw.take(plan.gather, axis=1)
        for group in plan.groups:
            values = _group_view(gathered, group)
            if group.float_start < 0:
                rows[:, group.start : group.stop] = values
                floats.append(None)
            else:
                floats.append(values.T)
        return rows.T, floats

    def _take_many(self, raw: Array) -> tuple[Array, list[Array | None]]:
        """Return the same in C order."""
        plan = self._plan
        n_rows = len(raw)
        words = np.empty((plan.n_words, n_rows), np.int64)
        floats: list[Array | None] = [
            np.empty((g.stop - g.start, n_rows), g.dtype) if g.float_start >= 0 else None
            for g in plan.groups
        ]
        values = [
            words[group.start : group.stop] if part is None else part
            for group, part in zip(plan.groups, floats, strict=True)
        ]
        targets = [_run_rows(run, plan.groups[run.group], values) for run in plan.runs]
        for start in range(0, n_rows, _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            for run, target in zip(plan.runs, targets, strict=True):
                target[:, rows] = _run_view(raw, run)[rows].T
        return words, floats

    def _decimals(
        self, place: int, values: Array, few: bool
    ) -> tuple[Array, NDArray[np.uint8], Array, Array]:
        """Return a group of floats as integers, with exponents and exceptions."""
        hints = self._hints.get(place)
        self._calls += 1
        if hints is None:
            hints = find_exponents(values)
        elif not few or self._calls % _RETRY == 0:
            hints = _found_again(hints, values, hints == RAW)
        result = to_decimals(values, hints)
        if result[1] is not hints:
            lost = result[1] != hints
            # Other decimals than before, or nothing but missing values, which say nothing.
            lost &= np.isfinite(values).any(axis=1)
            hints = _found_again(hints, values, lost)
            result = to_decimals(values, hints)
        if len(values.T):
            self._hints[place] = hints
        return result

    def decode_records(self, data: bytes, dtype: np.dtype[Any] | None = None) -> Array:
        """Return the rows of a batch.

        Parameters
        ----------
        data : bytes
            What `encode` returned.
        dtype : dtype, optional
            Dtype of the rows; `self.dtype` by default.

        Returns
        -------
        structured ndarray, shape (n_rows,)
            A new array with the exact bytes that were encoded.

        Raises
        ------
        CodecError
            The bytes are no batch of these columns. No more is allocated than for `MAX_NBYTES`
            of rows.
        """
        rows = self._packed(data)
        if rows is not None:
            return rows.copy() if dtype is None else rows.view(dtype).copy()
        return self._rows(open_piece(data, self._plan), dtype or self.dtype)

    def _packed(self, data: bytes) -> Array | None:
        """Return the rows of a piece that was kept as it is, a view; None for other pieces."""
        n_rows = read_header(data, self._plan)[1]
        if not is_packed(data):
            return None
        return np.ndarray((n_rows,), self.dtype, buffer=data, offset=HEAD_BYTES)

    def _rows(self, parts: Parts, dtype: np.dtype[Any]) -> Array:
        plan = self._plan
        n_rows = parts.n_rows
        words = expand(parts.modes, parts.firsts, parts.planes)
        values = [
            self._group_values(parts, group, words[group.start : group.stop])
            for group in plan.groups
        ]
        if n_rows < FEW_ROWS and plan.scatter is not None:
            gathered = np.empty((n_rows, plan.gathered), np.uint8)
            for group, part in zip(plan.groups, values, strict=True):
                _group_view(gathered, group)[...] = part.T
            for leaf, cut in self._bytes(parts):
                gathered[:, leaf.gathered : leaf.gathered + leaf.nbytes] = cut
            raw = gathered.take(plan.scatter, axis=1)
        else:
            raw = np.empty((n_rows, plan.itemsize), np.uint8)
            sources = [_run_rows(run, plan.groups[run.group], values) for run in plan.runs]
            for start in range(0, n_rows, _BLOCK_ROWS):
                rows = slice(start, start + _BLOCK_ROWS)
                for run, source in zip(plan.runs, sources, strict=True):
                    _run_view(raw, run)[rows] = source[:, rows].T
            for leaf, cut in self._bytes(parts):
                raw[:, leaf.offset : leaf.offset + leaf.nbytes] = cut
        return np.ndarray((n_rows,), dtype, buffer=raw)

    def decode_columns(self, data: bytes, which: Sequence[int] | None = None) -> list[Array]:
        """Return some columns of a batch.

        Parameters
        ----------
        data : bytes
            What `encode` returned.
        which : sequence of int, optional
            Positions of leaves; all by default.

        Returns
        -------
        list of ndarray
            New contiguous arrays, of shape ``(n_rows,)``, or ``(n_rows, count)`` for a leaf whose
            count is not 1.

        Raises
        ------
        CodecError
            As `decode_records`.
        """
        packed = self._packed(data)
        if packed is not None:
            wanted_fields = range(len(self._dtypes)) if which is None else which
            return [packed[f"f{index}"].copy() for index in wanted_fields]
        parts = open_piece(data, self._plan)
        leaves = self._plan.leaves if which is None else [self._plan.leaves[i] for i in which]
        wanted = [leaf for leaf in leaves if isinstance(leaf, WordLeaf)]
        if wanted and parts.n_rows < FEW_ROWS and self._plan.scatter is not None:
            # All columns at once take fewer NumPy calls than a handful one by one.
            records = self._rows(parts, self.dtype)
            return [records[f"f{leaf.number}"].copy() for leaf in leaves]
        rows = None
        if which is not None and wanted:
            rows = np.concatenate([np.arange(leaf.start, leaf.stop) for leaf in wanted])
        columns: dict[int, Array] = {}
        if wanted:
            words = expand(parts.modes, parts.firsts, parts.planes, rows)
            at = 0
            for leaf in wanted:
                if rows is None:
                    at = leaf.start
                columns[leaf.number] = self._column(
                    parts, leaf, words[at:][: leaf.stop - leaf.start]
                )
                at += leaf.stop - leaf.start
        shorter = {leaf.number for leaf in leaves if isinstance(leaf, BytesLeaf)}
        for other, cut in self._bytes(parts, shorter):
            columns[other.number] = self._shaped(cut, other.number)
        return [columns[leaf.number] for leaf in leaves]

    def n_rows(self, data: bytes) -> int:
        """Return the number of rows of a batch, from its header."""
        return read_header(data, self._plan)[1]

    def _column(self, parts: Parts, leaf: WordLeaf, words: Array) -> Array:
        group = self._plan.groups[leaf.group]
        values = self._group_values(parts, group, words, leaf.start - group.start)
        swapped = self._dtypes[leaf.number].str[0] == ">"
        target = group.dtype.newbyteorder(">" if swapped else "<")
        return self._shaped(np.ascontiguousarray(values.T, target), leaf.number)

    def _shaped(self, values: Array, index: int) -> Array:
        """Return contiguous rows of words or bytes as an array of the leaf's dtype."""
        dtype, count = self._dtypes[index], self._counts[index]
        shape = (len(values),) if count == 1 else (len(values), count)
        if not (values.flags.c_contiguous and values.flags.owndata):
            values = values.copy()  # a view would keep the whole piece in memory
        return np.ndarray(shape, dtype, buffer=values)

    def _group_values(self, parts: Parts, group: Group, words: Array, skip: int = 0) -> Array:
        """Return the values of some columns of one group, from column `skip` of it on."""
        if group.float_start < 0:
            return words
        first = group.float_start + skip
        stop = first + len(words)
        values = from_decimals(words, parts.exponents[first:stop], group.dtype.itemsize)
        if len(parts.places):
            column, row = np.divmod(parts.places, parts.n_rows)
            here = (column >= first) & (column < stop)
            bits = values.view(f"<u{group.dtype.itemsize}")
            bits[column[here] - first, row[here]] = parts.bits[here]
        return values

    def _bytes(
        self, parts: Parts, wanted: set[int] | None = None
    ) -> Iterator[tuple[BytesLeaf, Array]]:
        """Yield the leaves kept as bytes with their bytes, shape (n_rows, leaf.nbytes)."""
        at = 0
        for leaf in self._plan.bytes_leaves:
            size = leaf.nbytes * parts.n_rows
            if wanted is None or leaf.number in wanted:
                planes = parts.rest[at : at + size].reshape(leaf.width, -1)
                yield leaf, byte_planes(planes).reshape(parts.n_rows, leaf.nbytes)
            at += size


@lru_cache(maxsize=256)
def rows_codec(
    leaf_dtypes: tuple[np.dtype[Any], ...], counts: tuple[int, ...] | None = None
) -> RowsCodec:
    """Return the codec of a list of leaves, the same one each time."""
    return RowsCodec(leaf_dtypes, counts)


def _found_again(
    hints: NDArray[np.uint8], values: Array, which: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    columns = which.nonzero()[0]
    if len(columns):
        hints = hints.copy()  # another thread may be reading it
        hints[columns] = find_exponents(values, columns)
    return hints


def _group_view(gathered: Array, group: Group) -> Array:
    """Return the values of a group in gathered rows, shape (n_rows, n_columns)."""
    size = (group.stop - group.start) * group.dtype.itemsize
    return gathered[:, group.gathered : group.gathered + size].view(group.dtype)


def _run_view(raw: Array, run: Run) -> Array:
    """Return the words of a run in packed rows, shape (n_rows, n_columns)."""
    size = (run.stop - run.start) * run.dtype.itemsize
    return raw[:, run.offset : run.offset + size].view(run.dtype)


def _run_rows(run: Run, group: Group, values: Sequence[Array]) -> Array:
    """Return the rows of a run in the values of its group."""
    return values[run.group][run.start - group.start : run.stop - group.start]
