"""The functions of expressions, by name: how many arguments each takes, and what computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

__all__ = ["FUNCTIONS", "NUMERIC", "PARTS", "REDUCTIONS", "TEXT_TESTS"]


def _complex(x: Any, y: Any) -> Any:
    """Return complex128 numbers of real and imaginary parts, as numexpr has them."""
    if {np.asarray(part).dtype.kind for part in (x, y)} & set("mM"):
        raise TypeError("times are no parts of complex numbers")
    out = np.empty(np.broadcast_shapes(np.shape(x), np.shape(y)), np.complex128)
    out.real, out.imag = x, y
    return out[()]


_complex.__name__ = "complex"

_ONE = {
    name: getattr(np, name)
    for name in (
        *("sqrt", "exp", "expm1", "log", "log2", "log10", "log1p", "floor", "ceil", "trunc"),
        *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
        *("arcsinh", "arccosh", "arctanh", "sign", "signbit", "isnan", "isinf", "isfinite"),
        *("conj", "real", "imag", "ones_like"),
    )
} | {"abs": np.absolute, "round": np.rint}
_TWO = {
    name: getattr(np, name)
    for name in ("arctan2", "hypot", "fmod", "maximum", "minimum", "copysign", "nextafter")
} | {"complex": _complex}

NUMERIC: Final[dict[str, Callable[..., Any]]] = _ONE | _TWO
"""Functions of numbers and times, as NumPy computes them."""

TEXT_TESTS: Final = ("startswith", "endswith", "contains", "like")
"""Functions of a column of text and a constant."""

PARTS: Final = (
    *("year", "quarter", "month", "day", "dayofyear", "weekday"),
    *("hour", "minute", "second", "microsecond", "nanosecond"),
)
"""Parts of a datetime."""

REDUCTIONS: Final = ("sum", "prod", "mean", "min", "max", "any", "all", "std", "var")
"""What `kist.evaluate` may compute of all values, or along axes."""

FUNCTIONS: Final[dict[str, int]] = {
    **dict.fromkeys(_ONE, 1),
    **dict.fromkeys(_TWO, 2),
    **dict.fromkeys(TEXT_TESTS, 2),
    **dict.fromkeys(PARTS, 1),
    "len": 1,
    "isnull": 1,
    "notnull": 1,
    "where": 3,
}
"""Name -> number of arguments."""
