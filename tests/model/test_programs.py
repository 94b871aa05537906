"""Random programs over tables, arrays, key stores and attributes agree with plain NumPy."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.testing.programs import World, take_step

SEEDS = st.integers(0, 2**32)


@settings(max_examples=12, deadline=None)
@given(SEEDS)
def test_programs_agree_with_their_model_before_and_after_reopening(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "s.kist")
        world = World(seed)
        for life in range(3):
            with kist.open(path, "a") as store:
                assert world.differences(store) == [], life
                for _ in range(8):
                    take_step(store, world)
                    world = world.next()
                    assert world.differences(store) == [], world.step
        with kist.open(path) as store:
            assert world.differences(store) == []
            assert store.check().ok


@settings(max_examples=8, deadline=None)
@given(SEEDS)
def test_tags_show_the_world_of_their_time(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "s.kist")
        worlds = {}
        world = World(seed)
        with kist.open(path, "w") as store:
            for step in range(12):
                take_step(store, world)
                world = world.next()
                if step % 4 == 0:
                    store.tag(f"step-{step}")
                    worlds[f"step-{step}"] = world
            store.compact()
            assert world.differences(store) == []
        for tag, then in worlds.items():
            with kist.open(path, version=tag) as store:
                assert then.differences(store) == []


@settings(max_examples=8, deadline=None)
@given(SEEDS)
def test_a_transaction_that_fails_leaves_nothing(seed: int) -> None:
    world = World(seed)
    with kist.open(":memory:") as store:
        for _ in range(6):
            take_step(store, world)
            world = world.next()
        later = world
        try:
            with store.transaction():
                for _ in range(4):
                    take_step(store, later)
                    later = later.next()
                assert later.differences(store) == []
                raise KeyError("not today")
        except KeyError:
            pass
        assert world.differences(store) == []
        assert store.check().ok


def test_a_difference_is_seen() -> None:
    world = World(3)
    with kist.open(":memory:") as store:
        for _ in range(10):
            take_step(store, world)
            world = world.next()
        assert world.differences(store) == []
        for path, value in world.nodes.items():
            with kist.open(":memory:") as other:
                for name in world.nodes:
                    other.copy(store[name], name)
                assert world.differences(other) == []
                if isinstance(value, dict):
                    other[path]["new"] = 1
                elif value.dtype.names:
                    other[path].append(value[:1] if len(value) else np.zeros(1, value.dtype))
                else:
                    other[path].attrs["new"] = 1
                assert world.differences(other) != []
