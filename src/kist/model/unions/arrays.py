"""Unions of arrays: several of them read as one along the first axis, without a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import finalize

import numpy as np

from kist.errors import CorruptDataError, DTypeError, ShapeError, TamperedDataError
from kist.model import html
from kist.model.arrays.read import read
from kist.model.arrays.readonly import ReadOnlyArray, Seen
from kist.model.arrays.segment import empty_array
from kist.model.arrays.state import ArrayState, array_state
from kist.model.indexing import Box, Points, Selection
from kist.model.text import guarded
from kist.model.unions.backend import of_file
from kist.model.unions.members import find_members
from kist.model.unions.table import members_of

if TYPE_CHECKING:
    from kist.model.arrays.array import Array
    from kist.model.group import Group
    from kist.model.store import Store

__all__ = ["ArrayUnion", "GivenArrays", "GroupArrays", "edges_of", "fetch_parts"]

NumPyArray = np.ndarray[Any, Any]
Shape = tuple[int, ...]


class GroupArrays(NamedTuple):
    """Arrays that paths and patterns name in a group, looked up in each state of it."""

    group: Group
    patterns: tuple[str, ...]

    @property
    def name(self) -> str:
        """What messages call them."""
        return f"union of {', '.join(self.patterns)}"

    @property
    def store(self) -> Store:
        """Where they stand."""
        return self.group.store

    def file_name(self, number: int) -> str:
        """Return no name: all of them stand in one file."""
        return ""

    def arrays(self) -> list[Array]:
        """Return their handles."""
        return members_of(self.group, self.patterns)

    @contextmanager
    def hold(self) -> Iterator[list[ArrayState]]:
        """Give them as one commit shows them."""
        group = self.group
        with group._hold() as view:
            found = find_members(view, group._id, group._base(view), self.patterns)
            yield [array_state(view, entry.node, entry.path) for entry in found]

    def moved(self, to: Callable[[Store], Store]) -> GroupArrays:
        """Return the same in another handle of the store."""
        return self._replace(group=self.group._moved(to))


class GivenArrays(NamedTuple):
    """Arrays of any stores, each as its handle sees it."""

    given: tuple[Array, ...]

    @property
    def name(self) -> str:
        """What messages call them."""
        return f"union of {len(self.given)} arrays, {self.given[0].store.path} and others"

    @property
    def store(self) -> Store:
        """That of the first."""
        return self.given[0].store

    def file_name(self, number: int) -> str:
        """Return the name of the file of an array."""
        return self.given[number].store.path

    def arrays(self) -> list[Array]:
        """Return their handles."""
        return list(self.given)

    @contextmanager
    def hold(self) -> Iterator[list[ArrayState]]:
        """Give them as their handles see them now."""
        with ExitStack() as held:
            yield [array._state(held.enter_context(array._hold())) for array in self.given]

    def moved(self, to: Callable[[Store], Store]) -> GivenArrays:
        """Return the same in other handles of the stores."""
        return GivenArrays(tuple(array._moved(to) for array in self.given))


class ArrayUnion(ReadOnlyArray):
    """Several arrays as one along the first axis: indexed as in NumPy, not changed.

    Comes from ``group.union("frames/*")`` and `kist.union`. Dtypes and the lengths of all other
    axes are equal. Each call reads the arrays that are meant then; what a selection does not touch
    is not read.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     store["frames/1"], store["frames/2"] = np.zeros((2, 3)), np.ones((1, 3))
    ...     frames = store.union("frames/*")
    ...     frames.shape, frames[1:, 0]
    ((3, 3), array([0., 1.]))
    """

    def __init__(self, source: GroupArrays | GivenArrays, opened: ExitStack | None = None) -> None:
        self._source = source
        self._path = source.name
        self._finalizer = finalize(self, (opened or ExitStack()).close)
        try:
            self._now()  # what is wrong is said now
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _held(self) -> Iterator[Seen]:
        with self._source.hold() as states:
            first = states[0]
            for number, state in enumerate(states):
                if state.dtype != first.dtype:
                    raise DTypeError(
                        f"{self._path}: {self._called(number, state)} is of {state.dtype}, "
                        f"{self._called(0, first)} of {first.dtype}"
                    )
                if not state.shape or state.shape[1:] != first.shape[1:]:
                    raise ShapeError(
                        f"{self._path}: {self._called(number, state)} has shape {state.shape}, "
                        f"{self._called(0, first)} {first.shape}; only the first axes may differ, "
                        "and there must be one"
                    )
            edges = edges_of([state.shape[0] for state in states])

            def fetch(where: Box | Points) -> NumPyArray:
                name_of = self._source.file_name
                return fetch_parts(edges, states.__getitem__, name_of, first.dtype, where)

            yield Seen((int(edges[-1]), *first.shape[1:]), first.dtype, fetch)

    def _called(self, number: int, state: ArrayState) -> str:
        name = self._source.file_name(number)
        return f"{state.path!r} of {name!r}" if name else repr(state.path)

    def _more_facts(self) -> dict[str, Any]:
        return {"n_parts": len(self.parts)}

    def _readonly(self) -> str:
        return f"the {self._path} cannot be changed: change the arrays that it is of"

    @property
    def parts(self) -> list[Array]:
        """The arrays, in order."""
        return self._source.arrays()

    @property
    def store(self) -> Store:
        """The open file; of several that of the first array."""
        return self._source.store

    def _lengths(self) -> tuple[int, ...]:
        with self._source.hold() as states:
            return tuple(state.shape[0] for state in states)

    def _moved(self, to: Callable[[Store], Store]) -> ArrayUnion:
        return ArrayUnion(self._source.moved(to))

    def __reduce__(self) -> tuple[Any, ...]:
        # What it is of is pickled with its commit: another process sees the same.
        return ArrayUnion, (self._source,)

    def __repr__(self) -> str:
        def draw() -> str:
            seen = self._now()
            said = " x ".join(f"{n:,}" for n in seen.shape)
            n = len(self.parts)
            return f"<kist.ArrayUnion {self._path!r}, {said} {seen.dtype} in {n:,} arrays>"

        return guarded(f"kist.ArrayUnion {self._path!r}", draw)

    def _repr_html_(self) -> str:
        def draw() -> str:
            seen = self._now()
            said = " x ".join(f"{n:,}" for n in seen.shape)
            notes = f"{said} {seen.dtype}", f"in {len(self.parts):,} arrays"
            return html.document(html.heading("Union", self._path, *notes))

        return html.guarded_html(f"Union {self._path!r}", draw)

    # The end

    def close(self) -> None:
        """Close the files that were opened for it; a second call does nothing."""
        self._finalizer()

    def __enter__(self) -> ArrayUnion:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def edges_of(lengths: Sequence[int] | NumPyArray) -> NumPyArray:
    """Return where arrays begin that stand one behind the other, and where the last one ends."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def fetch_parts(
    edges: NumPyArray,
    state_of: Callable[[int], ArrayState],
    name_of: Callable[[int], str],
    dtype: np.dtype[Any],
    where: Box | Points,
) -> NumPyArray:
    """Return the elements of arrays, one behind the other, at a box or at points, in their layout.

    Parameters
    ----------
    edges : ndarray of int64
        As of `edges_of`.
    state_of : callable
        Gives an array by its number; asked for those alone whose elements are wanted.
    name_of : callable
        Gives the name of its file, for errors; "" where all stand in one.
    dtype : dtype
        Of all of them.

    Raises
    ------
    CorruptDataError, TamperedDataError
        Naming the file.
    """

    def fetch(number: int, where: Box | Points, out: NumPyArray | None = None) -> NumPyArray:
        state = state_of(number)
        try:
            return read(state, where, out)
        except CorruptDataError as error:
            raise of_file(error, name_of(number)) from error
        except TamperedDataError as error:
            name = name_of(number)
            raise TamperedDataError(f"{name!r}: {error}" if name else str(error)) from None

    points = where if isinstance(where, Points) else None
    box = where.box if isinstance(where, Points) else where
    others = [n for axis, n in enumerate(box.count) if points is None or axis not in points.axes]
    layout = box.count if points is None else (len(points.coords[0]), *others)
    out = empty_array(layout, dtype)
    if points is not None and points.axes[0] == 0:
        along = points.coords[0]
        numbers = np.searchsorted(edges, along, "right") - 1
        for number in np.unique(numbers).tolist():
            mine = np.flatnonzero(numbers == number)
            coords = (along[mine] - edges[number], *(c[mine] for c in points.coords[1:]))
            cut = points._replace(coords=coords)
            shape = (len(mine), *others)
            out[mine] = Selection(cut, shape, shape, None).read(partial(fetch, number))
        return out
    start, step, count = box.start[0], box.step[0], box.count[0]
    first = 0
    while first < count:
        at = start + first * step
        number = int(np.searchsorted(edges, at, "right")) - 1
        low, high = int(edges[number]), int(edges[number + 1])
        last = min(count, first - (at - high) // step)  # rounded up
        part = Box((at - low, *box.start[1:]), (last - first, *box.count[1:]), box.step)
        if points is not None:
            out[:, first:last] = fetch(number, points._replace(box=part))
        else:
            fetch(number, part, out[first:last])
        first = last
    return out
