"""Sizes of strings are the same with and without a look at NumPy's memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist._kernels import strings
from kist.codecs.strings import content_of

DTYPES = [
    np.dtypes.StringDType(),
    np.dtypes.StringDType(na_object=None),
    np.dtypes.StringDType(na_object=np.nan),
    np.dtypes.StringDType(na_object="gone"),
]
TEXTS = ["", "a", "gone", "a\0", "\0\0b\0", "ä", "x" * 14, "x" * 15, "x" * 16, "y" * 255, "z" * 300]


@st.composite
def arrays_with_a_past(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Strings that stand where longer and shorter ones stood before."""
    dtype: Any = draw(st.sampled_from(DTYPES))
    items = [*TEXTS, dtype.na_object] if hasattr(dtype, "na_object") else TEXTS
    texts = st.sampled_from(items)
    values = np.array(draw(st.lists(texts, max_size=20)), dtype)
    for at in range(len(values)):
        if draw(st.booleans()):
            values[at] = draw(texts)
    step = draw(st.sampled_from([1, 2, -1]))
    return values[::step]


@given(arrays_with_a_past())
def test_sizes_are_those_of_the_encoded_strings(values: Any) -> None:
    lengths, missing = strings.sizes(values)
    slow_lengths, slow_missing = strings.slow_sizes(values)
    assert lengths.tolist() == slow_lengths.tolist()
    assert (missing is None) == (slow_missing is None)
    assert missing is None or slow_missing is None or missing.tolist() == slow_missing.tolist()


@given(arrays_with_a_past())
def test_strings_are_the_same_where_numpy_keeps_them_otherwise(values: Any) -> None:
    fast = content_of(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strings, "_is_known", lambda: False)
        slow = content_of(values)
    assert fast.text == slow.text
    assert fast.lengths.tolist() == slow.lengths.tolist()


def test_the_layout_of_this_numpy_is_known() -> None:
    # Else strings are written several times as slowly, and somebody should look why.
    assert strings._is_known()
