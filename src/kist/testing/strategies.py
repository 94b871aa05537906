"""Hypothesis strategies for dtypes and arrays, with the corners that break formats.

Needs the `hypothesis` package, which kist itself does not.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

__all__ = ["dtypes", "random_array", "scalar_dtypes", "structured_dtypes"]

_FIXED = ["?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d", "g", "F", "D", "G"]
_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")
_NAMES = st.text(st.characters(exclude_characters="\x00"), min_size=1, max_size=4)


@st.composite
def scalar_dtypes(draw: st.DrawFn) -> np.dtype[Any]:
    """Draw a dtype without fields: any kind except objects and `StringDType`, either order."""
    kind = draw(st.sampled_from(["fixed", "time", "S", "U", "V"]))
    order: Literal["<", ">"] = draw(st.sampled_from(["<", ">"]))
    if kind == "fixed":
        return np.dtype(draw(st.sampled_from(_FIXED))).newbyteorder(order)
    if kind == "time":
        code = order + draw(st.sampled_from("mM")) + "8"
        unit = draw(st.sampled_from((*_UNITS, "")))
        multiplier = draw(st.sampled_from([1, 1, 25, 2**31 - 1]))
        return np.dtype(f"{code}[{multiplier}{unit}]" if unit else code)
    return np.dtype(f"{order}{kind}{draw(st.integers(1, 9))}")


@st.composite
def _structured(draw: st.DrawFn, inner: st.SearchStrategy[np.dtype[Any]]) -> np.dtype[Any]:
    names = draw(st.lists(_NAMES, min_size=1, max_size=5, unique=True))
    formats = [draw(inner) for _ in names]
    titles: list[str | None] = [
        f"title of {name}" if draw(st.booleans()) and draw(st.booleans()) else None
        for name in names
    ]
    spec: Any = {"names": names, "formats": formats, "titles": titles}
    layout = draw(st.sampled_from(["packed", "aligned", "gaps"]))
    if layout == "gaps":
        offsets, at = [], 0
        for base in formats:
            at += draw(st.integers(0, 3))
            offsets.append(at)
            at += base.itemsize
        spec |= {"offsets": offsets, "itemsize": at + draw(st.integers(0, 3))}
    dtype = np.dtype(spec, align=layout == "aligned")
    return np.dtype((np.record, dtype)) if draw(st.integers(0, 7)) == 7 else dtype


@st.composite
def _subarray(draw: st.DrawFn, inner: st.SearchStrategy[np.dtype[Any]]) -> np.dtype[Any]:
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    return np.dtype((draw(inner), tuple(shape)))


def dtypes() -> st.SearchStrategy[np.dtype[Any]]:
    """Draw any dtype that can be a field: scalars, sub-arrays and structures of them."""
    return st.recursive(
        scalar_dtypes(), lambda inner: _structured(inner) | _subarray(inner), max_leaves=8
    )


def structured_dtypes() -> st.SearchStrategy[np.dtype[Any]]:
    """Draw a structured dtype as a table may have it: titles, gaps, alignment, nesting."""
    return _structured(dtypes())


def random_array(dtype: np.dtype[Any], n: int, seed: int) -> np.ndarray[Any, Any]:
    """Return `n` items of random bytes: every NaN payload, -0.0, NaT and padding byte occurs.

    Booleans are 0 or 1. `U` items may hold code points that are none: compare such arrays by
    their bytes.
    """
    rng = np.random.default_rng(seed)
    # A few values only, so that repeated bytes, zeros and sign bits are common.
    pool = np.array([0, 0, 0, 1, 2, 127, 128, 255, 248, 240], "u1")
    raw = pool[rng.integers(0, len(pool), n * dtype.itemsize)]
    array = np.ndarray((n,), dtype, buffer=bytearray(raw.tobytes()))
    _fix_bools(array)
    return array


def _fix_bools(array: np.ndarray[Any, Any]) -> None:
    if array.dtype.names is not None:
        for name in array.dtype.names:
            _fix_bools(array[name])
    elif array.dtype.kind == "b":
        array.view("u1")[...] &= 1
