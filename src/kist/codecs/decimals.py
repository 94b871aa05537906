"""Stage 7, decimals: floats that are short decimal numbers, as integers and a power of ten."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kist._kernels.decimals import MAX_EXPONENT, from_scaled_integers, scaled_integers
from kist.codecs.fields import FieldReader
from kist.codecs.stage import Options, Span
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
            count = int(np.count_nonzero(wrong))
            if not count:
                return _HEAD.pack(exponent, trial, _NONE, 0), integers
            exceptions = _exceptions(values, wrong, count)
            if exceptions is not None:
                _fill(integers, wrong)
                kind, listed = exceptions
                return _HEAD.pack(exponent, trial, kind, count) + listed, integers
        return None

    def narrowed(self, params: bytes, form: np.dtype[Any]) -> np.dtype[Any]:
        """``<i4`` or ``<i8``."""
        if form.kind != "f" or form.itemsize < 4:
            raise CodecError(f"decimal: {form} is not a float of 4 or 8 bytes")
        exponent, width, _, _ = FieldReader(params, self.name).read(_HEAD)
        if width not in _INTEGERS or exponent > MAX_EXPONENT:
            raise CodecError(f"decimal: exponent {exponent} and width {width} do not exist")
        return _INTEGERS[width]

    def decode(self, params: bytes, source: NDArray[Any], target: NDArray[Any], span: Span) -> None:
        """One division for the span, then the exceptions in it."""
        reader = FieldReader(params, self.name)
        exponent, _, kind, count = reader.read(_HEAD)
        words = np.dtype(f"<u{target.itemsize}")
        from_scaled_integers(source, exponent, target)
        bits = target.view(words)
        if kind == _LIST:
            positions = reader.array(_POSITION, count)
            items = reader.array(words, count)
            reader.end()
            if count and (
                positions[-1] >= span.n_values or (positions[1:] <= positions[:-1]).any()
            ):
                raise CodecError("decimal: the exceptions do not ascend within the page")
            first, last = np.searchsorted(positions, (span.start, span.stop))
            bits[positions[first:last] - np.uint32(span.start)] = items[first:last]
        elif kind == _BITMAP:
            item = reader.array(words, 1)
            bitmap = reader.array(np.dtype(np.uint8), -(-span.n_values // 8))
            reader.end()
            mine = bitmap[span.start // 8 : -(-span.stop // 8)]
            flags = np.unpackbits(mine, bitorder="little")[span.start % 8 :][: bits.size]
            np.copyto(bits, item, where=flags.view(np.bool_))
        elif kind == _NONE and not count:
            reader.end()
        else:
            raise CodecError(f"decimal: {kind} is no kind of exceptions")

    def describe(self, options: Options) -> str:
        """Name and digits."""
        return f"{self.name}({options[0]})"


def _exceptions(
    values: NDArray[Any], wrong: NDArray[np.bool_], count: int
) -> tuple[int, bytes] | None:
    """Kind and bytes of the exceptions, or None when they are too many."""
    words = values.view(f"<u{values.itemsize}")
    if count <= MAX_LISTED:
        positions = np.flatnonzero(wrong)
        return _LIST, positions.astype(_POSITION).tobytes() + words[positions].tobytes()
    items = words[wrong]
    # Missing values: one NaN in many places.
    if count < values.size and (items == items[0]).all():
        return _BITMAP, items[:1].tobytes() + np.packbits(wrong, bitorder="little").tobytes()
    return None


def _fill(integers: NDArray[Any], wrong: NDArray[np.bool_]) -> None:
    """Put the last good integer (else the first) where there is none: a delta of zero."""
    good = np.flatnonzero(~wrong)
    if not good.size:
        integers[...] = 0
        return
    bad = np.flatnonzero(wrong)
    before = np.searchsorted(good, bad) - 1
    integers[bad] = integers[good[np.maximum(before, 0)]]
