"""Of a page with a damaged sector the other sectors are saved, whatever the column holds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.format import keys
from kist.format.layout import FRAME
from kist.format.values import unpack_record
from kist.model.salvage import boxes

N = 60_000
TEXT: Any = np.dtypes.StringDType(na_object=None)


def columns() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    words = np.array([f"word {n}" for n in rng.integers(0, 40_000, N)], TEXT)
    words[::97] = None
    return {
        "noise": rng.normal(size=N),
        "walk": np.cumsum(rng.integers(-3, 4, N)).astype("i8"),
        "price": np.round(rng.normal(100, 5, N), 2),
        "cube": rng.integers(0, 1 << 15, (N, 2, 3)).astype("i2"),
        "name": rng.integers(0, 9_999, N).astype("S6"),
        "few": np.resize(np.array(["red", "green", "blue"], TEXT), N),
        "words": words,
        "flag": rng.random(N) < 0.3,
        "gaps": np.ma.MaskedArray(rng.integers(0, 1000, N), rng.random(N) < 0.1),
        "when": np.datetime64("2026-01-01", "s") + np.cumsum(rng.integers(0, 9, N)),
        "one": np.full(N, 7),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("salvage") / "whole.kist"
    values = columns()
    with kist.open(path, "w") as store:
        store.create_table("t", values)
    return path, values


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes((byte[0] ^ 0x41,)))


def pages(path: Path) -> list[tuple[int, int]]:
    """Where the bodies of pages are: (first byte, bytes)."""
    with kist.open(path) as store:
        table: Any = store["t"]
        found = table._view().scan(*keys.whole_node(table._id))
        pointers = [p for k, v in found if keys.kind_of(k) == b"P" for p in unpack_record(v)[0]]
    return [(p.offset + FRAME.size, p.length) for p in pointers if p.length > 200]


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_rows_that_are_not_told_as_lost_are_what_they_were(
    made: tuple[Path, dict[str, Any]], tmp_path: Path, seed: int, deleted: bool
) -> None:
    path, values = made
    broken, out = tmp_path / "broken.kist", tmp_path / "out.kist"
    broken.write_bytes(path.read_bytes())
    kept = np.ones(N, bool)
    if deleted:
        kept[100:9_000:3] = False
        with kist.open(broken, "r+") as store:
            store["t"].delete(np.flatnonzero(~kept))
    rng = random.Random(seed)
    for start, length in rng.sample(pages(broken), 8):
        flip(broken, start + rng.randrange(length))
    report = kist.salvage(broken, out)
    lost = {name: np.zeros(int(kept.sum()), bool) for name in values}
    for loss in report.losses:
        assert loss.node == "/t" and loss.rows is not None
        for name in [loss.column] if loss.column else values:
            assert name is not None
            lost[name.split(".")[0]][slice(*loss.rows)] = True
    assert any(found.any() for found in lost.values())
    with kist.open(out) as store:
        assert store.check().ok
        for name, expected in values.items():
            found, wanted = store["t"][name][:], expected[kept]
            whole = ~lost[name]
            assert found[whole].tolist() == wanted[whole].tolist(), name
    # Less is lost than all rows of the pages that were hit.
    hit = [found for found in lost.values() if found.any()]
    assert min(float(found.mean()) for found in hit) < 0.5


def arrays() -> dict[str, tuple[Any, dict[str, Any]]]:
    rng = np.random.default_rng(4)
    return {
        "cube": (rng.normal(size=(90, 100, 70)).astype("f4"), {"fill_value": -1.0}),
        "planes": (
            rng.integers(0, 1 << 14, (40, 300, 200)).astype("i2"),
            {"chunks": (7, 300, 200)},
        ),
        "line": (np.cumsum(rng.integers(-3, 4, 400_000)), {"codec": "none"}),
        "texts": (np.array([f"word {n}" for n in rng.integers(0, 9999, 90_000)], TEXT), {}),
        "tall": (np.arange(9000 * 600).reshape(9000, 600), {"chunks": (9000, 600)}),
        "records": (np.ones((300, 400), [("a", "<f4"), ("b", "<i8")]), {"codec": "lz4"}),
    }


@pytest.mark.parametrize("most", [256, 1])
@pytest.mark.parametrize("name", ["cube", "planes", "line", "texts", "records", "tall"])
def test_of_a_damaged_chunk_the_whole_blocks_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    monkeypatch.setattr(boxes, "_MOST_BOXES", most)
    values, options = arrays()[name]
    path, out = tmp_path / "broken.kist", tmp_path / "out.kist"
    with kist.open(path, "w") as store:
        store.create_array("a", values, **options)
        array: Any = store["a"]
        chunk = int(np.prod(array.chunks))
        found = array._view().scan(*keys.whole_node(array._id))
        places = [
            (pointer.offset + FRAME.size, pointer.length)
            for key, value in found
            if keys.kind_of(key) == b"C"
            for pointer in unpack_record(value)[0]
        ]
    rng = random.Random(name)
    if name == "tall":  # a chunk of two segments
        assert len(places) == 2
        places = places[-1:]
    for start, length in rng.sample(places, min(2, len(places))):
        flip(path, start + length - rng.randrange(1, length // 2))
    report = kist.salvage(path, out)
    lost = np.zeros(values.shape, bool)
    for loss in report.losses:
        assert loss.node == "/a" and loss.region is not None and loss.rows == loss.region[0]
        lost[tuple(slice(*part) for part in loss.region)] = True
    assert lost.any()
    with kist.open(out) as store:
        assert store.check().ok
        saved = store["a"][...]
        assert saved.shape == values.shape and (saved[~lost] == values[~lost]).all()
        fill = store["a"].fill_value
        if most > 1:
            assert (saved[lost] == fill).all()
    if most == 1:  # one box around all that is lost of a segment
        assert len(report.losses) <= 2
        return
    # The chunks that were hit hold more than what is lost.
    assert lost.sum() < 0.6 * min(2, len(places)) * min(chunk, values.size)


@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
def test_damage_in_what_a_smaller_shape_has_cut_off_loses_nothing(
    tmp_path: Path, part: float
) -> None:
    values = np.random.default_rng(4).normal(size=(90, 100, 70)).astype("f4")
    path, out = tmp_path / "broken.kist", tmp_path / "out.kist"
    with kist.open(path, "w") as store:
        array: Any = store.create_array("a", values, chunks=values.shape, fill_value=-1.0)
        array.resize((20, 100, 70))
        found = dict(array._view().scan(*keys.whole_node(array._id)))
        records = [value for key, value in found.items() if keys.kind_of(key) == b"C"]
        [pointer] = [pointer for value in records for pointer in unpack_record(value)[0]]
    flip(path, pointer.offset + FRAME.size + int(part * pointer.length))
    report = kist.salvage(path, out)
    assert bool(report.losses) == (part < 0.2)
    lost = np.zeros((20, 100, 70), bool)
    for loss in report.losses:
        assert loss.region is not None
        lost[tuple(slice(*box) for box in loss.region)] = True
    assert lost.mean() < 0.5
    with kist.open(out) as store:
        assert store.check().ok
        assert np.array_equal(store["a"][...], np.where(lost, -1.0, values[:20]).astype("f4"))


def test_boxes_are_joined_along_the_last_axis_only() -> None:
    lost: list[boxes.Box] = []
    for box in (
        ((0, 4), (0, 8)),
        ((0, 4), (8, 16)),
        ((4, 8), (16, 24)),
        ((4, 8), (32, 40)),
    ):
        boxes._add(lost, box)
    assert lost == [((0, 4), (0, 16)), ((4, 8), (16, 24)), ((4, 8), (32, 40))]
