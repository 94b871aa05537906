"""Secrets of a sealed store added, removed and rotated, crashed at every write and sync.

A holder of the secrets of then and now opens every state. Who has those of one side alone either
sees a state that there was or is told that the secret is another one; never damage, or tampering.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest

pytest.importorskip("cryptography")

from crash_stores import OpenStore, case, check, rows_of

from kist.crypto.secret import Secret
from kist.engine import Engine, creation
from kist.engine.keyring import Keyring
from kist.errors import WrongSecretError
from kist.model.directory import maintain
from kist.storage import MemoryBackend
from kist.testing.crash import Case, Session

pytestmark = pytest.mark.usefixtures("one_thread")

OLD, NEW, THIRD = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))


class OpenRotated(OpenStore):
    """A sealed store on a backend, opened by who has all secrets, and tried with each alone."""

    def __init__(self, backend: Any, mode: str, durability: Any = "full", retain: int = 0) -> None:
        opens = 0
        for secret in (OLD, NEW, THIRD) if mode == "r" else ():
            try:
                alone = Engine.open_backend(backend, "r", keyring=Keyring({"/": secret}))
            except WrongSecretError:
                continue
            opens += 1
            alone.newest().get(bytes(9))
        assert opens or mode != "r"
        self.engine = Engine.open_backend(
            backend,
            mode,
            durability=durability,
            retain=retain,
            keyring=Keyring([OLD, NEW, THIRD]),
        )
        self.engine.maintain = maintain
        self.store = self._store("r" if mode == "r" else "r+", None, durability)


def sealed() -> bytes:
    backend = MemoryBackend()
    creation.create(backend, {"1": Secret(OLD)})
    return backend.read(0, backend.size())


def secrets(session: Session) -> None:
    store = session.engine.store
    table = store.create_table("trades", rows_of(40, 1))
    session.acknowledged()
    store.rotate({"2": NEW})
    for n in range(3):  # some of them are sealed under the new key
        table.append(rows_of(3, n))
        session.acknowledged()
    store.add_secret(THIRD, label="3")
    store.attrs["added"] = 1
    session.acknowledged()
    store.remove_secret("2")
    store.attrs["removed"] = 1
    session.acknowledged()
    store.rotate(now=True)
    table.append(rows_of(3, 9))
    session.acknowledged()


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_a_crash_while_secrets_change_leaves_what_old_or_new_ones_open(durability: str) -> None:
    made: Case = case(secrets, durability)
    made = made._replace(open_engine=functools.partial(OpenRotated, durability=durability))
    report = check(made, limit=14, initial=sealed(), deep=0)
    assert report.failures == [], str(report)
    assert report.states >= 14
