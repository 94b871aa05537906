"""One dataset of an HDF5 file as an array, a table, or, where rows differ in length, two arrays."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.bridges.base import TEXT, parts_of
from kist.bridges.hdf5 import pytables
from kist.bridges.hdf5.described import told
from kist.bridges.hdf5.exact import Exact, cells, is_foreign
from kist.bridges.hdf5.read_tables import read_table, restore_nulls, restore_text
from kist.bridges.hdf5.types import Plan, plan_of
from kist.bridges.hdf5.values import Texts, to_stored
from kist.bridges.nodes import put_ragged
from kist.bridges.plain import from_json
from kist.errors import ConversionError
from kist.extras import need

if TYPE_CHECKING:
    from kist.bridges.hdf5.read import Source

__all__ = ["read_dataset", "restore"]

Array = np.ndarray[Any, Any]

_SHORT: Final = 1024
"""Bytes of text up to which parts are cut by a guess."""
_TINY: Final = 64 << 10


def read_dataset(source: Source, dataset: Any, path: str, place: str) -> None:
    """Read one dataset into the store; notes name its place."""
    job, h5py = source.job, source.h5py
    attrs, facts = source.attributes(dataset)
    reader: Any = dataset
    kind = dataset.id.get_type()
    try:
        dtype = dataset.dtype
    except TypeError:
        # h5py knows no H5T_TIME; PyTables, which writes it, does.
        if not source.by_pytables:
            job.note("hdf5.dtype", place)
            return
        dtype = pytables.dtype_of(h5py, kind)
        reader = _Leaf(source, dataset.name, dtype)
    if not facts and "KIST" not in attrs and _is_tiny(source, dataset, dtype, kind):
        values = np.empty(dataset.shape, dtype)
        dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
        job.small_array(path, values, attrs)
        return
    if source.by_pytables and reader is dataset and not dtype.hasobject:
        found = pytables.dtype_of(h5py, kind)
        if found != dtype:
            reader, dtype = _Viewed(dataset, found), found
    if dataset.shape is None or not (source.by_pytables or told(h5py, kind, dtype)):
        facts |= source.exact_type(kind, place)
        if is_foreign(h5py, kind):
            reader = Exact(h5py, dataset)
    known = restore(attrs)
    table = dtype.names is not None and len(dataset.shape or ()) == 1
    columns = dtype.names if table and known.get("kind") != "array" else ()
    by_column: dict[str, Any] = {}
    fills: dict[str, Any] = {}
    if source.by_pytables:
        attrs, by_column, fills, more = pytables.split_columns(attrs, dtype, bool(columns))
        times = pytables.times_of(h5py, kind)
        if times and more:
            more["pytables"]["times"] = times
        facts |= more
    if not _note_storage(source, dataset, place):
        return
    facts |= _storage(dataset)
    if dataset.shape is None:
        job.note("hdf5.empty", place)
        facts["empty"] = True
        stored = plan_of(h5py, dtype, {}, False).dtype or np.dtype("u1")
        job.array(path, (0,), stored, lambda _: np.empty(0, stored), attrs=_with(attrs, facts))
        return
    if h5py.check_vlen_dtype(dtype) is not None and h5py.check_string_dtype(dtype) is None:
        _read_ragged(source, dataset, dtype, path, place, attrs, facts)
        return
    plan = _plan(source, reader, dtype, place, bool(columns))
    if plan.dtype is None:
        return
    if columns:
        attrs = _with(attrs, facts)
        read_table(source, dataset, reader, plan, path, place, attrs, known, fills, by_column)
        return
    restore_text(plan, known)
    restore_nulls(plan, known.get("nullable", {}))
    attrs = _with(attrs, facts | plan.facts)
    _read_array(source, dataset, reader, plan, source.texts(place), path, attrs)


def _is_tiny(source: Source, dataset: Any, dtype: Any, kind: Any) -> bool:
    """Tell whether a dataset is nothing but a few numbers: a file may hold 100,000 of them."""
    if dtype.kind not in "iufc" or dtype.metadata is not None or source.by_pytables:
        return False
    h5d, plist = source.h5py.h5d, dataset.id.get_create_plist()
    return (
        0 < dataset.id.get_space().get_simple_extent_npoints() * dtype.itemsize <= _TINY
        and plist.get_layout() in (h5d.CONTIGUOUS, h5d.COMPACT)
        and not plist.get_external_count()
        and plist.fill_value_defined() != h5d.FILL_VALUE_USER_DEFINED
        and told(source.h5py, kind, dtype)
    )


def _with(attrs: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    return {**attrs, "HDF5": facts} if facts else attrs


def restore(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return what kist knew when it wrote the dataset, and give attributes their types back."""
    text = attrs.pop("KIST", None)
    if isinstance(text, bytes):  # as PyTables stores it
        text = text.decode("utf-8", "replace")
    if not isinstance(text, str):
        return {}
    known: dict[str, Any] = from_json(text)
    for name in known.get("json", ()):
        if isinstance(attrs.get(name), str):
            attrs[name] = from_json(attrs[name])
    return known


