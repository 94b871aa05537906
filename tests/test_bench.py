"""The benchmarks run at small size, verify what they time, and say what kist loses."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _bench_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are not installed; they are found from the top of the repository."""
    monkeypatch.syspath_prepend(str(ROOT))


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
    values = np.array([0.0, 1.0])
    for same in (bench("records").same_bits, bench("steps").equal):
        assert same(values, values.copy())
        assert not same(values, np.array([-0.0, 1.0]))
        assert not same(values, values[:1])
        assert not same(values, values.astype("f4"))


def steps() -> Any:
    return bench("steps").Steps()


def test_a_wrong_result_is_found_and_does_not_count() -> None:
    taken = steps()
    assert taken.time("read", lambda: 2, lambda found: found == 2)
    assert not taken.time("write", lambda: 1, lambda found: found == 2)
    found = bench("results").EngineResult()
    report = {"outcomes": {k: o.summary() for k, o in taken.outcomes.items()}}
    found.add(0, {**report, "figures": {}, "not_offered": []})
    assert found.median_s("read") is not None
    assert found.median_s("write") is None


def test_one_wrong_call_of_many_makes_all_of_them_not_count() -> None:
    taken = steps()
    n = taken.each("get", (lambda i=i: i for i in range(5)), lambda i, found: found != 3, tail=True)
    assert n == 5
    assert not taken.right("get")
    assert not taken.outcomes["get, p99"].verified


def test_what_an_engine_does_not_offer_has_no_time() -> None:
    base = bench("engines.base")

    def refuse() -> None:
        raise base.NotOffered

    taken = steps()
    assert not taken.time("update", refuse)
    assert taken.each("row", [refuse]) == 0
    assert taken.not_offered == ["update", "row"]
    assert taken.outcomes == {}


def test_an_error_of_an_engine_is_one_line_and_the_other_steps_go_on() -> None:
    def fail() -> None:
        raise RuntimeError("no space\nBacktrace:\n 0: <unknown>")

    taken = steps()
    assert not taken.time("write", fail)
    assert taken.time("read", lambda: 1)
    assert taken.outcomes["write"].error == "RuntimeError: no space"


def test_missing_engine_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = bench("harness")
    engine = harness.engines_of("listing")["sqlite"]
    monkeypatch.setattr(engine, "modules", ("no_such_module",))
    usable, skipped = harness.choose("listing", ["sqlite", "kist"])
    assert usable == ["kist"]
    assert "no_such_module" in skipped["sqlite"]


def test_variants_of_engines_run_only_when_they_are_named() -> None:
    harness = bench("harness")
    by_default = harness.choose("archive", None)
    assert "kist-small" not in {*by_default[0], *by_default[1]}
    named = harness.choose("archive", ["kist-small"])
    assert {*named[0], *named[1]} == {"kist-small"}


Rounds = dict[str, dict[str, list[float]]]


def run_of(rounds: Rounds, stored: dict[str, int] | None = None, workload: str = "archive") -> Any:
    """A run of one workload: engine -> step -> seconds of each round."""
    results = bench("results")
    place = results.WorkloadResult("The archive")
    for name, found in rounds.items():
        engine = place.engines[name] = results.EngineResult()
        for step, seconds in found.items():
            engine.steps[step] = results.StepResult(dict(enumerate(seconds)), [1.0], [0])
        if stored:
            engine.figures["stored bytes"] = stored[name]
    return results.RunResult({"cores": "2"}, {workload: place}, {"kist": "1"})


def test_ratios_are_medians_of_paired_rounds() -> None:
    # Of the medians the ratio would be 2; round by round it is 1, 4 and 4.
    run = run_of({"kist": {"write": [4.0, 1.0, 2.0]}, "vortex": {"write": [4.0, 4.0, 8.0]}})
    ratio = run.workloads["archive"].ratio("write", "vortex")
    assert (ratio.median, ratio.low, ratio.high) == (4.0, 1.0, 4.0)


