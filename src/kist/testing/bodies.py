"""Other contents for what stands in records and extents: bytes, plain values, pages and bundles.

Nothing here knows a file; sums within a body (of sectors, of the heads of a bundle's pages) are
right in what is given back.
"""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np

from kist.errors import KistError
from kist.format.bundle import PartKind, pack_bundle_head, unpack_bundle_head
from kist.format.checksum import sum128
from kist.format.page import pack_page_head, unpack_page_head
from kist.format.plain import pack_value, unpack_value
from kist.format.sealed import Lock

__all__ = [
    "EXTREMES",
    "changed",
    "changed_bundle",
    "changed_lock",
    "changed_page",
    "changed_value",
    "number_like",
]

EXTREMES: tuple[int, ...] = (
    0,
    1,
    2,
    7,
    8,
    31,
    63,
    64,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**16,
    2**20,
    2**24,
)
EXTREMES += (2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 1)

STRINGS = np.dtypes.StringDType()
DTYPES = ("u1", "<f8", "S40", "<U1", "V3", "<M8[s]", "V0", ">i2", "?", "<c16")

ODD: tuple[Any, ...] = (
    None, True, -1, 2**70, 10**5000, 1e300, float("nan"), "", "x", "\0", "²", b"", [], {}, [[]],
    {"a": []}, (1, [2]), [2**63, 2**63], [0, 2**62], "Sparse[int]", "S1000000000", "period[D]",
    "category", "Int8", "timestamp[ns][pyarrow]", "interval", "datetime64[ns, X/Y]",
    "datetime64[ns, dateutil//etc/passwd]", "Europe/Paris", "dateutil//etc/passwd", "/etc/passwd",
    "../../../../etc/passwd", "tzlocal()", "\x1b]0;x\x07\x1b[2J", "\u202e", "fast", "pcodec",
    "../outside.kist", "way.kist", "part-0.kist", ".", "/", "**", "../**", "hostile.kist",
    "/linked", [""], ["/all"], ["part-0.kist"] * 3, bytes(16), np.full(3, 2**62), np.array([-1, 1]),
    np.zeros((7,) * 5, "V0"), np.zeros(3, STRINGS), np.zeros(0, "<U1"),
)  # fmt: skip


def number_like(rng: random.Random, old: int, bits: int) -> int:
    """An extreme number, or one near to what is there, that fits so many bits."""
    if rng.random() < 0.5:
        new = rng.choice(EXTREMES)
    else:
        new = old + rng.choice((-64, -8, -2, -1, 1, 2, 64, 100)) if rng.random() < 0.8 else old * 2
    return new % (1 << bits)


def changed(rng: random.Random, data: bytes) -> bytes:
    """Return bytes with something else in them."""
    out = bytearray(data)
    # Where the fields stand: at the begin, mostly.
    at = rng.randrange(min(len(out), rng.choice((8, 24, 64, 4096, 1 << 20))) or 1)
    kind = rng.randrange(9)
    if not out or kind == 0:
        return bytes(out[:at]) if rng.random() < 0.7 else bytes(out) + rng.randbytes(9)
    if kind == 1:
        out[at] ^= 1 << rng.randrange(8)
    elif kind == 2:
        out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    elif kind <= 5:
        code = rng.choice("HIQ")
        size = struct.calcsize(code)
        if len(out) < size:
            return bytes(out) * 2
        at = min(at, len(out) - size)
        (old,) = struct.unpack_from("<" + code, out, at)
        struct.pack_into("<" + code, out, at, number_like(rng, old, 8 * size))
    elif kind == 6:
        del out[at : at + rng.choice((1, 2, 4, 8))]
    elif kind == 7:
        out[at:at] = rng.choice((b"\0", b"\xff", b"\xff" * 9 + b"\1", bytes(8)))
    else:
        end = rng.randrange(at, len(out)) + 1
        out[at:end] = rng.randbytes(end - at) if rng.random() < 0.5 else out[at:end][::-1]
    return bytes(out)


def changed_value(rng: random.Random, payload: bytes) -> bytes:
    """Return the bytes of a plain value with something of another kind in it."""
    try:
        value = _odd(rng, unpack_value(payload))
        return pack_value(value)
    except (KistError, TypeError):
        return changed(rng, payload)


