"""Locks and pins between real processes, and what fork does to an open file."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from kist.errors import KistWarning, ReadOnlyError, StaleHandleError, StorageError, StoreLockedError
from kist.storage import FileBackend, MemoryBackend, file, ofd

if not ofd.HAVE_OFD:
    pytest.skip("no OFD locks on this system", allow_module_level=True)


@pytest.fixture
def backend(path: Path) -> Iterator[FileBackend]:
    backend = FileBackend(path, writable=True, create=True)
    yield backend
    backend.close()


def helper(path: str, pipe: Connection) -> None:
    """Do what the pipe says, in a process of its own."""
    backend = FileBackend(path, writable=True)
    try:
        while True:
            command, argument = pipe.recv()
            try:
                if command == "stop":
                    return
                pipe.send(getattr(backend.locks, command)(argument))
            except StorageError as error:
                pipe.send(str(error))
    finally:
        backend.close()


class Process:
    """Another process with the file open."""

    def __init__(self, path: Path, method: str) -> None:
        context = multiprocessing.get_context(method)
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=helper, args=(str(path), other))
        self.process.start()
        other.close()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def send(self, command: str, argument: object = None) -> None:
        self.pipe.send((command, argument))

    def call(self, command: str, argument: object = None) -> object:
        self.send(command, argument)
        return self.answer()

    def answer(self) -> object:
        assert self.pipe.poll(60), "no answer"
        return self.pipe.recv()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def stop(self) -> None:
        # A process that was just killed may still count as alive, and be gone before it reads.
        with contextlib.suppress(BrokenPipeError):
            if self.process.is_alive():
                self.send("stop")
        self.process.join()
        self.pipe.close()
        self.process.close()


@pytest.fixture(params=["fork", "spawn"])
def other(
    request: pytest.FixtureRequest,
    path: Path,
    backend: FileBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Process]:
    # A spawned child imports this module by its name, which begins at the project's root.
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    process = Process(path, request.param)
    yield process
    process.stop()


def in_child(work: Callable[[], object]) -> str:
    """Run `work` in a forked child, and return what it returns or raises."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                result = str(work())
            except Exception:
                result = traceback.format_exc()
            os.write(write, result.encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


# Between processes


def test_a_lock_keeps_another_process_out_and_the_message_names_it(
    backend: FileBackend, other: Process
) -> None:
    assert other.call("acquire_writer", 0) is None
    with pytest.raises(StoreLockedError, match=rf"process {other.pid} \(.*python"):
        backend.locks.acquire_writer(0.01)
    assert backend.locks.writer_holder().startswith(f"process {other.pid}")  # type: ignore[union-attr]


def test_death_of_the_holder_frees_everything(backend: FileBackend, other: Process) -> None:
    other.call("acquire_writer", 0)
    other.call("pin", 12)
    assert backend.locks.pins(100) == [12]
    assert backend.locks.holders() == {12: [other.pid]}
    other.kill()
    backend.locks.acquire_writer(0)
    assert backend.locks.pins(100) == []
    assert backend.locks.holders() == {}


def test_a_waiting_writer_gets_the_lock_when_it_is_freed(
    backend: FileBackend, other: Process
) -> None:
    backend.locks.acquire_writer(0)
    other.send("acquire_writer", 60)
    assert not other.pipe.poll(0.05)
    backend.locks.release_writer()
    assert other.answer() is None
    with pytest.raises(StoreLockedError):
        backend.locks.acquire_writer(0)


def test_a_waiting_writer_gets_the_lock_when_the_holder_dies(
    backend: FileBackend, other: Process
) -> None:
    other.call("acquire_writer", 0)
    timer = threading.Timer(0.02, other.process.kill)
    timer.start()
    backend.locks.acquire_writer(60)
    timer.join()
    assert backend.locks.writer_held()


def test_nobody_who_comes_back_at_once_overtakes_a_waiting_writer(
    backend: FileBackend, other: Process
) -> None:
    backend.locks.acquire_writer(0)
    other.send("acquire_writer", 60)
    wait_until(lambda: places(backend) == [0])  # it stands in line from now on
    backend.locks.release_writer()
    with pytest.raises(StoreLockedError):
        backend.locks.acquire_writer(0)
    assert other.answer() is None


def seen(backend: FileBackend) -> list[tuple[int, int, int]]:
    return list(backend.locks._seen())


def places(backend: FileBackend) -> list[int]:
    """Places in line at which somebody waits."""
    return sorted(a - ofd.LINE_BASE for _, a, _ in seen(backend) if a >= ofd.LINE_BASE)


def test_writers_get_their_turns_in_the_order_in_which_they_came(
    backend: FileBackend, path: Path
) -> None:
    backend.locks.acquire_writer(0)
    backends = [FileBackend(path, writable=True) for _ in range(6)]
    order: list[int] = []

    def write(number: int) -> None:
        backends[number].locks.acquire_writer(60)
        order.append(number)
        backends[number].locks.release_writer()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for n, thread in enumerate(threads):
        thread.start()
        wait_until(lambda n=n: places(backend) == list(range(n + 1)))  # type: ignore[misc]
    backend.locks.release_writer()
    for _ in range(3):  # comes back at once, again and again
        backend.locks.acquire_writer(60)
        order.append(-1)
        backend.locks.release_writer()
    for thread in threads:
        thread.join()
    for other in backends:
        other.close()
    assert order[:7] == [0, 1, 2, 3, 4, 5, -1], order


def test_a_place_in_line_goes_with_its_process(backend: FileBackend, other: Process) -> None:
    backend.locks.acquire_writer(0)
    other.send("acquire_writer", 60)
    wait_until(lambda: places(backend) == [0])
    other.kill()
    assert places(backend) == []
    backend.locks.release_writer()
    backend.locks.acquire_writer(0)


def test_who_is_next_is_named_when_nobody_writes(backend: FileBackend, other: Process) -> None:
    backend.locks.acquire_writer(0)
    other.send("acquire_writer", 60)
    wait_until(lambda: places(backend) == [0])
    os.kill(other.pid, signal.SIGSTOP)  # as Ctrl-Z would: it keeps its place
    backend.locks.release_writer()
    try:
        for timeout in (0, 0.01):
            with pytest.raises(
                StoreLockedError, match=rf"process {other.pid} .*, whose turn it is"
            ):
                backend.locks.acquire_writer(timeout)
        # It keeps nobody from writing for long.
        backend.locks.acquire_writer(60)
    finally:
        os.kill(other.pid, signal.SIGCONT)
    assert not other.pipe.poll(0.01)
    backend.locks.release_writer()
    assert other.answer() is None


def test_a_sole_writer_keeps_others_out_until_it_closes(path: Path) -> None:
    first, second = (FileBackend(path, writable=True, create=True) for _ in range(2))
    first.locks.sole = second.locks.sole = True
    try:
        first.locks.acquire_writer(0)
        first.locks.release_writer()
        with pytest.raises(StoreLockedError, match="network mount and open for writing in this"):
            second.locks.acquire_writer(0.01)
        first.locks.acquire_writer(0)
        first.close()
        second.locks.acquire_writer(0)
    finally:
        first.close()
        second.close()


def test_the_line_is_empty_again_after_a_wait_in_vain(
    backend: FileBackend, other: Process, path: Path
) -> None:
    backend.locks.acquire_writer(0)
    assert "being written to" in str(other.call("acquire_writer", 0.01))
    third = FileBackend(path, writable=True)
    try:
        backend.locks.release_writer()
        third.locks.acquire_writer(0)
    finally:
        third.close()


def test_pins_of_many_processes_are_all_found(backend: FileBackend, path: Path) -> None:
    processes = [Process(path, "fork") for _ in range(3)]
    try:
        expected = set()
        for i, process in enumerate(processes):
            for commit in (5, 10 + i, 100 + 2 * i, 1 << 50):
                process.call("pin", commit)
                expected.add(commit)
        assert backend.locks.pins(1 << 60) == sorted(expected)
        assert backend.locks.pins(50) == sorted(c for c in expected if c <= 50)
        assert set(backend.locks.holders()[5]) == {p.pid for p in processes}
    finally:
        for process in processes:
            process.stop()
    assert backend.locks.pins(1 << 60) == []


def test_locks_do_not_reach_a_program_that_is_started(path: Path, backend: FileBackend) -> None:
    backend.locks.acquire_writer(0)
    backend.locks.pin(3)
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        backend.close()
        other = FileBackend(path, writable=True)
        other.locks.acquire_writer(0)
        assert other.locks.pins(9) == []
        other.close()
    finally:
        sleeper.communicate(b"\n")


def test_ctrl_c_while_waiting_leaves_nothing_locked(path: Path, backend: FileBackend) -> None:
    other = FileBackend(path, writable=True)
    other.locks.acquire_writer(0)
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            backend.locks.acquire_writer(60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    other.locks.release_writer()
    other.locks.acquire_writer(0)  # the line is empty
    other.close()
    backend.locks.acquire_writer(0)  # and so is the gate between threads


def test_an_interrupted_wait_goes_on_when_the_handler_returns(
    path: Path, backend: FileBackend
) -> None:
    other = FileBackend(path, writable=True)
    other.locks.acquire_writer(0)
    calls: list[int] = []

    def handler(number: int, frame: object) -> None:
        calls.append(number)
        if len(calls) == 3:
            other.locks.release_writer()

    previous = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        backend.locks.acquire_writer(60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        other.close()
    assert backend.locks.writer_held()


# Fork


def test_a_forked_child_does_not_keep_the_parents_locks(path: Path) -> None:
    backend = FileBackend(path, writable=True, create=True)
    backend.locks.acquire_writer(0)
    backend.locks.pin(4)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(write)
            os.read(read, 1)  # lives until the parent lets go
        finally:
            os._exit(0)
    os.close(read)
    backend.close()
    other = FileBackend(path, writable=True)
    try:
        other.locks.acquire_writer(5)
        wait_until(lambda: other.locks.pins(9) == [])
    finally:
        os.close(write)
        os.waitpid(pid, 0)
        other.close()


def test_a_fork_leaves_the_parent_its_locks(backend: FileBackend, path: Path) -> None:
    backend.locks.acquire_writer(0)
    backend.locks.pin(4)
    assert in_child(lambda: backend.close()) == "None"
    assert backend.locks.writer_held()
    other = FileBackend(path, writable=True)
    try:
        with pytest.raises(StoreLockedError):
            other.locks.acquire_writer(0)
        assert other.locks.pins(9) == [4]
    finally:
        other.close()


def test_a_forked_child_reads_on_and_pins_again(backend: FileBackend) -> None:
    backend.write(0, [b"before"])
    backend.locks.pin(4)

    def work() -> object:
        assert backend.forked and backend.pid == os.getpid()
        assert not backend.writable
        buffer = bytearray(3)
        read = backend.read_into(3, buffer), bytes(buffer), backend.read(0, 9), backend.size()
        holders = backend.locks.holders()
        backend.locks.unpin(4)
        backend.locks.pin(6)
        return *read, len(holders[4]), backend.locks.holders()[6] == [os.getpid()]

    assert in_child(work) == "(3, b'ore', b'before', 6, 2, True)"
    assert not backend.forked
    assert backend.locks.pins(9) == [4]


@pytest.mark.parametrize("reads_first", [False, True])
def test_a_forked_child_cannot_write_through_what_it_inherited(
    backend: FileBackend, reads_first: bool
) -> None:
    backend.locks.acquire_writer(0)

    def work() -> object:
        assert not backend.locks.writer_held()
        if reads_first:
            backend.read(0, 1)
        caught = []
        for call in (
            lambda: backend.write(0, [b"x"]),
            lambda: backend.resize(5),
            backend.sync,
            lambda: backend.locks.acquire_writer(0),
        ):
            with pytest.raises(ReadOnlyError, match="before a fork") as error:
                call()
            caught.append(error.type.__name__)
        return caught

    assert in_child(work) == str(["ReadOnlyError"] * 4)
    assert backend.size() == 0


def test_a_forked_child_notices_that_the_file_was_replaced(
    backend: FileBackend, path: Path
) -> None:
    backend.write(0, [b"old"])

    def work() -> object:
        new = path.with_name("new")
        new.write_bytes(b"new")
        new.replace(path)
        with pytest.raises(StaleHandleError, match="replaced"):
            backend.read(0, 3)
        return "refused"

    assert in_child(work) == "refused"
    assert backend.read(0, 3) == b"old"
    assert not backend.same_file()


def test_a_fork_while_another_thread_holds_a_lock_does_not_freeze_the_child(
    backend: FileBackend,
) -> None:
    memory = MemoryBackend(b"abc")
    memory.locks.acquire_writer(0)
    backend.locks._mutex.acquire()
    memory.file.mutex.acquire()
    try:

        def work() -> object:
            backend.locks.pin(3)
            memory.locks.acquire_writer(0)
            memory.write(0, [b"x"])
            return memory.read(0, 3), memory.forked

        # Nothing would end a child that hangs.
        assert in_child(lambda: (backend.read(0, 1), work())[1]) == "(b'xbc', True)"
    finally:
        backend.locks._mutex.release()
        memory.file.mutex.release()
    assert memory.read(0, 3) == b"abc"


# Finalizers


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_pin_undone_by_a_finalizer_at_any_moment_neither_hangs_nor_miscounts(
    backend: FileBackend, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = backend.locks if kind == "file" else MemoryBackend().locks
    take, free = some._take_pin, some._free_pin
    calls: list[str] = []

    def within(name: str, real: Callable[[int], None], commit: int) -> None:
        # The collector comes in while the mutex is held.
        calls.append(name)
        some.unpin(1)
        real(commit)

    for _ in range(3):
        some.pin(1)
    monkeypatch.setattr(some, "_take_pin", lambda c: within("take", take, c))
    some.pin(5)
    assert some.pins(9) == [1, 5]
    monkeypatch.setattr(some, "_free_pin", lambda c: within("free", free, c) if c == 5 else free(c))
    some.unpin(5)
    assert calls == ["take", "free"]
    assert some.pins(9) == [1]
    some.unpin(1)
    assert some.pins(9) == []


def test_pins_of_many_threads_are_counted_right(backend: FileBackend) -> None:
    def work() -> None:
        for i in range(300):
            backend.locks.pin(i % 3)
            backend.locks.unpin(i % 3)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert backend.locks.pins(9) == []
    assert backend.locks._counts == {}


# Systems that lack something


def test_without_ofd_locks_nothing_is_written_and_reading_works(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.write(0, [b"abc"])
    monkeypatch.setattr(ofd, "HAVE_OFD", False)
    monkeypatch.setattr(file, "HAVE_OFD", False)
    with pytest.raises(StorageError, match="needs open file description locks"):
        FileBackend(path, writable=True)
    reader = FileBackend(path)
    reader.locks.pin(3)
    assert reader.read(0, 3) == b"abc"
    assert reader.locks.pins(9) == []
    reader.locks.unpin(3)
    reader.close()


def test_pins_work_without_proc(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def no_proc(name: str, *args: object, **more: object) -> int:
        if str(name).startswith("/proc/"):
            raise FileNotFoundError(2, "No such file or directory", name)
        return real(name, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", no_proc)
    backend.locks.pin(3)
    assert backend.locks.pins(9) == [3]
    other = FileBackend(path)
    path.unlink()
    path.write_bytes(b"new")
    with pytest.raises(StorageError, match="replaced"):
        other.locks.pin(3)
    other.close()


def test_a_refused_lock_is_an_error_with_its_errno(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> bytes:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(ofd.fcntl, "fcntl", refuse)
    for call, told in (
        (lambda: backend.locks.acquire_writer(1), pytest.warns(KistWarning, match="others wait")),
        (lambda: backend.locks.pin(1), contextlib.nullcontext()),
        (lambda: backend.locks.pins(1), contextlib.nullcontext()),
    ):
        with told, pytest.raises(StorageError, match="No locks available") as error:
            call()
        assert error.value.errno == 37
        assert error.value.filename == str(backend.path)
    monkeypatch.undo()
    backend.locks.acquire_writer(0)
    backend.locks.pin(1)
