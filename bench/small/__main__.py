"""One part in a process of its own: prints its figures as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from bench import iocount
from bench.small import commits, durable, growth, memory, overwrite

Figures = dict[str, float | int | str]

_PARTS: dict[str, Callable[[Path, int, int], Figures]] = {
    "build": commits.build,
    "commits": commits.change,
    "open": commits.open_and_read,
    "growth": growth.grow,
    "kills": growth.kill,
    "append_until_killed": growth.append_until_killed,
    "overwrite": overwrite.overwrite,
    "durable": durable.durable,
    "verify": durable.verify,
    "memory": memory.peaks,
    "memory_write": memory.write,
    "memory_transaction": memory.write_in_transaction,
    "memory_read": memory.read,
}


def main(argument: str) -> None:
    request = json.loads(argument)
    if request["part"] != "durable":  # whose calls are timed one by one
        # Before any part imports kist, which then finds the counting calls.
        iocount.install()
    part = _PARTS[request["part"]]
    figures = part(Path(request["folder"]), request["rows"], request["datasets"])
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1])