def _odd(rng: random.Random, value: Any) -> Any:
    """Return a plain value in which something is of another kind."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        if rng.random() < 0.15:
            new = rng.choice(("dtype", "levels", "names", "range", "labels", "freq", "na"))
            return {**value, new: rng.choice(ODD)}
        key = rng.choice(list(value))
        return {**value, key: _odd(rng, value[key])}
    numbers = isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.size
    if numbers and rng.random() < 0.7:
        array = value.astype("u8")
        at = rng.randrange(value.size)
        array.flat[at] = number_like(rng, int(array.flat[at]), 64)
        return array.astype(value.dtype)
    if type(value) is int and rng.random() < 0.7:
        return number_like(rng, value, 63)
    if isinstance(value, list | tuple) and value and rng.random() < 0.7:
        out = list(value)
        at = rng.randrange(len(out))
        out[at] = _odd(rng, out[at])
        return type(value)(out[: rng.choice((at + 1, len(out)))])
    return rng.choice(ODD)


def changed_lock(rng: random.Random, payload: bytes) -> bytes:
    """Return the lock of a sealed field with other slots or keys, their sums right."""
    try:
        lock = Lock.unpack(payload)
    except KistError:
        return changed(rng, payload)
    slots, names = list(lock.slots), list(lock.names)
    choice = rng.randrange(6)
    if choice <= 2 and slots:
        at = rng.randrange(len(slots))
        name = rng.choice(("kind", "log_n", "r", "p"))
        more: dict[str, Any] = {name: number_like(rng, getattr(slots[at], name), 8)}
        if choice == 1:
            more = {"label": rng.choice(("", "x" * 255, "\x1b[2J", "\u202e"))}
        elif choice == 2:
            part = rng.choice(("salt", "work_salt", "wrapped"))
            old = getattr(slots[at], part)
            more = {part: changed(rng, old)[: len(old)].ljust(len(old), b"\0")}
        slots[at] = slots[at]._replace(**more)
    elif choice == 3:
        slots = (slots * 20)[: rng.choice((0, 2, 16, 17))]
    elif choice == 4:
        names = (names * 2)[: rng.choice((0, 1, 2))]
    else:
        return lock._replace(ring=changed(rng, lock.ring)).pack()
    return lock._replace(slots=tuple(slots), names=tuple(names)).pack()


def changed_page(rng: random.Random, body: bytes, head: int) -> tuple[bytes, int]:
    """Return the body of a column page with other contents and right sums, and its head's size."""
    if rng.random() < 0.25:
        new = changed(rng, body[:head])
        return new + body[head:], len(new)
    found = unpack_page_head(body[:head], len(body))
    starts = [0, *found.ends[:-1]]
    blocks = [body[head + a : head + b] for a, b in zip(starts, found.ends, strict=True)]
    stages, n_values, block_values = list(found.stages), found.n_values, found.block_values
    choice = rng.randrange(6)
    at = rng.randrange(len(stages)) if stages else 0
    if choice == 0 and stages:
        stages[at] = stages[at][0], changed(rng, stages[at][1])
    elif choice == 1 and stages:
        number = rng.choice((1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 0, 65_535))
        stages[at] = number, stages[at][1]
    elif choice == 2 and stages:
        stages.insert(at, rng.choice(stages))
        stages += [stages[0]] * rng.choice((0, 0, 9, 200))
        stages = stages[:250]
    elif choice == 3:
        n_values = number_like(rng, n_values, 48)
        if rng.random() < 0.7:
            block_values = max(1, -(-n_values // max(len(blocks), 1)))
    elif blocks:
        place = rng.randrange(len(blocks))
        # Three times, because compressed bytes forgive little ones.
        for _ in range(rng.choice((1, 1, 3))):
            blocks[place] = changed(rng, blocks[place])
        if choice == 5 and len(blocks) > 1:
            blocks[place], blocks[0] = blocks[0], blocks[place]
    try:
        new = pack_page_head(stages, n_values, block_values, blocks)
    except struct.error:
        return body, head
    return new + b"".join(blocks), len(new)


def changed_bundle(rng: random.Random, body: bytes, head: int) -> tuple[bytes, int]:
    """Return the body of a bundle with other contents and right sums."""
    chance = rng.random()
    if chance < 0.3:
        new = changed(rng, body[:head])
        return new + body[head:], len(new)
    bundle = unpack_bundle_head(body[:head], len(body))
    plain, pages = bundle.plain, []
    target = rng.randrange(len(bundle.parts)) if chance < 0.75 else -1
    for number, part in enumerate(bundle.parts):
        entries = []
        chosen = rng.randrange(len(part.pages))
        for at, (begin, page) in enumerate(part.places()):
            data, size = body[begin : begin + page.length], page.head
            if number == target and at == chosen:
                data, size = changed_page(rng, data, size)
            entries.append(page._replace(length=len(data), head=size, sum=sum128(data[:size])))
            pages.append(data)
        part.pages = entries
    if target < 0:
        part = rng.choice(bundle.parts)
        choice = rng.randrange(5)
        if choice == 0:
            part.shape = tuple(rng.choice((0, 1, n, n + 1, 2**40)) for n in part.shape)
        elif choice == 1 and part.kind == PartKind.ARRAY:
            part.dtype = np.dtype(rng.choice(DTYPES)) if rng.random() < 0.8 else STRINGS
        elif choice == 2:
            part.kind = rng.choice(list(PartKind))
        elif choice == 3:
            plain = changed(rng, plain)
        else:
            part.page_values = rng.choice((1, 2, part.page_values + 1, 2**20, 2**26))
    new = pack_bundle_head(plain, bundle.parts)
    out, size = [new], len(new)
    for data in pages:
        out += [bytes(-size % 64), data]
        size += -size % 64 + len(data)
    return b"".join(out), len(new)
