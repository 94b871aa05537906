"""Statistics hold for every value of the page that they describe."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kist.errors import CorruptDataError, ShapeError
from kist.indexes.statistics import Bounds, Statistics, bound_dtype, compute, compute_rows
from kist.indexes.text import round_up

NUMBERS = ["?", "i1", "u1", "<i2", ">i4", "<u8", ">i8", "<f2", ">f4", "<f8", ">f8", "g"]
TIMES = ["<M8[D]", ">M8[ns]", "<m8[s]", "<M8[M]"]
TEXT = ["S1", "S5", "S8", "S19", "S33", "<U1", "<U3", ">U9", "<U20"]


def arrays(dtypes: list[str], **kwargs: object) -> st.SearchStrategy[np.ndarray]:
    def build(dtype: str) -> st.SearchStrategy[np.ndarray]:
        return hnp.arrays(np.dtype(dtype), st.integers(0, 12), **kwargs)

    return st.sampled_from(dtypes).flatmap(build)


def roundtrip(values: np.ndarray) -> tuple[Statistics, Bounds]:
    found = compute(values)
    assert found is not None
    record = found.pack()
    again = Statistics.unpack(record, values.dtype)
    assert again == found
    return found, Bounds.from_packed([record, None, record], values.dtype)


@given(arrays(NUMBERS + TIMES))
def test_bounds_of_numbers_and_times_are_the_extremes_without_nan(values: np.ndarray) -> None:
    found, bounds = roundtrip(values)
    missing = np.isnan(values) if values.dtype.kind in "fmM" else np.zeros(len(values), bool)
    there = values[~missing]
    assert found.n_nan == np.count_nonzero(missing)
    assert found.empty == (len(there) == 0)
    assert list(bounds.known) == [True, False, True]
    assert list(bounds.empty) == [found.empty, False, found.empty]
    if found.empty:
        assert found.lo is None and not found.constant
        return
    if values.dtype.itemsize <= 8:
        assert (found.lo, found.hi) == (there.min(), there.max())
        assert found.lo_exact and found.hi_exact
    assert bounds.lo[2] <= there.min() and there.max() <= bounds.hi[2]
    assert bounds.lo.dtype == values.dtype.newbyteorder("=")
    assert bounds.n_nan[0] == found.n_nan
    if values.dtype.itemsize <= 8:
        assert found.constant == (there.min() == there.max() and not missing.any())


@given(arrays(TEXT))
def test_bounds_of_text_enclose_the_values_and_say_when_they_are_cut(values: np.ndarray) -> None:
    found, bounds = roundtrip(values)
    encoded = [
        bytes(x) if values.dtype.kind == "S" else str(x).encode("utf-8", "surrogatepass")
        for x in values
    ]
    if not encoded:
        assert found.empty
        return
    if found.lo is None:
        assert max(encoded)[:16] == b"\xff" * 16
        assert not bounds.known[0]
        return
    assert bounds.lo[0] <= min(encoded) and max(encoded) <= bounds.hi[0]
    assert found.lo_exact == (found.lo == min(encoded))
    assert found.hi_exact == (found.hi == max(encoded))
    assert found.constant == (len(set(encoded)) == 1 and found.lo_exact)


@given(
    st.lists(st.one_of(st.none(), st.text(max_size=4), st.text("a\0", max_size=20)), max_size=8),
    st.sampled_from([None, np.nan]),
)
def test_strings_of_any_length_are_bounded_and_their_nulls_counted(
    texts: list[str | None], na_object: object
) -> None:
    dtype = np.dtypes.StringDType(na_object=na_object)
    values = np.array([na_object if text is None else text for text in texts], dtype=dtype)
    found, bounds = roundtrip(values)
    there = [text for text in texts if text is not None]
    assert found.n_null == len(texts) - len(there)
    assert found.empty == (not there)
    # NumPy does not look behind a NUL, but a text that has one is more than what precedes it.
    heads = [text.encode().partition(b"\0")[0] for text in there]
    if found.lo is not None:
        assert bytes(bounds.lo[0]) <= min(heads)
        hi = bytes(bounds.hi[0])
        assert all(
            head < hi or (head == hi and head.decode() == text)
            for head, text in zip(heads, there, strict=True)
        )


@given(arrays(["S3", "S8", "S21"]))
def test_opaque_bytes_are_bounded_as_bytes(text: np.ndarray) -> None:
    values = text.view(f"V{text.dtype.itemsize}")
    found, bounds = roundtrip(values)
    raw = [x.tobytes() for x in values]
    if raw and found.lo is not None:
        assert bytes(bounds.lo[0]) <= min(raw)
        assert max(raw).rstrip(b"\0") <= bytes(bounds.hi[0])


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8"])
def test_negative_zero_counts_as_zero(dtype: str) -> None:
    found = compute(np.array([-0.0, 0.0, -0.0], dtype=dtype))
    assert found is not None and found.constant
    assert found.pack() == compute(np.zeros(3, dtype=dtype)).pack()  # type: ignore[union-attr]


def test_byte_order_does_not_change_the_record() -> None:
    for native in ("i4", "f8", "M8[us]", "U7"):
        values = np.array([3, 1, 2]).astype(native)
        swapped = values.astype(values.dtype.newbyteorder(">"))
        assert compute(values).pack() == compute(swapped).pack()  # type: ignore[union-attr]


def test_strided_values_are_described_like_their_copy() -> None:
    table = np.zeros(50, dtype=[("a", "u1"), ("s", "S11"), ("f", "f2"), ("u", "U3")])
    table["s"] = [b"%011d" % (i * 37 % 50) for i in range(50)]
    table["f"] = np.arange(50)
    for name in table.dtype.names:
        assert compute(table[name][::3]) == compute(table[name][::3].copy())


def test_longdouble_bounds_are_rounded_outwards() -> None:
    third = np.longdouble(1) / 3
    bounds = Bounds.from_packed([compute(np.array([third, -third])).pack()], np.dtype("g"))
    assert bounds.lo[0] <= -third and third <= bounds.hi[0]
    assert bounds.lo.dtype == np.dtype("g")


def test_complex_columns_have_counts_but_no_bounds() -> None:
    found, bounds = roundtrip(np.array([1j, complex("nan"), 2]))
    assert (found.n_nan, found.lo, found.empty) == (1, None, False)
    assert not bounds.known.any()


def test_what_has_no_statistics_gives_none() -> None:
    assert compute(np.zeros((2, 2))) is None
    assert compute(np.zeros(2, dtype=[("a", "i4")])) is None
    assert compute(np.array([None, 1], dtype=object)) is None
    assert bound_dtype(np.dtype([("a", "i4")])) is None


def test_characters_that_are_none_leave_the_page_without_bounds() -> None:
    values = np.array([0x110000, 65], dtype="<u4").view("<U1")
    found = compute(values)
    assert found is not None and found.lo is None and not found.empty


def test_nulls_kept_apart_are_counted_and_left_out() -> None:
    found = compute(np.array([1, 99, 2]), nulls=np.array([False, True, False]))
    assert found is not None and (found.hi, found.n_null, found.constant) == (2, 1, False)
    with pytest.raises(ShapeError):
        compute(np.zeros(3), nulls=np.zeros(2, dtype=bool))


def test_records_of_the_wrong_length_or_with_unknown_flags_are_damage() -> None:
    record = compute(np.arange(3.0)).pack()
    assert len(record) == 9 + 16
    for damaged in (record[:-1], record + b"\0", b"", b"\xff" + record[1:]):
        with pytest.raises(CorruptDataError):
            Statistics.unpack(damaged, np.dtype("f8"))
    with pytest.raises(CorruptDataError):
        Bounds.from_packed([record, record[:-1], record + b"\0"], np.dtype("f8"))


@given(
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=5).flatmap(
        lambda shape: hnp.arrays(
            st.sampled_from(
                ["u1", "i1", "<i4", ">i4", "i8", "u8", "f2", "f4", "f8", ">f8", "?", "S3"]
            ),
            shape,
        )
    )
)
def test_rows_of_a_matrix_are_described_as_if_alone(matrix: np.ndarray) -> None:
    alone = [compute(row) for row in matrix]
    together = compute_rows(matrix)
    assert [s and s.pack() for s in together] == [s and s.pack() for s in alone]


def test_record_is_the_same_bytes_for_ever() -> None:
    record = compute(np.array([1, -2, 3], dtype=">i2")).pack()
    assert record.hex() == "070000000000000000feff0300"
    text = compute(np.array(["b", "a" * 20], dtype="U20")).pack()
    assert text.hex() == "05" + "00" * 8 + "61" * 16 + "62" + "00" * 15


@given(st.binary(max_size=6), st.binary(max_size=3))
def test_rounding_up_gives_the_first_bytes_behind_a_prefix(text: bytes, more: bytes) -> None:
    above = round_up(text)
    if above is None:
        assert set(text) <= {0xFF}
    else:
        assert text + more < above
        assert above[:-1] + bytes([above[-1] - 1]) == text[: len(above)]


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8"])
def test_a_signalling_nan_hides_no_bounds(dtype):
    values = np.array([1.0, -5.0, 7.0, 2.0], dtype)
    bits = values.view(f"{dtype[:-2]}u{dtype[-1]}")
    bits[2] = {"4": 0x7F800001, "8": 0x7FF0000000000001}[dtype[-1]]
    found = compute(values)
    assert (found.lo, found.hi, found.n_nan) == (-5.0, 2.0, 1)


@pytest.mark.parametrize("dtype", ["c8", "c16", ">c16"])
def test_a_signalling_nan_in_a_complex_column_is_counted_without_a_warning(dtype):
    values = np.array([1j, 2, 3], dtype)
    order, size = dtype.partition("c")[0], values.itemsize // 2
    bits = values.view(f"{order}u{size}")
    bits[2] = {4: 0x7F800001, 8: 0x7FF0000000000001}[size]
    assert compute(values).n_nan == 1