# Plans


def _plan(source: Source, reader: Any, dtype: Any, place: str, table: bool) -> Plan:
    """Return how a dataset is stored, and note what changes."""
    job, h5py = source.job, source.h5py
    plan = plan_of(h5py, dtype, {}, table)
    whats = [leaf.what for leaf in plan.leaves]
    for leaf in plan.leaves:
        name = place + "".join(f".{part}" for part in leaf.path)
        if leaf.path[0:1] and leaf.path[0] in plan.special:
            continue
        if leaf.what == "enum":
            job.note("hdf5.enum", name)
        elif leaf.what == "reference":
            job.note("hdf5.reference", name)
        elif leaf.what == "region":
            job.note("hdf5.region", name)
        elif leaf.what == "ragged":
            job.note("hdf5.ragged_field", name)
        elif leaf.what == "unknown":
            job.note("hdf5.dtype", name)
    narrow = [
        leaf
        for leaf in plan.leaves
        if leaf.what in ("text", "reference") and leaf.path and (not table or len(leaf.path) > 1)
    ] + [leaf for leaf in plan.leaves if leaf.what in ("text", "reference") and leaf.shape]
    if narrow:
        texts = source.texts(place)
        widths = {leaf.path: 1 for leaf in narrow}
        for where in parts_of(reader.shape, reader.chunks or reader.shape, dtype.itemsize):
            values = reader[where]
            for leaf in narrow:
                part = values
                for name in leaf.path:
                    part = part[name]
                found = np.asarray(part, dtype=object).reshape(-1).tolist()
                longest = max((len(texts.text(v).encode()) for v in found), default=1)
                widths[leaf.path] = max(widths[leaf.path], longest)
        for leaf in narrow:
            job.note("hdf5.nested_text", place + "".join(f".{part}" for part in leaf.path))
        return plan_of(h5py, dtype, widths, table)
    if plan.dtype is None and set(whats) <= {"plain", "enum"}:
        job.note("hdf5.dtype", place)
    return plan


def _note_storage(source: Source, dataset: Any, place: str) -> bool:
    """Note where values do not stand in the file, and raise for a filter that is missing.

    Returns whether there are values to read.
    """
    plist = dataset.id.get_create_plist()  # once: a file may hold 100,000 tiny datasets
    if plist.get_layout() == source.h5py.h5d.VIRTUAL:
        folder = os.path.dirname(os.path.abspath(source.path))
        for part in dataset.virtual_sources():
            if part.file_name != "." and not os.path.exists(os.path.join(folder, part.file_name)):
                # HDF5 would show fill values, as if they were data.
                source.job.note("hdf5.virtual_gone", f"{place} (of {part.file_name})")
                return False
        source.job.note("hdf5.virtual", place)
    if plist.get_external_count():
        source.job.note("hdf5.external_storage", place)
    for at in range(plist.get_nfilters()):
        code, _, _, name = plist.get_filter(at)
        if not source.h5py.h5z.filter_avail(code):
            raise ConversionError(
                f"{place}: compressed by filter {code} ({name.decode(errors='replace')}), which is "
                "not there: pip install 'kist[hdf5]' brings hdf5plugin"
            )
    return True


def _storage(dataset: Any) -> dict[str, Any]:
    """Return how a dataset is laid out, for the way back."""
    if dataset.chunks is None:
        return {}
    facts: dict[str, Any] = {"chunks": list(dataset.chunks)}
    if dataset.maxshape != dataset.shape:
        facts["maxshape"] = list(dataset.maxshape)
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(at) for at in range(plist.get_nfilters())]
    if filters:
        facts["filters"] = [[int(code), list(map(int, opts))] for code, _, opts, _ in filters]
    return facts


# Values


def _read_array(
    source: Source, dataset: Any, reader: Any, plan: Plan, texts: Texts, path: str, attrs: Any
) -> None:
    stored: Any = plan.dtype
    outer = reader.shape
    inner = () if stored.subdtype is None else stored.subdtype[1]
    if inner:
        attrs = _with(attrs, attrs.get("HDF5", {}) | {"subarray": len(inner)})
    base = stored.base
    fast = base.char == "T" and not inner and _is_utf8(source, dataset)

    def read(where: tuple[slice, ...]) -> Array:
        values = np.asarray(reader[where[: len(outer)]])
        if inner:
            within: Any = (..., *where[len(outer) :])
            values = values[within]
        return to_stored(values, base, texts)

    def read_text(where: tuple[slice, ...]) -> Array:
        return np.asarray(reader.astype(TEXT)[where], TEXT)

    def make(how: Any) -> None:
        source.job.array(
            path,
            (*outer, *inner),
            base,
            how,
            cut=(*dataset.chunks, *inner) if dataset.chunks else None,
            fill_value=_fill(reader, base),
            attrs=attrs,
            empty=_is_untouched(source, dataset),
            width=_width(source, dataset) if base.char == "T" and not inner else 0,
        )

    if not fast:
        make(read)
        return
    try:
        with source.job.steps.attempt(path):
            make(read_text)
    except UnicodeDecodeError:
        make(read)  # text by text, and what is not UTF-8 is told


