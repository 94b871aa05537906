"""Stage 7, decimals: floats that are short decimal numbers, as integers and a power of ten."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist._kernels.bits import unsigned
from kist._kernels.decimals import MAX_EXPONENT, from_scaled_integers, scaled_integers
from kist.codecs.fields import FieldReader
from kist.codecs.stage import Options, Shape, Span
from kist.errors import CodecError

_HEAD = struct.Struct("<BBBI")
_POSITION = np.dtype("<u4")
_NONE, _LIST, _BITMAP = 0, 1, 2
_INTEGERS: dict[int, np.dtype[Any]] = {4: np.dtype("<i4"), 8: np.dtype("<i8")}

MAX_LISTED = 512
"""Writers list so many exceptions at most: reading one row reads all parameters."""


class Decimals:
    """``value = integer / 10**exponent``, with exceptions.

    Parameters: exponent u8, width u8 (4 or 8), kind of exceptions u8, count u32; then by kind
    nothing (0), positions u32 and their items (1), or one item and a bitmap of the page (2).
    Options of a recipe: exponent, width.
    """

    id = 7
    name = "decimal"

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, NDArray[Any]] | None:
        """None when too many values are no short decimal numbers."""
        if values.dtype.kind != "f" or values.itemsize < 4 or values.size >= 1 << 32:
            return None
        exponent, width = options
        for trial in (4, 8) if width == 4 else (8,):
            integers, wrong = scaled_integers(values, exponent, _INTEGERS[trial])
            bad = wrong.nonzero()[0]
            count = len(bad)
            if not count:
                return _HEAD.pack(exponent, trial, _NONE, 0), integers
            exceptions = _exceptions(values, wrong, bad)
            if exceptions is not None:
                _fill(integers, bad)
                kind, listed = exceptions
                return _HEAD.pack(exponent, trial, kind, count) + listed, integers
        return None

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> LoadedDecimals:
        """Exponent, integers and exceptions."""
        if form.kind != "f" or form.itemsize < 4:
            raise CodecError(f"decimal: {form} is not a float of 4 or 8 bytes")
        reader = FieldReader(params, self.name)
        exponent, width, kind, count = reader.read(_HEAD)
        if width not in _INTEGERS or exponent > MAX_EXPONENT:
            raise CodecError(f"decimal: exponent {exponent} and width {width} do not exist")
        words = unsigned(form.itemsize)
        positions: NDArray[Any] | None = None
        bitmap: NDArray[Any] | None = None
        items: NDArray[Any] | None = None
        if kind == _LIST:
            positions = reader.array(_POSITION, count)
            items = reader.array(words, count)
            ascend = count and positions[-1] < shape.n_values
            if not ascend or np.logical_or.reduce(positions[1:] <= positions[:-1]):
                raise CodecError("decimal: the exceptions do not ascend within the page")
        elif kind == _BITMAP:
            items = reader.array(words, 1)
            bitmap = reader.array(np.dtype(np.uint8), -(-shape.n_values // 8))
        elif kind != _NONE or count:
            raise CodecError(f"decimal: {kind} is no kind of exceptions")
        reader.end()
        return LoadedDecimals(_INTEGERS[width], exponent, positions, bitmap, items)

    def describe(self, options: Options) -> str:
        """Name and digits."""
        return f"{self.name}({options[0]})"


class LoadedDecimals(NamedTuple):
    """Exponent and exceptions of a page."""

    form: np.dtype[Any]
    exponent: int
    positions: NDArray[Any] | None
    bitmap: NDArray[Any] | None
    items: NDArray[Any] | None

    def decode(self, source: NDArray[Any], target: NDArray[Any], span: Span) -> None:
        """One division for the span, then the exceptions in it."""
        from_scaled_integers(source, self.exponent, target)
        if self.items is None:
            return
        every = target.view(self.items.dtype)
        if type(span) is Span:
            self._restore(every, span)
            return
        for part, where in span.runs():
            self._restore(every[where], part)

    def decode_at(
        self, source: NDArray[Any], target: NDArray[Any], positions: NDArray[np.int64]
    ) -> None:
        """Make the values at ascending positions of the page only; `source` holds theirs."""
        from_scaled_integers(source, self.exponent, target)
        if self.items is None:
            return
        bits = target.view(self.items.dtype)
        if self.positions is not None:
            places = self.positions.searchsorted(positions)
            places[places == len(self.positions)] = 0
            hits = self.positions[places] == positions
            bits[hits] = self.items[places[hits]]
        elif self.bitmap is not None:
            flags = self.bitmap[positions >> 3] >> (positions & 7).astype(np.uint8)
            np.copyto(bits, self.items, where=(flags & 1).view(np.bool_))

    def _restore(self, bits: NDArray[Any], span: Span) -> None:
        """Put the exceptions of consecutive blocks back."""
        assert self.items is not None
        if self.positions is not None:
            if span.start == 0 and span.stop > self.positions[-1]:
                bits[self.positions] = self.items
                return
            first, last = np.searchsorted(self.positions, (span.start, span.stop))
            mine = self.positions[first:last] - np.uint32(span.start)
            bits[mine] = self.items[first:last]
        elif self.bitmap is not None:
            part = self.bitmap[span.start // 8 : -(-span.stop // 8)]
            flags = np.unpackbits(part, bitorder="little")[span.start % 8 :][: bits.size]
            np.copyto(bits, self.items, where=flags.view(np.bool_))


def _exceptions(
    values: NDArray[Any], wrong: NDArray[np.bool_], bad: NDArray[np.intp]
) -> tuple[int, bytes] | None:
    """Kind and bytes of the exceptions, or None when they are too many."""
    items = values.view(f"<u{values.itemsize}")[bad]
    if bad.size <= MAX_LISTED:
        return _LIST, bad.astype(_POSITION).tobytes() + items.tobytes()
    # Missing values: one NaN in many places.
    if bad.size < values.size and (items == items[0]).all():
        return _BITMAP, items[:1].tobytes() + np.packbits(wrong, bitorder="little").tobytes()
    return None


def _fill(integers: NDArray[Any], bad: NDArray[np.intp]) -> None:
    """Put the last good integer (else the first) where there is none: a delta of zero."""
    if bad.size == integers.size:
        integers[...] = 0
        return
    if bad[0] and not np.logical_or.reduce(bad[1:] == bad[:-1] + 1):  # each by itself
        integers[bad] = integers[bad - 1]
        return
    # Of the few bad ones only: listing all that are good takes as long as scaling them.
    begins = np.concatenate(([True], bad[1:] != bad[:-1] + 1))
    before = bad[begins] - 1
    if before[0] < 0:
        ends = np.flatnonzero(begins)
        before[0] = ends[1] if ends.size > 1 else bad.size
    integers[bad] = integers[before[np.cumsum(begins) - 1]]
