"""Texts of kilobytes and megabytes: NumPy's casts would take many times their bytes."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kist.codecs.strings import content_of, fill, open_block, pack_block

LONG = """
import resource, sys
import numpy as np, kist
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
dtype = np.dtypes.StringDType(na_object=None)
texts = np.array(["é" * 15_000_000, None, "", "x" * 30_000_000], dtype)
with kist.open(sys.argv[1], "x") as store:
    store.create_table("t", {"text": np.repeat(texts, 1)})
    store["t"].append({"text": np.append(texts, ["short"] * 100)})
with kist.open(sys.argv[1]) as store:
    found = store["t"]["text"][:]
    assert found[:4].tolist() == texts.tolist() == found[4:8].tolist() and found[-1] == "short"
"""


def test_texts_of_megabytes_take_a_small_multiple_of_their_bytes(tmp_path: Path) -> None:
    """NumPy would take 128 times the longest: 4 GB here."""
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", LONG, str(tmp_path / "a.kist")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("n", [3, 40, 5_000])
def test_wide_texts_are_what_they_were(n: int) -> None:
    dtype = np.dtypes.StringDType(na_object=None)
    some = ["é" * 3_000, "x" * 5_000, None, "", "y" * 4_096 + "\0", "z" * 4_097, "😀" * 1_100]
    values = np.array([some[i % 7] for i in range(n)], dtype)
    content = content_of(values)
    out = np.empty(n, dtype)
    fill(open_block(pack_block(content), n), out)
    assert out.tolist() == values.tolist()
    few = np.arange(0, n, 2)
    out = np.empty(len(few), dtype)
    fill(open_block(pack_block(content), n), out, few)
    assert out.tolist() == values[few].tolist()


@pytest.mark.parametrize(("n", "letter"), [(20, "x"), (20, "é"), (40, "x")])
def test_wide_texts_take_a_few_times_their_bytes(n: int, letter: str) -> None:
    values = np.array([letter * 250_000] * n, np.dtypes.StringDType())
    size = 250_000 * len(letter.encode()) * n
    content, most = traced(lambda: content_of(values))
    assert most < 5 * size
    block = open_block(pack_block(content), n)
    out = np.empty(n, np.dtypes.StringDType())
    assert traced(lambda: fill(block, out))[1] < 3 * size
    assert (out == values).all()


def traced(call: Callable[[], Any]) -> tuple[Any, int]:
    """Return what a call gives, and the most memory that it took."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
