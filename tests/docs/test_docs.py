"""Every code block of the pages for users runs, in the order of its page.

What a fence and the comment above it mean stands in docs/README.md.
"""

from __future__ import annotations

import doctest
import gc
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kist import options

ROOT = Path(__file__).resolve().parents[2]

# Page -> blocks marked `no-run`. Each one is code that nobody checks: say why beside it.
NOT_RUN: dict[str, int] = {}

# Any other word after the fence would be a way to slip past the tests.
LANGUAGES = {
    "", "c", "console", "csv", "hex", "json", "pycon", "python", "sh", "sql", "text", "toml",
    "yaml",
}  # fmt: skip

FENCE = re.compile(
    r"^(?P<indent>[ ]*)(?P<fence>`{3,}|~{3,})(?P<language>[^\s`]*)[^\n`]*\n"
    r"(?P<body>.*?)"
    r"^[ ]*(?P=fence)[`~]*[ ]*$",
    re.MULTILINE | re.DOTALL,
)
COMMENT_ABOVE = re.compile(r"<!--\s*(?P<text>[^\n]*?)\s*-->\s*\Z")
EXPECT = re.compile(r"expect:\s*(\w+)\Z")


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    body: str
    line: int  # of the first line of the body, counted from 1
    mark: str  # text of the comment right above, or ""

    @property
    def expected(self) -> str | None:
        match = EXPECT.match(self.mark)
        return match[1] if match else None


def pages() -> list[Path]:
    # Design notes show code of ways that were rejected.
    design = ROOT / "docs" / "design"
    docs = [p for p in (ROOT / "docs").rglob("*.md") if not p.is_relative_to(design)]
    return [ROOT / "README.md", *sorted(docs)]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(text: str) -> list[Block]:
    blocks = []
    for match in FENCE.finditer(text):
        above = COMMENT_ABOVE.search(text[: match.start()])
        blocks.append(
            Block(
                match["language"],
                textwrap.dedent(match["body"]),
                text.count("\n", 0, match.start("body")) + 1,
                above["text"] if above else "",
            )
        )
    return blocks


def run_python(block: Block, names: dict[str, Any], page: str) -> None:
    # Padded, so that a traceback names the line of the page.
    code = compile("\n" * (block.line - 1) + block.body, page, "exec", dont_inherit=True)
    if block.expected is None:
        exec(code, names)
        return
    try:
        exec(code, names)
    except Exception as error:
        if type(error).__name__ != block.expected:
            raise
    else:
        pytest.fail(f"{page}:{block.line}: expected {block.expected}, nothing was raised")


