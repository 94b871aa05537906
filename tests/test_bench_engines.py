"""Every engine of every workload gives back what it stored, and answers what it offers rightly."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
try:
    from bench.engines import VARIANTS
    from bench.harness import WORKLOADS, engines_of
finally:
    sys.path.remove(str(ROOT))

N_ROWS = 1_500
PAIRS = [(w, name) for w in WORKLOADS for name in engines_of(w) if w != "archive"]
ALL_STEPS = 34
"""Steps of the archive for an engine that offers everything."""


@pytest.fixture(autouse=True)
def _bench_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are not installed; they are found from the top of the repository."""
    monkeypatch.syspath_prepend(str(ROOT))
    # Collecting garbage before each sample steadies times; here nobody looks at them.
    monkeypatch.setattr(bench("measure"), "gc", SimpleNamespace(collect=lambda: 0))


def bench(name: str) -> ModuleType:
    return import_module(f"bench.{name}")


def run(workload: str, engine: str, tmp_path: Path, **how: Any) -> Any:
    """All steps of one engine, in this process."""
    kind = engines_of(workload)[engine]
    reason = kind.missing()
    if reason is not None:
        pytest.skip(reason)
    folder, shared = tmp_path / "engine", tmp_path / "shared"
    folder.mkdir()
    shared.mkdir()
    module = import_module(WORKLOADS[workload])
    job = bench("worker").Job(WORKLOADS[workload], engine, str(folder), str(shared), **how)
    if hasattr(module, "prepare"):
        module.prepare(shared, job)
    steps = bench("steps").Steps(budget_s=0.01)
    store = kind(folder, 2, 1_000)
    for phase in getattr(module, "PHASES", ("run",)):
        module.run(store, steps, replace(job, phase=phase))
    return steps


def check(steps: Any) -> None:
    for name, outcome in steps.outcomes.items():
        assert outcome.error is None, (name, outcome.error)
        assert outcome.verified, name
        assert outcome.samples, name


@pytest.mark.parametrize("name", [n for n in engines_of("archive") if n not in VARIANTS])
def test_engine_of_the_archive_answers_every_step_rightly(name: str, tmp_path: Path) -> None:
    steps = run("archive", name, tmp_path, rows=N_ROWS)
    check(steps)
    if name.startswith("limit:"):
        assert steps.outcomes
    else:
        assert 0 < steps.figures["stored bytes"] < 2 * 305 * N_ROWS + 300_000
        assert len(steps.outcomes) + len(steps.not_offered) >= ALL_STEPS - 3
    if name == "kist":
        assert set(steps.not_offered) <= {"group-by mean"}


@pytest.mark.parametrize(("workload", "name"), PAIRS)
def test_engine_of_a_workload_gives_back_what_it_stored(
    workload: str, name: str, tmp_path: Path
) -> None:
    steps = run(workload, name, tmp_path, scale=0.001, rows=N_ROWS)
    check(steps)
    assert steps.outcomes or name == "limit:memcpy"


def test_conditions_select_the_share_that_they_are_named_for() -> None:
    queries, table = bench("archive.queries"), bench("engines.table")
    rows = bench("workloads").table(65_536 * 4)
    for label, share in queries.SHARES:
        for where in (queries.clustered(rows, share), queries.UNCLUSTERED[label]):
            found = np.count_nonzero(table.mask_of(where, rows)) / len(rows)
            assert found == pytest.approx(share, rel=0.35)


def test_an_engine_that_loses_a_row_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npy = engines_of("archive")["npy"]
    write = npy.write
    monkeypatch.setattr(npy, "write", lambda self, rows: write(self, rows[:-1]))
    steps = run("archive", "npy", tmp_path, rows=N_ROWS)
    assert not steps.right("read all to a recarray")
    assert not steps.right("write")


def test_what_is_split_merged_and_joined_is_compared_with_its_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = bench("parts")
    small = ["--rows", "20000", "--files", "5", "--rounds", "1", "--folder", str(tmp_path)]
    assert parts.main(small) == 0
    assert "| merge |" in (said := capsys.readouterr().out) and "| sum |" in said
    assert not list(tmp_path.iterdir())
    parts.make(tmp_path / "a.kist", 3000)
    parts.make(tmp_path / "b.kist", 2999)
    with pytest.raises(AssertionError, match="2999 rows instead of 3000"):
        parts.check_same(tmp_path / "a.kist", tmp_path / "b.kist")


def test_many_tables_in_one_file_are_read_back_and_reckoned_up(tmp_path: Path) -> None:
    beyond = bench("beyond")
    found = beyond.run(tmp_path, 2, 70_000)
    assert found["goal"]["raw bytes"] == 1_525_000_000_000
    assert found["goal"]["stored bytes"] == pytest.approx(
        found["stored bytes"] / found["raw bytes"] * 1_525e9
    )
    assert "1.525 TB" in beyond.report(found)


def test_rows_of_a_table_beyond_memory_are_made_again(tmp_path: Path) -> None:
    beyond, workloads = bench("beyond"), bench("workloads")
    whole = workloads.table(70_000, seed=3)
    assert beyond._block(3, 70_000, 65_000, 66_000).tobytes() == whole[65_000:66_000].tobytes()
