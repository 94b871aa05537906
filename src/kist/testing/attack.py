"""One round of `kist.testing.hostile`: a mutated file, everything asked of it, what came of it.

``python -m kist.testing.attack FIRST STOP`` is what its children run.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import kist
from kist.errors import KistError
from kist.format import keys
from kist.testing.everything import ask, fill
from kist.testing.mutations import Mutation, mutate
from kist.testing.surgery import Image

__all__ = ["MEMORY", "SLOW", "Round", "attack", "base", "hostile", "play"]

SLOW: Final = 5.0
"""Seconds of the processor for one call, so that a busy machine makes no difference."""
MEMORY: Final = 320 << 20
"""Most bytes that a round may take: 256 MiB are the largest block of strings or rows that a
reader accepts, 64 MiB are far above what the base store needs whole."""
ADDRESS_SPACE: Final = 2 << 30
"""What a child may map beyond what it has when it begins: more ends in a `MemoryError`."""
SALVAGE_EVERY: Final = 5
"""Of so many files, one is salvaged before it is opened."""

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
    errors: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    peak: int = 0
    is_clean: bool = False
    finding: str = ""


@cache
def base() -> bytes:
    """Bytes of the store that is mutated, closed in order."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "base.kist"
        with kist.open(path, "w", durability="none") as store:
            fill(store)
        return path.read_bytes()


def hostile(seed: int) -> tuple[bytes, Mutation]:
    """The mutated file of a seed."""
    return mutate(random.Random(seed), base())


@cache
def _paths() -> dict[int, str]:
    """Paths of the nodes of the base store, but for the root."""
    image = Image(base())
    entries = image.entries()
    nodes = {keys.node_of(key) for key in entries} - {keys.STORE, keys.ROOT}
    found = {node: image.path_of(node, entries) for node in nodes}
    return {node: path for node, path in found.items() if path is not None}


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


def attack(path: Path, mode: str, only: str | None, one: Round) -> None:
    """Ask everything of a file; counts what came of it in `one`, which a finding ends."""
    store = _answer("open", partial(kist.open, path, mode, durability="none"), one)
    if store is None:
        return
    with store:
        for what, call in ask(store, only):
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
    data, mutation = hostile(seed)
    one = Round(seed, f"{mutation.kind}: {mutation.what}")
    path = folder / "hostile.kist"
    path.write_bytes(data)
    only = _paths().get(mutation.node)
    before = _begin_peak()
    _opened.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if seed % SALVAGE_EVERY == 0:
                out = folder / "saved.kist"
                _answer("salvage", partial(kist.salvage, path, out), one)
                out.unlink(missing_ok=True)
            attack(path, "r" if seed % 2 else "r+", only, one)
        except BaseException as error:
            one.finding = one.finding or f"{type(error).__name__}: {error}"
            if trace:
                traceback.print_exc()
    one.peak = max(0, _resident("VmHWM") - before)
    if one.peak > MEMORY and not one.finding:
        one.finding = f"{one.peak >> 20} MiB of memory"
    foreign = [name for name in _opened if is_foreign(name, folder)]
    if foreign and not one.finding:
        one.finding = f"opened or ran {foreign[:3]}"
    return one


def is_foreign(name: str, folder: Path) -> bool:
    """Tell whether a name that was opened, or an event, is none that a store should lead to."""
    if name in _RUNS:
        return True
    return not os.path.abspath(name).startswith((str(folder), *_OWN))


def _child(first: int, stop: int) -> None:
    """Play rounds and say what came of each, one line of JSON a round, after one with its seed."""
    faulthandler.enable()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.joinpath("base.kist").write_bytes(base())
        # Once as it is: modules are imported and threads begun before limits are set.
        attack(folder / "base.kist", "r+", None, Round(-1))
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
