"""Secrets by name: what stands in the place of a sealed dataset gets nothing to keep in clear.

Somebody without the secret has deleted it, or put something else there; the holder goes on as if
it were still there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
from kist.errors import SecretError, TamperedDataError

KEY = bytes(range(32))
MARK = b"\xabQzXw9\xfeP"
VALUES = np.full(600, np.frombuffer(MARK, "<i8")[0])
ROWS = VALUES.astype([("id", "<i8")])
RENAMED = VALUES.astype([("idx", "<i8")])

Store = Any
CASES: dict[str, tuple[str, Callable[[Store], Any], Callable[[Store], Any]]] = {
    "group for a key store": (
        "{}runs",
        lambda store: store.create_group("{}runs"),
        lambda store: store["{}runs"].__setitem__("Eve", VALUES),
    ),
    "group for a key store, by path": (
        "{}runs",
        lambda store: store.create_group("{}runs"),
        lambda store: store.__setitem__("{}runs/Eve", VALUES),
    ),
    "table for an array": (
        "{}runs",
        lambda store: store.create_table("{}runs", ROWS[:0]),
        lambda store: store["{}runs"].append(ROWS),
    ),
    "no key store": (
        "{}runs",
        lambda store: None,
        lambda store: store.require_keystore("{}runs").update({"Eve": VALUES}),
    ),
    "no array": (
        "{}runs",
        lambda store: None,
        lambda store: store.require_array("{}runs", shape=(600,), dtype="i8"),
    ),
    "assigned": (
        "{}runs",
        lambda store: None,
        lambda store: store.__setitem__("{}runs", VALUES),
    ),
    "no table": (
        "{}runs/id",
        lambda store: None,
        lambda store: store.__setitem__("{}runs", ROWS),
    ),
    "group for a table": (
        "{}runs/id",
        lambda store: store.create_group("{}runs"),
        lambda store: store["{}runs"].__setitem__("id", VALUES),
    ),
    "table with another name of the column": (
        "{}runs/id",
        lambda store: store.create_table("{}runs", RENAMED[:0]),
        lambda store: store["{}runs"].append(RENAMED),
    ),
}


class Placed:
    """A store whose paths have the group that a case is played in."""

    def __init__(self, store: kist.Store, group: str) -> None:
        self._store = store
        self._group = group

    def __getitem__(self, path: str) -> Any:
        return self._store[path.format(self._group)]

    def __setitem__(self, path: str, value: Any) -> None:
        self._store[path.format(self._group)] = value

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        return lambda path, *args, **more: call(path.format(self._group), *args, **more)


@pytest.mark.parametrize("group", ["", "g/"])
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_written_in_clear_where_something_sealed_was(
    case: str, group: str, path: Path
) -> None:
    name, prepare, use = CASES[case]
    with kist.open(path, "w") as store:
        prepare(Placed(store, group))
    secrets = {name.format(group): KEY}
    with kist.open(path, "r+", secrets=secrets) as store, pytest.raises(SecretError):
        use(Placed(store, group))
    assert MARK not in path.read_bytes()


def test_names_that_are_true_do_not_stand_in_the_way(path: Path) -> None:
    with kist.open(path, "w") as store:
        for name in ("patients", "id"):
            store.create_table(name, ROWS, encrypt={"id": KEY})
        store.create_array("g/id", VALUES, encrypt=KEY)
    secrets = {"patients/id": KEY, "id": KEY, "g/id": KEY}
    with kist.open(path, "r+", secrets=secrets) as store:
        store["patients"].rename_column("id", "number")
        store["patients"].append(ROWS[:1].astype([("number", "i8")]))
        assert len(store["patients"]["number"][:]) == 601
        assert len(store["id"]["id"][:]) == 600
        store["g/x"] = np.arange(3)
        del store["g/id"]
        store.create_array("g/id", VALUES, encrypt=KEY)
        assert store["g"]["id"][0] == VALUES[0]
        assert store.check().ok


def test_a_dataset_that_is_named_and_of_another_kind_is_not_shown(path: Path) -> None:
    with kist.open(path, "w") as store:
        store.create_group("runs")
    with kist.open(path, secrets={"runs": KEY}) as store, pytest.raises(TamperedDataError):
        store["runs"]
