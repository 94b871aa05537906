"""Blosc2's stores of many arrays: one file (``.b2z``, ``.b2e``), or a folder (``.b2d``)."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

import numpy as np

import kist
from kist.bridges.b2 import LOSSES as ARRAY_LOSSES
from kist.bridges.b2 import read_array, read_attributes, read_frame, write_dataset
from kist.bridges.b2z_types import as_before, schema_text, stored_schema
from kist.bridges.base import Bridge, Job
from kist.bridges.categories import sort_of
from kist.bridges.columns import LOSSES as ARROW_LOSSES
from kist.bridges.columns_in import own_attributes, read_table
from kist.bridges.columns_out import outgoing
from kist.bridges.formats import stem_of
from kist.bridges.nodes import paths_above, split_keystore
from kist.bridges.plain import to_json
from kist.bridges.report import Loss
from kist.errors import ConversionError
from kist.extras import need

__all__ = ["Blosc2Store"]

LOSSES: Final = {
    **ARRAY_LOSSES,
    **ARROW_LOSSES,
    "blosc2.other": Loss("not kept", "object that is no array, table or frame", "nothing"),
    "blosc2.categories": Loss(
        "changed", "categories of a column that are not text", "their values"
    ),
    "blosc2.restored": Loss(
        "changed",
        "durations, dates, half-precision numbers, bytes of a width in a table with text, nulls "
        "or lists",
        "the nearest type; attribute KIST restores them",
    ),
    "blosc2.group": Loss("not kept", "group in which there is nothing", "nothing"),
    "blosc2.link": Loss("not kept", "link", "nothing"),
    "blosc2.keystore": Loss(
        "changed", "key store", "group with an array for each array, and attributes for the rest"
    ),
}

_ROWS: Final = 65_536


class Blosc2Store(Bridge):
    """Stores of Blosc2, with arrays, frames and tables in groups."""

    name: ClassVar[str] = "b2z"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    is_tree: ClassVar[bool] = True

    def read(self, job: Job, source: str) -> None:
        import blosc2

        with job.reading(source), contextlib.ExitStack() as closing:
            if zipfile.is_zipfile(source):
                _refuse_compressed(source)
            try:
                opened = blosc2.open(source, mode="r")
            except blosc2.UnsafeDeserializationError as error:
                raise ConversionError(f"{source}: would run code when it is opened") from error
            if hasattr(opened, "close"):
                closing.callback(opened.close)
            if isinstance(opened, blosc2.CTable):
                # A table alone: what it is made of is nobody's business.
                path = job.base if job.base != "/" else "/" + stem_of(source)
                _read(job, blosc2, opened, source, path)
                return
            job.group(job.base, _group_attributes(job, opened, source))
            for key in sorted(opened.keys()):
                place = f"{source}:{key}"
                with job.reading(place):
                    _read(job, blosc2, opened[key], place, job.path(*key.strip("/").split("/")))

    def write(self, job: Job, node: Any, target: str) -> None:
        import blosc2

        if job.report.target.lower().endswith(".b2e"):
            raise ConversionError(f"{job.report.target}: kist reads these stores; write a .b2z")
        # What Blosc2 makes is whole in a folder of its own before it becomes one file.
        folder = os.path.dirname(os.path.abspath(target))
        with job.writing(), tempfile.TemporaryDirectory(dir=folder, prefix=".b2z-") as place:
            made = os.path.join(place, "out.b2z")
            with blosc2.TreeStore(made, mode="w", tmpdir=place) as store:
                _Writer(job, blosc2, store, os.path.join(place, "part.b2nd")).write(node)
            os.replace(made, target)


def _refuse_compressed(source: str) -> None:
    """Raise for an archive whose members are compressed, or are not within it.

    Raises
    ------
    ConversionError
        Blosc2 stores its members as they are: another archive may be a bomb.
    """
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.filename.startswith(
                ("/", "..")
            ):
                raise ConversionError(f"{source}: {member.filename}: no member as Blosc2 stores it")


def _group_attributes(job: Job, store: Any, place: str) -> dict[str, Any]:
    if not hasattr(store, "vlmeta"):  # as in an EmbedStore
        return {}
    return read_attributes(job, dict(store.vlmeta[:]), place)[0]


def _read(job: Job, blosc2: Any, found: Any, place: str, path: str) -> None:
    if isinstance(found, blosc2.TreeStore):
        job.group(path, _group_attributes(job, found, place))
    elif isinstance(found, blosc2.NDArray):
        read_array(job, found, place, path)
    elif isinstance(found, blosc2.CTable):
        attrs, known = read_attributes(job, dict(found.vlmeta[:]), place)

        def opened() -> tuple[Any, Iterable[Any]]:
            pa = need("pyarrow", "arrow", f"convert {place}")
            batches = found.iter_arrow_batches(batch_size=_ROWS)
            first = next(iter(batches), None)
            if first is None:
                return as_before(pa, known.get("schema"), found.to_arrow().schema, ())
            whole = _chained(first, batches)
            return as_before(pa, known.get("schema"), first.schema, whole)

        read_table(job, place, path, opened, attrs=attrs, keep_schema=False, facts=known)
    elif isinstance(found, blosc2.SChunk):
        read_frame(job, found, place, path)
    else:
        job.note("blosc2.other", f"{place} ({type(found).__name__})")


def _chained(first: Any, others: Any) -> Iterable[Any]:
    yield first
    yield from others


class _Writer:
    """A store that is being written; each dataset is a file first."""

    def __init__(self, job: Job, blosc2: Any, store: Any, part: str) -> None:
        self.job = job
        self.blosc2 = blosc2
        self.store = store
        self.part = part

    def write(self, top: Any) -> None:
        """Write a node and all below it."""
        if top.kind != "group":
            self.dataset(top, "/" + top.name.rsplit("/", 1)[1])
            return
        waiting = [(top, "")]
        groups, kept = dict[str, str](), list[str]()
        while waiting:
            group, path = waiting.pop()
            groups[path] = group.name
            kept += [f"{path}/"] if group.attrs else []
            self.job.report.n_groups += 1
            self.attributes(dict(group.attrs), path)
            for name, child in group.items():
                if child.kind == "group":
                    waiting.append((child, f"{path}/{name}"))
                elif child.kind == "link":
                    self.job.note("blosc2.link", child.name)
                else:
                    self.dataset(child, f"{path}/{name}")
                    kept.append(f"{path}/{name}")
        for path in groups.keys() - paths_above(kept) - {""}:
            self.job.note("blosc2.group", groups[path])

    def dataset(self, node: Any, path: str) -> None:
        """Write an array or table; a key store as a group."""
        if node.kind == "key store":
            self.job.note("blosc2.keystore", node.name)
            arrays, attrs = split_keystore(node)
            for name, values in arrays.items():
                self.store[f"{path}/{name}"] = values
                self.job.advance(values.nbytes)
            self.attributes(attrs, path)
            self.job.report.count_keystore(node)
            return
        if node.kind == "table" and not _is_plain(node):
            self.table(node, path)
            return
        write_dataset(self.job, node, self.part)
        self.store[path] = self.blosc2.open(self.part, mode="r")
        os.unlink(self.part)

    def table(self, node: Any, path: str) -> None:
        """Write a table with text, nulls, categories or lists as Blosc2's own kind of table."""
        pa = need("pyarrow", "arrow", f"convert {node.name}")
        before, batches = outgoing(self.job, pa, node)
        facts = own_attributes(before)[1]
        schema = stored_schema(pa, before)
        for old, new in zip(before, schema, strict=True):
            if pa.types.is_dictionary(old.type) and old.type != new.type:
                self.job.note("blosc2.categories", f"{node.name}.{old.name}")
            elif old.type != new.type:
                self.job.note("blosc2.restored", f"{node.name}.{old.name} ({old.type})")
        if schema != before:
            facts["schema"] = schema_text(before)
            batches = (batch.cast(schema) for batch in batches)
        folder = f"{self.part}.b2d"  # a store takes tables from files, not from memory
        # Without the hint Blosc2 makes room again and again: 80,000 rows took minutes, now 50 ms.
        made = self.blosc2.CTable.from_arrow(
            schema, batches, urlpath=folder, capacity_hint=max(1, len(node))
        )
        _put_attributes(made.vlmeta, dict(node.attrs), facts)
        made.close()
        made = self.blosc2.CTable.open(folder, mode="r")
        self.store[path] = made
        made.close()
        shutil.rmtree(folder)

    def attributes(self, attrs: Mapping[str, Any], path: str) -> None:
        """Write the attributes of a group."""
        if attrs:
            group = self.store.get_subtree(path) if path else self.store
            _put_attributes(group.vlmeta, attrs)


def _is_plain(table: Any) -> bool:
    """Tell whether all columns are those of NumPy's records."""
    for name in table.columns:
        none = table[name][:0]
        if isinstance(none, kist.Ragged | np.ma.MaskedArray) or none.dtype.char == "T":
            return False
        if sort_of(table[name]) is not None:
            return False
    return True


def _put_attributes(
    vlmeta: Any, attrs: Mapping[str, Any], facts: Mapping[str, Any] | None = None
) -> None:
    """Write attributes; as JSON what Blosc2 would not give back as it was."""
    known: dict[str, Any] = dict(facts or {})
    for name, value in attrs.items():
        plain = type(value) in (str, int, float, bool)
        if not plain:
            known.setdefault("json", []).append(name)
        vlmeta[name] = value if plain else to_json(value)
    if known:
        vlmeta["KIST"] = to_json(known)
