"""Pages as they lie in the file: mapped into memory, verified once, pinned while the map lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.codecs.registry import PLAIN
from kist.engine.pages import page_head, verify_page
from kist.engine.view import View
from kist.errors import CodecError
from kist.format.layout import FRAME
from kist.format.values import Pointer
from kist.storage.base import view_of

if TYPE_CHECKING:
    from kist.storage.base import Readable

__all__ = ["map_page"]


def map_page(view: View, pointer: Pointer) -> tuple[Readable, int]:
    """Return memory that shows the values of a page, and where in it they begin.

    Parameters
    ----------
    view : View
        A snapshot that is pinned during the call. Its commit stays pinned until the memory is
        let go, also when the snapshot is released and the store is closed.

    Raises
    ------
    CodecError
        The page is not stored plain.
    CorruptDataError
        It fails a checksum.
    """
    head = page_head(view, pointer)
    if [number for number, _ in head.stages] != [PLAIN]:
        raise CodecError("the values are encoded")
    if pointer.__class__ is not Pointer:
        raise CodecError("the values are sealed")
    start = pointer.offset + FRAME.size + head.size
    view.reader.check_range(pointer)
    buffer, at = view.reader.backend.map(start, pointer.length - head.size, view.commit_id)
    verify_page(pointer, head, view_of(buffer)[at : at + pointer.length - head.size])
    return buffer, at
