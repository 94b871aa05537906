"""The benchmarks run at small size, verify what they time, and say what kist loses."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
N_ROWS = 5_000

PEERS = ("parquet-lz4", "ctable-lz4", "pytables-lz4", "sqlite")


@pytest.fixture(autouse=True)
def _bench_importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The benchmarks are not installed; they are found from the top of the repository."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "bench":
            del sys.modules[name]


def bench(name: str) -> ModuleType:
    return import_module(f"bench.{name}")


def test_rows_do_not_depend_on_how_many_are_made() -> None:
    workloads = bench("workloads")
    block = workloads.BLOCK_ROWS
    long = workloads.table(block + 1_000)
    assert long.dtype.itemsize == 305
    assert len(long.dtype.names) == 50
    for n in (1, 999, block, block + 1):
        assert workloads.table(n).tobytes() == long[:n].tobytes()


def test_prices_are_the_doubles_that_two_decimals_parse_to() -> None:
    rows = bench("workloads").table(2_000)
    for name in ("price0", "price19"):
        assert [float(f"{x:.2f}") for x in rows[name].tolist()] == rows[name].tolist()


def test_splitting_and_joining_give_the_same_bytes() -> None:
    records = bench("records")
    rows = bench("workloads").table(5_000)
    out = np.empty_like(rows)
    records.join_into(out, records.split(rows))
    assert records.same_bits(out, rows)


def test_one_flipped_bit_is_a_difference() -> None:
    records = bench("records")
    values = np.array([0.0, 1.0])
    assert not records.same_bits(values, np.array([-0.0, 1.0]))
    assert not records.same_bits(values, values[:1])
    assert not records.same_bits(values, values.astype("f4"))


@pytest.mark.parametrize("name", ["kist", *PEERS])
def test_engine_gives_back_what_it_stored(name: str, tmp_path: Path) -> None:
    engines, harness = bench("engines"), bench("harness")
    reason = engines.ENGINES[name].missing()
    if reason is not None:
        pytest.skip(reason)
    result = harness.run([name], tmp_path, n_rows=N_ROWS, n_rounds=1, n_datasets=20)
    engine = result.engines[name]
    assert engine.errors == []
    assert engine.steps
    for step, found in engine.steps.items():
        assert found.counts, (step, found)
    if name != "sqlite":
        assert set(engine.steps) >= set(bench("engines.base").TABLE_STEPS)
        assert 0 < engine.stored_bytes < 2 * 305 * N_ROWS


def test_a_wrong_result_is_found_and_does_not_count() -> None:
    steps = bench("steps")
    round_ = steps.Round()
    round_._time("read_all", lambda: 1, lambda found: found == 2)
    assert not round_.outcomes["read_all"].verified


def test_missing_engine_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    engines, harness = bench("engines"), bench("harness")
    monkeypatch.setattr(engines.ENGINES["sqlite"], "modules", ("no_such_module",))
    usable, skipped = harness.choose(["sqlite"])
    assert usable == []
    assert "no_such_module" in skipped["sqlite"]


def _result(write: dict[str, float], stored: dict[str, int]) -> object:
    results = bench("results")
    run = results.RunResult({}, 1_000, 1, 10, 2, False)
    for name, seconds in write.items():
        step = results.StepResult([seconds], [seconds], [0])
        run.engines[name] = results.EngineResult(stored_bytes=stored[name], steps={"write": step})
    return run


def test_report_names_what_kist_loses_and_judges_targets() -> None:
    run = _result(
        {"kist": 1.0, "parquet-lz4": 0.5, "ctable-lz4": 2.0},
        {"kist": 50, "parquet-lz4": 100, "ctable-lz4": 100},
    )
    report = bench("report")
    assert [row[1] for row in report.losses(run)] == ["parquet-lz4"]
    verdicts = {v.what: v.met for v in bench("targets").table_verdicts(run)}
    assert verdicts["write: time over parquet-lz4's"] is False
    assert verdicts["write: time over ctable-lz4's"] is True
    assert verdicts["size over ctable-lz4's"] is True
    assert verdicts["list: time over sqlite's"] is None
    text = report.markdown(run)
    assert "MISSED" in text
    assert "## What kist loses" in text


def test_times_of_an_unverified_step_are_not_compared() -> None:
    run = _result({"kist": 1.0, "parquet-lz4": 0.5}, {"kist": 50, "parquet-lz4": 100})
    run.engines["parquet-lz4"].steps["write"].verified = False
    assert bench("targets").ratio(run, "write", "parquet-lz4") is None
    assert "WRONG RESULT" in bench("report").markdown(run)


def test_a_failed_step_of_kist_is_a_loss() -> None:
    run = _result({"kist": 1.0}, {"kist": 50})
    run.engines["kist"].steps["write"].errors.append("StorageError: no space")
    assert [row[1] for row in bench("report").losses(run)] == ["itself"]


def test_small_commits_are_measured(tmp_path: Path) -> None:
    reason = bench("engines").ENGINES["kist"].missing()
    if reason is not None:
        pytest.skip(reason)
    small = bench("small")
    found = small.run(tmp_path, n_rows=1_000, n_datasets=20)
    assert {part for part, figures in found.items() if "error" in figures} == set(), found
    assert found["commits"]["append.syncs_per_call"] >= 1
    assert found["commits"]["append.uncounted_bytes"] == 0
    assert found["open"]["bytes_read"] > 0
    unmeasured = [v.what for v in bench("targets").small_verdicts(found) if v.met is None]
    assert unmeasured == []


def test_command_writes_figures_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    status = bench("__main__").main(
        f"sqlite limit:transpose --rows 1000 --rounds 1 --folder {tmp_path}"
        f" --json {out} --report {tmp_path / 'r.md'}".split()
    )
    assert status == 0
    figures = json.loads(out.read_text())
    assert figures["engines"]["sqlite"]["steps"]["list"]["median_s"] > 0
    assert (tmp_path / "r.md").read_text() == capsys.readouterr().out


@pytest.mark.parametrize("name", ["keystore", "million", "volume", "lines", "grown"])
def test_workloads_of_arrays_and_key_stores_are_verified(name: str, tmp_path: Path) -> None:
    objects = bench("objects")
    results = objects.run(tmp_path, names=[name], rounds=1, scale=0.002)
    for engine, found in results[name].items():
        assert found.error is None, (engine, found.error)
        assert found.wrong == [], engine
        assert found.seconds, engine
    verdicts = bench("objects.report").verdicts(results)
    missing = {p for p in ("h5py", "zarr") if p not in results[name]}
    assert [
        v.what for v in verdicts if v.met is None and not any(p in v.what for p in missing)
    ] == []
    assert "does not count" not in "\n".join(bench("objects.report").lines(results))


def test_a_wrong_array_is_found_and_does_not_count() -> None:
    steps = bench("objects.steps").Steps()
    same = bench("objects.steps").equal
    values = np.array([0.0, 1.0])
    steps.time("read", lambda: values * -1 * 0, lambda found: same(found, values * 0))
    assert steps.wrong == ["read"]
    found = bench("objects").Found()
    found.add({"seconds": steps.seconds, "figures": {}, "wrong": steps.wrong})
    assert found.median("read") is None
