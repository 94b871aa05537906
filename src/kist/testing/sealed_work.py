"""Workloads of sealed things, as `kist.testing.workload` has them for things in the open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

import kist
from kist.testing import workload

__all__ = ["WORKS", "Work"]

KEY: Final = bytes(range(32))
OTHER: Final = bytes(range(32, 64))


class Work(NamedTuple):
    """Steps, and how the store is opened that they are taken in.

    Attributes
    ----------
    steps : mapping of str to callable
        What is done, by its name.
    options, making : mapping of str to object
        Of `kist.open`: for whoever opens the store, and for who makes it, beside that.
    """

    steps: Mapping[str, Callable[[kist.Store], object]]
    options: Mapping[str, Any] = {}
    making: Mapping[str, Any] = {}


def _datasets(store: kist.Store) -> None:
    with store.transaction("datasets"):
        secrets = {("value", "id"): KEY, "name": [KEY, OTHER]}
        store.create_table("rows", workload.rows(500, 1), encrypt=secrets)
        store.create_array(
            "images", np.arange(6000, dtype="<i4").reshape(6, 20, 50), encrypt=KEY, fill_value=3
        )
        runs = store.create_keystore("runs", encrypt={"a": KEY, "b": OTHER})
        runs.update((f"k{n}", n) for n in range(20))


def _several(store: kist.Store) -> None:
    with store.transaction("several"):
        store["rows"].append(workload.rows(10, 5))
        try:
            with store.transaction():
                store["images"][0] = -1
                store["runs"].clear()
                store["rows"].rotate()
                raise workload.UndoneError
        except workload.UndoneError:
            store["images"].resize((5, 20, 50))
        store["runs"]["in"] = workload.noise(9000, 6)


def _secrets(store: kist.Store) -> None:
    with store.transaction():
        store["rows"].remove_secret("name", store["rows"].sealed["name"][0])
        store["images"].add_secret(OTHER, label="more")
        store.attrs["secrets"] = "changed"


def _rotated(store: kist.Store) -> None:
    with store.transaction():
        store["rows"].rotate(now=True)
        store["images"].rotate({"1": OTHER}, now=True)
        store["runs"].rotate(now=True)
        store.attrs["rotated"] = True


SEALED: Final[dict[str, Callable[[kist.Store], object]]] = {
    "sealed datasets are made": _datasets,
    "ten rows are appended": lambda store: store["rows"].append(workload.rows(10, 2)),
    "rows are appended": lambda store: store["rows"].append(workload.rows(3000, 3)),
    "an index is made": lambda store: store["rows"].create_index("id"),
    "a key is put": lambda store: store["runs"].update(k3=(workload.noise(300, 1), "text")),
    "many keys are put": lambda store: store["runs"].update({n: b"x" * n for n in range(150)}),
    "rows are updated": lambda store: store["rows"].where("value > 1.5").update({"name": "big"}),
    "rows are deleted": lambda store: store["rows"].delete([0, 17, 2000]),
    "an array is written": lambda store: store["images"].__setitem__((1, slice(2, 9)), 7),
    "an array grows": lambda store: store["images"].append(np.ones((3, 20, 50), "<i4")),
    "a tag is set": lambda store: store.tag("kept"),
    "a transaction with savepoints": _several,
    "secrets are changed": _secrets,
    "all is sealed again": _rotated,
    "a dataset is copied": lambda store: store.copy("rows", "copied"),
    "a key store is copied": lambda store: store.copy("runs", "too"),
    "a tag goes": lambda store: store.untag("kept"),
    "the file is made compact": lambda store: store.compact(),
}

# Which opens another handle, without the secret.
_NOT_WHOLE: Final = ("all is read",)

WHOLE: Final[dict[str, Callable[[kist.Store], object]]] = {
    **{name: take for name, take in workload.STEPS.items() if name not in _NOT_WHOLE},
    "the store gets another key": lambda store: store.rotate(),
    "the store is sealed again": lambda store: store.rotate(now=True),
}

WORKS: Final = {
    "everything": Work(workload.STEPS),
    "sealed": Work(SEALED, {"secrets": [KEY, OTHER]}),
    "sealed-store": Work(WHOLE, {"secrets": {"/": KEY}}, {"encrypt": KEY}),
}
"""What `kist.testing.trials.Stage` can try, by its name."""
