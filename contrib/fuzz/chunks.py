"""Chunks of Blosc2 and pcodec, mutated by the hundred thousand and decoded in child processes.

Coverage does not guide here, because the libraries are compiled without it: what counts is that
real chunks of many kinds are damaged behind a right header, and that no process dies. From the
project's folder::

    python contrib/fuzz/chunks.py 100000
"""

from __future__ import annotations

import faulthandler
import random
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
from decoders import guarded

from kist.codecs.blosc import compress, decompress_blocks
from kist.codecs.bloscchunk import LZ4, ZSTD, BloscParams
from kist.codecs.pipeline import decode
from kist.codecs.stage import Stage
from kist.errors import KistError
from kist.testing.bodies import changed

Array = np.ndarray[Any, Any]

PART = 10_000
HEADER = 32
NUMBERS = ("<i2", "<u2", "<f2", "<i4", "<u4", "<f4", "<i8", "<u8", "<f8")


def values_of(rng: random.Random, dtype: str) -> Array:
    """Values of some kind that compresses."""
    n = rng.choice((40, 300, 2000, 8192))
    make = np.random.default_rng(rng.randrange(1 << 30))
    kind = rng.randrange(4)
    if kind == 0:
        found = np.arange(n) // rng.choice((1, 3, 50))
    elif kind == 1:
        found = np.round(make.normal(size=n) * 100, 2)
    elif kind == 2:
        found = make.integers(0, rng.choice((2, 100, 30_000)), n)
    else:
        found = np.zeros(n)
    return found.astype(dtype)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Bytes with one to four changes in them."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = changed(rng, data)
    return data


def blosc(rng: random.Random) -> bool | None:
    """Decode a damaged Blosc2 chunk; None when there was nothing to damage, False if refused."""
    values = values_of(rng, rng.choice(("u1", *NUMBERS)))
    params = BloscParams(
        rng.choice((LZ4, ZSTD)), rng.choice((1, 5, 9)), rng.randrange(3), values.itemsize
    )
    chunk = compress(values, params)
    if len(chunk) >= values.nbytes:
        return None
    if rng.random() < 0.9:
        # The header as it is, but for the length: the check would refuse anything else.
        body = damaged(rng, chunk[HEADER:])
        chunk = chunk[:12] + (HEADER + len(body)).to_bytes(4, "little") + chunk[16:HEADER] + body
        if rng.random() < 0.2:
            size = rng.randrange(1, values.nbytes + 1).to_bytes(4, "little")
            chunk = chunk[:8] + size + chunk[12:]
    else:
        chunk = damaged(rng, chunk)
    n = rng.choice((1, 1, 6))
    with guarded(values.nbytes * n, np.dtype("u1")) as out:
        return _decoded(lambda: decompress_blocks([chunk] * n, out, values.nbytes, params))


def pcodec(rng: random.Random) -> bool | None:
    """The same with a pcodec file."""
    from pcodec import ChunkConfig, standalone

    values = values_of(rng, rng.choice(NUMBERS))
    level = rng.choice((0, 4, 8, 12))
    chunk = standalone.simple_compress(values, ChunkConfig(compression_level=level))
    if len(chunk) >= values.nbytes:
        return None
    block = damaged(rng, chunk)
    n = len(values)
    with guarded(n, values.dtype) as out:
        stages = (Stage(18, b""),)
        return _decoded(lambda: decode(stages, values.dtype, n, n, 0, [block], out))


def _decoded(call: Any) -> bool:
    try:
        call()
    except KistError:
        return False
    return True


WAYS = {"blosc": blosc, "pcodec": pcodec}


def child(way: str, first: int, stop: int) -> None:
    """Decode some chunks in this process and print what came of them."""
    faulthandler.enable()
    found = Counter(WAYS[way](random.Random(seed)) for seed in range(first, stop))
    print(f"{found[True]} {found[False]} {found[None]}")


def main() -> int:
    """Run all in children; gives 1 when one of them died or raised something else."""
    if sys.argv[1] == "--child":
        child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return 0
    total, broken = int(sys.argv[1]), 0
    for way in WAYS:
        counts = np.zeros(3, int)
        for first in range(0, total, PART):
            stop = min(total, first + PART)
            command = [sys.executable, __file__, "--child", way, str(first), str(stop)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                broken += 1
                print(f"{way} {first} to {stop}: exit {done.returncode}\n{done.stderr[-3000:]}")
            else:
                counts += np.array(done.stdout.split(), int)
        print(f"{way}: {counts[0]:,} decoded to something, {counts[1]:,} refused, {broken} died")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
