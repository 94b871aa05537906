"""What is converted from: stores, files and folders, looked at before anything is written."""

from __future__ import annotations

import dbm
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import kist
from kist.bridges.base import Bridge
from kist.bridges.formats import bridge_of, format_by_content, format_by_name, stem_of
from kist.bridges.places import split_place
from kist.errors import (
    ConversionError,
    CorruptDataError,
    NotAStoreError,
    SecretError,
    StoreNotFoundError,
)

__all__ = [
    "Source", "bridge_for", "files_of", "found_at", "identity_of", "is_store", "named",
    "refuse_together", "refuse_twice", "shares",
]  # fmt: skip


class Source(NamedTuple):
    """A file or folder that is read: by whom, into which node, and what it was at the start."""

    bridge: Bridge
    base: str
    file: str
    name: str
    identity: tuple[int, int]


def found_at(file: str, target: str, node: str, format: str | None, *, alone: bool) -> Source:
    """Look at a source before anything is written.

    Raises
    ------
    StoreNotFoundError, CorruptDataError, ConversionError
        There is nothing, not a byte, or nothing of a known format.
    """
    if format is None and not os.path.exists(file) and dbm.whichdb(file):
        format = "shelve"  # of several files, none of which is called so
    if file != "-" and not os.path.exists(file) and not _is_shelf(file, format):
        raise StoreNotFoundError(f"{file}: there is no such file")
    if os.path.isfile(file) and os.path.getsize(file) == 0:
        # SQLite would take it for a database without tables: what was cut off would go unseen.
        raise CorruptDataError(f"{file}: is empty (0 bytes)")
    name, bridge = bridge_for(file, format, existing=True)
    base = "/" + node.strip("/")
    if not alone or (base == "/" and not bridge.is_tree):
        if file == "-":
            raise ConversionError(f"{target}: say which node it becomes, as in {target}:name")
        base = f"{base.rstrip('/')}/{stem_of(file)}"
    return Source(bridge, base, file, name, identity_of(file))


def bridge_for(file: str, format: str | None, *, existing: bool) -> tuple[str, Bridge]:
    """Return the format of a file, and its bridge; a file to be written is known by its name."""
    name = format or (format_by_content(file) if existing else None) or format_by_name(file)
    if name is None:
        raise ConversionError(
            f"{file}: no known format by its first bytes or its name; say which, as in "
            "format='csv' (--format csv)"
        )
    return name, bridge_of(name)


def is_store(file: str, *, new: bool = False) -> bool:
    """Tell whether a path is a store, or, if `new`, would be one."""
    if "://" in file:
        return True  # what is read over a network is a store, or the error says what it is
    if file == "-" or os.path.isdir(file) or format_by_content(file) is not None:
        return False
    if file.endswith(".kist"):
        return new or os.path.exists(file)
    if not os.path.exists(file) or os.path.getsize(file) == 0:
        return False
    try:
        kist.open(file).close()
    except NotAStoreError:
        return False
    except SecretError:
        return True  # one that is sealed as a whole
    return True


def _is_shelf(file: str, format: str | None) -> bool:
    """Tell whether a name is that of a shelf of several files, of which none is called so."""
    return (format or format_by_name(file)) == "shelve" and dbm.whichdb(file) is not None


def identity_of(file: str) -> tuple[int, int]:
    """Return what changes when somebody writes to a file or folder: time of change and size."""
    if file == "-":
        return 0, 0
    files = [file] if os.path.exists(file) else glob.glob(f"{glob.escape(file)}.*")  # of a shelf
    paths = [path for name in files for path in files_of(name)]
    found = [os.stat(path) if os.path.exists(path) else os.lstat(path) for path in paths]
    return max((f.st_mtime_ns for f in found), default=0), sum(f.st_size for f in found)


def files_of(path: str) -> Iterator[str]:
    """Yield a file; or a folder, after all that is in it."""
    for folder, _, names in os.walk(path, topdown=False):
        yield from (os.path.join(folder, name) for name in names)
        yield folder
    if not os.path.isdir(path):
        yield path


def named(files: Sequence[str]) -> str:
    """Return how several files are called together."""
    return f"{len(files):,} files ({', '.join(files[:3])}{', ...' if len(files) > 3 else ''})"


def refuse_together(files: Sequence[str], resume: bool) -> None:
    """Raise for what only one source can be.

    Raises
    ------
    ConversionError
        One is a store or standard input, or the call is to go on where another one ended.
    """
    if resume:
        raise ConversionError(f"{named(files)}: resume goes on with one source")
    for file in files:
        if file == "-" or is_store(split_place(file)[0]):
            raise ConversionError(
                f"{file}: is one of {len(files):,} sources; a store, and standard input, are "
                "converted alone"
            )


def refuse_twice(found: Sequence[Source]) -> None:
    """Raise where two sources would become one node."""
    seen: dict[str, str] = {}
    for one in found:
        if one.base in seen:
            raise ConversionError(
                f"{seen[one.base]} and {one.file}: both would become {one.base!r}; convert one of "
                "them into another group"
            )
        seen[one.base] = one.file


def shares(
    progress: Callable[[int, int], None] | None, found: Sequence[Source]
) -> Iterator[Callable[[int, int], None] | None]:
    """Yield whom each of several sources tells how far it got: of all, by their bytes on disk.

    What comes over may be more bytes, or fewer, so that each tells its share.
    """
    total, before = sum(one.identity[1] for one in found), 0
    for one in found:
        size = one.identity[1]

        def tell(done: int, of: int, before: int = before, size: int = size) -> None:
            if progress is not None:
                progress(before + (size * done // of if of else 0), total)

        yield tell if progress is not None else None
        before += size
    if progress is not None:
        progress(total, total)
