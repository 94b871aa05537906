"""The groups and links of an HDF5 file, and its datasets one after the other."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from kist.bridges.base import Job
from kist.bridges.hdf5 import pytables
from kist.bridges.hdf5.attributes import read_attributes
from kist.bridges.hdf5.datasets import read_dataset, restore
from kist.bridges.hdf5.described import described
from kist.bridges.hdf5.values import Texts
from kist.errors import ConversionError, DTypeError, NodeError
from kist.extras import need

__all__ = ["Source", "read"]


class Source:
    """An open HDF5 file and what is known of it.

    Attributes
    ----------
    job : Job
    h5py : module
    file : h5py.File
    path : str
        Of the file.
    by_pytables : bool
        Whether PyTables wrote it.
    taken : set of str
        Names of datasets that came over as part of others.
    """

    def __init__(self, job: Job, h5py: Any, file: Any, path: str) -> None:
        self.job = job
        self.h5py = h5py
        self.file = file
        self.path = path
        self.by_pytables = pytables.wrote(file)
        self.taken: set[str] = set()

    def place(self, node: Any) -> str:
        """Return how notes name an object."""
        return f"{self.path}:{node.name}"

    def texts(self, place: str) -> Texts:
        """Return what makes text of what is read at a place."""
        return Texts(self.file, lambda code: self.job.note(code, place))

    def exact_type(self, kind: Any, place: str) -> dict[str, Any]:
        """Return the fact that describes a type of which h5py's dtype does not tell all."""
        found = described(self.h5py, kind)
        if found is None:
            self.job.note("hdf5.type", place)
        return {} if found is None else {"type": found}

    def attributes(self, node: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return attributes and facts of an object."""
        if not self.h5py.h5a.get_num_attrs(node.id):
            return {}, {}
        place = self.place(node)
        return read_attributes(
            self.job, self.h5py, node, place, self.texts, pytables=self.by_pytables
        )


def read(job: Job, path: str) -> None:
    """Read all of an HDF5 file into the group of a job."""
    h5py = need("h5py", "hdf5", f"convert {path}")
    with contextlib.suppress(ImportError):
        need("hdf5plugin", "hdf5", "")  # more compressors; without it those of HDF5 itself
    with job.reading(path), h5py.File(path, "r") as file:
        source = Source(job, h5py, file, path)
        if file.userblock_size:
            job.note("hdf5.user_block", path)
        _walk(source)


def _walk(source: Source) -> None:
    """Read all groups, each with its datasets; no recursion, however deep they are."""
    first_name: dict[Any, str] = {_address(source, source.file): "/"}
    waiting = [source.file["/"]]
    indexes: list[Any] = []
    while waiting:
        group = waiting.pop()
        below = []
        links: dict[str, dict[str, Any]] = {}
        types: dict[str, Any] = {}
        attrs, facts = source.attributes(group)
        if source.by_pytables:
            attrs, _, _, more = pytables.split_columns(attrs, None, False)
            facts |= more
        restore(attrs)
        made = source.job.group(_path(source, group.name), None)
        for name in group:
            if isinstance(name, bytes):
                raise ConversionError(
                    f"{source.path}:{group.name}: holds {name!r}, which is no text in UTF-8; "
                    "rename it"
                )
            node_name = f"{group.name.rstrip('/')}/{name}"
            if node_name in source.taken:
                continue
            found = _link(source, group, name, node_name)
            if found is not None:
                if not _kept_as_link(source, found, node_name):
                    links[name] = found
                continue
            node = _node(source, group, name)
            first = first_name.setdefault(_address(source, node), node_name)
            if first != node_name:
                links[name] = {"hard": first}
                source.job.note("hdf5.hardlink", f"{source.path}:{node_name}")
            elif isinstance(node, source.h5py.Dataset):
                place = f"{source.path}:{node_name}"
                with source.job.reading(place):
                    read_dataset(source, node, _path(source, node_name), place)
            elif isinstance(node, source.h5py.Group):
                if source.by_pytables and pytables.is_index(node):
                    indexes.append(node)
                else:
                    below.append(node)
            else:
                types[name] = _named_type(source, node, node_name)
        if types:
            facts["types"] = types
        if links:
            facts["links"] = links
        if facts:
            attrs["HDF5"] = facts
        if attrs:
            made.attrs.update(attrs)
        waiting.extend(reversed(below))
    for group in indexes:  # now that the tables are there
        _make_indexes(source, group)


def _named_type(source: Source, node: Any, name: str) -> dict[str, Any]:
    """Return what is kept of a named datatype."""
    place = f"{source.path}:{name}"
    found = described(source.h5py, node.id.copy())
    source.job.note("hdf5.named_type" if found is not None else "hdf5.type", place)
    attrs, facts = source.attributes(node)
    return {"type": found, "attrs": attrs | ({"HDF5": facts} if facts else {})}


def _kept_as_link(source: Source, found: dict[str, Any], name: str) -> bool:
    """Make a link of a soft link; False where its names stand for others here, or for none."""
    target = found.get("soft")
    if target is None:
        return False
    # HDF5 knows "." and doubled slashes; an absolute path begins where the file is put.
    names = [part for part in target.split("/") if part not in ("", ".")]
    path = _path(source, target) if target.startswith("/") else "/".join(names)
    try:
        source.job.store.create_link(_path(source, name), path, overwrite=True)
    except NodeError:  # no path of kist, or a circle
        source.job.note("hdf5.softlink", f"{source.path}:{name}")
        return False
    return True


def _make_indexes(source: Source, group: Any) -> None:
    """Make the indexes of a table of PyTables anew; the group holds one for each column."""
    parent, _, name = group.name.rpartition("/")
    path = _path(source, f"{parent}/{name.removeprefix('_i_')}")
    table = source.job.store.get(path)
    columns = table.columns if table is not None and table.kind == "table" else ()
    for column in group:
        try:
            if column not in columns:
                raise DTypeError(f"{path}: {column!r} is no column")
            if column not in (index.name for index in table.indexes):
                table.create_index(column)
        except DTypeError:
            source.job.note("pytables.index", f"{source.path}:{group.name}/{column}")


def _path(source: Source, name: str) -> str:
    return source.job.path(*(part for part in name.split("/") if part not in ("", ".")))


def _node(source: Source, group: Any, name: str) -> Any:
    """Return an object of a group; of datasets, of which there may be many, the short way."""
    h5py = source.h5py
    found = h5py.h5o.open(group.id, name.encode("utf-8", "surrogateescape"))
    return h5py.Dataset(found) if isinstance(found, h5py.h5d.DatasetID) else group[name]


def _address(source: Source, node: Any) -> Any:
    found = source.h5py.h5o.get_info(node.id)
    return found.fileno, found.addr


def _link(source: Source, group: Any, own: str, name: str) -> dict[str, Any] | None:
    """Return what is kept of a link that is no node's own place."""
    kind = group.id.links.get_info(own.encode("utf-8", "surrogateescape")).type
    if kind == source.h5py.h5l.TYPE_HARD:  # as nearly all are
        return None
    place = f"{source.path}:{name}"
    link = group.get(own, getlink=True)
    if isinstance(link, source.h5py.ExternalLink):
        source.job.note("hdf5.external", place)
        return {"external": [os.fspath(link.filename), str(link.path)]}
    if isinstance(link, source.h5py.SoftLink):
        return {"soft": str(link.path)}
    if link is None:
        raise ConversionError(f"{place}: a link of a kind that h5py does not know")
    return None
