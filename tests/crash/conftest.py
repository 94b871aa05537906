"""What the tests of this folder share; its workloads can be imported by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kist

FOLDER = str(Path(__file__).parent)
if FOLDER not in sys.path:
    # At the end: a module of the same name elsewhere keeps its place.
    sys.path.append(FOLDER)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Pages of a few thousand rows gain nothing from threads."""
    kist.options.n_threads = 1
    yield
    kist.options.reset()
