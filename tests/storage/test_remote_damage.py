"""Damage on the way is not kept, whatever was asked for: the server is asked again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kist
from kist.engine import view
from kist.storage import attempts
from kist.testing.everything import ask, fill
from kist.testing.range_server import Fault, RangeServer

pytest.importorskip("obstore")

KEY = os.urandom(32)


@pytest.fixture(scope="module", params=[None, KEY], ids=["clear", "sealed"])
def secret(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, secret: Any) -> Iterator[RangeServer]:
    folder = tmp_path_factory.mktemp("damage")
    with kist.open(folder / "a.kist", "w", encrypt=secret) as store:
        fill(store)
        store.backup(folder / "b.kist", compact=True)
    with RangeServer({"/b.kist": (folder / "b.kist").read_bytes()}) as server:
        yield server


def test_damage_on_the_way_of_whatever_is_asked_for_is_not_kept(
    server: RangeServer, secret: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(view, "_TREE", 0)  # not all of it comes when it is opened
    monkeypatch.setattr(view, "_AROUND", 0)
    folder = str(tmp_path) if secret is not None else None
    n_damaged = 0
    kept: dict[str, str] = {}
    with (
        warnings.catch_warnings(),
        kist.open(server.url("/b.kist"), secrets=secret, cache=folder) as store,
    ):
        warnings.simplefilter("ignore", kist.KistWarning)
        for name, call in ask(store):
            store._session.engine.backend.distrust()
            server.faults.append(Fault("flip", times=1 << 30))
            try:
                call()
            except kist.CorruptDataError:
                n_damaged += 1
            except kist.KistError:
                continue  # there is no answer, with or without damage
            finally:
                server.faults.clear()
            for last in (False, True):
                try:
                    found = call()  # at most one piece of what came beside it is still damaged
                    if name == "check" and not found:
                        raise kist.CorruptDataError(repr(found))
                except kist.CorruptDataError as error:
                    if last:
                        kept[name] = str(error)
    assert kept == {}
    assert n_damaged > 50


def test_a_beginning_that_was_damaged_on_the_way_is_asked_for_again(
    server: RangeServer, secret: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_PAUSE_S", 0.0)
    with kist.open(server.url("/b.kist"), secrets=secret) as store:
        for seen in (lambda: store.check().ok, lambda: store.refresh() > 0):
            store._session.engine.backend.distrust()
            server.faults.append(Fault("shifted", times=1 << 30))
            with pytest.raises(kist.FormatError):
                store.refresh()
            server.faults.clear()
            assert seen()
