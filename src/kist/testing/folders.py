"""What a crash leaves of a whole folder: files that are written, named, renamed and removed.

`kist.testing.images` makes the states of one file. Here calls make several files, and give them
names when they are complete: `split`, `merge`, `write_parts`, `convert`. A `FolderRecorder` logs
what Python asks of the system below a folder, and `FolderRecorder.states` gives folders as a loss
of power may leave them: of what was written to a file since the sync of it, and of the names that
were changed since the sync of their folder, any part may be missing.

The long run over all calls, from the project's folder::

    python -m kist.testing.folders --states 4000
"""

from __future__ import annotations

import argparse
import os
import random
import runpy
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kist import options
from kist.storage import file
from kist.storage.base import view_of

__all__ = ["Change", "FolderCase", "FolderRecorder", "FolderState", "check_folder"]

_CALLS = (
    *("open", "pwrite", "pwritev", "ftruncate", "fsync"),
    *("link", "rename", "replace", "unlink", "mkdir", "rmdir"),
)
_FOLDER = -1
"""Number in the place of that of a file."""


class Change(NamedTuple):
    """One entry of a log.

    Attributes
    ----------
    kind : str
        "write", "resize", "sync", "names", "folder sync" or "note".
    number : int
        Of the file: they are counted as they appear.
    offset : int
        Of a write; the length of a resize.
    data : bytes
        What is written.
    names : dict of str to int or None
        Path -> number of the file that it leads to from then on, None for nothing; all at once.
    path : str
        Of the folder that is synced.
    note : object
        What `FolderRecorder.note` was given.
    """

    kind: str
    number: int = _FOLDER
    offset: int = 0
    data: bytes = b""
    names: Mapping[str, int | None] = {}
    path: str = ""
    note: Any = None


class FolderState(NamedTuple):
    """A folder as a crash may leave it.

    Attributes
    ----------
    label : str
        When it came, and what is missing.
    files : dict of str to bytes or None
        Path below the folder -> content; None for a folder.
    notes : list
        What had been noted by then.
    """

    label: str
    files: dict[str, bytes | None]
    notes: list[Any]

    def put(self, folder: Path) -> None:
        """Make it, in an empty folder."""
        for name in sorted(self.files):
            data = self.files[name]
            if data is None:
                (folder / name).mkdir(exist_ok=True)
            else:
                (folder / name).write_bytes(data)


