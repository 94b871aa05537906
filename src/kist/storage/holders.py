"""Who holds which locks of a file, as /proc tells; nothing where it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["locks_seen", "process_name"]


def locks_seen(fd: int) -> Iterator[tuple[int, int, int]]:
    """Yield (process id, first, last byte) of the OFD locks on the file of a descriptor."""
    own = os.fstat(fd)
    for name in _listing("/proc"):
        if not name.isdigit():
            continue
        for other in _listing(f"/proc/{name}/fd"):
            try:
                found = os.stat(f"/proc/{name}/fd/{other}")
                if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino):
                    continue
                with open(f"/proc/{name}/fdinfo/{other}") as info:
                    lines = info.read().splitlines()
            except OSError:
                continue  # gone meanwhile, or not ours to look at
            for line in lines:
                # lock: 1: OFDLCK ADVISORY READ -1 fe:00:INODE START END
                words = line.split()
                if len(words) == 9 and words[0] == "lock:" and words[2] == "OFDLCK":
                    last = 2**63 - 1 if words[8] == "EOF" else int(words[8])
                    yield int(name), int(words[7]), last


def _listing(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []  # no /proc, a process that has ended, or one of somebody else


def process_name(pid: int) -> str:
    """Return ``process 17 (its command)``, as far as it can be seen."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read(200).replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = ""
    where = "this process" if pid == os.getpid() else f"process {pid}"
    return f"{where} ({command})" if command else where
