"""What kist must reach, as ratios to its peers in the same run and as limits of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.results import RunResult


@dataclass(frozen=True)
class Verdict:
    """One target, and what was found."""

    what: str
    limit: str
    found: str
    met: bool | None
    """None when the run has no figure for it."""


@dataclass(frozen=True)
class _Ratio:
    step: str
    peer: str
    at_most: float
    """Most that kist's time may be, as a multiple of the peer's."""


_RATIOS = (
    _Ratio("write", "parquet-lz4", 1.0),
    _Ratio("write", "ctable-lz4", 1.0),
    _Ratio("read_all", "ctable-lz4", 1.0),
    _Ratio("read_field", "ctable-lz4", 1.0),
    _Ratio("append", "pytables-lz4", 0.25),
    _Ratio("list", "sqlite", 3.0),
)
_SIZE_PEER, _SIZE_AT_MOST = "ctable-lz4", 0.6


def ratio(result: RunResult, step: str, peer: str, engine: str = "kist") -> float | None:
    """Time of ``engine`` over that of ``peer``, where both have one that counts."""
    engines = result.engines
    if engine not in engines or peer not in engines:
        return None
    ours, theirs = engines[engine].median_s(step), engines[peer].median_s(step)
    return ours / theirs if ours is not None and theirs else None


def _judge(what: str, found: float | None, at_most: float, unit: str = "") -> Verdict:
    if found is None:
        return Verdict(what, f"{at_most:g}{unit}", "not measured", None)
    return Verdict(what, f"{at_most:g}{unit}", f"{found:.3g}{unit}", found <= at_most)


def table_verdicts(result: RunResult) -> list[Verdict]:
    """The targets that compare kist with its peers."""
    out = [
        _judge(f"{r.step}: time over {r.peer}'s", ratio(result, r.step, r.peer), r.at_most)
        for r in _RATIOS
    ]
    sizes = [
        result.engines[name].stored_bytes if name in result.engines else 0
        for name in ("kist", _SIZE_PEER)
    ]
    size = sizes[0] / sizes[1] if all(sizes) else None
    out.append(_judge(f"size over {_SIZE_PEER}'s", size, _SIZE_AT_MOST))
    return out


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
    ("durable.append.over_limit", "ten rows appended: the same", 1.2, "x"),
    ("durable.put.over_sqlite", "a key put: time over SQLite's, WAL and FULL", 1.5, "x"),
    ("durable.append.over_sqlite", "ten rows appended: the same", 1.5, "x"),
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
    return [_judge(what, _look_up(small, path), most, unit) for path, what, most, unit in _SMALL]