def _width(source: Source, dataset: Any) -> int:
    """Return the bytes of long text, as far as a few of many tell; 0 where it cannot be long."""
    if not dataset.size or source.file.id.get_filesize() // dataset.size <= _SHORT:
        return 0
    few = dataset[tuple(slice(None, None, -(-n // 4)) for n in dataset.shape)]
    cells = np.asarray(few, object).reshape(-1).tolist()
    # References come as text as well, and have no length.
    longest = max((len(cell) for cell in cells if isinstance(cell, str | bytes)), default=0)
    return longest if longest > _SHORT else 0


def _is_utf8(source: Source, dataset: Any) -> bool:
    info = source.h5py.check_string_dtype(dataset.dtype)
    return info is not None and info.length is None and info.encoding == "utf-8"


def _fill(dataset: Any, dtype: Any) -> Any:
    fill = dataset.fillvalue
    if dtype.char == "T":
        text = fill.decode("utf-8", "replace") if isinstance(fill, bytes) else fill
        return text if isinstance(text, str) else ""
    if isinstance(fill, np.void) and not fill.dtype.hasobject and fill.dtype == dtype:
        return fill
    return 0 if isinstance(fill, np.void | np.ndarray) or fill is None else fill


def _is_untouched(source: Source, dataset: Any) -> bool:
    """Tell whether nothing was ever written, so that all shows the fill value."""
    if dataset.size * dataset.id.get_type().get_size() <= _TINY:  # dtype: not all have one
        return False  # it is read as quickly
    layout = dataset.id.get_create_plist().get_layout()
    if layout not in (source.h5py.h5d.CHUNKED, source.h5py.h5d.CONTIGUOUS) or dataset.external:
        return False
    return bool(dataset.id.get_storage_size() == 0)


def _read_ragged(
    source: Source, dataset: Any, dtype: Any, path: str, place: str, attrs: Any, facts: Any
) -> None:
    """Read a dataset whose values are arrays of different lengths."""
    job = source.job
    base = np.dtype(source.h5py.check_vlen_dtype(dtype))
    if base.hasobject:
        job.note("hdf5.dtype", place)
        return
    atom = facts.get("pytables", {}).get("PSEUDOATOM")
    if atom == "vlunicode":
        facts["ragged"] = "vlunicode"

        def texts(where: tuple[slice, ...]) -> Array:
            found = cells(source.h5py, dataset[where], base)
            return np.array([v.astype("<u4").tobytes().decode("utf-32-le") for v in found], TEXT)

        job.array(path, dataset.shape, TEXT, texts, attrs=_with(attrs, facts))
        return
    job.note("pytables.pickle" if atom == "object" else "hdf5.ragged", place)
    facts["ragged"] = list(dataset.shape)
    names = h5py_enum(source.h5py, base)
    if names:
        facts["enum"] = {"": names}
    stored = base if base.names is not None else np.dtype((base.base.str, base.shape))
    job.group(path, _with(attrs, facts))

    def read(where: Any) -> Any:
        return cells(source.h5py, dataset[where], base)

    put_ragged(job, path, dataset.shape, stored, read)


def h5py_enum(h5py: Any, dtype: Any) -> dict[str, int]:
    """Return names and numbers of an enumeration; nothing for other types."""
    names = h5py.check_enum_dtype(dtype) or {}
    return {str(name): int(number) for name, number in names.items()}


class _Viewed:
    """A dataset whose values are shown as another dtype of the same bytes."""

    def __init__(self, dataset: Any, dtype: Any) -> None:
        self._dataset = dataset
        self.dtype = dtype
        self.shape = dataset.shape
        self.chunks = dataset.chunks
        self.fillvalue = np.asarray(dataset.fillvalue).reshape(1).view(dtype.base)[0]

    def __getitem__(self, where: Any) -> Array:
        return np.asarray(self._dataset[where]).view(self.dtype.base)


class _Leaf:
    """A dataset that PyTables reads: one with times."""

    def __init__(self, source: Source, name: str, dtype: Any) -> None:
        tables: Any = need("tables", "hdf5", f"{source.path}:{name}")
        self._open: Any = lambda: tables.open_file(source.path, "r")
        self._name = name
        with self._open() as file:
            node = file.get_node(name)
            self.shape = tuple(map(int, node.shape))
            self.chunks = node.chunkshape
            self.dtype = node.dtype
        self.dtype = dtype
        self.fillvalue = None

    def __getitem__(self, where: Any) -> Array:
        with self._open() as file:
            return np.asarray(file.get_node(self._name)[where])