def run_pycon(block: Block, names: dict[str, Any], page: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    test = doctest.DocTestParser().get_doctest(block.body, names, page, page, block.line - 1)
    assert test.examples, f"{page}:{block.line}: no example in a pycon block"
    output: list[str] = []
    result = doctest.DocTestRunner(optionflags=flags).run(
        test, out=output.append, clear_globs=False
    )
    names.update(test.globs)  # a DocTest works on a copy
    assert result.failed == 0, f"{page}:{block.line}:\n{''.join(output)}"


def run_console(block: Block, page: str) -> None:
    """Run the ``$ kist`` lines with the `kist` of this interpreter; other lines are output."""
    commands = re.findall(r"^\$ (kist\b(?:[^\n]*\\\n)*[^\n]*)", block.body, re.MULTILINE)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    expected = int(block.expected or 0)
    for command in commands:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == expected, (
            f"{page}:{block.line}: exit {done.returncode}, expected {expected}: "
            f"{command}\n{done.stdout}{done.stderr}"
        )


def run_page(text: str, page: str) -> int:
    """Run a page in the current directory, and give the number of blocks that were skipped."""
    names: dict[str, Any] = {"__name__": "__docs__"}
    skipped = 0
    try:
        for block in blocks_of(text):
            assert block.language in LANGUAGES, f"{page}:{block.line}: what is {block.language!r}?"
            assert block.language == "pycon" or not re.search("^>>> ", block.body, re.MULTILINE), (
                f"{page}:{block.line}: examples with >>> belong in a pycon block"
            )
            if block.mark == "no-run":
                skipped += 1
            elif block.language == "python":
                run_python(block, names, page)
            elif block.language == "pycon":
                run_pycon(block, names, page)
            elif block.language == "console":
                run_console(block, page)
    finally:
        # A page may leave its store open, as an interactive reader would.
        for value in reversed(list(names.values())):
            if type(value).__module__.startswith("kist.") and hasattr(type(value), "close"):
                value.close()
        names.clear()
        options.reset()
        gc.collect()
    return skipped


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_block_of_the_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    skipped = run_page(page.read_text(encoding="utf-8"), name_of(page))
    assert skipped == NOT_RUN.get(name_of(page), 0), "NOT_RUN counts the blocks that do not run"


def test_the_list_of_blocks_that_do_not_run_names_pages_that_exist() -> None:
    assert set(NOT_RUN) <= {name_of(page) for page in pages()}


def page_of(*blocks: tuple[str, str, str]) -> str:
    """A page from (comment, language, body); fences are made here, not written."""
    fence = "`" * 3
    return "\n".join(
        f"Text.\n\n{f'<!-- {mark} -->' if mark else ''}\n{fence}{language}\n{body}\n{fence}\n"
        for mark, language, body in blocks
    )


def test_blocks_share_one_namespace_in_order() -> None:
    page = page_of(
        ("", "python", "x = 1"),
        ("", "pycon", ">>> y = x + 1\n>>> y\n2"),
        ("", "text", "x = 100"),
        ("", "python", "assert (x, y) == (1, 2)"),
    )
    assert run_page(page, "p") == 0


def test_a_block_inside_a_list_runs() -> None:
    fence = "`" * 3
    page = f"- point\n\n  {fence}python\n  if True:\n      raise KeyError\n  {fence}\n"
    with pytest.raises(KeyError):
        run_page(page, "p")


@pytest.mark.parametrize(
    ("mark", "language", "body"),
    [
        ("", "python", "assert False"),
        ("", "python", "1 +"),
        ("", "pycon", ">>> 1 + 1\n3"),
        ("", "pycon", "1 + 1"),
        ("", "python", ">>> 1"),
        ("", "", ">>> 1"),
        ("", "Python", "x = 1"),
        ("", "py", "x = 1"),
        ("", "console", "$ kist --no-such-option-at-all"),
        ("expect: KeyError", "python", "x = 1"),
        ("expect: KeyError", "python", "raise ValueError"),
        ("expect: LookupError", "python", "raise KeyError"),
        ("expect: 77", "console", "$ kist --no-such-option-at-all"),
    ],
)
def test_a_wrong_block_fails(mark: str, language: str, body: str) -> None:
    with pytest.raises((Exception, pytest.fail.Exception)):
        run_page(page_of((mark, language, body)), "p")


def test_an_expected_error_is_met_and_the_page_goes_on() -> None:
    page = page_of(("expect: KeyError", "python", "x = 1\n{}['a']"), ("", "python", "assert x"))
    assert run_page(page, "p") == 0


def test_blocks_that_do_not_run_are_counted() -> None:
    wrong = ("no-run", "python", "assert False")
    assert run_page(page_of(wrong, ("", "python", "pass"), wrong), "p") == 2


def test_a_comment_marks_only_the_block_right_below_it() -> None:
    page = page_of(("no-run", "python", "pass"), ("", "python", "raise KeyError"))
    with pytest.raises(KeyError):
        run_page(page, "p")


def test_a_traceback_names_the_line_of_the_page() -> None:
    text = page_of(("", "python", "x = 1\nraise KeyError"))
    with pytest.raises(KeyError) as caught:
        run_page(text, "page.md")
    line = text.splitlines()[caught.traceback[-1].lineno]
    assert (str(caught.traceback[-1].path).endswith("page.md"), line) == (True, "raise KeyError")


def test_console_runs_commands_and_takes_other_lines_as_output() -> None:
    page = page_of(("", "console", "$ pip install kist\nassert False\n$ ls no-such-file"))
    assert run_page(page, "p") == 0
