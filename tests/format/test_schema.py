"""The schema record: the user's dtype comes back, ids are never used again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.errors import (
    ColumnNotFoundError,
    CorruptDataError,
    DTypeError,
    FormatError,
    UnsupportedVersionError,
)
from kist.format.altering import with_column, with_renamed, without_column
from kist.format.schema import NULLABLE, Schema
from kist.testing.strategies import random_array, structured_dtypes

NESTED = np.dtype(
    [
        ("a", "<i4"),
        (("Title", "n"), [("x", ">f8", (2,)), ("m", [("p", "S3"), ("q", "?")], (3,))], (2,)),
        ("t", "<M8[ns]"),
    ]
)


@given(structured_dtypes())
def test_the_dtype_comes_back_as_it_was_given(dtype):
    schema = Schema.unpack(Schema.from_dtype(dtype).pack())
    assert schema.dtype == dtype
    assert schema.dtype.isalignedstruct == dtype.isalignedstruct
    assert schema.dtype.type is dtype.type
    assert schema == Schema.from_dtype(dtype)


@given(structured_dtypes(), st.integers(0, 2**32 - 1))
def test_every_byte_that_is_no_gap_has_a_place_in_the_packed_row(dtype, seed):
    schema = Schema.from_dtype(dtype)
    rows = random_array(dtype, 3, seed)
    flat = schema.leaf_dtype()
    index = schema.byte_index
    raw = rows.view("u1").reshape(3, dtype.itemsize) if dtype.itemsize else np.zeros((3, 0), "u1")
    if index is not None:
        assert len(set(index.tolist())) == flat.itemsize
        raw = raw[:, index]
    else:
        assert schema.is_flat
    packed = np.ndarray((3,), flat, buffer=raw.tobytes())
    for leaf in schema.leaves:
        view = rows
        for name in leaf.path:
            view = view[name]
        assert view.shape == (3, *leaf.shape)
        assert view.dtype == leaf.dtype
        assert flat.fields[f"f{leaf.id}"][1] == leaf.offset
        assert packed[f"f{leaf.id}"].tobytes() == view.tobytes()


def test_leaves_name_paths_shapes_and_offsets():
    leaves = Schema.from_dtype(NESTED).leaves
    assert [(x.id, x.path, x.dtype.str, x.shape, x.offset, x.n_values) for x in leaves] == [
        (0, ("a",), "<i4", (), 0, 1),
        (1, ("n", "x"), ">f8", (2, 2), 4, 4),
        (2, ("n", "m", "p"), "|S3", (2, 3), 36, 6),
        (3, ("n", "m", "q"), "|b1", (2, 3), 54, 6),
        (4, ("t",), "<M8[ns]", (), 60, 1),
    ]


def test_fields_without_bytes_are_kept():
    dtype = np.dtype([("a", "S0"), ("b", "i4"), ("c", "U0")])
    schema = Schema.unpack(Schema.from_dtype(dtype).pack())
    assert schema.dtype == dtype
    assert [leaf.nbytes for leaf in schema.leaves] == [0, 4, 0]


def test_ids_of_dropped_columns_are_not_used_again():
    schema = without_column(Schema.from_dtype(NESTED), "n")
    schema = with_column(schema, "n", np.dtype("f4"))
    assert [(c.id, c.name, c.first_leaf) for c in schema.columns] == [
        (0, "a", 0),
        (2, "t", 4),
        (3, "n", 5),
    ]
    assert [leaf.id for leaf in schema.leaves] == [0, 4, 5]
    assert schema.version == 3
    assert Schema.unpack(schema.pack()) == schema


def test_renaming_keeps_ids_and_layout():
    dtype = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    schema = with_renamed(Schema.from_dtype(dtype), "b", "c")
    assert schema.dtype == np.dtype([("a", "i1"), ("c", "f8")], align=True)
    assert schema.leaves_of("c")[0].id == 1


def test_aligned_tables_stay_aligned_when_columns_come_and_go():
    schema = Schema.from_dtype(np.dtype([("a", "i1"), ("b", "f8")], align=True))
    schema = without_column(with_column(schema, "c", np.dtype("i2")), "a")
    assert schema.dtype == np.dtype([("b", "f8"), ("c", "i2")], align=True)
    assert schema.dtype.isalignedstruct


def test_string_columns_stand_as_objects_in_the_dtype():
    text = np.dtypes.StringDType(na_object=None)
    schema = Schema.from_columns([("a", np.dtype("i4")), ("s", text), ("b", np.dtype("i2"))])
    schema = Schema.unpack(schema.pack())
    assert schema.dtype == np.dtype([("a", "i4"), ("s", "O"), ("b", "i2")])
    assert schema.columns[1].dtype == text
    assert [leaf.offset for leaf in schema.leaves] == [0, 4, 4]
    assert schema.leaf_dtype() == np.dtype([("f0", "i4"), ("f2", "i2")])
    assert not schema.is_flat and schema.byte_index is None


def test_defaults_titles_and_codecs_come_back():
    schema = Schema.from_dtype(NESTED, codec={"a": "small"}, defaults={"t": b"\x00"})
    got = Schema.unpack(schema.pack())
    assert [c.codec for c in got.columns] == ["small", "auto", "auto"]
    assert [c.default for c in got.columns] == [None, None, b"\x00"]
    assert [c.title for c in got.columns] == [None, "Title", None]


@pytest.mark.parametrize("dtype", ["f8", [], [("a", "O")], [("a", [("b", "S0")], (2,))]])
def test_dtypes_that_make_no_table_are_refused(dtype):
    with pytest.raises(DTypeError):
        Schema.from_dtype(np.dtype(dtype))


def test_names_that_are_taken_or_missing_raise():
    schema = Schema.from_dtype(NESTED)
    with pytest.raises(DTypeError, match="already a column 'a'"):
        with_column(schema, "a", np.dtype("f8"))
    with pytest.raises(DTypeError, match="already a column 'a'"):
        with_renamed(schema, "t", "a")
    with pytest.raises(DTypeError):
        with_renamed(schema, "t", "Title")
    with pytest.raises(ColumnNotFoundError, match=r"no column 'z'.*'a', 'n', 't'"):
        without_column(schema, "z")
    with pytest.raises(DTypeError, match="the only column"):
        without_column(Schema.from_dtype(np.dtype([("a", "i1")])), "a")


@pytest.mark.parametrize("flags", [NULLABLE, 0x40, 0x8000_0000])
def test_columns_of_an_unknown_sort_are_not_read(flags):
    schema = Schema.from_dtype(NESTED)
    columns = (replace(schema.columns[0], flags=flags), *schema.columns[1:])
    with pytest.raises(UnsupportedVersionError, match="column 'a' is"):
        Schema.unpack(replace(schema, columns=columns).pack())


@pytest.mark.parametrize(
    "changes",
    [
        {"next_column_id": 2},
        {"next_leaf_id": 4},
        {"columns": ()},
        {"columns": Schema.from_dtype(NESTED).columns + Schema.from_dtype(NESTED).columns[:1]},
    ],
)
def test_numbers_that_contradict_each_other_are_corrupt(changes):
    with pytest.raises(CorruptDataError):
        Schema.unpack(replace(Schema.from_dtype(NESTED), **changes).pack())


@given(structured_dtypes(), st.data())
def test_damaged_records_raise_format_errors_or_are_schemas(dtype, data):
    packed = bytearray(Schema.from_dtype(dtype).pack())
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        got = Schema.unpack(bytes(packed))
    except FormatError:
        return
    assert Schema.unpack(got.pack()).dtype == got.dtype


@given(structured_dtypes(), st.data())
def test_cut_records_raise(dtype, data):
    packed = Schema.from_dtype(dtype).pack()
    with pytest.raises(CorruptDataError):
        Schema.unpack(packed[: data.draw(st.integers(0, len(packed) - 1))])
    with pytest.raises(CorruptDataError):
        Schema.unpack(packed + b"\0")
