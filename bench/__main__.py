"""``python -m bench``: run the benchmarks, print the report, keep the figures."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import small
from bench.engines import DEFAULT, ENGINES
from bench.harness import run
from bench.report import markdown


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"engines, or 'small' for kist's small commits; all by default: "
        f"{', '.join(ENGINES)}, small",
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over the engines")
    parser.add_argument("--threads", type=int, default=2, help="threads of each engine")
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
    unknown = set(args.names) - set(ENGINES) - {"small"}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    names = [name for name in args.names if name != "small"] if args.names else list(DEFAULT)
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
        if not args.names or "small" in args.names:
            result.small = small.run(Path(folder), n_rows=args.rows, n_datasets=n_datasets, log=log)
    report = markdown(result)
    print(report, end="")
    if args.report:
        args.report.write_text(report)
    if args.json:
        args.json.write_text(json.dumps(result.to_json(), indent=1) + "\n")
    failed = any(engine.errors for engine in result.engines.values())
    failed |= any("error" in figures for figures in result.small.values())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
