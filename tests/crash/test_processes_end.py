"""Processes that end with a store open, in every way: the file is whole, and the lock free.

Each test runs a short program of a user, and opens its store at once, without waiting.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import kist
from kist.storage import ofd

pytestmark = pytest.mark.skipif(not ofd.HAVE_OFD, reason="needs OFD locks")

ROWS = np.array([(1, 2.0), (3, 4.0)], "i4,f8")
HEAD = """
import os, signal, sys, time
import numpy as np
import kist
path = sys.argv[1]
rows = np.array([(5, 6.0)], "i4,f8")
store = kist.open(path, "r+", timeout=0)
"""


@pytest.fixture
def made(path: Path) -> Path:
    with kist.open(path, "w") as store:
        store["t"] = ROWS
        store.create_keystore("k")["a"] = 1
    return path


def start(code: str, path: Path) -> subprocess.Popen[str]:
    program = HEAD + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(code: str, path: Path) -> tuple[int, str, str]:
    process = start(code, path)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def rows_after(path: Path) -> int:
    """How many rows there are; also: the lock is free, the file whole, the next commit works."""
    with kist.open(path, "r+", timeout=0) as store:
        n = len(store["t"])
        assert store.check().ok
        store.attrs["next"] = n
        with kist.open(path) as reader:
            assert reader.attrs["next"] == n
        return n


@pytest.mark.parametrize(
    ("code", "status", "rows"),
    [
        (
            """
            with store.transaction():
                store["t"].append(rows)
                sys.exit(3)
            """,
            3,
            2,
        ),
        (
            """
            store.begin()
            store["t"].append(rows)
            sys.exit(4)
            """,
            4,
            2,
        ),
        (
            """
            store["t"].append(rows)
            store.begin()
            store["k"].clear()
            store["t"].delete(0)
            """,
            0,
            3,
        ),
        (
            """
            with store.transaction():
                store["t"].append(rows)
                os._exit(5)
            """,
            5,
            2,
        ),
        (
            """
            with store.transaction():
                store["t"].append(rows)
                raise RuntimeError("of the user")
            """,
            1,
            2,
        ),
        (
            """
            store["t"].append(rows)
            with store:
                store["k"]["b"] = 2
                raise RuntimeError("of the user")
            """,
            1,
            3,
        ),
    ],
    ids=["exit in a block", "exit after begin", "end", "hard exit", "error", "with the store"],
)
def test_a_program_that_ends_within_a_transaction_leaves_nothing_of_it(
    made: Path, code: str, status: int, rows: int
) -> None:
    found, _, err = run(code, made)
    assert found == status, err
    assert "Exception ignored" not in err and "ResourceWarning" not in err
    assert rows_after(made) == rows


def test_an_appender_that_is_left_open_at_the_end_of_the_interpreter(made: Path) -> None:
    # Its rows were promised for later; those of the last full batch are there.
    code = """
    add = store["t"].appender(rows=3, seconds=3600, timer=True).__enter__()
    for n in range(7):
        add((n, n))
    import atexit
    atexit.register(lambda: print("rows", len(store["t"])))
    """
    status, out, err = run(code, made)
    assert status == 0, err
    assert out == "rows 8\n"
    assert "Exception" not in err
    assert rows_after(made) == 8


def test_sys_exit_within_an_appender_commits_what_was_measured(made: Path) -> None:
    code = """
    with store["t"].appender(rows=1000, seconds=3600) as add:
        for n in range(5):
            add((n, n))
        sys.exit(7)
    """
    status, _, err = run(code, made)
    assert status == 7, err
    assert rows_after(made) == 7


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_kernel_that_is_restarted_leaves_no_lock_to_the_next_one(
    made: Path, number: signal.Signals
) -> None:
    # What a notebook does: a cell has begun a transaction, and the kernel is replaced.
    code = """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    reader = kist.open(path)
    store.begin()
    store["t"].append(rows)
    store["k"].update({n: bytes(9000) for n in range(20)})
    store.create_array("big", data=np.random.default_rng(1).integers(0, 255, 3_000_000, "u1"))
    print("ready", flush=True)
    sys.stdin.read()
    """
    process = start(code, made)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with kist.open(made, "r+", timeout=0) as store:
            assert len(store["t"]) == 2  # readers never wait
            with pytest.raises(kist.StoreLockedError, match=str(process.pid)):
                store.attrs["x"] = 1
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert rows_after(made) == 2


def test_a_second_kernel_after_a_failed_first_cell_writes_at_once(made: Path) -> None:
    # The traceback that a notebook keeps also keeps the frames, and so the transaction object.
    code = """
    def cell():
        with store.transaction():
            store["t"].append(rows)
            1 / 0
    try:
        cell()
    except ZeroDivisionError:
        sys.last_value = sys.exc_info()[1]
    other = kist.open(path, "r+", timeout=0)
    other["t"].append(rows)
    store["t"].append(rows)
    print(len(other["t"]))
    """
    status, out, err = run(code, made)
    assert status == 0, err
    assert out == "4\n"


def test_ctrl_c_in_an_iterator_given_to_append_adds_nothing(made: Path) -> None:
    def rows() -> object:
        for n in range(100_000):
            if n == 70_000:
                signal.raise_signal(signal.SIGINT)
            yield n, n / 2

    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with kist.open(made, "r+", timeout=0) as store:
            with pytest.raises(KeyboardInterrupt):
                store["t"].append(rows())
            assert len(store["t"]) == 2
            with store.transaction():
                store.attrs["kept"] = 1
                with pytest.raises(KeyboardInterrupt):
                    store["t"].append(rows())
                assert len(store["t"]) == 2
                store["t"].append([(9, 9.0)])
            assert store.attrs["kept"] == 1
            assert len(store["t"]) == 3
            assert store.check().ok
    finally:
        signal.signal(signal.SIGINT, old)
    assert rows_after(made) == 3


def test_a_full_quota_of_file_size_is_an_error_and_nothing_else(made: Path) -> None:
    # RLIMIT_FSIZE: the system refuses with EFBIG, and sends SIGXFSZ, which Python ignores.
    code = """
    import resource
    size = os.path.getsize(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 200_000, resource.RLIM_INFINITY))
    raised = 0
    for n in range(8):
        data = np.random.default_rng(n).integers(0, 255, 60_000, "u1")
        try:
            with store.transaction():
                store["k"][n] = data
                store["t"].append(rows)
        except kist.StorageError as error:
            assert type(error) is kist.StorageError, error
            assert "File too large" in str(error), error
            raised += 1
            assert n not in store["k"] and len(store["t"]) == 2 + n + 1 - raised
    assert raised, "no limit was met"
    assert store.check().ok
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    store["k"]["after"] = np.arange(100_000)
    store["t"].append(rows)
    print(len(store["t"]))
    """
    status, out, err = run(code, made)
    assert status == 0, err
    assert rows_after(made) == int(out)


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    # A user namespace may mount a small tmpfs without privileges; many systems forbid it.
    space = tmp_path / "small"
    space.mkdir()
    code = f"""
    import errno
    path = {str(space / "t.kist")!r}
    raised = 0
    with kist.open(path, "w") as store:
        store["t"] = rows
        for n in range(60):
            data = np.random.default_rng(n).integers(0, 255, 100_000, "u1")
            try:
                store[f"a{{n}}"] = data
            except kist.StorageError as error:
                assert error.errno == errno.ENOSPC, error
                assert f"a{{n}}" not in store
                raised += 1
        assert 0 < raised < 60, raised
        store["t"].append(rows)
        assert store.check().ok
        for name in list(store)[:10]:
            del store[name]
        store.compact()
        store["again"] = np.random.default_rng(1).integers(0, 255, 300_000, "u1")
    with kist.open(path) as store:
        assert store.check().ok
        assert len(store["again"]) == 300_000
    print("held")
    """
    program = textwrap.dedent(HEAD.replace('store = kist.open(path, "r+", timeout=0)\n', ""))
    program += textwrap.dedent(code)
    mount = f'mount -t tmpfs -o size=2m none "{space}" && exec "$0" -c "$1" none'
    try:
        done = subprocess.run(
            ["unshare", "-r", "--mount", "sh", "-c", mount, sys.executable, program],
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ,
        )
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip("this system lets nobody mount")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "held\n"
