"""Rows of plain values that an appender packs: the same rows as by `append`, or looked at there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kist
from kist.model.tables.input.quick import packer_of
from kist.model.tables.stored.schema import facts_of

DTYPES = ["?", "i1", "<i2", ">i4", "<i8", "u1", ">u8", "<f4", ">f8", "S3", "S1"]
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-300, 300),
    st.floats(),
    st.floats(width=32),
    st.binary(max_size=5),
    st.text(max_size=3),
    st.none(),
    st.floats().map(np.float64),
    st.floats(width=32).map(np.float32),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.booleans().map(np.bool_),
    st.integers(0, 255).map(np.uint8),
)


@given(st.lists(st.tuples(st.sampled_from(DTYPES), VALUES), min_size=1, max_size=4), st.booleans())
def test_what_is_packed_is_what_append_would_store(
    fields: list[tuple[str, Any]], aligned: bool
) -> None:
    dtype = np.dtype([(f"f{i}", d) for i, (d, _) in enumerate(fields)], align=aligned)
    row = tuple(value for _, value in fields)
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=dtype)
        packer = packer_of(facts_of(table._state().schema.given))
        assert packer is not None
        packed = packer.pack(row)
        if packed is not None:
            table.append([row])  # does not raise
            found = packer.rows([packed])
            for name in dtype.names or ():
                stored = table[name][:].astype(found.dtype[name])
                assert stored.tobytes() == found[name].tobytes()


@pytest.mark.parametrize(
    ("code", "value"),
    [("i8", 3), ("f8", 0.5), ("?", True), ("S3", b"abc"), ("f4", 0.1), ("u1", np.uint8(7))],
)
def test_plain_values_of_the_columns_are_packed(code: str, value: Any) -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=[("a", code), ("b", "i4")])
        packer = packer_of(facts_of(table._state().schema.given))
        assert packer is not None and packer.pack((value, 1)) is not None
        assert packer.pack((value,)) is None and packer.pack((value, "1")) is None


@pytest.mark.parametrize("code", ["U3", "M8[s]", "c16", "f2", "(2,)i4", "T", "O"])
def test_other_columns_are_not_packed(code: str) -> None:
    with kist.open(":memory:") as store:
        dtype = kist.nullable("i4") if code == "O" else code
        if code == "T":
            dtype = np.dtypes.StringDType()
        table = store.create_table("t", dtype=[("a", dtype), ("b", "i4")])
        assert packer_of(facts_of(table._state().schema.given)) is None


def test_rows_of_all_kinds_stay_in_their_order() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype="i8,f8")
        with table.appender(rows=7) as add:
            for i in range(0, 100, 5):
                add((i, 0.5))
                add((i + 1, 0.5))
                add({"f0": i + 2, "f1": 0.5})
                add((i + 3, 1))  # an int among floats
                add(np.array([(i + 4, 0.5)], "i8,f8"))
            assert add.n_rows == 100 and add.n_waiting == 100 % 7
        assert table["f0"][:].tolist() == list(range(100))


def test_a_row_that_does_not_fit_is_refused_and_the_others_stay() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=[("n", "i2"), ("s", "S2")])
        with table.appender(rows=1000) as add:
            for row in [(1, b"a"), (2, b"bb"), (3, b"")]:
                add(row)
            for row in [(40_000, b"a"), (1, b"abc"), (1,), (1, b"a", 2), (1.5, b"a"), ("x", b"a")]:
                with pytest.raises((kist.DTypeError, kist.ShapeError)):
                    add(row)
            add((4, b"d"))
        assert table[:].tolist() == [(1, b"a"), (2, b"bb"), (3, b""), (4, b"d")]


def test_columns_that_change_meet_the_next_batch() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=[("a", "i8")])
        with table.appender(rows=4) as add:
            for i in range(6):
                add((i,))
            table.add_column("b", 7)
            add((6,))
            add((7,))
            with pytest.raises(kist.KistError):
                add((8,))
            add((8, 1))
            add((9, 2))
        assert table["a"][:].tolist() == list(range(10))
        assert table["b"][:].tolist() == [7] * 8 + [1, 2]
