"""A block that would take more memory than any writer makes is refused when a part is wanted."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from kist.engine import Engine, Frame
from kist.engine.pages import MAX_BLOCK_BYTES, read_runs
from kist.errors import CorruptDataError
from kist.format import keys, layout
from kist.format.page import pack_page_head
from kist.format.values import Pointer, pack_record
from kist.storage import MemoryBackend, MemoryFile

DTYPE = np.dtype("S2048")
CONSTANT = 1


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a")
    yield engine
    engine.close()


def page_of_one_block(engine: Engine, n_values: int) -> Pointer:
    head = pack_page_head([(CONSTANT, b"x" * DTYPE.itemsize)], n_values, n_values, [b""])
    txn = engine.begin()
    (pointer,) = txn.write([Frame(layout.FRAME_PAGE, 5, 0, 0, head)])
    txn.put(keys.page(5, 0, 0), pack_record(b"", [pointer]))
    txn.commit()
    return pointer


def test_a_row_does_not_cost_a_block_of_any_size(engine: Engine) -> None:
    n_values = 1 << 30
    pointer = page_of_one_block(engine, n_values)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptDataError, match="a block of"):
            read_runs(engine.newest(), pointer, [(3, 4)], DTYPE, n_values)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("n_values", [7, MAX_BLOCK_BYTES // DTYPE.itemsize])
def test_a_row_of_a_block_of_the_usual_size_is_read(engine: Engine, n_values: int) -> None:
    pointer = page_of_one_block(engine, n_values)
    found = read_runs(engine.newest(), pointer, [(3, 4)], DTYPE, n_values)
    assert found.tolist() == [b"x" * DTYPE.itemsize]
