"""The commands that compare kinds of columns, and that measure peaks of memory."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import kist


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    return import_module


def test_kinds_are_compared_once_their_answers_agree(bench: Any, tmp_path: Path) -> None:
    kinds = bench("bench.kinds")
    some = kinds.values(2_000)
    kinds.write(tmp_path / "k.kist", some)
    with kist.open(tmp_path / "k.kist") as store:
        found = {one.name: kinds.ask(one, 1) for one in kinds.questions(store["t"], some)}
        assert {"count, equality", "sort by symbol", "rows of name"} <= set(found)
        wrong = kinds.Question("wrong", {"plain": lambda: 1}, lambda kind, answer: answer == 2)
        with pytest.raises(AssertionError, match="wrong, plain"):
            kinds.ask(wrong, 1)
    text = kinds.report({"count": {"plain": 1.0, "no nulls": 1.2, "nulls": 2.0}})
    assert "| count | 1000.00 ms | 1.20 | 2.00 ! |" in text


def test_all_steps_whose_peaks_are_measured_work(bench: Any, tmp_path: Path) -> None:
    peaks = bench("bench.peaks")
    peaks.write(tmp_path / "p.kist", 20_000)
    for step in (*peaks.STEPS, *peaks.KINDS):
        if not step.startswith("distinct"):  # of so few rows not all values are there
            figures = peaks.child(tmp_path / "p.kist", step)
            assert figures["seconds"] > 0
    text = peaks.report({"sum": {"seconds": 1.0, "peak": 6e8, "anonymous": 2e8}})
    assert "| sum | 1.0 s | 600 MB ! | 200 MB |" in text


def test_lists_are_measured_once_they_are_what_was_written(bench: Any, tmp_path: Path) -> None:
    lists = bench("bench.lists")
    for kind in lists.KINDS:
        found = lists.measured(tmp_path, kind, 3_000, 1)
        assert set(found) == {"lists", "single", "parquet"} and found["lists"][2] > 1000
