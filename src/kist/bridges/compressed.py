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


def open_plain(pa: Any, file: str, job: Any = None) -> Any:
    """Open a file for reading as what it was before it was compressed, whatever its name is.

    A job is told how far the file is read, as it stands on the disk.
    """
    with open(file, "rb") as data:
        head = data.read(8)
    found = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    raw: Any = open(file, "rb") if found == "xz" else pa.OSFile(file)  # noqa: SIM115 - by its reader
    if job is not None:
        job.position = raw.tell
    if found is None:
        return raw
    if found == "xz":  # which Arrow does not have
        return pa.PythonFile(_Xz(raw), "r")
    return pa.CompressedInputStream(raw, found)


class _Xz(lzma.LZMAFile):
    """An xz file that is closed with what it is read from."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        super().__init__(raw)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._raw.close()


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
