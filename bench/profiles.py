"""Where the time of one step goes, by layer: ``python -m bench.profiles [step ...]``.

A timer of the processor time interrupts the process a thousand times a second. What runs then is
charged to the innermost function of kist on the stack, and so to a layer; work in C is charged to
the function that called it. All threads of kist count alike. Nothing is instrumented, so the
shares are those of a normal run (a tracing profiler charges Python calls two to three times).
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from bench.profiled import GROUPS, Step

INTERVAL_S = 0.001
SECONDS = 4.0
"""How long a step is repeated."""

LAYERS: dict[str, tuple[str, ...]] = {
    "Blosc2, pcodec (C)": ("codecs/libblosc.py", "codecs/pco.py"),
    "checksums (C)": ("format/checksum.py", "verify_sectors"),
    "system calls": ("storage/", "_flush"),
    "NumPy kernels": ("_kernels/", "copy_values"),
    "codecs": ("codecs/",),
    "engine": ("engine/", "format/"),
    "model": ("model/", "query/", "indexes/"),
}
"""Layer -> beginnings of files of kist, or names of functions; the first that fits counts."""


def _layer(frame: FrameType | None) -> str | None:
    """Return the layer of the innermost function of kist, None when kist is not running."""
    while frame is not None:
        path = frame.f_code.co_filename.replace(os.sep, "/")
        at = path.rfind("/kist/")
        if at >= 0:
            inside = path[at + len("/kist/") :]
            for layer, marks in LAYERS.items():
                for mark in marks:
                    if inside.startswith(mark) or frame.f_code.co_name == mark:
                        return layer
            return "other"
        frame = frame.f_back
    return None


class Sampler:
    """Counts layers while it is open."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def _sample(self, number: int, frame: FrameType | None) -> None:
        main = self._main
        for thread, top in sys._current_frames().items():
            layer = _layer(frame if thread == main else top)
            if layer is not None and not (thread == main and self._waits(frame)):
                self.counts[layer] += 1

    @staticmethod
    def _waits(frame: FrameType | None) -> bool:
        """Whether the main thread only waits for other threads of kist."""
        return frame is not None and frame.f_code.co_filename.endswith("threading.py")

    def __enter__(self) -> Sampler:
        self._main = threading.main_thread().ident
        self._old = signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, self._old)


def measure(step: Step, seconds: float = SECONDS) -> tuple[float, int, Counter[str]]:
    """Return median seconds of a call, calls, and samples by layer; the first call warms up."""
    step()
    times = []
    with Sampler() as sampler:
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
    return statistics.median(times), len(times), sampler.counts


def _shown(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:,.0f} us"


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile the steps whose name holds one of the words, or all; print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m bench.profiles", description=main.__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each step")
    parser.add_argument("--folder", type=Path, help="where to work; a disk, not memory")
    options = parser.parse_args(arguments)
    columns = [*LAYERS, "other"]
    print("| step | a call | " + " | ".join(columns) + " |")
    print("|---|---:|" + "---:|" * len(columns), flush=True)
    with tempfile.TemporaryDirectory(prefix="kist-bench-", dir=options.folder) as place:
        for group in GROUPS:
            for name, step in group(Path(place)):
                if options.words and not any(word in name for word in options.words):
                    continue
                median, _, counts = measure(step, options.seconds)
                total = max(1, counts.total())
                shares = " | ".join(f"{counts[c] / total:.0%}" for c in columns)
                print(f"| {name} | {_shown(median)} | {shares} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
