"""Blosc2 chunks: LZ4 or Zstd behind an optional byte or bit shuffle, one chunk per block.

The C library that the ``blosc2`` wheel carries is called through :mod:`ctypes`: that
releases the GIL, lets every thread keep its own contexts (a Zstd context costs more than
compressing a block), and spares the half second of ``import blosc2``. Where the library is
not found, or does not behave as expected in a trial run, the package's calls take its place.

A block that Blosc2 does not make shorter is stored as it is. Its length tells: a stored
block as long as the values is the values, a shorter one is a chunk, a longer one is damage.

No chunk reaches the C decoder before every size and flag in its header was compared with
what the page says: Blosc2 trusts the length in the header, not the length of the output.
"""

from __future__ import annotations

import ctypes
import importlib.util
import struct
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kist.codecs.fields import FieldReader
from kist.codecs.stage import Block, Options, Shape, Span
from kist.errors import CodecError

LZ4 = 1
ZSTD = 5
COMPRESSORS = {"lz4": LZ4, "zstd": ZSTD}
COMPRESSOR_NAMES = {code: name for name, code in COMPRESSORS.items()}

NO_FILTER = 0
SHUFFLE = 1
BITSHUFFLE = 2
FILTERS = {"none": NO_FILTER, "shuffle": SHUFFLE, "bitshuffle": BITSHUFFLE}
FILTER_NAMES = {code: name for name, code in FILTERS.items()}

MAX_TYPESIZE = 255
"""Wider items are shuffled as plain bytes (Blosc2 keeps the item size in one byte)."""

# version, version of the compressor, flags, typesize, nbytes, blocksize, cbytes, six filter
# codes, compressor, its meta byte, six filter metas, two bytes of Blosc2 flags.
# Source: c-blosc2, README_CHUNK_FORMAT.rst.
_HEADER = struct.Struct("<BBBBiii6sBB6sBB")
_VERSION = 5
_EXTENDED = 0x05  # the two flag bits that announce the 32-byte header
_NOT_SPLIT = 0x10
_FORMAT_OF = {LZ4: 1, ZSTD: 4}  # the compressor as the upper three flag bits tell it
_ZEROS = 0x10  # in the last flag byte: the chunk is a header that stands for zeros
_OVERHEAD = 32
_NO_META = bytes(6)
_FILTER_BYTES = {code: bytes((0, 0, 0, 0, 0, code)) for code in FILTER_NAMES}

_MAX_BLOCK = 1 << 30  # well below Blosc2's own limit of 2 GiB
_MAX_CONTEXTS = 24  # compression contexts that a thread keeps


@dataclass(frozen=True, slots=True)
class BloscParams:
    """How one page's blocks are compressed.

    Attributes
    ----------
    compressor : int
        `LZ4` or `ZSTD`.
    level : int
        1 to 9, Blosc2's scale; not needed for decoding.
    filter : int
        `NO_FILTER`, `SHUFFLE` or `BITSHUFFLE`.
    typesize : int
        Bytes of one item for the shuffles, 1 to 255.
    """

    compressor: int
    level: int
    filter: int
    typesize: int

    def __post_init__(self) -> None:
        if (
            self.compressor not in COMPRESSOR_NAMES
            or self.filter not in FILTER_NAMES
            or not 1 <= self.level <= 9
            or not 1 <= self.typesize <= MAX_TYPESIZE
        ):
            raise CodecError(f"Blosc2 cannot be used like this: {self!r}")

    @property
    def split(self) -> bool:
        """Whether the byte planes are compressed apart (measured: 8 % smaller for float32)."""
        return self.filter == SHUFFLE or (self.filter == BITSHUFFLE and self.typesize >= 4)


class _Backend(Protocol):
    def compress(
        self, data: NDArray[np.uint8], block_nbytes: int, params: BloscParams
    ) -> list[Block]: ...

    def decompress(self, chunk: Block, out: NDArray[np.uint8]) -> None: ...


