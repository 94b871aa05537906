"""Conditions on strings as they are stored give what they give of the strings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import kist
from kist.codecs.strings import StringColumns, block_of, content_of, open_columns, pack_block
from kist.query.bound import parse
from kist.query.members import among_block, among_texts
from kist.query.nodes import BOOL, Column, Member
from kist.query.utf8 import asks_bytes, holds_of_bytes

PLAIN = np.dtypes.StringDType()
DTYPES: list[Any] = [
    PLAIN,
    np.dtypes.StringDType(na_object=None),
    np.dtypes.StringDType(na_object=np.nan),
    np.dtypes.StringDType(na_object="n/a"),
]
CONDITIONS = [
    "s == text",
    "s != text",
    "startswith(s, text)",
    "endswith(s, text)",
    "contains(s, text)",
    "isin(s, [text, other])",
    "s < text",
    "s <= text",
    "s > text",
    "s >= text",
]
# Few letters, so that texts occur in each other; of one, two, three and four bytes.
TEXTS = st.text("abé日🎈", max_size=6)
LONG = st.builds(lambda a, b: a + "0123456789" + b, TEXTS, TEXTS)
EQUAL = st.tuples(st.sampled_from([1, 7, 8, 9, 16, 17]), st.sampled_from(["ab", "éß"])).flatmap(
    lambda x: st.lists(st.text(x[1], min_size=x[0], max_size=x[0]), min_size=1, max_size=8)
)


@given(
    values=st.lists(st.one_of(TEXTS, LONG, st.none()), max_size=30),
    text=st.one_of(TEXTS, LONG),
    other=TEXTS,
    dtype=st.sampled_from(DTYPES),
    cut=st.integers(0, 30),
    condition=st.sampled_from(CONDITIONS),
)
@example(["aa", "", "b"], "ab", "", PLAIN, 0, "contains(s, text)")  # from one string to the next
@example(["b", "a"], "a", "", PLAIN, 0, "contains(s, text)")  # at the start of a string
@example(["", "aé"], "é", "", PLAIN, 0, "contains(s, text)")
@example(["b", "b"], "b" + "a" * 9, "", PLAIN, 0, "contains(s, text)")  # beyond the block
@example(["", "", "a"], "", "", PLAIN, 1, "startswith(s, text)")
@example(["a" * 9, "a" * 8], "a" * 9, "", PLAIN, 0, "endswith(s, text)")
def test_bytes_say_what_strings_say(
    values: list[str | None], text: str, other: str, dtype: Any, cut: int, condition: str
) -> None:
    if dtype == PLAIN:
        values = [value or "" for value in values]
    elif isinstance(dtype.na_object, str):
        values = [dtype.na_object if value is None else value for value in values]
    elif dtype.na_object is not None:
        values = [dtype.na_object if value is None else value for value in values]  # type: ignore[misc]
    strings = np.array(values, dtype)
    part = parse(condition, {"s": dtype}, {"text": text, "other": other})
    blocks = [block_of(half) for half in (strings[:cut], strings[cut:]) if len(half)]
    assert asks_bytes(part)
    found = holds_of_bytes(part, blocks, dtype)
    assert found is not None
    assert found.tolist() == part.evaluate({"s": strings}, len(strings)).tolist()


@given(
    values=EQUAL,
    pick=st.integers(0, 7),
    end=st.sampled_from(["", "a", "b"]),
    cut=st.integers(0, 9),
    condition=st.sampled_from(CONDITIONS),
)
def test_strings_of_one_length_are_compared_where_they_stand(
    values: list[str], pick: int, end: str, cut: int, condition: str
) -> None:
    one = values[pick % len(values)]
    for text in (one + end, one[cut:], one[:cut], one[: max(0, len(one) - cut)] + end):
        strings = np.array(values, PLAIN)
        part = parse(condition, {"s": PLAIN}, {"text": text, "other": values[0]})
        right = part.evaluate({"s": strings}, len(strings)).tolist()
        for block in (block_of(strings), by_columns(strings)):
            found = holds_of_bytes(part, [block], PLAIN)
            assert found is not None
            assert found.tolist() == right


def by_columns(strings: Any) -> StringColumns:
    packed = pack_block(content_of(strings), columns=True)
    found = open_columns(packed, len(strings))
    assert isinstance(found, StringColumns)
    return found


def test_nuls_are_left_to_numpy() -> None:
    strings = np.array(["a\0", "a", "\0b"], PLAIN)
    for condition in ("s == 'a'", "contains(s, 'b')"):
        part = parse(condition, {"s": PLAIN}, {})
        assert holds_of_bytes(part, [block_of(strings)], PLAIN) is None
        assert holds_of_bytes(part, [by_columns(strings[[0, 2]])], PLAIN) is None
    assert not asks_bytes(parse("s == text", {"s": PLAIN}, {"text": "a\0"}))


@pytest.mark.parametrize("condition", ["s < z", "like(s, 'a_b')", "s == z"])
def test_other_conditions_take_the_strings(condition: str) -> None:
    assert not asks_bytes(parse(condition, {"s": PLAIN, "z": PLAIN}, {}))


def test_rows_of_a_table_are_those_that_python_finds() -> None:
    rng = np.random.default_rng(5)
    n = 30_000
    numbers = rng.integers(0, 1 << 40, n).tolist()
    texts: list[str | None] = [f"{'wörter' if i % 3 else 'x'}/{k:x}" for i, k in enumerate(numbers)]
    texts[7::50] = [None] * len(texts[7::50])
    values = np.array(texts, np.dtypes.StringDType(na_object=None))
    with kist.open(":memory:") as store:
        table = store.create_table("t", {"n": np.arange(n), "s": values})
        for change in range(3):
            if change == 1:
                table.delete(np.arange(5, n, 9))
                texts = [text for i, text in enumerate(texts) if i not in set(range(5, n, 9))]
            elif change == 2:
                table[100:103] = [(i, "changed/abc") for i in range(3)]
                texts[100:103] = ["changed/abc"] * 3
            one = texts[4321]
            assert one is not None
            for condition, test in {
                f"s == '{one}'": lambda t, one=one: t == one,
                "startswith(s, 'wör')": lambda t: t is not None and t.startswith("wör"),
                "endswith(s, 'abc')": lambda t: t is not None and t.endswith("abc"),
                "contains(s, 'r/1')": lambda t: t is not None and "r/1" in t,
                "contains(s, 'r/1') & ~startswith(s, 'x') & (n > 500)": None,
            }.items():
                found = table.where(condition)["s"][:].tolist()
                if test is None:
                    kept = table["n"][:].tolist()
                    wanted = [
                        t
                        for t, k in zip(texts, kept, strict=True)
                        if t is not None and "r/1" in t and not t.startswith("x") and k > 500
                    ]
                else:
                    wanted = [t for t in texts if test(t)]
                assert found == wanted and wanted
                assert table.where(condition).count() == len(wanted)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("n_letters", [2, 26])
def test_members_are_found_among_many_strings_of_one_length(length: int, n_letters: int) -> None:
    rng = np.random.default_rng(length)
    letters = rng.integers(97, 97 + n_letters, (5_000, length)).astype(np.uint8)
    plain = letters.view(f"S{length}")[:, 0].astype(f"U{length}")
    strings = plain.astype(PLAIN)
    for others in (plain[:1], plain[:5], plain[7:9], np.array(["a" * length, "zz"])):
        part = parse("isin(s, others)", {"s": PLAIN}, {"others": others.tolist()})
        found = holds_of_bytes(part, [by_columns(strings)], PLAIN)
        assert found is not None
        assert np.array_equal(found, np.isin(plain, others))


def test_what_is_missing_is_among_no_strings() -> None:
    values = np.array(["", None, "a", "b" * 20], np.dtypes.StringDType(na_object=None))
    for wanted, right in (
        (["", "x"], [True, False, False, False]),
        (["b" * 20], [False] * 3 + [True]),
    ):
        node = Member(BOOL, Column(values.dtype, "s"), np.array(wanted, PLAIN))
        assert among_texts(values, node).tolist() == right
        assert among_block(block_of(values), node).tolist() == right
