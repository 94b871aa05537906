"""System calls that fail when told to, and a power that is cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kist.errors import StorageError
from kist.format import layout
from kist.storage import FileBackend, file, ofd
from kist.testing import faults
from kist.testing.faults import Fault
from kist.testing.system import LOG, SLOTS, FaultySystem


def test_the_log_is_where_the_format_says() -> None:
    assert range(layout.RING_OFFSET, layout.DATA_OFFSET) == LOG
    assert range(layout.SLOT_OFFSETS[0], layout.SUPER_COPY_OFFSET) == SLOTS


def test_afterwards_the_system_is_as_before(path: Path) -> None:
    before = file.os, file.mmap, file._fdatasync, ofd.os, ofd.fcntl
    with pytest.raises(ZeroDivisionError), FaultySystem():
        assert file.os is not os
        raise ZeroDivisionError
    assert (file.os, file.mmap, file._fdatasync, ofd.os, ofd.fcntl) == before


def test_the_call_that_was_named_fails_once_or_for_ever(path: Path) -> None:
    with FaultySystem() as system:
        backend = FileBackend(path, writable=True, create=True)
        system.fail(Fault("write", 2, errno.ENOSPC, share=0.5))
        backend.write(0, [b"abcd"])
        with pytest.raises(StorageError, match="No space left"):
            backend.write(4, [b"efgh"])
        backend.write(8, [b"i"])
        assert backend.read(0, 9) == b"abcdef\0\0i"
        assert [(f.kind, f.offset, f.logged) for f in system.fired] == [("write", 4, False)]
        system.fail(Fault("sync", 1, persist=True))
        for _ in range(2):
            with pytest.raises(StorageError):
                backend.sync()
        system.fail(None)
        backend.sync()
        backend.close()


def test_short_counts_are_filled_up(path: Path) -> None:
    with FaultySystem() as system:
        backend = FileBackend(path, writable=True, create=True)
        system.fail(Fault("write", 1, 0, True, 0.3, short=True))
        backend.write(0, [b"abcdefg", b"hij"])
        assert system.calls["write"] > 2
        system.fail(Fault("read", 1, 0, True, 0.3, short=True))
        assert backend.read(0, 20) == b"abcdefghij"
        buffer = bytearray(10)
        assert backend.read_into(0, buffer) == 10
        assert buffer == b"abcdefghij"
        assert system.calls["read"] > 5
        backend.close()


def test_what_was_not_synced_goes_with_the_power(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with FaultySystem() as system:
        backend = FileBackend(path, writable=True, create=True)
        backend.write(0, [b"synced"])
        backend.sync()
        backend.write(0, [b"lost"])
        backend.write(6, [b"more"])
        assert system.unsynced_bytes == 8
        for keep, left in (((), b"synced"), ((0,), b"losted"), ((1,), b"syncedmore")):
            system.cut_power(path, copy, lambda number, keep=keep: number in keep)
            assert copy.read_bytes() == left
        assert path.read_bytes() == b"lostedmore"
        system.fail(Fault("sync", 1))
        with pytest.raises(StorageError):
            backend.sync()
        backend.close()
        system.lose(path, lambda number: number == 0)
        assert path.read_bytes() == b"losted"


def test_the_long_run_counts_and_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--fault", "at a sync", "--step", "a key is put", "--folder", str(tmp_path)]
    assert faults.main(given) == 0
    out = capsys.readouterr().out
    assert "device fails at a sync: 2 trials, raised: 2 CommitUnknownError; 0 failures" in out
    assert "in all: 4 trials" in out
    monkeypatch.setattr(FaultySystem, "fail", lambda self, fault: None)
    assert faults.main(given) == 1  # nothing comes true
    assert list(tmp_path.iterdir()) == []
