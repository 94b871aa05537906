"""`kist pack` and `kist unpack`: files, pipes, reports, and no half files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click.testing
import numpy as np
import pytest

from kist.cli import main

KIST = [sys.executable, "-c", "from kist.cli.main import main; main()"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npy"
    np.save(path, np.arange(300_000.0))
    return path


def run(*arguments: object, code: int = 0) -> str:
    done = click.testing.CliRunner().invoke(main.cli, [str(a) for a in arguments])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def test_a_file_is_packed_beside_itself_and_comes_back(data: Path) -> None:
    before = data.read_bytes()
    report = run("pack", data)
    assert f"{len(before):,} bytes of <f8" in report and "GB/s" in report
    small = data.with_name("data.npy.kpk")
    assert small.stat().st_size < len(before) / 3
    assert "exists" in run("unpack", small, code=3)
    data.unlink()
    assert run("unpack", small, "-q") == ""
    assert data.read_bytes() == before
    facts = json.loads(run("pack", data, "--overwrite", "--json", "--codec", "small"))
    assert facts["nbytes"] == len(before) and facts["nbytes_packed"] == small.stat().st_size


def test_pipes_carry_it(data: Path) -> None:
    before = data.read_bytes()
    done = subprocess.run(
        [*KIST, "pack", "-", "--codec", "zstd"], input=before, capture_output=True
    )
    assert done.returncode == 0 and done.stderr.startswith(b"-: ")
    back = subprocess.run([*KIST, "unpack", "-", "-q"], input=done.stdout, capture_output=True)
    assert (back.returncode, back.stdout, back.stderr) == (0, before, b"")
    cut = subprocess.run([*KIST, "unpack", "-"], input=done.stdout[:-1], capture_output=True)
    assert cut.returncode == 1 and cut.stderr.startswith(b"kist: ")


def test_mistakes_and_damage_leave_no_file(data: Path, tmp_path: Path) -> None:
    run("pack", data)
    small = data.with_name("data.npy.kpk")
    bad = bytearray(small.read_bytes())
    bad[len(bad) // 2] ^= 1
    small.write_bytes(bad)
    out = tmp_path / "out.npy"
    assert "checksum" in run("unpack", small, "-o", out, code=1)
    assert "no packed data" in run("unpack", data, "-o", out, code=2)
    assert "-o" in run("unpack", data, code=2)
    run("pack", tmp_path / "none", code=3)
    run("pack", data, "-o", out, "--codec", "nonsense", code=2)
    run("pack", data, "-o", out, "--dtype", "O", code=2)
    run("pack", data, "-o", tmp_path / "no" / "folder", code=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npy", "data.npy.kpk"]
