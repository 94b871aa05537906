"""NumPy's own files: one array (NPY), or several of them in a ZIP archive (NPZ)."""

from __future__ import annotations

import contextlib
import io
import math
import mmap
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Any, ClassVar, Final

import numpy as np

from kist.bridges.base import BLOCK_ROWS, Bridge, Job, rows_for
from kist.bridges.filearray import held
from kist.bridges.nodes import paths_above, plain_columns
from kist.bridges.nulls import paired
from kist.bridges.report import Loss
from kist.errors import ConversionError, CorruptDataError

__all__ = ["Npy", "Npz"]

Array = np.ndarray[Any, Any]

LOSSES: Final = {
    "npy.attributes": Loss("not kept", "attributes", "nothing"),
    "npy.text": Loss("changed", "text of any length", "text as wide as the longest (U)"),
    "npy.categories": Loss("changed", "categories of a column", "their values"),
    "npy.missing": Loss("changed", "missing text", "empty text"),
    "npz.other": Loss("not kept", "member of the archive that is no array", "nothing"),
    "npz.keystore": Loss("changed", "key store", "an array for each array in it"),
    "npz.group": Loss("not kept", "group in which there is no array or table", "nothing"),
    "npz.link": Loss("not kept", "link", "nothing"),
    "npz.value": Loss("not kept", "value of a key store that is no array", "nothing"),
}

_SMALL: Final = 1 << 20
"""Smaller members of an archive are unpacked in memory, larger ones into a file."""

_RATIO: Final = 200
_FREE: Final = 1 << 30
"""An archive that says it holds more than so many bytes, and so many times its size, is refused."""


class Npy(Bridge):
    """NPY files, read part by part."""

    name: ClassVar[str] = "npy"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES

    def read(self, job: Job, source: str) -> None:
        with job.reading(source):
            _store(job, in_file(source), job.base)

    def write(self, job: Job, node: Any, target: str) -> None:
        if node.kind not in ("array", "table"):
            raise ConversionError(
                f"{node.name!r} ({node.kind}): an NPY file holds one array or table: use .npz"
            )
        with job.writing(), open(target, "wb") as file:
            _write(job, node, file)


class Npz(Bridge):
    """NPZ archives. Options: ``max_bytes`` to read, ``compress`` to write."""

    name: ClassVar[str] = "npz"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    is_tree: ClassVar[bool] = True

    def read(self, job: Job, source: str) -> None:
        most = job.option("max_bytes")
        with job.reading(source), zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            refuse_bombs(source, members, most)
            job.total = sum(member.file_size for member in members)
            job.group(job.base)
            for member in members:
                place = f"{source}:{member.filename}"
                name = member.filename.removesuffix(".npy")
                if name == member.filename or member.is_dir():
                    job.note("npz.other", place)
                    continue
                with job.reading(place), _opened(archive, member) as file:
                    _store(job, mapped(file, place), job.path(name))

    def write(self, job: Job, node: Any, target: str) -> None:
        method = zipfile.ZIP_DEFLATED if job.option("compress", False) else zipfile.ZIP_STORED
        with job.writing(), zipfile.ZipFile(target, "w", method, compresslevel=1) as archive:
            for name, part in _leaves(job, node):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    _write(job, part, file)


# Reading


def mapped(file: str | IO[bytes], place: str) -> Array:
    """Return an array over bytes or a file, without loading it: one that nobody makes shorter.

    Raises
    ------
    ConversionError
        It holds pickled objects, which could run code.
    """
    whole = isinstance(file, str)
    with open(file, "rb") if isinstance(file, str) else contextlib.nullcontext(file) as data:
        version = np.lib.format.read_magic(data)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(data)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(data)
        else:
            # Version 3 is version 2 with a header in UTF-8, for which NumPy has no public reader.
            return by_numpy(file, place)
        if dtype.hasobject:
            raise ConversionError(f"{place}: holds pickled objects, which kist does not unpickle")
        offset = data.tell()
        memory = data.getbuffer() if isinstance(data, io.BytesIO) else None
        size = os.fstat(data.fileno()).st_size if memory is None else memory.nbytes
    nbytes = math.prod(shape) * dtype.itemsize
    if size - offset < nbytes:
        raise CorruptDataError(
            f"{place}: is cut short: {size - offset:,} bytes of {nbytes:,} are there"
        )
    order: Any = "F" if fortran else "C"
    if not nbytes:
        return np.zeros(shape, dtype)
    if memory is not None:
        return np.ndarray(shape, dtype, memory, offset, order=order)
    return np.memmap(file if whole else data, dtype, "r", offset, shape, order)


