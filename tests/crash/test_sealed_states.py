"""Sealed stores, crashed at every write and sync: whole states, and nothing of them in clear."""

from __future__ import annotations

import functools
from typing import Any

import api_workloads
import main_job
import pytest

pytest.importorskip("cryptography")

from crash_stores import OpenStore, check

from kist.crypto.secret import Secret
from kist.engine import Engine, creation
from kist.engine.keyring import Keyring
from kist.errors import CommitUnknownError, StorageError
from kist.model.directory import maintain
from kist.storage import MemoryBackend
from kist.testing.crash import Case
from kist.testing.faults import Fault, FaultyBackend

pytestmark = pytest.mark.usefixtures("one_thread")

KEY = bytes(range(32))
# Shorter ones come by chance in so many images.
TELLTALE = (b"trades", b"price", b"table", b"probe", b"symbol")


class OpenSealed(OpenStore):
    """A sealed store on a backend; looks first whether anything of it stands in clear."""

    def __init__(self, backend: Any, mode: str, durability: Any = "full", retain: int = 0) -> None:
        data = backend.read(0, backend.size())
        assert not [word for word in TELLTALE if word in data]
        self.engine = Engine.open_backend(
            backend,
            mode,
            durability=durability,
            retain=retain,
            keyring=Keyring(KEY),
            encrypt={"1": Secret(KEY)},
        )
        self.engine.maintain = maintain
        self.store = self._store("r" if mode == "r" else "r+", None, durability)


@functools.cache
def empty_sealed() -> bytes:
    backend = MemoryBackend()
    creation.create(backend, {"1": Secret(KEY)})
    return backend.read(0, backend.size())


def sealed(case: Case) -> Case:
    opener = functools.partial(OpenSealed, **case.open_engine.keywords)  # type: ignore[attr-defined]
    return case._replace(open_engine=opener)


NAMES = (
    "create, full",
    "small appends, full",
    "small appends, relaxed",
    "tags, full",
    "compact, full",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_crash_of_a_sealed_store_leaves_a_state_that_there_was(name: str) -> None:
    created = name.startswith("create")
    more: dict[str, Any] = {} if created else {"initial": empty_sealed()}
    report = check(sealed(api_workloads.CASES[name]), created=created, limit=14, **more)
    assert report.failures == [], str(report)
    assert report.states >= 14


def test_a_crash_of_the_main_job_of_a_sealed_store() -> None:
    name = next(iter(main_job.CASES))
    report = check(sealed(main_job.CASES[name]), limit=25, initial=empty_sealed())
    assert report.failures == [], str(report)


@pytest.mark.parametrize("kind", ["write", "sync", "read"])
def test_a_fault_in_any_call_leaves_the_last_commit_or_the_next(kind: str) -> None:
    inner = MemoryBackend()
    inner.write(0, [empty_sealed()])
    backend = FaultyBackend(inner)
    opened = OpenSealed(backend, "r+")
    opened.store.attrs["n"] = 0
    for n in range(1, 12):
        backend.faults = (Fault(kind, backend.calls[kind] + n % 4, 5),)
        acknowledged = False
        try:
            opened.store["x"] = [n] * 2000
            opened.store.attrs["n"] = n
            acknowledged = True
        except (OSError, StorageError, CommitUnknownError):
            pass
        backend.faults = ()
        fresh = OpenSealed(inner, "r")
        if acknowledged:
            assert fresh.store.attrs["n"] == n
            assert fresh.store["x"][0] == n
        assert fresh.check() == []
        opened = OpenSealed(backend, "r+")