class FolderRecorder:
    """Context: what is done to files below a folder is logged. All of it stands firm before.

    Parameters
    ----------
    folder : Path
        An existing one. What is done elsewhere is not logged.

    Attributes
    ----------
    log : list of Change
        In order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = os.path.realpath(folder)
        self.log: list[Change] = []
        self._numbers: dict[int, int] = {}  # inode -> number
        self._first: list[bytes] = []  # content of each file when it was met
        self._names: dict[str, int | None] = {}
        for where, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                path = os.path.join(where, name)
                self._names[path] = _FOLDER if os.path.isdir(path) else self._number(path)
        self._real: dict[str, Any] = {}

    def note(self, note: Any) -> None:
        """Put a mark into the log."""
        self.log.append(Change("note", note=note))

    def __enter__(self) -> FolderRecorder:
        system: Any = os
        storage: Any = file
        self._real = {name: getattr(os, name) for name in _CALLS}
        self._fdatasync = storage._fdatasync
        for name in _CALLS:
            setattr(system, name, getattr(self, f"_{name}", None) or self._named(name))
        storage._fdatasync = lambda fd: self._sync_of(fd)
        return self

    def __exit__(self, *exc: object) -> None:
        system: Any = os
        storage: Any = file
        for name, real in self._real.items():
            setattr(system, name, real)
        storage._fdatasync = self._fdatasync

    # What is logged

    def _number(self, path: str | int) -> int:
        """Return the number of a file, which is counted when it is met first."""
        inode = os.stat(path).st_ino
        if inode not in self._numbers:
            self._numbers[inode] = len(self._first)
            data = Path(path).read_bytes() if isinstance(path, str) else b""
            self._first.append(data)
        return self._numbers[inode]

    def _inside(self, path: str) -> bool:
        return path.startswith(self.folder + os.sep)

    def _known(self, fd: int) -> int | None:
        """Return the number of an open file, None of one elsewhere."""
        return self._numbers.get(os.fstat(fd).st_ino)

    def _open(self, path: Any, flags: int, *rest: Any, **named: Any) -> int:
        whole = os.path.abspath(os.fspath(path))
        new = bool(flags & os.O_CREAT) and not os.path.lexists(whole)
        fd: int = self._real["open"](path, flags, *rest, **named)
        if new and self._inside(whole):
            self.log.append(Change("names", names={whole: self._number(fd)}))
        return fd

    def _pwrite(self, fd: int, data: Any, offset: int) -> int:
        return self._pwritev(fd, [data], offset)

    def _pwritev(self, fd: int, buffers: Any, offset: int, *flags: Any) -> int:
        done: int = self._real["pwritev"](fd, buffers, offset, *flags)
        number = self._known(fd)
        if number is not None:
            data = b"".join(view_of(one).tobytes() for one in buffers)[:done]
            self.log.append(Change("write", number, offset, data))
        return done

    def _ftruncate(self, fd: int, n: int) -> None:
        self._real["ftruncate"](fd, n)
        number = self._known(fd)
        if number is not None:
            self.log.append(Change("resize", number, n))

    def _fsync(self, fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if os.path.isdir(path):
            self.log.append(Change("folder sync", path=path))
        else:
            self._sync_of(fd)

    def _sync_of(self, fd: int) -> None:
        number = self._known(fd)
        if number is not None:
            self.log.append(Change("sync", number))

    def _named(self, name: str) -> Callable[..., None]:
        def call(*paths: Any, **named: Any) -> None:
            whole = [os.path.abspath(os.fspath(path)) for path in paths if type(path) is not int]
            if named.get("dir_fd") is not None:  # as `shutil.rmtree` calls it
                whole = [os.path.join(os.readlink(f"/proc/self/fd/{named['dir_fd']}"), paths[0])]
            last = name == "unlink" and os.lstat(whole[0]).st_nlink == 1
            inode = os.lstat(whole[0]).st_ino if name != "mkdir" else 0
            self._real[name](*paths, **named)
            if self._inside(whole[0]):
                number = self._numbers.get(inode, _FOLDER)
                changed: dict[str, int | None] = {whole[0]: None}
                if name == "mkdir":
                    changed = {whole[0]: _FOLDER}
                elif name == "link":
                    changed = {whole[1]: number}
                elif name in ("rename", "replace"):
                    changed[whole[1]] = number
                self.log.append(Change("names", names=changed))
            if last:
                self._numbers.pop(inode, None)  # the next file may get it

        return call

    # What a crash leaves

    def states(self, *, seed: int = 0, limit: int | None = None) -> Iterator[FolderState]:
        """Yield folders as a loss of power before each change, and after the last, may leave them.

        Parameters
        ----------
        seed : int
            Of the samples.
        limit : int, optional
            Most of them, spread over the log; the last is what must be there in the end.

        Notes
        -----
        Of each moment there are: all that was done, what is surely there, two samples, and each of
        the names missing alone that no sync has made sure.
        """
        rng = random.Random(seed)
        moments: list[tuple[int, int | float]] = []
        for at in range(len(self.log) + 1):
            sure = self._sure(self.log[:at])
            moments += [(at, 1.0), (at, 0.0), (at, rng.random()), (at, rng.random())]
            moments += [(at, i) for i in range(at) if i not in sure and self.log[i].kind == "names"]
        if limit is not None and limit < len(moments):
            moments = [*sorted(rng.sample(moments, limit - 1)), (len(self.log), 0.0)]
        for at, way in moments:
            yield self._state(at, way, rng)

    def _state(self, at: int, way: int | float, rng: random.Random) -> FolderState:
        log = self.log[:at]
        sure = self._sure(log)
        if type(way) is int:
            kept = [i for i in range(at) if i != way]
        else:
            kept = [i for i in range(at) if i in sure or rng.random() < way]
        contents = [bytearray(data) for data in self._first]
        names = dict(self._names)
        for change in map(log.__getitem__, kept):
            if change.kind == "names":
                names.update(change.names)
            elif change.kind == "write":
                data = contents[change.number]
                data.extend(bytes(max(0, change.offset - len(data))))
                data[change.offset : change.offset + len(change.data)] = change.data
            elif change.kind == "resize":
                data = contents[change.number]
                del data[change.offset :]
                data.extend(bytes(change.offset - len(data)))
        files = {
            os.path.relpath(path, self.folder): None if n == _FOLDER else bytes(contents[n])
            for path, n in names.items()
            # What stands in a folder is gone with the name of that.
            if n is not None and all(names.get(one) == _FOLDER for one in self._above(path))
        }
        notes = [change.note for change in log if change.kind == "note"]
        missing = at - len(kept)
        return FolderState(f"change {at} of {len(self.log)}, {missing} missing", files, notes)

    def _above(self, path: str) -> Iterator[str]:
        folder = os.path.dirname(path)
        while folder != self.folder:
            yield folder
            folder = os.path.dirname(folder)

    def _sure(self, log: list[Change]) -> set[int]:
        """Return which changes are durable."""
        sure: set[int] = set()
        files: dict[int, list[int]] = {}
        folders: dict[str, list[int]] = {}
        for at, change in enumerate(log):
            if change.kind in ("write", "resize"):
                files.setdefault(change.number, []).append(at)
            elif change.kind == "sync":
                sure.update(files.pop(change.number, ()))
            elif change.kind == "names":
                (folder,) = {os.path.dirname(path) for path in change.names}
                folders.setdefault(folder, []).append(at)
            elif change.kind == "folder sync":
                sure.update(folders.pop(change.path, ()))
            else:
                sure.add(at)
        return sure

    def each(
        self, judge: Callable[[Path, FolderState], None], work: Path, **options: Any
    ) -> tuple[int, list[str]]:
        """Make each state in a folder, and have it judged; return their number, and what was wrong.

        Parameters
        ----------
        judge : callable
            Called with folder and state; raises when a promise is broken.
        work : Path
            Emptied before each state.
        options
            Those of `states`.
        """
        n, wrong = 0, []
        for state in self.states(**options):
            n += 1
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            state.put(work)
            try:
                judge(work, state)
            except Exception as error:
                wrong.append(f"{state.label}: {type(error).__name__}: {error}")
        return n, wrong


class FolderCase(NamedTuple):
    """A call that makes files, with all that it takes to check it.

    Attributes
    ----------
    make : callable
        Puts what the call begins with into an empty folder.
    run : callable
        Makes the call in that folder.
    contents : callable
        Gives what each file holds that has a name of its own, by path; raises for one that is not
        whole.
    """

    make: Callable[[Path], object]
    run: Callable[[Path], object]
    contents: Callable[[Path], Mapping[str, Any]]


def check_folder(
    case: FolderCase, work: Path, *, seed: int = 0, limit: int | None = None
) -> tuple[int, list[str]]:
    """Make a call, and judge what crashes at any time would leave of its folder.

    Each file that has its name must be whole, what stood there before must be there, or replaced by
    what the call makes, and all of that must be there once it has returned.

    Parameters
    ----------
    case : FolderCase
        The call.
    work : Path
        An empty folder.
    seed, limit : int
        As `FolderRecorder.states` takes them.

    Returns
    -------
    n, wrong : int, list of str
        States that were judged, and what was wrong.
    """
    folder = work / "made"
    folder.mkdir()
    case.make(folder)
    before = case.contents(folder)
    with FolderRecorder(folder) as recorder:
        case.run(folder)
        recorder.note("returned")
    after = case.contents(folder)
    if after == before:
        raise RuntimeError("the call has made nothing")

    def judge(left: Path, state: FolderState) -> None:
        found = case.contents(left)
        if "returned" in state.notes and found != after:
            raise AssertionError(f"{sorted(found)} are left of {sorted(after)}")
        for path in before:
            if path not in found:
                raise AssertionError(f"{path} is gone")
        for path, one in found.items():
            if one not in (before.get(path), after[path]):
                raise AssertionError(f"{path} is another")

    return recorder.each(judge, work / "left", seed=seed, limit=limit)


def main(arguments: Sequence[str] | None = None) -> int:
    """Crash calls that make several files; gives 1 when a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m kist.testing.folders", description=main.__doc__
    )
    parser.add_argument(
        "file",
        nargs="?",
        default="tests/crash/folder_workloads.py",
        help="Python file with CASES, a dict from name to FolderCase (default: %(default)s)",
    )
    parser.add_argument("--states", type=int, default=4000, help="states in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", action="append", help="only cases whose name contains this")
    given = parser.parse_args(arguments)
    if not os.path.exists(given.file):
        parser.error(f"there is no {given.file}; run this in a checkout, or name a file with CASES")
    # As if it was run itself: it may import its neighbours.
    sys.path.insert(0, os.path.dirname(os.path.abspath(given.file)))
    cases: dict[str, FolderCase] = runpy.run_path(given.file)["CASES"]
    chosen = [n for n in cases if not given.case or any(part in n for part in given.case)]
    if not chosen:
        parser.error(f"no such case; there are {', '.join(cases)}")
    options.n_threads = 1  # pages of a few thousand rows gain nothing from more
    total, failures = 0, 0
    for name in chosen:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            limit = max(1, given.states // len(chosen))
            n, wrong = check_folder(cases[name], Path(work), seed=given.seed, limit=limit)
        seconds = time.monotonic() - started
        print(f"{name}, seed {given.seed}, {seconds:.0f} s: {n} states, {len(wrong)} failures")
        for one in wrong[:5]:
            print(f"    {one}", flush=True)
        total, failures = total + n, failures + len(wrong)
    print(f"{len(chosen)} cases: {total:,} states, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
