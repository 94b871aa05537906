"""A run as Markdown. What kist loses has a section of its own."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from bench.engines import LIMITS
from bench.objects import report as objects
from bench.results import RunResult, StepResult
from bench.steps import N_APPENDS, TITLES, rows_to_append
from bench.targets import Verdict, ratio, small_verdicts, table_verdicts


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:,.0f}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _conditions(result: RunResult) -> list[str]:
    versions: dict[str, str] = {}
    for engine in result.engines.values():
        versions.update(engine.versions)
    cache = "dropped before each read" if result.cold else "warm: files were just written"
    facts = {
        **result.machine,
        "rows": f"{result.n_rows:,} of 50 fields, 305 bytes each",
        "appends": f"{N_APPENDS} of {rows_to_append(result.n_rows):,} rows",
        "datasets listed": f"{result.n_datasets:,}",
        "rounds": str(result.n_rounds),
        "threads": str(result.threads),
        "page cache": cache,
        "durability": "every write is synced before its time ends",
        **versions,
    }
    return _table(("condition", "value"), facts.items())


def _binding_limit(result: RunResult, step: str) -> str | None:
    """The limit that binds: the slowest of what a step cannot avoid."""
    timed = {
        name: median
        for name in LIMITS
        if name in result.engines
        # Nobody has to write the raw bytes of a whole table; the stored ones, all have to.
        if (name, step) != ("limit:disk-raw", "write")
        if (median := result.engines[name].median_s(step)) is not None
    }
    return max(timed, key=lambda name: timed[name]) if timed else None


def _cpu_ratio(result: RunResult, step: str, name: str) -> float | None:
    """Processor time over kist's: tells more than the clock where the machine is shared."""
    spent = [
        result.engines[engine].steps[step].cpu_s
        for engine in (name, "kist")
        if ratio(result, step, "kist", engine=name) is not None
    ]
    return statistics.median(spent[0]) / statistics.median(spent[1]) if spent else None


def _step_row(result: RunResult, name: str, step: str, found: StepResult) -> list[str]:
    if not found.counts:
        why = "; ".join(sorted(set(found.errors))) or "WRONG RESULT"
        return [name, f"does not count: {why}", *[""] * 6]
    low, high = min(found.rounds_s), max(found.rounds_s)
    limit = _binding_limit(result, step)
    ours = ratio(result, step, "kist", engine=name)
    return [
        name,
        _ms(found.median_s),
        f"{_ms(low)} to {_ms(high)}",
        _ms(statistics.median(found.cpu_s)),
        f"{max(found.peak_bytes) / 1e6:,.0f}",
        _times(ours),
        _times(_cpu_ratio(result, step, name)),
        _times(ratio(result, step, limit, engine=name) if limit else None),
    ]


def _steps(result: RunResult) -> list[str]:
    lines: list[str] = []
    head = ("engine", "ms", "rounds", "cpu ms", "peak MB", "to kist", "cpu to kist", "to limit")
    for step, title in TITLES.items():
        rows = [
            _step_row(result, name, step, engine.steps[step])
            for name, engine in result.engines.items()
            if step in engine.steps
        ]
        if rows:
            limit = _binding_limit(result, step)
            lines += ["", f"### {title[0].upper()}{title[1:]}", ""]
            lines += [f"Limit: {limit.removeprefix('limit:')}.", ""] if limit else []
            lines += _table(head, rows)
    return lines


def _sizes(result: RunResult) -> list[str]:
    sizes = {n: e.stored_bytes for n, e in result.engines.items() if e.stored_bytes}
    if not sizes:
        return []
    raw = result.n_rows * 305
    ours = sizes.get("kist", 0)
    rows = [
        [n, f"{size / 1e6:.2f}", f"{raw / size:.2f}", _times(size / ours if ours else None)]
        for n, size in sizes.items()
        if n not in LIMITS
    ]
    return ["", "### Bytes on disk", "", *_table(("engine", "MB", "ratio", "to kist"), rows)]


def losses(result: RunResult) -> list[list[str]]:
    """Rows of (what, peer, kist's figure, the peer's, how many times worse)."""
    rows = []
    kist = result.engines.get("kist")
    if kist is not None:
        rows += [
            [TITLES[step], "itself", "failed or wrong", "", ""]
            for step, found in kist.steps.items()
            if not found.counts
        ]
    for name, engine in result.engines.items():
        if kist is None or name.startswith(("kist", "limit:")):
            continue
        for step, title in TITLES.items():
            behind = ratio(result, step, name)
            if behind is not None and behind > 1:
                ours, theirs = kist.steps[step].median_s, engine.steps[step].median_s
                rows.append([title, name, f"{_ms(ours)} ms", f"{_ms(theirs)} ms", f"{behind:.2f}"])
        if 0 < engine.stored_bytes < kist.stored_bytes:
            sizes = [f"{e.stored_bytes / 1e6:.2f} MB" for e in (kist, engine)]
            factor = f"{kist.stored_bytes / engine.stored_bytes:.2f}"
            rows.append(["bytes on disk", name, *sizes, factor])
    return rows


def _losses(result: RunResult) -> list[str]:
    lines = ["", "## What kist loses", ""]
    if "kist" not in result.engines:
        return [*lines, "kist did not run."]
    rows = losses(result)
    if not rows:
        return [*lines, "Nothing in this run."]
    return lines + _table(("what", "to", "kist", "theirs", "times worse"), rows)


def _verdicts(verdicts: Sequence[Verdict]) -> list[str]:
    words = {True: "met", False: "MISSED", None: "not measured"}
    rows = [[v.what, v.limit, v.found, words[v.met]] for v in verdicts]
    return _table(("target", "at most", "found", ""), rows)


def _small(small: dict[str, Any]) -> list[str]:
    rows = [
        [
            part,
            name.replace("_", " "),
            f"{value:,.4g}" if isinstance(value, float) else f"{value:,}",
        ]
        for part, figures in small.items()
        for name, value in figures.items()
        if isinstance(value, int | float)
    ]
    lines = ["", "## Small commits of kist", ""]
    for part, figures in small.items():
        for why in ("skipped", "error"):
            if why in figures:
                lines += [f"{part}: {why}, {figures[why]}", ""]
    return lines + _table(("part", "figure", "value"), rows)


def markdown(result: RunResult) -> str:
    """The whole report."""
    lines = ["# Benchmarks", "", *_conditions(result)]
    for name, reason in result.skipped.items():
        lines += ["", f"Skipped: {name}, because {reason}."]
    for name, engine in result.engines.items():
        lines += [f"\nFailed: {name}, {error}." for error in engine.errors]
    if result.engines:
        lines += ["", "## Table", "", "Times are medians of rounds; results were compared bit for"]
        lines += ["bit outside the timing. Peak is memory above what was held before the step."]
        lines += _steps(result) + _sizes(result) + _losses(result)
    lines += objects.lines(result.objects)
    if result.small:
        lines += _small(result.small)
    verdicts = table_verdicts(result) if result.engines else []
    verdicts += objects.verdicts(result.objects)
    verdicts += small_verdicts(result.small) if result.small else []
    if verdicts:
        lines += ["", "## Targets", "", *_verdicts(verdicts)]
    return "\n".join(lines) + "\n"
