"""The benchmark of small appends holds what it appended."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

import kist

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("bench.rows")


@pytest.mark.parametrize("durability", ["full", "none"])
def test_all_forms_are_appended_and_timed(rows: Any, tmp_path: Path, durability: str) -> None:
    found = rows.measure(tmp_path, durability, 5)
    assert len(found) == 9 and all(us > 0 for us in found.values())
    with kist.open(tmp_path / f"{durability}.kist") as store:
        assert store["text"]["text"][4] == "what is said of 4" and len(store["wide"]) == 50


def test_other_rows_are_noticed(rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = kist.Table.append
    monkeypatch.setattr(
        kist.Table, "append", lambda self, data: real(self, (data[0], 7, *data[2:]))
        if self.name == "/tuple" else real(self, data),
    )  # fmt: skip
    with pytest.raises(AssertionError, match="tuple: other rows"):
        rows.measure(tmp_path, "none", 3)
