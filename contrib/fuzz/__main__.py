"""Coverage-guided fuzzing of the parsers, with atheris (``pip install atheris``).

From the project's folder, with the options of libFuzzer::

    python contrib/fuzz tree -max_total_time=60
    python contrib/fuzz tree -max_total_time=60 --keep     # what covers more joins the corpus
    python contrib/fuzz --seeds                            # the same from the golden files
    python contrib/fuzz --replay                           # every kept input, without atheris
    python contrib/fuzz --list

An input that breaks a target is left in the working directory by libFuzzer, and the exit code is
not 0. It goes into ``corpus/TARGET.txt`` behind a line ``# what it did``, when it is mended.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import corpus

import kist

MOST_KEPT = 7_000
"""Bytes of the inputs that are kept for a target."""
Step = tuple[str, int, int, int]
OURS = str(Path(kist.__file__).parent)
SLOW = 5.0
"""Seconds of the processor for one input; libFuzzer's own limit is of the clock on the wall, and
only for what does not come back."""
LIMITS = ["-timeout=120", "-rss_limit_mb=1024", "-max_len=4096"]


def fuzz(target: str, arguments: list[str]) -> None:
    """Run libFuzzer in this process; it does not return."""
    import atheris

    with atheris.instrument_imports(include=["kist"]):
        import targets

    call = targets.run

    def one(data: bytes) -> None:
        begun = time.process_time()
        call(target, data)
        if time.process_time() - begun > SLOW:
            raise TimeoutError(f"more than {SLOW} s")

    atheris.Setup([sys.argv[0], *LIMITS, *arguments], one)
    atheris.Fuzz()


def start(target: str, arguments: list[str], *, keep: bool) -> int:
    """Run a target on the kept inputs; with `keep` the shortest that cover as much are kept."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, data in enumerate(corpus.read(target)):
            (folder / f"{number:05}").write_bytes(data)
        own = [sys.executable, str(Path(__file__).parent), "--fuzz", target]
        code = subprocess.call([*own, *arguments, name])
        if code == 0 and keep:
            found = [path.read_bytes() for path in folder.iterdir()]
            few = shortest(target, found)
            corpus.write(target, few)
            print(f"{target}: {len(few)} of {len(found)} inputs are kept")
    return code


def shortest(target: str, inputs: list[bytes]) -> list[bytes]:
    """Inputs that together reach every step from line to line of kist that all of them reach.

    As for libFuzzer, a step that is taken four times is another than one that is taken once.
    """
    import targets

    known: set[Step] = set()
    kept, total = [], 0
    for data in sorted(set(inputs), key=lambda one: (len(one), one)):
        steps = covered(lambda data=data: targets.run(target, data))
        if steps - known and total + len(data) <= MOST_KEPT:
            known |= steps
            kept.append(data)
            total += len(data)
    return kept


def covered(call: Callable[[], object]) -> set[Step]:
    """Steps from line to line of the modules of kist that a call takes, and about how often."""
    found: Counter[tuple[str, int, int]] = Counter()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(OURS):
            return None
        last = frame.f_lineno

        def step(frame: FrameType, event: str, _: object) -> Any:
            nonlocal last
            found[name, last, frame.f_lineno] += 1
            last = frame.f_lineno
            return step

        return step

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return {(*step, count.bit_length()) for step, count in found.items()}


def replay() -> int:
    """Give every kept input to its target; gives 1 when one breaks it."""
    import targets

    broken = count = 0
    for target in targets.TARGETS:
        for data in corpus.read(target):
            count += 1
            try:
                targets.run(target, data)
            except Exception as error:
                broken += 1
                print(f"{target}: {data!r}: {error!r}")
    print(f"{count} inputs, {broken} findings")
    return 1 if broken else 0


def main() -> int:
    """See the docstring of the module."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--fuzz"]:
        fuzz(arguments[1], arguments[2:])
        return 0
    if "--replay" in arguments:
        return replay()
    import targets

    if "--seeds" in arguments:
        from seeds import make_seeds

        for target, inputs in make_seeds().items():
            corpus.write(target, [*corpus.read(target), *inputs])
        return 0
    if not arguments or arguments[0] not in targets.TARGETS:
        print("\n".join(targets.TARGETS))
        return 0 if "--list" in arguments else 2
    rest = [one for one in arguments[1:] if one != "--keep"]
    return start(arguments[0], rest, keep="--keep" in arguments)


if __name__ == "__main__":
    sys.exit(main())
