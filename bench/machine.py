"""Where a run took place."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np


def _first(path: str, field: str) -> str | None:
    if not Path(path).exists():
        return None
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return None


def file_system(folder: Path) -> str:
    """The type of the file system that holds ``folder``."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown"
    best, kind = "", "unknown"
    for line in mounts.read_text().splitlines():
        _, point, name = line.split()[:3]
        inside = str(folder.resolve()).startswith(point.rstrip("/") + "/") or point == "/"
        if inside and len(point) > len(best):
            best, kind = point, name
    return kind


def describe(folder: Path) -> dict[str, str]:
    """Processor, memory, file system and versions, without anything that names the machine."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": _first("/proc/meminfo", "MemTotal") or "unknown",
        "file system": file_system(folder),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load at the start": f"{load:.2f}",
    }
