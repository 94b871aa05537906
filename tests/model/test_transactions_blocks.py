"""Transactions in one thread: all or nothing, savepoints, begin and commit by hand."""

from __future__ import annotations

import copy
import time
import warnings
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import kist

ROWS = np.array([(1, 2.0), (3, 4.0)], "i4,f8")


@pytest.fixture
def store(path: Path) -> Any:
    with kist.open(path, "w") as store:
        store["t"] = ROWS
        store.attrs["n"] = 1
        yield store


def contents(store: kist.Store) -> dict[str, Any]:
    """Everything in a store, to compare."""
    found: dict[str, Any] = {"/": dict(store.attrs)}
    store.visititems(
        lambda path, node: found.__setitem__(
            path, (dict(node.attrs), None if isinstance(node, kist.Group) else node[:].tolist())
        )
    )
    return found


def test_a_transaction_is_one_commit_with_a_message(store: kist.Store, path: Path) -> None:
    before = store.commit_id
    with kist.open(path) as reader, store.transaction(message="nightly") as txn:
        store["t"].append(ROWS)
        store["u"] = ROWS
        store.attrs["n"] = 2
        assert txn.id is None
        assert len(store["t"]) == 4, "it sees its own changes"
        reader.refresh()
        assert contents(reader)["/"] == {"n": 1}, "and nobody else does"
        assert "u" not in reader
    assert txn.id == store.commit_id == before + 1
    newest = store.history()[0]
    assert (newest.id, newest.message) == (txn.id, "nightly")
    assert len(store["t"]) == 4


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_any_exception_rolls_everything_back(store: kist.Store, error: type[BaseException]) -> None:
    before = contents(store), store.commit_id
    with pytest.raises(error), store.transaction():
        store["t"].append(ROWS)
        store["u/v"] = ROWS
        store.attrs["n"] = 2
        del store["t"]
        raise error
    assert (contents(store), store.commit_id) == before
    store["t"].append(ROWS)
    assert len(store["t"]) == 4
    assert store.check().ok


def test_a_block_within_a_block_is_a_savepoint(store: kist.Store) -> None:
    with store.transaction() as outer:
        store.attrs["a"] = 1
        with pytest.raises(RuntimeError), store.transaction() as inner:
            store.attrs["b"] = 2
            store["t"].append(ROWS)
            with store.transaction():
                store.attrs["c"] = 3
            raise RuntimeError
        assert inner.id is None
        with store.transaction() as second:
            store.attrs["d"] = 4
        assert second.id is None
        assert dict(store.attrs) == {"a": 1, "d": 4, "n": 1}
    assert outer.id == second.id == store.commit_id
    assert dict(store.attrs) == {"a": 1, "d": 4, "n": 1}
    assert len(store["t"]) == 2


def test_a_step_that_fails_inside_leaves_no_half_of_itself(store: kist.Store) -> None:
    with store.transaction():
        store.attrs["a"] = 1
        with pytest.raises(kist.DTypeError):
            store.attrs.update(b=2, c=object())
        with pytest.raises(kist.NodeExistsError):
            store.copy("t", "t")
        with pytest.raises(kist.KistError):
            store.copy("t", "t/below")
    assert dict(store.attrs) == {"a": 1, "n": 1}
    assert list(store) == ["t"]


def test_a_transaction_without_changes_makes_no_commit(store: kist.Store) -> None:
    before = store.commit_id
    with store.transaction() as txn:
        pass
    assert store.commit_id == before == txn.id


def test_a_transaction_begins_with_the_newest_commit(store: kist.Store, path: Path) -> None:
    with kist.open(path, "r+") as other:
        assert other.attrs["n"] == 1
        store.attrs["n"] = 5
        with other.transaction():
            other.attrs["n"] += 1
        assert store.attrs["n"] == 6


def test_a_transaction_object_serves_once(store: kist.Store) -> None:
    txn = store.transaction()
    with txn:
        store.attrs["n"] = 2
        with pytest.raises(kist.TransactionError, match="used before"):
            txn.__enter__()
    with pytest.raises(kist.TransactionError, match="used before"):
        txn.__enter__()
    assert str(txn.id) in repr(txn)


def test_begin_and_commit_by_hand(store: kist.Store, path: Path) -> None:
    store.begin()
    store.attrs["n"] = 2
    with kist.open(path) as reader:
        assert reader.attrs["n"] == 1
    done = store.commit("by hand")
    assert done == store.commit_id
    assert store.history()[0].message == "by hand"
    store.begin()
    store.attrs["n"] = 3
    with store.transaction():
        store.attrs["m"] = 1
    assert store.history()[0].id == done
    store.rollback()
    assert dict(store.attrs) == {"n": 2}


def test_begin_commit_and_rollback_out_of_order_raise(store: kist.Store) -> None:
    for end in (store.commit, store.rollback):
        with pytest.raises(kist.TransactionError, match="begin"):
            end()
    store.begin()
    with pytest.raises(kist.TransactionError, match="open already"):
        store.begin()
    store.rollback()
    with store.transaction():
        for use in (store.commit, store.rollback):
            with pytest.raises(kist.TransactionError, match="with-block"):
                use()
        with pytest.raises(kist.TransactionError):
            store.begin()
        store.attrs["n"] = 2
    assert store.attrs["n"] == 2


@pytest.mark.parametrize(
    "use", [lambda s: s.tag("v"), lambda s: s.untag("v"), lambda s: s.compact()]
)
def test_upkeep_is_not_possible_inside_a_transaction(store: kist.Store, use: Any) -> None:
    with store.transaction(), pytest.raises(kist.TransactionError, match="inside a transaction"):
        use(store)


