"""How the command ends: pipes that are closed, full outputs, interrupts, streams not there.

Exit codes are those that the help names; what ends a program by a signal ends it by that signal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import kist

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and pipes of POSIX")

KIST = [sys.executable, "-m", "kist"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ends")
    with kist.open(folder / "a.kist", "w") as store:
        store.create_table("g/t", {"a": np.arange(30_000), "b": np.arange(30_000) / 7})
        store["g/t"].attrs["unit"] = "m"
        store["x"] = np.arange(20_000)
        store.tag("one")
        store["y"] = 1
    subprocess.run([*KIST, "pack", "-q", str(folder / "a.kist")], check=True)
    return folder


PRINTING = [
    "--help", "--version", "cat --help",
    "attrs a.kist:g/t", "bench a.kist --seconds 0.1", "cat a.kist:g/t", "cat a.kist:x",
    "cat a.kist:g/t --csv", "cat a.kist:g/t --json", "cat a.kist:g/t --table", "check a.kist",
    "completion bash", "convert a.kist:g/t - --format csv", "convert a.kist:g/t - --format jsonl",
    "diff a.kist --at one", "head a.kist:g/t", "history a.kist", "index a.kist:g/t",
    "info a.kist", "info --json a.kist:g/t", "ls -l a.kist", "ls -r a.kist --json",
    "pack a.kist -o -", "schema a.kist", "slice a.kist:x 0:9999", "stats a.kist:g/t",
    "tail a.kist:x", "tree a.kist", "unpack a.kist.kpk -o -", "where a.kist:g/t a>5",
]  # fmt: skip


def run(folder: Path, words: Sequence[str], **how: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*KIST, *words], cwd=folder, stderr=subprocess.PIPE, **how
    )


@pytest.mark.parametrize("words", PRINTING)
def test_an_output_that_nobody_reads_ends_it_by_the_signal_without_a_word(
    folder: Path, words: str
) -> None:
    before = sorted(os.listdir(folder))
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(folder, words.split(), stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")
    assert sorted(os.listdir(folder)) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
@pytest.mark.parametrize(
    "words",
    ["--help", "--version", "ls a.kist", "cat a.kist:g/t", "pack a.kist -o -",
     "convert a.kist:g/t - --format csv", "cat --help"],
)  # fmt: skip
def test_an_output_that_is_full_is_said(folder: Path, words: str) -> None:
    with open("/dev/full", "wb") as full:
        done = run(folder, words.split(), stdout=full)
    said = done.stderr.decode()
    assert done.returncode == 3, said
    assert said.startswith("kist: ") and "No space left on device" in said
    assert len(said.splitlines()) == 1 and "Errno" not in said


def test_what_was_begun_is_taken_back_when_the_pipe_is_closed(folder: Path) -> None:
    """A file that is written beside its place goes too."""
    code = (
        "import sys, click\n"
        "from kist.bridges.convert import beside\n"
        "from kist.cli import main, ls\n"
        "def verb(*given, **more):\n"
        "    with beside('out.bin', overwrite=False) as part:\n"
        "        open(part, 'w').close()\n"
        "        click.echo('x')\n"
        "ls.ls.callback = verb\n"
        "sys.argv = ['kist', 'ls', 'a.kist']\n"
        "main.main()\n"
    )
    before = sorted(os.listdir(folder))
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, stdout=writing, stderr=subprocess.PIPE
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "terminated"),
        (getattr(signal, "SIGHUP", signal.SIGTERM), ""),
    ],
)
def test_a_signal_ends_it_by_that_signal_and_leaves_nothing(
    folder: Path, number: signal.Signals, word: str
) -> None:
    before = sorted(os.listdir(folder))

    def usual() -> None:
        """Take the signals back that whoever runs the tests has ignored."""
        for one in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    running = subprocess.Popen(
        [*KIST, "pack", "-", "-o", "out.kpk"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=usual,
    )
    assert running.stdin is not None and running.stderr is not None
    # More than is read at once: when it is all written, a file stands beside its place.
    running.stdin.write(bytes(64 << 20))
    running.stdin.flush()
    assert [name for name in os.listdir(folder) if name.endswith(".part")]
    closing = threading.Timer(30, running.kill)  # never needed
    closing.start()
    running.send_signal(number)
    said = running.stderr.read().decode()
    running.stdin.close()
    running.stderr.close()
    assert running.wait() == -number
    closing.cancel()
    assert said.strip().startswith("kist: ") and said.strip().endswith(word)
    assert sorted(os.listdir(folder)) == before


def test_a_signal_that_was_ignored_stays_so(folder: Path) -> None:
    """As with ``nohup``."""
    running = subprocess.Popen(
        [*KIST, "pack", "-", "-o", "-"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert running.stdin is not None
    running.stdin.write(bytes(8 << 20))
    running.stdin.flush()
    running.send_signal(signal.SIGHUP)
    out, _ = running.communicate(b"end")
    assert running.returncode == 0
    assert kist.unpack(out) == bytes(8 << 20) + b"end"


def closed(words: str, streams: str, folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m kist {words} {streams}', sys.executable],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def test_streams_that_are_closed_are_no_error(folder: Path, tmp_path: Path) -> None:
    assert closed("ls a.kist", ">&-", folder) == (0, "")
    assert closed("ls a.kist", "2>&- <&-", folder) == (0, "g\nx\ny\n")
    assert closed("ls none.kist", "2>&-", folder)[0] == 3
    # Nothing that is written to a stream reaches the store that is opened next.
    copy = tmp_path / "b.kist"
    copy.write_bytes((folder / "a.kist").read_bytes())
    assert closed(f"convert a.kist:x {copy}:z", "<&- >&- 2>&-", folder)[0] == 0
    assert closed(f"check {copy}", "", folder)[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("pack none", "none: there is no such file"),
        ("unpack none.kpk", "none.kpk: there is no such file"),
        ("pack .", ".: is a folder"),
        ("pack a.kist -o no/a", "no/a: there is no folder"),
        ("convert a.kist:g/t no/a.csv", "no/a.csv: there is no folder"),
        ("convert a.kist no/a.h5", "no/a.h5: there is no folder"),
        ("convert a.kist no/b.kist", "no/b.kist: there is no folder"),
        ("repack a.kist no/b.kist", "no/b.kist: there is no folder"),
        ("backup a.kist no/b.kist", "no/b.kist': no folder"),
        ("salvage a.kist no/b.kist", "no/b.kist': no folder"),
        ("copy a.kist no/b.kist", "no/b.kist': no folder"),
    ],
)
def test_files_and_folders_that_are_not_there_are_named_as_they_were_given(
    folder: Path, words: str, said: str
) -> None:
    done = run(folder, words.split(), stdout=subprocess.PIPE)
    message = done.stderr.decode()
    assert done.returncode == 3
    assert said in message and len(message.splitlines()) == 1
    assert ".part" not in message and "Errno" not in message


def test_the_command_runs_in_any_thread(folder: Path) -> None:
    """Signals are the main thread's."""
    code = (
        "import sys, threading\n"
        "from kist.cli import main\n"
        "sys.argv = ['kist', 'ls', 'a.kist']\n"
        "thread = threading.Thread(target=main.main)\n"
        "thread.start()\n"
        "thread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert "g" in done.stdout.split() and done.stderr == ""
