"""Calls of Blosc2: its C library with the GIL released, or the package where that fails.

The C library that the ``blosc2`` wheel carries is called through :mod:`ctypes`: that
releases the GIL, lets every thread keep its own contexts (a Zstd context costs more than
compressing a block), and spares the half second of ``import blosc2``. Where the library is
not found, or does not behave as expected in a trial run, the package's calls take its place.
"""

from __future__ import annotations

import ctypes
import fnmatch
import importlib.util
import os
import struct
import threading
import warnings
from collections import OrderedDict
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from kist.codecs.bloscchunk import (
    BITSHUFFLE,
    FILTER_BYTES,
    LZ4,
    NO_FILTER,
    NO_META,
    OVERHEAD,
    SHUFFLE,
    ZSTD,
    BloscParams,
    check_chunk,
    cut_apart,
    top_of,
)
from kist.codecs.libzstd import STREAM, Zstd
from kist.codecs.stage import Block
from kist.errors import CodecError, PerformanceWarning

# Blosc2 lets them overrule its arguments (blosc2.h, blosc2_create_cctx). Taking them out of the
# environment for a moment would not be safe beside other threads.
_VARIABLES = (
    "BLOSC_CLEVEL", "BLOSC_COMPRESSOR", "BLOSC_DELTA", "BLOSC_SHUFFLE", "BLOSC_TYPESIZE",
)  # fmt: skip

_TOGETHER_BYTES = 1 << 20
"""Blocks that one call compresses: as many as stay in the cache of a core."""

addressof, from_buffer = ctypes.addressof, ctypes.c_char.from_buffer

TEXT: Final = BloscParams(ZSTD, 1, NO_FILTER, 1)
"""Blocks of text, of which each has a length of its own."""

_SIZES = struct.Struct("<iii")
_BEHIND = (OVERHEAD + 4).to_bytes(4, "little")  # where the only block of a chunk begins

_MAX_CONTEXTS = 24  # compression contexts that a thread keeps
_MAX_SIZES = 4  # of these for one way to compress: blocks of text are of any size, a context 1 MB


class Backend(Protocol):
    """A way to call Blosc2."""

    def compress(
        self, data: NDArray[np.uint8], block_nbytes: int, params: BloscParams
    ) -> list[Block]:
        """One buffer per block: a chunk, or a view of the block where that is no longer."""

    def compress_text(self, data: NDArray[np.uint8]) -> Block | None:
        """One block with `TEXT`, quickly whatever its length; None where that does not go."""

    def decompress(self, chunk: Block, out: NDArray[np.uint8]) -> None:
        """Decode a chunk whose header was checked into `out`; `CodecError` if it fails."""


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
        self.pointer = pointer or 0
        self._free = free
        if not pointer:
            raise CodecError("Blosc2 gave no context: out of memory?")

    def __del__(self) -> None:
        if self.pointer:
            self._free(self.pointer)


class _Thread(threading.local):
    """What a thread keeps: contexts must never be used by two threads at once."""

    def __init__(self) -> None:
        self.compressors: OrderedDict[tuple[BloscParams, int], _Context] = OrderedDict()
        self.decompressor: _Context | None = None
        self.scratch: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.scratch_address = 0


