"""What a file holds does not reach a terminal as more than text, whatever the verb."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kist

# Renames the window, clears the screen, turns the direction of writing, ends a line.
EVIL = "x\x1b]0;owned\x07\x1b[2J\u202e\x9b31m\x7f\ny"
STRINGS = np.dtypes.StringDType()

VERBS = [
    ["ls"], ["ls", "-l"], ["ls", "-r", "--json"], ["tree"], ["tree", "--json"], ["info"],
    ["info", ":PATH"], ["attrs"], ["attrs", ":ATTR"], ["attrs", "--json"], ["cat", ":t"],
    ["cat", ":t", "--csv"], ["cat", ":t", "--json"], ["cat", ":a"], ["cat", ":k"],
    ["head", ":t"], ["head", ":k"], ["cat", ":missing"], ["check"],
    ["tail", ":t"], ["tail", ":k"], ["schema"], ["schema", "--csv"], ["stats", ":t"],
    ["stats", ":t", "--json"], ["slice", ":t", "0:2"], ["where", ":t", "n >= 0"], ["history"],
    ["history", "--json"], ["diff", "--at", "1"], ["diff", "--at", "1", "--json"],
]  # fmt: skip


def output_on_a_terminal(command: list[str]) -> str:
    """Output and errors of a command whose output is a terminal."""
    master, slave = pty.openpty()
    try:
        done = subprocess.Popen(command, stdout=slave, stderr=slave, stdin=subprocess.DEVNULL)
        os.close(slave)
        parts = []
        while True:
            try:
                part = os.read(master, 1 << 16)
            except OSError:  # how Linux says that the other side is closed
                break
            if not part:
                break
            parts.append(part)
        done.wait()
    finally:
        os.close(master)
    return b"".join(parts).decode()


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "t.kist"
    with kist.open(path, "w") as store:
        store.attrs["TITLE"] = EVIL
        store.attrs[EVIL] = EVIL
        store.attrs["many"] = 10**6000
        group = store.create_group(EVIL)
        group.attrs["TITLE"] = EVIL
        strings = np.array([EVIL, "b"], STRINGS)
        store.create_table("t", {EVIL: strings, "n": np.arange(2)}, title=EVIL)
        store["t"][EVIL].attrs[EVIL] = EVIL
        store["a"] = strings
        runs = store.create_keystore("k")
        runs[EVIL] = EVIL
        runs["many"] = [10**6000]
        with store.transaction(EVIL):
            store.attrs["n"] = 1
    return path


# All verbs in one process: each costs the import of NumPy.
RUN = """
import os, sys
from kist.cli.main import cli
os.environ["NO_COLOR"] = "1"  # colours are sequences too, and meant
for line in sys.argv[1].split(chr(0)):
    words = line.split(chr(1))
    print("VERB", words[0])
    cli(words, prog_name="kist", standalone_mode=False)
"""


def words_of(verb: list[str], path: Path) -> str:
    place = str(path)
    arguments = []
    for word in verb[1:]:
        if word == ":ATTR":
            arguments.append(EVIL)
        elif word.startswith(":"):
            place = f"{path}:{EVIL if word == ':PATH' else word[1:]}"
        else:
            arguments.append(word)
    return "\1".join([verb[0], place, *arguments])


def test_nothing_in_a_file_commands_a_terminal(store_path: Path) -> None:
    lines = "\0".join(words_of(verb, store_path) for verb in VERBS)
    # NUL cannot stand in an argument.
    run = RUN.replace("sys.argv[1]", repr(lines))
    said = output_on_a_terminal([sys.executable, "-c", run])
    assert "Traceback" not in said and said.count("VERB") == len(VERBS), said
    assert "owned" in said
    # The terminal itself makes "\r\n" of ends of lines.
    for line in said.replace("\r\n", "\n").split("\n"):
        assert line.replace("\t", "").isprintable(), repr(line)


def test_a_pipe_gets_text_as_it_is(store_path: Path) -> None:
    run = "from kist.cli.main import main; main()"
    command = [sys.executable, "-c", run, "attrs", str(store_path), EVIL]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout.decode() == EVIL + "\n"
