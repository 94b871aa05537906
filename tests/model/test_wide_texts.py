"""Texts of kilobytes and megabytes: NumPy's casts would take many times their bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
