"""Checksums of the format: XXH3 in 128 and 64 bits, as little-endian bytes.

XXH3 detects accidents at memory speed; it is no defence against an attacker, who is met by
sealing (docs/format.md, "Checksums").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import xxhash

Buffer = bytes | bytearray | memoryview


def sum128(data: Buffer) -> bytes:
    """XXH3-128 of `data`, seed 0, 16 bytes little-endian."""
    return xxhash.xxh3_128_digest(data)[::-1]


def sum128_of(parts: Iterable[Buffer]) -> bytes:
    """XXH3-128 of the parts one after the other."""
    state = xxhash.xxh3_128()
    for part in parts:
        state.update(part)
    return state.digest()[::-1]


sum64: Final[Callable[[Buffer], int]] = xxhash.xxh3_64_intdigest
"""XXH3-64 of some bytes, seed 0. The function itself: a plane has a thousand sectors."""
