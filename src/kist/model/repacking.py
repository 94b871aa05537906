"""A store written anew into another one, as it is or with another codec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kist.codecs.choose import parse_codec
from kist.model.comparing import boxes
from kist.model.extents import refuse_clear

if TYPE_CHECKING:
    from kist.model.group import Group
    from kist.model.store import Store

__all__ = ["repack"]


def repack(
    source: Store,
    target: Store,
    codec: str | None = None,
    progress: Callable[[], None] | None = None,
) -> None:
    """Write all nodes of a store into an empty one, in one commit.

    Parameters
    ----------
    codec : str, optional
        Of all datasets. Without it nothing is decoded, and every byte that is copied verified.
    progress : callable, optional
        Called after each piece of work.

    Raises
    ------
    CodecError
        There is no such codec.
    SecretError
        The source is sealed as a whole, and the target is not.

    Examples
    --------
    >>> import kist
    >>> from kist.model.repacking import repack
    >>> with kist.open(":memory:") as store, kist.open(":memory:") as other:
    ...     store["raw/x"] = [1, 2, 3]
    ...     repack(store, other, "zstd")
    ...     other["raw/x"][:], other["raw/x"].codec
    (array([1, 2, 3]), 'blosc2-zstd')
    """
    if codec is not None:
        parse_codec(codec)
    refuse_clear(source._session.engine.reader, target._session.engine.reader)
    with source.read(), target.transaction("repack"):
        target.attrs.update(source.attrs)
        _group(source, target, codec, progress or (lambda: None))


def _group(source: Group, target: Group, codec: str | None, progress: Callable[[], None]) -> None:
    for name, node in source.items():
        if node.kind == "group":
            below = target.create_group(name, attrs=dict(node.attrs))
            _group(node, below, codec, progress)
        elif codec is None or node.kind == "link":
            target.copy(node, name)
        elif node.kind == "array":
            _array(node, target, name, codec, progress)
        elif node.kind == "table":
            _table(node, target, name, codec, progress)
        else:
            made = target.create_keystore(name, codec=codec, attrs=dict(node.attrs))
            made.update(node.items())
        progress()


def _array(node: Any, target: Group, name: str, codec: str, progress: Callable[[], None]) -> None:
    made = target.create_array(
        name,
        shape=node.shape,
        dtype=node.dtype,
        chunks=node.chunks or "auto",
        fill_value=node.fill_value,
        codec=codec,
        attrs=dict(node.attrs),
    )
    for where in boxes(node):
        made[where] = node[where]
        progress()


def _table(node: Any, target: Group, name: str, codec: str, progress: Callable[[], None]) -> None:
    """Copy the table, so that it keeps all it has beside rows, and put the rows in anew."""
    from kist.model.tables.changes.write import put_schema

    target.copy(node, name)
    made: Any = target[name]
    made.truncate(0)
    with made._write() as txn:
        schema = made._state(txn).schema
        columns = tuple(replace(column, codec=codec) for column in schema.columns)
        put_schema(txn, made._id, replace(schema, columns=columns))
    # What others are computed from comes from the rows; what is computed follows from them.
    given = [column.name for column in schema.columns if column.expression is None]
    for rows in node[given].blocks():
        made.append(rows)
        progress()
