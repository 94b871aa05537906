"""The changes of a root commit: records of space are put among those of users."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kist.engine.rootcommit import Batch, put_more

KEYS = st.binary(max_size=2)
CHANGES = st.dictionaries(KEYS, st.none() | st.binary(max_size=1), max_size=30)


class _Counted(list[Any]):
    """A list that counts how often what stands behind a place is moved."""

    moves = 0

    def insert(self, at: Any, item: Any) -> None:
        self.moves += 1
        super().insert(at, item)

    def __setitem__(self, at: Any, items: Any) -> None:
        self.moves += isinstance(at, slice)
        super().__setitem__(at, items)


@given(CHANGES, CHANGES)
def test_what_is_put_counts_and_keys_stay_ascending(
    before: dict[bytes, bytes | None], more: dict[bytes, bytes | None]
) -> None:
    whole = dict(sorted(before.items()))
    batch: Batch = list(whole), list(whole.values())
    put_more(batch, more)
    expected = dict(sorted({**before, **more}.items()))
    assert batch == (list(expected), list(expected.values()))


def test_many_records_move_a_long_batch_once() -> None:
    keys = _Counted(b"K%06d" % i for i in range(1_000))
    values = _Counted([b""] * len(keys))
    put_more((keys, values), {b"F%06d" % i: None for i in range(500)})
    assert len(keys) == 1_500 and keys == sorted(keys)
    assert keys.moves == values.moves == 1
