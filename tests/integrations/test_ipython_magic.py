"""`%load_ext kist` and `%kist` in IPython: variables go out and come back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

pytest.importorskip("IPython")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("HOME", str(tmp_path))
    config = Config()
    config.HistoryManager.enabled = False  # it would leave a database open
    made = InteractiveShell(user_ns={}, config=config)
    made.run_line_magic("load_ext", "kist")
    yield made
    made.restore_sys_module_state()


def test_variables_are_stored_and_loaded(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.user_ns.update(x=np.arange(6).reshape(2, 3), y=["a", 1])
    shell.run_line_magic("kist", "store x y")
    assert capsys.readouterr().out == "stored x (int64 (2, 3))\nstored y (list ['a', 1])\n"
    del shell.user_ns["x"], shell.user_ns["y"]
    shell.run_line_magic("kist", "load x")
    assert np.array_equal(shell.user_ns["x"], np.arange(6).reshape(2, 3))
    assert "y" not in shell.user_ns
    shell.run_line_magic("kist", "load")
    assert shell.user_ns["y"] == ["a", 1]
    capsys.readouterr()
    shell.run_line_magic("kist", "ls")
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["x", "int64"],
        ["y", "list"],
    ]
    shell.run_line_magic("kist", "rm x")
    shell.run_line_magic("kist", "ls")
    assert "int64" not in capsys.readouterr().out


def test_another_file_can_be_named(shell: Any, tmp_path: Path) -> None:
    shell.user_ns["x"] = 5
    shell.run_line_magic("kist", f"file '{tmp_path}/my work.kist'")
    shell.run_line_magic("kist", "store x")
    with kist.shelf(tmp_path / "my work.kist", "r", name="variables") as kept:
        assert dict(kept) == {"x": 5}


@pytest.mark.parametrize("line", ["store nope", "load x", "rm x", "what", "", "store shell"])
def test_mistakes_are_one_line_and_store_nothing(shell: Any, line: str) -> None:
    from IPython.core.error import UsageError

    shell.user_ns["shell"] = object()
    magic = shell.find_line_magic("kist")
    with pytest.raises(UsageError, match="kist"):
        magic(line)
    path = os.path.join(shell.profile_dir.location, "kist", "variables.kist")
    if os.path.exists(path):
        with kist.shelf(path, "c", name="variables") as kept:
            assert len(kept) == 0


def test_frames_and_series_come_back_as_they_were(
    shell: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd = pytest.importorskip("pandas")
    made = {
        "df": pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=["p", "q"]),
        "named": pd.Series([1.5, 2.5], name="s", index=[3, 4]),
        "bare": pd.Series(pd.Categorical(["u", "v"])),
        "x": np.arange(3),
    }
    shell.user_ns.update(made)
    shell.run_line_magic("kist", "store df named bare x")
    assert capsys.readouterr().out.splitlines()[0] == ("stored df (frame of 2 rows, columns a, b)")
    for name in made:
        del shell.user_ns[name]
    shell.run_line_magic("kist", "load")
    pd.testing.assert_frame_equal(shell.user_ns["df"], made["df"])
    pd.testing.assert_series_equal(shell.user_ns["named"], made["named"])
    pd.testing.assert_series_equal(shell.user_ns["bare"], made["bare"])
    capsys.readouterr()
    shell.run_line_magic("kist", "store")  # lists, as %store does
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == sorted(made)
    # What is kept under a name is the newest of it, of whatever kind.
    shell.user_ns.update(df=5, x=made["df"])
    shell.run_line_magic("kist", "store df x")
    shell.run_line_magic("kist", "load df x")
    assert shell.user_ns["df"] == 5
    pd.testing.assert_frame_equal(shell.user_ns["x"], made["df"])
    shell.run_line_magic("kist", "rm x df")
    capsys.readouterr()
    shell.run_line_magic("kist", "ls")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["bare", "named"]


def test_of_what_cannot_be_kept_nothing_is(shell: Any) -> None:
    from IPython.core.error import UsageError

    shell.user_ns.update(a=1, b=object())
    with pytest.raises(UsageError, match="'b'"):
        shell.run_line_magic("kist", "store a b")
    with pytest.raises(UsageError, match="nothing is kept as a"):
        shell.run_line_magic("kist", "load a")


def test_frames_of_polars_come_back(shell: Any) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": [1, None], "b": ["x", "y"]})
    shell.user_ns["frame"] = frame
    shell.run_line_magic("kist", "store frame")
    shell.run_line_magic("kist", "load frame")
    assert shell.user_ns["frame"].equals(frame) and shell.user_ns["frame"].schema == frame.schema
