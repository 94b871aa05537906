"""Datasets written by many workers: each writes files of its own, and all become one, or none.

A worker gives its file a name that nobody else uses, and hands the name back when the file is
complete. So a worker that dies leaves a file that nobody names, and one that is run again names
another. Only the named ones are merged or linked, in the order of the parts; the new store gets its
own name when all of it is there.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any, Final

import kist
from kist.errors import StorageError, StoreExistsError

__all__ = ["finish_parts", "new_parts", "write_part", "write_parts"]

_TURNS: Final = 3
"""Times that the parts of workers that died are given to new ones."""


def write_parts(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    out: str | os.PathLike[str],
    path: str,
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    linked: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Compute the parts of a dataset in parallel, and write them as one dataset of a new store.

    Parameters
    ----------
    function : callable
        Gives what ``store[path] = ...`` takes for an item: a structured array, a DataFrame, an
        array... All of one kind and dtype. It runs in other processes, so it must be importable.
    items : iterable
        One for each part, in the order in which their rows shall follow each other.
    out : path
        The new store. The file system must be shared with the workers.
    path : str
        Of the dataset in it.
    executor : concurrent.futures.Executor, optional
        Who computes; by default processes of its own, which are started anew when one dies.
    workers : int, optional
        How many of those; by default as many as Python thinks fit.
    linked : bool
        Do not merge: keep the files of the parts in a folder beside `out`, which links them as one
        table or array (`create_union` with ``files=``).
    overwrite : bool
        Replace `out`. Files that a linked one was made of stay, for who has it open: their folder
        can be removed later.
    progress : callable, optional
        Called with parts done and parts in all.

    Raises
    ------
    StoreExistsError
        `out` is there already; before anything is computed.
    StorageError
        Workers die again and again.
    DTypeError
        The parts have different dtypes; shows the difference.

    Notes
    -----
    All or nothing: what a function raises is raised here, and then no file is left.

    Examples
    --------
    >>> import kist, numpy as np
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor() as pool:
    ...     kist.write_parts(np.arange, [3, 2, 4], "counts.kist", "n", executor=pool)
    >>> kist.open("counts.kist")["n"][:]
    array([0, 1, 2, 0, 1, 0, 1, 2, 3])
    """
    todo = dict(enumerate(items))
    if not todo:
        raise ValueError("write_parts needs one item at least")
    n_parts = len(todo)
    files: dict[int, str] = {}
    with new_parts(out, overwrite, keep=linked) as folder:
        place = folder, path, linked
        for _ in range(_TURNS):
            try:
                for number, file in _computed(executor, workers, function, todo, place):
                    files[number] = file
                    del todo[number]
                    if progress is not None:
                        progress(len(files), n_parts)
                break
            except BrokenProcessPool as error:
                if executor is not None:
                    raise StorageError(
                        f"{os.fspath(out)!r}: a worker died after {len(files)} of {n_parts} parts, "
                        "and its pool with it; without executor= new workers take over"
                    ) from error
        else:
            raise StorageError(
                f"{os.fspath(out)!r}: workers died {_TURNS} times, with {len(todo)} of {n_parts} "
                "parts left; do they have the memory that they need?"
            )
        named = [files[number] for number in range(n_parts)]
        finish_parts(named, out, path, linked=linked, overwrite=overwrite)


