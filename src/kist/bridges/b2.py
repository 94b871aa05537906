"""Blosc2's own files: an array (``.b2nd``), or a frame of bytes (``.b2frame``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import numpy as np

from kist.bridges.base import BLOCK_ROWS, Bridge, Job, as_dtype, rows_for
from kist.bridges.nodes import full_text, plain_columns
from kist.bridges.plain import from_json, to_json
from kist.bridges.report import Loss
from kist.errors import ConversionError

__all__ = ["LOSSES", "Blosc2", "read_array", "read_attributes", "read_frame", "write_dataset"]

Array = np.ndarray[Any, Any]

LOSSES: Final = {
    "blosc2.text": Loss("changed", "text of any length", "text as wide as the longest (U)"),
    "blosc2.categories": Loss("changed", "categories of a column", "their values"),
    "blosc2.missing": Loss("changed", "missing text", "empty text"),
    "blosc2.attribute": Loss("not kept", "attribute that kist cannot hold", "nothing"),
}


class Blosc2(Bridge):
    """Files of Blosc2. Option, on the way in: ``dtype`` of a frame, which knows none."""

    name: ClassVar[str] = "blosc2"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    errors: ClassVar[tuple[type[Exception], ...]] = (OSError, RuntimeError, ValueError)

    def read(self, job: Job, source: str) -> None:
        import blosc2

        with job.reading(source):
            try:
                found = blosc2.open(source, mode="r")
            except blosc2.UnsafeDeserializationError as error:
                raise ConversionError(f"{source}: would run code when it is opened") from error
            if isinstance(found, blosc2.NDArray):
                read_array(job, found, source, job.base)
            elif isinstance(found, blosc2.SChunk):
                read_frame(job, found, source, job.base)
            else:
                raise ConversionError(
                    f"{source}: holds a {type(found).__name__}; kist reads arrays and frames"
                )

    def write(self, job: Job, node: Any, target: str) -> None:
        if node.kind not in ("array", "table"):
            raise ConversionError(
                f"{node.name!r} ({node.kind}): a Blosc2 file holds one array or table"
            )
        with job.writing():
            write_dataset(job, node, target)


def read_attributes(job: Job, vlmeta: Any, place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the attributes in a file, and what kist knew when it wrote it."""
    attrs: dict[str, Any] = {}
    for name in vlmeta:
        value = vlmeta[name]
        if isinstance(value, bytes | str | int | float | list | dict | tuple) or value is None:
            attrs[str(name)] = value
        else:
            job.note("blosc2.attribute", f"{place}@{name}")
    text = attrs.pop("KIST", None)
    known: dict[str, Any] = from_json(text) if isinstance(text, str) else {}
    for name in known.get("json", ()):
        if isinstance(attrs.get(name), str):
            attrs[name] = from_json(attrs[name])
    return attrs, known


def read_array(job: Job, array: Any, place: str, path: str) -> None:
    """Read an array into a node: rows as a table."""
    attrs, known = read_attributes(job, array.schunk.vlmeta, place)
    dtype = as_dtype(array.dtype)
    if dtype.hasobject:
        raise ConversionError(f"{place}: holds Python objects, which kist does not unpickle")
    if dtype.names is not None and array.ndim == 1 and known.get("kind") != "array":
        size = rows_for(dtype.itemsize)
        n_rows = array.shape[0]

        def rows(first: int) -> Iterator[Array]:
            starts = range(first, n_rows, size)
            return (np.asarray(array[k : min(k + size, n_rows)], dtype) for k in starts)

        made = job.table(path, dtype, rows, attrs=attrs)
        for name, values in known.get("columns", {}).items():
            made[name].attrs.update(values)
        return

    def read(where: tuple[slice, ...]) -> Array:
        return np.asarray(array[where], dtype).reshape([s.stop - s.start for s in where])

    job.array(
        path, array.shape, dtype, read, cut=array.chunks if array.shape else None, attrs=attrs
    )


