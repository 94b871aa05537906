"""Arrays of strings of any length as attributes and in key stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist

DTYPES: list[Any] = [
    np.dtypes.StringDType(),
    np.dtypes.StringDType(coerce=False),
    np.dtypes.StringDType(na_object=None),
    np.dtypes.StringDType(na_object=np.nan),
    np.dtypes.StringDType(na_object="gone"),
]


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    dtype = draw(st.sampled_from(DTYPES))
    texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=9)
    items = st.one_of(texts, st.just(dtype.na_object)) if hasattr(dtype, "na_object") else texts
    values = np.array(draw(st.lists(items, max_size=12)), dtype)
    if len(values) % 2 == 0 and draw(st.booleans()):
        values = values.reshape(2, -1)
    return values


def same(found: Any, values: Any) -> bool:
    return (
        found.dtype == values.dtype
        and found.dtype.coerce == values.dtype.coerce
        and found.shape == values.shape
        and repr(found.tolist()) == repr(values.tolist())
    )


@settings(max_examples=40)
@given(arrays(), st.integers(1, 300))
def test_arrays_of_strings_come_back_equal(values: Any, repeats: int) -> None:
    many = np.tile(values, repeats)
    with kist.open(":memory:") as store:
        store.attrs["strings"] = values
        assert same(store.attrs["strings"], values)
        keys = store.require_keystore("ks")
        keys["few"], keys["many"] = values, (many, {"n": repeats})
        assert same(keys["few"], values)
        assert same(keys["many"][0], many)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_strings_in_attributes_and_key_stores_outlive_the_handle(
    tmp_path: Path, dtype: Any
) -> None:
    values = np.array(["a", "ä" * 3000, "", getattr(dtype, "na_object", "z")], dtype)
    with kist.open(tmp_path / "s.kist", "w") as store:
        store.attrs["s"] = values
        store.require_keystore("ks")[1] = values
    with kist.open(tmp_path / "s.kist") as store:
        assert same(store.attrs["s"], values)
        assert same(store["ks"][1], values)