class Library:
    """The functions of libblosc2, called with the GIL released."""

    def __init__(self, path: str) -> None:
        lib = ctypes.CDLL(path)
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
        self._lib = lib
        self._text: tuple[Zstd, bytes] | None = None

    def layout_is_known(self) -> bool:
        """Whether the parameter struct has the fields that this module fills in."""
        got = self._defaults()
        return (
            (got.compcode, got.compcode_meta, got.use_dict, got.typesize) == (0, 0, 0, 8)
            and (got.nthreads, got.blocksize, got.schunk) == (1, 0, None)
            and 1 <= got.clevel <= 9
            and 1 <= got.splitmode <= 4
            and bytes(got.filters) == FILTER_BYTES[SHUFFLE]
            and bytes(got.filters_meta) == NO_META
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
            alike = [other for other in contexts if other[0] == params]
            if len(alike) > _MAX_SIZES:
                del contexts[alike[0]]
            if len(contexts) > _MAX_CONTEXTS:
                contexts.popitem(last=False)
        else:
            contexts.move_to_end(key)
        return context.pointer

    def compress(
        self, data: NDArray[np.uint8], block_nbytes: int, params: BloscParams
    ) -> list[Block]:
        blocks: list[Block] = []
        step = max(1, _TOGETHER_BYTES // block_nbytes) * block_nbytes
        for start in range(0, data.size, step):
            part = data[start : start + step]
            blocks += self._compress_together(part, block_nbytes, params) or self._compress_each(
                part, block_nbytes, params
            )
        return blocks

    def _compress_together(
        self, data: NDArray[np.uint8], block_nbytes: int, params: BloscParams
    ) -> list[Block] | None:
        """Compress blocks by one call, which lets the interpreter go once, into one chunk.

        Each block is cut out of it, as `joined` puts them together. None where that does not go.
        """
        if data.size < 2 * block_nbytes or block_nbytes <= OVERHEAD:
            return None
        n_blocks = -(-data.size // block_nbytes)
        size = data.size + top_of(n_blocks, params)
        target, context = self._room(size), self._compressor(params, block_nbytes)
        length = self._compress(context, _address(data), data.size, target, size)
        if length <= OVERHEAD:
            return None
        return cut_apart(ctypes.string_at(target, length), data.data, block_nbytes, params)

    def look_for_zstd(self) -> None:
        """Use Zstd itself for text, if this library shows it and reads what comes of it."""
        try:
            self._text = self._tried(Zstd(self._lib))
        except AttributeError:
            self._text = None

    def _tried(self, zstd: Zstd) -> tuple[Zstd, bytes] | None:
        """Return it with the head of Blosc2's chunks of text, None where they are others."""
        values = (np.arange(4096) % 61).astype(np.uint8)
        (usual,) = self._compress_each(values, values.size, TEXT)
        if len(usual) <= STREAM or bytes(usual[OVERHEAD : OVERHEAD + 4]) != _BEHIND:
            return None
        found = zstd, bytes(usual[:OVERHEAD])
        chunk, back = self._packed(values, *found), np.zeros_like(values)
        try:
            self.decompress(chunk, back)
        except CodecError:
            return None
        return found if len(chunk) < values.size and np.array_equal(values, back) else None

    def compress_text(self, data: NDArray[np.uint8]) -> Block | None:
        return None if self._text is None else self._packed(data, *self._text)

    def _packed(self, data: NDArray[np.uint8], zstd: Zstd, head: bytes) -> Block:
        """Return one block as the chunk that Blosc2 would make of it, or as it is."""
        size, target = data.size, self._room(data.size)
        # One byte less than the values: what does not shrink finds no room.
        length = zstd.compress(_address(data), size, target + STREAM, max(0, size - 1 - STREAM))
        if not length:
            return data.data
        total = STREAM + length
        sizes = _SIZES.pack(size, size, total)
        start = b"".join((head[:4], sizes, head[16:], _BEHIND, length.to_bytes(4, "little")))
        ctypes.memmove(target, start, STREAM)
        return ctypes.string_at(target, total)

    def _room(self, nbytes: int) -> int:
        """Address of memory that this thread keeps."""
        thread = self._thread
        if thread.scratch.size < nbytes:
            thread.scratch = np.empty(nbytes, np.uint8)
            thread.scratch_address = _address(thread.scratch)
        return thread.scratch_address

    def _compress_each(
        self, data: NDArray[np.uint8], block_nbytes: int, params: BloscParams
    ) -> list[Block]:
        scratch, compress = self._room(block_nbytes), self._compress
        source, total = _address(data), data.size
        blocks: list[Block] = []
        known, context = 0, 0
        for start in range(0, total, block_nbytes):
            size = min(block_nbytes, total - start)
            if size <= OVERHEAD:
                length = 0
            else:
                if size != known:
                    known, context = size, self._compressor(params, size)
                # One byte less than the values: what does not shrink comes back as 0.
                length = compress(context, source + start, size, scratch, size - 1)
            block = data[start : start + size].data
            blocks.append(_kept(ctypes.string_at(scratch, max(length, 0)), block, params))
        return blocks

    def _context(self) -> _Context:
        wanted = _DParams(nthreads=1, typesize=8)
        context = _Context(self._new_decompressor(wanted), self._free)
        self._thread.decompressor = context
        return context

    def decompress(self, chunk: Block, out: NDArray[np.uint8]) -> None:
        source: Any = chunk
        if not isinstance(chunk, bytes):
            # The first takes a third of the time.
            source = (
                _address(np.frombuffer(chunk, "u1"))
                if chunk.readonly
                else addressof(from_buffer(chunk))
            )
        target = addressof(from_buffer(out.data))
        context = self._thread.decompressor or self._context()
        got = self._decompress(context.pointer, source, len(chunk), target, out.size)
        if got != out.size:
            raise CodecError(f"Blosc2 could not decode a chunk of {len(chunk)} bytes (code {got})")


class Package:
    """The same through the ``blosc2`` package, where its library cannot be called directly."""

    def __init__(self) -> None:
        import blosc2

        self._blosc2 = blosc2

    def compress(
        self, data: NDArray[np.uint8], block_nbytes: int, params: BloscParams
    ) -> list[Block]:
        b2 = self._blosc2
        never = b2.SplitMode.NEVER_SPLIT
        blocks: list[Block] = []
        for start in range(0, data.size, block_nbytes):
            block = data[start : start + block_nbytes]
            try:
                chunk = b2.compress2(
                    block,
                    codec=b2.Codec(params.compressor),
                    clevel=params.level,
                    filters=[b2.Filter(0)] * 5 + [b2.Filter(params.filter)],
                    filters_meta=[0] * 6,
                    typesize=params.typesize,
                    blocksize=block.size,
                    splitmode=b2.SplitMode.ALWAYS_SPLIT if params.split else never,
                    nthreads=1,
                )
            except RuntimeError:
                chunk = b""
            blocks.append(_kept(bytes(chunk), block.data, params))
        return blocks

    def compress_text(self, data: NDArray[np.uint8]) -> Block | None:
        return None

    def decompress(self, chunk: Block, out: NDArray[np.uint8]) -> None:
        try:
            got = self._blosc2.decompress2(bytes(chunk), dst=out, nthreads=1)
        except (RuntimeError, ValueError, TypeError) as error:
            raise CodecError(f"Blosc2 could not decode a chunk: {error}") from error
        if isinstance(got, int) and got != out.size:
            raise CodecError(f"Blosc2 could not decode a chunk of {len(chunk)} bytes (code {got})")


def _kept(chunk: bytes, block: memoryview, params: BloscParams) -> Block:
    """The chunk if it is shorter than its block and is what was asked for, else the block."""
    if not 0 < len(chunk) < len(block):
        if not chunk and _disturbed():
            _warn()
        return block
    try:
        check_chunk(chunk, len(block), params)
    except CodecError:
        _warn()
        return block
    return chunk


def _disturbed() -> list[str]:
    """Variables of the environment that make Blosc2 compress otherwise than it is asked to."""
    return [name for name in _VARIABLES if name in os.environ]


def _warn() -> None:
    names = ", ".join(_disturbed()) or "something"
    warnings.warn(
        f"Blosc2 does not compress as it is asked to ({names} in the environment?): blocks are "
        "stored as they are",
        PerformanceWarning,
        stacklevel=2,
    )


def _address(array: NDArray[np.uint8]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def works(backend: Backend) -> bool:
    """Whether a round trip gives back the values through a chunk of the expected form."""
    values = (np.arange(1000, dtype="<u4") // 7).view(np.uint8)
    for params in (BloscParams(LZ4, 5, BITSHUFFLE, 4), BloscParams(ZSTD, 1, SHUFFLE, 4)):
        (chunk,) = backend.compress(values, values.size, params)
        if len(chunk) == values.size:
            if _disturbed():
                continue
            return False
        back = np.zeros_like(values)
        try:
            backend.decompress(chunk, back)
        except CodecError:
            return False
        if not np.array_equal(values, back):
            return False
    return True


def _libraries() -> list[str]:
    # Not by `pathlib`, which loads `urllib` and `ipaddress`: 6 ms.
    spec = importlib.util.find_spec("blosc2")  # finds the package without importing it
    found: list[str] = []
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        beside = os.path.join(os.path.dirname(folder), "blosc2.libs")
        for place in (os.path.join(folder, "lib"), folder, beside):
            names = sorted(os.listdir(place)) if os.path.isdir(place) else []
            for pattern in ("libblosc2*.so*", "libblosc2*.dylib", "*blosc2*.dll"):
                found += [os.path.join(place, name) for name in fnmatch.filter(names, pattern)]
    return found


def find_backend() -> Backend:
    for path in _libraries():
        try:
            library = Library(path)
        except (OSError, AttributeError):  # not loadable here, or lacking a function
            continue
        if library.layout_is_known() and works(library):
            library.look_for_zstd()
            return library
    return Package()


_lock = threading.Lock()
_chosen: Backend | None = None


def backend() -> Backend:
    global _chosen
    if _chosen is None:
        with _lock:
            if _chosen is None:
                _chosen = find_backend()
    return _chosen
