"""``kist salvage`` and the exit codes of ``kist check``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import kist
from kist.cli.main import cli


@pytest.fixture
def damaged(path: Path) -> Path:
    with kist.open(path, "x") as store:
        store["t"] = np.zeros(70_000, [("a", "i8")])
        store["x"] = np.random.default_rng(0).normal(size=9000)
    data = bytearray(path.read_bytes())
    at = max(range(0x44000, len(data), 64), key=lambda at: (data[at : at + 4] == b"NPAG", at))
    data[at + 5000] ^= 1
    path.write_bytes(data)
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [str(a) for a in arguments])
    return result.exit_code, result.output


def test_check_ends_with_0_1_2_or_3(damaged: Path, tmp_path: Path) -> None:
    with kist.open(tmp_path / "good.kist", "x") as store:
        store["a"] = 1
    (tmp_path / "text").write_bytes(b"text")
    assert run("check", tmp_path / "good.kist")[0] == 0
    code, output = run("check", damaged)
    assert code == 1
    assert "/x" in output
    assert run("check", tmp_path / "text")[0] == 2
    assert run("check")[0] == 2
    assert run("check", tmp_path / "nowhere")[0] == 3
    headless = tmp_path / "headless.kist"
    headless.write_bytes(bytes(8) + damaged.read_bytes()[8:])
    assert run("check", headless)[0] == 1  # its other header is enough to open it
    headless.write_bytes(bytes(0x1000) + b"x" * 0x2000 + damaged.read_bytes()[0x3000:])
    assert run("check", headless)[0] == 1  # no slot: it cannot be opened


def test_salvage_says_what_is_missing(damaged: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.kist"
    code, output = run("salvage", damaged, out)
    assert code == 1
    assert "'/x'" in output
    assert "1 loss" in output
    with kist.open(out) as store:
        assert len(store["t"]) == 70_000
    code, output = run("salvage", damaged, tmp_path / "again.kist", "--json")
    found = json.loads(output)
    assert code == 1
    assert found["losses"][0]["node"] == "/x"
    assert found["losses"][0]["region"] == [[0, 8192]]  # the block that is damaged
    assert run("salvage", damaged, out)[0] == 3
    code, output = run("salvage", out, tmp_path / "third.kist")
    assert code == 0
    assert "0 losses" in output