def compress_blocks(data: NDArray[Any], block_nbytes: int, params: BloscParams) -> list[Block]:
    """Compress consecutive blocks of one buffer, each into a chunk of its own.

    Parameters
    ----------
    data : ndarray, C-contiguous
        The values; the last block may be shorter than the others.
    block_nbytes : int
        Bytes of one block, more than 0.

    Returns
    -------
    list of bytes or memoryview
        One buffer per block, never longer than the block. Blocks that do not shrink are
        views of `data`.

    Raises
    ------
    CodecError
        The buffer or its blocks do not consist of whole items of `typesize` bytes.
    """
    flat = data.view(np.uint8).reshape(-1) if data.itemsize else data[:0].view(np.uint8)
    _check_sizes(flat.size, block_nbytes, params)
    return _backend().compress(flat, block_nbytes, params)


def decompress_blocks(
    blocks: Sequence[Block],
    out: NDArray[Any],
    block_nbytes: int,
    params: BloscParams,
) -> None:
    """Decode consecutive blocks into `out`, which they must fill exactly.

    Parameters
    ----------
    out : ndarray, C-contiguous, writable
        Nothing outside it is written, whatever the blocks hold.

    Raises
    ------
    CodecError
        A block's size or header is not what `out` and `params` call for, or it does not
        decode. `out` may then hold anything.
    """
    flat = out.view(np.uint8).reshape(-1)
    backend = _backend()
    total = flat.size
    _check_sizes(total, block_nbytes, params)
    if len(blocks) != -(-total // block_nbytes):
        raise CodecError(
            f"{len(blocks)} blocks of {block_nbytes} bytes cannot fill {total} bytes exactly"
        )
    start = 0
    for block in blocks:
        stop = min(start + block_nbytes, total)
        size = stop - start
        if len(block) < size:
            _check_chunk(block, size, params)
            backend.decompress(block, flat[start:stop])
        elif len(block) == size:
            flat[start:stop] = np.frombuffer(block, np.uint8)
        else:
            raise CodecError(f"a block of {size} bytes is stored in {len(block)}, which is longer")
        start = stop


def compress(data: bytes | memoryview | NDArray[Any], params: BloscParams) -> bytes:
    """Compress one buffer; returned as it is when Blosc2 does not make it shorter.

    Its length must be a multiple of ``params.typesize``, else `CodecError`.
    """
    flat = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else data
    if flat.nbytes == 0:
        return b""
    return bytes(compress_blocks(flat, flat.nbytes, params)[0])


def decompress_into(chunk: Block, out: NDArray[Any], params: BloscParams) -> None:
    """Decode what `compress` returned into `out`, whose size must be the original's.

    Raises
    ------
    CodecError
        See `decompress_blocks`.
    """
    if out.nbytes:
        decompress_blocks((chunk,), out, out.nbytes, params)
    elif len(chunk):
        raise CodecError(f"{len(chunk)} bytes are stored for nothing")


def _check_sizes(total: int, block_nbytes: int, params: BloscParams) -> None:
    if not 0 < block_nbytes <= _MAX_BLOCK:
        raise CodecError(f"a block of {block_nbytes} bytes is outside 1 to {_MAX_BLOCK}")
    # Blosc2 4.14 writes chunks of other lengths that it cannot read back.
    if total % params.typesize or block_nbytes % params.typesize:
        raise CodecError(f"{total} bytes are not whole items of {params.typesize} bytes")


def _check_chunk(chunk: Block, size: int, params: BloscParams) -> None:
    """Refuse a chunk whose header is not the one that `compress_blocks` writes."""
    if len(chunk) < _OVERHEAD:
        raise CodecError(
            f"a Blosc2 chunk needs {_OVERHEAD} bytes of header, {len(chunk)} are there"
        )
    (
        version, _, flags, typesize, nbytes, blocksize, cbytes,
        filters, compressor, meta, metas, flags2, special,
    ) = _HEADER.unpack_from(chunk)  # fmt: skip
    zeros = special == _ZEROS
    if (
        version != _VERSION
        or flags & ~_NOT_SPLIT != _EXTENDED | _FORMAT_OF[params.compressor] << 5
        or typesize != params.typesize
        or nbytes != size
        or cbytes != len(chunk)
        or not 0 < blocksize <= nbytes
        or filters != _FILTER_BYTES[params.filter]
        or compressor != params.compressor
        or meta
        or metas != _NO_META
        or flags2
        or not (special == 0 or (zeros and cbytes == _OVERHEAD))
    ):
        raise CodecError(
            f"a block of {size} bytes is not the Blosc2 chunk that its page announces "
            f"({COMPRESSOR_NAMES[params.compressor]}, {FILTER_NAMES[params.filter]}): header "
            f"{bytes(chunk[:_OVERHEAD]).hex()}"
        )


class _CParams(ctypes.Structure):
    # blosc2_cparams of blosc2.h. `reserved` keeps calls sound when later versions append
    # fields: the struct is returned through a pointer, and callees read only what they know.
    _fields_ = (
        ("compcode", ctypes.c_uint8), ("compcode_meta", ctypes.c_uint8),
        ("clevel", ctypes.c_uint8), ("use_dict", ctypes.c_int), ("typesize", ctypes.c_int32),
        ("nthreads", ctypes.c_int16), ("blocksize", ctypes.c_int32),
        ("splitmode", ctypes.c_int32), ("schunk", ctypes.c_void_p),
        ("filters", ctypes.c_uint8 * 6), ("filters_meta", ctypes.c_uint8 * 6),
        ("prefilter", ctypes.c_void_p), ("preparams", ctypes.c_void_p),
        ("tuner_params", ctypes.c_void_p), ("tuner_id", ctypes.c_int),
        ("instr_codec", ctypes.c_bool), ("codec_params", ctypes.c_void_p),
        ("filter_params", ctypes.c_void_p * 6), ("reserved", ctypes.c_uint8 * 256),
    )  # fmt: skip


class _DParams(ctypes.Structure):
    _fields_ = (
        ("nthreads", ctypes.c_int16), ("schunk", ctypes.c_void_p),
        ("postfilter", ctypes.c_void_p), ("postparams", ctypes.c_void_p),
        ("typesize", ctypes.c_int32), ("reserved", ctypes.c_uint8 * 256),
    )  # fmt: skip


class _Context:
    """One Blosc2 context, freed with its thread."""

    __slots__ = ("_free", "pointer")

    def __init__(self, pointer: int | None, free: Any) -> None:
        if not pointer:
            raise CodecError("Blosc2 gave no context: out of memory?")
        self.pointer = pointer
        self._free = free

    def __del__(self) -> None:
        self._free(self.pointer)


class _Thread(threading.local):
    """What a thread keeps: contexts must never be used by two threads at once."""

    def __init__(self) -> None:
        self.compressors: OrderedDict[tuple[BloscParams, int], _Context] = OrderedDict()
        self.decompressor: _Context | None = None
        self.scratch: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.scratch_address = 0


class _Library:
    """The functions of libblosc2, called with the GIL released."""

    def __init__(self, path: Path) -> None:
        lib = ctypes.CDLL(str(path))
        signature = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32) * 2
        self._compress = lib.blosc2_compress_ctx
        self._decompress = lib.blosc2_decompress_ctx
        for call in (self._compress, self._decompress):
            call.argtypes = signature[:5]
            call.restype = ctypes.c_int
        self._new_compressor = lib.blosc2_create_cctx
        self._new_compressor.argtypes = (_CParams,)
        self._new_decompressor = lib.blosc2_create_dctx
        self._new_decompressor.argtypes = (_DParams,)
        for create in (self._new_compressor, self._new_decompressor):
            create.restype = ctypes.c_void_p
        self._free = lib.blosc2_free_ctx
        self._free.argtypes = (ctypes.c_void_p,)
        self._free.restype = None
        self._defaults = lib.blosc2_get_blosc2_cparams_defaults
        self._defaults.restype = _CParams
        lib.blosc2_init.restype = None
        lib.blosc2_init()
        self._thread = _Thread()

    def layout_is_known(self) -> bool:
        """Whether the parameter struct has the fields that this module fills in."""
        got = self._defaults()
        return (
            (got.compcode, got.compcode_meta, got.use_dict, got.typesize) == (0, 0, 0, 8)
            and (got.nthreads, got.blocksize, got.schunk) == (1, 0, None)
            and 1 <= got.clevel <= 9
            and 1 <= got.splitmode <= 4
            and bytes(got.filters) == _FILTER_BYTES[SHUFFLE]
            and bytes(got.filters_meta) == _NO_META
            and got.prefilter is None
        )

    def _compressor(self, params: BloscParams, nbytes: int) -> int:
        contexts = self._thread.compressors
        # The size belongs to the key: a context that has seen a short buffer cuts every later
        # one into blocks of that length.
        key = (params, nbytes)
        context = contexts.get(key)
        if context is None:
            wanted = _CParams(
                compcode=params.compressor,
                clevel=params.level,
                typesize=params.typesize,
                nthreads=1,
                blocksize=nbytes,
                splitmode=1 if params.split else 2,
            )
            wanted.filters[5] = params.filter
            context = _Context(self._new_compressor(wanted), self._free)
            contexts[key] = context
            if len(contexts) > _MAX_CONTEXTS:
                contexts.popitem(last=False)
        else:
            contexts.move_to_end(key)
        return context.pointer

    def compress(
        self, data: NDArray[np.uint8], block_nbytes: int, params: BloscParams
    ) -> list[Block]:
        thread = self._thread
        if thread.scratch.size < block_nbytes:
            thread.scratch = np.empty(block_nbytes, np.uint8)
            thread.scratch_address = _address(thread.scratch)
        scratch, compress = thread.scratch_address, self._compress
        source, total = _address(data), data.size
        blocks: list[Block] = []
        for start in range(0, total, block_nbytes):
            size = min(block_nbytes, total - start)
            if size <= _OVERHEAD:
                length = 0
            else:
                context = self._compressor(params, size)
                # One byte less than the values: what does not shrink comes back as 0.
                length = compress(context, source + start, size, scratch, size - 1)
            if length > 0:
                blocks.append(ctypes.string_at(scratch, length))
            else:
                blocks.append(data[start : start + size].data)
        return blocks

    def decompress(self, chunk: Block, out: NDArray[np.uint8]) -> None:
        thread = self._thread
        context = thread.decompressor
        if context is None:
            wanted = _DParams(nthreads=1, typesize=8)
            context = _Context(self._new_decompressor(wanted), self._free)
            thread.decompressor = context
        source: Any = chunk if isinstance(chunk, bytes) else _address(np.frombuffer(chunk, "u1"))
        got = self._decompress(context.pointer, source, len(chunk), _address(out), out.size)
        if got != out.size:
            raise CodecError(f"Blosc2 could not decode a chunk of {len(chunk)} bytes (code {got})")