def _computed(
    executor: Executor | None,
    workers: int | None,
    function: Callable[[Any], Any],
    todo: dict[int, Any],
    place: tuple[str, str, bool],
) -> Iterator[tuple[int, str]]:
    """Yield (number, file) of each part as it is done."""
    import multiprocessing

    # Not fork: a child would have the locks of threads that it does not have.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, spawn) if executor is None else executor
    try:
        futures = {
            pool.submit(_call, function, item, *place): number for number, item in todo.items()
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            # What runs already would write into a folder that is about to go.
            wait([future for future in futures if not future.cancel()])
    finally:
        if executor is None:
            pool.shutdown(wait=True, cancel_futures=True)


def _call(function: Callable[[Any], Any], item: Any, folder: str, path: str, lasts: bool) -> str:
    return write_part(function(item), folder, path, lasts)


def write_part(data: Any, folder: str, path: str, lasts: bool) -> str:
    """Write one part, and return the file: complete, and named by nobody else."""
    file = os.path.join(folder, f"{secrets.token_hex(12)}.kist")
    if hasattr(data, "reset_index"):
        # Unnamed labels are those of a part; the whole has positions.
        unnamed = all(name is None for name in data.index.names)
        data = data.reset_index(drop=True) if unnamed else data.reset_index()
    # Parts that are merged are gone before anybody could need them again: not synced.
    with kist.open(file, "x", durability="full" if lasts else "none") as store:
        store[path] = data
    return file


@contextmanager
def new_parts(out: str | os.PathLike[str], overwrite: bool, *, keep: bool) -> Iterator[str]:
    """Make a folder beside a new store for its parts; it goes with the block, if not to `keep`.

    Nothing names it before the new store does, which is the last step.
    """
    target = os.path.abspath(os.fspath(out))
    if os.path.lexists(target) and not overwrite:
        raise StoreExistsError(f"{target!r} exists already; overwrite=True replaces it")
    folder = f"{target}.{secrets.token_hex(4)}.parts"
    try:
        os.mkdir(folder)
    except OSError as error:
        raise _refused(folder, "the folder cannot be made", error) from error
    try:
        yield folder
    except BaseException:
        keep = False
        raise
    finally:
        # A worker that nobody waits for may still write to it: that is its own error.
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def finish_parts(
    files: list[str], out: str | os.PathLike[str], path: str, *, linked: bool, overwrite: bool
) -> None:
    """Make one store of the files of all parts, which gets its name last."""
    missing = [file for file in files if not os.path.exists(file)]
    if missing:
        raise StorageError(
            f"{len(missing)} of {len(files)} parts are not there, the first is {missing[0]!r}: do "
            "workers write to the same file system?"
        )
    if not linked:
        kist.merge(files, out, overwrite=overwrite)
        return
    target = os.path.abspath(os.fspath(out))
    folder = os.path.dirname(files[0])
    width = max(5, len(str(len(files))))
    names = [os.path.join(folder, f"{n:0{width}}.kist") for n in range(1, len(files) + 1)]
    for file, name in zip(files, names, strict=True):
        os.rename(file, name)
    for left in set(os.listdir(folder)) - set(map(os.path.basename, names)):
        with suppress(FileNotFoundError):  # one that was only thought dead has failed by now
            os.unlink(os.path.join(folder, left))  # of workers that died
    made, old = f"{folder}.kist", f"{folder}.old"
    given = None
    try:
        _sync(folder)
        with kist.open(made, "x") as store:
            store.create_union(path, path, files=names)
        # The folder needs its name for sure before the store that leads to it gets one.
        _sync(os.path.dirname(target))
        given = os.stat(made)
        if not overwrite:
            _give_name(made, target)
        else:
            with suppress(OSError):  # nothing to keep, or a file system without second names
                os.link(target, old)
            os.replace(made, target)
        _sync(os.path.dirname(target))
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(made)
        with suppress(FileNotFoundError):
            # Without its parts it would be of no use; what others put there stays.
            if given is not None and _facts(os.lstat(target)) == _facts(given):
                os.unlink(target)
        if os.path.lexists(old):
            os.replace(old, target)
        raise
    with suppress(FileNotFoundError):
        os.unlink(old)


def _facts(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_dev, found.st_ino, found.st_mtime_ns  # numbers alone are given anew


def _give_name(made: str, target: str) -> None:
    """Give a store its name, if nobody was faster."""
    try:
        os.link(made, target)  # unlike a rename, it never replaces what came in between
    except OSError as error:
        if os.path.lexists(target):
            raise StoreExistsError(
                f"{target!r} exists by now: somebody else made it meanwhile; overwrite=True "
                "replaces it"
            ) from error
        os.rename(made, target)  # a file system without second names
        return
    os.unlink(made)


def _sync(folder: str) -> None:
    """Make the names in a folder last."""
    if os.name == "nt":  # folders have no descriptors there
        return
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise _refused(folder, "the folder cannot be synced", error) from error


def _refused(path: str, what: str, error: OSError) -> StorageError:
    found = StorageError(f"{path!r}: {what}: {error.strerror}")
    found.errno, found.filename = error.errno, path
    return found
