"""Columns that change in a table with sealed ones: what is sealed stays, and replays are seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from table_programs import small_groups

pytest.importorskip("cryptography")

import kist
from kist.engine import Engine
from kist.errors import TamperedDataError
from kist.format import keys
from kist.format.values import pack_record, unpack_record

KEY = bytes(range(32))
N = 150
CHANGES: dict[str, Callable[[Any], object]] = {
    "drop": lambda t: t.drop_column("x"),
    "add": lambda t: t.add_column("y", np.arange(N + 1)),
    "constant": lambda t: t.add_column("y", 5),
    "cast": lambda t: t.cast_column("x", "f4"),
    "rename": lambda t: t.rename_column("x", "z"),
    "rename the sealed one": lambda t: t.rename_column("name", "who"),
    "reorder": lambda t: t.reorder(["x", "name", "id"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_schema_of_before_the_change_is_not_believed(tmp_path: Path, change: str) -> None:
    rows = {"id": np.arange(N), "name": np.arange(N).astype("S8"), "x": np.arange(N) / 7}
    file = tmp_path / "t.kist"
    with small_groups(), kist.open(file, "w", secrets=KEY) as store:
        t = store.create_table("t", rows, encrypt={"name": KEY})
        t.append((N, b"late", 1.5))  # a piece, whose sealed part is of the schema of now
        t["name"][70], t["x"][70:72] = b"patched", 3.0
        store.tag("before")
        expected = t["name"][:]
        before = unpack_record(store._session.engine.newest().get(keys.schema(t._id)) or b"")[1]
        node = t._id
        CHANGES[change](t)
        assert store.check().ok
    sealed = "who" if change == "rename the sealed one" else "name"
    with kist.open(file, secrets={f"t/{sealed}": KEY}) as store:
        np.testing.assert_array_equal(store["t"][sealed][:], expected)
        assert store.check().ok
    with kist.open(file, secrets=KEY, version="before") as store:
        assert store["t"].columns == ("id", "name", "x")
        np.testing.assert_array_equal(store["t"]["name"][:], expected)
        assert store["t"]["x"][N] == 1.5
    engine = Engine.open(str(file), "r+")
    try:
        txn = engine.begin()
        txn.put(keys.schema(node), pack_record(before))
        txn.commit()
    finally:
        engine.close()
    with kist.open(file, secrets=KEY) as store, pytest.raises(TamperedDataError):
        store["t"]["name"][:]


def test_reading_a_column_opens_the_record_of_each_page_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kist.engine import sealedrecords

    opened: list[bytes] = []
    real = sealedrecords.open_record

    def counted(view: Any, pointers: Any, payload: bytes, keys_: Any) -> Any:
        opened.append(payload)
        return real(view, pointers, payload, keys_)

    with small_groups(), kist.open(tmp_path / "t.kist", "w", secrets=KEY) as store:
        store.create_table("t", {"name": np.arange(2000).astype("S8")}, encrypt=KEY)
    monkeypatch.setattr(sealedrecords, "open_record", counted)
    with kist.open(tmp_path / "t.kist", secrets=KEY) as store:
        assert len(store["t"]["name"][:]) == 2000
    assert len(opened) == len(set(opened)) > 20