class _Package:
    """The same through the ``blosc2`` package, where its library cannot be called directly."""

    def __init__(self) -> None:
        import blosc2

        self._blosc2 = blosc2

    def compress(
        self, data: NDArray[np.uint8], block_nbytes: int, params: BloscParams
    ) -> list[Block]:
        b2 = self._blosc2
        blocks: list[Block] = []
        for start in range(0, data.size, block_nbytes):
            block = data[start : start + block_nbytes]
            chunk = b2.compress2(
                block,
                codec=b2.Codec(params.compressor),
                clevel=params.level,
                filters=[b2.Filter(0)] * 5 + [b2.Filter(params.filter)],
                filters_meta=[0] * 6,
                typesize=params.typesize,
                blocksize=block.size,
                splitmode=b2.SplitMode.ALWAYS_SPLIT if params.split else b2.SplitMode.NEVER_SPLIT,
                nthreads=1,
            )
            blocks.append(bytes(chunk) if len(chunk) < block.size else block.data)
        return blocks

    def decompress(self, chunk: Block, out: NDArray[np.uint8]) -> None:
        try:
            got = self._blosc2.decompress2(bytes(chunk), dst=out, nthreads=1)
        except (RuntimeError, ValueError, TypeError) as error:
            raise CodecError(f"Blosc2 could not decode a chunk: {error}") from error
        if isinstance(got, int) and got != out.size:
            raise CodecError(f"Blosc2 could not decode a chunk of {len(chunk)} bytes (code {got})")