def test_report_names_what_kist_loses_and_judges_targets() -> None:
    run = run_of(
        {
            "kist": {"write": [1.0]},
            "parquet-lz4": {"write": [0.5]},
            "vortex": {"write": [2.6]},
            "limit:disk-stored": {"write": [0.1]},
        },
        {"kist": 79, "parquet-lz4": 50, "vortex": 100, "limit:disk-stored": 79},
    )
    report = bench("report")
    assert [row[1:3] for row in report.losses(run)] == [
        ["write", "parquet-lz4"],
        ["stored bytes", "parquet-lz4"],
    ]
    met = {v.what: v.met for v in bench("targets").verdicts(run)}
    assert met["archive: write, speed against parquet-lz4"] is False
    assert met["archive: write, speed against vortex"] is True
    assert met["archive: stored bytes over vortex's"] is True
    assert met["archive: update of 5 %, speed against duckdb"] is None
    text = report.markdown(run)
    assert "MISSED" in text
    assert "## What kist loses" in text
    assert "10.00 x disk-stored" in text


def test_the_best_peer_is_neither_a_variant_of_kist_nor_a_limit() -> None:
    run = run_of(
        {
            "kist": {"read all to a recarray": [1.0]},
            "kist-fast": {"read all to a recarray": [0.1]},
            "limit:memcpy": {"read all to a recarray": [0.01]},
            "npy": {"read all to a recarray": [1.1]},
            "vortex": {"read all to a recarray": [3.0]},
        }
    )
    assert run.workloads["archive"].best_peer("read all to a recarray") == "npy"
    found = {v.what: v.met for v in bench("targets").verdicts(run)}
    assert found["archive: read all to a recarray, speed against best, npy"] is False


def test_times_of_an_unverified_step_are_not_compared() -> None:
    run = run_of({"kist": {"write": [1.0]}, "vortex": {"write": [0.5]}})
    run.workloads["archive"].engines["vortex"].steps["write"].verified = False
    assert run.workloads["archive"].ratio("write", "vortex") is None
    assert bench("report").losses(run) == []
    assert "WRONG RESULT" in bench("report").markdown(run)
    assert run.failed()


def test_a_failed_step_of_kist_is_a_loss() -> None:
    run = run_of({"kist": {"write": [1.0]}})
    run.workloads["archive"].engines["kist"].steps["write"].errors.append("StorageError: full")
    assert [row[2] for row in bench("report").losses(run)] == ["itself"]


def test_every_target_names_a_workload_and_engines_that_there_are() -> None:
    targets, harness = bench("targets"), bench("harness")
    for target in (*targets.SPEEDS, *targets.SIZES):
        engines = harness.engines_of(target.workload)
        assert target.peer in engines or target.peer.startswith("best"), target
    assert {place for place, *_ in targets.OWN} <= set(harness.WORKLOADS)


def test_a_run_reads_back_from_its_json() -> None:
    run = run_of({"kist": {"write": [1.0, 2.0]}, "vortex": {"write": [4.0, 4.0]}}, None, "strings")
    again = bench("results").RunResult.from_json(json.loads(json.dumps(run.to_json())))
    assert bench("report").markdown(again) == bench("report").markdown(run)


def test_plots_are_small_and_stand_beside_the_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = run_of({"kist": {"write": [1.0]}, "vortex": {"write": [4.0]}})
    drawn = bench("plots").draw(run, tmp_path / "report.md")
    assert drawn == {"archive": "report/archive.svg"}
    assert 1_000 < (tmp_path / drawn["archive"]).stat().st_size < 100_000
    assert "](report/archive.svg)" in bench("report").markdown(run, drawn)


def test_small_commits_are_measured(tmp_path: Path) -> None:
    reason = bench("engines.kist_store").kist_missing()
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


