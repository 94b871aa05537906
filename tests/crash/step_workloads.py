"""The steps that faults are tried in (`kist.testing.works`), to be crashed: newer kinds of things.

``CASES`` is what ``python -m kist.testing.crash tests/crash/step_workloads.py`` runs: columns with
nulls, categories and cells, small commits by kept handles, links, linked files, sealed groups. The
tests beside this file run a share.
"""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from api_workloads import died
from crash_stores import OpenStore, case, probe

from kist.engine.keyring import Keyring
from kist.testing import workload
from kist.testing.column_work import COLUMNS
from kist.testing.crash import Case, Session
from kist.testing.kill_kinds import FewModel, make_few, take_few
from kist.testing.linked_work import LINKED, put_beside
from kist.testing.sealed_work import KEY, OTHER, WARD

# Kept for the life of the process.
_FOLDER = tempfile.TemporaryDirectory(prefix="kist-beside-")


class OpenBeside(OpenStore):
    """A store that takes itself to stand in the folder of the files that it links."""

    NAME = os.path.join(_FOLDER.name, "recorded.kist")


class OpenWard(OpenStore):
    """A store, and the secrets of what is sealed in it."""

    def __init__(self, backend: Any, mode: str, durability: Any = "full", retain: int = 0) -> None:
        super().__init__(backend, mode, durability, retain, keyring=Keyring([KEY, OTHER]))


def steps(work: dict[str, Any], session: Session) -> None:
    """Take all steps; checkpoints and the deaths of writers between them."""
    if work is LINKED and not any(Path(_FOLDER.name).iterdir()):
        put_beside(Path(_FOLDER.name))
    for number, take in enumerate(work.values()):
        store = session.engine.store
        if isinstance(take, workload.Commits):
            for _ in take.each(store):
                session.acknowledged()
        else:
            take(store)
            session.acknowledged()
        if number % 5 == 4:
            session.engine.engine.checkpoint()
        if number % 9 == 7:
            died(session)


def small_commits(session: Session) -> None:
    """Keys put and rows appended by handles that are kept; the log goes round several times."""
    make_few(session.engine.store)
    session.acknowledged()
    model = FewModel()
    for number in range(180):
        take_few(session.engine.store, model)
        model = model.next()
        session.acknowledged()
        if number % 50 == 33:
            died(session)
    assert model.is_shown_by(session.engine.store)


def seen(opened: OpenStore) -> Any:
    """What the newest commit and each tag show, also through links."""
    tagged = {}
    for tag in opened.store.tags:
        with opened.version(tag) as store:
            tagged[tag] = workload.shown(store)
    return workload.shown(opened.store), tagged


def _case(work: dict[str, Any], opener: type[OpenStore], durability: str) -> Case:
    return Case(
        partial(steps, work), seen, partial(opener, durability=durability), probe, durability
    )


CASES: dict[str, Case] = {
    f"{name}, {durability}": _case(work, opener, durability)
    for durability in ("full", "relaxed", "none")
    for name, work, opener in (
        ("newer columns", COLUMNS, OpenStore),
        ("linked files", LINKED, OpenBeside),
        ("sealed group", WARD, OpenWard),
    )
} | {"small commits, full": case(small_commits)}
