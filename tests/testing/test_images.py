"""Crash states are what a disk may show, all of it, and nothing else."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.testing.images import CrashState, crash_states
from kist.testing.recording import Event, RecordingBackend


def recorded(*steps: object) -> RecordingBackend:
    """Backend after (offset, bytes) writes, int resizes, "sync", "fail", and other notes."""
    backend = RecordingBackend()
    backend.sync_directory()
    for step in steps:
        if isinstance(step, tuple):
            backend.write(step[0], [step[1]])
        elif isinstance(step, int):
            backend.resize(step)
        elif step == "sync":
            backend.sync()
        elif step == "fail":
            backend.fail_sync()
        else:
            backend.note(step)
    return backend


def images(backend: RecordingBackend, **more: int) -> set[bytes | None]:
    return {state.image for state in crash_states(backend.log, **more)}


def test_the_log_holds_everything_in_order() -> None:
    backend = recorded((3, b"abc"), 2, "sync", "said", "fail")
    assert backend.log == [
        Event("directory sync"),
        Event("write", 3, b"abc"),
        Event("resize", 2),
        Event("sync"),
        Event("note", note="said"),
        Event("failed sync"),
    ]


def test_any_subset_of_few_unsynced_writes_may_be_there() -> None:
    parts = [(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d")]
    found = images(recorded((0, b"...."), "sync", *parts))
    for members in chain.from_iterable(combinations(parts, n) for n in range(5)):
        image = bytearray(b"....")
        for offset, data in members:
            image[offset : offset + 1] = data
        assert bytes(image) in found
    synced = {image for image in found if image is not None and len(image) == 4}
    assert len({i for i in synced if i != bytes(4)}) == 16


def test_what_was_synced_stays() -> None:
    states = list(crash_states(recorded((0, b"ab"), "sync", (4, b"cd"), "said", (6, b"e")).log))
    later = [s for s in states if s.at > 3]
    assert later
    assert all(s.image is not None and s.image[:2] == b"ab" for s in later)


def test_a_write_may_be_torn_at_512_and_4096_bytes() -> None:
    data = bytes([1]) * 3 * 4096
    found = images(recorded((0, bytes(3 * 4096)), "sync", (0, data)))
    assert data[:512] + bytes(3 * 4096 - 512) in found
    assert data[:4096] + bytes(2 * 4096) in found
    assert bytes(4096) + data[4096:] in found
    assert bytes(3 * 4096 - 512) + data[:512] in found


def test_tears_are_at_blocks_of_the_device_not_of_the_write() -> None:
    found = images(recorded((0, bytes(1024)), "sync", (500, b"x" * 24)))
    assert bytes(500) + b"x" * 12 + bytes(512) in found
    assert bytes(512) + b"x" * 12 + bytes(500) in found


def test_lengths_and_bytes_are_lost_apart() -> None:
    found = images(recorded((0, b"ab"), "sync", (2, b"cd")))
    assert {b"ab", b"abcd"} <= found
    for seed in range(20):
        found |= images(recorded((0, b"ab"), "sync", (2, b"cd")), seed=seed)
    assert b"ab\0\0" in found  # the length without the bytes
    junk = {i for i in found if i and len(i) == 4} - {b"ab\0\0", b"abcd"}
    assert junk and all(image.startswith(b"ab") for image in junk)
    assert b"abc" in found


def test_a_file_whose_name_was_never_synced_may_be_gone() -> None:
    backend = RecordingBackend()
    backend.write(0, [b"a"])
    backend.sync()
    backend.note("acknowledged")
    assert None in images(backend)
    backend.sync_directory()
    backend.note("acknowledged")
    gone = [s for s in crash_states(backend.log) if s.image is None]
    assert [s.at for s in gone] == [3]


def replaced(*, synced: bool = True, folder: bool = True) -> RecordingBackend:
    """A new file of the two bytes "ab" takes the name of one that holds "old"."""
    backend = RecordingBackend()
    backend.sync_directory()  # of the name that it has first
    backend.write(0, [b"ab"])
    if synced:
        backend.sync()
    backend.recorder.rename(b"old")
    if folder:
        backend.sync_directory()
    backend.note("acknowledged")
    return backend


def test_a_name_leads_to_the_old_file_until_the_folder_is_synced() -> None:
    backend = replaced()
    assert images(backend) == {b"old", b"ab"}
    assert {s.image for s in crash_states(backend.log) if s.at <= 4} == {b"old"}
    assert {s.image for s in crash_states(backend.log) if s.at > 5} == {b"ab"}


def test_a_rename_without_its_folder_or_before_its_bytes_is_a_risk() -> None:
    late = {s.image for s in crash_states(replaced(folder=False).log) if s.at > 4}
    assert late == {b"old", b"ab"}
    torn = images(replaced(synced=False))
    assert {b"old", b"ab", b""} <= torn


def test_prefixes_come_beside_the_limit() -> None:
    steps = [step for i in range(20) for step in ((i, b"x"), (i + 1, b"y"), "sync")]
    log = recorded(*steps).log
    few = list(crash_states(log, limit=3, prefixes=True))
    found = {s.image for s in few}
    assert {b"x" * i + b"x" for i in range(20)} <= found
    assert {b"x" * i + b"xy" for i in range(20)} <= found
    assert len(few) == 43


def test_what_a_failed_sync_should_have_covered_stays_uncertain() -> None:
    log = recorded((0, b"...."), "sync", (0, b"a"), "fail", (1, b"b"), "sync", "said").log
    late = {s.image for s in crash_states(log) if s.at == len(log)}
    assert late == {b"ab..", b".b.."}


def test_what_was_written_again_after_a_failed_sync_is_certain() -> None:
    steps = ((0, b"...."), "sync", (0, b"a"), "fail", (0, b"a"), (1, b"b"), "sync", "said")
    log = recorded(*steps).log
    assert {s.image for s in crash_states(log) if s.at == len(log)} == {b"ab.."}


def test_many_unsynced_writes_are_sampled() -> None:
    backend = recorded((0, bytes(40)), "sync", *((i, b"x") for i in range(40)))
    found = [i for i in images(backend) if i is not None and len(i) == 40]
    assert bytes(40) in found and b"x" * 40 in found
    for i in range(24, 40):
        assert b"x" * i + b"\0" + b"x" * (39 - i) in found
    mixed = [i for i in found if i.strip(b"x").strip(b"\0") and 1 < i.count(b"x") < 39]
    assert len(mixed) > 20


steps = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=1200)),
        st.integers(0, 3000),
        st.sampled_from(["sync", "said", "fail"]),
    ),
    max_size=12,
)


@given(steps=steps, seed=st.integers(0, 3))
def test_every_prefix_is_there_and_all_is_repeatable(steps: list[object], seed: int) -> None:
    log = recorded(*steps).log
    states = list(crash_states(log, seed=seed))
    assert states == list(crash_states(log, seed=seed))
    assert [s.at for s in states] == sorted(s.at for s in states)
    found = {s.image for s in states}
    model = bytearray()
    for i, event in enumerate(log):
        if event.kind == "write":
            model[:] = model.ljust(event.offset, b"\0")
            model[event.offset : event.offset + len(event.data)] = event.data
            assert bytes(model) in found
        elif event.kind == "resize":
            model[:] = model[: event.offset].ljust(event.offset, b"\0")
            assert bytes(model) in found, i
    if any(event.kind in ("write", "resize") for event in log):
        assert bytes(model) in found


@given(steps=steps)
def test_nothing_is_shown_that_was_never_written(steps: list[object]) -> None:
    # Without resizes and junk every byte is a zero or was written at its place.
    steps = [step for step in steps if not isinstance(step, int)]
    log = recorded(*steps).log
    allowed: dict[int, set[int]] = {}
    for event in log:
        for i, byte in enumerate(event.data):
            allowed.setdefault(event.offset + i, {0}).add(byte)
    for state in crash_states(log):
        if "junk" in state.description:
            continue
        assert state.image is not None
        for i, byte in enumerate(state.image):
            assert byte == 0 or byte in allowed[i], state.description


@pytest.mark.parametrize("limit", [0, 1, 7, 50])
def test_a_limit_is_kept_and_spread_over_the_log(limit: int) -> None:
    steps = [step for i in range(20) for step in ((i, b"x"), "sync", "said")]
    log = recorded(*steps).log
    states: list[CrashState] = list(crash_states(log, limit=limit))
    assert len(states) == limit
    if limit >= 20:
        assert {s.at for s in states} >= {2 + 3 * i for i in range(20)}
