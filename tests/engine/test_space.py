"""Free and waiting space against sets of units, and what is loaded against what was held."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.engine.space import Space, load_space
from kist.engine.writer import joined
from kist.errors import CorruptDataError
from kist.format import keys
from kist.format.layout import DATA_OFFSET
from kist.format.log import Freed, Record
from kist.format.values import pack_free

UNIT = 64


def units(extents: list[tuple[int, int]]) -> set[int]:
    """Numbers of the units that some extents cover; no unit twice."""
    found = [
        u for offset, length in extents for u in range(offset // UNIT, (offset + length) // UNIT)
    ]
    assert len(found) == len(set(found))
    return set(found)


class Model:
    """A space, the sets that it should hold, and the map that its changes make."""

    def __init__(self) -> None:
        self.space = Space(DATA_OFFSET)
        self.used: dict[int, tuple[int, int]] = {}  # offset -> (length, birth)
        self.waiting: dict[int, Freed] = {}
        self.map: dict[bytes, bytes] = {}
        self.commit = 1

    def allocate(self, n: int, lowest: bool) -> None:
        before = units(self.space.free_extents())
        self.space.lowest = lowest
        offset = self.space.allocate(n * UNIT)
        taken = units([(offset, n * UNIT)])
        beyond = {u for u in taken if u not in before}
        assert not beyond or max(beyond) < self.space.end // UNIT
        assert units(self.space.free_extents()) == before - taken
        self.used[offset] = n * UNIT, self.commit

    def free(self, which: int) -> None:
        if self.used:
            offset = sorted(self.used)[which % len(self.used)]
            length, birth = self.used.pop(offset)
            freed = Freed(offset, length, birth, self.commit)
            self.space.wait([freed])
            self.waiting[offset] = freed

    def release(self, oldest: int, protected: list[int]) -> None:
        self.space.release(oldest, joined([(c, c) for c in protected]))
        for freed in list(self.waiting.values()):
            if freed.freed <= oldest and not any(freed.birth <= c < freed.freed for c in protected):
                del self.waiting[freed.offset]

    def check(self) -> None:
        space = self.space
        free = units(space.free_extents())
        waiting = [(w.offset, w.length) for w in space.waiting_extents()]
        assert waiting == [(f.offset, f.length) for _, f in sorted(self.waiting.items())]
        used = units([(offset, length) for offset, (length, _) in self.used.items()])
        everything = set(range(DATA_OFFSET // UNIT, space.end // UNIT))
        assert free | units(waiting) | used == everything
        assert len(free) + len(units(waiting)) + len(used) == len(everything)
        assert space.free_bytes == len(free) * UNIT
        extents = space.free_extents()
        assert all(a + n < b for (a, n), (b, _) in pairwise(extents))

    def save(self) -> None:
        """What a root commit does with the changes."""
        for key, value in self.space.changes.items():
            if value is None:
                self.map.pop(key, None)
            else:
                self.map[key] = value
        self.space.changes.clear()

    def loaded(self, records: list[Record], end: int, spare: tuple[int, int] = (0, 0)) -> Space:
        def scan(start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
            return [(k, v) for k, v in sorted(self.map.items()) if start <= k < stop]

        return load_space(scan, end, spare, records, self.space.end)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("allocate"), st.integers(1, 9), st.booleans()),
        st.tuples(st.just("free"), st.integers(0, 50), st.just(0)),
        st.tuples(st.just("release"), st.integers(0, 3), st.lists(st.integers(0, 40), max_size=4)),
        st.tuples(st.sampled_from(["commit", "trim", "save"]), st.just(0), st.just(0)),
    ),
    max_size=80,
)


@given(steps=STEPS)
def test_space_is_free_or_waiting_or_used_and_comes_back_from_the_map(
    steps: list[tuple[str, int, object]],
) -> None:
    model = Model()
    for kind, n, more in steps:
        if kind == "allocate":
            model.allocate(n, bool(more))
        elif kind == "free":
            model.free(n)
        elif kind == "release":
            assert isinstance(more, list)
            model.release(max(0, model.commit - n), more)
        elif kind == "trim":
            assert model.space.trim() == model.space.end
        elif kind == "save":
            model.save()
        else:
            model.commit += 1
        model.check()
    model.save()
    again = model.loaded([], model.space.end)
    assert again.free_extents() == model.space.free_extents()
    assert again.waiting_extents() == model.space.waiting_extents()
    assert again.changes == {}


def record(commit: int, used: list[tuple[int, int]], freed: list[Freed]) -> Record:
    return Record(1, commit, 0, 0, 0, 0, 2, bytes(16), used=used, freed=freed)


@given(steps=STEPS, later=STEPS)
def test_space_comes_back_from_the_map_and_the_log(
    steps: list[tuple[str, int, object]], later: list[tuple[str, int, object]]
) -> None:
    # What was released after the root commit is known from the log only by its use.
    model = Model()
    records: list[Record] = []
    end = DATA_OFFSET
    for number, (kind, n, more) in enumerate([*steps, ("save", 0, 0), *later]):
        used, freed = set(model.used), dict(model.waiting)
        if kind == "allocate":
            model.allocate(n, bool(more))
            offset = (set(model.used) - used).pop()
            records.append(record(number, [(offset, n * UNIT)], []))
        elif kind == "free":
            model.free(n)
            new = [f for o, f in model.waiting.items() if o not in freed]
            records.append(record(number, [], new))
        elif kind == "release":
            model.release(max(0, model.commit - n), [])
        elif kind == "save":
            model.save()
            records, end = [], model.space.end
        elif kind == "commit":
            model.commit += 1
    again = model.loaded(records, end)
    # The rest of what was released waits again, until it is released again.
    before = units([(w.offset, w.length) for w in again.waiting_extents()])
    again.release(model.commit, [])
    model.space.release(model.commit, [])
    assert units(again.free_extents()) == units(model.space.free_extents())
    assert before >= units([(w.offset, w.length) for w in model.space.waiting_extents()])
    assert again.end == model.space.end


def test_the_tightest_place_is_taken_and_free_space_at_the_end_before_growing() -> None:
    space = Space(DATA_OFFSET)
    a, _, c, _, e = (space.allocate(n * UNIT) for n in (4, 1, 8, 1, 2))
    space.give(a, 4 * UNIT)
    space.give(c, 8 * UNIT)
    assert space.allocate(3 * UNIT) == a
    assert space.allocate(5 * UNIT) == c
    assert space.allocate(UNIT) == a + 3 * UNIT
    space.give(e, 2 * UNIT)
    assert space.allocate(10 * UNIT) == e
    assert space.end == e + 10 * UNIT


def test_the_rest_of_a_run_is_free_when_loaded() -> None:
    model = Model()
    model.allocate(10, False)
    model.save()
    again = model.loaded([], model.space.end, (DATA_OFFSET + 6 * UNIT, 4 * UNIT))
    assert again.free_extents() == [(DATA_OFFSET + 6 * UNIT, 4 * UNIT)]
    assert list(again.changes) == [keys.free(DATA_OFFSET + 6 * UNIT)]


@pytest.mark.parametrize("offset", [64, DATA_OFFSET + 4096, 1 << 40])
def test_free_space_outside_the_used_part_is_damage(offset: int) -> None:
    entries = [(keys.free(offset), pack_free(4096))]

    def scan(start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
        return [e for e in entries if start <= e[0] < stop]

    end = DATA_OFFSET + 8000
    with pytest.raises(CorruptDataError, match=str(offset)):
        load_space(scan, end, (end, 0), [], end)
