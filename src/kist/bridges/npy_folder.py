"""A folder of NumPy's files, one for each run: in a store it is one key store."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, Any, ClassVar, Final

import numpy as np

from kist.bridges.base import Bridge, Job
from kist.bridges.filearray import FileArray
from kist.bridges.npy import LOSSES as OF_FILES
from kist.bridges.npy import (
    by_numpy,
    filled_text,
    in_file,
    mapped,
    refuse_bombs,
    unpacked,
    write_header,
)
from kist.bridges.report import Loss
from kist.errors import ConversionError

__all__ = ["NpyFolder"]

Array = np.ndarray[Any, Any]

LOSSES: Final = {
    **{code: OF_FILES[code] for code in ("npy.attributes", "npy.text", "npy.missing", "npz.other")},
    "folder.other": Loss("not kept", "file or link in a folder, neither .npz nor .npy", "nothing"),
    "folder.key": Loss("changed", "key that is a number", "name of a file: its digits"),
    "folder.sequence": Loss("changed", "list or tuple of arrays", "members arr_0, arr_1, ..."),
    "folder.number": Loss("changed", "plain number or text", "array without dimensions"),
    "folder.value": Loss("not kept", "value that NumPy's files cannot hold", "nothing"),
}

_SMALL: Final = 16 << 20
"""Smaller members are read at once, larger ones through a map of their own file."""

_PLAIN: Final = (bool, int, float, complex, str, bytes)


class NpyFolder(Bridge):
    """Folders of NPZ and NPY files. Options: ``max_bytes`` of one file to read, ``compress``."""

    name: ClassVar[str] = "folder"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    in_steps: ClassVar[bool] = False

    def read(self, job: Job, source: str) -> None:
        most = job.option("max_bytes")
        found = _files(job, source)
        if not found:
            raise ConversionError(f"{source}: holds neither .npz nor .npy files")
        job.keystore(job.base, _values(job, found, most))

    def write(self, job: Job, node: Any, target: str) -> None:
        if node.kind != "key store":
            raise ConversionError(
                f"{node.name!r} ({node.kind}): a folder of NumPy's files is made of a key store"
            )
        method = zipfile.ZIP_DEFLATED if job.option("compress", False) else zipfile.ZIP_STORED
        if node.attrs:
            job.note("npy.attributes", f"{node.name} ({len(node.attrs):,})")
        with job.writing():
            os.mkdir(target)
        for key in node:
            value = node.open(key)  # arrays stay where they are until they are written
            place = f"{node.name}[{key!r}]"
            path = os.path.join(target, *_parts(job, key, place))
            with job.writing():
                os.makedirs(os.path.dirname(path), exist_ok=True)
                _write(job, value, path, place, method)
        job.report.count_keystore(node)


# Reading


def _files(job: Job, source: str) -> dict[str, str]:
    """Return the files of a folder by their keys: paths below it, without the ending."""
    found: dict[str, str] = {}
    for folder, folders, names in os.walk(source, onerror=_raise):
        folders.sort()
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):  # not gone into
                job.note("folder.other", os.path.join(folder, name))
        for name in sorted(names):
            file = os.path.join(folder, name)
            stem, ending = os.path.splitext(os.path.relpath(file, source))
            if ending.lower() not in (".npz", ".npy") or not os.path.isfile(file):
                job.note("folder.other", file)
                continue
            key = stem.replace(os.sep, "/")
            if key in found:
                raise ConversionError(f"{found[key]} and {file}: both would be the key {key!r}")
            found[key] = file
            job.total += os.path.getsize(file)
    return found


def _raise(error: OSError) -> None:
    raise error


def _values(job: Job, found: dict[str, str], most: int | None) -> Iterator[tuple[str, Any]]:
    with ExitStack() as opened:
        for key, file in found.items():
            with job.reading(file):
                value = _load(job, file, most, opened)
            yield key, value
            job.advance(os.path.getsize(file))
            opened.close()  # a map goes on without its file


@contextmanager
def _copy_of(file: str) -> Iterator[IO[bytes]]:
    with open(file, "rb") as data, tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(data, copy, 1 << 20)
        copy.seek(0)
        yield copy


def _load(job: Job, file: str, most: int | None, opened: ExitStack) -> Any:
    """Return the array of a file, or a dict of those in an archive."""
    if file.lower().endswith(".npy"):
        array = in_file(file)
        if not isinstance(array, FileArray):
            return array
        if array.nbytes <= _SMALL:
            return array[:] if array.ndim else array[()]
        # A value is mapped while it is stored: of a file that nobody else knows.
        return mapped(opened.enter_context(_copy_of(file)), file)
    archive = opened.enter_context(zipfile.ZipFile(file))
    members = archive.infolist()
    refuse_bombs(file, members, most)
    arrays: dict[str, Array] = {}
    for member in members:
        place = f"{file}:{member.filename}"
        name = member.filename.removesuffix(".npy")
        if name == member.filename or member.is_dir():
            job.note("npz.other", place)
        elif name in arrays:
            raise ConversionError(f"{place}: is there twice")
        elif member.file_size <= _SMALL:
            arrays[name] = by_numpy(io.BytesIO(archive.read(member)), place)
        else:
            data = opened.enter_context(unpacked(archive, member))
            arrays[name] = mapped(data, place)
    return arrays


# Writing


def _parts(job: Job, key: Any, place: str) -> list[str]:
    """Return the folders of a key and the name of its file, without the ending."""
    if isinstance(key, bytes):
        raise ConversionError(f"{place}: a key of bytes is no name of a file")
    if not isinstance(key, str):
        job.note("folder.key", place)
        key = str(key)
    parts: list[str] = key.split("/")
    if any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
        raise ConversionError(f"{place}: is no path below the folder")
    return parts


def _write(job: Job, value: Any, path: str, place: str, method: int) -> None:
    """Write one value as the file that holds it."""
    if isinstance(value, list | tuple):
        job.note("folder.sequence", place)
        value = {f"arr_{at}": item for at, item in enumerate(value)}
    if not isinstance(value, dict):
        array = _array(job, value, place)
        if array is not None:
            with open(path + ".npy", "xb") as file:
                _put(job, array, file)
        return
    with (
        open(path + ".npz", "xb") as file,
        zipfile.ZipFile(file, "w", method, compresslevel=1) as archive,
    ):
        for name, item in value.items():
            array = _array(job, item, f"{place}[{name!r}]") if isinstance(name, str) else None
            if array is None:
                if not isinstance(name, str):
                    job.note("folder.value", f"{place}[{name!r}]")
                continue
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                _put(job, array, member)


def _array(job: Job, value: Any, place: str) -> Any:
    """Return what stands for a value in NumPy's files; None, and a note, if nothing can."""
    if type(value) in _PLAIN and (type(value) is not int or -(2**63) <= value < 2**63):
        job.note("folder.number", place)
        return np.array(value)
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        job.note("folder.value", place)
        return None
    if value.dtype.char != "T":
        return value
    job.note("npy.text", place)
    texts = filled_text(job, value[...], place)
    width = max([1, *np.strings.str_len(texts).reshape(-1).tolist()])
    return texts.astype(f"U{width}")


def _put(job: Job, array: Any, file: IO[bytes]) -> None:
    """Write an array, a large one part by part along its first axis."""
    if array.nbytes <= _SMALL or not array.ndim:
        np.lib.format.write_array(file, np.asarray(array[...]), allow_pickle=False)
        job.advance(array.nbytes)
        return
    write_header(file, array.dtype, array.shape)
    step = max(1, _SMALL * len(array) // array.nbytes)
    for at in range(0, len(array), step):
        part: Any = np.ascontiguousarray(array[at : at + step])
        file.write(memoryview(part.reshape(-1).view(np.uint8)))
        job.advance(part.nbytes)
