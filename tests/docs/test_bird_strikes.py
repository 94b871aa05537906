"""The worked example of the bird strikes, on the real file where it stands beside the project.

`test_docs.py` runs the page on the file that its first block makes. Here the same lines run on the
real one, and what they name is compared with pandas.
"""

from __future__ import annotations

import doctest
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "howto" / "bird-strikes.md"
FENCE = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def lines_of_the_page() -> str:
    """What the page runs, without the block that makes a file, and without what it prints."""
    blocks = [(match[1], match[2]) for match in FENCE.finditer(PAGE.read_text(encoding="utf-8"))]
    assert "csv.writer" in blocks[0][1]
    parser = doctest.DocTestParser()
    return "import numpy as np\nimport kist\n" + "\n".join(
        code if kind == "python" else "".join(e.source for e in parser.get_examples(code))
        for kind, code in blocks[1:]
    )


def test_the_page_says_the_same_of_the_real_file(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(shared_data / "birdstrikes.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(lines_of_the_page(), found)  # the project's own page

    frame = pd.read_csv("birdstrikes.csv", parse_dates=["Flight Date"])
    speed, cost = frame["Speed IAS in knots"], frame["Cost Total $"]
    assert found["number"] > 0
    assert len(found["speeds"]) == len(frame) == 10_000
    assert found["speeds"].mask.sum() == speed.isna().sum() == 2836
    np.testing.assert_array_equal(found["speeds"].compressed(), speed.dropna())
    assert found["n_free"] == (cost == 0).sum()
    assert found["changed"] == (cost != 0).sum()
    np.testing.assert_array_equal(found["costs"], cost.nlargest(3))

    groups = {row["species"]: row for row in found["by_species"]}
    for species, part in frame.groupby("Wildlife Species"):
        assert groups[species]["n"] == len(part)
        assert groups[species]["cost"] == part["Cost Total $"].sum()

    left = frame[cost != 0]
    back = pd.read_parquet("birds.parquet")
    assert back["cost"].tolist() == (left["Cost Total $"] * 2).tolist()
    assert back["species"].tolist() == left["Wildlife Species"].tolist()
    assert back["speed"].isna().sum() == left["Speed IAS in knots"].isna().sum()
