"""The record of a link in the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.errors import CorruptDataError, FormatError, UnsupportedVersionError
from kist.format import keys
from kist.format.layout import FRAME_BLOB, MAX_INLINE
from kist.format.link import LinkRecord
from kist.format.values import pack_record, unpack_record

if TYPE_CHECKING:
    from kist.engine import Transaction, View

__all__ = ["get_link", "put_link"]


def put_link(txn: Transaction, node: int, record: LinkRecord) -> None:
    """Put where a link leads."""
    payload = record.pack()
    if len(payload) <= MAX_INLINE:
        txn.put(keys.link(node), pack_record(payload))
        return
    from kist.engine import Frame

    pointers = txn.write([Frame(FRAME_BLOB, node, 0, 0, payload)])
    txn.put(keys.link(node), pack_record(b"", pointers))


def get_link(view: View, node: int, path: str) -> LinkRecord:
    """Return where a link leads.

    Raises
    ------
    CorruptDataError
        It has no record, or one that says nothing.
    UnsupportedVersionError
        It is of a form that this kist does not know.
    """
    value = view.get(keys.link(node))
    if value is None:
        raise CorruptDataError(f"link {path!r}: where it leads is not recorded", node=path)
    pointers, payload = unpack_record(value)
    try:
        if not payload and pointers:
            payload = bytes(view.read(pointers[0]))
        return LinkRecord.unpack(payload)
    except UnsupportedVersionError as error:
        raise UnsupportedVersionError(f"{path!r}: {error}") from error
    except FormatError as error:
        raise CorruptDataError(f"link {path!r}: {error}", node=path) from error
