"""What kist must reach, as ratios to its peers in the same run and as limits of its own.

A ratio of speed is the peer's time over kist's, round by round; its median is judged. Above 1 kist
is faster. The figures were set before they were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.results import EngineResult, RunResult, WorkloadResult, is_peer


@dataclass(frozen=True)
class Verdict:
    """One target, and what was found."""

    what: str
    limit: str
    found: str
    met: bool | None
    """None when the run has no figure for it."""


@dataclass(frozen=True)
class Speed:
    """``step`` takes ``peer`` at least so many times as long as ``ours``.

    ``peer`` may be ``best``, ``best arrow`` or ``best but vortex``.
    """

    workload: str
    step: str
    peer: str
    at_least: float
    ours: str = "kist"


@dataclass(frozen=True)
class Size:
    """A figure of kist's is at most so many times the peer's."""

    workload: str
    peer: str
    at_most: float
    figure: str = "stored bytes"


_ARROW = ("parquet-lz4", "parquet-zstd", "arrow-ipc", "vortex", "lance")
_LOW, _ALL = ("0.01 %", "3 %"), ("0.01 %", "3 %", "50 %")


def _each(workload: str, step: str, **at_least: float) -> tuple[Speed, ...]:
    """Targets of one step; peers with ``_`` for ``-``."""
    return tuple(Speed(workload, step, p.replace("_", "-"), v) for p, v in at_least.items())


_APPENDS = "ten appends of 10,000 rows"

_VOLUME = ("kist", "kist-lz4")
"""As it comes, a tenth of the peers' bytes; and with the codec that Blosc2, h5py and Zarr use."""

SPEEDS: tuple[Speed, ...] = (
    *_each("archive", "write", parquet_lz4=1.3, arrow_ipc=1.3, parquet_zstd=3, vortex=2.5),
    *_each("archive", "write", duckdb=2.5, ctable_lz4=2, pytables_lz4=6),
    Speed("archive", "read all to a recarray", "best", 1.2),
    Speed("archive", "read all to columns", "arrow-ipc", 1.0),
    *_each("archive", "one field", vortex=1.5),
    *_each("archive", "3 fields of 1 %, a range", vortex=2),
    *_each("archive", "3 fields of 1 %, anywhere", vortex=2),
    *_each("archive", "a single row, fresh handle", vortex=4),
    *_each("archive", "100k random rows, 2 fields", vortex=1.2),
    *_each("archive", _APPENDS, parquet_lz4=0.75, pytables_lz4=4, duckdb=6, ctable_lz4=15),
    *_each("archive", "update of 5 %", h5py=1.3, duckdb=2, ctable_lz4=20),
    *(Speed("archive", f"query rows, {s} clustered", "vortex", 1.1) for s in _LOW),
    *(Speed("archive", f"query rows, {s} unclustered", "vortex", 0.9) for s in _ALL),
    *(Speed("archive", f"query rows, {s} unclustered", "best but vortex", 1.3) for s in _ALL),
    *(
        Speed("archive", f"query {what}, {s} {kind}", "vortex", at_least)
        for kind, at_least in (("clustered", 1.4), ("unclustered", 1.0))
        for what in ("count", "sum")
        for s in _ALL
    ),
    Speed("archive", "group-by mean", "best arrow", 2),
    *(Speed("queries", f"rows, {s} clustered", "vortex", 1.1) for s in _LOW),
    *(Speed("queries", f"rows, {s} unclustered", "vortex", 0.9) for s in _LOW),
    *(Speed("queries", f"rows, {s} unclustered", "best but vortex", 1.3) for s in _LOW),
    *_each("queries", "rows, 0.01 % unclustered, indexed", vortex=2, pytables=5),
    *(
        Speed("queries", f"{what}, {s} {kind}", "vortex", 1.0)
        for what in ("count", "sum")
        for kind in ("clustered", "unclustered")
        for s in _ALL
    ),
    *_each("queries", "group-by mean", parquet=2, duckdb=2),
    *_each("queries", "sort by one column", duckdb=1.0),
    *_each("queries", "create index", pytables=1.0, ctable=1.0),
    *_each("queries", "update of 5 %", h5py=1.3, duckdb=2),
    *_each("queries", "delete of 5 %", ctable=5),
    *_each("keystore", "build", lmdb_blosc2=1.2, npz=2, h5py=2),
    *_each("keystore", "get", lmdb_blosc2=1.0, npz=2, h5py=2),
    *(
        Speed("volume", step, peer, at_least, ours)
        for ours in _VOLUME
        for step in ("plane, axis 0", "plane, axis 1", "plane, axis 2", "cube of 32")
        for peer, at_least in (("blosc2", 1.0), ("netcdf4", 2.5), ("h5py", 5), ("zarr", 5))
    ),
    *(Speed("volume", "read all", "blosc2", 0.95, ours) for ours in _VOLUME),
    *(Speed("volume", "write", "blosc2-auto", 0.9, ours) for ours in _VOLUME),
    *(Speed("lines", f"write {line}", "blosc2", 1.3) for line in ("linspace", "sine")),
    *(
        Speed("lines", f"read {line}", "blosc2", at_least, ours)
        for line in ("linspace", "sine")
        for ours, at_least in (("kist", 0.5), ("kist-fast", 1.0))
    ),
    Speed("listing", "open and list", "sqlite", 1.0),
    Speed("listing", "open and read one", "sqlite", 0.8),
    Speed("listing", "build in one transaction", "h5py", 4),
    *_each("strings", "write", parquet_zstd=1.0),
    *_each("strings", "read as NumPy", ctable=1.0),
    *_each("strings", "count equal", parquet_zstd=2),
    *_each("strings", "count containing", parquet_zstd=1),
    *_each("strings", "take 1,000", parquet_zstd=2, ctable=2),
    *_each("million", "get", sqlite=1 / 3),
)

