"""Time, processor time and peak memory of one call."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """What one call cost."""

    seconds: float
    cpu_s: float
    peak_bytes: int
    """Most memory held at once, above what was held before the call; 0 where unknown."""


def status_bytes(field: str) -> int:
    """One field in kB of ``/proc/self/status``, as bytes; 0 where there is none."""
    path = Path("/proc/self/status")
    if not path.exists():
        return 0
    for line in path.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _reset_peak() -> bool:
    """Let the kernel count the peak from here on; False where it cannot."""
    try:
        # 5: set the peak back to what is resident now (Linux, proc(5)).
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def measure(call: Callable[[], T]) -> tuple[T, Sample]:
    """Call once and say what it cost."""
    gc.collect()
    known = _reset_peak()
    before = status_bytes("VmRSS")
    cpu = time.process_time()
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    cpu_s = time.process_time() - cpu
    peak = max(0, status_bytes("VmHWM") - before) if known else 0
    return result, Sample(seconds, cpu_s, peak)


def drop_from_page_cache(folder: Path) -> None:
    """Ask the kernel to forget the files of a folder, so that the next read is from the device."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(fd)  # only clean pages can be dropped
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
