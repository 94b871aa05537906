"""Booleans that are views of other bytes than 0 and 1: what is stored can be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kist


@pytest.mark.parametrize("n", [1, 12, 3000, 100_000])
def test_booleans_that_are_views_of_other_bytes_are_stored_as_what_they_mean(n: int) -> None:
    raw = (np.arange(n) % 5).astype("u1")
    values, meant = raw.view("?"), raw != 0
    with kist.open(":memory:") as store:
        store["x"] = values
        chunked = store.create_array("chunked", shape=(n,), dtype="?", chunks=(100,))
        chunked[:] = values
        grown = store.create_array("grown", shape=(0,), dtype="?")
        grown.append(values)
        store.create_table("t", {"a": values, "b": np.ma.array(values, mask=np.zeros(n, bool))})
        keys = store.create_keystore("k")
        keys["v"] = values
        found: list[Any] = [
            store["x"][:], chunked[:], grown[:], store["t"]["a"][:],
            np.ma.getdata(store["t"]["b"][:]), keys["v"],
        ]  # fmt: skip
        for array in found:
            assert array.dtype == "?" and (array.view("u1").astype(bool) == meant).all()
        store.compact()
        assert store.check().ok
        assert len(store["t"].where("a")) == meant.sum()
