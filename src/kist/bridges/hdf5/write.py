"""Nodes of a store as an HDF5 file that h5py, h5dump and all others read."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Final

import numpy as np

from kist.bridges.base import BLOCK_ROWS, Job
from kist.bridges.hdf5.described import built, fits
from kist.bridges.hdf5.disk import Enduring
from kist.bridges.hdf5.exact import Exact, is_foreign
from kist.bridges.hdf5.write_attributes import encoded, write_attributes
from kist.bridges.hdf5.write_tables import write_table
from kist.bridges.hdf5.write_types import fill_on_disk, h5_dtype, is_text, to_h5
from kist.bridges.nodes import link_target
from kist.errors import ConversionError
from kist.extras import need

__all__ = ["write"]

_SMALL: Final = 64 << 10
"""Bytes up to which a dataset is not compressed, because it would not get smaller."""

# LZO, bzip2, LZF, Blosc, Snappy, LZ4, bitshuffle, Zstd, Blosc2, by their numbers in the HDF Group's
# registry of filters.
_LOSSLESS: Final = {305, 307, 32000, 32001, 32003, 32004, 32008, 32015, 32026}


def write(job: Job, node: Any, target: str) -> None:
    """Write a node as a new HDF5 file; a group as its root."""
    h5py = need("h5py", "hdf5", "convert to HDF5")
    with contextlib.suppress(ImportError):
        need("hdf5plugin", "hdf5", "")
    formats = ("v108", "latest")  # attributes of any size, readable since 2008
    with job.writing(), Enduring(target) as disk, h5py.File(disk, "w", libver=formats) as file:
        writer = _Writer(job, h5py, file)
        if node.kind == "group":
            writer.groups(node)
        else:
            writer.dataset(node, node.name.rsplit("/", 1)[1])
        writer.link()


class _Writer:
    """A file that is being written."""

    def __init__(self, job: Job, h5py: Any, file: Any) -> None:
        self.job = job
        self.h5py = h5py
        self.file = file
        self.compression = job.option("compression", "gzip")
        self._kinds: dict[Any, Any] = {}
        self.named: dict[str, Any] = {}
        self._links: list[tuple[str, dict[str, Any]]] = []
        self._scales: list[tuple[str, list[Any]]] = []
        self._arrays_of_references: list[tuple[str, Any]] = []
        self.attributes_of_references: list[tuple[str, str, Any]] = []

    def groups(self, top: Any) -> None:
        """Write a group and all below it; no recursion, however deep it is."""
        waiting = [(top, "/")]
        while waiting:
            group, path = waiting.pop()
            made = self.file.require_group(path)
            facts = _facts(group)
            self.job.report.n_groups += 1
            self.attributes(group, made, {})
            self.types(facts.get("types"), path.rstrip("/"))
            self._links += [
                (f"{path}/{name}", link) for name, link in facts.get("links", {}).items()
            ]
            for name, child in group.items():
                below = f"{path.rstrip('/')}/{name}"
                if child.kind == "link":
                    if child.linked_file is None:
                        self._links.append((below, {"soft": link_target(child, top)}))
                    else:
                        self.job.note("hdf5.out_link", child.name)
                elif child.kind != "group":
                    self.dataset(child, below)
                elif "ragged" in _facts(child) and {"values", "offsets"} <= set(child):
                    self.ragged(child, below)
                else:
                    waiting.append((child, below))

    def types(self, types: Any, path: str) -> None:
        """Make the named types of a group, before there are datasets of them."""
        for name, known in types.items() if isinstance(types, dict) else ():
            entry = known if isinstance(known, dict) else {}
            kind = built(self.h5py, entry.get("type"), {})
            if kind is not None and f"{path}/{name}" not in self.file:
                kind.commit(self.file.id, f"{path}/{name}".encode())
                self.named[f"{path}/{name}"] = kind
                made = self.file[f"{path}/{name}"]
                write_attributes(self, entry.get("attrs"), made, {})

    def exact(self, facts: Any, dtype: Any, shape: Any) -> tuple[Any, int]:
        """Return the type that a dataset had in HDF5, and how many axes each value has.

        None where it has none of its own, or now has other values.
        """
        kind = built(self.h5py, facts["type"], self.named) if "type" in facts else None
        if kind is None:
            return None, 0
        inner = kind.dtype.shape
        n = len(inner)
        if n and (len(shape) < n or tuple(shape[len(shape) - n :]) != inner):
            return None, 0
        found = np.dtype((dtype, inner)) if n else dtype
        return (kind, n) if fits(self.h5py, kind, found) else (None, 0)

    def dataset(self, node: Any, path: str) -> None:
        """Write an array, table or key store."""
        if node.kind == "table":
            self.table(node, path)
        elif node.kind == "array":
            self.array(node, path)
        else:
            self.keystore(node, path)

    def array(self, array: Any, path: str) -> None:
        """Write an array, part by part."""
        attrs = dict(array.attrs)
        facts = _of_hdf5(attrs)
        if not attrs and self.tiny(array, path):
            return
        known: dict[str, Any] = {}
        if facts.get("empty"):
            made = self.empty(path, array.dtype, facts)
            self.job.report.n_arrays += 1
            self.attributes(array, made, known)
            return
        to_paths = facts.get("reference") == [""] and is_text(array.dtype)
        dtype = (
            np.dtype(self.h5py.ref_dtype)
            if to_paths
            else h5_dtype(self.job, self.h5py, array.dtype, path, facts.get("enum", {}))
        )
        if array.dtype.kind == "U":
            known["dtype"] = array.dtype.str
        if array.dtype.names is not None and array.ndim == 1:
            known["kind"] = "array"
        kind, n_inner = self.exact(facts, dtype, array.shape)
        n_axes = array.ndim - n_inner
        made = self.create(path, array.shape[:n_axes], dtype, array, facts, kind)
        if made is None:
            self.job.note("hdf5.out_dtype", path)
            return
        if to_paths:
            self._arrays_of_references.append((path, array))
        else:
            target = made if kind is None else Exact(self.h5py, made)
            # Arrays that are values are written whole.
            cut = (*array.chunks[:n_axes], *array.shape[n_axes:]) if n_inner else None
            for where, values in self.job.array_parts(array, cut):
                target[where[:n_axes]] = to_h5(self.job, values, dtype, path)
        self.attributes(array, made, known)
        if "dims" in facts or "scale" in facts:
            self._scales.append((path, [facts.get("scale"), facts.get("dims", [])]))

    def empty(self, path: str, dtype: Any, facts: Any) -> Any:
        """Make a dataset without values, not even none."""
        kind = built(self.h5py, facts["type"], self.named) if "type" in facts else None
        if kind is None:
            found = h5_dtype(self.job, self.h5py, dtype, path, facts.get("enum", {}))
            return self.file.create_dataset(path, data=self.h5py.Empty(found))
        low = self.h5py
        made = low.h5d.create(self.file.id, path.encode(), kind, low.h5s.create(low.h5s.NULL))
        return low.Dataset(made)

    def tiny(self, array: Any, path: str) -> bool:
        """Write an array of a few numbers and nothing else the short way; a store may hold many."""
        dtype, shape = array.dtype, array.shape
        n_bytes = math.prod(shape) * dtype.itemsize
        if dtype.kind not in "iufc" or not 0 < n_bytes <= _SMALL or array.fill_value != 0:
            return False
        low, values = self.h5py, np.asarray(array[...], dtype)
        kind = self._kinds.get(dtype)
        if kind is None:
            kind = self._kinds[dtype] = low.h5t.py_create(dtype, logical=True)
        space = low.h5s.create_simple(shape) if shape else low.h5s.create(low.h5s.SCALAR)
        made = low.h5d.create(self.file.id, path.encode(), kind, space)
        made.write(low.h5s.ALL, low.h5s.ALL, np.ascontiguousarray(values))
        self.job.report.n_arrays += 1
        self.job.advance(n_bytes)
        return True

    def create(
        self, path: str, shape: Any, dtype: Any, node: Any, facts: Any, kind: Any = None
    ) -> Any:
        """Make a dataset laid out as it was in HDF5, or in the store; None if h5py cannot.

        Parameters
        ----------
        kind : h5py.h5t.TypeID, optional
            From `exact`, in place of the dtype.
        """
        h5py = self.h5py
        options = _layout(h5py, facts, shape)
        if len(shape) and math.prod(shape) and "chunks" not in options:
            if node.nbytes > _SMALL:
                options["chunks"] = _chunks(node, dtype)[: len(shape)]
            if "chunks" in options and "filters" not in facts and self.compression is not None:
                options |= {"compression": self.compression, "shuffle": True}
                if self.compression == "gzip":
                    options["compression_opts"] = 1
        if node.kind == "table":
            options["maxshape"] = (None,)
            options.setdefault("chunks", (BLOCK_ROWS // 16,))
        converted = kind is None or not (kind.dtype.shape or is_foreign(h5py, kind))
        fill = fill_on_disk(self.job, node, dtype, path, converted)
        if fill is not None:
            options["fillvalue"] = fill
        dtype = dtype if kind is None else self.h5py.Datatype(kind)
        try:
            return self.file.create_dataset(path, shape, dtype, **options)
        except TypeError:
            return None  # a dtype that this h5py has no type for
        except ValueError:
            if type(options.get("compression")) is not int:
                raise
            # Where netCDF4 came first, its Blosc takes the place of hdf5plugin's, and refuses.
            options |= {"compression": "gzip", "compression_opts": 1}
            return self.file.create_dataset(path, shape, dtype, **options)

    def table(self, table: Any, path: str) -> None:
        """Write a table as a dataset of compounds, block by block."""
        made, known = write_table(self, table, path, _facts(table))
        if made is None:
            self.job.note("hdf5.out_dtype", path)
            return
        self.attributes(table, made, known)

    def ragged(self, group: Any, path: str) -> None:
        """Write values and offsets as the dataset of variable length that they were."""
        facts = _facts(group)
        values, ends = group["values"], group["offsets"][:]
        flat = len(ends) - 1
        shape = tuple(facts["ragged"])
        if math.prod(shape) != flat:
            shape = (flat,)  # it was changed in the store
        dtype = np.dtype(self.h5py.vlen_dtype(values.dtype))
        own, _ = self.exact(facts, dtype, shape)
        stored = dtype if own is None else self.h5py.Datatype(own)
        options = _layout(self.h5py, facts, shape) or {"chunks": True if flat and shape else None}
        made = self.file.create_dataset(path, shape, stored, **options)
        space, kind = made.id.get_space(), self.h5py.h5t.py_create(dtype)
        step = BLOCK_ROWS if len(shape) == 1 else max(1, flat)
        for start in range(0, flat, step):
            stop = min(start + step, flat)
            part = values[int(ends[start]) : int(ends[stop])]
            rows = np.empty(stop - start, dtype)
            for at, row in enumerate(np.split(part, ends[start + 1 : stop] - ends[start])):
                rows[at] = row
            # Not by indexing: h5py would take rows of one length for an array of two axes.
            if len(shape) == 1:
                space.select_hyperslab((start,), (stop - start,))
            made.id.write(self.h5py.h5s.create_simple(rows.shape), space, rows, kind)
            self.job.advance(part.nbytes)
        self.job.report.n_arrays += 1
        self.attributes(group, made, {})

    def keystore(self, store: Any, path: str) -> None:
        """Write a key store as a group with a dataset, or a group, for each key."""
        self.job.note("hdf5.keystore", path)
        made = self.file.create_group(path)
        for key, value in store.items():
            text = key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)
            name = text.replace("%", "%25").replace("/", "%2F")
            if name in made or name in (".", ""):
                raise ConversionError(f"{path}: key {key!r} has no name of its own in HDF5")
            self.value(made, name, value)
        self.job.report.count_keystore(store)
        self.attributes(store, made, {})

    def value(self, group: Any, name: str, value: Any) -> None:
        """Write one value of a key store."""
        if isinstance(value, dict) and value and all(type(key) is str for key in value):
            inner = group.create_group(name.replace("/", "%2F"))
            for key, item in value.items():
                self.value(inner, key.replace("/", "%2F") or "%00", item)
            return
        if isinstance(value, tuple | list) and any(isinstance(x, np.ndarray) for x in value):
            inner = group.create_group(name)
            for at, item in enumerate(value):
                self.value(inner, str(at), item)
            return
        place = f"{group.name}/{name}"
        found = encoded(self.job, self.h5py, value, place)
        group.create_dataset(name, data=found[0], dtype=found[1])
        self.job.advance(getattr(found[0], "nbytes", 0))

    def attributes(self, node: Any, made: Any, known: dict[str, Any]) -> None:
        """Write the attributes of a node, and what kist alone knows of it."""
        write_attributes(self, dict(node.attrs), made, known)

    def link(self) -> None:
        """Make links, references and dimension scales, now that their targets exist."""
        for path, link in self._links:
            if path in self.file:
                continue
            if "soft" in link:
                self.file[path] = self.h5py.SoftLink(link["soft"])
            elif "external" in link:
                self.file[path] = self.h5py.ExternalLink(*link["external"])
            elif link.get("hard") in self.file:
                self.file[path] = self.file[link["hard"]]
        for path, array in self._arrays_of_references:
            for where, values in self.job.array_parts(array):
                self.file[path][where] = self.references(values, path)
        for path, name, value in self.attributes_of_references:
            found = self.references(np.asarray(value), f"{path}@{name}")
            self.file[path].attrs.create(name, found, dtype=self.h5py.ref_dtype)
        for path, (scale, _) in self._scales:
            if scale is not None:
                self.file[path].make_scale(scale)
        for path, (_, dims) in self._scales:
            for axis, (label, scales) in zip(self.file[path].dims, dims, strict=False):
                if label:
                    axis.label = label
                for name in scales:
                    if name in self.file and self.file[name].is_scale:
                        axis.attach_scale(self.file[name])

    def references(self, paths: Any, place: str) -> Any:
        """Return references to the objects of some paths, null ones where the text is empty."""
        out = np.full(paths.shape, self.h5py.Reference(), self.h5py.ref_dtype)
        flat = out.reshape(-1)
        for at, path in enumerate(paths.reshape(-1).tolist()):
            if path and path in self.file:
                flat[at] = self.file[path].ref
            elif path:
                self.job.note("hdf5.lost_reference", f"{place}: {path}")
        return out


def _facts(node: Any) -> dict[str, Any]:
    return _of_hdf5(node.attrs)


def _of_hdf5(attrs: Any) -> dict[str, Any]:
    found = attrs.get("HDF5", {})
    return found if isinstance(found, dict) else {}


def _chunks(node: Any, dtype: Any) -> tuple[int, ...]:
    """Return chunks of at most 1 MiB that divide those of the store."""
    if node.kind == "table":
        rows = max(1, (1 << 20) // max(1, dtype.itemsize))
        return (min(BLOCK_ROWS, 1 << (rows.bit_length() - 1)),)
    limits = zip(node.block_shape, node.shape, strict=True)
    return tuple(max(1, min(block, n)) for block, n in limits)


def _layout(h5py: Any, facts: Any, shape: Any) -> dict[str, Any]:
    """Return h5py's options for a dataset that is laid out as it was in HDF5."""
    options: dict[str, Any] = {}
    chunks = facts.get("chunks")
    if not shape or not math.prod(shape):
        return options
    if chunks is not None and len(chunks) == len(shape):
        options["chunks"] = tuple(chunks)
        limits = facts.get("maxshape", shape)
        # A store may have grown the array since.
        options["maxshape"] = tuple(
            None if most is None or most < now else most
            for most, now in zip(limits, shape, strict=True)
        )
    if "filters" in facts:
        options |= _filters(h5py, facts["filters"])
    return options


def _filters(h5py: Any, filters: list[Any]) -> dict[str, Any]:
    """Return h5py's options for filters that it knows by name; other codes as they are.

    What takes digits away, as ZFP does, would do so again, and with bounds that were set for other
    values: such filters, and those that are not here, become shuffle and gzip.
    """
    options: dict[str, Any] = {}
    other = False
    for code, opts in filters:
        if code == h5py.h5z.FILTER_SHUFFLE:
            options["shuffle"] = True
        elif code == h5py.h5z.FILTER_FLETCHER32:
            options["fletcher32"] = True
        elif code == h5py.h5z.FILTER_DEFLATE:
            options |= {"compression": "gzip", "compression_opts": opts[0]}
        elif code == h5py.h5z.FILTER_LZF:
            options["compression"] = "lzf"
        elif code in _LOSSLESS and h5py.h5z.filter_avail(code):
            options |= {"compression": code, "compression_opts": tuple(opts)}
        else:
            other = True
    if other and "compression" not in options:
        options |= {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    return options