def test_command_runs_what_is_named_and_adds_it_to_an_earlier_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "figures.json", tmp_path / "r.md"
    common = f"--rows 500 --scale 0.001 --rounds 2 --folder {tmp_path} --json {out}"
    main = bench("__main__").main
    assert main(f"archive npy limit:memcpy {common}".split()) == 0
    assert main(f"lines npz-zlib {common} --rounds 1 --add {out} --report {report}".split()) == 0
    figures = json.loads(out.read_text())["workloads"]
    assert figures["archive"]["engines"]["npy"]["steps"]["one field"]["median_s"] > 0
    assert set(figures["archive"]["engines"]["npy"]["steps"]["one field"]["rounds_s"]) == {"0", "1"}
    assert figures["lines"]["engines"]["npz-zlib"]["steps"]["read sine"]["verified"]
    assert capsys.readouterr().out.endswith(report.read_text())
    assert not list(tmp_path.glob("kist-bench-*"))


def test_command_refuses_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench("__main__").main(["archve"])
    assert "unknown: archve" in capsys.readouterr().err


def test_a_slice_over_a_network_is_held_against_the_bytes_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore")
    remote = bench("remote")
    monkeypatch.setattr(remote, "N_COLUMNS", 43)
    path, (one,) = remote.prepare(tmp_path, 70_000)
    assert one.stop - one.start == 700
    # The first 700 rows of blocks of 8,192 rows.
    assert one.of_rows == pytest.approx(one.of_blocks * 700 / 8192)
    assert 0 < one.of_blocks < path.stat().st_size / 10
    # Made elsewhere, as `measure` does: the heads of these pages are known here.
    monkeypatch.setattr(remote, "LATENCY_S", 0.0)
    monkeypatch.setattr(remote, "prepare", lambda *given: (path, [one]))
    monkeypatch.setattr(remote, "ProcessPoolExecutor", lambda *given: ThreadPoolExecutor(1))
    lines = remote.measure(tmp_path, 70_000)
    assert [line.split()[0] for line in lines[2:6]] == ["open", "slice,", "one", "a"]
    assert "times those of its rows" in lines[6] and "of its blocks: 1.0" in lines[7]


def test_saving_is_compared_with_numpy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    saving = bench("saving")
    monkeypatch.setattr(saving, "_MOST", 1)
    saving.main(tmp_path, (800.0,))
    times, sizes = capsys.readouterr().out.split("\n\n")[:2]
    assert len(times.splitlines()) == len(sizes.splitlines()) == 2 + len(saving.arrays(1))
    assert "nan" not in times and "1 / " in sizes
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(saving, "_ZLIB_BYTES", 1)
    saving.main(tmp_path, (800.0,))
    assert "nan" in capsys.readouterr().out


def test_many_small_things_are_measured_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = bench("many")
    many.main(tmp_path, 0.004)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| what ") and len(lines) == 2 + 4 + 3 + 3 + 4
    cells = [cell for line in lines[2:] for cell in line.split("|")[3:5]]
    assert all(float(cell.replace(",", "")) >= 0 for cell in cells)
    assert not list(tmp_path.iterdir())
    with pytest.raises(AssertionError, match="tables, kist: other values"):
        many.demand(False, "tables, kist")


def test_many_tables_in_one_file_are_measured_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beyond = bench("beyond")
    assert beyond.main(["--tables", "2", "--rows", "1000", "--folder", str(tmp_path)]) == 0
    found = capsys.readouterr().out
    assert "2 of 1,000 rows" in found and "1.525 TB of records, reckoned" in found
    assert not list(tmp_path.iterdir())
    beyond.run(tmp_path, 2, 1000)
    with pytest.raises(AssertionError, match="tables are missing"):
        beyond._reads(tmp_path / "beyond.kist", 3, 1000)


def test_profiles_tell_the_layers_of_each_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles, profiled = bench("profiles"), bench("profiled")
    monkeypatch.setattr(profiles, "GROUPS", (profiled._keys, profiled._grown))
    assert profiles.main(["pair", "--seconds", "0.2", "--folder", str(tmp_path)]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "pair" in line]
    assert [row[1].strip() for row in rows] == [
        "100 pairs of arrays put at once, durable",
        "get of a pair of arrays",
        "put of a pair of arrays, durable",
    ]
    for row in rows:  # rounded, of what the timer saw
        assert 90 <= sum(int(cell.strip(" %")) for cell in row[3:-1]) <= 110
    assert not list(tmp_path.iterdir())
