"""Whole frames that no record of the newest state names, as arrays in ``lost+found``."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from kist._kernels.cells import empty_values
from kist.engine.pages import page_head, read_page
from kist.engine.scan import extent_damage, pointer_of
from kist.errors import FormatError, KistError
from kist.format import keys
from kist.format.frame import FrameHeader
from kist.format.layout import FRAME_PAGE
from kist.format.schema import Schema
from kist.format.values import unpack_record
from kist.model.salvage.rescue import Rescue
from kist.model.tables.stored.schema import schema_from

if TYPE_CHECKING:
    from kist.model.group import Group

__all__ = ["put_frames", "put_records"]

Array = np.ndarray[Any, Any]


def put_frames(rescue: Rescue, paths: dict[int, str]) -> None:
    """Put each frame that nobody confirms, with what it says of itself.

    Parameters
    ----------
    paths : dict of int to str
        Where the nodes are that were saved.
    """
    schemas: dict[int, Schema | None] = {}
    for header in rescue.remains.orphans:
        if extent_damage(rescue.remains.reader, pointer_of(header)):
            continue
        node = header.node
        with rescue.store.transaction():
            group = rescue.lost_and_found().require_group(f"frames-node-{node}")
            name = f"{header.type.decode()}-byte-{header.offset}"
            if node not in schemas:
                schemas[node] = _schema(rescue, node)
                rescue.found(group.name)
            values = _column(rescue, header, schemas[node])
            array = group.create_array(name, _body(rescue, header) if values is None else values)
            array.attrs.update(_facts(header, paths.get(node)))
        rescue.passed(header.length)


def put_records(rescue: Rescue, node: int, path: str, why: str) -> None:
    """Put the records of a node that nothing can be made of, with the bytes of their extents."""
    with rescue.store.transaction():
        group = rescue.lost_and_found().require_group(f"records-node-{node}")
        group.attrs.update({"path": path, "why": why})
        rescue.found(group.name)
        for key, value in rescue.scan(keys.whole_node(node)):
            entry = group.create_group(key[8:].hex()[:200])
            entry.attrs["key"] = key
            entry.attrs["value"] = value
            with suppress(FormatError):
                for number, pointer in enumerate(unpack_record(value)[0]):
                    if not extent_damage(rescue.remains.reader, pointer):
                        body = rescue.view.reader.read_part(pointer, 0, pointer.length)
                        entry.create_array(f"extent-{number}", np.frombuffer(body, "u1"))


def _schema(rescue: Rescue, node: int) -> Schema | None:
    """Schema of the table that a frame says it belongs to, where that is left."""
    if node < keys.FIRST_NODE or rescue.view.get(keys.bounds(node)) is not None:
        return None
    packed = rescue.payload(keys.schema(node))
    try:
        return None if packed is None else schema_from(b"\0" + packed)
    except FormatError:
        return None


def _column(rescue: Rescue, header: FrameHeader, schema: Schema | None) -> Array | None:
    """Values of a page of a table whose schema is known."""
    if schema is None or header.type != FRAME_PAGE:
        return None
    leaf = next((leaf for leaf in schema.leaves if leaf.id == header.column), None)
    if leaf is None:
        return None
    try:
        pointer = pointer_of(header)
        n_values = page_head(rescue.view, pointer).n_values
        if n_values % leaf.n_values or n_values > 1 << 24:
            return None
        values = empty_values(n_values, leaf.dtype)
        read_page(rescue.view, pointer, values, 0, n_values)
    except KistError:
        return None  # a page of another dtype: its bytes are kept instead
    return values.reshape(-1, *leaf.shape)


def _body(rescue: Rescue, header: FrameHeader) -> Array:
    pointer = pointer_of(header)
    return np.frombuffer(rescue.view.reader.read_part(pointer, 0, pointer.length), "u1")


def _facts(header: FrameHeader, path: str | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "type": header.type.decode(),
        "offset": header.offset,
        "node": header.node,
        "column": header.column,
        "row": header.row,
        "commit": header.birth,
    }
    return facts if path is None else {**facts, "path": path}


def group_for_state(rescue: Rescue) -> Group:
    """The group for a state that nobody confirms."""
    group = rescue.lost_and_found().create_group(f"state-{rescue.remains.commit}")
    rescue.found(group.name)
    return group
