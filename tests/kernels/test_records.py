"""Splitting and joining structured arrays gives back every byte."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist._kernels.records import (
    BLOCK_ROWS,
    GATHER_ROWS,
    flatten,
    join,
    neighbours,
    split,
    transpose,
    unflatten,
)
from kist.format.schema import Schema
from kist.testing.strategies import random_array, structured_dtypes

LENGTHS = st.sampled_from([0, 1, 5, GATHER_ROWS, GATHER_ROWS + 1, BLOCK_ROWS, BLOCK_ROWS + 7])
SEEDS = st.integers(0, 2**32 - 1)


def values(records: np.ndarray, schema: Schema) -> list[bytes]:
    """Bytes of each leaf, by plain NumPy."""
    out = []
    for leaf in schema.leaves:
        view = records
        for name in leaf.path:
            view = view[name]
        out.append(view.tobytes())
    return out


@given(structured_dtypes(), LENGTHS, SEEDS)
def test_split_gives_each_leaf_and_join_puts_them_back(dtype, n, seed):
    schema = Schema.from_dtype(dtype)
    records = random_array(dtype, n, seed)
    columns = split(records, schema.leaves)
    assert [column.tobytes() for column in columns] == values(records, schema)
    assert all(column.flags.c_contiguous for column in columns)
    out = join(columns, schema.leaves, np.zeros(n, dtype))
    assert values(out, schema) == values(records, schema)


FIELDS = st.lists(
    st.sampled_from(["<f8", ">f8", "<i4", "u1", "S3", "<m8[s]", ">m8[s]", "(2,)f4", "S0"]),
    min_size=1,
    max_size=9,
)


@given(FIELDS, st.booleans(), LENGTHS, SEEDS)
def test_neighbours_of_one_dtype_come_out_together_as_one_by_one(formats, align, n, seed):
    dtype = np.dtype([(f"f{i}", f) for i, f in enumerate(formats)], align=align)
    schema = Schema.from_dtype(dtype)
    records = random_array(dtype, n, seed)
    runs = neighbours(dtype, schema.leaves)
    outs = [np.zeros((k, n), schema.leaves[first].dtype) for first, k, _ in runs]
    transpose(records, runs, outs)
    expected = values(records, schema)
    taken = [i for first, k, _ in runs for i in range(first, first + k)]
    assert len(set(taken)) == len(taken)
    assert [column.tobytes() for out in outs for column in out] == [expected[i] for i in taken]
    pairs = pairwise(formats)
    plain = [a == b and a in ("<f8", "<i4", "u1") for a, b in pairs]
    assert not any(plain) or runs


@given(structured_dtypes(), LENGTHS, SEEDS)
def test_flatten_and_unflatten_keep_every_value(dtype, n, seed):
    schema = Schema.from_dtype(dtype)
    records = random_array(dtype, n, seed)
    flat = flatten(records, schema.leaves, schema.leaf_dtype(), schema.byte_index)
    assert [flat[name].tobytes() for name in flat.dtype.names] == values(records, schema)
    out = unflatten(flat, schema.leaves, np.zeros(n, dtype), schema.byte_index)
    assert values(out, schema) == values(records, schema)


def test_slices_and_given_buffers_are_written_in_place():
    schema = Schema.from_dtype(np.dtype([("a", "i4"), ("b", "f4", (2,))]))
    records = random_array(schema.dtype, 10, 0)
    a, b = np.zeros(10, "i4"), np.zeros(20, "f4")
    split(records[3:7], schema.leaves, [a[3:7], b[6:14]])
    assert a.tobytes() == b"\0" * 12 + records["a"][3:7].tobytes() + b"\0" * 12
    assert b.tobytes() == b"\0" * 24 + records["b"][3:7].tobytes() + b"\0" * 24
    out = np.zeros(10, schema.dtype)
    assert join([a[3:7], b[6:14]], schema.leaves, out[3:7]).base is out
    assert out[3:7].tobytes() == records[3:7].tobytes()
    assert out[:3].tobytes() + out[7:].tobytes() == bytes(6 * 12)


def test_flatten_takes_rows_with_a_stride_and_unflatten_leaves_gaps_alone():
    dtype = np.dtype({"names": ["a", "b"], "formats": ["i2", "i4"], "offsets": [1, 4]})
    schema = Schema.from_dtype(dtype)
    records = random_array(dtype, 20, 1)
    flat = flatten(records[::2], schema.leaves, schema.leaf_dtype(), schema.byte_index)
    assert flat["f1"].tobytes() == records["b"][::2].tobytes()
    out = np.frombuffer(bytearray(b"\x55" * 160), dtype)
    unflatten(flat, schema.leaves, out[:10], schema.byte_index)
    unflatten(flat, schema.leaves, out[10::1], None)
    raw = out.view("u1").reshape(20, 8)
    assert (raw[:, [0, 3]] == 0x55).all()
    assert out["b"].tobytes() == 2 * flat["f1"].tobytes()
    strided = np.zeros(20, dtype)
    unflatten(flat, schema.leaves, strided[::2], schema.byte_index)
    assert strided["a"][::2].tobytes() == flat["f0"].tobytes()
    assert not strided["a"][1::2].any()


def test_arrays_that_do_not_fit_raise():
    schema = Schema.from_dtype(np.dtype([("a", "i4"), ("b", "f4")]))
    records = np.zeros(3, schema.dtype)
    with pytest.raises(ValueError, match="1 arrays for 2 columns"):
        split(records, schema.leaves, [np.zeros(3, "i4")])
    with pytest.raises(ValueError):
        split(records, schema.leaves, [np.zeros(3, "i4"), np.zeros(4, "f4")])


def test_string_columns_pass_between_objects_and_strings():
    text = np.dtypes.StringDType(na_object=None)
    schema = Schema.from_columns([("s", text), ("a", np.dtype("i2"))])
    records = np.array([("x", 1), (None, 2), ("long " * 9, 3)], schema.dtype)
    columns = split(records, schema.leaves)
    assert columns[0].dtype == text
    out = join(columns, schema.leaves, np.zeros(3, schema.dtype))
    assert out["s"].tolist() == ["x", None, "long " * 9]
