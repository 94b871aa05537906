"""Memory that ends at the n-th allocation, or at a limit of the process: trials as of a device.

CPython's own test module makes the n-th allocation of the interpreter fail, which no stand-in for
`numpy.empty` could do as thoroughly. Each trial is a forked child, because a library of C that does
not expect it may crash: then the file is judged as after a kill.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import traceback

import kist
from kist import options
from kist.testing.faults import Fault
from kist.testing.trials import Report, Stage, Step, Trial

__all__ = ["HAVE_ALLOCATION_FAULTS", "run_allocations", "run_limits"]

try:
    import _testcapi as _allocations  # type: ignore[import-not-found]

    HAVE_ALLOCATION_FAULTS = True
except ImportError:
    HAVE_ALLOCATION_FAULTS = False

_PATIENCE_S = 30  # with a child, which then dies of SIGALRM
_MOST_ALLOCATIONS = 5000  # of a step, about


class _MemoryTrial(Trial):
    """A step within which memory ends, at an allocation or at a limit."""

    def __init__(self, stage: Stage, step: Step, at: int, limit: int = 0) -> None:
        super().__init__(stage, step, Fault("any", at, MemoryError), warm=True)
        self.limit = limit

    def _arm(self) -> None:
        if self.limit:
            _limit_memory(self.limit)
        else:
            _allocations.set_nomemory(self.fault.at, self.fault.at + 1)

    def _disarm(self) -> None:
        if self.limit:
            _limit_memory(None)
        else:
            _allocations.remove_mem_hooks()

    def _judge_the_error(self) -> None:
        # Which error does not matter: C may take it for something else, as `bytes.join` does.
        if self.raised is not None and not isinstance(self.raised, Exception):
            raise AssertionError(f"{self.raised!r} is no word for memory that ended")

    def _judge_the_handle(self) -> None:
        self._disarm()
        super()._judge_the_handle()


def _limit_memory(more: int | None) -> None:
    """Let the address space of this process grow by so many bytes at most; None: without end."""
    limit = resource.RLIM_INFINITY
    if more is not None:
        with open("/proc/self/statm") as file:
            limit = int(file.read().split()[0]) * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _in_child(trial: Trial) -> tuple[str, str]:
    """Run a trial in a child; returns (what was raised, what was wrong)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer = ""
        try:
            os.close(reading)
            options.n_threads = 1
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.alarm(_PATIENCE_S)
            failures = trial.failures()
            raised = "nothing" if trial.raised is None else type(trial.raised).__name__
            answer = "\n".join([raised, *failures])
        except BaseException as error:
            answer = "?\n" + "".join(traceback.format_exception(error))
        finally:
            os.write(writing, answer.encode()[:60_000])
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answers:
        text = answers.read().decode()
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raised, _, wrong = text.partition("\n")
        return raised, wrong
    trial.raised = kist.CommitUnknownError("the process died")
    try:
        trial.reopen()
    except Exception as error:
        return "signal", f"after signal {os.WTERMSIG(status)}: {error}"
    return "signal", ""


def run_allocations(stage: Stage, trials: int, seed: int = 0, only: str = "") -> Report:
    """Let the n-th allocation of a step fail, at places taken at random.

    Not all from one on: the interpreter itself then goes round for ever, and the calls that free
    a lock need memory, too: it stays until the handle is closed.
    """
    rng, report = random.Random(seed), Report()
    steps = [step for step in stage.steps if only in step.name]
    for number in range(trials):
        at = int(_MOST_ALLOCATIONS ** rng.random())
        _note(report, _MemoryTrial(stage, steps[number % len(steps)], at))
    return report


def run_limits(stage: Stage, trials: int, seed: int = 0, only: str = "") -> Report:
    """Let the process have only so many bytes more than it has before a step."""
    rng, report = random.Random(seed), Report()
    steps = [step for step in stage.steps if only in step.name]
    for number in range(trials):
        step = steps[number % len(steps)]
        limit = rng.choice((1, 4, 16, 64)) * rng.randrange(1, 1 << 16)
        _note(report, _MemoryTrial(stage, step, 1, limit))
    return report


def _note(report: Report, trial: _MemoryTrial) -> None:
    raised, wrong = _in_child(trial)
    report.trials += 1
    report.raised[raised] += 1
    if wrong:
        what = f"{trial.fault}, limit {trial.limit}"
        report.failures.append(f"{trial.step.name}, {what}: {wrong}")
