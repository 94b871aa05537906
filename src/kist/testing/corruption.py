"""Damaged files: nothing that is wrong is ever shown, and salvage saves what is whole.

A store with every kind of object is damaged in some way (`kist.testing.rotting`): bits flipped,
ranges zeroed, overwritten or swapped, the file cut, pages of another store or of an earlier image
put in, frames put in place of others. Then, each round in a process of its own:

1. Everything is read. What is read is what the commit that is shown held, or an error of kist says
   that it is damaged. Anything else is a finding, also another exception, a crash or a hang.
2. A flipped bit in the data of one dataset leaves all others readable.
3. With ``read(errors="mask")`` what is not masked is right.
4. `check` reports it, unless everything could be read and is right.
5. `kist.salvage` makes a store that is whole by `check`; all it holds is right, and what is missing
   or not right is reported. What the commit did not hold is nowhere but in ``lost+found``. The
   damaged file is as it was.

The long run, in a temporary directory::

    python -m kist.testing.corruption --seeds 5000
    python -m kist.testing.corruption --seeds 1 --first 4711 --trace    # one again, to debug it
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

import kist
from kist import options
from kist.errors import DamageWarning, KistError
from kist.format import layout
from kist.testing.rotting import (
    KINDS,
    Damage,
    Files,
    as_bytes,
    contents,
    log_records,
    parts_of,
    write_stores,
)

__all__ = ["judge", "main"]

Array = np.ndarray[Any, Any]
Contents = dict[str, Array]

_LOST: Final = 120.0
"""Seconds after which a round that does not come back is ended."""

FAMILY: Final = 500
"""So many rounds break the same store."""


class _Round:
    """What came of one damaged file."""

    def __init__(self, files: Files, damage: Damage, folder: Path) -> None:
        self.files = files
        self.damage = damage
        self.broken = folder / "broken.kist"
        self.out = folder / "out.kist"
        self.findings: list[str] = []
        self.counts: Counter[str] = Counter()
        self.newest = files.commits[-1]

    def find(self, text: str) -> None:
        self.findings.append(text)

    def run(self) -> None:
        """Break the file and look at what can be read of it."""
        self.broken.write_bytes(self.damage.data)
        before = self.broken.stat().st_mtime_ns
        noticed = self._read()
        checked = self._check()
        told = noticed or checked
        self.counts["noticed by reading"] += noticed
        self.counts["reported by check"] += checked
        self.counts["without effect"] += not told
        self._salvage()
        if self.broken.read_bytes() != self.damage.data or self.broken.stat().st_mtime_ns != before:
            self.find("the damaged file was written to")

    # Reading

    def _read(self) -> bool:
        """Read everything; returns whether damage was noticed."""
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                store = kist.open(self.broken)
            except KistError:
                self.counts["refused at opening"] += 1
                return True
            with store:
                noticed = any(issubclass(w.category, DamageWarning) for w in told)
                commit = store.commit_id
                truth = self._truth(commit)
                if truth is None:
                    return True
                bad = self._compare(store, truth)
                if not bad and not noticed and commit < self.newest:
                    self._older(commit)
                return noticed or bool(bad)

    def _truth(self, commit: int) -> Contents | None:
        truth = self.files.truth(commit)
        if truth is None:
            self.find(f"shows commit {commit}, which there never was")
        return truth

    def _older(self, commit: int) -> None:
        """The newest commits are gone, and nothing says so.

        That is so only when nothing of them is left: neither their records, nor the mark behind
        them and the note in the head, which an orderly close writes to vouch for the last.
        """
        self.counts["an older commit, untold"] += 1
        note = layout.CLOSING_OFFSET
        told_by = [*log_records(self.files.newest), (self.newest, note, note + layout.CLOSING.size)]
        for number, start, stop in told_by:
            if number > commit and not any(a < stop and start < b for a, b in self.damage.places):
                self.find(f"shows commit {commit} of {self.newest}, and says nothing")
                return

    def _compare(self, store: Any, truth: Contents) -> set[str]:
        """Compare everything that can be read; returns the paths where something cannot."""
        bad: set[str] = set()
        names = []
        try:
            for name, read in contents(store):
                names.append(name)
                path, _, _ = parts_of(name)
                try:
                    values = read()
                except KistError:
                    bad.add(path)
                    self._masked(store, truth, name)
                    continue
                self._same(name, values, truth.get(name))
        except KistError:
            bad.add("*")  # listing stopped there: what follows is not known
        missing = set(truth) - set(names)
        if missing and not bad:
            self.find(f"lacks {sorted(missing)[:3]}")
        one = len(bad - {"*"}) <= 1 and "*" not in bad
        if self.damage.frame not in ("", "TREE") and not one:
            self.find(f"one bit of a {self.damage.frame} made {sorted(bad)} unreadable")
        return bad

    def _same(self, name: str, values: Array, expected: Array | None) -> None:
        if expected is None:
            self.find(f"shows {name!r}, which was not there")
        elif values.shape != expected.shape or not np.array_equal(values, expected):
            self.find(f"{name!r} is not what it was")

    def _masked(self, store: Any, truth: Contents, name: str) -> None:
        """Read a damaged column or array around the damage."""
        path, kind, rest = parts_of(name)
        if kind not in ("column", "values") or name not in truth:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                node = store[path][rest] if kind == "column" else store[path]
                got = node.read(errors="mask")
        except KistError:
            self.counts["not even masked"] += 1
            return
        self.counts["read around damage"] += 1
        expected, values = truth[name], as_bytes(got.data)
        if got.shape != expected.shape[: got.ndim]:
            self.find(f"masked: {name!r} has shape {got.shape}")
            return
        right = _equal(values, expected, got.ndim)
        hidden = np.ma.getmaskarray(got)
        if not (right | hidden).all():
            self.find(f"masked: {name!r} is not what it was where it is not masked")

    def _check(self) -> bool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with kist.open(self.broken) as store:
                    return not store.check().ok
        except KistError:
            return True

    # Salvage

    def _salvage(self) -> None:
        try:
            report = kist.salvage(self.broken, self.out)
        except KistError as error:
            if len(self.damage.data) > 0x44000:
                self.find(f"salvage: {type(error).__name__}: {error}")
            self.counts["nothing to salvage"] += 1
            return
        self.counts["salvaged whole"] += report.ok
        self.counts["salvaged in part"] += report.confirmed and not report.ok
        self.counts["salvaged to lost+found"] += not report.confirmed
        with kist.open(self.out) as store:
            checked = store.check()
            if not checked.ok:
                self.find(f"salvage made {checked!r}")
            found = {n: read() for n, read in contents(store) if not n.startswith("/lost+found")}
        if not report.confirmed:
            found = {name: v for name, v in found.items() if not name.startswith("/|")}
            if found:
                self.find(f"salvage shows {sorted(found)[:3]} of a state that nobody confirms")
            return
        truth = self._truth(report.commit)
        if truth is None:
            return
        if report.commit < self.newest and not report.notes and self.damage.kind == "flip":
            self.find(f"salvage gives commit {report.commit} of {self.newest}, and says nothing")
        self._saved(report, found, truth)

    def _saved(self, report: Any, found: Contents, truth: Contents) -> None:
        """Compare what was saved with what the commit held, and both with the report."""
        losses: dict[str, list[Any]] = {}
        for loss in report.losses:
            losses.setdefault(loss.node, []).append(loss)
        for name, values in found.items():
            path, kind, rest = parts_of(name)
            expected = truth.get(name)
            if expected is None:
                self.find(f"salvage shows {name!r}, which was not there")
                continue
            own = losses.get(path, []) if kind in ("column", "values") else []
            if any("moved up" in loss.message or "its shape" in loss.message for loss in own):
                self.counts["saved with rows missing"] += 1
                continue
            if values.shape[:-1] != expected.shape[:-1]:
                self.find(f"salvage: {name!r} has shape {values.shape}, it had {expected.shape}")
                continue
            right = _equal(values, expected, values.ndim - 1)
            for loss in own:
                if loss.region is not None:
                    right[tuple(slice(a, b) for a, b in loss.region)] = True
                elif loss.rows is not None and _within(rest, loss.column):
                    right[loss.rows[0] : loss.rows[1]] = True
            if not right.all():
                self.find(f"salvage: {name!r} differs where nothing is reported")
        for name in set(truth) - set(found):
            path, _, _ = parts_of(name)
            if not any(_above(node, path) for node in losses):
                self.find(f"salvage lacks {name!r} and does not say so")


def _equal(values: Array, expected: Array, ndim: int) -> Array:
    """Which elements are equal; those of strings may be of different width."""
    width = max(values.shape[-1], expected.shape[-1])

    def widened(array: Array) -> Array:
        out = np.zeros((*array.shape[:ndim], width), "u1")
        out[..., : array.shape[-1]] = array.reshape(*array.shape[:ndim], -1)[..., :width]
        return out

    if values.ndim > ndim + 1 or expected.ndim > ndim + 1:
        values = values.reshape(*values.shape[:ndim], -1)
        expected = expected.reshape(*expected.shape[:ndim], -1)
        width = max(values.shape[-1], expected.shape[-1])
    equal: Array = (widened(values) == widened(expected)).all(axis=-1)
    return equal


def _within(name: str, column: str | None) -> bool:
    return column is None or column == name or column.startswith(name + ".")


def _above(node: str, path: str) -> bool:
    return node == "/" or path == node or path.startswith(node + "/")


def judge(files: Files, seed: int, folder: Path) -> dict[str, Any]:
    """Play one round in this process; returns what came of it, as JSON can hold it."""
    rng = random.Random(seed)
    damage = Damage.draw(files, rng, KINDS[seed % len(KINDS)])
    one = _Round(files, damage, folder)
    try:
        one.run()
    except Exception as error:
        one.find(_told(error))
    return {
        "kind": damage.kind,
        "what": damage.what,
        "findings": one.findings,
        "counts": dict(one.counts),
    }


def _told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error, limit=-6))


def _warm_up(folder: Path) -> None:
    """Load what rounds need, so that not each of them does."""
    name = folder / "warm.kist"
    with kist.open(name, "x") as store:
        store["t"] = np.zeros(9000, [("a", "i4"), ("s", "S3")])
        store["x"] = np.zeros((9, 9))
        store.create_keystore("k")["a"] = np.zeros(9000)
        store.check()
        for _, read in contents(store):
            read()
        store["t"].read(errors="mask")
    kist.salvage(name, folder / "warmed.kist")


def _in_child(files: Files, seed: int, folder: Path) -> dict[str, Any]:
    """Play one round in a fork, which knows nothing of what others have read."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            found = judge(files, seed, folder)
        except BaseException as error:
            found = {"kind": "?", "what": "?", "counts": {}, "findings": [_told(error)]}
        with open(writer, "wb") as pipe:
            pipe.write(json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    data, end = b"", time.monotonic() + _LOST
    with open(reader, "rb", buffering=0) as pipe:
        while time.monotonic() < end:
            if select.select([pipe], [], [], 1.0)[0]:
                part = pipe.read(1 << 20)
                if not part:
                    break
                data += part
        else:
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if data:
        answer: dict[str, Any] = json.loads(data)
        return answer
    return {"kind": "?", "what": "?", "counts": {}, "findings": [f"it ended with status {status}"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Break stores, and look at what is read, checked and salvaged."""
    parser = argparse.ArgumentParser(
        prog="python -m kist.testing.corruption", description=main.__doc__
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many files")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--trace", action="store_true", help="in this process, all in words")
    given = parser.parse_args(arguments)
    kinds: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    findings = 0
    begin = time.monotonic()
    options.n_threads = 1  # and none when this process forks
    with tempfile.TemporaryDirectory(prefix="kist-corruption-") as folder:
        _warm_up(Path(folder))
        files: Files | None = None
        for seed in range(given.first, given.first + given.seeds):
            if files is None or seed % FAMILY == 0:
                family = Path(folder) / f"family-{seed // FAMILY}"
                family.mkdir()
                if not os.fork():  # this process must not have read what it wrote
                    write_stores(family, 1 + seed // FAMILY)
                    os._exit(0)
                os.wait()
                files = Files(family)
            work = Path(tempfile.mkdtemp(dir=folder))
            found = (judge if given.trace else _in_child)(files, seed, work)
            for file in work.iterdir():
                file.unlink()
            work.rmdir()
            kinds[found["kind"]] += 1
            counts.update(found["counts"])
            if given.trace:
                print(found)
            for text in found["findings"]:
                findings += 1
                print(f"seed {seed}, {found['what']}: {text}", flush=True)
    print(f"{given.seeds:,} damaged files in {time.monotonic() - begin:.0f} s:")
    print("  damage: " + ", ".join(f"{kind} {n:,}" for kind, n in sorted(kinds.items())))
    for name, n in sorted(counts.items()):
        print(f"  {name}: {n:,}")
    print(f"  findings: {findings:,}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
