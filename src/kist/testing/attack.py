"""One round of `kist.testing.hostile`: a mutated file, everything asked of it, what came of it.

``python -m kist.testing.attack FIRST STOP`` is what its children run.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import kist
from kist.errors import KistError
from kist.testing.bases import BASES, MEMORY_FOLDER, made
from kist.testing.everything import ask
from kist.testing.forged import Forged, forge

__all__ = ["MEMORY", "SLOW", "Round", "attack", "play"]

SLOW: Final = 5.0
"""Seconds of the processor for one call, so that a busy machine makes no difference."""
MEMORY: Final = 320 << 20
"""Most bytes that a round may take: 256 MiB are the largest block of strings or rows that a
reader accepts, 64 MiB are far above what the base store needs whole."""
ADDRESS_SPACE: Final = 2 << 30
"""What a child may map beyond what it has when it begins: more ends in a `MemoryError`."""
SALVAGE_EVERY: Final = 5
"""Of so many files, one is salvaged before it is opened, one merged, one split, one backed up."""

_OWN: tuple[str, ...] = (
    "/usr/share/zoneinfo/",
    "/usr/lib/zoneinfo/",
    "/proc/",
    sys.prefix,
    sys.base_prefix,
)
_OWN += (str(Path(kist.__file__).parent),)
_RUNS = ("pickle.find_class", "os.system", "os.exec", "subprocess.Popen", "socket.connect")


@dataclass
class Round:
    """What came of one mutated file.

    Attributes
    ----------
    seed : int
    mutation : str
        What was changed.
    base : str
        Of which store.
    errors : Counter of str
        Errors of kist, by class.
    answered : int
        Calls that gave data.
    peak : int
        Bytes of memory beyond those before the round.
    is_clean : bool
        Whether `check` found nothing.
    finding : str
        What must not be, or nothing.
    """

    seed: int
    mutation: str = ""
    base: str = ""
    errors: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    peak: int = 0
    is_clean: bool = False
    finding: str = ""


class _Slow(BaseException):
    """A call took too long; no `Exception`, which a repr would turn into text."""


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def late(*_: object) -> None:
        raise _Slow(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _resident(name: str) -> int:
    """A figure of this process in bytes, such as VmHWM; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    found = [line for line in lines if line.startswith(name + ":")]
    return int(found[0].split()[1]) << 10 if found else 0


def _begin_peak() -> int:
    """Forget the most memory so far; returns what is used now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _resident("VmHWM")
    return _resident("VmRSS")


_opened: list[str] = []


def _watch_files() -> None:
    """Note what Python opens and runs from now on, in this process for ever."""

    def hook(event: str, args: Any) -> None:
        if event == "open" and isinstance(args[0], str | os.PathLike):
            _opened.append(os.fspath(args[0]))
        elif event in _RUNS:
            _opened.append(event)

    sys.addaudithook(hook)


def attack(
    path: Path,
    mode: str,
    only: str | None,
    one: Round,
    options: Mapping[str, Any] | None = None,
    *,
    reading: bool = True,
) -> None:
    """Ask everything of a file; counts what came of it in `one`, which a finding ends."""
    opening = partial(kist.open, path, mode, durability="none", **options or {})
    store = _answer("open", opening, one)
    if store is None:
        return
    with store:
        for what, call in ask(store, only, reading=reading):
            found = _answer(what, call, one)
            if what == "check":
                one.is_clean = bool(found)


def _answer(what: str, call: Callable[[], Any], one: Round) -> Any:
    """Make a call and count what came of it; None for an error of kist."""
    try:
        with _at_most(SLOW):
            found = call()
        one.answered += 1
        return found
    except KistError as error:
        one.errors[type(error).__name__] += 1
        return None
    except BaseException as error:
        one.finding = f"{what}: {type(error).__name__}: {error}"
        raise


def play(seed: int, folder: Path, *, trace: bool = False) -> Round:
    """One round, in this process."""
    forged = forge(seed)
    mutation, options = forged.mutation, BASES[forged.base].options
    one = Round(seed, f"{mutation.kind}: {mutation.what}", forged.base)
    path = forged.write(folder)
    only = forged.only
    before = _begin_peak()
    _opened.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _copied(path, forged, seed, one)
            # In one of two files everything is read, in the other everything changed.
            attack(path, "r" if seed % 2 else "r+", only, one, options, reading=bool(seed % 2))
        except BaseException as error:
            one.finding = one.finding or f"{type(error).__name__}: {error}"
            if trace:
                traceback.print_exc()
    one.peak = max(0, _resident("VmHWM") - before)
    if one.peak > MEMORY and not one.finding:
        one.finding = f"{one.peak >> 20} MiB of memory"
    foreign = [name for name in _opened if is_foreign(name, path.parent)]
    if foreign and not one.finding:
        one.finding = f"opened or ran {foreign[:3]}"
    return one


def _copied(path: Path, forged: Forged, seed: int, one: Round) -> None:
    """Make another file of some, in one of four ways, before anything else is asked of them."""
    out = path.with_name("saved.kist")
    secrets = BASES[forged.base].options.get("secrets")
    choice = seed % SALVAGE_EVERY
    if choice == 0:
        _answer("salvage", partial(kist.salvage, path, out), one)
    elif choice == 1:
        _answer("merge", partial(kist.merge, [path], out, secrets=secrets), one)
    elif choice == 2 and forged.only is not None:
        parts = path.with_name("saved-{}.kist")
        split = partial(kist.split, path, forged.only, parts=2, out=parts, secrets=secrets)
        _answer("split", split, one)
    elif choice == 3:
        _answer("backup", partial(_backup, path, out, secrets, seed), one)
    for made_file in path.parent.glob("saved*"):
        made_file.unlink()


def _backup(path: Path, out: Path, secrets: Any, seed: int) -> None:
    with kist.open(path, secrets=secrets) as store:
        store.backup(out, compact=bool(seed // SALVAGE_EVERY % 2), durability="none")


def is_foreign(name: str, folder: Path) -> bool:
    """Tell whether a name that was opened, or an event, is none that a store should lead to."""
    if name in _RUNS:
        return True
    return not os.path.abspath(name).startswith((str(folder), *_OWN))


def _child(first: int, stop: int) -> None:
    """Play rounds and say what came of each, one line of JSON a round, after one with its seed."""
    faulthandler.enable()
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as name:
        folder = Path(name)
        # Once as they are: modules are imported and threads begun before limits are set.
        for base, way in BASES.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                attack(made(base).write(folder), "r+", None, Round(-1), way.options)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if used := _resident("VmSize"):
            limit = used + ADDRESS_SPACE
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        _watch_files()
        for seed in range(first, stop):
            print(json.dumps(seed), flush=True)
            print(json.dumps(vars(play(seed, folder))), flush=True)


if __name__ == "__main__":
    _child(int(sys.argv[1]), int(sys.argv[2]))