def by_numpy(file: str | IO[bytes], place: str) -> Array:
    """Return an array as NumPy reads it, of a file by its name through a map.

    Raises
    ------
    ConversionError
        It holds pickled objects, which could run code.
    """
    try:
        if not isinstance(file, str):
            file.seek(0)
            return np.asarray(np.load(file, allow_pickle=False))
        return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except ValueError as error:
        if "object" in str(error).lower():
            raise ConversionError(
                f"{place}: holds pickled objects, which kist does not unpickle"
            ) from error
        raise


def in_file(source: str) -> Any:
    """Return the array of an NPY file as one that is read when it is asked for."""
    return held(mapped(source, source))


def _store(job: Job, values: Any, path: str) -> None:
    """Put an array into the store: rows as a table, as by assignment."""
    if values.dtype.names is not None and values.ndim == 1:
        size = rows_for(values.dtype.itemsize)

        def rows(first: int) -> Iterator[Array]:
            cuts = (slice(k, k + size) for k in range(first, len(values), size))
            return (np.array(_part(values, cut)) for cut in cuts)

        job.table(path, values.dtype, rows)
        return
    job.array(path, values.shape, values.dtype, lambda where: _part(values, where))


def _part(values: Any, where: Any) -> Array:
    """Return a part of an array, and let go of what a map holds of the parts before."""
    mapping = getattr(values, "_mmap", None)
    if mapping is not None and hasattr(mapping, "madvise"):
        # Else the whole file stays resident; a part that is still in use is only mapped again.
        mapping.madvise(mmap.MADV_DONTNEED)
    return np.asarray(values[where])


def refuse_bombs(source: str, members: list[zipfile.ZipInfo], most: int | None) -> None:
    """Raise for an archive that would unpack to far more than it is.

    Raises
    ------
    ConversionError
        By the sizes that it declares; those are compared again while it is unpacked.
    """
    size = os.path.getsize(source)
    total = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if packed > size:
        raise ConversionError(f"{source}: members overlap, as in a ZIP bomb")
    limit = max(_FREE, _RATIO * size) if most is None else most
    if total > limit:
        raise ConversionError(
            f"{source}: {size:,} bytes would become {total:,}, as in a ZIP bomb; max_bytes={total} "
            "allows it"
        )


@contextlib.contextmanager
def unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """Give a temporary file with a member's bytes, so that any part of it can be read."""
    with archive.open(member) as data, tempfile.TemporaryFile() as file:
        left = member.file_size
        while part := data.read(1 << 20):
            left -= len(part)
            if left < 0:
                raise CorruptDataError(f"{member.filename}: is longer than the archive says")
            file.write(part)
        file.seek(0)
        yield file


