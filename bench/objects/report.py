"""The section of the report on arrays and key stores."""

from __future__ import annotations

from collections.abc import Sequence

from bench.objects import Found, Results
from bench.targets import Verdict

TITLES = {
    "keystore": "Key store: 1,000 keys of two arrays, 100 random reads",
    "million": "A million small values by key",
    "volume": "A smooth cube of f4, 512 a side",
    "lines": "`np.linspace(0, 100, 10**7)` and its sine",
    "grown": "Growing, overwriting, and working in blocks (kist alone)",
}


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "does not count"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _figure(name: str, value: float) -> str:
    if "bytes" in name and "over" not in name.split(","[0])[0]:
        return f"{value / 1e6:,.2f} MB" if value > 1e5 else f"{value:,.0f} B"
    return f"{value:,.3g}" if value < 1e4 else f"{value:,.0f}"


def _table(engines: dict[str, Found]) -> list[str]:
    names = list(engines)
    steps = list(dict.fromkeys(step for found in engines.values() for step in found.seconds))
    figures = list(dict.fromkeys(f for found in engines.values() for f in found.figures))
    lines = ["| step | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for step in steps:
        cells = [_time(f.median(step)) if step in f.seconds else "" for f in engines.values()]
        lines.append(f"| {step} | " + " | ".join(cells) + " |")
    for name in figures:
        if any(found.figures.get(name) for found in engines.values()):
            cells = [
                _figure(name, f.figures[name]) if name in f.figures else ""
                for f in engines.values()
            ]
            lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return lines


def lines(results: Results) -> list[str]:
    """Markdown of all workloads."""
    out: list[str] = []
    for name, engines in results.items():
        out += ["", f"## {TITLES[name]}", "", *_table(engines)]
        out += [f"\nFailed: {key}, {f.error}." for key, f in engines.items() if f.error]
        out += [f"\nWrong: {key}, {', '.join(f.wrong)}." for key, f in engines.items() if f.wrong]
    return out


def _ratio(results: Results, place: Sequence[str], limit: float, word: str) -> Verdict:
    workload, step, engine, peer = place
    engines = results.get(workload, {})
    times = [engines[e].median(step) if e in engines else None for e in (engine, peer)]
    what = f"{workload}: {step}, {engine} over {peer}"
    if times[0] is None or not times[1]:
        return Verdict(what, word, "not measured", None)
    return Verdict(what, word, f"{times[0] / times[1]:.3g}", times[0] / times[1] <= limit)


_RATIOS = (
    *(("keystore", s, "kist", p, 0.5) for s in ("build", "100 reads") for p in ("npz", "h5py")),
    ("million", "get, p50", "kist", "sqlite", 3.0),
    *(
        ("volume", step, "kist-lz4", peer, 0.5)
        for step in ("plane, axis 0", "plane, axis 1", "plane, axis 2", "cube of 32")
        for peer in ("zarr", "h5py")
    ),
)

_FIGURES = (
    ("million", "bulk_per_second", 200_000, False),
    ("million", "bytes_per_put", 16_384, True),
    ("million", "syncs_per_put", 1.1, True),
    ("lines", "raw over stored, linspace", 100, False),
    ("grown", "overwritten, bytes", 5e6, True),
    ("grown", "write in blocks, peak bytes", 200e6, True),
    ("grown", "read in blocks, peak bytes", 200e6, True),
)


def verdicts(results: Results) -> list[Verdict]:
    """The targets on arrays and key stores."""
    out = [
        _ratio(results, (w, s, e, p), most, f"at most {most:g}")
        for w, s, e, p, most in _RATIOS
        if w in results
    ]
    for workload, name, limit, upper in _FIGURES:
        if workload in results:
            found = results[workload]["kist"].figures.get(name)
            met = None if found is None else (found <= limit if upper else found >= limit)
            word = f"{'at most' if upper else 'at least'} {limit:,g}"
            shown = "not measured" if found is None else f"{found:,.4g}"
            out.append(Verdict(f"{workload}: {name}", word, shown, met))
    if "volume" in results:
        planes = [results["volume"]["kist"].median(f"plane, axis {a}") for a in range(3)]
        times = [p for p in planes if p is not None]
        worst = max(times) / min(times) if len(times) == 3 else None
        shown = "not measured" if worst is None else f"{worst:.3g}"
        met = None if worst is None else worst <= 2
        out.append(Verdict("volume: worst axis over best", "at most 2", shown, met))
    if "grown" in results:
        found = results["grown"]["kist"]
        grown, once = (found.median(f"open and read, {w}") for w in ("grown", "at once"))
        ratio = grown / once if grown and once else None
        shown = "not measured" if ratio is None else f"{ratio:.3g}"
        met = None if ratio is None else ratio <= 1.3
        out.append(Verdict("grown: open and read over written at once", "at most 1.3", shown, met))
    if "keystore" in results:
        sizes = [results["keystore"][e].figures.get("stored_bytes") for e in ("kist", "npz-zlib")]
        if all(sizes):
            share = sizes[0] / sizes[1]  # type: ignore[operator]
            out.append(
                Verdict("keystore: size over npz-zlib", "below 1", f"{share:.3g}", share < 1)
            )
    return out
