"""Linked arrays: one array of many in other files, which are opened when elements are touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import CorruptDataError, LinkError
from kist.format.array import MAX_AXIS, MAX_NDIM
from kist.format.dtypes import unpack_dtype
from kist.format.link import LinkForm, LinkRecord
from kist.model.arrays.array import Array
from kist.model.arrays.readonly import ReadOnlyArray, Seen
from kist.model.links.linked import Linked
from kist.model.text import guarded
from kist.model.unions.arrays import edges_of, fetch_parts
from kist.model.unions.backend import MAX_FILES

if TYPE_CHECKING:
    from kist.engine import View
    from kist.model.arrays.state import ArrayState
    from kist.model.indexing import Box, Points
    from kist.model.links.link import Link

__all__ = ["ArrayParts", "LinkedArrays"]

NumPyArray = np.ndarray[Any, Any]


class ArrayParts:
    """What is known of the parts without opening them.

    Parameters
    ----------
    record : LinkRecord
        Of form arrays.
    link : str
        Path of the link.

    Raises
    ------
    CorruptDataError
        Its lists do not fit each other.
    """

    def __init__(self, record: LinkRecord, link: str) -> None:
        said = record.said
        self.path: str = said["path"]
        self.files: list[str] = said["files"]
        self.stores: list[bytes] = said["stores"]
        self.version: int | str | None = said["version"]
        self.dtype = unpack_dtype(said["dtype"])
        self.shape = tuple(said["shape"])
        lengths = said["lengths"]
        n = len(self.files)
        if (
            not 0 < n <= MAX_FILES
            or len(self.stores) != n
            or lengths.ndim != 1
            or lengths.dtype.kind != "u"
            or len(lengths) != n
            or not 0 < len(self.shape) <= MAX_NDIM
            or any(not 0 <= length <= MAX_AXIS for length in self.shape)
            or sum(lengths.tolist()) != self.shape[0]
        ):
            raise CorruptDataError(f"link {link!r}: its lists do not fit its files", node=link)
        self.edges = edges_of(lengths)


class LinkedArrays(Linked, ReadOnlyArray):
    """Arrays of many files as one along the first axis: indexed as in NumPy, not changed.

    Comes from looking up what ``group.create_union(name, path, files=...)`` has made. Dtype and
    shape are those that were linked. A file is opened when elements of it are read, and shows its
    newest commit, or the version that was linked; its array must still have its length.

    Examples
    --------
    >>> import kist, numpy as np
    >>> for run in (1, 2):
    ...     with kist.open(f"run-{run}.kist", "w") as store:
    ...         store["frames"] = np.full((2, 3), run)
    >>> with kist.open("runs.kist", "w") as store:
    ...     link = store.create_union("frames", "frames", files="run-*.kist")
    >>> with kist.open("runs.kist") as store:
    ...     frames = store["frames"]
    ...     frames.shape, frames[2:, 0], frames.n_open
    ((4, 3), array([2, 2]), 1)
    """

    def __init__(self, link: Link, view: View) -> None:
        self._link = link
        self._path = link._path
        self._parts = self._linked(view)

    def _linked(self, view: View) -> ArrayParts:
        found: ArrayParts = self._link._store._links.linked(
            self._link, view, lambda record: ArrayParts(record, self._path)
        )
        return found

    @contextmanager
    def _held(self) -> Iterator[Seen]:
        with self._link._hold(), ExitStack() as held:
            parts, states = self._parts, dict[int, "ArrayState"]()

            def state_of(place: int) -> ArrayState:
                if place not in states:
                    states[place] = self._opened(place, held)
                return states[place]

            def fetch(where: Box | Points) -> NumPyArray:
                name_of = parts.files.__getitem__
                return fetch_parts(parts.edges, state_of, name_of, parts.dtype, where)

            yield Seen(parts.shape, parts.dtype, fetch)

    def _array(self, place: int) -> Array:
        """Return the handle of a part.

        Raises
        ------
        LinkError
            The file is missing, may not be opened, or has no such array.
        """
        parts, store = self._parts, self._link._store
        where = {
            "file": parts.files[place], "path": parts.path, "version": parts.version,
            "store": parts.stores[place],
        }  # fmt: skip
        other = store._links.open(store, LinkRecord(LinkForm.FILE, where), self._path)
        found = other.get(parts.path)
        if not isinstance(found, Array) or found._store is not other:
            raise self._changed(place)
        return found

    def _opened(self, place: int, held: ExitStack) -> ArrayState:
        parts, array = self._parts, self._array(place)
        state = array._state(held.enter_context(array._hold()))
        length = int(parts.edges[place + 1] - parts.edges[place])
        if state.dtype != parts.dtype or state.shape != (length, *parts.shape[1:]):
            raise self._changed(place)
        return state

    def _changed(self, place: int) -> LinkError:
        parts = self._parts
        return LinkError(
            f"link {self._path!r}: {parts.path!r} of {parts.files[place]!r} is no longer an array "
            "of the dtype and the shape that were linked: renew() links what it is now"
        )

    def _lengths(self) -> tuple[int, ...]:
        return tuple(np.diff(self._parts.edges).tolist())

    def _more_facts(self) -> dict[str, Any]:
        return {"n_files": len(self._parts.files), "n_open": self.n_open}

    def _readonly(self) -> str:
        return f"{self._path!r} cannot be changed: change the arrays of its files"

    # About it

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self._parts.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the elements."""
        return self._parts.dtype

    @property
    def files(self) -> list[str]:
        """Names of the files, relative to the folder of the store."""
        return list(self._parts.files)

    @property
    def n_open(self) -> int:
        """How many of them are open."""
        links, store = self._link._store._links, self._link._store
        version = self._parts.version
        return sum(links.is_open(store, file, version) for file in self._parts.files)

    @property
    def parts(self) -> list[Array]:
        """The arrays, in order; opens all files."""
        return [self._array(place) for place in range(len(self._parts.files))]

    def __repr__(self) -> str:
        def draw() -> str:
            said = " x ".join(f"{n:,}" for n in self.shape)
            return (
                f"<kist.LinkedArrays {self._path!r}, {said} {self.dtype} in "
                f"{len(self._parts.files):,} files, {self.n_open:,} open>"
            )

        return guarded(f"kist.LinkedArrays {self._path!r}", draw)
