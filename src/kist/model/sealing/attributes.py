"""Attributes of what stands in a sealed group: names hashed, names and values sealed.

The records stand where those in clear do, under 32 hexadecimal digits instead of the name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from kist.errors import CorruptDataError, TamperedDataError
from kist.format import keys
from kist.format.layout import FRAME_BLOB
from kist.format.values import MAX_INLINE, pack_record

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.format.values import Pointer
    from kist.model.sealing.groups import SealedPlace

__all__ = ["SealedAttribute", "clear", "delete", "entries", "find", "put", "reseal", "verify"]

_OUTSIDE: Final = MAX_INLINE // 2
"""Larger values stand in an extent: sealing adds to what stands in the record."""


class SealedAttribute:
    """An opened attribute.

    Attributes
    ----------
    name : str
        As given.
    size : int
        Bytes of its packed value.
    """

    __slots__ = ("_inline", "_pointer", "name", "size")

    def __init__(self, name: str, inline: bytes, pointer: Pointer | None) -> None:
        self.name = name
        self._inline = inline
        self._pointer = pointer
        self.size = len(inline) if pointer is None else pointer.length

    def read(self, view: View) -> bytes:
        """Return the packed value."""
        return self._inline if self._pointer is None else bytes(view.read(self._pointer))


def find(view: View, place: SealedPlace, column: int, name: str) -> SealedAttribute | None:
    """Return an attribute of a node or column, None where there is none."""
    value = view.get(_key(place, column, name))
    if value is None:
        return None
    found = _opened(place, value)
    if found.name != name:
        raise TamperedDataError(
            f"{place.path!r}: an attribute stands in the place of {name!r}; do not trust the file"
        )
    return found


def entries(view: View, place: SealedPlace, column: int) -> list[SealedAttribute]:
    """Return all attributes of a node or column, names sorted by code point."""
    found = [_opened(place, value) for _, value in view.scan(*keys.attributes(place.node, column))]
    return sorted(found, key=lambda one: one.name)


def put(txn: Transaction, place: SealedPlace, column: int, name: str, packed: bytes) -> None:
    """Set an attribute; `place.vouch` follows."""
    head, frames = _head(name), []
    if len(packed) > _OUTSIDE:
        from kist.engine import Frame

        frames = [Frame(FRAME_BLOB, place.node, column, 0, packed)]
    else:
        head += packed
    payload, sealed = place.seal(head, frames)
    place.put(txn, _key(place, column, name), pack_record(payload, txn.write(sealed)))


def delete(txn: Transaction, place: SealedPlace, column: int, name: str) -> None:
    """Delete an attribute; `place.vouch` follows."""
    place.delete(txn, _key(place, column, name))


def clear(txn: Transaction, place: SealedPlace, column: int) -> None:
    """Delete all attributes of a node or column; `place.vouch` follows."""
    place.delete_range(txn, *keys.attributes(place.node, column))


def reseal(txn: Transaction, before: SealedPlace, after: SealedPlace) -> None:
    """Put all attributes of a node and its columns under other keys; `after.vouch` follows."""
    for key, value in list(txn.scan(*keys.all_attributes(before.node))):
        found = _opened(before, value)
        packed = found.read(txn)
        txn.delete(key)
        put(txn, after, keys.leaf_of(key), found.name, packed)


def verify(view: View, place: SealedPlace) -> Iterator[str]:
    """Open all attributes of a node and its columns; yield what is wrong with them."""
    for _, value in view.scan(*keys.all_attributes(place.node)):
        try:
            _opened(place, value).read(view)
        except (CorruptDataError, TamperedDataError) as error:
            yield str(error)


def _key(place: SealedPlace, column: int, name: str) -> bytes:
    return keys.attribute(place.node, column, place.hidden_name(name))


def _head(name: str) -> bytes:
    raw = name.encode()
    return bytes((len(raw),)) + raw


def _opened(place: SealedPlace, value: bytes) -> SealedAttribute:
    pointers, payload = place.open(value, f"{place.path!r} an attribute")
    end = 1 + payload[0] if payload else 1
    if len(payload) < end or len(pointers) > 1:
        raise CorruptDataError(f"{place.path!r}: a sealed attribute is cut off", node=place.path)
    pointer = pointers[0] if pointers else None
    try:
        name = payload[1:end].decode()
    except UnicodeDecodeError:
        raise CorruptDataError(
            f"{place.path!r}: the name of a sealed attribute is no text", node=place.path
        ) from None
    return SealedAttribute(name, payload[end:], pointer)
