"""What an engine must offer to be timed."""

from __future__ import annotations

import os
import sqlite3
from abc import ABC
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import ClassVar


class NotOffered(Exception):
    """The engine has no such operation; the report says so, nothing stands in for it."""


_DISTRIBUTIONS = {"lance": "pylance", "vortex": "vortex-data"}
"""What a module is called where it is installed from, when that is another name."""


class Engine(ABC):
    """One way to store something, in a folder of its own.

    A handle stays open between ``open`` and ``close``; every change must be durable when the
    call that makes it returns, so an engine that does not sync by itself syncs its files there.
    """

    name: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()
    """What must import for this engine to run; also what the report gives the versions of."""

    def __init__(self, folder: Path, threads: int = 2, like_bytes: int = 0) -> None:
        self.folder = folder
        self.threads = threads
        self.like_bytes = like_bytes
        """Bytes that kist stores for the same, for limits that write as many."""

    @classmethod
    def missing(cls) -> str | None:
        """Why this engine cannot run here, or None when it can."""
        for name in cls.modules:
            try:
                import_module(name)
            except ImportError as error:
                return f"{name} is not installed ({error})"
        return None

    @classmethod
    def warm(cls) -> None:
        """Import what the engine needs, before anything is timed; imports are a step of theirs."""
        for name in cls.modules:
            import_module(name)

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Version by name of what this engine is made of."""
        names = {name.partition(".")[0] for name in cls.modules}
        return {name: version_of(name) for name in sorted(names)}

    def stored_bytes(self) -> int:
        """Bytes of all files of this engine."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def version_of(module: str) -> str:
    """The version of an installed module."""
    if module == "sqlite3":
        return sqlite3.sqlite_version
    try:
        return version(_DISTRIBUTIONS.get(module, module))
    except PackageNotFoundError:
        return "unknown"


def load(name: str) -> ModuleType:
    """Import a module of another project, when it is needed and not before."""
    return import_module(name)


def sync_path(path: Path) -> None:
    """Make one file or folder durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Make a new file durable: its bytes, and its name in the folder."""
    sync_path(path)
    sync_path(path.parent)


def sync_tree(root: Path) -> None:
    """Make a file, or a folder and all below it, durable."""
    if root.is_dir():
        for path in sorted(root.rglob("*")):
            sync_path(path)
    sync_file(root)
