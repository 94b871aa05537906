"""Packing: any bytes as a stream of pages, and one value as a bundle, in memory or in files.

`pack` and `unpack` are for values. `pack_stream` and `unpack_stream` are for files of any size, and
hold a few pages for each thread. Pages are those of columns, with their checksums and codecs.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from typing import Any, Final, Protocol

import numpy as np

from kist import options
from kist.engine.pages import decode_body
from kist.engine.parallel import run, run_ahead
from kist.errors import ConversionError, CorruptDataError, TooLargeError
from kist.format import packed
from kist.format.bundle import Part, unpack_bundle_head
from kist.format.checksum import sum128
from kist.format.layout import PACKED_HEAD, PACKED_RECORD
from kist.format.packed import DONE, PAGE, VALUE, PackedKind, PackedRecord
from kist.format.values import Pointer
from kist.model.keystores.read import assemble, empty, finished
from kist.model.keystores.recipes import Chosen, Made, Recipes
from kist.model.keystores.values import bundle_of, encode_pages, split

__all__ = [
    "PackReport",
    "Readable",
    "Writable",
    "pack",
    "pack_stream",
    "plain_dtype",
    "unpack",
    "unpack_stream",
]

Array = np.ndarray[Any, Any]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]

_PAGE_BYTES: Final = 4 << 20
_BLOCK_BYTES: Final = 1 << 20
"""Pages are read whole, so blocks may be long: Zstd takes half the time of 128 KiB (the planes of
shorter blocks are too short for it), LZ4 two thirds, and both leave less. A whole page would cost
those who unpack bits shuffled a quarter."""
_NPY: Final = b"\x93NUMPY"
_NPY_HEAD: Final = 10_000
"""Longest head of an NPY file that is looked at, as in NumPy."""


@dataclass(frozen=True, slots=True)
class PackReport:
    """What was packed or unpacked.

    Attributes
    ----------
    nbytes, nbytes_packed : int
        Bytes of what is packed, and of that packed.
    seconds : float
        Reading, encoding or decoding, and writing.
    dtype : str
        Of the values into which most bytes were divided.
    """

    nbytes: int
    nbytes_packed: int
    seconds: float
    dtype: str

    @property
    def ratio(self) -> float:
        """How many times smaller the packed bytes are."""
        return self.nbytes / self.nbytes_packed

    def __str__(self) -> str:
        speed = self.nbytes / max(self.seconds, 1e-9) / 1e9
        return (
            f"{self.nbytes:,} bytes of {self.dtype}, {self.nbytes_packed:,} packed "
            f"({self.ratio:.2f}x), {self.seconds:.3f} s, {speed:.2f} GB/s"
        )


class Readable(Protocol):
    """A binary file or pipe to read."""

    def read(self, n: int, /) -> bytes | None:
        """Return at most `n` bytes, and none at the end."""


class Writable(Protocol):
    """A binary file or pipe to write."""

    def write(self, data: Any, /) -> Any:
        """Write all of it."""


class _OwnRecipes(Recipes):
    """What one job chose, and nobody else: the same bytes are packed the same way each time."""

    def __init__(self, codec: str) -> None:
        super().__init__(b"", 0, codec)
        self._chosen: dict[Any, Any] = {}

    def block_values(self, dtype: np.dtype[Any]) -> int:
        return max(1, _BLOCK_BYTES // dtype.itemsize)

    def last(self, number: int, dtype: np.dtype[Any]) -> Any:
        return self._chosen.get((number, dtype))

    def keep(self, number: int, dtype: np.dtype[Any], chosen: Any) -> None:
        self._chosen[number, dtype] = chosen


# Values in memory


def pack(value: Any, codec: str = "fast") -> bytes:
    """Return a value as bytes: compressed, with checksums, without pickle.

    Parameters
    ----------
    value : object
        What a key store holds: arrays, NumPy scalars, plain Python values, and containers of them.
    codec : str
        ``"fast"`` as for ``kist pack``, ``"balanced"``, ``"small"``, or an explicit codec, as for
        tables.

    Raises
    ------
    DTypeError
        Something in it cannot be stored.
    CodecError
        There is no such codec.

    Examples
    --------
    >>> import kist, numpy as np
    >>> data = kist.pack({"x": np.arange(100_000), "unit": "mm"})
    >>> len(data) < 4000, kist.unpack(data)["x"][-1], kist.unpack(data)["unit"]
    (True, np.int64(99999), 'mm')
    """
    parts = split(value)
    head, body = bundle_of(parts, encode_pages([parts], _OwnRecipes(codec)))
    length = len(head) + sum(map(len, body))
    record = PackedRecord(VALUE, len(head), length, 0, 0, "", sum128(head))
    return b"".join([packed.pack_head(PackedKind.VALUE), packed.pack_record(record), head, *body])


def unpack(data: bytes | bytearray | memoryview) -> Any:
    """Return the value that `pack` was given; of a packed file, its bytes.

    Raises
    ------
    NotAStoreError
        These are no packed data.
    CorruptDataError
        They are damaged or cut off.
    TooLargeError
        The value takes more memory than `kist.options.max_load`.
    """
    view = memoryview(data).cast("B")
    if packed.unpack_head(bytes(view[: PACKED_HEAD.size])) == PackedKind.BYTES:
        out = _Limited()
        unpack_stream(io.BytesIO(view), out)
        return out.getvalue()
    at = PACKED_HEAD.size
    record = packed.unpack_record(bytes(view[at : at + PACKED_RECORD.size]), at, 0)
    at += PACKED_RECORD.size
    body = view[at:]
    if record.type != VALUE or len(body) != record.length:
        raise CorruptDataError(
            f"a packed value of {record.length:,} bytes, of which there are {len(body):,}"
        )
    head = bytes(body[: record.head])
    if sum128(head) != record.head_sum:
        raise CorruptDataError("the head of a packed value fails its checksum", offset=at)
    bundle = unpack_bundle_head(head, record.length)
    total = sum(part.size * part.dtype.itemsize for part in bundle.parts)
    if total > options.max_load:
        raise _too_large(total)
    arrays = [empty(part) for part in bundle.parts]
    tasks = [
        task
        for part, array in zip(bundle.parts, arrays, strict=True)
        for task in _filling(part, body, array)
    ]
    run(tasks)
    return assemble(bundle, lambda number: finished(bundle.parts[number], arrays[number]))


def _filling(part: Part, body: memoryview, array: Array) -> Iterator[Callable[[], None]]:
    flat = array.reshape(-1)
    for number, (at, page) in enumerate(part.places()):
        out = flat[number * part.page_values :][: part.page_values]
        yield partial(_decode, body[at : at + page.length], page.head, page.sum, at, out)


def _decode(body: memoryview, head: int, head_sum: bytes, at: int, out: Array) -> None:
    """Verify and decode one page at byte `at`."""
    if sum128(body[:head]) != head_sum:
        raise CorruptDataError(f"the page at byte {at} fails its checksum", offset=at)
    decode_body(Pointer(at, len(body), head, 0, head_sum), body, out)


def _too_large(nbytes: int) -> TooLargeError:
    return TooLargeError(
        f"unpacked it takes more than {nbytes:,} bytes, and kist.options.max_load is "
        f"{options.max_load:,}; 'kist unpack' writes a packed file piece by piece"
    )


class _Limited(io.BytesIO):
    """Memory for what is unpacked, as much of it as is allowed."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > options.max_load:
            raise _too_large(self.tell())
        return super().write(data)


