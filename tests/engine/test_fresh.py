"""Stores of one commit, made in memory: what `kist.save` writes is a store like any other."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import NodeExistsError, NodeNameError, StorageError
from kist.format.layout import DATA_OFFSET, RING_OFFSET
from kist.model import page_build

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "contrib" / "reader"))

import kist_reader

# Arrays, and values of each: in the record, in a page, both, and more than a record has room for.
SIZES = [(1, 3), (1, 5000), (15, 100), (15, 700), (300, 100), (300, 400)]


def arrays_of(n: int, size: int) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    return {f"g{k % 7}/a{k}": rng.normal(0, 0.01, size).cumsum().round(3) for k in range(n)}


@pytest.fixture(params=SIZES, ids=str)
def arrays(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What was saved to ``x.kist``."""
    found = arrays_of(*request.param)
    kist.savez(tmp_path / "x.kist", **found)
    return found


def test_it_shows_what_was_saved(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = tmp_path / "x.kist"
    in_log = path.read_bytes()[RING_OFFSET : RING_OFFSET + 4] == b"CMIT"
    assert in_log == (len(arrays) <= 15) and path.stat().st_size >= DATA_OFFSET
    with kist.load(path) as found:
        assert set(found) == set(arrays)
        for name, values in arrays.items():
            np.testing.assert_array_equal(found[name], values)


def test_who_knows_the_format_page_alone_reads_it(tmp_path: Path, arrays: dict[str, Any]) -> None:
    with kist_reader.Reader(tmp_path / "x.kist") as reader:
        for name, values in arrays.items():
            np.testing.assert_array_equal(reader.array("/" + name), values)


def test_it_is_whole_and_all_of_its_bytes_are_of_something(
    tmp_path: Path, arrays: dict[str, Any]
) -> None:
    with kist.open(tmp_path / "x.kist") as store:
        assert store.check().ok
        assert store.info["free_bytes"] < 4096


def test_it_is_written_to_as_any_other(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = tmp_path / "x.kist"
    with kist.open(path, "r+") as store:
        store["more"] = np.arange(3000.0)
        store["g0/a0"].append([7.0])
        assert store.check().ok
        store.compact()
        assert store.check().ok
    with kist.open(path) as store:
        assert store["more"][-1] == 2999 and store.check().ok
        arrays["g0/a0"] = np.append(arrays["g0/a0"], 7.0)
        for name, values in arrays.items():
            np.testing.assert_array_equal(store[name][:], values)


def test_what_cannot_be_saved_leaves_nothing(tmp_path: Path) -> None:
    for names, error in (
        (("a", "a/b"), NodeExistsError),
        (("a/b", "a"), NodeExistsError),
        (("\u00e9", "e\u0301"), NodeExistsError),
        (("/",), NodeExistsError),
        (("a//b",), NodeNameError),
    ):
        with pytest.raises(error):
            kist.savez(tmp_path / "x", **{name: [1.0] for name in names})
    (tmp_path / "d.kist").mkdir()
    with pytest.raises(StorageError, match="folder"):
        kist.save(tmp_path / "d", [1.0])
    with pytest.raises(StorageError, match="missing"):
        kist.save(tmp_path / "missing" / "x", [1.0])
    assert [found.name for found in tmp_path.iterdir()] == ["d.kist"]


def test_arrays_that_are_saved_one_by_one_are_chosen_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    plain = page_build.choose

    def choose(values: Any, *args: Any, **options: Any) -> Any:
        chosen.append(len(values))
        return plain(values, *args, **options)

    monkeypatch.setattr(page_build, "choose", choose)
    page_build._kept.clear()
    values = arrays_of(1, 5000)["g0/a0"]
    for k in range(5):
        kist.save(tmp_path / f"{k}", values)
    assert len(chosen) == 1
    kist.save(tmp_path / "other", np.random.default_rng(0).random(5000))
    assert len(chosen) == 2


@pytest.mark.parametrize(("size", "most"), [(125, 230), (5000, 500)])
def test_a_small_file_takes_few_steps(tmp_path: Path, size: int, most: int) -> None:
    values = arrays_of(1, size)["g0/a0"]
    kist.save(tmp_path / "x", values)
    n = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal n
        n += event == "call"

    old = sys.getprofile()
    sys.setprofile(count)
    try:
        kist.save(tmp_path / "x", values)
    finally:
        sys.setprofile(old)
    assert n < most
