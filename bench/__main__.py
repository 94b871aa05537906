"""``python -m bench``: run the benchmarks, print the report, keep the figures."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import objects, small
from bench.engines import DEFAULT, ENGINES
from bench.harness import run
from bench.report import markdown


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"engines of the table, 'small' for kist's small commits, 'objects' for arrays and "
        f"key stores, or one of {', '.join(objects.WORKLOADS)}; all by default: "
        f"{', '.join(ENGINES)}, small, objects",
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over the engines")
    parser.add_argument("--threads", type=int, default=2, help="threads of each engine")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the 'objects' workloads")
    parser.add_argument("--datasets", type=int, help="datasets to list (default: rows / 100)")
    parser.add_argument("--cold", action="store_true", help="drop files from the page cache")
    parser.add_argument("--folder", type=Path, help="where to work; a disk, not memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--report", type=Path, metavar="FILE.md", help="write the report here")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; the exit status is 0 when nothing failed."""
    parser = _parser()
    args = parser.parse_args(argv)
    parts = {"small", "objects", *objects.WORKLOADS}
    unknown = set(args.names) - set(ENGINES) - parts
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    names = [name for name in args.names if name not in parts] if args.names else list(DEFAULT)
    everything = not args.names or "objects" in args.names
    workloads = [name for name in objects.WORKLOADS if everything or name in args.names]
    n_datasets = min(10_000, max(1, args.rows // 100)) if args.datasets is None else args.datasets

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="kist-bench-", dir=args.folder) as folder:
        result = run(
            names,
            Path(folder),
            n_rows=args.rows,
            n_rounds=args.rounds,
            n_datasets=n_datasets,
            threads=args.threads,
            cold=args.cold,
            log=log,
        )
        result.objects = objects.run(
            Path(folder), names=workloads, rounds=args.rounds, scale=args.scale, log=log
        )
        if not args.names or "small" in args.names:
            result.small = small.run(Path(folder), n_rows=args.rows, n_datasets=n_datasets, log=log)
    report = markdown(result)
    print(report, end="")
    if args.report:
        args.report.write_text(report)
    if args.json:
        args.json.write_text(json.dumps(result.to_json(), indent=1) + "\n")
    failed = any(engine.errors for engine in result.engines.values())
    found = [f for engines in result.objects.values() for f in engines.values()]
    failed |= any(f.error or f.wrong for f in found)
    failed |= any("error" in figures for figures in result.small.values())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
