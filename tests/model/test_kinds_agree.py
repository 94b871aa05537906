"""The same values as plain, nullable, categorical and text columns answer alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kist

Array = np.ndarray[Any, Any]
TEXT = np.dtypes.StringDType(na_object=None)
WORDS = ["", "a", "ab", "b", "crow", "ä", "zebra finch of some length", "\U0001f600"]


def _table(store: kist.Store, words: list[str | None], numbers: Array, null: Array) -> kist.Table:
    dtype = [
        ("word", TEXT),
        ("kind", kist.categorical(str)),
        ("number", "i4"),
        ("maybe", kist.nullable("i4")),
    ]
    table = store.create_table("t", dtype=dtype)
    step = max(1, len(words) // 3)
    for at in range(0, len(words), step):
        part = slice(at, at + step)
        text = np.array(words[part], TEXT)
        maybe = np.ma.MaskedArray(numbers[part], null[part])
        table.append({"word": text, "kind": text, "number": numbers[part], "maybe": maybe})
    return table


def _made(seed: int, n: int) -> tuple[list[str | None], Array, Array]:
    rng = np.random.default_rng(seed)
    words: list[str | None] = [WORDS[at] for at in rng.integers(0, len(WORDS), n)]
    for at in rng.integers(0, n, n // 50):
        words[at] = None
    return words, rng.integers(-50, 50, n, dtype=np.int32), rng.random(n) < 0.1


@pytest.fixture(params=[60, 40_000], ids=["pieces", "pages"])
def made(request: pytest.FixtureRequest) -> Any:
    words, numbers, null = _made(request.param, request.param)
    with kist.open(":memory:") as store:
        table = _table(store, words, numbers, null)
        yield table, words, numbers, null


CONDITIONS = {
    "{} == 'ab'": lambda w: w == "ab",
    "{} != 'ab'": lambda w: w != "ab",
    "{} < 'b'": lambda w: w < "b",
    "isin({}, ['crow', 'ä', 'nobody'])": lambda w: w in ("crow", "ä"),
    "startswith({}, 'z')": lambda w: w.startswith("z"),
    "~(({0} == 'a') | ({0} == 'b'))": lambda w: w not in ("a", "b"),
    "like({}, '%r%')": lambda w: "r" in w,
}


@pytest.mark.parametrize("text", CONDITIONS)
def test_conditions_on_text_and_categories_agree_with_python(made: Any, text: str) -> None:
    table, words, _, _ = made
    right = [at for at, word in enumerate(words) if word is not None and CONDITIONS[text](word)]
    for name in ("word", "kind"):
        assert table.where(text.format(name)).indices().tolist() == right
        assert table.where(text.format(name)).count() == len(right)


def test_nulls_of_text_and_categories_are_found_and_counted(made: Any) -> None:
    table, words, _, _ = made
    right = [at for at, word in enumerate(words) if word is None]
    for name in ("word", "kind"):
        assert table.where(f"isnull({name})").indices().tolist() == right
        assert table[name].count() == len(words) - len(right)
        half = table[name][len(words) // 3 :]
        assert table.where("number > 0")[name].count() == sum(
            word is not None and number > 0 for word, number in zip(words, made[2], strict=True)
        )
        assert len(half) == len(words) - len(words) // 3


@pytest.mark.parametrize("descending", [False, True])
def test_text_and_categories_sort_as_python_sorts_them(made: Any, descending: bool) -> None:
    table, words, numbers, _ = made
    there = [at for at, word in enumerate(words) if word is not None]
    right = sorted(there, key=lambda at: words[at], reverse=descending)
    right += [at for at, word in enumerate(words) if word is None]
    for name in ("word", "kind"):
        found = table.sort_by(name, descending=descending)
        assert found.indices().tolist() == right
        assert found.limit(5)["number"][:].tolist() == numbers[right[:5]].tolist()
        assert found[name][:].tolist() == [words[at] for at in right]
        some = table.where("number > 10").sort_by(name, descending=descending).indices()
        assert some.tolist() == [at for at in right if numbers[at] > 10]


def test_groups_and_distinct_rows_of_text_and_categories_agree(made: Any) -> None:
    table, words, numbers, _ = made
    keys = [word for word in dict.fromkeys(words) if word is not None]
    right = [(word, sum(w == word for w in words)) for word in sorted(keys)]
    right.append((None, sum(w is None for w in words)))
    first = [words.index(word) for word in dict.fromkeys(words)]
    for name in ("word", "kind"):
        found = table.group_by(name).agg("count", total=("number", "sum"))
        assert list(zip(found[name].tolist(), found["count"].tolist(), strict=True)) == right
        assert found["total"].sum() == numbers.sum()
        assert table.distinct(name).indices().tolist() == sorted(first)
        both = table.distinct(name, "number").indices()
        assert len(both) == len(set(zip(words, numbers.tolist(), strict=True)))


NUMBER_CONDITIONS = {
    "{} == 7": lambda x: x == 7,
    "~({} == 7)": lambda x: x != 7,
    "(0 <= {0}) & ({0} < 20)": lambda x: (x >= 0) & (x < 20),
    "~(({0} >= 0) & ({0} < 20))": lambda x: (x < 0) | (x >= 20),
    "isin({}, [1, 2, 3])": lambda x: np.isin(x, [1, 2, 3]),
    "~isin({}, [1, 2, 3])": lambda x: ~np.isin(x, [1, 2, 3]),
    "{0} * 2 > {0} + 10": lambda x: x > 10,
}


@pytest.mark.parametrize("text", NUMBER_CONDITIONS)
def test_conditions_on_a_nullable_column_are_those_of_its_values(made: Any, text: str) -> None:
    table, _, numbers, null = made
    right = np.flatnonzero(NUMBER_CONDITIONS[text](numbers) & ~null)
    found = table.where(text.format("maybe"))
    assert np.array_equal(found.indices(), right)
    assert found.count() == len(right)
    assert found["number"].sum() == numbers[right].sum()


def test_conditions_that_hold_for_nulls_bring_them(made: Any) -> None:
    table, _, numbers, null = made
    wanted = null | (numbers > 30)
    found = table.where("isnull(maybe) | (maybe > 30)")
    assert np.array_equal(found.indices(), np.flatnonzero(wanted))
    assert np.array_equal(table.where("~isnull(maybe)").indices(), np.flatnonzero(~null))


def test_nulls_are_counted_after_updates_and_deletes(made: Any) -> None:
    table, _, numbers, null = made
    assert table["maybe"].count() == int((~null).sum())
    table.where("number > 40").update({"maybe": None})
    null = null | (numbers > 40)
    assert table["maybe"].count() == int((~null).sum())
    table.where("number < -40").delete()
    kept = numbers >= -40
    assert table["maybe"].count() == int((~null[kept]).sum())
    table.where("number == 5").update({"maybe": 5, "word": "five", "kind": "five"})
    null = null & (numbers != 5)
    assert table["maybe"].count() == int((~null[kept]).sum())
    assert table.where("maybe == 5").count() == int(((numbers == 5) & kept).sum())
    assert table.where("kind == 'five'").count() == int(((numbers == 5) & kept).sum())
    assert table.where("word == 'five'").count() == int(((numbers == 5) & kept).sum())


def test_bitmaps_of_nulls_are_not_mixed_up_between_versions() -> None:
    null = np.arange(70_000) % 3 == 0
    with kist.open(":memory:") as store:
        store["t"] = np.ma.MaskedArray(
            np.zeros(70_000, [("x", "i4")]), np.rec.fromarrays([null], names="x")
        )
        table = store["t"]
        assert table["x"].count() == int((~null).sum())
        assert table.where("x == 0").count() == int((~null).sum())
        table["x"] = np.ma.MaskedArray(np.zeros(70_000, "i4"), ~null)
        assert table.where("x == 0").count() == int(null.sum())
        assert np.array_equal(np.ma.getmaskarray(table["x"][:]), ~null)


def test_a_few_patched_nulls_count() -> None:
    null = np.arange(70_000) % 3 == 0
    with kist.open(":memory:") as store:
        values = np.arange(70_000, dtype="i4")
        dtype = [("n", "i4"), ("x", kist.nullable("i4"))]
        table = store.create_table("t", dtype=dtype)
        table.append({"n": values, "x": np.ma.MaskedArray(values, null)})
        for row, value in ((1, None), (3, 3), (4, None), (4, 4)):
            table.where("n == row", row=row).update({"x": value})
            null[row] = value is None
            assert table["x"].count() == int((~null).sum())
            assert np.array_equal(table.where("isnull(x)").indices(), np.flatnonzero(null))
