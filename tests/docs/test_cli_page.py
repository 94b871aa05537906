"""The page of the command line says what the verbs say, and every verb has examples that parse."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import click
import pytest

from kist.cli.main import VERBS, cli

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_made_from_the_verbs() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    rendered = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))["render"]()
    assert page == rendered, "run `python docs/make_cli.py`"


def calls_of(verb: str, line: str) -> list[list[str]]:
    """Arguments of the calls of a verb in a line for a shell."""
    inner = re.search(r"\$\((.*?)\)", line)
    lexer = shlex.shlex(inner[1] if inner else line, posix=True, punctuation_chars="|>")
    lexer.whitespace_split = True
    calls: list[list[str]] = [[]]
    for word in lexer:
        if word in ("|", ">"):
            calls.append([])
        else:
            calls[-1].append(word)
    return [words[2:] for words in calls if words[:2] == ["kist", verb]]


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_examples_of_a_verb_are_ones_it_takes(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None and command.epilog is not None, "--help has examples"
    calls = [call for line in command.epilog.splitlines() for call in calls_of(verb, line.strip())]
    assert calls
    for arguments in calls:
        command.make_context(verb, arguments)  # parsed as when it is called, and not run
