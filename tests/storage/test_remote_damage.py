"""Damage on the way is not kept, whatever was asked for: the server is asked again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
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
                    with warnings.catch_warnings():
                        warnings.simplefilter("error", kist.DamageWarning)
                        found = call()  # at most a piece of what came beside it is still damaged
                    if name == "check" and not found:
                        raise kist.CorruptDataError(repr(found))
                except (kist.CorruptDataError, kist.DamageWarning) as error:
                    if last:
                        kept[name] = str(error)
    assert kept == {}
    assert n_damaged > 50


def test_an_index_that_was_damaged_on_the_way_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(view, "_TREE", 0)
    monkeypatch.setattr(view, "_AROUND", 0)
    rng = np.random.default_rng(1)
    with kist.open(tmp_path / "a.kist", "w") as store:
        table = store.create_table("t", {"x": rng.normal(size=300_000)})
        table.create_index("x")
        store.backup(tmp_path / "b.kist", compact=True)
    asks: list[Callable[[Any], Any]] = [
        lambda t: t.where("(x > 1) & (x < 1.0001)").count(),
        lambda t: t.sort_by("x", descending=True).limit(3)[:],
        lambda t: t.sort_by("x")[1000:1010],
    ]
    with (
        RangeServer({"/b.kist": (tmp_path / "b.kist").read_bytes()}) as server,
        kist.open(server.url("/b.kist")) as store,
    ):
        for ask_of, times in product(asks, range(1, 6)):
            store._session.engine.backend.distrust()
            server.faults.append(Fault("flip", times=times))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", kist.DamageWarning)
                with suppress(kist.CorruptDataError):  # of what is asked in the place of the index
                    ask_of(store["t"])
            server.faults.clear()
            with warnings.catch_warnings():
                warnings.simplefilter("error", kist.DamageWarning)
                with suppress(kist.CorruptDataError, kist.DamageWarning):
                    ask_of(store["t"])  # what came beside it and was not looked at yet
                ask_of(store["t"])


def test_damage_that_is_found_while_a_view_is_held_is_forgotten(server: RangeServer) -> None:
    with kist.open(server.url("/b.kist"), secrets=KEY) as store:
        backend = store._session.engine.backend
        backend.prefetch([(0, 4096)])
        with pytest.raises(kist.CorruptDataError), store._session.hold():
            raise kist.CorruptDataError("found by who reads")
        assert not backend.is_near(0, 4096)


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
