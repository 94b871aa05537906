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


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize("verb", ["pack", "unpack"])
def test_a_file_that_finds_no_room_is_named_and_not_left(tmp_path: Path, verb: str) -> None:
    source = tmp_path / "noise.bin"
    source.write_bytes(np.random.default_rng(0).bytes(1 << 20))
    if verb == "unpack":
        run("pack", source)
        source.unlink()
        source = tmp_path / "noise.bin.kpk"
    wanted = tmp_path / ("noise.bin.kpk" if verb == "pack" else "noise.bin")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)); "
    done = subprocess.run(
        [sys.executable, "-c", limited + KIST[2], verb, str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3 and f"kist: {wanted}: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == [source]


def test_what_is_wrong_with_packed_data_is_said_with_the_file(data: Path) -> None:
    run("pack", data)
    small = data.with_name("data.npy.kpk")
    small.write_bytes(small.read_bytes()[:-5])
    assert f"{small}: packed data end" in run("unpack", small, "-o", data.parent / "b", code=1)
    assert f"{data}: no packed data" in run("unpack", data, "-o", data.parent / "b", code=2)
    done = subprocess.run([*KIST, "unpack", "-"], input=b"junk", capture_output=True)
    assert done.returncode == 2 and b"kist: standard input: " in done.stderr
