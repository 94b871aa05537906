"""What small tasks load: modules are counted, not timed.

A fresh process that reads one small value should do little else. Each number below is what the
task needs today and a few more; a task that goes beyond pulled in something at import that a
function should import, or a package should load lazily (`kist.lazy`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kist

OPENED = """
import kist

with kist.open({path!r}) as store:
    {task}
"""
LISTED = """
import sys

sys.argv = ["kist", "ls", {path!r}]
from kist.cli.main import main

try:
    main()
except SystemExit as done:
    assert not done.code, done.code
"""
VERSION = """
import sys

sys.argv = ["kist", "--version"]
from kist.__main__ import main

main()
"""
# Task: (code, what runs in an open store, modules of kist at most, of others beside NumPy's).
TASKS = {
    "import": ("import kist", "", 1, 4),
    "open": (OPENED, "store.path", 49, 22),
    "one value of an array": (OPENED, "assert store['group/a'][2] == 2.0", 84, 24),
    "one row of a table": (OPENED, "assert store['t'][1]['n'] == 2", 102, 22),
    "kist --version": (VERSION, "", 2, 4),
    "kist ls": (LISTED, "", 60, 45),
}
# Nothing of this belongs to reading a little: what each would cost is in the comment.
NEVER = {
    "blosc2": "half a second",
    "click": "the command line",
    "concurrent.futures": "logging",
    "decimal": "",
    "hashlib": "OpenSSL",
    "pathlib": "urllib",
    "zoneinfo": "",
    "kist.codecs.choose": "writing",
    "kist.engine.writer": "writing",
    "kist.indexes": "queries",
    "kist.query.parser": "queries",
    "kist.model.tables.selection": "queries",
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("loaded") / "small.kist"
    with kist.open(path, "w") as store:
        store["group/a"] = np.arange(10.0)
        store["t"] = np.array([(1, 0.5, b"x"), (2, 1.5, b"y")], "i4,f8,S2").astype(
            [("n", "i4"), ("x", "f8"), ("s", "S2")]
        )
    return path


def loaded(code: str) -> set[str]:
    """Names of the modules that code loads beside those of NumPy and of the start."""
    asked = f"import sys, numpy\nbefore = set(sys.modules)\n{code}\n" + (
        "print('loaded:', *sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize("task", TASKS)
def test_a_small_task_loads_few_modules(task: str, file: Path) -> None:
    code, inside, most, most_others = TASKS[task]
    found = loaded(code.format(path=str(file), task=inside))
    mine = {name for name in found if name.split(".")[0] == "kist"}
    assert len(mine) <= most, sorted(mine)
    assert len(found - mine) <= most_others, sorted(found - mine)
    if task != "kist ls":
        assert not found & set(NEVER)


def test_a_short_table_is_read_without_a_codec(file: Path) -> None:
    found = loaded(OPENED.format(path=str(file), task="assert len(store['t'][:]) == 2"))
    codecs = {name for name in found if name.startswith("kist.codecs.")}
    assert codecs == {"kist.codecs.rawrows"}
    assert "kist.engine.pages" not in found


@pytest.mark.parametrize(
    "task",
    [
        "store['a'] = np.round(np.arange(5e4) / 7, 2)",
        "store.create_keystore('k')['x'] = np.arange(5e4) % 50, {'a': 1.5}",
        "t = store.create_table('t', np.ones(9, 'i4,f8,S2')); t.append(t[:3]); t[3]; t['f0'][:]",
        "t = store.create_table('t', {'x': np.arange(5e4) % 50}); t.where('x > 7').to_numpy(); "
        "t.where('x == 3').count(); t.sort_by('x')[:5]",
    ],
)
def test_writing_and_asking_load_nothing_slow(task: str, tmp_path: Path) -> None:
    code = (
        f"import numpy as np, kist\nwith kist.open({str(tmp_path / 'f')!r}, 'x') as store: {task}"
    )
    assert not loaded(code) & {"numpy.ma", "pathlib"}  # 10 and 6 ms


def test_listing_a_store_needs_no_numpy(file: Path) -> None:
    code = LISTED.format(path=str(file)) + "assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_what_a_package_loads_lazily_is_there_when_asked_for() -> None:
    from kist import engine, model, query
    from kist.model import tables

    assert tables.changes.upsert.upsert_rows.__module__ == "kist.model.tables.changes.upsert"
    assert model.history.History.__module__ == "kist.model.history"
    assert all(getattr(engine, name) for name in engine.__all__)
    assert all(getattr(query, name) for name in query.__all__)


@pytest.mark.parametrize("package", ["kist.engine", "kist.query", "kist.model.tables.changes"])
def test_a_name_that_a_package_lacks_is_an_attribute_error(package: str) -> None:
    import importlib

    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        importlib.import_module(package).nothing  # noqa: B018 - asking is the test
