"""Processes that are killed for real: SIGKILL at random moments to writers, readers, compactors.

Two forms. *Alone*, one writer makes a store and takes numbered steps, each of them one call or one
transaction. *Among others*, up to three writers share the steps (each transaction reads the number
of the last one and counts on), readers look at one snapshot after the other, and a compactor makes
the file small. All say what they have done on a pipe. The judge kills one of them after a random
number of answers (and some turns of an empty loop, so that all parts of a commit are met), and
demands after each kill:

1. the file opens, and shows all that was answered for or seen by a reader: whole, the same as a
   model in NumPy, and at most one step more for each writer that was killed;
2. `check` finds nothing;
3. no lock is left: where no writer is alive, the next commit gets its turn without waiting, and
   no commit is pinned; where one is alive, it goes on;
4. no reader is disturbed: none sees a state that never was, or one older than it saw before, or
   its snapshot changed; and no step is done twice.

This holds in every durability: the death of a process loses nothing that was written. The long
run, over both forms, all durabilities and all programs, in a temporary directory::

    python -m kist.testing.kill --kills 5000

The program ``rows`` appends, assigns and deletes rows. ``objects`` takes the steps of
`kist.testing.programs`: arrays, tables, key stores and attributes, made, changed, moved and
deleted. ``few`` makes small commits by handles that are kept, ``kinds`` changes rows with nulls,
categories and cells, their index, links and unions. ``sealed`` does what ``rows`` does to sealed
columns, beside a sealed array and key store, and rotates their keys; ``ward`` in a sealed group;
``sealed-store`` in a store that is sealed as a whole.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import kist
from kist.testing.kill_judges import Alone, Among, Judge, Report
from kist.testing.kill_processes import BrokenError, Nursery
from kist.testing.kill_programs import PROGRAMS

__all__ = ["FORMS", "Alone", "Among", "Report", "run_kills"]

FRESH_EVERY = {"alone": 8, "among": 12}
"""So many kills until a new file is begun: creation is under fire too."""

FORMS = tuple(FRESH_EVERY)
DURABILITIES = ("full", "relaxed", "none")
SHARES = {"rows": 9, "objects": 1, "few": 4, "kinds": 2, "ward": 2, "sealed": 2, "sealed-store": 2}
"""Of kills in the long run: to compare all objects takes ten times as long."""


def run_kills(
    folder: str | os.PathLike[str],
    kills: int,
    *,
    seed: int = 0,
    form: str = "alone",
    durability: str = "full",
    program: str = "rows",
    most_answers: int = 60,
    nursery: Nursery | None = None,
) -> Report:
    """Kill processes that work on a store, and look at it after each.

    Parameters
    ----------
    folder : path
        Where the stores are made. They are removed, unless something was wrong.
    kills : int
        How many processes.
    seed : int
        Decides who is killed after how many answers.
    form : {"alone", "among"}
        One writer at a time, or writers, readers and compactors at once.
    durability : {"full", "relaxed", "none"}
        Of those who write.
    program : {"rows", "objects", "few", "kinds", "ward", "sealed", "sealed-store"}
        What they do.
    most_answers : int
        The next one is killed after at most so many answers.
    nursery : Nursery, optional
        Who starts the processes: it takes a second to begin.

    Returns
    -------
    Report
        Empty ``failures`` when every promise held.
    """
    report = Report()
    rng = random.Random(f"{seed} {form} {durability} {program}")
    own = Nursery() if nursery is None else nursery
    try:
        while report.kills < kills:
            path = Path(folder) / f"{form}-{durability}-{program}-{report.kills}" / "killed.kist"
            path.parent.mkdir()
            PROGRAMS[program].beside(path.parent)
            judge: Judge = (Alone if form == "alone" else Among)(
                own, path, rng, report, durability, program, most_answers
            )
            judge.life_of_a_store(min(FRESH_EVERY[form], kills - report.kills))
            shutil.rmtree(path.parent)
    except (BrokenError, kist.KistError) as failure:
        kind = "" if isinstance(failure, BrokenError) else f"{type(failure).__name__}: "
        report.failures.append(f"{path}, kill {report.kills}: {kind}{failure}")
        own.close()
    finally:
        if nursery is None:
            own.close()
    return report


def _share(n: int, weights: Sequence[int]) -> int:
    """Part of the first of several."""
    return -(-n * weights[0] // sum(weights))


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill processes in a temporary directory; gives 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m kist.testing.kill", description=main.__doc__)
    parser.add_argument("--kills", type=int, default=5000, help="how many (default: %(default)s)")
    parser.add_argument("--minutes", type=float, help="begin nothing further after that time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--form", choices=FORMS, help="one only, of two")
    parser.add_argument("--durability", choices=DURABILITIES, help="one only, of three")
    parser.add_argument("--program", choices=tuple(PROGRAMS), help="one only, of seven")
    parser.add_argument("--folder", help="where to make the stores")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    ways = list(
        itertools.product(
            [options.form] if options.form else FORMS,
            [options.durability] if options.durability else DURABILITIES,
            [options.program] if options.program else PROGRAMS,
        )
    )
    folder = tempfile.mkdtemp(dir=options.folder)
    total, nursery = Report(), Nursery()
    try:
        for i, (form, durability, program) in enumerate(ways):
            if options.minutes and time.monotonic() - started > 60 * options.minutes:
                break
            began = time.monotonic()
            report = run_kills(
                folder,
                _share(options.kills - total.kills, [SHARES[program] for *_, program in ways[i:]]),
                seed=options.seed,
                form=form,
                durability=durability,
                program=program,
                nursery=nursery,
            )
            way = f"{form}, {durability}, {program}, seed {options.seed}"
            print(f"{way}, {time.monotonic() - began:.0f} s: {report}", flush=True)
            total.add(report)
            if report.failures:
                break
    finally:
        nursery.close()
    print(f"{time.monotonic() - started:.0f} s: {total}")
    if not total.failures:
        os.rmdir(folder)
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