def _address(array: NDArray[np.uint8]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _works(backend: _Backend) -> bool:
    """Whether a round trip gives back the values through a chunk of the expected form."""
    values = (np.arange(1000, dtype="<u4") // 7).view(np.uint8)
    for params in (BloscParams(LZ4, 5, BITSHUFFLE, 4), BloscParams(ZSTD, 1, SHUFFLE, 4)):
        chunk = backend.compress(values, values.size, params)[0]
        back = np.zeros_like(values)
        try:
            _check_chunk(chunk, values.size, params)
            backend.decompress(chunk, back)
        except CodecError:
            return False
        if not np.array_equal(values, back):
            return False
    return True


def _libraries() -> list[Path]:
    spec = importlib.util.find_spec("blosc2")  # finds the package without importing it
    found: list[Path] = []
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for place in (Path(folder) / "lib", Path(folder), Path(folder).parent / "blosc2.libs"):
            for pattern in ("libblosc2*.so*", "libblosc2*.dylib", "*blosc2*.dll"):
                found.extend(sorted(place.glob(pattern)))
    return found


def _find_backend() -> _Backend:
    for path in _libraries():
        try:
            library = _Library(path)
        except (OSError, AttributeError):  # not loadable here, or lacking a function
            continue
        if library.layout_is_known() and _works(library):
            return library
    return _Package()


_lock = threading.Lock()
_chosen: _Backend | None = None


def _backend() -> _Backend:
    global _chosen
    if _chosen is None:
        with _lock:
            if _chosen is None:
                _chosen = _find_backend()
    return _chosen


_STAGE = struct.Struct("<BBB")


class Blosc2:
    """Stage 17. Parameters: compressor u8, filter u8, typesize u8.

    Options of a recipe: compressor, level, filter for items of one byte, filter for wider
    items. A page whose items turn out wider than the sample's keeps a sensible filter so.
    """

    id = 17
    name = "blosc2"

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, list[Block]] | None:
        """None for items of no bytes."""
        size = values.itemsize
        if not size:
            return None
        compressor, level, narrow, wide = options
        typesize = size if size <= MAX_TYPESIZE else 1
        params = BloscParams(compressor, level, narrow if typesize == 1 else wide, typesize)
        blocks = compress_blocks(values, block_values * size, params)
        return _STAGE.pack(params.compressor, params.filter, params.typesize), blocks

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> LoadedBlosc2:
        """What the chunks of the page must be."""
        reader = FieldReader(params, self.name)
        compressor, filter_, typesize = reader.read(_STAGE)
        reader.end()
        if not form.itemsize:
            raise CodecError("a Blosc2 page cannot hold items of no bytes")
        chunks = BloscParams(compressor, 1, filter_, typesize)
        return LoadedBlosc2(chunks, shape.block_values * form.itemsize)

    def describe(self, options: Options) -> str:
        """Compressor and filters, such as ``blosc2-zstd+shuffle``."""
        compressor, level, narrow, wide = options
        text = f"{self.name}-{COMPRESSOR_NAMES[compressor]}"
        names = [FILTER_NAMES[f] for f in dict.fromkeys((wide, narrow)) if f]
        return "+".join([text, *names]) + (f"({level})" if level != 1 else "")


@dataclass(frozen=True, slots=True)
class LoadedBlosc2:
    """What the chunks of a page must be."""

    params: BloscParams
    block_nbytes: int

    def decode(self, blocks: Sequence[Block], target: NDArray[Any], span: Span) -> None:
        """Each block into its part of `target`."""
        decompress_blocks(blocks, target, self.block_nbytes, self.params)
