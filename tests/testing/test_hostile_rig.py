"""The rig that attacks kist with hostile files: it sees what it must, and finds nothing."""

from __future__ import annotations

import os
import random
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kist.format import keys, layout
from kist.testing import attack as rounds
from kist.testing import hostile
from kist.testing.attack import Round, attack, base, play
from kist.testing.hostile import Report, run_hostile
from kist.testing.mutations import KINDS, mutate
from kist.testing.surgery import Image

pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

SEEDS = 40


def test_hostile_files_give_data_or_errors_of_kist() -> None:
    report = run_hostile(0, SEEDS)
    assert report.findings == []
    assert report.rounds == SEEDS and set(report.kinds) == set(KINDS)
    assert report.errors["CorruptDataError"] > SEEDS / 4


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_the_store_without_a_change_gives_data_alone(path: Path, mode: str) -> None:
    path.write_bytes(base())
    one = Round(0)
    attack(path, mode, None, one)
    assert not one.errors and one.answered > 200 and one.is_clean


def test_a_change_of_nothing_is_believed(path: Path) -> None:
    """What the rig adds is taken for a commit, and the rest of the file still fits to it."""
    image = Image(base())
    page = image.pages()[-1]
    image.replace_page(page, page.body)
    key, value = next(iter(image.entries().items()))
    image.add([(layout.OP_PUT, key, value)])
    image.pack_log()
    path.write_bytes(image.data)
    one = Round(0)
    attack(path, "r", None, one)
    assert not one.errors and one.answered > 100
    assert image.records[-1].commit == Image(base()).records[-1].commit + 1
    assert Image(bytes(image.data)).entries() == Image(base()).entries()


def test_the_same_seed_makes_the_same_file() -> None:
    first, second = (mutate(random.Random(7), base()) for _ in range(2))
    assert first == second and first[0] != base()


def test_paths_of_nodes_are_found() -> None:
    image = Image(base())
    entries = image.entries()
    paths = {image.path_of(keys.node_of(key), entries) for key in entries}
    assert {"/", "/g/t", "/arrays/volume", "/keys-fast"} <= paths


# What the rig must see


def raises(error: type[BaseException]) -> Callable[[], object]:
    def call() -> object:
        raise error("planted")

    return call


def loops() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("call", "finding"),
    [
        (raises(struct.error), "planted call: error: planted"),
        (raises(MemoryError), "planted call: MemoryError"),
        (raises(RecursionError), "RecursionError"),
        (raises(GeneratorExit), "GeneratorExit"),
        (loops, "more than 1 s"),
        (lambda: b"x" * (rounds.MEMORY + (8 << 20)), "MiB of memory"),
    ],
)
def test_what_must_not_be_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[], object], finding: str
) -> None:
    def ask(store: Any, only: str | None) -> Iterator[tuple[str, Callable[[], object]]]:
        yield "planted call", call

    monkeypatch.setattr(rounds, "ask", ask)
    monkeypatch.setattr(rounds, "SLOW", 1.0)
    # The unchanged store: every mutation might fail to open.
    monkeypatch.setattr(
        rounds, "hostile", lambda seed: (base(), mutate(random.Random(1), base())[1])
    )
    assert finding in play(1, tmp_path).finding


CHILDREN = {
    "import os; print(5, flush=True); os.kill(os.getpid(), 11)": "ended with -11",
    "import time; print(5, flush=True); time.sleep(600)": "ended with -9",
    "print(5, flush=True); raise SystemExit('panic')": "panic",
}


@pytest.mark.parametrize("code", CHILDREN)
def test_a_child_that_dies_or_hangs_is_a_finding(code: str) -> None:
    report = Report()
    # It said which seed it had begun: the next is the one behind it.
    after = hostile.run_child([sys.executable, "-c", code], 9, report, 2.0)
    assert after == 6 and CHILDREN[code] in report.findings[0]
    assert report.findings[0].startswith("seed 5, ")


def test_a_file_that_is_opened_elsewhere_is_foreign(tmp_path: Path) -> None:
    for name in ("/etc/passwd", "/usr/share/zoneinfo/../../etc/passwd", "os.system", "x.kist"):
        assert rounds.is_foreign(name, tmp_path)
    for name in (str(tmp_path / "a.kist"), "/usr/share/zoneinfo/Europe/Paris", os.__file__):
        assert not rounds.is_foreign(name, tmp_path)
