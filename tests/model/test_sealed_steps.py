"""Many steps of one transaction on a sealed table: the manifest counts each record once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cryptography")

import kist
from kist.model.tables.changes import manifests

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
DTYPE = np.dtype([("id", "i8"), ("name", "S6"), ("price", "f8")])


def rows_of(n: int, start: int = 0) -> np.ndarray[Any, Any]:
    rows = np.zeros(n, DTYPE)
    rows["id"] = rows["price"] = np.arange(start, start + n)
    return rows


def made(path: Path) -> None:
    with kist.open(path, "w") as store:
        store.create_table("t", rows_of(20), encrypt={"name": KEY, "price": OTHER})


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["append", "update", "delete", "many", "undone", "interrupted"]),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=20, deadline=None)
@given(STEPS)
def test_any_steps_of_one_transaction_leave_a_manifest_that_holds(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("sealed") / "a.kist"
    made(path)
    model = rows_of(20)

    def step(table: Any, what: str, n: int) -> None:
        nonlocal model
        if what in ("append", "many"):
            new = rows_of(n if what == "append" else 900, 100 * n)
            table.append(new)
            model = np.concatenate([model, new])
        elif what == "update":
            at = n % len(model)
            table["price"][at] = n
            model["price"][at] = n
        elif what == "delete":
            at = n % len(model)
            table.delete(at)
            model = np.delete(model, at)

    with kist.open(path, "r+", secrets=[KEY, OTHER]) as store:
        table = store["t"]
        with store.transaction():
            for what, n in steps:
                if what not in ("undone", "interrupted"):
                    step(table, what, n)
                    continue
                before = model.copy()
                with pytest.raises(KeyboardInterrupt), store.transaction():
                    step(table, "append", n + 1)
                    with pytest.MonkeyPatch.context() as patch:
                        if what == "interrupted":
                            patch.setattr(manifests, "item_of", interrupted)
                        step(table, "update", n)
                        step(table, "delete", n)
                    raise KeyboardInterrupt
                model = before
        assert store.check().ok
    with kist.open(path, secrets=[KEY, OTHER]) as store:
        assert store["t"][:].tobytes() == model.tobytes() and store.check().ok


def interrupted(*_: Any, **__: Any) -> bytes:
    raise KeyboardInterrupt


def test_a_step_counts_what_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "a.kist")
    counted: list[bytes] = []
    real = manifests.item_of

    def item_of(view: Any, key: bytes, value: bytes, *, deep: bool = False) -> bytes:
        counted.append(key)
        return real(view, key, value, deep=deep)

    monkeypatch.setattr(manifests, "item_of", item_of)
    with kist.open(tmp_path / "a.kist", "r+", secrets=[KEY, OTHER]) as store:
        with store.transaction():
            for i in range(330):  # more than a record of the log notes one by one
                store["t"].append(rows_of(1, i))
        # Of each of two fields: the new row, and the end of the table. All each time: 100,000.
        assert len(counted) < 330 * 2 * 2 + 20
    with kist.open(tmp_path / "a.kist", secrets=[KEY, OTHER]) as store:
        assert len(store["t"][:]) == 350 and store.check().ok
