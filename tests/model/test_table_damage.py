"""Damage within a table: found where it is read, named, and nothing else is affected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.engine import pages
from kist.format import keys, layout
from kist.format.values import Pointer, pack_record, unpack_record
from kist.model.tables.stored import layout as table_layout
from kist.testing.surgery import Image

DTYPE = np.dtype([("a", "i8"), ("b", "f8"), ("s", "S6")])
N_PAGED, N_PIECE = 40_000, 2_000


@pytest.fixture
def damaged(path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = np.zeros(N_PAGED + N_PIECE, DTYPE)
    rows["a"] = rng.integers(0, 2**60, len(rows))
    rows["b"] = rng.normal(size=len(rows))
    rows["s"] = rng.choice([b"ab", b"cd", b"efgh"], len(rows))
    with kist.open(path, "w") as store:
        table: Any = store.create_table("t", rows[:N_PAGED])
        table.append(rows[N_PAGED:])
        gone = rng.random(len(rows)) < 0.4
        gone[N_PAGED:] = False
        table.delete(gone)
        table["b"][:600] = rng.normal(size=600)
        table["b"][3000:3600] = rng.normal(size=600)
    return path


def pointers(path: Path, kind: bytes) -> list[tuple[bytes, Pointer]]:
    with kist.open(path) as store:
        table: Any = store["t"]
        found = []
        for key, value in table._view().scan(*keys.whole_node(table._id)):
            if keys.kind_of(key) == kind:
                found += [(key, pointer) for pointer in unpack_record(value)[0]]
        return found


def forget() -> None:
    """Forget what this process has read before."""
    pages._heads.clear()
    table_layout.forget()


def flip(path: Path, at: int) -> None:
    """Flip a bit of the file."""
    forget()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes((byte ^ 0x40,)))


@pytest.mark.parametrize("part", ["head", "first sector", "last byte"])
@pytest.mark.parametrize("leaf", [0, 1, 2])
def test_a_damaged_page_is_named_and_other_columns_read(
    damaged: Path, leaf: int, part: str
) -> None:
    (pointer,) = [p for key, p in pointers(damaged, b"P") if keys.leaf_of(key) == leaf]
    body = pointer.offset + 128
    at = {"head": 9, "first sector": pointer.head + 3, "last byte": pointer.length - 1}[part]
    with kist.open(damaged) as store:
        expected = store["t"][:]
    flip(damaged, body + at)
    with kist.open(damaged) as store:
        table: Any = store["t"]
        name = "abs"[leaf]
        for read in (
            lambda: table[name][:],
            lambda: table[:],
            lambda: table[name][:N_PAGED:3],
            lambda: table.where(f"{name} == {name}")[:],
            lambda: list(table.blocks()),
        ):
            with pytest.raises(kist.CorruptDataError, match=f"'/t' column '{name}'") as caught:
                read()
            assert caught.value.node == "/t"
            assert caught.value.offset is not None
        for other in set("abs") - {name}:
            assert table[other][:].tobytes() == expected[other].tobytes()
        assert table[name][-100:].tobytes() == expected[name][-100:].tobytes()  # the piece
        assert not store.check().ok


@pytest.mark.parametrize("column", ["small", "rising", "word"])
def test_damage_among_pages_that_are_read_together_is_named(path: Path, column: str) -> None:
    n = 140_000
    rng = np.random.default_rng(1)
    rows = np.zeros(n, [("small", "i4"), ("rising", "i8"), ("word", "S4")])
    rows["small"] = rng.integers(0, 500, n)
    rows["rising"] = np.cumsum(rng.integers(0, 300, n))
    rows["word"] = rng.choice([b"ab", b"cd", b"efg"], n)
    with kist.open(path, "w") as store:
        store["t"] = rows
    leaf = list(rows.dtype.names or ()).index(column)
    found = [p for key, p in pointers(path, b"P") if keys.leaf_of(key) == leaf]
    assert len(found) == 3
    flip(path, found[1].offset + 128 + found[1].length - 1)  # of the last block of the second page
    end = 131_072
    questions: dict[str, Any] = {
        "small": lambda t: t.where("small < 3").count(),
        "rising": lambda t: t.where("small < 3")["rising"].sum(),
        "word": lambda t: t.group_by("word").agg("count"),
    }
    with kist.open(path) as store:
        table: Any = store["t"]
        message = f"'/t' column '{column}'.*checksum"
        with pytest.raises(kist.CorruptDataError, match=message) as caught:
            questions[column](table)
        assert caught.value.offset == found[1].offset
        with pytest.raises(kist.CorruptDataError, match=message):
            table[column][[5, end - 3, end + 9]]
        # The other pages are not touched by it, nor other sectors of this one; text has only one.
        some = [5, end + 9] if column == "word" else [5, 70_000, 66_000, end + 9]
        assert table[column][some].tobytes() == rows[column][some].tobytes()


@pytest.mark.parametrize("kind", [b"G", b"U", b"X"])
def test_a_damaged_piece_patch_or_set_is_found_where_it_is_needed(
    damaged: Path, kind: bytes
) -> None:
    found = pointers(damaged, kind)
    assert found
    _, pointer = found[0]
    flip(damaged, pointer.offset + 128 + pointer.length // 2)
    with kist.open(damaged) as store:
        table: Any = store["t"]
        with pytest.raises(kist.CorruptDataError, match="checksum"):
            table[:]
        if kind == b"G":
            assert len(table[:5_000]) == 5_000
        else:
            assert len(table["a"][-2_000:]) == 2_000
        assert not store.check().ok


def test_a_checkpoint_leaves_a_damaged_table_alone(damaged: Path) -> None:
    for _, pointer in pointers(damaged, b"G"):
        flip(damaged, pointer.offset + 128 + pointer.length // 2)
    with kist.open(damaged, "r+") as store:
        table: Any = store["t"]
        store["other"] = np.zeros(10, DTYPE)
        table.append(np.zeros(3, DTYPE))
        with pytest.warns(kist.DamageWarning):
            store._session.engine.checkpoint()
        assert len(store["other"]) == 10
        assert table["a"][-3:].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", [b"G", b"U", b"X", b"P"])
def test_a_record_that_names_no_extent_is_damage(damaged: Path, kind: bytes) -> None:
    """Its sums are right: somebody made it so."""
    image = Image(damaged.read_bytes())
    owners = [(k, v) for k, v in image.entries().items() if keys.kind_of(k) == kind]
    owners = [(key, unpack_record(value)[1]) for key, value in owners if value[:1] != b"\0"]
    if not owners:
        pytest.skip("records of this kind hold what they have")
    image.add([(layout.OP_PUT, key, pack_record(payload)) for key, payload in owners])
    image.pack_log()
    damaged.write_bytes(image.data)
    forget()
    with kist.open(damaged) as store:
        assert not store.check().ok
        with pytest.raises(kist.CorruptDataError):
            store["t"][:]
