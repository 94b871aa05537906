"""Arrays that a loop fills again for the next row, block or value: all are stored as given."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import kist
from kist.model.keystores import write

N = 60
TEXT = np.dtypes.StringDType()
KINDS: dict[str, Any] = {
    "plain": "f8",
    "nullable": kist.nullable("f8"),
    "sub-array": ("f8", (3,)),
    "ragged": kist.ragged("f8"),
    "text": TEXT,
}
Made = Callable[[str], Iterator[Any]]


def shape_of(kind: str, n: int) -> tuple[int, ...]:
    return (n, 3) if kind in ("sub-array", "ragged") else (n,)


def as_rows(kind: str) -> Iterator[Any]:
    values = np.zeros(shape_of(kind, 1)[1:])
    for i in range(N):
        values[...] = i
        yield i, (str(i) if kind == "text" else values)


def as_dicts(kind: str) -> Iterator[Any]:
    row: dict[str, Any] = {}
    for i, value in as_rows(kind):
        row["i"], row["v"] = i, value
        yield row


def as_lists(kind: str) -> Iterator[Any]:
    cell: list[float] = []
    for i in range(N):
        cell[:] = [i, i, i]
        yield i, (cell if len(shape_of(kind, 1)) == 2 else str(i) if kind == "text" else float(i))


def as_columns(kind: str) -> Iterator[Any]:
    numbers, values = (
        np.zeros(2, "i8"),
        np.zeros(shape_of(kind, 2), TEXT if kind == "text" else "f8"),
    )
    for i in range(0, N, 2):
        numbers[:] = i, i + 1
        values[:] = numbers.reshape(-1, *[1] * (values.ndim - 1))
        yield {"i": numbers, "v": values}


def as_records(kind: str) -> Iterator[Any]:
    item: Any = "U4" if kind == "text" else ("f8", shape_of(kind, 1)[1:])
    records = np.zeros(2, [("i", "i8"), ("v", *(item if type(item) is tuple else (item,)))])
    for i in range(0, N, 2):
        records["i"] = i, i + 1
        records["v"] = records["i"].reshape(-1, *[1] * (records["v"].ndim - 1))
        yield records


def as_voids(kind: str) -> Iterator[Any]:
    for records in as_records(kind):
        yield records[0]
        yield records[1]


def is_right(table: Any, kind: str) -> bool:
    numbers, values = table["i"][:].tolist(), table["v"][:]
    return numbers == list(range(N)) and all(
        (np.asarray(value, "f8") == i).all() and np.shape(value) == shape_of(kind, 1)[1:]
        for i, value in zip(numbers, values, strict=True)
    )


WAYS: list[Made] = [as_rows, as_dicts, as_lists, as_columns, as_records, as_voids]


@pytest.mark.parametrize("made", WAYS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["appender", "append", "create"])
def test_rows(way: str, kind: str, made: Made) -> None:
    dtype = np.dtype([("i", "i8"), ("v", *KINDS[kind])]) if kind == "sub-array" else None
    dtype = [("i", "i8"), ("v", KINDS[kind])] if dtype is None else dtype
    with kist.open(":memory:") as store:
        if way == "create":
            table = store.create_table("t", made(kind), dtype=dtype)
        else:
            table = store.create_table("t", dtype=dtype)
        if way == "append":
            assert table.append(made(kind)) == N
        elif way == "appender":
            with table.appender(rows=10_000) as add:
                for rows in made(kind):
                    add(rows)
        assert is_right(table, kind)


def test_a_short_block_waits_for_a_long_one() -> None:
    def blocks() -> Iterator[Any]:
        buffer = np.zeros(100_000, [("a", "f8")])
        for i, n in enumerate((10, 100_000, 30, 70_000, 5)):
            buffer["a"] = i
            yield buffer[:n]

    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=[("a", "f8")])
        table.append(blocks())
        found = table["a"][:]
    assert np.bincount(found.astype("i8")).tolist() == [10, 100_000, 30, 70_000, 5]
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("kind", ["array", "tuple", "strings", "steps"])
@pytest.mark.parametrize("batch", [1 << 24, 20_000, 1])
def test_values(kind: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "_BATCH_BYTES", batch)
    memory = np.zeros(1200, TEXT if kind == "strings" else "f8")
    given = memory[::2] if kind == "steps" else memory

    def made() -> Iterator[tuple[str, Any]]:
        for i in range(N):
            memory[:] = i
            yield f"{i:02}", ((given, 5, given[:300]) if kind == "tuple" else given)

    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs")
        runs.update(made())
        for i, value in enumerate(runs.values()):
            for one in (value[0], value[2]) if kind == "tuple" else (value,):
                assert (one.astype("f8") == i).all()
        assert len(runs) == N


def test_values_of_a_mapping_that_makes_them() -> None:
    memory = np.zeros(1000)

    class Sensors(UserDict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            memory[:] = int(key)
            return memory

    keys = [str(i) for i in range(N)]
    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs")
        runs.update(Sensors.fromkeys(keys))
        assert all((runs[key] == int(key)).all() for key in keys)


def test_what_waits_in_a_dict_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write.Split, "copied", None)
    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs")
        runs.update({"a": np.arange(900.0), "b": np.arange(800.0)})
        runs.update([("c", np.arange(700.0)), ("d", np.arange(600.0))])
        assert [len(value) for value in runs.values()] == [900, 800, 700, 600]


def test_a_row_with_a_column_in_it_is_refused() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=[("a", "f8"), ("b", "i8")])
        with pytest.raises(kist.ShapeError, match="one value a row"):
            table.append([{"a": np.zeros(2), "b": 1}])
        with pytest.raises(kist.ShapeError, match="one value a row"):
            table.append([(np.zeros(2), 1)])
        assert len(table) == 0


@pytest.mark.parametrize("given", [np.float64(2.5), np.array(2.5), np.array(2.5, "f4")])
def test_a_row_of_arrays_without_axes(given: Any) -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=[("a", "f8"), ("when", "M8[s]")])
        when = np.array("2026-11-22", "M8[D]")
        table.append((given, when))
        table.append([(given, when)])
        table.append({"a": given, "when": when})
        with table.appender() as add:
            add((given, when))
        assert table["a"][:].tolist() == [2.5] * 4
        assert set(table["when"][:]) == {np.datetime64("2026-11-22", "s")}