def _opened(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> contextlib.AbstractContextManager[IO[bytes]]:
    """Give a member's bytes: in memory where they are few, of which there may be very many."""
    if member.file_size > _SMALL:
        return unpacked(archive, member)
    return io.BytesIO(archive.read(member))


# Writing


def _leaves(job: Job, node: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, array or table or ndarray) of all that a node holds."""
    if node.kind != "group":
        named = [(node.name.rsplit("/", 1)[-1], node)]
    else:
        job.report.n_groups += 1
        _note_attributes(job, node)
        named = []
        node.visititems(lambda name, found: named.append((name, found)))
    full = paths_above(name for name, found in named if found.kind not in ("group", "link"))
    for name, found in named:
        if found.kind == "group":
            if name not in full:
                job.note("npz.group", found.name)
                continue
            job.report.n_groups += 1
            _note_attributes(job, found)
        elif found.kind == "link":
            job.note("npz.link", found.name)
        elif found.kind == "key store":
            job.note("npz.keystore", found.name)
            job.report.count_keystore(found)
            for key, value in found.items():
                yield from _arrays(job, f"{name}/{key}", value)
        else:
            yield name, found


def _arrays(job: Job, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arrays in a value of a key store."""
    if isinstance(value, np.ndarray | np.generic) and np.asarray(value).dtype.char != "T":
        yield name, np.asarray(value)
    elif isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _arrays(job, f"{name}/{key}", item)
    else:
        job.note("npz.value", name)


def _note_attributes(job: Job, node: Any) -> None:
    count = len(node.attrs)
    if node.kind == "table":
        count += sum(len(node[name].attrs) for name in node.columns)
    if count:
        job.note("npy.attributes", f"{node.name} ({count:,})")


def _write(job: Job, node: Any, file: IO[bytes]) -> None:
    """Write one array or table, part by part from its first element to its last."""
    if isinstance(node, np.ndarray):
        np.lib.format.write_array(file, node, allow_pickle=False)
        job.report.n_arrays += 1
        job.advance(node.nbytes)
        return
    _note_attributes(job, node)
    if node.kind == "table":
        _write_rows(job, node, file)
        return
    dtype = _fixed(job, node, node.name) if node.dtype.char == "T" else node.dtype
    write_header(file, dtype, node.shape)
    chunks = node.chunks
    inner = math.prod(node.shape[1:]) * dtype.itemsize
    # Rows of whole chunks, unless those are too many; never cut across: bytes follow each other.
    whole = bool(chunks) and chunks[0] * inner <= 64 << 20
    cut = (chunks[0], *node.shape[1:]) if whole else (1,) * len(node.shape)
    for _, values in job.array_parts(node, cut):
        file.write(_bytes_of(job, values, dtype, node.name))


def _write_rows(job: Job, table: Any, file: IO[bytes]) -> None:
    plain_columns(job, "npy.categories", table, "NumPy")
    texts = [name for name in table.columns if table[name].dtype.char == "T"]
    if not texts:
        write_header(file, table.dtype, (len(table),))
        for block in job.table_blocks(table):
            file.write(_bytes_of(job, block, table.dtype, table.name))
        return
    fields = []
    for name in table.columns:
        column = table[name]
        found = _fixed(job, column, f"{table.name}.{name}") if name in texts else column.dtype
        fields.append((name, found, column.shape[1:]))
    dtype = np.dtype(fields)
    write_header(file, dtype, (len(table),))
    columns = [table[name].blocks(BLOCK_ROWS) for name in table.columns]
    for arrays in zip(*columns, strict=True):
        block = np.zeros(len(arrays[0]), dtype)
        for name, values in zip(table.columns, arrays, strict=True):
            block[name] = filled_text(job, values, table.name) if name in texts else paired(values)
        file.write(_bytes_of(job, block, dtype, table.name))
        job.report.n_rows += len(block)
        job.advance(block.nbytes)
    job.report.n_tables += 1


def write_header(file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Write what stands before the bytes of an array in C order."""
    described = np.lib.format.dtype_to_descr(dtype)
    header: Any = {"descr": described, "fortran_order": False, "shape": tuple(map(int, shape))}
    try:
        np.lib.format.write_array_header_1_0(file, header)
    except ValueError:
        np.lib.format.write_array_header_2_0(file, header)  # more fields than 64 KiB describe


def _fixed(job: Job, data: Any, place: str) -> np.dtype[Any]:
    """Return the narrowest dtype of fixed width for text."""
    job.note("npy.text", place)
    width = 1
    for block in data.blocks(BLOCK_ROWS) if data.shape else (data[()],):
        if np.asarray(block).size:
            width = max(width, int(np.strings.str_len(filled_text(job, block, place)).max()))
    return np.dtype(f"U{width}")


def filled_text(job: Job, values: Any, place: str) -> Array:
    """Return text with empty strings where it is missing."""
    texts = np.asarray(values).astype(object)
    flat = texts.reshape(-1)
    missing = [at for at, text in enumerate(flat.tolist()) if type(text) is not str]
    if missing:
        job.note("npy.missing", place)
        flat[missing] = ""
    return texts.astype(np.dtypes.StringDType())


def _bytes_of(job: Job, values: Array, dtype: np.dtype[Any], place: str) -> Any:
    if values.dtype.char == "T":
        values = filled_text(job, values, place).astype(dtype)
    if not values.size or not dtype.itemsize:
        return b""
    raw: Any = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return memoryview(raw)
