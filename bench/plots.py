"""Pictures of a run: for each step, how many times as long each peer takes as kist."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from bench.results import RunResult, WorkloadResult, is_peer

_MARKERS = "osD^vPX*<>hd"


def missing() -> str | None:
    """Why nothing can be drawn, or None."""
    try:
        import_module("matplotlib")
    except ImportError as error:
        return f"matplotlib is not installed ({error})"
    return None


def _ratios(workload: WorkloadResult) -> dict[str, dict[str, float]]:
    """Peer -> step -> its time over kist's."""
    found: dict[str, dict[str, float]] = {}
    for peer in filter(is_peer, workload.engines):
        for step in workload.steps():
            ratio = workload.ratio(step, peer)
            if ratio is not None:
                found.setdefault(peer, {})[step] = ratio.median
    return found


def _draw(workload: WorkloadResult, path: Path) -> bool:
    ratios = _ratios(workload)
    steps = [s for s in workload.steps() if any(s in found for found in ratios.values())]
    if not steps:
        return False
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text: small files
    matplotlib.rcParams["svg.hashsalt"] = "kist"  # the same run gives the same bytes
    pyplot: Any = import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(9, 1.4 + 0.26 * len(steps)), layout="constrained")
    rows = {step: len(steps) - i for i, step in enumerate(steps)}
    for i, (peer, found) in enumerate(ratios.items()):
        places = [rows[step] for step in found]
        axes.plot(list(found.values()), places, _MARKERS[i % len(_MARKERS)], label=peer, alpha=0.8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(list(rows.values()), list(rows))
    axes.grid(axis="y", linewidth=0.3)
    axes.set_xlabel("time of the peer over that of kist (right of the line kist is faster)")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    # Nothing about when and by what: the same figures give the same file.
    figure.savefig(path, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    pyplot.close(figure)
    return True


def draw(result: RunResult, report: Path) -> dict[str, str]:
    """Draw each workload into a folder beside the report; names relative to the report."""
    folder = report.with_suffix("")
    plots: dict[str, str] = {}
    for name, workload in result.workloads.items():
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.svg"
        if _draw(workload, path):
            plots[name] = f"{folder.name}/{path.name}"
    return plots
