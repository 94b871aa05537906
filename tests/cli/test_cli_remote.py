"""Verbs that look into a file take its address, and the others say why they do not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click.testing
import numpy as np
import pytest

import kist
from kist.cli import main
from kist.storage import attempts
from kist.testing.range_server import Fault, RangeServer

pytest.importorskip("obstore")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    monkeypatch.setattr(attempts, "FIRST_PAUSE_S", 0.0)
    monkeypatch.chdir(tmp_path)
    with kist.open("lab.kist", "w") as store:
        store["raw/t"] = np.rec.fromarrays([np.arange(50), np.arange(50) / 4], names="id,price")
    files = {"/lab.kist": Path("lab.kist").read_bytes(), "/other": b"hello" * 100}
    with RangeServer(files) as server:
        yield server


def run(*arguments: str, code: int = 0) -> str:
    done = click.testing.CliRunner().invoke(main.cli, arguments)
    assert done.exit_code == code, done.output
    return done.output


def test_verbs_that_read_take_an_address(server: RangeServer) -> None:
    url = server.url("/lab.kist")
    assert run("ls", url) == "raw\n"
    assert "table of 50 rows x 2 columns" in run("tree", url)
    assert "price" in run("head", f"{url}:raw/t")
    assert run("where", f"{url}:raw/t", "id == 7") == "id\tprice\n7\t1.75\n"
    assert "no problems found" in run("check", url)
    assert "mode            r" in run("info", url)
    assert run("stats", f"{url}:raw/t") and run("schema", url) and run("history", url)
    assert run("diff", url, "lab.kist") == ""
    run("copy", f"{url}:raw/t", "copied.kist:t")
    run("backup", url, "saved.kist")
    run("convert", f"{url}:raw/t", "t.csv")
    assert Path("t.csv").read_text().splitlines()[3] == "2,0.5"
    for name in ("copied.kist:t", "saved.kist:raw/t"):
        assert run("where", name, "id == 7") == "id\tprice\n7\t1.75\n"


def test_verbs_that_write_or_need_the_file_itself_say_so(server: RangeServer) -> None:
    url, before = server.url("/lab.kist"), sorted(Path().iterdir())
    assert "only read" in run("rm", f"{url}:raw/t", code=3)
    assert "only read" in run("convert", "lab.kist:raw/t", f"{url}:t", code=3)
    assert "download" in run("salvage", url, "out.kist", code=3)
    assert "no such file" in run("ls", server.url("/none.kist"), code=3)
    assert "not a kist store" in run("ls", server.url("/other"), code=2)
    assert "not a kist store" in run("convert", server.url("/other"), "x.npz", code=2)
    server.faults.append(Fault("status", status=403))
    assert "credentials" in run("ls", url, code=3)
    assert sorted(Path().iterdir()) == before


def test_damage_far_away_is_listed(server: RangeServer) -> None:
    data = bytearray(server.files["/lab.kist"])
    with kist.open("lab.kist") as store:
        store.backup("compact.kist", compact=True)
    data = bytearray(Path("compact.kist").read_bytes())
    data[-200] ^= 1
    server.files["/bad.kist"] = bytes(data)
    run("check", server.url("/bad.kist"), code=1)


def test_without_the_library_the_extra_is_named(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "obstore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "obstore", None)
    url = server.url("/lab.kist")
    for address in (url, "s3://example/lab.kist"):
        with pytest.raises(ImportError, match=r"read over the network.*'kist\[remote\]'"):
            kist.open(address)
    assert "pip install 'kist[remote]'" in run("ls", url, code=2)
