"""Updates of few rows in each of many row groups, whose columns are read together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.engine.pages import page_head
from kist.format.layout import FRAME
from kist.model.tables.changes import update

N = 300_000


def _columns() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {
        "code": rng.integers(0, 1_000, N),
        "a": rng.integers(0, 1_000_000, N),
        "b": np.round(rng.random(N) * 1000, 2),
        "some": np.ma.MaskedArray(rng.integers(0, 9, N), rng.random(N) < 0.1),
        "word": rng.choice(np.array(["x", "long enough to be kept", ""]), N).astype("T"),
    }


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("limit", [1, 20, 500])
def test_rows_of_many_groups_are_computed_as_in_numpy(
    tmp_path: Path, limit: int, n_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = _columns()
    seen: list[int] = []
    together = update._read_together

    def watched(*args: Any) -> Any:
        found = together(*args)
        seen.append(len(found))
        return found

    monkeypatch.setattr(update, "_read_together", watched)
    monkeypatch.setitem(kist.options._values, "n_threads", n_threads)
    hits = columns["code"] < limit
    with kist.open(tmp_path / "t.kist", "w") as store:
        table = store.create_table("t", columns)
        found = table.where("code < k", k=limit)
        assert found.update({"b": kist.expr("b + a * 2"), "a": kist.expr("a + code")}) == hits.sum()
        assert max(seen) == (5 if limit < 125 else 0)  # of many rows each group by itself
        b = np.where(hits, columns["b"] + columns["a"] * 2, columns["b"])
        a = np.where(hits, columns["a"] + columns["code"], columns["a"])
        assert np.array_equal(table["b"][:], b) and np.array_equal(table["a"][:], a)
        # Those that were patched are read with their patches, and nullable ones with their nulls.
        assert found.update({"a": kist.expr("a * 3"), "some": kist.expr("some + 1")}) == hits.sum()
        assert np.array_equal(table["a"][:], np.where(hits, a * 3, a))
        some = table["some"][:]
        assert np.array_equal(some.mask, columns["some"].mask)
        expected = np.where(hits, columns["some"].data + 1, columns["some"].data)
        assert np.array_equal(some.compressed(), expected[~some.mask])
        text = "where(word == 'x', a, 0 - a)"
        assert found.update({"a": kist.expr(text)}) == hits.sum()
        a = np.where(hits, a * 3 * np.where(columns["word"] == "x", 1, -1), a)
        assert np.array_equal(table["a"][:], a)


def test_a_damaged_page_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "t.kist"
    columns = _columns()
    with kist.open(path, "w") as store:
        table = store.create_table("t", columns)
        state = table._state()
        pointer, _ = state.page(state.facts.by_name["b"], state.layout.group(2))
        head = page_head(state.view, pointer)
    data = bytearray(path.read_bytes())
    data[pointer.offset + FRAME.size + head.size + 5] ^= 1
    path.write_bytes(data)
    with kist.open(path, "r+") as store:
        table = store["t"]
        with pytest.raises(kist.errors.CorruptDataError, match="'b'"):
            table.where("code < 5").update({"a": kist.expr("a + 1"), "b": kist.expr("b + 1")})
        assert np.array_equal(table["a"][:], columns["a"])