SIZES: tuple[Size, ...] = (
    Size("archive", "duckdb", 0.95),
    Size("archive", "vortex", 0.8),
    Size("archive", "ctable-lz4", 0.4),
    Size("archive", "arrow-ipc", 0.5),
    Size("keystore", "npz-zlib", 0.65),
    Size("keystore", "lmdb-blosc2", 1.0, "get, p99 of ns a byte"),
    Size("lines", "pcodec", 0.6),
    Size("strings", "ctable", 1.0),
)

OWN: tuple[tuple[str, str, float], ...] = (
    ("million", "bytes per put", 16_384),
    ("million", "syncs per put", 1.1),
    ("grown", "overwritten, bytes", 5e6),
    ("grown", "write in blocks, peak bytes", 200e6),
    ("grown", "read in blocks, peak bytes", 200e6),
)
"""Figures of kist's own that must not be above a limit: workload, figure, limit."""


def _peer(workload: WorkloadResult, speed: Speed) -> str | None:
    if not speed.peer.startswith("best"):
        return speed.peer
    allowed: Callable[[str], bool] = {
        "best": is_peer,
        "best arrow": lambda name: name in _ARROW,
        "best but vortex": lambda name: is_peer(name) and name != "vortex",
    }[speed.peer]
    times = {
        name: seconds
        for name, engine in workload.engines.items()
        if allowed(name) and (seconds := engine.median_s(speed.step)) is not None
    }
    return min(times, key=lambda name: times[name]) if times else None


def _judge_speed(workload: WorkloadResult, speed: Speed) -> Verdict:
    peer = _peer(workload, speed)
    ours = "" if speed.ours == "kist" else f" ({speed.ours})"
    named = speed.peer if peer in (None, speed.peer) else f"{speed.peer}, {peer}"
    what = f"{speed.workload}: {speed.step}{ours}, speed against {named}"
    ratio = None if peer is None else workload.ratio(speed.step, peer, speed.ours)
    limit = f"at least {speed.at_least:.3g}"
    if ratio is None:
        return Verdict(what, limit, "not measured", None)
    found = f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    return Verdict(what, limit, found, ratio.median >= speed.at_least)


def judge(what: str, found: float | None, at_most: float, unit: str = "") -> Verdict:
    """A figure that must not be above a limit."""
    limit = f"at most {at_most:,g}{unit}"
    if found is None:
        return Verdict(what, limit, "not measured", None)
    return Verdict(what, limit, f"{found:,.4g}{unit}", found <= at_most)


def _figure(workload: WorkloadResult, engine: str, figure: str) -> float | None:
    found = workload.engines.get(engine)
    return None if found is None else found.figures.get(figure)


