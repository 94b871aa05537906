"""Tags, kept versions and history against a model that keeps every commit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.engine import Engine, Frame, Transaction, View
from kist.errors import SnapshotExpiredError
from kist.format import keys, layout
from kist.format.values import pack_record, unpack_record
from kist.storage import MemoryBackend, MemoryFile
from kist.testing.recording import Recorder

NODE = 5


def fill(txn: Transaction, number: int, payload: bytes, blob: bytes = b"") -> None:
    pointers = txn.write([Frame(layout.FRAME_BLOB, NODE, 0, number, blob)] if blob else [])
    txn.put(keys.group(NODE, number), pack_record(payload, pointers))


def put(engine: Engine, number: int, payload: bytes = b"x", blob: bytes = b"") -> int:
    txn = engine.begin()
    fill(txn, number, payload, blob)
    return txn.commit(f"put {number}")


def shown(view: View) -> dict[int, tuple[bytes, ...]]:
    found = {}
    for key, value in view.scan(*keys.groups(NODE)):
        pointers, payload = unpack_record(value)
        found[keys.row_of(key)] = (payload, *[bytes(view.read(p)) for p in pointers])
    return found


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine.open(":memory:", "a")
    yield engine
    engine.close()


def test_the_tree_of_a_tag_is_there_whenever_the_tag_is() -> None:
    recorder = Recorder()
    engine = Engine.open_backend(recorder.backend(), "a")
    for number in range(4):
        put(engine, number)
    before, start = bytes(recorder.file.data), len(recorder.log)
    engine.tag("first", 2)
    # Of the one step between two syncs only the log came to the disk.
    data = bytearray(before)
    for event in recorder.log[start:]:
        if event.kind == "write" and event.offset < layout.DATA_OFFSET:
            data[event.offset : event.offset + len(event.data)] = event.data
    after = Engine.open_backend(MemoryBackend(MemoryFile(data)), "r+")
    assert after.tags() == {}
    assert after.commit == 4


def test_a_tag_of_a_commit_that_deleted_whole_pages_does_not_show_them(engine: Engine) -> None:
    txn = engine.begin()
    for number in range(400):
        fill(txn, number, b"%d" % number * 30)
    txn.commit()
    engine.checkpoint()
    leaves = [n for _, n in engine.reader.tree.pages(engine.state.root_bytes()) if n.level == 0]
    txn = engine.begin()
    txn.delete_range(leaves[1].keys[0], keys.groups(NODE)[1])  # one old page is all that remains
    number = txn.commit()
    put(engine, 1000)
    engine.tag("cut", number)
    engine.checkpoint()
    with engine.snapshot("cut") as view:
        assert set(shown(view)) == {keys.row_of(k) for k in leaves[0].keys if k[8:9] == b"G"}
    assert engine.check() == []


def test_a_tag_keeps_what_is_overwritten_until_it_goes(engine: Engine) -> None:
    for i in range(5):
        put(engine, 0, b"%d" % i, bytes([i]) * 200_000)
    engine.tag("kept")
    for i in range(30):
        put(engine, 0, b"later", bytes([i]) * 200_000)
    with engine.snapshot("kept") as view:
        assert shown(view) == {0: (b"4", bytes([4]) * 200_000)}
    assert engine.check() == []
    held = engine.usage().waiting
    engine.untag("kept")
    engine.compact()
    assert engine.usage().waiting < held
    with pytest.raises(SnapshotExpiredError, match="no tag 'kept'"):
        engine.snapshot("kept")


def test_a_tag_names_the_commit_asked_for_with_its_message(engine: Engine) -> None:
    numbers = [put(engine, i) for i in range(4)]
    for number in numbers:
        assert engine.tag(f"t{number}", number) == number
    assert engine.tags() == {f"t{n}": n for n in numbers}
    for number in numbers:
        with engine.snapshot(f"t{number}") as view:
            assert len(shown(view)) == number
    for _ in range(5):
        engine.checkpoint()
    found = {c.id: (c.message, c.tags) for c in engine.history()}
    for i, number in enumerate(numbers):
        assert found[number] == (f"put {i}", (f"t{number}",))


@pytest.mark.parametrize("name", ["nothing", "", "\0", "\ud800", "x" * 300, "kept\0"])
def test_what_is_no_tag_is_not_there(engine: Engine, name: str) -> None:
    put(engine, 1)
    engine.tag("kept")
    with pytest.raises(SnapshotExpiredError, match="tags are: 'kept'"):
        engine.snapshot(name)


def test_a_tag_is_opened_without_reading_the_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(engine, 1)
    engine.tag("first")
    put(engine, 2)

    def scan(*_: object, **__: object) -> None:
        raise AssertionError("tags or versions were read from one end to the other")

    monkeypatch.setattr(View, "scan", scan)
    with engine.snapshot("first") as view:
        assert view.get(keys.group(NODE, 1)) is not None
        assert view.get(keys.group(NODE, 2)) is None


def test_names_of_tags_are_checked(engine: Engine) -> None:
    put(engine, 0)
    for name in ("", "12", "x" * 256, "a\0b"):
        with pytest.raises(ValueError, match="cannot be a tag"):
            engine.tag(name)
    engine.tag("a")
    with pytest.raises(ValueError, match="in use"):
        engine.tag("a")
    put(engine, 1)
    engine.tag("a", move=True)
    with engine.snapshot("a") as view:
        assert set(shown(view)) == {0, 1}
    with pytest.raises(KeyError):
        engine.untag("b")
    assert engine.backend.locks.writer_held() is False


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["put", "blob", "many", "delete", "tag", "tag old", "untag", "checkpoint", "reopen"]
        ),
        st.integers(0, 9),
    ),
    max_size=30,
)


@given(steps=STEPS, retain=st.sampled_from([0, 0, 2]))
def test_every_kept_commit_shows_what_it_showed(steps: list[tuple[str, int]], retain: int) -> None:
    file = MemoryFile()
    engine = Engine.open_backend(MemoryBackend(file), "a", retain=retain)
    states: dict[int, dict[int, tuple[bytes, ...]]] = {0: {}}
    tags: dict[str, int] = {}
    for step, (kind, n) in enumerate(steps):
        if kind in ("put", "blob", "many", "delete"):
            txn = engine.begin()
            if kind == "delete":
                txn.delete_range(keys.group(NODE, n), keys.group(NODE, n + 3))
            numbers = range(n, n + 150) if kind == "many" else [n] * (kind != "delete")
            for number in numbers:
                fill(txn, number, b"%d" % step, b"%d" % step * 3000 if kind == "blob" else b"")
            number = txn.commit()
            states[number] = shown(engine.newest())
        elif kind == "tag":
            tags[f"t{n}"] = engine.tag(f"t{n}", move=True)
        elif kind == "tag old":
            old = engine.history()
            commit = old[n % len(old)].id
            if commit:
                tags[f"t{n}"] = engine.tag(f"t{n}", commit, move=True)
                assert tags[f"t{n}"] == commit
        elif kind == "untag" and f"t{n}" in tags:
            engine.untag(f"t{n}")
            del tags[f"t{n}"]
        elif kind == "checkpoint":
            engine.checkpoint()
        elif kind == "reopen":
            engine.close()
            engine = Engine.open_backend(MemoryBackend(file), "r+", retain=retain)
        states.setdefault(engine.state.shown, shown(engine.newest()))
        assert engine.tags() == tags
        for name, commit in tags.items():
            with engine.snapshot(name) as view:
                assert shown(view) == states[commit]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert engine.check() == []
    for info in engine.history():
        with engine.snapshot(info.id) as view:
            assert shown(view) == states[info.id]
    engine.close()
