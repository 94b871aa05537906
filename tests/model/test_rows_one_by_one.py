"""Rows of plain values that are packed at once: as if they were looked at closely, or looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kist
from kist.model.tables.changes import few
from kist.model.tables.input.quick import packer_of
from kist.model.tables.stored.schema import facts_of

DTYPES = ["?", "i1", "<i2", ">i4", "<i8", "u1", ">u8", "<f4", ">f8", "S3", "S1"]
DTYPES += ["<U3", ">U1", "<M8[s]", ">M8[ms]", "<m8[us]"]
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
    st.sampled_from(["", "a", "a\0", "\0b", "\ud800", "\U0001f600"]),
    st.text(max_size=3).map(np.str_),
    st.builds(
        np.datetime64, st.integers(-(2**63), 2**63 - 1), st.sampled_from(["s", "ms", "us", "D"])
    ),
    st.builds(np.timedelta64, st.integers(-(2**40), 2**40), st.sampled_from(["us", "s"])),
    st.sampled_from([np.datetime64("NaT"), np.datetime64("NaT", "s"), np.timedelta64("NaT")]),
)
UNITS = st.sampled_from(["s", "ms", "us", "D"])
NEARLY: dict[str, st.SearchStrategy[Any]] = {
    "U": st.text("a\0\u00e9", max_size=4),
    "S": st.binary(max_size=4) | st.sampled_from([b"\0", b"a\0"]),
    "M": st.builds(np.datetime64, st.integers(-5, 2**40) | st.just("NaT"), UNITS),
    "m": st.builds(np.timedelta64, st.integers(-5, 2**40) | st.just("NaT"), UNITS),
    "f": st.floats() | st.integers(-3, 3),
    "i": st.integers(-(2**33), 2**33),
    "u": st.integers(-1, 300),
    "b": st.booleans(),
}
"""Values that fit columns of a kind, or nearly."""


def field(code: str) -> st.SearchStrategy[tuple[str, Any]]:
    """A column of a dtype and a value, which mostly fits."""
    nearly = NEARLY[np.dtype(code).kind]
    return st.tuples(st.just(code), st.integers(0, 9).flatmap(lambda n: nearly if n else VALUES))


FIELDS = st.sampled_from(DTYPES).flatmap(field)


@given(st.lists(FIELDS, min_size=1, max_size=3), st.booleans())
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
            table.append(iter([row]))  # is looked at closely, and does not raise
            found = packer.rows([packed])
            for name in dtype.names or ():
                stored = table[name][:].astype(found.dtype[name])
                assert stored.tobytes() == found[name].tobytes()


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("i8", 3),
        ("f8", 0.5),
        ("?", True),
        ("S3", b"abc"),
        ("f4", 0.1),
        ("u1", np.uint8(7)),
        ("U3", "abc"),
        ("U3", np.str_("\u00e9")),
        ("M8[s]", np.datetime64("2020-01-01", "s")),
        (">m8[us]", np.timedelta64(5, "us")),
    ],
)
def test_plain_values_of_the_columns_are_packed(code: str, value: Any) -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=[("a", code), ("b", "i4")])
        packer = packer_of(facts_of(table._state().schema.given))
        assert packer is not None and packer.pack((value, 1)) is not None
        assert packer.pack((value,)) is None and packer.pack((value, "1")) is None


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("M8[ms]", np.datetime64(5, "s")),  # another number there
        ("M8[s]", np.datetime64(5, "us")),
        ("m8[us]", np.timedelta64(5, "s")),
        ("M8[s]", np.datetime64("NaT")),  # of no unit
        ("U3", "ab\0"),  # would lose its end
        ("U3", "abcd"),
        ("U3", "\ud800"),
        ("S3", b"ab\0"),
        ("S3", b"abcd"),
        ("i1", 128),
        ("f4", 1e300),
    ],
)
def test_values_that_would_be_another_one_are_looked_at(code: str, value: Any) -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=[("a", code), ("b", "i4")])
        packer = packer_of(facts_of(table._state().schema.given))
        assert packer is not None and packer.pack((value, 1)) is None
        assert packer.records([(value, 1)]) is None and packer.records({"a": value, "b": 1}) is None


def test_a_dict_gives_all_fields_and_no_other() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype="i8,f8")
        packer = packer_of(facts_of(table._state().schema.given))
        assert packer is not None
        found = packer.records({"f1": 0.5, "f0": 3})
        assert found is not None and found.tolist() == [(3, 0.5)]
        assert packer.records({"f1": 0.5}) is None
        assert packer.records({"f1": 0.5, "f0": 3, "f2": 1}) is None
        assert packer.records([]) is None and packer.records([(1, 0.5)] * 65) is None
        few = packer.records([(1, 0.5), {"f0": 2, "f1": 1.5}])
        assert few is not None and few.tolist() == [(1, 0.5), (2, 1.5)]


@pytest.mark.parametrize("code", ["c16", "f2", "(2,)i4", "T", "O"])
def test_other_columns_are_not_packed(code: str) -> None:
    with kist.open(":memory:") as store:
        dtype = kist.nullable("i4") if code == "O" else code
        if code == "T":
            dtype = np.dtypes.StringDType()
        table = store.create_table("t", dtype=[("a", dtype), ("b", "i4")])
        assert packer_of(facts_of(table._state().schema.given)) is None


@given(
    st.lists(FIELDS, min_size=1, max_size=3),
    st.sampled_from(["tuple", "dict", "list", "reversed dict", "dict of more"]),
    st.booleans(),
)
def test_one_row_is_appended_as_if_it_was_looked_at_closely(
    fields: list[tuple[str, Any]], form: str, inside: bool
) -> None:
    dtype = np.dtype([(f"f{i}", d) for i, (d, _) in enumerate(fields)])
    row = tuple(value for _, value in fields)
    names = dtype.names or ()
    given: dict[str, Any] = {
        "tuple": row,
        "dict": dict(zip(names, row, strict=True)),
        "reversed dict": dict(zip(names[::-1], row[::-1], strict=True)),
        "dict of more": {**dict(zip(names, row, strict=True)), "more": 1},
        "list": [row] * 3,
    }
    with kist.open(":memory:") as store:
        quick, close = (store.create_table(name, dtype=dtype) for name in ("quick", "close"))
        for table in (quick, close):
            table.append(np.zeros(1, dtype))  # from here on the handle knows where it ends
        data = given[form]
        closely = data if form == "dict of more" else iter([row] * (3 if form == "list" else 1))
        failed = []
        for table, rows in ((quick, data), (close, closely)):
            try:
                if inside:
                    with store.transaction():
                        table.append(rows)
                else:
                    table.append(rows)
                failed.append("")
            except kist.KistError as error:
                failed.append(type(error).__name__)
        assert failed[0] == failed[1]
        assert quick[:].tobytes() == close[:].tobytes() and store.check().ok


TEXTS = st.text("a\0\u00e9\U0001f600", max_size=5) | st.sampled_from(
    ["x" * 255, "x" * 256, "\ud800"]
)
STRINGS = [np.dtypes.StringDType(), np.dtypes.StringDType(na_object=None)]
STRINGS += [np.dtypes.StringDType(na_object=np.nan), np.dtypes.StringDType(na_object="none")]


@st.composite
def tables_with_text(draw: st.DrawFn) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """Columns, of which one or more are of text, and some rows that mostly fit."""
    kinds = draw(st.lists(st.sampled_from([*STRINGS, "<i8", ">f8", "S3", "<U3"]), max_size=3))
    at = draw(st.integers(0, len(kinds)))
    kinds[at:at] = [draw(st.sampled_from(STRINGS))]
    values = {
        "T": TEXTS | (st.none() if draw(st.booleans()) else TEXTS),
        "i": st.integers(-5, 5),
        "f": st.floats(),
        "S": st.binary(max_size=2),
        "U": st.text("ab", max_size=3),
    }
    row = st.tuples(*(values[np.dtype(kind).kind] for kind in kinds))
    return (
        {f"c{i}": kind for i, kind in enumerate(kinds)},
        draw(st.lists(row, min_size=1, max_size=4)),
    )


def key_of(values: Any) -> list[Any]:
    return [repr(value) if value != value else value for value in values.tolist()]


@given(tables_with_text(), st.sampled_from(["list", "dicts", "one by one"]), st.booleans())
def test_rows_with_text_are_appended_as_if_they_were_looked_at_closely(
    given_: tuple[dict[str, Any], list[tuple[Any, ...]]], form: str, reorder: bool
) -> None:
    columns, rows = given_
    names = list(columns)
    with kist.open(":memory:") as store:
        quick, close = (store.create_table(name, dtype=columns) for name in ("quick", "close"))
        if reorder:
            for table in (quick, close):
                table.reorder(names[::-1])
            names, rows = names[::-1], [row[::-1] for row in rows]
        for table in (quick, close):
            table.append({name: [] for name in names})  # from here on it is known where it ends
        dicts = [dict(zip(names, row, strict=True)) for row in rows]
        steps: list[Any] = {"list": [rows], "dicts": [dicts], "one by one": rows}[form]
        for step in steps:
            failed = []
            for table, data in (
                (quick, step),
                (close, iter(step if form != "one by one" else [step])),
            ):
                try:
                    table.append(data)
                    failed.append("")
                except kist.KistError as error:
                    failed.append(type(error).__name__)
            assert failed[0] == failed[1]
        assert len(quick) == len(close)
        for name in names:
            assert key_of(quick[name][:]) == key_of(close[name][:])
        assert store.check().ok
        store.compact()
        assert key_of(quick[names[0]][:]) == key_of(close[names[0]][:])


def test_rows_with_text_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    real = few.end_of
    monkeypatch.setattr(few, "end_of", lambda state: looks.append(1) or real(state))
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype={"n": "i8", "s": STRINGS[1]})
        table.append((0, "first"))
        for i in range(1, 9):
            table.append((i, f"row {i}") if i % 2 else {"s": None, "n": i})
        table.append([(9, "a"), (10, "b")])
        assert looks == [1]
        assert table["n"][:].tolist() == list(range(11))
        assert table["s"][:4].tolist() == ["first", "row 1", None, "row 3"]
        for strange in ({"n": 1, "s": "a", "more": 2}, {"n": 1}, (1,), (1, "a", 2), (1, b"a")):
            with pytest.raises((kist.DTypeError, kist.ShapeError)):
                table.append(strange)
        table.append((11, "x" * 5000))  # longer than a record is
        assert table["s"][11] == "x" * 5000


def test_a_row_of_another_table_is_matched_by_name() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype="i8,f8")
        table.append(np.array([(1, 0.5)], "i8,f8"))
        swapped = np.array([(2.5, 7)], [("f1", "f8"), ("f0", "i8")])
        for row in (table[0], swapped[0], np.rec.array(swapped)[0]):
            assert table.append(row) == 1
        assert table[:].tolist() == [(1, 0.5), (1, 0.5), (7, 2.5), (7, 2.5)]


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
