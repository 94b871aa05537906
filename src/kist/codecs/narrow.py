"""Pages left as narrow integers: comparing and picking need not make the values of all of them.

Reference, decimals and dictionary stand for each value by itself: equal integers are equal
values, and those of the first two rise with them. So a limit is turned into a limit for the
integers once, and compared with two bytes a value instead of eight; and of few values that are
picked only these are made. Deltas and runs are no such encodings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kist._kernels.bits import limits_of
from kist._kernels.decimals import power_of_ten
from kist.codecs.decimals import Decimals, LoadedDecimals
from kist.codecs.dictionary import Dictionary, LoadedDictionary
from kist.codecs.pipeline import load, span_of
from kist.codecs.reference import LoadedReference, Reference
from kist.codecs.stage import Block, LoadedEncoding, Shape, Span, Stage
from kist.codecs.values import form_of, is_stored_order
from kist.errors import CodecError

__all__ = ["Narrow", "has_exceptions", "may_be_narrow", "narrow"]

_CHAINS = [[Reference.id], [Decimals.id], [Decimals.id, Reference.id], [Dictionary.id]]
_SURE = 1 << 52
"""Scaled integers below it are floats, and so are those beside them."""


class Narrow:
    """Values of some blocks of a page, as the integers that stand for them.

    Attributes
    ----------
    dtype : dtype
        Of the values.
    numbers : ndarray of int
        One for each value.
    items : ndarray of `dtype`, or None
        The distinct values of a dictionary, which the numbers count.
    encodings : tuple of Stage
        What the numbers went through: where they are equal, numbers mean the same.
    """

    def __init__(
        self,
        dtype: np.dtype[Any],
        numbers: NDArray[Any],
        steps: Sequence[LoadedEncoding],
        encodings: tuple[Stage, ...],
    ) -> None:
        self.dtype = dtype
        self.encodings = encodings
        self.numbers = numbers
        self._steps = steps
        self.items: NDArray[Any] | None = None
        if isinstance(steps[0], LoadedDictionary):
            self.items = np.frombuffer(steps[0].items.tobytes(), dtype)
            if len(numbers) and int(numbers.max()) >= len(self.items):
                raise CodecError(f"a number beyond the {len(self.items)} items of a dictionary")

    def values(self, numbers: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the values that some numbers stand for; in `out`, contiguous, if it is given."""
        form = form_of(self.dtype)
        result = np.empty(len(numbers), self.dtype) if out is None else out
        span = Span(0, 0, 0, len(numbers))
        for place in reversed(range(len(self._steps))):
            last = place == 0
            wider = form if last else self._steps[place - 1].form
            target = result.view(form) if last else np.empty(len(numbers), wider)
            if len(numbers):
                self._steps[place].decode(numbers, target, span)
            numbers = target
        return result

    def limits(self, value: Any) -> tuple[int, int] | None:
        """Return numbers from which on values are not below `value`, and are above it.

        None where that cannot be told: for dictionaries, values of another kind, and numbers
        of which the values do not rise with them. Either may lie outside the type of the numbers.
        """
        first, last = self._steps[0], self._steps[-1]
        kind, form = self.dtype.kind, form_of(self.dtype)
        if isinstance(first, LoadedDecimals):
            ends = _of_decimals(first, value, self.dtype)
            form = first.form
        elif kind in "mM" and value.dtype == self.dtype and not np.isnat(value):
            ends = int(value.view(np.int64)), int(value.view(np.int64)) + 1
        elif kind in "iu" and isinstance(value, int | np.integer):
            ends = int(value), int(value) + 1
        else:
            return None
        if ends is None or not isinstance(last, LoadedReference):
            return ends if last is first else None
        base, step = _line(last, form)
        if step <= 0:
            return None  # as nobody writes it
        low, high = limits_of(last.form)
        least, most = limits_of(form)
        # What turns round does not rise with the numbers, nor does NaT.
        if base + step * low < least + (kind in "mM") or base + step * high > most:
            return None
        return -((base - ends[0]) // step), -((base - ends[1]) // step)


def _line(reference: LoadedReference, form: np.dtype[Any]) -> tuple[int, int]:
    """Return base and step, as what they mean for integers of a form."""
    base = 0 if reference.base is None else int(reference.base)
    step = 1 if reference.step is None else int(reference.step)
    bits = 8 * form.itemsize
    return base - (1 << bits) if form.kind == "i" and base >> (bits - 1) else base, step


def _of_decimals(
    decimals: LoadedDecimals, value: Any, dtype: np.dtype[Any]
) -> tuple[int, int] | None:
    """Return the scaled integers from which on floats are not below a value, and above it."""
    if not isinstance(value, float | int | np.floating | np.integer):
        return None
    scaled = float(value) * power_of_ten(decimals.exponent)
    if not abs(scaled) < _SURE:  # NaN too
        return None
    middle = round(scaled)
    near = np.arange(middle - 2, middle + 3)
    floats = np.empty(len(near), dtype)
    decimals.decode(near, floats, Span(0, 0, 0, len(near)))
    below, upto = int(np.count_nonzero(floats < value)), int(np.count_nonzero(floats <= value))
    if not (below and upto < len(near)):
        return None
    return middle - 2 + below, middle - 2 + upto


def may_be_narrow(stages: Sequence[Stage]) -> bool:
    """Tell whether the encodings of a page are such that `narrow` may give something."""
    ids = [stage.id for stage in stages[:-1]]
    return ids in _CHAINS


def has_exceptions(steps: Sequence[LoadedEncoding]) -> bool:
    """Tell whether some values are not what their numbers say, but stand apart."""
    return isinstance(steps[0], LoadedDecimals) and steps[0].items is not None


def narrow(
    stages: Sequence[Stage],
    dtype: np.dtype[Any],
    n_values: int,
    block_values: int,
    first_block: int,
    blocks: Sequence[Block],
) -> Narrow | None:
    """Decode blocks of a page no further than to narrow integers.

    Returns
    -------
    Narrow or None
        None for pages that are encoded otherwise, and for dtypes of another byte order.

    Raises
    ------
    CodecError
        The stages, parameters or blocks are not what `encode` makes of such a page.
    """
    if not is_stored_order(dtype) or not may_be_narrow(stages) or not n_values:
        return None
    shape = Shape(n_values, block_values)
    steps, last = load(tuple(stages), form_of(dtype), shape)
    if has_exceptions(steps):
        return None
    span = span_of(shape, first_block, len(blocks))
    numbers = np.empty(span.size, steps[-1].form)
    last.decode(blocks, numbers, span)
    return Narrow(dtype, numbers, steps, tuple(stages[:-1]))
