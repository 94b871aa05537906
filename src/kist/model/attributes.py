"""Attributes: small named values on nodes and columns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from kist.errors import KeyNotFoundError, KistError, SecretError, TamperedDataError
from kist.format import keys
from kist.format.layout import FRAME_BLOB
from kist.format.plain import pack_value, unpack_value
from kist.format.values import MAX_INLINE, pack_record, unpack_record
from kist.model import directory, html
from kist.model.completing import completions
from kist.model.paths import check_name
from kist.model.sealing import attributes as sealed
from kist.model.text import cell, format_bytes, guarded, said, visible

if TYPE_CHECKING:
    from kist.engine import Pointer, Transaction, View
    from kist.model.node import Node
    from kist.model.sealing.groups import SealedPlace

__all__ = ["Attributes", "copy_attributes", "glance", "put_packed"]

_MISSING: Any = object()
_MOST_SHOWN: Final = 50
_LARGEST_SHOWN: Final = 64 << 10


class Attributes(MutableMapping[str, Any]):
    """The attributes of one node or column: a mapping that is also read as Python attributes.

    Values come back exactly as they were: plain Python values (None, bool, int, float, complex,
    str, bytes, dates and times, Decimal, list, tuple, set, frozenset, dict), NumPy scalars and
    arrays. Each assignment is a commit of its own unless a transaction is open; `update` is one.
    A value that is changed after it was read is not written back.

    Parameters
    ----------
    node : Node
        The node.
    column : int
        Id of the column that they belong to; 0 for the node itself.

    Examples
    --------
    >>> import kist
    >>> with kist.open(":memory:") as store:
    ...     store.attrs["camera"] = "B"
    ...     store.attrs.gain = 2.5
    ...     sorted(store.attrs), store.attrs.camera
    (['camera', 'gain'], 'B')
    """

    __slots__ = ("_column", "_node")

    def __init__(self, node: Node, column: int = 0) -> None:
        object.__setattr__(self, "_node", node)
        object.__setattr__(self, "_column", column)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without it pickle would set the slots, which `__setattr__` takes for attributes.
        return type(self), (self._node, self._column)

    # The mapping

    def __getitem__(self, name: str) -> Any:
        view = self._node._view()
        packed = self._packed(view, name)
        if packed is None:
            raise KeyNotFoundError(f"{self._node._path!r} has no attribute {name!r}")
        return unpack_value(packed)

    def __setitem__(self, name: str, value: Any) -> None:
        check_name(name, "attribute")
        with self._node._write() as txn:
            self._put_all(txn, {name: pack_value(value)})

    def __delitem__(self, name: str) -> None:
        with self._node._write() as txn:
            if name not in self:
                raise KeyNotFoundError(f"{self._node._path!r} has no attribute {name!r}")
            place = self._place(txn)
            if place is None:
                txn.delete(self._key(name))
            else:
                sealed.delete(txn, place, self._column, name)
                place.vouch(txn)

    def __iter__(self) -> Iterator[str]:
        # A list: what changes during the iteration does not disturb it.
        view = self._node._view()
        place = self._place(view)
        if place is not None:
            return iter([one.name for one in sealed.entries(view, place, self._column)])
        entries = view.scan(*keys.attributes(self._node._id, self._column))
        return iter([keys.name_of(key) for key, _ in entries])

    def __len__(self) -> int:
        return sum(1 for _ in iter(self))

    def __contains__(self, name: object) -> bool:
        return self._packed(self._node._view(), name) is not None

    # Steps that the mixins would take one commit each for

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Set several attributes in one commit; an iterator may fill the same array again."""
        pairs: Any = other
        if isinstance(other, Mapping):
            pairs = other.items()
        elif hasattr(pairs, "keys"):
            pairs = [(name, pairs[name]) for name in pairs.keys()]  # noqa: SIM118
        new: dict[str, bytes] = {}
        for name, value in chain(pairs, more.items()):
            check_name(name, "attribute")
            new[name] = pack_value(value)  # as it is now
        if new:
            with self._node._write() as txn:
                self._put_all(txn, new)

    def pop(self, name: str, default: Any = _MISSING) -> Any:
        """Remove an attribute and return its value."""
        if default is not _MISSING and name not in self:
            return default
        with self._node._write():
            value = self[name]
            del self[name]
        return value

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return an attribute; set it first when it is missing."""
        with self._node._write():
            if name not in self:
                self[name] = default
            return self[name]

    def clear(self) -> None:
        """Remove all attributes in one commit."""
        with self._node._write() as txn:
            place = self._place(txn)
            if place is None:
                txn.delete_range(*keys.attributes(self._node._id, self._column))
            else:
                sealed.clear(txn, place, self._column)
                place.vouch(txn)

    # As Python attributes

    def __getattr__(self, name: str) -> Any:
        # Names with an underscore are Python's own protocols, which look here first.
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyNotFoundError as error:
            raise AttributeError(str(error)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or hasattr(type(self), name):
            raise AttributeError(f"{name!r} has a meaning in Python; set it by attrs[{name!r}]")
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name.startswith("_") or hasattr(type(self), name):
            raise AttributeError(f"{name!r} has a meaning in Python; delete attrs[{name!r}]")
        try:
            del self[name]
        except KeyNotFoundError as error:
            raise AttributeError(str(error)) from None

    def __dir__(self) -> list[str]:
        own = [name for name in completions(lambda: self) if name.isidentifier()]
        return sorted({*super().__dir__(), *own})

    def _ipython_key_completions_(self) -> list[str]:
        return completions(lambda: self)

    # For people

    def __repr__(self) -> str:
        head = f"attributes of {self._node._path!r}"

        def draw() -> str:
            lines, left = self._glance(self._node._view())
            texts = [f"    {visible(name)}: {value}" for name, value in lines.items()]
            if left:
                texts.append(f"    ... and {left:,} more")
            return "\n".join([f"<{head}:", *texts]) + ">" if texts else f"<{head}: none>"

        return guarded(head, draw)

    def _repr_html_(self) -> str:
        def draw() -> str:
            view = self._node._view()
            lines, left = self._glance(view)
            n = len(lines) + left
            head = html.heading("Attributes of", self._node._path, None if n else "none")
            more = {"...": f"and {left:,} more"} if left else {}
            return html.document(head, html.facts({**lines, **more}) if n else "")

        return html.guarded_html(f"Attributes of {self._node._path!r}", draw)

    def _html_in(self, view: View) -> str:
        """Return the attributes for the repr of their node, folded; nothing when there are none."""
        lines, left = self._glance(view)
        n = len(lines) + left
        if not n:
            return ""
        summary = html.text(f"{n:,} attribute{'' if n == 1 else 's'}")
        more = {"...": f"and {left:,} more"} if left else {}
        return html.details(summary, html.facts({**lines, **more}))

    def _glance(self, view: View, most: int = _MOST_SHOWN) -> tuple[dict[str, str], int]:
        """Return the first attributes in a few words each, and the number of all others.

        Values of more than `_LARGEST_SHOWN` bytes are not read.
        """
        shown: dict[str, str] = {}
        left = 0
        for name, size, read in self._entries(view):
            if len(shown) >= most:
                left += 1
                continue
            if size > _LARGEST_SHOWN:
                shown[name] = f"({format_bytes(size)}, not shown)"
                continue
            try:
                shown[name] = _short(unpack_value(read()))
            except KistError as error:
                shown[name] = f"(cannot be read: {error})"
        return shown, left

    def _entries(self, view: View) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
        """Yield name, size and what reads the packed value of each; none that cannot be opened."""
        try:
            place = self._place(view)
        except TamperedDataError:
            raise
        except SecretError:
            return  # a listing goes on without them
        if place is not None:
            for one in sealed.entries(view, place, self._column):
                yield one.name, one.size, partial(one.read, view)
            return
        for key, value in view.scan(*keys.attributes(self._node._id, self._column)):
            yield keys.name_of(key), _size(value), partial(_packed_in, view, value)

    def _title_in(self, view: View) -> str | None:
        """Return what reprs and listings show of the title, None when there is none."""
        try:
            found = self._found(view, "TITLE")
            if found is None or found[0] > _LARGEST_SHOWN:
                return None
            return cell(unpack_value(found[1]()), 80)
        except KistError:
            return None  # whoever asks for the attribute is told; a listing goes on

    # Records

    def _key(self, name: str) -> bytes:
        return keys.attribute(self._node._id, self._column, name)

    def _place(self, view: View) -> SealedPlace | None:
        """Return the place of the node in a sealed group, None where there is none.

        Raises
        ------
        SecretError, TamperedDataError
            As `SealedPlace.find`.
        """
        node = self._node._id
        if not (directory.is_marked if _is_alone(view) else directory.is_inside)(view, node):
            return None
        from kist.model.sealing.groups import place_for

        return place_for(view, node)

    def _found(self, view: View, name: object) -> tuple[int, Callable[[], bytes]] | None:
        """Return the size of a packed value, and what reads it; None where there is none."""
        if not isinstance(name, str):
            return None
        try:
            alone = _is_alone(view)
            place = None if alone else self._place(view)
            if place is None:
                value = view.get(self._key(name))
                if value is not None:
                    return _size(value), partial(_packed_in, view, value)
                place = self._place(view) if alone else None
            one = None if place is None else sealed.find(view, place, self._column, name)
        except UnicodeEncodeError:
            return None  # lone surrogates cannot have been stored
        return None if one is None else (one.size, partial(one.read, view))

    def _packed(self, view: View, name: object) -> bytes | None:
        found = self._found(view, name)
        return None if found is None else found[1]()

    def _put_all(self, txn: Transaction, new: Mapping[str, bytes]) -> None:
        """Put attributes, of which the values are packed."""
        place = self._place(txn)
        for name, payload in new.items():
            if place is not None:
                sealed.put(txn, place, self._column, name, payload)
            else:
                put_packed(txn, self._node._id, name, payload, self._column)
        if place is not None:
            place.vouch(txn)

    def _get_in(self, view: View, name: str) -> Any:
        """Return an attribute as a certain view has it, or None."""
        packed = self._packed(view, name)
        return None if packed is None else unpack_value(packed)


def _is_alone(view: View) -> bool:
    """Tell whether no secrets were given: no more is promised then than a node says by itself."""
    return view.reader.keyring is None


def _packed_in(view: View, value: bytes) -> bytes:
    """Return the packed value of an attribute in clear."""
    pointers, payload = unpack_record(value)
    return bytes(view.read(pointers[0])) if pointers else payload


def put_packed(txn: Transaction, node: int, name: str, payload: bytes, column: int = 0) -> None:
    """Put an attribute in clear, of which the value is packed."""
    pointers: list[Pointer] = []
    if len(payload) > MAX_INLINE:
        from kist.engine import Frame

        pointers = txn.write([Frame(FRAME_BLOB, node, column, 0, payload)])
        payload = b""
    txn.put(keys.attribute(node, column, name), pack_record(payload, pointers))


def glance(attributes: Attributes) -> dict[str, str]:
    """Return all attributes in a few words each; of large ones, which are not read, the size."""
    return attributes._glance(attributes._node._view(), sys.maxsize)[0]


def copy_attributes(node: Node, values: Mapping[str, Any] | None, title: str | None) -> None:
    """Give a new node its attributes; the caller holds the transaction."""
    new = dict(values or {})
    if title is not None:
        new["TITLE"] = title
    if new:
        node.attrs.update(new)


def _size(value: bytes) -> int:
    """Return the bytes of a packed value, without reading it."""
    pointers, payload = unpack_record(value)
    return pointers[0].length if pointers else len(payload)


def _short(value: Any) -> str:
    text = said(value)
    first = text.splitlines()[0] if text else ""
    return visible(text if len(text) <= 70 and text == first else first[:66] + " ...")
