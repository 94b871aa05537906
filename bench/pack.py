"""``python -m bench.pack``: `kist pack` of an NPY file beside Blosc2 on the same bytes.

Both read the file and write the packed bytes to another, with two threads and the same codec;
neither syncs. Blosc2 is given the whole buffer at once (`blosc2.compress2`), without checksums.
The folder should be in memory (``/dev/shm``): disks would hide what is compared.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import blosc2
import numpy as np

import kist
from kist.model.packing import pack_stream

_REPEATS = 7
_CODECS = {"lz4+shuffle": blosc2.Codec.LZ4, "zstd+shuffle": blosc2.Codec.ZSTD}


def with_blosc2(source: Path, target: Path, codec: blosc2.Codec) -> tuple[float, float]:
    """Return seconds of all, and of compressing alone."""
    begun = time.perf_counter()
    data = source.read_bytes()
    read = time.perf_counter()
    packed = blosc2.compress2(
        data,
        codec=codec,
        clevel=5,
        filters=[blosc2.Filter.SHUFFLE],
        filters_meta=[0],
        typesize=8,
        nthreads=2,
    )
    made = time.perf_counter()
    target.write_bytes(packed)
    return time.perf_counter() - begun, made - read


def with_kist(source: Path, target: Path, codec: str) -> float:
    """Return seconds of all."""
    begun = time.perf_counter()
    with open(source, "rb", buffering=0) as stream, open(target, "wb") as packed:
        pack_stream(stream, packed, codec)
    return time.perf_counter() - begun


def main(folder: Path, n: int = 16_000_000) -> None:
    """Print a table: medians of interleaved runs."""
    kist.options.n_threads = 2
    rng = np.random.default_rng(0)
    steps = rng.normal(size=n)
    values = {"walk": steps.cumsum(), "whole steps": rng.integers(0, 100, n).cumsum()}
    print("values        codec         kist ms  Blosc2 ms  ratio  compress2 alone  bytes")
    for name, array in values.items():
        source = folder / "values.npy"
        np.save(source, array)
        for spec, codec in _CODECS.items():
            ours, theirs, alone = [], [], []
            for _ in range(_REPEATS):
                ours.append(with_kist(source, folder / "kist", spec))
                whole, part = with_blosc2(source, folder / "blosc2", codec)
                theirs.append(whole)
                alone.append(part)
            k, b, a = (statistics.median(some) * 1e3 for some in (ours, theirs, alone))
            sizes = [(folder / file).stat().st_size / 1e6 for file in ("kist", "blosc2")]
            print(
                f"{name:13} {spec:13} {k:7.0f} {b:10.0f} {k / b:6.2f} {a:16.0f}"
                f"  {sizes[0]:.1f} and {sizes[1]:.1f} MB"
            )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as made:
        main(Path(made))
