"""Ten rows or one key at a time: what a handle knows of its last commit is never out of date."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.errors import StaleHandleError
from kist.format import keys
from kist.model import tables
from kist.model.tables.stored.records import TAIL_ROW

DTYPE = np.dtype([("a", "<i8"), ("b", "<f4"), ("c", "S3")])
OTHER = np.dtype([("b", "<f8"), ("a", "<i2"), ("c", "S1")])


def rows(n: int, first: int = 0, dtype: np.dtype[Any] = DTYPE) -> np.ndarray[Any, Any]:
    found = np.zeros(n, dtype)
    found["a"] = np.arange(first, first + n)
    found["b"] = found["a"] / 2
    found["c"] = b"x"
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "few.kist"


def quickly(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the appends that needed no look at the table."""
    found: list[int] = []
    few = tables.changes.few
    real = few.end_of

    def end_of(state: Any) -> Any:
        found.append(state.n_rows)
        return real(state)

    monkeypatch.setattr(few, "end_of", end_of)
    return found


def test_appends_of_one_handle_look_at_the_table_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = quickly(monkeypatch)
    with kist.open(path, "w") as store:
        table = store.create_table("t", rows(0))
        for i in range(8):
            table.append(rows(10, 10 * i))
        assert looks == [0]
        assert np.array_equal(table[:], rows(80))


def test_a_key_at_a_time_counts_as_many_at_once(path: Path) -> None:
    with kist.open(path, "w") as store:
        one, all_ = store.create_keystore("one"), store.create_keystore("all")
        items = {"a": 1, "b": "text", "c": np.arange(5), "é": None}
        for key, value in items.items():
            one[key] = value
        one["b"] = "longer text"
        del one["a"]
        all_.update({**{k: v for k, v in items.items() if k != "a"}, "b": "longer text"})
        assert (len(one), one.nbytes) == (len(all_), all_.nbytes) and list(one) == list(all_)


def stored(store: Any, table: Any) -> list[tuple[bytes, bytes]]:
    """Records of a table's rows; of the tail all but the stamp."""
    view, tail = store._view(), keys.group(table._id, TAIL_ROW)
    pairs = view.scan(*keys.groups(table._id))
    return [(k[8:], v[:-8] if k == tail else v) for k, v in pairs]


@pytest.mark.parametrize("durability", ["full", "relaxed"])
@pytest.mark.parametrize("n", [1, 10, 16, 17, 150, 250, 300])
def test_few_rows_stand_in_the_file_as_other_appends_put_them(
    path: Path, durability: Any, n: int
) -> None:
    data = rows(n)
    with kist.open(path, "w", durability=durability) as store:
        few, other = store.create_table("few", data[:0]), store.create_table("other", data[:0])
        for _ in range(3):
            few.append(data)
            other.append(iter([data]))
        assert stored(store, few) == stored(store, other)
        assert few[:].tobytes() == other[:].tobytes() == np.tile(data, 3).tobytes()
        assert not store.check().problems


def test_strided_and_readonly_rows_are_copied(path: Path) -> None:
    data = rows(40)
    data.flags.writeable = False
    with kist.open(path, "w") as store:
        table = store.create_table("t", data[:0])
        given_rows = rows(10)
        table.append(given_rows)
        given_rows[:] = rows(10, 500)
        table.append(data[::-3])
        assert np.array_equal(table[:], np.concatenate([rows(10), data[::-3]]))


def test_steps_of_one_transaction_build_on_each_other(path: Path) -> None:
    with kist.open(path, "w") as store:
        table, runs = store.create_table("t", rows(0)), store.create_keystore("k")
        table.append(rows(10))
        with store.transaction():
            table.append(rows(10, 10))
            table.append(rows(10, 20))
            table.append(rows(10, 30))
        runs["a"] = 1
        with store.transaction():
            runs["b"] = 2
            runs["c"] = 3
        assert np.array_equal(table[:], rows(40)) and len(runs) == 3
        assert not store.check().problems


def test_what_was_rolled_back_is_not_built_on(path: Path) -> None:
    with kist.open(path, "w") as store:
        table, runs = store.create_table("t", rows(0)), store.create_keystore("k")
        table.append(rows(10))
        with pytest.raises(ZeroDivisionError), store.transaction():
            table.append(rows(10, 100))
            runs["a"] = 1
            raise ZeroDivisionError
        table.append(rows(10, 10))
        runs["b"] = 2
        with store.transaction():
            with pytest.raises(ZeroDivisionError), store.transaction():
                table.append(rows(10, 200))
                raise ZeroDivisionError
            table.append(rows(10, 20))
            table.append(rows(10, 30))
        assert np.array_equal(table[:], rows(40)) and dict(runs) == {"b": 2} and len(runs) == 1
        assert not store.check().problems


