"""Arrow's text becomes StringDType from its bytes, the same as from one `str` each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kist.errors import DTypeError
from kist.model.frames.arrow_text import text_values

pa = pytest.importorskip("pyarrow")

PIECES = ["", "a", "é", "\0", "a\0", "漢字", "x" * 15, "y" * 16, "z" * 300, None, "🧰", "end "]


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view"])
def test_text_of_arrow_is_that_of_python(kind: str) -> None:
    rng = np.random.default_rng(0)
    type_ = getattr(pa, kind)()
    for n, few in [(0, 1), (1, 12), (5, 12), (40, 3), (9000, 9), (20_000, 12), (30, 1)]:
        values = [PIECES[k] for k in rng.integers(0, few, n)]
        array = pa.array(values, type_)
        for part in (array, array.slice(n // 3), array.slice(n // 3, n // 2)):
            found = text_values(part)
            assert found.dtype == np.dtypes.StringDType(na_object=None)
            assert found.tolist() == part.to_pylist()


def test_what_stands_under_a_null_is_not_read() -> None:
    offsets = np.array([0, 2, 4, 6], "i4")
    valid = pa.py_buffer(np.array([0b101], "u1"))
    data = pa.py_buffer(b"ab\xff\xfecd")
    array: Any = pa.Array.from_buffers(
        pa.string(), 3, [valid, pa.py_buffer(offsets.tobytes()), data]
    )
    assert text_values(array).tolist() == ["ab", None, "cd"]


@pytest.mark.parametrize(
    ("ends", "data"),
    [
        ([0, 2], b"\xff\xfe"),
        ([0, 2], b"a\xc3"),
        ([0, 2, 0, 2], b"ab"),
        ([0, 1, 2], "é".encode()),
        ([0, 0, 1, 1, 2, 2], "é".encode()),
    ],
)
def test_bytes_that_are_no_text_raise(ends: list[int], data: bytes) -> None:
    offsets = pa.py_buffer(np.array(ends, "i4").tobytes())
    array = pa.Array.from_buffers(pa.string(), len(ends) - 1, [None, offsets, pa.py_buffer(data)])
    with pytest.raises(DTypeError, match="none"):
        text_values(array)
