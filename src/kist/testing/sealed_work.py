"""Workloads of sealed things, as `kist.testing.workload` has them for things in the open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

import kist
from kist.testing import workload

__all__ = ["KEY", "OTHER", "SEALED", "WARD", "WHOLE"]

KEY: Final = bytes(range(32))
OTHER: Final = bytes(range(32, 64))


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


def _ward(store: kist.Store) -> None:
    with store.transaction("a ward"):
        ward = store.create_group("ward", encrypt={"lab": KEY}, attrs={"of": "x" * 300})
        ward["rows"] = workload.rows(300, 1)
        ward["scans"] = np.arange(6000, dtype="<i4").reshape(60, 100)
        ward.create_keystore("runs").update((f"k{n}", n) for n in range(20))
        ward["sub/few"] = [1.5, 2.5]


def _cells(store: kist.Store) -> None:
    dtype = {
        "id": "<i8",
        "word": kist.categorical("str", ["pear"]),
        "hits": kist.nullable(kist.ragged("<i2")),
        "n": kist.nullable("<i4"),
        "tags": kist.ragged(np.dtypes.StringDType(na_object=None)),
    }
    secrets = {("word", "n"): KEY, "hits": OTHER, "tags": OTHER}
    store.create_table("cells", _some_cells(60, 0), dtype=dtype, encrypt=secrets)


def _some_cells(n: int, first: int) -> dict[str, list[object]]:
    numbers = range(first, first + n)
    return {
        "id": [*numbers],
        "word": [("pear", "fig", None, f"word {first}")[i % 4] for i in numbers],
        "hits": [None if i % 5 == 0 else [i % 7] * (i % 4) for i in numbers],
        "n": [None if i % 3 == 0 else i for i in numbers],
        "tags": [[None, f"tag {i % 9}", "x" * (i % 40)][: i % 4] for i in numbers],
    }


def _ward_moves(store: kist.Store) -> None:
    with store.transaction():
        store.move("ward/rows", "ward/sub/rows")
        store.copy("ward/scans", "ward/sub/copy")
        del store["ward/runs"]


def _noted(change: Callable[[kist.Store], object]) -> Callable[[kist.Store], None]:
    """The same and an attribute: what a store shows says whether it was done."""

    def step(store: kist.Store) -> None:
        with store.transaction():
            change(store)
            store.attrs["changes"] = store.attrs.get("changes", 0) + 1

    return step


WARD: Final[dict[str, Callable[[kist.Store], object]]] = {
    "a sealed group is made": _ward,
    "rows are appended in it": lambda store: store["ward/rows"].append(workload.rows(10, 2)),
    "an array is written in it": lambda store: store["ward/scans"].__setitem__(slice(2, 40), 7),
    "a key is put in it": lambda store: store["ward/runs"].update(k3=workload.noise(300, 1)),
    "attributes are set in it": lambda store: store["ward/sub"].attrs.update(a=1, b="x" * 5000),
    "a group is made in it": lambda store: store.create_group("ward/new/deep"),
    "a secret comes": _noted(lambda store: store["ward"].add_secret(OTHER, label="more")),
    "it gets another key": _noted(lambda store: store["ward"].rotate()),
    "it is sealed again": _noted(lambda store: store["ward"].rotate(now=True)),
    "nodes are moved in it": _ward_moves,
    "sealed cells are made": _cells,
    "cells with new words are appended": lambda store: store["cells"].append(_some_cells(9, 60)),
    "many cells are appended": lambda store: store["cells"].append(_some_cells(2000, 100)),
    "cells are changed": lambda store: store["cells"]["hits"].__setitem__(7, [1, 2, 3]),
    "cells become null": lambda store: store["cells"].where("id < 20").update({"word": None}),
    "cells are deleted": lambda store: store["cells"].delete(slice(0, 60, 2)),
    "a tag is set": lambda store: store.tag("kept"),
    "cells are sealed again": _noted(lambda store: store["cells"].rotate(now=True)),
    "a secret goes": _noted(lambda store: store["ward"].remove_secret("lab")),
    "the group goes": lambda store: store.__delitem__("ward"),
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
