"""A faulty backend fails where it was told to, and nowhere else."""

from __future__ import annotations

import errno

import pytest

from kist.errors import StorageError
from kist.testing.faults import Fault, FaultyBackend
from kist.testing.recording import RecordingBackend


def faulty(*faults: Fault) -> FaultyBackend:
    return FaultyBackend(RecordingBackend(), faults)


def test_only_the_call_that_was_named_fails() -> None:
    backend = faulty(Fault("write", 2, errno.ENOSPC))
    backend.write(0, [b"a"])
    backend.sync()
    with pytest.raises(StorageError, match="No space left") as error:
        backend.write(1, [b"b"])
    assert error.value.errno == errno.ENOSPC
    backend.write(2, [b"c"])
    assert backend.read(0, 9) == b"a\0c"
    assert backend.calls == {"write": 3, "sync": 1, "read": 1, "any": 5}


def test_a_fault_that_persists_fails_for_good() -> None:
    backend = faulty(Fault("any", 2, errno.EIO, persist=True))
    backend.write(0, [b"a"])
    for _ in range(2):
        with pytest.raises(StorageError):
            backend.write(0, [b"b"])
        with pytest.raises(StorageError):
            backend.sync()
        with pytest.raises(StorageError):
            backend.read(0, 1)
    assert backend.inner.read(0, 9) == b"a"


@pytest.mark.parametrize(
    ("fault", "there"),
    [
        (Fault("write", 1), b""),
        (Fault("write", 1, share=0.5), b"ab"),
        (Fault("write", 1, late=True), b"abcd"),
    ],
)
def test_a_write_may_take_effect_in_part(fault: Fault, there: bytes) -> None:
    backend = faulty(fault)
    with pytest.raises(StorageError):
        backend.write(0, [b"abc", b"d"])
    assert backend.inner.read(0, 9) == there


def test_a_failed_sync_is_logged_and_one_that_ctrl_c_ended_is_not() -> None:
    backend = faulty(Fault("sync", 1), Fault("sync", 2, KeyboardInterrupt))
    with pytest.raises(StorageError):
        backend.sync()
    with pytest.raises(KeyboardInterrupt):
        backend.sync()
    backend.sync()
    assert isinstance(backend.inner, RecordingBackend)
    assert [event.kind for event in backend.inner.log] == ["failed sync", "sync"]


def test_a_close_that_fails_has_closed() -> None:
    backend = faulty(Fault("close", 1))
    with pytest.raises(StorageError):
        backend.close()
    with pytest.raises(ValueError, match="is closed"):
        backend.read(0, 1)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no kind of call 'wite'"):
        Fault("wite", 1)
