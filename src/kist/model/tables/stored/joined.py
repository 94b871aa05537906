"""A view that shows one table made of others: no store of its own, nothing in its map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kist.engine import View
from kist.engine.overlay import Overlay

if TYPE_CHECKING:
    from kist.engine.view import Reader
    from kist.model.tables.stored.state import TableState

__all__ = ["FILE_BITS", "JoinedView"]

FILE_BITS: Final = 46
"""Bits of an offset in a file of several that are read as one: 64 TiB. Offsets have 62."""


class JoinedView(View):
    """What reading a table that is made of others goes through.

    Its map is empty: such a table has no records, and so neither indexes nor attributes.

    Parameters
    ----------
    bases : sequence of View
        Where each of the tables is read.
    reader : Reader
        Where their pages are read.

    Attributes
    ----------
    bases : sequence of View
        As given.
    table : TableState
        The table; put there by who makes it.
    """

    table: TableState

    def __init__(self, bases: Sequence[View], reader: Reader) -> None:
        super().__init__(reader, replace(bases[0].state, root=None, overlay=Overlay()))
        self.bases = bases

    def _check_open(self) -> None:
        self.bases[0]._check_open()
