"""Rows sorted and grouped by text whose pages are of all sorts, beside Python's own strings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kist
from kist.model.tables import groupby
from kist.model.tables.query import aggregates, collected, sort

Array = np.ndarray[Any, Any]
PLAIN: Any = np.dtypes.StringDType()
NONE: Any = np.dtypes.StringDType(na_object=None)
NAN: Any = np.dtypes.StringDType(na_object=np.nan)
TEXT: Any = np.dtypes.StringDType(na_object="?")
PAGE = 9_000


def _few(rng: np.random.Generator, n: int) -> list[Any]:
    words = ["", "a", "a\0", "ab", "ä", "eight...", "eight...\0", "\0", "zebra finch"]
    return [words[at] for at in rng.integers(0, len(words), n)]


def _many(rng: np.random.Generator, n: int) -> list[Any]:
    return [f"user{at:06d}" for at in rng.integers(0, 10**6, n)]


def _nuls(rng: np.random.Generator, n: int) -> list[Any]:
    return [f"{at:x}\0{'' if at % 3 else chr(0)}{at % 7 or ''}" for at in rng.integers(0, 10**5, n)]


def _wide(rng: np.random.Generator, n: int) -> list[Any]:
    return [f"größe {at:08d} \U0001f600" for at in rng.integers(0, 10**6, n)]


def _long(rng: np.random.Generator, n: int) -> list[Any]:
    return [f"{at % 50}" * (1 + at % 40) + f"{at}" for at in rng.integers(0, 10**6, n)]


MIXES = {
    "dictionaries": [_few, _few],
    "bytes": [_many, _many, _many],
    "both": [_few, _many, _few],
    "nuls": [_few, _nuls, _many],
    "characters": [_wide, _few],
    "long": [_many, _long],
}
DTYPES = {"plain": PLAIN, "none": NONE, "nan": NAN, "text": TEXT}


def _is_gone(value: Any) -> bool:
    return value is None or value != value


KINDS = [*((mix, "none") for mix in MIXES), ("both", "plain"), ("nuls", "nan"), ("both", "text")]


@pytest.fixture(params=KINDS, ids="-".join)
def made(request: pytest.FixtureRequest) -> Any:
    mix, name = request.param
    dtype = DTYPES[name]
    rng = np.random.default_rng(len(mix) + 10 * len(name))
    words: list[Any] = []
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype={"s": dtype, "n": "i4"})
        for make in MIXES[mix]:
            part = make(rng, PAGE)
            if dtype is not PLAIN:
                for at in rng.integers(0, PAGE, PAGE // 50).tolist():
                    part[at] = dtype.na_object
            numbers = rng.integers(0, 4, PAGE, np.int32)
            table.append({"s": np.array(part, dtype), "n": numbers})
            words += part
        table.append({"s": np.array(["last", "last"], dtype), "n": [1, 2]})  # in a piece
        yield table, [*words, "last", "last"], table["n"][:]


def _sorted(words: list[Any], numbers: Array, *, descending: bool) -> list[int]:
    there = [at for at, word in enumerate(words) if not _is_gone(word)]
    right = sorted(there, key=lambda at: words[at].encode(), reverse=descending)
    return right + [at for at, word in enumerate(words) if _is_gone(word)]


@pytest.mark.parametrize("descending", [False, True])
def test_rows_sort_as_python_sorts_strings(made: Any, descending: bool) -> None:
    table, words, numbers = made
    right = _sorted(words, numbers, descending=descending)
    found = table.sort_by("s", descending=descending)
    assert found.indices().tolist() == right
    assert found["n"][:].tolist() == numbers[right].tolist()
    some = table.where("n > 1").sort_by("s", descending=descending)
    assert some.indices().tolist() == [at for at in right if numbers[at] > 1]


def test_text_is_one_of_several_keys(made: Any) -> None:
    table, words, numbers = made
    right = sorted(_sorted(words, numbers, descending=False), key=lambda at: numbers[at])
    assert table.sort_by("n", "s").indices().tolist() == right
    # Rows that are equal in the first key are in the order of the second one.
    key = [(_is_gone(w), "" if _is_gone(w) else w.encode()) for w in words]
    right = sorted(
        range(len(words)), key=lambda at: (key[at][0], key[at][1] or b"", -int(numbers[at]))
    )
    assert table.sort_by("s", "n", descending=[False, True]).indices().tolist() == right


def test_groups_and_distinct_rows_are_those_of_python(made: Any) -> None:
    table, words, numbers = made
    shown = [None if _is_gone(word) else word for word in words]
    counts: dict[Any, int] = {}
    firsts: dict[Any, int] = {}
    for at, word in enumerate(shown):
        counts[word] = counts.get(word, 0) + 1
        firsts.setdefault(word, at)
    keys = sorted((word for word in counts if word is not None), key=str.encode)
    keys += [None] * (None in counts)
    found = table.group_by("s").agg("count", total=("n", "sum"))
    assert [None if _is_gone(word) else word for word in found["s"].tolist()] == keys
    assert found["count"].tolist() == [counts[word] for word in keys]
    assert found["total"].sum() == numbers.sum()
    assert table.distinct("s").indices().tolist() == sorted(firsts.values())
    pairs = set(zip(shown, numbers.tolist(), strict=True))
    assert len(table.group_by("s", "n").agg("count")) == len(pairs)
    assert table.distinct("n", "s").count() == len(pairs)
    some = table.where("n == 3").group_by("s").agg("count")
    assert len(some) == len({word for word, number in pairs if number == 3})


def _best(words: list[Any], *, largest: bool) -> tuple[int, Any]:
    """Return the first place of the largest or smallest word, as Python's bytes sort."""
    there = [(word.encode(), at) for at, word in enumerate(words) if not _is_gone(word)]
    best = (max if largest else min)(word for word, _ in there)
    return min(at for word, at in there if word == best), best.decode()


