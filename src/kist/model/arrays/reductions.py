"""Sums, means and extremes of arrays in a store, computed part by part.

NumPy's functions, `np.sum(array)` or `np.mean(array, axis=0)`, call these methods.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

__all__ = ["ArrayReductions"]

Axis = int | Sequence[int] | None

_KINDS: Final = {
    **dict.fromkeys(("any", "all"), "biufcmM"),
    **dict.fromkeys(("min", "max"), "biufmM"),
    **dict.fromkeys(("sum", "mean"), "biufcm"),
    "prod": "biufc",
    **dict.fromkeys(("std", "var"), "biuf"),
}
"""What is computed part by part; of other dtypes the whole array is loaded, and NumPy asked."""


class ArrayReductions:
    """Mixin of what has a shape, a dtype and a part for every slice.

    Memory taken: a few MiB a thread, and the result. `axis` is one axis, several, or None for
    all. Floats are added up as float64, sums of integers are exact or raise `QueryError`; the
    dtype of the result is NumPy's. NumPy's other arguments (`dtype`, `out`, `keepdims`, `where`,
    `initial`) are NumPy's, which loads the whole array for them.
    """

    __slots__ = ()

    dtype: Any

    def _reduce(self, func: str, axis: Axis, ddof: int, more: dict[str, Any]) -> Any:
        from kist.model.evaluation.run import evaluate
        from kist.query.expression import Name, Reduction

        more = {name: value for name, value in more.items() if value is not None}
        if more or self.dtype.kind not in _KINDS[func] or int(ddof) != ddof:
            if func in ("std", "var"):
                more["ddof"] = ddof
            return getattr(np.asarray(self), func)(axis=axis, **more)
        axes: tuple[int, ...] | None = None
        if axis is not None:
            axes = tuple(map(operator.index, axis if isinstance(axis, Sequence) else (axis,)))
        return evaluate(Reduction(func, Name("x"), axes, int(ddof)), x=self)

    def sum(self, axis: Axis = None, dtype: Any = None, out: Any = None, **more: Any) -> Any:
        """Return the sum of all values, or of those along some axes."""
        return self._reduce("sum", axis, 0, {"dtype": dtype, "out": out, **more})

    def prod(self, axis: Axis = None, dtype: Any = None, out: Any = None, **more: Any) -> Any:
        """Return the product of all values, or of those along some axes."""
        return self._reduce("prod", axis, 0, {"dtype": dtype, "out": out, **more})

    def mean(self, axis: Axis = None, dtype: Any = None, out: Any = None, **more: Any) -> Any:
        """Return the mean of all values, or of those along some axes; nan of none."""
        return self._reduce("mean", axis, 0, {"dtype": dtype, "out": out, **more})

    def min(self, axis: Axis = None, out: Any = None, **more: Any) -> Any:
        """Return the smallest value, or those along some axes; raises `ValueError` of none."""
        return self._reduce("min", axis, 0, {"out": out, **more})

    def max(self, axis: Axis = None, out: Any = None, **more: Any) -> Any:
        """Return the largest value, or those along some axes; raises `ValueError` of none."""
        return self._reduce("max", axis, 0, {"out": out, **more})

    def any(self, axis: Axis = None, out: Any = None, **more: Any) -> Any:
        """Return whether any value is true, of all or along some axes."""
        return self._reduce("any", axis, 0, {"out": out, **more})

    def all(self, axis: Axis = None, out: Any = None, **more: Any) -> Any:
        """Return whether all values are true, of all or along some axes."""
        return self._reduce("all", axis, 0, {"out": out, **more})

    def var(
        self, axis: Axis = None, dtype: Any = None, out: Any = None, ddof: int = 0, **more: Any
    ) -> Any:
        """Return the variance, squared differences from the mean divided by n - `ddof`."""
        return self._reduce("var", axis, ddof, {"dtype": dtype, "out": out, **more})

    def std(
        self, axis: Axis = None, dtype: Any = None, out: Any = None, ddof: int = 0, **more: Any
    ) -> Any:
        """Return the standard deviation, the square root of `var`."""
        return self._reduce("std", axis, ddof, {"dtype": dtype, "out": out, **more})
