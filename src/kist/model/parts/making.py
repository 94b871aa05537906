"""A new dataset in a new store, filled with pieces of others, and what stands beside its values."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from kist.errors import DTypeError, ShapeError
from kist.format import keys
from kist.format.keystore import Counts
from kist.format.node import NodeKind
from kist.format.values import unpack_record
from kist.model import directory
from kist.model.extents import Extents, refuse_clear
from kist.model.parts.origin import NOTE, Origin

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.model.keystores.keystore import KeyStore
    from kist.model.node import Node
    from kist.model.store import Store

__all__ = ["Making", "Sink", "copy_beside", "length_of"]


class Sink(Protocol):
    """A new dataset without values, and the way to fill it."""

    def add_part(self, view: View, node: int, path: str, start: int, stop: int) -> None:
        """Take what stands at positions start .. stop of a dataset of the same kind."""

    def settle(self) -> None:
        """Write what still waits to be read: the stores where it stands are closed next."""

    def finish(self) -> None:
        """Put all that was taken into the transaction."""

    def resume(self) -> None:
        """Go on behind rows that others have added since."""


class Making:
    """A new dataset on its way.

    Parameters
    ----------
    store : Store
        New; nobody else has it.
    path : str
        Of the dataset in it.
    like : Node
        Whose schema, attributes and indexes it gets, in the view that follows.
    view : View
        Where `like` is read.
    told : callable, optional
        Called with the number of bytes copied.
    cast : bool
        Whether an array takes others of other dtypes.
    """

    def __init__(
        self,
        store: Store,
        path: str,
        like: Node,
        view: View,
        told: Callable[[int], None] | None = None,
        *,
        cast: bool = False,
    ) -> None:
        self._store = store
        self._casts = cast
        self._path = path
        self._like = like
        of: Any = like
        # Asked for now: the store of the model may be closed when they are made.
        self._indexes = of.indexes if like._kind == NodeKind.TABLE else ()
        store.begin()
        txn = self._txn()
        refuse_clear(view.reader, txn.reader)
        marked = directory.is_marked(view, like._id)
        if marked:
            from kist.model.parts import sealedgroups

            sealedgroups.take_group(view, like._id, txn, path)
        group, base, name = store._place(txn, path)
        if not marked and directory.is_marked(txn, group):
            from kist.model.parts.sealedgroups import check_outside

            check_outside(txn, group, path)
        self._node = directory.add(txn, group, name, like._kind, base)
        old, new = directory.record(view, like._id), directory.record(txn, self._node)
        assert old is not None and new is not None
        masks = ("features_read", "features_write", "features_ignorable")
        new = new._replace(**{mask: getattr(old, mask) for mask in masks})
        txn.put(keys.node(self._node), new.pack())
        copy_beside(view, like._id, txn, self._node)
        if marked:
            sealedgroups.vouch_for_copy(view, like._id, txn, self._node, path)
        self._sealed = _is_sealed(like, view)
        self.sink = self._sink(txn, view, told)

    def _txn(self) -> Transaction:
        txn: Any = self._store._view()
        return txn  # type: ignore[no-any-return]

    def _step(self) -> Transaction:
        self._store.commit()
        self._store.begin()
        return self._txn()

    def _sink(self, txn: Transaction, view: View, told: Callable[[int], None] | None) -> Sink:
        like, node = self._like, self._node
        field = None
        if _is_sealed(like, view):
            from kist.model.parts.sealedwhole import begin_field

            field = begin_field(view, like._id, like._kind, like._path, txn, node)
        if like._kind == NodeKind.ARRAY:
            from kist.model.arrays.state import array_state
            from kist.model.parts.arraysink import ArraySink

            state = array_state(view, like._id, like._path)
            shape = state.shape
            return ArraySink(
                txn, node, state.schema, shape, self._step, told, field, cast=self._casts
            )
        if like._kind == NodeKind.KEYSTORE:
            from kist.model.parts.keysink import KeySink

            codec = Counts.unpack(view.get(keys.bounds(like._id))).codec
            if field is not None:
                from kist.model.keystores.sealed import SealedKeys
                from kist.model.parts.sealedwhole import SealedKeySink

                assert isinstance(field, SealedKeys)
                return SealedKeySink(txn, field, codec, self._step, told)
            return KeySink(txn, node, codec, self._step, told)
        from kist.model.parts.tablesink import TableSink
        from kist.model.tables.stored.state import state_of

        schema = state_of(view, like._id, like._path).schema
        if schema.sealed:
            from kist.model.parts.sealedfields import take_locks

            take_locks(view, like._id, like._path, txn, node)
        return TableSink(txn, node, schema, self._step, told)

    def add(self, node: Node, view: View, start: int, stop: int) -> None:
        """Take a part of a dataset as a view shows it."""
        sealed = _is_sealed(node, view)
        if sealed != self._sealed:
            raise DTypeError(
                f"{node._path!r} is {'' if sealed else 'not '}sealed, and the first part is "
                f"{'not' if sealed else 'sealed'}: read its values, and write them where that is "
                "meant"
            )
        self.sink.add_part(view, node._id, node._path, start, stop)

    def add_whole(self, node: Node, view: View) -> None:
        """Take all of a dataset; of a table whose columns differ by casting its values."""
        if node._kind == NodeKind.TABLE and self._differs(node, view):
            self._cast(node)
        elif node._kind == NodeKind.KEYSTORE:
            self.add(node, view, 0, sys.maxsize)  # all that stand there, whatever was counted
        else:
            self.add(node, view, 0, length_of(node, view))

    def _differs(self, node: Node, view: View) -> bool:
        from kist.model.parts.unequal import table_difference
        from kist.model.tables.stored.state import state_of

        mine = state_of(self._txn(), self._node, self._path).schema
        return bool(table_difference(mine, state_of(view, node._id, node._path).schema))

    def _cast(self, rows: Any) -> None:
        """Append the rows of a table as users do, which casts and checks them."""
        self.sink.finish()
        from kist.model.tables.input.values import refuse_in_clear

        made = self._store[self._path]
        schema = made._state().schema
        computed = {column.name for column in schema.columns if column.expression is not None}
        taken = rows[[name for name in rows.columns if name not in computed]]
        refuse_in_clear(taken, schema, f"merge into {self._path!r}")
        for block in taken.blocks():
            made.append(block)
        self.sink.resume()

    def finish(self, message: str, origin: Origin | None = None) -> None:
        """Commit, and make the indexes that the model has."""
        self.sink.finish()
        if origin is not None:
            origin.put(self._txn(), self._node)
        self._store.commit(message)
        made: Any = self._store[self._path]
        for index in self._indexes:
            made.create_index(*index.columns, name=index.name, unique=index.unique)


def _is_sealed(node: Node, view: View) -> bool:
    """Tell whether an array or a key store is sealed; tables have sealed columns instead."""
    whole: Any = node
    return node._kind != NodeKind.TABLE and bool(whole._is_sealed(view))


def length_of(node: Node, view: View) -> int:
    """Return the rows of a table, the length of the first axis, or the number of keys."""
    if node._kind == NodeKind.KEYSTORE:
        return cast("KeyStore", node)._length_in(view)
    if node._kind == NodeKind.ARRAY:
        from kist.model.arrays.state import array_state

        shape = array_state(view, node._id, node._path).shape
        if not shape:
            raise ShapeError(f"{node._path!r} has no axes: there is no first one to cut")
        return shape[0]
    from kist.model.tables.stored.state import state_of

    return state_of(view, node._id, node._path).n_rows


def copy_beside(view: View, node: int, txn: Transaction, new: int) -> None:
    """Copy attributes and notes, but for what says which part of something a node is."""
    extents = Extents(txn)
    old, prefix = keys.node(node)[:8], keys.node(new)[:8]
    for kind in (b"A", b"M"):
        for key, value in view.scan(*keys.prefix_range(old + kind)):
            if key != keys.note(node, NOTE):
                pointers, payload = unpack_record(value)
                extents.add(view, prefix + key[8:], payload, pointers)
    extents.flush()
