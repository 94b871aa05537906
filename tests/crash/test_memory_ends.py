"""Memory that ends within a step: at the n-th allocation of the interpreter, or at a limit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kist.testing import memory
from kist.testing.trials import Stage

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def test_an_allocation_that_fails_costs_at_most_its_transaction(tmp_path: Path) -> None:
    if not memory.HAVE_ALLOCATION_FAULTS:
        pytest.skip("this Python has no _testcapi")
    with Stage(tmp_path) as stage:
        report = memory.run_allocations(stage, 26)
    assert report.failures == [], str(report)
    assert report.raised["MemoryError"] > 2


def test_a_limit_of_memory_costs_at_most_the_transaction(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        report = memory.run_limits(stage, 13)
    assert report.failures == [], str(report)
