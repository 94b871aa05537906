"""Threads for pages: results in order, errors of all threads, and idle ones that help."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from kist import options
from kist.engine.parallel import run, share

WAIT_S = 30


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = options.n_threads
    options.n_threads = 2
    yield
    options.n_threads = before


def numbers(n: int) -> list[Callable[[], int]]:
    return [partial(int, k) for k in range(n)]


def test_a_thread_that_is_done_helps_the_other_one() -> None:
    # Neither ends before both are begun: one thread alone would wait in vain.
    both = threading.Barrier(2)

    def slow() -> list[int]:
        share([partial(both.wait, WAIT_S) for _ in range(2)])
        return share(numbers(50))

    assert run([slow, lambda: [7]]) == [list(range(50)), [7]]
    assert not both.broken


def test_all_threads_of_a_team_may_offer_tasks() -> None:
    def outer(k: int) -> list[int]:
        return share([lambda n=n: sum(share(numbers(n))) + k for n in range(20)])

    wanted = [[n * (n - 1) // 2 + k for n in range(20)] for k in range(9)]
    assert run([partial(outer, k) for k in range(9)]) == wanted


def test_without_a_team_tasks_are_shared_as_always() -> None:
    assert share(numbers(9)) == list(range(9))
    assert share(numbers(1)) == [0] and share([]) == []
    options.n_threads = 1
    assert run([lambda: share(numbers(3)), lambda: [5]]) == [[0, 1, 2], [5]]


@pytest.mark.parametrize("place", [0, 1])
def test_errors_come_through_whoever_meets_them(place: int) -> None:
    both = threading.Barrier(2)
    met = []

    def fail(k: int) -> None:
        both.wait(WAIT_S)
        if k == place:
            met.append(k)
            raise ValueError("broken")

    def slow() -> None:
        share([partial(fail, k) for k in range(2)])

    with pytest.raises(ValueError, match="broken"):
        run([slow, lambda: None])
    assert met == [place]
    assert run(numbers(5)) == [0, 1, 2, 3, 4]  # the threads are as they were


def test_what_is_closed_at_the_end_of_the_program_needs_no_thread() -> None:
    program = """
import atexit, kist
from kist.engine.parallel import run, run_ahead
kist.options.n_threads = 2
atexit.register(lambda: print(run([lambda: 1, lambda: 2]), [*run_ahead([lambda: 3] * 3, 2)]))
assert run([lambda: 1, lambda: 2]) == [1, 2]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[1, 2] [3, 3, 3]\n", "")
