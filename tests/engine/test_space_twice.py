"""Space that a hostile file names twice is damage, not a broken list of free space."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kist.engine.space import load_space
from kist.errors import CorruptDataError
from kist.format import keys
from kist.format.layout import DATA_OFFSET
from kist.format.log import Freed
from kist.format.values import pack_free, pack_waiting

Record = tuple[bytes, bytes]
END = DATA_OFFSET + 10_000


def free(offset: int, length: int) -> Record:
    return keys.free(DATA_OFFSET + offset), pack_free(length)


def waiting(offset: int, length: int) -> Record:
    return keys.waiting(1, DATA_OFFSET + offset), pack_waiting(length, 0)


def use(records: list[Record], spare: tuple[int, int] = (0, 0)) -> None:
    def scan(start: bytes, stop: bytes) -> Iterator[Record]:
        return iter([(key, value) for key, value in records if start <= key < stop])

    space = load_space(scan, END, spare, [], END)
    space.release(9, [])
    space.free_extents(), space.waiting_extents()


@pytest.mark.parametrize(
    ("records", "spare"),
    [
        ([free(0, 128), free(64, 128)], (0, 0)),
        ([free(0, 128), waiting(64, 128)], (0, 0)),
        ([free(64, 64), waiting(0, 128)], (0, 0)),
        ([waiting(0, 128), waiting(64, 64)], (0, 0)),
        ([free(0, 128)], (DATA_OFFSET, 64)),
        ([free(0, 128)], (DATA_OFFSET, 128)),
        ([free(64, 64)], (DATA_OFFSET, 256)),
        ([], (END, 64)),
        ([], (END - 64, 128)),
        ([], (DATA_OFFSET - 64, 64)),
    ],
)
def test_what_is_free_twice_is_damage(records: list[Record], spare: tuple[int, int]) -> None:
    with pytest.raises(CorruptDataError, match=r"space|spare"):
        use(records, spare)


def test_neighbours_are_no_damage() -> None:
    use([free(0, 64), waiting(64, 64), free(128, 64)], (DATA_OFFSET + 192, 64))


def test_what_is_freed_twice_is_damage() -> None:
    space = load_space(lambda a, b: iter(()), END, (0, 0), [], END)
    space.wait([Freed(DATA_OFFSET, 64, 0, 1)])
    with pytest.raises(CorruptDataError, match="twice"):
        space.wait([Freed(DATA_OFFSET, 64, 0, 2)])
