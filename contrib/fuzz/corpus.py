"""The kept inputs: one text file for each target, an input a line in base64.

Lines that begin with ``#`` say what the input behind them once did.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "corpus"


def read(target: str) -> list[bytes]:
    """The inputs of a target."""
    path = FOLDER / f"{target}.txt"
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return [base64.b64decode(line) for line in lines if not line.startswith("#")]


def notes(target: str) -> dict[bytes, str]:
    """What was written about inputs: those are never dropped."""
    path = FOLDER / f"{target}.txt"
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return {
        base64.b64decode(line): before
        for before, line in pairwise(lines)
        if before.startswith("#") and not line.startswith("#")
    }


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Replace the inputs of a target; those with a note stay, in front."""
    noted = notes(target)
    lines = [f"{note}\n{base64.b64encode(one).decode()}\n" for one, note in noted.items()]
    others = sorted(set(inputs) - set(noted), key=lambda one: (len(one), one))
    lines += [base64.b64encode(one).decode() + "\n" for one in others]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{target}.txt").write_text("".join(lines), encoding="ascii")
