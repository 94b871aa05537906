"""``python -m bench``: run workloads, print the report, keep the figures."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import plots, remote, report, small
from bench.harness import WORKLOADS, engines_of, run
from bench.machine import describe
from bench.results import RunResult
from bench.worker import Job


def _parser(engines: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="Workloads: "
        + ", ".join([*WORKLOADS, "small"])
        + ". Engines: "
        + ", ".join(engines)
        + ". Reading over a network, alone: remote."
        + " Tables beyond memory: python -m bench.beyond --help.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help="workloads and engines; all workloads, and all engines but variants, by default",
    )
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="rows of the archive, of queries and of remote"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="size of the other workloads")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over the engines")
    parser.add_argument("--threads", type=int, default=2, help="threads of each engine")
    parser.add_argument("--cold", action="store_true", help="drop files from the page cache")
    parser.add_argument("--folder", type=Path, help="where to work; a disk, not memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--report", type=Path, metavar="FILE.md", help="write the report here")
    parser.add_argument("--add", type=Path, metavar="FILE", help="add to what --json FILE holds")
    return parser


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; the exit status is 0 when nothing failed."""
    engines = list(dict.fromkeys(name for w in WORKLOADS for name in engines_of(w)))
    parser = _parser(engines)
    args = parser.parse_args(argv)
    if args.names == ["remote"]:
        return remote.main(args.rows, args.folder)
    unknown = set(args.names) - set(engines) - {*WORKLOADS, "small"}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    workloads = [name for name in WORKLOADS if name in args.names]
    named = [name for name in engines if name in args.names]
    if not workloads and "small" not in args.names:
        workloads = [w for w in WORKLOADS if not named or set(named) & set(engines_of(w))]
    with_small = "small" in args.names or not args.names

    result = RunResult({})
    if args.add is not None and args.add.exists():
        result = RunResult.from_json(json.loads(args.add.read_text()))
    with tempfile.TemporaryDirectory(prefix="kist-bench-", dir=args.folder) as place:
        folder = Path(place)
        result.conditions |= describe(folder) | {
            "rows of the archive": f"{args.rows:,} of 50 fields, 305 bytes each",
            "scale of the other workloads": f"{args.scale:g}",
            "rounds": str(args.rounds),
            "threads": str(args.threads),
            "page cache": "dropped before each step" if args.cold else "warm",
        }
        job = Job(
            "", "", "", threads=args.threads, rows=args.rows, scale=args.scale, cold=args.cold
        )
        run(
            workloads,
            folder,
            result,
            engines=named or None,
            n_rounds=args.rounds,
            job=job,
            log=_log,
        )
        if with_small:
            n_datasets = min(10_000, max(1, args.rows // 100))
            result.small = small.run(folder, n_rows=args.rows, n_datasets=n_datasets, log=_log)
    drawn: dict[str, str] = {}
    if args.report is not None:
        reason = plots.missing()
        if reason is None:
            drawn = plots.draw(result, args.report)
        else:
            _log(f"skipped plots: {reason}")
    print(report.write(result, args.report, drawn), end="")
    if args.json is not None:
        args.json.write_text(json.dumps(result.to_json(), indent=1) + "\n")
    return 1 if result.failed() else 0


if __name__ == "__main__":
    sys.exit(main())