def test_extremes_and_numbers_of_distinct_texts_are_those_of_python(made: Any) -> None:
    table, words, numbers = made
    if table["s"].dtype is TEXT:  # a missing one is a text like any other here
        words = [str(word) for word in words]
    for condition, kept in (
        ("n >= 0", words),
        ("n > 1", [word for word, n in zip(words, numbers, strict=True) if n > 1]),
        ("n > 3", []),
    ):
        some = table.where(condition)["s"]
        assert some.nunique() == len({word for word in kept if not _is_gone(word)})
        if not kept:
            with pytest.raises(ValueError, match="no row"):
                some.max()
            continue
        for largest, names in ((True, ("max", "argmax")), (False, ("min", "argmin"))):
            place, best = _best(kept, largest=largest)
            assert getattr(some, names[0])() == best
            assert getattr(some, names[1])() == place
    assert table["s"].max() == _best(words, largest=True)[1]
    assert table["s"].argmin() == _best(words, largest=False)[0]
    by_n = table.group_by("n").agg(k=("s", "nunique"), top=("s", "max"))
    for row in by_n:
        mine = [word for word, n in zip(words, numbers, strict=True) if n == row["n"]]
        assert row["k"] == len({word for word in mine if not _is_gone(word)})
        assert row["top"] == _best(mine, largest=True)[1]


@pytest.mark.parametrize("n", [3, 9, 30, 2_000])
def test_rows_among_many_texts_are_found(made: Any, n: int) -> None:
    table, words, _ = made
    there = [word for word in words if not _is_gone(word)]
    rng = np.random.default_rng(n)
    wanted = [there[at] for at in rng.integers(0, len(there), n)]
    wanted += ["nowhere", "no text is as long as this one, and none of its bytes stand in any" * 9]
    found = table.where("isin(s, wanted)", wanted=wanted).indices().tolist()
    every = set(wanted)
    assert found == [at for at, word in enumerate(words) if not _is_gone(word) and word in every]
    found = table.where("not isin(s, wanted)", wanted=wanted).count()
    gone = sum(_is_gone(word) for word in words)
    assert found == sum(word not in every for word in words) - gone * (
        table["s"].dtype is not PLAIN and gone > 0
    )


def test_a_dictionary_is_asked_once_for_extremes(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.array(["red", "green", "blue", "infrared"], NONE)
    column = words[np.random.default_rng(3).integers(0, 4, 50_000)]
    with kist.open(":memory:") as store:
        table = store.create_table("t", {"s": column, "n": np.arange(50_000)})

        def refused(*_: Any, **__: Any) -> None:
            raise AssertionError("strings were made")

        monkeypatch.setattr(aggregates, "read_spans_of", refused)
        monkeypatch.setattr(collected, "read_spans_of", refused)
        assert table["s"].max() == "red" and table["s"].min() == "blue"
        assert table["s"].argmax() == column.tolist().index("red")
        assert table["s"].nunique() == 4
        assert table.where("n < 20000")["s"].nunique() == 4


def test_changed_rows_are_sorted_and_grouped_by_what_they_are_now(made: Any) -> None:
    table, words, numbers = made
    table["s"][7:40] = np.array(["patched"] * 33, table["s"].dtype)
    table.delete([3, 5])
    words[7:40] = ["patched"] * 33
    words = [word for at, word in enumerate(words) if at not in (3, 5)]
    assert table.sort_by("s").indices().tolist() == _sorted(words, numbers, descending=False)
    found = table.group_by("s").agg("count")
    by_word = dict(zip(found["s"].tolist(), found["count"].tolist(), strict=True))
    assert by_word["patched"] == 33
    assert found["count"].sum() == len(words)


def test_no_strings_are_made_to_sort_and_to_group(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    with kist.open(":memory:") as store:
        dtype = {"few": NONE, "many": NONE, "n": "i4"}
        table = store.create_table("t", dtype=dtype)
        few, many = np.array(_few(rng, PAGE), NONE), np.array(_many(rng, PAGE), NONE)
        table.append({"few": few, "many": many, "n": np.arange(PAGE, dtype=np.int32)})
        read: list[str] = []
        for module in (groupby, sort):
            reading = module.read_spans_of

            def noted(state: Any, leaves: Any, *rest: Any, reading: Any = reading) -> Any:
                read.extend(leaf.path[0] for leaf in leaves)
                return reading(state, leaves, *rest)

            monkeypatch.setattr(module, "read_spans_of", noted)
        for name in ("few", "many"):
            assert len(table.sort_by(name)["n"][:]) == PAGE
            assert table.group_by(name).agg(total=("n", "sum"))["total"].sum() == sum(range(PAGE))
            assert table.distinct(name).count() > 1
        assert set(read) <= {"n"}


def test_strings_that_are_damaged_are_named(tmp_path: Any) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "t.kist"
    with kist.open(path, "w") as store:
        store.create_table("t", {"s": np.array(_many(rng, 40_000), PLAIN)})
    data = bytearray(path.read_bytes())
    with kist.open(path) as store:
        state = store["t"]._state()
        (leaf,) = state.schema.stored
        pointer, _ = state.page(leaf, state.layout.group(0))
    data[pointer.offset + pointer.length // 2] ^= 0x55
    path.write_bytes(data)
    with kist.open(path) as store:
        table = store["t"]
        for ask in (
            lambda: table.sort_by("s").indices(),
            lambda: table.group_by("s").agg("count"),
            lambda: table.distinct("s").count(),
        ):
            with pytest.raises(kist.errors.CorruptDataError, match="/t"):
                ask()