def test_a_failed_append_leaves_what_was_known(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kist.open(path, "w") as store:
        table = store.create_table("t", rows(0))
        table.append(rows(10))
        with monkeypatch.context() as patch:
            patch.setattr(tables.changes.few, "remember", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                table.append(rows(10, 100))
        table.append(rows(10, 10))
        assert np.array_equal(table[:], rows(20))


def test_a_table_that_is_gone_takes_no_rows(path: Path) -> None:
    with kist.open(path, "w") as store, kist.open(path, "r+") as second:
        table = store.create_table("t", rows(0))
        table.append(rows(10))
        del second["t"]
        with pytest.raises(StaleHandleError):
            table.append(rows(10))
        again = store.create_table("t", rows(0))
        again.append(rows(5))
        del store["t"]
        with pytest.raises(StaleHandleError):
            again.append(rows(10))


def new_column(table: Any) -> None:
    table.add_column("d", np.arange(len(table)))


def indexed(table: Any) -> None:
    table.create_index("a", unique=True)


def computed(table: Any) -> None:
    table.add_column("d", kist.expr("a + 1"))


CHANGES: list[Callable[[Any], Any]] = [
    new_column,
    indexed,
    computed,
    lambda table: table.delete(3),
    lambda table: table.update({"b": 7}),
    lambda table: table.append((1, 2.0, b"y")),
    lambda table: table.rename_column("c", "e"),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("through", ["same", "other", "transaction"])
def test_a_change_in_between_is_noticed(path: Path, change: Any, through: str) -> None:
    def steps(store: Any, table: Any, changed: Any) -> Any:
        table.append(rows(10))
        if through == "transaction":
            with store.transaction():
                change(changed)
        else:
            change(changed)
        for more in (rows(10, 10), rows(3, 20)):
            data = np.zeros(len(more), [(n, table.dtype[n]) for n in given_names(table)])
            for name in data.dtype.names or ():
                data[name] = more[name if name in more.dtype.names else "a"]
            table.append(data)
        return table[:]

    with kist.open(path, "w") as store, kist.open(path, "r+") as second:
        table = store.create_table("t", rows(0))
        other = second["t"] if through == "other" else table
        found = steps(store, table, other)
        with kist.open(":memory:") as plain:
            # Through handles that know nothing: each step asks for a new one.
            wanted = steps(plain, Fresh(plain, plain.create_table("t", rows(0))), Fresh(plain))
        assert found.tobytes() == wanted.tobytes()
        assert not store.check().problems
    with kist.open(path) as store:
        assert store["t"][:].tobytes() == wanted.tobytes()


def given_names(table: Any) -> list[str]:
    return [name for name in table.dtype.names if name != "d" or table["d"].expression is None]


class Fresh:
    """A table through a new handle each time."""

    def __init__(self, store: Any, _: Any = None) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store["t"], name)

    def __getitem__(self, index: Any) -> Any:
        return self._store["t"][index]

    def __len__(self) -> int:
        return len(self._store["t"])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),  # which handle
            st.sampled_from(["rows", "other dtype", "row", "delete", "transaction", "key", "root"]),
            st.integers(1, 12),
        ),
        max_size=45,
    )
)
def test_handles_in_any_order_are_one_array(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str, int]]
) -> None:
    path = tmp_path_factory.mktemp("few") / "a.kist"
    with kist.open(path, "w") as first, kist.open(path, "r+") as second:
        first.create_table("t", rows(0))
        first.create_keystore("k")
        stores = first, first, second
        handles = [store["t"] for store in stores]
        runs = [store["k"] for store in stores]
        model, pairs = rows(0), {}
        for i, (which, what, n) in enumerate(steps):
            table, new = handles[which], rows(n, 100 * i)
            if what == "rows":
                table.append(new)
            elif what == "other dtype":
                new = rows(n, i, OTHER)
                table.append(new)
                new = rows(n, i)
            elif what == "row":
                new = new[:1]
                table.append(tuple(new[0].item()))
            elif what == "delete":
                model = np.delete(model, range(min(n, len(model))))
                table.delete(slice(0, n))
                new = new[:0]
            elif what == "transaction":
                with stores[which].transaction():
                    for one in range(n):
                        table.append(new[one : one + 1])
            elif what == "key":
                runs[which][f"k{n}"] = i
                pairs[f"k{n}"] = i
                new = new[:0]
            else:
                stores[which].attrs["note"] = i
                new = new[:0]
            model = np.concatenate([model, new])
            assert len(handles[(which + 1) % 3]) == len(model)
        for store in stores:
            assert store["t"][:].tobytes() == model.tobytes()
            assert dict(store["k"]) == pairs and len(store["k"]) == len(pairs)
        assert not first.check().problems


def test_threads_share_a_handle(path: Path) -> None:
    with kist.open(path, "w", durability="none") as store:
        table, runs = store.create_table("t", rows(0)), store.create_keystore("k")

        def work(number: int) -> None:
            for i in range(25):
                table.append(rows(4, 1000 * number + 4 * i))
                runs[f"{number}-{i}"] = i

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = np.sort(table["a"][:])
        wanted = np.concatenate([np.arange(1000 * n, 1000 * n + 100) for n in range(4)])
        assert np.array_equal(found, wanted) and len(runs) == len(list(runs)) == 100
        assert not store.check().problems
