"""Processes with little disk, and processes whose memory is measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest


@pytest.fixture
def limited() -> Callable[..., None]:
    """Run statements in a process whose files are limited to 300 KiB; each must raise the error."""

    def run(error: type[Exception], *statements: str) -> None:
        code = (
            "import resource, signal, numpy, kist\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (300 << 10, 300 << 10))\n"
        )
        for statement in statements:
            code += (
                f"try:\n    {statement}\n"
                f"except kist.{error.__name__} as found:\n    print('raised', found)\n"
            )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.count("raised") == len(statements), done.stdout + done.stderr

    return run


@pytest.fixture
def peak() -> Callable[[str], int]:
    """Run a statement in a process of its own, and return the most bytes that it held."""

    def run(statement: str) -> int:
        code = (
            "import resource, kist, numpy\n"
            f"{statement}\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        return int(done.stdout.split()[-1])

    return run
