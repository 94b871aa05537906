"""Text that is compressed as a whole: known by its first bytes, and by its name when written."""

from __future__ import annotations

import contextlib
import lzma
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["open_plain", "plain_sink", "readable"]

_MAGIC: Final = (
    (b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"), (b"\x04\x22\x4d\x18", "lz4"),
)  # fmt: skip
_SUFFIXES: Final = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".xz": "xz", ".lz4": "lz4"}


def open_plain(pa: Any, file: str) -> Any:
    """Open a file for reading as what it was before it was compressed, whatever its name is."""
    with open(file, "rb") as data:
        head = data.read(8)
    found = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    if found == "xz":  # which Arrow does not have
        return pa.PythonFile(lzma.open(file), "r")
    return pa.input_stream(file, compression=found)


@contextlib.contextmanager
def readable(source: str) -> Iterator[str]:
    """Give a file that can be read twice; what comes by a pipe is put down first."""
    if source != "-":
        yield source
        return
    with tempfile.NamedTemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield file.name


@contextlib.contextmanager
def plain_sink(pa: Any, target: str, name: str) -> Iterator[Any]:
    """Open a file, or standard output, for writing; compressed as the end of a name says."""
    if target == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    found = next((f for end, f in _SUFFIXES.items() if name.lower().endswith(end)), None)
    with open(target, "wb") as file:
        if found is None:
            yield file
        elif found == "xz":
            with lzma.open(file, "wb") as packed:
                yield packed
        else:
            with pa.CompressedOutputStream(pa.PythonFile(file, "w"), found) as packed:
                yield packed
