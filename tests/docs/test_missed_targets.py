"""Each target that the benchmarks miss is explained, and nothing is explained that is met."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def missed() -> set[str]:
    """What the page of the benchmarks says was not reached."""
    text = (DOCS / "benchmarks.md").read_text()
    lines = text.split("## Targets\n")[1].split("\n## ")[0].splitlines()
    return {line.split("|")[1].strip() for line in lines if line.endswith("| MISSED |")}


def explained() -> set[str]:
    """The patterns of the table that says why."""
    text = (DOCS / "performance.md").read_text()
    part = text.split("## Targets that are missed, and why\n")[1].split("\n## ")[0]
    rows = [line.split("|") for line in part.splitlines() if line.startswith("| `")]
    assert all(len(row) == 6 and len(row[2]) > 10 for row in rows)
    return {found for row in rows for found in re.findall(r"`([^`]+)`", row[1])}


def test_each_target_that_is_missed_is_explained() -> None:
    patterns = explained()
    assert missed() and patterns
    alone = {name for name in missed() if not any(fnmatchcase(name, p) for p in patterns)}
    assert not alone


def test_what_is_explained_is_missed() -> None:
    names = missed()
    assert not {p for p in explained() if not any(fnmatchcase(name, p) for name in names)}


def test_each_explanation_names_steps_that_were_profiled() -> None:
    text = (DOCS / "performance.md").read_text()
    before, after = text.split("## Targets that are missed, and why\n")
    steps = {line.split("|")[1].strip() for line in before.splitlines() if line.endswith("% |")}
    rows = [line.split("|") for line in after.split("\n## ")[0].splitlines() if line[:3] == "| `"]
    named = [{step.strip() for step in row[3].split(";")} for row in rows]
    assert named and all(named)
    assert set().union(*named) <= steps


def test_the_page_counts_what_is_missed() -> None:
    text = (DOCS / "benchmarks.md").read_text()
    part = text.split("## Targets\n")[1].split("\n## ")[0]
    found = re.search(r"(\d+) met, (\d+) missed, (\d+) not measured", part)
    assert found is not None
    ends = [line.rstrip(" |").split("| ")[-1] for line in part.splitlines() if line.endswith("|")]
    counted = [ends.count(word) for word in ("met", "MISSED", "not measured")]
    assert [int(n) for n in found.groups()] == counted