# Files and streams


def pack_stream(
    source: Readable,
    target: Writable,
    codec: str = "fast",
    dtype: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> PackReport:
    """Pack all bytes of a stream into another.

    Parameters
    ----------
    source, target : binary file objects
        Neither needs to be able to seek. `target` takes all that it is given.
    codec : str
        As for `pack`.
    dtype : str, optional
        Into which values the bytes are divided. By default, of an NPY file those it holds, else
        bytes.
    progress : callable, optional
        Is told how many bytes were read.

    Raises
    ------
    ConversionError
        The dtype has no values of a fixed size.
    """
    begun = time.perf_counter()
    recipes = _OwnRecipes(codec)
    first = _read(source, _NPY_HEAD if dtype is None else 0)
    head, kind = _npy_head(first) if dtype is None else (0, plain_dtype(dtype))
    target.write(packed.pack_head(PackedKind.BYTES))
    written, start = PACKED_HEAD.size, 0
    if head:
        # Alone, so that values begin with a page.
        written += _write(target, *_page(recipes, np.frombuffer(first[:head], "u1"), 0)[:2])
        start = head
    # Threads pack while this one reads and writes: neither waits for the other.
    ahead = options.n_threads + 1
    step = max(1, _PAGE_BYTES // kind.itemsize) * kind.itemsize
    rest = b""
    n_begun = n_settled = 0

    def pages() -> Iterator[Callable[[], tuple[PackedRecord, list[Any], Made]]]:
        nonlocal start, rest, n_begun
        for block in _blocks(source, first[head:], step, ahead + 1):
            whole = block.size // kind.itemsize * kind.itemsize
            if whole:
                nth = n_begun - n_settled
                last = recipes.last(0, kind)
                n_begun += 1
                yield partial(_page, recipes, block[:whole].view(kind), start, last, nth)
            start += block.size
            rest = block[whole:].tobytes()

    tasks = pages()
    # The first one alone: it settles how the others are encoded.
    for record, parts, made in chain(
        (task() for task in islice(tasks, 1)), run_ahead(tasks, ahead)
    ):
        recipes.settle(0, kind, made)
        n_settled += 1
        written += _write(target, record, parts)
        if progress is not None:
            progress(record.start + record.nbytes)
    if rest:
        at = start - len(rest)
        written += _write(target, *_page(recipes, np.frombuffer(rest, "u1"), at)[:2])
    if progress is not None:
        progress(start)
    record = PackedRecord(DONE, 0, 0, start, 0, "", sum128(b""))
    written += _write(target, record, [])
    return PackReport(start, written, time.perf_counter() - begun, kind.str)


def unpack_stream(
    source: Readable, target: Writable, progress: Callable[[int], None] | None = None
) -> PackReport:
    """Write the bytes that a packed stream stands for.

    Nothing is written of a page that is damaged, nor of what follows; only what returns is whole.

    Raises
    ------
    NotAStoreError
        It is no packed stream.
    CorruptDataError
        It is damaged or cut off.
    ConversionError
        It is a packed value, which `kist.unpack` reads.
    """
    begun = time.perf_counter()
    if packed.unpack_head(_read(source, PACKED_HEAD.size)) != PackedKind.BYTES:
        raise ConversionError("this is a packed value of Python, not a file; kist.unpack reads it")
    at, start = PACKED_HEAD.size, 0
    sizes: dict[str, int] = {}
    n_pages = 2 * options.n_threads
    done = False
    while not done:
        batch: list[tuple[PackedRecord, Array, Callable[[], None]]] = []
        # Bytes are bounded too: pages of others may be larger than ours.
        while not done and len(batch) < n_pages and _size(batch) < n_pages * _PAGE_BYTES:
            record = packed.unpack_record(_read(source, PACKED_RECORD.size), at, start)
            at += PACKED_RECORD.size
            if record.type == VALUE:
                raise CorruptDataError(f"a value in a stream, at byte {at}", offset=at)
            done = record.type == DONE
            if not done:
                body = _read(source, record.length)
                if len(body) < record.length:
                    raise CorruptDataError(f"packed data end in the page at byte {at}", offset=at)
                batch.append(_unpacking(record, body, at))
            at += record.length
            start += record.nbytes
        run([task for _, _, task in batch])
        for record, values, _ in batch:
            target.write(values.view("u1").data)
            sizes[record.dtype] = sizes.get(record.dtype, 0) + record.nbytes
        if progress is not None:
            progress(start)
    if source.read(1):
        raise CorruptDataError(f"packed data go on behind their end at byte {at}", offset=at)
    most = max(sizes, key=lambda dtype: sizes[dtype], default="|u1")
    return PackReport(start, at, time.perf_counter() - begun, most)


def _size(batch: list[tuple[PackedRecord, Array, Callable[[], None]]]) -> int:
    return sum(record.nbytes for record, _, _ in batch)


def _unpacking(
    record: PackedRecord, body: bytes, at: int
) -> tuple[PackedRecord, Array, Callable[[], None]]:
    values = np.empty(record.n_values, record.dtype)
    return (
        record,
        values,
        partial(_decode, memoryview(body), record.head, record.head_sum, at, values),
    )


def _page(
    recipes: Recipes, values: Array, start: int, last: Chosen | None = None, nth: int | None = None
) -> tuple[PackedRecord, list[Any], Made]:
    made = recipes.encode(values, last, nth)
    head, blocks = made.page
    length = len(head) + sum(map(len, blocks))
    record = PackedRecord(
        PAGE, len(head), length, start, values.size, values.dtype.str, sum128(head)
    )
    return record, [head, *blocks], made


def _write(target: Writable, record: PackedRecord, parts: list[Any]) -> int:
    written = 0
    for part in (packed.pack_record(record), *parts):
        target.write(part)
        written += memoryview(part).nbytes
    return written


def _blocks(source: Readable, before: bytes, size: int, kept: int) -> Iterator[Bytes]:
    """Give what a stream holds in blocks of that size, the last one shorter.

    A block stands until `kept` later ones were asked for: their memory is used again.
    """
    buffers: list[Bytes] = []
    for number in count():
        if number < kept:
            buffers.append(np.empty(size, "u1"))
        block = buffers[number % kept]
        n = len(before)
        block[:n] = np.frombuffer(before, "u1")
        n += _read_into(source, block[n:])
        before = b""
        if n:
            yield block[:n]
        if n < size:
            return


def _read_into(source: Readable, out: Bytes) -> int:
    """Fill `out` and return how many bytes there were: fewer only at the end."""
    n = 0
    # Of these it is known that `readinto` gives what `read` does.
    direct = type(source) in (io.FileIO, io.BufferedReader)
    while n < out.size:
        if direct:
            got = source.readinto(out[n:])  # type: ignore[attr-defined]
        else:
            part = source.read(out.size - n) or b""
            got = len(part)
            out[n : n + got] = np.frombuffer(part, "u1")
        if not got:
            break
        n += got
    return n


def _read(source: Readable, n: int) -> bytes:
    """Read `n` bytes, fewer only at the end: a pipe gives what it has."""
    parts: list[bytes] = []
    while n > 0 and (part := source.read(n)):
        parts.append(part)
        n -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)  # one part is not copied


def _npy_head(first: bytes) -> tuple[int, np.dtype[Any]]:
    """Return (bytes of the head, dtype) of an NPY file; (0, bytes) of anything else."""
    if first[: len(_NPY)] != _NPY:
        return 0, np.dtype("u1")
    file = io.BytesIO(first)
    try:
        version = np.lib.format.read_magic(file)
        reader = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        _, _, dtype = reader(file)
        return int(file.tell()), plain_dtype(dtype)
    except (ValueError, TypeError, ConversionError):  # it is packed as bytes then
        return 0, np.dtype("u1")


def plain_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the dtype of pages for values of a dtype: numbers whose bytes come back exactly."""
    try:
        wanted: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise ConversionError(f"{dtype!r} is no dtype") from error
    if wanted.hasobject or not wanted.itemsize:
        raise ConversionError(f"{wanted} has no values of a fixed size")
    order = wanted.str[0]
    if wanted.kind in "iuf" and wanted.itemsize <= 8:
        return np.dtype(wanted.str)
    if wanted.kind == "c" and wanted.itemsize <= 16:
        return np.dtype(f"{order}f{wanted.itemsize // 2}")
    if wanted.kind in "mM":
        return np.dtype(f"{order}i8")
    if wanted.kind == "U":
        return np.dtype(f"{order}u4")
    if 1 < wanted.itemsize < 256:
        return np.dtype(f"V{wanted.itemsize}")
    return np.dtype("u1")
