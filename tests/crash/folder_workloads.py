"""Calls that make several files, in a folder with what they begin with; to be crashed and failed.

``CASES`` is what ``python -m kist.testing.folders`` runs; the tests beside this file take a share.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from crash_stores import rows_of, shown

import kist
from kist.model import saving
from kist.testing.folders import FolderCase

KEY = bytes(range(32))


def content(path: Path) -> Any:
    """All that a store shows; nothing of it is damaged."""
    with kist.open(path, secrets=KEY) as store:
        assert store.check().problems == []
        return shown(store)


def contents(folder: Path) -> dict[str, Any]:
    """What stands below a folder under names of its own, but for the sources."""
    found = {}
    for path in sorted(folder.rglob("*.kist")):
        if ".parts" not in str(path) and not path.name.startswith("source"):
            found[str(path.relative_to(folder))] = content(path)
    return found


def everything(path: Path, seed: int) -> None:
    with kist.open(path, "w") as store:
        store.create_table("t", rows_of(700, seed), encrypt={"price": KEY})
        store["t"].append(rows_of(9, seed + 1))
        store["t"].create_index("size")
        store.create_array("a", np.arange(900.0) + seed, chunks=(200,), encrypt=KEY)
        runs = store.create_keystore("k", encrypt=KEY)
        runs.update({f"{seed}/{n}": rows_of(n, n) for n in range(30)})


Run = Callable[[Path], object]


def split(folder: Path) -> None:
    kist.split(
        folder / "source-1.kist", "t", parts=3, out=folder / "new/parts/p-{}.kist", secrets=KEY
    )


def split_again(folder: Path) -> None:
    out = folder / "q-{}.kist"
    kist.split(folder / "source-1.kist", "a", rows=300, out=out, overwrite=True, secrets=KEY)


def merge(folder: Path) -> None:
    sources = [folder / f"source-{n}.kist" for n in (1, 2)]
    kist.merge(sources, folder / "both.kist", secrets=KEY)


def merge_again(folder: Path) -> None:
    sources = [folder / f"source-{n}.kist" for n in (2, 1)]
    kist.merge(sources, folder / "q-0001.kist", secrets=KEY, overwrite=True)


def rows_of_part(n: int) -> Any:
    return rows_of(60 + n, n)


def linked(folder: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        kist.write_parts(
            rows_of_part, range(3), folder / "linked.kist", "t", executor=pool, linked=True
        )


def linked_again(folder: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        kist.write_parts(
            rows_of_part,
            range(3),
            folder / "q-0001.kist",
            "t",
            executor=pool,
            linked=True,
            overwrite=True,
        )


def save(folder: Path, name: str = "new") -> None:
    """As what is too large to be made in memory first."""
    small, saving._SMALL = saving._SMALL, 0  # type: ignore[misc]
    try:
        kist.savez(folder / f"{name}.kist", np.arange(900.0), rows=rows_of(700, 3))
    finally:
        saving._SMALL = small  # type: ignore[misc]


def save_again(folder: Path) -> None:
    save(folder, "q-0001")


RUNS: dict[str, Run] = {
    "split": split,
    "split again": split_again,
    "merge": merge,
    "merge again": merge_again,
    "linked": linked,
    "linked again": linked_again,
    "save": save,
    "save again": save_again,
}


def ward(path: Path, seed: int) -> None:
    """A store with a sealed group, whose datasets stand in groups of it."""
    with kist.open(path, "w") as store:
        ward = store.create_group("lab/ward", encrypt={"lab": KEY}, attrs={"seed": 5})
        ward.create_table("t", rows_of(700, seed))
        ward["t"].append(rows_of(9, seed + 1))
        ward["t"].create_index("size")
        ward.create_array("june/a", np.arange(900.0) + seed, chunks=(200,))
        ward.create_keystore("k").update({f"{seed}/{n}": rows_of(n, n) for n in range(30)})
        store["lab/open"] = [seed]


def two_of(make: Callable[[Path, int], None], folder: Path) -> None:
    """Two sources that may be merged where they are in clear, and a store that some replace."""
    for n in (1, 2):
        make(folder / f"source-{n}.kist", n)
    with kist.open(folder / "q-0001.kist", "x") as store:
        store["a"] = np.arange(5)


def wards(folder: Path) -> None:
    """Two parts of a sealed group, whose keys are the same, and a store that some replace."""
    ward(folder / "source-0.kist", 1)
    for path in ("t", "june/a", "k"):
        name = path.rpartition("/")[2]
        kist.split(
            folder / "source-0.kist",
            f"lab/ward/{path}",
            parts=2,
            out=folder / f"source-{name}-{{}}.kist",
            secrets=KEY,
        )
    with kist.open(folder / "q-0001.kist", "x") as store:
        store["a"] = np.arange(5)


def split_ward(path: str, folder: Path) -> None:
    out = folder / "new" / "q-{}.kist"
    kist.split(folder / "source-0.kist", f"lab/ward/{path}", parts=3, out=out, secrets=KEY)


def split_ward_again(folder: Path) -> None:
    out = folder / "q-{}.kist"
    kist.split(
        folder / "source-0.kist", "lab/ward/k", parts=2, out=out, overwrite=True, secrets=KEY
    )


def merge_ward(name: str, folder: Path) -> None:
    sources = sorted(folder.glob(f"source-{name}-*.kist"))
    kist.merge(sources, folder / "both.kist", secrets=KEY)


def merge_ward_again(folder: Path) -> None:
    sources = sorted(folder.glob("source-t-*.kist"))
    kist.merge(sources, folder / "q-0001.kist", secrets=KEY, overwrite=True)


WARDS: dict[str, Run] = {
    **{
        f"split of a sealed group, {path}": partial(split_ward, path)
        for path in ("t", "june/a", "k")
    },
    **{f"merge of sealed groups, {name}": partial(merge_ward, name) for name in "tak"},
    "split of a sealed group again": split_ward_again,
    "merge of sealed groups again": merge_ward_again,
}

CASES: dict[str, FolderCase] = {
    name: FolderCase(make, run, contents)
    for make, runs in ((partial(two_of, everything), RUNS), (wards, WARDS))
    for name, run in runs.items()
}