def _over(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def _odd_ones(name: str, workload: WorkloadResult) -> Iterator[Verdict]:
    """Targets that are neither a ratio to a peer nor a figure."""
    kist = workload.engines.get("kist")

    def seconds(step: str, engine: str = "kist") -> float | None:
        found = workload.engines.get(engine)
        return None if found is None else found.median_s(step)

    if kist is None:
        return
    if name == "archive":
        cached = seconds("a single row, block cached")
        us = None if cached is None else cached * 1e6
        yield judge("archive: a single row, block cached", us, 60, " us")
    if name == "queries":
        yield from _queries(kist, seconds)
    if name == "volume":
        planes = [seconds(f"plane, axis {axis}") for axis in range(3)]
        times = [p for p in planes if p is not None]
        worst = max(times) / min(times) if len(times) == 3 else None
        yield judge("volume: worst axis over best", worst, 1.5, "x")
    if name == "keystore":
        put = workload.ratio("durable put", "kist", "limit:append")
        what = "keystore: durable put over compress, append and fdatasync"
        yield judge(what, None if put is None else put.median, 1.2, "x")
    if name == "listing":
        ours = seconds("import, after NumPy")
        ms = None if ours is None else ours * 1e3
        yield judge("listing: import of kist above NumPy's", ms, 15, " ms")
    if name == "grown":
        grown = workload.engines["kist"].median_s("open and read, grown")
        once = workload.engines["kist"].median_s("open and read, at once")
        yield judge("grown: open and read over written at once", _over(grown, once), 1.3, "x")


_TWINS: tuple[tuple[str, str], ...] = (
    *(
        (f"count, {share} unclustered", f"count, {share} unclustered, {kind}")
        for share in _ALL
        for kind in ("no null", "nulls")
    ),
    ("group-by mean", "group-by mean, nullable"),
    ("group-by mean", "group-by mean, text"),
)
"""Questions to plain columns, and the same to columns of other kinds."""


def _queries(kist: EngineResult, seconds: Callable[[str], float | None]) -> Iterator[Verdict]:
    look_up = seconds("look up a key by index")
    yield judge("queries: a key by index", None if look_up is None else look_up * 1e3, 1, " ms")
    for plain, twin in _TWINS:
        yield judge(f"queries: {twin}, over plain", _over(seconds(twin), seconds(plain)), 1.3, "x")
    peaks = [max(step.peak_bytes) for step in kist.steps.values() if step.peak_bytes]
    yield judge("queries: peak memory", max(peaks, default=None), 500e6, " B")


def verdicts(result: RunResult) -> list[Verdict]:
    """All targets of the workloads that ran."""
    out: list[Verdict] = []
    for name, workload in result.workloads.items():
        out += [_judge_speed(workload, s) for s in SPEEDS if s.workload == name]
        for size in SIZES:
            if size.workload == name:
                pair = [_figure(workload, e, size.figure) for e in ("kist", size.peer)]
                what = f"{name}: {size.figure} over {size.peer}'s"
                out.append(judge(what, _over(*pair), size.at_most, "x"))
        out += [
            judge(f"{name}: {figure}", _figure(workload, "kist", figure), at_most)
            for place, figure, at_most in OWN
            if place == name
        ]
        out += _odd_ones(name, workload)
    return out + (small_verdicts(result.small) if result.small else [])


_CHANGES = {
    "append": "ten rows appended",
    "assign": "one row assigned",
    "delete": "one row deleted",
    "attribute": "an attribute set",
}

_SMALL: tuple[tuple[str, str, float, str], ...] = (
    *((f"{k}.bytes_per_call", f"{t}: written", 16_384, " B") for k, t in _CHANGES.items()),
    *((f"{k}.syncs_per_call", f"{t}: syncs", 1.1, "") for k, t in _CHANGES.items()),
    ("open.bytes_read", "open and read one value: read", 262_144, " B"),
    ("growth.written_per_stored", "appends of ten rows: written over final size", 6, "x"),
    ("growth.p99_per_p50", "appends of ten rows: p99 over p50", 20, "x"),
    ("growth.size_ratio", "appends of ten rows: size over written at once", 1.3, "x"),
    ("growth.read_ratio", "appends of ten rows: read time over written at once", 1.3, "x"),
    ("overwrite.extra_bytes", "overwrites of a 1 MB column: file above the rest", 5e6, " B"),
    ("durable.put.over_limit", "a key put: time over pwrite + fdatasync + 150 us", 1.2, "x"),
    ("durable.append3.over_limit", "ten rows of 3 fields appended: the same", 1.2, "x"),
    ("durable.append10.over_limit", "ten rows of 10 fields: the same", 1.2, "x"),
    ("durable.append50.over_limit", "ten rows of 50 fields: the same", 1.2, "x"),
    ("durable.put.over_sqlite", "a key put: time over SQLite's, WAL and FULL", 1.5, "x"),
    ("durable.append3.over_sqlite", "ten rows of 3 fields appended: the same", 1.5, "x"),
    ("durable.append10.over_sqlite", "ten rows of 10 fields: the same", 1.5, "x"),
    ("durable.append50.over_sqlite", "ten rows of 50 fields: the same", 1.5, "x"),
    ("verify.share", "checksums: share of a full read", 0.05, ""),
    ("verify.check_over_disk", "check: time over a sequential read of the file", 2, "x"),
    ("memory.write_bytes", "writing in blocks: peak memory", 200e6, " B"),
    ("memory.read_bytes", "reading in blocks: peak memory", 200e6, " B"),
)


def _look_up(small: dict[str, Any], path: str) -> float | None:
    part, _, name = path.partition(".")
    if part in _CHANGES:
        part, name = "commits", path
    value = small.get(part, {}).get(name)
    return None if value is None else float(value)


def small_verdicts(small: dict[str, Any]) -> list[Verdict]:
    """The limits on small commits, growth, overwrites and memory."""
    return [judge(what, _look_up(small, path), most, unit) for path, what, most, unit in _SMALL]
