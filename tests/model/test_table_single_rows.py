"""One row at a time: kept windows never show what is no longer there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.errors import CorruptDataError
from kist.model.tables.stored import single
from kist.model.tables.stored.layout import RECENT, forget

DTYPE = np.dtype([("a", "i8"), ("b", "f4"), ("s", "S3"), ("v", "u1", (2, 2))])


def rows_of(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, DTYPE)
    rows["a"] = rng.integers(-9, 10**12, n)
    rows["b"] = rng.normal(size=n)
    rows["s"] = rng.choice([b"abc", b"", b"x"], n)
    rows["v"] = rng.integers(0, 256, (n, 2, 2))
    return rows


def assert_rows(table: Any, expected: np.ndarray, places: list[int]) -> None:
    for place in places:
        row = table[place]
        assert row.tobytes() == expected[place].tobytes()
        assert row.dtype == DTYPE


@settings(max_examples=30)
@given(st.data())
def test_rows_are_those_of_the_moment_whatever_was_changed(data: st.DataObject) -> None:
    expected = rows_of(data.draw(st.sampled_from([3, 1500, 20_000])))
    with kist.open(":memory:") as store:
        table = store.create_table("t", expected)
        for seed in range(4):
            places = data.draw(st.lists(st.integers(-len(expected), len(expected) - 1), max_size=5))
            assert_rows(table, expected, places)
            some = sorted({place % len(expected) for place in places})
            what = data.draw(st.sampled_from(["delete", "append", "set", "roll back", "compact"]))
            if what == "delete" and len(some) < len(expected):
                table.delete(some)
                expected = np.delete(expected, some)
            elif what == "append":
                more = rows_of(7, seed)
                table.append(more)
                expected = np.concatenate([expected, more])
            elif what == "set":
                table.update({"a": seed})
                expected = expected.copy()
                expected["a"] = seed
            elif what == "compact":
                store.compact()
            else:
                with pytest.raises(KeyError), store.transaction():
                    table.update({"a": -seed})
                    table.delete([0])
                    if len(table):
                        assert table[0]["a"] == -seed
                    raise KeyError
        assert_rows(table, expected, [0, -1, len(expected) // 2])


def test_neighbours_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rows_of(20_000)
    calls = []
    real = single._read
    monkeypatch.setattr(single, "_read", lambda *args: calls.append(args[3:]) or real(*args))
    with kist.open(":memory:") as store:
        table = store.create_table("t", expected)
        assert_rows(table, expected, [5000, 5001, 4999, 5000, 5119])
        # Nobody knows whether a second row will be asked for; when it is, all around it are read.
        assert calls == [(5000, 5001), (4096, 5120)]
        assert_rows(table[["a", "b", "s", "v"]], expected, [5000])
        assert len(calls) == 2
        assert_rows(table, expected, [19_999, 19_000, 0])
        assert calls[2:] == [(19_999, 20_000), (19_000, 19_001), (0, 1)]


def test_a_kept_row_does_not_hold_its_neighbours() -> None:
    expected = rows_of(2000)
    with kist.open(":memory:") as store:
        table = store.create_table("t", expected)
        row = table[7]
        with pytest.raises(ValueError, match="read-only"):
            row["a"] = 1
        forget()
        assert row.tobytes() == expected[7].tobytes()
        part = table[["a", "s"]][7]
        assert part["a"] == expected["a"][7]
        assert not RECENT._items or row.base is None or row.nbytes == DTYPE.itemsize


def test_a_damaged_neighbour_harms_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.kist"
    expected = rows_of(20_000)
    with kist.open(path, "w") as store:
        store.create_table("t", expected)
        store.compact()
    monkeypatch.setattr(single, "WINDOW_ROWS", 16_384)  # two blocks of each column
    data = path.read_bytes()
    seen = 0
    for at in range(len(data) - 300_000, len(data), 20_011):
        damaged = bytearray(data)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        forget()
        with kist.open(path) as store:
            table = store["t"]
            for place in (100, 9000, 17_000):
                try:
                    row = table[place]
                except CorruptDataError:
                    seen += 1
                    with pytest.raises(CorruptDataError):
                        table[place : place + 1]
                else:
                    assert row.tobytes() == expected[place].tobytes()
                    assert table[place].tobytes() == row.tobytes()  # with its neighbours, if it can
                    assert table[place : place + 1].tobytes() == row.tobytes()
    assert seen


def test_a_row_is_not_given_out_of_a_damaged_sector(tmp_path: Path) -> None:
    path = tmp_path / "t.kist"
    rows = np.zeros(9000, [("noise", "f8"), ("walk", "i8")])
    rows["noise"] = np.random.default_rng(1).normal(size=9000)
    with kist.open(path, "w") as store:
        store.create_table("t", rows, codec="none")
    data = bytearray(path.read_bytes())
    at = data.index(rows["noise"][100:101].tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    forget()
    with kist.open(path) as store:
        with pytest.raises(CorruptDataError, match="noise"):
            store["t"][101]
        assert store["t"][["walk"]][101]["walk"] == 0


def test_one_row_is_the_same_alone_and_with_its_neighbours() -> None:
    rng = np.random.default_rng(3)
    n = 20_000
    walk = np.round(np.cumsum(rng.normal(size=n)), 2)
    odd = walk.copy()
    odd[rng.integers(0, n, 400)] = np.pi
    columns = {
        "decimals": walk,
        "odd": odd,
        "missing": np.where(rng.random(n) < 0.4, np.nan, walk),
        "noise": rng.normal(size=n),
        "rising": np.cumsum(rng.integers(0, 300, n)),
        "falling": -np.cumsum(rng.integers(0, 300, n)).astype("i4"),
        "turning": np.cumsum(rng.integers(-(2**62), 2**62, n)),
        "times": (np.cumsum(rng.integers(0, 1 << 31, n)) * 1000).view("M8[ns]"),
        "few": rng.choice(np.array([b"ab", b"xyz"]), n),
        "flag": rng.random(n) < 0.5,
        "one": np.full(n, 7, "i2"),
        "big": rng.integers(0, 9, n).astype(">i4"),
        "pair": rng.integers(0, 99, (n, 2)),
        "raw": rng.integers(0, 256, (n, 3), np.uint8).view("V3").ravel(),
    }
    dtype = [(name, c.dtype, c.shape[1:]) for name, c in columns.items()]
    rows = np.zeros(n, dtype)
    for name, column in columns.items():
        rows[name] = column
    with kist.open(":memory:") as store:
        table = store.create_table("t", rows)
        for place in [0, 1, 8191, 8192, n - 1, *rng.integers(0, n, 60).tolist()]:
            forget()
            assert table[place].tobytes() == rows[place].tobytes()
            assert table[place].tobytes() == rows[place].tobytes()


def test_rows_without_bytes_have_no_window() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", np.zeros(3, [("a", "V0")]))
        assert table[1].dtype.names == ("a",)


def test_a_field_without_items_sorts_samples_and_folds_with_the_others() -> None:
    rows = np.zeros(60_000, [("n", "i8"), ("none", "f4", (0,))])
    rows["n"] = np.random.default_rng(0).permutation(60_000)
    with kist.open(":memory:") as store:
        table = store.create_table("t", rows)
        assert table.sort_by("n").limit(3)[:]["n"].tolist() == [0, 1, 2]
        assert table.sort_by("n", descending=True)[:]["n"][:2].tolist() == [59_999, 59_998]
        assert table.sample(5, seed=1)[:]["none"].shape == (5, 0)
        table.delete(np.arange(60_000) % 3 > 0)
        store._session.engine.checkpoint()  # a group that has lost so much is written anew
        assert table[:].tobytes() == rows[::3].tobytes()
        assert table[100]["n"] == rows["n"][300]
