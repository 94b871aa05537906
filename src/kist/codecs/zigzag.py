"""Stage 6, zigzag: signed integers as unsigned ones with small magnitudes first."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist._kernels.bits import unsigned, unzigzag, zigzag
from kist.codecs.fields import FieldReader
from kist.codecs.stage import Options, Shape, Span
from kist.errors import CodecError


class Zigzag:
    """No parameters: 0, -1, 1, -2 become 0, 1, 2, 3."""

    id = 6
    name = "zigzag"

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, NDArray[Any]] | None:
        """None for what is not signed integers."""
        if values.dtype.kind != "i":
            return None
        return b"", zigzag(values)

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> LoadedZigzag:
        """The unsigned form of the same width."""
        FieldReader(params, self.name).end()
        if form.kind != "i":
            raise CodecError(f"zigzag: {form} is not a signed integer")
        return LoadedZigzag(unsigned(form.itemsize))

    def describe(self, options: Options) -> str:
        """Its name."""
        return self.name


class LoadedZigzag(NamedTuple):
    """The unsigned form."""

    form: np.dtype[Any]

    def decode(self, source: NDArray[Any], target: NDArray[Any], span: Span) -> None:
        """Four operations on the whole span."""
        unzigzag(source, target)
