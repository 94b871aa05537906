"""Newer columns, small commits, linked files and sealed groups, crashed at writes and syncs.

step_workloads.py holds what is done to them.
"""

from __future__ import annotations

import pytest

pytest.importorskip("cryptography")

import step_workloads
from crash_stores import check

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = (
    "newer columns, full",
    "linked files, relaxed",
    "sealed group, full",
    "small commits, full",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_crash_leaves_the_last_commit_or_the_one_in_flight(name: str) -> None:
    report = check(step_workloads.CASES[name], limit=12)
    assert report.failures == [], str(report)
    assert report.states >= 12
