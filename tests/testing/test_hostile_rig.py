"""The rig that attacks kist with hostile files: it sees what it must, and finds nothing."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kist
from kist.errors import KistError
from kist.format import keys, layout
from kist.testing import attack as rounds
from kist.testing import hostile
from kist.testing.attack import Round, attack, play
from kist.testing.bases import BASES, made
from kist.testing.forged import OUTSIDE, WAY, Forged, forge
from kist.testing.hostile import Report, run_hostile
from kist.testing.insiders import changed_inside
from kist.testing.mutations import mutate
from kist.testing.surgery import Image

pytest.importorskip("cryptography")
pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

SEEDS = 48


def base() -> bytes:
    return made("everything").data


def test_hostile_files_give_data_or_errors_of_kist() -> None:
    report = run_hostile(0, SEEDS)
    assert report.findings == []
    assert report.rounds == SEEDS and set(report.bases) == set(BASES)
    assert set(report.kinds) > {"record", "tree", "slot", "inside", "beside"}
    assert report.errors["CorruptDataError"] > SEEDS / 4


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_the_store_without_a_change_gives_data_alone(path: Path, mode: str) -> None:
    path.write_bytes(base())
    one = Round(0)
    attack(path, mode, None, one)
    assert not one.errors and one.answered > 200 and one.is_clean


@pytest.mark.parametrize("name", BASES)
def test_every_base_is_whole_and_shows_everything(tmp_path: Path, name: str) -> None:
    path = made(name).write(tmp_path)
    one = Round(0)
    attack(path, "r", None, one, BASES[name].options)
    assert one.is_clean and one.answered > 10
    if "secret" not in name:
        # Keys that are asked of every key store, a link that leads nowhere, a column of bytes.
        allowed = {"KeyNotFoundError": 6, "LinkError": 1, "QueryError": 2}
        assert not one.errors - Counter(allowed)


@pytest.mark.parametrize("name", ["sealed", "sealed store"])
@pytest.mark.filterwarnings("ignore::kist.DamageWarning")
def test_what_an_insider_changed_is_sealed_and_opens(tmp_path: Path, name: str) -> None:
    """The tags are right: what is wrong is seen behind them, or is as good as another value."""
    errors: Counter[str] = Counter()
    for seed in range(12):
        data, mutation = changed_inside(random.Random(seed), name)
        assert mutation.kind == "inside" and data
        one = Round(seed)
        path = made(name).write(tmp_path, data)
        with contextlib.suppress(KistError):
            attack(path, "r", None, one, BASES[name].options)
        errors += one.errors
    assert errors["CorruptDataError"] > 0


def test_a_hostile_file_stands_beside_what_it_may_not_open(tmp_path: Path) -> None:
    seed = next(n for n in range(100) if forge(n).made.beside)
    path = forge(seed).write(tmp_path)
    assert (path.parent / WAY).resolve() == (tmp_path / OUTSIDE).resolve()
    with kist.open(path.parent / WAY) as store:
        assert "t" in store
    assert rounds.is_foreign(str(tmp_path / OUTSIDE), path.parent)
    with kist.open(path.with_name("own.kist"), "w") as store:
        for name in (WAY, f"../{OUTSIDE}"):
            with pytest.raises(kist.LinkError):
                store.create_link("x", "t", file=name)


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
    def ask(
        store: Any, only: str | None, *, reading: bool
    ) -> Iterator[tuple[str, Callable[[], object]]]:
        yield "planted call", call

    monkeypatch.setattr(rounds, "ask", ask)
    monkeypatch.setattr(rounds, "SLOW", 1.0)
    # The unchanged store: every mutation might fail to open.
    mutation = mutate(random.Random(1), base())[1]
    whole = Forged("everything", base(), made("everything"), mutation)
    monkeypatch.setattr(rounds, "forge", lambda seed: whole)
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
