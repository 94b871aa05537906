"""Stage 4, frame of reference: integers as small multiples above a base."""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist._kernels.bits import WIDTHS, integer_range, signed, unsigned, width_for
from kist.codecs.fields import FieldReader
from kist.codecs.stage import Options, Shape, Span
from kist.errors import CodecError

_PARAMS = struct.Struct("<BQQ")
_SIGNED = 0x10


class Reference:
    """``value = base + step * stored``, modulo the width of the form.

    Parameters: stored form u8 (width in bytes, plus 16 when signed), base u64, step u64.
    Option of a recipe: the step to try (0 or 1: none).
    """

    id = 4
    name = "reference"

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, NDArray[Any]] | None:
        """None when nothing narrower holds them."""
        if values.dtype.kind not in "iu" or values.itemsize == 1:
            return None
        low, high = integer_range(values)
        step = options[0] if options else 1
        if 1 < step < 1 << (8 * values.itemsize - 1):
            # All are base + a multiple? Floor division by a scalar multiplies: it is cheap.
            bits = values.view(unsigned(values.itemsize))
            distance = bits - np.array(low, values.dtype).view(bits.dtype)
            quotient = distance // bits.dtype.type(step)
            width = width_for((high - low) // step)
            if (quotient * bits.dtype.type(step) == distance).all() and width < values.itemsize:
                return self._packed(unsigned(width), low, step), quotient.astype(unsigned(width))
        form, base = _narrowest(low, high)
        if form.itemsize >= values.itemsize:
            return None
        narrow = np.empty(values.size, form)
        if base:
            bits = values.view(unsigned(values.itemsize))
            origin = np.array(base, values.dtype).view(bits.dtype)
            np.copyto(narrow, bits - origin, casting="unsafe")
        else:
            narrow[...] = values
        return self._packed(form, base, 1), narrow

    @staticmethod
    def _packed(form: np.dtype[Any], base: int, step: int) -> bytes:
        code = form.itemsize | (_SIGNED if form.kind == "i" else 0)
        return _PARAMS.pack(code, base % (1 << 64), step)

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> LoadedReference:
        """Stored form, base and step; the stored form must be narrower."""
        return _load(params, form)

    def describe(self, options: Options) -> str:
        """Its name, and the step if there is one."""
        return f"{self.name}(step {options[0]})" if options and options[0] > 1 else self.name


class LoadedReference(NamedTuple):
    """Base and step of a page, where they do anything."""

    form: np.dtype[Any]
    base: Any
    step: Any

    @property
    def widens(self) -> bool:
        """Whether values are what is stored, in more bytes."""
        return self.base is None and self.step is None

    def decode(self, source: NDArray[Any], target: NDArray[Any], span: Span) -> None:
        """Widen, multiply and add, wrapping around."""
        target[...] = source  # sign-extends signed ones
        if self.step is None and self.base is None:
            return
        bits = target.view(unsigned(target.itemsize))
        if self.step is not None:
            bits *= self.step
        if self.base is not None:
            bits += self.base


@lru_cache(maxsize=256)
def _load(params: bytes, form: np.dtype[Any]) -> LoadedReference:
    reader = FieldReader(params, Reference.name)
    code, base, step = reader.read(_PARAMS)
    reader.end()
    width = code & ~_SIGNED
    if form.kind not in "iu" or width not in WIDTHS or width >= form.itemsize:
        raise CodecError(f"reference: {code} names no stored form for {form}")
    bits = unsigned(form.itemsize)
    mask = (1 << 8 * form.itemsize) - 1
    return LoadedReference(
        signed(width) if code & _SIGNED else unsigned(width),
        bits.type(base & mask) if base & mask else None,
        bits.type(step & mask) if step != 1 else None,
    )


def _narrowest(low: int, high: int) -> tuple[np.dtype[Any], int]:
    """Stored form and base for values in low .. high; base 0 wherever it costs no width."""
    width = width_for(high - low)
    half = 1 << (8 * width - 1)
    if low >= 0 and high < 2 * half:
        return unsigned(width), 0
    if -half <= low and high < half:
        return signed(width), 0
    return unsigned(width), low


def common_step(values: NDArray[Any]) -> int:
    """Greatest common divisor of the distances of `values` from their minimum (1 if unclear)."""
    low, high = integer_range(values)
    if low == high or high - low >= 1 << 63:
        return 1
    bits = values.view(unsigned(values.itemsize))
    distance = bits - np.array(low, values.dtype).view(bits.dtype)
    # A prefix decides almost always: the divisor can only fall.
    step = 0
    for part in (distance[:32], distance):
        step = math.gcd(step, int(np.gcd.reduce(part)))
        if step == 1:
            return 1
    return step or 1
