"""Column pages: the page head, stages and blocks."""

from __future__ import annotations

import struct
from typing import Any

import blosc2
import numpy as np
import pcodec.standalone
import xxhash
from kist_types import Array, Cursor, Damage, Leaf, Unknown

CONSTANT, RUNS, DICTIONARY, REFERENCE, DELTA, ZIGZAG, DECIMAL = range(1, 8)
PLAIN, BLOSC2, PCODEC, STRINGS, STRING_DICTIONARY, RAGGED = 16, 17, 18, 19, 20, 21
CODECS = frozenset({CONSTANT, RUNS, PLAIN, BLOSC2, PCODEC, STRINGS, RAGGED})
ENCODINGS = frozenset({DICTIONARY, REFERENCE, DELTA, ZIGZAG, DECIMAL, STRING_DICTIONARY})

Form = np.dtype[Any]


def form_of(leaf: Leaf) -> Form:
    """The form of the values of a leaf."""
    kind, itemsize = leaf.kind, leaf.dtype.itemsize
    if kind == 1:
        return np.dtype("<u1")
    if kind in (2, 3) or (kind == 4 and itemsize <= 8):
        return leaf.dtype.newbyteorder("<")
    if kind in (6, 7):
        return np.dtype("<i8")
    return np.dtype(f"V{itemsize}")


def from_little(values: Array, leaf: Leaf) -> Array:
    """Little-endian items, seen as the dtype of the leaf, bit for bit."""
    if leaf.kind == 1 and values.size and values.view(np.uint8).max() > 1:
        raise Damage("bool that is neither 0 nor 1")
    if leaf.dtype.itemsize == 0:
        return np.zeros(values.shape, leaf.dtype)
    little = np.ascontiguousarray(values).view(leaf.dtype.newbyteorder("<"))
    return little.byteswap().view(leaf.dtype) if leaf.big else little


def width_type(form: Form, letter: str) -> Form:
    """The form of the same width and another letter."""
    return np.dtype(f"<{letter}{form.itemsize}")


def check_chunk(chunk: bytes, size: int, compressor: int, filt: int, typesize: int) -> None:
    """Compare the header of a C-Blosc2 chunk before C-Blosc2 sees it."""
    if len(chunk) < 32:
        raise Damage("Blosc2 chunk: too short")
    version, _, flags, types, nbytes, blocksize, cbytes = struct.unpack("<BBBBiii", chunk[:16])
    special = chunk[31]
    good = (
        version == 5
        and flags & ~0x10 == 0x05 + {1: 1, 5: 4}[compressor] * 0x20
        and types == typesize
        and nbytes == size
        and 1 <= blocksize <= nbytes
        and cbytes == len(chunk)
        and chunk[16:22] == bytes([0, 0, 0, 0, 0, filt])
        and chunk[22] == compressor
        and chunk[23:31] == bytes(8)
        and (special == 0 or (special == 0x10 and cbytes == 32))
    )
    if not good:
        raise Damage("Blosc2 chunk: header")


def unblosc(chunk: bytes, size: int, compressor: int, filt: int, typesize: int) -> bytes:
    """Decompress a C-Blosc2 chunk after checking its header."""
    check_chunk(chunk, size, compressor, filt, typesize)
    out = bytearray(size)
    try:
        blosc2.decompress2(chunk, dst=out)
    except (RuntimeError, ValueError, TypeError) as error:
        raise Damage(f"Blosc2 chunk: {error}") from error
    return bytes(out)


