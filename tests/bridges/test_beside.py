"""Files and folders are on the device before they get their names: one by one, or all at once."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import kist
from kist.bridges import beside as module
from kist.bridges.beside import beside
from kist.errors import StorageError, StoreNotFoundError

N = 300


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths that are synced one by one."""
    found: list[str] = []
    real = module._sync
    monkeypatch.setattr(module, "_sync", lambda path: (found.append(path), real(path)))
    return found


def fill(part: str, n: int) -> None:
    os.mkdir(part)
    for k in range(n):
        Path(part, f"f{k}").write_text("x")


class Libc:
    """A C library whose sync of a file system fails, or is not there."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __getattr__(self, name: str) -> Any:
        if name not in self.names:
            raise AttributeError(name)
        return lambda handle: -1


def test_of_few_files_each_is_synced_and_the_folder_with_the_name(
    tmp_path: Path, synced: list[str]
) -> None:
    with beside(str(tmp_path / "out"), overwrite=False) as part:
        fill(part, 5)
    assert synced == [*(f"{part}/f{k}" for k in sorted_names(tmp_path, 5)), part, str(tmp_path)]


def sorted_names(folder: Path, n: int) -> list[int]:
    found = [int(name[1:]) for _, _, names in os.walk(folder / "out") for name in names]
    assert sorted(found) == list(range(n))
    return found


def test_many_files_are_synced_with_all_of_their_file_system(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(module, "_sync_file_system", lambda path: not asked.append(path))
    with beside(str(tmp_path / "out"), overwrite=False) as part:
        fill(part, N)
    assert asked == [part] and synced == [str(tmp_path)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_kind_of", lambda path: "fuse.sshfs"),
        ("_tells_errors", lambda: False),
        ("sys", SimpleNamespace(platform="darwin")),
        ("ctypes", SimpleNamespace(CDLL=lambda *args, **options: Libc())),
    ],
)
def test_where_that_is_not_certain_each_file_is_synced(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    monkeypatch.setattr(module, "_kind_of", lambda path: "ext4")
    monkeypatch.setattr(module, name, value)
    with beside(str(tmp_path / "out"), overwrite=False) as part:
        fill(part, N)
    assert len(synced) == N + 2 and {f"{part}/f{k}" for k in range(N)} < set(synced)


@pytest.mark.skipif(os.name != "posix", reason="a call of Linux")
def test_a_sync_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(
        CDLL=lambda *args, **options: Libc("syncfs"), get_errno=lambda: errno.ENOSPC
    )
    monkeypatch.setattr(module, "ctypes", fake)
    monkeypatch.setattr(module, "sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr(module, "_kind_of", lambda path: "ext4")
    monkeypatch.setattr(module, "_tells_errors", lambda: True)
    with (
        pytest.raises(StorageError, match=r"out: cannot be written: .*No space left"),
        beside(str(tmp_path / "out"), overwrite=False) as part,
    ):
        fill(part, N)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("release", "known"),
    [("5.8.0", True), ("6.18.44-x", True), ("5.7.9", False), ("4.19", False), ("odd", False)],
)
def test_kernels_that_tell_errors(
    monkeypatch: pytest.MonkeyPatch, release: str, known: bool
) -> None:
    monkeypatch.setattr(module, "platform", SimpleNamespace(release=lambda: release))
    assert module._tells_errors() is known


def test_a_store_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match=r"gone\.kist: there is no such store"):
        kist.convert(tmp_path / "gone.kist", tmp_path / "a.h5")
