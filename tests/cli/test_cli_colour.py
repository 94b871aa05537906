"""Colours are for terminals, unless --color says otherwise; what a file holds makes none."""

from __future__ import annotations

from pathlib import Path

import click.testing
import numpy as np
import pytest

import kist
from kist.cli import main

RED, GREEN, DIM = "\x1b[31m", "\x1b[32m", "\x1b[2m"


@pytest.fixture
def file(tmp_path: Path) -> str:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["g/x"] = np.arange(3)
        store["g/x"].attrs["TITLE"] = "\x1b[31mred"
    return str(tmp_path / "a.kist")


def run(*words: str) -> str:
    done = click.testing.CliRunner().invoke(main.cli, words, color=True)
    return done.output


def test_what_goes_into_a_pipe_has_no_colours(file: str) -> None:
    for words in (["check", file], ["tree", file], ["diff", file, file], ["ls", file + "none"]):
        assert "\x1b" not in run(*words), words


def test_colours_can_be_asked_for(file: str) -> None:
    assert GREEN in run("--color", "always", "check", file)
    assert "31m\x1b[1mkist:" in run("--color", "always", "ls", file + "none")
    drawn = run("--color", "always", "tree", file)
    assert DIM in drawn and RED not in drawn and "x" in drawn
    assert "\x1b" not in run("--color", "never", "tree", file)


def test_a_terminal_gets_colours_unless_it_wants_none(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kist.cli import colour

    for name in ("stdout", "stderr"):
        monkeypatch.setattr(getattr(colour.sys, name), "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colour.wanted() and colour.wanted(err=True)
    assert colour.painted("x", fg="red").startswith(RED)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour.wanted() and colour.painted("x", fg="red") == "x"