class Page:
    """A column page: head verified, sectors verified when read."""

    def __init__(self, body: bytes, head: int) -> None:
        """*body* is that of an NPAG frame; its first *head* bytes were verified."""
        cursor = Cursor(body[:head], "page head")
        if cursor.take(2) != b"KP":
            raise Damage("page head: magic")
        version, n_stages = cursor.all("BB")
        if version != 1:
            raise Unknown(f"page of version {version}")
        self.n_values, self.block_values = cursor.all("QI")
        self.n_blocks, self.sector_blocks, self.n_sectors = cursor.all("III")
        if not 1 <= n_stages <= 8:
            raise Damage("page head: number of stages")
        self.stages = [(cursor.get("H"), cursor.take(cursor.get("I"))) for _ in range(n_stages)]
        self.ends = [int(end) for end in cursor.array("<u8", self.n_blocks)]
        self.sums = [int(item) for item in cursor.array("<u8", self.n_sectors)]
        padding = cursor.rest()
        if len(padding) >= 64 or any(padding):
            raise Damage("page head: bytes behind the sums")
        self.stored = body[head:]
        for number, per, parts in (
            (self.n_values, self.block_values, self.n_blocks),
            (self.n_blocks, self.sector_blocks, self.n_sectors),
        ):
            if (per == 0 and number) or (-(-number // per) if per else 0) != parts:
                raise Damage("page head: counts")
        if any(a > b for a, b in zip([0, *self.ends], self.ends, strict=False)):
            raise Damage("page head: ends of blocks")
        if (self.ends[-1] if self.ends else 0) != len(self.stored):
            raise Damage("page: length")
        self._check_stages()

    @classmethod
    def inner(cls, stages: list[tuple[int, bytes]], stored: bytes, n: int) -> Page:
        """A page within a block: it has one block of its own, and no sums."""
        page = cls.__new__(cls)
        page.n_values = page.block_values = n
        page.n_blocks, page.sector_blocks, page.n_sectors = 1, 1, 0
        page.stages, page.stored, page.ends, page.sums = stages, stored, [len(stored)], []
        if not 1 <= len(stages) <= 8:
            raise Damage("inner page: number of stages")
        page._check_stages()
        return page

    def _check_stages(self) -> None:
        for place, (ident, _) in enumerate(self.stages):
            if ident not in CODECS | ENCODINGS:
                raise Unknown(f"stage {ident}")
            if (ident in CODECS) != (place == len(self.stages) - 1):
                raise Damage("page head: stage in the wrong place")

    def verify(self) -> None:
        """Compare the sums of all sectors."""
        for i, expected in enumerate(self.sums):
            first = i * self.sector_blocks
            last = min(first + self.sector_blocks, self.n_blocks)
            start = self.ends[first - 1] if first else 0
            if xxhash.xxh3_64_intdigest(self.stored[start : self.ends[last - 1]]) != expected:
                raise Damage(f"sector {i} of a page")

    def span(self, block: int) -> tuple[int, int]:
        """The values of a block: from, to."""
        start = block * self.block_values
        return start, min(start + self.block_values, self.n_values)

    def decode(self, form: Form) -> Array:
        """All values of the page in the given form."""
        self.verify()
        if {STRINGS, STRING_DICTIONARY, RAGGED} & {ident for ident, _ in self.stages}:
            raise Damage("page: stages of strings or cells for values of fixed width")
        if form.itemsize == 0:
            if self.stored or [ident for ident, _ in self.stages] != [PLAIN]:
                raise Damage("page of empty items")
            return np.zeros(self.n_values, form)
        steps: list[tuple[Any, Form]] = []
        for ident, params in self.stages[:-1]:
            step = ENCODERS[ident](self, form, Cursor(params, f"parameters of stage {ident}"))
            steps.append((step, form))
            form = step.form
        values = self._codec(form)
        for step, before in reversed(steps):
            values = step.undo(self, values, before)
        return values

    def _codec(self, form: Form) -> Array:
        ident, params = self.stages[-1]
        cursor = Cursor(params, f"parameters of stage {ident}")
        if ident in (CONSTANT, RUNS) and self.stored:
            raise Damage("page: stored bytes where none belong")
        if ident == CONSTANT:
            item = cursor.array(form, 1)
            cursor.end()
            return item[np.zeros(self.n_values, np.int64)]
        if ident == RUNS:
            count = cursor.get("I")
            ends, items = cursor.array("<u4", count), cursor.array(form, count)
            cursor.end()
            lengths: Array = ends.astype(np.int64)
            lengths[1:] -= lengths[:-1].copy()
            if not count or (lengths <= 0).any() or ends[-1] != self.n_values:
                raise Damage("page: ends of runs")
            numbers: Array = np.repeat(np.arange(count), lengths)
            return items[numbers]
        compressor = filt = typesize = 0
        if ident == BLOSC2:
            compressor, filt, typesize = cursor.all("BBB")
            if compressor not in (1, 5) or filt > 2:
                raise Unknown("compressor or filter of a page")
            if typesize != (form.itemsize if form.itemsize <= 255 else 1):
                raise Damage("page: typesize")
        cursor.end()
        if ident == PCODEC and not (form.kind in "iuf" and form.itemsize in (2, 4, 8)):
            raise Damage("page: pcodec of this form")
        out = np.empty(self.n_values, form)
        start = 0
        for block, end in enumerate(self.ends):
            a, b = self.span(block)
            stored, start = self.stored[start:end], end
            size = (b - a) * form.itemsize
            if len(stored) > size or (ident == PLAIN and len(stored) != size):
                raise Damage("page: length of a block")
            if len(stored) == size:
                out[a:b] = np.frombuffer(stored, form)
            elif ident == BLOSC2:
                plain = unblosc(stored, size, compressor, filt, typesize)
                out[a:b] = np.frombuffer(plain, form)
            else:
                out[a:b] = unpcodec(stored, b - a, form)
        return out


def unpcodec(stored: bytes, count: int, form: Form) -> Array:
    """Decode a standalone pcodec file of exactly *count* items."""
    room = np.empty(count, form.newbyteorder("="))
    try:
        progress = pcodec.standalone.simple_decompress_into(stored, room)
    except (RuntimeError, ValueError, TypeError) as error:
        raise Damage(f"pcodec: {error}") from error
    if progress.n_processed != count or not progress.finished:
        raise Damage("pcodec: number of items")
    return room.astype(form)


class Dictionary:
    """Stage 3."""

    def __init__(self, page: Page, form: Form, cursor: Cursor) -> None:
        count = cursor.get("I")
        if not 1 <= count <= 65536:
            raise Damage("page: size of a dictionary")
        self.items = cursor.array(form, count)
        cursor.end()
        if len({item.tobytes() for item in self.items}) != count:
            raise Damage("page: a dictionary with equal items")
        self.form = np.dtype("<u1" if count <= 256 else "<u2")
        if self.form.itemsize >= form.itemsize:
            raise Damage("page: a dictionary that is not narrower")

    def undo(self, page: Page, values: Array, form: Form) -> Array:
        """Numbers to items."""
        if values.size and int(values.max()) >= len(self.items):
            raise Damage("page: number outside the dictionary")
        return self.items[values]


class Reference:
    """Stage 4."""

    def __init__(self, page: Page, form: Form, cursor: Cursor) -> None:
        stored, self.base, self.step = cursor.all("BQQ")
        cursor.end()
        if stored & ~16 not in (1, 2, 4):
            raise Damage("page: width of reference")
        self.form = np.dtype(f"<{'ui'[stored >> 4]}{stored & 15}")
        if form.kind not in "iu" or form.itemsize <= self.form.itemsize:
            raise Damage("page: reference of this form")

    def undo(self, page: Page, values: Array, form: Form) -> Array:
        """Base + step * stored, modulo the width."""
        wide = values.astype(np.int64).view(np.uint64)
        with np.errstate(over="ignore"):
            wide = np.uint64(self.base) + np.uint64(self.step) * wide
        return wide.astype(width_type(form, "u")).view(form)


class Delta:
    """Stage 5."""

    def __init__(self, page: Page, form: Form, cursor: Cursor) -> None:
        if form.kind not in "iuf":
            raise Damage("page: delta of this form")
        self.form = width_type(form, "i")
        self.order = cursor.get("B")
        if self.order not in (1, 2, 3):
            raise Damage("page: order of delta")
        starts = cursor.array(self.form, page.n_blocks * self.order)
        self.starts = starts.reshape(page.n_blocks, self.order)
        cursor.end()

    def undo(self, page: Page, values: Array, form: Form) -> Array:
        """Running sums, block by block."""
        values = values.copy()
        for block in range(page.n_blocks):
            a, b = page.span(block)
            for level in reversed(range(self.order)):
                values[a] = self.starts[block, level]
                values[a:b] = np.cumsum(values[a:b], dtype=self.form)
        return values.view(form)


class Zigzag:
    """Stage 6."""

    def __init__(self, page: Page, form: Form, cursor: Cursor) -> None:
        cursor.end()
        if form.kind != "i":
            raise Damage("page: zigzag of this form")
        self.form = width_type(form, "u")

    def undo(self, page: Page, values: Array, form: Form) -> Array:
        """Back to signed integers."""
        one = self.form.type(1)
        result: Array = ((values >> one) ^ (~(values & one) + one)).astype(self.form)
        return result.view(form)


class Decimal:
    """Stage 7."""

    def __init__(self, page: Page, form: Form, cursor: Cursor) -> None:
        self.exponent, width, kind, count = cursor.all("BBBI")
        if form.kind != "f" or form.itemsize not in (4, 8) or width not in (4, 8):
            raise Damage("page: decimal of this form")
        if self.exponent > 22 or kind > 2 or (kind == 0 and count):
            raise Damage("page: parameters of decimal")
        self.form = np.dtype(f"<i{width}")
        bits = width_type(form, "u")
        self.places = np.zeros(0, np.int64)
        self.items = np.zeros(0, bits)
        if kind == 1:
            self.places = cursor.array("<u4", count).astype(np.int64)
            self.items = cursor.array(bits, count)
            if not count or (np.diff(self.places) <= 0).any() or self.places[-1] >= page.n_values:
                raise Damage("page: places of exceptions")
        elif kind == 2:
            self.items = cursor.array(bits, 1)
            bitmap = cursor.array("u1", -(-page.n_values // 8))
            self.places = np.flatnonzero(np.unpackbits(bitmap, bitorder="little"))
            if len(self.places) != count or (count and self.places[-1] >= page.n_values):
                raise Damage("page: places of exceptions")
        cursor.end()

    def undo(self, page: Page, values: Array, form: Form) -> Array:
        """Integers to decimal fractions, then the exceptions."""
        with np.errstate(over="ignore"):
            result = (values.astype("<f8") / np.float64(10**self.exponent)).astype(form)
        result.view(width_type(form, "u"))[self.places] = self.items
        return result


ENCODERS: dict[int, Any] = {
    DICTIONARY: Dictionary,
    REFERENCE: Reference,
    DELTA: Delta,
    ZIGZAG: Zigzag,
    DECIMAL: Decimal,
}
