"""What an engine must offer to be timed."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy.typing as npt

from bench.workloads import Records


class Engine(ABC):
    """One way to store a table, in a folder of its own.

    A handle stays open between ``open`` and ``close``; every change must be durable when the
    call that makes it returns, so an engine that does not sync by itself syncs its files there.
    """

    name: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()
    """What must import for this engine to run; also what the report gives the versions of."""

    def __init__(self, folder: Path, threads: int, like_bytes: int = 0) -> None:
        self.folder = folder
        self.threads = threads
        self.like_bytes = like_bytes

    @classmethod
    def missing(cls) -> str | None:
        """Why this engine cannot run here, or None when it can."""
        for name in cls.modules:
            try:
                import_module(name)
            except ImportError as error:
                return f"{name} is not installed ({error})"
        return None

    def stored_bytes(self) -> int:
        """Bytes of all files of this engine."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


TABLE_STEPS = ("write", "read_all", "read_field", "first_value", "append")


class TableEngine(Engine):
    """An engine that stores the table workload."""

    steps: ClassVar[frozenset[str]] = frozenset(TABLE_STEPS)
    """The steps that mean something for it; the limits of the machine have some only."""

    @abstractmethod
    def write(self, rows: Records) -> None:
        """Make the table from a structured array; durable on return."""

    @abstractmethod
    def open(self, *, writable: bool = False) -> None:
        """Open the table that ``write`` made."""

    @abstractmethod
    def close(self) -> None:
        """Close what ``open`` opened."""

    @abstractmethod
    def read_all(self) -> Records:
        """The whole table as a structured array of the workload's dtype."""

    @abstractmethod
    def read_field(self, field: str) -> npt.NDArray[Any]:
        """One whole field, contiguous."""

    @abstractmethod
    def value(self, field: str, row: int) -> Any:
        """One value."""

    @abstractmethod
    def append(self, rows: Records) -> None:
        """Add rows at the end; durable on return."""


@runtime_checkable
class ListingEngine(Protocol):
    """An engine that holds many small named datasets."""

    def build_listing(self, names: Sequence[str]) -> None:
        """Make one small dataset under each name."""

    def open_and_list(self) -> list[str]:
        """Open the store and give the names of its datasets."""


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


def sync_tree(root: Path) -> None:
    """Make a file, or a folder and all below it, durable."""
    if root.is_dir():
        for path in sorted(root.rglob("*")):
            sync_path(path)
    sync_path(root)
    sync_path(root.parent)