def read_frame(job: Job, schunk: Any, place: str, path: str) -> None:
    """Read the bytes of a frame as an array of one axis."""
    wanted = job.option("dtype")
    attrs, known = read_attributes(job, schunk.vlmeta, place)
    width = int(schunk.typesize)
    dtype = np.dtype(wanted or known.get("dtype") or ("u1" if width == 1 else f"V{width}"))
    if dtype.itemsize != width or dtype.hasobject:
        raise ConversionError(f"{place}: items have {width} bytes, which is no {dtype}")

    def read(where: tuple[slice, ...]) -> Array:
        return np.frombuffer(schunk.get_slice(where[0].start, where[0].stop), dtype)

    attrs["BLOSC2"] = {"frame": True}
    shape = (int(schunk.nbytes) // width,)
    job.array(path, shape, dtype, read, cut=(schunk.chunkshape,), attrs=attrs)


def write_dataset(job: Job, node: Any, target: str) -> None:
    """Write an array or table as a file of its own."""
    import blosc2

    known: dict[str, Any] = {}
    if node.kind == "table":
        plain_columns(job, "blosc2.categories", node, "Blosc2")
        texts = [name for name in node.columns if node[name].dtype.char == "T"]
        if texts:
            raise ConversionError(f"{node.name}: Blosc2 has no text of any length ({texts[0]})")
        dtype, shape, chunks = node.dtype, (len(node),), (BLOCK_ROWS,)
        columns = {name: dict(node[name].attrs) for name in node.columns}
        known["columns"] = {name: found for name, found in columns.items() if found}
    else:
        dtype, shape, chunks = node.dtype, node.shape, node.chunks
        if dtype.names is not None and len(shape) == 1:
            known["kind"] = "array"
    if dtype.char == "T":
        dtype = _fixed(job, node)
    frame = "frame" in (node.attrs.get("BLOSC2") or {}) and len(shape) == 1
    if frame:
        made = blosc2.SChunk(
            chunksize=max(1, chunks[0]) * dtype.itemsize, urlpath=target, contiguous=True,
            mode="w", cparams={"typesize": dtype.itemsize},
        )  # fmt: skip
        known["dtype"] = dtype.str
    else:
        fits = [max(1, min(c, n)) for c, n in zip(chunks, shape, strict=True)]
        options = {"chunks": tuple(fits)} if shape and 0 not in shape else {}
        made = blosc2.zeros(shape, dtype, urlpath=target, contiguous=True, mode="w", **options)
    schunk = made if frame else made.schunk
    if node.kind == "table":
        done = 0
        for block in job.table_blocks(node):
            made[done : done + len(block)] = block
            done += len(block)
    else:
        for where, values in job.array_parts(node, (chunks[0],) if frame else None):
            values = full_text(job, "blosc2.missing", values, node.name).astype(dtype, copy=False)
            if frame:
                _extend(schunk, values, chunks[0])
            elif not shape:
                _put_alone(blosc2, schunk, made, values)
            else:
                made[where] = values
    for name, value in node.attrs.items():
        if name != "BLOSC2":
            plain = type(value) in (str, int, float, bool) and not _is_long(value)
            schunk.vlmeta[name] = value if plain else to_json(value)
            if not plain:
                known.setdefault("json", []).append(name)
    known = {name: value for name, value in known.items() if value}
    if known:
        schunk.vlmeta["KIST"] = to_json(known)


def _put_alone(blosc2: Any, schunk: Any, made: Any, values: Array) -> None:
    """Write the only item of an array; times of it Blosc2 takes for objects."""
    if values.dtype.kind in "Mm":
        packed = blosc2.asarray(values.reshape(1), chunks=(1,), blocks=(1,))
        schunk.update_chunk(0, packed.schunk.get_chunk(0))
    else:
        made[...] = values


def _extend(schunk: Any, values: Array, size: int) -> None:
    """Append to a frame, chunk by chunk: all but the last have the size of a chunk."""
    for start in range(0, len(values), size):
        schunk.append_data(np.ascontiguousarray(values[start : start + size]))


def _fixed(job: Job, array: Any) -> Any:
    """Return the narrowest dtype of fixed width for the text of an array."""
    job.note("blosc2.text", array.name)
    width = 1
    for block in array.blocks(BLOCK_ROWS) if array.shape else (array[...],):
        found = np.asarray(block).astype(object).reshape(-1).tolist()
        width = max([width, *(len(text) for text in found if type(text) is str)])
    return np.dtype(f"U{width}")


def _is_long(value: Any) -> bool:
    return isinstance(value, int) and not -(2**63) <= value < 2**64
