"""Several handles on one file: each goes on exactly where the others stopped."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kist.engine import Engine
from kist.format import keys
from kist.format.values import pack_record, unpack_record
from kist.storage import MemoryBackend, MemoryFile

NODE = 5


def put(engine: Engine, number: int, payload: bytes = b"x") -> int:
    txn = engine.begin()
    txn.put(keys.group(NODE, number), pack_record(payload))
    return txn.commit()


def shown(engine: Engine) -> dict[int, bytes]:
    found = engine.newest().scan(*keys.groups(NODE))
    return {keys.row_of(key): unpack_record(value)[1] for key, value in found}


def test_a_handle_that_followed_a_checkpoint_goes_on_in_the_other_half(path: Path) -> None:
    first = Engine.open(path, "a")
    second = Engine.open(path, "r+")
    put(first, 0)
    second.newest()
    first.checkpoint()
    second.newest()
    put(second, 1)
    third = Engine.open(path, "r")
    assert shown(first) == shown(second) == shown(third) == {0: b"x", 1: b"x"}
    for engine in (first, second, third):
        engine.close()


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["put", "large", "checkpoint", "look", "reopen"])),
    min_size=2,
    max_size=40,
)


@given(steps=STEPS, modes=st.tuples(*[st.sampled_from(["full", "relaxed", "none"])] * 3))
def test_handles_that_take_turns_lose_nothing(
    steps: list[tuple[int, str]], modes: tuple[str, str, str]
) -> None:
    file = MemoryFile()
    Engine.open_backend(MemoryBackend(file), "a").close()

    def opened(which: int) -> Engine:
        return Engine.open_backend(MemoryBackend(file), "r+", durability=modes[which])  # type: ignore[arg-type]

    engines = [opened(which) for which in range(3)]
    expected: dict[int, bytes] = {}
    for number, (which, step) in enumerate(steps):
        engine = engines[which]
        if step in ("put", "large"):
            payload = b"%d" % number * (1500 if step == "large" else 1)
            put(engine, number % 7, payload)
            expected[number % 7] = payload
        elif step == "checkpoint":
            engine.checkpoint()
        elif step == "look":
            assert shown(engine) == expected
        else:
            engine.close()
            engines[which] = opened(which)
    fresh = Engine.open_backend(MemoryBackend(file), "r")
    assert shown(fresh) == expected
    assert fresh.check() == []
    for engine in (*engines, fresh):
        engine.close()
