"""Zstd by itself, out of Blosc2's library: one context of a thread for blocks of any length.

A context of Blosc2 is made for one length, and blocks of text all differ: making it took a tenth
of their time. What comes out is the chunk that Blosc2 makes of one block, and Blosc2 reads it.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any, Final

from kist.codecs.bloscchunk import OVERHEAD

__all__ = ["STREAM", "Zstd"]

STREAM: Final = OVERHEAD + 8
"""Where the only stream of a chunk of one block begins: behind its place and its length."""

_LEVEL, _MIN_MATCH = 100, 105  # ZSTD_cParameter of zstd.h
_SHORTEST: Final = 7
"""Bytes that are worth a match. Zstd takes 7 at this level from 256 KB on, and 6 below; with 7
text takes 0.83 to 1.0 of the time, and 0.95 to 1.05 of the bytes."""


class _Context:
    """One context, freed with its thread."""

    __slots__ = ("_free", "pointer")

    def __init__(self, lib: Any) -> None:
        self._free = lib.ZSTD_freeCCtx
        self.pointer: int = lib.ZSTD_createCCtx() or 0
        if not self.pointer:
            raise MemoryError("Zstd gave no context")
        for name, value in ((_LEVEL, 1), (_MIN_MATCH, _SHORTEST)):
            lib.ZSTD_CCtx_setParameter(self.pointer, name, value)

    def __del__(self) -> None:
        if self.pointer:
            self._free(self.pointer)


class Zstd:
    """The functions of Zstd that a library has, called with the GIL released.

    Raises
    ------
    AttributeError
        It lacks one: they need not be visible.
    """

    def __init__(self, lib: Any) -> None:
        self._lib = lib
        lib.ZSTD_createCCtx.restype = ctypes.c_void_p
        lib.ZSTD_freeCCtx.argtypes = (ctypes.c_void_p,)
        lib.ZSTD_freeCCtx.restype = ctypes.c_size_t
        lib.ZSTD_CCtx_setParameter.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
        lib.ZSTD_CCtx_setParameter.restype = ctypes.c_size_t
        self._compress = lib.ZSTD_compress2
        self._compress.argtypes = (ctypes.c_void_p, *(ctypes.c_void_p, ctypes.c_size_t) * 2)
        self._compress.restype = ctypes.c_size_t
        self._is_error = lib.ZSTD_isError
        self._is_error.argtypes = (ctypes.c_size_t,)
        self._is_error.restype = ctypes.c_uint
        self._thread = threading.local()

    def compress(self, source: int, size: int, target: int, room: int) -> int:
        """Compress bytes at an address; return their length at the target, 0 when none fits."""
        context = getattr(self._thread, "context", None)
        if context is None:
            context = self._thread.context = _Context(self._lib)
        length: int = self._compress(context.pointer, target, room, source, size)
        return 0 if self._is_error(length) else length
