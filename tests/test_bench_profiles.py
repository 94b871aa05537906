"""The profile of steps charges time to the layer that runs."""

from __future__ import annotations

import signal
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGPROF"),
    reason="needs a timer of the processor time",
)


@pytest.fixture
def profiles(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    return import_module("bench.profiles")


def test_time_is_charged_to_the_layer_that_runs(profiles: Any) -> None:
    from kist._kernels import bits

    values = np.arange(1 << 16, dtype="i4")
    with profiles.Sampler() as sampler:
        for _ in range(100_000):
            bits.zigzag(values)
            if sampler.counts.total() >= 5:
                break
    assert sampler.counts.most_common(1)[0][0] == "NumPy kernels"


def test_each_layer_is_found_by_its_files(profiles: Any) -> None:
    found = {}

    class Code:
        def __init__(self, file: str, name: str) -> None:
            self.co_filename, self.co_name = file, name

    class Frame:
        f_back = None

        def __init__(self, file: str, name: str = "f") -> None:
            self.f_code = Code(file, name)

    for file in ("codecs/libblosc.py", "codecs/delta.py", "storage/file.py", "model/store.py"):
        found[file] = profiles._layer(Frame(f"/x/site-packages/kist/{file}"))
    assert list(found.values()) == ["Blosc2, pcodec (C)", "codecs", "system calls", "model"]
    assert profiles._layer(Frame("/x/kist/engine/pages.py", "verify_sectors")) == "checksums (C)"
    assert profiles._layer(Frame("/x/numpy/core.py")) is None


def test_a_step_is_measured_by_its_median(profiles: Any) -> None:
    calls = []
    median, n, _ = profiles.measure(lambda: calls.append(1), seconds=0.0)
    assert n == 1
    assert len(calls) == 2  # the first one warms up
    assert median >= 0
