"""Stage 21, ragged: cells of any number of items; `raggedpages` says what its blocks are."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from kist.codecs.stage import Options, Shape
from kist.errors import CodecError

__all__ = ["Ragged"]


class Ragged:
    """Stage 21. No parameters; every block is a block of cells.

    In a recipe the steps for the items stand behind it, in a page nothing does.
    """

    id = 21
    name = "ragged"

    def encode(self, values: NDArray[Any], block_values: int, options: Options) -> None:
        """None: no values of fixed width suit it."""

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> NoReturn:
        """Refuse a page of values of fixed width."""
        raise CodecError(f"stage {self.id} ({self.name}) in a page of {form}: it is for cells")

    def describe(self, options: Options) -> str:
        """Its name."""
        return self.name
