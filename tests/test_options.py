"""`kist.options`: checked, and the same object however it is reached."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

import kist
from kist import options


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    options.reset()
    yield
    options.reset()


def read_n_threads(_: int) -> int:
    return options.n_threads


def test_options_is_one_object_on_every_way_to_it() -> None:
    import kist.options as by_module

    assert kist.options is options is by_module
    options.max_load = 123
    assert kist.options.max_load == by_module.max_load == 123


@pytest.mark.parametrize("statement", ["import kist.options", "from kist import options", "pass"])
def test_options_is_the_same_after_any_first_import(statement: str) -> None:
    code = f"{statement}\nimport kist\nkist.options.n_threads = 7\nprint(kist.options.n_threads)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "7\n"


def test_max_load_is_four_gib_until_set() -> None:
    assert options.max_load == 4 * 1024**3


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be pinned here")
def test_threads_default_to_the_cores_this_process_may_use() -> None:
    assert options.n_threads == len(os.sched_getaffinity(0))
    code = (
        "import os, kist; core = min(os.sched_getaffinity(0)); os.sched_setaffinity(0, {core}); "
        "print(kist.options.n_threads)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no fork here")
def test_a_forked_child_of_multiprocessing_defaults_to_one_thread() -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(read_n_threads, [0]) == [1]
        pool.close()
        pool.join()


def test_a_spawned_child_of_multiprocessing_defaults_to_one_thread() -> None:
    code = (
        "import multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(eval, ('__import__(\"kist\").options.n_threads',)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_any_integer_type_is_taken_and_kept_as_int() -> None:
    options.n_threads = np.int16(3)  # type: ignore[assignment]
    assert options.n_threads == 3
    assert type(options.n_threads) is int


def test_max_memory_is_a_quarter_gib_until_set() -> None:
    assert options.max_memory == 256 * 1024**2
    options.max_memory = 1 << 20
    assert kist.options.max_memory == 1 << 20


@pytest.mark.parametrize("name", ["n_threads", "max_load", "max_memory"])
@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-1, ValueError), (True, TypeError), (1.0, TypeError), ("4", TypeError)],
)
def test_a_wrong_value_is_refused_and_changes_nothing(
    name: str, value: object, error: type[Exception]
) -> None:
    before = getattr(options, name)
    with pytest.raises(error, match=name):
        setattr(options, name, value)
    assert getattr(options, name) == before


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(AttributeError, match="n_threads"):
        options.n_thread = 2  # type: ignore[attr-defined]


def test_reset_gives_the_defaults_again() -> None:
    before = repr(options)
    options.n_threads, options.max_load, options.max_memory, options.cache_bytes = 99, 1, 2, 3
    shown = "kist.options(n_threads=99, max_load=1, max_memory=2, cache_bytes=3)"
    assert repr(options) == shown
    options.reset()
    assert repr(options) == before