def test_closing_rolls_a_pending_begin_back(path: Path) -> None:
    with kist.open(path, "w") as store:
        store.attrs["n"] = 1
        store.begin()
        store.attrs["n"] = 2
    with kist.open(path, "r+", timeout=0.1) as store:
        assert store.attrs["n"] == 1
        store.attrs["n"] = 3, "and the lock is free"


def test_closing_inside_a_transaction_commits_nothing(path: Path) -> None:
    store = kist.open(path, "w")
    store.attrs["n"] = 1
    with pytest.raises(kist.TransactionClosedError), store.transaction():
        store.attrs["n"] = 2
        store.close()
    with kist.open(path) as store:
        assert store.attrs["n"] == 1


def test_an_iterator_keeps_the_snapshot_it_began_with(store: kist.Store) -> None:
    held = store._hold()
    store.attrs["n"] = 2
    assert store.attrs._get_in(held.view, "n") == 1
    held.release()
    held.release()


def test_history_names_only_what_can_be_opened(store: kist.Store, path: Path) -> None:
    with store.transaction("one"):
        store.attrs["n"] = 2
    one = store.commit_id
    assert store.tag("v1") == one
    for n in range(3, 60):
        store.attrs["n"] = n
    commits = store.history()
    assert [c.id for c in commits] == sorted((c.id for c in commits), reverse=True)
    assert all(c.time.tzinfo is not None for c in commits)
    tagged = [c for c in commits if c.tags]
    assert [(c.id, c.tags, c.message) for c in tagged] == [(one, ("v1",), "one")]
    for commit in commits:
        with kist.open(path, version=commit.id) as old:
            assert old.commit_id == commit.id
    with kist.open(path, version="v1") as old:
        assert old.attrs["n"] == 2
        assert "version 'v1'" in repr(old)
        with pytest.raises(kist.SnapshotError, match="version="):
            old.refresh()
        with pytest.raises(kist.ReadOnlyError, match="cannot change"):
            old.attrs["n"] = 5


def test_tags_keep_a_commit_until_they_go(store: kist.Store, path: Path) -> None:
    store.tag("old")
    kept = store.tags["old"]
    for n in range(200):
        store.attrs["n"] = n
    assert dict(store.tags) == {"old": kept}
    with pytest.raises(kist.NodeNameError, match="move=True"):
        store.tag("old")
    assert store.tag("old", kept) == kept, "the same again does nothing"
    with kist.open(path, version="old") as old:
        assert old.attrs["n"] == 1
    store.tag("old", move=True)
    assert store.tags["old"] != kept
    store.untag("old")
    assert dict(store.tags) == {}
    with pytest.raises(KeyError):
        store.untag("old")
    with pytest.raises(kist.SnapshotExpiredError):
        kist.open(path, version="old")
    with pytest.raises(kist.SnapshotExpiredError):
        kist.open(path, version=10_000_000)


@pytest.mark.parametrize("name", ["", "12", "x" * 300, 5, None])
def test_a_tag_is_text_that_is_no_number(store: kist.Store, name: Any) -> None:
    with pytest.raises(kist.NodeNameError, match="digits"):
        store.tag(name)


def test_many_small_commits_bring_one_warning(path: Path) -> None:
    start = time.monotonic()
    with kist.open(path, "w") as store, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in range(2500):
            store.attrs["n"] = n
    found = [w for w in caught if issubclass(w.category, kist.PerformanceWarning)]
    if time.monotonic() - start < 10:  # slower ones are not due to many commits
        assert len(found) == 1
    for warning in found:
        assert "transaction()" in str(warning.message)
        assert "appender()" in str(warning.message)
        assert warning.filename == __file__


def test_many_steps_in_one_transaction_bring_none(path: Path) -> None:
    with kist.open(path, "w") as store, warnings.catch_warnings():
        warnings.simplefilter("error")
        with store.transaction():
            for n in range(1200):
                store.attrs["n"] = n


step = st.one_of(
    st.tuples(st.just("attr"), st.sampled_from("abc"), st.integers(0, 9)),
    st.tuples(st.just("group"), st.sampled_from("gh"), st.just(0)),
    st.tuples(st.just("del"), st.sampled_from("ghab"), st.just(0)),
    st.tuples(st.just("begin"), st.just(""), st.just(0)),
    st.tuples(st.just("end"), st.just(""), st.booleans()),
)


@hypothesis.given(st.lists(step, max_size=40))
def test_nested_blocks_behave_as_copies_of_a_dict(steps: list[tuple[str, str, int]]) -> None:
    with kist.open(":memory:") as store:
        state: dict[str, Any] = {}
        outer: list[tuple[Any, dict[str, Any]]] = []
        for what, name, value in steps:
            if what == "attr":
                store.attrs[name] = state[name] = value
            elif what == "group" and name not in state:
                state[name] = "group"
                store.create_group(name)
            elif what == "del" and name in state:
                target = store if state.pop(name) == "group" else store.attrs
                del target[name]
            elif what == "begin":
                outer.append((store.transaction(), copy.copy(state)))
                outer[-1][0].__enter__()
            elif what == "end" and outer:
                txn, before = outer.pop()
                if value:
                    txn.__exit__(None, None, None)
                else:
                    txn.__exit__(RuntimeError, RuntimeError(), None)
                    state = before
            found = {**dict(store.attrs), **dict.fromkeys(store, "group")}
            assert found == state
        for txn, _ in reversed(outer):
            txn.__exit__(None, None, None)
        assert {**dict(store.attrs), **dict.fromkeys(store, "group")} == state
        assert store.check().ok
