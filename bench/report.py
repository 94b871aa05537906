"""A run as Markdown: what kist loses first, then targets, then each workload."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.results import RunResult, StepResult, WorkloadResult, is_limit, is_peer
from bench.targets import Verdict, verdicts

WORDS = {True: "met", False: "MISSED", None: "not measured"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; columns after the first are aligned to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def time_text(seconds: float | None) -> str:
    """A time with its unit, three digits."""
    if seconds is None:
        return ""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def figure_text(name: str, value: float) -> str:
    """A figure: bytes as MB, others with three digits."""
    if "bytes" in name and "over" not in name.split(",")[0]:
        return f"{value / 1e6:,.2f} MB" if value >= 1e5 else f"{value:,.0f} B"
    return f"{value:,.3g}" if value < 1e4 else f"{value:,.0f}"


def losses(result: RunResult) -> list[list[str]]:
    """Rows of (workload, what, peer, kist's figure, the peer's, how many times worse)."""
    rows: list[list[str]] = []
    for name, workload in result.workloads.items():
        kist = workload.engines.get("kist")
        if kist is None:
            continue
        bad = [step for step, found in kist.steps.items() if not found.counts]
        rows += [[name, step, "itself", "failed or wrong", "", ""] for step in bad]
        for step in kist.steps:
            for peer in filter(is_peer, workload.engines):
                ratio = workload.ratio(step, "kist", peer)
                if ratio is not None and ratio.median > 1:
                    times = [workload.engines[e].median_s(step) for e in ("kist", peer)]
                    cells = [time_text(t) for t in times]
                    rows.append([name, step, peer, *cells, f"{ratio.median:.2f}"])
        for peer, engine in workload.engines.items():
            for figure, value in engine.figures.items():
                ours = kist.figures.get(figure, 0)
                if is_peer(peer) and figure.startswith("stored bytes") and 0 < value < ours:
                    cells = [figure_text(figure, x) for x in (ours, value)]
                    rows.append([name, figure, peer, *cells, f"{ours / value:.2f}"])
    return rows


def _losses(result: RunResult) -> list[str]:
    lines = ["", "## What kist loses", ""]
    if not any("kist" in workload.engines for workload in result.workloads.values()):
        return [*lines, "kist did not run."]
    rows = losses(result)
    if not rows:
        return [*lines, "Nothing in this run."]
    head = ("workload", "what", "to", "kist", "theirs", "times worse")
    return lines + table(head, rows)


def _targets(found: Sequence[Verdict]) -> list[str]:
    if not found:
        return []
    counts = [sum(v.met is met for v in found) for met in (True, False, None)]
    lines = ["", "## Targets", ""]
    lines += [f"{counts[0]} met, {counts[1]} missed, {counts[2]} not measured."]
    lines += ["Ratios of speed are a peer's time over kist's: medians of paired rounds, and their"]
    lines += ["spread.", ""]
    return lines + table(
        ("target", "limit", "found", ""), [[v.what, v.limit, v.found, WORDS[v.met]] for v in found]
    )


def _step_cell(found: StepResult | None, best: float | None) -> str:
    if found is None:
        return ""
    if not found.counts:
        return "failed" if found.errors else "WRONG RESULT"
    text = time_text(found.median_s)
    return f"**{text}**" if best is not None and found.median_s <= best else text


def _times(workload: WorkloadResult) -> list[str]:
    """Medians of all engines; the fastest one that is no limit stands out."""
    names = sorted(workload.engines, key=is_limit)
    rows = []
    for step in workload.steps():
        engines = [workload.engines[name] for name in names]
        times = [
            seconds
            for name in names
            if not is_limit(name) and (seconds := workload.engines[name].median_s(step)) is not None
        ]
        best = min(times, default=None)
        rows.append(
            [
                step,
                *(
                    _step_cell(engine.steps.get(step), None if is_limit(name) else best)
                    for name, engine in zip(names, engines, strict=True)
                ),
            ]
        )
    return table(("step", *names), rows)


def _median_text(values: Sequence[float], scale: float) -> str:
    return f"{statistics.median(values) * scale:,.3g}" if values and max(values) > 0 else ""


def _beside_best(workload: WorkloadResult) -> list[str]:
    """kist with spread, processor time and memory, beside the best peer and the limit."""
    kist = workload.engines.get("kist")
    if kist is None:
        return []
    rows = []
    for step, found in kist.steps.items():
        if not found.counts:
            continue
        low, high = min(found.rounds_s.values()), max(found.rounds_s.values())
        row = [step, time_text(found.median_s), f"{time_text(low)} to {time_text(high)}"]
        row += [_median_text(found.cpu_s, 1e3), _median_text(found.peak_bytes, 1e-6)]
        peer, limit = workload.best_peer(step), workload.limit(step)
        ratio = None if peer is None else workload.ratio(step, peer)
        if peer is None or ratio is None:
            row += [""] * 4
        else:
            theirs = workload.engines[peer].steps[step]
            row += [peer, f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"]
            row += [_median_text(theirs.cpu_s, 1e3), _median_text(theirs.peak_bytes, 1e-6)]
        to_limit = None if limit is None else workload.ratio(step, "kist", limit)
        row.append("" if to_limit is None else f"{to_limit.median:.2f} x {str(limit)[6:]}")
        rows.append(row)
    head = ("step", "kist", "rounds", "cpu ms", "peak MB", "best peer", "its time over kist's")
    head += ("its cpu ms", "its peak MB", "kist over limit")
    return ["", *table(head, rows)] if rows else []


def _figures(workload: WorkloadResult) -> list[str]:
    engines = {n: e for n, e in workload.engines.items() if not is_limit(n)}
    names = list(dict.fromkeys(f for engine in engines.values() for f in engine.figures))
    rows = [
        [
            name,
            *(
                figure_text(name, e.figures[name]) if name in e.figures else ""
                for e in engines.values()
            ),
        ]
        for name in names
        if any(engine.figures.get(name) for engine in engines.values())
    ]
    return ["", *table(("figure", *engines), rows)] if rows else []


def _notes(workload: WorkloadResult) -> list[str]:
    lines = [f"Skipped: {name}, because {why}." for name, why in workload.skipped.items()]
    for name, engine in workload.engines.items():
        lines += [f"Failed: {name}, {error}." for error in engine.errors]
        for step, found in engine.steps.items():
            lines += [f"Failed: {name}, {step}: {error}." for error in found.errors]
        if engine.not_offered:
            lines.append(f"Not offered by {name}: {', '.join(engine.not_offered)}.")
    return [line for note in lines for line in ("", note)]


def _workload(name: str, workload: WorkloadResult, plots: Mapping[str, str]) -> list[str]:
    lines = ["", f"## {workload.title}", ""]
    if name in plots:
        lines += [f"![{workload.title}: time of the peers over kist's]({plots[name]})", ""]
    lines += _times(workload)
    return lines + _beside_best(workload) + _figures(workload) + _notes(workload)


def _small(small: dict[str, Any]) -> list[str]:
    rows = [
        [part, name.replace("_", " "), f"{v:,.4g}" if isinstance(v, float) else f"{v:,}"]
        for part, figures in small.items()
        for name, v in figures.items()
        if isinstance(v, int | float)
    ]
    lines = ["", "## Small commits of kist", ""]
    for part, figures in small.items():
        for why in ("skipped", "error"):
            if why in figures:
                lines += [f"{part}: {why}, {figures[why]}", ""]
    return lines + table(("part", "figure", "value"), rows)


def markdown(result: RunResult, plots: Mapping[str, str] | None = None) -> str:
    """The whole report; ``plots`` maps workloads to pictures, relative to the report."""
    lines = ["# Benchmarks", "", *_INTRODUCTION, ""]
    lines += table(("condition", "value"), (result.conditions | result.versions).items())
    if result.workloads:
        lines += _losses(result)
    lines += _targets(verdicts(result))
    for name, workload in result.workloads.items():
        lines += _workload(name, workload, plots or {})
    if result.small:
        lines += _small(result.small)
    return "\n".join(lines) + "\n"


_INTRODUCTION = """\
Engines take turns, each in a process of its own, with the same number of threads; every write is
synced before its time ends. Results were compared bit for bit outside the timing before a time
counted. Times are medians of rounds. Peak is memory above what was held before the step. What an
engine does not offer is named, and nothing stands in for it.""".splitlines()


def write(result: RunResult, path: Path | None, plots: Mapping[str, str] | None = None) -> str:
    """The report, also written to ``path`` if there is one."""
    text = markdown(result, plots)
    if path is not None:
        path.write_text(text)
    return text
