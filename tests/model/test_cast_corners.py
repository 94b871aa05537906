"""Corners of casts where NumPy alone would round, warn or drop something."""

from __future__ import annotations

import datetime as dt
import warnings

import numpy as np
import pytest

from kist.errors import DTypeError
from kist.model.casts import cast_values, to_records


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("f8", [0.5, 2**53 + 1]),
        ("f8", [2**70 + 1]),
        ("f8", [0, 10**400]),
        ("f4", [0.5, 2**70 + 1]),
        ("c16", [1j, 2**53 + 1]),
    ],
)
def test_ints_that_no_float_holds_are_refused_beside_floats_too(code, values):
    with pytest.raises(DTypeError, match="cannot be held exactly") as caught:
        cast_values(values, np.dtype(code), column="x", first_row=10)
    assert caught.value.row == 10 + len(values) - 1
    assert caught.value.column == "x"


def test_large_ints_that_floats_hold_pass():
    assert cast_values([2**70, 0.5], np.dtype("f8"), column="x").tolist() == [2.0**70, 0.5]


@pytest.mark.parametrize("code", ["i8", "u8", "i4"])
def test_narrow_floats_become_integers_without_a_warning(code):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = cast_values(np.array([5, 60000], "f2"), np.dtype(code), column="x")
        assert got.tolist() == [5, 60000]
        with pytest.raises(DTypeError, match="no integer value"):
            cast_values(np.array([5, np.inf], "f2"), np.dtype(code), column="x")


def test_time_zones_are_refused():
    noon = dt.datetime(2026, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    with pytest.raises(DTypeError, match="convert to UTC"):
        cast_values([noon], np.dtype("M8[us]"), column="t")


@pytest.mark.parametrize("na_object", [None, np.nan])
def test_missing_strings_are_whatever_the_column_says(na_object):
    dtype = np.dtypes.StringDType(na_object=na_object)
    values = np.array(["a", None, float("nan")], object)
    got = cast_values(values, dtype, column="s")
    assert got.dtype == dtype
    assert [value is na_object for value in got.tolist()] == [False, True, True]
    with pytest.raises(DTypeError, match="5 is no str"):
        cast_values(["a", 5], dtype, column="s")


def test_missing_strings_need_a_column_that_knows_them():
    with pytest.raises(DTypeError, match=r"row 1.*None is a missing value"):
        cast_values(["a", None], np.dtypes.StringDType(), column="s")


def test_records_of_an_equal_dtype_are_not_copied():
    fields = [("a", "i4"), ("b", "S3")]
    rows = np.zeros(3, fields)
    assert to_records(rows, np.dtype(fields)) is rows


def test_objects_that_are_no_numbers_are_refused():
    with pytest.raises(DTypeError, match="takes numbers"):
        cast_values([1.0, object()], np.dtype("f8"), column="v")
