"""Writes ``docs/cli.md`` from the verbs of the command line: ``python docs/make_cli.py``.

A test holds the page and the verbs together.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import click

from kist.cli.main import VERBS, cli

PAGE = Path(__file__).parent / "cli.md"

HEAD = """# Command line

Made from the help of the verbs by `python docs/make_cli.py`; a test compares them.
[A tour](howto/command-line.md) shows them at work.

`FILE:PATH` names a node in a file; without a path it is the root. `--at` takes a tag or a commit
number. Colours and progress are shown on a terminal only; other programs get values with tabs
between them, or what `--csv` and `--json` say.

| exit code | meaning |
|---:|---|
| 0 | all is well |
| 1 | damage, a difference or a loss was found; or `rm` was told not to |
| 2 | wrong usage, no such node, or not a store |
| 3 | the file cannot be read or written, or is locked |
"""


def _usage(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"kist {name}", max_content_width=1000)
    return " ".join([f"kist {name}", *command.collect_usage_pieces(context)])


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    value = ""
    if not option.is_flag:
        kind = option.metavar or (
            " or ".join(map(str, option.type.choices))
            if isinstance(option.type, click.Choice)
            else option.type.name.upper().replace("INTEGER RANGE", "N").replace("INTEGER", "N")
        )
        value = f" `{kind}`"
    words = option.help or ""
    if option.show_default and not option.is_flag:
        words = f"{words.rstrip('.')}; by default {option.default}."
    return f"| {names}{value} | {words} |"


def _verb(name: str) -> list[str]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    text = inspect.cleandoc(command.help or "").split("\f")[0].replace("\b\n", "")
    lines = [f"## {name}", "", f"`{_usage(name, command)}`", "", text, ""]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    if options:
        lines += ["| option | |", "|---|---|", *map(_option, options), ""]
    examples = re.findall(r"^  (\S.*)$", command.epilog or "", re.MULTILINE)
    if examples:
        lines += ["```sh", *examples, "```", ""]
    return lines


def render() -> str:
    """The whole page."""
    index = ", ".join(f"[{name}](#{name})" for name in sorted(VERBS))
    lines = [HEAD, index, ""]
    for name in sorted(VERBS):
        lines += _verb(name)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}: {PAGE.stat().st_size:,} bytes\n")
