"""Counts what a process reads, writes and syncs, from outside the code that does it.

``install`` wraps the calls of ``os`` that files are read and written with; it must run before the
code that is watched is imported, because that may keep a reference. ``/proc/self/io`` counts the
same bytes once more, whatever call they went through, as a check that none slipped by.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass
class IOCount:
    """Calls and bytes, since the start or as a difference."""

    reads: int = 0
    read_bytes: int = 0
    writes: int = 0
    write_bytes: int = 0
    syncs: int = 0

    def __sub__(self, other: IOCount) -> IOCount:
        return IOCount(
            **{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(self)}
        )


_total = IOCount()
_installed: list[str] = []


def now() -> IOCount:
    """What was counted so far."""
    return _total - IOCount()


def _counting(name: str, count: Callable[[Any], None]) -> None:
    call = getattr(os, name, None)
    if call is None:  # not on this system, so nobody can use it
        return

    def counted(*args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        count(result)
        return result

    setattr(os, name, counted)
    _installed.append(name)


def _read(result: Any) -> None:
    _total.reads += 1
    _total.read_bytes += result if isinstance(result, int) else len(result)


def _written(result: Any) -> None:
    _total.writes += 1
    _total.write_bytes += result


def _synced(_: Any) -> None:
    _total.syncs += 1


def install() -> None:
    """Begin to count; a second call changes nothing."""
    if _installed:
        return
    for name in ("pread", "preadv", "read", "readv"):
        _counting(name, _read)
    for name in ("pwrite", "pwritev", "write", "writev"):
        _counting(name, _written)
    for name in ("fsync", "fdatasync"):
        _counting(name, _synced)


def kernel_written() -> int:
    """Bytes that this process passed to write calls of any kind, by the kernel's count."""
    path = Path("/proc/self/io")
    if not path.exists():
        return 0
    values = dict(line.split(": ") for line in path.read_text().splitlines())
    return int(values["wchar"])


def mapped_bytes(file: Path) -> int:
    """Bytes of a file that are resident through memory maps: read without any read call."""
    maps = Path("/proc/self/smaps")
    if not maps.exists():
        return 0
    total, inside = 0, False
    for line in maps.read_text().splitlines():
        head = line.split(maxsplit=5)
        if "-" in head[0] and not head[0].endswith(":"):
            inside = head[-1] == str(file.resolve())
        elif inside and line.startswith("Rss:"):
            total += int(head[1]) * 1024
    return total
