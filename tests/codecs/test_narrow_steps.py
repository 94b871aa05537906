"""What no writer makes, and a forged file may say: steps of nothing, and the last node."""

from __future__ import annotations

import numpy as np
import pytest

from kist.codecs.narrow import Narrow
from kist.codecs.reference import LoadedReference
from kist.format import keys


@pytest.mark.parametrize(("step", "found"), [(0, None), (2, (5, 6))])
def test_a_line_without_a_step_has_no_limits(step: int, found: tuple[int, int] | None) -> None:
    line = LoadedReference(np.dtype("u1"), np.int64(100), np.int64(step))
    page = Narrow(np.dtype("i8"), np.zeros(3, "u1"), [line], ())
    assert page.limits(110) == found


def test_all_records_of_the_last_node_have_a_range() -> None:
    first, end = keys.whole_node((1 << 64) - 1)
    assert first < first + b"\xfe" < end
    assert keys.whole_node(255) == ((255).to_bytes(8, "big"), (256).to_bytes(8, "big"))
